"""What to do next in a run, given its state and the time. Pure: the engine only obeys.

In this order: what is unsure is looked at before anything is done; a run that was cancelled, or has a failed step,
begins nothing more and ends when what is running has ended; else every step of the current phase whose needs are met
may go on, side by side.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backstay.facts import Outcome, PersonAsked
from backstay.machine.people import Signed, nothing_signed, verdict
from backstay.machine.run import RunState, StepState, needs_of, only_time
from backstay.machine.states import State
from backstay.plan import Approve, AskPerson, Mode, Step, Wait
from backstay.values import PersonName, StepId, count, listed

# ── single moves ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Act:
    step: Step
    attempt: int


@dataclass(frozen=True, slots=True)
class Look:
    step: Step
    attempt: int


@dataclass(frozen=True, slots=True)
class Put:
    """Put a question to people."""

    step: StepId
    who: tuple[PersonName, ...]
    question: str
    needed: int


@dataclass(frozen=True, slots=True)
class BeginPause:
    step: StepId
    attempt: int


@dataclass(frozen=True, slots=True)
class EndPause:
    step: StepId
    attempt: int
    began: datetime


@dataclass(frozen=True, slots=True)
class Judge:
    """People's answers settle the step: this is its end."""

    step: StepId
    attempt: int
    outcome: Outcome
    asked: datetime


Move = Act | Look | Put | Judge | BeginPause | EndPause

# ── decisions ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Do:
    """All of these, side by side."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing to begin: what runs has to end first. `until`: when a resting step may go on meanwhile."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing runs; the next thing to do comes at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class WaitForPeople:
    """Nothing goes on until somebody answers one of these."""

    questions: tuple[PersonAsked, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    result: Literal["recovered", "failed", "cancelled"]
    why: str


@dataclass(frozen=True, slots=True)
class Over:
    """The run has ended; nothing is to be done."""


Decision = Do | Busy | WaitUntil | WaitForPeople | Finish | Over


def decide(run: RunState, now: datetime, signed: Signed = nothing_signed) -> Decision:
    """What to do next. `signed` says which signatures of approvals hold."""
    if run.ended is not None:
        return Over()
    if unsure := run.in_state(State.UNSURE):
        return Do(tuple(Look(one.step, one.attempt) for one in unsure))
    failed, acting = run.in_state(State.FAILED), run.in_state(State.ACTING)
    if (failed or run.cancelled is not None) and acting:
        return Busy(None)
    if run.cancelled is not None:
        return Finish("cancelled", f"{run.cancelled.by}: {run.cancelled.reason}")
    if failed:
        return Finish("failed", f"{listed(one.step.id for one in failed)}: {failed[0].said}")
    here = current_phase(run)
    if here is None:
        skipped = len(run.in_state(State.SKIPPED))
        done = f"{count(len(run.steps) - skipped, 'step')} done"
        return Finish("recovered", f"{done}, {skipped} skipped" if skipped else done)
    return _go_on(run, [step for step in run.steps.values() if step.phase == here], now, signed)


def current_phase(run: RunState) -> int | None:
    """The first phase that is not settled; None: all are."""
    return min((step.phase for step in run.steps.values() if not step.settled), default=None)


def _go_on(run: RunState, phase: list[StepState], now: datetime, signed: Signed) -> Decision:
    moves: list[Move] = []
    wakes: list[datetime] = []
    questions: list[PersonAsked] = []
    needs = needs_of(run.started)
    for one in phase:
        ready = all(run.steps[need].settled for need in needs[one.step.id])
        match one.state:
            case State.WAITING if ready:
                moves.append(_first_move(run, one))
            case State.RESTING if one.rests_until is not None and one.rests_until > now:
                wakes.append(one.rests_until)
            case State.RESTING:
                moves.append(Act(one.step, one.attempt + 1))
            case State.PAUSING if (until := paused_until(one)) > now:
                wakes.append(until)
            case State.PAUSING:
                assert one.began is not None, "a pause has a beginning"
                moves.append(EndPause(one.step.id, one.attempt, one.began))
            case State.IN_DOUBT if one.asked is None:
                moves.append(_doubt(run, one))
            case State.ASKING if (judge := _judge(run, one, signed)) is not None:
                moves.append(judge)
            case State.IN_DOUBT | State.ASKING if one.asked is not None:
                questions.append(one.asked)
            case _:
                pass
    if moves:
        return Do(tuple(moves))
    if any(one.state is State.ACTING for one in phase):
        return Busy(min(wakes, default=None))
    if wakes:
        return WaitUntil(min(wakes))
    assert questions, "a run that has not ended can always go on, or waits for somebody"
    return WaitForPeople(tuple(questions))


def paused_until(one: StepState) -> datetime:
    assert isinstance(one.step.verb, Wait), "only a wait pauses"
    assert one.began is not None, "a pause has a beginning"
    return one.began + one.step.verb.length


def _first_move(run: RunState, one: StepState) -> Move:
    if only_time(run.started, one.step):
        return BeginPause(one.step.id, one.attempt + 1)
    # In a dry run nobody is bothered: the world says what would be asked.
    match one.step.verb:
        case Approve(question, by, needed) if run.started.mode is not Mode.DRY:
            return Put(one.step.id, by, question, needed)
        case AskPerson(question, who) if run.started.mode is not Mode.DRY:
            return Put(one.step.id, who, question, 1)
        case _:
            return Act(one.step, one.attempt + 1)


def _judge(run: RunState, one: StepState, signed: Signed) -> Judge | None:
    assert one.asked is not None, "a step that is asking has asked"
    assert one.began is not None, "and it did so at some moment"
    outcome = verdict(run.started, one.step, one.asked, one.answers, signed)
    return None if outcome is None else Judge(one.step.id, one.attempt, outcome, one.began)


def _doubt(run: RunState, one: StepState) -> Put:
    name = one.step.name or one.step.id
    question = f"Did {name!r} happen? It was begun, its end was not heard of, and it cannot be looked at: {one.said}"
    return Put(one.step.id, (PersonName(run.started.by),), question, 1)
