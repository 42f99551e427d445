"""An object store in memory: a dictionary under the contract of every store.

What a folder or a bucket promises, it promises too: an object is written once, and of two writers one wins. Nothing
lasts longer than the object itself.
"""

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from backstay.errors import ObjectMissing, StoreUnreachable
from backstay.ports import Key, Listed, StoreTraits, checked_key


class MemoryStore:
    """A Store. For several threads. `objects` is what it holds: a test may look there, copy it, or tamper with it."""

    def __init__(self, name: str = "memory") -> None:
        self.traits = StoreTraits(put_if_absent=True, object_lock=False, versions=False)
        self.objects: dict[Key, bytes] = {}
        self._times: dict[Key, datetime] = {}
        self._name = name
        self._lock = threading.Lock()

    def describe(self) -> str:
        return self._name

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        data = b"".join(parts)
        if not self.put_if_absent(key, data):
            raise StoreUnreachable(f"{key} is already in {self._name}", detail="a new object would overwrite it")

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        checked_key(key)
        with self._lock:
            if key in self.objects:
                return False
            self.objects[key] = bytes(data)
            self._times[key] = self.now()
            return True

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        try:
            data = self.objects[key]
        except KeyError:
            raise ObjectMissing(f"{key} is not in {self._name}") from None
        return data[start:] if length is None else data[start : start + length]

    def list(self, prefix: str = "") -> Iterator[Listed]:
        with self._lock:
            found = sorted(key for key in self.objects if key.startswith(prefix))
        for key in found:
            if (data := self.objects.get(key)) is not None:
                yield Listed(key, len(data), self._times[key])

    def delete(self, key: Key) -> None:
        with self._lock:
            self.objects.pop(key, None)
            self._times.pop(key, None)

    def now(self) -> datetime:
        return datetime.now(UTC)
