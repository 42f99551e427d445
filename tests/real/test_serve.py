"""The service: what is due is done without anybody, once; and nothing is lost by killing it, or its queue."""

import json
import signal
import sqlite3
import subprocess
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fix_estate import RECOVER, Estate, Rows, Running, program
from fix_postgres import READY_SECONDS
from fix_waiting import until

PLAN = """
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
vaults:
  local: {url: ./vault, keep: 30d}
components:
  orders:
    sqlite: {path: orders.db}
    protect: {full: "02:00"}
people:
  anna: {name: Anna, email: anna@example.com}
  berta: {name: Berta, email: berta@example.com}
declaration: {authority: {alone: [anna, berta]}}
scenarios:
  rehearsed:
    title: Something to go on with
    probability: low
    impact: low
    objectives: {rto: 1h, rpo: 24h}
    strategy: Ask, then act
    procedure:
      - phase: Ask
        steps:
          - {name: may-we, approve: {question: "May we?", by: [anna]}}
      - phase: Act
        steps:
          - command: {run: [sh, -c, "echo once >> acted"]}
            repeatable: true
"""


@dataclass
class Home:
    folder: Path
    environment: Mapping[str, str] | None = None
    services: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def run(self, *words: str, accept: tuple[int, ...] = (0,)) -> Any:
        ended = subprocess.run(
            [*program(), *words, "--json"], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode in accept, ended.stdout + ended.stderr
        return json.loads(ended.stdout or ended.stderr)

    def serve(self, *words: str) -> subprocess.Popen[bytes]:
        """A service, in a process group of its own; what it says is in `serve.log`."""
        with self.log.open("ab") as log:
            begun = subprocess.Popen(
                [*program(), "serve", *words, "--json"], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.services.append(begun)
        return begun

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def events(self, job: str = "") -> list[dict[str, Any]]:
        """What the services said of one job, oldest first."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in told if not job or one["job"] == job]

    def ended(self, job: str, number: int = 1) -> dict[str, Any]:
        """The n-th end of a job, as soon as it has come."""

        def ends() -> list[dict[str, Any]]:
            return [one for one in self.events(job) if one["what"] == "ended"]

        until(lambda: len(ends()) >= number, f"{job} ends: {self.log.read_text()}", seconds=READY_SECONDS)
        return ends()[number - 1]


@pytest.fixture
def home(tmp_path: Path) -> Generator[Home]:
    (tmp_path / "backstay.yaml").write_text(PLAN)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as db:
        db.execute("CREATE TABLE orders (id integer PRIMARY KEY)")
        db.execute("INSERT INTO orders VALUES (1), (2), (3)")
        db.commit()
    with closing_services(Home(tmp_path)) as made:
        made.run("init")
        yield made


@contextmanager
def closing_services(home: Home) -> Generator[Home]:
    try:
        yield home
    finally:
        for service in home.services:
            if service.poll() is None:
                service.kill()
            service.wait(READY_SECONDS)


def over(estate: Estate) -> AbstractContextManager[Home]:
    return closing_services(Home(estate.folder, estate.environment))


# ── what is due ──────────────────────────────────────────────────────────────────────────────────


def test_points_are_taken_and_proven_by_themselves_and_the_service_ends_well(home: Home) -> None:
    service = home.serve()
    assert home.ended("backup orders")["exit"] == 0
    assert home.ended("verify orders")["exit"] == 0
    assert home.ended("retain")["exit"] == 0
    service.send_signal(signal.SIGTERM)
    assert service.wait(READY_SECONDS) == 0
    assert [one["proof"] for one in home.run("points")["points"]] == ["proven"]
    assert home.events()[-1]["what"] == "ended"
    assert (home.folder / ".backstay" / "queue.sqlite").stat().st_mode & 0o777 == 0o600


def test_two_services_and_a_lost_queue_do_nothing_twice(home: Home) -> None:
    first, second = home.serve(), home.serve()
    home.ended("verify orders")
    home.ended("retain")
    for service in (first, second):
        service.send_signal(signal.SIGTERM)
        assert service.wait(READY_SECONDS) == 0
    for file in (home.folder / ".backstay").glob("queue.sqlite*"):
        file.unlink()
    home.serve()
    home.ended("retain", 2)  # the queue's memory of the day was all that there was
    begun = [one["job"] for one in home.events() if one["what"] == "begins" and one["job"]]
    assert sorted(begun) == ["backup orders", "retain", "retain", "verify orders"]


def test_what_a_queue_remembers_of_a_clock_that_was_ahead_stops_nothing(home: Home) -> None:
    service = home.serve()
    for job in ("backup orders", "verify orders", "retain"):
        home.ended(job)
    service.send_signal(signal.SIGTERM)
    assert service.wait(READY_SECONDS) == 0
    year = 365 * 86_400_000
    with closing(sqlite3.connect(home.folder / ".backstay" / "queue.sqlite")) as db, db:
        for column in ("created_at", "updated_at", "completed_at"):
            db.execute(f"UPDATE workflow_status SET {column} = {column} + {year}")
    home.serve()
    home.ended("retain", 2)


def test_what_a_job_says_and_why_it_failed_is_in_the_log_and_the_others_go_on(home: Home) -> None:
    (home.folder / "orders.db").rename(home.folder / "away.db")
    home.serve()
    ended = home.ended("backup orders")
    assert ended["exit"] not in (0, 1)
    assert any("orders" in one["said"] for one in home.events("backup orders") if one["what"] == "says")


def test_a_plan_that_is_broken_meanwhile_is_said_once_and_mended_later(home: Home) -> None:
    home.serve()
    home.ended("retain")
    good = (home.folder / "backstay.yaml").read_text()
    (home.folder / "backstay.yaml").write_text(good.replace("components:", "componnents:"))
    # Whatever the journal hears makes the service look at once.
    (home.folder / "other.yaml").write_text(good)
    home.run("backup", "orders", "--plan", "other.yaml")
    until(lambda: any(one["what"] == "trouble" for one in home.events()), "the trouble is said", seconds=READY_SECONDS)
    home.run("backup", "orders", "--plan", "other.yaml")
    (home.folder / "backstay.yaml").write_text(good)
    assert len([one for one in home.events() if one["what"] == "trouble"]) == 1


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_waits_for_a_person_goes_on_as_soon_as_the_answer_is_there(home: Home) -> None:
    home.run("recover", "rehearsed", "--by", "berta", "--reason", "to see", "--confirm", "rehearsed", accept=(61,))
    home.serve()
    home.ended("retain")
    run = str(home.run("run", "show")["run"])
    assert not home.events(f"resume {run}"), "nobody drives a run that waits for a person"
    words = ("yes", "--by", "anna", "--break-glass", "--reason", "she is here")
    home.run("run", "answer", run, "1.1-may-we", *words)
    assert home.ended(f"resume {run}")["exit"] == 0
    assert (home.folder / "acted").read_text() == "once\n"
    assert home.run("run", "show")["result"] == "recovered"


def test_a_recovery_whose_driver_was_killed_is_finished_by_the_service(struck: Estate, point_rows: Rows) -> None:
    begun = struck.begin(*RECOVER)
    until(lambda: any(struck.data.parent.glob("data.beside-*")), "it restores", seconds=READY_SECONDS)
    begun.process.kill()
    struck.end(begun)
    with over(struck) as home:
        service = home.serve()

        def result() -> str | None:
            return str(home.run("run", "show", accept=(0, 60, 61, 65))["result"])

        until(lambda: result() == "recovered", "the service finishes it", seconds=2 * READY_SECONDS)
        service.send_signal(signal.SIGTERM)
        assert service.wait(READY_SECONDS) == 0
    assert struck.rows() == point_rows, "the server that was restored outlives the service"


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unproven(fresh: Estate) -> Estate:
    """With points that nobody has proven: that is due at once."""
    fresh.start()
    fresh.backstay("init").good()
    fresh.backstay("backup").good()
    return fresh


def proving(estate: Estate, home: Home) -> subprocess.Popen[bytes]:
    """A service in the middle of a proof, with a server of its sandbox."""
    service = home.serve()
    scratch = estate.folder / ".backstay" / "scratch"
    until(lambda: any(scratch.rglob("postmaster.pid")), "it proves", seconds=2 * READY_SECONDS)
    return service


def ours(estate: Estate) -> list[Running]:
    return [one for one in estate.running() if "scratch" in str(one.folder) or "backstay" in " ".join(one.words)]


def test_what_a_killed_service_was_doing_ends_with_it_and_is_done_by_the_next(unproven: Estate) -> None:
    with over(unproven) as home:
        proving(unproven, home).kill()
        until(lambda: ours(unproven) == [], "nothing of ours runs", seconds=READY_SECONDS)
        home.serve()
        assert home.ended("verify database")["exit"] == 0
        left = list((unproven.folder / ".backstay" / "scratch").rglob("PG_VERSION"))
    assert left == [], "nobody's rows lie about in the clear"


def test_a_service_that_is_stopped_stops_its_jobs_and_leaves_nothing(unproven: Estate) -> None:
    with over(unproven) as home:
        service = proving(unproven, home)
        service.send_signal(signal.SIGINT)
        assert service.wait(READY_SECONDS) == 0
        assert home.ended("verify database")["exit"] == 130
        assert ours(unproven) == []


def test_the_log_of_a_component_is_followed_as_long_as_the_service_lives(fresh: Estate) -> None:
    fresh.start()
    fresh.edit_plan(
        "incremental: 6h}\n    newest: SELECT max(at) FROM heartbeat",
        "wal: continuous}\n    newest: SELECT max(at) FROM heartbeat",
    )
    fresh.backstay("init").good()
    with over(fresh) as home:
        service = home.serve()
        until(lambda: list(fresh.vault.glob("wal/*/*/*-*")), "log is kept", seconds=2 * READY_SECONDS)
        service.send_signal(signal.SIGTERM)
        assert service.wait(READY_SECONDS) == 0
        assert home.ended("follow database")["exit"] in (0, 130)
        assert ours(fresh) == []
