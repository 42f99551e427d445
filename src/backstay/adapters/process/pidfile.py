"""Which process a workload is: the pid file, written so that it is whole or not there."""

import os
import re
from errno import EACCES, EDQUOT, ENOSPC, EPERM
from pathlib import Path

from backstay.adapters.process.family import Process, Stat, boot_id, is_alive, stat_of
from backstay.durable import sync, write_durably
from backstay.errors import AccessDenied, DiskFull, ToolFailed

_OURS = re.compile(r"(\d{1,10})\n(\d{1,20}) ([0-9a-f-]{36})\n\Z")
_BARE = re.compile(r"\s*(\d{1,10})\s*(?:\n|\Z)")


def read_pid_file(path: Path) -> Process | None:
    """The process that the file speaks of, if it runs now. Raises AccessDenied when it cannot be read."""
    try:
        text = path.read_bytes()[:4096].decode("ascii", "replace")
        written_ns = path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessDenied(f"cannot read the pid file {path}", detail=error.strerror or "") from error
    if ours := _OURS.match(text):
        process = Process(int(ours[1]), int(ours[2]))
        return process if ours[3] == boot_id() and is_alive(process) else None
    if bare := _BARE.match(text):
        pid = int(bare[1])
        found = stat_of(pid)
        if found is not None and found.runs and pid not in _ours() and _started_ns(found) <= written_ns + 2 * 10**9:
            return Process(pid, found.started_ticks)
    return None


def _ours() -> set[int]:
    """Ourselves and whoever started us, up to the first process: whatever a file says, none of them is a workload."""
    found, pid = {0, 1}, os.getpid()
    while pid not in found:
        found.add(pid)
        above = stat_of(pid)
        pid = above.parent if above else 0
    return found


def _started_ns(found: Stat) -> int:
    """By the wall clock, to the second: `btime` of /proc/stat."""
    booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(booted[1]) if booted else 0) * 10**9 + found.started_ticks * 10**9 // ticks


def write_through(path: Path, text: str) -> None:
    """The whole text, on disk, or what was there before."""
    try:
        write_durably(path, text.encode(), 0o644)
    except OSError as error:
        raise edge(error, f"write {path}") from error


def remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise edge(error, f"remove {path}") from error


def edge(error: OSError, doing: str) -> DiskFull | AccessDenied | ToolFailed:
    why = error.strerror or type(error).__name__
    if error.errno in (ENOSPC, EDQUOT):
        return DiskFull(f"no room to {doing}", detail=why)
    if error.errno in (EACCES, EPERM):
        return AccessDenied(f"may not {doing}", detail=why)
    return ToolFailed(f"could not {doing}", detail=why)
