"""Wrappers keep the contract of what they wrap, and do the one thing that they are for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import cast

import pytest

from backstay.adapters.around import Called, Fault, Patient, dry, faulty, paced, recorded
from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import AccessDenied, Cancelled, StoreUnreachable, StoreUnsuitable
from backstay.ports import Key, Listed, Lock, Store, locking
from backstay.vault.probing import probe

KEY, SECOND_KEY = Key("packs/1"), Key("packs/2")
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> MemoryClock:
    return MemoryClock()


@pytest.fixture
def store() -> Store:
    made = MemoryStore()
    made.put(Key("a"), [b"1234"])
    return made


def patient(store: Store, clock: MemoryClock, total: timedelta = 60 * SECOND) -> Patient:
    return Patient(store, clock, total=total, chance=lambda: 0.5)


# ── patient ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_out_of_reach_for_a_while_is_asked_again(store: Store, clock: MemoryClock) -> None:
    began = clock.elapsed()
    assert patient(faulty(store, Fault(1, times=4)), clock).get(Key("a")) == b"1234"
    assert clock.elapsed() - began == timedelta(milliseconds=100 + 200 + 400 + 800)


def test_patience_has_an_end_and_raises_what_it_met(store: Store, clock: MemoryClock) -> None:
    began = clock.elapsed()
    with pytest.raises(StoreUnreachable):
        patient(faulty(store, Fault(1, times=999)), clock, total=20 * SECOND).get(Key("a"))
    assert clock.elapsed() - began <= 20 * SECOND


def test_an_answer_that_is_no_is_not_asked_again(store: Store, clock: MemoryClock) -> None:
    denied = faulty(store, Fault(1, error=AccessDenied("no")))
    with pytest.raises(AccessDenied):
        patient(denied, clock).get(Key("a"))
    assert clock.elapsed() == timedelta()


def test_being_told_to_stop_ends_the_wait(store: Store) -> None:
    clock = MemoryClock(stop=lambda: True)
    with pytest.raises(Cancelled):
        patient(faulty(store, Fault(1)), clock).get(Key("a"))


def test_a_put_whose_answer_was_lost_is_put_again(store: Store, clock: MemoryClock) -> None:
    patient(faulty(store, Fault(1, "unheard", method="put")), clock).put(KEY, [b"xy", b"z"])
    assert store.get(KEY) == b"xyz"


def test_a_stream_cannot_be_put_twice_and_is_not(store: Store, clock: MemoryClock) -> None:
    with pytest.raises(StoreUnreachable):
        patient(faulty(store, Fault(1, method="put")), clock).put(KEY, iter([b"xyz"]))
    assert clock.elapsed() == timedelta()


@pytest.mark.parametrize("what", ["refused", "unheard"])
def test_whoever_wins_a_put_if_absent_is_told_so_even_when_the_answer_was_lost(
    store: Store, clock: MemoryClock, what: str
) -> None:
    lossy = faulty(store, Fault(1, what, method="put_if_absent"))  # pyright: ignore[reportArgumentType]
    assert patient(lossy, clock).put_if_absent(KEY, b"mine")


def test_whoever_loses_a_put_if_absent_is_told_so_too(store: Store, clock: MemoryClock) -> None:
    store.put_if_absent(KEY, b"theirs")
    lossy = faulty(store, Fault(1, "unheard", method="put_if_absent"))
    assert not patient(lossy, clock).put_if_absent(KEY, b"mine")


def test_a_key_with_our_content_that_was_there_before_we_asked_is_no_win(store: Store, clock: MemoryClock) -> None:
    store.put_if_absent(KEY, b"same")
    assert not patient(store, clock).put_if_absent(KEY, b"same")


class BreaksOff:
    """Lists, and breaks off after every second object."""

    def __init__(self, within: Store) -> None:
        self.within, self.begun, self.traits = within, 0, within.traits

    def list(self, prefix: str = ""):
        self.begun += 1
        for number, found in enumerate(self.within.list(prefix)):
            if number == 2 * self.begun:
                raise StoreUnreachable("the connection was reset")
            yield found


def test_a_listing_that_breaks_off_goes_on_after_the_last_key(store: Store, clock: MemoryClock) -> None:
    for number in range(7):
        store.put(Key(f"k{number}"), [b""])
    broken = BreaksOff(store)
    found = [one.key for one in patient(broken, clock).list("k")]  # pyright: ignore[reportArgumentType]
    assert found == [f"k{number}" for number in range(7)]
    assert broken.begun == 4


class Jumbled(MemoryStore):
    """Lists folders as they come, like a store that walks its disk."""

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return iter(sorted(super().list(prefix), key=lambda listed: listed.key.split("/")))


def test_a_listing_that_is_not_in_the_order_of_keys_is_refused_and_loses_nothing(clock: MemoryClock) -> None:
    store = Jumbled()
    for key in ("a-b", "a/b", "ab"):
        store.put(Key(key), [b""])
    with pytest.raises(StoreUnsuitable, match="order of keys"):
        list(patient(store, clock).list())
    seen = probe(patient(store, clock), clock)
    assert [one.what for one in seen.unfit] == ["listing"]


# ── faulty ───────────────────────────────────────────────────────────────────────────────────────


def test_the_nth_call_is_refused_and_nothing_is_done(store: Store) -> None:
    broken = faulty(store, Fault(2, method="put"))
    broken.put(Key("b"), [b"1"])
    with pytest.raises(StoreUnreachable):
        broken.put(Key("c"), [b"2"])
    broken.put(Key("d"), [b"3"])
    assert [one.key for one in store.list()] == ["a", "b", "d"]


def test_an_unheard_call_is_done(store: Store) -> None:
    with pytest.raises(StoreUnreachable):
        faulty(store, Fault(1, "unheard")).put(Key("b"), [b"1"])
    assert store.get(Key("b")) == b"1"


def test_a_torn_write_leaves_half_and_a_torn_read_gives_half(store: Store) -> None:
    with pytest.raises(StoreUnreachable):
        faulty(store, Fault(1, "torn")).put(Key("b"), [b"123", b"45678"])
    assert store.get(Key("b")) == b"1234"
    assert faulty(store, Fault(1, "torn")).get(Key("a")) == b"12"


def test_the_traits_of_a_port_are_those_of_what_it_wraps(store: Store) -> None:
    assert faulty(store).traits == store.traits
    assert patient(store, MemoryClock()).traits == store.traits


# ── recorded and dry ─────────────────────────────────────────────────────────────────────────────


def test_a_record_names_every_call_and_shows_no_content(store: Store) -> None:
    calls = list[Called]()
    watched = recorded(store, calls)
    watched.put_if_absent(KEY, b"hunter2")
    watched.get(KEY, 0, length=2)
    assert [str(call) for call in calls] == ["put_if_absent('packs/1', 7 bytes)", "get('packs/1', 0, length=2)"]


def test_dry_says_what_it_would_write_and_still_reads(store: Store) -> None:
    said = list[str]()
    dried = dry(store, {"put": None, "put_if_absent": True, "delete": None}, said.append)
    dried.put(KEY, [b"x"])
    assert dried.put_if_absent(KEY, b"x")
    dried.delete(Key("a"))
    assert dried.get(Key("a")) == b"1234"
    assert [one.key for one in store.list()] == ["a"]
    assert said == ["put('packs/1', list)", "put_if_absent('packs/1', 1 bytes)", "delete('a')"]


def test_a_pack_that_can_be_read_again_is_sent_again_and_a_stream_is_not(clock: MemoryClock) -> None:
    within = MemoryStore()
    patient(faulty(within, Fault(1, what="unheard", method="put")), clock).put(KEY, Pack())
    assert within.get(KEY) == b"onetwo"
    with pytest.raises(StoreUnreachable):
        patient(faulty(within, Fault(1, method="put")), clock).put(SECOND_KEY, iter([b"one"]))


def test_a_store_that_never_answered_gets_less_patience(store: Store, clock: MemoryClock) -> None:
    long = Patient(faulty(store, Fault(2, times=999)), clock, total=600 * SECOND, chance=lambda: 1.0)
    never = Patient(faulty(store, Fault(1, times=999)), clock, total=600 * SECOND, chance=lambda: 1.0)
    began = clock.elapsed()
    with pytest.raises(StoreUnreachable):
        never.get(Key("a"))
    assert clock.elapsed() - began <= 15 * SECOND
    assert long.get(Key("a")) == b"1234"
    began = clock.elapsed()
    with pytest.raises(StoreUnreachable):
        long.get(Key("a"))
    assert 500 * SECOND < clock.elapsed() - began <= 600 * SECOND


# ── paced ────────────────────────────────────────────────────────────────────────────────────────


def test_a_limit_lets_only_so_many_bytes_through_each_second(clock: MemoryClock) -> None:
    store, began = paced(MemoryStore(), clock, rate=100), clock.elapsed()
    store.put(Key("a"), [b"x" * 300])  # the first goes at once, and the next waits for its share
    assert clock.elapsed() - began == timedelta()
    store.put_if_absent(Key("b"), b"x" * 100)
    assert clock.elapsed() - began == 3 * SECOND
    assert len(store.get(Key("a"), 0, 200)) == 200
    assert clock.elapsed() - began == 4 * SECOND
    store.put(Key("c"), Pack())
    assert clock.elapsed() - began == 6 * SECOND
    store.put(Key("d"), iter([b"x" * 100, b"y" * 100]))
    assert clock.elapsed() - began == timedelta(seconds=7.06)
    assert [listed.key for listed in store.list()] == ["a", "b", "c", "d"]
    assert clock.elapsed() - began == timedelta(seconds=7.06)


def test_nothing_is_saved_up_while_nobody_asks(clock: MemoryClock) -> None:
    store = paced(MemoryStore(), clock, rate=100)
    clock.wait(60 * SECOND)
    began = clock.elapsed()
    for name in "abc":
        store.put(Key(name), [b"x" * 100])
    assert clock.elapsed() - began == 2 * SECOND


def test_the_limit_holds_for_all_threads_together() -> None:
    clock = MemoryClock()
    store, began = paced(MemoryStore(), clock, rate=1000), clock.elapsed()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(store.put, Key(f"a{number}"), [b"x" * 1000]) for number in range(8)]:
            future.result()
    store.put(Key("last"), [b"x"])
    assert clock.elapsed() - began >= 8 * SECOND


def test_a_limit_hands_on_what_it_does_not_know(clock: MemoryClock) -> None:
    bucket = MemoryBucket(lock=Lock(timedelta(days=1)))
    limited = locking(paced(cast(Store, bucket), clock, rate=1))
    assert limited is not None
    assert limited.lock == bucket.lock
    assert limited.traits == bucket.traits


class Pack:
    """Parts that say how long they are, and can be gone through again."""

    size_bytes = 6

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"one", b"two"))
