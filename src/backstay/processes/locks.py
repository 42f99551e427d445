"""A lock that an orphan keeps, so that its successor waits.

flock(2) belongs to the open file, and every process that inherited the open file holds it: the lock is free when the
last of them has ended, and not when the first is killed. Hand the number to `Command.inherit`.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from backstay.errors import Cancelled, RunBusy
from backstay.values import say_span

_GLANCE_S = 0.05


def never() -> bool:
    return False


@contextmanager
def holding(path: Path, *, wait: timedelta, stop: Callable[[], bool] = never) -> Generator[int]:
    """Hold `path` (made 0600 if it is not there; it stays) while in here; gives the open file's number.

    Waits up to `wait` for whoever holds it. Raises RunBusy after that, Cancelled when `stop` says so.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + wait.total_seconds()
        while not _take(fd):
            if stop():
                raise Cancelled(f"stopped while waiting for {path.name}")
            if time.monotonic() >= until:
                raise RunBusy(
                    f"another process still holds {path}",
                    detail=f"taken by process {_holder(fd)}, or left by it to a program that it started; "
                    f"waited {say_span(wait)}",
                    hint="wait until it has ended, or end it",
                )
            time.sleep(_GLANCE_S)  # flock has no time limit of its own
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        # Only close: to unlock would take it away from the programs that inherited it.
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    words = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    return words if words.isdigit() else "unknown"
