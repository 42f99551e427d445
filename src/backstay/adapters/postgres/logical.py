"""The way `logical`: one database by `pg_dump -Fd`, uncompressed, one stream per table; plain pg_restore can read it.

One transaction exports the snapshot that everything is read in: the dump, and the component's own question. Roles come
from `pg_dumpall --roles-only --no-role-passwords`: without them, owners and grants could not be restored. So do the
names of tablespaces: where the server that it comes back to has them all, tables go where they were.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from backstay.adapters.postgres import catalogue
from backstay.adapters.postgres.answers import ask
from backstay.adapters.postgres.dumping import Dump
from backstay.adapters.postgres.layout import bytes_entry
from backstay.adapters.postgres.local import Watch
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.programs import Programs, find
from backstay.adapters.postgres.session import Connection, environment, one, rows, session, spoken
from backstay.adapters.postgres.source import Source, examine
from backstay.adapters.postgres.words import Meaning, classified, reason
from backstay.errors import BackstayError, ToolFailed
from backstay.ports import Clock, PointWriter, Progress, Sealing, Taken, unwatched
from backstay.processes import Command, run, start, working_folder
from backstay.values import LineageId

_GLOBALS = timedelta(minutes=10)
GLOBALS = (
    ("roles.sql", "roles", "--roles-only", "--no-role-passwords"),
    ("tablespaces.sql", "tablespaces", "--tablespaces-only"),
)
"""Beside `dump/`: the file in the point, what it holds, the words for pg_dumpall. The first has memberships, settings
of roles and grants on parameters, too; the second is asked for names, and never run: its folders are the old host's."""
_LOCK_WAIT = "5min"
"""How long pg_dump may wait for a table that somebody has locked."""


@dataclass(slots=True)
class Dumping:
    """One logical backup."""

    place: PostgresPlace
    clock: Clock
    into: PointWriter
    progress: Progress = unwatched
    said: list[str] = field(default_factory=list[str])

    def take(self) -> Taken:
        began = self.clock.now()
        with session(self.place.dsn) as looking, session(self.place.dsn) as db:
            source = examine(looking)
            programs = find(source.major, named=self.place.bin, newer=True)
            before = catalogue.survey(looking)
            moment, snapshot = _export(db)
            newest, newest_source = self._newest(db, moment)
            self._add_globals(programs, source)
            self._add_dump(programs, snapshot, _size(looking))
            after = catalogue.survey(looking)
            self.into.add(catalogue.kept(before, after, self.clock.now()), unwatched)
            lineage = lineage_of(looking, source)
        about = source.about() | catalogue.stored(before, after) | {"dumped_by": str(programs.major)}
        sealing = Sealing(
            lineage=LineageId(lineage),
            way="logical",
            began=began,
            ended=self.clock.now(),
            newest=newest,
            newest_source=newest_source,
            about=about,
        )
        return Taken(sealing, tuple(self.said))

    def _newest(self, db: Connection, moment: datetime) -> tuple[datetime, str]:
        """In the snapshot itself. A question that fails must not end the transaction that holds it."""
        if self.place.newest is not None:
            limit = int(self.place.patience.total_seconds() * 1000)
            db.execute("SAVEPOINT question")
            try:
                with spoken(self.place.patience):
                    db.execute("SELECT set_config('statement_timeout', %s, true)", (f"{limit}ms",))
                    answer = ask(db, self.place.newest)
            except BackstayError as error:
                if db.closed:
                    raise
                self.said.append(f"the component's question for its newest moment failed: {error.message}")
                answer = None
            db.execute("ROLLBACK TO SAVEPOINT question")
            if isinstance(answer, datetime):
                return answer, "the component's own question"
        return moment, "the snapshot's time"

    def _add_globals(self, programs: Programs, source: Source) -> None:
        """What belongs to the whole server, and without which one database does not come back as it was."""
        plain, secret = environment(self.place.dsn)
        for name, what, *words in GLOBALS:
            argv = (programs.path("pg_dumpall"), *words, "--no-password", f"-l{source.database}")
            try:
                found = run(Command(argv, _GLOBALS, env=plain, secrets=secret, keep_bytes=64 << 20)).output
            except ToolFailed as error:
                self.said.append(f"the {what} are not in the point: {reason(error, 'pg_dumpall').detail}")
            else:
                self.into.add([bytes_entry(name, found, self.clock.now())], unwatched)

    def _add_dump(self, programs: Programs, snapshot: str, size_bytes: int) -> None:
        plain, secret = environment(self.place.dsn)
        with scratch(self.place.scratch) as folder:
            argv = (
                programs.path("pg_dump"), "--format=directory", "--compress=0", "--no-sync", "--no-password",
                f"--snapshot={snapshot}", f"--lock-wait-timeout={_LOCK_WAIT}", f"--file={folder / 'dump'}",
            )  # fmt: skip
            command = Command(argv, None, env=plain, secrets=secret)
            try:
                with start(command) as running:
                    dump = Dump(folder / "dump", running, self.clock)
                    self.into.add(dump.entries(), Watch(self.progress, size_bytes))
                    said = classified(running.last_words().splitlines())
            except ToolFailed as error:
                raise reason(error, "pg_dump") from None
        self.said += [f"pg_dump: {line.text}" for line in said if line.meaning is not Meaning.HARMLESS]


def lineage_of(db: Connection, source: Source) -> str:
    """A database that is restored beside another has a number of its own, and begins a line of its own."""
    (timeline,) = one(db, "SELECT timeline_id FROM pg_control_checkpoint()")
    (oid,) = one(db, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    return f"pg-{source.system}-{timeline}-{oid}"


@contextmanager
def scratch(below: Path) -> Generator[Path]:
    """A folder that is gone afterwards, also when we are killed: whoever comes next sweeps it."""
    with working_folder(below, "backstay-dump") as folder:
        yield folder


def _export(db: Connection) -> tuple[datetime, str]:
    """`now()` is the beginning of the transaction, before its snapshot: whatever was committed by then is in it."""
    db.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    moment, snapshot = one(db, "SELECT now(), pg_export_snapshot()")
    return moment, str(snapshot)


def _size(db: Connection) -> int:
    """Of the tables without their indexes: about what the dump will be."""
    found = rows(db, "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint FROM pg_class WHERE relkind IN ('r', 'm')")
    return int(found[0][0])
