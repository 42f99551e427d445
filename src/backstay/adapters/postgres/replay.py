"""Replaying the log over a point, to a target: what is read from the vault, what the server is told, how it ended.

Where the log comes from is a function of the point, the target and the shelf, and of nothing else: never the original
server, never an archive of its own. Until its backup ended, the log is in the point itself; from there on it is the
shelf's. The segment in which the two meet is made of both.

How a recovery ends. With a target, PostgreSQL (13 and newer) stops there or dies: "recovery ended before configured
recovery target was reached". Two deaths are none. When nothing was committed after the moment that was asked for, and
the log is known to go on past it, then everything that is kept is the answer; and at the very end of the log no record
begins that the server could stop at. It is then started once more, to the end of what is kept.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_never

from backstay.adapters.postgres.laying import Physical
from backstay.adapters.postgres.private import PrivateServer
from backstay.adapters.postgres.programs import Owner, Programs
from backstay.adapters.postgres.spool import Spool
from backstay.errors import Damaged, PointRefuted, SourceUnsuitable, Unreachable
from backstay.facts import Point
from backstay.lsn import Lsn, lsn, say_lsn, segment_name, segment_place, wrong_with_segment
from backstay.plan import AtLsn, AtRestorePoint, AtTime, AtXid, Latest, Target, say_target
from backstay.ports import PointReader, WalShelf, log_of
from backstay.processes import Command, run
from backstay.reach import NoWay, Reach, Route, base_of, route, settled, within
from backstay.values import say_moment, stamp

_HEAD_BYTES = 40
_PIECE = 1 << 20
_WALDUMP = timedelta(minutes=5)
_LOOK_BACK = 16 << 10
"""A record of a tablespace is its path and little more: one that begins in the segment before is seen whole."""
_LAST = re.compile(r"last completed transaction was at log time (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)\+00")
_STOPPED = re.compile(r"LOG:\s+recovery (stopping .*)$", re.MULTILINE)
_EARLY = "recovery ended before configured recovery target was reached"
_TOO_EARLY = "requested recovery stop point is before consistent recovery point"
_ENDS = (b"error in WAL record at", b"could not find a valid record after")
"""How pg_waldump says that the log ends, or that the last record goes on in a segment that is not there yet."""
_TABLESPACE = re.compile(rb"lsn: ([0-9A-F]+/[0-9A-F]+).*CREATE")


def find_route(point: Point, target: Target, shelf: WalShelf | None) -> Route:
    """How the point leads to the target. Raises Unreachable with what can be reached, Damaged."""
    base = base_of(point)
    if base is None:
        raise Damaged(f"the notes of point {point.id} do not say where its log ends", hint="restore another point")
    if shelf is None:
        raise Unreachable(
            f"{say_target(target)} cannot be reached: no log is kept where point {point.id} is",
            hint="restore the point without a target, which ends where the backup ended",
        )
    log = log_of(shelf, base.system)
    found = route(log, base, target, settled(point))
    if isinstance(found, NoWay):
        there = "; ".join(str(one) for one in within(log, [(base, settled(point))]))
        raise Unreachable(
            f"{say_target(target)} cannot be reached from point {point.id}: {found.why}",
            detail=f"what can be reached from it, {there}; nothing was touched",
            hint="choose a moment in there, another point with --point, or another history with --timeline",
        )
    return found


@dataclass(frozen=True, slots=True)
class Onward:
    """Where to, and over which log."""

    target: Target
    log: WalShelf | None

    def replay(self, point: PointReader, physical: Physical, programs: Programs) -> "Replay":
        """Raises Unreachable, before anything is touched."""
        route = find_route(point.point, self.target, self.log)
        assert self.log is not None, "there is a route"
        return Replay(point, physical, self.log, programs, route)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a replay ended, by the server's own log."""

    stopped: str
    """`stopping after commit of transaction 731, time …`; empty: at the end of what is kept."""
    newest: datetime | None
    """The newest commit that was replayed. None: there was none."""


