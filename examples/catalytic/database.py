"""Connections to PostgreSQL: lent to one request at a time, and opened anew after the server was away.

A pool of our own in forty lines, because three things matter here and nothing else: at most so many connections at
once, a connection that died with the server is noticed before it is lent, and nobody waits for long.
"""

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]

CONNECT_TIMEOUT_SECONDS = 2
"""The least that libpq honours."""


class Busy(Exception):
    """Every connection was in use for longer than a caller should wait."""


def connect(dsn: str, *, patience: str = "5s") -> Connection:
    """One connection in autocommit mode, its statements limited to `patience`, its times in UTC."""
    connection = psycopg.connect(
        dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True, application_name="catalytic"
    )
    try:
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('timezone', 'UTC', false)", (patience,)
        )
    except BaseException:
        connection.close()
        raise
    return connection


def reason(error: Exception) -> str:
    """What the server or libpq said, on one line. Neither puts a password into its messages."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((said or str(error)).split()) or type(error).__name__


class Database:
    """PostgreSQL at one address. Safe to use from several threads."""

    def __init__(self, dsn: str, *, most: int = 8, wait_seconds: float = 5.0) -> None:
        self._dsn, self._wait_seconds = dsn, wait_seconds
        self._free = threading.BoundedSemaphore(most)
        self._idle: deque[Connection] = deque()

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """One transaction: committed at the end, rolled back on any exception. Raises psycopg.Error or Busy."""
        if not self._free.acquire(timeout=self._wait_seconds):
            raise Busy("every database connection is in use")
        try:
            connection = self._idle_or_new()
            try:
                with connection.transaction():
                    yield connection
            finally:
                if connection.closed:
                    connection.close()
                else:
                    self._idle.append(connection)
        finally:
            self._free.release()

    def probe(self) -> None:
        """Raises psycopg.Error unless the server takes a new connection and reads from each table that matters.

        On a connection of its own: a probe must neither wait behind busy requests nor be answered by a session that
        was opened when all was still well.
        """
        with connect(self._dsn, patience="2s") as connection:
            connection.execute(
                "SELECT EXISTS (SELECT FROM tenants), EXISTS (SELECT FROM users), EXISTS (SELECT FROM lattices)"
            )

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _idle_or_new(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:
                connection.close()  # it died with the server; so did the others, which are met next
            else:
                return connection
        return connect(self._dsn)
