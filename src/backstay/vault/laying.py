"""Laying files down: written in any order by several threads, durable one by one, links and folders last.

Durability is by fsync of every file and folder (not syncfs, which would wait for what others write on the same disk).
Writing out is begun early, while the rest is still being restored, and a few threads wait for it: so the fsyncs cost
little at the end.
"""

import ctypes
import errno
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE, S_ISDIR

from backstay.errors import AccessDenied, BackstayError, DiskFull, TargetNotEmpty
from backstay.facts import Point
from backstay.ports import Stored
from backstay.values import say_size
from backstay.vault.straight import BLOCK, Straight, turn_back
from backstay.vault.straight import LEAST as LEAST_STRAIGHT

SYNCERS = 4
MOST_WAITING = 64
"""Files that are written and wait for their fsync: each holds a handle."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SYNC_FILE_RANGE_WRITE = 2


class LaidFile:
    """A file that is being written, by whoever has one of its chunks."""

    __slots__ = ("_handle", "_left_bytes", "_lock", "_path", "_straight", "stored")

    def __init__(self, path: Path, stored: Stored, straight: Straight | None = None) -> None:
        """`straight`: it is cut into blocks, and written from memory that begins at a page: it may pass the cache."""
        self._path, self.stored, self._straight = path, stored, straight
        self._left_bytes, self._handle, self._lock = stored.size_bytes, -1, threading.Lock()

    def _open(self) -> int:
        with self._lock:
            if self._handle < 0:
                self._handle = self._made()
            return self._handle

    def _made(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = handle = os.open(self._path, flags, 0o600)
        size = self.stored.size_bytes
        straight = self._straight if size >= LEAST_STRAIGHT else None
        if straight is not None and straight.is_worth_it and straight.turn(handle):
            os.ftruncate(handle, size)  # so that threads need not wait for each other to make it longer
        else:
            self._straight = None
        return handle

    def write(self, data: memoryview, offset: int) -> None:
        handle, at = self._open(), offset
        if (straight := self._straight) is not None:
            is_last = offset + len(data) == self.stored.size_bytes
            if offset % BLOCK == 0 and (is_last or len(data) % BLOCK == 0):
                straight.write(handle, data, offset)
                return
            turn_back(handle)  # cut as no writer of ours does
            self._straight = None
        while data:
            n = os.pwrite(handle, data, at)
            data, at = data[n:], at + n
        if at - offset < self.stored.size_bytes:  # else it is all of the file, and its fsync is next
            begin_writeback(handle, offset, at - offset)

    def zeros(self, offset: int, size: int) -> None:
        """These bytes are zeros: a new file has them already."""

    def done(self, size: int) -> bool:
        """So much of it is written, or is zeros. Whether that was the last."""
        with self._lock:
            self._left_bytes -= size
            return self._left_bytes == 0

    def finish(self) -> None:
        handle, moment = self._open(), nanoseconds(self.stored.modified)
        found = os.fstat(handle)
        if S_IMODE(found.st_mode) != self.stored.mode:
            os.fchmod(handle, self.stored.mode)
        if is_odd := found.st_size != self.stored.size_bytes:  # it ends with zeros, or within a block
            os.ftruncate(handle, self.stored.size_bytes)
        if is_odd or found.st_mtime_ns != moment[1]:
            os.utime(handle, ns=moment)
        os.fsync(handle)
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
            self._handle = -1


class Syncers:
    """Threads that finish files while others go on writing."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._waiting: queue.Queue[LaidFile | None] = queue.Queue(MOST_WAITING)
        self._failed = failed
        self._threads = [threading.Thread(target=self._work, name="backstay-sync") for _ in range(SYNCERS)]
        for thread in self._threads:
            thread.start()

    def finish(self, file: LaidFile) -> None:
        self._waiting.put(file)

    def close(self) -> None:
        """Until every file that was handed over is durable."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (file := self._waiting.get()) is not None:
            try:
                file.finish()
            except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
                file.close()
                self._failed(error)


class Later:
    """What is done when all files are there: links, then modes and times of folders, from the bottom up. `over`: what
    stands where a link belongs is replaced, unless it is a folder."""

    def __init__(self, *, over: bool = False) -> None:
        self._over = over
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE later (n INTEGER PRIMARY KEY, path BLOB, target BLOB, mode INT, ns INT)")

    def close(self) -> None:
        self._rows.close()

    def folder(self, path: Path, entry: Stored) -> None:
        self._add(path, None, entry.mode, nanoseconds(entry.modified)[0])

    def made(self, path: Path) -> None:
        """A folder that has no entry of its own: it is only fsynced."""
        self._add(path, None, None, None)

    def link(self, path: Path, entry: Stored) -> None:
        self._add(path, os.fsencode(entry.target), None, nanoseconds(entry.modified)[0])

    def _add(self, path: Path, target: bytes | None, mode: int | None, ns: int | None) -> None:
        row = (os.fsencode(path), target, mode, ns)
        self._rows.execute("INSERT INTO later (path, target, mode, ns) VALUES (?, ?, ?, ?)", row)

    def finish(self) -> None:
        for path, target, ns in self._rows.execute("SELECT path, target, ns FROM later WHERE target IS NOT NULL"):
            self._link(Path(os.fsdecode(path)), os.fsdecode(target))
            os.utime(path, ns=(ns, ns), follow_symlinks=False)
        folders = self._rows.execute("SELECT path, mode, ns FROM later WHERE target IS NULL ORDER BY n DESC")
        for path, mode, ns in folders:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if mode is not None:
                    os.fchmod(handle, mode)
                    os.utime(handle, ns=(ns, ns))
                os.fsync(handle)
            finally:
                os.close(handle)

    def _link(self, path: Path, target: str) -> None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            path.symlink_to(target)
            return
        if not self._over or S_ISDIR(found.st_mode):
            raise TargetNotEmpty(f"{path} is there already")
        path.unlink()
        path.symlink_to(target)


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def nanoseconds(moment: datetime) -> tuple[int, int]:
    """Access and change time, as `utime` wants them."""
    ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    return ns, ns


def _find_writeback() -> Callable[[int, int, int], None]:
    """Linux: start to write a range out, and do not wait. Elsewhere the fsync alone does it all."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return lambda handle, offset, size: None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

    def begin(handle: int, offset: int, size: int) -> None:
        call(handle, offset, size, _SYNC_FILE_RANGE_WRITE)  # a failure will be told by the fsync

    return begin


begin_writeback = _find_writeback()


def in_words(error: OSError, to: Path, point: Point) -> BackstayError:
    """The words of `errors` for what the operating system says about the target of a restore."""
    why, where = error.strerror or str(error), os.fsdecode(error.filename or to)
    match error.errno:
        case errno.EEXIST | errno.ENOTDIR | errno.ELOOP:
            return TargetNotEmpty(
                f"{where} is there already", detail="a restore never overwrites", hint="restore to an empty folder"
            )
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            found = os.statvfs(to)
            return DiskFull(
                f"no room left while point {point.id} of {point.component} was restored to {to}",
                detail=f"needed {say_size(point.size_bytes)}, "
                f"free now {say_size(found.f_bavail * found.f_frsize)}; the point itself is untouched",
                hint=f"make room, remove what is in {to}, and restore again",
            )
        case _:
            return AccessDenied(f"cannot write {where}: {why}")
