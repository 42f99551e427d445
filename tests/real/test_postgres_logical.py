"""One database by pg_dump: without a second copy on disk, with its roles, proved and restored beside."""

import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg.sql import SQL, Identifier

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace, lay_down_dump, logical_recovery
from backstay.adapters.postgres.dumping import Dump
from backstay.errors import AccessDenied, BackstayError, Damaged, DiskFull, PointRefuted, SourceDown, TargetAlive
from backstay.facts import Succeeded, Verdict
from backstay.plan import PostgresWay
from backstay.ports import Kind
from backstay.processes import Command, start
from backstay.values import RunId
from fix_memory import acting
from fix_points import Interrupted, Tampered, empty, not_passed, take, verdicts
from fix_postgres import MakePostgres, Server, installed, postgres_bin
from fix_story import DATABASE, PLAN


@pytest.fixture
def shop(postgres: Server) -> Iterator[str]:
    """A database with a bit of everything, owned by a role of its own."""
    name = postgres.make_database()
    owner = f"owner_{name}"
    with postgres.connect() as db:
        db.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(owner)))
        db.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(owner)))
        db.execute(SQL("ALTER DATABASE {} SET search_path = sales, public").format(Identifier(name)))
        db.execute(SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(Identifier(name)))
    with postgres.connect(name) as db:
        db.execute("CREATE SCHEMA sales")
        db.execute("CREATE TABLE sales.orders (id serial PRIMARY KEY, what text, at timestamptz DEFAULT now())")
        db.execute("INSERT INTO sales.orders (what) SELECT repeat(md5(n::text), 30) FROM generate_series(1, 5000) n")
        db.execute(SQL("ALTER TABLE sales.orders OWNER TO {}").format(Identifier(owner)))
        db.execute("CREATE INDEX ON sales.orders (what)")
        db.execute("CREATE MATERIALIZED VIEW sales.total AS SELECT count(*) FROM sales.orders")
        for n in range(3):
            db.execute("SELECT lo_from_bytea(0, %s::bytea)", (b"large object %d" % n,))
    yield name
    with postgres.connect() as db:
        db.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
        found = db.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,)).fetchall()
        for (other,) in found:
            db.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(other)))
        db.execute(SQL("DROP ROLE IF EXISTS {}").format(Identifier(owner)))


def keeper_of(server: Server, name: str, scratch: Path, newest: str | None = None) -> PostgresKeeper:
    place = PostgresPlace(server.dsn(name), way=PostgresWay.LOGICAL, newest=newest, scratch=scratch / "scratch")
    return PostgresKeeper(place, SystemClock())


def test_a_dump_restores_with_everything_and_to_one_moment(postgres: Server, shop: str, tmp_path: Path) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path, "SELECT max(at) FROM orders"), MemoryVault()
    with keeper.live() as live:
        before = live.digests()

    def more() -> None:
        with postgres.connect(shop) as db:
            db.execute("INSERT INTO sales.orders (what) VALUES ('while the dump runs')")

    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        point = writer.seal(keeper.take(Interrupted(writer, more)).sealing)
    assert point.newest_source == "the component's own question"
    assert list((tmp_path / "scratch").iterdir()) == [], "nothing is left on the scratch disk"
    stored = {entry.path for entry in vault.open(point.id).entries() if entry.kind is Kind.FILE}
    assert {"dump/toc.dat", "roles.sql"} <= stored
    assert sum(path.endswith(".dat") for path in stored) >= 3, "one stream per table"
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        assert restored.digests() == before, "what was written after the snapshot is not in it"
        assert restored.ask("SELECT max(at) FROM orders") == point.newest, "its search path came back, too"
        assert restored.ask("SELECT count(*) FROM pg_largeobject_metadata") == 3
        assert (
            restored.ask("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'orders'") == f"owner_{shop}"
        )
        assert restored.ask("SELECT has_database_privilege('public', current_database(), 'CONNECT')") is False


