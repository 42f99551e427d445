"""Runs as they were seen: every step with its clocks.

What a fact means for a step is decided by `machine`, and by nothing else. What is added here is what gets measured:
when a step was first begun, when it ended, how long the act took that counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backstay.errors import JournalDamaged
from backstay.facts import Ended, Intended, PersonAsked, Recorded, RunEnded, RunFact, RunStarted, Succeeded
from backstay.machine import RunState, State, StepState, evolve
from backstay.plan import Restore, Step
from backstay.values import ComponentName, RunId, StepId


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One step of a run, with its clocks."""

    step: Step
    phase: int
    """Counts from 0."""
    state: State = State.WAITING
    began: datetime | None = None
    """When it was first begun, or a person first asked."""
    ended: datetime | None = None
    """When it was done, skipped or failed."""
    took: timedelta | None = None
    """How long the act that counted lasted. None: it has not ended, or nobody measured it (found done by a look)."""
    attempts: int = 0
    said: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def done(self) -> bool:
        return self.state is State.DONE


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One execution of a procedure."""

    started: RunStarted
    at: datetime
    """When it was started, by the journal's clock. The RTO counts from `started.declared`."""
    steps: tuple[StepSeen, ...]
    ended: RunEnded | None = None
    ended_at: datetime | None = None
    damage: str = ""
    """Why the rest of its facts could not be understood. Not empty: the journal was damaged."""

    @property
    def id(self) -> RunId:
        return self.started.run

    @property
    def is_open(self) -> bool:
        return self.ended is None

    def step(self, id: StepId) -> StepSeen | None:
        return next((seen for seen in self.steps if seen.step.id == id), None)

    def of_phase(self, phase: int) -> tuple[StepSeen, ...]:
        return tuple(seen for seen in self.steps if seen.phase == phase)

    def restored(self, component: ComponentName) -> StepSeen | None:
        """The last step of this run that brought the component back."""
        found = [
            seen
            for seen in self.steps
            if isinstance(seen.step.verb, Restore) and seen.step.verb.component == component and seen.done
        ]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class _Clocks:
    began: datetime | None = None
    took: timedelta | None = None


class RunFold:
    """Folds the facts of one run's stream, one after the other; `seen` is the run so far. Lives inside a fold only."""

    def __init__(self) -> None:
        self._state: RunState | None = None
        self._at: datetime | None = None
        self._ended_at: datetime | None = None
        self._clocks: dict[StepId, _Clocks] = {}
        self._damage = ""

    def add(self, recorded: Recorded) -> None:
        if self._damage or not isinstance(recorded.fact, RunFact):
            return
        try:
            self._state = evolve(self._state, recorded)
        except JournalDamaged as error:
            self._damage = f"{error.message}: {error.detail}"
            return
        self._at = self._at or recorded.at
        match recorded.fact:
            case Intended(step=step) | PersonAsked(step=step):
                clocks = self._clocks.get(step, _Clocks())
                self._clocks[step] = replace(clocks, began=clocks.began or recorded.at, took=None)
            case Ended(step=step, outcome=Succeeded(), took=took):
                self._clocks[step] = replace(self._clocks.get(step, _Clocks()), took=took)
            case RunEnded():
                self._ended_at = recorded.at
            case _:
                pass

    def seen(self) -> RunSeen | None:
        """None: what was folded does not begin with a run."""
        state = self._state
        if state is None or self._at is None:
            return None
        return RunSeen(
            state.started,
            self._at,
            tuple(self._step(step) for step in state.steps.values()),
            state.ended,
            self._ended_at if state.ended is not None else None,
            self._damage,
        )

    def _step(self, step: StepState) -> StepSeen:
        clocks = self._clocks.get(step.step.id, _Clocks())
        return StepSeen(
            step.step,
            step.phase,
            step.state,
            clocks.began,
            step.ended,
            clocks.took if step.state is State.DONE else None,
            step.attempt,
            step.said,
            step.values,
        )


def seen_run(facts: Iterable[Recorded]) -> RunSeen | None:
    """The fold of one run's stream. None: it does not begin with a run."""
    fold = RunFold()
    for recorded in facts:
        fold.add(recorded)
    return fold.seen()
