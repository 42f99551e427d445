"""The replication protocol, as far as following the log takes: one connection, its commands, and what is sent on it.

The manual's chapter "Streaming Replication Protocol" (protocol-replication) has the messages; `receivelog.c` of
PostgreSQL is a client that has met everything. Through `psycopg.pq`: psycopg itself has no stream. What we confirm as
*flushed* is ours to say, and a server throws away what its last slot has confirmed; *applied* is never said, because
nothing here is replayed, and a commit that waits for `remote_apply` would be told a lie.
"""

import select
import socket
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NamedTuple

import psycopg
from psycopg import conninfo, pq

from backstay.adapters.postgres.session import CONNECT_S, parse, where
from backstay.errors import AccessDenied, BackstayError, SourceDown, ToolFailed
from backstay.lsn import Lsn, lsn, say_lsn

_SENT = struct.Struct(">QQQ")
"""Behind `w`: where the bytes begin, where the server's log ends, the server's clock."""
_ALIVE = struct.Struct(">QQB")
"""Behind `k`: where the server's log ends, its clock, and 1 when it wants an answer."""
_STATUS = struct.Struct(">QQQQB")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "B": 1}

IN_USE, NO_SUCH_SLOT, EXISTS, REMOVED, UNUSABLE = "55006", "42704", "42710", "58P01", "55000"
"""SQLSTATEs of what can be mended: object_in_use, undefined_object, duplicate_object, undefined_file (a segment that
was removed), object_not_in_prerequisite_state (a slot that was invalidated)."""


class Refused(Exception):
    """The server did not do as it was asked. `state`: the SQLSTATE, which does not depend on its language."""

    def __init__(self, state: str, said: str) -> None:
        super().__init__(said)
        self.state, self.said = state, said


class Cluster(NamedTuple):
    """What a server says of itself."""

    system: int
    timeline: int
    flushed: Lsn
    major: int
    segment_bytes: int


class Sent(NamedTuple):
    """Log. `at`: the server's clock when it was sent; `end`: where its log ended then."""

    start: Lsn
    data: bytes
    end: Lsn
    at: datetime


class Alive(NamedTuple):
    end: Lsn
    at: datetime
    wants_answer: bool


@dataclass(frozen=True, slots=True)
class Switched:
    """The timeline that was asked for ends; the log goes on there."""

    timeline: int
    start: Lsn


@dataclass(frozen=True, slots=True)
class Over:
    """The server stops sending: it is shutting down."""


Heard = Sent | Alive | Switched | Over


