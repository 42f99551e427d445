"""A clock that moves only when somebody waits, or moves it: twin of the system's clock."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from backstay.errors import Cancelled

BEGINNING = datetime(2026, 11, 22, 20, 44, 37, tzinfo=UTC)


def _nobody() -> bool:
    return False


class MemoryClock:
    """Time as the test tells it. `wait` returns at once, with both clocks moved on; `stop` is asked first."""

    def __init__(self, now: datetime = BEGINNING, *, stop: Callable[[], bool] = _nobody) -> None:
        self._now, self._elapsed = now, timedelta()
        self._lock = threading.Lock()
        self.stop = stop

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def elapsed(self) -> timedelta:
        with self._lock:
            return self._elapsed

    def wait(self, length: timedelta) -> None:
        if self.stop():
            raise Cancelled("stopped while waiting")
        self.advance(max(length, timedelta()))

    def advance(self, length: timedelta) -> None:
        """Time passes."""
        with self._lock:
            self._now += length
            self._elapsed += length

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; no time passes."""
        with self._lock:
            self._now += by
