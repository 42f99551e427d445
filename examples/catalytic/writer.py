"""Customers who never sleep: numbered rows, each committed, each noted in a log that no database holds.

The order is the point: commit, then log. Every line of the log is a row that the database said was safe, so a row that
is in the log and not in the database was lost, and `lost` can count to the row. (A row may be in the database and
not in the log, when the writer died between the two; it was not lost.)

After a restore the numbers go on from the restored sequence, so a number may be given twice, with another time: rows
are told apart by number *and* time. A gap in the numbers means nothing: PostgreSQL's sequences skip after a crash.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from catalytic import Refused, lattice
from catalytic.database import Connection, connect, reason
from catalytic.settings import Settings, SettingsAway, stamp

LATTICE_EVERY = 10
SETTINGS_EVERY = 20
"""In heartbeats: those whose number divides so bring a lattice, or are kept in the settings too."""

PAUSE_WHEN_AWAY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Lost:
    """Rows that were committed and noted, and are not in the database."""

    noted: int
    lost: int
    first: str | None
    last: str | None
    newest_kept: str | None


def write(dsn: str, settings: Settings, *, every_seconds: float, log: Path, stop: threading.Event) -> None:
    """Write until `stop` is set. While the database is away or broken, try again; say so once."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    trouble: dict[str, str] = {}
    try:
        while not stop.is_set():
            try:
                with connect(dsn, patience="2s") as connection:
                    for n, at in beats(connection, every_seconds, stop):
                        # No fsync: the log has to outlive a killed writer and a lost database, not a power cut.
                        os.write(descriptor, f"{n} {stamp(at)}\n".encode())
                        _say_once(trouble, "database", None)
                        if n % SETTINGS_EVERY == 0:
                            _note_in_settings(settings, n, at, trouble)
            except psycopg.Error as error:
                _say_once(trouble, "database", reason(error))
                stop.wait(PAUSE_WHEN_AWAY_SECONDS)
    finally:
        os.close(descriptor)


def beats(connection: Connection, every_seconds: float, stop: threading.Event) -> Iterator[tuple[int, datetime]]:
    """Commit one numbered row after another, on time, and give its number and time."""
    # Also asks whether the tables are there: without them, not one row in ten is refused, but all wait.
    authors = connection.execute(
        "SELECT u.tenant_id, u.id FROM users u JOIN tenants t ON t.id = u.tenant_id"
        " WHERE EXISTS (SELECT FROM lattices) ORDER BY u.id LIMIT 200"
    ).fetchall()
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + every_seconds, time.monotonic() - every_seconds)
        with connection.transaction():
            row = connection.execute("INSERT INTO heartbeat DEFAULT VALUES RETURNING n, at").fetchone()
            assert row is not None
            if row[0] % LATTICE_EVERY == 0 and authors:
                _add_lattice(connection, *random.choice(authors))
        yield row[0], row[1]


def _add_lattice(connection: Connection, tenant_id: int, user_id: int) -> None:
    dimensions, size = random.randint(1, 4), random.randint(2, 20)
    # The author may have gone since the list was made.
    connection.execute(
        "INSERT INTO lattices (tenant_id, created_by, dimensions, size, payload)"
        " SELECT tenant_id, id, %s, %s, %s FROM users WHERE tenant_id = %s AND id = %s FOR KEY SHARE",
        (dimensions, size, Jsonb(lattice.study(dimensions, size)), tenant_id, user_id),
    )


def _note_in_settings(settings: Settings, n: int, at: datetime, trouble: dict[str, str]) -> None:
    try:
        settings.beat(n, at)
        _say_once(trouble, "settings", None)
    except SettingsAway as error:
        _say_once(trouble, "settings", str(error))


def _say_once(trouble: dict[str, str], part: str, what: str | None) -> None:
    """A change for the worse or back, one line each, not one for each attempt."""
    if what == trouble.get(part):
        return
    if what is None:
        del trouble[part]
    else:
        trouble[part] = what
    print(f"write  {part} {'is back' if what is None else 'away: ' + what}", file=sys.stderr, flush=True)


def lost(dsn: str, log: Path) -> Lost:
    """Compare the log with the database. Raises Refused for a log that cannot be read, and psycopg.Error."""
    with connect(dsn, patience="0") as connection, connection.transaction():
        connection.execute("CREATE TEMP TABLE noted (n bigint, at timestamptz) ON COMMIT DROP")
        try:
            with (
                log.open(encoding="ascii") as lines,
                connection.cursor().copy("COPY noted FROM STDIN (DELIMITER ' ')") as copy,
            ):
                for line in lines:
                    copy.write(line)
        except (OSError, ValueError) as error:
            raise Refused(f"cannot read {log}: {error}") from None
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE h.n IS NULL), min(l.at) FILTER (WHERE h.n IS NULL),"
            " max(l.at) FILTER (WHERE h.n IS NULL), max(h.at)"
            " FROM noted l LEFT JOIN heartbeat h ON h.n = l.n AND h.at = l.at"
        ).fetchone()
        assert row is not None
        return Lost(row[0], row[1], *(None if at is None else stamp(at) for at in row[2:]))
