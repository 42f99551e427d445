"""The way `local`: read the data directory of a running server, and the WAL that makes what was read consistent.

Theory of operation (manual, "Making a Base Backup Using the Low Level API"). In one session: reserve WAL with a
temporary slot, `pg_backup_start`, read the files in any order, `pg_control` last, `pg_backup_stop`. It answers with a
label, which goes into the point byte for byte: with it, recovery begins at the right checkpoint. Then the segments from
start to stop are read from `pg_wal`, where the slot has kept them. A point without every one of them is no point.

The session must live from start to stop: when it ends, the server ends the backup, and so do we.
"""

import io
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from psycopg import errors

from backstay.adapters.postgres import catalogue
from backstay.adapters.postgres.control import whole_control
from backstay.adapters.postgres.layout import Listing, LiveFile, bytes_entry, file_entry
from backstay.adapters.postgres.newest import Newest
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.session import Connection, first_line, one, session
from backstay.adapters.postgres.source import (
    Source,
    examine,
    outside,
    refuse_unsuitable,
    started_with,
    stored_words,
    tablespaces,
)
from backstay.errors import AccessDenied, SourceUnsuitable
from backstay.lsn import Lsn, lsn, say_lsn, segments, wrong_with_segment
from backstay.ports import Clock, Cutter, Entry, Kind, PointWriter, Progress, Sealing, Taken, Vanished, unwatched
from backstay.values import LineageId, count

HEAD_BYTES = 40
"""The long header at the front of a WAL segment."""


@dataclass(frozen=True, slots=True)
class Label:
    """What `pg_backup_stop` gave."""

    stop: Lsn
    label: str
    spaces: str

    @property
    def start(self) -> Lsn:
        return lsn(_field(self.label, "START WAL LOCATION").split()[0])

    @property
    def timeline(self) -> int:
        return int(_field(self.label, "START TIMELINE"))


def _field(label: str, name: str) -> str:
    for line in label.splitlines():
        if line.startswith(f"{name}: "):
            return line.removeprefix(f"{name}: ")
    raise SourceUnsuitable(
        "the server gave a backup label that cannot be read", detail=f"it has no line {name}", hint="report this"
    )


