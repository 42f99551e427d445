"""A session in the replication protocol, through libpq (`psycopg.pq`): commands, and COPY in both directions.

psycopg has no stream API of its own. Every wait is for the socket, with Python's lock let go: other threads work on
what came while we wait for more. Manual: "Streaming Replication Protocol", "Functions Associated with the COPY
Command".
"""

import select
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq
from psycopg.pq import ExecStatus

from backstay.adapters.postgres.session import CONNECT_S, parse, refused
from backstay.errors import AccessDenied, BackstayError, NotSupported, SourceDown, SourceUnsuitable, ToolFailed

Notice = Callable[[str], None]

_SILENT_S = 60.0
"""Asked again after so long without a byte; the kernel tells when the other side is gone (keepalives)."""
_DEAD = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
_PATIENT = "-c idle_session_timeout=0 -c statement_timeout=0 -c lock_timeout=0"
"""Nothing may end the session but us, whatever the role has (14 and newer)."""
_PIECE = 256 << 10
_GOOD = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.COPY_OUT, ExecStatus.COPY_IN, ExecStatus.COPY_BOTH)


class Refused(ToolFailed):
    """The server answered a command with an error; `state` is its SQLSTATE."""

    state = ""


@contextmanager
def replicating(dsn: str, noticed: Notice = lambda _: None) -> Generator["Line"]:
    """A session with a WAL sender; `noticed` hears the server's warnings. Raises SourceDown, AccessDenied."""
    words: dict[str, str | int] = {**_DEAD, **parse(dsn)}
    words.setdefault("connect_timeout", CONNECT_S)
    words |= {"application_name": "backstay", "replication": "true", "options": _PATIENT}
    try:
        connection = psycopg.connect(autocommit=True, **words)  # pyright: ignore[reportArgumentType]
    except psycopg.OperationalError as error:
        raise refused(error, str(words.get("password", "")), dsn) from None
    connection.add_notice_handler(lambda diagnostic: noticed(diagnostic.message_primary or ""))
    try:
        yield Line(connection.pgconn)
    finally:
        connection.close()


class Line:
    """What is said to the server and heard from it, one command at a time."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection
        self._behind: pq.abc.PGresult | None = None
        """The result that came behind a COPY, until somebody asks for it."""

    def command(self, text: str) -> list[list[str]]:
        """The rows of a command that gives some, or none. Raises Refused, SourceDown."""
        self.send(text)
        found: list[list[str]] = []
        while (result := self.result()) is not None:
            found += rows_of(result)
        return found

    def send(self, text: str) -> None:
        try:
            self._connection.send_query(text.encode())
        except psycopg.Error as error:
            raise _lost(error) from None

    def result(self) -> pq.abc.PGresult | None:
        """The next result of the command; None when it is done. Raises Refused, after which another can be sent."""
        if (behind := self._behind) is not None:
            self._behind = None
            return behind
        try:
            while self._connection.is_busy():
                self._wait()
            found = self._connection.get_result()
        except psycopg.Error as error:
            raise _lost(error) from None
        if found is None or found.status in _GOOD:
            return found
        self._forget()
        raise _refusal(found)

    def copied(self) -> Iterator[memoryview]:
        """The messages of a COPY from the server, up to its end. Raises Refused when the server breaks it off."""
        while True:
            try:
                size, data = self._connection.get_copy_data(1)
                if size == 0:
                    self._wait()
                    continue
            except psycopg.Error as error:
                raise _lost(error) from None
            if size < 0:
                self._behind = self.result()
                return
            yield memoryview(data)

    def copy(self, command: str, pieces: Iterable[bytes]) -> None:
        """A COPY to the server. Raises Refused."""
        self.send(command)
        if (result := self.result()) is None or result.status != ExecStatus.COPY_IN:
            raise ToolFailed(f"the server does not take what {command} brings")
        try:
            for piece in pieces:
                for at in range(0, len(piece), _PIECE):
                    # Blocking: libpq reads what the server says meanwhile, so neither waits for the other.
                    self._connection.put_copy_data(piece[at : at + _PIECE])
            self._connection.put_copy_end()
        except psycopg.Error as error:
            raise _lost(error) from None
        while self.result() is not None:
            pass

    def _wait(self) -> None:
        select.select([self._connection.socket], [], [], _SILENT_S)
        self._connection.consume_input()

    def _forget(self) -> None:
        """What still belongs to a command that failed."""
        while self._connection.get_result() is not None:
            pass


def rows_of(result: pq.abc.PGresult) -> list[list[str]]:
    return [
        [(result.get_value(row, column) or b"").decode("utf-8", "replace") for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]


def _lost(error: psycopg.Error) -> BackstayError:
    said = (str(error).strip().splitlines() or [""])[0]
    return SourceDown("the connection to the database was lost", detail=said)


def _refusal(result: pq.abc.PGresult) -> BackstayError:
    """Only the first line: the detail of an error may hold a row's contents."""
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    said = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode("utf-8", "replace")
    match state[:2], state:
        case _, "42501":
            return AccessDenied("the database role lacks a right", detail=said, hint="grant it REPLICATION")
        case _, "0A000":
            return NotSupported("the server cannot do this", detail=said)
        case "57", _:
            return SourceDown("the database server stopped while we talked to it", detail=said)
        case _:
            found = Refused("the server refused", detail=said)
            found.state = state
            return found


def changed_under_us(detail: str) -> SourceUnsuitable:
    return SourceUnsuitable("the server changed while the backup ran", detail=detail, hint="take the point again")
