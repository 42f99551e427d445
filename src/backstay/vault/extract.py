"""Getting a point back into a folder: several files at once, verified, durable before it returns.

One thread walks the tree and deals out batches of chunks; others fetch them, and write those that lie side by side
with one call. Links are made last of all: nothing that is written can be led astray by one.
"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from backstay.errors import BackstayError, Damaged, DiskFull, ObjectMissing, TargetNotEmpty, WrongKey
from backstay.ports import Cutter, Kind, Progress, Stored
from backstay.values import say_size
from backstay.vault.arenas import few_arenas
from backstay.vault.fetching import Fetching, Located, stored
from backstay.vault.laying import LaidFile, Later, Syncers, in_words, sync_folder
from backstay.vault.nodes import Item, Stream
from backstay.vault.over import KeptFile, side_by_side
from backstay.vault.side import SIDE_BYTES, Side
from backstay.vault.straight import Straight

BATCH_BYTES = 32 << 20
BATCH_STORED = 8 << 20
"""A batch ends at either: what is asked of a store at once should be megabytes, also of data that compresses well."""
BATCH_FILES = 1024
MOST_THREADS = 16
_UNREADABLE = (Damaged, ObjectMissing, WrongKey)

Placing = Callable[[Stored], Path | None] | None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a point is laid down."""

    to: Path
    place: Placing = None
    over: bool = False
    """Over what is there: only what differs is written."""


def extract(fetching: Fetching, ground: Ground, *, under: str, progress: Progress) -> None:
    """See `ports.PointReader.extract`. The whole stored path is kept below `to`, also with `under`."""
    to = ground.to
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        few_arenas()
        if ground.place is None and not ground.over:  # else who knows what is needed, and on which disks
            _refuse_without_room(fetching, to, under)
        with closing(Later(over=ground.over)) as later:
            _Restore(fetching, ground, progress, later).run(under)
            later.finish()
        sync_folder(to)
        sync_folder(to.parent)
    except OSError as error:
        raise in_words(error, to, fetching.point) from error


def _refuse_without_room(fetching: Fetching, to: Path, under: str) -> None:
    needed = fetching.find(under).size_bytes if under else fetching.point.size_bytes
    found = os.statvfs(to)
    free = (found.f_bavail if os.geteuid() else found.f_bfree) * found.f_frsize
    if needed > free:
        raise DiskFull(
            f"no room for point {fetching.point.id} of {fetching.point.component} in {to}",
            detail=f"needed {say_size(needed)}, free {say_size(free)}; nothing was written",
            hint="make room there, or restore to another disk",
        )


@dataclass(slots=True)
class _Batch:
    files: list[LaidFile] = field(default_factory=list[LaidFile])
    empty: list[LaidFile] = field(default_factory=list[LaidFile])
    chunks: list[Located] = field(default_factory=list[Located])
    size_bytes: int = 0
    stored_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.size_bytes >= BATCH_BYTES or self.stored_bytes >= BATCH_STORED

    def add(self, located: Located) -> None:
        offset, chunk, _ = located
        self.chunks.append(Located(offset, chunk, len(self.files) - 1))
        self.size_bytes += chunk.size
        if chunk.place is not None:
            self.stored_bytes += chunk.place.length


