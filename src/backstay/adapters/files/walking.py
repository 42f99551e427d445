"""Walking a folder: what is in it, what may be trusted to be unchanged, and what cannot be read.

**Change marks.** A file whose mark is the same as in the previous point is not read again. The mark is size, mtime,
ctime, inode and device. mtime alone proves nothing (`touch -d`, `cp -p`, an unpacked archive set it); ctime cannot be
set by a program: the kernel moves it on with every change of content or of metadata (inode(7)). Two things would make
it lie, and both get no mark, so that the file is read again the next time:

- *It was changed within a tick.* Timestamps have a granularity: a few milliseconds on ext4 and xfs, two seconds on
  FAT. A file that is written twice within one tick looks the same before and after the second write.
- *It is written through mmap.* The kernel stamps a page when it becomes dirty, not at each store into it, so a file
  can change for as long as its pages wait to be written back: about 35 seconds (`vm.dirty_expire_centisecs` and one
  round of the flusher).

So a file that changed less than QUIET before the take began has no mark. And marks are given only on file systems that
are known to keep ctime on their own clock, with writeback: not on NFS and other network or FUSE systems, whose clock is
somebody else's, and not on tmpfs, which never writes back.

**Links** are kept as links, never followed. **Sockets, pipes and devices** hold no data and are left out, and said.
"""

import io
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from backstay.errors import AccessDenied, SourceDown, SourceUnsuitable
from backstay.ports import Cutter, Entry, Kind, Vanished
from backstay.values import count

QUIET = timedelta(minutes=2)
WITH_CTIME = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "jfs"})
"""File systems whose ctime can be trusted."""
LARGE_BYTES = 8 << 20
"""A file from here on is cut by its content, so that a change in the middle costs little."""
MOST_NAMED = 20
"""How many paths that cannot be read are spelled out."""
MOST_OWNERS = 500
"""How many entries with an owner of their own are remembered one by one."""

_MARK = struct.Struct("<QqqQQ")


