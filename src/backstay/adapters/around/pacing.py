"""A store to and from which no more than so many bytes go each second, over all threads.

The line is used as fast as it goes for one object, and then not at all until its share has passed: a pack of 18 MB at
1 MB/s is one burst in 18 seconds. The average is what is promised, and what other users of the line feel.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from backstay.adapters.around.calls import Called, through
from backstay.ports import Clock, Store


def paced(store: Store, clock: Clock, rate: int) -> Store:
    """`rate`: bytes per second. What is listed is not counted: it is little."""
    bucket = _Bucket(clock, rate)

    def between(called: Called, method: Callable[..., Any]) -> Any:
        if called.method == "put":
            key, parts = called.args
            size = _size(parts)
            if size is None:
                return method(key, bucket.trickled(parts))
            bucket.take(size)
        elif called.method == "put_if_absent":
            bucket.take(len(called.args[1]))
        elif called.method == "get":
            bucket.take(0)
            data = method(*called.args, **called.kwargs)
            bucket.owe(len(data))
            return data
        return method(*called.args, **called.kwargs)

    return through(store, between)


class _Bucket:
    """Each taker is given the next free stretch of time. Nothing is saved up while nobody takes."""

    def __init__(self, clock: Clock, rate: int) -> None:
        self._clock, self._rate, self._lock = clock, rate, threading.Lock()
        self._free = timedelta()
        """When all that was taken has passed, by the clock's own count."""

    def owe(self, size_bytes: int) -> timedelta:
        """Take now, and say how long whoever comes next has to wait."""
        with self._lock:
            now = self._clock.elapsed()
            begins = max(now, self._free)
            self._free = begins + timedelta(seconds=size_bytes / self._rate)
            return begins - now

    def take(self, size_bytes: int) -> None:
        """Wait for one's turn, and take. Raises Cancelled."""
        if (length := self.owe(size_bytes)) > timedelta():
            self._clock.wait(length)

    def trickled(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self.take(len(part))
            yield part


def _size(parts: Any) -> int | None:
    """Of what can say it without being read."""
    if isinstance(parts, list | tuple):
        return sum(len(part) for part in parts)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    found = getattr(parts, "size_bytes", None)
    return found if isinstance(found, int) else None