def test_the_dump_is_one_that_plain_pg_restore_reads(postgres: Server, shop: str, tmp_path: Path) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()
    point = take(keeper, vault)
    steps = lay_down_dump(vault.open(point.id), tmp_path / "laid")
    assert any("pg_restore" in step for step in steps)
    argv = [str(postgres_bin() / "pg_restore"), "-l", str(tmp_path / "laid" / "dump")]
    assert b"TABLE DATA sales orders" in subprocess.run(argv, capture_output=True, check=True).stdout


def test_a_newer_pg_dump_serves_an_older_server(postgres: Server, shop: str, tmp_path: Path) -> None:
    newer = [major for major in installed() if major > postgres.major]
    if not newer:
        pytest.skip("only one version is installed")
    place = PostgresPlace(
        postgres.dsn(shop), bin=installed()[newer[0]], way=PostgresWay.LOGICAL, scratch=tmp_path / "scratch"
    )
    point = take(PostgresKeeper(place, SystemClock()), MemoryVault())
    assert point.about["dumped_by"] == str(newer[0])
    vault = MemoryVault()
    point = take(PostgresKeeper(place, SystemClock()), vault)
    with keeper_of(postgres, shop, tmp_path).sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []


def test_a_table_far_larger_than_a_buffer_takes_little_room_on_the_scratch_disk(
    postgres: Server, shop: str, tmp_path: Path
) -> None:
    """What was read is given back to the disk while pg_dump goes on writing the same file."""
    with postgres.connect(shop) as db:
        db.execute("CREATE TABLE big AS SELECT repeat(md5(n::text), 100) AS t FROM generate_series(1, 40000) n")
    folder = tmp_path / "dump"
    argv = (str(postgres_bin() / "pg_dump"), "-Fd", "-Z0", "--no-sync", "-f", str(folder), "-t", "big")
    environment = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGDATABASE": shop}
    total = most = 0
    with start(Command(argv, None, env=environment)) as running:
        for entry in Dump(folder, running, SystemClock()).entries():
            assert entry.open is not None
            with entry.open() as source:
                while part := source.read(1 << 20):
                    total += len(part)
                    held = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
                    most = max(most, held if not running.alive else 0)
            assert not (folder / Path(entry.path).name).exists()
    assert total > 120 << 20
    assert most < total, "holes were punched"


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


def test_a_dump_that_breaks_off_makes_no_point(postgres: Server, shop: str, tmp_path: Path) -> None:
    """pg_dump is ended by the server in the middle: what was read until then looks like a whole dump."""
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()

    def end_it() -> None:
        with postgres.connect() as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (shop,))

    with (
        vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer,
        pytest.raises(BackstayError) as broken,
    ):
        keeper.take(Interrupted(writer, end_it))
    assert isinstance(broken.value, SourceDown)
    assert vault.points() == []


def test_a_role_that_may_not_read_everything_is_told_so(postgres: Server, shop: str, tmp_path: Path) -> None:
    with postgres.connect(shop) as db:
        db.execute("CREATE ROLE half_blind LOGIN")
        db.execute(SQL("GRANT CONNECT ON DATABASE {} TO half_blind").format(Identifier(shop)))
    try:
        place = PostgresPlace(postgres.dsn(shop, user="half_blind"), way=PostgresWay.LOGICAL, scratch=tmp_path)
        with pytest.raises(AccessDenied):
            take(PostgresKeeper(place, SystemClock()), MemoryVault())
    finally:
        with postgres.connect(shop) as db:
            db.execute("DROP OWNED BY half_blind")
            db.execute("DROP ROLE half_blind")


def test_a_full_scratch_disk_is_said(postgres: Server, shop: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    small = empty(tmp_path / "small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=0700", "none", small]).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with postgres.connect(shop) as db:
            db.execute("CREATE TABLE big AS SELECT repeat(md5(n::text), 100) AS t FROM generate_series(1, 20000) n")
        place = PostgresPlace(postgres.dsn(shop), way=PostgresWay.LOGICAL, scratch=small)
        with pytest.raises(DiskFull, match="pg_dump"):
            take(PostgresKeeper(place, SystemClock()), MemoryVault())
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_dump_cut_short_is_found_though_the_restore_tool_is_happy(
    postgres: Server, shop: str, tmp_path: Path
) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()
    point = take(keeper, vault)
    reader = vault.open(point.id)
    largest = max((entry for entry in reader.entries("dump")), key=lambda entry: entry.size_bytes)

    def cut(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))

    with keeper.live() as live:
        before = live.counts()
    with keeper.sandbox(Tampered(reader, {largest.path: cut}), empty(tmp_path / "sandbox")) as restored:
        assert restored.counts() != before, "the rung of volume sees it"
    with (
        pytest.raises(Damaged),
        keeper.sandbox(Tampered(reader, {"dump/toc.dat": None}), empty(tmp_path / "sandbox2")),
    ):
        pass


