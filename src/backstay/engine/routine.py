"""Routine backups, proofs, copies and questions: two facts in their component's stream, instead of a run of their own.

`RoutineBegan` is claim, lease and intent in one; PointTaken, ProofGiven, PointCopied, AnswerGiven or RoutineFailed ends
it. There is one at a time for each component, kind and vault. The lease is not renewed: `until` is the longest that
this routine may take, and everything that it started is killed `guard` before. One that was left open (its driver died)
is closed by the next one, which looks first: a point that was sealed counts, whatever the journal has heard.

While a live run has the component, no backup begins: it would keep a half-restored state, or get in the way. The other
way round nothing is refused: a recovery never waits for a backup.
"""

from collections.abc import Callable
from datetime import timedelta

from backstay.engine.claims import holder
from backstay.engine.driver import Driver
from backstay.errors import BackstayError, Cancelled, JournalConflict, RunBusy
from backstay.facts import AnswerGiven, PointCopied, PointTaken, ProofGiven, Recorded, RoutineBegan, RoutineFailed
from backstay.ports import Acting
from backstay.values import ComponentName, PointId, StepId, StreamName, say_moment

RoutineEnd = PointTaken | ProofGiven | PointCopied | AnswerGiven | RoutineFailed
Note = Callable[[PointId], None]
"""Tells the journal which point was reserved, before anything is read."""


def component_stream(component: ComponentName) -> StreamName:
    return StreamName(f"component/{component}")


def routine(
    driver: Driver,
    component: ComponentName,
    began: RoutineBegan,
    act: Callable[[Acting, Note], RoutineEnd],
    look: Callable[[RoutineBegan], RoutineEnd],
) -> RoutineEnd:
    """Take, prove or copy a point, and write both facts. `act` of a backup calls its second argument as soon as the
    point is reserved; when `began` names the point, that is written before `act`. `look` says how an open one ended.

    Raises RunBusy when the same routine is running, or a live run has the component; whatever `act` raises, after
    writing RoutineFailed; Cancelled.
    """
    desk = _RoutineDesk(driver, component, began, look)
    desk.close_open_ones()
    if began.point is not None:
        desk.begin(began.point)
    deadline = driver.clock.elapsed() + (began.until - driver.journal.now()) - driver.terms.guard
    guard = _Guard(driver, deadline)
    acting = Acting(began.run, StepId(began.what), 1, 1, stop=guard.stopped)
    try:
        end = act(acting, desk.begin)
    except (Exception, KeyboardInterrupt) as error:
        desk.end(desk.seen_after(error))
        raise
    finally:
        guard.end()
    desk.end(end)
    return end


def open_routines(facts: list[Recorded]) -> list[RoutineBegan]:
    """What was begun in a component's stream and has no end."""
    found: dict[str, RoutineBegan] = {}
    for recorded in facts:
        match recorded.fact:
            case RoutineBegan() as began:
                found[began.run] = began
            case (
                PointTaken(run=run)
                | ProofGiven(run=run)
                | PointCopied(run=run)
                | AnswerGiven(run=run)
                | RoutineFailed(run=run)
            ):
                found.pop(run, None)
            case _:
                pass
    return list(found.values())


class _RoutineDesk:
    def __init__(
        self, driver: Driver, component: ComponentName, began: RoutineBegan, look: Callable[[RoutineBegan], RoutineEnd]
    ) -> None:
        self._driver, self._component, self._began, self._look = driver, component, began, look
        self._stream = component_stream(component)
        self._noted: RoutineBegan | None = None

    def close_open_ones(self) -> int:
        """Close what a dead driver left open, after a look. Gives the number of the stream's newest fact. Raises
        RunBusy for one that may still be at work."""
        while True:
            facts = self._driver.journal.read(self._stream)
            newest = facts[-1].seq if facts else 0
            same = [
                one
                for one in open_routines(facts)
                if (one.what, one.vault) == (self._began.what, self._began.vault) and one.run != self._began.run
            ]
            if not same:
                return newest
            self._refuse_if_at_work(same[0])
            self._append(self._look(same[0]), newest)

    def _refuse_if_at_work(self, other: RoutineBegan) -> None:
        over = self._driver.journal.now() >= other.until + self._driver.terms.margin
        if not over and not self._driver.gone(other.driver):
            raise RunBusy(
                f"a {other.what} of {self._component} is running: {other.run}",
                detail=f"{other.driver} began it, and has until {say_moment(other.until)}",
                hint="wait for it, or stop that process",
            )

    def begin(self, point: PointId) -> None:
        """Write RoutineBegan, once."""
        if self._noted is not None:
            assert self._noted.point == point, "a routine is about one point"
            return
        fact = RoutineBegan(
            self._began.run,
            self._began.what,
            self._began.vault,
            self._began.plan,
            self._driver.name,
            self._began.until,
            point,
        )
        while True:
            newest = self.close_open_ones()
            self._refuse_if_recovering()
            if self._append(fact, newest):
                self._noted = fact
                return

    def _refuse_if_recovering(self) -> None:
        if self._began.what == "backup" and (run := holder(self._driver.journal, self._component)) is not None:
            raise RunBusy(
                f"run {run.run} has {self._component}: no backup of it begins",
                detail=f"{run.title!r} was started by {run.by}, and has not ended",
                hint="the next backup after its end takes the recovered state",
            )

    def _append(self, fact: RoutineBegan | RoutineEnd, expected: int) -> bool:
        try:
            recorded = self._driver.journal.append(self._stream, [fact], expected=expected)
        except JournalConflict:
            return False
        for one in recorded:
            self._driver.watch(one)
        return True

    def seen_after(self, error: BaseException) -> RoutineEnd:
        """What to write when the act raised. Its point may have been sealed all the same, right before."""
        if self._noted is not None and self._began.what != "proof":
            try:
                if isinstance(seen := self._look(self._noted), PointTaken | PointCopied | AnswerGiven):
                    return seen
            except BackstayError:
                pass  # the vault does not answer: what it holds, `reconcile` finds
        if isinstance(error, BackstayError):
            why = f"{error.message}; {error.detail}" if error.detail else error.message
            return RoutineFailed(self._began.run, error.code, why)
        if isinstance(error, KeyboardInterrupt):
            return RoutineFailed(self._began.run, Cancelled.code, "stopped by a person")
        return RoutineFailed(self._began.run, 1, f"an unexpected error: {type(error).__name__}")

    def end(self, fact: RoutineEnd) -> None:
        """Write the second fact; nothing when nothing was begun. One that was closed by somebody else stays closed."""
        if self._noted is None:
            if isinstance(fact, RoutineFailed):
                return
            raise AssertionError("a backup tells which point it reserved before it ends")
        while True:
            facts = self._driver.journal.read(self._stream)
            if all(one.run != self._began.run for one in open_routines(facts)):
                return
            if self._append(fact, facts[-1].seq):
                return


class _Guard:
    """Ends a routine that takes longer than it may: it is told to stop, and its children are killed."""

    def __init__(self, driver: Driver, deadline: timedelta) -> None:
        self._driver, self._deadline, self._over = driver, deadline, False
        driver.crew.begin("guards the routine", self._watch)

    def stopped(self) -> bool:
        return self._over or self._driver.stop() or self._driver.clock.elapsed() >= self._deadline

    def end(self) -> None:
        self._over = True
        self._driver.crew.ring()

    def _watch(self) -> None:
        while not self._over:
            left = self._deadline - self._driver.clock.elapsed()
            if left <= timedelta():
                self._driver.kill_children()
                return
            self._driver.crew.wait(min(left, timedelta(minutes=1)), lambda: self._over)
