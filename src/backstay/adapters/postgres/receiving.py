"""Following a server's log into vaults: what it may forget is what a vault has.

    server ──► a piece that grows ──► closed after some seconds or megabytes ──► every vault, at once
       ◄──────────────── flushed: up to there ──────────────── as soon as one of them has it

One piece is on its way while the next one grows; when both are full, nothing more is read, and the server waits with
the rest. Nothing is remembered here: where to go on follows from what the vaults list, so a receiver that was killed at
any moment is one that has only just begun.
"""

import random
import re
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.adapters.postgres.replication import (
    EXISTS,
    IN_USE,
    REMOVED,
    UNUSABLE,
    Alive,
    Cluster,
    Over,
    Refused,
    Replication,
    Sent,
    Switched,
    ready,
)
from backstay.adapters.postgres.session import rows, session
from backstay.adapters.postgres.shelving import Shelves, Taken, Taker, Trouble, timeline_of
from backstay.errors import (
    AccessDenied,
    BackstayError,
    RunBusy,
    SourceDown,
    SourceUnsuitable,
    StoreUnreachable,
    TimedOut,
    ToolFailed,
    WalConflict,
)
from backstay.lsn import Lsn, lsn, say_lsn
from backstay.ports import Clock, Piece
from backstay.reach import Left, read_history
from backstay.values import VaultName, say_size, say_span

SAY_EVERY = timedelta(seconds=10)
"""So often the server hears from us, whatever happens: it ends a connection after `wal_sender_timeout`, 60 s."""
SLOT_FREES = timedelta(seconds=75)
"""A server notices by then that whoever followed with our slot has gone."""
WORRY_BYTES = 1 << 30
"""So much log that the server keeps for us alone is said, and again at each doubling."""
_LONGEST_PAUSE_S = 30.0
_SAID_AGAIN = 20
_MENDS = (SourceDown, TimedOut, StoreUnreachable)
_SLOT = re.compile(r"[a-z0-9_]{1,63}\Z")


@dataclass(frozen=True, slots=True)
class Closing:
    """When a piece is closed, whichever comes first."""

    after: timedelta = timedelta(seconds=5)
    size_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Connected:
    system: int
    timeline: int
    start: Lsn


@dataclass(frozen=True, slots=True)
class Kept:
    """The log up to `end` is durable, and the server was told."""

    system: int
    timeline: int
    start: Lsn
    end: Lsn
    until: datetime | None
    """The server's clock when its last byte was sent."""
    server_end: Lsn
    vaults: tuple[VaultName, ...]
    lacking: Mapping[VaultName, str]


@dataclass(frozen=True, slots=True)
class Resting:
    """The server has nothing that is not durable, and had not at `at`, by its own clock."""

    system: int
    timeline: int
    end: Lsn
    at: datetime


Event = Connected | Kept | Resting | Trouble


@dataclass(slots=True)
class Growing:
    """The piece that is being received."""

    timeline: int
    start: Lsn
    since: datetime
    opened: timedelta
    """By the monotonic clock."""
    until: datetime
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> Lsn:
        return Lsn(self.start + len(self.data))


@dataclass(slots=True)
class Standing:
    """How one connection stands."""

    cluster: Cluster
    received: Lsn = Lsn(0)
    durable: Lsn = Lsn(0)
    server_end: Lsn = Lsn(0)
    growing: Growing | None = None
    sending: "Future[Taken] | None" = None
    said: tuple[timedelta, Lsn] = (timedelta(), Lsn(0))
    """When the server last heard from us, and what it heard to be durable."""
    hurry: bool = False
    """Whether somebody waits for what is growing: a server that shuts down, or we who stop."""


