"""Runs as they were seen: every step with its clocks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import assert_never

from backstay.facts import (
    Ended,
    Happened,
    Impossible,
    Intended,
    Looked,
    Lost,
    Outcome,
    PersonAnswered,
    PersonAsked,
    Recorded,
    RunCancelled,
    RunEnded,
    RunFact,
    RunStarted,
    StepRetried,
    StepSkipped,
    Succeeded,
    TryLater,
)
from backstay.plan import Restore, Step
from backstay.values import ComponentName, RunId, StepId


class StepState(Enum):
    NOT_REACHED = "not reached"
    ACTING = "acting"
    """The intent is written, the outcome is not: it is being done, or its driver died."""
    WAITING = "waiting"
    """To be tried again, or for a person."""
    UNSURE = "unsure"
    """Asked, and never heard back."""
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One step of a run, with its clocks."""

    step: Step
    phase: int
    """Counts from 0."""
    state: StepState = StepState.NOT_REACHED
    began: datetime | None = None
    """When it was first intended, or a person first asked."""
    ended: datetime | None = None
    """When it succeeded, was skipped or failed."""
    took: timedelta | None = None
    """How long the act that counted lasted. None: it has not ended, or nobody measured it (found done by a look)."""
    attempts: int = 0
    said: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One execution of a procedure."""

    started: RunStarted
    at: datetime
    """When it was started, by the journal's clock. The RTO counts from `started.declared`."""
    steps: tuple[StepSeen, ...]
    ended: RunEnded | None = None
    ended_at: datetime | None = None

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
            if isinstance(seen.step.verb, Restore)
            and seen.step.verb.component == component
            and seen.state is StepState.SUCCEEDED
        ]
        return found[-1] if found else None


def started(fact: RunStarted, at: datetime) -> RunSeen:
    return RunSeen(
        fact, at, tuple(StepSeen(step, number) for number, phase in enumerate(fact.phases) for step in phase.steps)
    )


def seen_run(facts: Iterable[Recorded]) -> RunSeen | None:
    """The fold of one run's stream. None: the stream does not begin with a run."""
    run: RunSeen | None = None
    for recorded in facts:
        fact = recorded.fact
        if isinstance(fact, RunStarted):
            run = started(fact, recorded.at)
        elif run is not None and isinstance(fact, RunFact):
            run = run_after(run, fact, recorded.at)
    return run


def run_after(run: RunSeen, fact: RunFact, at: datetime) -> RunSeen:
    """The run as it is seen after one more fact of its stream."""
    match fact:
        case RunEnded():
            return replace(run, ended=fact, ended_at=at)
        case RunStarted() | RunCancelled():
            return run
        case Intended() | Ended() | Looked() | PersonAsked() | PersonAnswered() | StepSkipped() | StepRetried():
            return replace(run, steps=tuple(_after(seen, fact, at) for seen in run.steps))
        case _:  # leases: who drives is no part of what happened to the system
            return run


_OfAStep = Intended | Ended | Looked | PersonAsked | PersonAnswered | StepSkipped | StepRetried


def _after(seen: StepSeen, fact: _OfAStep, at: datetime) -> StepSeen:
    if seen.step.id != fact.step:
        return seen
    match fact:
        case Intended(attempt=attempt):
            return replace(
                seen, state=StepState.ACTING, began=seen.began or at, ended=None, attempts=max(seen.attempts, attempt)
            )
        case Ended(outcome=outcome, took=took):
            return _ended(seen, outcome, took, at)
        case Looked(sight=Happened(saw, values)):
            return replace(seen, state=StepState.SUCCEEDED, ended=at, took=None, said=saw, values=values)
        case Looked(sight=sight):
            said = getattr(sight, "saw", "") or getattr(sight, "why", "")
            return replace(seen, state=StepState.UNSURE, said=said)
        case PersonAsked(question=question):
            return replace(seen, state=StepState.WAITING, began=seen.began or at, said=question)
        case PersonAnswered(who=who, answer=answer, standing=standing):
            return replace(seen, said=f"{who} answered {answer!r} ({standing})")
        case StepSkipped(by=by, reason=reason):
            return replace(seen, state=StepState.SKIPPED, ended=at, said=f"skipped by {by}: {reason}")
        case StepRetried():
            return replace(seen, state=StepState.NOT_REACHED, ended=None)


def _ended(seen: StepSeen, outcome: Outcome, took: timedelta, at: datetime) -> StepSeen:
    match outcome:
        case Succeeded(saw, values):
            return replace(seen, state=StepState.SUCCEEDED, ended=at, took=took, said=saw, values=values)
        case Impossible(why=why):
            return replace(seen, state=StepState.FAILED, ended=at, took=took, said=why)
        case TryLater(why=why):
            return replace(seen, state=StepState.WAITING, said=why)
        case Lost(asked):
            return replace(seen, state=StepState.UNSURE, said=f"never heard back: {asked}")
        case _:
            assert_never(outcome)
