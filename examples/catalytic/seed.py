"""Fill an empty database with rows that look like those of a busy service, and make the settings.

Everything is generated inside the server from a hash of (row number, seed): the same seed gives the same rows, byte for
byte, and nothing but SQL crosses the wire. Passwords are hashes that no password has; the signing key, the hour of
the first heartbeat and nothing else differ from run to run. All of it is one transaction: done, or not done.
"""

import sys
import time
from pathlib import Path
from typing import LiteralString

import psycopg
import psycopg.sql
from psycopg.types.json import Jsonb

from catalytic import Refused, lattice, settings
from catalytic.database import Connection, connect, reason

USERS_PER_TENANT = 120
LATTICES_PER_BATCH = 2_500
EVENTS_PER_BATCH = 12_500
ROWS_SHARE = 0.78
"""What the rows are of the whole; the rest is indexes, built after them. Measured; batches after that mend it."""

_PICK = """
CREATE FUNCTION pick(i bigint, salt integer, k integer) RETURNS integer IMMUTABLE LANGUAGE sql AS
$$ SELECT ((hashint8extended(i, {seed}::bigint * 1000 + salt) & 9007199254740991) % k)::integer $$
"""

_TENANTS = """
INSERT INTO tenants (id, name, tier, region, created_at)
SELECT i,
       (array['Northwind','Blue Fern','Kestrel','Quartz','Harbour','Solstice','Juniper','Meridian','Copper','Atlas',
              'Larkspur','Tidal'])[1 + pick(i, 1, 12)] || ' ' ||
       (array['Labs','Systems','Research','Robotics','Materials','Analytics','Optics','Energy'])[1 + pick(i, 2, 8)]
       || ' ' || i,
       (array['free','free','team','team','enterprise'])[1 + pick(i, 3, 5)],
       (array['us-east-1','us-west-2','eu-central-1'])[1 + pick(i, 4, 3)],
       timestamptz '2024-01-01 00:00Z' + pick(i, 5, 86400 * 60) * interval '1 second'
FROM generate_series(1, %(tenants)s) i
"""

# The first users are the owners, one per tenant; the others crowd into the first tenants, as customers do.
_USERS = """
INSERT INTO users (id, tenant_id, email, name, role, password_hash, created_at, last_login_at)
SELECT i, tenant, translate(lower(first || '.' || last), 'á', 'a') || '.' || i || '@tenant' || tenant || '.example',
       first || ' ' || last,
       CASE WHEN i <= %(tenants)s THEN 'owner' ELSE 'member' END,
       'scrypt$16384$8$5$' || md5(%(seed)s || ':salt:' || i) || '$' ||
       encode(sha256(convert_to(%(seed)s || ':nobody knows:' || i, 'UTF8')), 'hex'),
       joined, CASE WHEN pick(i, 11, 5) > 0 THEN joined + pick(i, 12, 86400 * 500) * interval '1 second' END
FROM (SELECT i,
             CASE WHEN i <= %(tenants)s THEN i
                  ELSE 1 + floor(%(tenants)s * (pick(i, 6, 10000) / 10000.0) ^ 2)::integer END AS tenant,
             (array['Ada','Grace','Alan','Emmy','Kurt','Sofia','Noor','Kenji','Maria','Wei','Amara','Lars','Ines',
                    'Omar','Priya','Tomás'])[1 + pick(i, 7, 16)] AS first,
             (array['Okafor','Lindqvist','Tanaka','Moreau','Silva','Novak','Haddad','Larsen','Iyer','Chen','Keller',
                    'Rossi','Byrne','Costa','Duarte','Weiss'])[1 + pick(i, 8, 16)] AS last,
             timestamptz '2024-03-01 00:00Z' + pick(i, 9, 86400 * 400) * interval '1 second' AS joined
      FROM generate_series(1, %(users)s) i) person
"""

# One lattice in forty keeps its whole field: large enough to be stored out of line (TOAST).
_LATTICES = """
INSERT INTO lattices (id, uuid, tenant_id, created_by, dimensions, size, payload, created_at)
SELECT i, md5(%(seed)s || ':lattice:' || i)::uuid, u.tenant_id, u.id, s.dimensions, s.size,
       s.result || jsonb_build_object(
           'label', 'run ' || to_hex(pick(i, 20, 2000000000)),
           'tags', jsonb_build_array((array['bench','prod','trial','night'])[1 + pick(i, 21, 4)],
                                     (array['sparse','dense','cyclic','open','folded'])[1 + pick(i, 22, 5)]),
           'weights', (SELECT jsonb_agg(pick(i * 1000 + k, 23, 1000000)) FROM generate_series(1, 16) k))
       || CASE WHEN i %% 40 = 0 THEN jsonb_build_object('field',
              (SELECT jsonb_agg(pick(i * 1000 + k, 24, 1000000000)) FROM generate_series(1, 400) k))
          ELSE '{}' END,
       timestamptz '2025-06-01 00:00Z' + (i * 10 + pick(i, 25, 10)) * interval '1 second'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
JOIN users u ON u.id = 1 + floor(%(users)s * (pick(i, 26, 1000000) / 1000000.0) ^ 2)::integer
JOIN studies s ON s.number = pick(i, 27, %(studies)s)
"""

