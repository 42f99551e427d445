"""What is missing in the log that was kept, and what can no longer be reached because of it.

A gap alone says little: behind it everything is reached again from the next point. What it costs lies between: no
moment after the log before the gap and before that point. A gap that no point lies before costs nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backstay.lsn import Lsn
from backstay.reach.ways import Leg, NoWay, line_to, reach, walk
from backstay.reach.words import Base, Gap, Log
from backstay.values import PointId


def gaps(log: Log) -> tuple[Gap, ...]:
    """Every hole between two things that are kept, by timeline and place; also where a timeline was left and the next
    one's log does not begin at once."""
    found = dict[tuple[int, Lsn, Lsn], Gap]()
    for timeline in log.timelines():
        for step in walk(log, _whole_line(log, timeline)):
            if isinstance(step, Gap):
                found.setdefault((step.timeline, step.start, step.end), step)
    return tuple(found[key] for key in sorted(found))


def _whole_line(log: Log, timeline: int) -> tuple[Leg, ...]:
    """From the first that is kept of the line. Without its history a timeline stands alone."""
    history = log.histories.get(timeline, ())
    numbers = [*[left.timeline for left in history], timeline]
    ends: list[Lsn | None] = [*[left.at for left in history], None]
    kept = {
        number: [run.start for run in log.runs.get(number, ()) if end is None or run.start < end]
        for number, end in zip(numbers, ends, strict=True)
    }
    first = min((start for starts in kept.values() for start in starts), default=Lsn(0))
    legs = list[Leg]()
    at = first
    for number, end in zip(numbers, ends, strict=True):
        if end is None or at < end:
            legs.append(Leg(number, at, end))
            at = at if end is None else end
    return tuple(legs)


@dataclass(frozen=True, slots=True)
class Dark:
    """What a gap costs on the line to `timeline`: no place behind `start` and before `end` is reached, but for the ends
    of points themselves."""

    gap: Gap
    timeline: int
    start: Lsn
    end: Lsn | None
    """Where the first point behind the gap ends; None: there is none yet, and nothing behind the gap is reached."""
    since: datetime | None
    until: datetime | None
    """The moment of that point."""
    cut: tuple[PointId, ...]
    """Points that would lead on, oldest first."""
    next: PointId | None


def dark(log: Log, bases: Iterable[Base], gap: Gap) -> tuple[Dark, ...]:
    """Once for each different cost: timelines that came from one another behind the gap share it, and the newest is
    named. Empty: the gap costs nothing, as no point lies before it."""
    found = dict[tuple[tuple[PointId, ...], PointId | None], Dark]()
    every = sorted(bases, key=lambda base: (base.stop, base.point))
    for timeline in log.timelines():
        on_line = [base for base in every if _leads_over(log, base, timeline, gap)]
        cut = tuple(base.point for base in on_line if base.stop <= gap.start)
        after = next((base for base in _followers(log, every, timeline) if base.stop >= gap.end), None)
        if cut:
            key = (cut, after.point if after else None)
            end, until = (after.stop, after.moment) if after else (None, None)
            found[key] = Dark(gap, timeline, gap.start, end, gap.since, until, cut, key[1])
    return tuple(found.values())


def _leads_over(log: Log, base: Base, timeline: int, gap: Gap) -> bool:
    line = line_to(log, base, timeline)
    return not isinstance(line, NoWay) and any(
        leg.timeline == gap.timeline and (leg.end is None or gap.start < leg.end) for leg in line
    )


def _followers(log: Log, bases: list[Base], timeline: int) -> list[Base]:
    return [base for base in bases if not isinstance(line_to(log, base, timeline), NoWay)]


def unjoined(log: Log, bases: Iterable[Base]) -> Gap | None:
    """What is missing between the newest point and the first log that is kept after it; None where they join, or where
    nothing is kept behind it. Older points that do not join only tell that the log began later."""
    newest = max(bases, key=lambda base: (base.moment, base.point), default=None)
    if newest is None:
        return None
    found = [reach(log, newest, timeline) for timeline in log.timelines()]
    missing = [one.stopped for one in found if not isinstance(one, NoWay) and one.to == newest.stop and one.stopped]
    return missing[0] if missing and len(missing) == len([one for one in found if not isinstance(one, NoWay)]) else None
