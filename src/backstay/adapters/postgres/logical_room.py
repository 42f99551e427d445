"""A throw-away server for a logical point: made new, filled by pg_restore, asked, erased."""

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.catalogue import read_kept
from backstay.adapters.postgres.checks import Checking, Source, Tier, quiet
from backstay.adapters.postgres.dump_ends import dump_ends
from backstay.adapters.postgres.existing.dumps import DumpPoint
from backstay.adapters.postgres.litter import registered
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.private import PrivateServer, need_server
from backstay.adapters.postgres.programs import Programs, find, ourselves
from backstay.adapters.postgres.rebuild import Logical, Rebuild, create_database, execute, extract, give_owner, roles_of
from backstay.adapters.postgres.said import passed
from backstay.adapters.postgres.sandbox import CARELESS, limits_of, sample_of, temporary
from backstay.adapters.postgres.session import spoken
from backstay.adapters.postgres.words import Line, Meaning
from backstay.errors import NotSupported, ToolFailed
from backstay.facts import CheckResult
from backstay.ports import Clock, PointReader, Progress, unwatched
from backstay.processes import Command, run
from backstay.values import PointId, say_span

SUPERUSER = "backstay_sandbox"
"""A name that no point has: every role of the point can then be made."""

_INITDB = timedelta(minutes=5)


@contextmanager
def logical_sandbox(
    place: PostgresPlace, clock: Clock, point: PointReader, folder: Path, progress: Progress = unwatched
) -> Generator[PostgresAnswers]:
    """Restore `point` into a new server below `folder`, give it to be asked; stop and erase it."""
    held = point if isinstance(point, DumpPoint) else None
    logical = Logical.of(point.point)
    # What a newer pg_dump wrote, an older pg_restore does not read; what it makes must run on the old version.
    programs = find(logical.major, named=place.bin, newer=True)
    tools = programs if programs.major >= logical.dumped_by else find(logical.dumped_by, named=place.bin, newer=True)
    need_server(programs)
    with registered(folder) as token:
        dump = extract(point, folder, lambda: False, progress) if held is None else held.path
        data = folder / "data"
        _initdb(programs, data)
        settings = {**CARELESS, **temporary(place, point.point)}
        server = PrivateServer(
            programs, data, ourselves(), folder / "log", clock, f"backstay-{token}", SUPERUSER, settings, alone=True,
            limits=limits_of(place),
        )  # fmt: skip
        with server:
            server.start(timedelta(minutes=10))
            began = clock.elapsed()
            rebuild = Rebuild(tools, clock, dump, server.address())
            sql = roles_of(point) if held is None else held.roles_for_a_new_server()
            if held is not None:
                rebuild = held.rebuilding(tools, clock, (server.address(), {}), folder)
            said = rebuild.roles(sql, "postgres") if sql else []
            said += _restore(server, rebuild, logical)
            source = Source(logical.about, read_kept(point), dumped=True)
            room = LogicalRoom(
                Checking(clock), server, logical, tuple(said), clock.elapsed() - began, source, point.point.id, dump
            )
            where = f"a sandbox of PostgreSQL {programs.major} with point {point.point.id}"
            yield PostgresAnswers(
                where, lambda: server.connect(logical.database), room.inspect, place.patience,
                address=server.address_of(logical.database),
            )  # fmt: skip


def _restore(server: PrivateServer, rebuild: Rebuild, logical: Logical) -> list[Line]:
    name = logical.database
    if logical.about.get("makes"):  # a script that makes its databases itself, from the one for administration
        return rebuild.restore("postgres")
    with contextlib.closing(server.connect("postgres")) as db, spoken():
        if name not in ("postgres", "template1"):
            create_database(db, name, logical.about)
        said = rebuild.restore(name)
        refused = give_owner(db, name, logical.about) + execute(db, rebuild.of_the_database())
    return said + [Line(Meaning.DEFECT, line) for line in refused]


def _initdb(programs: Programs, data: Path) -> None:
    argv, unprivileged = ourselves().wrap(
        programs.path("initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"
    )
    try:
        run(Command(argv, _INITDB, unprivileged=unprivileged))
    except ToolFailed as error:
        raise NotSupported("this machine does not let us make a server", detail=error.detail) from None


@dataclass(slots=True)
class LogicalRoom:
    checking: Checking
    server: PrivateServer
    logical: Logical
    said: tuple[Line, ...]
    took: timedelta
    source: Source
    point: PointId
    dump: Path

    def inspect(self, tier: Tier) -> list[CheckResult]:
        check = self.checking.check
        found = [
            check("R01", lambda: passed(f"pg_restore came to its end after {say_span(self.took)}")),
            check("R04", lambda: quiet(self.said, "restoring")),
            *([check("R05", lambda: dump_ends(self.dump))] if self.dump.is_dir() else []),
        ]
        if tier != "bytes":
            name = self.logical.database
            with contextlib.closing(self.server.connect(name)) as db:
                found += self.checking.catalogue(db, self.source, tier)
                tables = sample_of(db, self.point) if tier == "sample" else None
            found.append(
                self.checking.amcheck(
                    self.server.programs, self.server.address(), name, full=tier == "full", tables=tables
                )
            )
        return found
