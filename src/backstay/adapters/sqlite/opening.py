"""Opening a database file without changing it, and SQLite's errors in our words."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from backstay.errors import (
    AccessDenied,
    BackstayError,
    DiskFull,
    SourceDown,
    SourceUnsuitable,
    TimedOut,
    ToolFailed,
)
from backstay.values import say_span

BUSY_S = 30.0
"""How long SQLite waits for a lock, by itself. It asks at most ten times a second, and a busy writer with a rollback
journal leaves short gaps: on a machine that is busy itself, 5 s were seen to be too few."""

_STEPS = 20_000
"""Instructions of SQLite's machine between two looks at the time: about a millisecond."""

SAFE_VERSION = (3, 51, 3)
"""The first without the WAL-reset bug."""


def connect(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Read-only. `immutable`: nobody else has this file, and no lock or -shm file is made for it.

    Raises SourceDown when it is not there, AccessDenied, SourceUnsuitable.
    """
    if not path.exists():
        raise SourceDown(
            f"there is no database at {path}", hint="is the path right, and has the application made it yet?"
        )
    uri = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if immutable else ''}"
    with in_words(path):
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # only now is the file looked at
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def reading(path: Path, *, immutable: bool = False) -> Generator[sqlite3.Connection]:
    connection = connect(path, immutable=immutable)
    try:
        with in_words(path):
            yield connection
    finally:
        connection.close()


@contextmanager
def limited(connection: sqlite3.Connection, within: timedelta) -> Generator[None]:
    """A statement that takes longer is broken off. Raises TimedOut."""
    until = time.monotonic() + within.total_seconds()
    connection.set_progress_handler(lambda: 1 if time.monotonic() > until else 0, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if time.monotonic() > until:
            raise TimedOut(
                f"the question was not answered within {say_span(within)}", hint="an index may help"
            ) from None
        raise error
    finally:
        connection.set_progress_handler(None, _STEPS)


def only_reads(connection: sqlite3.Connection) -> None:
    """No statement of a plan may attach another file, or switch off what keeps it from writing."""

    def may(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
        if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_PRAGMA and second is not None and (first or "").lower() not in _HARMLESS:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    connection.set_authorizer(may)


_HARMLESS = {"table_info", "table_xinfo", "index_list", "index_info", "foreign_key_list", "integrity_check"}
"""Pragmas whose argument names something to be looked at."""


@contextmanager
def in_words(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise worded(error, path) from None


def worded(error: sqlite3.Error, path: Path) -> BackstayError:
    """By the name of SQLite's result code; its message names no rows."""
    name, said = getattr(error, "sqlite_errorname", None) or "", str(error)
    match name.split("_")[1] if "_" in name else "":
        case "FULL":
            return DiskFull(f"no room for {path.name}", detail=said, hint="make room, and try again")
        case "BUSY" | "LOCKED":
            return TimedOut(
                f"{path} stayed locked for {BUSY_S:.0f} s", detail=said, hint="does a process hold a long transaction?"
            )
        case "PERM" | "AUTH":
            return AccessDenied(f"may not do that with {path}", detail=said)
        case "CANTOPEN" | "READONLY" | "IOERR":
            return AccessDenied(
                f"cannot open {path} for reading",
                detail=f"{said} ({name})",
                hint="check the rights of the file and of its folder; a journal that a crash left behind must first be "
                "rolled back by the application itself",
            )
        case "NOTADB" | "CORRUPT":
            return SourceUnsuitable(
                f"{path} is damaged, or no SQLite database", detail=said, hint="restore it from a recovery point"
            )
        case _:
            return ToolFailed("SQLite refused a statement", detail=said)
