"""The protected service of the demo, running: `examples/catalytic` on a database of its own.

`catalytic` shares the session's PostgreSQL; `make_catalytic` runs the service on a server of the test's own, to stop,
wreck and restore. Everything goes through the doors that an operator has: the command line and HTTP.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from fix_postgres import READY_SECONDS, Server, free_port
from fix_waiting import until

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Beat:
    """A line of the writer's log: a row that was committed."""

    n: int
    at: str


@dataclass
class Catalytic:
    """The service's command line, its processes and its address. Nothing runs before `start`."""

    dsn: str
    folder: Path
    port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def sqlite(self) -> Path:
        return self.folder / "settings.db"

    @property
    def beats_log(self) -> Path:
        return self.folder / "beats.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def argv(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "catalytic", *map(str, words)]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(EXAMPLES),
            "DATABASE_URL": self.dsn,
            "CATALYTIC_SQLITE": str(self.sqlite),
        }

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """One verb of its command line, to its end: `run("seed", "--size", "1M")`."""
        return subprocess.run(
            self.argv(*words), env=self.environment(), capture_output=True, text=True, check=False, timeout=120
        )

    def seed(self, *words: str) -> None:
        done = self.run("seed", *(words or ("--size", "1M", "--tenants", "5")))
        assert done.returncode == 0, done.stderr

    # ── the service ──────────────────────────────────────────────────────────────────────────────

    def start(self, *, healthy: bool = True) -> None:
        """Start the service, and come back when it answers: with green health, unless `healthy=False`."""
        self._launch("serve", "--port", str(self.port))
        until(
            lambda: self.health() in ((200,) if healthy else (200, 503)), "the service answers", seconds=READY_SECONDS
        )

    def stop(self) -> int:
        """SIGTERM, as an operator would; its exit status."""
        return self._end("serve")

    def health(self) -> int:
        """The status of `/health`; 0 when nobody answers."""
        try:
            return httpx2.get(f"{self.url}/health", timeout=10.0).status_code
        except httpx2.TransportError:
            return 0

    def client(self) -> httpx2.Client:
        """Use it in a `with`, so that it is closed."""
        return httpx2.Client(base_url=self.url, timeout=30.0)

    def smoke(self, email: str) -> list[int]:
        """What a user does: register, log in, make a lattice, leave; the status of each."""
        with self.client() as client:
            who = {"email": email, "password": PASSWORD}
            answers = [client.post("/register", json=who), client.post("/login", json=who)]
            bearer = {"Authorization": f"Bearer {answers[-1].json().get('token', 'none')}"}
            answers.append(client.post("/lattices", json={"dimensions": 4, "size": 5}, headers=bearer))
            answers.append(client.delete("/me", headers=bearer))
        return [answer.status_code for answer in answers]

    # ── the writer ───────────────────────────────────────────────────────────────────────────────

    def start_writer(self, every: str = "5ms") -> None:
        """Start the writer, and come back when its next row is committed."""
        before = len(self.beats())
        self._launch("write", "--log", str(self.beats_log), "--every", every)
        until(lambda: len(self.beats()) > before, "the writer commits a row", seconds=READY_SECONDS)

    def stop_writer(self) -> int:
        return self._end("write")

    def beats(self) -> list[Beat]:
        """Every row that the writer was told is committed, in order."""
        if not self.beats_log.exists():
            return []
        lines = (line.split() for line in self.beats_log.read_text().splitlines())
        return [Beat(int(n), at) for n, at in lines]

    # ── processes ────────────────────────────────────────────────────────────────────────────────

    def said(self, verb: str) -> str:
        """What `serve` or `write` put on standard error."""
        return (self.folder / f"{verb}.log").read_text()

    def _launch(self, verb: str, *words: str) -> None:
        assert verb not in self.running, f"{verb} is running already"
        dies_with_us = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with (self.folder / f"{verb}.log").open("ab") as log:
            self.running[verb] = subprocess.Popen(
                [*dies_with_us, *self.argv(verb, *words)],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, verb: str) -> int:
        process = self.running.pop(verb)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"{verb} did not stop on SIGTERM")

    def close(self) -> None:
        """At the end of a test: gone, whatever it was doing."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────

MakeCatalytic = Callable[[Server], Catalytic]
"""The service on a new, seeded database `catalytic` of this server; started by `start()`."""


@contextmanager
def making_catalytic(folder: Path) -> Generator[MakeCatalytic]:
    with ExitStack() as ends:

        def make(server: Server) -> Catalytic:
            with server.connect() as connection:
                connection.execute("CREATE DATABASE catalytic TEMPLATE template0")
            own = folder / f"catalytic-{server.port}"
            own.mkdir()
            made = Catalytic(server.dsn("catalytic"), own)
            ends.callback(made.close)
            made.seed()
            return made

        yield make


@pytest.fixture(scope="session")
def seeded(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Catalytic:
    """Seeded once; each test gets a copy. Nobody connects to it: a database in use cannot be copied."""
    original = Catalytic(postgres.dsn(postgres.make_database()), tmp_path_factory.mktemp("seeded"))
    original.seed()
    return original


@pytest.fixture
def catalytic(postgres: Server, seeded: Catalytic, tmp_path: Path) -> Iterator[Catalytic]:
    """The service on a small database of its own in the session's server; started by `start()`."""
    dbname = postgres.make_database(template=seeded.dsn.rpartition("/")[2])
    shutil.copy(seeded.sqlite, tmp_path / "settings.db")
    made = Catalytic(postgres.dsn(dbname), tmp_path)
    yield made
    made.close()
    postgres.drop_database(dbname)


@pytest.fixture
def make_catalytic(tmp_path: Path, make_postgres: object) -> Iterator[MakeCatalytic]:
    """The service on servers of your own: `make_catalytic(make_postgres())`. Ends before they do."""
    with making_catalytic(tmp_path) as make:
        yield make
