"""A consistent copy of a live database, by SQLite's online backup API, without starving and without being in the way.

In WAL mode one read transaction is held from the first page to the last: writers go on, and the copy is of one moment.
(It keeps the WAL from being reset meanwhile, so it grows.) With a rollback journal a read transaction keeps writers
out, so the copy is made in small steps with the lock given up between them; when another process writes in between,
SQLite begins again. Then the steps grow, up to what takes about half a second; a writer that still wins every time is
reported as starvation, and no half copy is kept.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.adapters.sqlite.opening import in_words, reading
from backstay.errors import TimedOut
from backstay.ports import Clock, Progress
from backstay.values import count, say_span

BUDGET = timedelta(minutes=2)
"""How long a copy may begin again and again."""

_STEP_BYTES, _LARGEST_STEP_BYTES = 4 << 20, 256 << 20
_PAUSE_S = 0.002


class _BeganAgain(Exception):
    """Larger steps are due."""


@dataclass(slots=True)
class Copying:
    source: Path
    target: Path
    clock: Clock
    progress: Progress
    budget: timedelta = BUDGET
    restarts: int = 0
    wal: bool = False
    _least_left: int = field(default=1 << 62)

    def run(self) -> None:
        """Make the copy. Raises TimedOut when starved, DiskFull, and what opening the source raises."""
        with reading(self.source) as live:
            self.wal = str(live.execute("PRAGMA journal_mode").fetchone()[0]).lower() == "wal"
            (page_bytes,) = live.execute("PRAGMA page_size").fetchone()
            until = self.clock.elapsed() + self.budget
            step = _STEP_BYTES
            if self.wal:
                live.execute("BEGIN")
                live.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            while not self._try(live, max(1, step // page_bytes), page_bytes):
                step = min(2 * step, _LARGEST_STEP_BYTES)
                if self.clock.elapsed() > until:
                    raise TimedOut(
                        f"{self.source} could not be copied: another process writes to it all the time",
                        detail=f"{count(self.restarts, 'new beginning')} within {say_span(self.budget)}",
                        hint="take the point at a quieter time, or switch the database to WAL mode",
                    )

    def _try(self, live: sqlite3.Connection, pages: int, page_bytes: int) -> bool:
        self._least_left = 1 << 62
        self.target.unlink(missing_ok=True)
        with in_words(self.target):
            copy = sqlite3.connect(self.target, isolation_level=None)
            try:
                # Nobody reads it before it is whole, and it is thrown away after a crash.
                copy.execute("PRAGMA journal_mode = OFF")
                copy.execute("PRAGMA synchronous = OFF")
                live.backup(copy, pages=pages, progress=self._watch(page_bytes), sleep=_PAUSE_S)
            except _BeganAgain:
                return False
            finally:
                copy.close()
        return True

    def _watch(self, page_bytes: int) -> Callable[[int, int, int], None]:
        def watch(_status: int, left: int, total: int) -> None:
            if left > self._least_left:
                self.restarts += 1
                raise _BeganAgain
            self._least_left = left
            self.progress((total - left) * page_bytes, total * page_bytes, self.source.name)

        return watch