@dataclass(slots=True)
class Survey:
    """What a walk saw, for the point's notes and for the operator."""

    files: int = 0
    size_bytes: int = 0
    others: int = 0
    """Sockets, pipes, devices."""
    changed: list[str] = field(default_factory=list[str])
    """Files that changed while they were read."""
    newest: datetime | None = None
    owners: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Entries that belong to somebody else than the folder itself."""
    more_owners: int = 0
    denied: list[str] = field(default_factory=list[str])


def root_of(path: Path) -> Path:
    """The folder itself, links to it resolved. Raises SourceDown, SourceUnsuitable, AccessDenied."""
    try:
        root = path.resolve(strict=True)
        kind = root.stat().st_mode
    except PermissionError as error:
        raise AccessDenied(f"may not look at {path}", detail=error.strerror or "") from error
    except (OSError, RuntimeError) as error:
        raise SourceDown(f"there is no folder {path}", detail=getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISDIR(kind):
        raise SourceUnsuitable(f"{path} is no folder", hint="name the folder that holds the files")
    return root


def survey(root: Path) -> Survey:
    """Walk once without reading: sizes, owners, and what may not be read, all of it at once. Raises AccessDenied."""
    seen = Survey()
    own = root.stat()
    for path, found in _walk(root, seen):
        if stat.S_ISREG(found.st_mode):
            seen.files += 1
            seen.size_bytes += found.st_size
            if not os.access(root / path, os.R_OK, effective_ids=True):
                seen.denied.append(path)
        elif not (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            seen.others += 1
        if (found.st_uid, found.st_gid) != (own.st_uid, own.st_gid):
            if len(seen.owners) < MOST_OWNERS:
                seen.owners[path] = (found.st_uid, found.st_gid)
            else:
                seen.more_owners += 1
    refuse_denied(root, seen)
    return seen


def refuse_denied(root: Path, seen: Survey) -> None:
    """A point without something that is there is no point. Raises AccessDenied."""
    if seen.denied:
        shown = ", ".join(sorted(seen.denied)[:MOST_NAMED])
        more = f" and {count(len(seen.denied) - MOST_NAMED, 'more path')}" if len(seen.denied) > MOST_NAMED else ""
        raise AccessDenied(
            f"{count(len(seen.denied), 'path')} below {root} cannot be read",
            detail=f"{_shown(shown)}{more}",
            hint="give the user that runs backstay the right to read them, or leave them out of the folder",
        )


def entries(root: Path, seen: Survey, quiet_since: datetime | None) -> Iterator[Entry]:
    """Everything in the folder, as the vault wants it. `quiet_since`: files that have not changed since then get a
    mark; None: no file does. `seen` learns the newest change, and what changed under our hands."""
    for path, found in _walk(root, seen):
        modified = _moment(found.st_mtime_ns)
        match stat.S_IFMT(found.st_mode):
            case stat.S_IFDIR:
                yield Entry(path, Kind.FOLDER, stat.S_IMODE(found.st_mode), modified)
            case stat.S_IFLNK:
                try:
                    target = os.readlink(root / path)  # noqa: PTH115 - as text, whatever it is
                except OSError:
                    continue  # gone since it was listed
                yield Entry(path, Kind.LINK, 0o777, modified, target=target)
            case stat.S_IFREG:
                seen.newest = modified if seen.newest is None else max(seen.newest, modified)
                yield Entry(
                    path,
                    Kind.FILE,
                    stat.S_IMODE(found.st_mode),
                    modified,
                    found.st_size,
                    _opener(root, path, found, seen),
                    Cutter.WHOLE if found.st_size < LARGE_BYTES else Cutter.CDC_V1,
                    mark=_mark(found, quiet_since),
                )
            case _:
                continue


def _walk(root: Path, seen: Survey) -> Iterator[tuple[str, os.stat_result]]:
    """Relative path and lstat of everything, folders before what is in them, in the order of names. Holds the names of
    one folder for each level, no more."""
    levels = [_listed(root, "", seen)]
    while levels:
        try:
            path, found = next(levels[-1])
        except StopIteration:
            levels.pop()
            continue
        yield path, found
        if stat.S_ISDIR(found.st_mode):
            levels.append(_listed(root, path, seen))


def _listed(root: Path, folder: str, seen: Survey) -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted(os.listdir(root / folder))  # noqa: PTH208 - names, which may be no text
    except FileNotFoundError:
        return
    except OSError:
        seen.denied.append(folder or ".")
        return
    for name in names:
        path = f"{folder}/{name}" if folder else name
        try:
            yield path, os.lstat(root / path)
        except FileNotFoundError:
            continue
        except OSError:
            seen.denied.append(path)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


class _Watched(io.FileIO):
    """A file that notices, at its end, whether it was changed while it was read."""

    def __init__(self, fd: int, path: str, before: os.stat_result, seen: Survey) -> None:
        super().__init__(fd, "rb")
        self._path, self._before, self._seen = path, before, seen

    def close(self) -> None:
        if not self.closed:
            after = os.fstat(self.fileno())
            if _identity(after) != _identity(self._before):
                self._seen.changed.append(self._path)
        super().close()


class _Opener:
    """Opens one listed file, once, and only if it is still that file."""

    __slots__ = ("before", "path", "root", "seen")

    def __init__(self, root: Path, path: str, before: os.stat_result, seen: Survey) -> None:
        self.root, self.path, self.before, self.seen = root, path, before, seen

    def __call__(self) -> BinaryIO:
        try:
            # Not followed: it may have become a link to anywhere since. Not blocking: or a pipe.
            fd = os.open(self.root / self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _GONE:
                raise Vanished(self.path) from error
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Vanished(self.path)
        return io.BufferedReader(_Watched(fd, self.path, self.before, self.seen), 1 << 20)


_opener = _Opener
_GONE = frozenset({2, 20, 40})
"""ENOENT, ENOTDIR, ELOOP."""


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _mark(found: os.stat_result, quiet_since: datetime | None) -> bytes:
    if quiet_since is None or _moment(max(found.st_ctime_ns, found.st_mtime_ns)) >= quiet_since:
        return b""
    return _MARK.pack(*_identity(found))


def trusted(root: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Why change marks may not be given below `root`; empty: they may. One file system below it that cannot be trusted
    is enough."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return "this system does not say which file systems it uses"
    holds: tuple[str, str] = ("", "")
    for line in lines:
        place, kind = _mount(line)
        if not place:
            continue
        if _within(str(root), place) and len(place) >= len(holds[0]):
            holds = (place, kind)
        elif _within(place, str(root)) and kind not in WITH_CTIME:
            return f"{place} is on {kind}"
    return "" if holds[1] in WITH_CTIME else f"it is on {holds[1] or 'an unknown file system'}"


def _mount(line: str) -> tuple[str, str]:
    """Mount point and type of one line of mountinfo (proc(5)). Empty for a line that is none."""
    before, dash, after = line.partition(" - ")
    fields = before.split(" ")
    if not dash or len(fields) < 5:
        return "", ""
    place = fields[4]
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(octal, plain)
    return place, after.split(" ")[0]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _moment(ns: int) -> datetime:
    """Times of files may be nonsense: before the year 1, after the year 9999."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
