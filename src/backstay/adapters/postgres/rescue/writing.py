"""Out of a sandbox: into a file, whole or not at all, or into another server, in a schema of its own."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from psycopg.sql import SQL, Identifier

from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.laying import room
from backstay.adapters.postgres.programs import Programs, find
from backstay.adapters.postgres.rescue.rows import Chosen, Relation, Wanted, columns_of, found, rows_in, script
from backstay.adapters.postgres.session import Connection, connect, environment, one, rows, spoken, where
from backstay.adapters.postgres.words import reason
from backstay.durable import sync
from backstay.errors import Cancelled, TargetNotEmpty, ToolFailed, Usage
from backstay.ports import Progress, unwatched
from backstay.processes import Command, run, start
from backstay.values import count, listed

_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Written:
    """What came out: names and numbers, never a row."""

    counts: Mapping[str, int]
    """Rows by table."""
    size_bytes: int = 0
    next_steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One part of one database in a sandbox."""

    answers: PostgresAnswers
    wanted: Wanted
    named: Path | None
    """The folder of programs that the plan names."""
    about: tuple[str, ...]
    """What the result says of itself."""
    stop: Callable[[], bool] = lambda: False
    progress: Progress = unwatched


def into_file(job: Job, to: Path) -> Written:
    """`to` is written beside itself, durable, and then named: it is whole, or it is not there. Mode 0600. Raises
    TargetNotEmpty, UnknownName, Usage, DiskFull, Cancelled, ToolFailed."""
    if to.exists() or to.is_symlink():
        raise TargetNotEmpty(f"{to} is there already", detail="nothing was written", hint="name a file that is not")
    if job.wanted.where is not None and to.suffix != ".sql":
        raise Usage(
            "rows are written as SQL", detail=f"{to.name} does not end in .sql", hint="name a file like rows.sql"
        )
    beside = to.with_name(f".{to.name}.backstay-{os.getpid()}")
    with room(to.parent, f"writing {to.name}"), job.answers.session() as db, spoken():
        try:
            counts = _rows_to(job, db, beside) if job.wanted.where is not None else _dump_to(job, db, beside, to)
            sync(beside)
            # link(2) and not rename(2): somebody else's file of this name must stay.
            os.link(beside, to)
            sync(to.parent)
        except FileExistsError:
            raise TargetNotEmpty(f"{to} appeared meanwhile", hint="name another file") from None
        finally:
            beside.unlink(missing_ok=True)
    return Written(counts, to.stat().st_size, _next(to, job.wanted))


def _next(to: Path, wanted: Wanted) -> tuple[str, ...]:
    if to.suffix == ".sql":
        return (f"next: psql -X -v ON_ERROR_STOP=1 -f {to} DATABASE",)
    how = "--create " if not wanted.tables else ""
    return (f"next: pg_restore {how}--dbname DATABASE {to}   # into a database where these tables are not",)


def _rows_to(job: Job, db: Connection, beside: Path) -> Mapping[str, int]:
    db.execute("BEGIN")
    chosen = Chosen.of(db, job.wanted)
    counts = chosen.counts()
    if not counts:
        raise Usage("no row of the point fits --where", detail="nothing was written")
    said = (*job.about, f"{count(sum(counts.values()), 'row')} of {listed(counts)}")
    done = 0
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for part in script(chosen, said):
            if job.stop():
                raise Cancelled("stopped while rows were being written")
            file.write(part)
            done += len(part)
            job.progress(done, None, "writing")
    return counts


def _dump_to(job: Job, db: Connection, beside: Path, to: Path) -> Mapping[str, int]:
    relations = [found(db, name) for name in job.wanted.tables]
    counts = _counted(db, relations)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    form = "plain" if to.suffix == ".sql" else "custom"
    words = [f"--format={form}", f"--file={beside}", *(f"--table={_pattern(one)}" for one in relations)]
    _dump(job, db, [*words, *(["--create"] if not relations and form == "plain" else [])])
    return counts


def _counted(db: Connection, relations: list[Relation]) -> Mapping[str, int]:
    return {relation.shown: rows_in(db, relation.identifier) for relation in relations}


