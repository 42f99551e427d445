"""A recovery point as files in a folder: the last resort, which needs a vault, a key, and nothing else."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from backstay.errors import DiskFull, TargetAlive, TargetNotEmpty
from backstay.facts import Point
from backstay.ports import PointReader, Progress
from backstay.values import VaultName, listed, say_size


@dataclass(frozen=True, slots=True)
class Laid:
    """What was laid down, and what a person does with it next."""

    point: Point
    vault: VaultName
    next_steps: tuple[str, ...]


def lay_down(reader: PointReader, to: Path, progress: Progress) -> tuple[str, ...]:
    """Write the point into the folder `to`; gives what to do next. Raises TargetNotEmpty, TargetAlive, DiskFull,
    Damaged."""
    _refuse_occupied(to, reader.point)
    _refuse_without_room(to, reader.point.size_bytes)
    match reader.point.way:
        case "local" | "stream":
            from backstay.adapters.postgres.plain import lay_down_data

            return lay_down_data(reader, to, progress)
        case "logical":
            from backstay.adapters.postgres.plain import lay_down_dump

            return lay_down_dump(reader, to, progress)
        case _:
            reader.extract(to, progress=progress)
            return ()


def _refuse_occupied(to: Path, point: Point) -> None:
    """Somebody who is in a hurry names the live folder: then say that it is alive, not only that it is not empty."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if point.way in ("local", "stream"):
        from backstay.adapters.postgres.site import running_on

        if running := [pid for folder in (to, to / "data") for pid in running_on(folder.resolve())]:
            raise TargetAlive(
                f"will not restore over a running server at {to}",
                detail=f"process {running[0]} runs on it; nothing was written",
                hint="name an empty folder; to replace what runs there, use `backstay recover`",
            )
    there = sorted(path.name for path in to.iterdir()) if to.is_dir() else []
    raise TargetNotEmpty(
        f"{to} is not empty" if to.is_dir() else f"{to} is a file",
        detail=f"{listed([*there[:3], *(['more'] if len(there) > 3 else [])])} stand there; nothing was written"
        if there
        else "nothing was written",
        hint="name a folder that is empty, or does not exist yet",
    )


def _refuse_without_room(to: Path, needed: int) -> None:
    there = next(folder for folder in (to, *to.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFull(
            f"there is no room for this point in {to}",
            detail=f"it needs {say_size(needed)}, and {say_size(free)} are free",
            hint="name a folder on a larger disk; nothing was written",
        )
