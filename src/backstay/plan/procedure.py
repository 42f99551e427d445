"""How: verbs, steps, phases, scenarios, drills."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Literal

from backstay.plan.parts import Request
from backstay.plan.targets import Target
from backstay.plan.wording import Objectives, Schedule, Template
from backstay.values import (
    ComponentName,
    PersonName,
    ScenarioName,
    StepId,
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How many of a workload run. `to=None`: as many as the first Scale of this run found."""

    workload: str
    kind: Literal["process", "deployment"]
    to: int | None


@dataclass(frozen=True, slots=True)
class Preserve:
    """Keep the damaged state for forensics, in constant time, never at the price of the RTO."""

    component: ComponentName
    within: timedelta = timedelta(minutes=3)
    required: bool = False
    """False (`else: continue`): where it cannot be kept, the run goes on and says so."""


@dataclass(frozen=True, slots=True)
class Choose:
    component: ComponentName
    origin: Literal["proven", "newest", "clean"] | str = "proven"
    """Or the id of a point."""
    target: Target | None = None
    """The restore goes on to here from the point, over the log: so the point lies before it. None: its own end."""


@dataclass(frozen=True, slots=True)
class Restore:
    component: ComponentName
    beside: bool = True
    """Restored beside the old one, asked, then swapped by rename."""
    target: Target | None = None
    """How far the log is replayed. None: the point's own end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The plan's own questions to a component that was restored."""

    component: ComponentName


@dataclass(frozen=True, slots=True)
class Smoke:
    checks: tuple[str, ...] = ()
    """Empty: all of the plan's."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A program by its argv: never a shell string built from data."""

    argv: tuple[Template, ...]
    env: Mapping[str, Template] = field(default_factory=dict[str, Template])


@dataclass(frozen=True, slots=True)
class CallHttp:
    request: Request


@dataclass(frozen=True, slots=True)
class Approve:
    """A person must say yes. The one who started the run does not count."""

    question: str
    by: tuple[PersonName, ...]
    needed: int = 1


@dataclass(frozen=True, slots=True)
class AskPerson:
    question: str
    who: tuple[PersonName, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    audience: str
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    length: timedelta


Verb = Scale | Preserve | Choose | Restore | Ask | Smoke | RunCommand | CallHttp | Approve | AskPerson | Tell | Wait

VERB_NAME: Mapping[type, str] = {
    Scale: "scale",
    Preserve: "preserve",
    Choose: "choose",
    Restore: "restore",
    Ask: "ask",
    Smoke: "smoke",
    RunCommand: "command",
    CallHttp: "http",
    Approve: "approve",
    AskPerson: "ask-person",
    Tell: "tell",
    Wait: "wait",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One typed verb. In a plan `id` is the step's name, or empty; `recover` gives every step of a run its id."""

    verb: Verb
    id: StepId = StepId("")
    name: str = ""
    target: timedelta | None = None
    timeout: timedelta = timedelta(hours=1)
    retries: int = 2
    """How often it may be tried again after *try later*."""
    needs: tuple[StepId, ...] = ()
    """Empty: the step before it. Steps that name their needs may run side by side."""
    look: tuple[Template, ...] = ()
    """A program that answers whether the step has happened: exit 0 yes, 1 no, else unknown."""
    repeatable: bool = False
    """The author says: doing it twice is the same as once."""

    @property
    def verb_name(self) -> str:
        return VERB_NAME[type(self.verb)]


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    steps: tuple[Step, ...]
    target: timedelta | None = None


class Level(Enum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: ScenarioName
    title: str
    probability: Level
    impact: Level
    objectives: Objectives
    strategy: str
    procedure: tuple[Phase, ...]
    """Empty: the plan names the disaster, and has no recovery for it yet."""


class Mode(Enum):
    LIVE = "live"
    DRILL = "drill"
    TABLETOP = "tabletop"
    DRY = "dry"


@dataclass(frozen=True, slots=True)
class DrillRule:
    scenario: ScenarioName
    every: Schedule
    mode: Mode
    participants: tuple[PersonName, ...] = ()
    takes: timedelta | None = None
