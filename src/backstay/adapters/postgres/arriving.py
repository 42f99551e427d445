"""One BASE_BACKUP, received: each thing in it becomes an entry of the point, where a local backup would have it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from psycopg.pq import ExecStatus

from backstay.adapters.postgres.control import read_control
from backstay.adapters.postgres.increments import HEAD_BYTES as INCREMENT_HEAD_BYTES
from backstay.adapters.postgres.increments import PREFIX, head_bytes, numbers_of, read_increment
from backstay.adapters.postgres.layout import EMPTIED, bytes_entry, cutter_of, is_paged, left_out
from backstay.adapters.postgres.local import HEAD_BYTES, Label
from backstay.adapters.postgres.newest import Newest
from backstay.adapters.postgres.prior import MANIFEST
from backstay.adapters.postgres.source import Source
from backstay.adapters.postgres.unpacking import Body, Manifest, Member, Unpacking
from backstay.adapters.postgres.wire import Line, Refused, changed_under_us, rows_of
from backstay.errors import Damaged, SourceUnsuitable
from backstay.lsn import Lsn, lsn, say_lsn, segments, wrong_with_segment
from backstay.ports import Cutter, Entry, Kind
from backstay.values import count

HELD_BYTES = 1 << 20
"""A file up to this length waits in memory for whoever stores it."""
HELD_INCREMENT_BYTES = 16 << 20
"""So does an increment, one for each processor: folding it takes longer than receiving it."""
_OF_AN_INCREMENT = ("INCREMENTAL FROM LSN: ", "INCREMENTAL FROM TLI: ")
"""Lines of the label that do not belong to a whole backup: a server that finds them refuses to start
(pg_combinebackup leaves them out, too: backup_label.c)."""
_BAD_PAGES = "XX001"
"""data_corrupted: all was sent, and the checksum of some page was wrong."""
_SEGMENT_DIGITS = 24


@dataclass(slots=True)
class Arriving:
    """From `begin` to `end`. `incremental`: increments are for the file of the point before."""

    line: Line
    source: Source
    timeline: int
    newest: Newest
    incremental: bool = False
    start: Lsn = Lsn(0)
    owner: str = ""
    label: str = ""
    spaces: str = ""
    spoilt: bool = False
    """The server found pages with a wrong checksum."""
    increments: int = 0
    _segments: dict[str, int] = field(default_factory=dict[str, int])
    _histories: set[str] = field(default_factory=set[str])
    _control: bool = False

    def begin(self, name: str) -> None:
        """Raises Refused, before anything was sent, when the server cannot give an increment."""
        options = [
            f"LABEL '{name}'", "PROGRESS false", "CHECKPOINT 'fast'", "WAL true", "WAIT false", "TABLESPACE_MAP true",
            "MANIFEST 'yes'", *(["INCREMENTAL"] if self.incremental else []),
        ]  # fmt: skip
        self.line.send(f"BASE_BACKUP ({', '.join(options)})")
        [[start, timeline]] = self._table()
        self.start = lsn(start)
        if int(timeline) != self.timeline:
            raise changed_under_us(f"it is on timeline {timeline} now, and was on {self.timeline}")
        told = {oid: place for oid, place, _ in self._table() if oid}
        if told != {str(space.oid): space.location for space in self.source.tablespaces}:
            raise changed_under_us("a tablespace was made or dropped")
        if (copy := self.line.result()) is None or copy.status != ExecStatus.COPY_OUT:
            raise Damaged("the server sends no base backup", detail="it answered, and nothing came")

    def _table(self) -> list[list[str]]:
        found = self.line.result()
        return [] if found is None else rows_of(found)

    def end(self) -> Label:
        """When every entry was read. Raises SourceUnsuitable when something is missing that a whole point has."""
        stop, timeline = "", ""
        try:
            while (result := self.line.result()) is not None:
                for row in rows_of(result):
                    stop, timeline = row
        except Refused as error:
            if error.state != _BAD_PAGES or not stop:
                raise
            self.spoilt = True
        if not stop or not self._control or not self.label:
            raise Damaged("the server ended the base backup before it was whole")
        label = Label(lsn(stop), self.label, self.spaces)
        if int(timeline) != self.timeline or label.timeline != self.timeline:
            raise changed_under_us(f"it ended on timeline {timeline}, and began on {self.timeline}")
        self._refuse_gaps(label)
        return label

    def _refuse_gaps(self, label: Label) -> None:
        wanted = segments(self.timeline, label.start, label.stop, self.source.segment_bytes)
        missing = [name for name, position in wanted if self._segments.get(name) != position]
        if self.timeline > 1 and (history := f"{self.timeline:08X}.history") not in self._histories:
            missing.append(history)
        if missing:
            raise SourceUnsuitable(
                f"the WAL that this backup needs was not sent: {missing[0]}",
                detail=f"{count(len(missing), 'file')} of it missing",
                hint="let the role have a replication slot (max_replication_slots); then take the point again",
            )

    # ── what comes ──

    def entries(self) -> Iterator[Entry]:
        """Pulled by whoever stores them; see `unpacking` for how that meets a server that pushes."""
        began = datetime.now(UTC)
        yield Entry("data", Kind.FOLDER, 0o700, began)
        for space in self.source.tablespaces:
            yield Entry(f"tablespaces/{space.oid}", Kind.FOLDER, 0o700, began)
        for member in Unpacking(self.line.copied()).members():
            self.newest.ask_sometimes()
            if isinstance(member, Manifest):
                opened = cast(BinaryIO, member.body)
                yield Entry(MANIFEST, Kind.FILE, 0o600, began, 0, lambda of=opened: of, Cutter.CDC_V1, in_turn=True)
            elif (entry := self._entry(member)) is not None:
                yield entry
            else:
                member.body.skip()

    def _entry(self, member: Member) -> Entry | None:
        # One folder comes as `./pg_wal/archive_status` (basebackup.c, sendDir).
        head, name = member.head, member.head.name.removeprefix("./")
        if member.archive != "base.tar":
            oid = member.archive.removesuffix(".tar")
            if all(str(space.oid) != oid for space in self.source.tablespaces):
                raise Damaged("the server sent a tablespace that it had not named", detail=member.archive)
            return self._thing(member, f"tablespaces/{oid}/{name}")
        top, _, below = name.partition("/")
        if not below and top in ("backup_label", "tablespace_map"):
            return self._labelled(member, top)
        if name == "global/pg_control":
            return self._control_entry(member)
        if top == "PG_VERSION":
            self.owner = f"{head.uid}:{head.gid}"
        if top == "pg_wal" and below:
            return self._wal(member, below)
        if (below and (top in EMPTIED or top == "pg_tblspc")) or head.issym():
            return None  # links to tablespaces are made anew
        return self._thing(member, f"data/{name}")

    def _thing(self, member: Member, path: str) -> Entry | None:
        head, name = member.head, path.rpartition("/")[2]
        if any(left_out(part, top=path.count("/") == 1) for part in PurePosixPath(path).parts[1:]):
            return None
        if head.isdir():
            return Entry(path, Kind.FOLDER, head.mode & 0o7777, _moment(head.mtime))
        if not head.isreg():
            raise Damaged("the server sent something that is neither a file nor a folder", detail=path)
        if name.startswith(PREFIX):
            return self._increment(member, path[: -len(name)] + name.removeprefix(PREFIX))
        return self._file(path, member)

    def _file(self, path: str, member: Member) -> Entry:
        size, paged = member.head.size, is_paged(path)
        held = size <= HELD_BYTES
        file = io.BytesIO(member.body.exactly(size)) if held else cast(BinaryIO, member.body)
        return Entry(
            path, Kind.FILE, member.head.mode & 0o7777, _moment(member.head.mtime), size, lambda: file,
            cutter_of(size, paged=paged), in_turn=not held,
        )  # fmt: skip

    def _increment(self, member: Member, path: str) -> Entry:
        if not self.incremental:
            raise Damaged("the server sent an increment that nobody asked for", detail=path)
        block, size, body = self.source.block_bytes, member.head.size, member.body
        first = body.exactly(INCREMENT_HEAD_BYTES)
        whole = first + body.exactly(head_bytes(numbers_of(first, path), block) - len(first))
        found = read_increment(whole, path, size, block)
        held = size <= HELD_INCREMENT_BYTES
        file = io.BytesIO(body.exactly(body.left)) if held else cast(BinaryIO, body)
        self.increments += 1
        new_bytes = found.size_bytes(block)
        return Entry(
            path, Kind.FILE, member.head.mode & 0o7777, _moment(member.head.mtime), new_bytes, lambda: file,
            cutter_of(new_bytes, paged=True), replaced=found.replaced(block), in_turn=not held,
        )  # fmt: skip

    def _labelled(self, member: Member, name: str) -> Entry | None:
        text = _small(member).decode("utf-8", "surrogateescape")
        if name == "tablespace_map":
            self.spaces = text
            if not text:
                return None  # there is no tablespace: then it must not be there
            return bytes_entry(name, text.encode("utf-8", "surrogateescape"), _moment(member.head.mtime))
        lines = text.splitlines(keepends=True)
        self.label = "".join(line for line in lines if not line.startswith(_OF_AN_INCREMENT))
        return bytes_entry(
            "data/backup_label", self.label.encode("utf-8", "surrogateescape"), _moment(member.head.mtime)
        )

    def _control_entry(self, member: Member) -> Entry:
        raw = _small(member)
        control = read_control(raw)
        if control is None or control.system != self.source.system:
            raise Damaged("the server sent a pg_control that is not its own, or torn")
        self._control = True
        path, at = "data/global/pg_control", _moment(member.head.mtime)
        return Entry(path, Kind.FILE, 0o600, at, len(raw), lambda: io.BytesIO(raw), Cutter.WHOLE)

    def _wal(self, member: Member, name: str) -> Entry | None:
        """A segment, by what its head says it is; or the history of a timeline."""
        path = f"data/pg_wal/{name}"
        if name.endswith(".history") and "/" not in name and member.head.isreg():
            self._histories.add(name)
            return self._file(path, member)
        if len(name) != _SEGMENT_DIGITS or not member.head.isreg():
            return None
        size = self.source.segment_bytes
        if member.head.size != size:
            raise Damaged(f"the server sent a segment of the wrong length: {name}")
        first = member.body.exactly(HEAD_BYTES)
        position = int(name[8:16], 16) * 0x1_0000_0000 + int(name[16:], 16) * size
        wrong = wrong_with_segment(
            first, system=self.source.system, position=position, segment_bytes=size, timeline=self.timeline
        )
        if wrong:
            raise Damaged(f"the server sent WAL that is not what its name says: {name}", detail=wrong)
        self._segments[name] = position
        opened = cast(BinaryIO, Begun(first, member.body))
        at = _moment(member.head.mtime)
        return Entry(path, Kind.FILE, 0o600, at, size, lambda: opened, Cutter.FIXED_64K, in_turn=True)

    # ── told about it ──

    def summary(self, label: Label) -> str:
        return f"{count(len(self._segments), 'segment')} of WAL, {say_lsn(label.start)} to {say_lsn(label.stop)}"


class Begun(io.RawIOBase):
    """A body of which the first bytes were read already."""

    def __init__(self, first: bytes, rest: Body) -> None:
        self._first, self._rest = memoryview(first), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "object", /) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        if not self._first:
            return self._rest.readinto(view)
        got = min(len(view), len(self._first))
        view[:got] = self._first[:got]
        self._first = self._first[got:]
        return got


def _small(member: Member) -> bytes:
    """The whole of what can only be short."""
    if member.head.size > HELD_BYTES:
        raise Damaged("the server sent something that is far too long", detail=member.head.name)
    return member.body.exactly(member.head.size)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
