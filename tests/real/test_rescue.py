"""A part of a point: one table, one database, one tenant's rows with what they reference, into a file or a server."""

import os
import stat
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.rescue import Partial, Wanted, into_file, into_server, part_of, tables_in_toc
from backstay.adapters.postgres.rescue.partial import databases, of_database
from backstay.adapters.postgres.rescue.writing import Job
from backstay.errors import DiskFull, TargetNotEmpty, UnknownName, Usage
from backstay.plan import PostgresWay
from backstay.ports import PointReader
from fix_points import empty, take
from fix_postgres import MakePostgres, Server, installed

SHOP = """
CREATE SCHEMA "Sales";
CREATE TABLE tenants (id int PRIMARY KEY, name text, head int);
CREATE TABLE people (id int PRIMARY KEY, tenant int REFERENCES tenants, boss int REFERENCES people);
ALTER TABLE tenants ADD FOREIGN KEY (head) REFERENCES people;
CREATE TABLE products (id int PRIMARY KEY, what text);
CREATE TABLE "Sales"."Order" (id int PRIMARY KEY, tenant int REFERENCES tenants, product int REFERENCES products,
  "odd ""name" text, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE parted (id int, tenant int REFERENCES tenants, PRIMARY KEY (id, tenant)) PARTITION BY LIST (tenant);
CREATE TABLE parted_odd PARTITION OF parted FOR VALUES IN (1, 3, 5, 7, 9);
CREATE TABLE parted_even PARTITION OF parted DEFAULT;
INSERT INTO tenants SELECT n, 'tenant ' || n FROM generate_series(1, 10) n;
INSERT INTO people SELECT n, 1 + n % 10, CASE WHEN n > 10 THEN n - 10 END FROM generate_series(1, 40) n;
UPDATE tenants SET head = (SELECT min(p.id) FROM people p WHERE p.tenant = tenants.id);
INSERT INTO products SELECT n, E'tab\\tand\\nline' FROM generate_series(1, 50) n;
INSERT INTO "Sales"."Order" (id, tenant, product, "odd ""name") SELECT n, 1 + n % 10, 1 + n % 50, E'\\\\. \\\\N' || n
  FROM generate_series(1, 400) n;
INSERT INTO parted SELECT n, 1 + n % 10 FROM generate_series(1, 100) n;
"""


def fill(server: Server, name: str) -> None:
    with server.connect(name) as db:
        db.execute(SHOP)


@pytest.fixture(scope="module")
def physical(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, PointReader]]:
    from fix_postgres import making

    with making(tmp_path_factory.mktemp("rescue")) as make:
        server = make(max(installed()), conf={"fsync": "on"})
        with server.connect() as db:
            db.execute("CREATE DATABASE shop")
            db.execute("CREATE DATABASE large")
        fill(server, "shop")
        with server.connect("large") as db:
            db.execute("CREATE TABLE big AS SELECT n, repeat(md5(n::text), 20) t FROM generate_series(1, 20000) n")
        vault = MemoryVault()
        place = PostgresPlace(server.dsn("shop"), data=server.data, way=PostgresWay.LOCAL)
        with server.connect("large") as busy:
            busy.execute("UPDATE big SET n = n + 1 WHERE n % 7 = 0")  # WAL of the database that is left out
            point = take(PostgresKeeper(place, SystemClock()), vault)
        yield server, vault.open(point.id)


@contextmanager
def job(reader: PointReader, wanted: Wanted, folder: Path) -> Generator[Job]:
    place = PostgresPlace("", scratch=folder)
    with PostgresKeeper(place, SystemClock()).sandbox(reader, empty(folder / "room")) as answers:
        assert isinstance(answers, PostgresAnswers)
        yield Job(answers, wanted, None, ("a test",))
    (folder / "room").rmdir()


