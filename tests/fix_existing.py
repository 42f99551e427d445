"""Backups that other programs hold: a pgBackRest repository, and dumps of every format."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.adapters.postgres.existing import ExistingShelf, Wanted
from backstay.plan import Existing, PgBackRest
from fix_postgres import MakePostgres, Server, as_server_user, making, run
from fix_story import DATABASE


def pgbackrest() -> str:
    found = shutil.which("pgbackrest")
    if found is None:
        pytest.skip("pgbackrest is not installed here")
    return found


@dataclass(frozen=True)
class Repository:
    """A server that archives into a repository, with one full set in it, and rows that were written after it."""

    server: Server
    folder: Path
    label: str

    @property
    def settings(self) -> PgBackRest:
        return PgBackRest("main", str(self.folder))


def make_repository(make: MakePostgres, below: Path, *, promoted: bool = False) -> Repository:
    program = pgbackrest()
    folder, data = below / "repository", below / "data"
    words = ["--no-config", "--stanza=main", f"--repo1-path={folder}", "--log-level-file=off",
             f"--lock-path={below / 'locks'}", f"--pg1-path={data}"]  # fmt: skip
    archive = " ".join([program, *words, "archive-push", "%p"])
    server = make(15, data=data, conf={"archive_mode": "on", "archive_command": archive, "fsync": "on"})
    session = ["--pg1-user=postgres", f"--pg1-port={server.port}", f"--pg1-socket-path={server.sockets}"]
    run([program, *words, *session, "stanza-create"])
    with server.connect() as db:
        db.execute("CREATE TABLE tenants (id int PRIMARY KEY, name text)")
        db.execute("INSERT INTO tenants SELECT n, md5(n::text) FROM generate_series(1, 1000) n")
    if promoted:
        server.stop()
        (data / "standby.signal").touch()
        server.start()
        with server.connect() as db:
            db.execute("SELECT pg_promote(true)")
    run([program, *words, *session, "--repo1-retention-full=9", "--compress-type=none", "--start-fast", "backup"])
    with server.connect() as db:
        db.execute("INSERT INTO tenants VALUES (2000, 'after the backup')")
        db.execute("SELECT pg_switch_wal()")
        db.execute("CHECKPOINT")
    (label,) = [path.name for path in (folder / "backup" / "main").iterdir() if path.name[0] == "2"]
    return Repository(server, folder, label)


@pytest.fixture(scope="module")
def repository_original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    below = tmp_path_factory.mktemp("pgbackrest")
    with making(below) as make:
        yield make_repository(make, below)


@pytest.fixture
def repository(repository_original: Repository, tmp_path: Path) -> Repository:
    """A copy that may be damaged; its server is everybody's."""
    shutil.copytree(repository_original.folder, tmp_path / "repository", symlinks=True)
    return Repository(repository_original.server, tmp_path / "repository", repository_original.label)


def shelf(settings: Existing, scratch: Path, database: str = "postgres", *, latest: bool = False) -> ExistingShelf:
    return ExistingShelf(settings, Wanted(DATABASE, database, scratch, latest))


def keeper_of(dsn: str, scratch: Path) -> PostgresKeeper:
    return PostgresKeeper(PostgresPlace(dsn, scratch=scratch), SystemClock())


def dump(server: Server, database: str, to: Path, *words: str) -> Path:
    """What pg_dump makes of one database."""
    argv = [server.bin_dir / "pg_dump", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-f", to]
    run([*argv, *words, database])
    return to


def dump_all(server: Server, to: Path, *words: str) -> Path:
    argv = [server.bin_dir / "pg_dumpall", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-f", to]
    run([*argv, *words])
    return to


def said_by(argv: list[str]) -> tuple[int, str]:
    """How a program ends, whatever it ends with."""
    done = subprocess.run(as_server_user(argv), check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
