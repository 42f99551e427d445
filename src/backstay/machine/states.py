"""How the state of a step may change. Every change is in TABLE; nothing else decides.

`docs/reference/run-states.md` is drawn from TABLE, so it cannot disagree with the code. A pair that is not in TABLE
cannot happen: a journal that says so was damaged, or written by something else.
"""

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    WAITING = "waiting"
    RESTING = "resting"
    ASKING = "asking"
    PAUSING = "pausing"
    ACTING = "acting"
    UNSURE = "unsure"
    IN_DOUBT = "in doubt"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


MEANING: Mapping[State, str] = {
    State.WAITING: "not begun, or to be begun anew",
    State.RESTING: "tried, and to be tried again after a while",
    State.ASKING: "people were asked; their answers do not settle it yet",
    State.PAUSING: "only time has to pass",
    State.ACTING: "the intent is written, the end is not",
    State.UNSURE: "asked, and never heard back: to be looked at before anything else",
    State.IN_DOUBT: "looking could not tell whether it happened: a person has to say",
    State.DONE: "it happened",
    State.FAILED: "it cannot be done; a person may have it retried, or skip it",
    State.SKIPPED: "the run goes on without it",
}

SETTLED = frozenset({State.DONE, State.SKIPPED})
"""What lets the steps that need it begin."""


class Event(Enum):
    """What a fact means for a step, given what was known of the step before it."""

    INTENDED = "intended"
    PAUSE_BEGAN = "intended, only time has to pass"
    SUCCEEDED = "succeeded"
    TRY_LATER = "try later"
    SPENT = "try later, but no try is left"
    IMPOSSIBLE = "impossible"
    LOST = "lost"
    LEFT = "its driver has gone"
    GIVEN_UP = "came to nothing, and is not required"
    HAPPENED = "looked: it happened"
    DID_NOT = "looked: it did not"
    CANNOT_TELL = "looked: cannot tell"
    ASKED = "people asked"
    ANSWERED = "a person answered"
    SAID_HAPPENED = "a person says it happened"
    SAID_DID_NOT = "a person says it did not"
    SKIPPED = "skipped by a person"
    RETRIED = "retried by a person"


TABLE: Mapping[tuple[State, Event], State] = {
    (State.WAITING, Event.INTENDED): State.ACTING,
    (State.WAITING, Event.PAUSE_BEGAN): State.PAUSING,
    (State.WAITING, Event.ASKED): State.ASKING,
    (State.WAITING, Event.SKIPPED): State.SKIPPED,
    (State.RESTING, Event.INTENDED): State.ACTING,
    (State.RESTING, Event.SKIPPED): State.SKIPPED,
    (State.ASKING, Event.ANSWERED): State.ASKING,
    (State.ASKING, Event.SUCCEEDED): State.DONE,
    (State.ASKING, Event.IMPOSSIBLE): State.FAILED,
    (State.ASKING, Event.SKIPPED): State.SKIPPED,
    (State.PAUSING, Event.SUCCEEDED): State.DONE,
    (State.PAUSING, Event.SKIPPED): State.SKIPPED,
    (State.ACTING, Event.SUCCEEDED): State.DONE,
    (State.ACTING, Event.TRY_LATER): State.RESTING,
    (State.ACTING, Event.SPENT): State.FAILED,
    (State.ACTING, Event.IMPOSSIBLE): State.FAILED,
    (State.ACTING, Event.GIVEN_UP): State.SKIPPED,
    (State.ACTING, Event.LOST): State.UNSURE,
    (State.ACTING, Event.LEFT): State.UNSURE,
    (State.UNSURE, Event.HAPPENED): State.DONE,
    (State.UNSURE, Event.DID_NOT): State.WAITING,
    (State.UNSURE, Event.TRY_LATER): State.RESTING,
    (State.UNSURE, Event.SPENT): State.FAILED,
    (State.UNSURE, Event.GIVEN_UP): State.SKIPPED,
    (State.UNSURE, Event.CANNOT_TELL): State.IN_DOUBT,
    (State.IN_DOUBT, Event.ASKED): State.IN_DOUBT,
    (State.IN_DOUBT, Event.ANSWERED): State.IN_DOUBT,
    (State.IN_DOUBT, Event.SAID_HAPPENED): State.DONE,
    (State.IN_DOUBT, Event.SAID_DID_NOT): State.WAITING,
    (State.IN_DOUBT, Event.SKIPPED): State.SKIPPED,
    (State.FAILED, Event.RETRIED): State.WAITING,
    (State.FAILED, Event.SKIPPED): State.SKIPPED,
}


def diagram() -> str:
    """TABLE as a Mermaid state diagram, in the order of TABLE."""

    def word(state: State) -> str:
        return state.value.replace(" ", "_")

    lines = ["stateDiagram-v2", f"    [*] --> {word(State.WAITING)}"]
    lines += [f"    {word(old)} --> {word(new)}: {event.value}" for (old, event), new in TABLE.items()]
    lines += [f"    {word(state)} --> [*]" for state in State if state in SETTLED]
    return "\n".join(lines)


def listing() -> str:
    """States and changes as two Markdown tables."""
    states = [f"| {state.value} | {MEANING[state]} |" for state in State]
    changes = [f"| {old.value} | {event.value} | {new.value} |" for (old, event), new in TABLE.items()]
    return "\n".join(
        ["| state | meaning |", "|---|---|", *states, "", "| from | what happened | to |", "|---|---|---|", *changes]
    )
