"""The contract of a store that keeps versions, and of one that locks them, whatever an intruder does to it.

An `Intruder` has the store's own credentials and uses them past Backstay: what he does leaves markers and versions, and
what a lock forbids him must really fail.
"""

import threading
from datetime import timedelta
from typing import Protocol

import pytest

from backstay.errors import AccessDenied, ObjectLocked, ObjectMissing
from backstay.ports import LOCK_MARGIN, Attack, Cover, Key, Lock, Locking, Store, Versioned, locking, versioned
from fix_store_contract import StoreContract

A = Key("points/db/a")
DAY = timedelta(days=1)
LOCK = Lock(2 * DAY)
SECOND = timedelta(seconds=1)
"""Stores keep moments to the second."""


class Intruder(Protocol):
    def delete(self, key: Key) -> None:
        """A plain DELETE: where there are versions, a marker."""

    def overwrite(self, key: Key, data: bytes) -> None:
        """A plain PUT."""

    def destroy(self, key: Key) -> None:
        """A DELETE of the first version. Raises AccessDenied."""


class VersionedContract(StoreContract):
    """Every Versioned passes these too."""

    LISTED_BY_AGE = True
    """A version that is not listed yet is younger than all that are. Where that is not so, somebody who lays markers at
    the very moment can make two writers believe that they were first; what is read afterwards is one of theirs, and the
    same for everybody."""

    @pytest.fixture
    def intruder(self, store: Store) -> Intruder:
        raise NotImplementedError

    @pytest.fixture
    def kept(self, store: Store) -> Versioned:
        """`store`, with one object in it."""
        found = versioned(store)
        assert found is not None
        found.put(A, [b"first"])
        return found

    def test_what_is_as_it_was_written_is_not_hidden(self, kept: Versioned) -> None:
        assert list(kept.hidden()) == []
        assert not kept.pin(A)
        kept.uncover(A)
        assert kept.get(A) == b"first"

    def test_what_a_marker_hides_is_read_all_the_same(self, kept: Versioned, intruder: Intruder) -> None:
        intruder.delete(A)
        assert kept.get(A) == b"first"
        assert kept.get(A, 1, 2) == b"ir"
        assert [(one.key, one.size_bytes) for one in kept.list()] == [(A, 5)]
        assert [(one.key, one.by) for one in kept.hidden()] == [(A, Cover.DELETED)]

    def test_what_was_overwritten_is_read_when_it_is_pinned(self, kept: Versioned, intruder: Intruder) -> None:
        intruder.overwrite(A, b"rubbish")
        assert kept.get(A) == b"rubbish"
        assert kept.pin(A)
        assert not kept.pin(A), "a second time it changes nothing"
        assert kept.get(A) == b"first"
        assert [(one.key, one.by) for one in kept.hidden()] == [(A, Cover.OVERWRITTEN)]

    def test_another_thread_that_read_too_early_is_told_too(self, kept: Versioned, intruder: Intruder) -> None:
        intruder.overwrite(A, b"rubbish")
        assert kept.pin(A)
        told = list[bool]()
        thread = threading.Thread(target=lambda: told.extend((kept.pin(A), kept.pin(A))))
        thread.start()
        thread.join()
        assert told == [True, False]

    def test_what_a_listing_found_covered_is_pinned(self, kept: Versioned, intruder: Intruder) -> None:
        intruder.overwrite(A, b"rubbish")
        assert [(one.key, one.size_bytes) for one in kept.list("points/")] == [(A, 5)]
        assert kept.get(A) == b"first"
        assert kept.get(A, 3) == b"st"

    def test_the_first_version_stays_the_true_one_under_any_pile(self, kept: Versioned, intruder: Intruder) -> None:
        kept.put(Key("points/db/b"), [b"untouched"])
        for turn in range(3):
            intruder.overwrite(A, b"rubbish %d" % turn)
            intruder.delete(A)
        assert [one.key for one in kept.list()] == [A, "points/db/b"]
        assert [one.by for one in kept.hidden("points/db/a")] == [Cover.OVERWRITTEN]
        assert list(kept.hidden("points/db/b")) == []
        assert kept.get(A) == b"first"

    def test_uncovering_leaves_the_first_version_alone(self, kept: Versioned, intruder: Intruder) -> None:
        intruder.overwrite(A, b"rubbish")
        intruder.delete(A)
        kept.uncover(A)
        assert list(kept.hidden()) == []
        assert kept.get(A) == b"first"

    @pytest.mark.parametrize("attack", ["hidden", "overwritten"])
    def test_a_first_version_that_is_hidden_still_wins_a_put_if_absent(
        self, kept: Versioned, intruder: Intruder, attack: str
    ) -> None:
        if attack == "hidden":
            intruder.delete(A)
        else:
            intruder.overwrite(A, b"rubbish")
        assert not kept.put_if_absent(A, b"second")
        kept.pin(A)
        assert kept.get(A) == b"first"

    def test_a_marker_with_nothing_under_it_hides_nothing(self, kept: Versioned, intruder: Intruder) -> None:
        key = Key("points/db/never")
        intruder.delete(key)
        assert [one.key for one in kept.list()] == [A]
        with pytest.raises(ObjectMissing):
            kept.get(key)
        assert kept.put_if_absent(key, b"ours")
        assert not kept.put_if_absent(key, b"theirs")
        assert kept.get(key) == b"ours"
        assert list(kept.hidden()) == []

    def test_put_if_absent_has_one_winner_while_markers_are_laid(self, kept: Versioned, intruder: Intruder) -> None:
        for race in range(4):
            key, start, won = Key(f"points/db/race{race}"), threading.Barrier(5), list[int]()

            def run(number: int, key: Key = key, start: threading.Barrier = start, won: list[int] = won) -> None:
                start.wait()
                if number == 0:
                    intruder.delete(key)
                    intruder.delete(key)
                elif kept.put_if_absent(key, b"%d" % number):
                    won.append(number)

            threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1 or (won and not self.LISTED_BY_AGE)
            assert [one.key for one in kept.list(key)] == [key]
            assert kept.get(key) in [b"%d" % number for number in won]

    def test_what_is_deleted_is_gone_with_all_that_lies_on_it(self, store: Store, intruder: Intruder) -> None:
        passing = Key("reserved/db/a")
        store.put(passing, [b"first"])
        intruder.overwrite(passing, b"rubbish")
        intruder.delete(passing)
        store.delete(passing)
        assert list(store.list("reserved/")) == []
        with pytest.raises(ObjectMissing):
            store.get(passing)
        assert store.put_if_absent(passing, b"again")


