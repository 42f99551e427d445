"""Which points are due: the plan's schedules against the points that exist.

Nothing is remembered about what was due before: the newest point says it. So a machine that slept through three nights
owes one point, not three, and the first point of a component is due at once.

Schedules run by the plan's time zone. At the change to summer time a time of day that the clocks skip is taken as if
they had not been put forward; at the change back, one that comes twice counts the first time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from cronsim import CronSim

from backstay.facts import Point
from backstay.plan import Component, Cron, DailyAt, Every, Schedule
from backstay.values import say_moment, utc

READ = "read"
"""`Point.about` may say under this name how the point was read: `full` (the default) or `incremental`."""

FAR = timedelta(days=366 * 50)

CLOCK_TOLERANCE = timedelta(minutes=1)
"""Clocks of two machines may differ by this (as `verify` has it)."""


@dataclass(frozen=True, slots=True)
class Due:
    kind: Literal["full", "incremental"]
    since: datetime
    because: str


def due(component: Component, points: Iterable[Point], now: datetime, tz: str) -> list[Due]:
    """The points of the component that are due by its schedules, the one to take first. A full point serves an
    incremental schedule too, so at most one is due."""
    every = [point for point in points if point.component == component.name]
    # One that a wrong clock put into the future serves no schedule: else nothing would be due until then.
    own = sorted((point for point in every if not _ahead(point, now)), key=lambda point: point.began)
    wanted: list[tuple[Literal["full", "incremental"], Schedule | None, list[Point]]] = [
        ("full", component.protect.full, [point for point in own if is_full(point)]),
        ("incremental", component.protect.incremental, own),
    ]
    for kind, schedule, serving in wanted:
        if schedule is None:
            continue
        if not serving:
            which = "that is not in the future" if len(own) < len(every) else "yet"
            full = "" if kind == "incremental" else "full "
            return [Due(kind, now, f"there is no {full}point of {component.name} {which}")]
        newest = serving[-1]
        since = next_after(schedule, newest.began, tz)
        if since is not None and since <= now:
            which = "full point" if kind == "full" else "point"
            said = f"{say_schedule(schedule)}, and the newest {which} is of {say_moment(newest.began)}"
            return [Due(kind, since, said)]
    return []


def next_due(component: Component, points: Iterable[Point], now: datetime, tz: str) -> datetime | None:
    """When the next point is due; `now` or earlier: it is due already. None: no schedule says."""
    own = [point for point in points if not _ahead(point, now)]
    if found := due(component, own, now, tz):
        return found[0].since
    moments: list[datetime] = []
    for schedule, serving in (
        (component.protect.full, [point for point in own if is_full(point)]),
        (component.protect.incremental, own),
    ):
        if schedule is not None and serving:
            moment = next_after(schedule, max(point.began for point in serving), tz)
            moments += [moment] if moment else []
    return min(moments, default=None)


def _ahead(point: Point, now: datetime) -> bool:
    return utc(point.began) > utc(now) + CLOCK_TOLERANCE


def is_full(point: Point) -> bool:
    """Was every byte read again when it was taken? (Every point is full to restore.)"""
    return point.about.get(READ, "full") == "full"


def next_after(schedule: Schedule, moment: datetime, tz: str) -> datetime | None:
    """The first moment after `moment` that the schedule names, in UTC. None: it never comes again."""
    zone = ZoneInfo(tz)
    match schedule:
        case Every(period):
            return period.after(utc(moment))
        case DailyAt(at):
            day = moment.astimezone(zone).date() - timedelta(days=1)
            while True:
                tick = datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
                if tick > utc(moment):
                    return tick
                day += timedelta(days=1)
        case Cron(line):
            ticks = CronSim(line, moment.astimezone(zone))
            for tick in ticks:
                if tick.astimezone(UTC) > utc(moment):
                    return tick.astimezone(UTC)
                if tick - moment > FAR:
                    break
            return None
        case _:
            assert_never(schedule)


def say_schedule(schedule: Schedule) -> str:
    """`daily at 02:00`, `every 6 h`, `by cron, 0 2 * * 1`."""
    match schedule:
        case DailyAt(at):
            return f"daily at {at.isoformat('minutes' if at.second == 0 else 'seconds')}"
        case Every(period):
            return f"every {period}"
        case Cron(line):
            return f"by cron, {line}"
        case _:
            assert_never(schedule)
