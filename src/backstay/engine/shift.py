"""A driver's shift on one run: what is running, and the loop that decides, notes the intent, acts and notes the end."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, assert_never

from backstay.engine.desk import Desk, LeaseLost
from backstay.engine.driver import Done, Driver, Ending, Waiting, WaitingFor
from backstay.engine.leases import Tenure
from backstay.errors import BackstayError, Cancelled, StoreUnreachable
from backstay.facts import (
    CannotTell,
    Ended,
    Impossible,
    Intended,
    Looked,
    Lost,
    Outcome,
    PersonAsked,
    Released,
    RunEnded,
    RunFact,
    Sight,
    Succeeded,
    TryLater,
)
from backstay.machine import (
    Act,
    BeginPause,
    Busy,
    Do,
    EndPause,
    Finish,
    Judge,
    Look,
    Move,
    Over,
    Put,
    RunState,
    WaitForPeople,
    WaitUntil,
    decide,
    time_limit,
)
from backstay.plan import Step
from backstay.ports import Acting, World
from backstay.values import StepId, say_span

Ask = Literal["timeout", "killed", "cancelled", "leaving"]
"""Why a running act was told to stop: it took too long; its children were killed together with those of one that took
too long; the run was cancelled; its driver leaves. An act that was told to stop and did not succeed tells nothing about
the world: it counts as lost."""

_CATCH_UP = timedelta(seconds=1)


@dataclass(slots=True)
class Running:
    """An act or a look in a thread. `asked` is set by the loop and read by the thread."""

    kind: Literal["act", "look"]
    step: Step
    attempt: int
    began: timedelta
    asked: Ask | None = None
    asked_at: timedelta = timedelta()
    result: Outcome | Sight | BaseException | None = None
    ended: timedelta = timedelta()


class Shift:
    def __init__(self, driver: Driver, world: World, desk: Desk, tenure: Tenure, nonce: str) -> None:
        self._driver, self._world, self._desk, self._tenure = driver, world, desk, tenure
        self._nonce = nonce
        self._running: dict[StepId, Running] = {}
        self._finished: deque[Running] = deque()
        self._caught_up = driver.clock.elapsed()
        self._aside = False
        self._watching = True

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────

    def work(self) -> Ending:
        """Until the run has ended, or nothing is to be done for a while. Raises Cancelled, LeaseLost, whatever the
        journal raises."""
        while True:
            self._note_ends()
            self._tell()
            self._mind_running()
            if self._asked_to_stop():
                raise Cancelled("stopped by a person")
            if not self._tenure.sure():
                raise LeaseLost
            if ending := self._step(self._look_at_journal()):
                return ending

    def _step(self, run: RunState) -> Ending | None:
        now = self._driver.journal.now()
        decision = decide(run, now, self._driver.signed)
        match decision:
            case Do(moves):
                if not self._begin(moves):
                    self._rest()
            case Busy():
                self._rest()
            case WaitUntil(until) if until - now <= self._driver.terms.patience:
                self._rest(until - now)
            case WaitUntil(until):
                self._leave()
                return Waiting(self._desk.run, until)
            case WaitForPeople(questions):
                self._leave()
                return WaitingFor(self._desk.run, questions)
            case Finish(result, why):
                self._leave(RunEnded(result, why))
                return Done(self._desk.run) if self._desk.run.ended is not None else None
            case Over():
                return Done(self._desk.run)
            case _:
                assert_never(decision)
        return None

    def _rest(self, length: timedelta | None = None) -> None:
        tick = self._driver.terms.tick
        self._driver.crew.wait(tick if length is None else min(length, tick), lambda: bool(self._finished))

    def _asked_to_stop(self) -> bool:
        self._driver.clock.wait(timedelta())
        return self._driver.stop()

    def _look_at_journal(self) -> RunState:
        """A person may have answered, skipped or cancelled."""
        if self._driver.clock.elapsed() - self._caught_up >= _CATCH_UP:
            self._caught_up = self._driver.clock.elapsed()
            try:
                self._desk.catch_up()
            except StoreUnreachable:
                return self._desk.run  # while our lease lasts, nobody else can have begun anything
            self._tell()
        return self._desk.run

    def _leave(self, *last: RunFact) -> None:
        """Give the lease back. A fact that may not follow any more is left out: somebody wrote meanwhile."""
        assert not self._running, "nobody leaves while something runs"
        facts = [*last, Released(self._driver.name, self._desk.epoch)]
        if self._desk.write(facts, self._tenure.holds):
            self._tenure.end()
        self._tell()

    # ── beginning ────────────────────────────────────────────────────────────────────────────────

    def _begin(self, moves: tuple[Move, ...]) -> bool:
        """Begin what is not running yet. False: all of it is."""
        begun = False
        for move in moves:
            match move:
                case Act(step, attempt):
                    if step.id not in self._running:
                        begun |= self._act(step, attempt)
                case Look(step, attempt):
                    if step.id not in self._running:
                        self._run(Running("look", step, attempt, self._driver.clock.elapsed()))
                        begun = True
                case Put(step, who, question, needed):
                    nonce = f"{self._nonce}-{self._desk.run.seq}"
                    begun |= self._write(PersonAsked(step, who, question, nonce, needed))
                case Judge(step, attempt, outcome, asked):
                    took = max(self._driver.journal.now() - asked, timedelta())
                    begun |= self._write(Ended(step, attempt, outcome, took))
                case BeginPause(step, attempt):
                    begun |= self._write(Intended(step, attempt, self._desk.epoch))
                case EndPause(step, attempt, since):
                    begun |= self._end_pause(step, attempt, since)
                case _:
                    assert_never(move)
        return begun

    def _act(self, step: Step, attempt: int) -> bool:
        """The intent is durable before the act begins; and the act begins only while the lease holds."""
        if not self._write(Intended(step.id, attempt, self._desk.epoch)):
            return False
        if not self._tenure.sure():
            raise LeaseLost
        self._run(Running("act", step, attempt, self._driver.clock.elapsed()))
        return True

    def _end_pause(self, step: StepId, attempt: int, since: datetime) -> bool:
        passed = self._driver.journal.now() - since
        return self._write(Ended(step, attempt, Succeeded(f"{say_span(passed)} have passed"), passed))

    def _write(self, fact: RunFact) -> bool:
        return self._desk.write([fact], self._tenure.holds)

    def _run(self, running: Running) -> None:
        self._running[running.step.id] = running
        acting = Acting(
            self._desk.run.started.run,
            running.step.id,
            running.attempt,
            self._desk.epoch,
            stop=lambda: running.asked is not None or not self._tenure.holds(),
            progress=self._driver.progress(running.step.id),
        )
        given = given_to(self._desk.run)

        def work() -> None:
            try:
                if running.kind == "act":
                    running.result = self._world.do(acting, running.step, given)
                else:
                    running.result = self._world.look(acting, running.step, given)
            except BaseException as error:  # noqa: BLE001 - judged by the loop, in its own thread
                running.result = error
            running.ended = self._driver.clock.elapsed()
            self._finished.append(running)
            self._driver.crew.ring()

        self._driver.crew.begin(f"{running.kind} {running.step.id}", work)

    # ── minding what runs ────────────────────────────────────────────────────────────────────────

    def _mind_running(self) -> None:
        now, terms = self._driver.clock.elapsed(), self._driver.terms
        for running in self._running.values():
            if running.asked is None and now - running.began > time_limit(running.step):
                self._ask(running, "timeout")
            if running.asked is None and running.kind == "act" and self._desk.run.cancelled is not None:
                self._ask(running, "cancelled")
        if any(one.asked is not None and now - one.asked_at > terms.grace for one in self._running.values()):
            self._kill()

    def _ask(self, running: Running, why: Ask) -> None:
        running.asked, running.asked_at = why, self._driver.clock.elapsed()

    def _kill(self) -> None:
        """Kill all children: those of one act cannot be told from another's. What else runs is lost with them."""
        for running in self._running.values():
            if running.asked is None:
                self._ask(running, "killed")
            running.asked_at = self._driver.clock.elapsed()
        self._driver.kill_children()

    def _note_ends(self) -> None:
        while self._finished:
            running = self._finished.popleft()
            del self._running[running.step.id]
            if not self._tenure.holds():
                raise LeaseLost
            fact, error = judged(running), running.result
            if fact is not None:
                self._write(fact)
            elif isinstance(error, Cancelled) or (
                isinstance(error, BaseException) and not isinstance(error, Exception)
            ):
                raise error
            self._start_aside()

    def _start_aside(self) -> None:
        if self._aside:
            return
        self._aside = True

        def work() -> None:
            try:
                self._driver.aside()
            except Exception:  # noqa: BLE001 - what is done beside the run never stops it; whoever gave it reports
                return
            finally:
                self._aside = False

        self._driver.crew.begin("aside", work)

    def _tell(self) -> None:
        for recorded in self._desk.unseen():
            if self._watching:
                try:
                    self._driver.watch(recorded)
                except Exception:  # noqa: BLE001 - a screen that breaks (a closed pipe) must not stop a recovery
                    self._watching = False

    # ── leaving early ────────────────────────────────────────────────────────────────────────────

    def halt(self) -> None:
        """Stop all that runs and wait until it has ended. Successes are written, while our lease holds; what has no
        end is looked at by whoever resumes. Then the lease is given back, if nobody took it. Who insists (a second
        interrupt in here) does not wait for an act that hears nothing: KeyboardInterrupt goes up, the lease is left to
        run out, and the act ends with this process."""
        for running in self._running.values():
            if running.asked is None:
                self._ask(running, "leaving")
        terms, impatient = self._driver.terms, False
        while self._running:
            try:
                self._driver.crew.wait(terms.tick, lambda: bool(self._finished))
                self._note_last()
                now = self._driver.clock.elapsed()
                if any(now - one.asked_at > terms.grace for one in self._running.values()):
                    self._kill()
            except KeyboardInterrupt:
                self._kill()
                if impatient:
                    raise
                impatient = True
        self._leave()

    def _note_last(self) -> None:
        while self._finished:
            running = self._finished.popleft()
            del self._running[running.step.id]
            fact = judged(running)
            if fact is not None and self._tenure.holds():
                self._write(fact)


