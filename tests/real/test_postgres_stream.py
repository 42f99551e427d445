"""A whole server over the replication protocol: full, and by what changed; judged by PostgreSQL's own programs."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace, arriving, wire
from backstay.adapters.postgres.increments import PREFIX
from backstay.adapters.postgres.prior import MANIFEST
from backstay.errors import AccessDenied, SourceDown, SourceUnsuitable, TargetAlive
from backstay.facts import DidNot, Point, Succeeded
from backstay.plan import PostgresWay
from backstay.ports import Kind
from backstay.protect import READ
from backstay.vault import age, create, open_vault
from fix_memory import acting
from fix_points import Interrupted, empty, not_passed, take_and_hear
from fix_postgres import DURABLE, MakePostgres, Server, installed, postgres_bin, run, stock, writing
from fix_story import DATABASE, PLAN
from fix_vault import NOW, keyring

SUMMARISING = {**DURABLE, "summarize_wal": "on", "autovacuum": "off"}
SINCE_17 = [major for major in installed() if major >= 17] or [17]


def keeper_of(server: Server, scratch: Path, *, full: bool = True, newest: str | None = None) -> PostgresKeeper:
    place = PostgresPlace(server.dsn(), way=PostgresWay.STREAM, newest=newest, scratch=scratch)
    return PostgresKeeper(place, SystemClock(), full=full)


@pytest.fixture(params=sorted({*list(installed())[:1], 17}))
def major(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    postgres_bin(found)
    return found


def test_a_point_taken_over_the_wire_while_rows_are_written_is_whole(
    make_postgres: MakePostgres, tmp_path: Path, major: int
) -> None:
    server = make_postgres(major, conf=DURABLE)
    fast = empty(tmp_path / "fast")
    stock(server)
    with server.connect() as db:
        db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))
        db.execute("CREATE TABLE there TABLESPACE fast AS SELECT generate_series(1, 1000) AS n")
        db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        db.execute("CREATE ROLE clerk LOGIN")
        db.execute("GRANT SELECT ON there TO clerk")
    keeper, vault = keeper_of(server, tmp_path, newest="SELECT max(at) FROM beat"), MemoryVault()
    with writing(server):
        with server.connect() as db:
            before = db.execute("SELECT max(n) FROM beat").fetchone()
        point, taken = take_and_hear(keeper, vault)
    assert point.way == "stream"
    assert point.about[READ] == "full"
    with keeper.live() as live:
        digests = live.digests()
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        assert restored.digests()["public.things"] == digests["public.things"]
        rows, last, newest = (restored.ask(f"SELECT {what} FROM beat") for what in ("count(*)", "max(n)", "max(at)"))
        assert before is not None
        assert rows == last, "no row is missing in between"
        assert isinstance(rows, int)
        assert rows >= (before[0] or 0)
        assert point.newest is not None
        assert point.newest <= newest, "what the point promises is in it"  # pyright: ignore[reportOperatorIssue]
        assert restored.ask("SELECT count(*) FROM sessions") == 0, "unlogged tables come back empty"
        assert restored.ask("SELECT count(*) FROM there") == 1000
        assert restored.ask("SELECT count(*) FROM pg_largeobject_metadata") == 1
        assert restored.ask("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'") == 1
        assert restored.ask("SELECT has_table_privilege('clerk', 'there', 'SELECT')") is True
    assert "segment" in " ".join(taken.said)
    with server.connect() as db:
        assert db.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


def paths(vault: MemoryVault, point: Point) -> dict[str, tuple[Kind, int]]:
    """What is in a point but for WAL: what, and with which mode."""
    found = {one.path: (one.kind, one.mode) for one in vault.open(point.id).entries()}
    return {path: told for path, told in found.items() if not path.startswith("data/pg_wal/")}


def test_a_point_over_the_wire_is_laid_out_as_a_local_one(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, outside = make_postgres(17, conf=DURABLE, start=False), empty(tmp_path / "etc")
    (server.data / "pg_hba.conf").rename(outside / "pg_hba.conf")
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(f"hba_file = '{outside}/pg_hba.conf'\n")
    server.start()
    stock(server)
    with server.connect() as db:
        db.execute("CHECKPOINT")
    local = PostgresKeeper(PostgresPlace(server.dsn(), way=PostgresWay.LOCAL, scratch=tmp_path), SystemClock())
    vault = MemoryVault()
    here, _ = take_and_hear(local, vault)
    there, _ = take_and_hear(keeper_of(server, tmp_path), vault)
    one, other = paths(vault, here), paths(vault, there)
    assert other.pop(MANIFEST) == (Kind.FILE, 0o600)
    # What the server keeps for itself may come and go: statistics, and one folder that it sends though it is remade.
    assert {path for path in one.keys() ^ other.keys() if "pg_stat" not in path and "pgstat" not in path} == set()
    assert f"config{outside}/pg_hba.conf" in other
    assert {path: told for path, told in other.items() if one.get(path, told) != told} == {}
    # The owner is who the server runs as: in these tests, another one inside its namespace than outside.
    kept = {"start_lsn", "stop_lsn", "objects", "findings", READ, "options", "locks", "owner"}
    assert {k: v for k, v in there.about.items() if k not in kept} == {
        k: v for k, v in here.about.items() if k not in kept
    }
    assert there.stored_bytes < here.stored_bytes / 4, "what is the same is stored once, whoever read it"


# ── what is refused, and what is chosen ──────────────────────────────────────────────────────────


def test_auto_streams_where_the_files_are_elsewhere_and_says_why(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres(15, conf=DURABLE)
    elsewhere = PostgresPlace(server.dsn(), data=tmp_path / "nothing", scratch=tmp_path)
    point, taken = take_and_hear(PostgresKeeper(elsewhere, SystemClock()), MemoryVault())
    assert point.way == "stream"
    assert "by replication, because" in taken.said[0]
    assert "not on this machine" in taken.said[0]
    with server.connect() as db:
        db.execute("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data, pg_read_all_settings")
    weak = replace(elsewhere, dsn=server.dsn(user="reader"))
    point, taken = take_and_hear(PostgresKeeper(weak, SystemClock()), MemoryVault())
    assert point.way == "logical"
    assert "may not replicate" in taken.said[0]
    named = replace(weak, way=PostgresWay.STREAM)
    with pytest.raises(SourceUnsuitable, match="base backup"):
        take_and_hear(PostgresKeeper(named, SystemClock()), MemoryVault())


def test_a_role_that_may_only_replicate_takes_a_point(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """Not a superuser: the least that the way needs."""
    server = make_postgres(15, conf=DURABLE)
    with server.connect() as db:
        db.execute("CREATE ROLE keeper LOGIN REPLICATION IN ROLE pg_monitor")
        db.execute("CREATE TABLE t AS SELECT 1 AS n")
    place = PostgresPlace(server.dsn(user="keeper"), way=PostgresWay.STREAM, scratch=tmp_path)
    keeper, vault = PostgresKeeper(place, SystemClock()), MemoryVault()
    point, _ = take_and_hear(keeper, vault)
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []


@pytest.mark.parametrize("victim", ["walsender", "client backend"])
def test_a_stream_that_is_cut_makes_no_point(make_postgres: MakePostgres, tmp_path: Path, victim: str) -> None:
    server, vault = make_postgres(15, conf=DURABLE), MemoryVault()
    stock(server)
    ended = SQL(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = {}"
    ).format(victim)

    class Cut(arriving.Arriving):
        def entries(self) -> Iterator[object]:  # type: ignore[override]
            for number, entry in enumerate(super().entries()):
                if number == 20:
                    with server.connect() as db:
                        db.execute(ended)
                yield entry

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched, vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        patched.setattr("backstay.adapters.postgres.stream.Arriving", Cut)
        with pytest.raises((SourceDown, AccessDenied)):
            keeper_of(server, tmp_path).take(writer)
    assert vault.points() == []


def test_a_tablespace_made_meanwhile_is_refused(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, vault = make_postgres(15, conf=DURABLE), MemoryVault()
    fast = empty(tmp_path / "fast")

    def make() -> None:
        with server.connect() as db:
            db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))

    with (
        vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer,
        pytest.raises(SourceUnsuitable, match="tablespace"),
    ):
        keeper_of(server, tmp_path).take(Interrupted(writer, make))


def test_pages_with_a_wrong_checksum_are_said_and_the_point_is_refuted(
    make_postgres: MakePostgres, tmp_path: Path
) -> None:
    server, vault = make_postgres(15, conf=DURABLE), MemoryVault()
    stock(server)
    with server.connect() as db:
        db.execute("CHECKPOINT")
        found = db.execute("SELECT pg_relation_filepath('things')").fetchone()
        assert found is not None
    server.stop()
    with (server.data / found[0]).open("r+b") as file:
        file.seek(8192 * 3 + 5000)
        byte = file.read(1)[0]
        file.seek(8192 * 3 + 5000)
        file.write(bytes([byte ^ 0x10]))
    server.start()
    keeper = keeper_of(server, tmp_path)
    point, taken = take_and_hear(keeper, vault)
    assert "DAMAGED" in " ".join(taken.said)
    assert found[0] in point.about["damaged_pages"]
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert any(line.startswith("B02 failed") for line in not_passed(restored.inspect("bytes")))


def test_a_server_that_is_alive_on_another_machine_is_not_replaced_here(
    make_postgres: MakePostgres, tmp_path: Path
) -> None:
    """What its path means here is nothing: kept would be nothing, and two servers would run."""
    server, vault = make_postgres(15, conf=DURABLE), MemoryVault()
    keeper = keeper_of(server, tmp_path)
    point, _ = take_and_hear(keeper, vault)
    away = server.data.rename(server.data.with_name("elsewhere"))
    try:
        for act in (lambda: keeper.preserve(acting()), lambda: keeper.restore(vault.open(point.id), acting())):
            with pytest.raises(TargetAlive, match="another machine"):
                act()
        assert isinstance(keeper.look_restored(acting()), DidNot)
        assert not server.data.exists()
    finally:
        away.rename(server.data)


def test_a_point_over_the_wire_takes_the_place_of_its_server(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, vault = make_postgres(17, conf=DURABLE), MemoryVault()
    stock(server)
    keeper = keeper_of(server, tmp_path, newest="SELECT max(at) FROM things")
    with keeper.live() as live:
        before = live.digests()
    point, _ = take_and_hear(keeper, vault)
    with server.connect() as db:
        db.execute("DROP TABLE things CASCADE")
    place = PostgresPlace(server.dsn(), data=server.data, way=PostgresWay.STREAM, scratch=tmp_path)
    here = PostgresKeeper(place, SystemClock())
    assert isinstance(here.preserve(acting()), Succeeded)
    try:
        done = here.restore(vault.open(point.id), acting())
        assert isinstance(done, Succeeded)
        with here.live() as live:
            after = live.digests()
        assert {name: digest for name, digest in after.items() if name in before and "sessions" not in name} == {
            name: digest for name, digest in before.items() if "sessions" not in name
        }
    finally:
        run([server.bin_dir / "pg_ctl", "stop", "-m", "immediate", "-D", server.data])


# ── by what changed ──────────────────────────────────────────────────────────────────────────────


class Tee:
    """Keeps what the server sent, as pg_basebackup would have laid it down."""

    def __init__(self, patched: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder, self._within = folder, wire.Line.copied

        def copied(line: wire.Line) -> Iterator[memoryview]:
            return self._copied(line)

        patched.setattr(wire.Line, "copied", copied)

    def _copied(self, line: wire.Line) -> Iterator[memoryview]:
        archive, held = "", bytearray()
        for message in self._within(line):
            kind, data = bytes(message[:1]), message[1:]
            if kind in (b"n", b"m"):
                self._lay(archive, bytes(held))
                held.clear()
                archive = bytes(data).partition(b"\0")[0].decode() if kind == b"n" else MANIFEST
            elif kind == b"d":
                held += data
            yield message
        self._lay(archive, bytes(held))

    def _lay(self, archive: str, data: bytes) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        if archive == MANIFEST:
            (self._folder / MANIFEST).write_bytes(data)
        elif archive:
            into = self._folder if archive == "base.tar" else self._folder / "pg_tblspc" / archive.removesuffix(".tar")
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                files = [member for member in tar if not member.issym()]
                tar.extractall(into, members=files, filter="data")


def take_beside(server: Server, vault: MemoryVault, scratch: Path, copy: Path, *, full: bool) -> tuple[Point, str]:
    with pytest.MonkeyPatch.context() as patched:
        Tee(patched, copy)
        point, taken = take_and_hear(keeper_of(server, scratch, full=full), vault)
    return point, "; ".join(taken.said)


def relations(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for top in ("base", "global")
        for path in (folder / top).rglob("*")
        if path.is_file() and path.name != "pg_control"
    }


def change_everything(server: Server, number: int) -> None:
    """Something of each kind: pages in the middle, longer, shorter, empty, gone, new, a whole new database."""
    with server.connect() as db:
        db.execute("UPDATE things SET name = 'changed' WHERE id %% 997 = %s", (number,))
        db.execute("INSERT INTO grows SELECT generate_series(1, 30000)")
        db.execute("DELETE FROM shrinks WHERE n > %s", (40000 // (number + 1),))
        db.execute("VACUUM shrinks")
        db.execute("TRUNCATE empties")
        db.execute("INSERT INTO empties SELECT generate_series(1, 10)")
        db.execute("DROP TABLE IF EXISTS old")
        db.execute("CREATE TABLE old AS SELECT generate_series(1, 5000) AS n")
        db.execute(SQL("CREATE DATABASE {} TEMPLATE postgres").format(Identifier(f"copy{number}")))
        db.execute("CHECKPOINT")


@pytest.mark.parametrize("major", SINCE_17)
def test_what_changed_makes_the_bytes_that_pg_combinebackup_makes(
    make_postgres: MakePostgres, tmp_path: Path, major: int
) -> None:
    server, vault = make_postgres(major, conf=SUMMARISING), MemoryVault()
    stock(server)
    with server.connect() as db:
        for name in ("grows", "shrinks", "empties", "still"):
            db.execute(SQL("CREATE TABLE {} AS SELECT generate_series(1, 40000) AS n").format(Identifier(name)))
        db.execute("CREATE TABLE one AS SELECT 1 AS n")
        db.execute("VACUUM (FREEZE)")
    copies = [tmp_path / "copy0"]
    take_beside(server, vault, tmp_path, copies[0], full=True)
    for number in (1, 2):
        change_everything(server, number)
        copies.append(tmp_path / f"copy{number}")
        point, said = take_beside(server, vault, tmp_path, copies[-1], full=False)
        assert "only what changed" in said
        assert point.about[READ] == "incremental"
        assert any(path.name.startswith(PREFIX) for path in copies[-1].rglob("*")), "the server did send increments"
        judged = tmp_path / f"judged{number}"
        run([server.bin_dir / "pg_combinebackup", "-o", judged, *copies])
        laid = tmp_path / f"laid{number}"
        vault.open(point.id).extract(laid)
        ours, theirs = relations(laid / "data"), relations(judged)
        assert ours.keys() == theirs.keys()
        assert [path for path in ours if ours[path] != theirs[path]] == []
        assert (laid / "data" / "backup_label").read_text() == (judged / "backup_label").read_text()
        shutil.rmtree(laid)
    with server.connect() as db:
        expected = db.execute("SELECT count(*), sum(n) FROM shrinks").fetchone()
    with keeper_of(server, tmp_path).sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        assert (restored.ask("SELECT count(*) FROM shrinks"), restored.ask("SELECT sum(n) FROM shrinks")) == expected


@pytest.fixture
def summarising(make_postgres: MakePostgres) -> Server:
    server = make_postgres(17, conf=SUMMARISING)
    stock(server)
    return server


def test_each_reason_to_read_everything_is_said(summarising: Server, tmp_path: Path) -> None:
    server, vault, some = summarising, MemoryVault(), keeper_of(summarising, tmp_path, full=False)
    point, taken = take_and_hear(some, vault)
    assert "no point before it" in " ".join(taken.said)
    assert point.about[READ] == "full"
    with server.connect() as db:
        db.execute("ALTER SYSTEM SET summarize_wal = off")
        db.execute("SELECT pg_reload_conf()")
    assert "summarize_wal" in " ".join(take_and_hear(some, vault)[1].said)
    with server.connect() as db:
        for statement in ("CREATE TABLE unseen AS SELECT 1 AS n", "SELECT pg_switch_wal()", "CHECKPOINT"):
            db.execute(statement)
        db.execute("ALTER SYSTEM SET summarize_wal = on")
        db.execute("SELECT pg_reload_conf()")
    local = PostgresKeeper(PostgresPlace(server.dsn(), way=PostgresWay.LOCAL, scratch=tmp_path), SystemClock())
    take_and_hear(local, vault)
    assert "no manifest" in " ".join(take_and_hear(some, vault)[1].said)


def test_summaries_that_are_gone_mean_a_full_one(summarising: Server, tmp_path: Path) -> None:
    server, vault = summarising, MemoryVault()
    take_and_hear(keeper_of(server, tmp_path), vault)
    with server.connect() as db:
        for number in range(3):
            db.execute("UPDATE things SET name = 'x' WHERE id = %s", (number,))
            db.execute("SELECT pg_switch_wal()")
            db.execute("CHECKPOINT")
    take_and_hear(keeper_of(server, tmp_path, full=False), vault)
    with server.connect() as db:
        for _ in range(3):
            db.execute("SELECT pg_switch_wal()")
            db.execute("CHECKPOINT")
    server.stop()
    shutil.rmtree(server.data / "pg_wal" / "summaries")
    (server.data / "pg_wal" / "summaries").mkdir()
    server.start()
    point, taken = take_and_hear(keeper_of(server, tmp_path, full=False), vault)
    assert "the server refused" in " ".join(taken.said)
    assert point.about[READ] == "full"
    with keeper_of(server, tmp_path).sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []


def test_a_host_that_may_only_write_reads_everything_and_says_so(summarising: Server, tmp_path: Path) -> None:
    store = MemoryStore()
    owner = age.new_identity()[1]
    create(store, plan_name="p", keys=keyring(), recipients=[owner], now=NOW)
    vault = open_vault(store, "local", keyring())
    said: list[str] = []
    for _ in range(2):
        with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
            taken = keeper_of(summarising, tmp_path, full=False).take(writer)
            writer.seal(taken.sealing)
            said.append(" ".join(taken.said))
    assert "may write to the vault, and not read" in said[-1]
