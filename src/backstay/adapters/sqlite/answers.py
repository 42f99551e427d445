"""Asking a SQLite database: questions, counts, checksums, and SQLite's own checks."""

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from backstay.adapters.sqlite.opening import limited, only_reads, reading
from backstay.errors import BackstayError, Cancelled, SourceUnsuitable, Usage
from backstay.facts import CheckResult, Rung, Verdict
from backstay.ports import Answer, Clock
from backstay.values import count, listed

PATIENCE = timedelta(minutes=5)
LONG = timedelta(hours=6)

CODES: Mapping[str, tuple[Rung, str]] = {
    "R01": (Rung.RESTORE, "the file opens"),
    "S01": (Rung.STRUCTURE, "objects"),
    "I08": (Rung.INTEGRITY, "integrity_check"),
    "I09": (Rung.INTEGRITY, "foreign_key_check"),
}
_OBJECTS = "SELECT type, count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' GROUP BY 1 ORDER BY 1"
_SCHEMA = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_LONGEST = 400
"""Characters of one line of the structure."""
_TABLES = """
SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
ORDER BY 1
"""
"""Virtual tables are left out: what they hold is in shadow tables, and counting them needs their module."""

Said = tuple[Verdict, str]


@dataclass(slots=True)
class SqliteAnswers:
    where: str
    path: Path
    clock: Clock
    about: Mapping[str, str]
    """What the source said when the point was taken; empty for a live database."""
    immutable: bool = False

    def ask(self, question: str) -> Answer:
        with reading(self.path, immutable=self.immutable) as connection:
            only_reads(connection)
            with limited(connection, PATIENCE):
                return ask(connection, question)

    def counts(self) -> Mapping[str, int]:
        with reading(self.path, immutable=self.immutable) as connection:
            connection.execute("BEGIN")
            return {name: _one(connection, f"SELECT count(*) FROM {_quoted(name)}") for name in tables(connection)}

    def tables(self) -> Sequence[str]:
        with reading(self.path, immutable=self.immutable) as connection:
            return tables(connection)

    def counts_in(self, tables: Sequence[str]) -> Mapping[str, int]:
        with reading(self.path, immutable=self.immutable) as connection:
            connection.execute("BEGIN")
            return {name: _one(connection, f"SELECT count(*) FROM {_quoted(name)}") for name in tables}

    def structure(self) -> Sequence[str]:
        with reading(self.path, immutable=self.immutable) as connection:
            return structure(connection)

    def address(self) -> Mapping[str, str]:
        """Of a copy; empty for what is live, which no program of ours is led to."""
        return {"DATABASE_URL": f"sqlite:///{self.path}"} if self.immutable else {}

    def digests(self) -> Mapping[str, str]:
        with reading(self.path, immutable=self.immutable) as connection:
            connection.text_factory = _any_text
            connection.execute("BEGIN")
            return {name: _digest(connection, name) for name in tables(connection)}

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        found = [self._check("R01", self._opens)]
        if tier != "bytes":
            found.append(self._check("S01", self._structure))
            found.append(self._check("I08", lambda: self._integrity(full=tier == "full")))
            found.append(self._check("I09", self._foreign_keys))
        return found

    def _check(self, code: str, look: Callable[[], Said]) -> CheckResult:
        rung, name = CODES[code]
        began = self.clock.elapsed()
        try:
            verdict, said = look()
        except Cancelled:
            raise
        except SourceUnsuitable as error:  # SQLite met damage before it could say more
            verdict, said = Verdict.FAILED, f"{error.message.partition(' is ')[2] or error.message}: {error.detail}"
        except BackstayError as error:
            verdict, said = Verdict.NOT_VERIFIED, f"{error.message}: {error.detail}"
        return CheckResult(code, rung, name, verdict, said, self.clock.elapsed() - began)

    def _opens(self) -> Said:
        with reading(self.path, immutable=self.immutable) as connection:
            pages, size = _one(connection, "PRAGMA page_count"), _one(connection, "PRAGMA page_size")
        return Verdict.PASSED, f"it opens: {count(pages, 'page')} of {size} bytes"

    def _structure(self) -> Said:
        with reading(self.path, immutable=self.immutable) as connection:
            here, digest = objects(connection), structure_digest(connection)
        if "objects" not in self.about:
            return Verdict.NOT_VERIFIED, f"{here}; there is nothing to compare with"
        if here != self.about["objects"]:
            return Verdict.FAILED, f"{here}, and the source had {self.about['objects']}"
        if self.about.get("structure", digest) != digest:
            return Verdict.FAILED, f"{here}, and another definition of one of them than at the source"
        return Verdict.PASSED, f"{here}, as at the source"

    def _integrity(self, *, full: bool) -> Said:
        """integrity_check also compares every index with its table; quick_check does not."""
        with reading(self.path, immutable=self.immutable) as connection, limited(connection, LONG):
            found = connection.execute("PRAGMA integrity_check(3)" if full else "PRAGMA quick_check(3)").fetchall()
        if found == [("ok",)]:
            return Verdict.PASSED, "SQLite found nothing" if full else "SQLite found nothing (quick_check)"
        return Verdict.FAILED, listed(str(line)[:120] for (line,) in found)

    def _foreign_keys(self) -> Said:
        with reading(self.path, immutable=self.immutable) as connection, limited(connection, LONG):
            here = orphans(connection)
        known = self.about.get("orphans", "0")
        if here > (int(known) if known.isdigit() else 0):
            return Verdict.FAILED, f"{count(here, 'row')} without the row that they refer to; the source had {known}"
        if here:
            return Verdict.PASSED, f"{count(here, 'row')} without the row that they refer to, as at the source"
        return Verdict.PASSED, "every row that is referred to is there"


