"""The ledger: when each pack of a vault was last read to its last byte, and whether all of it was as written.

A local SQLite file, one for each vault, in the state folder. It makes `--read-data 5%` go round: what was read longest
ago comes next, so twenty runs read everything. It decides nothing else and can be thrown away at any time: then every
pack counts as never read, and the round begins anew. It is not signed; who can change it can make us read less, as who
can change the program can. What was found damaged is in the vault, beside the points, and not only here.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backstay.errors import AccessDenied
from backstay.ports import Key, Listed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pack (
    key TEXT PRIMARY KEY, size INTEGER NOT NULL, seen INTEGER NOT NULL, read INTEGER, good INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON pack (read, key);
"""
_VERSION = 1
_NEVER = -1
_KEPT_EVERY = 64


@dataclass(frozen=True, slots=True)
class Readings:
    """How far the round has come. Sizes in bytes."""

    packs: int
    size_bytes: int
    never: int
    """Packs that were never read."""
    never_bytes: int
    bad: int
    """Packs that were not as written when they were last read."""
    oldest: datetime | None
    """When the one that was read longest ago was read; None: some were never read, or there are none."""

    def age(self, now: datetime) -> timedelta | None:
        return None if self.oldest is None else max(now - self.oldest, timedelta())


class Ledger:
    """For one thread. `path` None: kept nowhere, so everything counts as never read."""

    def __init__(self, path: Path | None) -> None:
        self._rows = _opened(path)
        self._round, self._unkept = 0, 0

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exc: object) -> None:
        self._rows.commit()
        self._rows.close()

    def meet(self, packs: Iterable[Listed]) -> None:
        """What the vault holds now: new packs count as never read, those that are gone are forgotten."""
        (last,) = self._rows.execute("SELECT coalesce(max(seen), 0) FROM pack").fetchone()
        self._round = last + 1
        self._rows.executemany(
            "INSERT INTO pack VALUES (?1, ?2, ?3, NULL, NULL) ON CONFLICT (key) DO UPDATE SET seen = ?3, "
            "read = CASE WHEN size = ?2 THEN read END, good = CASE WHEN size = ?2 THEN good END, size = ?2",
            ((listed.key, listed.size_bytes, self._round) for listed in packs),
        )
        self._rows.execute("DELETE FROM pack WHERE seen != ?", (self._round,))
        self._rows.commit()

    def choose(self, percent: float) -> Iterator[Key]:
        """The packs to read now: those that were bad, for they may be healed; and of the others the longest unread,
        until they are `percent` of all bytes."""
        (total,) = self._rows.execute("SELECT coalesce(sum(size), 0) FROM pack").fetchone()
        wanted = total * percent / 100
        for key in self._rows.execute("SELECT key FROM pack WHERE read IS NOT NULL AND good IS NOT read").fetchall():
            yield Key(key[0])
        sound = "SELECT key, size FROM pack WHERE read IS NULL OR good IS read ORDER BY read, key"
        for key, size in self._rows.execute(sound):
            if wanted <= 0:
                return
            wanted -= size
            yield Key(key)

    def was_read(self, key: Key, at: datetime, *, good: bool) -> None:
        moment = int(at.timestamp())
        self._unkept += 1
        if self._unkept >= _KEPT_EVERY:
            self._rows.commit()  # who is stopped after an hour does not begin anew
            self._unkept = 0
        self._rows.execute(
            "UPDATE pack SET read = ?2, good = CASE WHEN ?3 THEN ?2 ELSE ?4 END WHERE key = ?1",
            (key, moment, good, _NEVER),
        )

    def good(self) -> Iterator[Key]:
        """The packs that were as written when they were last read."""
        for (key,) in self._rows.execute("SELECT key FROM pack WHERE good IS read AND read IS NOT NULL"):
            yield Key(key)

    def readings(self) -> Readings:
        packs, size, never, never_bytes, bad, oldest = self._rows.execute(
            "SELECT count(*), coalesce(sum(size), 0), count(*) FILTER (WHERE read IS NULL), "
            "coalesce(sum(size) FILTER (WHERE read IS NULL), 0), "
            "count(*) FILTER (WHERE read IS NOT NULL AND good IS NOT read), min(read) FROM pack"
        ).fetchone()
        known = None if never or oldest is None else datetime.fromtimestamp(oldest, UTC)
        return Readings(packs, size, never, never_bytes, bad, known)


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is None:
        return _prepared("")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return _prepared(str(path))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            path.unlink()  # no SQLite file, or a broken one: nothing is lost with it but the order of reading
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}-journal").unlink()
            return _prepared(str(path))
    except (OSError, sqlite3.Error) as error:
        raise AccessDenied(
            f"the ledger {path} cannot be written", detail=str(error),
            hint="it only remembers what was read when: it may be removed, or put elsewhere with --state",
        ) from error  # fmt: skip


def _prepared(name: str) -> sqlite3.Connection:
    rows = sqlite3.connect(name, timeout=30)
    try:
        (version,) = rows.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            rows.execute("DROP TABLE IF EXISTS pack")  # another version's: begin anew
        rows.executescript(_SCHEMA)
        rows.execute(f"PRAGMA user_version = {_VERSION}")
        rows.commit()
    except BaseException:
        rows.close()
        raise
    return rows
