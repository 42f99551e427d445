"""Waiting for a condition, never for a time."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_GLANCE = threading.Event()


T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 20.0) -> T:
    """Ask until the answer is true, and give it. Fails when it never is."""
    end = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {within_s} s"
        _GLANCE.wait(0.01)
    return answer


def alive(pid: int) -> bool:
    """Whether a process still does anything: one that only waits for its parent to read its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
