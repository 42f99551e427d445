"""Laws of a single drive: stopping, cancelling, timing out, losing the journal, taking over."""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.journal import MemoryJournal
from backstay.engine import Done, Driver, Terms, Waiting, WaitingFor, drive, start, stream_of, tell
from backstay.engine.desk import Desk
from backstay.engine.leases import Tenure, still_held
from backstay.errors import Cancelled, DiskFull, NoSuchRun, RunBusy, StoreUnreachable
from backstay.facts import (
    DidNot,
    Driving,
    Ended,
    Impossible,
    Intended,
    Looked,
    Lost,
    Outcome,
    Recorded,
    Released,
    RunCancelled,
    RunEnded,
    Sight,
    Succeeded,
)
from backstay.machine import Lease, State, fold
from backstay.plan import Approve, Step, Wait
from backstay.ports import Acting
from backstay.values import PersonName, RunId, StepId
from fix_engine import RUN, SECOND, TERMS, Died, Play, Process, Stage, StageJournal, Way, run_of, step

ANN = PersonName("ann")


def facts_of(play: Play) -> list[object]:
    return [recorded.fact for recorded in play.journal.read(stream_of(RUN))]


def lives(play: Play, process: Process, work: Callable[[Driver], object]) -> None:
    """`process` drives once, its own way."""

    def play_it() -> None:
        work(play.driver(process, process.name))

    play.stage.spawn(process, process.name, play_it)


# ── being stopped ────────────────────────────────────────────────────────────────────────────────

SIDE = run_of([step("1.1-a"), step("1.2-b", needs=["1.1-a"]), step("1.3-c", needs=["1.1-a"])], [step("2.1-d")])


def stopped_at(moment_s: int, *, deaf: bool) -> tuple[Play, Process]:
    stage = Stage()
    play = Play(
        stage, SIDE, {id: Way(takes_s=20 if deaf else 3, deaf=deaf) for id in ("1.1-a", "1.2-b", "1.3-c", "2.1-d")}
    )
    a, hand = Process("a"), Process("hand")

    def presses() -> None:
        stage.pause(length=moment_s * SECOND)
        a.asked_to_stop = True

    def drives(driver: Driver) -> None:
        with pytest.raises(Cancelled):
            drive(driver, play.world.seen_by(a), RUN)
        assert not play.world.inside, "something still acts after drive has come back"

    stage.spawn(hand, "hand", presses)
    lives(play, a, drives)
    stage.play()
    return play, a


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("moment_s", range(10))
def test_stopped_at_any_moment_it_leaves_nothing_running_and_the_lease_free(moment_s: int, *, deaf: bool) -> None:
    play, a = stopped_at(moment_s, deaf=deaf)
    assert isinstance(facts_of(play)[-1], Released)
    if moment_s > 1:
        assert bool(a.kills) is deaf, "children are killed only when an act does not end by itself"
    assert not any(isinstance(fact, Ended) and not isinstance(fact.outcome, Succeeded) for fact in facts_of(play))
    before = play.stage.elapsed
    play.enter(Process("b"))
    play.stage.play()
    assert sorted(play.world.effects) == ["1.1-a", "1.2-b", "1.3-c", "2.1-d"]
    taken = [fact for fact in facts_of(play) if isinstance(fact, Driving) and fact.epoch == 2]
    assert taken[0].until - TERMS.length < BEGINNING + before + 5 * SECOND, "it waited for a lease that was given back"


