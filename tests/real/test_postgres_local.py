"""A whole PostgreSQL server, by its files: taken while it is written to, proved in a sandbox, asked."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.sql import SQL

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.errors import (
    AccessDenied,
    Damaged,
    PlanInvalid,
    PointRefuted,
    SourceDown,
    SourceUnsuitable,
    TimedOut,
    ToolFailed,
    Usage,
)
from backstay.facts import Verdict
from backstay.plan import PostgresWay
from backstay.ports import Alive, Answers, NotAlive
from fix_points import Interrupted, Tampered, empty, not_passed, take, take_and_hear, verdicts
from fix_postgres import DURABLE, QUICK, MakePostgres, Server, installed, postgres_bin, run, stock, writing
from fix_story import DATABASE, PLAN
from fix_vault import new_vault


def keeper_of(server: Server, scratch: Path, *, newest: str | None = None) -> PostgresKeeper:
    place = PostgresPlace(server.dsn(), way=PostgresWay.LOCAL, newest=newest, scratch=scratch)
    return PostgresKeeper(place, SystemClock())


def test_a_point_taken_while_rows_are_written_is_whole_and_has_every_row_of_before(
    make_postgres: MakePostgres, tmp_path: Path, major: int
) -> None:
    server = make_postgres(major, conf=DURABLE)
    stock(server)
    keeper = keeper_of(server, tmp_path, newest="SELECT max(at) FROM beat")
    store = FolderStore(tmp_path / "vault")
    vault = new_vault(store)
    with writing(server):
        with server.connect() as db:
            before = db.execute("SELECT max(n) FROM beat").fetchone()
        with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
            point = writer.seal(keeper.take(writer).sealing)
    with keeper.live() as live:
        digests = live.digests()
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        assert restored.digests()["public.things"] == digests["public.things"]
        rows, last, newest = (restored.ask(f"SELECT {what} FROM beat") for what in ("count(*)", "max(n)", "max(at)"))
        assert before is not None
        assert isinstance(rows, int)
        assert rows >= (before[0] or 0)
        assert rows == last, "no row is missing in between"
        assert isinstance(newest, datetime)
        assert point.newest is not None
        assert point.newest <= newest, "what the point promises is in it"
        assert restored.ask("SELECT count(*) FROM sessions") == 0, "unlogged tables come back empty"
        assert restored.ask("SELECT count(*) FROM pg_largeobject_metadata") == 1
    assert point.lineage == f"pg-{point.about['system']}-1"
    assert point.way == "local"


@pytest.fixture(params=sorted(installed()) or [15])
def major(request: pytest.FixtureRequest) -> int:
    postgres_bin(request.param)
    found: int = request.param
    return found


def test_the_size_of_a_wal_segment_is_not_assumed(make_postgres: MakePostgres, tmp_path: Path) -> None:
    folder = tmp_path / "small" / "data"
    folder.parent.mkdir()
    run(
        [
            postgres_bin() / "initdb",
            "-D",
            folder,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--wal-segsize=1",
            "-E",
            "UTF8",
            "--locale=C",
        ]
    )
    server = make_postgres(data=folder, start=False)
    with (folder / "postgresql.conf").open("a") as file:
        for name, value in {**QUICK, **DURABLE, "min_wal_size": "2MB", "max_wal_size": "32MB"}.items():
            file.write(f"{name} = '{value}'\n")
    server.start()
    stock(server)
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    with writing(server):
        point = take(keeper, vault)
    assert point.about["wal_segment_bytes"] == str(1 << 20)
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []


def test_tablespaces_come_back_elsewhere_and_the_original_is_not_touched(
    make_postgres: MakePostgres, tmp_path: Path
) -> None:
    server = make_postgres(conf=DURABLE)
    fast = empty(tmp_path / "fast")
    with server.connect() as db:
        db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))
        db.execute("CREATE TABLE there (n int) TABLESPACE fast")
        db.execute("INSERT INTO there SELECT generate_series(1, 1000)")
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point = take(keeper, vault)
    assert [space["location"] for space in json.loads(point.about["tablespaces"])] == [str(fast)]
    before = snapshot(fast)
    sandbox = empty(tmp_path / "sandbox")
    with keeper.sandbox(vault.open(point.id), sandbox) as restored:
        assert restored.counts() == {"public.there": 1000}
        shown = restored.ask("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'fast'")
        assert str(shown).startswith(str(sandbox))
    assert snapshot(fast) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_tablespace_that_is_no_plain_link_is_refused(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(conf=DURABLE)
    (server.data / "pg_tblspc" / "16999").mkdir()
    with pytest.raises(SourceUnsuitable, match="16999"):
        take(keeper_of(server, tmp_path), MemoryVault())


def test_a_tablespace_made_while_the_backup_runs_is_refused(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """Replaying its creation on a drill would empty the folder that it has in production."""
    server = make_postgres(conf=DURABLE)
    fast = empty(tmp_path / "fast")

    vault, keeper = MemoryVault(), keeper_of(server, tmp_path)

    def make() -> None:
        with server.connect() as db:
            db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))

    with (
        vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer,
        pytest.raises(SourceUnsuitable, match="tablespace"),
    ):
        keeper.take(Interrupted(writer, make))


# ── the backup itself ────────────────────────────────────────────────────────────────────────────


def test_a_backup_whose_session_is_ended_makes_no_point(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """The server ends a backup with the session that began it; what was read until then is not consistent."""
    server, vault = make_postgres(conf=DURABLE), MemoryVault()

    def end_it() -> None:
        with server.connect() as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    with (
        vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer,
        pytest.raises(SourceDown),
    ):
        keeper_of(server, tmp_path).take(Interrupted(writer, end_it))
    assert vault.points() == []
    with server.connect() as db:
        assert db.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,), "the slot went, too"


def test_two_backups_at_once_do_not_disturb_each_other(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, vault = make_postgres(conf=DURABLE), MemoryVault()
    stock(server)
    keeper = keeper_of(server, tmp_path)

    def another() -> None:
        take(keeper, vault)

    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        writer.seal(keeper.take(Interrupted(writer, another)).sealing)
    for number, point in enumerate(vault.points()):
        with keeper.sandbox(vault.open(point.id), empty(tmp_path / f"sandbox{number}")) as restored:
            assert not_passed(restored.inspect("sample")) == []
    assert len(vault.points()) == 2


def test_the_label_goes_into_the_point_and_pg_control_is_read_last(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, vault = make_postgres(conf=DURABLE), MemoryVault()
    order: list[str] = []
    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        listening = Interrupted(writer, lambda: None, order)
        point = listening.seal(keeper_of(server, tmp_path).take(listening).sealing)
    reader = vault.open(point.id)
    label = b"".join(reader.read("data/backup_label"))
    assert label.startswith(b"START WAL LOCATION: ")
    assert label.endswith(b"\n")
    assert not (server.data / "backup_label").exists(), "never in the live directory"
    files = [
        path for path in order if path.startswith("data/") and "pg_wal" not in path and path != "data/backup_label"
    ]
    assert files[-1] == "data/global/pg_control"
    assert not any(path.startswith("data/pg_wal/0") for path in order[: order.index("data/global/pg_control")])


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("conf", "words"),
    [({"fsync": "off"}, "fsync"), ({**DURABLE, "wal_level": "minimal", "max_wal_senders": "0"}, "wal_level")],
)
def test_a_server_that_cannot_be_trusted_is_refused_and_auto_dumps_it(
    make_postgres: MakePostgres, tmp_path: Path, conf: dict[str, str], words: str
) -> None:
    server = make_postgres(conf=conf)
    with pytest.raises(SourceUnsuitable, match=words):
        take(keeper_of(server, tmp_path), MemoryVault())
    auto = PostgresKeeper(PostgresPlace(server.dsn(), scratch=tmp_path), SystemClock())
    point, taken = take_and_hear(auto, MemoryVault())
    assert point.way == "logical"
    assert words in taken.said[0]


def test_auto_reads_the_files_where_it_may_and_says_why(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(conf=DURABLE)
    auto = PostgresKeeper(PostgresPlace(server.dsn(), scratch=tmp_path), SystemClock())
    point, taken = take_and_hear(auto, MemoryVault())
    assert point.way == "local"
    assert "on this machine" in taken.said[0]
    with server.connect() as db:
        db.execute("CREATE ROLE reader LOGIN")
        db.execute("GRANT pg_read_all_data TO reader")
    weak = PostgresKeeper(PostgresPlace(server.dsn(user="reader"), scratch=tmp_path), SystemClock())
    point, taken = take_and_hear(weak, MemoryVault())
    assert point.way == "logical"
    assert "because" in taken.said[0]


def test_a_copy_of_the_data_directory_is_not_taken_for_the_live_one(
    make_postgres: MakePostgres, tmp_path: Path
) -> None:
    """Same cluster by name and number; but what is written now is not in it."""
    server = make_postgres(conf=DURABLE)
    copy = shutil.copytree(server.data, tmp_path / "copy")
    place = PostgresPlace(server.dsn(), data=copy, way=PostgresWay.LOCAL, scratch=tmp_path)
    with pytest.raises(SourceUnsuitable, match="not the data directory"):
        take(PostgresKeeper(place, SystemClock()), MemoryVault())


def test_a_wrong_password_is_refused_access_and_shown_nowhere(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(conf=DURABLE)
    with server.connect() as db:
        db.execute("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right-horse'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
    with server.connect() as db:
        db.execute("SELECT pg_reload_conf()")
    secret = "wrong-battery-staple"
    place = PostgresPlace(f"postgresql://guarded:{secret}@127.0.0.1:{server.port}/postgres", scratch=tmp_path)
    keeper = PostgresKeeper(place, SystemClock())
    with pytest.raises(AccessDenied) as refused:
        take(keeper, MemoryVault())
    alive = keeper.alive()
    assert isinstance(alive, Alive), "somebody answers, if only to refuse us"
    for shown in (str(refused.value), repr(refused.value), alive.what, repr(place), repr(keeper)):
        assert secret not in shown


def test_a_connection_string_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    for dsn in ("postgresql://u:p@ss:w0rd@host:notaport/db", "host=x pass word=secret", "postgresql://u:s3cret@h@x/db"):
        keeper = PostgresKeeper(PostgresPlace(dsn, scratch=tmp_path), SystemClock())
        with pytest.raises((PlanInvalid, SourceDown)) as error:
            take(keeper, MemoryVault())
        assert not any(part in str(error.value) for part in ("p@ss", "w0rd", "secret", "s3cret"))


def test_a_server_that_is_down_is_down(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(conf=DURABLE)
    keeper = keeper_of(server, tmp_path)
    assert isinstance(keeper.alive(), Alive)
    server.stop()
    assert isinstance(keeper.alive(), NotAlive)
    with pytest.raises(SourceDown):
        take(keeper, MemoryVault())
    with pytest.raises(SourceDown), keeper.live():
        pass


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def test_a_question_gives_one_value_and_can_change_nothing(postgres: Server, tmp_path: Path) -> None:
    name = postgres.make_database()
    with postgres.connect(name) as db:
        db.execute("CREATE TABLE t AS SELECT 1 AS n, 'secret row' AS s")
    place = PostgresPlace(postgres.dsn(name), way=PostgresWay.LOGICAL, scratch=tmp_path)
    with PostgresKeeper(place, SystemClock()).live() as live:
        assert live.ask("SELECT count(*) FROM t") == 1
        assert live.ask("SELECT timestamptz '2026-01-02 03:04:05+02'") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
        assert live.ask("SELECT NULL") is None
        assert live.ask("SELECT true") is True
        assert str(live.ask("SELECT 1.50::numeric")) == "1.50"
        assert str(live.ask("SELECT 0.1::float8")) == "0.1"
        for wrong in ("SELECT n, s FROM t", "SELECT 1 WHERE false", "SELECT generate_series(1, 2)"):
            with pytest.raises(Usage) as usage:
                live.ask(wrong)
            assert "secret row" not in str(usage.value)
        for change in ("INSERT INTO t VALUES (2)", "SELECT 1; DROP TABLE t", "COMMIT; DROP TABLE t", "DROP TABLE t"):
            with pytest.raises((ToolFailed, Usage)):
                live.ask(change)
        assert live.counts() == {"public.t": 1}


def test_a_question_that_takes_too_long_is_broken_off(postgres: Server, tmp_path: Path) -> None:
    place = PostgresPlace(postgres.dsn(), patience=timedelta(milliseconds=100), scratch=tmp_path)
    with PostgresKeeper(place, SystemClock()).live() as live, pytest.raises(TimedOut):
        live.ask("SELECT pg_sleep(60)")


def test_equal_rows_in_another_order_have_equal_digests(postgres: Server, tmp_path: Path) -> None:
    name = postgres.make_database()
    with postgres.connect(name) as db:
        db.execute("CREATE TABLE a AS SELECT n, n::float / 3 AS f FROM generate_series(1, 100) n ORDER BY n")
        db.execute("CREATE TABLE b AS SELECT n, n::float / 3 AS f FROM generate_series(1, 100) n ORDER BY n DESC")
        db.execute("CREATE TABLE c AS SELECT * FROM a WHERE n < 100 UNION ALL SELECT * FROM a WHERE n = 1")
    place = PostgresPlace(postgres.dsn(name), way=PostgresWay.LOGICAL, scratch=tmp_path)
    with PostgresKeeper(place, SystemClock()).live() as live:
        found = live.digests()
    assert found["public.a"] == found["public.b"]
    assert found["public.a"] != found["public.c"]


# ── the sandbox ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def taken(make_postgres: MakePostgres, tmp_path: Path) -> tuple[PostgresKeeper, MemoryVault, Server]:
    server = make_postgres(conf=DURABLE)
    stock(server)
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    take(keeper, vault)
    return keeper, vault, server


Taken3 = tuple[PostgresKeeper, MemoryVault, Server]


def test_a_sandbox_has_no_way_out(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """Everything that a restored server might do to the world that it came from."""
    archived = empty(tmp_path / "archive")
    server = make_postgres(
        conf={**DURABLE, "archive_mode": "on", "archive_command": f"touch {archived}/%f", "shared_buffers": "16MB"}
    )
    with server.connect() as db:
        db.execute("ALTER SYSTEM SET listen_addresses = '*'")
        db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        db.execute("ALTER SYSTEM SET recovery_target_time = '2001-01-01'")
        db.execute("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point = take(keeper, vault)
    before = {path.name for path in archived.iterdir()}
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        shown = {
            name: restored.ask(f"SELECT current_setting('{name}')")
            for name in ("listen_addresses", "archive_mode", "synchronous_standby_names", "cluster_name", "fsync")
        }
        assert shown.pop("cluster_name") != ""
        assert shown == {
            "listen_addresses": "", "archive_mode": "off", "synchronous_standby_names": "", "fsync": "off",
        }  # fmt: skip
        assert restored.ask("SELECT current_setting('max_logical_replication_workers')") == "0"
        assert not_passed(restored.inspect("sample")) == []
    assert {path.name for path in archived.iterdir() if "history" in path.name} == set()
    assert before >= {path.name for path in archived.iterdir() if path.name.startswith("00000002")}


def test_a_point_without_its_label_is_damaged_and_never_started(taken: Taken3, tmp_path: Path) -> None:
    keeper, vault, _ = taken
    [point] = vault.points()
    reader = Tampered(vault.open(point.id), {"data/backup_label": None})
    with pytest.raises(Damaged, match="backup_label"), keeper.sandbox(reader, empty(tmp_path / "sandbox")):
        pass


def test_a_point_without_one_segment_of_its_wal_is_refuted(taken: Taken3, tmp_path: Path) -> None:
    keeper, vault, _ = taken
    [point] = vault.points()
    wal = [stored.path for stored in vault.open(point.id).entries("data/pg_wal") if len(stored.path) > 30]
    reader = Tampered(vault.open(point.id), {wal[-1]: None})
    with pytest.raises((PointRefuted, Damaged)) as refuted, keeper.sandbox(reader, empty(tmp_path / "sandbox")):
        pass
    assert "removing the file" not in str(refuted.value), "the server's hint to delete backup_label is not repeated"


def test_flipped_bits_in_tables_and_indexes_are_found(taken: Taken3, tmp_path: Path) -> None:
    keeper, vault, server = taken
    [point] = vault.points()
    with server.connect() as db:
        paths = "SELECT 'data/' || pg_relation_filepath('things'), 'data/' || pg_relation_filepath('things_name_idx')"
        found_paths = db.execute(paths).fetchone()
    assert found_paths is not None

    def flip(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(8192 * 3 + 5000)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x10]))

    for number, path in enumerate(found_paths):
        with keeper.sandbox(
            Tampered(vault.open(point.id), {path: flip}), empty(tmp_path / f"sandbox{number}")
        ) as restored:
            found = verdicts(restored.inspect("full"))
            assert found["B02"] is Verdict.FAILED
            assert found["I01"] is Verdict.FAILED


def test_what_was_odd_at_the_source_is_no_defect_of_the_point(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(conf={**DURABLE, "max_prepared_transactions": "5"})
    with server.connect() as db:
        db.execute("CREATE TABLE t (n int PRIMARY KEY)")
        db.execute("CREATE TABLE u (n int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)")
        db.execute("ALTER TABLE t ADD CONSTRAINT small CHECK (n < 10) NOT VALID")
        db.execute("INSERT INTO u VALUES (7)")
        db.execute("CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA")
        db.execute("BEGIN")
        db.execute("INSERT INTO t VALUES (1)")
        db.execute("PREPARE TRANSACTION 'left-over'")
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point = take(keeper, vault)
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        checks = restored.inspect("sample")
        assert not_passed(checks) == []
        said = {check.code: check.said for check in checks}
        assert all("as at the source" in said[code] for code in ("I03", "I04", "I05", "I07")), said
    silent = Tampered(vault.open(point.id), {}, about={"findings": "{}"})
    with keeper.sandbox(silent, empty(tmp_path / "sandbox2")) as restored:
        found = verdicts(restored.inspect("sample"))
        assert [code for code, verdict in found.items() if verdict is Verdict.FAILED] == ["I03", "I04", "I05", "I07"]


def test_an_object_less_than_at_the_source_is_found(taken: Taken3, tmp_path: Path) -> None:
    keeper, vault, _ = taken
    [point] = vault.points()
    counted = {**json.loads(point.about["objects"]), "functions": [3, 3]}
    reader = Tampered(vault.open(point.id), {}, about={"objects": json.dumps(counted)})
    with keeper.sandbox(reader, empty(tmp_path / "sandbox")) as restored:
        [check] = [check for check in restored.inspect("sample") if check.code == "S01"]
    assert check.verdict is Verdict.FAILED
    assert "0 functions instead of 3" in check.said


def test_configuration_outside_the_data_directory_is_in_the_point(make_postgres: MakePostgres, tmp_path: Path) -> None:
    outside = empty(tmp_path / "etc")
    server = make_postgres(conf=DURABLE, start=False)
    for name in ("pg_hba.conf", "pg_ident.conf"):
        (server.data / name).rename(outside / name)
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(f"hba_file = '{outside}/pg_hba.conf'\nident_file = '{outside}/pg_ident.conf'\n")
    server.start()
    vault = MemoryVault()
    point = take(keeper_of(server, tmp_path), vault)
    reader = vault.open(point.id)
    assert b"".join(reader.read(f"config{outside}/pg_hba.conf")) == (outside / "pg_hba.conf").read_bytes()


def test_answers_of_every_keeper_fit_the_port(taken: Taken3, tmp_path: Path) -> None:
    keeper, vault, _ = taken
    [point] = vault.points()
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        answers: Answers = restored
        assert str(point.id) in answers.where