def _pattern(relation: Relation) -> str:
    """For pg_dump: in quotes nothing is a wildcard, and a quote is written twice (manual, psql, "Patterns")."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in (relation.schema, relation.name))


def _programs(job: Job, db: Connection) -> Programs:
    return find(db.info.server_version // 10000, named=job.named)


def _address(db: Connection) -> dict[str, str]:
    info = db.info
    return {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGDATABASE": info.dbname,
            "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}  # fmt: skip


def _dump(job: Job, db: Connection, words: list[str]) -> None:
    argv = (_programs(job, db).path("pg_dump"), "--no-password", *words)
    job.progress(0, None, "pg_dump")
    try:
        run(Command(argv, _WITHIN, env=_address(db)), stop=job.stop)
    except ToolFailed as error:
        raise reason(error, "pg_dump") from None


# ── another server ───────────────────────────────────────────────────────────────────────────────


def into_server(job: Job, dsn: str, schema: str) -> Written:
    """Into a schema that is not there yet, all of it in one transaction: no row of that server is touched. Raises
    TargetNotEmpty, SourceDown, AccessDenied, UnknownName, ToolFailed and others."""
    if not job.wanted.tables:
        raise Usage("a whole database is not brought into another one", hint="write it with --to, then pg_restore it")
    with contextlib.closing(connect(dsn)) as target, spoken():
        if rows(target, "SELECT FROM pg_namespace WHERE nspname = %s", schema):
            raise TargetNotEmpty(
                f"{where(dsn)} has a schema {schema} already",
                detail="nothing was changed there",
                hint="name another one with --schema, or drop that one",
            )
    with job.answers.session() as db, spoken():
        relations, counts = _gather(job, db, schema)
        _send(job, db, dsn, schema)
    names = listed(f"{schema}.{relation.name}" for relation in relations[:5])
    return Written(counts, 0, (f"next: look at {names} in {where(dsn)}, and move what you need with INSERT … SELECT",))


def _gather(job: Job, db: Connection, schema: str) -> tuple[list[Relation], Mapping[str, int]]:
    """In the sandbox, which is thrown away: the tables, or copies with the chosen rows, go into a schema of that name;
    keys to tables that stay behind go."""
    own = Identifier(schema)
    if job.wanted.where is None:
        relations = [found(db, name) for name in job.wanted.tables]
        counts = _counted(db, relations)
        _refuse_same_names(relations)
        db.execute(SQL("CREATE SCHEMA {}").format(own))
        for relation in relations:
            db.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(relation.identifier, own))
        _drop_keys(db, [relation.oid for relation in relations])
        return relations, counts
    chosen = Chosen.of(db, job.wanted)
    counts = chosen.counts()
    if not counts:
        raise Usage("no row of the point fits --where", detail="nothing was changed")
    relations = [relation for relation in chosen.in_order()[0] if relation.shown in counts]
    _refuse_same_names(relations)
    db.execute(SQL("CREATE SCHEMA {}").format(own))
    for relation in relations:
        copy = Identifier(schema, relation.name)
        db.execute(
            SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING DEFAULTS)").format(
                copy, relation.identifier
            )
        )
        columns = columns_of(db, relation)
        names = SQL(", ").join(Identifier(name) for name in columns)
        db.execute(SQL("INSERT INTO {} ({}) {}").format(copy, names, chosen.query(relation, columns)))
    return relations, counts


def _refuse_same_names(relations: list[Relation]) -> None:
    names = [relation.name for relation in relations]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise Usage(f"two tables are called {double[0]}, and one schema has room for one", hint="take them one by one")


def _drop_keys(db: Connection, kept: list[int]) -> None:
    """Foreign keys, triggers, policies and rules of what leaves alone would name what stays."""
    for table, name in rows(
        db,
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
        " AND (conrelid = ANY(%s) OR confrelid = ANY(%s)) AND NOT (conrelid = ANY(%s) AND confrelid = ANY(%s))",
        kept, kept, kept, kept,
    ):  # fmt: skip
        db.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(SQL(table), Identifier(str(name))))
    for table, name in rows(
        db, "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY(%s)", kept
    ):
        db.execute(SQL("DROP TRIGGER {} ON {}").format(Identifier(str(name)), SQL(table)))


def _send(job: Job, db: Connection, dsn: str, schema: str) -> None:
    programs = _programs(job, db)
    pattern = '"' + schema.replace('"', '""') + '"'
    argv = (programs.path("pg_dump"), "--no-password", "--format=custom", "--compress=0", "--no-owner",
            "--no-privileges", f"--schema={pattern}")  # fmt: skip
    plain, secret = environment(dsn)
    load = (programs.path("pg_restore"), "--no-password", "--single-transaction", "--exit-on-error", "--no-owner",
            f"--dbname={_name(dsn)}")  # fmt: skip
    job.progress(0, None, "bringing it there")
    try:
        with start(Command(argv, _WITHIN, env=_address(db)), stdout="pipe", stop=job.stop) as dumping:
            command = Command(load, _WITHIN, env=plain, secrets=secret)
            with start(command, stdin="pipe", stop=job.stop) as loading:
                loading.feed(_parts(dumping.output, job.progress))
                loading.wait()
    except ToolFailed as error:
        raise reason(error, "bringing the tables there (nothing was changed)") from None


def _name(dsn: str) -> str:
    with contextlib.closing(connect(dsn)) as db:
        return str(one(db, "SELECT current_database()")[0])


def _parts(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    done = 0
    while part := file.read(1 << 20):
        done += len(part)
        progress(done, None, "bringing it there")
        yield part
