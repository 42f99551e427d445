"""What of a data directory belongs into a recovery point, and how its files are read while the server writes them.

Theory of operation. Between `pg_backup_start` and `pg_backup_stop` a data directory may be read in any order, by
anybody: whatever a file looked like while we read it, the WAL from start to stop makes it right. So nothing here is an
error that the WAL mends: a file that vanishes after it was listed is left out (it was dropped), one that grows is read
as far as it was when it was listed (what came later is in the WAL), one that shrinks is filled up to a page.

What is left out is what `pg_basebackup` leaves out (basebackup.c, `excludeDirContents` and `excludeFiles`; the manual,
"Making a Base Backup Using the Low Level API"): the contents of folders that a server makes anew, temporary files,
caches, and every fork of an unlogged relation but its `_init`, from which recovery makes it empty.

In the point the data directory is `data/`, each tablespace `tablespaces/<oid>/`, configuration that lives elsewhere
`config/<its path>`.
"""

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING, BinaryIO, cast

from backstay.errors import AccessDenied, SourceUnsuitable
from backstay.ports import Cutter, Entry, Kind, Vanished

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

EMPTIED = frozenset(
    {
        "pg_wal",
        "pg_dynshmem",
        "pg_notify",
        "pg_replslot",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
    }
)
"""Folders whose contents stay out. The folders themselves must exist again, with mode 0700, or no server starts."""

MARK = "backstay.restored.json"
"""Our own mark in a data directory that we restored: not a part of the next point."""

_SKIPPED = frozenset(
    {
        "postmaster.pid",
        "postmaster.opts",
        "postgresql.auto.conf.tmp",
        "current_logfiles.tmp",
        "backup_manifest",
        "recovery.signal",
        "standby.signal",
        MARK,
    }
)
_SKIPPED_BEGINNINGS = ("backup_label", "tablespace_map")
_SKIPPED_ANYWHERE = ("pg_internal.init", "pgsql_tmp")
_TEMPORARY = re.compile(r"t\d+_\d+(?:_[a-z]+)?(?:\.\d+)?\Z")
"""Relations of a session (relpath.h): `t3_16384`, `t3_16384_fsm`, `t3_16384.1`."""
_RELATION = re.compile(r"(\d+)(_[a-z]+)?(?:\.\d+)?\Z")
_RELATIONS_IN = ("data/base/", "data/global/", "tablespaces/")
_PAGED_TOO = ("data/pg_xact/", "data/pg_multixact/", "data/pg_commit_ts/")
_OID = re.compile(r"[1-9]\d{0,9}\Z")
_VERSIONED = re.compile(r"PG_\d+_\d+\Z")

SMALL_BYTES = 64 << 10
"""Up to here a file is one piece: cutting it would save nothing."""


@dataclass(frozen=True, slots=True)
class Tablespace:
    oid: int
    location: str
    size_bytes: int


