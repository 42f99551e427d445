"""What PostgreSQL archives, into the log of a vault: each file looked at before it is believed.

Four kinds of file come (the callers of XLogArchiveNotify): finished segments; `.history`, which the server sends before
anything of its timeline; `.partial`, the last segment of a timeline that was left, whole in size and valid up to the
place where it was left; and `.backup`, which says in words that somebody took a base backup. No name is believed: a
segment that was recycled, or is of another cluster, has the right name and other contents.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backstay.errors import SourceUnsuitable, WalConflict
from backstay.lsn import Lsn, segment_place, wrong_with_segment
from backstay.ports import Piece, WalShelf
from backstay.reach import read_history

SLICE_BYTES = 16 << 20
"""Of a longer segment, so much is kept at a time: it may have 1 GiB."""
LARGEST_HISTORY = 1 << 20

MAGIC = {13: 0xD106, 14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
"""XLOG_PAGE_MAGIC by major version (xlog_internal.h). Of a version that is not here, the magic is not looked at."""

_HISTORY = re.compile(r"([0-9A-F]{8})\.history\Z")
_LABEL = re.compile(r"[0-9A-F]{24}\.[0-9A-F]{8}\.backup\Z")


_WAITING = re.compile(r"[0-9A-F]{24}\.ready")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whose log is expected."""

    system: int
    segment_bytes: int
    major: int
    data: Path | None = None
    """Its data directory, where this machine sees it: then a file has to be the one that lies in its pg_wal."""

    def waiting(self) -> int | None:
        """How many segments it has ready to be archived. None: it cannot be seen. Of a history nothing is said: one
        is marked ready after a promotion even where `archive_mode` is off, and stays so."""
        try:
            names = (path.name for path in (self._wal / "archive_status").iterdir())
            return sum(_WAITING.fullmatch(name) is not None for name in names)
        except OSError:
            return None

    @property
    def _wal(self) -> Path:
        if self.data is None:
            raise FileNotFoundError("nobody said where the data directory is")
        return self.data / "pg_wal"

    def refuse_stranger(self, name: str, file: int) -> None:
        """A restored copy of the server has the same system identifier, the same settings, and other log. Raises
        WalConflict."""
        if self.data is None:
            return
        given = os.fstat(file)
        try:
            own = (self._wal / name).stat()
        except OSError:
            own = None
        if own is None or (own.st_dev, own.st_ino) != (given.st_dev, given.st_ino):
            raise WalConflict(
                f"the {name} that was handed over does not lie in pg_wal of the server that is archived here",
                detail=f"that server is in {self.data}; another one, perhaps a copy, runs the same archive_command",
                hint="set archive_mode = off on the copy; after a move, start `backstay wal archive` anew",
            )


@dataclass(slots=True)
class Archive:
    """The log of one cluster, as its server archives it, into one vault."""

    cluster: Cluster
    shelf: WalShelf
    last: tuple[int, Lsn, datetime] | None = None
    """Timeline, end, and moment of what was kept last: where the next segment follows, its log is younger than that."""

    def keep(self, name: str, file: int) -> str:
        """Returns what was done when the file is durable. `file`: a descriptor, open for reading. Raises WalConflict,
        SourceUnsuitable, and what the shelf raises."""
        self.cluster.refuse_stranger(name, file)
        if found := _HISTORY.match(name):
            return self._keep_history(int(found[1], 16), file)
        if _LABEL.match(name):
            return "it tells of a backup in words, and a recovery does not read it: nothing is kept"
        timeline, start = self._place(name.removesuffix(".partial"))
        until = datetime.fromtimestamp(os.fstat(file).st_mtime, UTC)
        self._look(name, file, timeline, start)
        end = Lsn(start + self.cluster.segment_bytes)
        if name.endswith(".partial"):
            end = self._left(name, timeline, start, end)
        for piece in self._pieces(file, timeline, start, end, until):
            self.shelf.keep(piece)
        self.last = (timeline, end, until)
        return f"{(end - start) >> 10} kB of log on timeline {timeline}"

    def _place(self, name: str) -> tuple[int, Lsn]:
        try:
            return segment_place(name, self.cluster.segment_bytes)
        except ValueError as wrong:
            raise SourceUnsuitable("this is nothing that PostgreSQL archives", detail=str(wrong)) from None

    def _look(self, name: str, file: int, timeline: int, start: Lsn) -> None:
        cluster = self.cluster
        size, head = os.fstat(file).st_size, os.pread(file, 40, 0)
        wrong = wrong_with_segment(
            head, system=cluster.system, position=start, segment_bytes=cluster.segment_bytes, timeline=timeline
        )
        magic = int.from_bytes(head[:2], "little")
        if wrong is None and magic != MAGIC.get(cluster.major, magic):
            wrong = f"it is of another version of PostgreSQL than {cluster.major} (magic {magic:04X})"
        if wrong is None and size != cluster.segment_bytes:
            wrong = f"it has {size} bytes, not {cluster.segment_bytes}"
        if wrong is not None:
            raise WalConflict(
                f"the segment {name} is not what its name says",
                detail=wrong,
                hint="look which server runs this archive_command; nothing was kept of it",
            )

    def _left(self, name: str, timeline: int, start: Lsn, end: Lsn) -> Lsn:
        """Where the timeline was left in this segment: what lies behind is not of it. Raises SourceUnsuitable."""
        places = set[Lsn]()
        for child, text in self.shelf.histories(self.cluster.system).items():
            try:
                history = read_history(child, text)
            except ValueError:
                continue
            places |= {left.at for left in history if left.timeline == timeline and start < left.at < end}
        if not places:
            raise SourceUnsuitable(
                f"nobody knows how much of {name} is valid",
                detail=f"no history that is kept says where timeline {timeline} was left in it",
                hint="the server sends the history of the new timeline first; this is tried again",
            )
        # Two may have left it here: what both have is certain.
        return min(places)

    def _pieces(self, file: int, timeline: int, start: Lsn, end: Lsn, until: datetime) -> Iterator[Piece]:
        cluster, at = self.cluster, start
        follows = self.last is not None and self.last[:2] == (timeline, start)
        since = self.last[2] if follows and self.last is not None and self.last[2] <= until else None
        while at < end:
            size = min(SLICE_BYTES, end - at)
            data = os.pread(file, size, at - start)
            if len(data) != size:
                raise SourceUnsuitable("a segment became shorter while it was read", hint="this is tried again")
            last = at + size == end
            yield Piece(
                cluster.system, timeline, at, data, cluster.segment_bytes, cluster.major, since, until if last else None
            )
            at, since = Lsn(at + size), None

    def _keep_history(self, timeline: int, file: int) -> str:
        text = os.pread(file, LARGEST_HISTORY + 1, 0)
        try:
            read_history(timeline, text)
        except ValueError as wrong:
            raise SourceUnsuitable(f"the history of timeline {timeline} makes no sense", detail=str(wrong)) from None
        self.shelf.keep_history(self.cluster.system, timeline, text)
        return f"the history of timeline {timeline}"