class Replication:
    """One connection. A context manager. Raises SourceDown when it is lost, Refused when the server says no."""

    def __init__(self, dsn: str) -> None:
        """Raises SourceDown, AccessDenied."""
        words = {"connect_timeout": str(CONNECT_S), **parse(dsn)}
        words |= {"replication": "true", "application_name": "backstay", "client_encoding": "UTF8"}
        # A server that has gone without a word is noticed in half a minute, not in two hours.
        quiet = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
        quiet["tcp_user_timeout"] = "30000"
        self._where, self._secret = where(dsn), words.get("password", "")
        self._line = pq.PGconn.connect(conninfo.make_conninfo(**(quiet | words)).encode())
        if self._line.status != pq.ConnStatus.OK:
            said = self._said(self._line.error_message)
            self._line.finish()
            raise _no_entry(self._where, said)

    def __enter__(self) -> "Replication":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.finish()

    # ── asking ──

    def identify(self) -> Cluster:
        row = self._row("IDENTIFY_SYSTEM")
        size = self.setting("wal_segment_size")
        number, unit = size.rstrip("kMGTB"), size.lstrip("0123456789")
        return Cluster(
            int(row[0]) & 0xFFFFFFFFFFFFFFFF,
            int(row[1]),
            lsn(row[2].decode()),
            self._line.server_version // 10000,
            int(number) * _UNITS[unit],
        )

    def setting(self, name: str) -> str:
        """As SHOW says it."""
        return self._row(f"SHOW {name}")[0].decode()

    def history(self, timeline: int) -> bytes:
        """The timeline's history file, as the server has it."""
        return self._row(f"TIMELINE_HISTORY {timeline}")[1]

    def make_slot(self, slot: str) -> None:
        """One that keeps the log from the last checkpoint on (RESERVE_WAL)."""
        self._row(f"CREATE_REPLICATION_SLOT {slot} PHYSICAL RESERVE_WAL")

    def drop_slot(self, slot: str) -> None:
        self._ask(f"DROP_REPLICATION_SLOT {slot}", (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK))

    def _row(self, command: str) -> list[bytes]:
        found = self._ask(command, (pq.ExecStatus.TUPLES_OK,))
        if found.ntuples != 1:
            raise Refused("", f"{command.partition(' ')[0]} gave {found.ntuples} rows")
        return [found.get_value(0, column) or b"" for column in range(found.nfields)]

    def _ask(self, command: str, expected: Sequence[int]) -> pq.abc.PGresult:
        with self._lost():
            found = self._line.exec_(command.encode())
        if found.status not in expected:
            raise self._refused(found)
        return found

    def _refused(self, found: pq.abc.PGresult) -> Exception:
        state = found.error_field(pq.DiagnosticField.SQLSTATE)
        if state is None:
            return SourceDown("the connection to the database was lost", detail=self._said(found.error_message))
        said = found.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        if state.startswith(b"57P"):  # it is shutting down, or starting up
            return SourceDown("the database server stopped while we talked to it", detail=self._said(said))
        return Refused(state.decode(), self._said(said))

    # ── following ──

    def start(self, slot: str, timeline: int, start: Lsn) -> None:
        self._ask(
            f"START_REPLICATION SLOT {slot} PHYSICAL {say_lsn(start)} TIMELINE {timeline}",
            (pq.ExecStatus.COPY_BOTH,),
        )
        self._line.nonblocking = 1

    @property
    def socket(self) -> int:
        return self._line.socket

    def hear(self) -> Heard | None:
        """The next message that is here already; None when there is none yet."""
        with self._lost():
            size, data = self._line.get_copy_data(1)
            if size == 0:
                self._line.consume_input()
                size, data = self._line.get_copy_data(1)
        if size == 0:
            return None
        if size < 0:
            return self._ended()
        kind, body = bytes(data[:1]), data[1:]
        if kind == b"w" and len(body) > _SENT.size:
            start, end, at = _SENT.unpack_from(body)
            return Sent(Lsn(start), bytes(body[_SENT.size :]), Lsn(end), _moment(at))
        if kind == b"k" and len(body) == _ALIVE.size:
            end, at, wants = _ALIVE.unpack(body)
            return Alive(Lsn(end), _moment(at), bool(wants))
        raise ToolFailed("the database server sent a message that the replication protocol does not have")

    def confirm(self, received: Lsn, durable: Lsn, now: datetime, *, ask: bool = False) -> None:
        """Say how far we have the log, and how far it is durable; `ask` for an answer. What does not fit into the
        connection now is said next time."""
        micros = (now - _EPOCH) // timedelta(microseconds=1)
        with self._lost():
            self._line.put_copy_data(b"r" + _STATUS.pack(received, durable, 0, micros, ask))
            self._line.flush()

    def finish(self, received: Lsn, durable: Lsn, now: datetime) -> None:
        """The last word, for good: said before we leave, so that it is not lost with the connection."""
        self._line.nonblocking = 0
        self.confirm(received, durable, now)
        with self._lost():
            self._line.put_copy_end()
            self._line.flush()

    def _ended(self) -> Switched | Over:
        """The server sends no more: because a timeline ends, or it does, or something is wrong."""
        self._line.nonblocking = 0
        with self._lost():
            found = self._line.get_result()
            if found is not None and found.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_BOTH):
                self._line.put_copy_end()
                self._line.flush()
                found = self._line.get_result()
        switched: Switched | None = None
        while found is not None:
            if found.status == pq.ExecStatus.TUPLES_OK and found.ntuples == 1:
                timeline, start = (found.get_value(0, column) or b"" for column in range(2))
                switched = Switched(int(timeline), lsn(start.decode()))
            elif found.status != pq.ExecStatus.COMMAND_OK:
                raise self._refused(found)
            with self._lost():
                found = self._line.get_result()
        return switched or Over()

    @contextmanager
    def _lost(self) -> Generator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = self._said(str(error).encode())
            raise SourceDown("the connection to the database was lost", detail=said) from None

    def _said(self, message: bytes) -> str:
        said = " ".join(message.decode("utf-8", "replace").split())
        return said.replace(self._secret, "***") if len(self._secret) >= 3 else said


def ready(line: int | None, bell: socket.socket, within: timedelta) -> None:
    """Come back when something was sent on `line` (None: it is not listened to now), when the bell was rung, which is
    silent again then, or after `within`."""
    watched: list[int] = [bell.fileno(), *([line] if line is not None else [])]
    if bell.fileno() in select.select(watched, (), (), max(0.0, within.total_seconds()))[0]:
        with suppress(BlockingIOError):
            bell.recv(4096)


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _no_entry(place: str, said: str) -> BackstayError:
    refusals = ("no pg_hba.conf entry", "authentication failed", "no password supplied", "must be", "permission denied",
                "does not exist", "certificate", "not permitted")  # fmt: skip
    if any(words in said for words in refusals):
        return AccessDenied(
            f"the database {place} does not let us follow its log",
            detail=said,
            hint="the role needs REPLICATION, and pg_hba.conf a line for it with the database `replication`",
        )
    return SourceDown(
        f"the database {place} does not answer",
        detail=said,
        hint="see whether it runs, and compare the address with the plan; if it ought to run, this may be the disaster",
    )
