"""A SQLite database: copied while it is written to, without touching its WAL; restored by rename."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.sqlite import SqliteKeeper
from backstay.adapters.sqlite.copying import Copying
from backstay.adapters.sqlite.keeper import STORED, as_moment, who_has_open
from backstay.errors import (
    BackstayError,
    DiskFull,
    PointRefuted,
    SourceDown,
    SourceUnsuitable,
    TargetAlive,
    TimedOut,
    Usage,
)
from backstay.facts import Happened, Point, Succeeded, Verdict
from backstay.ports import Alive, NotAlive, unwatched
from fix_memory import acting
from fix_points import Tampered, empty, not_passed, take, take_and_hear, verdicts
from fix_story import DATABASE, PLAN
from fix_vault import new_vault


def make(path: Path, *, journal: str = "wal", rows: int = 2000) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("CREATE TABLE beats (n INTEGER PRIMARY KEY, at TEXT NOT NULL, filler TEXT)")
        db.execute("CREATE INDEX beats_at ON beats (at)")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO beats VALUES (?, ?, ?)",
            ((n, f"2026-11-22T20:00:{n % 60:02}.{n:06}Z", "x" * 300) for n in range(rows)),
        )
        db.execute("COMMIT")
    return path


def keeper_of(path: Path, tmp_path: Path, newest: str | None = None) -> SqliteKeeper:
    return SqliteKeeper(path, SystemClock(), newest=newest, scratch=tmp_path / "scratch")


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Another process adds rows, each in a transaction of its own, as fast as it can."""
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        "print('ready', flush=True)\n"
        "while True: db.execute(\"INSERT INTO beats (at, filler) VALUES ('2026-11-22T21:00:00Z', 'y')\")\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_copy_under_a_busy_writer_is_whole_and_of_one_moment(tmp_path: Path, journal: str) -> None:
    path, vault = make(tmp_path / "app.db", journal=journal), MemoryVault()
    keeper = keeper_of(path, tmp_path, "SELECT max(at) FROM beats")
    with writing(path):
        point, taken = take_and_hear(keeper, vault)
    assert point.way == "online"
    assert list((tmp_path / "scratch").iterdir()) == []
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        assert restored.ask("SELECT count(*) - 1 FROM beats") == restored.ask("SELECT max(n) FROM beats")
        assert as_moment(restored.ask("SELECT max(at) FROM beats")) == point.newest
    assert point.about["journal_mode"] == ("wal" if journal == "wal" else "rollback")
    assert any("WAL-reset bug" in said for said in taken.said) == (sqlite3.sqlite_version_info < (3, 51, 3))


def test_the_wal_of_the_application_is_never_checkpointed(tmp_path: Path) -> None:
    """Not while the application runs, and not when we are the last to close the file: then SQLite would."""
    path = make(tmp_path / "app.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as app:
        app.execute("INSERT INTO beats (at) VALUES ('2026-11-22T22:00:00Z')")
        before = (tmp_path / "app.db-wal").stat()
        keeper, vault = keeper_of(path, tmp_path), MemoryVault()
        take(keeper, vault)
        after = (tmp_path / "app.db-wal").stat()
        assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
        assert before.st_size > 0
        # A machine crash leaves the file and its WAL, with nobody there.
        crashed = empty(tmp_path / "crashed")
        for name in ("app.db", "app.db-wal"):
            shutil.copy(tmp_path / name, crashed / name)
    whole = (crashed / "app.db").read_bytes()
    keeper = keeper_of(crashed / "app.db", tmp_path, "SELECT max(at) FROM beats")
    point = take(keeper, vault)
    assert point.newest == datetime.fromisoformat("2026-11-22T22:00:00+00:00"), (
        "what is only in the WAL is in the point"
    )
    assert (crashed / "app.db").read_bytes() == whole
    assert (crashed / "app.db-wal").stat().st_size == before.st_size


def test_a_writer_that_always_wins_is_reported_as_starvation(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", journal="delete", rows=30_000)
    over = threading.Event()
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        "db.execute(\"INSERT INTO beats (at) VALUES ('x')\")\n"
    )

    def progress(done_bytes: int, total_bytes: int | None, what: str) -> None:
        if not over.is_set():
            subprocess.run([sys.executable, "-c", program, str(path)], check=True)

    copying = Copying(path, tmp_path / "copy", SystemClock(), progress, budget=timedelta())
    with pytest.raises(TimedOut, match="writes to it all the time"):
        copying.run()
    assert copying.restarts >= 1
    over.set()
    copying = Copying(path, tmp_path / "copy", SystemClock(), unwatched)
    copying.run()
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def test_a_question_gives_one_value_and_can_change_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "app.db", rows=3)
    other = make(tmp_path / "other.db", rows=3)
    with keeper_of(path, tmp_path).live() as live:
        assert live.ask("SELECT count(*) FROM beats") == 3
        assert live.ask("SELECT NULL") is None
        assert str(live.ask("SELECT 0.5")) == "0.5"
        assert live.ask("SELECT x'00ff'") == "2 bytes"
        for wrong in (
            "SELECT n, at FROM beats LIMIT 1",
            "SELECT 1 WHERE 0",
            "SELECT n FROM beats",
            "SELECT 1; SELECT 2",
        ):
            with pytest.raises(Usage):
                live.ask(wrong)
        for change in (
            "DELETE FROM beats", f"ATTACH '{other}' AS o", "PRAGMA query_only = OFF", "PRAGMA journal_mode = delete",
            "VACUUM", "DROP TABLE beats",
        ):  # fmt: skip
            with pytest.raises(BackstayError):
                live.ask(change)
        assert live.counts() == {"beats": 3}


