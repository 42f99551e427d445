"""A small estate that an operator could have: the example SaaS with its databases, a plan, a key and a vault.

Everything is asked through the command line, as `estate.backstay("backup")`, in a process of its own with an
environment of its own. Whatever it answers is searched for secrets and for tracebacks, in every test.

Making one takes some seconds, so it is made once per session and copied: `fresh` has a seeded database and a plan, and
nothing else; `protected` has a vault as well, with proven points; nothing runs in either before `start()`. `struck` is
`protected` after the disaster, running. All copies have the same ports: a restored server comes back on the port that
its point was taken on.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import httpx2
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from fix_catalytic import EXAMPLES
from fix_postgres import READY_SECONDS, MakePostgres, as_server_user, free_port, making, postgres_bin, run
from fix_waiting import until

PORTS = ("28400", "28401", "28432", "28433")
"""Of the example's plan: the application and its database, then the sandbox's."""

TABLES = ("tenants", "users", "lattices", "events", "heartbeat")
LONGEST_S = 120.0
PERSON = "devops-lead"
DATABASE = "database"
SCENARIO = "database-loss"
RECOVER = ("recover", SCENARIO, "--by", PERSON, "--reason", "tables are gone", "--confirm", SCENARIO)

Rows = Mapping[str, tuple[int, str]]
"""Of each table: how many rows, and a checksum of all of them, whatever their order."""


# ── processes in a folder ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Running:
    """A process, as it was when we looked."""

    pid: int
    name: str
    folder: Path
    words: tuple[str, ...]

    def process(self) -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid)
        return None


def running_below(folder: Path) -> list[Running]:
    """By their working directory: commands stand in the home, PostgreSQL in its data, nobody else in either."""
    found: list[Running] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            where = Path(process.cwd())
            if where.is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(Running(process.pid, process.name(), where, tuple(process.cmdline())))
    return found


def end_everything(folder: Path) -> None:
    while running := [process for seen in running_below(folder) if (process := seen.process()) is not None]:
        for process in running:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(running, timeout=1.0)


_JANITOR = """
import sys
sys.stdin.read()
sys.path[:0] = sys.argv[2:]
import pathlib, fix_estate
fix_estate.end_everything(pathlib.Path(sys.argv[1]))
"""
"""Reads until its other end is closed, also because pytest was killed; then nothing that stands in the folder stays."""


# ── an estate ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All of it, as the operator saw it."""
        return f"$ backstay {' '.join(self.words)}\n{self.out}{self.err}[exit {self.code}]"

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> dict[str, Any]:
        """The error that `--json` puts on standard error, all four parts of it."""
        told: dict[str, Any] = json.loads(self.err)
        assert set(told) == {"code", "error", "known", "try"}, told
        return told

    def good(self) -> "Done":
        assert self.code == 0, self.said
        return self


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that runs."""

    words: tuple[str, ...]
    process: subprocess.Popen[str]

    def signal_group(self, number: signal.Signals) -> None:
        """As a terminal does for Ctrl-C: to the command, and to whatever it started in its process group."""
        os.killpg(self.process.pid, number)


@dataclass
class Estate:
    """One home. `folder` is where its owner stands when typing."""

    folder: Path
    ports: Mapping[str, int]
    bin_dir: Path
    secrets: Mapping[str, str]
    api: subprocess.Popen[bytes] | None = field(default=None)
    writer: subprocess.Popen[bytes] | None = field(default=None)
    begun: list[Begun] = field(default_factory=list[Begun])
    before: Sequence[str] = ()
    """What is put before every command, and before PostgreSQL's: to run it elsewhere, or at another time."""

    # ── the command line ─────────────────────────────────────────────────────────────────────────

    @cached_property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BACKSTAY_"))}
        return {
            **kept,
            "PYTHONPATH": f"{EXAMPLES.parent / 'src'}:{EXAMPLES}",
            "PYTHONDONTWRITEBYTECODE": "",  # compiling everything anew would take longer than most commands
            "SMOKE_PASSWORD": self.secrets["smoke-password"],
            "DATABASE_URL": self.secrets["database-url"],
            "CATALYTIC_SQLITE": str(self.settings),
            "COLUMNS": "160",
        }

    def backstay(
        self,
        *words: str | Path,
        env: Mapping[str, str] | None = None,
        typed: str = "",
    ) -> Done:
        """One command to its end. `env` is added to the environment."""
        ended = subprocess.run(
            [*self.before, *program(), *map(str, words)],
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
        return self.judged(Done(tuple(map(str, words)), ended.returncode, ended.stdout, ended.stderr))

    def begin(self, *words: str | Path) -> "Begun":
        """One command, left to itself in a process group of its own, as in a terminal; `end` waits for it."""
        process = subprocess.Popen(
            [*self.before, *program(), *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.begun.append(Begun(tuple(map(str, words)), process))
        return self.begun[-1]

    def end(self, begun: "Begun") -> Done:
        out, err = begun.process.communicate(timeout=LONGEST_S)
        return self.judged(Done(begun.words, begun.process.returncode, out, err))

    def judged(self, done: Done) -> Done:
        """What holds of every command, whatever it was asked."""
        assert "Traceback" not in done.said, done.said
        assert "a defect in Backstay" not in done.said, done.said
        for name, secret in self.secrets.items():
            assert secret not in done.said, f"{name} was printed by: backstay {' '.join(done.words)}"
        return done

    # ── places ───────────────────────────────────────────────────────────────────────────────────

    @property
    def plan(self) -> Path:
        return self.folder / "backstay.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "pg" / "data"

    @property
    def settings(self) -> Path:
        return self.folder / "settings" / "catalytic.db"

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    @property
    def key(self) -> Path:
        return self.folder / "backstay.key"

    def edit_plan(self, before: str, after: str) -> None:
        text = self.plan.read_text()
        assert before in text, f"the plan has no {before!r}"
        self.plan.write_text(text.replace(before, after))

    # ── the database ─────────────────────────────────────────────────────────────────────────────

    @property
    def dsn(self) -> str:
        return self.secrets["database-url"]

    def start_database(self) -> None:
        self._pg_ctl("-l", str(self.folder / "pg" / "log"), "start")

    def stop_database(self) -> None:
        self._pg_ctl("-m", "fast", "stop")

    def _pg_ctl(self, *words: str) -> None:
        argv = [*self.before, *as_server_user([self.bin_dir / "pg_ctl", "-D", self.data, "-w", *words])]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert ended.returncode == 0, ended.stderr.decode(errors="replace")

    def rows(self) -> Rows:
        return rows_of(self.dsn)

    def amcheck(self) -> None:
        """Every table and index of the live database is sound, down to each index entry's row."""
        amcheck(self.bin_dir, self.dsn)

    # ── the application ──────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """The database, and the application on it."""
        self.start_database()
        self.start_api()

    def start_api(self, *, healthy: bool = True) -> None:
        port = self.ports["28400"]
        (self.folder / "run").mkdir(exist_ok=True)
        self.api = self._launch("api", "serve", "--port", str(port))
        (self.folder / "run" / "api.pid").write_text(f"{self.api.pid}\n")
        until(
            lambda: self.health() in ((200,) if healthy else (200, 503)),
            "the application answers",
            seconds=READY_SECONDS,
        )

    def start_writer(self) -> None:
        """Customers who add rows, and note each that was committed."""
        self.writer = self._launch("writer", "write", "--every", "10ms", "--log", str(self.folder / "writer.log"))
        log = self.folder / "writer.log"
        until(lambda: log.exists() and log.stat().st_size > 0, "the writer commits a row", seconds=READY_SECONDS)

    def stop_writer(self) -> None:
        assert self.writer is not None
        self.writer.send_signal(signal.SIGTERM)
        self.writer.wait(LONGEST_S)
        self.writer = None

    def health(self) -> int:
        """What `/health` answers; 0: nobody does."""
        try:
            return httpx2.get(f"http://127.0.0.1:{self.ports['28400']}/health", timeout=10.0).status_code
        except httpx2.TransportError:
            return 0

    def catalytic(self, *words: str) -> str:
        """One verb of the application's own command line; what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "catalytic", *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=LONGEST_S,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def wreck(self, seed: int = 7) -> None:
        """Tables are dropped, and pages of the files overwritten, for real."""
        self.catalytic("wreck", "--data", "pg/data", "--seed", str(seed))

    def _launch(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        (self.folder / "run").mkdir(exist_ok=True)
        with (self.folder / "run" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*self.before, sys.executable, "-m", "catalytic", *words],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    # ── what runs ────────────────────────────────────────────────────────────────────────────────

    def running(self) -> list[Running]:
        """Whatever runs in this home, whoever started it."""
        return running_below(self.folder)

    def close(self) -> None:
        end_everything(self.folder)
        for child in (self.api, self.writer):
            if child is not None:
                child.wait(LONGEST_S)
        for begun in self.begun:
            if begun.process.returncode is None:
                begun.process.communicate()


def program() -> list[str]:
    return [str(Path(sys.executable).with_name("backstay"))]


def rows_of(dsn: str, **where: Any) -> Rows:
    found: dict[str, tuple[int, str]] = {}
    with psycopg.connect(dsn, autocommit=True, **where) as connection:
        for table in TABLES:
            question = SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {} t")
            row = connection.execute(question.format(Identifier(table))).fetchone()
            assert row is not None
            found[table] = (int(row[0]), str(row[1]))
    return found


def amcheck(bin_dir: Path, dsn: str) -> None:
    told = conninfo_to_dict(dsn)
    words = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
    ended = subprocess.run(
        [bin_dir / "pg_amcheck", "--heapallindexed", "--install-missing", "-d", str(told["dbname"])],
        env={**os.environ, **{name: str(told[word]) for name, word in words.items() if word in told}},
        capture_output=True, text=True, timeout=LONGEST_S,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr


def rows_in_point(estate: Estate, make_postgres: MakePostgres, to: Path, *words: str) -> Rows:
    """A point is laid down in the folder `to`, and a server of ours is started on that."""
    estate.backstay("restore", DATABASE, "--to", to, *words).good()
    server = make_postgres(data=to / "data")
    return rows_of(server.dsn("catalytic"), password=estate.secrets["postgres-password"])


# ── making one ───────────────────────────────────────────────────────────────────────────────────


def write_secret(folder: Path, name: str, text: str) -> None:
    path = folder / "secrets" / name
    path.touch(mode=0o600)
    path.write_text(f"{text}\n")


def make(folder: Path) -> Estate:
    """A database, its settings and a plan; nothing runs."""
    ports = {usual: free_port() for usual in PORTS}
    for name in ("pg", "run", "secrets", "settings", "sandbox/pg", "sandbox/settings"):
        (folder / name).mkdir(parents=True, mode=0o700)
    (folder / "pg" / "DEMO-DATA-MAY-BE-DESTROYED").touch()
    password = f"pg-{secrets.token_urlsafe(15)}"
    known = {"postgres-password": password, "smoke-password": f"smoke-{secrets.token_urlsafe(15)}"}
    for name, port in (("database-url", "28432"), ("sandbox-url", "28433")):
        known[name] = f"postgresql://postgres:{password}@127.0.0.1:{ports[port]}/catalytic"
    for name, value in known.items():
        write_secret(folder, name, value)
    plan = (EXAMPLES / "catalytic" / "backstay.yaml").read_text()
    for usual, chosen in ports.items():
        plan = plan.replace(usual, str(chosen))
    (folder / "backstay.yaml").write_text(plan)
    launcher = folder / "catalytic"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{EXAMPLES}" exec "{sys.executable}" -m catalytic "$@"\n')
    launcher.chmod(0o755)
    estate = Estate(folder, ports, postgres_bin(), known)
    _make_database(estate, password)
    return estate


def _make_database(estate: Estate, password: str) -> None:
    words = ["-U", "postgres", "-A", "scram-sha-256", "-k", "-N", "--locale=C", "-E", "UTF8"]
    pwfile = f"--pwfile={estate.folder / 'secrets' / 'postgres-password'}"
    run([estate.bin_dir / "initdb", "-D", estate.data, *words, pwfile])
    # Not `fix_postgres.QUICK`: a server without fsync is one that Backstay refuses to take points of.
    conf = {
        "port": str(estate.ports["28432"]),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "16MB",
        "timezone": "UTC",
    }
    with (estate.data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in conf.items())
    estate.start_database()
    with psycopg.connect(estate.dsn.replace("/catalytic", "/postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE catalytic")
    estate.catalytic("seed", "--size", "1M", "--tenants", "3")
    estate.stop_database()


def copy_of(original: Estate, folder: Path, without: str = "") -> Estate:
    shutil.copytree(original.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(without))
    return Estate(folder, original.ports, original.bin_dir, original.secrets)


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def estates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all of them; what runs there ends with the session, also when pytest is killed."""
    root = tmp_path_factory.mktemp("estates")
    tests = str(Path(__file__).parent)
    janitor = subprocess.Popen(
        [sys.executable, "-c", _JANITOR, str(root), tests, str(EXAMPLES)], stdin=subprocess.PIPE, start_new_session=True
    )
    yield root
    assert janitor.stdin is not None
    janitor.stdin.close()
    janitor.wait(LONGEST_S)


@pytest.fixture(scope="session")
def fresh_original(estates: Path) -> Estate:
    return make(estates / "fresh")


@pytest.fixture(scope="session")
def protected_original(estates: Path, fresh_original: Estate) -> Estate:
    estate = copy_of(fresh_original, estates / "protected")
    try:
        estate.start()
        estate.backstay("init").good()
        estate.backstay("smoke").good()
        estate.backstay("backup").good()
        estate.backstay("verify").good()
        estate.stop_database()
    finally:
        estate.close()
    return estate


@pytest.fixture(scope="session")
def struck_original(estates: Path, protected_original: Estate) -> Estate:
    estate = copy_of(protected_original, estates / "struck")
    try:
        estate.start()
        estate.backstay("smoke").good()
        estate.wreck()
        assert estate.backstay("smoke").code == 64
        estate.stop_database()
    finally:
        estate.close()
    return estate


@pytest.fixture(scope="session")
def point_rows(tmp_path_factory: pytest.TempPathFactory, protected_original: Estate) -> Rows:
    """What stands in the point of `protected` itself."""
    with making(tmp_path_factory.mktemp("servers")) as make_postgres:
        return rows_in_point(protected_original, make_postgres, tmp_path_factory.mktemp("point") / "laid")


class Lend(Protocol):
    def __call__(self, original: Estate, *, without: str = "") -> Estate:
        """A copy that ends with the test; `without` leaves out the folders of that name."""
        ...


@pytest.fixture
def lend(estates: Path) -> Iterator[Lend]:
    lent: list[Estate] = []

    def copy(original: Estate, *, without: str = "") -> Estate:
        lent.append(copy_of(original, estates / f"home-{secrets.token_hex(3)}", without))
        return lent[-1]

    yield copy
    for estate in lent:
        estate.close()
        shutil.rmtree(estate.folder)


@pytest.fixture
def fresh(lend: Lend, fresh_original: Estate) -> Estate:
    """A seeded database, its settings and a plan; no key, no vault, and nothing runs."""
    return lend(fresh_original)


@pytest.fixture
def protected(lend: Lend, protected_original: Estate) -> Estate:
    """The same with a key, a vault and a proven point of each component; nothing runs."""
    return lend(protected_original)


@pytest.fixture
def shelf(lend: Lend, protected_original: Estate) -> Estate:
    """`protected` without its database: plan, key, vault and journal. Quick to copy."""
    return lend(protected_original, without="pg")


@pytest.fixture
def struck(lend: Lend, struck_original: Estate) -> Estate:
    """The disaster has happened to `protected`, and the smoke checks saw it; the damaged server and the application on
    it run."""
    estate = lend(struck_original)
    estate.start_database()
    estate.start_api(healthy=False)
    return estate
