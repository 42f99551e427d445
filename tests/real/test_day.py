"""The day itself, through the command line, on real systems: points, proofs, the disaster, the recovery; and what may
go wrong while it runs: a driver that is killed, Ctrl-C, a second driver, a second recovery, an edited plan."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from fix_estate import DATABASE, PERSON, RECOVER, SCENARIO, Begun, Done, Estate, Rows, program, rows_in_point
from fix_postgres import READY_SECONDS, MakePostgres
from fix_waiting import until

# ── what there is to see ─────────────────────────────────────────────────────────────────────────


def report(estate: Estate, *run: str) -> dict[str, Any]:
    return estate.backstay("run", "show", *run, "--json").good().json


def facts(estate: Estate, stream: str) -> list[dict[str, Any]]:
    told = estate.backstay("journal", "show", stream, "--last", "1000", "--json").good().json
    return [one["fact"] for one in told["facts"]]


def beside(estate: Estate) -> list[Path]:
    """Where a restore is under way."""
    return [path for path in estate.data.parent.glob("data.beside-*") if path.is_dir()]


def damaged(estate: Estate) -> list[Path]:
    return sorted(estate.data.parent.glob("data.damaged-*"))


def bytes_in(folders: list[Path]) -> int:
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):
                total += path.stat().st_size
    return total


def is_recovered(estate: Estate, rows: Rows) -> dict[str, Any]:
    """What every recovery has to end in, whatever happened on its way; gives its report."""
    assert estate.rows() == rows
    estate.amcheck()
    assert estate.health() == 200
    told = report(estate)
    assert (told["result"], told["promises"]) == ("recovered", "kept")
    assert {step["state"] for step in told["steps"]} == {"done"}
    assert len(damaged(estate)) == 1, "the damaged state is kept, once"
    assert beside(estate) == []
    assert restored(told)["lineage"], "the new history has a name"
    estate.backstay("journal", "verify").good()
    return told


def only_what_is_protected_runs(estate: Estate) -> None:
    """The server and the application, and nothing that Backstay started besides: no command, no sandbox, no server on
    what is being restored."""
    for seen in estate.running():
        if seen.name == "postgres":
            assert seen.folder == estate.data, seen
        else:
            assert "catalytic" in seen.words, seen


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def test_a_database_is_lost_and_comes_back_proven(fresh: Estate, make_postgres: MakePostgres, tmp_path: Path) -> None:
    estate = fresh
    estate.start()
    estate.backstay("init").good()
    estate.start_writer()
    taken = estate.backstay("backup", "--json").good().json["backups"]
    assert [one["component"] for one in taken] == ["database", "settings"]
    proven = estate.backstay("verify", "--json").good().json["proofs"]
    assert [one["result"] for one in proven] == ["proven", "proven"]
    estate.backstay("smoke").good()
    estate.wreck()
    assert estate.backstay("smoke").code == 64
    estate.backstay(*RECOVER).good()
    estate.stop_writer()

    # The writer wrote on as soon as the database was back: only its table has more rows than the point.
    point = rows_in_point(estate, make_postgres, tmp_path / "laid", "--point", taken[0]["point"]["id"])
    rows = estate.rows()
    assert {t: rows[t] for t in ("tenants", "users", "events")} == {t: point[t] for t in ("tenants", "users", "events")}
    assert rows["heartbeat"][0] >= point["heartbeat"][0] > 1
    lost = json.loads(estate.catalytic("lost", "--log", "writer.log"))
    assert lost["lost"] > 0
    estate.amcheck()
    assert estate.health() == 200

    told = report(estate)
    assert told["result"] == "recovered"
    assert 0 < told["rto"]["actual_s"] < told["rto"]["target_s"]
    loss = told["rpo"]["database"]
    assert 0 <= loss["least_s"] <= loss["most_s"] < loss["target_s"]
    newest = datetime.fromisoformat(loss["newest"])
    first_lost, newest_kept = (datetime.fromisoformat(lost[key].split()[-1]) for key in ("first", "newest_kept"))
    assert newest < first_lost, "the newest that came back is older than the first that did not"
    assert newest <= newest_kept

    status = {one["name"]: one for one in estate.backstay("status", "--json").json["components"]}
    assert status["database"]["standing"] == "kept"
    assert status["database"]["rto"]["actual_s"] == told["rto"]["actual_s"]


def test_after_a_recovery_points_are_taken_on_its_new_line_and_a_second_disaster_is_survived(
    struck: Estate, point_rows: Rows
) -> None:
    estate = struck
    estate.backstay(*RECOVER).good()
    first = is_recovered(estate, point_rows)

    # At once, with no point of the new line: the one that this line began with is good enough.
    estate.wreck(seed=8)
    estate.backstay(*RECOVER).good()
    assert estate.rows() == point_rows
    second = report(estate)
    assert lineage(second) != lineage(first), "two histories never share a name"

    estate.backstay("backup", DATABASE).good()
    assert estate.backstay("verify", DATABASE).good()
    point = estate.backstay("points", DATABASE, "--json").good().json["points"][-1]
    assert point["lineage"] == lineage(second)
    estate.wreck(seed=9)
    estate.backstay(*RECOVER).good()
    assert restored(report(estate))["point"] == point["id"]
    assert estate.rows() == point_rows
    assert len(damaged(estate)) == 3


def restored(told: dict[str, Any]) -> dict[str, str]:
    return next(step["values"] for step in told["steps"] if step["step"].endswith(f"restore-{DATABASE}"))


def lineage(told: dict[str, Any]) -> str:
    return restored(told)["lineage"]


def test_a_drill_leaves_production_untouched_and_nothing_running(protected: Estate) -> None:
    estate = protected
    estate.start()
    before = estate.rows()
    applications = [seen for seen in estate.running() if "catalytic" in seen.words]
    postmaster, files = (estate.data / "postmaster.pid").read_text(), sorted(estate.data.parent.iterdir())
    done = estate.backstay("drill", SCENARIO, "--by", PERSON, "--json").good()
    assert (done.json["mode"], done.json["result"], done.json["promises"]) == ("drill", "recovered", "kept")
    assert estate.rows() == before
    assert (estate.data / "postmaster.pid").read_text().splitlines()[:3] == postmaster.splitlines()[:3]
    assert sorted(estate.data.parent.iterdir()) == files
    only_what_is_protected_runs(estate)
    left = [path for path in (estate.folder / "sandbox").rglob("*") if "PG_VERSION" in path.name]
    assert left == [], "what was restored in the sandbox is erased"
    assert [seen for seen in estate.running() if "catalytic" in seen.words] == applications
    status = estate.backstay("status", "--json").json
    database = next(one for one in status["components"] if one["name"] == DATABASE)
    assert database["rto"]["standing"] == "kept", "a drill measures"


# ── interrupted ──────────────────────────────────────────────────────────────────────────────────


def marker(estate: Estate) -> str:
    """How far the restore says that it is."""
    with suppress(OSError, ValueError):
        return json.loads((estate.data.parent / "data.backstay.json").read_text())["stage"]
    return ""


MOMENTS: dict[str, Callable[[Estate], bool]] = {
    "its folder is there": lambda estate: bool(beside(estate)),
    "some bytes are in it": lambda estate: bytes_in(beside(estate)) > 1_000_000,
    "all bytes are in it": lambda estate: marker(estate) in ("laid", "replayed", "recovered"),
    "its server replays": lambda estate: any((folder / "postmaster.pid").exists() for folder in beside(estate)),
    "it has the old one's name": lambda estate: marker(estate) == "swapped",
    "its server is up": lambda estate: marker(estate) == "started",
}
"""In the life of a restore."""


def at_moment(estate: Estate, begun: Begun, moment: str) -> None:
    """Come back as soon as the moment is there, or past: the machine may be quicker than a look."""
    until(lambda: MOMENTS[moment](estate) or begun.process.poll() is not None, moment, seconds=READY_SECONDS)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_recovery_that_is_killed_in_its_restore_is_resumed_to_the_same_end(
    struck: Estate, point_rows: Rows, moment: str
) -> None:
    begun = struck.begin(*RECOVER)
    at_moment(struck, begun, moment)
    begun.process.kill()
    assert struck.end(begun).code == -signal.SIGKILL
    struck.backstay("resume").good()
    is_recovered(struck, point_rows)
    only_what_is_protected_runs(struck)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_recovery_that_is_stopped_leaves_nothing_running_and_is_resumed(
    struck: Estate, point_rows: Rows, number: signal.Signals
) -> None:
    begun = struck.begin(*RECOVER)
    at_moment(struck, begun, "its server replays")
    begun.signal_group(number)
    done = struck.end(begun)
    assert done.code == 130, done.said
    assert "backstay resume" in done.err
    only_what_is_protected_runs(struck)
    struck.backstay("resume").good()
    is_recovered(struck, point_rows)


# ── two at once ──────────────────────────────────────────────────────────────────────────────────


def held(estate: Estate, begun: Begun) -> list[psutil.Process]:
    """A recovery that cannot go on: the server that it restores is stopped, before it has come up. It still renews
    its lease."""
    at_moment(estate, begun, "its server replays")
    stopped: list[psutil.Process] = []
    for seen in estate.running():
        process = seen.process()
        if process is not None and seen.name == "postgres" and "data.beside-" in seen.folder.name:
            process.suspend()
            stopped.append(process)
    assert stopped, estate.end(begun).said
    return stopped


def test_of_two_recoveries_or_two_drivers_the_second_is_turned_away_and_the_first_unharmed(
    struck: Estate, point_rows: Rows
) -> None:
    begun = struck.begin(*RECOVER)
    stopped = held(struck, begun)
    second = struck.backstay(*RECOVER)
    assert second.code == 62, second.said
    driver = struck.backstay("resume", "--json")
    assert driver.code == 62, driver.said
    assert "renewed its lease" in driver.error()["known"]
    for process in stopped:
        process.resume()
    struck.end(begun).good()
    is_recovered(struck, point_rows)


def test_a_plan_that_is_edited_during_a_run_does_not_change_it(struck: Estate, point_rows: Rows) -> None:
    begun = struck.begin(*RECOVER)
    stopped = held(struck, begun)
    struck.edit_plan('health: {get: "${site.api}/health", expect: 200}', 'health: {get: "${site.api}/no", expect: 418}')
    for process in stopped:
        process.resume()
    struck.end(begun).good()
    frozen = report(struck)["plan"]
    assert struck.backstay("plan", "check", "--json").good().json["digest"] != frozen
    is_recovered(struck, point_rows)


def test_a_run_is_resumed_under_the_plan_that_it_froze_though_the_file_is_broken_by_now(
    struck: Estate, point_rows: Rows
) -> None:
    begun = struck.begin(*RECOVER)
    at_moment(struck, begun, "some bytes are in it")
    begun.process.kill()
    struck.end(begun)
    good = struck.plan.read_text()
    struck.edit_plan("components:", "componnents:")
    assert struck.backstay("plan", "check").code == 10
    struck.backstay("resume").good()
    struck.plan.write_text(good)
    is_recovered(struck, point_rows)


def test_a_proof_that_is_stopped_or_killed_leaves_no_server_and_the_next_one_clears_up(protected: Estate) -> None:
    scratch = protected.folder / ".backstay" / "scratch"

    def interrupted(number: signal.Signals) -> Done:
        begun = protected.begin("verify", DATABASE)
        until(
            lambda: any(scratch.rglob("postmaster.pid")) or begun.process.poll() is not None,
            "its server replays",
            seconds=READY_SECONDS,
        )
        begun.process.send_signal(number)
        done = protected.end(begun)
        until(lambda: protected.running() == [], "nothing runs", seconds=READY_SECONDS)
        return done

    assert interrupted(signal.SIGINT).code == 130
    assert interrupted(signal.SIGKILL).code == -signal.SIGKILL
    protected.backstay("verify", DATABASE).good()
    assert list(scratch.rglob("PG_VERSION")) == [], "nobody's rows lie about in the clear"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_backup_that_is_stopped_or_killed_is_no_point_and_the_next_one_is(
    protected: Estate, number: signal.Signals
) -> None:
    protected.start_database()
    with psycopg.connect(protected.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE noise AS SELECT gen_random_uuid() FROM generate_series(1, 500000)")
    reserved = protected.vault / "reserved" / DATABASE
    before = set(reserved.iterdir())
    begun = protected.begin("backup", DATABASE)
    until(
        lambda: set(reserved.iterdir()) != before or begun.process.poll() is not None,
        "a point is reserved",
        seconds=READY_SECONDS,
    )
    begun.process.send_signal(number)
    assert protected.end(begun).code in (130, -signal.SIGKILL)
    assert len(protected.backstay("points", DATABASE, "--json").good().json["points"]) == 1
    with psycopg.connect(protected.dsn, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backstay'").fetchone()
    assert row == (0,), "its session is gone, and with it the backup mode of the server"
    protected.backstay("backup", DATABASE).good()
    protected.backstay("verify", DATABASE).good()
    assert len(protected.backstay("points", DATABASE, "--json").good().json["points"]) == 2


# ── at a terminal ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Terminal:
    """A command at a terminal of 80 columns."""

    process: subprocess.Popen[bytes]
    number: int

    def read_until(self, words: str) -> str:
        said = ""
        while words not in said:
            said += self._read()
        return said

    def _read(self) -> str:
        ready, _, _ = select.select([self.number], [], [], 60.0)
        assert ready, "the terminal is silent"
        return os.read(self.number, 65536).decode(errors="replace")

    def type(self, line: str) -> None:
        os.write(self.number, f"{line}\n".encode())

    def rest(self) -> str:
        said = ""
        with suppress(OSError):  # EIO: the other end is closed
            while True:
                said += self._read()
        self.process.wait()
        return said


@contextmanager
def terminal(estate: Estate, *words: str) -> Generator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**estate.environment, "TERM": "xterm-256color"}
    environment.pop("COLUMNS")
    process = subprocess.Popen(
        [*program(), *words], cwd=estate.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_at_a_terminal_the_name_is_typed_and_the_steps_are_seen(struck: Estate, point_rows: Rows) -> None:
    words = ("recover", SCENARIO, "--by", PERSON, "--reason", "tables are gone")
    for typed, code, said in (("yes", 2, "nothing was done"), ("", 130, "nothing was typed")):
        with terminal(struck, *words) as seen:
            explained = seen.read_until(f"Type {SCENARIO} to go on")
            assert "nobody can use it" in explained
            seen.type(typed)
            assert said in seen.rest()
            assert seen.process.returncode == code
    assert damaged(struck) == []
    with terminal(struck, *words) as seen:
        seen.read_until(f"Type {SCENARIO} to go on")
        seen.type(SCENARIO)
        shown = seen.rest()
        assert seen.process.returncode == 0, shown
        assert "LIVE" in shown
        assert "since the declaration" in shown
        assert "Traceback" not in shown
    is_recovered(struck, point_rows)