def test_a_question_that_takes_too_long_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backstay.adapters.sqlite import answers

    monkeypatch.setattr(answers, "PATIENCE", timedelta(milliseconds=50))
    path = make(tmp_path / "app.db", rows=3)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with keeper_of(path, tmp_path).live() as live, pytest.raises(TimedOut):
        live.ask(endless)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceDown):
        take(keeper_of(tmp_path / "absent.db", tmp_path), MemoryVault())
    (tmp_path / "text.db").write_text("this is no database, but long enough to have a header " * 20)
    with pytest.raises(SourceUnsuitable):
        take(keeper_of(tmp_path / "text.db", tmp_path), MemoryVault())


def test_damage_inside_is_found_by_the_proof_and_refused_by_the_restore(tmp_path: Path) -> None:
    path, vault = make(tmp_path / "app.db"), MemoryVault()
    keeper = keeper_of(path, tmp_path)
    point = take(keeper, vault)
    before = path.read_bytes()

    def tear(file: Path) -> None:
        with file.open("r+b") as opened:
            opened.seek(4096 * 20)
            opened.write(b"\xff" * 4096)

    reader = Tampered(vault.open(point.id), {STORED: tear})
    with keeper.sandbox(reader, empty(tmp_path / "sandbox")) as restored:
        assert verdicts(restored.inspect("full"))["I08"] is Verdict.FAILED
    with pytest.raises(PointRefuted, match="not sound"):
        keeper.restore(reader, acting())
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.beside-*"))


def test_rows_that_refer_to_nothing_are_found_unless_the_source_had_them(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)")
        db.execute("CREATE TABLE c (p REFERENCES p)")
        db.execute("INSERT INTO c VALUES (7)")
    keeper, vault = keeper_of(path, tmp_path), MemoryVault()
    point = take(keeper, vault)
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
    reader = Tampered(vault.open(point.id), {}, about={"orphans": "0"})
    with keeper.sandbox(reader, empty(tmp_path / "sandbox2")) as restored:
        assert verdicts(restored.inspect("full"))["I09"] is Verdict.FAILED


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    small = empty(tmp_path / "small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", small]).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        path = make(tmp_path / "app.db", rows=5000)
        with pytest.raises(DiskFull):
            take(SqliteKeeper(path, SystemClock(), scratch=small), MemoryVault())
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", small], check=True)


# ── recovery ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_moved_away_from_under_a_running_application(tmp_path: Path) -> None:
    path, vault = make(tmp_path / "app.db"), MemoryVault()
    keeper = keeper_of(path, tmp_path)
    point = take(keeper, vault)
    assert isinstance(keeper.alive(), NotAlive)
    with writing(path):
        assert isinstance(keeper.alive(), Alive)
        assert who_has_open(path)
        for act in (lambda: keeper.preserve(acting()), lambda: keeper.restore(vault.open(point.id), acting())):
            with pytest.raises(TargetAlive):
                act()
    assert isinstance(keeper.preserve(acting()), Succeeded)


def test_the_wal_goes_with_the_old_file_and_is_not_left_for_the_new_one(tmp_path: Path) -> None:
    """A WAL that is left beside another database would be replayed into it."""
    path, vault = make(tmp_path / "app.db"), MemoryVault()
    keeper = keeper_of(path, tmp_path)
    point = take(keeper, vault)
    program = (
        "import os, signal, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute(\"INSERT INTO beats (at) VALUES ('lost')\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "app.db-wal").stat().st_size > 0
    done = keeper.restore(vault.open(point.id), acting())
    assert isinstance(done, Succeeded)
    kept = Path(done.values["kept"])
    assert kept.with_name(kept.name + "-wal").exists()
    assert not (tmp_path / "app.db-wal").exists()
    with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(path)) as new:
        assert old.execute("SELECT count(*) FROM beats WHERE at = 'lost'").fetchone() == (1,), "for forensics"
        assert new.execute("SELECT count(*) FROM beats WHERE at = 'lost'").fetchone() == (0,)