class Receiver:
    """Follows one server with one replication slot, into the vaults of one component."""

    def __init__(
        self, dsn: str, slot: str, shelves: Mapping[VaultName, Taker], clock: Clock, told: Callable[[Event], None],
        closing: Closing = Closing(),
    ) -> None:  # fmt: skip
        """`told` may be called from several threads."""
        assert _SLOT.match(slot), f"{slot!r} cannot be the name of a replication slot"
        self._dsn, self._slot, self._clock, self._told, self._closing = dsn, slot, clock, told, closing
        self._ended = threading.Event()
        self._shelves = Shelves(
            shelves, clock, told, self._ended.is_set, lambda length: self._ended.wait(length.total_seconds())
        )
        self._wake, self._bell = socket.socketpair()
        self._wake.setblocking(False)
        self._bell.setblocking(False)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="backstay-wal")
        self._stopped = self._once = self._skip = False
        self._system: int | None = None
        self._busy: timedelta | None = None
        self._worry = WORRY_BYTES
        self._tries, self._last = 0, ""
        """Since the last time that log came: how often we tried, and why it failed last."""

    def stop(self) -> None:
        """Finish what is here, and come back. May be called from a signal handler, and from any thread."""
        self._stopped = True
        self._ended.set()
        self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # it rings already, or nobody is there any more
            self._bell.send(b"!")

    def run(self, *, once: bool = False) -> None:
        """Until `stop`; `once`: until all that the server had flushed at the beginning is durable.

        Raises SourceUnsuitable, AccessDenied, WalConflict, WrongKey, ToolFailed, RunBusy (somebody else follows with
        this slot): what trying again does not mend.
        """
        self._once = once
        try:
            while not self._stopped:
                try:
                    self._follow()
                    return
                except _MENDS as error:
                    if self._stopped and isinstance(error, StoreUnreachable):
                        raise  # what was received is kept nowhere
                    self._pause(error)
        finally:
            self._ended.set()
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._wake.close()
            self._bell.close()

    def _pause(self, error: BackstayError) -> None:
        """Up to half a minute, and never in step with others that lost the same server. The same reason is said again
        after a while only: a server may be away for a night."""
        self._tries += 1
        length = timedelta(seconds=min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(self._tries, 9)) * random.uniform(0.5, 1.0))
        news, self._last = error.message != self._last or self._tries % _SAID_AGAIN == 0, error.message
        if news and not self._stopped:
            self._told(Trouble(f"{error.message}: {error.detail}" if error.detail else error.message, again=length))
        self._wait(length)

    def _wait(self, length: timedelta) -> None:
        until = self._clock.elapsed() + length
        while not self._stopped and (left := until - self._clock.elapsed()) > timedelta():
            self._listen(None, left)

    def _listen(self, line: Replication | None, within: timedelta) -> None:
        ready(line.socket if line else None, self._wake, within)

    # ── one connection ──

    def _follow(self) -> None:
        """Comes back when we are done; raises what ended the connection."""
        with self._connect() as line:
            try:
                cluster = line.identify()
                self._look_at(line, cluster)
                timeline, start = self._begin(line, cluster)
                standing = Standing(cluster, start, start, cluster.flushed)
                while True:
                    line.start(self._slot, timeline, start)
                    self._busy, self._skip, self._tries, self._last = None, False, 0, ""
                    self._told(Connected(cluster.system, timeline, start))
                    switched = self._stream_whole(line, standing, timeline)
                    if switched is None:
                        return
                    # History first: without it, nobody could follow the log that is about to come.
                    self._keep_histories(line, cluster.system, switched.timeline)
                    timeline, start = switched.timeline, switched.start
            except Refused as refused:
                self._mend(line, refused)

    def _connect(self) -> Replication:
        """Raises SourceUnsuitable for a server that lets nobody follow, which it says in words of its own language."""
        try:
            return Replication(self._dsn)
        except SourceDown as error:
            with suppress(SourceDown, AccessDenied), session(self._dsn) as connection:
                asked = "SELECT current_setting('max_wal_senders')::int, current_setting('wal_level')"
                if (found := rows(connection, asked)[0])[0] == 0:
                    raise SourceUnsuitable(
                        f"the server lets nobody follow its log (max_wal_senders = 0, wal_level = {found[1]})",
                        hint="set wal_level = replica and max_wal_senders = 10, and restart it",
                    ) from None
            raise error from None

    def _mend(self, line: Replication, refused: Refused) -> None:
        """Raises SourceDown where the next connection can do better."""
        if refused.state == IN_USE:
            now = self._clock.elapsed()
            self._busy = self._busy if self._busy is not None else now
            if now - self._busy > SLOT_FREES:
                raise RunBusy(
                    f"somebody else follows the server with the slot {self._slot}",
                    detail=refused.said,
                    hint="one receiver is enough: end the other one, or give this one a slot of its own with --slot",
                )
            raise SourceDown("the slot is in use", detail=refused.said) from None
        if refused.state not in (REMOVED, UNUSABLE):
            raise ToolFailed("the server does not send its log", detail=refused.said) from None
        self._skip = True
        if refused.state == UNUSABLE:
            with suppress(Refused, SourceDown), Replication(self._dsn) as other:
                other.drop_slot(self._slot)
        raise SourceDown(
            "the server has removed log that is not kept: there is a gap, and what comes after it is reached only from "
            "a new point (`backstay backup`)",
            detail=refused.said,
        ) from None

    def _look_at(self, line: Replication, cluster: Cluster) -> None:
        """Refuses what no log could be trusted of, and says what is merely dangerous, once."""
        if line.setting("wal_level") == "minimal":
            raise SourceUnsuitable(
                "the server writes too little WAL to recover from (wal_level = minimal)",
                hint="set wal_level = replica and restart it",
            )
        if line.setting("fsync") == "off":
            raise SourceUnsuitable(
                "the server runs with fsync = off: after a crash it may go on before the end of what is kept",
                hint="set fsync = on",
            )
        if self._system is None:
            if line.setting("max_slot_wal_keep_size") == "-1":
                said = "should nobody receive it, its disk fills and it stops; set max_slot_wal_keep_size"
                self._told(Trouble(f"the server keeps log for the slot {self._slot} without a limit: {said}"))
            if names := line.setting("synchronous_standby_names"):
                said = f"where it counts `backstay` in, commits wait for us, up to {say_span(self._closing.after)}"
                self._told(Trouble(f"synchronous_standby_names is {names!r}: {said}"))
        elif self._system != cluster.system:
            self._told(Trouble(f"another cluster answers now: {cluster.system}, and no longer {self._system}"))
        self._system = cluster.system

    def _keep_histories(self, line: Replication, system: int, timeline: int) -> None:
        """Only the newest has to be there: a server that was restored may have no others, and it names them all."""

        def read(number: int) -> bytes | None:
            try:
                return line.history(number)
            except Refused as refused:
                if number == timeline:
                    raise ToolFailed("the server does not have its own history", detail=refused.said) from None
                return None

        self._shelves.keep_histories(system, range(2, timeline + 1), read)

    # ── where to begin ──

    def _begin(self, line: Replication, cluster: Cluster) -> tuple[int, Lsn]:
        """Where what is kept ends; of a cluster that nothing is kept of, where the slot's log does begin. Raises
        WalConflict when more is kept than the server has."""
        self._keep_histories(line, cluster.system, cluster.timeline)
        history = self._history(line, cluster)
        kept = self._shelves.end(cluster.system, cluster.timeline, history)
        self._make_slot(line)
        if kept is None or self._skip:
            begins = self._slot_begins(cluster)
            at = max(begins, kept[1]) if kept else begins
            return timeline_of(at, cluster.timeline, history), at
        if kept[0] == cluster.timeline and kept[1] > cluster.flushed:
            raise WalConflict(
                "the server is behind the log that is kept of it",
                detail=f"its timeline {kept[0]} ends at {say_lsn(cluster.flushed)}, and kept is up to "
                f"{say_lsn(kept[1])}: it was set back without a new timeline, or a standby that lags is asked",
                hint="find out which is the true server; one that was restored is promoted, and has a new timeline",
            )
        return kept

    def _history(self, line: Replication, cluster: Cluster) -> tuple[Left, ...]:
        if cluster.timeline == 1:
            return ()
        try:
            return read_history(cluster.timeline, line.history(cluster.timeline))
        except ValueError as error:
            raise ToolFailed("the server's own history makes no sense", detail=str(error)) from None

    def _make_slot(self, line: Replication) -> None:
        try:
            line.make_slot(self._slot)
        except Refused as refused:
            if refused.state != EXISTS:
                raise SourceUnsuitable(
                    f"the server gives us no replication slot {self._slot}",
                    detail=refused.said,
                    hint="the role needs REPLICATION, and max_replication_slots has to allow one more",
                ) from None
            self._refuse_logical()

    def _refuse_logical(self) -> None:
        """Before it is asked to send, which it refuses with the words for one that is lost, and those are dropped."""
        with session(self._dsn) as connection:
            found = rows(connection, "SELECT slot_type FROM pg_replication_slots WHERE slot_name = %s", self._slot)
        if found and found[0][0] != "physical":
            raise SourceUnsuitable(
                f"the replication slot {self._slot} is no physical one",
                detail="a subscriber follows the server with it; it was left as it is",
                hint="name another slot with --slot: it is made where there is none",
            )

    def _slot_begins(self, cluster: Cluster) -> Lsn:
        """From the start of a segment on, so that no segment is there in part."""
        with session(self._dsn) as connection:
            found = rows(
                connection, "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = %s", self._slot
            )  # fmt: skip
        if not found or found[0][0] is None:
            raise Refused(UNUSABLE, f"the slot {self._slot} keeps nothing any more")
        return Lsn(lsn(str(found[0][0])) // cluster.segment_bytes * cluster.segment_bytes)

    # ── the stream ──

    def _stream_whole(self, line: Replication, standing: Standing, timeline: int) -> Switched | None:
        try:
            return self._stream(line, standing, timeline)
        except (SourceDown, Refused):
            # The server may never come back: then what is in our memory is the newest of its data.
            self._drain(standing)
            raise

    def _stream(self, line: Replication, standing: Standing, timeline: int) -> Switched | None:
        """None: we are done. Raises SourceDown when the server is."""
        while True:
            self._land(standing)
            self._close_when_due(standing)
            self._report(line, standing)
            if self._is_done(standing):
                line.finish(standing.received, standing.durable, self._clock.now())
                return None
            full = standing.growing is not None and len(standing.growing.data) >= self._closing.size_bytes
            match None if full else line.hear():
                case None:
                    self._listen(None if full else line, self._next_due(standing))
                case Sent() as sent:
                    self._take(standing, timeline, sent)
                case Alive(end, at, wants_answer):
                    standing.server_end = max(end, standing.server_end)
                    if end == standing.durable and standing.growing is None and standing.sending is None:
                        self._told(Resting(standing.cluster.system, timeline, end, at))
                    if wants_answer:
                        standing.hurry, standing.said = True, (timedelta(), Lsn(0))
                case Switched() as switched:
                    self._drain(standing)
                    return switched
                case Over():
                    self._drain(standing)
                    raise SourceDown("the database server stopped sending", detail="it is shutting down")

    def _take(self, standing: Standing, timeline: int, sent: Sent) -> None:
        if sent.start != standing.received:
            raise ToolFailed(
                "the server sent log out of order",
                detail=f"from {say_lsn(sent.start)} on, where {say_lsn(standing.received)} was to come",
            )
        if standing.growing is None:
            standing.growing = Growing(timeline, sent.start, sent.at, self._clock.elapsed(), sent.at)
        standing.growing.data += sent.data
        standing.growing.until = sent.at
        standing.received = standing.growing.end
        standing.server_end = max(sent.end, standing.received, standing.server_end)
        self._worry_about(standing)

    def _worry_about(self, standing: Standing) -> None:
        waiting = standing.server_end - standing.durable
        if waiting >= self._worry:
            self._worry *= 2
            self._told(Trouble(f"the server keeps {say_size(waiting)} of log for us: it writes faster than we keep"))
        elif waiting < WORRY_BYTES // 2:
            self._worry = WORRY_BYTES

    def _close_when_due(self, standing: Standing) -> None:
        growing = standing.growing
        if growing is None or standing.sending is not None:
            return
        whole = self._once and standing.received >= standing.cluster.flushed
        old = self._clock.elapsed() - growing.opened >= self._closing.after
        if old or whole or standing.hurry or self._stopped or len(growing.data) >= self._closing.size_bytes:
            self._send(standing)

    def _send(self, standing: Standing) -> None:
        growing, cluster = standing.growing, standing.cluster
        assert growing is not None, "nothing to send"
        piece = Piece(
            cluster.system, growing.timeline, growing.start, bytes(growing.data), cluster.segment_bytes, cluster.major,
            growing.since, growing.until,
        )  # fmt: skip
        standing.growing, standing.hurry = None, False
        standing.sending = self._threads.submit(self._shelves.keep, piece)
        standing.sending.add_done_callback(lambda _: self._ring())

    def _land(self, standing: Standing) -> None:
        """What was on its way is durable. Raises what it met."""
        if standing.sending is None or not standing.sending.done():
            return
        taken, standing.sending = standing.sending.result(), None
        piece = taken.piece
        standing.durable = piece.end
        self._told(
            Kept(piece.system, piece.timeline, piece.start, piece.end, piece.until, standing.server_end, taken.vaults,
                 taken.lacking)
        )  # fmt: skip

    def _drain(self, standing: Standing) -> None:
        """Until everything that was received is durable."""
        while standing.growing is not None or standing.sending is not None:
            if standing.sending is None:
                self._send(standing)
            assert standing.sending is not None, "just sent"
            standing.sending.exception()  # waits
            self._land(standing)

    def _report(self, line: Replication, standing: Standing) -> None:
        now, (at, durable) = self._clock.elapsed(), standing.said
        if standing.durable != durable or now - at >= SAY_EVERY:
            # Its answer says whether there is more: a server that rests is silent by itself.
            line.confirm(standing.received, standing.durable, self._clock.now(), ask=now - at >= SAY_EVERY)
            standing.said = now, standing.durable

    def _next_due(self, standing: Standing) -> timedelta:
        now = self._clock.elapsed()
        due = [standing.said[0] + SAY_EVERY]
        if standing.growing is not None and standing.sending is None:
            due.append(standing.growing.opened + self._closing.after)
        return max(min(due) - now, timedelta())

    def _is_done(self, standing: Standing) -> bool:
        if standing.growing is not None or standing.sending is not None:
            return False
        return self._stopped or (self._once and standing.durable >= standing.cluster.flushed)
