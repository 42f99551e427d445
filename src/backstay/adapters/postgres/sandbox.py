"""A throw-away server for a physical point: restored, recovered, asked, erased."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.checks import Checking, Said, Tier, failed, passed
from backstay.adapters.postgres.laying import Ground, Physical, lay, refuse_new_tablespaces
from backstay.adapters.postgres.litter import registered
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.private import PrivateServer, need_server
from backstay.adapters.postgres.programs import find, ourselves
from backstay.adapters.postgres.replay import Onward, Replay
from backstay.adapters.postgres.session import one
from backstay.adapters.postgres.starting import libraries_to_keep
from backstay.errors import PointRefuted, ToolFailed
from backstay.facts import CheckResult
from backstay.lsn import lsn
from backstay.ports import Clock, PointReader, Progress, unwatched
from backstay.processes import Command, run
from backstay.values import count, listed, say_span

CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""A sandbox that loses power is thrown away anyway."""

_CHECKSUMS = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a server told about its recovery, once, right after it."""

    still_recovering: bool
    reached: str
    timeline: int
    complaints: tuple[str, ...]
    took: timedelta


@contextmanager
def sandbox(
    place: PostgresPlace,
    clock: Clock,
    point: PointReader,
    folder: Path,
    progress: Progress = unwatched,
    onward: Onward | None = None,
) -> Generator[PostgresAnswers]:
    """Restore `point` below `folder`, replay its log `onward`, start it, give it to be asked; stop and erase it.

    Raises PointRefuted when it does not come up, Unreachable when the log does not lead to the target, ToolMissing
    where its version is not installed, DiskFull and others.
    """
    physical = Physical.of(point.point)
    programs = find(physical.major, named=place.bin)
    need_server(programs)
    replay = onward.replay(point, physical, programs) if onward is not None else None
    with registered(folder) as token:
        data = folder / "data"
        ground = Ground(data, {space.oid: folder / "tablespaces" / str(space.oid) for space in physical.tablespaces})
        lay(point, ground, progress)
        refuse_new_tablespaces(programs, data, physical)
        # What an operator set with ALTER SYSTEM may not even start here, and must not act here.
        (data / "postgresql.auto.conf").unlink(missing_ok=True)
        (data / "recovery.signal").touch()
        settings = {
            **CARELESS,
            "recovery_target_timeline": str(physical.timeline),
            "shared_preload_libraries": ",".join(libraries_to_keep(physical.about, programs)),
            "max_replication_slots": str(max(10, _number(physical.about.get("max_replication_slots", "")))),
        }
        server = PrivateServer(
            programs, data, ourselves(), folder / "log", clock, f"backstay-{token}", physical.superuser, settings, True
        )
        with server:
            began = clock.elapsed()
            if replay is None:
                server.start(place.start_within)
            else:
                with replay.feeding(folder / "spool", ourselves(), server, durable=False) as spool:
                    replay.bring_up(server, spool, place.start_within)
            recovered = look(server, physical, clock.elapsed() - began)
            if replay is not None:
                replay.judge(lsn(recovered.reached))
            room = Room(clock, server, physical, recovered, replay)
            gone_on = f", gone on {replay.route.say()}" if replay is not None else ""
            where = f"a sandbox of PostgreSQL {programs.major} with point {point.point.id}{gone_on}"
            yield PostgresAnswers(where, lambda: server.connect(physical.database), room.inspect, place.patience)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def look(server: PrivateServer, physical: Physical, took: timedelta) -> Recovered:
    """Raises PointRefuted when the database that was protected is not in it."""
    complaints = tuple(server.complaints())
    try:
        db = server.connect(physical.database)
    except Exception as error:
        raise PointRefuted(
            f"the restored server has no database {physical.database} that lets us in", detail=str(error)
        ) from error
    with db:
        recovering, reached, name = one(
            db,
            "SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn(), '0/0')::text,"
            " CASE WHEN pg_is_in_recovery() THEN '00000000' ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END",
        )
    return Recovered(bool(recovering), str(reached), int(str(name)[:8], 16), complaints, took)


@dataclass(slots=True)
class Room:
    """A sandbox while it is looked at."""

    clock: Clock
    server: PrivateServer
    physical: Physical
    recovered: Recovered
    replay: Replay | None = None
    _checking: Checking = field(init=False)

    def __post_init__(self) -> None:
        self._checking = Checking(self.clock)

    def inspect(self, tier: Tier) -> list[CheckResult]:
        check = self._checking.check
        found = [
            check("R01", self._ended),
            check("R02", self._reached),
            check("R03", self._timeline),
            check("R04", self._quiet),
        ]
        if tier != "bytes":
            with self.server.connect(self.physical.database) as db:
                found += self._checking.catalogue(db, self.physical.about)
            full = tier == "full"
            address = self.server.address()
            found.append(self._checking.amcheck(self.server.programs, address, self.physical.database, full=full))
        if tier != "sample" and self.physical.about.get("checksums") == "on":
            found.append(check("B02", self._checksums))
        return found

    def _ended(self) -> Said:
        if self.recovered.still_recovering:
            return failed("the server is still in recovery")
        return passed(f"the server started, and its recovery ended after {say_span(self.recovered.took)}")

    def _reached(self) -> Said:
        reached, stop = self.recovered.reached, self.physical.stop_lsn
        if lsn(reached) < lsn(stop):
            return failed(f"replayed to {reached}, and the backup ended at {stop}")
        went = f", and on {self.replay.route.say()}" if self.replay is not None else ""
        return passed(f"replayed to {reached}; the backup ended at {stop}{went}")

    def _timeline(self) -> Said:
        """Recovery leaves the timeline of the backup on a new one, and says in its history where."""
        here = self.recovered.timeline
        origin = self.replay.route.timeline if self.replay is not None else self.physical.timeline
        if here <= origin:
            return failed(f"the server is on timeline {here}, and the backup was on {origin}")
        history = (self.server.data / "pg_wal" / f"{here:08X}.history").read_text("ascii", "replace")
        parents = [line.split() for line in history.splitlines() if line.strip() and not line.startswith("#")]
        if not parents or parents[-1][0] != str(origin):
            return failed(f"timeline {here} does not come from timeline {origin} of the backup")
        return passed(f"timeline {here}, which left timeline {origin} at {parents[-1][1]}")

    def _quiet(self) -> Said:
        said = self.recovered.complaints
        if said:
            return failed(f"the server complained: {listed(line[:160] for line in said[:3])}")
        return passed("no warning and no error in its log while it recovered")

    def _checksums(self) -> Said:
        """pg_checksums wants a server that was stopped in order: before recovery, torn pages are no defect."""
        programs, data = self.server.programs, self.server.data
        program = programs.path("pg_checksums")
        self.server.stop()
        try:
            done = run(Command((program, "--check", "-D", str(data)), _CHECKSUMS, keep_bytes=1 << 20))
        except ToolFailed as error:
            return failed(f"pg_checksums: {' '.join(error.detail.split())[:300]}")
        finally:
            self.server.start(timedelta(minutes=10))
        blocks = [line for line in done.text.splitlines() if line.startswith("Blocks scanned")]
        return passed(f"every page has the checksum that it should have ({_blocks(blocks)})")


def _blocks(lines: list[str]) -> str:
    number = lines[0].rpartition(":")[2].strip() if lines else ""
    return count(int(number), "page") if number.isdigit() else "pages not counted"
