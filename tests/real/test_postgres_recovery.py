"""A PostgreSQL server comes back at its site: after a kill at any step, on a full disk, with tablespaces."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from psycopg.sql import SQL

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace, lay_down_data, site
from backstay.adapters.postgres.litter import register, registered, sweep
from backstay.adapters.postgres.site import Site, running_on, stop_server
from backstay.errors import AccessDenied, DiskFull, RunBusy, TargetAlive, TargetNotEmpty
from backstay.facts import DidNot, Happened, Point, Succeeded
from backstay.plan import PostgresWay
from backstay.processes import holding
from backstay.values import RunId
from backstay.vault import Keyring, new_key, open_vault
from fix_memory import acting
from fix_points import empty, not_passed, take
from fix_postgres import MakePostgres, Server, as_server_user, free_port, postgres_bin
from fix_story import DATABASE, PLAN
from fix_vault import new_vault
from fix_waiting import alive, until

ROOT = Path(__file__).resolve().parents[2]
CONF = {"fsync": "on"}


@pytest.fixture
def server(make_postgres: MakePostgres) -> Iterator[Server]:
    made = make_postgres(conf=CONF)
    with made.connect() as db:
        db.execute("CREATE TABLE rows AS SELECT n, md5(n::text) AS text FROM generate_series(1, 50000) n")
        db.execute("CREATE INDEX ON rows (text)")
    yield made
    stop_server(made.data, timedelta(seconds=10), SystemClock(), lambda: False)


def keeper_of(server: Server, scratch: Path) -> PostgresKeeper:
    place = PostgresPlace(server.dsn(), data=server.data, way=PostgresWay.LOCAL, scratch=scratch)
    return PostgresKeeper(place, SystemClock())


def content(keeper: PostgresKeeper) -> dict[str, str]:
    with keeper.live() as live:
        return dict(live.digests())


# ── killed ───────────────────────────────────────────────────────────────────────────────────────

_DRIVER = """
    import os, signal, sys
    from pathlib import Path
    from backstay.adapters.clock import SystemClock
    from backstay.adapters.objectstore import FolderStore
    from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
    from backstay.plan import PostgresWay
    from backstay.ports import Acting
    from backstay.vault import Keyring, open_vault

    vault, point, dsn, data, dies_at, folder = sys.argv[1:]

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(stage):
        if stage == dies_at:
            die()

    place = PostgresPlace(dsn, data=Path(data), way=PostgresWay.LOCAL, scratch=Path(folder))
    keeper = PostgresKeeper(place, SystemClock(), reached=reached)
    reader = open_vault(FolderStore(Path(vault)), "local", Keyring.load(Path(vault + ".key"))).open(point)
    if dies_at == "sandbox":
        with keeper.sandbox(reader, Path(folder)) as answers:
            print(answers.ask("SELECT count(*) FROM rows"), flush=True)
            sys.stdin.read()
    progress = die if dies_at == "half-way" else (lambda *_: None)
    acting = Acting("run-1", "1.1-restore", 1, 1, progress=progress)
    keeper.preserve(acting)
    if dies_at == "preserved":
        die()
    keeper.restore(reader, acting)
