"""Laws of claims and routines: two runs never have one component, and a routine writes its two facts."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.journal import MemoryJournal
from backstay.engine import (
    Driver,
    RoutineEnd,
    component_stream,
    holder,
    missing_points,
    open_routines,
    open_runs,
    routine,
    start,
    stream_of,
    tell,
)
from backstay.engine.claims import claim
from backstay.engine.routine import Note
from backstay.errors import RunBusy, SourceDown, Usage
from backstay.facts import (
    Driving,
    Ended,
    Impossible,
    Intended,
    Point,
    PointMissing,
    PointTaken,
    RoutineBegan,
    RoutineFailed,
    RunCancelled,
    RunEnded,
    RunStarted,
    StepRetried,
)
from backstay.plan import Mode
from backstay.ports import Acting, Journal
from backstay.values import (
    ComponentName,
    LineageId,
    PersonName,
    PointId,
    RunId,
    StepId,
    VaultName,
    digest_of,
)
from fix_engine import SECOND, TERMS, Process, Stage, StageClock, StageCrew, StageJournal, run_of, step

DATABASE, SETTINGS = ComponentName("database"), ComponentName("settings")
ANN = PersonName("ann")
VAULT = VaultName("cellar")


def new(run: str, *, mode: Mode = Mode.LIVE, components: str = "database", site: str = "primary") -> RunStarted:
    return run_of([step("1.1-a")], run=RunId(run), mode=mode, components=components, site=site)


def cancel(journal: Journal, run: str) -> None:
    facts = journal.read(stream_of(RunId(run)))
    end = [RunCancelled(ANN, "enough"), RunEnded("cancelled", "enough")]
    journal.append(stream_of(RunId(run)), end, expected=facts[-1].seq)


# ── claims ───────────────────────────────────────────────────────────────────────────────────────


def test_a_second_run_on_a_component_is_refused_until_the_first_has_ended() -> None:
    journal = MemoryJournal(MemoryClock())
    start(journal, new("one", components="database settings"))
    with pytest.raises(RunBusy, match="run one has database"):
        start(journal, new("two"))
    start(journal, new("elsewhere", site="dr"))
    start(journal, new("other", components="grafana"))
    assert not journal.read(stream_of(RunId("two")))
    cancel(journal, "one")
    start(journal, new("two"))
    assert [run.started.run for run in open_runs(journal)] == ["elsewhere", "other", "two"]


def test_what_touches_nothing_claims_nothing() -> None:
    journal = MemoryJournal(MemoryClock())
    for mode in (Mode.DRY, Mode.TABLETOP):
        start(journal, new(mode.value, mode=mode))
    start(journal, new("real"))
    start(journal, new("dry-again", mode=Mode.DRY))


def test_a_drill_never_stands_in_the_way_of_a_recovery() -> None:
    journal = MemoryJournal(MemoryClock())
    start(journal, new("drill", mode=Mode.DRILL, site="sandbox-1"))
    assert holder(journal, DATABASE) is None
    start(journal, new("real"))
    found = holder(journal, DATABASE)
    assert found is not None
    assert found.run == "real"


def test_a_run_that_is_opened_again_has_to_claim_again() -> None:
    journal = MemoryJournal(MemoryClock())
    one = new("one")
    start(journal, one)
    failed = [
        Driving("a", 1, BEGINNING),
        Intended(StepId("1.1-a"), 1, 1),
        Ended(StepId("1.1-a"), 1, Impossible("no room"), SECOND),
        RunEnded("failed", "no room"),
    ]
    journal.append(stream_of(one.run), failed, expected=1)
    retried = StepRetried(StepId("1.1-a"), ANN, "made room")
    tell(journal, one.run, retried)
    claim(journal, one)
    with pytest.raises(RunBusy):
        start(journal, new("two"))
    claim(journal, one)
    assert len(journal.read(journal.streams("claims")[0])) == 2


def test_an_opened_run_meets_the_one_that_came_meanwhile() -> None:
    journal = MemoryJournal(MemoryClock())
    start(journal, new("one"))
    cancel(journal, "one")
    start(journal, new("two"))
    with pytest.raises(RunBusy, match="run two"):
        claim(journal, new("one"))


def test_nonsense_is_refused() -> None:
    journal = MemoryJournal(MemoryClock())
    with pytest.raises(Usage, match="cannot be run"):
        start(journal, run_of([step("1.1-a", needs=["9.9-z"])]))
    start(journal, new("one"))
    cancel(journal, "one")
    with pytest.raises(Usage, match="already"):
        start(journal, new("one"))
    with pytest.raises(Usage, match="cannot be said"):
        tell(journal, RunId("one"), RunCancelled(ANN, "again"))


@pytest.mark.parametrize("seed", range(40))
def test_of_several_that_start_at_once_one_wins(seed: int) -> None:
    stage = Stage(seed, drift_s=0.1)
    kept = MemoryJournal(StageClock(stage, Process("director")))
    won: list[str] = []

    def starts(run: str) -> Callable[[], None]:
        def work() -> None:
            try:
                start(StageJournal(stage, kept), new(run, components="database settings"))
            except RunBusy:
                return
            won.append(run)

        return work

    for run in ("one", "two", "three"):
        stage.spawn(Process(run), run, starts(run))
    stage.play()
    assert len(won) == 1
    assert [run.started.run for run in open_runs(kept)] == won


# ── routines ─────────────────────────────────────────────────────────────────────────────────────


def point(id: str) -> Point:
    return Point(
        id=PointId(id),
        component=DATABASE,
        lineage=LineageId("pg-1-1"),
        parent=None,
        way="local",
        began=BEGINNING,
        ended=BEGINNING,
        newest=None,
        newest_source="",
        size_bytes=1,
        stored_bytes=1,
        files=1,
        plan=digest_of(b"plan"),
        writer="w",
    )


class Cellar:
    """A vault that knows which points were sealed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.sealed: dict[PointId, RunId] = {}

    def act(self, run: RunId) -> Callable[[Acting, Note], RoutineEnd]:
        id = PointId(f"p-{run}")

        def take(acting: Acting, note: Note) -> RoutineEnd:
            self._stage.breathe()
            note(id)
            for _ in range(3):
                if acting.stop():
                    return RoutineFailed(run, 45, "stopped")
                self._stage.pause(length=SECOND)
            self.sealed[id] = run
            self._stage.breathe()
            return PointTaken(run, VAULT, point(id), SECOND)

        return take

    def look(self, began: RoutineBegan) -> RoutineEnd:
        self._stage.breathe()
        assert began.point is not None
        if began.point in self.sealed:
            return PointTaken(began.run, began.vault, point(began.point), SECOND)
        return RoutineFailed(began.run, 45, "interrupted")


