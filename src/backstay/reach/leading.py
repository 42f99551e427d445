"""Whether a point leads to a target, over which timeline, and with how much log; and what could be reached instead.

Which timeline, where nobody said. For a moment: the one that was lived then, that is the newest whose log had begun.
After a recovery to yesterday evening, "this morning" is on the timeline that was given up: `latest`, as PostgreSQL
means it, would silently give yesterday evening again. For everything else: the newest that the log knows of.

Whether the log goes as far as a moment is known where its senders said when they sent (a receiver does; an archived
segment does not). Where nobody said, only replaying can tell, and the server refuses to end before the target.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from backstay.facts import Point
from backstay.lsn import Lsn, say_lsn
from backstay.plan import AtLsn, AtRestorePoint, AtTime, AtXid, Latest, Target, say_target
from backstay.reach.ways import NoWay, Reach, reach
from backstay.reach.words import Base, Log
from backstay.values import PointId, say_moment, say_size


@dataclass(frozen=True, slots=True)
class Route:
    """A point, and the log that leads from it to a target."""

    reach: Reach
    target: Target
    log_bytes: int
    """To be replayed, at most."""
    sure: bool
    """False: only replaying can tell whether what was asked for is in the log that is kept."""

    @property
    def timeline(self) -> int:
        return self.reach.timeline

    @property
    def base(self) -> Base:
        return self.reach.base

    def say(self) -> str:
        """`to 2026-11-28 02:00:00 UTC over 1.2 GB of log on timeline 3`."""
        size = say_size(self.log_bytes) if self.log_bytes else "no log"
        sure = "" if self.sure else "; whether it is in there, only replaying can tell"
        # Behind a gap may lie much: who asks for everything has to hear it.
        early = isinstance(self.target.until, Latest) and self.reach.stopped is not None
        gap = f"; that ends at a gap, {self.reach.stopped}: what is kept behind it is NOT in it" if early else ""
        return f"to {say_target(self.target)} over {size} of log on timeline {self.timeline}{sure}{gap}"


@dataclass(frozen=True, slots=True)
class Within:
    """What can be reached on one timeline, from the first point that leads along it."""

    timeline: int
    point: PointId
    since: datetime
    start: Lsn
    until: datetime | None
    """Surely; None: nobody said, and then `at_most` is all that is known."""
    at_most: datetime | None
    end: Lsn

    def __str__(self) -> str:
        on = f"on timeline {self.timeline}: {say_moment(self.since)} ({say_lsn(self.start)})"
        if self.end == self.start:
            return f"{on} only, the end of point {self.point}"
        last = self.until or self.at_most
        when = f"{say_moment(last)}{'' if self.until else ' at most'} " if last else ""
        return f"{on} to {when}({say_lsn(self.end)})"


def settled(point: Point) -> datetime:
    """When the backup had ended, by whichever clock says later: before that, no state of it can be used."""
    return max(point.moment, point.ended)


def route(log: Log, base: Base, target: Target, settled: datetime) -> Route | NoWay:
    """`settled`: when the backup had ended."""
    timeline = target.timeline if target.timeline is not None else _timeline(log, base, target)
    found = reach(log, base, timeline)
    if isinstance(found, NoWay):
        return found
    match target.until:
        case Latest():
            return Route(found, target, found.log_bytes, True)
        case AtTime():
            return _to_moment(log, found, target, settled)
        case AtLsn(place):
            if place < base.stop:
                return NoWay(f"the point ended at {say_lsn(base.stop)}, and {say_lsn(place)} is before that")
            if place > found.to:
                return NoWay(f"{_ends(found)} at {say_lsn(found.to)}", found.stopped)
            return Route(found, target, place - base.stop, True)
        case AtXid() | AtRestorePoint():
            if found.to == base.stop:
                return NoWay(f"no log is kept after the point, on timeline {timeline}", found.stopped)
            return Route(found, target, found.log_bytes, False)
        case _:
            assert_never(target.until)


def _to_moment(log: Log, found: Reach, target: Target, settled: datetime) -> Route | NoWay:
    assert isinstance(target.until, AtTime)
    moment = target.until.moment
    if moment < settled:
        return NoWay(f"the point ended at {say_moment(settled)}, which is later")
    if found.at_most is None:
        return NoWay(f"no log is kept after the point, on timeline {found.timeline}", found.stopped)
    if moment > found.at_most:
        return NoWay(f"{_ends(found)} at {say_lsn(found.to)}, and nothing in it is younger than "
                     f"{say_moment(found.at_most)}", found.stopped)  # fmt: skip
    sure = found.surely is not None and moment <= found.surely
    return Route(found, target, _durable_by(log, found, moment) - found.base.stop, sure)


def _durable_by(log: Log, found: Reach, moment: datetime) -> Lsn:
    """Where the first stretch ends that was durable at `moment`, or later: nothing behind it was committed before."""
    for span in found.spans:
        for run in log.runs.get(span.timeline, ()):
            for one in run.parts:
                if span.start < one.end <= span.end and one.kept >= moment:
                    return one.end
    return found.to


def _ends(found: Reach) -> str:
    if found.stopped is not None:
        return f"a gap ({found.stopped}) ends the log that is kept of timeline {found.timeline}"
    return f"the log that is kept of timeline {found.timeline} ends"


def _timeline(log: Log, base: Base, target: Target) -> int:
    known = [one for one in log.timelines() if one > base.timeline]
    if isinstance(target.until, AtTime):
        known = [one for one in known if (began := _began(log, one)) is not None and began <= target.until.moment]
    return max(known, default=base.timeline)


def _began(log: Log, timeline: int) -> datetime | None:
    """When the first that is kept of it was sent, or else was durable."""
    runs = log.runs.get(timeline, ())
    if not runs:
        return None
    first = runs[0].parts[0]
    return log.moments.get(first, (None, None))[0] or first.kept


def within(log: Log, bases: Iterable[tuple[Base, datetime]]) -> tuple[Within, ...]:
    """What can be reached at all, by timeline; `bases` with the moment at which each had ended."""
    found = dict[int, Within]()
    for base, settled in sorted(bases, key=lambda one: (one[0].stop, one[0].point)):
        for timeline in sorted({base.timeline, *log.timelines()}):
            leads = reach(log, base, timeline)
            if isinstance(leads, NoWay) or (timeline != base.timeline and leads.to <= leads.line[-1].start):
                continue
            before = found.get(timeline)
            since, start, point = (
                (before.since, before.start, before.point) if before else (settled, base.stop, base.point)
            )
            if before is None or leads.to >= before.end:
                found[timeline] = Within(timeline, point, since, start, leads.surely, leads.at_most, leads.to)
    return tuple(found[timeline] for timeline in sorted(found))
