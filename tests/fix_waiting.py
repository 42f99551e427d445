"""Waiting for a condition, never for a time."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_GLANCE = threading.Event()


T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "what was waited for", *, seconds: float = 20.0) -> T:
    """Ask until the answer is true, and give it. Fails when after so many seconds it still is not."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        _GLANCE.wait(0.01)
    return answer


def alive(pid: int) -> bool:
    """Whether a process still does anything: one that only waits for its parent to read its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
