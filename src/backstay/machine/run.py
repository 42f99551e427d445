"""The state of a run: a fold over its stream of facts, and nothing else.

`evolve(run, recorded)` takes the state on by one fact. A fact that cannot follow what went before raises JournalDamaged
with its place: the journal was changed, or something else wrote into it. Whoever wants to append asks first with
`refusal`, so a well-behaved program never writes such a fact.

An *attempt* counts every intent of a step. A *try* counts only those that the step itself wasted: it said *try later*,
or was lost and had not happened. A driver that died is not the step's fault.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from backstay.errors import JournalDamaged, NoSuchRun
from backstay.facts import (
    CannotTell,
    DidNot,
    Driving,
    Ended,
    Fact,
    Happened,
    Impossible,
    Intended,
    Looked,
    Lost,
    PersonAnswered,
    PersonAsked,
    Recorded,
    Released,
    RunCancelled,
    RunEnded,
    RunFact,
    RunStarted,
    StepRetried,
    StepSkipped,
    Succeeded,
    TryLater,
)
from backstay.machine.people import doubt_event
from backstay.machine.states import SETTLED, TABLE, Event, State
from backstay.plan import Mode, Preserve, Step, Wait
from backstay.values import Digest, PersonName, StepId, StreamName

LONGEST_REST = timedelta(minutes=5)
"""Backoff doubles up to this, unless the step itself asks for longer."""
REST_AFTER_LOST = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class StepState:
    """Where one step stands, and the last that was heard of it."""

    step: Step
    phase: int
    """Counts from 0."""
    state: State = State.WAITING
    attempt: int = 0
    tries: int = 0
    spends: bool = False
    """The attempt that is unsure was the step's own waste (lost), not its driver's death."""
    began: datetime | None = None
    """When the newest attempt, question or pause began."""
    ended: datetime | None = None
    rests_until: datetime | None = None
    said: str = ""
    code: int = 0
    """Of `errors`, when it failed."""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    asked: PersonAsked | None = None
    answers: Mapping[PersonName, PersonAnswered] = field(default_factory=dict[PersonName, PersonAnswered])

    @property
    def settled(self) -> bool:
        return self.state in SETTLED


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act, until when by the journal's clock, and when that was said."""

    driver: str
    epoch: int
    until: datetime
    said: datetime


@dataclass(frozen=True, slots=True)
class RunState:
    started: RunStarted
    steps: Mapping[StepId, StepState]
    """In the order of the procedure."""
    seq: int
    at: datetime
    lease: Lease | None = None
    epoch: int = 0
    """The highest epoch that was ever taken."""
    cancelled: RunCancelled | None = None
    ended: RunEnded | None = None

    def in_state(self, *states: State) -> list[StepState]:
        return [step for step in self.steps.values() if step.state in states]


def time_limit(step: Step) -> timedelta:
    """How long one attempt may take."""
    match step.verb:
        case Preserve(within=within):
            return min(step.timeout, within)
        case _:
            return step.timeout


def only_time(started: RunStarted, step: Step) -> bool:
    """Nothing is done but letting time pass. Where nothing real happens there is nothing to wait for: then the world
    answers, as for any other step."""
    return isinstance(step.verb, Wait) and started.mode in (Mode.LIVE, Mode.DRILL)


def rest(after: timedelta, tries: int) -> timedelta:
    """Exponential backoff: the length that was asked for, doubled with every try, at most LONGEST_REST."""
    doubled = after * 2 ** min(max(tries - 1, 0), 16)
    return max(after, min(doubled, LONGEST_REST))


# ── the fold ─────────────────────────────────────────────────────────────────────────────────────


class _Illegal(Exception):
    """This fact cannot follow; the text says why."""


def fold(facts: Iterable[Recorded]) -> RunState:
    """The state after all `facts` of one run's stream. Raises NoSuchRun when there are none, JournalDamaged."""
    run: RunState | None = None
    for recorded in facts:
        run = evolve(run, recorded)
    if run is None:
        raise NoSuchRun("the journal has no such run")
    return run


