"""A real server archives into a vault: while the service lives, dies, comes back, and is in the server's way.

Nothing here waits for a time: PostgreSQL tries again by itself after a second or, when three tries failed, a minute; a
reload wakes its archiver.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from backstay.app import archiving, planning
from backstay.app.home import Asked, Home
from backstay.lsn import Lsn, lsn, segment_place
from backstay.reach import Log, NoWay, base_of, gaps, read_histories, way_to
from backstay.values import ComponentName, VaultName
from fix_estate import program
from fix_postgres import MakePostgres, Server, installed
from fix_waiting import until

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 5m}
sites:
  primary: {}
vaults:
  local: {url: ./local, keep: 30d}
components:
  database:
    postgres: {url: {primary: "${env:SHOP_DATABASE}"}, way: local, data: {primary: %s}}
    protect: {full: "02:00", wal: continuous}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""
MEGABYTE = 1 << 20


@dataclass
class Site:
    """A server, a plan and a vault; and the service, while it runs."""

    folder: Path
    server: Server
    service: subprocess.Popen[bytes] | None = None
    ended: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def socket(self) -> Path:
        return self.server.sockets / "archive.sock"

    @property
    def said(self) -> str:
        return (self.folder / "service.log").read_text()

    def home(self) -> Home:
        return Home(Asked(), self.folder)

    def serve(self) -> subprocess.Popen[bytes]:
        argv = [*program(), "wal", "archive", "database", "--socket", str(self.socket)]
        with (self.folder / "service.log").open("wb") as log:
            self.service = subprocess.Popen(argv, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        until(lambda: "listening" in self.said or self.service is None or self.service.poll() is not None, "a service")
        assert self.service.poll() is None, self.said
        return self.service

    def end(self, number: signal.Signals) -> None:
        assert self.service is not None
        self.service.send_signal(signal.SIGCONT)
        self.service.send_signal(number)
        self.service.wait(30)

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        wide = {**os.environ, "COLUMNS": "160"}
        return subprocess.run(
            [*program(), *words], cwd=self.folder, env=wide, capture_output=True, text=True, timeout=120, check=False
        )

    # ── the server ──

    def ask(self, question: str) -> str:
        with self.server.connect() as db:
            row = db.execute(question.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def fill(self) -> str:
        """Writes rows and ends the segment; its name."""
        self.ask("SELECT count(*) FROM (SELECT pg_logical_emit_message(true, 'x', repeat('y', 1000))) t")
        name = self.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        self.ask("SELECT pg_switch_wal()")
        return name

    def wake(self) -> None:
        self.ask("SELECT pg_reload_conf()")

    def archived(self, name: str) -> None:
        def done() -> bool:
            self.wake()
            return (self.server.data / "pg_wal" / "archive_status" / f"{name}.done").exists() or not (
                self.server.data / "pg_wal" / name
            ).exists()

        until(done, f"{name} is archived; {self.server.last_words()}", seconds=60)

    def failed(self) -> int:
        return int(self.ask("SELECT failed_count FROM pg_stat_archiver"))

    def archiver(self) -> psutil.Process:
        assert self.server.process is not None
        children = psutil.Process(self.server.process.pid).children()
        return next(one for one in children if "archiver" in " ".join(one.cmdline()))

    # ── the vault ──

    def log(self) -> Log:
        shelf = self.home().vault(VaultName("local")).wal
        (system,) = shelf.systems()
        good, bad = read_histories(shelf.histories(system))
        return Log(system, tuple(shelf.stretches(system)), good, bad)

    def has(self, name: str) -> bool:
        size = int(self.ask("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"))
        timeline, start = segment_place(name, size)
        shelf = self.home().vault(VaultName("local")).wal
        (system,) = shelf.systems()
        whole = b"".join(shelf.read(system, timeline, start, Lsn(start + size)))
        on_disk = self.server.data / "pg_wal" / name
        return len(whole) == size and (not on_disk.exists() or on_disk.read_bytes() == whole)


@pytest.fixture(params=[major for major in (15, 18) if major in installed()] or [15])
def site(request: pytest.FixtureRequest, tmp_path: Path, make_postgres: MakePostgres,
         monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:  # fmt: skip
    server = make_postgres(request.param, conf={"archive_mode": "on", "fsync": "on"}, start=False)
    made = Site(tmp_path, server)
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(f"archive_command = '{archiving.command_for(made.socket)}'\n")
    server.start()
    monkeypatch.setenv("SHOP_DATABASE", server.dsn())
    (tmp_path / "backstay.yaml").write_text(PLAN % server.data)
    list(planning.init(made.home()))
    yield made
    if made.service is not None and made.service.poll() is None:
        made.end(signal.SIGKILL)


def test_a_server_archives_through_every_death_and_nothing_is_missing(site: Site) -> None:
    # Nobody listens yet: the server keeps everything, and its log says how much waits.
    first = site.fill()
    until(lambda: site.failed() > 0, "a failure is counted")
    assert "is not archived: the archive service does not answer" in site.server.last_words()
    assert "waits in pg_wal" in site.server.last_words()
    assert "exited with exit code" not in site.server.last_words(), "the archiver itself must not end"

    site.serve()
    site.archived(first)
    assert site.has(first)
    assert oct(site.socket.stat().st_mode & 0o777) == "0o600"

    second_service = site.typed("wal", "archive", "database", "--socket", str(site.socket), "--json")
    assert second_service.returncode == 62
    assert "another process still holds" in json.loads(second_service.stderr)["error"]

    # The service stands still in the middle of a file, and its client is killed.
    assert site.service is not None
    site.service.send_signal(signal.SIGSTOP)
    archiver, failures = site.archiver().pid, site.failed()
    second = site.fill()
    client = until(lambda: _clients(site), "a client waits")[0]
    client.kill()
    until(lambda: site.failed() > failures, "the server counts it: 1 and not a signal")
    assert site.archiver().pid == archiver

    # Killed, and started again over what it left behind.
    site.end(signal.SIGKILL)
    assert site.socket.exists()
    third = site.fill()
    site.serve()
    for name in (second, third):
        site.archived(name)
        assert site.has(name)

    # The server is killed, and comes back: it sends again what it does not know to be archived.
    site.server.kill9()
    for mark in (site.server.data / "pg_wal" / "archive_status").glob("*.done"):
        mark.rename(mark.with_suffix(".ready"))
    site.server.start()
    last = site.fill()
    for name in (first, second, third, last):
        site.archived(name)
    found = site.log()
    assert gaps(found) == ()
    assert {1} == set(found.runs)
    assert len(found.runs[1]) == 1

    site.end(signal.SIGTERM)
    assert site.service is not None
    assert site.service.returncode == 0, site.said
    assert not site.socket.exists()


def _clients(site: Site) -> list[psutil.Process]:
    found = site.archiver().children(recursive=True)
    return [one for one in found if "archive_push.py" in " ".join(one.cmdline()) and "sh" not in one.name()]


def test_a_promotion_is_followed_from_a_point_before_it(site: Site) -> None:
    site.serve()
    assert site.typed("backup", "database").returncode == 0
    # Half a segment of the old timeline is written when it is left.
    left = site.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    site.server.stop()
    (site.server.data / "standby.signal").touch()
    site.server.start()
    site.ask("SELECT pg_promote()")
    until(lambda: site.ask("SELECT pg_is_in_recovery()") == "False", "it is promoted")
    assert site.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[:8] == "00000002"
    last = site.fill()
    site.archived(last)
    log = site.log()
    assert set(log.histories) == {2}
    assert gaps(log) == ()
    (point,) = site.home().vault(VaultName("local")).points(ComponentName("database"))
    base = base_of(point)
    assert base is not None
    way = way_to(log, base, 2)
    assert not isinstance(way, NoWay), way.why
    assert way.to == lsn(site.ask("SELECT pg_current_wal_insert_lsn()")) // way.base.segment_bytes * (
        way.base.segment_bytes
    )
    assert left[:8] == "00000001"
    size, fork = way.base.segment_bytes, log.histories[2][0].at
    assert fork % size, "it was left in the middle of a segment"
    # The partial segment was kept up to the fork, and no further.
    assert max(run.end for run in log.runs[1]) == fork
