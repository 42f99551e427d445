"""A server with a writer whose commits are written down outside of it, and its log on the shelf of a vault."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from backstay.adapters.clock import SystemClock
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.facts import Point
from backstay.lsn import Lsn, lsn, segment_name
from backstay.plan import AtTime, PostgresWay, Target, spell
from backstay.ports import Piece, Vault
from fix_postgres import Server
from fix_story import DATABASE, PLAN

CONF: Mapping[str, str] = {"fsync": "on", "track_commit_timestamp": "on", "wal_keep_size": "512MB"}


@dataclass(frozen=True, slots=True)
class Commit:
    """One row, as the writer saw it committed."""

    n: int
    text: str
    xid: int
    at: datetime
    """As the server has stamped the commit."""
    after: Lsn
    """A place in the log behind the commit."""


@dataclass
class Written:
    """A server, and the independent log of what was committed on it."""

    server: Server
    scratch: Path
    commits: list[Commit] = field(default_factory=list[Commit])
    kept_to: dict[int, Lsn] = field(default_factory=dict[int, Lsn])
    until: datetime | None = None

    def create(self) -> None:
        with self.server.connect() as db:
            db.execute("CREATE TABLE beat (n int PRIMARY KEY, text text)")

    def place(self) -> PostgresPlace:
        return PostgresPlace(
            self.server.dsn(),
            data=self.server.data,
            way=PostgresWay.LOCAL,
            scratch=self.scratch,
            bin=self.server.bin_dir,
        )

    def keeper(self) -> PostgresKeeper:
        return PostgresKeeper(self.place(), SystemClock())

    def take(self, vault: Vault) -> Point:
        with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
            return writer.seal(self.keeper().take(writer).sealing)

    def write(self, number: int, filler: int = 0) -> None:
        """One transaction each."""
        with self.server.connect() as db:
            for _ in range(number):
                n = len(self.commits) + 1
                text = f"row {n} " + "x" * filler
                row = db.execute(
                    "INSERT INTO beat VALUES (%s, %s) RETURNING pg_current_xact_id()::text::bigint", (n, text)
                ).fetchone()
                assert row is not None
                seen = db.execute(
                    "SELECT pg_xact_commit_timestamp(%s::text::xid), pg_current_wal_insert_lsn()::text", (str(row[0]),)
                ).fetchone()
                assert seen is not None
                self.commits.append(Commit(n, text, int(row[0]), seen[0], lsn(seen[1])))

    def rows(self, number: int) -> list[tuple[int, str]]:
        return [(one.n, one.text) for one in self.commits[:number]]

    def keep_log(self, vault: Vault, *, say_when: bool = True) -> Lsn:
        """Everything that the server has flushed, as a receiver would have kept it; gives where that ends."""
        with self.server.connect() as db:
            row = db.execute("SELECT clock_timestamp()").fetchone()
            # After the clock: whatever was committed by then is in what follows.
            place = db.execute(
                "SELECT pg_current_wal_flush_lsn()::text, pg_walfile_name(pg_current_wal_lsn()),"
                " system_identifier, (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')"
                " FROM pg_control_system()"
            ).fetchone()
        assert row is not None
        assert place is not None
        end, timeline, system, size = lsn(place[0]), int(place[1][:8], 16), int(place[2]), int(place[3])
        self.histories(vault, system)
        start = self.kept_to.get(timeline)
        if start is None:
            start = self.first_kept(timeline, size)
        since, until = (self.until or row[0], row[0]) if say_when else (None, None)
        for first in range(start // size * size, end, size):
            begin, stop = max(first, start), min(first + size, end)
            path = self.server.data / "pg_wal" / segment_name(timeline, first // size, size)
            with path.open("rb") as file:
                file.seek(begin - first)
                data = file.read(stop - begin)
            assert len(data) == stop - begin
            vault.wal.keep(Piece(system, timeline, Lsn(begin), data, size, self.server.major, since, until))
        self.kept_to[timeline], self.until = end, row[0]
        return end

    def histories(self, vault: Vault, system: int) -> None:
        for path in sorted((self.server.data / "pg_wal").glob("*.history")):
            vault.wal.keep_history(system, int(path.name[:8], 16), path.read_bytes())

    def first_kept(self, timeline: int, size: int) -> Lsn:
        names = sorted(
            path.name
            for path in (self.server.data / "pg_wal").iterdir()
            if re.fullmatch(f"{timeline:08X}.{{16}}", path.name)
        )
        name = names[0]
        return Lsn((int(name[8:16], 16) * (0x1_0000_0000 // size) + int(name[16:24], 16)) * size)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a recovery to a moment showed, and what the independent log of commits says."""

    target: str
    wanted: list[tuple[int, str]]
    there: list[tuple[int, str]]
    took: timedelta


def random_moments(
    written: Written, vault: Vault, point: Point, folder: Path, number: int, seed: int = 4
) -> Iterator[Moment]:
    """Recover to so many moments between the end of the point and the last commit: some between two commits, and some
    exactly on one."""
    chance = random.Random(seed)
    after = [one for one in written.commits if one.at > point.ended]
    for n in range(number):
        at = after[chance.randrange(len(after) - 1)].at + timedelta(microseconds=chance.choice((0, 1, 300)))
        target = Target(AtTime(at, inclusive=n % 2 == 0))
        wanted = [(one.n, one.text) for one in written.commits if one.at < at or (n % 2 == 0 and one.at == at)]
        sandbox = folder / f"moment-{n}"
        sandbox.mkdir(mode=0o700)
        began = monotonic()
        with written.keeper().sandbox(vault.open(point.id), sandbox, target=target, log=vault.wal) as there:
            told = there.ask("SELECT coalesce(string_agg(n || '=' || text, E'\\n' ORDER BY n), '') FROM beat")
        took = timedelta(seconds=monotonic() - began)
        rows = [line.split("=", 1) for line in str(told).splitlines()]
        yield Moment(spell(target), wanted, [(int(n), text) for n, text in rows], took)
