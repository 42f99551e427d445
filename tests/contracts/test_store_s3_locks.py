"""The contract of stores with versions and locks, on buckets of a real S3 server; an intruder comes with boto3."""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.objectstore import Address, versions
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.guarding import guarded
from backstay.adapters.objectstore.s3 import S3
from backstay.adapters.objectstore.versions import VersionedBucket
from backstay.errors import AccessDenied, ObjectLocked
from backstay.ports import Attack, Cover, Key, Lock, LockMode, Store, locking, versioned
from fix_buckets import BUCKET, LOCKED, LOCKER, OWNER, VERSIONED, SeaweedFS
from fix_lock_contract import DAY, LOCK, A, Intruder, LockedContract, VersionedContract
from fix_vault import noise
from fix_waiting import until


@pytest.fixture
def below() -> str:
    """A part of the bucket for one test."""
    return secrets.token_hex(8)


def opened(weed: SeaweedFS, bucket: str, below: str, lock: Lock | None = None) -> Store:
    return guarded(BucketStore(Address("s3", bucket, below), weed.reach(LOCKER)), lock)


class Burglar:
    """With the credentials of the store, and boto3."""

    def __init__(self, weed: SeaweedFS, bucket: str, below: str) -> None:
        self._client, self._at = weed.client(LOCKER), {"Bucket": bucket}
        self._below = below

    def delete(self, key: Key) -> None:
        self._client.delete_object(**self._at, Key=f"{self._below}/{key}")

    def overwrite(self, key: Key, data: bytes) -> None:
        self._client.put_object(**self._at, Key=f"{self._below}/{key}", Body=data)

    def destroy(self, key: Key) -> None:
        at = f"{self._below}/{key}"
        first = self._client.list_object_versions(**self._at, Prefix=at)["Versions"][-1]["VersionId"]
        try:
            self._client.delete_object(**self._at, Key=at, VersionId=first)
        except self._client.exceptions.ClientError as error:
            raise AccessDenied(str(error)) from None


class TestVersions(VersionedContract):
    RACES = 1
    LISTED_BY_AGE = False  # seen under load: the age is given out when a request comes, and the version listed later

    @pytest.fixture
    def store(self, tmp_path: Path, buckets: SeaweedFS, below: str) -> Store:
        return opened(buckets, VERSIONED, below)

    @pytest.fixture
    def intruder(self, store: Store, buckets: SeaweedFS, below: str) -> Intruder:
        return Burglar(buckets, VERSIONED, below)


class TestLocks(LockedContract):
    RACES = 1
    LISTED_BY_AGE = False

    @pytest.fixture
    def store(self, tmp_path: Path, buckets: SeaweedFS, below: str) -> Store:
        return opened(buckets, LOCKED, below, LOCK)

    @pytest.fixture
    def intruder(self, store: Store, buckets: SeaweedFS, below: str) -> Intruder:
        return Burglar(buckets, LOCKED, below)


# ── what a bucket can do ─────────────────────────────────────────────────────────────────────────


def test_a_bucket_is_what_it_can_do_and_not_what_was_hoped(buckets: SeaweedFS, below: str) -> None:
    plain = guarded(BucketStore(Address("s3", BUCKET, below), buckets.reach(LOCKER)), LOCK)
    assert versioned(plain) is None
    only_versions = opened(buckets, VERSIONED, below, LOCK)
    assert versioned(only_versions) is not None
    assert locking(only_versions) is None
    not_asked = opened(buckets, LOCKED, below)
    assert versioned(not_asked) is not None
    assert locking(not_asked) is None
    assert locking(opened(buckets, LOCKED, below, LOCK)) is not None


