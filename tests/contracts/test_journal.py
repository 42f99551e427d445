"""The contract of a journal, held to by the one in memory and the one in SQLite."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.adapters.journal import SqliteJournal, open_journal
from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.journal import MemoryJournal
from backstay.errors import ClockWentBack, JournalConflict
from backstay.facts import Fact, Head, Noted, genesis, link, write_fact
from backstay.ports import Journal
from backstay.values import StreamName
from fix_facts import any_fact

SECOND = timedelta(seconds=1)
A, B = StreamName("run/a"), StreamName("component/b")


@pytest.fixture
def clock() -> MemoryClock:
    return MemoryClock()


@pytest.fixture(params=["memory", "sqlite", "opened"])
def journal(request: pytest.FixtureRequest, clock: MemoryClock, tmp_path: Path) -> Iterator[Journal]:
    match request.param:
        case "memory":
            yield MemoryJournal(clock)
        case "sqlite":
            kept = SqliteJournal(tmp_path / "state", clock)
            yield kept
            kept.close()
        case _:
            opened = open_journal(tmp_path / "state", witness=None, clock=clock)
            yield opened
            opened.close()


def noted(*texts: str) -> list[Fact]:
    return [Noted("ann", text) for text in texts]


def test_facts_are_numbered_from_one_and_linked(journal: Journal) -> None:
    appended = journal.append(A, noted("one", "two"), expected=0) + journal.append(A, noted("three"), expected=2)
    assert [one.seq for one in appended] == [1, 2, 3]
    assert [one.fact for one in appended] == noted("one", "two", "three")
    before = genesis(A)
    for one in appended:
        assert one.before == before
        assert one.digest == link(before, A, one.seq, one.at, write_fact(one.fact))
        before = one.digest
    assert journal.read(A) == appended
    assert journal.read(A, after=2) == appended[2:]
    assert journal.read(A, after=3) == []
    assert journal.read(A, after=9) == []


def test_of_two_that_expect_the_same_end_one_wins(journal: Journal) -> None:
    journal.append(A, noted("one"), expected=0)
    for wrong in (0, 2, -1):
        with pytest.raises(JournalConflict, match="run/a"):
            journal.append(A, noted("two", "three"), expected=wrong)
    assert [one.fact for one in journal.read(A)] == noted("one")


def test_nothing_appended_is_nothing_written(journal: Journal) -> None:
    assert journal.append(A, [], expected=0) == []
    assert A not in journal.streams()
    assert A not in journal.heads()
    with pytest.raises(JournalConflict):
        journal.append(A, [], expected=1)


def test_streams_do_not_know_of_each_other_and_have_an_order_together(journal: Journal, clock: MemoryClock) -> None:
    journal.append(A, noted("1"), expected=0)
    clock.advance(SECOND)
    journal.append(B, noted("2"), expected=0)
    middle = clock.now()
    clock.advance(SECOND)
    journal.append(A, noted("3"), expected=1)
    ours = [one for one in journal.everything() if one.stream in (A, B)]
    assert [one.fact for one in ours] == noted("1", "2", "3")
    assert [one.fact for one in journal.everything(after=middle)] == noted("3")
    assert journal.streams("run/") == [A]
    assert {A, B} <= set(journal.streams())
    assert journal.streams("nothing") == []
    heads = journal.heads()
    assert heads[A] == Head(2, journal.read(A)[-1].digest)
    assert heads[B].seq == 1


def test_a_stream_of_many_is_read_whole(journal: Journal) -> None:
    journal.append(A, noted(*map(str, range(2500))), expected=0)
    assert [one.seq for one in journal.read(A)] == list(range(1, 2501))
    assert len([one for one in journal.everything() if one.stream == A]) == 2500


def test_time_never_runs_backwards_in_a_stream(journal: Journal, clock: MemoryClock) -> None:
    (first,) = journal.append(A, noted("1"), expected=0)
    clock.jump(-30 * SECOND)
    (second,) = journal.append(A, noted("2"), expected=1)
    assert second.at == first.at == BEGINNING
    clock.jump(-31 * SECOND)
    with pytest.raises(ClockWentBack, match="1 min 1 s"):
        journal.append(A, noted("3"), expected=2)
    assert len(journal.read(A)) == 2
    assert journal.now() == BEGINNING - 61 * SECOND
    journal.append(B, noted("another stream has its own order"), expected=0)


def test_threads_share_it_and_every_append_is_there_once(journal: Journal) -> None:
    def work(name: str) -> None:
        for _ in range(10):
            while True:
                try:
                    journal.append(A, noted(name), expected=len(journal.read(A)))
                except JournalConflict:
                    continue
                break

    threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    names = [one.fact.text for one in journal.read(A) if isinstance(one.fact, Noted)]
    assert sorted(names) == sorted("xyz" * 10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(told=st.lists(any_fact, min_size=1, max_size=5))
def test_whatever_was_appended_is_read(journal: Journal, told: list[Fact]) -> None:
    after = len(journal.read(B))
    journal.append(B, told, expected=after)
    assert [one.fact for one in journal.read(B, after)] == told