def test_a_run_that_a_person_cancels_stops_what_is_acting_looks_and_ends() -> None:
    stage = Stage()
    play = Play(stage, SIDE, {"1.1-a": Way(takes_s=30)})

    def cancels() -> None:
        stage.pause(length=8 * SECOND)
        tell(play.journal, RUN, RunCancelled(ANN, "a false alarm"))

    stage.spawn(Process("ann"), "ann", cancels)
    play.enter(Process("a"))
    stage.play()
    ended = play.endings[0].ended
    assert ended == RunEnded("cancelled", "ann: a false alarm")
    assert play.world.effects == []
    assert any(isinstance(fact, Looked) for fact in facts_of(play))
    assert stage.elapsed < 20 * SECOND


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("deaf", [False, True])
def test_an_act_that_takes_too_long_is_told_to_stop_then_killed_and_looked_at(*, deaf: bool) -> None:
    stage = Stage()
    play = Play(
        stage,
        run_of([step("1.1-slow", timeout=10 * SECOND, retries=1)]),
        {"1.1-slow": Way(takes_s=1000, deaf=deaf)},
    )
    a = Process("a")
    play.enter(a)
    stage.play()
    lost = [fact for fact in facts_of(play) if isinstance(fact, Ended)]
    assert [fact.outcome for fact in lost] == [Lost("stopped: it had not ended after 10 s")] * 2
    assert (a.kills > 0) is deaf
    ended = play.endings[0].ended
    assert ended is not None
    assert ended.result == "failed"


def test_what_is_killed_together_with_a_step_that_took_too_long_is_looked_at_and_done_again() -> None:
    stage = Stage()
    slow = step("1.1-slow", timeout=10 * SECOND, retries=0)
    started = run_of([step("1.0-first"), slow, step("1.2-good", needs=["1.0-first"], retries=1)])
    play = Play(stage, started, {"1.1-slow": Way(takes_s=99, deaf=True), "1.2-good": Way(takes_s=30, deaf=True)})
    play.enter(Process("a"))
    stage.play()
    state = play.endings[0].steps[StepId("1.2-good")]
    said = [fact.outcome for fact in facts_of(play) if isinstance(fact, Ended) and fact.step == "1.2-good"]
    assert said == [Lost("its child processes were killed together with those of a step that took too long")]
    assert state.state is State.RESTING


def test_a_short_wait_is_waited_out_and_a_long_one_gives_the_run_back() -> None:
    for length, waits in ((20 * SECOND, True), (timedelta(days=1), False)):
        clock = MemoryClock()
        journal = MemoryJournal(clock)
        start(journal, run_of([step("1.1-w", Wait(length))]))
        match drive(Driver(journal, clock, "a", crew=Inline(clock)), Eager(clock), RUN):
            case Done():
                assert waits
                assert clock.now() >= BEGINNING + length
            case Waiting(run, until):
                assert not waits
                assert until == BEGINNING + length
                assert run.lease is None
            case other:
                pytest.fail(f"{other}")


class Eager:
    """Does everything at once."""

    def __init__(self, clock: MemoryClock, outcome: Outcome | Exception | None = None) -> None:
        self._clock, self._outcome = clock, outcome
        self.given: dict[str, Mapping[str, str]] = {}

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        self.given[step.id] = given
        acting.progress(1, 2, step.id)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome or Succeeded("done", {"port": "5432"})

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        return DidNot("not there")


class Inline:
    """A crew without threads: what is begun is done at once; the lease is neither renewed nor guarded."""

    def __init__(self, clock: MemoryClock) -> None:
        self._clock = clock

    def begin(self, name: str, work: Callable[[], None]) -> None:
        if "lease" not in name:
            work()

    def wait(self, length: timedelta, until: Callable[[], bool]) -> None:
        if not until():
            # In one piece, and the lease is still good: nobody is there to renew it.
            self._clock.advance(length)

    def ring(self) -> None:
        pass

    def lock(self) -> threading.Lock:
        return threading.Lock()


# ── people and watchers ──────────────────────────────────────────────────────────────────────────


def test_it_comes_back_to_wait_for_a_person_without_holding_the_lease() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-gate", Approve("Go on?", (ANN,)))]))
    driver = Driver(journal, clock, "a", crew=Inline(clock))
    for _ in range(2):
        match drive(driver, Eager(clock), RUN):
            case WaitingFor(run, (asked,)):
                assert (asked.question, asked.who) == ("Go on?", (ANN,))
                assert len(asked.nonce) > 16
                assert run.lease is None
            case other:
                pytest.fail(f"{other}")
    assert sum(type(recorded.fact).__name__ == "PersonAsked" for recorded in journal.read(stream_of(RUN))) == 1