class LockedContract(VersionedContract):
    """Every Locking passes these too. It locks for two days, in compliance mode."""

    @pytest.fixture
    def locked(self, kept: Versioned) -> Locking:
        found = locking(kept)
        assert found is not None
        assert found.lock == LOCK
        return found

    def test_what_was_deleted_is_gone_and_deleting_it_again_is_fine(self, store: Store) -> None:
        store.put(Key("reserved/b"), [b"x"])
        for _ in range(2):
            store.delete(Key("reserved/b"))
        store.delete(Key("never/there"))
        assert list(store.list()) == []
        with pytest.raises(ObjectMissing):
            store.get(Key("reserved/b"))

    def test_what_is_written_is_locked(self, locked: Locking) -> None:
        until = locked.locked_until(A)
        assert until is not None
        assert abs(until - (locked.now() + LOCK.span + LOCK_MARGIN)) < 5 * SECOND
        assert locked.put_if_absent(Key("points/db/b"), b"x")
        assert locked.locked_until(Key("points/db/b")) is not None

    def test_what_is_meant_to_go_is_not(self, locked: Locking) -> None:
        for key in (Key("reserved/db/a"), Key("marks/db/a"), Key("canary/a")):
            locked.put_if_absent(key, b"x")
            assert locked.locked_until(key) is None
            locked.delete(key)
        assert [one.key for one in locked.list()] == [A]

    def test_what_is_locked_cannot_be_deleted_by_us(self, locked: Locking) -> None:
        with pytest.raises(ObjectLocked, match="points/db/a"):
            locked.delete(A)
        assert locked.get(A) == b"first"

    def test_nor_by_anybody_else(self, locked: Locking, intruder: Intruder) -> None:
        intruder.delete(A)
        with pytest.raises(AccessDenied):
            intruder.destroy(A)
        with pytest.raises(ObjectLocked):
            locked.delete(A)
        assert locked.get(A) == b"first"

    def test_a_lock_can_be_made_longer_and_never_shorter(self, locked: Locking) -> None:
        longer = locked.now() + 100 * DAY
        locked.extend_lock(A, longer)
        assert abs((locked.locked_until(A) or locked.now()) - longer) <= SECOND
        locked.extend_lock(A, locked.now() + DAY)
        assert abs((locked.locked_until(A) or locked.now()) - longer) <= SECOND

    def test_the_lock_of_the_first_version_is_what_is_asked_for_and_extended(
        self, locked: Locking, intruder: Intruder
    ) -> None:
        intruder.overwrite(A, b"rubbish")
        until = locked.locked_until(A)
        assert until is not None
        locked.extend_lock(A, until + 9 * DAY)
        assert locked.locked_until(A) == until + 9 * DAY
        intruder.delete(A)
        locked.extend_lock(A, until + 19 * DAY)
        assert locked.locked_until(A) == until + 19 * DAY

    def test_an_attack_does_what_an_intruder_can_and_is_told_what_he_cannot(self, locked: Locking) -> None:
        assert {attack: locked.attack(A, attack) for attack in Attack} == {
            Attack.HIDE: True,
            Attack.OVERWRITE: True,
            Attack.DESTROY: False,
            Attack.SHORTEN: False,
            Attack.BYPASS: False,
        }
        assert [one.by for one in locked.hidden()] == [Cover.OVERWRITTEN]
        locked.pin(A)
        assert locked.get(A) == b"first"
        locked.uncover(A)
        assert list(locked.hidden()) == []

    def test_an_attack_on_what_is_not_locked_succeeds(self, locked: Locking) -> None:
        canary = Key("canary/a")
        locked.put_if_absent(canary, b"x")
        assert locked.attack(canary, Attack.DESTROY)
        with pytest.raises(ObjectMissing):
            locked.get(canary)

    def test_a_lock_on_what_is_not_there_is_no_lock(self, locked: Locking, intruder: Intruder) -> None:
        intruder.delete(Key("points/db/never"))
        for key in (Key("nothing"), Key("points/db/never")):
            with pytest.raises(ObjectMissing):
                locked.locked_until(key)
            with pytest.raises(ObjectMissing):
                locked.extend_lock(key, locked.now() + 100 * DAY)