_EVENTS = """
INSERT INTO events (id, tenant_id, user_id, at, kind, request, address, detail)
SELECT i, u.tenant_id, u.id, timestamptz '2025-06-01 00:00Z' + (i * 2 + pick(i, 30, 2)) * interval '1 second',
       (array['login','lattice','lattice','export','invite','settings'])[1 + pick(i, 31, 6)],
       md5(%(seed)s || ':request:' || i)::uuid, inet '10.0.0.0' + pick(i, 32, 16777216),
       jsonb_build_object('took_ms', pick(i, 33, 900), 'status', (array[200,200,200,201,204,404])[1 + pick(i, 34, 6)],
                          'agent', (array['web/4.1','web/4.2','cli/1.9','sdk-python/2.3'])[1 + pick(i, 35, 4)])
FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
JOIN users u ON u.id = 1 + floor(%(users)s * (pick(i, 36, 1000000) / 1000000.0) ^ 2)::integer
"""


def seed(dsn: str, settings_path: Path, *, size_bytes: int, tenants: int, number: int) -> None:
    """Fill the database to at least `size_bytes` of `pg_database_size`. Raises Refused where it is not empty."""
    settings.create(settings_path)
    try:
        with connect(dsn, patience="0") as connection:
            with connection.transaction():
                progress = Progress(connection, size_bytes)
                fill(connection, progress, tenants=tenants, number=number)
            progress.say("vacuum, analyse, checkpoint")
            for table in ("tenants", "users", "lattices", "events", "heartbeat"):
                # Marks every page as visible to all now, so that no reader rewrites the tables later.
                connection.execute(psycopg.sql.SQL("VACUUM (ANALYZE) {}").format(psycopg.sql.Identifier(table)))
            checkpoint(connection)
            progress.say("done")
    except BaseException as error:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{settings_path}{suffix}").unlink(missing_ok=True)
        if isinstance(error, psycopg.errors.DuplicateTable):
            raise Refused("this database has tables already; give an empty one") from None
        raise


class Progress:
    """How far it is, on standard error."""

    def __init__(self, connection: Connection, target_bytes: int) -> None:
        self._connection, self.target_bytes = connection, target_bytes
        self._began = time.monotonic()

    def size_bytes(self) -> int:
        row = self._connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return row[0]

    def say(self, what: str) -> None:
        took = time.monotonic() - self._began
        size, target = self.size_bytes() / 1e6, self.target_bytes / 1e6
        print(f"seed  {took:5.1f} s  {size:4.0f} of {target:.0f} MB  {what}", file=sys.stderr, flush=True)


def fill(connection: Connection, progress: Progress, *, tenants: int, number: int) -> None:
    before, after = Path(__file__).with_name("schema.sql").read_bytes().split(b"\n-- after the rows", 1)
    connection.execute(before)
    rows = Rows(connection, tenants=tenants, number=number)
    rows.people()
    progress.say(f"{tenants} tenants, {rows.users} users")
    while True:
        rows.batch()
        if progress.size_bytes() >= progress.target_bytes * ROWS_SHARE:
            break
        if rows.batches % 8 == 0:
            progress.say(f"{rows.lattices:,} lattices, {rows.events:,} events")
    progress.say(f"{rows.lattices:,} lattices, {rows.events:,} events; indexes and constraints next")
    connection.execute(b"--" + after)
    while progress.size_bytes() < progress.target_bytes:
        rows.batch()
    rows.finish()
    progress.say(f"{rows.lattices:,} lattices, {rows.events:,} events, indexed")


class Rows:
    """Makes rows in batches, numbered on from the last."""

    def __init__(self, connection: Connection, *, tenants: int, number: int) -> None:
        self._connection = connection
        self.tenants, self.users = tenants, tenants * USERS_PER_TENANT
        self.batches = 0
        studies = [(d, n, lattice.study(d, n)) for d in range(1, 10) for n in range(2, 41) if n**d <= 10**9]
        connection.execute(psycopg.sql.SQL(_PICK).format(seed=number))
        connection.execute(
            "CREATE TEMP TABLE studies (number integer, dimensions integer, size integer, result jsonb) ON COMMIT DROP"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO studies VALUES (%s, %s, %s, %s)",
                [(k, d, n, Jsonb(result)) for k, (d, n, result) in enumerate(studies)],
            )
        connection.execute("ANALYZE studies")
        self._values = {"seed": str(number), "tenants": tenants, "users": self.users, "studies": len(studies)}

    def people(self) -> None:
        self._connection.execute(_TENANTS, self._values)
        self._connection.execute(_USERS, self._values)
        self._connection.execute("ANALYZE users")

    def batch(self) -> None:
        self._make(_LATTICES, self.lattices + 1, self.lattices + LATTICES_PER_BATCH)
        self._make(_EVENTS, self.events + 1, self.events + EVENTS_PER_BATCH)
        self.batches += 1

    @property
    def lattices(self) -> int:
        return self.batches * LATTICES_PER_BATCH

    @property
    def events(self) -> int:
        return self.batches * EVENTS_PER_BATCH

    def _make(self, sql: LiteralString, first: int, last: int) -> None:
        self._connection.execute(sql, {**self._values, "first": first, "last": last})

    def finish(self) -> None:
        """Each sequence goes behind its column; the first heartbeat is now; the materialized view is filled."""
        for table in ("tenants", "users", "lattices", "events"):
            self._connection.execute(
                psycopg.sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), max(id)) FROM {}").format(
                    table, psycopg.sql.Identifier(table)
                )
            )
        self._connection.execute("INSERT INTO heartbeat DEFAULT VALUES")
        self._connection.execute("REFRESH MATERIALIZED VIEW daily_events")
        self._connection.execute("DROP FUNCTION pick")


def checkpoint(connection: Connection) -> None:
    """Needs the superuser or pg_checkpoint; without, what was written is only safe in the WAL, as ever."""
    try:
        connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege as error:
        print(f"seed  no checkpoint: {reason(error)}", file=sys.stderr)
