"""The contract of stores with versions and locks, on the bucket in memory."""

from pathlib import Path

import pytest

from backstay.adapters.around import Patient
from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import ObjectLocked
from backstay.ports import LOCK_MARGIN, Cover, Key, Lock, LockMode, Store, locking, versioned
from fix_lock_contract import DAY, LOCK, SECOND, A, Intruder, LockedContract, VersionedContract


class _Burglar:
    def __init__(self, bucket: MemoryBucket) -> None:
        self._bucket = bucket

    def delete(self, key: Key) -> None:
        self._bucket.lay_marker(key)

    def overwrite(self, key: Key, data: bytes) -> None:
        self._bucket.lay_version(key, data)

    def destroy(self, key: Key) -> None:
        self._bucket.drop(key)


class TestMemoryVersions(VersionedContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return MemoryBucket()

    @pytest.fixture
    def intruder(self, store: Store) -> Intruder:
        assert isinstance(store, MemoryBucket)
        return _Burglar(store)


class TestMemoryLocks(LockedContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return MemoryBucket(lock=LOCK)

    @pytest.fixture
    def intruder(self, store: Store) -> Intruder:
        assert isinstance(store, MemoryBucket)
        return _Burglar(store)


class TestPatientLocks(LockedContract):
    """What is wrapped stays what it is."""

    @pytest.fixture
    def bucket(self) -> MemoryBucket:
        return MemoryBucket(lock=LOCK)

    @pytest.fixture
    def store(self, tmp_path: Path, bucket: MemoryBucket) -> Store:
        return Patient(bucket, MemoryClock())

    @pytest.fixture
    def intruder(self, store: Store, bucket: MemoryBucket) -> Intruder:
        return _Burglar(bucket)


def test_a_lock_ends_by_the_stores_own_clock() -> None:
    clock = MemoryClock()
    bucket = MemoryBucket(lock=Lock(DAY, LockMode.GOVERNANCE), now=clock.now)
    bucket.put(A, [b"first"])
    clock.advance(DAY + LOCK_MARGIN - SECOND)
    with pytest.raises(ObjectLocked):
        bucket.delete(A)
    clock.advance(SECOND)
    assert bucket.locked_until(A) is None
    bucket.delete(A)
    assert list(bucket.list()) == []


def test_a_later_version_that_is_locked_stays_and_is_read_past() -> None:
    clock = MemoryClock()
    bucket = MemoryBucket(lock=LOCK, now=clock.now)
    bucket.put(A, [b"first"])
    bucket.lay_version(A, b"rubbish", until=clock.now() + DAY)
    bucket.lay_marker(A)
    with pytest.raises(ObjectLocked):
        bucket.uncover(A)
    assert [one.by for one in bucket.hidden()] == [Cover.OVERWRITTEN]
    assert bucket.pin(A)
    assert bucket.get(A) == b"first"
    clock.advance(DAY)
    bucket.uncover(A)
    assert list(bucket.hidden()) == []


def test_a_store_without_versions_has_none_of_this(tmp_path: Path) -> None:
    assert versioned(MemoryStore()) is None
    assert locking(MemoryBucket()) is None
    assert versioned(MemoryBucket()) is not None
