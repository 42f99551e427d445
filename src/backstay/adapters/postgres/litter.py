"""Sandboxes that outlived whoever made them.

A driver that is killed takes its servers along (see `processes`), but nobody is left to erase the files. So each
sandbox is entered in a register before it is made: one small file per sandbox, in a folder of ours for this account,
naming the folder and who made it, beyond reuse of process ids. The next sandbox sweeps first. Folders of sockets are
entered likewise. Only what the
register names, what bears the mark of that very entry, and what nobody alive owns, is erased.
"""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = ".backstay-sandbox"


def register() -> Path:
    """The folder of the register; only we may write in it, or it is not used."""
    folder = Path(tempfile.gettempdir()) / f"backstay-sandboxes-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or folder.is_symlink():
        return Path(tempfile.mkdtemp(prefix="backstay-sandboxes-"))
    return folder


@contextmanager
def registered(folder: Path) -> Generator[str]:
    """`folder` is ours alone in here, and empty afterwards; gives its token."""
    sweep()
    token = secrets.token_hex(8)
    entry = register() / f"{token}.json"
    entry.write_text(
        json.dumps({"folder": str(folder), "pid": os.getpid(), "born": born(os.getpid()) or "", "space": _space()})
    )
    (folder / _MARK).write_text(token)
    try:
        yield token
    finally:
        empty(folder)
        entry.unlink(missing_ok=True)


def sweep() -> list[Path]:
    """Erase what dead drivers left; gives the folders."""
    swept: list[Path] = []
    for entry in register().glob("*.json"):
        try:
            told = json.loads(entry.read_text())
            folder, pid, made = Path(str(told["folder"])), int(told["pid"]), str(told["born"])
            elsewhere = told["space"] != _space()
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or not ours
        if elsewhere or born(pid) == made:
            continue
        with suppress(OSError):
            if (folder / _MARK).read_text() == entry.stem:
                shutil.rmtree(folder)
                swept.append(folder)
        entry.unlink(missing_ok=True)
    return swept


def empty(folder: Path) -> None:
    """Erase everything in `folder`; the mark last, so that a sweep finds what is left of an interrupted one."""
    for found in sorted(folder.iterdir(), key=lambda path: path.name == _MARK):
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink()


def born(pid: int) -> str | None:
    """When this process began, in ticks since this boot; None: there is no such process. proc(5), field 22."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot}:{stat.rpartition(')')[2].split()[19]}"


def _space() -> str:
    """The namespace that our process ids belong to: what runs in another container cannot be seen from here."""
    return str(Path("/proc/self/ns/pid").readlink())
