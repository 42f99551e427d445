"""Restoring over what is there (delta): what is right stays as it is, only what differs is written.

A file that is there is read, and each of its chunks hashed with the key of the vault; one whose id is that of the point
is not fetched, and not written. It is as sure as a restore to an empty folder: the ids are the same that prove a
chunk after it was opened. Every file is fsynced nevertheless, also one that was right: whoever wrote it, perhaps a
restore that was killed, may not have done so.

Nothing is written through a link, and a file that has other names (hard links) is replaced, not changed: a copy of the
old state made by `cp -al` stays what it was.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from backstay.errors import TargetNotEmpty
from backstay.ports import Kind, Stored
from backstay.vault.fetching import Located
from backstay.vault.laying import LaidFile

_ZEROS = bytes(65_536)


class KeptFile(LaidFile):
    """A file that may be there already. What is there is only touched where it differs."""

    __slots__ = ("_is_kept",)

    def __init__(self, path: Path, stored: Stored) -> None:
        super().__init__(path, stored)
        self._is_kept = False

    def _made(self) -> int:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return super()._made()
        if stat.S_ISDIR(found.st_mode):
            raise in_the_way(self._path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            self._path.unlink()
            return super()._made()
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(self._path, flags)
        except PermissionError:
            self._path.chmod(0o600)  # ours, and read-only: it gets its mode back at the end
            handle = os.open(self._path, flags)
        if found.st_size != self.stored.size_bytes:
            os.ftruncate(handle, self.stored.size_bytes)
        self._is_kept = True
        return handle

    def right(self, chunks: list[Located], side: memoryview, id_of: Callable[[memoryview], bytes]) -> list[bool]:
        """Which of these chunks, which follow each other and fit into `side`, are there as they should be."""
        handle = self._open()
        if not self._is_kept:
            return [False] * len(chunks)
        start = chunks[0].offset
        size = chunks[-1].offset + chunks[-1].chunk.size - start
        if os.preadv(handle, [side[:size]], start) != size:
            return [False] * len(chunks)
        ends = [(at := located.offset - start, at + located.chunk.size) for located in chunks]
        return [id_of(side[at:end]) == located.chunk.id for located, (at, end) in zip(chunks, ends)]

    def zeros(self, offset: int, size: int) -> None:
        """In a new file a hole is enough."""
        self._open()
        for start in range(offset, offset + size if self._is_kept else offset, len(_ZEROS)):
            self.write(memoryview(_ZEROS)[: offset + size - start], start)


def side_by_side(chunks: list[Located], most: int) -> Iterator[list[Located]]:
    """Chunks that follow each other in one file, up to `most` bytes at once."""
    run: list[Located] = []
    for located in chunks:
        if run and (
            located.file != run[-1].file
            or located.offset != run[-1].offset + run[-1].chunk.size
            or located.offset + located.chunk.size - run[0].offset > most
        ):
            yield run
            run = []
        run.append(located)
    if run:
        yield run


def others(
    entries: Iterable[Stored], place: Callable[[Stored], Path | None], root: Path | None = None
) -> Iterator[Path]:
    """What lies in the folders of a point (and in `root`), and the point does not have: a folder as a whole, also one
    that stands where the point has something else. `entries` come as `PointReader.entries` gives them. Holds the names
    of the folders on the way to one entry."""
    on_the_way: list[tuple[str, Path, dict[str, bool]]] = [("", root, {})] if root else []
    for stored in entries:
        target = place(stored)
        while on_the_way and not stored.path.startswith(on_the_way[-1][0]):
            yield from _others_in(*on_the_way.pop()[1:])
        if target is None:
            continue
        if on_the_way:
            on_the_way[-1][2][target.name] = stored.kind is Kind.FOLDER
        if stored.kind is Kind.FOLDER:
            on_the_way.append((f"{stored.path}/", target, {}))
    while on_the_way:
        yield from _others_in(*on_the_way.pop()[1:])


def _others_in(folder: Path, known: dict[str, bool]) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return  # not there yet, or something else that the restore replaces
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        is_folder = known.get(entry.name)
        if is_folder is None or (not is_folder and entry.is_dir(follow_symlinks=False)):
            yield Path(entry.path)


def remove(path: Path) -> None:
    """With everything in it; never what a link points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def in_the_way(path: Path) -> TargetNotEmpty:
    return TargetNotEmpty(
        f"{path} is a folder, and none in the point",
        detail="what it holds would be lost",
        hint="look at it and move it away, or say --remove",
    )