def test_rights_of_the_file_stay_as_they_were(tmp_path: Path) -> None:
    path, vault = make(tmp_path / "app.db"), MemoryVault()
    path.chmod(0o640)
    keeper = keeper_of(path, tmp_path)
    point = take(keeper, vault)
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    real, vault = make(empty(tmp_path / "real") / "app.db"), MemoryVault()
    link = tmp_path / "app.db"
    link.symlink_to(real)
    keeper = keeper_of(link, tmp_path)
    point = take(keeper, vault)
    assert isinstance(keeper.restore(vault.open(point.id), acting()), Succeeded)
    assert link.is_symlink()
    assert not real.is_symlink()


LAST_WORDS = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("INSERT INTO beats (at) VALUES ('lost')")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _dies_at(stage: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def test_there_is_no_moment_without_a_database(tmp_path: Path) -> None:
    """Whoever opens the path of a database that is not there makes an empty one."""
    path, vault, seen = make(tmp_path / "app.db"), MemoryVault(), list[str]()
    point = take(keeper_of(path, tmp_path), vault)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM beats")
        db.commit()
    old = path.stat().st_ino

    def reached(stage: str) -> None:
        assert path.exists(), stage
        seen.append(stage)

    done = SqliteKeeper(path, SystemClock(), scratch=tmp_path / "scratch", reached=reached).restore(
        vault.open(point.id), acting()
    )
    assert isinstance(done, Succeeded)
    assert seen == ["laid", "log moved aside", "old one kept", "swapped"]
    assert Path(done.values["kept"]).stat().st_ino == old
    assert path.stat().st_ino != old
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM beats").fetchone() == (2000,)


@pytest.mark.parametrize("stage", ["laid", "log moved aside", "old one kept", "swapped"])
def test_killed_at_any_stage_of_a_restore_the_next_driver_ends_it(tmp_path: Path, stage: str) -> None:
    """kill -9, and both the old rows and the new ones are there afterwards, the log of the old ones with them."""
    path, vault = make(tmp_path / "app.db"), new_vault(MemoryStore())
    keeper = keeper_of(path, tmp_path)
    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        point = writer.seal(keeper.take(writer).sealing)
    crashed = [sys.executable, "-c", LAST_WORDS, str(path)]
    assert subprocess.run(crashed).returncode == -signal.SIGKILL
    pid = os.fork()
    if pid == 0:  # the child has the vault open, and dies as a driver would
        try:
            dies = SqliteKeeper(path, SystemClock(), scratch=tmp_path / "scratch", reached=_dies_at(stage))
            dies.restore(vault.open(point.id), acting())
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    later = acting(epoch=2)
    if not isinstance(keeper.look_restored(later), Happened):
        assert isinstance(keeper.restore(vault.open(point.id), later), Succeeded)
    seen = keeper.look_restored(later)
    assert isinstance(seen, Happened)
    kept = Path(seen.values["kept"])
    with closing(sqlite3.connect(kept)) as old, closing(sqlite3.connect(path)) as new:
        assert old.execute("SELECT count(*) FROM beats WHERE at = 'lost'").fetchone() == (1,)
        assert new.execute("SELECT count(*), sum(at = 'lost') FROM beats").fetchone() == (2000, 0)
    assert not list(tmp_path.glob("*.beside-*"))


def test_a_second_point_stores_what_changed(tmp_path: Path) -> None:
    path, vault = make(tmp_path / "app.db", rows=30_000), new_vault(MemoryStore())
    keeper, points = keeper_of(path, tmp_path), list[Point]()
    for _ in range(2):
        with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
            points.append(writer.seal(keeper.take(writer).sealing))
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE beats SET filler = hex(randomblob(150)) WHERE n = 17")
            db.commit()
    assert points[0].size_bytes > 10_000_000
    assert points[1].stored_bytes < points[0].stored_bytes / 20


def test_what_a_killed_backup_copied_is_gone_with_the_next(tmp_path: Path) -> None:
    path, scratch = make(tmp_path / "app.db"), tmp_path / "scratch"
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from backstay.adapters.clock import SystemClock\n"
        "from backstay.adapters.memory.vault import MemoryVault\n"
        "from backstay.adapters.sqlite import SqliteKeeper\n"
        "class Dies:\n"
        "    id = 'x'\n"
        "    def add(self, *_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "SqliteKeeper(Path(sys.argv[1]), SystemClock(), scratch=Path(sys.argv[2])).take(Dies())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path), str(scratch)])
    assert done.returncode == -signal.SIGKILL
    assert list(scratch.glob("backstay-sqlite-*/database.sqlite")), "a copy of all the data, in the clear"
    take(keeper_of(path, tmp_path), MemoryVault())
    assert list(scratch.iterdir()) == []
