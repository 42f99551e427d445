"""Objects in a store."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, Protocol

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
    versions: bool


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
        """Every object whose key begins with `prefix`, in the order of keys."""
        ...

    def delete(self, key: Key) -> None:
        """Gone, or never there."""
        ...

    def now(self) -> datetime:
        """The store's own clock."""
        ...
