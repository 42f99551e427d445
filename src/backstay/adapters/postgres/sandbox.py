"""A throw-away server for a physical point: restored, recovered, asked, erased."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.answers import PostgresAnswers, tables_of
from backstay.adapters.postgres.catalogue import read_kept
from backstay.adapters.postgres.checks import Checking, Source, Tier, quiet
from backstay.adapters.postgres.laying import Ground, Physical, lay, refuse_new_tablespaces
from backstay.adapters.postgres.litter import registered
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.prior import MANIFEST
from backstay.adapters.postgres.private import PrivateServer, need_server
from backstay.adapters.postgres.programs import Programs, find, ourselves
from backstay.adapters.postgres.replay import Onward, Replay
from backstay.adapters.postgres.said import Said, failed, passed
from backstay.adapters.postgres.session import Connection, one
from backstay.adapters.postgres.starting import libraries_to_keep
from backstay.adapters.postgres.tools import checksums, quoted, verifybackup
from backstay.adapters.postgres.words import classified
from backstay.errors import PointRefuted
from backstay.facts import CheckResult, Point
from backstay.lsn import lsn
from backstay.ports import Clock, PointReader, Progress, unwatched
from backstay.processes import Limits
from backstay.protect import is_full
from backstay.values import PointId, say_span
from backstay.verify import sampled

CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""A sandbox that loses power is thrown away anyway."""

USUAL_MEMORY = 4 << 30
"""Address space of each process of a sandbox, where the plan sets none: a runaway query ends, and not this machine."""
LEAST_TEMPORARY = 1 << 30


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
        checking = Checking(clock)
        # Now or never: recovery changes the files.
        early = tuple(_manifest(checking, point, programs, data, folder))
        # What an operator set with ALTER SYSTEM may not even start here, and must not act here.
        (data / "postgresql.auto.conf").unlink(missing_ok=True)
        (data / "recovery.signal").touch()
        settings = {
            **CARELESS,
            **temporary(place, point.point),
            "recovery_target_timeline": str(physical.timeline),
            "shared_preload_libraries": ",".join(libraries_to_keep(physical.about, programs)),
            "max_replication_slots": str(max(10, _number(physical.about.get("max_replication_slots", "")))),
        }
        server = PrivateServer(
            programs, data, ourselves(), folder / "log", clock, f"backstay-{token}", physical.superuser, settings, True,
            limits=limits_of(place),
        )  # fmt: skip
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
            # What was replayed beyond the point may rightly have changed the structure.
            source = Source(physical.about, read_kept(point) if replay is None else None)
            room = Room(checking, server, physical, recovered, source, point.point.id, early, replay)
            gone_on = f", gone on {replay.route.say()}" if replay is not None else ""
            where = f"a sandbox of PostgreSQL {programs.major} with point {point.point.id}{gone_on}"
            yield PostgresAnswers(
                where, lambda: server.connect(physical.database), room.inspect, place.patience,
                address=server.address_of(physical.database),
            )  # fmt: skip


def limits_of(place: PostgresPlace) -> Limits:
    return Limits(memory_bytes=place.limits.memory_bytes or USUAL_MEMORY)


def temporary(place: PostgresPlace, point: Point) -> dict[str, str]:
    """How much one session may put into temporary files (`temp_file_limit`): what the plan leaves beside the point,
    else as much as the point is large. A question without an index must not fill the disk."""
    left = place.limits.disk_bytes - point.size_bytes if place.limits.disk_bytes is not None else point.size_bytes
    least = LEAST_TEMPORARY if place.limits.disk_bytes is None else 0
    return {"temp_file_limit": f"{max(left, least) >> 10}kB"}


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


def _manifest(
    checking: Checking, point: PointReader, programs: Programs, data: Path, folder: Path
) -> Iterator[CheckResult]:
    """B03, for a point that has a manifest of the server's own. One of an incremental backup is of what was sent, and
    not of the files that it was folded into."""
    if point.entry(MANIFEST) is not None and is_full(point.point):
        manifest = folder / MANIFEST
        manifest.write_bytes(b"".join(point.read(MANIFEST)))
        yield checking.check("B03", lambda: verifybackup(programs, data, manifest))


@dataclass(slots=True)
class Room:
    """A sandbox while it is looked at."""

    checking: Checking
    server: PrivateServer
    physical: Physical
    recovered: Recovered
    source: Source
    point: PointId
    early: tuple[CheckResult, ...] = ()
    """What was looked at before recovery began."""
    replay: Replay | None = None

    def inspect(self, tier: Tier) -> list[CheckResult]:
        check = self.checking.check
        found = [
            *self.early,
            check("R01", self._ended),
            check("R02", self._reached),
            check("R03", self._timeline),
            check("R04", lambda: quiet(classified(self.recovered.complaints), "it recovered")),
        ]
        if tier != "bytes":
            with self.server.connect(self.physical.database) as db:
                found += self.checking.catalogue(db, self.source, tier)
                tables = sample_of(db, self.point) if tier == "sample" else None
            found.append(
                self.checking.amcheck(
                    self.server.programs, self.server.address(), self.physical.database, full=tier == "full",
                    tables=tables,
                )
            )  # fmt: skip
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

    def _checksums(self) -> Said:
        self.server.stop()
        try:
            return checksums(self.server.programs, self.server.data)
        finally:
            self.server.start(timedelta(minutes=10))


def sample_of(db: Connection, point: PointId) -> list[str]:
    """The tables that a sample of this point looks at, as patterns for pg_amcheck."""
    every = {f"{schema}.{table}": (schema, table) for schema, table in tables_of(db)}
    return quoted([every[name] for name in sampled(every, point)])
