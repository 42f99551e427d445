"""Getting a point back into a folder: several files at once, verified, durable before it returns.

One thread walks the tree and deals out batches of chunks; the others read them in runs, verify, and write each chunk
where it belongs. Links are made last of all: nothing that is written can be led astray by one. Each file is fsynced
when its last byte is in it, each folder at the end.
"""

import errno
import os
import queue
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.errors import AccessDenied, BackstayError, Damaged, DiskFull, ObjectMissing, TargetNotEmpty, WrongKey
from backstay.facts import Point
from backstay.ports import Kind, Progress, Stored
from backstay.values import say_size
from backstay.vault.nodes import Item

if TYPE_CHECKING:
    from backstay.vault.reader import Located, Reading

BATCH_BYTES = 8 << 20
BATCH_FILES = 1024
MOST_THREADS = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def extract(
    reading: "Reading", to: Path, *, under: str, place: Callable[[Stored], Path | None] | None, progress: Progress
) -> None:
    """See `ports.PointReader.extract`. The stored path is kept below `to`, also for what is below `under`."""
    with _in_words(to, reading.point):
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_without_room(reading, to, under)
        with closing(_Later()) as later:
            _Restore(reading, to, place, progress, later).run(under)
            later.finish()
            _sync_up(to)


def _refuse_without_room(reading: "Reading", to: Path, under: str) -> None:
    item = reading.tree.find(under) if under else None
    needed = item.size_bytes if item else 0 if under else reading.point.size_bytes
    found = os.statvfs(to)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise DiskFull(
            f"no room for point {reading.point.id} of {reading.point.component} in {to}",
            detail=f"needed {say_size(needed)}, free {say_size(free)}; nothing was written",
            hint="make room there, or restore to another disk",
        )


@dataclass(slots=True)
class _File:
    """A file that is being written: by whoever has one of its chunks."""

    path: Path
    stored: Stored
    left_bytes: int
    """Not written yet."""
    handle: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> int:
        with self.lock:
            if self.handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self.handle = os.open(self.path, flags, 0o600)
                os.ftruncate(self.handle, self.stored.size_bytes)
            return self.handle

    def wrote(self, size: int) -> bool:
        """Whether that was the last of it."""
        with self.lock:
            self.left_bytes -= size
            return self.left_bytes == 0

    def finish(self) -> None:
        handle = self.open()
        os.fchmod(handle, self.stored.mode)
        os.utime(handle, ns=_nanoseconds(self.stored.modified))
        os.fsync(handle)
        self.close()

    def close(self) -> None:
        with self.lock:
            if self.handle >= 0:
                os.close(self.handle)
            self.handle = -1


@dataclass(slots=True)
class _Batch:
    files: list[_File] = field(default_factory=list[_File])
    chunks: "list[Located]" = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]
    size_bytes: int = 0


