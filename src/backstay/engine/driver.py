"""Who drives, on what terms, and what a drive comes to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.engine.crew import Crew, Threads
from backstay.facts import PersonAsked, Recorded
from backstay.machine import RunState, Signed, nothing_signed
from backstay.ports import Clock, Journal, Progress, unwatched
from backstay.values import StepId


@dataclass(frozen=True, slots=True)
class Terms:
    """How leases run. `guard` before the end of a lease everything that acts is killed; a taker waits `margin` longer
    than the lease. Their sum is what clocks may differ by in their rate, and what killing may take."""

    length: timedelta = timedelta(seconds=30)
    renew: timedelta = timedelta(seconds=7)
    guard: timedelta = timedelta(seconds=5)
    margin: timedelta = timedelta(seconds=5)
    grace: timedelta = timedelta(seconds=5)
    """An act that was told to stop gets this long to end by itself; then its children are killed."""
    patience: timedelta = timedelta(minutes=1)
    """A shorter wait is waited out by `drive` itself; for a longer one it comes back and leaves the run alone."""
    tick: timedelta = timedelta(milliseconds=200)
    """How often we look whether we were asked to stop."""

    def __post_init__(self) -> None:
        assert self.renew * 2 + self.guard <= self.length, "a lease has to leave time for one renewal that fails"


def _nothing() -> None:
    pass


def _never() -> bool:
    return False


def _nobody(name: str) -> bool:
    return False


def _unseen(recorded: Recorded) -> None:
    pass


def _unwatched(step: StepId) -> Progress:
    return unwatched


@dataclass(frozen=True, slots=True)
class Driver:
    """One who drives runs. The callables may be called from any thread."""

    journal: Journal
    clock: Clock
    name: str
    """Unique to this process *and* this drive: host, process, start time. It is shown to people."""
    terms: Terms = Terms()
    signed: Signed = nothing_signed
    """Which signatures of approvals hold: asked when answers are judged, and the verdict is written down."""
    kill_children: Callable[[], None] = _nothing
    """Kill every child process of this process, and theirs, at once. What runs in their stead gets Lost."""
    gone: Callable[[str], bool] = _nobody
    """Evidence that the driver of that name has ended, and everything that it started. False: not known."""
    stop: Callable[[], bool] = _never
    """Somebody asks us to stop. `clock.wait` raising Cancelled means the same."""
    watch: Callable[[Recorded], None] = _unseen
    """Told of every new fact of the run, in order, whoever wrote it."""
    progress: Callable[[StepId], Progress] = _unwatched
    """Who watches the long work of a step."""
    aside: Callable[[], None] = _nothing
    """Called now and then between steps, beside the run: seals the journal's spine. Its failure stops nothing."""
    crew: Crew = field(default_factory=Threads)


@dataclass(frozen=True, slots=True)
class Done:
    """The run has ended; `run.ended` says how."""

    run: RunState


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is to be done before `until`. The lease is released: anybody may drive on."""

    run: RunState
    until: datetime


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Nothing is to be done before somebody answers one of these. The lease is released."""

    run: RunState
    questions: tuple[PersonAsked, ...]


Ending = Done | Waiting | WaitingFor
