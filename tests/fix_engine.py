"""A stage on which drivers are played: real threads that run one at a time, in an order that a seed decides.

Everything that blocks (journal, world, clock, locks, waits) is a place where the stage may let somebody else go on, let
time pass, freeze a whole process for longer than its lease, or end it as `kill -9` would. Nothing here sleeps, and the
same seed plays the same story.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.adapters.memory.clock import BEGINNING
from backstay.adapters.memory.journal import MemoryJournal
from backstay.engine import Done, Driver, Terms, Waiting, WaitingFor, drive, start, stream_of, tell
from backstay.errors import Cancelled, RunBusy, StoreUnreachable
from backstay.facts import (
    CannotTell,
    DidNot,
    Fact,
    Happened,
    Head,
    Impossible,
    Intended,
    Lost,
    Outcome,
    PersonAnswered,
    PersonAsked,
    Recorded,
    RunStarted,
    Sight,
    Succeeded,
    TryLater,
)
from backstay.machine import RunState
from backstay.plan import Mode, Objectives, Phase, Smoke, Step, Verb
from backstay.ports import Acting
from backstay.values import ComponentName, PersonName, RunId, ScenarioName, SiteName, StepId, StreamName, digest_of

SECOND = timedelta(seconds=1)
RUN = RunId("recovery-1")

TERMS = Terms(tick=2 * SECOND, patience=timedelta(hours=1))


class Died(BaseException):
    """`kill -9`. Not an Exception, so that nothing survives its own death by catching it."""


@dataclass(slots=True)
class Process:
    """A process that may freeze or die; its threads are tasks."""

    name: str
    dead: bool = False
    frozen_until: timedelta = timedelta()
    kills: int = 0
    """How often its children were killed."""
    asked_to_stop: bool = False


@dataclass(slots=True, eq=False)
class Task:
    name: str
    process: Process
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ready: Callable[[], bool] | None = None
    wake: timedelta | None = None
    since: timedelta = timedelta()
    """Ready to go on, and not chosen, since then."""
    over: bool = False


class Stage:
    def __init__(self, seed: int = 0, *, freezing: float = 0.0, drift_s: float = 0.0) -> None:
        self.dice = random.Random(seed)
        self.elapsed = timedelta()
        self.jump = timedelta()
        self.tasks: list[Task] = []
        self.failures: list[BaseException] = []
        self.may_freeze: Callable[[Process], bool] = lambda process: True
        self.breaths = 0
        self.dies_at: dict[int, Process] = {}
        """At which breath which process dies."""
        self.mischief: Callable[[], None] = lambda: None
        """Called whenever somebody is chosen."""
        self._freezing, self._drift_s = freezing, drift_s
        self._turn = threading.Semaphore(0)
        self._here = threading.local()

    # ── for those who play ───────────────────────────────────────────────────────────────────────

    def spawn(self, process: Process, name: str, work: Callable[[], None]) -> None:
        task = Task(name, process, since=self.elapsed)

        def play() -> None:
            self._here.task = task
            task.go.acquire()
            try:
                if not process.dead:
                    work()
            except Died:
                pass
            except BaseException as error:  # noqa: BLE001 - told by `play`
                self.failures.append(error)
            task.over = True
            self._turn.release()

        self.tasks.append(task)
        threading.Thread(target=play, name=name, daemon=True).start()

    def pause(self, ready: Callable[[], bool] | None = None, length: timedelta | None = None) -> None:
        """Let others go on; come back when `ready`, or after `length`."""
        task: Task = self._here.task
        task.ready = ready if ready is not None or length is None else lambda: False
        task.wake = None if length is None else self.elapsed + length
        task.since = self.elapsed
        self._turn.release()
        task.go.acquire()
        if task.process.dead:
            raise Died

    def breathe(self) -> None:
        """A moment at which a process may die."""
        task: Task = self._here.task
        self.breaths += 1
        if (doomed := self.dies_at.get(self.breaths)) is not None:
            doomed.dead = True
        if task.process.dead:
            raise Died
        self.pause()

    # ── for the director ─────────────────────────────────────────────────────────────────────────

    def play(self, longest: int = 200_000) -> None:
        """Until everybody has ended. Raises what anybody raised; AssertionError when nobody can go on."""
        for _ in range(longest):
            alive = [task for task in self.tasks if not task.over]
            if not alive or self.failures:
                break
            self._let(self._choose(alive))
        else:
            raise AssertionError("the play does not end")
        if self.failures:
            for task in self.tasks:
                task.process.dead = True
            for task in [task for task in self.tasks if not task.over]:
                self._let(task)
            raise self.failures[0]
        self.tasks = []

    def _let(self, task: Task) -> None:
        task.go.release()
        self._turn.acquire()

    def _choose(self, alive: list[Task]) -> Task:
        if dying := [task for task in alive if task.process.dead]:
            return dying[0]
        self._pass_time(alive)
        while not (able := [task for task in alive if self._able(task)]):
            moments = [moment for task in alive if (moment := self._moment(task)) is not None]
            assert moments, f"nobody can go on: {[task.name for task in alive]}"
            self.elapsed = max(self.elapsed, min(moments))
        # Fair enough: who has waited for long goes first, as under any real scheduler.
        oldest = min(able, key=lambda task: task.since)
        return oldest if self.elapsed - oldest.since > 2 * SECOND else self.dice.choice(able)

    def _pass_time(self, alive: list[Task]) -> None:
        self.mischief()
        if self._drift_s:
            self.elapsed += timedelta(seconds=self.dice.uniform(0, self._drift_s))
        if self._freezing and self.dice.random() < self._freezing:
            victim = self.dice.choice(alive).process
            if self.may_freeze(victim) and victim.frozen_until <= self.elapsed:
                victim.frozen_until = self.elapsed + timedelta(seconds=self.dice.uniform(1, 100))

    def _able(self, task: Task) -> bool:
        if task.process.frozen_until > self.elapsed:
            return False
        due = task.wake is not None and task.wake <= self.elapsed
        return task.ready is None or task.ready() or due

    def _moment(self, task: Task) -> timedelta | None:
        frozen = task.process.frozen_until
        if task.ready is None or task.ready():
            return frozen
        return None if task.wake is None else max(task.wake, frozen)


# ── the ports, as one process of the play sees them ──────────────────────────────────────────────


class StageClock:
    def __init__(self, stage: Stage, process: Process) -> None:
        self._stage, self._process = stage, process

    def now(self) -> datetime:
        return BEGINNING + self._stage.elapsed + self._stage.jump

    def elapsed(self) -> timedelta:
        return self._stage.elapsed

    def wait(self, length: timedelta) -> None:
        if self._process.asked_to_stop:
            raise Cancelled("stopped while waiting")
        if length > timedelta():
            self._stage.pause(lambda: self._process.asked_to_stop, length)


class StageCrew:
    def __init__(self, stage: Stage, process: Process) -> None:
        self._stage, self._process = stage, process

    def begin(self, name: str, work: Callable[[], None]) -> None:
        self._stage.spawn(self._process, f"{self._process.name}: {name}", work)

    def wait(self, length: timedelta, until: Callable[[], bool]) -> None:
        self._stage.pause(until, length)

    def ring(self) -> None:
        pass

    def lock(self) -> AbstractContextManager[None]:
        stage, held = self._stage, [False]

        class Lock:
            def __enter__(self) -> None:
                while held[0]:
                    stage.pause(lambda: not held[0])
                held[0] = True

            def __exit__(self, *exc: object) -> None:
                held[0] = False

        return Lock()


class StageJournal:
    """A journal over a network: asking and hearing back are two moments, and the network may be cut at either."""

    def __init__(self, stage: Stage, kept: MemoryJournal) -> None:
        self._stage, self.kept = stage, kept
        self.away_until = timedelta()
        self.deafness = 0.0
        """How often an answer is lost."""

    def append(self, stream: StreamName, facts: Sequence[Fact], *, expected: int) -> list[Recorded]:
        self._stage.breathe()
        self._reach()
        found = self.kept.append(stream, facts, expected=expected)
        self._stage.breathe()
        self._reach()
        if self.deafness and self._stage.dice.random() < self.deafness:
            raise StoreUnreachable("the journal did not answer in time")
        return found

    def read(self, stream: StreamName, after: int = 0) -> list[Recorded]:
        self._stage.pause()
        self._reach()
        return self.kept.read(stream, after)

    def _reach(self) -> None:
        if self._stage.elapsed < self.away_until:
            raise StoreUnreachable("the journal does not answer")

    def everything(self, after: datetime | None = None) -> Iterator[Recorded]:
        return self.kept.everything(after)

    def streams(self, prefix: str = "") -> list[StreamName]:
        return self.kept.streams(prefix)

    def heads(self) -> Mapping[StreamName, Head]:
        return self.kept.heads()

    def now(self) -> datetime:
        return self.kept.now()


# ── the world ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Way:
    """How a step behaves: what its first attempts come to, how long it takes, whether it can be looked at."""

    fumbles: tuple[str, ...] = ()
    """Per attempt: `later`, `lost` (before it happened), `unheard` (after), `raises` (after); then it works."""
    takes_s: int = 2
    blind: bool = False
    deaf: bool = False
    """It does not ask whether it should stop: only killing ends it, like a child process."""


class StageWorld:
    """What was really done. An effect is there once it is complete; a half of it is made whole by doing it again."""

    def __init__(self, stage: Stage, ways: Mapping[str, Way], *, guarded: bool = False) -> None:
        self.stage, self.ways = stage, ways
        self.guarded = guarded
        """The target keeps the epoch, and refuses a lower one."""
        self.effects: list[str] = []
        self.fumbled: dict[str, int] = {}
        self.inside: list[tuple[Process, StepId]] = []
        self.overlaps = 0
        self.unintended = 0
        """Acts whose intent was not in the journal when they began."""
        self.intended: Callable[[Acting], bool] = lambda acting: True
        self.epoch = 0

    def way(self, step: Step) -> Way:
        return self.ways.get(step.id, Way())

    def seen_by(self, process: Process) -> "View":
        return View(self, process)


class View:
    """The world, acted on by one process. Its children die with it."""

    def __init__(self, world: StageWorld, process: Process) -> None:
        self._world, self._process = world, process

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        world = self._world
        kills = self._process.kills
        me = (self._process, step.id)
        if any(other is not self._process for other, _ in world.inside):
            world.overlaps += 1
        world.inside.append(me)
        world.unintended += not world.intended(acting)
        way = world.way(step)

        def stopped() -> bool:
            told = not way.deaf and acting.stop()
            return told or self._process.kills != kills or self._refused(acting)

        try:
            world.stage.breathe()
            for _ in range(way.takes_s):
                if stopped():
                    return Impossible("a tool ended with status -9")
                world.stage.pause(length=SECOND)
            # What a killed tool looks like from outside: the engine must not believe it.
            return Impossible("a tool ended with status -9") if stopped() else self._finish(step)
        finally:
            world.inside.remove(me)

    def _refused(self, acting: Acting) -> bool:
        if self._world.guarded:
            if acting.epoch < self._world.epoch:
                return True
            self._world.epoch = acting.epoch
        return False

    def _finish(self, step: Step) -> Outcome:
        world, way = self._world, self._world.way(step)
        # Fumbles count what the world did, not attempts: a driver that died took none of them away.
        turn = world.fumbled.get(step.id, 0)
        world.fumbled[step.id] = turn + 1
        fumble = way.fumbles[turn] if turn < len(way.fumbles) else ""
        if fumble == "later":
            return TryLater(5 * SECOND, "busy")
        if fumble == "lost":
            return Lost("no answer")
        world.effects.append(step.id)
        world.stage.breathe()
        if fumble == "raises":
            raise ValueError("never thought of")
        return Lost("no answer") if fumble == "unheard" else Succeeded("done", {"by": step.id})

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        self._world.stage.breathe()
        if self._world.way(step).blind:
            return CannotTell("there is nothing to look at")
        return Happened("found", {"by": step.id}) if step.id in self._world.effects else DidNot("not found")


# ── procedures and drivers ───────────────────────────────────────────────────────────────────────


def step(id: str, verb: Verb | None = None, *, needs: Sequence[str] = (), retries: int = 2, **more: object) -> Step:
    return Step(
        verb or Smoke(), StepId(id), needs=tuple(StepId(need) for need in needs), retries=retries, **more  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def run_of(
    *phases: Sequence[Step],
    run: RunId = RUN,
    mode: Mode = Mode.LIVE,
    components: str = "database",
    site: str = "primary",
) -> RunStarted:
    return RunStarted(
        run,
        ScenarioName("database-loss"),
        "Database corruption or loss",
        mode,
        digest_of(b"plan"),
        SiteName(site),
        PersonName("starter"),
        None,
        BEGINNING,
        None,
        Objectives(),
        tuple(Phase(f"phase {number}", tuple(steps)) for number, steps in enumerate(phases, 1)),
        tuple(ComponentName(name) for name in components.split()),
    )


class Play:
    """One run, one world, and as many drivers as a law wants."""

    def __init__(self, stage: Stage, started: RunStarted, ways: Mapping[str, Way], *, guarded: bool = False) -> None:
        self.stage, self.started = stage, started
        director = Process("director")
        self.journal = MemoryJournal(StageClock(stage, director))
        self.world = StageWorld(stage, ways, guarded=guarded)
        self.seats: dict[str, StageJournal] = {}
        self.endings: list[RunState] = []
        start(self.journal, started)
        self.world.intended = self._intended

    def _intended(self, acting: Acting) -> bool:
        wanted = Intended(acting.step, acting.attempt, acting.epoch)
        return any(recorded.fact == wanted for recorded in self.journal.read(stream_of(self.started.run)))

    def cut(self, chance: float) -> None:
        """Now and then the network between one driver and the journal is cut for a while."""

        def mischief() -> None:
            dice = self.stage.dice
            for one in self.seats.values():
                one.deafness = chance * 5
            if dice.random() < chance:
                seat = dice.choice([*self.seats.values(), None])
                if seat is not None and seat.away_until <= self.stage.elapsed:
                    seat.away_until = self.stage.elapsed + timedelta(seconds=dice.uniform(1, 60))

        self.stage.mischief = mischief

    def driver(self, process: Process, name: str) -> Driver:
        stage = self.stage
        seat = self.seats.setdefault(process.name, StageJournal(stage, self.journal))

        def kill() -> None:
            process.kills += 1

        return Driver(
            seat,
            StageClock(stage, process),
            name,
            TERMS,
            kill_children=kill,
            crew=StageCrew(stage, process),
        )

    def enter(self, process: Process, *, after: Process | None = None) -> None:
        """`process` drives the run to its end, answering what people are asked; once `after` is dead."""

        def play() -> None:
            if after is not None:
                self.stage.pause(lambda: not self._plays(after))
            for again in range(1000):
                if self._drive_once(process, f"{process.name}-{again}"):
                    return
            raise AssertionError("the run does not end")

        self.stage.spawn(process, process.name, play)

    def _plays(self, process: Process | None) -> bool:
        return any(task.process is process and not task.over for task in self.stage.tasks)

    def _drive_once(self, process: Process, name: str) -> bool:
        driver = self.driver(process, name)
        try:
            ending = drive(driver, self.world.seen_by(process), self.started.run)
        except (RunBusy, StoreUnreachable):
            self.stage.pause(length=3 * SECOND)
            return False
        match ending:
            case Done(run):
                self.endings.append(run)
                return True
            case Waiting(until=until):
                self.stage.pause(length=until - driver.clock.now())
            case WaitingFor(questions=questions):
                for asked in questions:
                    tell(self.journal, self.started.run, self._answer(asked))
        return False

    def _answer(self, asked: PersonAsked) -> PersonAnswered:
        """What people say: yes to approvals, and the truth about what nobody could look at."""
        who = asked.who[0]
        truth = "happened" if asked.step in self.world.effects else "did-not"
        answer = "yes" if who == "approver" else truth
        return PersonAnswered(asked.step, who, answer, "break-glass", "it is night")
