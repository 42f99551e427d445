"""From a point along the log: how far it leads, over which timelines, and what has to be read on the way.

A recovery follows one *line*: the timeline of its point up to where the next one left it, and so on to the timeline
that was asked for. It needs every byte of the line from the stop of the point on. The segment in which a timeline was
left is copied by the server into the new one: so log of a later timeline may stand in for the end of the one before,
byte for byte (and only there: a server has no older log under the new number).

A place in the log is said to be reached when everything before it can be replayed. To *stop* at it, PostgreSQL has to
see a record that begins there or later (recoveryStopsBefore and recoveryStopsAfter in xlogrecovery.c): at the very end
of what is kept, ask for all that is kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from backstay.lsn import Lsn, say_lsn, segment_name
from backstay.reach.words import Base, Gap, Log, Run, Span


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why a point does not lead somewhere: one clause."""

    why: str
    gap: Gap | None = None
    """What has to be filled, where it is a gap."""


@dataclass(frozen=True, slots=True)
class Leg:
    """The part of a line on one timeline; `end` None on the last, which is not left."""

    timeline: int
    start: Lsn
    end: Lsn | None


@dataclass(frozen=True, slots=True)
class Way:
    """What is replayed over a point to come to `to`."""

    base: Base
    line: tuple[Leg, ...]
    spans: tuple[Span, ...]
    """To be read in this order. Each begins where the one before ended, the first at the point's stop."""
    to: Lsn

    @property
    def timeline(self) -> int:
        """What `recovery_target_timeline` has to be."""
        return self.line[-1].timeline

    @property
    def log_bytes(self) -> int:
        """How much is replayed after the point's own log."""
        return self.to - self.base.stop

    def segments(self) -> Iterator[tuple[str, Lsn]]:
        """The files that recovery will ask for after the point's own log, by name and first position. Of a segment in
        which timelines change, it asks for the newest first (XLogFileReadAnyTLI)."""
        size = self.base.segment_bytes
        if self.to == self.base.stop:
            return
        for number in range(self.base.stop // size, (self.to - 1) // size + 1):
            timeline = next(leg.timeline for leg in reversed(self.line) if leg.start // size <= number)
            yield segment_name(timeline, number, size), Lsn(number * size)


@dataclass(frozen=True, slots=True)
class Reach(Way):
    """How far a point leads on one line: every place from its stop to `to`."""

    stopped: Gap | None = None
    """None: all that is kept of the line is reached."""
    surely: datetime | None = None
    """Whatever was committed up to this moment, by the server's clock, is within reach. None: nobody said."""
    at_most: datetime | None = None
    """Nothing younger is within reach. None: it leads nowhere beyond the point itself."""


# ── lines ────────────────────────────────────────────────────────────────────────────────────────


def line_to(log: Log, base: Base, timeline: int) -> tuple[Leg, ...] | NoWay:
    """From the point's timeline to `timeline`, as the histories have it."""
    if base.system != log.system:
        return NoWay(f"the point is of cluster {base.system}, and the log of {log.system}")
    if timeline == base.timeline:
        return (Leg(timeline, base.stop, None),)
    if timeline in log.unreadable:
        return NoWay(f"the history of timeline {timeline} cannot be read: {log.unreadable[timeline]}")
    history = log.histories.get(timeline)
    if history is None:
        return NoWay(f"the history of timeline {timeline} is missing, so nobody knows where it began")
    if base.timeline not in [left.timeline for left in history]:
        return NoWay(f"timeline {timeline} does not come from timeline {base.timeline}, which the point is on")
    own = log.histories.get(base.timeline, ())
    before = tuple(left for left in history if left.timeline < base.timeline)
    if own and [(left.timeline, left.at) for left in own] != [(left.timeline, left.at) for left in before]:
        return NoWay(f"the histories of timelines {base.timeline} and {timeline} tell two stories of what came before")
    after = [left for left in history if left.timeline >= base.timeline]
    if after[0].at < base.stop:
        return NoWay(
            f"timeline {after[1].timeline if len(after) > 1 else timeline} left timeline {base.timeline} at "
            f"{say_lsn(after[0].at)}, before the point ended at {say_lsn(base.stop)}"
        )
    numbers = [*[left.timeline for left in after], timeline]
    places = [base.stop, *[left.at for left in after]]
    ends = [*places[1:], None]
    return tuple(Leg(*leg) for leg in zip(numbers, places, ends, strict=True))


def followed(log: Log, base: Base) -> list[int]:
    """Timelines that the point can be replayed along, its own first; whether or not there is log."""
    return [one for one in sorted({base.timeline, *log.timelines()}) if not isinstance(line_to(log, base, one), NoWay)]


# ── how far ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Read:
    """A step of a walk: this span, out of this run."""

    span: Span
    run: Run


def walk(log: Log, line: tuple[Leg, ...], since: datetime | None = None) -> Iterator[Read | Gap]:
    """From the start of the line to the end of what is kept of it: what can be read and what is missing, in order and
    without a hole between them. `since`: the moment of what is before the line."""
    usable = [run for leg in line for run in log.runs.get(leg.timeline, ()) if leg.end is None or run.start < leg.end]
    at = line[0].start
    for leg in line:
        while leg.end is None or at < leg.end:
            covering = [one for one in usable if one.timeline >= leg.timeline and one.start <= at < one.end]
            if covering:
                # What belongs to the leg itself first; of that, what leads farthest.
                best = max(covering, key=lambda one: (one.timeline == leg.timeline, one.end))
                end = best.end if leg.end is None else min(best.end, leg.end)
                yield Read(Span(best.timeline, at, end), best)
                since = _last_moment(log, best, end)
            else:
                first = min((one for one in usable if one.start > at), key=lambda one: one.start, default=None)
                if first is None:
                    return
                # Where the timeline was left meanwhile, the gap is its own only up to there.
                end = first.start if leg.end is None else min(first.start, leg.end)
                yield Gap(leg.timeline, at, end, since, first.parts[0].kept)
            at = end


def _last_moment(log: Log, run: Run, end: Lsn) -> datetime:
    last = next(run.up_to(end))
    return log.moments.get(last, (None, None))[1] or last.kept


def reach(log: Log, base: Base, timeline: int) -> Reach | NoWay:
    """How far the point leads on the line to `timeline`."""
    line = line_to(log, base, timeline)
    if isinstance(line, NoWay):
        return line
    read = list[Read]()
    stopped: Gap | None = None
    for step in walk(log, line, base.moment):
        if isinstance(step, Gap):
            stopped = step
            break
        read.append(step)
    to = read[-1].span.end if read else base.stop
    surely, at_most = _dated(log, read)
    return Reach(base, line, _joined([step.span for step in read]), to, stopped, surely, at_most)


def reaches(log: Log, base: Base) -> list[Reach]:
    """One for each timeline that the point can be replayed along, its own first."""
    found = [reach(log, base, one) for one in followed(log, base)]
    return [one for one in found if isinstance(one, Reach)]


def way_to(log: Log, base: Base, timeline: int, to: Lsn | None = None) -> Way | NoWay:
    """What is replayed to come to the place `to` on the line to `timeline`; None: to the end of what is kept."""
    found = reach(log, base, timeline)
    if isinstance(found, NoWay):
        return found
    if to is None:
        return Way(base, found.line, found.spans, found.to)
    if to < base.stop:
        return NoWay(f"the point ended at {say_lsn(base.stop)}, and {say_lsn(to)} is before that")
    if to > found.to:
        if found.stopped is not None:
            return NoWay(f"the log from {found.stopped} is not kept", found.stopped)
        return NoWay(f"the log that is kept of timeline {timeline} ends at {say_lsn(found.to)}")
    spans = tuple(replace(one, end=min(one.end, to)) for one in found.spans if one.start < to)
    return Way(base, found.line, spans, to)


def nearest(log: Log, bases: Iterable[Base], timeline: int, to: Lsn | None = None) -> Way | None:
    """Of all ways the one with the least log to replay."""
    ways = [way_to(log, base, timeline, to) for base in bases]
    found = [way for way in ways if isinstance(way, Way)]
    # To the end of what is kept: the farthest end, then the least log.
    return min(found, key=lambda way: (-way.to, way.log_bytes, way.base.point), default=None)


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """Neighbours of one timeline as one."""
    found = list[Span]()
    for one in spans:
        if found and found[-1].timeline == one.timeline:
            found[-1] = replace(found[-1], end=one.end)
        else:
            found.append(one)
    assert all(before.end == after.start for before, after in pairwise(found)), "a way with a hole in it"
    return tuple(found)


def _dated(log: Log, read: list[Read]) -> tuple[datetime | None, datetime | None]:
    """(surely, at_most) of a reach. Of a stretch that is left in the middle only its beginning is surely there, and
    no byte in it is younger than the stretch was durable."""
    if not read:
        return None, None
    end = read[-1].span.end
    last = next(one for one in read[-1].run.up_to(end) if one.end >= end)
    until = log.moments.get(last, (None, None))[1] if last.end == end else None
    surely = next(_said(log, read, end), None) if log.moments else None
    return surely, until or last.kept


def _said(log: Log, read: list[Read], end: Lsn) -> Iterator[datetime]:
    """Moments that the server said of what lies before `end`, the last first."""
    for step in reversed(read):
        for one in step.run.up_to(step.span.end):
            if one.end <= step.span.start:
                break
            since, until = log.moments.get(one, (None, None))
            moment = until if one.end <= end else since
            if moment is not None:
                yield moment
