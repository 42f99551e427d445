"""Laying a physical point down on a disk: files, folders that a backup leaves empty, tablespaces; `pg_control` last.

`pg_control` is what makes a folder a cluster. It is written under another name, poisoned, and gets its own name only
when everything else is durable (as pgBackRest does): half a restore can never be started. Poisoned, because a server
whose `backup_label` was removed would otherwise start at the wrong checkpoint and be silently corrupt.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.control import poisoned
from backstay.adapters.postgres.layout import EMPTIED, Tablespace
from backstay.adapters.postgres.programs import Programs
from backstay.durable import sync, write_durably
from backstay.errors import AccessDenied, Cancelled, Damaged, DiskFull, SourceUnsuitable, ToolFailed
from backstay.facts import Point
from backstay.ports import PointReader, Progress, Stored, unwatched
from backstay.processes import Command, run
from backstay.values import say_size

_CONTROL = Path("global") / "pg_control"
_CONTROL_LATER = Path("global") / "pg_control.backstay"
_MADE = ("pg_wal/archive_status", "pg_commit_ts", "pg_stat", "pg_tblspc", "pg_twophase", "pg_logical/mappings")
_MADE_TOO = ("pg_logical/snapshots",)
LAID = frozenset({
    *EMPTIED, *_MADE, *_MADE_TOO, "pg_wal/summaries", "recovery.signal", "postgresql.conf", "pg_hba.conf",
    "pg_ident.conf", *(f"global/pg_control{end}" for end in ("", ".backstay", ".poisoned")),
})  # fmt: skip
"""What laying down makes in a data directory, whatever the point has."""
_WALDUMP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Physical:
    """What a physical point says of itself. Read as if by a stranger: Raises Damaged."""

    system: int
    timeline: int
    major: int
    start_lsn: str
    stop_lsn: str
    database: str
    superuser: str
    tablespaces: tuple[Tablespace, ...]
    about: Mapping[str, str]

    @classmethod
    def of(cls, point: Point) -> "Physical":
        about = point.about
        try:
            spaces: list[dict[str, object]] = json.loads(about["tablespaces"])
            return cls(
                system=int(about["system"]),
                timeline=int(about["timeline"]),
                major=int(about["server_version_num"]) // 10000,
                start_lsn=about["start_lsn"],
                stop_lsn=about["stop_lsn"],
                database=about["database"],
                superuser=about["superuser"],
                tablespaces=tuple(
                    Tablespace(int(str(s["oid"])), str(s["location"]), int(str(s["size_bytes"]))) for s in spaces
                ),
                about=about,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise Damaged(
                f"the notes of point {point.id} are not those of a physical backup of PostgreSQL",
                detail=f"{type(error).__name__}: {error}",
            ) from None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a point is laid down."""

    data: Path
    spaces: Mapping[int, Path]
    """A folder of its own for every tablespace: never the original one."""
    stop: Callable[[], bool] = lambda: False

    def place(self, stored: Stored) -> Path | None:
        """Where an entry goes; None: not onto this ground."""
        if self.stop():
            raise Cancelled("stopped while files were being restored")
        top, _, rest = stored.path.partition("/")
        if top == "data":
            return self.data / (_CONTROL_LATER if rest == str(_CONTROL) else rest)
        if top == "tablespaces" and rest:
            oid, _, below = rest.partition("/")
            folder = self.spaces.get(int(oid)) if oid.isdigit() else None
            return folder / below if folder is not None else None
        return None


class LaysItself(ABC):
    """A point whose own program restores it: pgBackRest's."""

    point: Point

    @abstractmethod
    def lay(self, ground: Ground, progress: Progress) -> None:
        """Write data directory and tablespaces, with the WAL from start to stop in `pg_wal`; nothing that starts a
        recovery. All durable, and everything ours, when this returns."""