"""


def driver(tmp_path: Path, point: Point, server: Server, dies_at: str, folder: Path) -> list[str]:
    program = tmp_path / "driver.py"
    program.write_text(dedent(_DRIVER))
    vault = str(tmp_path / "vault")
    return [sys.executable, str(program), vault, point.id, server.dsn(), str(server.data), dies_at, str(folder)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}


def kept_point(server: Server, tmp_path: Path) -> Point:
    """In a vault on disk, which another process can open."""
    keys = new_key(tmp_path / "vault.key")
    vault = new_vault(FolderStore(tmp_path / "vault"), keys)
    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        return writer.seal(keeper_of(server, tmp_path).take(writer).sealing)


@pytest.mark.parametrize(
    "dies_at", ["preserved", "laying", "half-way", "laid", "recovered", "moved aside", "swapped", "started"]
)
def test_a_recovery_that_is_killed_anywhere_is_finished_by_the_next(
    server: Server, tmp_path: Path, dies_at: str
) -> None:
    point, keeper = kept_point(server, tmp_path), keeper_of(server, tmp_path)
    before = content(keeper)
    with server.connect() as db:
        db.execute("DROP TABLE rows")
    killed = subprocess.run(driver(tmp_path, point, server, dies_at, tmp_path), env=ENVIRONMENT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    by = acting(run=RunId("run-1"), epoch=2)
    keys = Keyring.load(tmp_path / "vault.key")
    reader = open_vault(FolderStore(tmp_path / "vault"), "local", keys).open(point.id)
    if isinstance(keeper.look_preserved(by), DidNot):
        keeper.preserve(by)
    if isinstance(keeper.look_restored(by), DidNot):
        assert isinstance(keeper.restore(reader, by), Succeeded)
    seen = keeper.look_restored(by)
    assert isinstance(seen, Happened)
    assert content(keeper) == before
    assert {path.name for path in server.data.parent.iterdir() if path.is_dir()} == {"data", "data.damaged-run-1"}
    with server.connect() as db:
        assert db.execute("SHOW fsync").fetchone() == ("on",), "the sandbox's settings are not the site's"


def test_a_sandbox_whose_driver_is_killed_leaves_no_server_and_is_swept(server: Server, tmp_path: Path) -> None:
    point = kept_point(server, tmp_path)
    folder = empty(tmp_path / "sandbox")
    with subprocess.Popen(
        driver(tmp_path, point, server, "sandbox", folder),
        env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"50000\n"
        postmaster, *_ = running_on(folder / "data")
        process.kill()
    until(lambda: not alive(postmaster) and not running_on(folder / "data"))
    assert (folder / "data").exists(), "nobody was left to erase it"
    sockets = [path for path in Path(tempfile.gettempdir()).glob("bs-pg-*") if (path / ".s.PGSQL.5432").exists()]
    swept = sweep()
    assert folder in swept
    assert not folder.exists()
    assert any(path in swept for path in sockets), "its folder for sockets, too"


def test_a_sweep_spares_what_is_in_use_and_what_is_not_ours(tmp_path: Path) -> None:
    mine, foreign = empty(tmp_path / "mine"), empty(tmp_path / "foreign")
    (foreign / "precious").write_text("x")
    told = {
        "folder": str(foreign),
        "pid": 2**22 + 1,
        "born": "never",
        "space": str(Path("/proc/self/ns/pid").readlink()),
    }
    entry = register() / "0123456789abcdef.json"
    entry.write_text(json.dumps(told))
    with registered(mine):
        (mine / "data").mkdir()
        assert sweep() == []
        assert (mine / "data").exists()
    assert (foreign / "precious").exists(), "it does not bear our mark"
    assert not entry.exists()
    assert list(mine.iterdir()) == []


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_up_is_not_restored_over(server: Server, tmp_path: Path) -> None:
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point = take(keeper, vault)
    with pytest.raises(TargetAlive) as refused:
        keeper.restore(vault.open(point.id), acting())
    assert "runs on it" in refused.value.detail
    moved = server.data.with_name("elsewhere")
    place = PostgresPlace(server.dsn(), data=moved, way=PostgresWay.LOCAL, scratch=tmp_path)
    with pytest.raises(TargetAlive, match="answers at the address"):
        PostgresKeeper(place, SystemClock()).restore(vault.open(point.id), acting())
    assert not moved.exists()


def test_two_recoveries_at_once_are_one(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "LOCK_WAIT", timedelta(milliseconds=100))
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point = take(keeper, vault)
    with holding(server.data.with_name("data.backstay.lock"), wait=timedelta(seconds=1)), pytest.raises(RunBusy):
        keeper.preserve(acting())
    with holding(server.data.with_name("data.backstay.lock"), wait=timedelta(seconds=1)), pytest.raises(RunBusy):
        keeper.restore(vault.open(point.id), acting())
    assert server.running


# ── the state of the old one ─────────────────────────────────────────────────────────────────────


def test_a_server_that_hangs_is_preserved_all_the_same(server: Server, tmp_path: Path) -> None:
    place = PostgresPlace(
        server.dsn(), data=server.data, way=PostgresWay.LOCAL, scratch=tmp_path, stop_within=timedelta(milliseconds=300)
    )
    assert server.process is not None
    with server.connect() as db:
        row = db.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGSTOP)  # a backend that does not hear
        done = PostgresKeeper(place, SystemClock()).preserve(acting())
    server.process.wait()
    assert isinstance(done, Succeeded)
    assert "stopped at once" in done.saw or "killed" in done.saw
    assert Path(done.values["kept"]).is_dir()
    assert not server.data.exists()


def test_a_server_whose_directory_was_removed_is_found_and_stopped(server: Server, tmp_path: Path) -> None:
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point, before = take(keeper, vault), content(keeper)
    shutil.rmtree(server.data)
    assert running_on(server.data), "it has no pid file any more"
    assert isinstance(keeper.preserve(acting()), Succeeded)
    assert server.process is not None
    server.process.wait()
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    assert content(keeper) == before


def test_a_dead_server_is_found_by_what_we_remember(server: Server, tmp_path: Path) -> None:
    """The plan names no data directory, and there is nobody left to ask."""
    place = PostgresPlace(server.dsn(), scratch=tmp_path)
    keeper, vault = PostgresKeeper(place, SystemClock()), MemoryVault()
    point, before = take(keeper, vault), content(keeper)
    server.kill9()
    assert isinstance(keeper.preserve(acting()), Succeeded)
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    assert content(keeper) == before


def test_tablespaces_come_back_inside_their_old_places(server: Server, tmp_path: Path) -> None:
    fast = empty(tmp_path / "fast")
    with server.connect() as db:
        db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))
        db.execute("CREATE TABLE there TABLESPACE fast AS SELECT n FROM generate_series(1, 1000) n")
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    before = content(keeper)
    for number in (1, 2):
        point, run = take(keeper, vault), RunId(f"run-{number}")
        old = sorted(str(path) for path in fast.rglob("*"))
        assert isinstance(keeper.preserve(acting(run=run)), Succeeded)
        assert isinstance(keeper.restore(vault.open(point.id), acting(run=run)), Succeeded)
        assert content(keeper) == before
        assert (fast / f"backstay-run-{number}").is_dir(), "and never one inside the other"
        assert set(old) <= {str(path) for path in fast.rglob("*")}, "what was there is still there"


# ── no room ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", folder]).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(
    make_postgres: MakePostgres, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "120M") as disk:
        server = make_postgres(conf={**CONF, "max_wal_size": "32MB", "min_wal_size": "32MB"}, data=disk / "data")
        keeper, vault = keeper_of(server, tmp_path), MemoryVault()
        with server.connect() as db:
            db.execute("CREATE TABLE filler AS SELECT repeat(md5(n::text), 20) FROM generate_series(1, 20000) n")
        point, before = take(keeper, vault), content(keeper)
        kept = keeper.preserve(acting())
        assert isinstance(kept, Succeeded)
        with pytest.raises(DiskFull) as full:
            keeper.restore(vault.open(point.id), acting())
        assert "needed" in full.value.detail
        assert "free" in full.value.detail
        assert {path.name for path in disk.iterdir() if path.is_dir()} == {"data.damaged-run-1"}
        Path(kept.values["kept"]).rename(server.data)
        assert server.process is not None
        server.process.wait()
        server.start()
        assert content(keeper) == before


def test_a_disk_that_fills_up_in_the_middle_is_cleared_and_it_can_be_tried_again(
    server: Server, tmp_path: Path
) -> None:
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point, before = take(keeper, vault), content(keeper)
    with small_disk(tmp_path / "disk", "400M") as disk:
        place = PostgresPlace(server.dsn(), data=disk / "data", way=PostgresWay.LOCAL, scratch=tmp_path)
        there = PostgresKeeper(place, SystemClock())
        filler = disk / "filler"
        keeper.preserve(acting())

        def fill(done_bytes: int, total_bytes: int | None, what: str) -> None:
            """Somebody else takes the room while we write."""
            if done_bytes > 8 << 20 and not filler.exists():
                with filler.open("wb") as file:
                    while True:
                        try:
                            file.write(bytes(1 << 20))
                            file.flush()
                        except OSError:
                            break

        with pytest.raises(DiskFull):
            there.restore(vault.open(point.id), replace(acting(), progress=fill))
        assert {path.name for path in disk.iterdir() if path.is_dir()} == set(), "what was written is gone"
        filler.unlink()
        try:
            assert isinstance(there.restore(vault.open(point.id), acting()), Succeeded)
            assert content(there) == before
        finally:
            stop_server(Site.of(disk / "data").data, timedelta(seconds=10), SystemClock(), lambda: False)


# ── laid down as files ───────────────────────────────────────────────────────────────────────────


def test_a_point_laid_down_as_files_starts_and_has_every_row(
    server: Server, tmp_path: Path, make_postgres: MakePostgres
) -> None:
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point, before = take(keeper, vault), content(keeper)
    steps = lay_down_data(vault.open(point.id), tmp_path / "laid")
    assert any("pg_ctl" in step for step in steps)
    other = make_postgres(data=tmp_path / "laid" / "data")
    there = PostgresKeeper(PostgresPlace(other.dsn(), scratch=tmp_path), SystemClock())
    assert content(there) == before
    with other.connect() as db:
        assert db.execute("SHOW archive_mode").fetchone() == ("off",)
        assert db.execute("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)").fetchone() == ("00000002",)


def test_a_point_laid_over_a_server_that_went_on_is_that_point_again(
    server: Server, tmp_path: Path, make_postgres: MakePostgres
) -> None:
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    point, before = take(keeper, vault), content(keeper)
    to, reader = tmp_path / "laid", vault.open(point.id)
    lay_down_data(reader, to)
    other = make_postgres(data=to / "data")
    with other.connect() as db:
        db.execute("CREATE TABLE later AS SELECT n FROM generate_series(1, 20000) n")
    other.stop()
    with pytest.raises(TargetNotEmpty, match="does not have"):
        lay_down_data(reader, to, over=True)
    assert (to / "data" / "global" / "pg_control").exists(), "a refusal changes nothing"

    def dying(done_bytes: int, total_bytes: int | None, what: str) -> None:
        raise OSError("killed")

    with pytest.raises(AccessDenied):
        lay_down_data(reader, to, dying, over=True, removing=True)
    assert not (to / "data" / "global" / "pg_control").exists(), "half a restore is no cluster"
    lay_down_data(reader, to, over=True, removing=True)
    other.start()
    there = PostgresKeeper(PostgresPlace(other.dsn(), scratch=tmp_path), SystemClock())
    assert content(there) == before
    with other.connect() as db:
        assert db.execute("SELECT to_regclass('later')").fetchone() == (None,)


def test_a_restored_directory_whose_label_was_removed_does_not_start(server: Server, tmp_path: Path) -> None:
    """Without the poison it would start happily, at the wrong checkpoint, and be silently corrupt."""
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    lay_down_data(vault.open(take(keeper, vault).id), tmp_path / "laid")
    data = tmp_path / "laid" / "data"
    for name in ("backup_label", "recovery.signal"):
        (data / name).unlink()
    argv = [str(postgres_bin() / "postgres"), "-D", str(data), "-p", "23999", "-k", str(tmp_path)]
    done = subprocess.run(as_server_user(argv), capture_output=True, timeout=30)
    assert done.returncode != 0
    assert b"checkpoint" in done.stderr


def test_points_of_a_restored_server_restore_again(server: Server, tmp_path: Path) -> None:
    """Its timeline has a history now, which belongs into every further point."""
    keeper, vault = keeper_of(server, tmp_path), MemoryVault()
    first = take(keeper, vault)
    keeper.preserve(acting())
    assert isinstance(keeper.restore(vault.open(first.id), acting()), Succeeded)
    second = take(keeper, vault)
    assert second.about["timeline"] == "2"
    assert vault.open(second.id).entry("data/pg_wal/00000002.history") is not None
    with keeper.sandbox(vault.open(second.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []


# ── whose ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def of_another(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """A server as Debian runs it: the data belongs to an account of its own, and so does the server."""
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no account postgres")
    if os.geteuid() != 0:
        pytest.skip("only root can start a server as somebody else")
    folder = Path(tempfile.mkdtemp(prefix="pg-other-"))
    os.chown(folder, account.pw_uid, account.pw_gid)
    data, port = folder / "data", free_port()
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
    bin_dir = postgres_bin()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    for argv in (
        [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"],
        [bin_dir / "pg_ctl", "start", "-D", data, "-l", folder / "log", "-w", "-o", options],
    ):
        subprocess.run([*become, *map(str, argv)], check=True, stdout=subprocess.DEVNULL, cwd="/")
    yield data, port, account.pw_uid
    stop_server(data, timedelta(seconds=10), SystemClock(), lambda: False)
    shutil.rmtree(folder)


def test_a_server_of_another_account_stays_one_of_that_account(
    of_another: tuple[Path, int, int], tmp_path: Path
) -> None:
    data, port, uid = of_another
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    keeper = PostgresKeeper(PostgresPlace(dsn, data=data, scratch=tmp_path), SystemClock())
    vault = MemoryVault()
    point = take(keeper, vault)
    assert point.way == "local"
    assert isinstance(keeper.preserve(acting()), Succeeded)
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    strangers = [path for path in data.rglob("*") if path.lstat().st_uid != uid]
    assert strangers == []
    postmaster = running_on(data)[0]
    assert Path(f"/proc/{postmaster}").stat().st_uid == uid
    with keeper.live() as live:
        assert live.ask("SELECT current_setting('port')::int") == port


def test_a_plain_user_can_take_prove_and_restore(tmp_path: Path) -> None:
    """Everything again without root: no namespaces for the server, no chown."""
    if os.geteuid() != 0:
        pytest.skip("then every other test shows it")
    folder = Path(tempfile.mkdtemp(prefix="pg-plain-"))
    os.chown(folder, 65534, 65534)
    library = os.pathsep.join([*ENVIRONMENT["PYTHONPATH"].split(os.pathsep), *filter(None, sys.path)])
    if subprocess.run(
        [*_AS_NOBODY, "/usr/bin/python3", "-c", "import psycopg"], env=_plain(folder, library)
    ).returncode:
        pytest.skip("a plain user cannot run this Python")
    program = folder / "plain.py"
    program.write_text(dedent(_PLAIN))
    try:
        done = subprocess.run(
            [*_AS_NOBODY, "/usr/bin/python3", str(program), str(postgres_bin()), str(free_port()), str(folder)],
            env=_plain(folder, library), capture_output=True, text=True, cwd="/",
        )  # fmt: skip
        assert done.stdout.splitlines()[-1:] == ["all is well"], done.stderr[-3000:]
    finally:
        shutil.rmtree(folder)


_AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def _plain(home: Path, library: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": library}


_PLAIN = """
    import subprocess, sys
    from datetime import timedelta
    from pathlib import Path
    from backstay.adapters.clock import SystemClock
    from backstay.adapters.memory.vault import MemoryVault
    from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
    from backstay.adapters.postgres.site import stop_server
    from backstay.facts import Succeeded, Verdict
    from backstay.ports import Acting
    from backstay.values import ComponentName, Digest

    bin_dir, port, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    data = folder / "data"
    for argv in (
        [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"],
        [bin_dir / "pg_ctl", "start", "-D", data, "-l", folder / "log", "-w",
         "-o", f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"],
    ):
        subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL)
    try:
        place = PostgresPlace(f"postgresql://postgres@127.0.0.1:{port}/postgres", data=data, scratch=folder)
        keeper, vault, clock = PostgresKeeper(place, SystemClock()), MemoryVault(), SystemClock()
        with vault.begin(ComponentName("db"), plan=Digest("sha256:0"), now=clock.now()) as writer:
            point = writer.seal(keeper.take(writer).sealing)
        assert point.way == "local", point.way
        (folder / "sandbox").mkdir(mode=0o700)
        with keeper.sandbox(vault.open(point.id), folder / "sandbox") as restored:
            checks = restored.inspect("sample")
            assert all(check.verdict is Verdict.PASSED for check in checks), checks
        acting = Acting("run-1", "1", 1, 1)
        assert isinstance(keeper.preserve(acting), Succeeded)
        assert isinstance(keeper.restore(vault.open(point.id), acting), Succeeded)
        with keeper.live() as live:
            assert live.ask("SELECT 1") == 1
        print("all is well")
    finally:
        stop_server(data, timedelta(seconds=5), SystemClock(), lambda: False)
"""


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


def test_a_drill_beside_production_touches_nothing_of_it(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """The copied configuration names production's port, its archive and its tablespaces."""
    fast, archive = empty(tmp_path / "fast"), empty(tmp_path / "archive")
    production = make_postgres(conf={**CONF, "archive_mode": "on", "archive_command": f"cp %p {archive}/%f"})
    with production.connect() as db:
        db.execute(SQL("CREATE TABLESPACE fast LOCATION {}").format(str(fast)))
        db.execute("CREATE TABLE there TABLESPACE fast AS SELECT n FROM generate_series(1, 1000) n")
    vault = MemoryVault()
    point = take(keeper_of(production, tmp_path), vault)
    room, port = empty(tmp_path / "room"), free_port()
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    place = PostgresPlace(dsn, data=room / "data", way=PostgresWay.LOCAL, site="sandbox", scratch=tmp_path)
    keeper = PostgresKeeper(place, SystemClock())
    shown = "SELECT concat_ws(' ', current_setting('archive_mode'), current_setting('listen_addresses'))"
    try:
        for number in (1, 2):
            run = RunId(f"drill-{number}")
            done = keeper.restore(vault.open(point.id), acting(run=run))
            assert isinstance(done, Succeeded)
            assert done.values["port"] == str(port)
            with keeper.live() as live:
                assert live.counts() == {"public.there": 1000}
                assert live.ask(shown) == "off 127.0.0.1"
                assert str(live.ask("SELECT current_setting('cluster_name')")).startswith("backstay-")
            torn_down = keeper.preserve(acting(run=RunId(f"drill-{number}-end")))
            assert isinstance(torn_down, Succeeded)
            shutil.rmtree(torn_down.values["kept"])
            here = {path.name for path in room.iterdir() if path.is_dir()}
            assert here == {f"data.tablespaces-drill-{number}"}, "the one before is swept by the next"
    finally:
        stop_server(room / "data", timedelta(seconds=10), SystemClock(), lambda: False)
    assert not list(fast.glob("backstay-*")), "nothing of ours is on production's disk"
    assert not list(archive.glob("*.history")), "and nothing in its archive"
    assert production.running