class Shop:
    """Processes that take backups of one component."""

    def __init__(self, seed: int = 0) -> None:
        self.stage = Stage(seed, drift_s=0.1)
        self.kept = MemoryJournal(StageClock(self.stage, Process("director")))
        self.cellar = Cellar(self.stage)
        self.busy = 0

    def takes(self, process: Process, run: str, *, after: Process | None = None) -> None:
        clock = StageClock(self.stage, process)
        driver = Driver(
            StageJournal(self.stage, self.kept), clock, process.name, TERMS, crew=StageCrew(self.stage, process)
        )

        def work() -> None:
            if after is not None:
                self.stage.pause(lambda dead=after: dead.dead)
                self.stage.pause(length=120 * SECOND)
            until = clock.now() + 100 * SECOND
            began = RoutineBegan(RunId(run), "backup", VAULT, digest_of(b"plan"), process.name, until)
            try:
                routine(driver, DATABASE, began, self.cellar.act(RunId(run)), self.cellar.look)
            except RunBusy:
                self.busy += 1

        self.stage.spawn(process, process.name, work)

    def facts(self) -> list[object]:
        return [recorded.fact for recorded in self.kept.read(component_stream(DATABASE))]


def test_a_backup_writes_two_facts() -> None:
    shop = Shop()
    shop.takes(Process("a"), "one")
    shop.stage.play()
    match shop.facts():
        case [RoutineBegan(run="one", point="p-one"), PointTaken(run="one")]:
            pass
        case other:
            pytest.fail(f"{other}")


def test_dying_anywhere_in_a_backup_leaves_what_the_next_one_closes_truly() -> None:
    shop = Shop()
    shop.takes(Process("a"), "one")
    shop.stage.play()
    for breath in range(1, shop.stage.breaths + 1):
        shop = Shop()
        a = Process("a")
        shop.stage.dies_at = {breath: a}
        shop.takes(a, "one")
        shop.takes(Process("b"), "two", after=a)
        shop.stage.play()
        facts = shop.facts()
        taken = {fact.point.id for fact in facts if isinstance(fact, PointTaken)}
        assert taken == set(shop.cellar.sealed), f"breath {breath}"
        assert PointId("p-two") in taken
        assert open_routines(shop.kept.read(component_stream(DATABASE))) == []
        assert sum(isinstance(fact, RoutineBegan) for fact in facts) * 2 == len(facts)