def judged(running: Running) -> Ended | Looked | None:
    """What the end of an act or a look means. None: nothing may be written, the step stays without an end."""
    result, step = running.result, running.step.id
    took = running.ended - running.began
    match result:
        case Succeeded():
            return Ended(step, running.attempt, result, took)
        case TryLater() | Impossible() | Lost() if running.asked is None:
            return Ended(step, running.attempt, result, took)
        case _ if running.kind == "look":
            return _judged_look(running)
        case Cancelled():
            return None
        case BaseException() if not isinstance(result, Exception):
            return None
        case _ if running.asked == "leaving":
            return None
        case _:
            return Ended(step, running.attempt, Lost(_why_lost(running)), took)


def _judged_look(running: Running) -> Looked | None:
    match running.result:
        case Cancelled():
            return None
        case Exception() as error:
            sight: Sight = CannotTell(f"the look itself failed: {_said(error)}")
        case BaseException() | None | Succeeded() | TryLater() | Impossible() | Lost():
            return None
        case CannotTell() if running.asked == "leaving":
            return None
        case CannotTell() if running.asked is not None:
            sight = CannotTell(f"the look was stopped after {say_span(running.ended - running.began)}")
        case found:
            sight = found
    return Looked(running.step.id, running.attempt, sight)


def _why_lost(running: Running) -> str:
    match running.asked:
        case "timeout":
            return f"stopped: it had not ended after {say_span(time_limit(running.step))}"
        case "killed":
            return "its child processes were killed together with those of a step that took too long"
        case "cancelled":
            return "stopped: the run was cancelled"
        case _:
            assert isinstance(running.result, Exception), "only an error is lost without being told to stop"
            return f"it ended with an unexpected error: {_said(running.result)}"


def _said(error: Exception) -> str:
    """Our own errors hold no secrets. Of an unknown one only the class is said: its text may hold one."""
    return f"{error.message} (E{error.code:02d})" if isinstance(error, BackstayError) else type(error).__name__


def given_to(run: RunState) -> dict[str, str]:
    """What earlier steps gave, by the step's id and, as plans name it, by its id without the number of its place:
    `2.1-restore-database.port` and `restore-database.port`."""
    given: dict[str, str] = {}
    for id, one in run.steps.items():
        for name, value in one.values.items():
            number, mark, plain = id.partition("-")
            if mark and number.replace(".", "").isdigit():
                given[f"{plain}.{name}"] = value
            given[f"{id}.{name}"] = value
    return given
