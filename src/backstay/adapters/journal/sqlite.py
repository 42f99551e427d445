"""The journal in one SQLite file: WAL, `synchronous=FULL`, so what was appended survives the loss of power.

Every append is one transaction that begins with the write lock (BEGIN IMMEDIATE), reads the end of the stream, compares
it with what the caller expected, and adds rows: all of them or none. The table `heads` repeats the end of each stream,
so that rows cut off at the end are missed even before anything was sealed. What is read back is checked against the
hash chain before it is believed: a driver never acts on a fact that was changed.

SQLite's own words: <https://www.sqlite.org/wal.html>, <https://www.sqlite.org/pragma.html#pragma_synchronous>.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from backstay.errors import (
    AccessDenied,
    BackstayError,
    DiskFull,
    JournalConflict,
    JournalDamaged,
    JournalNewer,
    StoreUnreachable,
    Usage,
)
from backstay.facts import Fact, Head, Recorded, Spine, genesis, link, read_fact, write_fact
from backstay.facts.audit import Finding, Row, audit, next_moment, next_row, recorded, walk
from backstay.ports import Clock
from backstay.values import Digest, StreamName, from_stamp, stamp

FILE = "journal.sqlite"
APPLICATION_ID = 0x42537461
"""`BSta`, in the header of the file."""
FORMAT = 1
BUSY_WAIT_S = 10
LARGEST_FACT = 16 << 20
"""Bytes. The largest real ones are adopted plans."""
_PAGE = 1000

_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
BEGIN;
CREATE TABLE facts (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL,
    before TEXT NOT NULL,
    digest TEXT NOT NULL,
    UNIQUE (stream, seq)
);
CREATE TABLE heads (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""


class SqliteJournal:
    """A journal in `folder`, which is made (0700) if it is not there. Safe to use from several threads and processes.

    Raises, besides what the port says: StoreUnreachable while another process keeps the file locked, DiskFull,
    JournalDamaged for a file that SQLite cannot read, JournalNewer, AccessDenied.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self.path = folder / FILE
        self._lock = threading.RLock()
        with self._edge("opening"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                _create(self.path)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
            self._db = _connect(self.path)
            self._refuse_strangers()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ── the port ─────────────────────────────────────────────────────────────────────────────────

    def append(self, stream: StreamName, facts: Sequence[Fact], *, expected: int) -> list[Recorded]:
        texts = [write_fact(fact) for fact in facts]
        if any(len(text) > LARGEST_FACT for text in texts):
            raise Usage("a fact is too large for the journal", detail=f"the limit is {LARGEST_FACT >> 20} MiB")
        with self._edge("writing"), self._transaction():
            last = self._end_of(stream)
            if (last.seq if last else 0) != expected:
                raise JournalConflict(
                    f"somebody else appended to {stream} first",
                    detail=f"fact {expected} was expected to be its last; it is {last.seq if last else 0}",
                )
            rows: list[Row] = []
            at = next_moment(stream, last.at if last else None, self._clock.now())
            for text in texts:
                last = next_row(stream, last, at, text)
                rows.append(last)
            self._insert(rows)
            if rows:
                self._db.execute("REPLACE INTO heads VALUES (?, ?, ?)", (stream, rows[-1].seq, rows[-1].digest))
        return [recorded(row, read_fact(row.body)) for row in rows]

    def read(self, stream: StreamName, after: int = 0) -> list[Recorded]:
        # The fact before the first is read too: it is what the first has to stand behind.
        rows = self._select("WHERE stream = ? AND seq >= ? ORDER BY seq", (stream, after))
        before, found = (genesis(stream) if after == 0 else None), list[Recorded]()
        for number, row in enumerate(rows, after if rows and rows[0].seq == after else after + 1):
            if row.seq != number:
                raise _damaged(row, f"fact {number} was expected in its place")
            if before is not None and row.before != before:
                raise _damaged(row, "it stands behind another fact than the one before it")
            before = row.digest
            if row.seq > after:
                found.append(_believed(row))
        return found

    def everything(self, after: datetime | None = None) -> Iterator[Recorded]:
        position, since = 0, "" if after is None else stamp(after)
        # Read first: what is appended meanwhile only makes streams longer.
        heads = self.heads() if after is None else dict[StreamName, Head]()
        ends: dict[StreamName, Head] = {}
        while True:
            with self._edge("reading"), self._lock:
                page = self._db.execute(
                    f"SELECT position, {_COLUMNS} FROM facts WHERE position > ? AND at > ? ORDER BY position LIMIT ?",
                    (position, since, _PAGE),
                ).fetchall()
            if not page:
                break
            position = page[-1][0]
            for columns in page:
                row = _row(columns[1:])
                if after is None:
                    last = ends.get(row.stream, Head(0, genesis(row.stream)))
                    if (row.seq, row.before) != (last.seq + 1, last.digest):
                        raise _damaged(row, f"fact {last.seq + 1} was expected in its place")
                    ends[row.stream] = Head(row.seq, row.digest)
                yield _believed(row)
        for stream, head in heads.items():
            if (last := ends.get(stream)) is None or last.seq < head.seq:
                raise JournalDamaged(
                    f"the end of {stream} was cut off",
                    detail=f"{head.seq} facts were written, and {last.seq if last else 0} are there",
                    hint="`backstay journal verify` lists everything that is wrong",
                )

    def streams(self, prefix: str = "") -> list[StreamName]:
        with self._edge("reading"), self._lock:
            found = self._db.execute("SELECT stream FROM heads ORDER BY stream").fetchall()
        return [StreamName(name) for (name,) in found if name.startswith(prefix)]

    def heads(self) -> Mapping[StreamName, Head]:
        with self._edge("reading"), self._lock:
            found = self._db.execute("SELECT stream, seq, digest FROM heads").fetchall()
        return {StreamName(stream): Head(seq, Digest(digest)) for stream, seq, digest in found}

    def now(self) -> datetime:
        return self._clock.now()

    # ── about itself ─────────────────────────────────────────────────────────────────────────────

    def about(self, name: str) -> str | None:
        """A note that the journal keeps about itself: not a fact, and in no chain."""
        with self._edge("reading"), self._lock:
            found = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def note(self, notes: Mapping[str, str], *, unless: Callable[[Callable[[str], str | None]], bool]) -> bool:
        """Write notes in one transaction, `unless` what it reads there says otherwise. True when they were written."""
        with self._edge("writing"), self._transaction():
            if unless(self.about):
                return False
            self._db.executemany("REPLACE INTO about VALUES (?, ?)", list(notes.items()))
            return True

    def verify(self, spines: Sequence[Spine]) -> list[Finding]:
        """What is wrong with this journal, and what could not be verified. `spines` of this journal, signatures
        checked. Raises JournalDamaged when the file itself cannot be read."""
        with self._edge("reading"), self._lock:
            problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise self._broken(str(problem))
            heads = self.heads()
            self._db.execute("BEGIN")
            try:
                query = f"SELECT {_COLUMNS} FROM facts ORDER BY stream, seq, position"
                walked = walk(self._in_order(), spines)
                return audit((_row(columns) for columns in self._db.execute(query)), heads, spines, walked)
            finally:
                self._db.execute("ROLLBACK")

    # ── what goes to the vaults, and comes back ──────────────────────────────────────────────────

    def rows(self, first: int, last: int) -> list[Row]:
        """The facts `first` to `last` as they are stored, by their numbers in the order of appending."""
        return self._select("WHERE position BETWEEN ? AND ? ORDER BY position", (first, last))

    def heads_at(self, facts: int, since: int = 0) -> dict[StreamName, Head]:
        """The ends that streams had when there were so many facts; only of those that grew after the first `since`."""
        query = "SELECT stream, max(seq), digest FROM facts WHERE position > ? AND position <= ? GROUP BY stream"
        with self._edge("reading"), self._lock:
            found = self._db.execute(query, (since, facts)).fetchall()
        return {StreamName(stream): Head(seq, Digest(digest)) for stream, seq, digest in found}

    def digests(self, since: int, facts: int) -> list[Digest]:
        """Of the facts after `since`, up to `facts`."""
        query = "SELECT digest FROM facts WHERE position > ? AND position <= ? ORDER BY position"
        with self._edge("reading"), self._lock:
            return [Digest(digest) for (digest,) in self._db.execute(query, (since, facts))]

    def newest_number(self) -> int:
        """The number of the newest fact, in the order of appending: facts are never removed, so also their count."""
        with self._edge("reading"), self._lock:
            return int(self._db.execute("SELECT coalesce(max(position), 0) FROM facts").fetchone()[0])

    def lay(self, rows: Sequence[Row], notes: Mapping[str, str]) -> None:
        """Begin with the facts of another journal, whole, as they were stored there; those of an earlier beginning go.
        Raises JournalConflict when there is a fact of its own here: two histories are never mixed."""
        ends = {row.stream: (row.seq, row.digest) for row in rows}
        with self._edge("writing"), self._transaction():
            if self.newest_number() != int(self.about("laid") or 0):
                raise JournalConflict(
                    f"the journal in {self.path.parent} has facts of its own already",
                    hint="use a fresh folder; what is there stays as it is",
                )
            for table in ("facts", "heads", "sqlite_sequence"):
                self._db.execute(f"DELETE FROM {table}")
            self._insert(rows)
            self._db.execute("REPLACE INTO about VALUES ('laid', ?)", (str(len(rows)),))
            self._db.executemany("REPLACE INTO heads VALUES (?, ?, ?)", [(name, *end) for name, end in ends.items()])
            self._db.executemany("REPLACE INTO about VALUES (?, ?)", list(notes.items()))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _insert(self, rows: Sequence[Row]) -> None:
        self._db.executemany(
            f"INSERT INTO facts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            [(row.stream, row.seq, stamp(row.at), row.body, row.before, row.digest) for row in rows],
        )

    def _in_order(self) -> Iterator[tuple[StreamName, int, Digest]]:
        for stream, seq, digest in self._db.execute("SELECT stream, seq, digest FROM facts ORDER BY position"):
            yield StreamName(str(stream)), seq if type(seq) is int else 0, Digest(str(digest))

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a failed COMMIT may have ended the transaction itself
                    self._db.execute("ROLLBACK")
                raise

    def _end_of(self, stream: StreamName) -> Row | None:
        rows = self._select("WHERE stream = ? ORDER BY seq DESC LIMIT 1", (stream,))
        head = self._db.execute("SELECT seq, digest FROM heads WHERE stream = ?", (stream,)).fetchone()
        last = rows[0] if rows else None
        if (None if last is None else (last.seq, last.digest)) != head:
            at = last.seq + 1 if last else 1
            raise JournalDamaged(
                f"the end of {stream} is not what was written",
                detail=f"fact {at} was changed or is missing; nothing is appended behind a gap",
                hint="`backstay journal verify` lists everything that is wrong",
            )
        return last

    def _select(self, rest: str, values: tuple[Any, ...]) -> list[Row]:
        with self._edge("reading"), self._lock:
            return [_row(columns) for columns in self._db.execute(f"SELECT {_COLUMNS} FROM facts {rest}", values)]

    def _refuse_strangers(self) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise JournalDamaged(f"{self.path} is not a journal of Backstay", detail="it is another SQLite database")
        if version > FORMAT:
            raise JournalNewer(
                f"{self.path} was written by a newer Backstay",
                detail=f"its format is {version}; this version reads up to {FORMAT}",
                hint="upgrade Backstay",
            )

    @contextmanager
    def _edge(self, doing: str) -> Generator[None]:
        """SQLite's errors, in our words."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._said(error, doing) from error
        except OSError as error:
            raise AccessDenied(
                f"the journal's folder cannot be used: {self.path.parent}", detail=error.strerror or ""
            ) from error

    def _said(self, error: sqlite3.Error, doing: str) -> BackstayError:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        code = int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._broken(str(error))
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(
                "no room to write the journal",
                detail=f"{self.path}: nothing of this append was written",
                hint="make room on that disk, then type it again; a recovery goes on with `backstay resume`",
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
            return AccessDenied(f"the journal may not be written: {self.path}", detail=name)
        return StoreUnreachable(
            f"{doing} the journal failed: {self.path}",
            detail=f"{name}: {error}",
            hint="another process may hold it; it is asked again",
        )

    def _broken(self, problem: str) -> JournalDamaged:
        """A file that SQLite cannot read. What can still be read from its beginning is said."""
        readable, newest = 0, "none"
        with suppress(sqlite3.Error, BackstayError, AttributeError), closing(_connect(self.path)) as db:
            for columns in db.execute(f"SELECT {_COLUMNS} FROM facts ORDER BY position"):
                row = _row(columns)
                readable, newest = readable + 1, f"{row.stream} fact {row.seq} at {stamp(row.at)}"
        return JournalDamaged(
            f"the journal's file is damaged: {self.path}",
            detail=f"{problem}; {readable} facts can be read from its beginning, the last of them {newest}",
            hint="keep the file as evidence, and open a journal in a fresh state folder: "
            "the recovery points are in the vaults, not in here",
        )


_COLUMNS = "stream, seq, at, body, before, digest"


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _create(path: Path) -> None:
    """Make an empty journal beside its place, whole, then put it there. Of several processes one wins."""
    making = path.with_name(f".{path.name}.{token_hex(6)}")
    try:
        os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(making, isolation_level=None)) as db:
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO about VALUES ('journal', ?)", (token_hex(8),))
        with suppress(FileExistsError):
            os.link(making, path)
    finally:
        for left in path.parent.glob(f"{making.name}*"):
            left.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_NO_MOMENT = datetime(1, 1, 1, tzinfo=UTC)


def _row(columns: Sequence[Any]) -> Row:
    """A stored row, whatever is in it: what has the wrong type or shape fits no chain, and is found there."""
    stream, seq, at, body, before, digest = columns
    try:
        moment = from_stamp(str(at))
    except ValueError:
        moment = _NO_MOMENT
    number = seq if type(seq) is int else 0
    return Row(StreamName(str(stream)), number, moment, str(body), Digest(str(before)), Digest(str(digest)))


def _believed(row: Row) -> Recorded:
    if link(row.before, row.stream, row.seq, row.at, row.body) != row.digest:
        raise _damaged(row, "it is not what was written")
    return recorded(row, read_fact(row.body))


def _damaged(row: Row, why: str) -> JournalDamaged:
    return JournalDamaged(
        f"fact {row.seq} of {row.stream} was changed, removed or moved",
        detail=why,
        hint="`backstay journal verify` lists everything that is wrong",
    )
