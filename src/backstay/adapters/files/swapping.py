"""Moving folders so that a crash at any point can be told: what is where, and whose it is.

Beside the folder `data` there may be, all on the same file system, so that each move is one rename:

    .data.backstay             the record: which restore is in place, and what comes next
    .data.backstay.lock        held while somebody acts
    .data.<run>.part           a restore being written
    .data.<run>.whole          a restore that is complete and on disk
    data.preserved-<run>       the damaged state that a run kept
    data.replaced-<run>        what a restore took the place of

The record is written once, before the swap, and names the *inode* of the restored folder. A rename keeps the inode: so
whether the swap took place is seen by looking at what is there now, and no second write has to tell.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from errno import EACCES, EBUSY, EDQUOT, ENOSPC, EPERM, EROFS, EXDEV
from pathlib import Path
from typing import Any, cast

from backstay.durable import rename_durably, write_durably
from backstay.errors import AccessDenied, BackstayError, DiskFull, SourceUnsuitable, StepFailed
from backstay.ports import Acting
from backstay.values import LineageId, RunId, digest_of


@dataclass(frozen=True, slots=True)
class Record:
    """What a restore left: stored as JSON beside the folder."""

    run: str
    point: str
    epoch: int
    lineage: str
    """Of the restored folder."""
    before: str
    """The lineage of the folder that it takes the place of."""
    inode: int
    device: int
    newest: str
    """The newest moment that came back, as a stamp. Empty: not known."""

    def is_of(self, folder: Path) -> bool:
        """Whether `folder` is the one that was restored: a rename keeps the inode."""
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return False
        return (found.st_ino, found.st_dev) == (self.inode, self.device)


@dataclass(frozen=True, slots=True)
class Beside:
    """The names around one folder. `root` need not exist."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root.with_name(f".{self.root.name}.backstay")

    @property
    def lock(self) -> Path:
        return self.root.with_name(f".{self.root.name}.backstay.lock")

    def part(self, run: RunId) -> Path:
        return self.root.with_name(f".{self.root.name}.{run}.part")

    def whole(self, run: RunId) -> Path:
        return self.root.with_name(f".{self.root.name}.{run}.whole")

    def preserved(self, run: RunId) -> Path:
        return self.root.with_name(f"{self.root.name}.preserved-{run}")

    def replaced(self, run: RunId) -> Path:
        return self.root.with_name(f"{self.root.name}.replaced-{run}")

    # ── the record ──

    def read(self) -> Record | None:
        """None: nothing was restored here, or the record is no record of ours."""
        try:
            stored = json.loads(self.record.read_bytes()[:65536])
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StepFailed(f"the record {self.record} cannot be read", detail=type(error).__name__) from error
        try:
            found = cast("dict[str, Any]", stored)
            return Record(
                run=str(found["run"]),
                point=str(found["point"]),
                epoch=int(found["epoch"]),
                lineage=str(found["lineage"]),
                before=str(found["before"]),
                inode=int(found["inode"]),
                device=int(found["device"]),
                newest=str(found["newest"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StepFailed(f"{self.record} is no record of a restore") from error

    def write(self, record: Record) -> None:
        """On disk, or not at all."""
        with edge(f"write {self.record}"):
            write_durably(self.record, json.dumps(asdict(record), sort_keys=True).encode() + b"\n")

    def in_place(self) -> Record | None:
        """The restore whose folder is here now. None: what is here was not restored, or has been replaced since."""
        record = self.read()
        return record if record is not None and record.is_of(self.root) else None

    def lineage(self, folder: Path) -> LineageId:
        """Of `folder`, which is the one that is here, or was until it was moved aside. A folder that was never restored
        has a lineage that follows from where it is."""
        record = self.read()
        if record is None:
            return LineageId("inc-" + digest_of(os.fsencode(self.root))[7:23])
        return LineageId(record.lineage if record.is_of(folder) else record.before)

    def refuse_older(self, acting: Acting) -> None:
        """Raises StepFailed when a newer driver of the same run has acted here."""
        record = self.read()
        if record is not None and record.run == acting.run and record.epoch > acting.epoch:
            raise StepFailed(
                f"{self.root} is held under a newer lease of {acting.run}",
                detail=f"epoch {record.epoch} there, epoch {acting.epoch} here",
            )


# ── moves ────────────────────────────────────────────────────────────────────────────────────────


def move(source: Path, target: Path) -> None:
    """Rename, durably, and never over something: whoever moves holds the lock. Raises StepFailed."""
    with edge(f"rename {source} to {target.name}"):
        if target.is_symlink() or target.exists():
            raise StepFailed(f"{target} is already there")
        rename_durably(source, target)


class edge:  # noqa: N801 - read like a function: `with edge("write the record"):`
    """An error of the operating system, in our words."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise said(error, self._doing) from error


def said(error: OSError, doing: str) -> BackstayError:
    why = error.strerror or type(error).__name__
    match error.errno:
        case number if number in (ENOSPC, EDQUOT):
            return DiskFull(f"no room to {doing}", detail=why)
        case number if number in (EACCES, EPERM, EROFS):
            return AccessDenied(f"may not {doing}", detail=why)
        case number if number in (EBUSY, EXDEV):
            return SourceUnsuitable(
                f"could not {doing}",
                detail=f"{why}: the folder is a file system of its own, which cannot be renamed",
                hint="name a folder inside of it as the component",
            )
        case _:
            return StepFailed(f"could not {doing}", detail=why)


def forget(path: Path) -> None:
    """Remove a folder of ours that nobody needs, whatever modes are in it."""

    def open_up(function: Any, name: str, _: Any) -> None:
        with suppress(OSError):
            Path(name).parent.chmod(0o700)
            if not Path(name).is_symlink():
                Path(name).chmod(0o700)
        function(name)

    with edge(f"remove {path}"):
        if path.exists():
            shutil.rmtree(path, onerror=open_up)
