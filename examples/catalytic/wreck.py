"""The disaster, for real: tables are dropped, then pages of the files below the server are overwritten with noise.

Which tables and which pages is chosen by a seed; everything done is printed. Only a demo's database is ever touched:
the folder above the data directory must hold the file `DEMO-DATA-MAY-BE-DESTROYED`, and the server at the other end of
the connection must say that this data directory is its own.

`users` or `tenants` is always among the dropped, so `/health` is red afterwards, whatever the seed.
"""

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import psycopg.sql

from catalytic import Refused
from catalytic.database import Connection, connect
from catalytic.settings import stamp

MARKER = "DEMO-DATA-MAY-BE-DESTROYED"

ALWAYS_ONE_OF = ("tenants", "users")
PERHAPS = ("events", "heartbeat", "lattices")
"""One of these goes too. At least one of the two large tables stays: there must be files left to damage."""

LEAST_BLOCKS = 16
"""Smaller relations live in the server's memory, and the next checkpoint would write them out whole again."""

RELATIONS = """
SELECT c.relname, pg_relation_filepath(c.oid), pg_relation_size(c.oid, 'main') / current_setting('block_size')::bigint
FROM pg_class c
WHERE c.relkind IN ('r', 'i', 'm', 't') AND c.relpersistence = 'p'
  AND (c.relnamespace = 'public'::regnamespace OR c.oid IN (
      SELECT t.oid FROM pg_class o, LATERAL (
          SELECT o.reltoastrelid UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = o.reltoastrelid
      ) t (oid) WHERE o.relnamespace = 'public'::regnamespace))
"""


@dataclass(frozen=True, slots=True)
class Relation:
    name: str
    path: str
    """Below the data directory; the first segment."""
    blocks: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How this server cuts a relation into files."""

    block_size: int
    blocks_per_segment: int


def wreck(dsn: str, data: Path, *, seed: int, pages: int = 24) -> None:
    """Destroy. Raises Refused, with nothing touched, unless all of it is known to be a demo."""
    data = marked(data)
    rng = random.Random(seed)
    dropped = victims(rng)
    with connect(dsn, patience="10s") as connection:
        same_server(connection, data)
        print(f"wreck  seed {seed}, data directory {data}")
        rows = drop_patiently(connection, dropped)
        # What the server still holds in memory goes to disk first, or it would be written over the noise.
        connection.execute("CHECKPOINT")
        relations, layout = survivors(connection)
        if not relations:
            raise Refused("the tables are dropped, but no relation left is large enough to damage")
        damaged = overwrite(data, relations, layout, rng, pages)
    print(
        f"wreck  {stamp(datetime.now(UTC))}  done: {len(dropped)} tables with {rows:,} rows dropped,"
        f" {pages} pages of {len(damaged)} relations overwritten"
    )


def victims(rng: random.Random) -> list[str]:
    """The tables to drop."""
    return [rng.choice(ALWAYS_ONE_OF), rng.choice(PERHAPS)]


def marked(data: Path) -> Path:
    """The data directory itself, where links lead. Raises Refused unless its folder is marked."""
    data = data.resolve()
    if not (data / "PG_VERSION").is_file():
        raise Refused(f"{data} is no PostgreSQL data directory")
    if not (data.parent / MARKER).is_file():
        raise Refused(
            f"{data} is not marked as a demo, and is left alone; if it may be destroyed: touch {data.parent / MARKER}"
        )
    return data


def same_server(connection: Connection, data: Path) -> None:
    row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    assert row is not None
    try:
        same = data.samefile(row[0])
    except OSError:  # a server on another machine
        same = False
    if not same:
        raise Refused(f"the server that answers keeps its data in {row[0]}, not in {data}; nothing was touched")


def drop_patiently(connection: Connection, tables: list[str]) -> int:
    """The service is at work on these tables: where both wait for each other, the server ends one of the two."""
    for _ in range(10):
        try:
            return drop(connection, tables)
        except psycopg.errors.DeadlockDetected:
            continue
    raise Refused("the service is too busy on these tables; nothing was touched, try again")


def drop(connection: Connection, tables: list[str]) -> int:
    """Drop them with all that hangs on them, in one transaction; the number of rows that are gone."""
    total = 0
    said: list[str] = []
    connection.add_notice_handler(
        lambda notice: said.extend((notice.message_detail or notice.message_primary or "").splitlines())
    )
    with connection.transaction():
        counts: dict[str, int] = {}
        for table in tables:
            name = psycopg.sql.Identifier(table)
            connection.execute(psycopg.sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
            row = connection.execute(psycopg.sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
            assert row is not None
            counts[table] = row[0]
        for table in tables:
            connection.execute(psycopg.sql.SQL("DROP TABLE {} CASCADE").format(psycopg.sql.Identifier(table)))
    for table, rows in counts.items():
        print(f"wreck  {stamp(datetime.now(UTC))}  dropped table {table}: {rows:,} rows")
        total += rows
    for line in said:
        print(f"wreck    {line}")
    return total


def survivors(connection: Connection) -> tuple[list[Relation], Layout]:
    """The files that are left, largest enough only, by name: the same seed meets them in the same order."""
    found = [Relation(*row) for row in connection.execute(RELATIONS) if row[1] is not None]
    row = connection.execute(
        "SELECT current_setting('block_size')::integer, setting::integer FROM pg_settings WHERE name = 'segment_size'"
    ).fetchone()
    assert row is not None
    return sorted((r for r in found if r.blocks >= LEAST_BLOCKS), key=lambda r: r.name), Layout(*row)


def overwrite(data: Path, relations: list[Relation], layout: Layout, rng: random.Random, pages: int) -> set[str]:
    """Overwrite so many different pages, each with noise; the names of the relations that were hit.

    A relation is drawn first and then a page of it, so that small indexes are hit as well as large tables.
    """
    chosen: set[tuple[Relation, int]] = set()
    pages = min(pages, sum(relation.blocks for relation in relations))
    while len(chosen) < pages:
        relation = rng.choice(relations)
        page = (relation, rng.randrange(relation.blocks))
        if page in chosen:
            continue
        chosen.add(page)
        noise = rng.randbytes(layout.block_size)
        print(f"wreck  {stamp(datetime.now(UTC))}  {scribble(data, *page, layout, noise)}")
    return {relation.name for relation, _ in chosen}


def scribble(data: Path, relation: Relation, block: int, layout: Layout, noise: bytes) -> str:
    """Put noise in the place of one page, durably; what was done, in words. Raises Refused, OSError."""
    segment, block_in_segment = divmod(block, layout.blocks_per_segment)
    path = data / (relation.path + (f".{segment}" if segment else ""))
    if not path.resolve().is_relative_to(data):
        raise Refused(f"{relation.path} leads out of the data directory, and is left alone")
    offset = block_in_segment * layout.block_size
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, noise, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return (
        f"overwrote {relation.name} page {block:,} of {relation.blocks:,}:"
        f" {path.relative_to(data)} bytes {offset:,} to {offset + len(noise) - 1:,}"
    )
