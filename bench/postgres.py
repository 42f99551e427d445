"""PostgreSQL by what changed, and its restore, against the tools that people use: one database, one percent of its
pages changed, every hand in turn, the best of the rounds.

Ours streams from PostgreSQL 17 (`way: stream`, WAL summaries) and reads the files of PostgreSQL 15 (`way: local`).
Debian's pgBackRest knows no server newer than 15: it has its turn on a 15 with the same rows and the same change, and
reads the files on the spot, which is the easier way. `pg_dump` and `pg_restore` have theirs on the 17, with two jobs; a
dump knows no increments, and is made whole. `pg_basebackup --incremental` is what PostgreSQL itself brings: it
compresses and encrypts nothing; what it wrote needs `pg_combinebackup` before it can be used, and that is its restore.

Each time is that of the whole command, durable when it ends (`sync -f` behind those that do not fsync by themselves).
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from database import change, fill
from peers import Backstay, Hand, PgBackRest, archive_command, then
from rows import Best, Row, Spent, say, show, spend, stored_mb

from backstay.values import size as bytes_of
from fix_postgres import MakePostgres, Server, making

OLDER, NEWER = 15, 17
STREAM, LOCAL = "backstay", "backstay local"
RESTORERS = {"pg_dump -Fd -j2": "pg_restore -j2", "pg_basebackup --incremental": "pg_combinebackup"}
"""Who brings back what the other has taken, where it is another program."""
INCREMENT, RESTORE = "incremental, 1% of the pages changed", "restore"


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name, making(Path(name)) as make:
        folder = Path(name)
        newer, older = running(make, folder, NEWER), running(make, folder, OLDER)
        for server in (newer, older):
            fill(server, bytes_of(size))
        rows = Main(newer, older, folder).rows(words.rounds)
    show(f"PostgreSQL, {size} of data: ours by stream from {NEWER}, pgBackRest on {OLDER}", rows, as_json)


def running(make: MakePostgres, folder: Path, major: int) -> Server:
    data = folder / f"server{major}" / "data"
    data.parent.mkdir()
    conf = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "8GB", "autovacuum": "off"}
    if major >= NEWER:
        return make(major, data=data, conf={**conf, "summarize_wal": "on"})
    archiving = {"archive_mode": "on", "archive_command": archive_command(data.parent), "wal_level": "replica"}
    return make(major, data=data, conf={**conf, **archiving})


@dataclass
class Dump:
    """`pg_dump -Fd -j2`, and `pg_restore -j2` into a new database. Always whole."""

    server: Server
    folder: Path
    name: str = "pg_dump -Fd -j2"
    number: int = 0

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.number = 0

    @property
    def _dump(self) -> Path:
        return self.folder / str(self.number)

    def backup(self) -> Spent:
        self.number += 1
        argv = [str(self.server.bin_dir / "pg_dump"), "-Fd", "-j2", "-f", str(self._dump), self.server.dsn()]
        return spend(then(argv, f"sync -f {self.folder}"))

    def restore(self, to: Path) -> Spent:
        to.mkdir()
        name = self.server.make_database()
        argv = [str(self.server.bin_dir / "pg_restore"), "-j2", "-d", self.server.dsn(name), str(self._dump)]
        try:
            return spend(argv)
        finally:
            self.server.drop_database(name)

    def stored_mb(self) -> float:
        return stored_mb(self.folder)


@dataclass
class BaseBackup:
    """`pg_basebackup --incremental`, and `pg_combinebackup`."""

    server: Server
    folder: Path
    name: str = "pg_basebackup --incremental"
    number: int = 0

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.number = 0

    def backup(self) -> Spent:
        before, self.number = self.folder / str(self.number), self.number + 1
        more = [f"--incremental={before}/backup_manifest"] if before.exists() else []
        return self._run("pg_basebackup", "-c", "fast", "-d", self.server.dsn(), "-D", self._made(), *more)

    def restore(self, to: Path) -> Spent:
        chain = [str(self.folder / str(n)) for n in range(1, self.number + 1)]
        return self._run("pg_combinebackup", "-o", str(to), *chain)

    def _made(self) -> str:
        return str(self.folder / str(self.number))

    def _run(self, program: str, *words: str) -> Spent:
        return spend([self.server.bin_dir / program, *words])

    def stored_mb(self) -> float:
        return stored_mb(self.folder)


class Main:
    def __init__(self, newer: Server, older: Server, folder: Path) -> None:
        self._servers, self._to = (newer, older), folder / "restored"
        self._hands: list[Hand] = [
            Backstay(newer, folder / "ours", name=STREAM, way="stream"),
            Backstay(older, folder / "local", name=LOCAL),
            PgBackRest(older, folder / "tuned"),
            PgBackRest(older, folder / "default", name="pgbackrest defaults", tuning=""),
            Dump(newer, folder / "dump"),
            BaseBackup(newer, folder / "base"),
        ]
        self.second, self.restore = Best(), Best()

    def rows(self, rounds: int) -> list[Row]:
        for number in range(rounds):
            for hand in self._hands:
                say(f"round {number + 1} of {rounds}: first backup by {hand.name}")
                hand.begin()
                hand.backup()
            say("one percent of the pages changes")
            for server in self._servers:
                change(server)
            for hand in self._hands:
                say(f"incremental by {hand.name}")
                before = hand.stored_mb()
                spent = hand.increment() if isinstance(hand, Backstay) else hand.backup()
                self.second.add(hand.name, spent, hand.stored_mb() - before)
            for hand in self._hands:
                say(f"restore by {hand.name}")
                self.restore.add(RESTORERS.get(hand.name, hand.name), hand.restore(self._to), stored_mb(self._to))
                shutil.rmtree(self._to)
        return [*self.second.rows(INCREMENT, STREAM), *self.restore.rows(RESTORE, STREAM)]