@dataclass(slots=True)
class Listing:
    """One walk over a data directory. `noted` fills up meanwhile."""

    data: Path
    block_bytes: int
    tablespaces: tuple[Tablespace, ...] = ()
    noted: list[str] = field(default_factory=list[str])

    def entries(self) -> Iterator[Entry]:
        """Everything but `global/pg_control`, which is read last, `backup_label` and the WAL."""
        yield from self._folder(self.data, "data", depth=0)
        for space in self.tablespaces:
            yield from self._tablespace(space)

    def _tablespace(self, space: Tablespace) -> Iterator[Entry]:
        inside = f"tablespaces/{space.oid}"
        location = Path(space.location)
        yield folder_entry(inside, location.stat())
        for found in sorted(os.scandir(location), key=lambda entry: entry.name):
            # Only what is ours: a location may be shared by servers of several versions, or hold `lost+found`.
            if _VERSIONED.match(found.name) and found.is_dir(follow_symlinks=False):
                yield from self._folder(Path(found.path), f"{inside}/{found.name}", depth=2)

    def _folder(self, folder: Path, inside: str, depth: int) -> Iterator[Entry]:
        try:
            listed = list(os.scandir(folder))
            yield folder_entry(inside, folder.stat())
        except FileNotFoundError:
            return  # a database was dropped
        except PermissionError as error:
            raise AccessDenied(f"may not read {folder}", detail=error.strerror or "") from None
        names = {entry.name for entry in listed}
        unlogged = {name.removesuffix("_init") for name in names if name.endswith("_init")}
        for entry in sorted(listed, key=lambda entry: entry.name):
            if left_out(entry.name, top=depth == 0) or _is_emptied_unlogged(entry.name, unlogged):
                continue
            path = f"{inside}/{entry.name}"
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if S_ISDIR(found.st_mode):
                yield from self._subfolder(Path(entry.path), path, depth)
            elif S_ISREG(found.st_mode):
                if path != "data/global/pg_control":
                    yield self._file(entry.path, path, found)
            elif S_ISLNK(found.st_mode):
                yield from self._link(Path(entry.path), path)
            else:
                self.noted.append(f"left out {path}: neither a file nor a folder")

    def _subfolder(self, folder: Path, path: str, depth: int) -> Iterator[Entry]:
        if path == "data/pg_tblspc":
            self._check_tablespaces(folder)
            yield folder_entry(path, folder.stat())
        elif depth == 0 and folder.name in EMPTIED:
            yield folder_entry(path, folder.stat())
        else:
            yield from self._folder(folder, path, depth + 1)

    def _check_tablespaces(self, folder: Path) -> None:
        """Raises SourceUnsuitable for anything in pg_tblspc that is not a plain link, by OID, to a folder outside."""
        known = {str(space.oid): space for space in self.tablespaces}
        home = self.data.resolve()
        for entry in list(os.scandir(folder)):
            if entry.name == "pgsql_tmp":
                continue
            if not _OID.match(entry.name) or not entry.is_symlink():
                raise _odd_tablespace(entry.name, "it is not a link by number (in-place tablespaces cannot be moved)")
            target = Path(entry.path).readlink()
            if target.is_symlink():
                raise _odd_tablespace(entry.name, f"it points at {target}, which is a link itself")
            if target.resolve().is_relative_to(home):
                raise _odd_tablespace(entry.name, f"its location {target} is inside the data directory")
            if entry.name not in known:
                # Dropped, or being created: what the server lists decides; a changed list is seen at the end.
                self.noted.append(f"left out tablespace {entry.name}: the server does not know it")

    def _link(self, link: Path, path: str) -> Iterator[Entry]:
        if path == "data/pg_wal":
            self.noted.append("pg_wal is a link here; it comes back as a plain folder")
            yield folder_entry(path, link.stat())
            return
        try:
            target = link.stat()
        except OSError:
            self.noted.append(f"left out {path}: a link to nothing")
            return
        if S_ISREG(target.st_mode):
            # Keys and certificates, often: their content is what a restored server needs.
            self.noted.append(f"{path} is a link to {link.readlink()}; its content was taken")
            yield self._file(str(link), path, target)
        else:
            self.noted.append(f"left out {path}: a link to {link.readlink()}")

    def _file(self, source: str, path: str, found: os.stat_result) -> Entry:
        name = path.rpartition("/")[2]
        if not path.startswith(_RELATIONS_IN):
            return file_entry(source, path, found, paged=path.startswith(_PAGED_TOO))
        relation = _RELATION.match(name)
        if relation is None:
            return file_entry(source, path, found)
        # An unlogged table that was made after the folder was listed: asked again when it is read.
        guard = None if relation.group(2) == "_init" else f"{source[: -len(name)]}{relation.group(1)}_init"
        return file_entry(source, path, found, block_bytes=self.block_bytes, paged=True, guard=guard)


def left_out(name: str, *, top: bool) -> bool:
    """Whether a file or folder of this name never belongs into a point. `top`: directly in the data directory."""
    if name.startswith(_SKIPPED_ANYWHERE) or _TEMPORARY.match(name):
        return True
    return top and (name in _SKIPPED or name.startswith(_SKIPPED_BEGINNINGS))