class _Restore:
    def __init__(self, fetching: Fetching, ground: Ground, progress: Progress, later: Later) -> None:
        self._fetching, self._progress, self._later = fetching, progress, later
        self._to, self._place, self._over = ground.to, ground.place, ground.over
        processors = len(os.sched_getaffinity(0))
        self._threads = min(processors + (processors + 1) // 2, MOST_THREADS)  # some of them wait for the disk
        self._queue: queue.Queue[_Batch | None] = queue.Queue(self._threads + 1)
        self._failed: BaseException | None = None
        self._lock = threading.Lock()
        self._done, self._total = 0, 0
        self._folders: set[Path] = set()
        self._straight = Straight()

    def run(self, under: str) -> None:
        """Raises the first thing that went wrong."""
        self._total = self._fetching.find(under).size_bytes if under else self._fetching.point.size_bytes
        self._syncers = Syncers(self._fail)
        threads = [threading.Thread(target=self._work, name="backstay-restore") for _ in range(self._threads)]
        for thread in threads:
            thread.start()
        try:
            for batch in self._batches(under):
                self._queue.put(batch)
                if self._failed is not None:
                    break
        except BaseException as error:  # noqa: BLE001 - raised again when the threads have ended
            self._fail(error)
        finally:
            for _ in threads:
                self._queue.put(None)
            for thread in threads:
                thread.join()
            self._syncers.close()
        if self._failed is not None:
            raise self._failed

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failed = self._failed or error

    # ── the walking thread ──

    def _batches(self, under: str) -> Iterator[_Batch]:
        batch, path = _Batch(), under
        try:
            for path, item in self._fetching.ahead(self._fetching.items(under)):
                if (target := self._prepare(path, item)) is None:
                    continue
                file = self._file(target, path, item)
                if not item.size_bytes:
                    batch.empty.append(file)
                else:
                    batch.files.append(file)
                for located in self._fetching.located(item, 0, item.size_bytes):
                    if batch.is_full:
                        yield batch
                        batch = _Batch([file])
                    batch.add(located)
                if len(batch.files) + len(batch.empty) >= BATCH_FILES:
                    yield batch
                    batch = _Batch()
            yield batch
        except _UNREADABLE as error:
            raise self._fetching.about(error, path or "the list of files") from None

    def _file(self, target: Path, path: str, item: Item) -> LaidFile:
        if self._over:
            return KeptFile(target, stored(path, item))
        # Chunks of other files begin anywhere, and disks want blocks.
        is_pages = isinstance(item.content, Stream) and item.content.cutter is Cutter.FIXED_64K
        return LaidFile(target, stored(path, item), self._straight if is_pages else None)

    def _prepare(self, path: str, item: Item) -> Path | None:
        """Make what `path` needs around it. The path of a file that is still to be written, or None."""
        entry = stored(path, item)
        target = self._to / path if self._place is None else self._place(entry)
        if target is None:
            return None
        match item.kind:
            case Kind.FOLDER:
                self._folder(target, named=True)
                self._later.folder(target, entry)
                return None
            case Kind.LINK:
                self._folder(target.parent)
                self._later.link(target, entry)
                return None
            case Kind.FILE:
                self._folder(target.parent)
                return target

    def _folder(self, path: Path, *, named: bool = False) -> None:
        """Make a folder and those above it. One that is there is used; below `to`, it must not be a link."""
        if path in self._folders or path == self._to:
            return
        if not path.is_relative_to(self._to) and path.is_dir():
            if self._over and path.is_symlink():
                raise TargetNotEmpty(f"{path} is a link, and nothing is written through one")
            return
        if len(self._folders) > 4096:
            self._folders.clear()
        self._folder(path.parent)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            self._use(path)
            named = named or not self._over
        if not named:
            self._later.made(path)
        self._folders.add(path)

    def _use(self, path: Path) -> None:
        """Something is there already."""
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            if not self._over:
                raise TargetNotEmpty(f"{path} is there already, and is no folder")
            path.unlink()  # a link is replaced by a folder: nothing is written through it
            path.mkdir(mode=0o700)
        elif self._over and mode & stat.S_IRWXU != stat.S_IRWXU:
            path.chmod(mode | stat.S_IRWXU)  # it gets its own mode at the end

    # ── the others ──

    def _work(self) -> None:
        side = Side()
        while (batch := self._queue.get()) is not None:
            if self._failed is None:
                try:
                    self._write(batch, side)
                except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: `run` raises it
                    self._fail(error)
            if self._failed is not None:
                for file in batch.files:
                    file.close()

    def _write(self, batch: _Batch, side: Side) -> None:
        for file in batch.empty:
            self._syncers.finish(file)
        try:
            wanted = self._differing(batch, side) if self._over else batch.chunks
            self._write_side_by_side(batch, wanted, side)
        except _UNREADABLE as error:
            raise self._naming(error, batch) from None

    def _differing(self, batch: _Batch, side: Side) -> list[Located]:
        """The chunks that are not there yet."""
        wanted: list[Located] = []
        for run in side_by_side(batch.chunks, SIDE_BYTES):
            file = batch.files[run[0].file]
            assert isinstance(file, KeptFile)
            right = file.right(run, side.memory, self._fetching.shelf.opened.chunk_id)
            wanted += [located for located, is_right in zip(run, right) if not is_right]
            if size := sum(located.chunk.size for located, is_right in zip(run, right) if is_right):
                self._wrote(file, size)
        return wanted

    def _write_side_by_side(self, batch: _Batch, wanted: list[Located], side: Side) -> None:
        def write(number: int, data: memoryview, start: int) -> None:
            batch.files[number].write(data, start)
            self._wrote(batch.files[number], len(data))

        side.begin(write)
        for located, data in self._fetching.fetch(wanted, side.room):
            if data is not None:
                side.put(located, data)
                continue
            file, size = batch.files[located.file], located.chunk.size
            file.zeros(located.offset, size)
            self._wrote(file, size)
        side.flush()

    def _wrote(self, file: LaidFile, size: int) -> None:
        if file.done(size):
            self._syncers.finish(file)
        with self._lock:
            self._done += size
            done = self._done
        self._progress(done, self._total, file.stored.path)

    def _naming(self, error: BackstayError, batch: _Batch) -> BackstayError:
        """Which file it is: the first of the batch that cannot be read alone."""
        for number, file in enumerate(batch.files):
            try:
                for _ in self._fetching.fetch([chunk for chunk in batch.chunks if chunk.file == number]):
                    pass
            except _UNREADABLE:
                return self._fetching.about(error, file.stored.path)
        return self._fetching.about(error, batch.files[0].stored.path)
