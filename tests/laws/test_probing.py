"""A store is tried before it is trusted: each way in which one can be unfit is seen, and what was seen is believed."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from backstay.adapters.around import Fault, Patient, faulty, paced
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.objectstore.s3 import S3
from backstay.adapters.objectstore.versions import VersionedBucket
from backstay.app.probing import look, sentences
from backstay.errors import AccessDenied, StoreUnreachable, StoreUnsuitable
from backstay.ports import Key, Listed, Store
from backstay.vault import Keyring, open_vault
from backstay.vault.probing import Probed, believe, keep, probe
from fix_vault import keyring, new_vault


class Careless(MemoryStore):
    """Ignores the condition of a conditional write, and says that all is well."""

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        super().delete(key)
        return super().put_if_absent(key, data)


class Racy(MemoryStore):
    """Looks first and writes then: two at the same moment both win."""

    def __init__(self) -> None:
        super().__init__()
        self.meet = threading.Barrier(2)

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        if "race" not in key:
            return super().put_if_absent(key, data)
        there = key in self.objects
        self.meet.wait(timeout=20)  # everybody has looked before anybody writes
        super().delete(key)
        super().put_if_absent(key, data)
        return not there


class Late(MemoryStore):
    """Lists only what it had when it was first asked."""

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return (listed for listed in super().list(prefix) if "list" not in listed.key)


class Whole(MemoryStore):
    """Gives all of an object, whatever part was asked for."""

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return super().get(key)


class Unordered(MemoryStore):
    def list(self, prefix: str = "") -> Iterator[Listed]:
        return reversed([*super().list(prefix)])


class Refusing(MemoryStore):
    """A writer's credentials: nothing can be deleted."""

    def delete(self, key: Key) -> None:
        raise AccessDenied("no")


class Stubborn(MemoryStore):
    def delete(self, key: Key) -> None:
        pass


class Ahead(MemoryStore):
    def now(self) -> datetime:
        return super().now() + timedelta(hours=2)


class Clock(MemoryClock):
    """The stores above read the real clock."""

    def now(self) -> datetime:
        return MemoryStore().now()


def seen(store: Store) -> Probed:
    return probe(store, Clock())


def failed(found: Probed) -> list[str]:
    return [one.what for one in found.tried if one.works is False]


def test_a_sound_store_passes_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    for store in (MemoryStore(), FolderStore(tmp_path), Patient(MemoryStore(), Clock())):
        found = seen(store)
        assert (failed(found), found.put_if_absent, found.unfit) == ([], True, ())
        assert list(store.list()) == []
        assert sentences(found, only_trouble=True) == []


@pytest.mark.parametrize(
    ("store", "what"),
    [
        (Careless, ["put-if-absent", "put-if-absent"]),
        (Racy, ["put-if-absent"]),
        (Whole, ["ranged reads"]),
        (Late, ["listing"]),
        (Unordered, ["listing"]),
        (Stubborn, ["deletion"]),
        (Ahead, ["clock"]),
    ],
)
def test_what_does_not_work_is_seen(store: type[MemoryStore], what: list[str]) -> None:
    found = seen(store())
    assert failed(found) == what
    assert found.put_if_absent == ("put-if-absent" not in what)
    assert [line[0] for line in sentences(found, only_trouble=True)][: len(what)] == ["✘"] * len(what)


@pytest.mark.parametrize("store", [Whole, Late])
def test_where_no_vault_can_be_none_is_made(store: type[MemoryStore]) -> None:
    with pytest.raises(StoreUnsuitable, match="no place for a vault"):
        look(store(), Clock())


def test_who_may_not_delete_is_a_writer_and_no_failure() -> None:
    found = seen(Refusing())
    assert (failed(found), [one.what for one in found.tried if one.works is None]) == ([], ["deletion"])


def test_a_store_that_is_away_is_not_called_unfit() -> None:
    with pytest.raises(StoreUnreachable):
        seen(faulty(MemoryStore(), Fault(5, times=100)))


def test_what_was_seen_is_believed_by_whoever_opens_the_vault_later() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    careless = replace(seen(Careless()), at=Clock().now())
    assert keep(vault, careless)
    wrapped = Patient(paced(store, Clock(), rate=10**9), Clock())
    assert wrapped.traits.put_if_absent
    believe(open_vault(wrapped, "local", keyring()))
    assert not wrapped.traits.put_if_absent
    assert not store.traits.put_if_absent, "also the store inside, which then looks before it writes"
    assert keep(vault, replace(seen(store), at=Clock().now() + timedelta(seconds=1)))
    believe(open_vault(wrapped, "local", keyring()))
    assert wrapped.traits.put_if_absent
    assert store.traits.put_if_absent


def test_what_was_seen_reaches_the_store_inside_one_that_keeps_versions() -> None:
    class Reading(VersionedBucket):
        """Asks the store inside where S3 would be asked for versions."""

        def list(self, prefix: str = "") -> Iterator[Listed]:
            return self.within.list(prefix)

        def pin(self, key: Key) -> bool:
            return False

    store = MemoryStore()
    assert keep(new_vault(store), replace(seen(Careless()), at=Clock().now()))
    bucket = Reading(store, cast(S3, None))
    believe(open_vault(Patient(paced(bucket, Clock(), rate=10**9), Clock()), "local", keyring()))
    assert not bucket.traits.put_if_absent
    assert not store.traits.put_if_absent


def test_a_probe_says_what_the_store_does_by_itself() -> None:
    """A store that helps itself by looking first would pass for one that sees to it."""

    class Helpful(Careless):
        def put_if_absent(self, key: Key, data: bytes) -> bool:
            if not self.traits.put_if_absent and key in self.objects:
                return False
            return super().put_if_absent(key, data)

    store = Helpful()
    store.traits = replace(store.traits, put_if_absent=False)
    assert not seen(store).put_if_absent
    assert not store.traits.put_if_absent
    assert store.put_if_absent(Key("a"), b"1")
    assert not store.put_if_absent(Key("a"), b"2")


def test_a_note_that_says_nothing_sensible_changes_nothing() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    vault.keep_note("probe/20991231t000000000000z", b"[]")
    believe(vault)
    vault.keep_note("probe/20991231t000000000001z", b'{"put_if_absent":"no"}')
    believe(vault)
    assert store.traits.put_if_absent


def test_a_key_that_may_not_write_keeps_nothing() -> None:
    store = MemoryStore()
    new_vault(store)
    reader = Keyring(keyring().identity, None)
    assert not keep(open_vault(store, "local", reader), seen(store))


def test_a_forged_note_is_not_believed() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    keep(vault, seen(store))
    (key,) = (listed.key for listed in store.list("notes/probe/"))
    data = bytearray(store.objects[key])
    data[-1] ^= 1
    store.delete(key)
    store.put(key, [bytes(data)])
    believe(open_vault(store, "local", keyring()))
    assert store.traits.put_if_absent
