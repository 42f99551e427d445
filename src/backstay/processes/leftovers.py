"""Working folders that a killed process leaves behind: somebody's data in the clear, which nobody would erase.

Each has a lock beside it, held by whoever works in it, and by the programs that inherited it: the kernel lets go of it
when the last of them has ended, however that came about (flock(2)). So a lock that can be had is the evidence that its
owner is dead, beyond reuse of process ids and across containers that share the disk. Who comes later sweeps.
"""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from backstay.errors import RunBusy
from backstay.processes.locks import holding

KINDS = ("prove", "backstay-dump", "backstay-sqlite")
"""How names of working folders begin."""

_BRIEFLY = timedelta(seconds=5)


@contextmanager
def working_folder(below: Path, kind: str) -> Generator[Path]:
    """An empty folder (0700) of this kind; gone afterwards, whatever happened. What dead ones left goes first."""
    assert kind.startswith(KINDS), f"nobody would sweep a {kind}"
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(below)
    folder = below / f"{kind}-{secrets.token_hex(4)}"
    lock = folder.with_name(f"{folder.name}.lock")
    with holding(lock, wait=_BRIEFLY):
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def sweep(below: Path) -> list[Path]:
    """Erase the working folders in `below` whose owners are dead; gives them. Only what is ours by name, by owner, and
    by a lock that nobody holds: `below` may be a folder that others use too."""
    swept: list[Path] = []
    for kind in KINDS:
        for lock in below.glob(f"{kind}-*.lock"):
            folder = lock.with_suffix("")
            with suppress(RunBusy, OSError):
                if lock.lstat().st_uid != os.geteuid():
                    continue
                with holding(lock, wait=timedelta()):
                    if folder.is_dir() and not folder.is_symlink():
                        shutil.rmtree(folder, ignore_errors=True)
                        swept.append(folder)
                    lock.unlink(missing_ok=True)
    return swept
