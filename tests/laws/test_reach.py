"""Laws of what can be reached: against a model that goes byte by byte, over small logs with gaps and forks."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.lsn import Lsn, lsn, say_lsn, segment_name
from backstay.reach import (
    Base,
    Gap,
    Left,
    Log,
    NoWay,
    Stretch,
    dark,
    gaps,
    line_to,
    nearest,
    reach,
    read_history,
    way_to,
)
from backstay.values import ComponentName, PointId

SYSTEM = 7_311
LONG = 24
SEGMENT = 4
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


MANY = settings(max_examples=150)
"""Gaps beside forks are rare among fifty."""


def kept_at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Up to four timelines, each begun somewhere on an older one; of each, some stretches, a few of them before the
    fork (the copied segment), overlapping as they like."""
    histories: dict[int, tuple[Left, ...]] = {1: ()}
    for timeline in range(2, draw(st.integers(1, 4)) + 1):
        parent = draw(st.integers(1, timeline - 1))
        past = histories[parent]
        at = Lsn(draw(st.integers(past[-1].at if past else 0, LONG)))
        histories[timeline] = (*past, Left(parent, at))
    stretches = list[Stretch]()
    for timeline, past in histories.items():
        first = past[-1].at // SEGMENT * SEGMENT if past else 0
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(first, LONG + 8))
            end = start + draw(st.integers(1, 6))
            kept = kept_at(draw(st.integers(0, 99)))
            stretches.append(Stretch(SYSTEM, timeline, Lsn(start), Lsn(end), kept))
    missing = draw(st.sets(st.sampled_from(sorted(histories)), max_size=1))
    moments = {one: (one.kept - timedelta(hours=2), one.kept - timedelta(hours=1)) for one in stretches[::2]}
    return Log(
        SYSTEM,
        tuple(draw(st.permutations(stretches))),
        {timeline: past for timeline, past in histories.items() if past and timeline not in missing},
        moments=moments,
    )


@st.composite
def bases(draw: st.DrawFn) -> Base:
    stop = draw(st.integers(1, LONG + 4))
    return base(draw(st.integers(1, 4)), stop, draw(st.integers(0, 99)))


def base(timeline: int, stop: int, second: int = 0) -> Base:
    point = PointId(f"p-{timeline}-{stop}-{second}")
    return Base(point, ComponentName("database"), SYSTEM, timeline, Lsn(stop - 1), Lsn(stop), SEGMENT, kept_at(second))


# ── the model ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Model:
    """Sets of bytes, and a finger that moves along them."""

    log: Log

    def line(self, timeline: int) -> list[tuple[int, int]]:
        """(timeline, where it was left)."""
        past = [(left.timeline, left.at) for left in self.log.histories.get(timeline, ())]
        return [*past, (timeline, 10**9)]

    def has(self, line: list[tuple[int, int]], place: int) -> bool:
        """Is the byte at `place` kept, under the number of the timeline that wrote it, or of a later one?"""
        owner = self.owner(line, place)
        numbers = {timeline for timeline, _ in line if timeline >= owner}
        return any(one.timeline in numbers and one.start <= place < one.end for one in self.log.stretches)

    def owner(self, line: list[tuple[int, int]], place: int) -> int:
        return next(timeline for timeline, end in line if place < end)

    def end(self, base: Base, timeline: int) -> int | None:
        """How far a point leads; None: it does not lead onto the timeline."""
        line = self.line(timeline)
        if base.timeline not in [one for one, _ in line]:
            return None
        if base.timeline != timeline:
            left = dict(line)[base.timeline]
            own = [(one.timeline, one.at) for one in self.log.histories.get(base.timeline, ())]
            if left < base.stop or (own and own != [one for one in line if one[0] < base.timeline]):
                return None
        line = [one for one in line if one[0] >= base.timeline]
        place = int(base.stop)
        while self.has(line, place):
            place += 1
        return place

    def missing(self, timeline: int) -> set[tuple[int, int]]:
        """Bytes of the line that are not kept, between two that are."""
        line = self.line(timeline)
        places = [place for place in range(LONG * 2) if self.has(line, place)]
        between = range(min(places), max(places)) if places else ()
        return {(self.owner(line, place), place) for place in between if not self.has(line, place)}


def bytes_of(gap: Gap) -> set[tuple[int, int]]:
    return {(gap.timeline, place) for place in range(gap.start, gap.end)}


# ── the laws ─────────────────────────────────────────────────────────────────────────────────────


@MANY
@given(logs(), bases(), st.integers(1, 4))
def test_a_point_leads_as_far_as_no_byte_is_missing(log: Log, start: Base, timeline: int) -> None:
    expected = Model(log).end(start, timeline)
    found = reach(log, start, timeline)
    assert (None if isinstance(found, NoWay) else found.to) == expected


