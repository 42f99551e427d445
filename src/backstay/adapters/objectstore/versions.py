"""A bucket of S3 that keeps versions, and locks them.

obstore cannot say either, so both go through boto3: listing versions, reading an old one, removing markers, retention.
Writing does too, where a lock goes with it: obstore has no attribute for a lock, and headers that it adds by default
are not signed, which S3 refuses for any `x-amz-…`. Reading stays with obstore: many small ranges at once are what it
is good at.

**First versions.** A key is written once, so its oldest version is the true one, whatever lies on it. S3 lists versions
newest first, so that is the last one listed of a key. It never changes; the last few thousand are remembered.

**Put if absent.** `If-None-Match: *` asks whether a key *reads* as absent, and a delete marker makes it so: on AWS
and on SeaweedFS a second writer would win over a first version that is merely hidden. So we look before, and look
again afterwards: whoever's version is the oldest has won, and everybody who asks sees the same one. Three requests
instead of one, for reservations, points and other small objects; packs are put without a condition, for their names
are random.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, takewhile
from typing import Any, cast

from backstay.adapters.objectstore.s3 import S3, Entry, Refused
from backstay.errors import AccessDenied, ObjectLocked, ObjectMissing, StoreUnreachable
from backstay.ports import (
    PASSING,
    Attack,
    Cover,
    Hidden,
    Key,
    Listed,
    Lock,
    LockMode,
    Store,
    StoreTraits,
    checked_key,
    is_key,
)

_PIECE = 32 << 20
"""What is longer goes up in pieces of this many bytes. A pack never is."""
_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Retention:
    mode: LockMode
    until: datetime


@dataclass(frozen=True, slots=True)
class _Pile:
    """What a listing says about one key that has a first version."""

    first: Entry
    by: Cover | None
    since: datetime


class VersionedBucket:
    """`within` reads, and writes what is not locked. `lock` is None where nothing is to be locked."""

    def __init__(self, within: Store, s3: S3, lock: Lock | None = None) -> None:
        absent = within.traits.put_if_absent
        self.traits = StoreTraits(put_if_absent=absent, object_lock=lock is not None, versions=True)
        self.within, self.s3, self._lock = within, s3, lock
        self._firsts: OrderedDict[Key, str] = OrderedDict()
        self._pins: dict[Key, str] = {}
        self._told: set[tuple[Key, int]] = set()
        """Which threads know that a key is pinned."""
        self._turn = threading.Lock()

    @property
    def lock(self) -> Lock:
        assert self._lock is not None, "ask the traits first"
        return self._lock

    def describe(self) -> str:
        return self.within.describe()

    def now(self) -> datetime:
        return self.within.now()

    # ── objects ──

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        checked_key(key)
        held = self._held(key)
        if not held:
            self.within.put(key, parts)
            return
        pieces = _pieces(parts)
        first, second = next(pieces, b""), next(pieces, None)
        try:
            if second is None:
                self.s3.ask("put_object", key, Body=first, **held)
            else:
                self._put_in_pieces(key, [first, second], pieces, held)
        except Refused as refused:
            raise self._in_words(refused, key) from None

    def _put_in_pieces(self, key: Key, begun: list[bytes], rest: Iterator[bytes], held: dict[str, Any]) -> None:
        # The lock is said at the beginning; a part under a lock needs a checksum, and so does saying which it will be.
        made = self.s3.ask("create_multipart_upload", key, ChecksumAlgorithm="CRC32", **held)
        upload, done = {"UploadId": made["UploadId"]}, list[dict[str, Any]]()
        try:
            for number, piece in enumerate(_chained(begun, rest), 1):
                said = {"PartNumber": number, "Body": piece, "ChecksumAlgorithm": "CRC32"}
                answer = self.s3.ask("upload_part", key, **upload, **said)
                sums = {"ChecksumCRC32": answer["ChecksumCRC32"]} if "ChecksumCRC32" in answer else {}
                done.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
            self.s3.ask("complete_multipart_upload", key, **upload, MultipartUpload={"Parts": done})
        except BaseException:
            with suppress(Refused, StoreUnreachable, AccessDenied):
                self.s3.ask("abort_multipart_upload", key, **upload)
            raise

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        checked_key(key)
        if self._pile(key) is not None:
            return False
        try:
            made = self.s3.ask("put_object", key, Body=data, IfNoneMatch="*", **self._held(key))
        except Refused as refused:
            if refused.status == 412:
                return False
            raise self._in_words(refused, key) from None
        mine, pile = made.get("VersionId"), self._pile(key)
        if pile is None:
            raise StoreUnreachable(f"{key} was stored in {self.s3.bucket}, and is not listed there")
        if pile.first.version == mine:
            return True
        with suppress(Refused):  # somebody was first and was hidden meanwhile; ours only lies on it, if it has to
            self.s3.ask("delete_object", key, VersionId=mine)
        return False

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        checked_key(key)
        if key not in self._pins:
            try:
                return self.within.get(key, start, length)
            except ObjectMissing:
                if not self.pin(key):
                    raise
        try:
            return self.s3.read(key, self._pins[key], start, length)
        except Refused as refused:
            raise self._in_words(refused, key) from None

    def list(self, prefix: str = "") -> Iterator[Listed]:
        for pile in self._piles(prefix):
            yield Listed(pile.first.key, pile.first.size_bytes, pile.first.modified)

    def delete(self, key: Key) -> None:
        # From above, the first version last: dying half-way must not make an intruder's version the oldest.
        first = self._strip(key)
        if first is not None:
            self._drop(first)
        with self._turn:
            self._firsts.pop(key, None)
        self._unpin(key)

    # ── versions ──

    def hidden(self, prefix: str = "") -> Iterator[Hidden]:
        for pile in self._piles(prefix):
            if pile.by is not None:
                yield Hidden(pile.first.key, pile.by, pile.since)

    def uncover(self, key: Key) -> None:
        self._strip(key)

    def pin(self, key: Key) -> bool:
        told = key, threading.get_ident()
        if told in self._told:
            return False
        self._pile(key)  # which pins what it finds covered
        with self._turn:
            if key in self._pins:
                self._told.add(told)
            return key in self._pins

    def _strip(self, key: Key) -> Entry | None:
        """Remove everything but the first version, which it gives. Raises ObjectLocked."""
        entries = self._entries(key)
        first = _oldest(entries)
        refused: ObjectLocked | None = None
        for entry in entries:
            if entry is not first:
                try:
                    self._drop(entry)
                except ObjectLocked as error:
                    refused = error
        if refused is not None:
            raise refused
        self._unpin(key)
        return first

    def _unpin(self, key: Key) -> None:
        with self._turn:
            self._pins.pop(key, None)
            self._told = {told for told in self._told if told[0] != key}

    def _drop(self, entry: Entry) -> None:
        """Raises ObjectLocked, AccessDenied."""
        try:
            self.s3.ask("delete_object", entry.key, VersionId=entry.version)
        except Refused as refused:
            if refused.status == 404:
                return
            if refused.status == 403 and not entry.marker and (why := self._lock_on(entry)):
                raise ObjectLocked(f"{entry.key} is locked in {self.s3.bucket} {why}") from None
            raise self._in_words(refused, entry.key) from None

    def _lock_on(self, entry: Entry) -> str:
        """What holds a version that could not be deleted; nothing, where we cannot see any lock."""
        with suppress(Refused):
            held = self._retention(entry.key, entry.version)
            if held is not None and held.until > self.s3.now():
                return f"until {held.until:%Y-%m-%d %H:%M} UTC ({held.mode.value})"
        with suppress(Refused):
            hold = self.s3.ask("get_object_legal_hold", entry.key, VersionId=entry.version)
            if hold.get("LegalHold", {}).get("Status") == "ON":
                return "by a legal hold"
        return ""

    def _entries(self, key: Key) -> tuple[Entry, ...]:
        """All of one key: those of longer keys come after it."""
        try:
            return tuple(takewhile(lambda entry: entry.key == key, self.s3.entries(key)))
        except Refused as refused:
            raise self._in_words(refused, key) from None

    def _pile(self, key: Key) -> _Pile | None:
        return self._seen(self._entries(key))

    def _piles(self, prefix: str) -> Iterator[_Pile]:
        try:
            for key, entries in groupby(self.s3.entries(prefix), _key):
                if is_key(key) and (pile := self._seen(entries)) is not None:
                    yield pile
        except Refused as refused:
            raise self._in_words(refused, Key(prefix)) from None

    def _seen(self, entries: Iterable[Entry]) -> _Pile | None:
        """Of one key. What is covered is pinned; an intruder may have laid a million versions, so none is kept."""
        first: Entry | None = None
        versions, since = 0, datetime.min.replace(tzinfo=UTC)
        for entry in entries:
            since = max(since, entry.modified)
            if not entry.marker:
                versions, first = versions + 1, entry
        if first is None:
            return None
        by = None if first.latest else Cover.OVERWRITTEN if versions > 1 else Cover.DELETED
        with self._turn:
            self._firsts[first.key] = first.version
            self._firsts.move_to_end(first.key)
            while len(self._firsts) > _REMEMBERED:
                self._firsts.popitem(last=False)
            if by is not None:
                self._pins[first.key] = first.version
        return _Pile(first, by, since)

    def _first(self, key: Key) -> str:
        """The id of the first version. Raises ObjectMissing."""
        with self._turn:
            known = self._firsts.get(key)
        if known is not None:
            return known
        if (pile := self._pile(key)) is None:
            raise ObjectMissing(f"{key} is not in {self.s3.bucket}")
        return pile.first.version

    # ── locks ──

    def locked_until(self, key: Key) -> datetime | None:
        held = self.retention(key)
        return held.until if held is not None and held.until > self.s3.now() else None

    def retention(self, key: Key) -> Retention | None:
        """Of the first version, also one that has run out. Raises ObjectMissing."""
        try:
            return self._retention(key, self._first(key))
        except Refused as refused:
            raise self._in_words(refused, key) from None

    def extend_lock(self, key: Key, until: datetime) -> None:
        version = self._first(key)
        wanted = {"Mode": self.lock.mode.name, "RetainUntilDate": until}
        try:
            self.s3.ask("put_object_retention", key, VersionId=version, Retention=wanted)
        except Refused as refused:
            # S3 says no to a shorter lock as it says no to whoever may not lock at all.
            if refused.status == 403 and (held := self.retention(key)) is not None and held.until >= until:
                return
            raise self._in_words(refused, key) from None

    def attack(self, key: Key, attack: Attack) -> bool:
        version = {"VersionId": self._first(key)}
        soon = {"Mode": self.lock.mode.name, "RetainUntilDate": self.s3.now() + timedelta(seconds=1)}
        try:
            match attack:
                case Attack.HIDE:
                    self.s3.ask("delete_object", key)
                case Attack.OVERWRITE:
                    self.s3.ask("put_object", key, Body=b"overwritten")
                case Attack.DESTROY:
                    self.s3.ask("delete_object", key, **version)
                case Attack.SHORTEN:
                    self.s3.ask("put_object_retention", key, Retention=soon, **version)
                case Attack.BYPASS:
                    self.s3.ask("delete_object", key, BypassGovernanceRetention=True, **version)
        except Refused as refused:
            # 400: S3 calls a lock that would be shorter an invalid request, and so do some that are like it.
            if refused.status in (400, 403):
                return False
            raise self._in_words(refused, key) from None
        return True

    def _retention(self, key: Key, version: str) -> Retention | None:
        try:
            found = self.s3.ask("get_object_retention", key, VersionId=version)
        except Refused as refused:
            if refused.code in ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"):
                return None
            raise
        held: dict[str, Any] = found.get("Retention") or {}
        if not held.get("Mode") or not held.get("RetainUntilDate"):
            return None
        return Retention(LockMode[held["Mode"]], cast(datetime, held["RetainUntilDate"]).astimezone(UTC))

    def _held(self, key: Key) -> dict[str, Any]:
        """What is said when `key` is written, so that it is locked from its first moment."""
        if self._lock is None or key.startswith(PASSING):
            return {}
        until = self._lock.until(self.s3.now())
        return {"ObjectLockMode": self._lock.mode.name, "ObjectLockRetainUntilDate": until}

    def _in_words(self, refused: Refused, key: Key) -> Exception:
        return refused.in_words(self.s3.bucket, key)


def _key(entry: Entry) -> Key:
    return entry.key


def _oldest(entries: Sequence[Entry]) -> Entry | None:
    """S3 lists the newest first."""
    return next((entry for entry in reversed(entries) if not entry.marker), None)


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """`parts` joined to pieces of `_PIECE` and a rest."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= _PIECE:
            yield bytes(held[:_PIECE])
            del held[:_PIECE]
    if held:
        yield bytes(held)


def _chained(begun: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    while begun:
        yield begun.pop(0)
    yield from rest
