"""Time, and watching long work."""

from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The only way to know what time it is. Tests and drills bring their own."""

    def now(self) -> datetime:
        """The wall clock: aware, UTC. It may jump."""
        ...

    def elapsed(self) -> timedelta:
        """Since some fixed moment; never goes back (CLOCK_MONOTONIC). For measuring."""
        ...

    def wait(self, length: timedelta) -> None:
        """Come back after `length`. Raises Cancelled as soon as somebody asks us to stop."""
        ...


class Progress(Protocol):
    """Somebody who watches long work. Called from any thread, often; must be quick and never raise."""

    def __call__(self, done_bytes: int, total_bytes: int | None, what: str) -> None: ...


def unwatched(done_bytes: int, total_bytes: int | None, what: str) -> None:
    """The Progress of nobody watching."""