def test_values_flow_and_somebody_watches() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-restore-database")], [step("2.1-b")]))
    seen: list[Recorded] = []
    bytes_of: list[tuple[StepId, int]] = []
    driver = Driver(
        journal,
        clock,
        "a",
        crew=Inline(clock),
        watch=seen.append,
        progress=lambda step: lambda done_bytes, total_bytes, what: bytes_of.append((step, done_bytes)),
    )
    world = Eager(clock)
    drive(driver, world, RUN)
    assert world.given["2.1-b"] == {"restore-database.port": "5432", "1.1-restore-database.port": "5432"}
    assert [one.seq for one in seen] == [one.seq for one in journal.read(stream_of(RUN), after=1)]
    assert bytes_of == [("1.1-restore-database", 1), ("2.1-b", 1)]


def test_a_screen_that_breaks_and_a_vault_that_is_away_do_not_stop_a_recovery() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-a")]))

    def breaks(recorded: Recorded) -> None:
        raise BrokenPipeError

    def away() -> None:
        raise StoreUnreachable("the vault does not answer")

    driver = Driver(journal, clock, "a", crew=Inline(clock), watch=breaks, aside=away)
    assert isinstance(drive(driver, Eager(clock), RUN), Done)


def test_an_error_that_nobody_thought_of_is_lost_and_its_text_is_not_told() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-a", retries=0)]))
    drive(Driver(journal, clock, "a", crew=Inline(clock)), Eager(clock, ValueError("a secret")), RUN)
    said = [recorded.fact for recorded in journal.read(stream_of(RUN)) if isinstance(recorded.fact, Ended)]
    assert [fact.outcome for fact in said] == [Lost("it ended with an unexpected error: ValueError")]


def test_what_is_impossible_is_told_in_full() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-a")]))
    match drive(Driver(journal, clock, "a", crew=Inline(clock)), Eager(clock, Impossible("no proven point", 32)), RUN):
        case Done(run):
            assert run.ended == RunEnded("failed", "1.1-a: no proven point")
        case other:
            pytest.fail(f"{other}")


# ── the journal away ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("away_s", [3, 15, 60, 300])
def test_a_journal_that_is_away_is_waited_for_while_the_lease_lasts(away_s: int) -> None:
    stage = Stage()
    play = Play(stage, SIDE, {id: Way(takes_s=10) for id in ("1.1-a", "1.2-b", "1.3-c", "2.1-d")})
    a = Process("a")

    def cuts() -> None:
        stage.pause(length=12 * SECOND)
        play.seats["a"].away_until = stage.elapsed + away_s * SECOND

    stage.spawn(Process("spade"), "spade", cuts)
    play.enter(a)
    stage.play()
    assert sorted(play.world.effects) == ["1.1-a", "1.2-b", "1.3-c", "2.1-d"]
    epochs = {fact.epoch for fact in facts_of(play) if isinstance(fact, Driving)}
    assert len(epochs) == (1 if away_s < 20 else 2)
    assert bool(a.kills) is (away_s > 20)


@pytest.mark.parametrize("seed", range(10))
def test_an_answer_of_the_journal_that_is_lost_is_no_fact_that_is_lost(seed: int) -> None:
    stage = Stage(seed)
    play = Play(stage, SIDE, {})
    play.enter(Process("a"))
    play.seats["a"] = StageJournal(stage, play.journal)
    play.seats["a"].deafness = 0.3
    stage.play()
    assert sorted(play.world.effects) == ["1.1-a", "1.2-b", "1.3-c", "2.1-d"]
    intents = [fact for fact in facts_of(play) if isinstance(fact, Intended)]
    assert len(intents) == len(set(intents)) == 4


