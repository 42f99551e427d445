"""Sessions with a server: connecting without ever showing the connection string, and asking without changing anything.

psycopg and libpq do not print passwords, but they do quote what they could not parse, and a password with an `@` in it
is then part of what is quoted. So the string is taken apart here first, and what cannot be taken apart is not repeated.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import LiteralString, cast

import psycopg
from psycopg import conninfo, errors, pq
from psycopg.rows import TupleRow

from backstay.adapters.postgres.words import of_an_error
from backstay.errors import (
    AccessDenied,
    BackstayError,
    DiskFull,
    NotSupported,
    PlanInvalid,
    SourceDown,
    TimedOut,
    ToolFailed,
)
from backstay.values import say_span

Connection = psycopg.Connection[TupleRow]

CONNECT_S = 5
"""How long a server may take to let us in. Two is the least that libpq honours."""

_FILES = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGPASSFILE")
_SHOWN = ("host", "hostaddr", "port", "dbname", "user")
_REFUSALS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied for database",
    "is not permitted to log in",
    "certificate",
)
"""Words of libpq and of the server that mean *us*, not the server. libpq gives no SQLSTATE for a failed connection."""


def parse(dsn: str) -> dict[str, str]:
    """The words of a connection string. Raises PlanInvalid, which repeats none of it."""
    wrong = PlanInvalid(
        "the connection string of this component cannot be read",
        detail="it is not shown, because it may hold a password",
        hint="write it like postgresql://user@host:5432/name; an @, :, / or % inside a password is percent-encoded",
    )
    try:
        found = {key: str(value) for key, value in conninfo.conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        raise wrong from None
    if any("@" in found.get(key, "") for key in ("host", "hostaddr", "port")):
        raise wrong
    return found


def where(dsn: str) -> str:
    """The address for people: `shop on db1:5432`, without user and password."""
    words = defaults() | parse(dsn)
    return f"{words.get('dbname') or words.get('user', '')} on {words.get('host', 'localhost')}:{words.get('port')}"


def defaults() -> dict[str, str]:
    """What libpq fills in where the string is silent, the environment included."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.get_defaults()
        if option.val is not None and option.keyword.decode() in (*_SHOWN, "service")
    }


def environment(dsn: str, *, dbname: str | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """The same connection for a program: its environment, and the part of it that is secret.

    Raises NotSupported for a word that can only stand in argv.
    """
    variables = {
        option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar
    }
    words = parse(dsn) | ({"dbname": dbname} if dbname else {})
    if "sslpassword" in words:
        raise NotSupported(
            "sslpassword in a connection string cannot be handed to pg_dump without showing it to every user",
            hint="use a key file without a passphrase, readable by this user alone",
        )
    plain = {name: os.environ[name] for name in (*variables.values(), *_FILES) if name in os.environ}
    plain |= {variables[key]: value for key, value in words.items() if key in variables}
    password = plain.pop("PGPASSWORD", "")
    return plain, ({"PGPASSWORD": password} if password else {})


def connect(dsn: str, *, dbname: str | None = None, within_s: int | None = None) -> Connection:
    """A session in autocommit mode whose settings make values readable by programs.

    Raises SourceDown when nobody answers, AccessDenied when somebody does and refuses us.
    """
    words: dict[str, str | int] = dict(parse(dsn))
    words |= {"dbname": dbname} if dbname else {}
    words.setdefault("connect_timeout", CONNECT_S)
    words |= {"connect_timeout": within_s} if within_s is not None else {}
    words |= {"application_name": "backstay", "client_encoding": "UTF8"}
    try:
        connection = psycopg.connect(autocommit=True, **words)  # pyright: ignore[reportArgumentType]
    except psycopg.OperationalError as error:
        raise refused(error, str(words.get("password", "")), dsn) from None
    try:
        settle(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def settle(connection: Connection) -> None:
    """Nothing may end the session but us, and every value has one spelling."""
    quiet = {
        "statement_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
    }
    if connection.info.server_version >= 140000:
        quiet["idle_session_timeout"] = "0"
    # One round trip. The search path stays: the plan's questions are written for the one that their role has.
    asked = ", ".join(f"set_config('{key}', '{value}', false)" for key, value in quiet.items())
    connection.execute(cast(LiteralString, f"SELECT {asked}"))


@contextmanager
def session(dsn: str, *, dbname: str | None = None) -> Generator[Connection]:
    """`connect`, closed at the end, with the server's errors turned into ours."""
    connection = connect(dsn, dbname=dbname)
    try:
        with spoken():
            yield connection
    finally:
        connection.close()


@contextmanager
def spoken(limit: timedelta | None = None) -> Generator[None]:
    """Turns what psycopg raises into classes of `errors`. Only the first line is kept: the detail of an error of the
    server may hold a row's contents."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise AccessDenied("the database role lacks a right", detail=first_line(error)) from None
    except errors.QueryCanceled as error:
        raise TimedOut(
            f"the question was not answered within {say_span(limit)}" if limit else "the question was cancelled",
            detail=first_line(error),
            hint="an index may help; or raise the component's time limit",
        ) from None
    except (errors.DiskFull, errors.OutOfMemory) as error:
        raise DiskFull("the database server ran out of room", detail=first_line(error)) from None
    except (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow) as error:
        raise SourceDown("the database server stopped while we talked to it", detail=first_line(error)) from None
    except psycopg.OperationalError as error:
        if error.sqlstate is None:
            raise SourceDown("the connection to the database was lost", detail=first_line(error)) from None
        raise ToolFailed("the database refused a statement", detail=first_line(error)) from None
    except psycopg.Error as error:
        raise ToolFailed("the database refused a statement", detail=first_line(error)) from None


def first_line(error: psycopg.Error) -> str:
    """Its first line, without what may be a row's contents: `ERROR: invalid input syntax for type integer: "…"`."""
    raised = error.diag.source_function == "exec_stmt_raise"  # pl_exec.c
    return of_an_error(error.diag.message_primary or str(error) or type(error).__name__, error.sqlstate, raised=raised)


def rows(connection: Connection, query: str, *values: object) -> list[TupleRow]:
    """Every row of a query of our own."""
    return connection.execute(cast(LiteralString, query), values or None).fetchall()


def one(connection: Connection, query: str, *values: object) -> TupleRow:
    """The one row of a query of our own that always gives one."""
    found = connection.execute(cast(LiteralString, query), values or None).fetchone()
    assert found is not None, f"no row from {query}"
    return found


def refused(error: psycopg.OperationalError, password: str, dsn: str) -> BackstayError:
    said = " ".join(str(error).split())
    if len(password) >= 3:
        said = said.replace(password, "***")
    if any(words in said for words in _REFUSALS) or ("role " in said and "does not exist" in said):
        return AccessDenied(
            f"the database {where(dsn)} refuses us",
            detail=said,
            hint="check user and password of the connection string, and pg_hba.conf on the server",
        )
    return SourceDown(
        f"the database {where(dsn)} does not answer",
        detail=said,
        hint="see whether it runs, and compare the address with the plan; if it ought to run, this may be the disaster",
    )
