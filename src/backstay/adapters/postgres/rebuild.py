"""Making a database from a logical point: its roles, the database itself, pg_restore, and what belongs to the database
as a whole (its settings and grants, which pg_restore leaves out unless it creates the database under its old name)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import LiteralString, Protocol, cast, runtime_checkable

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier, Literal

from backstay.adapters.postgres.programs import Programs
from backstay.adapters.postgres.restricted import restricted
from backstay.adapters.postgres.session import Connection, first_line, rows
from backstay.adapters.postgres.tools import Lines
from backstay.adapters.postgres.words import Line, Meaning, classified, reason
from backstay.errors import Cancelled, Damaged, NotSupported, ToolFailed
from backstay.facts import Point
from backstay.ports import Clock, PointReader, Progress, Stored
from backstay.processes import Command, run, start

_WITHIN = timedelta(minutes=10)
_GLANCE = timedelta(milliseconds=100)
_MOST_LINES = 2000
_ROLE_LINE = re.compile(r'(?:CREATE|ALTER) ROLE ("(?:[^"]|"")+"|[^\s;]+)[\s;]')
_MEMBER_LINE = re.compile(r'GRANT .* TO ("(?:[^"]|"")+"|[^\s;]+)[\s;]')
_OF_DATABASE = re.compile(
    r"(?:ALTER DATABASE .* SET |ALTER ROLE .* IN DATABASE .* SET |(?:GRANT|REVOKE) .* ON DATABASE )"
)


@dataclass(frozen=True, slots=True)
class Logical:
    """What a logical point says of itself. Raises Damaged."""

    database: str
    major: int
    dumped_by: int
    about: Mapping[str, str]

    @classmethod
    def of(cls, point: Point) -> "Logical":
        about = point.about
        try:
            major = int(about["server_version_num"]) // 10000
            return cls(about["database"], major, int(about.get("dumped_by", str(major))), about)
        except (KeyError, ValueError) as error:
            raise Damaged(f"the notes of point {point.id} are not those of a dump", detail=str(error)) from None


@dataclass(slots=True)
class Rebuild:
    """One database being made, on a server that `env` and `secrets` lead to."""

    programs: Programs
    clock: Clock
    dump: Path
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    stop: Callable[[], bool] = lambda: False
    placed: bool = False
    """Tables go into the tablespaces that they were in; else all into that of the database."""
    scratch: Path | None = None
    """For a small file of ours. None: beside the dump, which is ours too."""
    jobs: int = 2

    def restore(self, dbname: str) -> list[Line]:
        """pg_restore; every line of its errors, with its meaning. Raises ToolFailed when it breaks off, DiskFull."""
        argv = (
            self.programs.path("pg_restore"), f"--jobs={self.jobs}", "--no-subscriptions",
            "--no-publications", "--no-password", *(() if self.placed else ("--no-tablespaces",)),
            f"--dbname={dbname}", str(self.dump),
        )  # fmt: skip
        said = Lines(_MOST_LINES)
        # 1: errors were ignored; which ones, its lines say.
        command = Command(argv, None, env=self.env, secrets=self.secrets, accept=frozenset({0, 1}))
        with start(command, stderr=said.add, stop=self.stop) as running:
            try:
                running.wait()
            except ToolFailed as error:
                raise reason(error, "pg_restore") from None
        lines = classified(said.all())
        full = [
            line for line in lines if "No space left on device" in line.text or "could not extend file" in line.text
        ]
        if full:
            raise reason(ToolFailed("", detail="No space left on device"), "pg_restore")
        return [line for line in lines if line.meaning is not Meaning.HARMLESS]

    def of_the_database(self) -> list[str]:
        """Statements that give the database its own settings and grants, under its old name."""
        program = self.programs.path("pg_restore")
        listed = self._text(program, "--create", "--list", str(self.dump))
        wanted = "".join(f"{line}\n" for line in listed.splitlines() if " ACL - DATABASE " in line)
        chosen = (self.scratch or self.dump.parent) / "of-the-database.list"
        chosen.write_text(wanted or ";\n")
        text = self._text(program, "--create", f"--use-list={chosen}", "--file=-", str(self.dump))
        chosen.unlink()
        return [line for line in text.splitlines() if _OF_DATABASE.match(line)]

    def _text(self, *argv: str) -> str:
        return run(Command(argv, _WITHIN, keep_bytes=16 << 20)).text

    def roles(self, sql: bytes, dbname: str) -> list[Line]:
        """All of them, with psql: on a server that is ours alone. Raises NotSupported, see `restricted`."""
        said = Lines(_MOST_LINES)
        argv = (self.programs.path("psql"), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=0", "-d", dbname, "-f", "-")
        text = restricted(self.programs, sql)
        run(Command(argv, _WITHIN, env=self.env, secrets=self.secrets), stdin=text, stderr=said.add)
        return [line for line in classified(said.all()) if line.meaning is not Meaning.HARMLESS]


def extract(point: PointReader, folder: Path, stop: Callable[[], bool], progress: Progress) -> Path:
    """The dump as files below `folder`; gives its folder."""

    def place(stored: Stored) -> Path | None:
        if stop():
            raise Cancelled("stopped while files were being restored")
        return folder / stored.path if stored.path == "dump" or stored.path.startswith("dump/") else None

    point.extract(folder, place=place, progress=progress)
    if not (folder / "dump" / "toc.dat").exists():
        raise Damaged(f"point {point.point.id} has no table of contents (dump/toc.dat)", hint="restore another point")
    return folder / "dump"


@runtime_checkable
class BringsRoles(Protocol):
    """A dump whose roles lie beside it."""

    def sql_of_roles(self) -> bytes: ...


def roles_of(point: "PointReader | BringsRoles") -> bytes:
    """The statements, fit for a server that another superuser made.

    Since version 16 a membership names who granted it, and only the very first superuser of a server may grant without
    holding the role himself (`check_role_grantor`, user.c): named as such on another server, he may not.
    """
    if isinstance(point, BringsRoles):
        return point.sql_of_roles()
    if point.entry("roles.sql") is None:
        return b""
    sql = b"".join(point.read("roles.sql"))
    name = point.point.about.get("superuser", "").encode()
    named = re.compile(rb'^(GRANT .*) GRANTED BY "?' + re.escape(name.replace(b'"', b'""')) + rb'"?;$', re.MULTILINE)
    return named.sub(rb"\1;", sql) if name else sql


_TABLESPACE_LINE = re.compile(r'CREATE TABLESPACE ("(?:[^"]|"")+"|[^\s;]+)[\s;]')


def missing_tablespaces(db: Connection, point: PointReader) -> list[str]:
    """Those of the point that this server does not have, by name. They are not made: where their folders would be is
    for a person to say."""
    if point.entry("tablespaces.sql") is None:
        return ["those of the point are not known"]
    text = b"".join(point.read("tablespaces.sql")).decode("utf-8", "replace")
    here = {str(name) for (name,) in rows(db, "SELECT spcname FROM pg_tablespace")}
    named = [_name(_TABLESPACE_LINE, line) for line in text.splitlines()]
    return sorted(name for name in named if name is not None and name not in here)


def missing_roles(db: Connection, sql: bytes) -> list[str]:
    """The statements for roles that are not there. Those that are stay as they are: a restore of one database must not
    change who may do what in the others."""
    here = {str(name) for (name,) in rows(db, "SELECT rolname FROM pg_roles")}
    lines = sql.decode("utf-8", "replace").splitlines()
    fresh = {name for line in lines if (name := _name(_ROLE_LINE, line)) is not None} - here
    return [
        line
        for line in lines
        if _name(_ROLE_LINE, line) in fresh or (line.startswith("GRANT ") and _name(_MEMBER_LINE, line) in fresh)
    ]


def _name(pattern: re.Pattern[str], line: str) -> str | None:
    found = pattern.match(line)
    if found is None:
        return None
    name = found[1]
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def execute(db: Connection, statements: list[str]) -> list[str]:
    """One by one; gives what was refused."""
    refused: list[str] = []
    for statement in statements:
        try:
            db.execute(cast(LiteralString, statement))
        except psycopg.Error as error:
            refused.append(first_line(error))
    return refused


def create_database(db: Connection, name: str, about: Mapping[str, str]) -> None:
    """With the encoding and the locale that it had. Raises NotSupported where this machine does not have them."""
    parts: list[SQL | Composed] = [
        SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
            Identifier(name), Literal(about.get("encoding", "UTF8"))
        ),
        SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(about.get("collate", "C")), Literal(about.get("ctype", "C"))),
    ]
    provider, locale = about.get("locale_provider", "c"), about.get("locale", "")
    if db.info.server_version >= 150000 and provider == "i":
        parts.append(SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(Literal(locale)))
    elif db.info.server_version >= 170000 and provider == "b":
        parts.append(SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(Literal(locale)))
    elif db.info.server_version >= 150000:
        parts.append(SQL("LOCALE_PROVIDER libc"))
    try:
        db.execute(SQL(" ").join(parts))
    except (errors.WrongObjectType, errors.InvalidParameterValue, errors.FeatureNotSupported) as error:
        raise NotSupported(
            f"this machine cannot make a database like {about.get('database', name)}",
            detail=first_line(error),
            hint=f"install the locale {about.get('collate', '')} {locale}".rstrip(),
        ) from None


def give_owner(db: Connection, name: str, about: Mapping[str, str]) -> list[str]:
    """The owner that the database had; gives what was refused."""
    owner = about.get("database_owner", "")
    statement = SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(owner or "postgres"))
    return execute(db, [statement.as_string(db)]) if owner else []
