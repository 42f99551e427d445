"""What is to be done now, without anybody asking: points, proofs, drills, and runs that can go on.

Nothing is scheduled and nothing is remembered. Each thing that is due follows from the plan, the journal and the time,
so a service that was away for three days owes one point, not three, and one whose queue is lost owes what it owed
before. What failed is tried again, each time after a longer rest.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from backstay import drill, protect
from backstay.errors import Cancelled
from backstay.history import History, taken_order
from backstay.machine import Busy, Do, Finish, RunState, Signed, WaitUntil, decide, nothing_signed
from backstay.plan import Component, Mode, Plan
from backstay.protect import next_after, say_schedule
from backstay.values import ComponentName, say_moment


class Work(Enum):
    """In the order in which it is begun where not all can be at once."""

    RESUME = "resume"
    BACKUP = "backup"
    VERIFY = "verify"
    DRILL = "drill"
    RETAIN = "retain"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to be done by one process: a verb of the command line, and what it is done to."""

    work: Work
    subject: str
    """A component, a run or a scenario; empty: the whole plan."""
    since: datetime
    because: str

    @property
    def name(self) -> str:
        """The same job is never under way twice: `verify database`."""
        return f"{self.work.value} {self.subject}".strip()

    @property
    def lane(self) -> str:
        """Of two jobs in one lane, one waits: what touches the same component does not run side by side. A recovery
        waits for nobody."""
        return self.name if self.work is Work.RESUME else (self.subject or self.work.value)


REST = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
"""How long to leave alone what has failed once, twice…; the last from then on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the agenda is made from, beside plan and history."""

    open_runs: tuple[RunState, ...] = ()
    able: frozenset[ComponentName] = frozenset()
    """The components that this version can take points of."""
    driven: Callable[[RunState], bool] = lambda run: False
    """Whether somebody may still be driving the run: then it is left alone."""
    signed: Signed = nothing_signed


def agenda(plan: Plan, history: History, seen: Seen, now: datetime) -> list[Job]:
    """Everything that is due, the most urgent first. One that failed rests meanwhile, and is not in it."""
    held = {name for run in seen.open_runs if run.started.mode is Mode.LIVE for name in run.started.components}
    free = [one for name, one in plan.components.items() if name in seen.able and name not in held]
    jobs = [*_runs(seen, now)]
    for component in free:
        jobs += _backup(plan, component, history, now)
        jobs += _proof(plan, component, history, now)
    if not held:
        jobs += [*_drills(plan, history, seen, now), *_retention(history, now)]
    order = list(Work)
    return sorted(jobs, key=lambda job: (order.index(job.work), job.since, job.subject))


def _runs(seen: Seen, now: datetime) -> Iterator[Job]:
    """Open runs that somebody has to drive: not those that wait for a person, or for a later moment."""
    for run in seen.open_runs:
        started = run.started
        if started.mode not in (Mode.LIVE, Mode.DRILL) or seen.driven(run):
            continue
        match decide(run, now, seen.signed):
            case Do() | Finish() | Busy():  # busy with what its dead driver left half done
                yield Job(Work.RESUME, started.run, run.at, "it has not ended, and nobody drives it")
            case WaitUntil(until) if until <= now:
                yield Job(Work.RESUME, started.run, until, "what it waited for is over")
            case _:
                pass


def _backup(plan: Plan, component: Component, history: History, now: datetime) -> Iterator[Job]:
    for due in protect.due(component, history.points_of(component.name), now, plan.timezone):
        if not _rests(component.name, "backup", history, now):
            yield Job(Work.BACKUP, component.name, due.since, due.because)


def _proof(plan: Plan, component: Component, history: History, now: datetime) -> Iterator[Job]:
    """The newest point is proven at each moment that the plan names. A proof that was given counts, whatever it says:
    a point that was refuted is for a person."""
    points = history.points_of(component.name)
    if component.prove.at is None or not points:
        return
    newest, proofs = max(points, key=taken_order), history.proofs_of(component.name)
    if _rests(component.name, "proof", history, now):
        return
    last = max((proof.began for proof in proofs if not _ahead(proof.began, now)), default=None)
    if last is None:
        yield Job(Work.VERIFY, component.name, newest.ended, "no point of it was ever proven")
        return
    since = next_after(component.prove.at, last, plan.timezone)
    if since is not None and since <= now:
        said = f"{say_schedule(component.prove.at)}, and the last proof is of {say_moment(last)}"
        yield Job(Work.VERIFY, component.name, since, said)


def _drills(plan: Plan, history: History, seen: Seen, now: datetime) -> Iterator[Job]:
    """Drills that need nobody. A tabletop needs people: `status` says that it is due."""
    under_way = {run.started.scenario for run in seen.open_runs if run.started.mode is Mode.DRILL}
    for due in drill.due(plan, history, now):
        if due.rule.mode is Mode.DRILL and not due.rule.participants and due.rule.scenario not in under_way:
            yield Job(Work.DRILL, due.rule.scenario, due.since, due.because)


def _retention(history: History, now: datetime) -> Iterator[Job]:
    """Once in a day of UTC, when there is something to keep: what the queue remembers of the day is enough."""
    if history.points:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        yield Job(Work.RETAIN, "", midnight, "once a day")


def _rests(component: ComponentName, what: str, history: History, now: datetime) -> bool:
    """After a failure: a minute, then five, then fifteen, then an hour."""
    failures = [at for at in _failures(component, what, history) if not _ahead(at, now)]
    if not failures:
        return False
    return now < max(failures) + REST[min(len(failures), len(REST)) - 1]


def _ahead(moment: datetime, now: datetime) -> bool:
    """Written by a clock that has been set back since: it puts nothing off, else nothing would be due until then."""
    return moment > now + protect.CLOCK_TOLERANCE


def _failures(component: ComponentName, what: str, history: History) -> Iterable[datetime]:
    """Those since it last went well."""
    if what == "backup":
        well = max((at for at, fact in history.taken if fact.point.component == component), default=None)
    else:
        well = max((proof.ended for proof in history.proofs_of(component)), default=None)
    for at, name, fact in history.failed:
        # Its run says what it was: `backup-20261122t020000z-7f3a`. What somebody stopped has not failed.
        ours = name == component and fact.run.startswith(f"{what}-") and fact.code != Cancelled.code
        if ours and (well is None or at > well):
            yield at
