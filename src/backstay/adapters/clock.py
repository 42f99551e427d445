"""The real clock: the system's time, the monotonic clock, and waits that end when somebody asks us to stop."""

import threading
import time
from datetime import UTC, datetime, timedelta

from backstay.errors import Cancelled

_LONGEST_WAIT_S = 3600.0
"""A wait is cut into pieces of this: `Event.wait` takes no more than about 292 years, and less on some platforms."""
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Time as this machine tells it. `stop` is set by whoever hears that we should end (the signal handlers of the
    command line): every wait then ends at once with Cancelled."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> timedelta:
        # Leases run by it, also while a machine sleeps: CLOCK_MONOTONIC of Linux would stand still (clock_gettime(2)).
        return timedelta(microseconds=time.clock_gettime_ns(_STEADY) // 1000)

    def wait(self, length: timedelta) -> None:
        until = time.monotonic() + length.total_seconds()
        while True:
            left = max(0.0, until - time.monotonic())
            if self.stop.wait(min(left, _LONGEST_WAIT_S)):
                raise Cancelled("stopped while waiting")
            if left <= _LONGEST_WAIT_S:
                return
