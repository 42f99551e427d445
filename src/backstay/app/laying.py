"""A recovery point as files in a folder: the last resort, which needs a vault, a key, and nothing else."""

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backstay.durable import sync, write_durably
from backstay.errors import DiskFull, TargetAlive, TargetNotEmpty
from backstay.facts import Point
from backstay.plan import Target
from backstay.ports import Clock, PointReader, Progress, WalShelf, refuse_target
from backstay.values import VaultName, listed, say_size
from backstay.vault.over import others, remove


@dataclass(frozen=True, slots=True)
class Laid:
    """What was laid down, and what a person does with it next."""

    point: Point
    vault: VaultName
    next_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """A restore over what is there: only what differs is written."""

    removing: bool
    """Also remove what the point does not have."""


@dataclass(frozen=True, slots=True)
class Further:
    """A restore that goes on over the log."""

    target: Target
    log: WalShelf
    clock: Clock


UNFINISHED = "backstay.unfinished"
"""In a folder over which a restore was begun, until it is done. (A data directory has no `pg_control` meanwhile.)"""
_NOTE = b"A restore over this folder was begun and has not ended: half is old, half is new. Run it again.\n"


def lay_down(
    reader: PointReader, to: Path, progress: Progress, over: Over | None = None, further: Further | None = None
) -> tuple[str, ...]:
    """Write the point into the folder `to`, and go on from there; gives what to do next. Raises TargetNotEmpty,
    TargetAlive, DiskFull, Damaged, and Unreachable and ToolMissing where it cannot go on."""
    if over is None or not to.exists():
        _refuse_occupied(to, reader.point)
        _refuse_without_room(to, reader.point.size_bytes)
        return _lay(reader, to, progress, further)
    _refuse_alive(to, reader.point)
    _refuse_in_use(to)
    if reader.point.way in ("local", "stream"):
        from backstay.adapters.postgres.plain import lay_down_data

        steps = partial(lay_down_data, reader, to, progress, over=True, removing=over.removing)
        return steps() if further is None else _going_on(reader, to, further, steps)
    refuse_target("a dump or a folder", further.target if further is not None else None)
    with _unfinished(to):
        return _lay_over(reader, to, progress, over)


def _going_on(reader: PointReader, to: Path, further: Further, lay: Callable[[], object]) -> tuple[str, ...]:
    from backstay.adapters.postgres.plain import go_on, need_way

    onward = need_way(reader, further.target, further.log)  # before anything is written
    lay()
    return go_on(onward, to, further.clock)


def _lay(reader: PointReader, to: Path, progress: Progress, further: Further | None) -> tuple[str, ...]:
    match reader.point.way:
        case "local" | "stream":
            from backstay.adapters.postgres.plain import lay_down_data

            steps = partial(lay_down_data, reader, to, progress)
            return steps() if further is None else _going_on(reader, to, further, steps)
        case _ if further is not None:
            refuse_target("a dump or a folder", further.target)
            return ()
        case "logical":
            from backstay.adapters.postgres.plain import lay_down_dump

            return lay_down_dump(reader, to, progress)
        case _:
            reader.extract(to, progress=progress)
            return ()


def _lay_over(reader: PointReader, to: Path, progress: Progress, over: Over) -> tuple[str, ...]:
    if over.removing:
        for path in others(reader.entries(), lambda stored: to / stored.path, to):
            if path.name != UNFINISHED:
                remove(path)
    if reader.point.way == "logical":
        from backstay.adapters.postgres.plain import lay_down_dump

        return lay_down_dump(reader, to, progress, over=True)
    reader.extract(to, progress=progress, over=True)
    return ()


@contextmanager
def _unfinished(to: Path) -> Generator[None]:
    """A note for whoever finds the folder after a power cut: half of it may be old, and half new."""
    note = to / UNFINISHED
    write_durably(note, _NOTE)
    yield
    note.unlink()
    sync(to)


def _refuse_occupied(to: Path, point: Point) -> None:
    """Somebody who is in a hurry names the live folder: then say that it is alive, not only that it is not empty."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    _refuse_alive(to, point)
    there = sorted(path.name for path in to.iterdir()) if to.is_dir() else []
    raise TargetNotEmpty(
        f"{to} is not empty" if to.is_dir() else f"{to} is a file",
        detail=f"{listed([*there[:3], *(['more'] if len(there) > 3 else [])])} stand there; nothing was written"
        if there
        else "nothing was written",
        hint="name a folder that is empty, or does not exist yet; over an older restore: --delta",
    )


def _refuse_alive(to: Path, point: Point) -> None:
    if point.way in ("local", "stream"):
        from backstay.adapters.postgres.site import running_on

        if running := [pid for folder in (to, to / "data") for pid in running_on(folder.resolve())]:
            raise TargetAlive(
                f"will not restore over a running server at {to}",
                detail=f"process {running[0]} runs on it; nothing was written",
                hint="name an empty folder; to replace what runs there, use `backstay recover`",
            )


def _refuse_in_use(to: Path) -> None:
    """Whoever has a file there open would see it change under his hands. As far as we may look: other people's
    processes are hidden from all but root."""
    inside = f"{to.resolve()}/"
    for pid in os.listdir("/proc"):  # noqa: PTH208 - thousands of them
        if pid.isdigit() and int(pid) != os.getpid() and _has_open(f"/proc/{pid}/fd", inside):
            raise TargetAlive(
                f"will not restore over {to} while it is in use",
                detail=f"process {pid} has a file in it open; nothing was written",
                hint="stop that process, or restore to an empty folder",
            )


def _has_open(handles: str, inside: str) -> bool:
    with suppress(OSError):  # it ended meanwhile, or is somebody else's
        return any(os.readlink(f"{handles}/{number}").startswith(inside) for number in os.listdir(handles))  # noqa: PTH115, PTH208
    return False


def _refuse_without_room(to: Path, needed: int) -> None:
    there = next(folder for folder in (to, *to.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFull(
            f"there is no room for this point in {to}",
            detail=f"it needs {say_size(needed)}, and {say_size(free)} are free",
            hint="name a folder on a larger disk; nothing was written",
        )
