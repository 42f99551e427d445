"""A receiver in a thread, and what a crash of its server costs: rows that a writer saw committed and no vault has."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg

from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.adapters.postgres.receiving import Closing, Event, Kept, Receiver
from backstay.adapters.postgres.shelving import Trouble
from backstay.errors import BackstayError
from backstay.facts import Point
from backstay.lsn import Lsn, lsn
from backstay.plan import Latest, PostgresWay, Target
from backstay.ports import Vault
from backstay.values import VaultName
from backstay.vault import Keyring, Repository, open_vault
from fix_points import empty
from fix_postgres import Server
from fix_vault import DB, PLAN
from fix_waiting import until

QUICK = Closing(timedelta(seconds=0.2), 1 << 20)


@dataclass
class Following:
    receiver: Receiver
    heard: list[Event] = field(default_factory=list[Event])
    errors: list[BackstayError] = field(default_factory=list[BackstayError])

    @property
    def durable(self) -> Lsn:
        return max((one.end for one in self.heard if isinstance(one, Kept)), default=Lsn(0))

    def has(self, place: Lsn) -> None:
        until(lambda: self.durable >= place or bool(self.errors), f"the log up to {place:x} is kept", seconds=20)
        assert not self.errors, self.errors

    @property
    def troubles(self) -> str:
        return "\n".join(one.said for one in self.heard if isinstance(one, Trouble))


@contextmanager
def following(
    server: Server, *vaults: Repository, closing: Closing = QUICK, slot: str = "backstay"
) -> Generator[Following]:
    heard: list[Event] = []
    shelves = {VaultName(vault.name): vault.wal for vault in vaults}
    found = Following(Receiver(server.dsn(), slot, shelves, SystemClock(), heard.append, closing), heard)

    def run() -> None:
        try:
            found.receiver.run()
        except BackstayError as error:
            found.errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        found.receiver.stop()
        thread.join(30)
        assert not thread.is_alive()


class Killable:
    """A receiver in a process of its own, which ends by kill -9. Its last line may be lost with it."""

    def __init__(self, server: Server, vault: Repository, closing: Closing) -> None:
        keys = json.dumps([vault.keys.identity, (vault.keys.seed or b"").hex()])
        words = [server.dsn(), vault.store.describe(), keys, str(closing.after.total_seconds())]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *words],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.durable = Lsn(0)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self.durable = Lsn(int(line))

    def has(self, place: Lsn) -> None:
        until(lambda: self.durable >= place, f"the log up to {place:x} is kept", seconds=60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()


@contextmanager
def killable(server: Server, vault: Repository, closing: Closing) -> Generator[Killable]:
    found = Killable(server, vault, closing)
    try:
        yield found
    finally:
        found.kill()


def _follow(dsn: str, folder: str, keys: str, every_s: str) -> None:
    """The process: says on its standard output what the server was told."""
    identity, seed = json.loads(keys)
    vault = open_vault(FolderStore(Path(folder)), "local", Keyring(identity, bytes.fromhex(seed)))

    def told(event: Event) -> None:
        if isinstance(event, Kept):
            sys.stdout.write(f"{int(event.end)}\n")
            sys.stdout.flush()

    closing = Closing(timedelta(seconds=float(every_s)))
    Receiver(dsn, "backstay", {VaultName("local"): vault.wal}, SystemClock(), told, closing).run()


# ── what a crash costs ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Loss:
    """One crash of the whole server, from which only the vault is left."""

    committed: int
    """Rows that the writer saw committed, over all crashes so far."""
    confirmed: int
    """Of those, rows that lie before the place that the server was told to be durable."""
    recovered: int
    """Rows that came back: always the first so many."""
    lost_s: float
    """From the commit of the first row that did not come back to the crash."""

    @property
    def lost(self) -> int:
        return max(0, self.committed - self.recovered)


@dataclass
class Writer:
    """Commits numbered rows, one by one, and remembers what it saw."""

    server: Server
    at: list[float] = field(default_factory=list[float])
    """When each row was seen to be committed, by the monotonic clock."""
    after: list[Lsn] = field(default_factory=list[Lsn])
    """A place in the log behind each."""

    def create(self) -> None:
        with self.server.connect() as db:
            db.execute("CREATE TABLE numbered (n bigint PRIMARY KEY, filler text)")

    def write(self) -> None:
        """Until the server is gone. One row more than we saw may be there: its answer was lost."""
        with suppress(psycopg.Error), self.server.connect() as db:
            row = db.execute("SELECT coalesce(max(n), 0) FROM numbered").fetchone()
            assert row is not None
            if row[0] > len(self.at):
                self.at.append(time.monotonic())
                self.after.append(Lsn(1 << 63))
            while True:
                db.execute("INSERT INTO numbered VALUES (%s, %s)", (len(self.at) + 1, "x" * 100))
                at = time.monotonic()
                place = db.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                assert place is not None
                self.at.append(at)
                self.after.append(lsn(str(place[0])))


@dataclass
class Crashes:
    """A server that is written to, followed, and killed again and again."""

    server: Server
    vault: Repository
    scratch: Path
    closing: Closing = QUICK
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.server)
        self.writer.create()

    def keeper(self) -> PostgresKeeper:
        place = PostgresPlace(
            self.server.dsn(), data=self.server.data, way=PostgresWay.LOCAL, scratch=self.scratch,
            bin=self.server.bin_dir,
        )  # fmt: skip
        return PostgresKeeper(place, SystemClock())

    def take(self) -> Point:
        vault: Vault = self.vault
        with vault.begin(DB, plan=PLAN, now=SystemClock().now()) as writer:
            return writer.seal(self.keeper().take(writer).sealing)

    def run(
        self, point: Point, times: int, moments: random.Random, spread_s: tuple[float, float], *, both: bool = False
    ) -> Iterator[Loss]:
        """`both`: the receiver dies at the same moment, as one on the server's machine would. Else it keeps what has
        arrived."""
        for number in range(times):
            if number:
                self.server.start()
            with self._followed(both) as found:
                found.has(self._place())
                writing = threading.Thread(target=self.writer.write)
                writing.start()
                time.sleep(moments.uniform(*spread_s))  # the moment of a disaster is nobody's to wait for
                killed = time.monotonic()
                if isinstance(found, Killable):
                    found.kill()
                self.server.kill9()
                writing.join(30)
                if isinstance(found, Following):
                    until(partial(_noticed, found), "the receiver has noticed")
            yield self._seen(point, killed, found.durable)

    def _followed(self, both: bool) -> AbstractContextManager[Following | Killable]:
        if both:
            return killable(self.server, self.vault, self.closing)
        return following(self.server, self.vault, closing=self.closing)

    def _place(self) -> Lsn:
        with self.server.connect() as db:
            row = db.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        return lsn(str(row[0]))

    def _seen(self, point: Point, killed: float, durable: Lsn) -> Loss:
        folder = empty(self.scratch / "sandbox")
        with self.keeper().sandbox(
            self.vault.open(point.id), folder, target=Target(Latest()), log=self.vault.wal
        ) as there:
            count, most = (
                int(str(there.ask(f"SELECT {what} FROM numbered"))) for what in ("count(*)", "coalesce(max(n), 0)")
            )
        folder.rmdir()
        assert count == most, "a row in the middle is missing"
        confirmed = sum(1 for place in self.writer.after if place <= durable)
        lost_s = killed - self.writer.at[most] if most < len(self.writer.at) else 0.0
        return Loss(len(self.writer.at), confirmed, most, max(0.0, lost_s))


def _noticed(found: Following) -> bool:
    return bool(found.troubles)


if __name__ == "__main__":
    _follow(*sys.argv[1:])