def ask(connection: sqlite3.Connection, question: str) -> Answer:
    """The single value. Raises Usage when it is not one row with one column."""
    try:
        cursor = connection.execute(question)
    except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
        raise Usage("the question is not one statement", detail=str(error)) from None
    found = cursor.fetchmany(2)
    columns = len(cursor.description or ())
    if len(found) != 1 or columns != 1:
        rows = "no row" if not found else "one row" if len(found) == 1 else "several rows"
        raise Usage(
            f"the question does not give a single value: {rows} of {count(columns, 'column')}",
            detail=f"asked: {question if len(question) <= 200 else question[:199] + '…'}",
            hint="ask for one row with one column, like SELECT count(*) FROM tenants",
        )
    value: object = found[0][0]
    match value:
        case None | int() | str():
            return value
        case float():
            return Decimal(repr(value))
        case _:
            return f"{len(bytes(value))} bytes" if isinstance(value, bytes) else str(value)


def tables(connection: sqlite3.Connection) -> list[str]:
    return [str(name) for (name,) in connection.execute(_TABLES).fetchall()]


_MANY = {"index": "indexes"}


def objects(connection: sqlite3.Connection) -> str:
    """`1 index and 3 tables`: what the schema has."""
    found = connection.execute(_OBJECTS).fetchall()
    return (
        listed(f"{number} {_MANY.get(kind, kind + 's')}" if number != 1 else f"1 {kind}" for kind, number in found)
        or "no objects"
    )


def structure(connection: sqlite3.Connection) -> tuple[str, ...]:
    """One line per object of the schema: its kind, its name, and the statement that makes it."""
    found = connection.execute(_SCHEMA).fetchall()
    lines = (" ".join(f"{kind} {name}: {sql or 'made by SQLite'}".split()) for kind, name, sql in found)
    return tuple(sorted(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… {_short(line)}" for line in lines))


def structure_digest(connection: sqlite3.Connection) -> str:
    return _short("\n".join(structure(connection)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def orphans(connection: sqlite3.Connection) -> int:
    return sum(1 for _ in connection.execute("PRAGMA foreign_key_check"))


def _one(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _any_text(text: bytes) -> str:
    """SQLite does not check that a text is UTF-8."""
    return text.decode("utf-8", "surrogateescape")


def _digest(connection: sqlite3.Connection, table: str) -> str:
    """A sum of the hashes of the rows: their order does not matter, and equal rows do not cancel each other out."""
    total = number = 0
    for row in connection.execute(f"SELECT * FROM {_quoted(table)}"):
        spelled = repr(row).encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.blake2b(spelled, digest_size=8).digest(), "big")
        number += 1
    return f"{number}:{total}"