def evolve(run: RunState | None, recorded: Recorded) -> RunState:
    """The state after one more fact. Raises JournalDamaged when it cannot follow."""
    try:
        return _after(run, recorded)
    except _Illegal as why:
        raise JournalDamaged(
            f"fact {recorded.seq} of {recorded.stream} cannot follow what went before",
            detail=str(why),
            hint="`backstay journal verify` says which fact was changed",
        ) from None


def refusal(run: RunState | None, facts: Sequence[Fact], at: datetime) -> str | None:
    """Why `facts` may not be appended now, one after the other; None when they may."""
    for fact in facts:
        seq = 1 if run is None else run.seq + 1
        try:
            run = _after(run, Recorded(StreamName("run"), seq, at, fact, Digest(""), Digest("")))
        except _Illegal as why:
            return str(why)
    return None


def _after(run: RunState | None, recorded: Recorded) -> RunState:
    fact, at = recorded.fact, recorded.at
    if not isinstance(fact, RunFact):
        raise _Illegal(f"{type(fact).__name__} is no fact of a run")
    if run is None:
        if not isinstance(fact, RunStarted):
            raise _Illegal(f"a run begins with RunStarted, not with {type(fact).__name__}")
        return _begin(fact, recorded)
    if recorded.seq != run.seq + 1:
        raise _Illegal(f"fact {run.seq + 1} is missing")
    run = _change(run, fact, at)
    return replace(run, seq=recorded.seq, at=at)


def _change(run: RunState, fact: RunFact, at: datetime) -> RunState:
    if run.ended is not None and not isinstance(fact, StepRetried | StepSkipped | Released):
        raise _Illegal(f"the run has ended ({run.ended.result})")
    match fact:
        case RunStarted():
            raise _Illegal("a run begins only once")
        case Driving():
            return _drive(run, fact, at)
        case Released():
            return _release(run, fact)
        case Intended() | Ended() | Looked():
            return _work(run, fact, at)
        case PersonAsked():
            return _ask(run, fact, at)
        case PersonAnswered():
            return _answer(run, fact, at)
        case StepSkipped() | StepRetried():
            return _decree(run, fact, at)
        case RunCancelled():
            if run.cancelled is not None:
                raise _Illegal("the run was cancelled already")
            return replace(run, cancelled=fact)
        case RunEnded():
            return _end(run, fact)
        case _:
            assert_never(fact)


def _begin(started: RunStarted, recorded: Recorded) -> RunState:
    if recorded.seq != 1:
        raise _Illegal("RunStarted is not the first fact")
    if problem := unsound(started):
        raise _Illegal(problem)
    steps = {
        step.id: StepState(step, number) for number, phase in enumerate(started.phases) for step in phase.steps
    }  # fmt: skip
    return RunState(started, steps, seq=1, at=recorded.at)


def needs_of(started: RunStarted) -> dict[StepId, tuple[StepId, ...]]:
    """What each step needs. Where it names nothing: the step before it in its phase."""
    needs: dict[StepId, tuple[StepId, ...]] = {}
    for phase in started.phases:
        before: tuple[StepId, ...] = ()
        for step in phase.steps:
            needs[step.id] = step.needs or before
            before = (step.id,)
    return needs


def unsound(started: RunStarted) -> str | None:
    """Why the steps of a run can never all be reached; None when they can."""
    ids = [step.id for phase in started.phases for step in phase.steps]
    if "" in ids or len(set(ids)) != len(ids):
        return "every step of a run has an id of its own"
    needs, reached = needs_of(started), set[StepId]()
    for phase in started.phases:
        here = {step.id for step in phase.steps}
        while ready := {step for step in here if step not in reached and reached.issuperset(needs[step])}:
            reached |= ready
        if stuck := sorted(here - reached):
            return f"{stuck[0]} needs what never comes before it: {', '.join(needs[stuck[0]])}"
    return None


