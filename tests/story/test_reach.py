"""Which moments can be reached: from which points, over which timelines, and what a gap costs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backstay.lsn import Lsn, lsn, say_lsn
from backstay.reach import (
    Base,
    Gap,
    Left,
    Log,
    NoWay,
    Reach,
    Span,
    Stretch,
    Way,
    base_of,
    dark,
    gaps,
    nearest,
    reach,
    reaches,
    read_histories,
    read_history,
    unjoined,
    way_to,
)
from backstay.values import ComponentName, PointId
from fix_story import at, point

SYSTEM = 7_311
SEGMENT = 16 << 20
NIGHT = at("2026-11-21 02:00")


def place(segments: float) -> Lsn:
    return Lsn(int(segments * SEGMENT))


def stretch(start: float, end: float, timeline: int = 1, *, hour: int = 0) -> Stretch:
    return Stretch(SYSTEM, timeline, place(start), place(end), NIGHT + timedelta(hours=hour))


def base(stop: float, timeline: int = 1, *, hour: int = 0) -> Base:
    moment = NIGHT + timedelta(hours=hour)
    named = PointId(f"{moment:%dT%H}")
    return Base(named, ComponentName("database"), SYSTEM, timeline, place(stop - 1), place(stop), SEGMENT, moment)


def log(*stretches: Stretch, forks: dict[int, tuple[Left, ...]] | None = None) -> Log:
    return Log(SYSTEM, stretches, forks or {})


def led(found: Reach | NoWay) -> tuple[float, float | None] | str:
    """How far, and where what is missing begins; in segments."""
    if isinstance(found, NoWay):
        return found.why
    return found.to / SEGMENT, found.stopped.end / SEGMENT if found.stopped else None


# ── one timeline ─────────────────────────────────────────────────────────────────────────────────


def test_a_point_leads_to_the_end_of_what_is_kept() -> None:
    kept = log(stretch(1, 4), stretch(4, 4.5))
    assert led(reach(kept, base(2.25), 1)) == (4.5, None)
    way = way_to(kept, base(2.25), 1)
    assert isinstance(way, Way)
    assert (way.spans, way.log_bytes) == ((Span(1, place(2.25), place(4.5)),), int(2.25 * SEGMENT))
    assert [name[-2:] for name, _ in way.segments()] == ["02", "03", "04"]


def test_a_gap_of_exactly_one_segment_ends_it() -> None:
    kept = log(stretch(1, 4), stretch(5, 8, hour=3))
    assert led(reach(kept, base(2), 1)) == (4, 5)
    assert gaps(kept) == (Gap(1, place(4), place(5), NIGHT, NIGHT + timedelta(hours=3)),)
    assert [str(gap) for gap in gaps(kept)] == ["0/4000000 to 0/5000000 on timeline 1"]


def test_stretches_that_overlap_or_repeat_leave_no_gap() -> None:
    kept = log(stretch(1, 4), stretch(2, 3), stretch(3.5, 6), stretch(1, 4))
    assert (gaps(kept), led(reach(kept, base(2), 1))) == ((), (6, None))


def test_log_that_begins_after_the_point_ended_leads_nowhere() -> None:
    """The first window: between the point and the first byte of the stream nobody kept anything."""
    kept = log(stretch(5, 8, hour=3))
    found = reach(kept, base(2), 1)
    assert isinstance(found, Reach)
    assert (led(found), found.at_most) == ((2, 5), None)
    assert gaps(kept) == ()
    assert unjoined(kept, [base(2)]) == Gap(1, place(2), place(5), NIGHT, NIGHT + timedelta(hours=3))
    assert unjoined(kept, [base(2), base(5.5, hour=4)]) is None
    assert unjoined(kept, []) is None


def test_a_point_that_is_newer_than_all_that_is_kept_is_reached_alone() -> None:
    kept = log(stretch(1, 4))
    assert led(reach(kept, base(6), 1)) == (6, None)
    assert unjoined(kept, [base(6)]) is None


# ── targets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (1.5, "the point ended at 0/2000000, and 0/1800000 is before that"),
        (4.5, "the log from 0/4000000 to 0/5000000 on timeline 1 is not kept"),
        (7, "the log from 0/4000000 to 0/5000000 on timeline 1 is not kept"),
    ],
)
def test_a_place_that_cannot_be_reached_is_refused_with_the_reason(to: float, why: str) -> None:
    kept = log(stretch(1, 4), stretch(5, 8))
    found = way_to(kept, base(2), 1, place(to))
    assert isinstance(found, NoWay)
    assert found.why == why


def test_a_place_that_is_not_written_yet_is_refused() -> None:
    found = way_to(log(stretch(1, 4)), base(2), 1, place(4.5))
    assert isinstance(found, NoWay)
    assert (found.why, found.gap) == ("the log that is kept of timeline 1 ends at 0/4000000", None)


def test_the_end_of_the_point_and_the_end_of_the_log_are_within_reach() -> None:
    kept = log(stretch(1, 4))
    for to, amount in ((2, 0), (4, 2)):
        way = way_to(kept, base(2), 1, place(to))
        assert isinstance(way, Way)
        assert way.log_bytes == amount * SEGMENT
        assert len(list(way.segments())) == amount


def test_of_several_points_the_one_with_the_least_to_replay_is_taken() -> None:
    kept = log(stretch(1, 9))
    points = [base(2), base(4, hour=1), base(7, hour=2)]
    assert [
        (way.base.stop // SEGMENT if (way := nearest(kept, points, 1, place(to))) else None) for to in (3, 4, 6.9, 8, 1)
    ] == [2, 4, 4, 7, None]


def test_without_a_place_the_point_that_leads_farthest_is_taken() -> None:
    kept = log(stretch(1, 4), stretch(5, 8))
    way = nearest(kept, [base(3), base(2), base(5, hour=1), base(6, hour=2)], 1)
    assert way is not None
    assert (way.base.stop, way.to) == (place(6), place(8))


# ── timelines ────────────────────────────────────────────────────────────────────────────────────

TO_2 = {2: (Left(1, place(5.5)),)}


def test_a_timeline_is_followed_over_its_fork() -> None:
    kept = log(stretch(1, 6), stretch(5, 8, 2), forks=TO_2)
    assert [(one.timeline, led(one)) for one in reaches(kept, base(2))] == [(1, (6, None)), (2, (8, None))]
    way = way_to(kept, base(2), 2, place(7))
    assert isinstance(way, Way)
    assert way.spans == (Span(1, place(2), place(5.5)), Span(2, place(5.5), place(7)))


def test_the_copied_segment_stands_in_for_the_end_of_the_old_timeline() -> None:
    """The old primary died before it had sent its last segment; the new one copied it."""
    kept = log(stretch(1, 5), stretch(5, 8, 2), forks=TO_2)
    assert (gaps(kept), led(reach(kept, base(2), 2))) == ((), (8, None))
    way = way_to(kept, base(2), 2)
    assert isinstance(way, Way)
    assert way.spans == (Span(1, place(2), place(5)), Span(2, place(5), place(8)))


def test_what_is_missing_on_both_sides_of_a_fork_is_a_gap_of_each() -> None:
    kept = log(stretch(1, 5), stretch(6, 8, 2), forks=TO_2)
    assert [(gap.timeline, gap.start / SEGMENT, gap.end / SEGMENT) for gap in gaps(kept)] == [(1, 5, 5.5), (2, 5.5, 6)]
    assert led(reach(kept, base(2), 2)) == (5, 5.5)


def test_a_timeline_that_forked_before_the_point_ended_is_not_followed() -> None:
    kept = log(stretch(1, 9), stretch(5, 8, 2), forks=TO_2)
    assert led(reach(kept, base(5.75), 2)) == (
        "timeline 2 left timeline 1 at 0/5800000, before the point ended at 0/5C00000"
    )
    assert led(reach(kept, base(5.5), 2)) == (8, None), "a point may end where the timeline was left"


def test_without_its_history_a_timeline_is_not_followed_and_stands_alone() -> None:
    kept = log(stretch(1, 6), stretch(5, 8, 2))
    assert led(reach(kept, base(2), 2)) == "the history of timeline 2 is missing, so nobody knows where it began"
    assert led(reach(kept, base(5.75, 2), 2)) == (8, None)
    unreadable = replace(kept, unreadable={2: "it names no timeline"})
    assert led(reach(unreadable, base(2), 2)) == "the history of timeline 2 cannot be read: it names no timeline"


def test_of_several_branches_each_is_its_own_line() -> None:
    forks = {2: (Left(1, place(5)),), 3: (Left(1, place(4)),), 4: (Left(1, place(5)), Left(2, place(6)))}
    kept = log(stretch(1, 7), stretch(5, 7, 2), stretch(4, 9, 3), stretch(6, 6.5, 4), forks=forks)
    ends = {one.timeline: one.to / SEGMENT for one in reaches(kept, base(2))}
    assert ends == {1: 7, 2: 7, 3: 9, 4: 6.5}
    assert {one.timeline for one in reaches(kept, base(4.5))} == {1, 2, 4}
    assert led(reach(kept, base(5.5, 2), 3)) == "timeline 3 does not come from timeline 2, which the point is on"


def test_two_histories_that_disagree_are_not_followed() -> None:
    """Two servers were promoted apart, and took the same number."""
    forks = {2: (Left(1, place(5)),), 3: (Left(1, place(4)), Left(2, place(6)))}
    kept = log(stretch(1, 9), stretch(5, 9, 2), stretch(6, 9, 3), forks=forks)
    assert (
        led(reach(kept, base(5.5, 2), 3)) == "the histories of timelines 2 and 3 tell two stories of what came before"
    )


def test_a_point_of_another_cluster_leads_nowhere() -> None:
    found = reach(log(stretch(1, 4)), replace(base(2), system=5), 1)
    assert led(found) == "the point is of cluster 5, and the log of 7311"


# ── what a gap costs ─────────────────────────────────────────────────────────────────────────────


def test_behind_a_gap_all_is_dark_until_the_next_point() -> None:
    kept = log(stretch(1, 4, hour=1), stretch(5, 8, hour=3))
    (gap,) = gaps(kept)
    (before,) = dark(kept, [base(2), base(3, hour=1)], gap)
    assert (before.cut, before.next, before.end) == ((base(2).point, base(3, hour=1).point), None, None)
    (after,) = dark(kept, [base(2), base(6, hour=4), base(7, hour=5)], gap)
    assert (after.next, after.start, after.end) == (base(6, hour=4).point, place(4), place(6))
    assert (after.since, after.until) == (NIGHT + timedelta(hours=1), NIGHT + timedelta(hours=4))


def test_a_gap_that_no_point_lies_before_costs_nothing() -> None:
    kept = log(stretch(1, 4), stretch(5, 8))
    assert dark(kept, [base(6)], gaps(kept)[0]) == ()
    assert dark(kept, [], gaps(kept)[0]) == ()


def test_a_gap_costs_every_timeline_that_leads_over_it() -> None:
    forks = {2: (Left(1, place(7)),)}
    kept = log(stretch(1, 4), stretch(5, 8), stretch(7, 9, 2), forks=forks)
    (gap,) = gaps(kept)
    found = dark(kept, [base(2), base(8.5, 2, hour=5)], gap)
    assert {(one.timeline, one.next) for one in found} == {(1, None), (2, base(8.5, 2, hour=5).point)}


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_server_said_is_promised_and_what_it_did_not_say_is_bounded() -> None:
    first, second = stretch(1, 4, hour=2), stretch(4, 6, hour=3)
    kept = log(first, second)
    found = reach(kept, base(2), 1)
    assert isinstance(found, Reach)
    assert (found.surely, found.at_most) == (None, NIGHT + timedelta(hours=3))
    said = replace(kept, moments={first: (NIGHT, NIGHT + timedelta(hours=1))})
    found = reach(said, base(2), 1)
    assert isinstance(found, Reach)
    assert (found.surely, found.at_most) == (NIGHT + timedelta(hours=1), NIGHT + timedelta(hours=3))


def test_of_a_stretch_that_is_left_in_the_middle_only_its_beginning_is_promised() -> None:
    old = stretch(1, 8, hour=5)
    kept = replace(log(old, forks=TO_2), moments={old: (NIGHT, NIGHT + timedelta(hours=4))})
    found = reach(kept, base(2), 2)
    assert isinstance(found, Reach)
    assert (led(found), found.surely, found.at_most) == ((5.5, None), NIGHT, NIGHT + timedelta(hours=5))


# ── what points and servers say ──────────────────────────────────────────────────────────────────

ABOUT = {
    "system": "7311",
    "timeline": "3",
    "start_lsn": "0/2000028",
    "stop_lsn": "0/2000100",
    "wal_segment_bytes": "1048576",
}


def test_a_physical_point_says_where_the_log_goes_on() -> None:
    found = base_of(replace(point(datetime(2026, 11, 22, tzinfo=UTC)), about=ABOUT))
    assert found is not None
    assert (found.timeline, say_lsn(found.stop), found.segment_bytes) == (3, "0/2000100", 1 << 20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop_lsn": "latest"},
        {"timeline": ""},
        {"system": "x"},
        {"wal_segment_bytes": "16 MB"},
        {"wal_segment_bytes": "0"},
        {"start_lsn": "1/0"},
    ],
)
def test_no_log_is_replayed_over_a_point_that_does_not_say_where(wrong: dict[str, str]) -> None:
    assert base_of(replace(point(datetime(2026, 11, 22, tzinfo=UTC)), about=ABOUT | wrong)) is None
    assert base_of(point(datetime(2026, 11, 22, tzinfo=UTC))) is None


def test_a_history_of_postgresql_is_read() -> None:
    text = b'1\t0/3000000\tno recovery target specified\n\n2\t0/4000158\tat restore point "before \x1b[31mrelease"\n'
    assert read_history(3, text) == (
        Left(1, lsn("0/3000000"), "no recovery target specified"),
        Left(2, lsn("0/4000158"), 'at restore point "before  [31mrelease"'),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it names no timeline"),
        (b"# only a comment\n", "it names no timeline"),
        (b"1\t0/3000000\tok\n1\t0/4000000\ttwice\n", "line 2 names timeline 1 after 1"),
        (b"2\t0/3000000\tx\n1\t0/4000000\tx\n", "line 2 names timeline 1 after 2"),
        (b"1\t0/5000000\tx\n2\t0/4000000\tx\n", "line 2 goes back from 0/5000000 to 0/4000000"),
        (b"3\t0/3000000\tx\n", "line 1 names timeline 3 as older than 3"),
        (b"0\t0/3000000\tx\n", "line 1 names timeline 0 as older than 3"),
        (b"1\t0/3000000 extra/\n\xff\xfe\n", "line 2 is not a timeline and a place"),
        (b"1 of many\n", "line 1 is not a timeline and a place"),
        (b"#" * (2 << 20), "it has 2097152 bytes, more than any history"),
    ],
)
def test_a_history_that_makes_no_sense_is_refused_and_told(text: bytes, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_history(3, text)
    assert str(refused.value) == why
    assert read_histories({3: text}) == ({}, {3: why})
