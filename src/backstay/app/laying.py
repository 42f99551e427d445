"""A recovery point as files in a folder: the last resort, which needs a vault, a key, and nothing else."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from backstay.errors import DiskFull, TargetNotEmpty
from backstay.facts import Point
from backstay.ports import PointReader, Progress
from backstay.values import VaultName, say_size


@dataclass(frozen=True, slots=True)
class Laid:
    """What was laid down, and what a person does with it next."""

    point: Point
    vault: VaultName
    next_steps: tuple[str, ...]


def lay_down(reader: PointReader, to: Path, progress: Progress) -> tuple[str, ...]:
    """Write the point into the folder `to`; gives what to do next. Raises TargetNotEmpty, DiskFull, Damaged."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise TargetNotEmpty(f"{to} is not empty", hint="name a folder that is empty, or does not exist yet")
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


def _refuse_without_room(to: Path, needed: int) -> None:
    there = next(folder for folder in (to, *to.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskFull(
            f"there is no room for this point in {to}",
            detail=f"it needs {say_size(needed)}, and {say_size(free)} are free",
            hint="name a folder on a larger disk; nothing was written",
        )
