"""A bucket in memory that keeps versions and locks them: twin of a bucket in S3 with Object Lock.

Each key has a pile of versions and delete markers, the oldest at the bottom. A lock holds one version; it never stops
anybody from laying something on top. What others than Backstay do with their own tools is here too, for tests: they
delete plainly (`lay_marker`), overwrite (`lay_version`), and try to delete a version (`drop`).
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backstay.errors import AccessDenied, ObjectLocked, ObjectMissing, StoreUnreachable
from backstay.ports import PASSING, Attack, Cover, Hidden, Key, Listed, Lock, LockMode, StoreTraits, checked_key


@dataclass(slots=True)
class Version:
    """`data` is None for a delete marker."""

    data: bytes | None
    modified: datetime
    mode: LockMode | None = None
    until: datetime | None = None

    def locked(self, now: datetime) -> bool:
        return self.until is not None and now < self.until


@dataclass(slots=True)
class Pile:
    """What was written under one key, oldest first."""

    versions: list[Version] = field(default_factory=list[Version])

    @property
    def first(self) -> Version | None:
        return next((one for one in self.versions if one.data is not None), None)

    @property
    def covers(self) -> list[Version]:
        """What lies on the first version."""
        first = self.first
        return [] if first is None else self.versions[self.versions.index(first) + 1 :]

    def drop(self, version: Version) -> None:
        self.versions = [one for one in self.versions if one is not version]


class MemoryBucket:
    """A Locking store; Versioned only, where it is made without a `lock`. For several threads."""

    def __init__(
        self,
        name: str = "bucket",
        *,
        lock: Lock | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.traits = StoreTraits(put_if_absent=True, object_lock=lock is not None, versions=True)
        self.piles: dict[Key, Pile] = {}
        self._lock, self._name, self._now = lock, name, now
        self.bypass = False
        """Whether our credentials may lift a lock in governance mode."""
        self._pinned: set[Key] = set()
        self._told: set[tuple[Key, int]] = set()
        """Which threads know that a key is pinned."""
        self._turn = threading.RLock()

    @property
    def lock(self) -> Lock:
        assert self._lock is not None, "ask the traits first"
        return self._lock

    def describe(self) -> str:
        return self._name

    def now(self) -> datetime:
        return self._now()

    # ── objects ──

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        if not self.put_if_absent(key, b"".join(parts)):
            raise StoreUnreachable(f"{key} is already in {self._name}", detail="a new object would overwrite it")

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        checked_key(key)
        with self._turn:
            pile = self.piles.setdefault(key, Pile())
            if pile.first is not None:
                return False
            made = Version(bytes(data), self.now())
            if self._lock is not None and not key.startswith(PASSING):
                made.mode, made.until = self._lock.mode, self._lock.until(self.now())
            pile.versions.append(made)
            return True

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        with self._turn:
            data = self._read(key)
        return data[start:] if length is None else data[start : start + length]

    def _read(self, key: Key) -> bytes:
        """Like a bucket: the newest version; the first, where the key is pinned or a marker hides it."""
        first, newest = self._first(key), self.piles[key].versions[-1]
        data = first.data if key in self._pinned or newest.data is None else newest.data
        assert data is not None
        return data

    def _first(self, key: Key) -> Version:
        if key not in self.piles or (first := self.piles[key].first) is None:
            raise ObjectMissing(f"{key} is not in {self._name}")
        return first

    def list(self, prefix: str = "") -> Iterator[Listed]:
        with self._turn:
            found = sorted(key for key in self.piles if key.startswith(prefix))
        for key in found:
            with self._turn:
                pile = self.piles.get(key, Pile())
                if (first := pile.first) is None or first.data is None:
                    continue
                if pile.covers:
                    self._pinned.add(key)
                listed = Listed(key, len(first.data), first.modified)
            yield listed

    def delete(self, key: Key) -> None:
        with self._turn:
            if (first := self.piles.get(key, Pile()).first) is not None:
                self._refuse_locked(key, first)
            self.uncover(key)
            self.piles.pop(key, None)

    # ── versions and locks ──

    def hidden(self, prefix: str = "") -> Iterator[Hidden]:
        with self._turn:
            found = sorted(key for key in self.piles if key.startswith(prefix) and self.piles[key].covers)
        for key in found:
            if covers := self.piles[key].covers:
                by = Cover.OVERWRITTEN if any(one.data is not None for one in covers) else Cover.DELETED
                yield Hidden(key, by, covers[-1].modified)

    def uncover(self, key: Key) -> None:
        with self._turn:
            pile, locked = self.piles.get(key, Pile()), None
            for cover in pile.covers:
                if cover.locked(self.now()):
                    locked = cover
                else:
                    pile.drop(cover)
            if locked is not None:
                self._refuse_locked(key, locked)
            self._pinned.discard(key)
            self._told = {told for told in self._told if told[0] != key}

    def pin(self, key: Key) -> bool:
        with self._turn:
            told = key, threading.get_ident()
            if told in self._told or not self.piles.get(key, Pile()).covers:
                return False
            self._pinned.add(key)
            self._told.add(told)
            return True

    def locked_until(self, key: Key) -> datetime | None:
        with self._turn:
            first = self._first(key)
            return first.until if first.locked(self.now()) else None

    def extend_lock(self, key: Key, until: datetime) -> None:
        with self._turn:
            first = self._first(key)
            if first.until is None or first.until < until:
                first.mode, first.until = self.lock.mode, until

    def attack(self, key: Key, attack: Attack) -> bool:
        with self._turn:
            first = self._first(key)
            held = first.locked(self.now()) and not (self.bypass and first.mode is LockMode.GOVERNANCE)
            match attack:
                case Attack.HIDE:
                    self.lay_marker(key)
                case Attack.OVERWRITE:
                    self.lay_version(key, b"overwritten")
                case Attack.DESTROY | Attack.SHORTEN if first.locked(self.now()):
                    return False
                case Attack.BYPASS if held:
                    return False
                case Attack.SHORTEN:
                    first.until = self.now()
                case Attack.DESTROY | Attack.BYPASS:
                    self.piles[key].drop(first)
            return True

    def _refuse_locked(self, key: Key, version: Version) -> None:
        if version.locked(self.now()):
            raise ObjectLocked(f"{key} is locked in {self._name} until {version.until:%Y-%m-%d %H:%M} UTC")

    # ── what others do ──

    def lay_marker(self, key: Key) -> None:
        """A plain DELETE."""
        with self._turn:
            self.piles.setdefault(key, Pile()).versions.append(Version(None, self.now()))

    def lay_version(self, key: Key, data: bytes, *, until: datetime | None = None) -> None:
        """A plain PUT, locked until then."""
        with self._turn:
            made = Version(data, self.now(), LockMode.COMPLIANCE if until else None, until)
            self.piles.setdefault(key, Pile()).versions.append(made)

    def drop(self, key: Key, at: int = 0) -> None:
        """A DELETE of one version, counted from the oldest. Raises AccessDenied for a locked one."""
        with self._turn:
            version = self.piles[key].versions[at]
            if version.locked(self.now()):
                raise AccessDenied(f"{key} is locked")
            self.piles[key].drop(version)
