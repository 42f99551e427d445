"""Recovery of one database on a server that lives, from a logical point: restored beside, then swapped by rename.

Both renames are one transaction, so there is no moment without the one or with both. What happened is told by the names
(`<name>_beside_<run>`, `<name>_damaged_<run>`) and by comments on the databases, which travel with a rename.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString, cast

from psycopg import errors
from psycopg.sql import SQL, Identifier, Literal

from backstay.adapters.postgres.answers import ask_within
from backstay.adapters.postgres.existing.dumps import DumpPoint
from backstay.adapters.postgres.logical import lineage_of, scratch
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.programs import Programs, find
from backstay.adapters.postgres.rebuild import (
    Logical,
    Rebuild,
    create_database,
    execute,
    extract,
    give_owner,
    missing_roles,
    missing_tablespaces,
    roles_of,
)
from backstay.adapters.postgres.session import Connection, connect, environment, one, parse, rows, spoken
from backstay.adapters.postgres.source import examine
from backstay.errors import (
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    PointRefuted,
    RunBusy,
    SourceDown,
    TargetAlive,
    TargetNotEmpty,
)
from backstay.facts import DidNot, Happened, Outcome, Sight, Succeeded
from backstay.ports import Acting, Clock, PointReader
from backstay.values import count, listed, stamp

_LONGEST = 63
"""Bytes of a name (NAMEDATALEN - 1)."""
_QUIET = timedelta(milliseconds=100)
_SESSIONS_GONE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Names:
    """The database and what stands beside it in a run."""

    name: str
    run: str

    @property
    def beside(self) -> str:
        return _fit(self.name, f"_beside_{self.run}")

    @property
    def damaged(self) -> str:
        return _fit(self.name, f"_damaged_{self.run}")


def _fit(name: str, suffix: str) -> str:
    """A name of at most 63 bytes; a long one keeps its end, which carries the run, and a digest of the rest."""
    whole = name + suffix
    if len(whole.encode()) <= _LONGEST:
        return whole
    mark = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name.encode()[:16].decode('utf-8', 'ignore')}_{mark}{suffix[-30:]}"


@contextlib.contextmanager
def maintenance(place: PostgresPlace) -> Generator[Connection]:
    """A session with the server that is not in the database that is renamed."""
    own = parse(place.dsn).get("dbname")
    for name in ("postgres", "template1"):
        if name != own:
            with contextlib.suppress(SourceDown):
                db = connect(place.dsn, dbname=name)
                break
    else:
        raise SourceDown(
            "the server of this database does not answer",
            hint="a logical point needs a running server: start it, then resume",
        )
    try:
        with spoken():
            yield db
    finally:
        db.close()


@contextlib.contextmanager
def alone(db: Connection, names: Names, acting: Acting) -> Generator[None]:
    """An advisory lock in the server: it lives as long as our session. Raises RunBusy."""
    key = int.from_bytes(hashlib.sha256(f"backstay\n{names.name}".encode()).digest()[:8], "big", signed=True)
    if not one(db, "SELECT pg_try_advisory_lock(%s)", key)[0]:
        raise RunBusy(f"somebody else recovers the database {names.name} now", hint="wait until it has ended")
    try:
        told = note_of(db, names.beside) or note_of(db, names.name) or {}
        if told.get("run") == acting.run and int(str(told.get("epoch", 0))) > acting.epoch:
            raise RunBusy(f"another driver of run {acting.run} has taken over", hint="let it go on")
        yield
    finally:
        # The end of the session frees it too, but when the server comes to it: the next step may be there before.
        with contextlib.suppress(errors.Error):
            db.execute("SELECT pg_advisory_unlock(%s)", (key,))


def note_of(db: Connection, name: str) -> dict[str, object] | None:
    """Our comment on a database; None: it has none, or is not there."""
    found = rows(
        db,
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        name,
    )
    text = str(found[0][0] or "") if found else ""
    with contextlib.suppress(ValueError):
        told: object = json.loads(text.removeprefix("backstay: "))
        if text.startswith("backstay: ") and isinstance(told, dict):
            return cast("dict[str, object]", told)
    return None


def note(db: Connection, name: str, told: dict[str, object]) -> None:
    text = f"backstay: {json.dumps(told, separators=(',', ':'))}"
    db.execute(SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), Literal(text)))


def there(db: Connection, name: str) -> bool:
    return bool(rows(db, "SELECT FROM pg_database WHERE datname = %s", name))


def rename(db: Connection, clock: Clock, pairs: list[tuple[str, str]]) -> None:
    """All of them in one transaction. Sessions in these databases are ended first, and none may come back meanwhile.

    Raises TargetAlive when somebody stays.
    """
    for before, _ in pairs:
        _let_in(db, before, False)
    until = clock.elapsed() + _SESSIONS_GONE
    try:
        while not _renamed(db, pairs):
            if clock.elapsed() > until:
                raise TargetAlive(
                    f"sessions in {pairs[0][0]} do not end",
                    hint="look at pg_stat_activity and at prepared transactions, then resume",
                )
            clock.wait(_QUIET)
    except BaseException:
        for before, _ in pairs:
            _let_in(db, before, True)
        raise


def _let_in(db: Connection, name: str, may: bool) -> None:
    db.execute(SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}").format(Identifier(name), Literal(may)))


def _renamed(db: Connection, pairs: list[tuple[str, str]]) -> bool:
    for before, _ in pairs:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (before,),
        )
    try:
        with db.transaction():
            for before, after in pairs:
                db.execute(SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(before), Identifier(after)))
    except errors.ObjectInUse:
        return False
    return True


def preserve(place: PostgresPlace, clock: Clock, acting: Acting, name: str) -> Outcome:
    names = Names(name, acting.run)
    with maintenance(place) as db, alone(db, names, acting):
        if there(db, names.damaged):
            return Succeeded(f"kept as the database {names.damaged}", {"kept": names.damaged})
        if not there(db, name) or (note_of(db, name) or {}).get("run") == acting.run:
            return Succeeded(f"there is no database {name} that could be kept")
        rename(db, clock, [(name, names.damaged)])
    return Succeeded(f"kept as the database {names.damaged}; it takes no connections", {"kept": names.damaged})


def look_preserved(place: PostgresPlace, acting: Acting, name: str) -> Sight:
    names = Names(name, acting.run)
    with maintenance(place) as db:
        if there(db, names.damaged):
            return Happened(f"there is a database {names.damaged}", {"kept": names.damaged})
    return DidNot(f"there is no database {names.damaged}")


@dataclass(slots=True)
class LogicalRecovery:
    place: PostgresPlace
    clock: Clock
    point: PointReader
    acting: Acting
    keep_old: bool
    reached: Callable[[str], None]
    logical: Logical = field(init=False)
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.point, DumpPoint):
            self.point.refuse_broken()
        self.logical = Logical.of(self.point.point)
        name = parse(self.place.dsn).get("dbname") or self.logical.database
        self.names = Names(name, self.acting.run)

    def run(self) -> Outcome:
        if self.acting.stop():
            raise Cancelled("stopped before the restore began")
        with maintenance(self.place) as db, alone(db, self.names, self.acting):
            if (done := self._done(db)) is not None:
                return Succeeded(f"the database {self.names.name} was restored before", done)
            if not self.keep_old and there(db, self.names.name):
                raise TargetNotEmpty(f"there is a database {self.names.name}", hint="restore beside it")
            # The comment travels with a rename: it may be on either.
            if not any(self._is_restored(db, name) for name in (self.names.name, self.names.beside)):
                self._restore(db)
            self._swap(db)
            values = self._values(db)
            note(db, self.names.name, {**self._told("in place"), "values": values})
            self.reached("in place")
        return Succeeded(f"the database {self.names.name} holds point {self.point.point.id}", values)

    def _is_restored(self, db: Connection, name: str) -> bool:
        told = note_of(db, name) or {}
        mine = told.get("run") == self.acting.run and told.get("point") == self.point.point.id
        return mine and told.get("stage") in ("restored", "swapped")

    def _done(self, db: Connection) -> dict[str, str] | None:
        told = note_of(db, self.names.name)
        return (
            _values_of(told)
            if told and told.get("run") == self.acting.run and told.get("stage") == "in place"
            else None
        )

    def _told(self, stage: str) -> dict[str, object]:
        return {
            "run": self.acting.run,
            "epoch": self.acting.epoch,
            "point": str(self.point.point.id),
            "stage": stage,
        }

    def _restore(self, db: Connection) -> None:
        """Into a new database beside. What an interrupted one left is dropped: it can be restored again."""
        source = examine(db)
        tools = find(max(source.major, self.logical.dumped_by), named=self.place.bin, newer=True)
        beside = self.names.beside
        if there(db, beside) and (note_of(db, beside) or {}).get("run") != self.acting.run and not _empty(db, beside):
            raise TargetNotEmpty(f"there is a database {beside}, and it is not ours", hint="rename it")
        drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(beside))
        db.execute(drop)
        refused = execute(db, missing_roles(db, roles_of(self.point)))
        create_database(db, beside, self.logical.about)
        note(db, beside, self._told("restoring"))
        self.reached("restoring")
        try:
            settings = self._fill(db, tools, refused)
        except (DiskFull, PointRefuted, Damaged):
            db.execute(drop)
            raise
        note(db, beside, {**self._told("restored"), "settings": settings})
        self.reached("restored")

    def _fill(self, db: Connection, tools: Programs, refused: list[str]) -> list[str]:
        """Gives the statements that belong to the database as a whole."""
        beside = self.names.beside
        plain, secret = environment(self.place.dsn, dbname=beside)
        with scratch(self.place.scratch) as folder:
            if isinstance(self.point, DumpPoint):
                lacking: list[str] = []
                rebuild = self.point.rebuilding(tools, self.clock, (plain, secret), folder, self.acting.stop)
            else:
                dump = extract(self.point, folder, self.acting.stop, self.acting.progress)
                lacking = missing_tablespaces(db, self.point)
                rebuild = Rebuild(tools, self.clock, dump, plain, secret, self.acting.stop, placed=not lacking)
            wrong = [line.text for line in rebuild.restore(beside)] + refused
            settings = rebuild.of_the_database()
        if wrong:
            raise PointRefuted(
                f"{count(len(wrong), 'error')} while restoring into {beside}; the old database is untouched",
                detail=listed(wrong[:3]),
                hint="choose another point, or mend what is missing on this server, then resume",
            )
        give_owner(db, beside, self.logical.about)
        return settings

    def _swap(self, db: Connection) -> None:
        names = self.names
        if there(db, names.beside):
            told = note_of(db, names.beside) or {}
            pairs = [(names.beside, names.name)]
            if there(db, names.name):
                if there(db, names.damaged):
                    raise TargetNotEmpty(f"there are both {names.name} and {names.damaged}", hint="rename one of them")
                pairs.insert(0, (names.name, names.damaged))
            rename(db, self.clock, pairs)
            settings = told.get("settings")
            note(db, names.name, {**self._told("swapped"), "settings": settings})
            self.reached("swapped")
        _let_in(db, names.name, True)
        told = note_of(db, names.name) or {}
        settings = told.get("settings")
        if isinstance(settings, list) and names.name == self.logical.database:
            execute(db, [str(statement) for statement in cast("list[object]", settings)])

    def _values(self, db: Connection) -> dict[str, str]:
        newest = self.point.point.newest
        with contextlib.closing(connect(self.place.dsn, dbname=self.names.name)) as own:
            if self.place.newest is not None:
                with contextlib.suppress(BackstayError):
                    answer = ask_within(own, self.place.newest, self.place.patience)
                    newest = answer if isinstance(answer, datetime) else newest
            lineage = lineage_of(own, examine(own))
            (port,) = one(own, cast(LiteralString, "SELECT current_setting('port')"))
        found = {
            "newest": stamp(newest) if newest else "",
            "lineage": lineage,
            "kept": self.names.damaged if there(db, self.names.damaged) else "",
            "database": self.names.name,
            "port": str(port),
        }
        return {key: value for key, value in found.items() if value}


def _empty(db: Connection, name: str) -> bool:
    """Made, and nothing more: the crash came before our comment."""
    (size,) = one(db, "SELECT pg_database_size(%s)", name)
    (fresh,) = one(db, "SELECT pg_database_size('template1')")
    return int(size) <= int(fresh)


def _values_of(told: dict[str, object]) -> dict[str, str]:
    values = told.get("values")
    return {str(k): str(v) for k, v in cast("dict[object, object]", values).items()} if isinstance(values, dict) else {}


def look_restored(place: PostgresPlace, acting: Acting, name: str) -> Sight:
    names = Names(name, acting.run)
    with maintenance(place) as db:
        told = note_of(db, name)
        if told and told.get("run") == acting.run and told.get("stage") == "in place":
            return Happened(f"the database {name} was restored by this run", _values_of(told))
        if there(db, names.beside):
            return DidNot(f"there is a database {names.beside}, not yet in place")
    return DidNot(f"run {acting.run} has restored no database {name}")