@dataclass(slots=True)
class Watch:
    """One progress over several rounds of reading."""

    progress: Progress
    total_bytes: int
    before: int = 0
    within: int = 0

    def __call__(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        self.within = max(self.within, done_bytes)
        self.progress(self.before + done_bytes, max(self.total_bytes, self.before + done_bytes), what)

    def next(self) -> None:
        self.before, self.within = self.before + self.within, 0


@dataclass(slots=True)
class Taking:
    """One local backup. Short on purpose: `take` is what people read at three in the morning."""

    place: PostgresPlace
    clock: Clock
    into: PointWriter
    progress: Progress = unwatched
    said: list[str] = field(default_factory=list[str])

    def take(self) -> Taken:
        began = self.clock.now()
        with session(self.place.dsn) as db:
            source = examine(db)
            self.said += refuse_unsuitable(source)
            data = self.place.data or source.data
            slot = self._hold_wal(db)
            self._prove_directory(db, data, source, slot)
            timeline = None if source.standby else _timeline(db)
            before = catalogue.survey(db)
            newest = Newest(db, self.place, self.clock, standby=source.standby)
            watch = Watch(self.progress, expected_bytes(db))
            _start_backup(db, source)
            listing = Listing(data, source.block_bytes, source.tablespaces)
            self.into.add(listing.entries(), watch)
            watch.next()
            self._add_configuration(db, source)
            after = catalogue.survey(db)
            self.into.add(catalogue.kept(before, after, self.clock.now()), unwatched)
            # Before the stop, so that what it says is surely in the point.
            newest.ask()
            # Last of the files, and whole: recovery takes from it how far it has to go at least.
            self.into.add([_control_entry(data, self.clock.now())], unwatched)
            label = _stop_backup(db, source)
            if source.standby:
                # It had replayed more than its files need: that is in its pg_wal, and comes along.
                label = replace(label, stop=Lsn(max(label.stop, newest.last_place())))
            _refuse_other_timeline(db, timeline, label)
            refuse_change(db, source)
            self._add_labels(label)
            self._add_wal(data, source, label, watch)
            self.said += [*listing.noted, *newest.said]
        about = source.about() | catalogue.stored(before, after) | about_point(label, source, data) | _about_here(data)
        moment, moment_source = newest.until(label.stop)
        sealing = Sealing(
            lineage=LineageId(f"pg-{source.system}-{label.timeline}"),
            way="local",
            began=began,
            ended=self.clock.now(),
            newest=moment,
            newest_source=moment_source,
            about=about,
        )
        return Taken(sealing, tuple(self.said))

    # ── before ──

    def _hold_wal(self, db: Connection) -> str | None:
        """A temporary slot: the WAL that we need cannot be recycled while this session lives."""
        name = f"backstay_{os.getpid()}_{secrets.token_hex(4)}"
        try:
            db.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", (name,))
        except (
            errors.InsufficientPrivilege,
            errors.ConfigurationLimitExceeded,
            errors.ObjectNotInPrerequisiteState,
        ) as e:
            self.said.append(
                f"no replication slot could be had ({first_line(e)}): should the server recycle WAL that this point "
                "needs, taking it fails; raise max_replication_slots, or grant the role REPLICATION"
            )
            return None
        return name

    def _prove_directory(self, db: Connection, data: Path, source: Source, slot: str | None) -> None:
        """The folder that we read must be the one of the server that we talk to, and not a copy of it. The slot tells:
        the server has just made a folder with a random name."""
        try:
            control = whole_control(data / "global" / "pg_control")
            seen = (data / "pg_replslot" / slot).is_dir() if slot else _same_start(db, data)
        except PermissionError as error:
            raise AccessDenied(
                f"may not read {data}", detail=error.strerror or "", hint="run backstay as root or as its owner"
            ) from None
        if control.system != source.system or not seen:
            raise SourceUnsuitable(
                f"{data} is not the data directory of the server that answers",
                detail=f"the server says that its own is {source.data}",
                hint="correct `data:` or the connection string of the component",
            )

    # ── meanwhile ──

    def _add_configuration(self, db: Connection, source: Source) -> None:
        found: list[Entry] = []
        for path in outside(source, db):
            try:
                entry = file_entry(str(path), f"config{path}", path.stat())
                if entry.open is not None:
                    entry.open().close()
            except (OSError, Vanished, AccessDenied):
                self.said.append(f"the configuration file {path} could not be read, and is not in the point")
            else:
                found.append(entry)
        if found:
            self.into.add([Entry("config", Kind.FOLDER, 0o700, self.clock.now()), *found], unwatched)

    # ── after ──

    def _add_labels(self, label: Label) -> None:
        now = self.clock.now()
        found = [bytes_entry("data/backup_label", label.label.encode(), now)]
        if label.spaces:
            found.append(bytes_entry("tablespace_map", label.spaces.encode(), now))
        self.into.add(found, unwatched)

    def _add_wal(self, data: Path, source: Source, label: Label, watch: Watch) -> None:
        wal = Wal(data / "pg_wal", source, label)
        self.into.add(list(wal.entries()), watch)
        wal.check()
        self.said.append(f"{count(wal.number, 'segment')} of WAL, {say_lsn(label.start)} to {say_lsn(label.stop)}")


def _refuse_other_timeline(db: Connection, timeline: int | None, label: Label) -> None:
    """`timeline`: of the primary before the backup; None: a standby, which the server itself watches (a promotion
    invalidates the backup), and which must still be one."""
    still = None if one(db, "SELECT pg_is_in_recovery()")[0] else _timeline(db)
    if still != timeline or (timeline is not None and label.timeline != timeline):
        raise SourceUnsuitable("the server changed its timeline while the backup ran", hint="take the point again")


def refuse_change(db: Connection, source: Source) -> None:
    """Raises SourceUnsuitable when there are other tablespaces than before."""
    spaces = {(space.oid, space.location) for space in tablespaces(db)}
    if spaces != {(space.oid, space.location) for space in source.tablespaces}:
        raise SourceUnsuitable(
            "a tablespace was made or dropped while the backup ran",
            detail="replaying that would touch the original folder, also on a drill",
            hint="take the point again",
        )


def _timeline(db: Connection) -> int:
    """Of the WAL that is written now; pg_control tells it only after the next checkpoint."""
    (name,) = one(db, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    return int(str(name)[:8], 16)


def _same_start(db: Connection, data: Path) -> bool:
    """Without a slot: does postmaster.pid tell the same moment of start?"""
    (started,) = one(db, "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint")
    try:
        return abs(int((data / "postmaster.pid").read_text().splitlines()[2]) - int(started)) <= 2
    except (OSError, ValueError, IndexError):
        return False


def expected_bytes(db: Connection) -> int:
    (size,) = one(db, "SELECT coalesce(sum(pg_tablespace_size(oid)), 0)::bigint FROM pg_tablespace")
    return int(size)


def _start_backup(db: Connection, source: Source) -> None:
    """With a fast checkpoint: a spread one would keep us waiting for minutes."""
    if source.major >= 15:
        db.execute("SELECT pg_backup_start('backstay', true)")
    else:
        db.execute("SELECT pg_start_backup('backstay', true, false)")


def _stop_backup(db: Connection, source: Source) -> Label:
    """Does not wait for the server's own archive: we read the WAL ourselves."""
    call = "pg_backup_stop(false)" if source.major >= 15 else "pg_stop_backup(false, false)"
    stop, label, spaces = one(db, f"SELECT lsn::text, labelfile, spcmapfile FROM {call}")
    return Label(lsn(str(stop)), str(label), str(spaces or ""))


def _control_entry(data: Path, now: datetime) -> Entry:
    path = data / "global" / "pg_control"
    return Entry(
        "data/global/pg_control", Kind.FILE, 0o600, now, 8192, lambda: io.BytesIO(whole_control(path).raw), Cutter.WHOLE
    )


def about_point(label: Label, source: Source, data: Path) -> dict[str, str]:
    """Notes for every point that is made of files. `data`: where they were."""
    spaces = [{"oid": s.oid, "location": s.location, "size_bytes": s.size_bytes} for s in source.tablespaces]
    return {
        "timeline": str(label.timeline),
        "start_lsn": say_lsn(label.start),
        "stop_lsn": say_lsn(label.stop),
        "tablespaces": json.dumps(spaces, separators=(",", ":")),
        "data": str(data),
        **({"standby": "yes"} if source.standby else {}),
    }


def _about_here(data: Path) -> dict[str, str]:
    owner = data.stat()
    return {"options": stored_words(started_with(data)), "owner": f"{owner.st_uid}:{owner.st_gid}"}


@dataclass(slots=True)
class Wal:
    """The segments from start to stop, as they lie in pg_wal."""

    folder: Path
    source: Source
    label: Label
    number: int = 0

    def entries(self) -> Iterator[Entry]:
        """Raises SourceUnsuitable for one that is missing or is not what its name says."""
        size = self.source.segment_bytes
        for name, position in self._segments():
            self._check(name, position)
            self.number += 1
            path = self.folder / name
            yield Entry(
                f"data/pg_wal/{name}",
                Kind.FILE,
                0o600,
                datetime.fromtimestamp(path.stat().st_mtime).astimezone(),
                size,
                lambda path=path: cast(BinaryIO, LiveFile(str(path), size, 1, None)),
                Cutter.FIXED_64K,
            )
        if self.label.timeline > 1:
            yield from self._history()

    def check(self) -> None:
        """Again, after reading: a segment that was recycled meanwhile has another address now."""
        for name, position in self._segments():
            self._check(name, position)

    def _segments(self) -> Iterator[tuple[str, int]]:
        return segments(self.label.timeline, self.label.start, self.label.stop, self.source.segment_bytes)

    def _check(self, name: str, position: int) -> None:
        path = self.folder / name
        try:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
            short = path.stat().st_size != self.source.segment_bytes
        except FileNotFoundError:
            raise _no_wal(name, "it was removed before it could be read") from None
        wrong = wrong_with_segment(
            head,
            system=self.source.system,
            position=position,
            segment_bytes=self.source.segment_bytes,
            timeline=self.label.timeline,
        )
        if wrong or short:
            raise _no_wal(name, wrong or "it is cut short")

    def _history(self) -> Iterator[Entry]:
        """Where the timeline came from. Without it, recovery cannot be told to stay on it."""
        path = self.folder / f"{self.label.timeline:08X}.history"
        try:
            yield file_entry(str(path), f"data/pg_wal/{path.name}", path.stat())
        except FileNotFoundError:
            raise _no_wal(path.name, "the history of the timeline is missing") from None


def _no_wal(name: str, why: str) -> SourceUnsuitable:
    return SourceUnsuitable(
        f"the WAL that this backup needs is not there: {name}",
        detail=why,
        hint="let the role have a replication slot (max_replication_slots, REPLICATION), or raise wal_keep_size and "
        "max_slot_wal_keep_size; then take the point again",
    )