def test_a_point_without_its_roles_does_not_pass(postgres: Server, shop: str, tmp_path: Path) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()
    point = take(keeper, vault)
    reader = Tampered(vault.open(point.id), {"roles.sql": None})
    with keeper.sandbox(reader, empty(tmp_path / "sandbox")) as restored:
        [check] = [check for check in restored.inspect("sample") if check.code == "R04"]
    assert check.verdict is Verdict.FAILED
    assert f'role "owner_{shop}" does not exist' in check.said


def test_an_extension_that_is_not_installed_here_is_not_verified_and_not_failed(
    postgres: Server, shop: str, tmp_path: Path
) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()
    with postgres.connect(shop) as db:
        available = db.execute("SELECT FROM pg_available_extensions WHERE name = 'citext'").fetchone()
        if available is None:
            pytest.skip("no extension to try it with")
        db.execute("CREATE EXTENSION citext")
        db.execute("CREATE TABLE names (n citext)")
    point = take(keeper, vault)

    def rename(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"citext", b"nosuch"))

    with keeper.sandbox(Tampered(vault.open(point.id), {"dump/toc.dat": rename}), empty(tmp_path / "s")) as restored:
        found = verdicts(restored.inspect("sample"))
    assert found["R04"] is Verdict.NOT_VERIFIED


# ── recovery ─────────────────────────────────────────────────────────────────────────────────────


def test_recovery_keeps_owner_settings_and_grants_and_ends_sessions(
    postgres: Server, shop: str, tmp_path: Path
) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path, "SELECT max(at) FROM orders"), MemoryVault()
    point = take(keeper, vault)
    with postgres.connect(shop) as somebody:
        somebody.execute("SELECT 1")
        done = keeper.restore(vault.open(point.id), acting())
    assert isinstance(done, Succeeded)
    assert done.values["kept"] == f"{shop}_damaged_run-1" or done.values["kept"].startswith(shop)
    assert datetime.fromisoformat(done.values["newest"]) == point.newest
    with postgres.connect(shop) as db:
        assert db.execute("SHOW search_path").fetchone() == ("sales, public",)
        assert db.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (shop,)).fetchone() == (
            f"owner_{shop}",
        )


@pytest.mark.parametrize("major", [15, 17])
def test_what_belongs_to_the_whole_server_comes_back_with_one_database(
    make_postgres: MakePostgres, tmp_path: Path, major: int
) -> None:
    """Roles with what they are in and what they may set, tablespaces by name, extensions, large objects."""
    server, fast = make_postgres(major), empty(tmp_path / "fast")
    with server.connect() as db:
        for statement in GLOBAL:
            db.execute(statement)
        db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))
        db.execute("CREATE DATABASE shop OWNER keeper")
    with server.connect("shop") as db:
        for statement in INSIDE:
            db.execute(statement)
    keeper, vault = keeper_of(server, "shop", tmp_path), MemoryVault()
    point = take(keeper, vault)
    assert b"CREATE TABLESPACE fast" in b"".join(vault.open(point.id).read("tablespaces.sql"))
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []
        for question in QUESTIONS:
            assert restored.ask(question) is True, question
        assert restored.ask("SELECT reltablespace = 0 FROM pg_class WHERE relname = 'there'") is True
    with server.connect() as db:
        db.execute("DROP DATABASE shop WITH (FORCE)")
        db.execute("DROP OWNED BY clerk")
        db.execute("DROP ROLE clerk")
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    with server.connect("shop") as db:
        for question in (*QUESTIONS, PLACED):
            assert db.execute(question).fetchone() == (True,), question
        db.execute("CREATE TABLE public.other (n int)")
        db.execute("DROP SCHEMA sales CASCADE")
    with server.connect() as db:
        db.execute("ALTER TABLESPACE fast RENAME TO faster")
    assert isinstance(keeper.restore(vault.open(point.id), acting(run=RunId("run-2"))), Succeeded)
    with server.connect("shop") as db:
        found = db.execute("SELECT reltablespace FROM pg_class WHERE relname = 'there'").fetchone()
        assert found == (0,), "no such tablespace here: it is where the database is"