@MANY
@given(logs(), bases(), st.integers(1, 4), st.integers(0, LONG + 8))
def test_a_way_is_read_from_what_is_kept_and_has_no_hole(log: Log, start: Base, timeline: int, to: int) -> None:
    found, way = reach(log, start, timeline), way_to(log, start, timeline, Lsn(to))
    if isinstance(found, NoWay) or not start.stop <= to <= found.to:
        assert isinstance(way, NoWay)
        return
    assert not isinstance(way, NoWay)
    at = start.stop
    for span in way.spans:
        assert span.start == at < span.end
        kept = [one for one in log.stretches if one.timeline == span.timeline]
        assert all(any(one.start <= byte < one.end for one in kept) for byte in range(span.start, span.end))
        at = span.end
    assert at == to == start.stop + way.log_bytes
    names = {name for name, _ in way.segments()}
    assert len(names) == len({byte // SEGMENT for byte in range(start.stop, to)})


@MANY
@given(logs(), bases(), st.integers(1, 4))
def test_what_stops_a_reach_is_missing_and_log_is_kept_behind_it(log: Log, start: Base, timeline: int) -> None:
    found = reach(log, start, timeline)
    if isinstance(found, NoWay):
        return
    model = Model(log)
    line = [one for one in model.line(timeline) if one[0] >= start.timeline]
    later = [place for place in range(found.to, LONG * 2) if model.has(line, place)]
    assert (found.stopped is not None) == bool(later)
    if found.stopped is not None:
        assert found.stopped.start == found.to
        assert all(not model.has(line, place) for _, place in bytes_of(found.stopped))


@MANY
@given(logs())
def test_gaps_are_the_bytes_that_are_missing_between_others(log: Log) -> None:
    found = gaps(log)
    assert set[tuple[int, int]]().union(*map(bytes_of, found)) == set[tuple[int, int]]().union(
        *(Model(log).missing(timeline) for timeline in log.timelines())
    )
    assert list(found) == sorted(found, key=lambda gap: (gap.timeline, gap.start))


@MANY
@given(logs(), st.lists(bases(), max_size=4))
def test_what_is_dark_is_reached_from_nowhere_but_the_ends_of_points(log: Log, every: list[Base]) -> None:
    for gap in gaps(log):
        for one in dark(log, every, gap):
            assert one.cut
            for start in every:
                found = reach(log, start, one.timeline)
                if isinstance(found, NoWay):
                    continue
                behind = [
                    place
                    for place in range(start.stop + 1, found.to + 1)
                    if one.start < place and (one.end is None or place <= one.end)
                ]
                assert not behind


@MANY
@given(logs(), st.lists(bases(), max_size=4), st.integers(1, 4), st.integers(0, LONG))
def test_the_nearest_point_has_the_least_to_replay(log: Log, every: list[Base], timeline: int, to: int) -> None:
    found = nearest(log, every, timeline, Lsn(to))
    ends = [(start, Model(log).end(start, timeline)) for start in every]
    amounts = [to - start.stop for start, end in ends if end is not None and start.stop <= to <= end]
    assert (found and found.log_bytes) == (min(amounts) if amounts else None)


@MANY
@given(logs(), bases(), st.integers(1, 4))
def test_times_never_promise_more_than_is_kept(log: Log, start: Base, timeline: int) -> None:
    found = reach(log, start, timeline)
    if isinstance(found, NoWay) or found.to == start.stop:
        return
    assert found.at_most is not None
    # Whatever was said of log that is not reached is no promise.
    said = [moment for one in log.stretches if one.start < found.to for moment in log.moments.get(one, ()) if moment]
    assert found.surely is None or found.surely in said


# ── what a server wrote ──────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 2**64 - 1)), min_size=1), st.booleans())
def test_a_history_is_read_as_it_was_written(lines: list[tuple[int, int]], windows: bool) -> None:
    numbers = sorted({number for number, _ in lines})
    places = sorted(place for _, place in lines)[: len(numbers)]
    end = "\r\n" if windows else "\n"
    text = f"# made by a test{end}{end}" + "".join(
        f"{number}\t{say_lsn(place)}\tbefore 2026-11-22 12:00:00+00{end}"
        for number, place in zip(numbers, places, strict=True)
    )
    found = read_history(99, text.encode())
    assert [(left.timeline, left.at) for left in found] == list(zip(numbers, places, strict=True))


@given(st.one_of(st.binary(max_size=200), st.text("0123456789/ABCF \t\n#-+x_", max_size=60).map(str.encode)))
def test_a_hostile_history_is_refused_or_makes_sense(text: bytes) -> None:
    try:
        found = read_history(5, text)
    except ValueError:
        return
    assert found
    assert [left.timeline for left in found] == sorted({left.timeline for left in found})
    assert all(0 < left.timeline < 5 and 0 <= left.at < 2**64 and left.reason.isprintable() for left in found)
    assert [left.at for left in found] == sorted(left.at for left in found)


@pytest.mark.parametrize(
    "text", ["1", "/1", "1/", "+1/1", "0x1/1", "1_0/1", " 1/1", "1/1\n", "123456789/0", "1/1/1", "ü/1"]
)
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an LSN"):
        lsn(text)


def test_the_segment_of_a_fork_is_asked_for_by_its_new_name_whatever_its_size() -> None:
    for megabytes in (1, 16, 64, 1024):
        size = megabytes << 20
        fork = Lsn(5 * size + size // 2)
        whole = Stretch(SYSTEM, 1, Lsn(0), Lsn(6 * size), NOON)
        young = Stretch(SYSTEM, 2, Lsn(5 * size), Lsn(7 * size), NOON)
        log = Log(SYSTEM, (whole, young), {2: (Left(1, fork),)})
        start = Base(PointId("p"), ComponentName("database"), SYSTEM, 1, Lsn(1), Lsn(4 * size + 1), size, NOON)
        way = way_to(log, start, 2)
        assert not isinstance(way, NoWay)
        assert [name for name, _ in way.segments()] == [
            segment_name(1, 4, size), segment_name(2, 5, size), segment_name(2, 6, size)
        ]  # fmt: skip
        assert not isinstance(line := line_to(log, start, 2), NoWay)
        assert [(leg.timeline, leg.end) for leg in line] == [(1, fork), (2, None)]
