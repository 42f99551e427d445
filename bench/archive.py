"""One segment of write-ahead log, from PostgreSQL's archive_command to a durable place: ours against pgBackRest's.

The same segments for every hand, out of the pg_wal of one server: full ones that pgbench wrote, and one that was ended
early and is nearly empty. Each is pushed by the very command line that `archive_command` would run, in a shell, one
after the other, as a server does it; the best of the rounds counts, as seconds for one segment. Our service runs
already, as it does beside a server; pgBackRest is a new process each time, and with `archive-async` it has another one
that pushes ahead what is marked as ready.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from database import command
from peers import TUNED, Backstay, PgBackRest
from rows import Best, Spent, say, show, stored_mb

from backstay.app import archiving
from fix_postgres import Server, making
from fix_waiting import until

MAJOR = 15
"""The newest that Debian's pgBackRest knows."""
SEGMENTS = 12
OURS = "backstay"


class Pusher(Protocol):
    """One who archives. `ready` is not timed."""

    @property
    def name(self) -> str: ...

    def ready(self) -> None: ...

    def line(self, segment: str) -> str: ...

    def stored_mb(self) -> float: ...


@dataclass
class Ours:
    within: Backstay
    socket: Path
    name: str = OURS

    def ready(self) -> None:
        self.within.begin()

    def line(self, segment: str) -> str:
        return archiving.command_for(self.socket).replace("%p", f"pg_wal/{segment}").replace("%%", "%")

    def stored_mb(self) -> float:
        return stored_mb(self.within.folder / "vault")


@dataclass
class Theirs:
    within: PgBackRest

    @property
    def name(self) -> str:
        return self.within.name

    def ready(self) -> None:
        self.within.begin()

    def line(self, segment: str) -> str:
        config = shlex.quote(f"--config={self.within.folder}/pgbackrest.conf")
        return f"pgbackrest {config} --stanza=bench archive-push pg_wal/{segment}"

    def stored_mb(self) -> float:
        return self.within.stored_mb()


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    full, early = Best(), Best()
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name, making(Path(name)) as make:
        folder = Path(name)
        data = folder / "server" / "data"
        data.parent.mkdir()
        server = make(MAJOR, data=data, conf={"fsync": "on", "wal_keep_size": "2GB", "archive_mode": "off"})
        busy, last = written(server)
        ours = Ours(Backstay(server, folder / "ours"), server.sockets / "archive.sock")
        hands: list[Pusher] = [
            ours,
            Theirs(PgBackRest(server, folder / "tuned")),
            Theirs(PgBackRest(server, folder / "default", name="pgbackrest defaults", tuning="")),
            Theirs(PgBackRest(server, folder / "async", name="pgbackrest async", tuning=f"{TUNED}archive-async=y\n")),
        ]
        for number in range(words.rounds):
            for hand in hands:
                say(f"round {number + 1} of {words.rounds}: {len(busy)} segments by {hand.name}")
                hand.ready()
                with serving(ours) if hand is ours else nobody():
                    before = hand.stored_mb()
                    spent = pushed(server, hand, busy)
                    full.add(hand.name, spent, (hand.stored_mb() - before) / len(busy))
                    spent = pushed(server, hand, [last])
                    early.add(hand.name, spent, 0)
    rows = [*full.rows("one full segment", OURS), *early.rows("one segment that was ended early", OURS)]
    show(f"archive_command, {SEGMENTS} segments of 16 MiB, PostgreSQL {MAJOR}; seconds for one", rows, as_json)


def written(server: Server) -> tuple[list[str], str]:
    """Names of full segments, and of one that is nearly empty."""
    command(server, "pgbench", "-i", "-q", "-s", "10", server.dsn())
    first = ended(server)
    found = list[str]()
    while len(found) < SEGMENTS:
        command(server, "pgbench", "-n", "-c", "2", "-t", "2000", server.dsn())
        current = asked(server, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        names = [path.name for path in (server.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", path.name)]
        found = [name for name in sorted(names) if first < name < current]
    ended(server)
    asked(server, "SELECT pg_create_restore_point('bench')")
    return found[:SEGMENTS], ended(server)


def ended(server: Server) -> str:
    """Begin a new segment; the name of the one that was written to."""
    name = asked(server, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    asked(server, "SELECT pg_switch_wal()")
    return name


def asked(server: Server, question: str) -> str:
    with server.connect() as db:
        row = db.execute(question.encode()).fetchone()
    assert row is not None
    return str(row[0])


def pushed(server: Server, hand: Pusher, segments: list[str]) -> Spent:
    """For one segment."""
    status = server.data / "pg_wal" / "archive_status"
    for segment in segments:
        (status / f"{segment}.ready").touch()
    os.sync()
    began = time.monotonic()
    for segment in segments:
        line = hand.line(segment)
        done = subprocess.run(line, shell=True, cwd=server.data, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{hand.name}: {segment} was not archived: {done.stderr.strip()[-800:]}")
    took = time.monotonic() - began
    for segment in segments:
        (status / f"{segment}.ready").unlink(missing_ok=True)
    # No processor time: most of it is the service's, or the asynchronous process's, and not a child's of ours.
    return Spent(took / len(segments), 0)


@contextmanager
def serving(ours: Ours) -> Generator[None]:
    argv = [str(Path(sys.executable).with_name("backstay")), "wal", "archive", "database", "--socket", str(ours.socket)]
    environment = {**os.environ, "DATABASE_URL": ours.within.server.dsn()}
    with (ours.within.folder / "service.log").open("wb") as log:
        service = subprocess.Popen(argv, cwd=ours.within.folder, env=environment, stdout=log, stderr=log)
    try:
        until(ours.socket.exists, "the service listens")
        yield
    finally:
        service.terminate()
        service.wait(30)


@contextmanager
def nobody() -> Generator[None]:
    yield