def test_a_journal_that_is_full_stops_everything() -> None:
    stage = Stage()
    play = Play(stage, SIDE, {})
    a = Process("a")

    def drives(driver: Driver) -> None:
        with pytest.raises(DiskFull):
            drive(driver, play.world.seen_by(a), RUN)
        assert not play.world.inside

    class Full(StageJournal):
        def append(self, stream, facts, *, expected):  # type: ignore[no-untyped-def]
            if any(isinstance(fact, Ended) for fact in facts):
                raise DiskFull("no room")
            return super().append(stream, facts, expected=expected)

    play.seats["a"] = Full(stage, play.journal)
    lives(play, a, drives)
    stage.play()
    play.enter(Process("b"))
    stage.play()
    assert sorted(play.world.effects) == ["1.1-a", "1.2-b", "1.3-c", "2.1-d"]


# ── taking over ──────────────────────────────────────────────────────────────────────────────────


def test_a_living_driver_is_not_taken_over_and_the_other_is_told_who_drives() -> None:
    stage = Stage()
    play = Play(stage, run_of([step("1.1-long")]), {"1.1-long": Way(takes_s=200)})
    told: list[str] = []

    def tries(driver: Driver) -> None:
        stage.pause(length=20 * SECOND)
        before = stage.elapsed
        with pytest.raises(RunBusy, match="is being driven by a-0"):
            drive(driver, play.world.seen_by(b), RUN)
        told.append(f"after {(stage.elapsed - before).total_seconds():.0f} s")

    b = Process("b")
    play.enter(Process("a"))
    lives(play, b, tries)
    stage.play()
    assert len(told) == 1
    assert int(told[0].split()[1]) <= 10


def test_evidence_that_the_driver_is_dead_spares_the_wait() -> None:
    stage = Stage()
    play = Play(stage, SIDE, {})
    a, b = Process("a"), Process("b")
    stage.dies_at = {8: a}
    play.enter(a)
    stage.play()
    before = stage.elapsed
    driver = play.driver(b, "b")
    known = Driver(
        driver.journal, driver.clock, "b", TERMS, gone=lambda name: name == "a-0", crew=driver.crew,
    )  # fmt: skip
    stage.spawn(b, "b", lambda: play.endings.append(drive(known, play.world.seen_by(b), RUN).run))
    stage.play()
    assert stage.elapsed - before < 20 * SECOND
    assert sorted(play.world.effects) == ["1.1-a", "1.2-b", "1.3-c", "2.1-d"]


def test_a_run_that_has_ended_or_never_was_is_not_driven() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    driver = Driver(journal, clock, "a", crew=Inline(clock))
    with pytest.raises(NoSuchRun):
        drive(driver, Eager(clock), RUN)
    start(journal, run_of([step("1.1-a")]))
    assert isinstance(drive(driver, Eager(clock), RUN), Done)
    seq = fold(journal.read(stream_of(RUN))).seq
    assert isinstance(drive(driver, Eager(clock), RUN), Done)
    assert fold(journal.read(stream_of(RUN))).seq == seq


def test_a_run_whose_component_another_run_has_is_given_back_at_once() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    one = run_of([step("1.1-a")], run=RunId("one"))
    # As a crash between the start of a run and its claim leaves it.
    journal.append(stream_of(one.run), [one], expected=0)
    start(journal, run_of([step("1.1-a")], run=RunId("two")))
    with pytest.raises(RunBusy, match="run two has database"):
        drive(Driver(journal, clock, "a", crew=Inline(clock)), Eager(clock), one.run)
    assert isinstance(journal.read(stream_of(one.run))[-1].fact, Released)


LEASE = Lease("a", 1, BEGINNING + 30 * SECOND, BEGINNING)


