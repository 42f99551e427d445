"""Reading a preserved state as it is: the files of a dead server, a damaged database file, a folder.

Nothing is mended, skipped or understood here: a capture is evidence. Sockets and pipes hold nothing and are left out.
Links are kept as links; but what a server reaches through them is a part of its state, and is read: `pg_wal` where it
lies elsewhere, and every tablespace, under `tablespaces/<oid>/` as in a point.

A state that somebody still has open is refused: while it changes it is no evidence. One file's metadata is held for
each level of the tree, so the size of the state does not matter.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import BinaryIO

from backstay.errors import AccessDenied, SourceDown, SourceUnsuitable, TargetAlive
from backstay.ports import Cutter, Entry, Kind

PAGED_FROM_BYTES = 64 << 10
"""A file of pages from here on is cut as points of it are: what both have is stored once."""
LARGE_BYTES = 8 << 20
"""Of other files."""
BESIDE = ("-wal", "-shm", "-journal")
"""What belongs to a SQLite file: sqlite.org/tempfiles."""


@dataclass(slots=True)
class Preserved:
    """One preserved state. `paged`: a database, whose files are pages."""

    path: Path
    paged: bool
    newest: datetime | None = None
    """The newest change of a file, when all was read."""
    left_out: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        if not os.path.lexists(self.path):
            raise SourceDown(f"there is no {self.path}", detail="nothing was captured")
        if self.path.is_symlink():
            raise SourceUnsuitable(
                f"{self.path} is a link", detail="nothing was captured", hint="name what it leads to"
            )
        self._refuse_open()

    @property
    def size_bytes(self) -> int:
        """As it is now; for the room that a capture needs, and the progress."""
        return sum(entry.size_bytes for entry in self.entries())

    def entries(self) -> Iterator[Entry]:
        """Folders before what is in them, in the order of names. Raises AccessDenied."""
        found = self.path.lstat()
        if S_ISREG(found.st_mode):
            yield from self._database_file()
        elif (self.path / "PG_VERSION").exists():
            yield from self._folder(self.path, "data")
            yield from self._tablespaces()
        else:
            yield from self._folder(self.path, "")

    def _database_file(self) -> Iterator[Entry]:
        for ending in ("", *BESIDE):
            file = self.path.with_name(self.path.name + ending)
            with suppress(FileNotFoundError):
                found = file.lstat()
                if S_ISREG(found.st_mode):
                    yield self._file(file, f"database.sqlite{ending}", found)

    def _folder(self, folder: Path, inside: str) -> Iterator[Entry]:
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names, which may be no text
            if inside:
                found = folder.stat()
                yield Entry(inside, Kind.FOLDER, S_IMODE(found.st_mode), _moment(found))
        except PermissionError as error:
            raise AccessDenied(f"may not read {folder}", detail=error.strerror or "") from None
        for name in names:
            file, path = folder / name, f"{inside}/{name}" if inside else name
            found = file.lstat()
            if S_ISDIR(found.st_mode):
                yield from self._folder(file, path)
            elif S_ISREG(found.st_mode):
                yield self._file(file, path, found)
            elif S_ISLNK(found.st_mode) and path == "data/pg_wal" and file.is_dir():
                yield from self._folder(file.resolve(), path)
            elif S_ISLNK(found.st_mode):
                yield Entry(path, Kind.LINK, 0o777, _moment(found), target=os.readlink(file))  # noqa: PTH115 - as text
            else:
                self.left_out.append(path)

    def _tablespaces(self) -> Iterator[Entry]:
        links = self.path / "pg_tblspc"
        names = sorted(link.name for link in links.iterdir() if link.is_symlink()) if links.is_dir() else []
        for name in names:
            location = (links / name).resolve()
            if not location.is_dir():
                self.left_out.append(f"tablespaces/{name}: its folder {location} is not there")
                continue
            yield from self._folder(location, f"tablespaces/{name}")

    def _file(self, file: Path, path: str, found: os.stat_result) -> Entry:
        modified = _moment(found)
        self.newest = modified if self.newest is None else max(self.newest, modified)
        if self.paged:
            cutter = Cutter.FIXED_64K if found.st_size > PAGED_FROM_BYTES else Cutter.WHOLE
        else:
            cutter = Cutter.CDC_V1 if found.st_size >= LARGE_BYTES else Cutter.WHOLE
        return Entry(path, Kind.FILE, S_IMODE(found.st_mode), modified, found.st_size, _Opener(file), cutter)

    def _refuse_open(self) -> None:
        """As far as we may look: other people's processes are hidden from all but root."""
        place = str(self.path.resolve())
        for pid in os.listdir("/proc"):  # noqa: PTH208 - thousands of them
            if pid.isdigit() and int(pid) != os.getpid() and _uses(f"/proc/{pid}", place):
                raise TargetAlive(
                    f"{place} is in use: while it changes it is no evidence",
                    detail=f"process {pid} works in it, or has a file of it open; nothing was captured",
                    hint="stop that process, or let a recovery preserve the state first",
                )


@dataclass(frozen=True, slots=True)
class _Opener:
    file: Path

    def __call__(self) -> BinaryIO:
        # Not followed: it may have become a link to anywhere since. Not blocking: or a pipe.
        return os.fdopen(os.open(self.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _uses(process: str, place: str) -> bool:
    """A server that works in it, or anybody who could write there. Who only reads changes nothing."""
    with suppress(OSError):
        if _is_in(os.readlink(f"{process}/cwd"), place):  # noqa: PTH115
            name = Path(process, "comm").read_text().strip()
            if name in ("postgres", "postmaster"):
                return True
        for number in os.listdir(f"{process}/fd"):  # noqa: PTH208
            with suppress(OSError):
                if _is_in(os.readlink(f"{process}/fd/{number}"), place) and _writes(f"{process}/fdinfo/{number}"):  # noqa: PTH115
                    return True
    return False


def _is_in(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/") or path in (place + ending for ending in BESIDE)


def _writes(fdinfo: str) -> bool:
    """By its flags, in octal (proc(5))."""
    for line in Path(fdinfo).read_text().splitlines():
        word, _, flags = line.partition(":")
        if word == "flags":
            return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
    return True


def _moment(found: os.stat_result) -> datetime:
    try:
        return datetime.fromtimestamp(found.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime(1970, 1, 1, tzinfo=UTC)
