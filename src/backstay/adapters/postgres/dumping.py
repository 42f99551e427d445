"""The output of `pg_dump -Fd`, read while it is being written.

Theory of operation. A directory dump is one file per table, and a table of contents that pg_dump writes at the very
end; it cannot write into pipes, because it makes the folder itself. A whole dump on a scratch disk would cost the size
of the database once more. So each file is handed to the vault as soon as it appears, read as it grows, and what was
read is given back to the disk at once (fallocate(2), PUNCH_HOLE); the file is removed when it has been read. The
scratch disk then holds what pg_dump is ahead of us, and no more. Where the file system cannot punch holes, it holds
the largest table.

A file is complete when pg_dump has no longer opened it, or has ended; whether it ended *well* is asked after the last
file, and raises: the point is then never sealed.
"""

import ctypes
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from backstay.ports import Clock, Cutter, Entry, Kind
from backstay.processes import Running

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GLANCE = timedelta(milliseconds=10)
_LARGE = 1 << 20
"""From here on a file is told to the vault before it is complete."""
_HOLE_EVERY = 16 << 20
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


@dataclass(slots=True)
class Dump:
    """The folder of a running pg_dump."""

    folder: Path
    running: Running
    clock: Clock
    _seen: set[str] = field(default_factory=set[str])

    def entries(self) -> Iterator[Entry]:
        """Every file below `dump/`, in the order of appearance. Raises what pg_dump ends with, when it ends badly."""
        while True:
            alive = self.running.alive  # before looking: what appears after the end does not exist
            fresh = self._fresh()
            for name in fresh:
                yield self._entry(name)
            if not fresh:
                if not alive:
                    break
                self.clock.wait(_GLANCE)
        self.running.wait()

    def _fresh(self) -> list[str]:
        try:
            found = [entry.name for entry in os.scandir(self.folder) if entry.name not in self._seen]
        except FileNotFoundError:
            return []  # pg_dump makes it
        self._seen.update(found)
        return sorted(found)

    def _entry(self, name: str) -> Entry:
        path = self.folder / name
        while path.stat().st_size < _LARGE and not self.complete(path):
            self.clock.wait(_GLANCE)
        size = path.stat().st_size
        return Entry(
            f"dump/{name}",
            Kind.FILE,
            0o600,
            self.clock.now(),
            size,
            lambda: cast(BinaryIO, Growing(path, self)),
            Cutter.CDC_V1 if size > 64 << 10 or name.endswith(".dat") else Cutter.WHOLE,
        )

    def complete(self, path: Path) -> bool:
        """Whether pg_dump has closed this file."""
        if not self.running.alive:
            return True
        opened = f"/proc/{self.running.pid}/fd"
        wanted = str(path)
        try:
            return all(os.readlink(f"{opened}/{number}") != wanted for number in os.listdir(opened))  # noqa: PTH115, PTH208
        except OSError:
            return False  # it is just ending, or changing its files: asked again in a moment


class Growing(io.RawIOBase):
    """A file that is still being written, to its real end. Removed when it is closed."""

    def __init__(self, path: Path, dump: Dump) -> None:
        self._path, self._dump = path, dump
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._at, self._given_back, self._complete = 0, 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if got := os.readv(self._fd, [view]):
                self._at += got
                self._give_back()
                return got
            if self._complete or not view:
                return 0
            # Complete first, then read once more: what was written in between is not missed.
            self._complete = self._dump.complete(self._path)
            if not self._complete:
                self._dump.clock.wait(_GLANCE)

    def _give_back(self) -> None:
        if self._at - self._given_back >= _HOLE_EVERY:
            until = self._at // 4096 * 4096
            if not punch(self._fd, self._given_back, until - self._given_back):
                until = 1 << 62  # not on this file system: do not ask again
            self._given_back = until

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)
            self._path.unlink(missing_ok=True)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def punch(fd: int, offset: int, length: int) -> bool:
    """Give a range of a file back to the disk; its size stays. False where that is not possible."""
    call = getattr(_libc(), "fallocate", None)
    if call is None:
        return False
    mode = _PUNCH_HOLE | _KEEP_SIZE
    return call(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)) == 0