@pytest.mark.parametrize(
    ("unchanged_s", "now_s", "left_s"),
    [
        (0, 0, 35),  # just renewed: its length and the margin, by either clock
        (0, 20, 15),  # by the journal's clock, until the end and the margin
        (15, 35, 0),
        (0, 3600, 12),  # dead for an hour, or the clock jumped: longer than one that lives would leave it
        (12, 3600, 0),
        (5, -3600, 30),  # the clock was set back: its length and the margin, as we saw it ourselves
        (35, -3600, 0),
    ],
)
def test_how_long_a_taker_waits(unchanged_s: int, now_s: int, left_s: int) -> None:
    found = still_held(LEASE, unchanged_s * SECOND, BEGINNING + now_s * SECOND, Terms())
    assert found == left_s * SECOND


def test_a_lease_longer_than_ours_is_waited_out_by_its_own_length() -> None:
    lease = Lease("a", 1, BEGINNING + 300 * SECOND, BEGINNING)
    assert still_held(lease, timedelta(), BEGINNING, Terms()) == 305 * SECOND


def holding() -> tuple[MemoryClock, MemoryJournal, Tenure]:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, run_of([step("1.1-a")]))
    driver = Driver(journal, clock, "a", crew=Inline(clock))
    tenure = Tenure(driver, Desk(driver, RUN))
    assert tenure.take()
    return clock, journal, tenure


def test_a_lease_that_once_ran_out_is_not_held_again_by_renewing_it() -> None:
    clock, _, tenure = holding()
    clock.advance(24 * SECOND)
    assert tenure.holds()
    clock.advance(2 * SECOND)
    assert not tenure.holds()
    tenure.renew()
    assert not tenure.holds(), "an act may have ended because of the no"


def test_when_the_journals_clock_has_jumped_the_journal_is_asked_before_anything_begins() -> None:
    clock, journal, tenure = holding()
    clock.jump(timedelta(hours=1))
    seq = journal.read(stream_of(RUN))[-1].seq
    assert tenure.sure()
    assert journal.read(stream_of(RUN))[-1].seq == seq + 1


def test_it_does_not_start_without_assertions() -> None:
    code = "from backstay.engine.drive import refuse_without_assertions as r; r()"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "NotSupported" in done.stderr
    assert "python -O" in done.stderr


# ── with real threads ────────────────────────────────────────────────────────────────────────────


def test_with_real_threads_and_the_real_clock() -> None:
    clock = SystemClock()
    journal = MemoryJournal(clock)
    start(journal, SIDE)
    both = threading.Barrier(2, timeout=20)

    class World:
        def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
            if step.id in ("1.2-b", "1.3-c"):
                both.wait()  # passes only when the two really run side by side
            return Succeeded("done")

        def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
            return DidNot("not there")

    assert isinstance(drive(Driver(journal, clock, "a"), World(), RUN), Done)


def test_with_real_threads_being_stopped_ends_what_runs() -> None:
    clock = SystemClock()
    journal = MemoryJournal(clock)
    start(journal, SIDE)

    class World:
        def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
            clock.stop.set()
            clock.stop = threading.Event()
            clock.stop.set()
            while not acting.stop():
                threading.Event().wait(0.005)
            return Lost("stopped")

        def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
            return DidNot("not there")

    with pytest.raises(Cancelled):
        drive(Driver(journal, clock, "a"), World(), RUN)
    assert isinstance(journal.read(stream_of(RUN))[-1].fact, Released)


def test_what_kills_the_process_is_not_caught() -> None:
    clock = MemoryClock()
    journal = MemoryJournal(clock)
    start(journal, SIDE)

    class World(Eager):
        def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
            raise Died

    killed: list[str] = []
    driver = Driver(journal, clock, "a", crew=Inline(clock), kill_children=lambda: killed.append("all"))
    with pytest.raises(Died):
        drive(driver, World(clock), RUN)
    assert killed
    assert fold(journal.read(stream_of(RUN))).steps[StepId("1.1-a")].state is State.ACTING
