"""The vault against its peers: one PostgreSQL data directory, every work by every hand in turn, the best of the rounds.

The server runs and nobody writes while a backup is timed. `restic` and `borg` read its folder as plain files (their
backup would need WAL to be of use; it is not asked of them). Each time is that of the whole command, the start of
Python included. The rows against `cp` and `zstd` are no competition: they are what the machine can do at most.

`peak memory` is in the MB columns of its rows, for the largest process of either side.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import bucket
from database import change, fill
from peers import Backstay, Borg, Hand, PgBackRest, Restic, archive_command, compressed, copied
from rows import Best, Row, Spent, say, show, stored_mb

from backstay.values import size as bytes_of
from fix_postgres import MakePostgres, Server, making

MAJOR = 15
"""The newest that Debian's pgBackRest knows."""
OURS = "backstay"
PARTS = ("main", "delta", "chain", "s3")


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    parts = words.only or PARTS
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name, making(Path(name)) as make:
        folder = Path(name)
        server = running(make, folder)
        fill(server, bytes_of(size))
        rows: list[Row] = []
        if "main" in parts:
            rows += Main(server, folder).rows(words.rounds, delta="delta" in parts)
        if "chain" in parts:
            rows += chain(server, folder, words.chain)
        if "s3" in parts:
            rows += bucket.rows(server, folder, words.rounds)
    show(f"The vault, {size} of data, PostgreSQL {MAJOR}", rows, as_json)


def running(make: MakePostgres, folder: Path) -> Server:
    data = folder / "server" / "data"
    data.parent.mkdir()
    conf = {
        "fsync": "on", "shared_buffers": "256MB", "max_wal_size": "8GB", "autovacuum": "off", "archive_mode": "on",
        "archive_command": archive_command(data.parent), "wal_level": "replica",
    }  # fmt: skip
    return make(MAJOR, data=data, conf=conf)


class Main:
    """First backup, second after a change, restore, delta restore."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder, self._to = server, folder, folder / "restored"
        self._ours = Backstay(server, folder / "ours")
        self._tuned = PgBackRest(server, folder / "tuned")
        default = PgBackRest(server, folder / "default", name="pgbackrest defaults", tuning="")
        self._hands: list[Hand] = [
            self._ours, self._tuned, default, Restic(server, folder / "restic"), Borg(server, folder / "borg"),
        ]  # fmt: skip
        self.first, self.second, self.restore, self.delta, self.memory = Best(), Best(), Best(), Best(), Best()

    def rows(self, rounds: int, *, delta: bool) -> list[Row]:
        for number in range(rounds):
            self._first(f"round {number + 1} of {rounds}")
            say("one percent of the pages changes")
            change(self._server)
            self._second()
            self._restore()
            if delta:
                self._delta()
        return [
            *self.first.rows("first backup", OURS),
            *self.second.rows("second backup, 1% changed", OURS),
            *self.restore.rows("restore", OURS),
            *(self.delta.rows("delta restore, 1% differs", OURS) if delta else []),
            *self.memory.rows("peak memory, first backup", OURS),
        ]

    def _first(self, round: str) -> None:
        for hand in self._hands:
            say(f"{round}: first backup by {hand.name}")
            hand.begin()
            before = hand.stored_mb()
            spent = hand.backup()
            self.first.add(hand.name, spent, hand.stored_mb() - before)
            if hand.name in (OURS, "restic"):
                self.memory.add(hand.name, spent, spent.peak_mb)
        limit, zstd = self._folder / "copy", self._folder / "all.tar.zst"
        say(f"{round}: what the machine can do")
        self.first.add("(cp -a)", copied(self._server.data, limit), stored_mb(limit))
        self.first.add("(zstd -1 alone)", compressed(self._server.data, zstd), zstd.stat().st_size / 1e6)
        shutil.rmtree(limit)
        zstd.unlink()

    def _second(self) -> None:
        for hand in self._hands:
            say(f"second backup by {hand.name}")
            before = hand.stored_mb()
            spent = hand.backup()
            self.second.add(hand.name, spent, hand.stored_mb() - before)

    def _restore(self) -> None:
        for hand in self._hands:
            say(f"restore by {hand.name}")
            self.restore.add(hand.name, hand.restore(self._to), stored_mb(self._to))
            shutil.rmtree(self._to)
        self.restore.add("(cp -a)", copied(self._server.data, self._to), stored_mb(self._to))
        shutil.rmtree(self._to)

    def _delta(self) -> None:
        """Over what the first backup restored: one percent differs from the second."""
        say("delta restores")
        first = self._points()[0]
        self._ours.restore(self._to, "--point", first)
        self._add_delta(OURS, self._ours.restore(self._to, "--delta", "--remove"))
        self._tuned.restore(self._to, f"--set={self._tuned.first_label()}")
        self._add_delta(self._tuned.name, self._tuned.restore(self._to, "--delta"))

    def _add_delta(self, name: str, spent: Spent) -> None:
        self.delta.add(name, spent, stored_mb(self._to))
        shutil.rmtree(self._to)

    def _points(self) -> list[str]:
        """The ids of our points, oldest first."""
        found = (self._ours.folder / "vault" / "points" / "database").iterdir()
        return sorted(path.name.upper()[:17] + path.name[17:] for path in found)


def chain(server: Server, folder: Path, length: int) -> list[Row]:
    """A restore after so many incremental backups. pgBackRest keeps whole files: a restore reads each from the last
    backup in which it changed, however long the chain is, so three links stand for all of them there."""
    ours, tuned, best = Backstay(server, folder / "ours"), PgBackRest(server, folder / "tuned"), Best()
    hands: list[Hand] = [ours, tuned]
    for hand in hands:
        hand.begin()
        hand.backup()
    for number in range(length):
        if number % 10 == 0:
            say(f"incremental backup {number + 1} of {length}")
        change(server)
        ours.backup()
        if number >= length - 3:
            tuned.backup()
    to = folder / "restored"
    for hand in (*hands, *hands):
        say(f"restore by {hand.name}")
        best.add(hand.name, hand.restore(to), stored_mb(to))
        shutil.rmtree(to)
    best.add("(cp -a)", copied(server.data, to), stored_mb(to))
    shutil.rmtree(to)
    return best.rows(f"restore after {length} incrementals", OURS)