def lay(point: PointReader, ground: Ground, progress: Progress = unwatched, *, over: bool = False) -> None:
    """Everything durable when this returns, `pg_control` under its own name. `over`: only what differs from what is
    there is written; no server can start there until it is done.

    Raises what `PointReader.extract` raises; Damaged when something that every cluster has is missing.
    """
    data = ground.data
    if over:
        end_the_cluster(data)
    if isinstance(point, LaysItself):
        point.lay(ground, progress)
        if (data / _CONTROL).exists():
            (data / _CONTROL).rename(data / _CONTROL_LATER)
    else:
        _link_tablespaces(ground, over=over)
        point.extract(data, place=ground.place, progress=progress, over=over)
    missing = [
        name for name in (_CONTROL_LATER, Path("PG_VERSION"), Path("backup_label")) if not (data / name).exists()
    ]
    if missing:
        raise Damaged(f"point {point.point.id} has no data/{missing[0]}", hint="restore another point")
    for name in (*sorted(EMPTIED), *_MADE, *_MADE_TOO):
        (data / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    if Physical.of(point.point).major >= 17:
        (data / "pg_wal" / "summaries").mkdir(mode=0o700, exist_ok=True)
    # The manual: a data directory that others may read is refused.
    data.chmod(0o700)
    later = data / _CONTROL_LATER
    write_durably(data / "global" / "pg_control.poisoned", poisoned(later.read_bytes()))
    later.unlink()
    for folder in (data / "pg_tblspc", data / "pg_wal", data):
        sync(folder)
    (data / "global" / "pg_control.poisoned").rename(data / _CONTROL)
    sync(data / "global")


def _link_tablespaces(ground: Ground, *, over: bool) -> None:
    """First: whoever clears up after us finds the folders by their links."""
    (ground.data / "pg_tblspc").mkdir(mode=0o700, parents=True, exist_ok=True)
    for oid, folder in ground.spaces.items():
        link = ground.data / "pg_tblspc" / str(oid)
        if over and link.is_symlink():
            link.unlink()  # it may lead to the folder of another server
        link.symlink_to(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def end_the_cluster(data: Path) -> None:
    """Before anything else is changed: what is half old and half new must not look like a cluster."""
    if (data / _CONTROL).exists():
        (data / _CONTROL).unlink()
        sync(data / "global")


def refuse_new_tablespaces(programs: Programs, data: Path, physical: Physical) -> None:
    """Replaying `CREATE TABLESPACE` would empty the original folder, also on a drill on the same host. Raises
    SourceUnsuitable when the point's WAL has one.

    Where there is no pg_waldump, the comparison of the server's own lists when the point was taken stands alone.
    """
    if not programs.has("pg_waldump"):
        return
    argv = (programs.path("pg_waldump"), "-p", str(data / "pg_wal"), "-t", str(physical.timeline), "-r", "Tablespace")
    try:
        said = run(
            Command((*argv, "-s", physical.start_lsn, "-e", physical.stop_lsn), _WALDUMP, keep_bytes=1 << 20)
        ).output
    except ToolFailed as error:
        raise Damaged("the WAL of this point cannot be read", detail=error.detail) from None
    if b"CREATE" in said:
        raise SourceUnsuitable(
            "a tablespace was made while this point was taken",
            detail="replaying that would empty the folder that it had on the original host",
            hint="use another point",
        )


@contextmanager
def room(where: Path, what: str) -> Generator[None]:
    """A full disk, and other refusals of the operating system, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise DiskFull(
                f"no room left while {what}", detail=f"{where} is full", hint="make room, and try again"
            ) from error
        raise AccessDenied(f"{what} failed: {error.strerror}", detail=str(error.filename or where)) from error


def need_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises DiskFull with what is needed and what is free."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < needed_bytes:
        raise DiskFull(
            f"no room for {what} in {folder}",
            detail=f"needed {say_size(needed_bytes)}, free {say_size(free)}; nothing was touched",
            hint="make room there, or restore to another disk",
        )
