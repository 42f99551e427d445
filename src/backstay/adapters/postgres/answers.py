"""Asking a database: the plan's questions, exact counts, checksums of the content. Read-only, and no row is shown."""

import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal, LiteralString, cast

import psycopg
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from backstay.adapters.postgres.session import Connection, rows, spoken
from backstay.adapters.postgres.structure import structure
from backstay.errors import Usage
from backstay.facts import CheckResult
from backstay.ports import Answer

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
"""Ordinary tables and partitions. Unlogged tables are left out: a physical point brings them back empty, by design of
PostgreSQL, so no number of theirs can be compared."""

Inspect = Callable[[Literal["bytes", "sample", "full"]], list[CheckResult]]


class PostgresAnswers:
    """A database, asked. `connect` opens a session with it; `inspect` comes from whoever restored it."""

    def __init__(
        self,
        where: str,
        connect: Callable[[], Connection],
        inspect: Inspect,
        patience: timedelta,
        long: timedelta = timedelta(hours=12),
        address: Mapping[str, str] | None = None,
    ) -> None:
        self.where, self._address = where, address or {}
        self._connect, self._patience, self._long = connect, patience, long
        self._inspect: Inspect = inspect

    def ask(self, question: str) -> Answer:
        with self._reading(self._patience) as session, spoken(self._patience):
            return ask(session, question)

    def counts(self) -> Mapping[str, int]:
        with self._reading(self._long) as session, spoken(self._long):
            return {name: int(found[0]) for name, found in _every_table(session, _COUNT)}

    def tables(self) -> Sequence[str]:
        with self._reading(self._patience) as session, spoken(self._patience):
            return [f"{schema}.{table}" for schema, table in tables_of(session)]

    def counts_in(self, tables: Sequence[str]) -> Mapping[str, int]:
        wanted = frozenset(tables)
        with self._reading(self._long) as session, spoken(self._long):
            return {name: int(found[0]) for name, found in _every_table(session, _COUNT, wanted)}

    def structure(self) -> Sequence[str]:
        with self._reading(self._patience) as session, spoken(self._patience):
            return structure(session)

    def digests(self) -> Mapping[str, str]:
        with self._reading(self._long) as session, spoken(self._long):
            return {name: f"{found[0]}:{found[1]}" for name, found in _every_table(session, _DIGEST)}

    def address(self) -> Mapping[str, str]:
        """Of a sandbox; empty for what is live, which no program of ours is led to."""
        return self._address

    def session(self) -> Connection:
        """A session of one's own, to be closed: in a sandbox it may write."""
        return self._connect()

    def heed(self, judge: Callable[[list[CheckResult]], list[CheckResult]]) -> None:
        """What `inspect` gives goes through `judge` from now on: whoever made the sandbox may know less than others."""
        within = self._inspect

        def judged(tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
            return judge(within(tier))

        self._inspect = judged

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        return self._inspect(tier)

    @contextmanager
    def _reading(self, limit: timedelta) -> Generator[Connection]:
        """One transaction that sees one state, and cannot write."""
        connection = self._connect()
        try:
            with spoken(limit):
                begin_reading(connection, limit)
            yield connection
        finally:
            connection.close()


def begin_reading(connection: Connection, limit: timedelta) -> None:
    milliseconds = max(1, int(limit.total_seconds() * 1000))
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{milliseconds}ms",))
    connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def ask_within(connection: Connection, question: str, limit: timedelta) -> Answer:
    """On a session that goes on afterwards. Raises what `PostgresAnswers.ask` raises."""
    with spoken(limit):
        begin_reading(connection, limit)
        try:
            return ask(connection, question)
        finally:
            if not connection.closed:
                connection.execute("ROLLBACK")
                connection.execute("SET statement_timeout = 0")


def ask(connection: Connection, question: str) -> Answer:
    """The single value. Raises Usage when it is not one row with one column."""
    try:
        # Prepared: the server then takes one statement and no more, so that none can end the read-only transaction.
        cursor = connection.execute(cast(LiteralString, question), prepare=True)
        found = cursor.fetchmany(2)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise
        found, cursor = [], None
    columns = len(cursor.description or ()) if cursor is not None else 0
    if len(found) != 1 or columns != 1:
        raise Usage(
            f"the question does not give a single value: {_shape(found, columns)}",
            detail=f"asked: {question if len(question) <= 200 else question[:199] + '…'}",
            hint="ask for one row with one column, like SELECT count(*) FROM tenants",
        )
    return as_answer(found[0][0])


def _shape(found: list[TupleRow], columns: int) -> str:
    if columns == 0:
        return "no rows come back at all"
    many = "no row" if not found else "one row" if len(found) == 1 else "several rows"
    return f"{many} of {columns} columns" if columns > 1 else f"{many}"


def as_answer(value: object) -> Answer:
    """What came back, as one of the few kinds a plan can compare. A moment without a zone counts as UTC: the session's
    zone is UTC, so that is what the server means."""
    match value:
        case None | bool() | int() | str() | Decimal():
            return value
        case float():
            return Decimal(repr(value)) if math.isfinite(value) else str(value)
        case datetime():
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        case date():
            return datetime.combine(value, time(), UTC)
        case _:
            return str(value)


_COUNT = SQL("SELECT count(*) FROM ONLY {}")
_DIGEST = SQL(
    'SELECT count(*), coalesce(sum(hashtextextended(ROW(backstay_row.*)::text COLLATE "C", 0)::numeric), 0)'
    " FROM ONLY {} AS backstay_row"
)
"""A sum does not depend on the order of the rows, and two equal rows do not cancel each other out. Settings that change
how a value is spelled are fixed for the session."""


def tables_of(connection: Connection) -> list[tuple[str, str]]:
    """Schema and name of each."""
    return [(str(schema), str(table)) for schema, table in rows(connection, _TABLES)]


def _every_table(
    connection: Connection, query: SQL, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, TupleRow]]:
    for schema, table in tables_of(connection):
        if wanted is not None and f"{schema}.{table}" not in wanted:
            continue
        asked: Composed = query.format(Identifier(schema, table))
        found = connection.execute(asked).fetchone()
        assert found is not None
        yield f"{schema}.{table}", found
