"""Damaged states, captured as they are: whole, held before anything is read, and never recovered from."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from psycopg.sql import SQL

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.preserved import Preserved
from backstay.app import capturing
from backstay.app.capturing import Captured, Wanted
from backstay.engine.routine import component_stream, open_routines
from backstay.errors import AccessDenied, NotSupported, SourceDown, SourceUnsuitable, TargetAlive
from backstay.facts import FORENSIC, HoldPlaced, Point
from backstay.history import active_holds
from backstay.ports import Kind, Sealing
from backstay.values import ComponentName, LineageId
from backstay.verify import Chosen, NoneGood, candidates, choose
from fix_postgres import MakePostgres
from fix_registry import Registry, make_registry
from fix_story import DATABASE, PLAN
from fix_vaults import screen, typed

REGISTRY = ComponentName("registry")


def damaged(registry: Registry) -> Path:
    """What is left of a database whose application was killed: the file, and a WAL that was never checkpointed."""
    path = registry.folder / "registry.db.damaged"
    program = (
        "import os, signal, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode = wal')\n"
        "db.execute('CREATE TABLE last (word TEXT)')\n"
        "db.execute(\"INSERT INTO last VALUES ('in the WAL only')\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -signal.SIGKILL
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    return path


def capture(registry: Registry, path: Path | None = None) -> Captured:
    return capturing.capture(registry.home(), Wanted("registry", path, "how did it happen?", "me"), screen)


def test_a_damaged_database_is_captured_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    good = registry.take()
    path = damaged(registry)
    before = {file.name: file.read_bytes() for file in tmp_path.glob("registry.db.damaged*")}
    done = capture(registry, path)
    assert {file.name: file.read_bytes() for file in tmp_path.glob("registry.db.damaged*")} == before, "nothing changed"
    point = done.taken.point
    assert point.way == FORENSIC
    assert point.lineage != good.lineage
    assert point.about["path"] == str(path)
    laid = typed(registry, "restore", "registry", "--point", point.id, "--to", "evidence")
    assert laid.returncode == 0, laid.stderr
    evidence = tmp_path / "evidence" / "database.sqlite"
    assert {
        file.name.replace("database.sqlite", path.name): file.read_bytes() for file in evidence.parent.iterdir()
    } == before
    with closing(sqlite3.connect(evidence)) as db:
        assert db.execute("SELECT word FROM last").fetchone() == ("in the WAL only",)


def test_nobody_recovers_from_evidence_and_it_protects_nothing(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    good = registry.take()
    point = capture(registry, damaged(registry)).taken.point
    home = registry.home()
    history = home.history(REGISTRY)
    among, now = candidates(history, REGISTRY), home.clock.now()
    assert point in among.points
    newest = choose("newest", among, now)
    assert isinstance(newest, Chosen)
    assert newest.point.id == good.id, "it is the newest, and not chosen; nor does it give the line of history"
    assert isinstance(choose(point.id, among, now), NoneGood), "not even by a person who names it"
    assert [one.id for one in history.points_of(REGISTRY)] == [good.id]
    assert {hold.point: hold.kind for hold in active_holds(history.holds)} == {point.id: "forensic"}
    assert typed(registry, "verify").returncode == 0, "the newest to prove is the newest that can be recovered from"
    assert typed(registry, "verify", "--point", point.id).returncode == NotSupported.code
    assert typed(registry, "verify", "--point", point.id, "--tier", "bytes").returncode == 35
    assert "proven" in typed(registry, "status").stdout
    assert "unproven, forensic" not in typed(registry, "points").stdout
    assert "not verified, forensic" in typed(registry, "points").stdout
    assert typed(registry, "restore", "registry", "--to", "out").returncode == 0
    assert (tmp_path / "out" / "database.sqlite").exists()
    assert not (tmp_path / "out" / "database.sqlite-wal").exists(), "the newest to lay down is the good one"
    assert f"{point.id}" in typed(registry, "retain", "--dry-run").stdout
    found = typed(registry, "choose", "registry", "--when", "SELECT count(*) FROM tenants", "--expect", ">= 1")
    assert "not asked" in found.stdout


def test_what_a_recovery_moved_aside_is_found_by_itself(tmp_path: Path) -> None:
    registry = make_registry(tmp_path)
    registry.take()
    typed(registry, "verify")
    with pytest.raises(SourceDown, match="nothing that was preserved"):
        capture(registry)
    words = ("--by", "me", "--reason", "a test", "--confirm", "lost")
    typed(registry, "recover", "lost", *words)
    done = capture(registry)
    assert done.path.name.startswith("registry.db.damaged-")
    assert done.taken.point.about["run"].startswith("recovery-")
    assert done.taken.point.stored_bytes < done.taken.point.size_bytes


KILLED = """
import os, signal, sys
from backstay.cli import main
from backstay.vault.writer import Writing
real = Writing.seal
def seal(self, sealing):
    if sys.argv[1] == "after":
        real(self, sealing)
    os.kill(os.getpid(), signal.SIGKILL)
