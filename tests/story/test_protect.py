"""Which points are due: schedules, time zones, the two nights a year when clocks jump."""

from datetime import time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.plan import Cron, DailyAt, Every, Protect, Schedule
from backstay.protect import Due, due, is_full, next_after, next_due, say_schedule
from backstay.values import Period
from fix_story import HOUR, MINUTE, NOW, at, database, point

NIGHTLY, SIX = DailyAt(time(2)), Every(Period(span=6 * HOUR))
BOTH = Protect(full=NIGHTLY, incremental=SIX)

CASES: list[tuple[str, Protect, list[tuple[str, str]], str, list[Due]]] = [
    ("the first point is due at once", BOTH, [], "12:00",
     [Due("full", at("12:00"), "there is no full point of database yet")]),
    ("with an incremental schedule alone, too", Protect(incremental=SIX), [], "12:00",
     [Due("incremental", at("12:00"), "there is no point of database yet")]),
    ("nothing is scheduled, so nothing is due", Protect(), [], "12:00", []),
    ("before a deployment is not by the clock", Protect(before="deployment"), [], "12:00", []),
    ("a fresh point serves both", BOTH, [("02:00", "full")], "07:59", []),
    ("an incremental one is due after six hours, to the second", BOTH, [("02:00", "full")], "08:00",
     [Due("incremental", at("08:00"), "every 6 h, and the newest point is of 2026-11-22 02:00:00 UTC")]),
    ("an incremental point serves its own schedule", BOTH, [("02:00", "full"), ("08:00", "incremental")], "13:59", []),
    ("an incremental point is no full one", BOTH, [("2026-11-21 02:00", "full"), ("01:00", "incremental")], "02:00",
     [Due("full", at("02:00"), "daily at 02:00, and the newest full point is of 2026-11-21 02:00:00 UTC")]),
    ("three missed nights are one point", Protect(full=NIGHTLY), [("2026-11-18 02:00", "full")], "12:00",
     [Due("full", at("2026-11-19 02:00"), "daily at 02:00, and the newest full point is of 2026-11-18 02:00:00 UTC")]),
    ("a point by hand in the evening does not spare the night", Protect(full=NIGHTLY),
     [("2026-11-21 22:00", "full")], "02:00",
     [Due("full", at("02:00"), "daily at 02:00, and the newest full point is of 2026-11-21 22:00:00 UTC")]),
    ("a point from the future serves no schedule", BOTH, [("2027-11-23 02:00", "full")], "12:00",
     [Due("full", at("12:00"), "there is no full point of database that is not in the future")]),
    ("nor does it hide the one before", BOTH, [("2026-11-21 02:00", "full"), ("2027-11-23 02:00", "full")], "12:00",
     [Due("full", at("02:00"), "daily at 02:00, and the newest full point is of 2026-11-21 02:00:00 UTC")]),
    ("cron", Protect(full=Cron("30 1 * * 1")), [("2026-11-16 01:30", "full")], "2026-11-23 01:30",
     [Due("full", at("2026-11-23 01:30"),
          "by cron, 30 1 * * 1, and the newest full point is of 2026-11-16 01:30:00 UTC")]),
]  # fmt: skip


@pytest.mark.parametrize(("protect", "taken", "now", "expect"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_due(protect: Protect, taken: list[tuple[str, str]], now: str, expect: list[Due]) -> None:
    points = [point(at(when), read=read) for when, read in taken]
    assert due(database(protect=protect), points, at(now), "UTC") == expect


def test_points_of_others_do_not_count() -> None:
    other: Any = "settings-db"
    assert due(database(), [point(at("11:00"), other)], NOW, "UTC")


def test_a_point_says_itself_how_it_was_read() -> None:
    assert is_full(point(NOW))
    assert not is_full(point(NOW, read="incremental"))


@pytest.mark.parametrize(
    ("schedule", "after", "tz", "expect"),
    [
        (NIGHTLY, "2026-11-22 01:59", "UTC", "2026-11-22 02:00"),
        (NIGHTLY, "2026-11-22 02:00", "UTC", "2026-11-23 02:00"),
        (NIGHTLY, "2026-11-22 00:30", "Europe/Berlin", "2026-11-22 01:00"),
        (DailyAt(time(23)), "2026-11-22 02:00", "America/New_York", "2026-11-22 04:00"),
        # The night of 2026-03-29 in Berlin: 02:00 becomes 03:00. 02:30 does not exist.
        (DailyAt(time(2, 30)), "2026-03-28 12:00", "Europe/Berlin", "2026-03-29 01:30"),
        (DailyAt(time(2, 30)), "2026-03-29 01:30", "Europe/Berlin", "2026-03-30 00:30"),
        # The night of 2026-10-25: 03:00 becomes 02:00. 02:30 comes twice, and counts the first time.
        (DailyAt(time(2, 30)), "2026-10-24 12:00", "Europe/Berlin", "2026-10-25 00:30"),
        (DailyAt(time(2, 30)), "2026-10-25 00:30", "Europe/Berlin", "2026-10-26 01:30"),
        (Cron("30 2 * * *"), "2026-10-24 12:00", "Europe/Berlin", "2026-10-25 00:30"),
        (Cron("30 2 * * *"), "2026-10-25 00:30", "Europe/Berlin", "2026-10-26 01:30"),
        (Cron("0 0 29 2 *"), "2026-01-01 00:00", "UTC", "2028-02-29 00:00"),
        (Every(Period(1)), "2026-01-31 12:00", "UTC", "2026-02-28 12:00"),
        (SIX, "2026-10-24 23:00", "Europe/Berlin", "2026-10-25 05:00"),
    ],
)
def test_the_next_moment_of_a_schedule(schedule: Schedule, after: str, tz: str, expect: str) -> None:
    assert next_after(schedule, at(after), tz) == at(expect)


@given(
    st.integers(0, 10 * 365 * 24 * 60),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_a_daily_schedule_comes_once_a_day_whatever_the_clocks_do(minutes: int, clock: time, tz: str) -> None:
    start = at("2020-01-01 00:00") + minutes * MINUTE
    first = next_after(DailyAt(clock), start, tz)
    assert first is not None
    second = next_after(DailyAt(clock), first, tz)
    assert second is not None
    assert start < first <= start + 25 * HOUR + MINUTE
    assert timedelta(hours=22) <= second - first <= timedelta(hours=26)


def test_when_the_next_point_is_due() -> None:
    assert next_due(database(), [point(at("02:00"))], at("07:00"), "UTC") == at("08:00")
    assert next_due(database(), [], NOW, "UTC") == NOW
    assert next_due(database(protect=Protect()), [point(NOW)], NOW, "UTC") is None


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (NIGHTLY, "daily at 02:00"),
        (DailyAt(time(2, 0, 30)), "daily at 02:00:30"),
        (SIX, "every 6 h"),
        (Every(Period(3)), "every 3 months"),
        (Cron("0 2 * * 1"), "by cron, 0 2 * * 1"),
    ],
)
def test_schedules_in_words(schedule: Schedule, said: str) -> None:
    assert say_schedule(schedule) == said
