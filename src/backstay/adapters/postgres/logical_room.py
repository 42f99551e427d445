"""A throw-away server for a logical point: made new, filled by pg_restore, asked, erased."""

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.checks import Checking, Said, Tier, failed, passed, unknown
from backstay.adapters.postgres.litter import registered
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.private import PrivateServer, need_server
from backstay.adapters.postgres.programs import Programs, find, ourselves
from backstay.adapters.postgres.rebuild import Logical, Rebuild, create_database, execute, extract, give_owner, roles_of
from backstay.adapters.postgres.sandbox import CARELESS
from backstay.adapters.postgres.session import spoken
from backstay.adapters.postgres.words import Line, Meaning
from backstay.errors import NotSupported, ToolFailed
from backstay.facts import CheckResult
from backstay.ports import Clock, PointReader, Progress, unwatched
from backstay.processes import Command, run
from backstay.values import listed, say_span

SUPERUSER = "backstay_sandbox"
"""A name that no point has: every role of the point can then be made."""

_INITDB = timedelta(minutes=5)


@contextmanager
def logical_sandbox(
    place: PostgresPlace, clock: Clock, point: PointReader, folder: Path, progress: Progress = unwatched
) -> Generator[PostgresAnswers]:
    """Restore `point` into a new server below `folder`, give it to be asked; stop and erase it."""
    logical = Logical.of(point.point)
    # What a newer pg_dump wrote, an older pg_restore does not read; what it makes must run on the old version.
    programs = find(logical.major, named=place.bin, newer=True)
    tools = programs if programs.major >= logical.dumped_by else find(logical.dumped_by, named=place.bin, newer=True)
    need_server(programs)
    with registered(folder) as token:
        dump = extract(point, folder, lambda: False, progress)
        data = folder / "data"
        _initdb(programs, data)
        server = PrivateServer(
            programs, data, ourselves(), folder / "log", clock, f"backstay-{token}", SUPERUSER, CARELESS, alone=True
        )
        with server:
            server.start(timedelta(minutes=10))
            began = clock.elapsed()
            rebuild = Rebuild(tools, clock, dump, server.address())
            said = rebuild.roles(sql, "postgres") if (sql := roles_of(point)) else []
            said += _restore(server, rebuild, logical)
            room = LogicalRoom(clock, server, logical, tuple(said), clock.elapsed() - began)
            where = f"a sandbox of PostgreSQL {programs.major} with point {point.point.id}"
            yield PostgresAnswers(where, lambda: server.connect(logical.database), room.inspect, place.patience)


def _restore(server: PrivateServer, rebuild: Rebuild, logical: Logical) -> list[Line]:
    name = logical.database
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
    clock: Clock
    server: PrivateServer
    logical: Logical
    said: tuple[Line, ...]
    took: timedelta
    _checking: Checking = field(init=False)

    def __post_init__(self) -> None:
        self._checking = Checking(self.clock)

    def inspect(self, tier: Tier) -> list[CheckResult]:
        found = [
            self._checking.check("R01", lambda: passed(f"pg_restore came to its end after {say_span(self.took)}")),
            self._checking.check("R04", self._quiet),
        ]
        if tier != "bytes":
            with contextlib.closing(self.server.connect(self.logical.database)) as db:
                found += self._checking.catalogue(db, self.logical.about)
            found.append(
                self._checking.amcheck(
                    self.server.programs, self.server.address(), self.logical.database, full=tier == "full"
                )
            )
        return found

    def _quiet(self) -> Said:
        missing = [line.text for line in self.said if line.meaning is Meaning.SANDBOX]
        wrong = [line.text for line in self.said if line.meaning is Meaning.DEFECT]
        if missing:
            # What depends on it fails as well: those lines say nothing about the point.
            return unknown(f"this machine lacks what the point needs: {listed(missing[:3])}")
        if wrong:
            return failed(f"{len(wrong)} errors while restoring: {listed(wrong[:3])}")
        return passed("no warning and no error while restoring")