@pytest.mark.parametrize("in_order", [True, False])
def test_what_lies_on_several_pages_is_one_key(buckets: SeaweedFS, below: str, in_order: bool) -> None:
    address, intruder = Address("s3", VERSIONED, below), Burglar(buckets, VERSIONED, below)
    s3 = S3(buckets.client(LOCKER), address, in_order=in_order, page=2)
    store = VersionedBucket(BucketStore(address, buckets.reach()), s3)
    keys = [Key(f"points/db/{name}") for name in ("a", "b", "c", "d")]
    for key in keys:
        assert store.put_if_absent(key, key.encode())
    for _ in range(3):
        intruder.overwrite(keys[1], b"rubbish")
        intruder.delete(keys[1])
    intruder.delete(keys[3])
    assert [one.key for one in store.list("points/")] == keys
    assert [(one.key, one.by) for one in store.hidden()] == [(keys[1], Cover.OVERWRITTEN), (keys[3], Cover.DELETED)]
    assert [store.get(key) for key in keys] == [key.encode() for key in keys]
    store.uncover(keys[1])
    assert [one.key for one in store.hidden()] == [keys[3]]


def test_a_long_object_is_locked_in_pieces(buckets: SeaweedFS, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_PIECE", 5 << 20)
    store = locking(opened(buckets, LOCKED, below, LOCK))
    assert store is not None
    part = noise(1 << 20)
    store.put(Key("packs/db/long"), (part for _ in range(12)))
    assert store.get(Key("packs/db/long")) == part * 12
    assert store.locked_until(Key("packs/db/long")) is not None
    with pytest.raises(ObjectLocked):
        store.delete(Key("packs/db/long"))

    def dying() -> Iterator[bytes]:
        yield from (part for _ in range(12))
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError):
        store.put(Key("packs/db/dead"), dying())
    assert [one.key for one in store.list("packs/db/d")] == []
    assert not buckets.client().list_multipart_uploads(Bucket=LOCKED, Prefix=below).get("Uploads")


def test_what_is_locked_can_be_deleted_when_its_time_is_over(buckets: SeaweedFS, below: str) -> None:
    store = locking(opened(buckets, LOCKED, below, LOCK))
    assert store is not None
    store.put_if_absent(Key("canary/a"), b"x")
    store.extend_lock(Key("canary/a"), store.now() + timedelta(seconds=3))
    with pytest.raises(ObjectLocked, match="until"):
        store.delete(Key("canary/a"))

    def gone() -> bool:
        try:
            store.delete(Key("canary/a"))
        except ObjectLocked:
            return False
        return True

    until(gone, "a lock of three seconds runs out", seconds=30)
    assert list(store.list()) == []


def test_governance_stops_whoever_may_not_bypass_it_and_says_who_may(buckets: SeaweedFS, below: str) -> None:
    address, lock = Address("s3", LOCKED, below), Lock(2 * DAY, LockMode.GOVERNANCE)
    writer = locking(guarded(BucketStore(address, buckets.reach(LOCKER)), lock))
    owner = locking(guarded(BucketStore(address, buckets.reach(OWNER)), lock))
    assert writer is not None
    assert owner is not None
    writer.put(A, [b"first"])
    assert not writer.attack(A, Attack.BYPASS)
    assert not writer.attack(A, Attack.SHORTEN)
    assert not owner.attack(A, Attack.DESTROY)
    assert owner.attack(A, Attack.BYPASS)
    assert list(writer.list()) == []


def test_a_legal_hold_is_a_lock_too(buckets: SeaweedFS, below: str) -> None:
    store = opened(buckets, LOCKED, below, LOCK)
    store.put_if_absent(Key("marks/db/a"), b"x")
    held = {"Bucket": LOCKED, "Key": f"{below}/marks/db/a"}
    buckets.client().put_object_legal_hold(**held, LegalHold={"Status": "ON"})
    with pytest.raises(ObjectLocked, match="legal hold"):
        store.delete(Key("marks/db/a"))
    buckets.client().put_object_legal_hold(**held, LegalHold={"Status": "OFF"})
    store.delete(Key("marks/db/a"))
