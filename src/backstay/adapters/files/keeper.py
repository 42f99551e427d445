"""The Keeper of a folder of files."""

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from backstay.adapters.files.asking import FilesAnswers
from backstay.adapters.files.owning import dress, owned
from backstay.adapters.files.swapping import Beside, Record, edge, forget, move
from backstay.adapters.files.walking import QUIET, Survey, entries, refuse_denied, root_of, survey, trusted
from backstay.durable import sync
from backstay.errors import Cancelled, DiskFull, SourceDown, TargetNotEmpty
from backstay.facts import DidNot, Happened, Outcome, Sight, Succeeded
from backstay.plan import Target
from backstay.ports import (
    Acting,
    Alive,
    Clock,
    NotAlive,
    PointReader,
    PointWriter,
    Progress,
    Sealing,
    Stored,
    Taken,
    WalShelf,
    refuse_target,
    unwatched,
)
from backstay.processes import holding
from backstay.protect import READ
from backstay.values import RunId, count, digest_of, listed, say_size, stamp

LOCKED_FOR = timedelta(minutes=2)


def nobody(what: str) -> None:
    """Told of each durable step, by default."""


class FilesKeeper:
    """Takes, proves and restores the folder `path`. `trust_marks=False`: every byte is read again (a *full* point).
    `reached` is told of each durable step of a recovery."""

    kind = "files"

    def __init__(
        self, path: Path, clock: Clock, *, trust_marks: bool = True, reached: Callable[[str], None] = nobody
    ) -> None:
        self._path, self._clock, self._trust_marks, self._reached = path, clock, trust_marks, reached

    # ── taking ──

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        root, began = root_of(self._path), self._clock.now()
        with edge(f"read {root}"):
            before, seen = root.stat(), survey(root)
            distrust = trusted(root) if self._trust_marks else "every byte is read again"
            into.add(entries(root, seen, None if distrust else began - QUIET), _of(seen.size_bytes, progress))
            # The second walk may have met what the first did not, or nothing at all.
            refuse_denied(root, seen)
            _refuse_another(root, before)
        newest = None if seen.newest is None else min(seen.newest, began)
        source = "newest change of a file" if newest else "no files"
        about = {"path": str(root), READ: "full" if distrust else "incremental", **owned(root, seen)}
        sealing = Sealing(Beside(root).lineage(root), "copy", began, self._clock.now(), newest, source, about)
        return Taken(sealing, tuple(_said(seen, distrust)))

    def _beside(self) -> Beside:
        """Links are resolved as far as there is something: the folder itself may have been moved aside."""
        return Beside(self._path.resolve())

    def alive(self) -> Alive | NotAlive:
        try:
            with os.scandir(self._path) as listed_now:
                held = sum(1 for _ in listed_now)
        except OSError as error:
            return NotAlive(f"there is no folder {self._path} ({error.strerror})")
        return NotAlive(f"a folder does not run; {self._path} holds {count(held, 'entry')}")

    # ── asking ──

    @contextmanager
    def live(self) -> Generator[FilesAnswers]:
        yield FilesAnswers(str(self._path), root_of(self._path))

    @contextmanager
    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Generator[FilesAnswers]:
        refuse_target(self.kind, target)
        place = folder / "files"
        try:
            with edge(f"restore into {place}"):
                point.extract(place, progress=progress)
            yield FilesAnswers(f"{point.point.id}, restored into a sandbox", place, point.point.files)
        finally:
            forget(place)

    # ── preserving ──

    def preserve(self, acting: Acting) -> Outcome:
        beside = self._beside()
        kept = beside.preserved(acting.run)
        with self._alone(beside, acting):
            beside.refuse_older(acting)
            if not kept.exists():
                if not beside.root.exists():
                    return Succeeded(f"there is no folder {beside.root} to keep", {"preserved": "nothing"})
                _heed(acting)
                move(beside.root, kept)
                self._reached("preserved")
        return Succeeded(f"{beside.root} is kept as {kept.name}", {"kept": str(kept)})

    def look_preserved(self, acting: Acting) -> Sight:
        kept = self._beside().preserved(acting.run)
        if kept.exists():
            return Happened(f"it is kept as {kept.name}", {"kept": str(kept)})
        return DidNot(f"nothing is kept as {kept.name}")

    # ── restoring ──

    def restore(
        self,
        point: PointReader,
        acting: Acting,
        *,
        beside: bool = True,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Outcome:
        refuse_target(self.kind, target)
        around = self._beside()
        with self._alone(around, acting):
            around.refuse_older(acting)
            if not self._is_ours(around, acting):
                if not beside:
                    _refuse_to_overwrite(around.root)
                self._lay_down(point, around, acting)
                _heed(acting)
                self._swap(point, around, acting)
        return Succeeded(f"{around.root} is back from {point.point.id}", self._values(around, acting))

    def look_restored(self, acting: Acting) -> Sight:
        around = self._beside()
        if not self._is_ours(around, acting):
            return DidNot(f"what is in {around.root} was not put there by {acting.run}")
        return Happened(f"{around.root} was swapped in by {acting.run}", self._values(around, acting))

    def _is_ours(self, around: Beside, acting: Acting) -> bool:
        record = around.in_place()
        return record is not None and record.run == acting.run

    def _lay_down(self, point: PointReader, around: Beside, acting: Acting) -> None:
        """The whole point beside the old folder, durable; `whole` is there only when it is."""
        part, whole = around.part(acting.run), around.whole(acting.run)
        if whole.exists():
            return
        forget(part)  # what an earlier attempt had written of it
        _refuse_without_room(part.parent, point)

        def place(stored: Stored) -> Path:
            _heed(acting)
            return part / stored.path

        with edge(f"restore into {part}"):
            point.extract(part, place=place, progress=acting.progress)
            dress(part, point)
            sync(part)
        self._reached("laid down")
        move(part, whole)
        self._reached("whole")

    def _swap(self, point: PointReader, around: Beside, acting: Acting) -> None:
        run, whole = acting.run, around.whole(acting.run)
        found, newest = whole.lstat(), point.point.newest
        record = Record(
            run=run,
            point=point.point.id,
            epoch=acting.epoch,
            lineage="inc-" + digest_of(f"{run}\n{point.point.id}".encode())[7:23],
            before=_before(around, run),
            inode=found.st_ino,
            device=found.st_dev,
            newest=stamp(newest) if newest else "",
        )
        around.write(record)
        self._reached("recorded")
        if around.root.is_symlink() or around.root.exists():
            move(around.root, around.replaced(run))
            self._reached("moved the old one aside")
        # From here on, what is seen under the old name is the restored folder.
        move(whole, around.root)
        self._reached("swapped")

    def _values(self, around: Beside, acting: Acting) -> dict[str, str]:
        record = around.in_place()
        values = {"kind": self.kind, "data": str(around.root), "lineage": str(around.lineage(around.root))}
        if record is not None and record.newest:
            values["newest"] = record.newest
        kept = [one for one in (around.preserved(acting.run), around.replaced(acting.run)) if one.exists()]
        return values | ({"kept": str(kept[0])} if kept else {})

    @contextmanager
    def _alone(self, around: Beside, acting: Acting) -> Generator[None]:
        if not around.root.parent.is_dir():
            raise SourceDown(f"there is no folder {around.root.parent}", detail="the component would be in it")
        with ExitStack() as stack:
            with edge(f"lock {around.root}"):
                stack.enter_context(holding(around.lock, wait=LOCKED_FOR, stop=acting.stop))
            yield


# ── details ──────────────────────────────────────────────────────────────────────────────────────


def _before(around: Beside, run: RunId) -> str:
    """The lineage of what this run takes the place of, wherever that is by now."""
    record = around.read()
    if record is not None and record.run == run:
        return record.before  # an earlier attempt of this run has written it down
    places = (around.root, around.replaced(run), around.preserved(run))
    return around.lineage(next((one for one in places if one.exists()), around.root))


def _heed(acting: Acting) -> None:
    if acting.stop():
        raise Cancelled("stopped at the wish of whoever drives")


def _refuse_another(root: Path, before: os.stat_result) -> None:
    """A folder that was moved away, or whose disk was, while it was read: what was read of it is not all of it."""
    try:
        found = root.stat()
    except FileNotFoundError:
        found = None
    if found is None or (found.st_dev, found.st_ino) != (before.st_dev, before.st_ino):
        raise SourceDown(
            f"{root} was moved away while it was read",
            detail="it is gone" if found is None else "another folder is in its place",
            hint="take the point again; is a recovery under way, or was a disk unmounted?",
        )


def _refuse_to_overwrite(root: Path) -> None:
    if root.is_symlink() or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
        raise TargetNotEmpty(f"{root} is not empty", hint="restore beside it, or move it away first")


def _refuse_without_room(folder: Path, point: PointReader) -> None:
    free = shutil.disk_usage(folder).free
    if free < point.point.size_bytes:
        raise DiskFull(
            f"no room to restore {point.point.id} beside what is in {folder}",
            detail=f"{say_size(free)} are free, and it needs {say_size(point.point.size_bytes)}",
            hint="make room on that disk; nothing was written",
        )


def _of(all_bytes: int, progress: Progress) -> Progress:
    def told(done_bytes: int, total_bytes: int | None, what: str) -> None:
        progress(done_bytes, all_bytes, what)

    return told


def _said(seen: Survey, distrust: str) -> list[str]:
    found: list[str] = []
    if distrust and distrust != "every byte is read again":
        found.append(f"every byte was read: change marks are not trusted here, {distrust}")
    if seen.changed:
        shown = listed(sorted(seen.changed)[:3])
        found.append(f"{count(len(seen.changed), 'file')} changed while being read, and may be torn: {shown}")
    if seen.others:
        found.append(f"{count(seen.others, 'special file')} (sockets, pipes, devices) left out")
    if seen.more_owners:
        found.append(f"the owners of {count(seen.more_owners, 'more entry')} were not kept")
    if seen.files == 0:
        found.append("the folder holds no files")
    return found