GLOBAL: tuple[LiteralString, ...] = (
    "CREATE ROLE readers",
    "CREATE ROLE keeper LOGIN",
    "CREATE ROLE clerk LOGIN CONNECTION LIMIT 3 IN ROLE readers",
    "ALTER ROLE clerk SET work_mem = '7MB'",
    "GRANT SET ON PARAMETER log_min_duration_statement TO clerk",
)
INSIDE: tuple[LiteralString, ...] = (
    "CREATE EXTENSION pg_stat_statements",
    "CREATE SCHEMA sales AUTHORIZATION keeper",
    "CREATE TABLE sales.there TABLESPACE fast AS SELECT generate_series(1, 1000) AS n",
    "CREATE UNLOGGED TABLE sales.sessions AS SELECT 1 AS n",
    "GRANT SELECT ON sales.there TO clerk",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO readers",
    "SELECT lo_from_bytea(4711, 'large')",
    "ALTER ROLE clerk IN DATABASE shop SET search_path = sales",
)
QUESTIONS: tuple[LiteralString, ...] = (
    "SELECT count(*) = 1 FROM pg_extension WHERE extname = 'pg_stat_statements'",
    "SELECT pg_has_role('clerk', 'readers', 'MEMBER')",
    "SELECT rolconnlimit = 3 AND rolcanlogin FROM pg_roles WHERE rolname = 'clerk'",
    "SELECT rolconfig = '{work_mem=7MB}' FROM pg_roles WHERE rolname = 'clerk'",
    "SELECT has_parameter_privilege('clerk', 'log_min_duration_statement', 'SET')",
    "SELECT has_table_privilege('clerk', 'sales.there', 'SELECT')",
    "SELECT count(*) = 1000 FROM sales.there",
    "SELECT relpersistence = 'u' FROM pg_class WHERE relname = 'sessions'",
    "SELECT lo_get(4711) = 'large'::bytea",
    "SELECT count(*) = 1 FROM pg_default_acl",
    "SELECT setconfig::text LIKE '%sales%' FROM pg_db_role_setting WHERE setdatabase <> 0 AND setrole <> 0",
)
PLACED: LiteralString = (
    "SELECT spcname = 'fast' FROM pg_tablespace t JOIN pg_class c ON c.reltablespace = t.oid AND relname = 'there'"
)


def test_sessions_that_do_not_end_leave_everything_as_it_was(
    make_postgres: MakePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_postgres(conf={"max_prepared_transactions": "5"})
    name = server.make_database()
    with server.connect(name) as db:
        db.execute("CREATE TABLE t AS SELECT 1 AS n")
        db.execute("BEGIN")
        db.execute("INSERT INTO t VALUES (2)")
        db.execute("PREPARE TRANSACTION 'stays'")
    monkeypatch.setattr(logical_recovery, "_SESSIONS_GONE", timedelta(milliseconds=300))
    keeper = keeper_of(server, name, tmp_path)
    with pytest.raises(TargetAlive):
        keeper.preserve(acting())
    with keeper.live() as live:
        assert live.counts() == {"public.t": 1}, "and it lets people in again"


def test_a_restore_that_fails_takes_away_what_it_made(postgres: Server, shop: str, tmp_path: Path) -> None:
    keeper, vault = keeper_of(postgres, shop, tmp_path), MemoryVault()
    point = take(keeper, vault)

    def spoil(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"sales.orders", b"sales.0rders"))

    with pytest.raises((PointRefuted, Damaged, BackstayError)):
        keeper.restore(Tampered(vault.open(point.id), {"dump/toc.dat": spoil}), acting(run=RunId("run-7")))
    with postgres.connect() as db:
        found = db.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (shop,)).fetchall()
    assert found == [(shop,)]
