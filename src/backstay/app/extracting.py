"""A part of a point, taken out: tables, a database, or rows with what belongs to them."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from backstay.app.estate import scratch
from backstay.app.home import Home
from backstay.app.protecting import Which, chosen_point
from backstay.app.reading import readable
from backstay.errors import BackstayError, Damaged, NoSuchPoint, NotSupported, ObjectMissing, UnknownName, Usage
from backstay.facts import Point
from backstay.plan import PostgresSource, Target, Template, say_target
from backstay.ports import PointReader, Progress, Vault
from backstay.values import ComponentName, VaultName, listed, say_moment
from backstay.verbs.component import refute
from backstay.verbs.routine import throw_away

if TYPE_CHECKING:
    from backstay.adapters.postgres.rescue import Wanted, Written


@dataclass(frozen=True, slots=True)
class Out:
    """Where it goes: one of the two."""

    to: Path | None = None
    into: Template | None = None
    """A reference to the address of a server: an address itself would be a secret on a command line."""
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    component: str
    which: Which
    database: str | None
    wanted: "Wanted"
    out: Out


@dataclass(frozen=True, slots=True)
class Extracted:
    point: Point
    vault: VaultName
    written: "Written"
    where: str
    target: Target | None = None
    """Where the log was replayed to, behind the point."""


def extract(home: Home, asked: Asked, progress: Progress) -> Extracted:
    """Raises Usage, UnknownName, NoSuchPoint, TargetNotEmpty, NotSupported, ToolMissing, DiskFull and what the vault
    raises. What was asked for is there whole, or not at all; the sandbox is gone in any case."""
    asked.wanted.check()
    if (asked.out.to is None) == (asked.out.into is None):
        raise Usage("say where it goes: --to FILE, or --into a reference like '${env:TARGET_URL}'")
    dsn = asked.out.into.render(home.secrets.value) if asked.out.into is not None else ""
    name = ComponentName(asked.component)
    vault_name, point = chosen_point(home, name, asked.which)
    if point.component != name:
        raise NoSuchPoint(f"the point {point.id} is of {point.component}, not of {name}", detail="nothing was written")
    if point.way not in ("local", "stream", "logical"):
        raise NotSupported(f"{name} is no PostgreSQL database", detail="it has no tables that could be taken out")
    vault, began = readable(home, vault_name), home.clock.now()
    try:
        written = _extract(home, asked, vault, point, dsn, progress)
    except (Damaged, ObjectMissing) as error:
        refute(vault, point, error, (began, home.clock.now()))
        raise
    where = str(asked.out.to) if asked.out.to is not None else f"the schema {_schema(asked, point)} there"
    return Extracted(point, vault_name, written, where, asked.which.target)


def _extract(home: Home, asked: Asked, vault: Vault, point: Point, dsn: str, progress: Progress) -> "Written":
    from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
    from backstay.adapters.postgres.answers import PostgresAnswers
    from backstay.adapters.postgres.rescue import into_file, into_server
    from backstay.adapters.postgres.rescue.writing import Job

    place = PostgresPlace(dsn="", bin=_binaries(home, asked.component), scratch=scratch(home))
    target = asked.which.target
    # Log that is replayed may touch any file of the server: then all of it is laid down.
    part = _part(vault.open(point.id), asked, scratch(home)) if target is None else vault.open(point.id)
    until = f"data until {say_moment(point.moment)}" if target is None else f"brought to {say_target(target)}"
    about = (f"point {point.id} of {point.component}, {until}",)
    log = vault.wal if target is not None else None
    # Only what is laid down needs room.
    with (
        throw_away(scratch(home), replace(point, size_bytes=_size(part))) as folder,
        PostgresKeeper(place, home.clock).sandbox(part, folder, progress, target=target, log=log) as answers,
    ):
        assert isinstance(answers, PostgresAnswers), "a PostgreSQL sandbox"
        job = Job(answers, asked.wanted, place.bin, about, home.clock.stop.is_set, progress)
        if asked.out.to is not None:
            return into_file(job, asked.out.to.absolute())
        return into_server(job, dsn, _schema(asked, point))


def _schema(asked: Asked, point: Point) -> str:
    return asked.out.schema or f"restored_{point.moment:%Y%m%d_%H%M%S}"


def _size(part: PointReader) -> int:
    from backstay.adapters.postgres.rescue import Partial

    return part.size_bytes() if isinstance(part, Partial) else part.point.size_bytes


def _part(reader: PointReader, asked: Asked, below: Path) -> PointReader:
    from backstay.adapters.postgres.rescue import part_of, tables_in_toc
    from backstay.adapters.postgres.rescue.partial import databases, of_database

    own = reader.point.about.get("database", "")
    database = asked.database or own
    if reader.point.way == "logical":
        if database != own:
            raise UnknownName(f"the point holds the database {own}, and no {database}")
        # Rows may lead anywhere: then every table is needed.
        tables = tables_in_toc(asked.wanted.tables) if asked.wanted.where is None else ()
        return part_of(reader, database, tables, below)
    known = databases(reader)
    if known and database not in known:
        raise UnknownName(f"the point has no database {database}", detail=f"it has {listed(sorted(known))}")
    return of_database(part_of(reader, database, (), below), database)


def _binaries(home: Home, component: str) -> Path | None:
    """As the plan says, where there is one."""
    with suppress(BackstayError):
        source = home.plan.component(component).source
        if isinstance(source, PostgresSource) and source.binaries:
            return home.path(source.binaries)
    return None