@dataclass
class Replay:
    """One point on its way to a target."""

    point: PointReader
    physical: Physical
    shelf: WalShelf
    programs: Programs
    route: Route
    _cut: Lsn | None = None
    """Behind this place the log must not be replayed here."""
    _before: Path | None = None
    _to_the_end: bool = False

    # ── what the server is told ──

    def timelines(self) -> set[int]:
        """Every number that this cluster is known to have used."""
        return set(log_of(self.shelf, self.route.base.system).timelines())

    def settings(self, command: str) -> dict[str, str]:
        told = {
            "restore_command": command,
            "recovery_target_timeline": str(self.route.timeline),
            "recovery_target_action": "promote",
            "timezone": "UTC",
        }
        return told if self._to_the_end else told | spelled(self.route.target)

    @contextmanager
    def feeding(self, folder: Path, owner: Owner, server: PrivateServer, *, durable: bool) -> Generator[Spool]:
        """A spool for `server`, which is told of it."""
        with Spool(folder, self, owner, durable, stop_asked=server.stop_asked) as spool:
            server.settings = {**server.settings, **self.settings(spool.command)}
            yield spool

    def bring_up(self, server: PrivateServer, spool: Spool, within: timedelta) -> Seen:
        """Come back when the target is reached. Raises Unreachable when it is not in the log, what the vault raised
        while the log was read, and what `PrivateServer.start` raises."""
        try:
            server.start(within)
        except PointRefuted as error:
            if spool.error is not None:
                raise spool.error from None
            if not self._goes_on_to_the_end(server.text()):
                raise self._refused(server.text(), error) from None
            self._to_the_end = True
            kept = {key: value for key, value in server.settings.items() if not key.startswith("recovery_target")}
            server.settings = {**kept, **self.settings(spool.command)}
            server.start(within)
        return self.seen(server.text())

    def _goes_on_to_the_end(self, said: str) -> bool:
        """Where everything that is kept is what was asked for."""
        if _EARLY not in said or self._to_the_end or self._cut is not None:
            return False
        until = self.route.target.until
        return isinstance(until, AtLsn) or (isinstance(until, AtTime) and self.route.sure)

    def _refused(self, said: str, error: PointRefuted) -> Exception:
        target, reach = say_target(self.route.target), self.route.reach
        if _EARLY in said and self._cut is not None:
            return _new_tablespace(self._cut)
        if _EARLY in said:
            newest = self.seen(said).newest
            last = f", the last commit in it of {say_moment(newest)}" if newest else ""
            return Unreachable(
                f"{target} is not in the log that is kept",
                detail=f"replayed from point {self.point.point.id} on to {say_lsn(reach.to)} on timeline "
                f"{self.route.timeline}{last}; the old state was not touched",
                hint="--latest takes all of it; an earlier point may lead there: --point",
            )
        if _TOO_EARLY in said:
            return Unreachable(
                f"{target} lies before the end of point {self.point.point.id}",
                detail=f"the backup ended at {self.physical.stop_lsn}; the old state was not touched",
                hint="take an earlier point with --point",
            )
        return error

    def seen(self, said: str) -> Seen:
        stopped = _STOPPED.findall(said)
        times = _LAST.findall(said)
        newest = datetime.fromisoformat(times[-1]).replace(tzinfo=UTC) if times else None
        return Seen(stopped[-1].strip() if stopped and not self._to_the_end else "", newest)

    def judge(self, reached: Lsn) -> None:
        """Raises PointRefuted when the server, which has ended its recovery, was not where it had to be. At a target it
        was, or it would have died."""
        until, to = self.route.target.until, self.route.reach.to
        if self._to_the_end and isinstance(until, AtLsn) and reached < until.place:
            raise PointRefuted(f"replay ended at {say_lsn(reached)}, before {say_target(self.route.target)}")
        # What follows the last record of a segment, after a switch, is unused.
        if (self._to_the_end or isinstance(until, Latest)) and reached < to - self.segment_bytes:
            raise PointRefuted(
                f"replay ended at {say_lsn(reached)}, and log is kept up to {say_lsn(to)}",
                detail="a record in it is not what a server of this cluster would have written",
                hint="`backstay vault check` reads all of it",
            )

    # ── what it is fed with ──

    def _number(self, name: str) -> int:
        return segment_place(name, self.segment_bytes)[1] // self.segment_bytes

    @property
    def segment_bytes(self) -> int:
        return self.route.base.segment_bytes

    def names(self) -> list[str]:
        whole = [name for name, _ in self.route.reach.segments()]
        if self._cut is None:
            return whole
        return [name for name in whole if self._number(name) <= self._cut // self.segment_bytes]

    def further(self) -> bool:
        if self._cut is not None:
            return False
        log = log_of(self.shelf, self.route.base.system)
        found = route(log, self.route.base, self._pinned(), settled(self.point.point))
        if isinstance(found, NoWay) or found.reach.to <= self.route.reach.to:
            return False
        self.route = Route(found.reach, self.route.target, found.log_bytes, self.route.sure or found.sure)
        return True

    def _pinned(self) -> Target:
        """The line was chosen once; a promotion meanwhile does not change it."""
        return Target(self.route.target.until, self.route.timeline)

    def history(self, timeline: int) -> bytes | None:
        return self.shelf.histories(self.route.base.system).get(timeline)

    def pieces(self, name: str) -> Iterator[bytes]:
        size, first = self.segment_bytes, True
        start = next(place for one, place in self.route.reach.segments() if one == name)
        for piece in self._bytes(start, Lsn(start + size)):
            if first:
                self._check(name, start, piece)
            first = False
            yield piece

    def _bytes(self, start: Lsn, end: Lsn) -> Iterator[bytes]:
        reach: Reach = self.route.reach
        if start < (stop := reach.base.stop):
            own = segment_name(reach.base.timeline, start // self.segment_bytes, self.segment_bytes)
            yield from self.point.read(f"data/pg_wal/{own}", 0, stop - start)
        for span in reach.spans:
            begin, until = max(span.start, start), min(span.end, end)
            if begin < until:
                yield from self.shelf.read(reach.base.system, span.timeline, begin, until)

    def _check(self, name: str, start: Lsn, head: bytes) -> None:
        """A piece of a few bytes is no header; the shelf has checked what it gave."""
        if len(head) >= _HEAD_BYTES and (
            why := wrong_with_segment(
                head, system=self.physical.system, position=start, segment_bytes=self.segment_bytes,
                timeline=int(name[:8], 16),
            )
        ):  # fmt: skip
            raise Damaged(f"the segment {name} of the log is not what it should be: {why}")

    def wrong(self, path: Path, name: str) -> None:
        """A tablespace that was made in this log would be made again in its original place, and what is there be
        emptied, also by a drill on the same host. What lies behind that is cut off."""
        if not self.programs.has("pg_waldump"):
            return
        scan = path.parent.parent / "scan"
        scan.mkdir(mode=0o700, exist_ok=True)
        start, before = self._number(name) * self.segment_bytes, self._before
        if before is not None and self._number(before.name) != self._number(name) - 1:
            before.unlink(missing_ok=True)
            before = None
        if before is not None:
            # pg_waldump follows one timeline: the segment before goes by its name too.
            before = before.rename(scan / f"{name[:8]}{before.name[8:]}")
        here = scan / name
        here.unlink(missing_ok=True)
        here.hardlink_to(path)
        found = self._new_tablespace(scan, name, start - _LOOK_BACK) if before is not None else None
        # A segment that was left early ends in nothing, and nothing is found from there on.
        found = found or self._new_tablespace(scan, name, start)
        if before is not None:
            before.unlink(missing_ok=True)
        self._before = here
        if found is not None:
            self._cut_off(path, found)

    def _new_tablespace(self, scan: Path, name: str, start: int) -> Lsn | None:
        """The first that is made from `start` on. Raises Damaged when that cannot be told."""
        end = (self._number(name) + 1) * self.segment_bytes
        where = ("-p", str(scan), "-t", str(int(name[:8], 16)), "-s", say_lsn(start), "-e", say_lsn(end))
        argv = (self.programs.path("pg_waldump"), "-r", "Tablespace", *where)
        done = run(Command(argv, _WALDUMP, keep_bytes=1 << 20, accept=frozenset({0, 1})))
        if done.status != 0 and not any(end in done.errors for end in _ENDS):
            raise Damaged(
                f"the segment {name} of the log cannot be read", detail=done.errors.decode("utf-8", "replace")
            )
        found = _TABLESPACE.search(done.output)
        return lsn(found[1].decode()) if found is not None else None

    def _cut_off(self, path: Path, place: Lsn) -> None:
        if isinstance(self.route.target.until, Latest):
            raise _new_tablespace(place)
        self._cut = place
        offset = place - self._number(path.name) * self.segment_bytes
        if offset > 0:
            with path.open("r+b") as file:
                file.truncate(offset)
                file.truncate(self.segment_bytes)
        else:
            # It began in the segment before, which is with the server already.
            raise _new_tablespace(place)


def spelled(target: Target) -> dict[str, str]:
    """As PostgreSQL's settings."""
    until = target.until
    match until:
        case Latest():
            return {}
        case AtTime(moment, inclusive):
            return _inclusive("time", stamp(moment).replace("T", " ").replace("Z", "+00"), inclusive)
        case AtLsn(place, inclusive):
            return _inclusive("lsn", say_lsn(place), inclusive)
        case AtXid(xid, inclusive):
            return _inclusive("xid", str(xid), inclusive)
        case AtRestorePoint(name):
            return {"recovery_target_name": name}
        case _:
            assert_never(until)


def _inclusive(kind: str, value: str, inclusive: bool) -> dict[str, str]:
    return {"recovery_target_inclusive": "on" if inclusive else "off", f"recovery_target_{kind}": value}


def _new_tablespace(place: Lsn) -> SourceUnsuitable:
    return SourceUnsuitable(
        f"a tablespace was made at {say_lsn(place)} in the log that would be replayed",
        detail="replaying that would empty the folder that it had on the original host; the old state was not touched",
        hint="use a point that was taken later, or a target before that place",
    )