Writing.seal = seal
main(["capture", "registry", "--from", "registry.db.damaged", "--reason", "why", "--by", "me"])
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_seal_it_is_held_or_not_there(tmp_path: Path, when: str) -> None:
    registry = make_registry(tmp_path)
    good = registry.take()
    path = damaged(registry)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, when], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    home = registry.home()
    points = {point.id for point in home.vault(next(iter(home.vaults))).points()}
    held = {hold.point for hold in active_holds(home.history(REGISTRY).holds)}
    assert len(points) == (2 if when == "after" else 1)
    assert points - {good.id} <= held
    capture(registry, path)
    assert not open_routines(registry.home().journal.read(component_stream(REGISTRY))), "the dead one was closed"
    facts = [one.fact for one in registry.home().journal.everything()]
    assert {fact.hold.point for fact in facts if isinstance(fact, HoldPlaced)} >= points - {good.id}


# ── reading it as it is ──────────────────────────────────────────────────────────────────────────


def captured(vault: MemoryVault, state: Preserved) -> Point:
    now = SystemClock().now()
    with vault.begin(DATABASE, plan=PLAN, now=now) as writer:
        writer.add(state.entries())
        return writer.seal(Sealing(LineageId("forensic-x"), FORENSIC, now, now, state.newest, "a file"))


def test_a_killed_server_is_captured_with_its_log_and_its_tablespaces(
    tmp_path: Path, make_postgres: MakePostgres
) -> None:
    server, space, vault = make_postgres(), tmp_path / "space", MemoryVault()
    space.mkdir(mode=0o777)
    space.chmod(0o777)
    with server.connect() as db:
        db.execute(SQL("CREATE TABLESPACE aside LOCATION {}").format(str(space)))
        db.execute("CREATE TABLE kept TABLESPACE aside AS SELECT n FROM generate_series(1, 1000) AS n")
        db.execute("CHECKPOINT")
        db.execute("INSERT INTO kept SELECT 0")
        with pytest.raises(TargetAlive):
            Preserved(server.data, paged=True)
    server.kill9()
    state = Preserved(server.data, paged=True)
    paths = {entry.path: entry for entry in state.entries()}
    assert {"data/PG_VERSION", "data/global/pg_control", "data/postmaster.pid"} <= set(paths)
    assert any(path.startswith("data/pg_wal/0") for path in paths)
    assert any(path.startswith("tablespaces/") and entry.kind is Kind.FILE for path, entry in paths.items())
    point = captured(vault, state)
    laid = tmp_path / "laid"
    vault.open(point.id).extract(laid)
    for path, entry in paths.items():
        if entry.kind is Kind.FILE:
            assert entry.open is not None
            with entry.open() as file:
                assert (laid / path).read_bytes() == file.read()
    (laid / "data" / "postmaster.pid").unlink()
    with make_postgres(data=laid / "data").connect() as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (1001,), "its log was replayed"


def test_a_folder_is_captured_with_what_stands_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "papers.preserved"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "paper").write_bytes(b"x" * 100_000)
    (folder / "link").symlink_to("/nowhere")
    os.mkfifo(folder / "pipe")
    state, vault = Preserved(folder, paged=False), MemoryVault()
    point = captured(vault, state)
    assert state.left_out == ["pipe"]
    vault.open(point.id).extract(tmp_path / "out")
    assert (tmp_path / "out" / "inner" / "paper").read_bytes() == b"x" * 100_000
    assert (tmp_path / "out" / "link").readlink() == Path("/nowhere")


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceDown):
        Preserved(tmp_path / "absent", paged=True)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SourceUnsuitable):
        Preserved(tmp_path / "link", paged=True)
    file = tmp_path / "open.db"
    file.write_bytes(b"x")
    program = [
        sys.executable,
        "-c",
        "import sys; f = open(sys.argv[1], 'r+b'); print('ready', flush=True); input()",
        file,
    ]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        with pytest.raises(TargetAlive):
            Preserved(file, paged=True)
        writer.communicate(b"\n")
    Preserved(file, paged=True)
    if os.geteuid() != 0:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0)
        with pytest.raises(AccessDenied):
            list(Preserved(folder, paged=False).entries())