def _is_emptied_unlogged(name: str, unlogged: set[str]) -> bool:
    if not unlogged or name.endswith("_init"):
        return False
    relation = _RELATION.match(name)
    return relation is not None and relation.group(1) in unlogged


def file_entry(
    source: str,
    path: str,
    found: os.stat_result,
    *,
    block_bytes: int = 1,
    paged: bool = False,
    guard: str | None = None,
) -> Entry:
    """A file as the vault may read it: as long as it was when it was listed, in whole blocks.

    No change mark: PostgreSQL may write a page twice within one tick of the file system's clock and leave the size as
    it is, so an unchanged size and time may hide a changed page. Everything is read again.
    """
    size = found.st_size // block_bytes * block_bytes
    opener: Callable[[], BinaryIO] = lambda: cast(BinaryIO, LiveFile(source, size, block_bytes, guard))  # noqa: E731
    return Entry(path, Kind.FILE, S_IMODE(found.st_mode), moment(found), size, opener, cutter_of(size, paged=paged))


def cutter_of(size_bytes: int, *, paged: bool) -> Cutter:
    return Cutter.WHOLE if size_bytes <= SMALL_BYTES else Cutter.FIXED_64K if paged else Cutter.CDC_V1


def is_paged(path: str) -> bool:
    """Whether the file at this path of a point changes page by page."""
    if path.startswith(_PAGED_TOO):
        return True
    return path.startswith(_RELATIONS_IN) and _RELATION.match(path.rpartition("/")[2]) is not None


def bytes_entry(path: str, content: bytes, now: datetime) -> Entry:
    """A small file that exists only in our memory."""
    return Entry(path, Kind.FILE, 0o600, now, len(content), lambda: io.BytesIO(content))


def folder_entry(path: str, found: os.stat_result) -> Entry:
    return Entry(path, Kind.FOLDER, S_IMODE(found.st_mode), moment(found))


def moment(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _odd_tablespace(name: str, why: str) -> SourceUnsuitable:
    return SourceUnsuitable(
        f"tablespace {name} of this server cannot be backed up by reading files",
        detail=why,
        hint="move it to a folder of its own outside the data directory, or set `way: logical`",
    )


_SHORT = 1 << 20


class LiveFile(io.RawIOBase):
    """A file that a server may change, cut or remove while it is read: `size` bytes of it and no more.

    Raises Vanished on opening when it is gone, or when `guard` says that it is unlogged after all.
    """

    def __init__(self, path: str, size_bytes: int, block_bytes: int, guard: str | None) -> None:
        if guard is not None and os.path.exists(guard):  # noqa: PTH110 - once per relation; Path would be slower
            raise Vanished(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Vanished(path) from None
        except PermissionError as error:
            raise AccessDenied(f"may not read {path}", detail=error.strerror or "") from None
        self._left, self._block, self._at, self._cut = size_bytes, block_bytes, 0, False
        if size_bytes > _SHORT:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # it is read ahead twice as far

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return self.readall()
        wanted = min(size, self._left)
        if not wanted:
            return b""
        part = b"" if self._cut else os.read(self._fd, wanted)
        return part if self._counted(len(part)) else bytes(self._padding(wanted))

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        if not view:
            return 0
        got = 0 if self._cut else os.readv(self._fd, [view])
        if self._counted(got):
            return got
        padding = self._padding(len(view))
        view[:padding] = bytes(padding)
        return padding

    def _counted(self, got: int) -> bool:
        """False at the end of a file that is shorter than it was."""
        if got:
            self._left, self._at = self._left - got, self._at + got
        elif not self._cut:
            # A page that was half read is filled with zeros; replay writes it again.
            self._cut, self._left = True, -self._at % self._block
        return got > 0

    def _padding(self, wanted: int) -> int:
        length = min(wanted, self._left)
        self._left -= length
        return length

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)