@pytest.mark.parametrize("seed", range(30))
def test_two_backups_of_a_component_into_one_vault_never_run_together(seed: int) -> None:
    shop = Shop(seed)
    for name in ("a", "b"):
        shop.takes(Process(name), name)
    shop.stage.play()
    kinds = [type(fact) for fact in shop.facts()]
    assert kinds == [RoutineBegan, PointTaken] * (len(kinds) // 2)
    assert len(kinds) // 2 + shop.busy == 2


def alone(journal: Journal, clock: MemoryClock, gone: Callable[[str], bool] = lambda name: False) -> Driver:
    return Driver(journal, clock, "me", TERMS, gone=gone)


def began(run: str = "one", point: str | None = None, until: timedelta = timedelta(hours=1)) -> RoutineBegan:
    named = None if point is None else PointId(point)
    return RoutineBegan(RunId(run), "backup", VAULT, digest_of(b"plan"), "me", BEGINNING + until, named)


def failing(error: BaseException) -> Callable[[Acting, Note], RoutineEnd]:
    def act(acting: Acting, note: Note) -> RoutineEnd:
        note(PointId("p-one"))
        raise error

    return act


def never(began: RoutineBegan) -> RoutineEnd:
    return RoutineFailed(began.run, 45, "interrupted")


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (SourceDown("the server does not answer"), 40, "the server does not answer"),
        (ValueError("secret"), 1, "an unexpected error: ValueError"),
        (KeyboardInterrupt(), 130, "stopped by a person"),
    ],
)
def test_what_went_wrong_is_the_second_fact(error: BaseException, code: int, why: str) -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    with pytest.raises(type(error)):
        routine(alone(journal, clock), DATABASE, began(), failing(error), never)
    assert journal.read(component_stream(DATABASE))[-1].fact == RoutineFailed(RunId("one"), code, why)


def test_a_point_that_was_sealed_counts_though_its_writer_failed_afterwards() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    sealed = PointTaken(RunId("one"), VAULT, point("p-one"), SECOND)
    with pytest.raises(SourceDown):
        routine(alone(journal, clock), DATABASE, began(), failing(SourceDown("no")), lambda _: sealed)
    assert journal.read(component_stream(DATABASE))[-1].fact == sealed


def test_an_open_backup_is_left_alone_until_its_time_is_over_or_its_driver_is_known_to_be_dead() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    journal.append(component_stream(DATABASE), [began("old", "p-old")], expected=0)

    def act(acting: Acting, note: Note) -> RoutineEnd:
        note(PointId("p-new"))
        return RoutineFailed(RunId("new"), 40, "down")

    with pytest.raises(RunBusy, match="a backup of database is running"):
        routine(alone(journal, clock), DATABASE, began("new"), act, never)
    routine(alone(journal, clock, lambda name: name == "me"), DATABASE, began("new"), act, never)
    facts = [recorded.fact for recorded in journal.read(component_stream(DATABASE))]
    assert facts[1] == RoutineFailed(RunId("old"), 45, "interrupted")
    assert len(facts) == 4


def test_no_backup_begins_while_a_live_run_has_the_component() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, new("drill", mode=Mode.DRILL, site="sandbox-1", components="settings"))
    start(journal, new("real"))
    with pytest.raises(RunBusy, match="run real has database"):
        routine(alone(journal, clock), DATABASE, began(), failing(ValueError()), never)
    assert journal.read(component_stream(DATABASE)) == []


def test_a_routine_that_takes_too_long_is_stopped_and_its_children_killed() -> None:
    stage = Stage()
    process = Process("a")
    clock = StageClock(stage, process)
    kept = MemoryJournal(clock)
    killed: list[timedelta] = []
    driver = Driver(
        StageJournal(stage, kept),
        clock,
        "a",
        TERMS,
        kill_children=lambda: killed.append(clock.elapsed()),
        crew=StageCrew(stage, process),
    )

    def act(acting: Acting, note: Note) -> RoutineEnd:
        note(PointId("p-one"))
        while not (acting.stop() and killed):
            stage.pause(length=SECOND)
        return RoutineFailed(RunId("one"), 45, "stopped")

    def work() -> None:
        routine(driver, DATABASE, began(until=60 * SECOND), act, never)

    stage.spawn(process, "a", work)
    stage.play()
    assert killed == [55 * SECOND]


# ── the journal against the vault ────────────────────────────────────────────────────────────────


def test_a_point_that_the_vault_lacks_is_an_alarm_once() -> None:
    journal = MemoryJournal(MemoryClock())
    stream = component_stream(DATABASE)
    taken = [PointTaken(RunId(id), VAULT, point(id), SECOND) for id in ("p1", "p2")]
    journal.append(stream, taken, expected=0)
    alarm = PointMissing(VAULT, PointId("p1"))
    assert missing_points(journal.everything(), VAULT, {PointId("p2"), PointId("p9")}) == [(DATABASE, alarm)]
    assert missing_points(journal.everything(), VaultName("other"), set()) == []
    journal.append(stream, [alarm], expected=2)
    assert missing_points(journal.everything(), VAULT, {PointId("p2")}) == []