class _Restore:
    def __init__(
        self,
        reading: "Reading",
        to: Path,
        place: Callable[[Stored], Path | None] | None,
        progress: Progress,
        later: "_Later",
    ) -> None:
        self._reading, self._to, self._place, self._progress, self._later = reading, to, place, progress, later
        self._threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        self._queue: queue.Queue[_Batch | None] = queue.Queue(self._threads + 1)
        self._failed: BaseException | None = None
        self._lock = threading.Lock()
        self._done, self._total = 0, 0
        self._parents: set[Path] = set()

    def run(self, under: str) -> None:
        """Raises the first thing that went wrong."""
        self._total = self._reading.point.size_bytes if not under else 0
        threads = [threading.Thread(target=self._work, name="backstay-restore") for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        try:
            for batch in self._batches(under):
                self._queue.put(batch)
                if self._failed is not None:
                    break
        except BaseException as error:  # noqa: BLE001 - raised again when the threads have ended
            self._failed = self._failed or error
        finally:
            for _ in threads:
                self._queue.put(None)
            for thread in threads:
                thread.join()
        if self._failed is not None:
            raise self._failed

    # ── the walking thread ──

    def _batches(self, under: str) -> Iterator[_Batch]:
        batch = _Batch()
        for path, item in self._reading.items(under):
            target = self._prepare(path, item)
            if target is None:
                continue
            file = _File(target, self._stored(path, item), item.size_bytes)
            batch.files.append(file)
            for located in self._reading.located(item, 0, item.size_bytes):
                if batch.size_bytes >= BATCH_BYTES:
                    yield batch
                    batch = _Batch([file])
                batch.chunks.append(located._replace(file=len(batch.files) - 1))
                batch.size_bytes += located.chunk.size
            if len(batch.files) >= BATCH_FILES:
                yield batch
                batch = _Batch()
        yield batch

    def _stored(self, path: str, item: Item) -> Stored:
        from backstay.vault.reader import stored

        return stored(path, item)

    def _prepare(self, path: str, item: Item) -> Path | None:
        """Make what `path` needs around it. The path of a file that is still to be written, or None."""
        entry = self._stored(path, item)
        target = self._to / path if self._place is None else self._place(entry)
        if target is None:
            return None
        match item.kind:
            case Kind.FOLDER:
                self._folder(target)
                self._later.folder(target, entry)
                return None
            case Kind.LINK:
                self._folder(target.parent)
                self._later.link(target, entry)
                return None
            case Kind.FILE:
                self._folder(target.parent)
                return target

    def _folder(self, path: Path) -> None:
        """Make a folder and those above it. One that is there is used, unless it is a link."""
        if path in self._parents or path == self._to:
            return
        if len(self._parents) > 4096:
            self._parents.clear()
        try:
            path.mkdir(mode=0o700)
        except FileNotFoundError:
            self._folder(path.parent)
            path.mkdir(mode=0o700)
            self._later.made(path)
        except FileExistsError:
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise TargetNotEmpty(f"{path} is there already, and is no folder") from None
        self._parents.add(path)

    # ── the others ──

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._failed is None:
                try:
                    self._write(batch)
                except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: `run` raises it
                    self._failed = self._failed or error
            if self._failed is not None:
                for file in batch.files:
                    file.close()

    def _write(self, batch: _Batch) -> None:
        try:
            for file in batch.files:
                if not file.stored.size_bytes:
                    file.finish()
            for located, data in self._reading.fetch(batch.chunks):
                file = batch.files[located.file]
                handle = file.open()
                if data is not None:
                    _write_at(handle, data, located.offset)
                if file.wrote(located.chunk.size):
                    file.finish()
                self._seen(located.chunk.size, file.stored.path)
        except (Damaged, ObjectMissing, WrongKey) as error:
            raise self._naming(error, batch) from None

    def _naming(self, error: BackstayError, batch: _Batch) -> BackstayError:
        """Which file it is: the first of the batch that does not read alone."""
        from backstay.vault.reader import about

        for number, file in enumerate(batch.files):
            try:
                for _ in self._reading.fetch([chunk for chunk in batch.chunks if chunk.file == number]):
                    pass
            except (Damaged, ObjectMissing, WrongKey):
                return about(error, self._reading.point, file.stored.path)
        return about(error, self._reading.point, batch.files[0].stored.path)

    def _seen(self, size: int, path: str) -> None:
        with self._lock:
            self._done += size
            done = self._done
        self._progress(done, self._total or None, path)


class _Later:
    """What is done when all files are there: links, then modes and times of folders, from the bottom up."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE later (n INTEGER PRIMARY KEY, path BLOB, target BLOB, mode INT, ns INT)")

    def close(self) -> None:
        self._rows.close()

    def folder(self, path: Path, entry: Stored) -> None:
        self._add(os.fsencode(path), None, entry.mode, _nanoseconds(entry.modified)[0])

    def made(self, path: Path) -> None:
        """A folder that has no entry of its own."""
        self._add(os.fsencode(path), None, 0o700, -1)

    def link(self, path: Path, entry: Stored) -> None:
        self._add(os.fsencode(path), os.fsencode(entry.target), 0, _nanoseconds(entry.modified)[0])

    def _add(self, path: bytes, target: bytes | None, mode: int, ns: int) -> None:
        self._rows.execute("INSERT INTO later (path, target, mode, ns) VALUES (?, ?, ?, ?)", (path, target, mode, ns))

    def finish(self) -> None:
        for path, target, ns in self._rows.execute("SELECT path, target, ns FROM later WHERE target IS NOT NULL"):
            Path(os.fsdecode(path)).symlink_to(os.fsdecode(target))
            os.utime(path, ns=(ns, ns), follow_symlinks=False)
        folders = self._rows.execute("SELECT path, mode, ns FROM later WHERE target IS NULL ORDER BY n DESC")
        for path, mode, ns in folders:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(handle, mode)
                if ns >= 0:
                    os.utime(handle, ns=(ns, ns))
                os.fsync(handle)
            finally:
                os.close(handle)


def _write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    while data:
        n = os.pwrite(handle, data, offset)
        data, offset = data[n:], offset + n


def _nanoseconds(moment: datetime) -> tuple[int, int]:
    ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    return ns, ns


def _sync_up(folder: Path) -> None:
    for path in (folder, folder.parent):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _in_words:  # noqa: N801 - reads as the words it is used with
    """The words of `errors` for what the operating system says about the target."""

    def __init__(self, to: Path, point: Point) -> None:
        self._to, self._point = to, point

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        why, where = error.strerror or str(error), os.fsdecode(error.filename or self._to)
        match error.errno:
            case errno.EEXIST | errno.ENOTDIR | errno.ELOOP:
                raise TargetNotEmpty(
                    f"{where} is there already", detail="a restore never overwrites", hint="restore to an empty folder"
                ) from error
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                found = os.statvfs(self._to)
                raise DiskFull(
                    f"no room left while point {self._point.id} of {self._point.component} was restored to {self._to}",
                    detail=f"needed {say_size(self._point.size_bytes)}, "
                    f"free now {say_size(found.f_bavail * found.f_frsize)}; the point itself is untouched",
                    hint=f"make room, remove what is in {self._to}, and restore again",
                ) from error
            case _:
                raise AccessDenied(f"cannot write {where}: {why}") from error
