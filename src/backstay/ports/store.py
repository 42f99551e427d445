"""Objects in a store; and what some stores can do beyond that: keep versions of them, and lock them.

A key is written once. Where a store keeps versions, the *first* one written under a key is therefore the true one, and
whatever came later (a delete marker, another version) merely lies on it: somebody else did that. Such a store lists
first versions, and can be told to read them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NewType, Protocol, cast

from backstay.plan import LockMode

Key = NewType("Key", str)
"""Parts of `[a-z0-9._-]` joined by `/`; never begins with `/`, never holds an empty or `..` part."""

_KEY = re.compile(r"[a-z0-9._-]+(?:/[a-z0-9._-]+)*\Z")


def is_key(text: str) -> bool:
    """Whether every store can make a name of it: at most 900 characters, no part of dots alone."""
    return len(text) <= 900 and _KEY.match(text) is not None and all(part.strip(".") for part in text.split("/"))


def checked_key(key: Key) -> Key:
    """`key`. Raises ValueError when it is none."""
    if not is_key(key):
        raise ValueError(f"{key!r} cannot be the name of an object")
    return key


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """What callers may rely on."""

    put_if_absent: bool
    object_lock: bool
    """It locks what it writes, and can be told to lock it for longer: it is a `Locking`."""
    versions: bool
    """It keeps what was overwritten or deleted: it is a `Versioned`."""
    takes_as_made: bool = False
    """`put` goes through its parts once, and writes each as it comes: they may be made meanwhile. Others may begin
    again, or need the length first."""


@dataclass(frozen=True, slots=True)
class Listed:
    key: Key
    size_bytes: int
    modified: datetime
    """By the store's own clock."""


class Store(Protocol):
    """A place that keeps objects. A key is written once and never changed.

    Every method may raise StoreUnreachable (transient), AccessDenied or DiskFull.
    """

    traits: StoreTraits

    def describe(self) -> str:
        """An address for people, without credentials."""
        ...

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        """Store the joined parts whole and durably, or not at all. The caller knows the key to be unused:
        it holds randomness or a digest. Streams: parts are not joined in memory."""
        ...

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        """Store durably if nobody did: True. False when the key was there, whoever wrote it. One winner."""
        ...

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; fewer at the end of the object. Raises ObjectMissing."""
        ...

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Every object whose key begins with `prefix`, in the order of keys. Where there are versions: the first of
        each key, also of one that a marker hides."""
        ...

    def delete(self, key: Key) -> None:
        """Gone with all its versions and markers, or never there. Raises ObjectLocked."""
        ...

    def now(self) -> datetime:
        """The store's own clock."""
        ...


# ── versions ─────────────────────────────────────────────────────────────────────────────────────


class Cover(Enum):
    """What lies on a first version. The worse of the two where both do: a plain read gives other bytes."""

    DELETED = "deleted"
    OVERWRITTEN = "overwritten"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A key whose first version is not what a plain read gives."""

    key: Key
    by: Cover
    since: datetime
    """When the newest thing that lies on it was put there, by the store's clock."""


class Versioned(Store, Protocol):
    """A store whose `traits.versions` is true."""

    def hidden(self, prefix: str = "") -> Iterator[Hidden]:
        """Every key below `prefix` on whose first version something lies, in the order of keys."""
        ...

    def uncover(self, key: Key) -> None:
        """Remove markers and later versions, as far as the store lets us; the first version stays. Raises ObjectLocked
        when a later version is locked, after everything else was removed: then `pin` is what helps."""
        ...

    def pin(self, key: Key) -> bool:
        """From now on read the first version of this key, through this Store. True, once for each thread, when that
        is not what a plain read gives: what the thread has read before may have been something else, and is worth
        another try. `list` pins each key that it finds covered, and `get` one that a marker hides."""
        ...


def versioned(store: Store) -> Versioned | None:
    """`store`, where it keeps versions."""
    return cast(Versioned, store) if store.traits.versions else None


# ── locks ────────────────────────────────────────────────────────────────────────────────────────

LOCK_MARGIN = timedelta(days=30)
"""What is written is locked for so much longer than promised, so that it need not be extended at every backup."""

PASSING = ("reserved/", "marks/", "locks/", "canary/")
"""What is meant to go again is written without a lock."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What a store was told to do with everything it writes, but for what is `PASSING`."""

    span: timedelta
    """As promised by the plan. Written with `LOCK_MARGIN` on top."""
    mode: LockMode = LockMode.COMPLIANCE

    def until(self, now: datetime) -> datetime:
        return now + self.span + LOCK_MARGIN


class Attack(Enum):
    """What an intruder with our credentials would try on an object that is locked."""

    HIDE = "delete it"
    OVERWRITE = "overwrite it"
    DESTROY = "delete its version"
    SHORTEN = "shorten its lock"
    BYPASS = "bypass its lock"


class Locking(Versioned, Protocol):
    """A store whose `traits.object_lock` is true. Locks guard versions, so it keeps versions too."""

    @property
    def lock(self) -> Lock:
        """What it was told when it was made."""
        ...

    def locked_until(self, key: Key) -> datetime | None:
        """Until when the first version of `key` is locked, by the store's clock. None: it is not, or no longer. Raises
        ObjectMissing."""
        ...

    def extend_lock(self, key: Key, until: datetime) -> None:
        """Lock the first version of `key` until then, or leave it when it is locked for longer. Raises ObjectMissing,
        AccessDenied."""
        ...

    def attack(self, key: Key, attack: Attack) -> bool:
        """Do that to `key`, with the credentials of this store and past all our care: False when the store refused.
        For an object that nobody needs. `HIDE` and `OVERWRITE` are not what a lock stops; they may succeed."""
        ...


def locking(store: Store) -> Locking | None:
    """`store`, where it locks what it writes."""
    return cast(Locking, store) if store.traits.object_lock else None
