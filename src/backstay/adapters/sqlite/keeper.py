"""The Keeper of one SQLite database file.

Restored beside, checked, and put in place by one rename: whoever opens the path finds the old database or the new one,
and never none, for SQLite would make an empty one there. The old file is kept, together with its -wal and its journal:
they belong to each other, and a WAL that is left beside another database would be replayed into it.
"""

import errno
import io
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backstay.adapters.sqlite.answers import SqliteAnswers, ask, objects, orphans, structure, structure_digest
from backstay.adapters.sqlite.copying import Copying
from backstay.adapters.sqlite.opening import SAFE_VERSION, connect, limited, only_reads, reading
from backstay.durable import sync, write_durably
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    PointRefuted,
    RunBusy,
    TargetAlive,
    TargetNotEmpty,
)
from backstay.facts import DidNot, Happened, Outcome, Sight, Succeeded, Verdict
from backstay.plan import Target
from backstay.ports import (
    CATALOGUE,
    Acting,
    Alive,
    Answers,
    Clock,
    Cutter,
    Entry,
    Kind,
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
from backstay.processes import holding, working_folder
from backstay.values import LineageId, count, digest_of, say_size, stamp

STORED = "database.sqlite"
"""What the file is called in a point."""

BESIDE = ("", "-wal", "-shm", "-journal")
"""What belongs to one database: sqlite.org/tempfiles."""

_LOCK_WAIT = timedelta(seconds=30)
_NEWEST = timedelta(minutes=1)


def nobody(stage: str) -> None:
    """Wants to know of no stage."""


class SqliteKeeper:
    """`scratch`: a folder with room for a copy of the database. `reached` is told of each durable step."""

    kind = "sqlite"

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        newest: str | None = None,
        scratch: Path | None = None,
        reached: Callable[[str], None] = nobody,
    ) -> None:
        # A link to the file stays as it is; what it points at is the database.
        self._path = Path(os.path.realpath(path))
        self._clock, self._newest, self._reached = clock, newest, reached
        self._scratch = scratch or Path(tempfile.gettempdir())

    # ── taking and proving ──

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        began = self._clock.now()
        said: list[str] = []
        with _scratch(self._scratch) as folder:
            copy = folder / STORED
            connect(self._path).close()
            found = self._path.stat()
            _need_room(folder, found.st_size)
            copying = Copying(self._path, copy, self._clock, progress)
            # Before the copy: whatever was committed by now is in it.
            moment = self._clock.now()
            copying.run()
            newest, source = self._ask_newest(copy, said) or (moment, "the beginning of the copy")
            about = _about(copy, found)
            size = copy.stat().st_size
            into.add([_entry(copy, size, found.st_mode & 0o777, datetime.fromtimestamp(found.st_mtime, UTC))], progress)
            into.add([_catalogue(copy, moment)])
        if copying.restarts:
            said.append(f"the copy began again {count(copying.restarts, 'time')}, because another process wrote")
        if sqlite3.sqlite_version_info < SAFE_VERSION:
            said.append(
                f"SQLite {sqlite3.sqlite_version} has the WAL-reset bug (fixed in 3.51.3); we never checkpoint, and "
                "the application should be the only process that does"
            )
        sealing = Sealing(
            lineage=LineageId(lineage(self._path, found)),
            way="online",
            began=began,
            ended=self._clock.now(),
            newest=newest,
            newest_source=source,
            about={**about, "path": str(self._path), "journal_mode": "wal" if copying.wal else "rollback"},
        )
        return Taken(sealing, tuple(said))

    def _ask_newest(self, copy: Path, said: list[str]) -> tuple[datetime, str] | None:
        """Of the copy itself: surely in the point."""
        if self._newest is None:
            return None
        try:
            with reading(copy, immutable=True) as connection:
                only_reads(connection)
                with limited(connection, _NEWEST):
                    answer = ask(connection, self._newest)
        except BackstayError as error:
            said.append(f"the component's question for its newest moment failed: {error.message}: {error.detail}")
            return None
        found = as_moment(answer)
        if found is None:
            said.append("the component's question for its newest moment gives no moment with a time zone")
            return None
        return found, "the component's own question"

    @contextmanager
    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Generator[Answers]:
        refuse_target(self.kind, target)
        try:
            path = _extract(point, folder / STORED, progress)
            yield SqliteAnswers(f"a copy of point {point.point.id}", path, self._clock, point.point.about, True)
        finally:
            for found in folder.iterdir():
                found.unlink()

    # ── the live one ──

    def alive(self) -> Alive | NotAlive:
        if not self._path.exists():
            return NotAlive(f"there is no {self._path}")
        if holders := who_has_open(self._path):
            return Alive(f"process {holders[0]} has {self._path} open")
        return NotAlive(f"no process that we can see has {self._path} open")

    @contextmanager
    def live(self) -> Generator[Answers]:
        connect(self._path).close()
        yield SqliteAnswers(str(self._path), self._path, self._clock, {})

    # ── recovery ──

    def preserve(self, acting: Acting) -> Outcome:
        with self._acting(acting):
            self._refuse_alive()
            kept = self._kept(acting)
            if not self._is_ours(acting):
                self._move_aside(kept)
        if not kept.exists():
            return Succeeded(f"there was nothing at {self._path} that could be kept")
        return Succeeded(f"kept {self._path} as {kept.name}", {"kept": str(kept)})

    def look_preserved(self, acting: Acting) -> Sight:
        kept = self._kept(acting)
        left = [name for name in BESIDE if _with(self._path, name).exists()] if not self._is_ours(acting) else []
        if kept.exists() and not left:
            return Happened(f"{kept.name} is there", {"kept": str(kept)})
        return DidNot(f"there is no {kept.name}" if not kept.exists() else f"{self._path.name}{left[0]} is still there")

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
        if acting.stop():
            raise Cancelled("stopped before the restore began")
        with self._acting(acting):
            if not self._is_ours(acting):
                self._refuse_alive()
                if not beside and self._path.exists():
                    raise TargetNotEmpty(f"there is a file at {self._path}", hint="restore beside it, which keeps it")
                fresh, values = self._lay(point, acting)
                self._refuse_alive()  # somebody may have opened it while we restored
                self._replace(fresh, self._kept(acting))
            else:
                values = self._marked()
            kept = self._kept(acting)
            values = {**_values(values), **({"kept": str(kept)} if kept.exists() else {}), "data": str(self._path)}
        return Succeeded(f"{self._path} holds point {point.point.id}", values)

    def look_restored(self, acting: Acting) -> Sight:
        if not self._is_ours(acting):
            return DidNot(f"{self._path} is not what run {acting.run} restored")
        kept = self._kept(acting)
        values = {**_values(self._marked()), **({"kept": str(kept)} if kept.exists() else {}), "data": str(self._path)}
        return Happened(f"{self._path} was restored by this run", values)

    def _lay(self, point: PointReader, acting: Acting) -> tuple[Path, dict[str, str]]:
        """The file beside, whole and checked, and the marker that knows it: by its inode, which survives a rename."""
        _need_room(self._path.parent, point.point.size_bytes)
        fresh = self._path.with_name(f"{self._path.name}.beside-{acting.run}")
        fresh.unlink(missing_ok=True)
        try:
            _extract(point, fresh, acting.progress)
        except DiskFull:
            fresh.unlink(missing_ok=True)
            raise
        answers = SqliteAnswers("the restored file", fresh, self._clock, point.point.about, True)
        wrong = [check for check in answers.inspect("full") if check.verdict is not Verdict.PASSED]
        if wrong:
            fresh.unlink()
            raise PointRefuted(
                f"point {point.point.id} restores to a database that is not sound; the old one is untouched",
                detail=f"{wrong[0].code} {wrong[0].said}",
                hint="choose another point",
            )
        self._like_the_old(fresh, acting)
        found = fresh.stat()
        moment = self._ask_newest(fresh, [])
        newest = moment[0] if moment else point.point.newest
        values = {
            "run": acting.run,
            "epoch": str(acting.epoch),
            "point": str(point.point.id),
            "inode": str(found.st_ino),
            "newest": stamp(newest) if newest else "",
            "lineage": lineage(self._path, found),
        }
        write_durably(self._marker_path, json.dumps(values, indent=1).encode())
        self._reached("laid")
        return fresh, values

    def _like_the_old(self, fresh: Path, acting: Acting) -> None:
        """Rights and owner of the file that it replaces."""
        for old in (self._kept(acting), self._path):
            with suppress(FileNotFoundError):
                found = old.stat()
                fresh.chmod(found.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.chown(fresh, found.st_uid, found.st_gid)
                return

    def _replace(self, fresh: Path, kept: Path) -> None:
        """The old file gets a second name, and the new one takes its first: there is no moment without a database."""
        self._move_aside(kept, BESIDE[1:])
        self._reached("log moved aside")
        if self._path.exists():
            if kept.exists() and not kept.samefile(self._path):
                raise TargetNotEmpty(f"{kept} is there already, and so is {self._path}", hint="move one of them away")
            if not kept.exists():
                _second_name(self._path, kept)
            sync(self._path.parent)
            self._reached("old one kept")
        fresh.rename(self._path)
        sync(self._path.parent)
        self._reached("swapped")

    def _move_aside(self, kept: Path, names: Sequence[str] = BESIDE) -> None:
        """The database first: a crash in between leaves parts that the next try moves after it."""
        for name in names:
            old, new = _with(self._path, name), _with(kept, name)
            if old.exists():
                if new.exists():
                    raise TargetNotEmpty(f"{new} is there already, and so is {old}", hint="move one of them away")
                old.rename(new)
        sync(self._path.parent)

    def _refuse_alive(self) -> None:
        for name in BESIDE:
            if holders := who_has_open(_with(self._path, name)):
                raise TargetAlive(
                    f"a running process has {_with(self._path, name)} open",
                    detail=f"process {holders[0]}",
                    hint="stop the application first: put a `scale` to 0 before this step",
                )

    # ── names ──

    def _kept(self, acting: Acting) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged-{acting.run}")

    @property
    def _marker_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.backstay.json")

    def _marked(self) -> dict[str, str]:
        """Raises Damaged."""
        try:
            stored: Mapping[str, object] = json.loads(self._marker_path.read_text("utf-8"))
            return {str(key): str(value) for key, value in stored.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise Damaged(
                f"{self._marker_path} is damaged: it says how far a recovery came", detail=type(error).__name__
            ) from None

    def _is_ours(self, acting: Acting) -> bool:
        """The file at the path is the one that this run restored."""
        marked = self._marked()
        try:
            return marked.get("run") == acting.run and marked.get("inode") == str(self._path.stat().st_ino)
        except FileNotFoundError:
            return False

    @contextmanager
    def _acting(self, acting: Acting) -> Generator[None]:
        lock = self._path.with_name(f"{self._path.name}.backstay.lock")
        try:
            with holding(lock, wait=_LOCK_WAIT, stop=acting.stop):
                marked = self._marked()
                if marked.get("run") == acting.run and int(marked.get("epoch", "0")) > acting.epoch:
                    raise RunBusy(f"another driver of run {acting.run} has taken over at {self._path}")
                yield
        except OSError as error:
            kind = DiskFull if error.errno in (28, 122) else AccessDenied  # ENOSPC, EDQUOT
            raise kind(
                f"cannot change {error.filename or self._path}: {error.strerror}", hint="check room and rights"
            ) from error


def _values(marked: Mapping[str, str]) -> dict[str, str]:
    return {key: marked[key] for key in ("newest", "lineage") if marked.get(key)}


def as_moment(answer: object) -> datetime | None:
    """SQLite has no type for moments: ISO 8601 with a zone as text, or seconds since 1970 as `unixepoch()` gives."""
    if isinstance(answer, str):
        try:
            found = datetime.fromisoformat(answer.strip())
        except ValueError:
            return None
        return found.astimezone(UTC) if found.tzinfo is not None else None
    return None


def lineage(path: Path, found: os.stat_result) -> str:
    """The incarnation: this file at this place. A restore puts another file there, and begins another line."""
    known = digest_of(f"{path}\n{found.st_ino}".encode())
    return f"inc-{known.removeprefix('sha256:')[:16]}"


def who_has_open(path: Path) -> list[int]:
    """Processes that have this very file open, as far as we may see."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208
    return [pid for pid in others if _has_open(pid, (wanted.st_dev, wanted.st_ino))]


def _has_open(pid: int, wanted: tuple[int, int]) -> bool:
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with suppress(OSError):
                there = os.stat(f"/proc/{pid}/fd/{number}")  # noqa: PTH116
                if (there.st_dev, there.st_ino) == wanted:
                    return True
    return False


def _second_name(path: Path, other: Path) -> None:
    """A hard link; where the file system has none, the name is moved."""
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        path.rename(other)


def _with(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _about(copy: Path, found: os.stat_result) -> dict[str, str]:
    with reading(copy, immutable=True) as connection:
        told = {
            name: str(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "user_version", "application_id", "encoding")
        }
        told["objects"] = objects(connection)
        told["structure"] = structure_digest(connection)
        with suppress(sqlite3.OperationalError):  # a reference to a table that is not there
            told["orphans"] = str(orphans(connection))
    return {**told, "sqlite_version": sqlite3.sqlite_version, "owner": f"{found.st_uid}:{found.st_gid}"}


def _entry(copy: Path, size: int, mode: int, modified: datetime) -> Entry:
    return Entry(STORED, Kind.FILE, mode, modified, size, lambda: copy.open("rb"), Cutter.FIXED_64K)


def _catalogue(copy: Path, now: datetime) -> Entry:
    """The structure, so that a later proof can show what changed."""
    with reading(copy, immutable=True) as connection:
        text = "".join(f"  {line}\n" for line in structure(connection)).encode("utf-8", "replace")
    return Entry(CATALOGUE, Kind.FILE, 0o600, now, len(text), lambda: io.BytesIO(text))


def _extract(point: PointReader, to: Path, progress: Progress) -> Path:
    """The database file of a point, durable, under this name."""

    def place(stored: Stored) -> Path | None:
        return to if stored.path == STORED else None

    point.extract(to.parent, place=place, progress=progress)
    if not to.exists():
        raise Damaged(f"point {point.point.id} holds no {STORED}", hint="choose another point")
    return to


def _need_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DiskFull(
            f"no room for a copy of the database in {folder}",
            detail=f"needed {say_size(needed_bytes)}, free {say_size(free)}; nothing was touched",
            hint="make room there",
        )


@contextmanager
def _scratch(below: Path) -> Generator[Path]:
    """Gone afterwards, also when we are killed: whoever comes next sweeps it."""
    with working_folder(below, "backstay-sqlite") as folder:
        yield folder