# ── leases ───────────────────────────────────────────────────────────────────────────────────────


def _drive(run: RunState, fact: Driving, at: datetime) -> RunState:
    lease = Lease(fact.driver, fact.epoch, fact.until, at)
    if fact.epoch == run.epoch:
        if run.lease is None or run.lease.driver != fact.driver:
            raise _Illegal(f"epoch {fact.epoch} is not {fact.driver}'s to renew")
        return replace(run, lease=lease)
    if fact.epoch != run.epoch + 1:
        raise _Illegal(f"epoch {fact.epoch} cannot follow epoch {run.epoch}")
    return replace(_orphaned(run), lease=lease, epoch=fact.epoch)


def _release(run: RunState, fact: Released) -> RunState:
    if run.lease is None or (run.lease.driver, run.lease.epoch) != (fact.driver, fact.epoch):
        raise _Illegal(f"{fact.driver} does not hold the lease of epoch {fact.epoch}")
    return replace(_orphaned(run), lease=None)


def _orphaned(run: RunState) -> RunState:
    """What the last driver began and never ended."""
    for left in run.in_state(State.ACTING):
        run = _put(run, _move(left, Event.LEFT, said="its driver ended before it was heard of", spends=False))
    return run


# ── steps ────────────────────────────────────────────────────────────────────────────────────────


def _put(run: RunState, step: StepState) -> RunState:
    return replace(run, steps={**run.steps, step.step.id: step})


def _of(run: RunState, step: StepId) -> StepState:
    try:
        return run.steps[step]
    except KeyError:
        raise _Illegal(f"the run has no step {step!r}") from None


def _move(old: StepState, event: Event, **changes: Any) -> StepState:
    new = TABLE.get((old.state, event))
    if new is None:
        raise _Illegal(f"a step that is {old.state.value} cannot be {event.value!r} ({old.step.id})")
    return replace(old, state=new, **changes)


def _work(run: RunState, fact: Intended | Ended | Looked, at: datetime) -> RunState:
    if run.lease is None:
        raise _Illegal("nobody holds the lease")
    old = _of(run, fact.step)
    match fact:
        case Intended():
            if fact.epoch != run.lease.epoch or fact.attempt != old.attempt + 1:
                raise _Illegal(f"attempt {fact.attempt} under epoch {fact.epoch} is not the next of {fact.step}")
            event = Event.PAUSE_BEGAN if only_time(run.started, old.step) else Event.INTENDED
            new = _move(old, event, attempt=fact.attempt, began=at, ended=None, rests_until=None)
        case Ended() | Looked() if fact.attempt != old.attempt:
            raise _Illegal(f"{fact.step} is at attempt {old.attempt}, not {fact.attempt}")
        case Ended():
            new = _ended(old, fact, at)
        case Looked():
            new = _looked(old, fact, at)
    return _put(run, new)


def _ended(old: StepState, fact: Ended, at: datetime) -> StepState:
    match fact.outcome:
        case Succeeded(saw, values):
            return _move(old, Event.SUCCEEDED, said=saw, values=values, ended=at)
        case TryLater(after, why):
            return _again(old, after, why, at)
        case Impossible(why, code):
            if not _required(old.step):
                return _move(old, Event.GIVEN_UP, said=why, ended=at)
            return _move(old, Event.IMPOSSIBLE, said=why, code=code, ended=at)
        case Lost(asked):
            return _move(old, Event.LOST, said=asked, spends=True)
        case _:
            assert_never(fact.outcome)


def _looked(old: StepState, fact: Looked, at: datetime) -> StepState:
    match fact.sight:
        case Happened(saw, values):
            return _move(old, Event.HAPPENED, said=saw, values=values, ended=at)
        case DidNot(saw):
            return _undone(old, saw, at)
        case CannotTell(why) if old.step.repeatable:
            return _undone(old, why, at)
        case CannotTell(why):
            if not _required(old.step):
                return _move(old, Event.GIVEN_UP, said=why, ended=at)
            return _move(old, Event.CANNOT_TELL, said=why, asked=None, answers={})
        case _:
            assert_never(fact.sight)


