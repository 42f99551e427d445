"""The settings of the service, in SQLite in WAL mode.

The file is made by `seed` only. A service that makes itself new, empty settings after a loss, and then says that all is
well, hides the disaster; this one opens what is there, or says that nothing is.

One connection is held for as long as the process lives, as most applications do, so the WAL is in real use.
Before each use the file is compared with the one that was opened: after a restore has put another in its place,
that one is opened. (SQLite does not checkpoint or remove the WAL of a file that was moved away from under it.)
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from catalytic import Refused

_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE usage (day TEXT, what TEXT, times INTEGER NOT NULL, PRIMARY KEY (day, what)) WITHOUT ROWID;
CREATE TABLE beats (n INTEGER PRIMARY KEY, at TEXT NOT NULL);
CREATE INDEX beats_at ON beats (at);
"""

_BUSY_TIMEOUT_SECONDS = 2.0


class SettingsAway(Exception):
    """The settings cannot be read or written now; the text says why."""


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: fixed width, so that it sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def create(path: Path) -> None:
    """New settings with a signing key of their own. Raises Refused where there is a file already."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Refused(f"{path} is there already; remove it, or give another --sqlite") from None
    except OSError as error:
        raise Refused(f"cannot make {path}: {error.strerror}") from None
    now = stamp(datetime.now(UTC))
    values = {
        "service_name": "Catalytic Computing",
        "registration": "open",
        "max_nodes": str(10**12),
        "signing_key": secrets.token_hex(32),
    }
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO settings VALUES (?, ?, ?)", [(k, v, now) for k, v in values.items()])
        connection.commit()
    finally:
        connection.close()


class Settings:
    """The settings in one file. Safe to use from several threads. Every method may raise SettingsAway."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened = (0, 0)

    def probe(self) -> None:
        """Raises SettingsAway unless what the service cannot do without is there, and can be written."""
        self.get("signing_key")
        with self._use() as connection:
            connection.execute("BEGIN IMMEDIATE")

    def get(self, key: str) -> str:
        with self._use() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise SettingsAway(f"{self._path.name} has no setting {key}")
        return str(row[0])

    def count(self, what: str) -> None:
        """One more of this today."""
        with self._use() as connection:
            connection.execute(
                "INSERT INTO usage VALUES (?, ?, 1) ON CONFLICT (day, what) DO UPDATE SET times = times + 1",
                (f"{datetime.now(UTC):%Y-%m-%d}", what),
            )

    def beat(self, n: int, at: datetime) -> None:
        """A numbered row: what is lost of this file can be counted too. After a restore a number may come again."""
        with self._use() as connection:
            connection.execute("INSERT OR REPLACE INTO beats VALUES (?, ?)", (n, stamp(at)))

    def close(self) -> None:
        with self._lock:
            self._let_go()

    @contextmanager
    def _use(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._current()
                with connection:
                    yield connection
            except sqlite3.Error as error:
                self._let_go()
                raise SettingsAway(f"{self._path.name}: {error}") from error
            except OSError as error:
                self._let_go()
                raise SettingsAway(f"{self._path.name}: {error.strerror}") from error

    def _current(self) -> sqlite3.Connection:
        found = self._path.stat()
        if self._connection is None or self._opened != (found.st_dev, found.st_ino):
            self._let_go()
            # mode=rw: never make the file.
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_TIMEOUT_SECONDS,
                check_same_thread=False,
            )
            self._opened = (found.st_dev, found.st_ino)
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
