"""An object store in a folder of this machine.

The folder keeps an object in the file of the same name. A new one is written under a temporary name, fsynced, and
*linked* to its own: `link` fails when the name is taken, so two writers have one winner and no object is ever seen
half-written. Then the folder is fsynced. What a killed process leaves behind lies in `+incoming` and is swept away
by the next one; a lock on each temporary file tells the living from the dead.
"""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from backstay.errors import AccessDenied, BackstayError, DiskFull, ObjectMissing, StoreUnreachable
from backstay.ports import Key, Listed, StoreTraits, checked_key, is_key
from backstay.values import say_size

_INCOMING = "+incoming"
"""Not a possible part of a key."""
_ABANDONED_S = 3600
"""A temporary file is not looked at before this age: its writer may not have locked it yet."""


class FolderStore:
    """Objects as files below `root`. Durable by fsync of the file and of every folder that changed."""

    def __init__(self, root: Path) -> None:
        self.traits = StoreTraits(put_if_absent=True, object_lock=False, versions=False, takes_as_made=True)
        self._root = root
        self._known: set[Path] = set()
        self._folder: tuple[int, int] | None = None
        """Device and inode of `root` as it was when we first met it."""

    def describe(self) -> str:
        return str(self._root)

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        if not self._store(key, parts):
            raise StoreUnreachable(f"{key} is already in {self._root}", detail="a new object would overwrite it")

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        return not self._path(key).exists() and self._store(key, (data,))

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        with self._answering(key):
            # Who may write there could put a pipe, or a link: nobody waits for the one, or reads the other.
            handle = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = os.fstat(handle)
                size = found.st_size
                if not stat.S_ISREG(found.st_mode):
                    raise ObjectMissing(f"{key} is not in {self._root}", detail="what has its name there is no file")
                self._meet()
                return _read(handle, start, size - start if length is None else min(length, size - start))
            finally:
                os.close(handle)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        base = prefix.rpartition("/")[0]
        if base:
            checked_key(Key(base))
        yield from self._below(self._root / base if base else self._root, base + "/" if base else "", prefix)

    def delete(self, key: Key) -> None:
        with self._answering(key), suppress(FileNotFoundError):
            self._path(key).unlink()
            _sync(self._path(key).parent)

    def now(self) -> datetime:
        return datetime.now(UTC)

    # ── inside ──

    def _path(self, key: Key) -> Path:
        return self._root / checked_key(key)

    def _store(self, key: Key, parts: Iterable[bytes]) -> bool:
        """Write, fsync, link. False when the name is taken."""
        path = self._path(key)
        with self._answering(key, parts):
            self._meet()
            self._make(path.parent)
            self._make(self._root / _INCOMING)
            self._meet()
            new = self._root / _INCOMING / secrets.token_hex(12)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for part in parts:
                    _write(handle, part)
                os.fsync(handle)
                try:
                    os.link(new, path)
                except FileExistsError:
                    return False
                _sync(path.parent)
                return True
            finally:
                new.unlink(missing_ok=True)
                os.close(handle)

    def _meet(self) -> None:
        """Raises StoreUnreachable when `root` is no longer the folder that it was: a disk that was taken away leaves an
        empty folder behind, and what is written into that is no backup."""
        known = self._folder  # before we look: another thread may make and meet the folder in between
        try:
            found = self._root.stat()
        except FileNotFoundError:
            here = None
        else:
            here = found.st_dev, found.st_ino
        if known is None:
            if here is not None:
                self._folder = here
        elif here != known:
            raise StoreUnreachable(
                f"{self._root} is not the folder that it was a moment ago",
                detail="it is gone" if here is None else "another one is in its place: was a disk unmounted?",
                hint="bring the disk back; nothing was written into the other folder",
            )

    def _make(self, folder: Path) -> None:
        """The folder and those above it, each fsynced in its parent when it is new."""
        if folder in self._known:
            return
        if not folder.is_dir():
            if folder != self._root:
                self._make(folder.parent)
            else:
                folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync(folder.parent)
        if folder.name == _INCOMING:
            _sweep(folder)
        self._known.add(folder)

    def _below(self, folder: Path, path: str, prefix: str) -> Iterator[Listed]:
        """In the order of keys: `a-b` comes before `a/b`, so a folder is sorted by its name and a slash."""
        with self._answering(Key(path or "/")):
            try:
                # Links are not followed: one that leads up again would make a listing without an end.
                entries = [
                    (entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in os.scandir(folder)
                ]
            except (FileNotFoundError, NotADirectoryError):
                return
        for name, entry in sorted(entries, key=lambda pair: pair[0]):
            here = path + name
            if not (here.startswith(prefix) or prefix.startswith(here)) or not is_key(here.rstrip("/")):
                continue
            if name.endswith("/"):
                yield from self._below(Path(entry.path), here, prefix)
                continue
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    continue
                yield Listed(Key(here), found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    @contextmanager
    def _answering(self, key: Key, parts: Iterable[bytes] = ()) -> Generator[None]:
        """The words of `errors` for what the operating system says. An error of the caller's parts passes through."""
        try:
            yield
        except OSError as error:
            raise self._in_words(error, key, parts) from error

    def _in_words(self, error: OSError, key: Key, parts: Iterable[bytes]) -> BackstayError:
        why = os.strerror(error.errno) if error.errno else str(error)
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.ELOOP | errno.ENXIO:
                return ObjectMissing(f"{key} is not in {self._root}")
            case errno.ENOSPC | errno.EDQUOT:
                return DiskFull(
                    f"no room left in {self._root}",
                    detail=f"needed {_needed(parts)}, {self._free()}, beside what else is being written; what was "
                    "written of it is removed again",
                    hint="make room there, or let an older point expire, and run the backup again",
                )
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return AccessDenied(f"{self._root} refuses us: {why}", detail=f"at {key}")
            case _:
                return StoreUnreachable(f"{self._root} does not answer: {why}", detail=f"at {key}")

    def _free(self) -> str:
        try:
            found = os.statvfs(self._root)
        except OSError:
            return "how much is free cannot be told"
        return f"free {say_size(found.f_bavail * found.f_frsize)}"


def _needed(parts: Iterable[bytes]) -> str:
    """For the object that did not fit. Streams cannot tell."""
    size = getattr(parts, "size_bytes", None)
    if isinstance(parts, tuple | list):
        size = sum(len(part) for part in parts)
    return say_size(size) if isinstance(size, int) else "more than that"


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _read(handle: int, start: int, length: int) -> bytes:
    if length <= 0:
        return b""
    data = os.pread(handle, length, start)
    if len(data) == length or not data:
        return data
    return data + _read(handle, start + len(data), length - len(data))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(incoming: Path) -> None:
    """Remove what processes that are dead left half-written."""
    for entry in os.scandir(incoming):
        with suppress(OSError):  # somebody else sweeps too, or it is alive: both are fine
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < _ABANDONED_S:
                continue
            handle = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()
            finally:
                os.close(handle)