def _undone(old: StepState, why: str, at: datetime) -> StepState:
    if old.spends:
        return _again(old, REST_AFTER_LOST, why, at)
    return _move(old, Event.DID_NOT, said=why)


def _again(old: StepState, after: timedelta, why: str, at: datetime) -> StepState:
    tries = old.tries + 1
    if tries <= old.step.retries:
        return _move(old, Event.TRY_LATER, said=why, tries=tries, rests_until=at + rest(after, tries))
    if not _required(old.step):
        return _move(old, Event.GIVEN_UP, said=why, tries=tries, ended=at)
    return _move(old, Event.SPENT, said=why, tries=tries, code=60, ended=at)


def _required(step: Step) -> bool:
    """`preserve` with `else: continue`: the damaged state is never kept at the price of the recovery."""
    return not isinstance(step.verb, Preserve) or step.verb.required


# ── people ───────────────────────────────────────────────────────────────────────────────────────


def _ask(run: RunState, fact: PersonAsked, at: datetime) -> RunState:
    old = _of(run, fact.step)
    if run.lease is None:
        raise _Illegal("nobody holds the lease")
    if old.asked is not None:
        raise _Illegal(f"{fact.step} was asked already")
    # A question that opens a step is an attempt; one about an attempt that is in doubt belongs to it.
    attempt = old.attempt + (old.state is State.WAITING)
    return _put(run, _move(old, Event.ASKED, asked=fact, answers={}, began=at, attempt=attempt))


def _answer(run: RunState, fact: PersonAnswered, at: datetime) -> RunState:
    old = _of(run, fact.step)
    if old.asked is None:
        raise _Illegal(f"nobody was asked about {fact.step}")
    answers = {**{who: one for who, one in old.answers.items() if who != fact.who}, fact.who: fact}
    event = doubt_event(fact) if old.state is State.IN_DOUBT else Event.ANSWERED
    new = _move(old, event, answers=answers)
    said = f"{fact.who}: {fact.answer}" + (f" ({fact.reason})" if fact.reason else "")
    match event:
        case Event.SAID_HAPPENED:
            new = replace(new, said=f"{said}, as nobody could look", ended=at)
        case Event.SAID_DID_NOT:
            new = replace(new, said=said, asked=None)
        case _:
            pass
    return _put(run, new)


def _decree(run: RunState, fact: StepSkipped | StepRetried, at: datetime) -> RunState:
    if run.cancelled is not None:
        raise _Illegal("the run was cancelled")
    old = _of(run, fact.step)
    said = f"{fact.by}: {fact.reason}"
    match fact:
        case StepSkipped():
            new = _move(old, Event.SKIPPED, said=said, ended=at)
        case StepRetried():
            new = _move(old, Event.RETRIED, said=said, tries=0, code=0, asked=None, answers={}, ended=None)
    if run.ended is not None and old.state is not State.FAILED:
        raise _Illegal(f"the run has ended ({run.ended.result})")
    # A person who has a failed step retried, or skips it, opens a failed run again.
    return replace(_put(run, new), ended=None)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def _end(run: RunState, fact: RunEnded) -> RunState:
    if open_steps := run.in_state(State.ACTING, State.UNSURE):
        raise _Illegal(f"{open_steps[0].step.id} is still {open_steps[0].state.value}")
    if fact.result == "recovered" and not all(step.settled for step in run.steps.values()):
        raise _Illegal("a step is not done")
    if fact.result == "failed" and not run.in_state(State.FAILED):
        raise _Illegal("no step has failed")
    if fact.result == "cancelled" and run.cancelled is None:
        raise _Illegal("nobody cancelled it")
    return replace(run, ended=fact)
