"""A journal in memory: twin of the one in SQLite. It keeps the stored text of every fact, as a disk would."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from backstay.errors import JournalConflict, JournalReadOnly
from backstay.facts import Fact, Head, Recorded, read_fact, write_fact
from backstay.facts.audit import Row, next_moment, next_row, recorded
from backstay.ports import Clock
from backstay.values import StreamName


class MemoryJournal:
    """Lives as long as the object. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: list[Row] = []
        self._streams: dict[StreamName, list[Row]] = {}
        self._lock = threading.Lock()
        self.read_only: str | None = None
        """Why nothing may be appended any more."""

    def append(self, stream: StreamName, facts: Sequence[Fact], *, expected: int) -> list[Recorded]:
        if self.read_only is not None:
            raise JournalReadOnly("this journal is read-only", detail=self.read_only)
        texts = [write_fact(fact) for fact in facts]
        with self._lock:
            kept = self._streams.get(stream, [])
            if len(kept) != expected:
                raise JournalConflict(
                    f"somebody else appended to {stream} first",
                    detail=f"fact {expected} was expected to be its last; it is {len(kept)}",
                )
            last, added = (kept[-1] if kept else None), list[Row]()
            at = next_moment(stream, last.at if last else None, self._clock.now())
            for text in texts:
                last = next_row(stream, last, at, text)
                added.append(last)
            if added:
                self._streams[stream] = kept + added
                self._rows += added
        return [recorded(row, read_fact(row.body)) for row in added]

    def read(self, stream: StreamName, after: int = 0) -> list[Recorded]:
        with self._lock:
            rows = self._streams.get(stream, [])[after:]
        return [recorded(row, read_fact(row.body)) for row in rows]

    def everything(self, after: datetime | None = None) -> Iterator[Recorded]:
        with self._lock:
            rows = list(self._rows)
        for row in rows:
            if after is None or row.at > after:
                yield recorded(row, read_fact(row.body))

    def streams(self, prefix: str = "") -> list[StreamName]:
        with self._lock:
            return sorted(stream for stream in self._streams if stream.startswith(prefix))

    def heads(self) -> Mapping[StreamName, Head]:
        with self._lock:
            return {stream: Head(rows[-1].seq, rows[-1].digest) for stream, rows in self._streams.items()}

    def now(self) -> datetime:
        return self._clock.now()

    def rows(self) -> list[Row]:
        """Everything as it is stored, to be audited."""
        with self._lock:
            return list(self._rows)