def load(server: Server, database: str, path: Path) -> tuple[int, str]:
    words = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-d", database]
    program = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"] if path.suffix == ".sql" else ["pg_restore", "-e"]
    argv = [str(server.bin_dir / program[0]), *words, *program[1:], str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def counts(server: Server, database: str, *tables: str) -> list[int]:
    with server.connect(database) as db:
        found = [db.execute(SQL("SELECT count(*) FROM {}").format(SQL(table))).fetchone() for table in tables]  # pyright: ignore[reportArgumentType]
        return [row[0] for row in found if row is not None]


def shop_part(reader: PointReader, tmp_path: Path) -> PointReader:
    return of_database(part_of(reader, "shop", (), tmp_path), "shop")


TENANT = Wanted(("tenants",), "id = 7", references=True, dependents=True)
ROWS = {"Sales.Order": 40, "public.parted": 10, "public.people": 4, "public.products": 5, "public.tenants": 1}


def test_the_name_of_a_table_is_never_run(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """Who may refer to a table chooses the name of another, which is written into the file with its rows."""
    server, to = make_postgres(), tmp_path / "rows.sql"
    hostile = Identifier("a\nCREATE TABLE owned ();\n--")
    with server.connect() as db:
        db.execute("CREATE DATABASE shop")
        db.execute("CREATE DATABASE again")
    for name in ("shop", "again"):
        with server.connect(name) as db:
            db.execute("CREATE TABLE tenants (id int PRIMARY KEY)")
            db.execute(SQL("CREATE TABLE {} (tenant int REFERENCES tenants)").format(hostile))
    with server.connect("shop") as db:
        db.execute("INSERT INTO tenants VALUES (7)")
        db.execute(SQL("INSERT INTO {} VALUES (7)").format(hostile))
    vault = MemoryVault()
    point = take(PostgresKeeper(PostgresPlace(server.dsn("shop"), way=PostgresWay.LOGICAL), SystemClock()), vault)
    with job(vault.open(point.id), Wanted(("tenants",), "id = 7", dependents=True), tmp_path) as one:
        into_file(one, to)
    status, said = load(server, "again", to)
    assert status == 0, said
    with server.connect("again") as db:
        assert db.execute(SQL("SELECT count(*), to_regclass('owned') FROM {}").format(hostile)).fetchone() == (1, None)


def test_one_database_is_restored_without_the_files_of_the_others(
    physical: tuple[Server, PointReader], tmp_path: Path
) -> None:
    _, reader = physical
    assert {"shop", "large", "postgres"} <= databases(reader).keys()
    part = shop_part(reader, tmp_path)
    assert isinstance(part, Partial)
    assert part.size_bytes() < reader.point.size_bytes - 10_000_000
    to = tmp_path / "one.dump"
    with job(part, Wanted(("public.tenants", '"Sales"."Order"')), tmp_path) as one:
        written = into_file(one, to)
        with one.answers.session() as db:
            assert db.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    assert written.counts == {"public.tenants": 10, "Sales.Order": 400}
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_rows_of_one_tenant_come_with_what_belongs_to_them_and_load_where_the_rest_is(
    physical: tuple[Server, PointReader], make_postgres: MakePostgres, tmp_path: Path
) -> None:
    server, reader = physical
    to = tmp_path / "tenant.sql"
    with job(shop_part(reader, tmp_path), TENANT, tmp_path) as one:
        written = into_file(one, to)
    assert written.counts == ROWS
    with server.connect() as db:
        db.execute("CREATE DATABASE again")
    fill(server, "again")
    with server.connect("again") as db:
        db.execute("BEGIN; SET LOCAL session_replication_role = replica")
        for table in ("tenants", "people", "products", '"Sales"."Order"', "parted"):
            db.execute(SQL("DELETE FROM {}").format(SQL(table)))
        db.execute("COMMIT")
    status, said = load(server, "again", to)
    assert status == 0, said
    tables = ("tenants", "people", "products", '"Sales"."Order"', "parted")
    assert sum(counts(server, "again", *tables)) == sum(written.counts.values())
    with server.connect("again") as db, server.connect("shop") as shop:
        rows = 'SELECT md5(string_agg(o::text, \',\' ORDER BY id)) FROM "Sales"."Order" o WHERE tenant = 7'
        assert db.execute(rows).fetchone() == shop.execute(rows).fetchone()
        checked = (
            "SELECT count(*) FROM people p LEFT JOIN people b ON b.id = p.boss WHERE p.boss IS NOT NULL AND b IS NULL"
        )
        assert db.execute(checked).fetchone() == (0,), "what a row references came too"
    status, said = load(server, "again", to)
    assert (status, "duplicate key" in said) == (3, True), "nothing is overwritten"
    assert sum(counts(server, "again", *tables)) == sum(written.counts.values())
    assert b"tenant 7" in to.read_bytes()


def test_a_part_goes_into_a_schema_of_its_own_in_another_server(
    physical: tuple[Server, PointReader], tmp_path: Path
) -> None:
    server, reader = physical
    with server.connect() as db:
        db.execute("CREATE DATABASE elsewhere")
    with job(shop_part(reader, tmp_path), TENANT, tmp_path) as one:
        written = into_server(one, server.dsn("elsewhere"), "rescued")
    assert counts(server, "elsewhere", 'rescued."Order"', "rescued.parted") == [40, 10]
    assert written.counts == ROWS
    with job(shop_part(reader, tmp_path), Wanted(("people", "tenants")), tmp_path) as one:
        with pytest.raises(TargetNotEmpty, match="has a schema rescued already"):
            into_server(one, server.dsn("elsewhere"), "rescued")
        into_server(one, server.dsn("elsewhere"), 'odd "schema')
    assert counts(server, "elsewhere", '"odd ""schema".people') == [40]
    with server.connect("elsewhere") as db:
        keys = db.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").fetchone()
        assert keys == (3,), "keys between what was taken stay, the others go"


def test_what_cannot_be_taken_leaves_nothing(physical: tuple[Server, PointReader], tmp_path: Path) -> None:
    _, reader = physical
    to = tmp_path / "there.sql"
    to.write_text("mine")
    with job(shop_part(reader, tmp_path), TENANT, tmp_path) as one:
        with pytest.raises(TargetNotEmpty):
            into_file(one, to)
        assert to.read_text() == "mine"
    asked = {
        Wanted(("tenant",)): UnknownName,
        Wanted(("tenants",), "id = "): Usage,
        Wanted(("tenants",), "id = 1); DROP TABLE tenants; --"): Usage,
        Wanted(("tenants",), "id = 99"): Usage,
    }
    for number, (wanted, error) in enumerate(asked.items()):
        with job(shop_part(reader, tmp_path), wanted, tmp_path) as one, pytest.raises(error):
            into_file(one, tmp_path / f"{number}.sql")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.sql"]
    for wrong in (Wanted(("a", "b"), "x"), Wanted((), None, references=True)):
        with pytest.raises(Usage):
            wrong.check()


def test_a_full_disk_says_so_and_leaves_nothing(physical: tuple[Server, PointReader], tmp_path: Path) -> None:
    _, reader = physical
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with job(shop_part(reader, tmp_path), TENANT, tmp_path) as one:
        opened = os.open

        def filled(path: str, flags: int, mode: int = 0o777) -> int:
            return opened(full, os.O_WRONLY)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskFull):
            patch.setattr("backstay.adapters.postgres.rescue.writing.os.open", filled)
            into_file(one, tmp_path / "rows.sql")
    assert list(tmp_path.iterdir()) == []


def test_of_a_dump_only_the_tables_that_are_asked_for_are_read(postgres: Server, tmp_path: Path) -> None:
    name = postgres.make_database()
    fill(postgres, name)
    vault = MemoryVault()
    place = PostgresPlace(postgres.dsn(name), way=PostgresWay.LOGICAL, scratch=tmp_path / "scratch")
    reader = vault.open(take(PostgresKeeper(place, SystemClock()), vault).id)
    part = part_of(reader, name, tables_in_toc(("products", '"Sales"."Order"')), empty(tmp_path / "list"))
    assert isinstance(part, Partial)
    rows = [stored.path for stored in part.entries() if stored.path.endswith(".dat") and "toc" not in stored.path]
    assert len([path for path in rows if "blob" not in path]) == 2
    to = tmp_path / "two.sql"
    with job(part, Wanted(("products", '"Sales"."Order"')), tmp_path) as one:
        assert into_file(one, to).counts == {"public.products": 50, "Sales.Order": 400}
    other = postgres.make_database()
    with postgres.connect(other) as db:
        db.execute(SQL("CREATE SCHEMA {}").format(Identifier("Sales")))
        db.execute("CREATE TABLE tenants (id int PRIMARY KEY)")
        db.execute("INSERT INTO tenants SELECT generate_series(1, 10)")
    status, said = load(postgres, other, to)
    assert status == 0, said
    assert counts(postgres, other, '"Sales"."Order"') == [400]
    for one_name in (name, other):
        postgres.drop_database(one_name)
