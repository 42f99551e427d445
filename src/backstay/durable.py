"""Writing what must last: whole or not at all, also after a power cut.

A new file is written under a temporary name and fsynced, takes its name by rename, and then the folder is fsynced:
until that, the rename itself may be lost (rename(2), fsync(2)). A failed fsync is not tried again: the kernel may have
thrown the data away and forgotten it.
"""

import os
from contextlib import suppress
from pathlib import Path


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """`path` holds `content`, or what it held before. One writer at a time: the caller has the lock. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # What is there is of a process that died; or somebody else's, who could then read what we write into it.
        with suppress(FileNotFoundError):
            temporary.unlink()
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            view = memoryview(content)
            while view:  # a disk that is nearly full takes a part, and says so only to the next call
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


def rename_durably(before: Path, after: Path) -> None:
    """Raises OSError."""
    before.rename(after)
    sync(after.parent)


def sync(path: Path) -> None:
    """A file or a folder, on disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
