"""Whether a point leads to a target: over which timeline, with how much log, and what is said when it does not."""

from datetime import UTC, datetime, timedelta

import pytest

from backstay.lsn import Lsn
from backstay.plan import AtLsn, AtRestorePoint, AtTime, AtXid, Latest, Target
from backstay.reach import Base, Left, Log, NoWay, Route, Stretch, route, within
from backstay.values import ComponentName, PointId

SYSTEM, SEGMENT = 7, 1 << 20
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


def place(n: float) -> Lsn:
    return Lsn(int(n * SEGMENT))


def stretch(timeline: int, start: float, end: float, kept: float) -> Stretch:
    return Stretch(SYSTEM, timeline, place(start), place(end), at(kept))


BASE = Base(PointId("p1"), ComponentName("database"), SYSTEM, 1, place(1), place(2), SEGMENT, at(0))

# Timeline 1 was written from minute 0 to 60. At minute 70 somebody went back to minute 30, and life went on as 2.
ONE = [stretch(1, 2 + n, 3 + n, 10 * (n + 1)) for n in range(6)]
TWO = [stretch(2, 5, 6, 80), stretch(2, 6, 7, 90)]


def kept(*stretches: Stretch, dated: bool = True, forked: bool = True) -> Log:
    moments = {one: (one.kept - 10 * MINUTE, one.kept) for one in stretches} if dated else {}
    histories = {2: (Left(1, place(5)),)} if forked else {}
    return Log(SYSTEM, stretches, histories, {}, moments)


LOG = kept(*ONE, *TWO)


def led(target: Target, log: Log = LOG, base: Base = BASE) -> Route:
    found = route(log, base, target, at(1))
    assert isinstance(found, Route), found
    return found


def refused(target: Target, log: Log = LOG, base: Base = BASE) -> str:
    found = route(log, base, target, at(1))
    assert isinstance(found, NoWay), found
    return found.why


def test_a_moment_is_looked_for_on_the_timeline_that_was_lived_then() -> None:
    """`latest`, as PostgreSQL means it, would give minute 30 for everything that lies between."""
    for minutes, timeline in ((5, 1), (29, 1), (45, 1), (59, 1), (75, 2), (89, 2)):
        assert led(Target(AtTime(at(minutes)))).timeline == timeline, minutes
    assert led(Target(AtTime(at(45)), 1)).timeline == 1
    assert led(Target(Latest())).timeline == 2
    assert led(Target(Latest(), 1)).timeline == 1


def test_a_named_timeline_is_followed_whatever_was_lived() -> None:
    assert led(Target(AtTime(at(45)), 2)).timeline == 2
    assert "does not come from" in refused(Target(Latest(), 2), base=Base(
        BASE.point, BASE.component, SYSTEM, 3, BASE.start, BASE.stop, SEGMENT, BASE.moment
    ))  # fmt: skip


def test_what_is_to_be_replayed_is_counted() -> None:
    assert led(Target(AtLsn(place(4)))).log_bytes == 2 * SEGMENT
    assert led(Target(AtTime(at(15)))).log_bytes == 2 * SEGMENT, "it was durable at minute 20"
    assert led(Target(Latest())).log_bytes == 5 * SEGMENT
    assert led(Target(Latest(), 1)).log_bytes == 6 * SEGMENT


def test_everything_that_ends_at_a_gap_says_so() -> None:
    assert "that ends at a gap" in led(Target(Latest(), 1), kept(ONE[0], *ONE[2:])).say()
    assert "gap" not in led(Target(Latest(), 1)).say()


def test_sure_is_only_what_somebody_said() -> None:
    assert led(Target(AtTime(at(59)))).sure
    assert not led(Target(AtTime(at(59))), kept(*ONE, dated=False)).sure
    assert not led(Target(AtXid(731))).sure
    assert not led(Target(AtRestorePoint("deploy"))).sure
    assert led(Target(AtLsn(place(7)), 1)).sure


@pytest.mark.parametrize(
    ("target", "log", "why"),
    [
        (Target(AtTime(at(0.5))), LOG, "the point ended at 2026-11-28 12:01:00 UTC, which is later"),
        (Target(AtTime(at(91))), LOG, "nothing in it is younger than 2026-11-28 13:30:00 UTC"),
        (Target(AtLsn(place(1))), LOG, "is before that"),
        (Target(AtLsn(place(99))), LOG, "the log that is kept of timeline 2 ends"),
        (Target(Latest(), 9), LOG, "the history of timeline 9 is missing"),
        (Target(AtTime(at(5))), kept(), "no log is kept after the point"),
        (Target(AtXid(731)), kept(), "no log is kept after the point"),
        (Target(AtTime(at(55))), kept(*ONE[:2], *ONE[3:], forked=False), "a gap (0/400000 to 0/500000 on timeline 1)"),
        (Target(Latest(), 2), kept(*ONE, *TWO, forked=False), "the history of timeline 2 is missing"),
    ],
)
def test_what_cannot_be_reached_says_why(target: Target, log: Log, why: str) -> None:
    assert why in refused(target, log)


def test_what_can_be_reached_is_told_for_each_timeline() -> None:
    one, two = within(LOG, [(BASE, at(1))])
    assert str(one) == "on timeline 1: 2026-11-28 12:01:00 UTC (0/200000) to 2026-11-28 13:00:00 UTC (0/800000)"
    assert str(two) == "on timeline 2: 2026-11-28 12:01:00 UTC (0/200000) to 2026-11-28 13:30:00 UTC (0/700000)"
    (alone,) = within(kept(forked=False), [(BASE, at(1))])
    assert "only, the end of point p1" in str(alone)


def test_a_later_point_does_not_shorten_the_range() -> None:
    later = Base(PointId("p2"), BASE.component, SYSTEM, 1, place(3), place(4), SEGMENT, at(20))
    one = within(kept(*ONE, forked=False), [(later, at(20)), (BASE, at(1))])[0]
    assert (one.since, one.point, one.end) == (at(1), BASE.point, place(8))
