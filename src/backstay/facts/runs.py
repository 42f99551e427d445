"""What can have happened in a run: steps asked and answered, leases, people, the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from backstay.plan import Mode, Objectives, Phase
from backstay.values import (
    Between,
    ComponentName,
    Digest,
    IncidentId,
    PersonName,
    RunId,
    ScenarioName,
    SiteName,
    StepId,
)

# ── outcomes ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Succeeded:
    saw: str
    """One sentence, for the timeline."""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """What later steps may use as `${steps.<id>.<name>}`, and the review measures by. Never a secret."""


@dataclass(frozen=True, slots=True)
class TryLater:
    after: timedelta
    why: str


@dataclass(frozen=True, slots=True)
class Impossible:
    why: str
    """The error in full: what happened, what is known, what to try."""
    code: int = 60


@dataclass(frozen=True, slots=True)
class Lost:
    """Asked, and never heard back. Not a failure: look before asking again."""

    asked: str


Outcome = Succeeded | TryLater | Impossible | Lost


@dataclass(frozen=True, slots=True)
class Happened:
    saw: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class DidNot:
    """It did not happen, or only in part that doing it again makes whole."""

    saw: str


@dataclass(frozen=True, slots=True)
class CannotTell:
    why: str


Sight = Happened | DidNot | CannotTell
"""The answer of a look."""


# ── facts of a run's stream ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Freezes everything the run will do: its steps, not only the plan that they came from."""

    run: RunId
    scenario: ScenarioName
    title: str
    mode: Mode
    plan: Digest
    site: SiteName
    by: PersonName | str
    incident: IncidentId | None
    declared: datetime
    """The clock of the RTO starts here."""
    disaster: Between | None
    """The moment of the disaster. None: not known, so RPO actual is not verified."""
    objectives: Objectives
    phases: tuple[Phase, ...]
    """Every step has its id, and names its needs."""
    components: tuple[ComponentName, ...] = ()
    """What this run may touch: another run that would touch one of them is refused."""


@dataclass(frozen=True, slots=True)
class Driving:
    """The lease: `driver` alone may act until `until`, by the journal's clock. Said again to renew it."""

    driver: str
    epoch: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Released:
    """The driver stopped acting before its lease ran out."""

    driver: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Intended:
    """Written before the act."""

    step: StepId
    attempt: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Written after the act."""

    step: StepId
    attempt: int
    outcome: Outcome
    took: timedelta


@dataclass(frozen=True, slots=True)
class Looked:
    """After a crash or a lost answer: did it happen?"""

    step: StepId
    attempt: int
    sight: Sight


@dataclass(frozen=True, slots=True)
class PersonAsked:
    step: StepId
    who: tuple[PersonName, ...]
    question: str
    nonce: str
    needed: int = 1


@dataclass(frozen=True, slots=True)
class PersonAnswered:
    step: StepId
    who: PersonName
    answer: str
    """`yes`, `no`, `happened`, `did-not`, or the text that was asked for."""
    standing: Literal["signed", "claimed", "break-glass"]
    reason: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class StepSkipped:
    step: StepId
    by: PersonName | str
    reason: str


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A person wants a failed step tried again: the run goes on."""

    step: StepId
    by: PersonName | str
    reason: str


@dataclass(frozen=True, slots=True)
class RunCancelled:
    by: PersonName | str
    reason: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    result: Literal["recovered", "failed", "cancelled"]
    why: str


RunFact = (
    RunStarted
    | Driving
    | Released
    | Intended
    | Ended
    | Looked
    | PersonAsked
    | PersonAnswered
    | StepSkipped
    | StepRetried
    | RunCancelled
    | RunEnded
)
