"""The data that is backed up: a server with half pgbench and half realistic rows, and how one percent of it changes."""

import subprocess
import sys

from rows import say

from backstay.values import say_size
from fix_postgres import Server

ROWS = """
CREATE TABLE orders (id bigserial PRIMARY KEY, ref uuid NOT NULL, at timestamptz NOT NULL, email text NOT NULL,
                     amount numeric(12, 2) NOT NULL, body jsonb NOT NULL) WITH (fillfactor = 90);
INSERT INTO orders (ref, at, email, amount, body)
SELECT gen_random_uuid(), now() - n * interval '1 second', 'customer' || (n * 7919 % 100003) || '@example.com',
       (n * 31 % 100000) / 100.0, jsonb_build_object('n', n, 'items', n % 7, 'note', md5(n::text), 'city', n % 3)
FROM generate_series(1::bigint, {rows}) n;
CREATE INDEX ON orders (at);
CREATE INDEX ON orders (ref);
"""
ONE_ROW_IN_SOME_PAGES = """
UPDATE {table} SET {column} = {column} + 1 WHERE ctid = ANY (ARRAY(
    SELECT format('(%%s,%%s)', page, 1 + floor(random() * 25))::tid
    FROM generate_series(0, (SELECT relpages - 1 FROM pg_class WHERE relname = '{table}')) page
    WHERE random() < {part}))
"""
BYTES_PER_ORDER = 365
BYTES_PER_SCALE = 16_900_000


def fill(server: Server, size_bytes: int) -> None:
    """Half pgbench, half rows with jsonb, uuid and moments; every page has room for a changed row."""
    say(f"filling a database with {say_size(size_bytes)}")
    scale = max(1, size_bytes // 2 // BYTES_PER_SCALE)
    command(server, "pgbench", "-i", "-q", "-I", "dtGvp", "-F", "90", "-s", str(scale), server.dsn())
    with server.connect() as connection:
        connection.execute(ROWS.format(rows=size_bytes // 2 // BYTES_PER_ORDER))  # pyright: ignore[reportArgumentType, reportCallIssue]
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")


def change(server: Server, part: float = 0.01) -> None:
    """One row in so many of the pages of both tables, chosen at random; where there is room, it stays in its page."""
    with server.connect() as connection:
        for table, column in (("pgbench_accounts", "abalance"), ("orders", "amount")):
            connection.execute(ONE_ROW_IN_SOME_PAGES.format(table=table, column=column, part=part).replace("%%", "%"))  # pyright: ignore[reportArgumentType, reportCallIssue]
        connection.execute("CHECKPOINT")


def command(server: Server, program: str, *words: str) -> None:
    """One of PostgreSQL's own programs, of the server's version."""
    done = subprocess.run(
        [str(server.bin_dir / program), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{program} failed: {done.stderr.strip()[-500:]}")
