"""A store that counts what is asked of it: requests, and the bytes that went each way."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from backstay.adapters.memory.store import MemoryStore
from backstay.ports import Key, Listed


class CountingStore(MemoryStore):
    """Counts by the first part of the key: `reads["packs"]`. A listing counts one for each thousand keys."""

    def __init__(self) -> None:
        super().__init__()
        self._counting = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.reads, self.writes, self.lists = Counter[str](), Counter[str](), Counter[str]()
        self.read_bytes = 0

    @property
    def requests(self) -> int:
        return sum(self.reads.values()) + sum(self.writes.values()) + sum(self.lists.values())

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        self._count(self.writes, key)
        return super().put_if_absent(key, data)

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        super().put(key, parts)

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start, length)
        self._count(self.reads, key)
        with self._counting:
            self.read_bytes += len(data)
        return data

    def list(self, prefix: str = "") -> Iterator[Listed]:
        for number, listed in enumerate(super().list(prefix)):
            if number % 1000 == 999:
                self._count(self.lists, prefix)
            yield listed
        self._count(self.lists, prefix)

    def _count(self, kind: "Counter[str]", key: str) -> None:
        with self._counting:
            kind[key.partition("/")[0]] += 1
