"""Threads, as little of them as the engine needs. The laws bring a crew of their own, which runs one at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Protocol


class Crew(Protocol):
    def begin(self, name: str, work: Callable[[], None]) -> None:
        """Start `work` in a thread of its own. It lets no exception out."""
        ...

    def wait(self, length: timedelta, until: Callable[[], bool]) -> None:
        """Come back after `length`, or soon after `until` became true and somebody rang."""
        ...

    def ring(self) -> None:
        """Wake everybody who waits, so that they look again."""
        ...

    def lock(self) -> AbstractContextManager[Any]:
        """A lock of its own, free."""
        ...


class Threads:
    """Real threads. They are daemons: a process that is told to end does not wait for a stuck act."""

    def __init__(self) -> None:
        self._bell = threading.Condition()

    def begin(self, name: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=f"backstay {name}", daemon=True).start()

    def wait(self, length: timedelta, until: Callable[[], bool]) -> None:
        with self._bell:
            self._bell.wait_for(until, max(0.0, length.total_seconds()))

    def ring(self) -> None:
        with self._bell:
            self._bell.notify_all()

    def lock(self) -> AbstractContextManager[Any]:
        return threading.Lock()
