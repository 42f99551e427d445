"""Which points are kept, and why each one."""

from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.facts import Hold, Point, Rung, Verdict
from backstay.history import Line, Segment
from backstay.plan import Keep
from backstay.retain import Expires, Kept, Policy, clocks_apart, decide, keep_of
from backstay.values import LineageId, Period
from backstay.verify import Candidates
from fix_story import HOUR, NOW, at, check, database, hold, plan, point, proof

MONTH = Keep(within=Period(span=timedelta(days=30)))
ANCIENT, OLD, YOUNG, NEW = (point(at(day)) for day in ("2026-08-01", "2026-09-01", "2026-11-01", "2026-11-22"))
ALL = (ANCIENT, OLD, YOUNG, NEW)
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")


def said(among: Candidates, *, in_use: tuple[str, ...] = ()) -> list[str]:
    used = [one.id for one in among.points if one.id in in_use]
    return [
        f"{one.point.began:%m-%d} {'kept' if isinstance(one, Kept) else 'expires'}: {one.because}"
        for one in decide(among, Policy(MONTH), NOW, used)
    ]


UNTIL_OLD = "expires: older than 30 d: it was kept until 2026-10-01 00:00:20 UTC"
UNTIL_YOUNG = "kept: kept for 30 d, until 2026-12-01 00:00:20 UTC"


def test_age_decides_and_the_newest_stays() -> None:
    assert said(Candidates((OLD, YOUNG, NEW))) == [
        f"09-01 {UNTIL_OLD}", f"11-01 {UNTIL_YOUNG}", "11-22 kept: the newest point"
    ]  # fmt: skip


def test_the_newest_stays_however_old() -> None:
    assert said(Candidates((ANCIENT, OLD)))[1] == "09-01 kept: the newest point"


def test_the_newest_proven_stays_however_old() -> None:
    refuted = proof(NEW, NOW, check(), WRONG)
    found = said(Candidates(ALL, (proof(OLD, OLD.began + HOUR), proof(ANCIENT, ANCIENT.began + HOUR), refuted)))
    assert found[0].startswith("08-01 expires")
    assert found[1] == "09-01 kept: the newest proven point"


@pytest.mark.parametrize(
    ("kind", "until", "expect"),
    [
        ("keep", None, "kept: held (keep) by dba-lead: rows look wrong"),
        (
            "forensic",
            "2026-11-22 12:00",
            "kept: held (forensic) by dba-lead until 2026-11-22 12:00:00 UTC: rows look wrong",
        ),
        ("forensic", "2026-11-22 11:59", UNTIL_OLD),
        ("suspicious", None, "kept: held (suspicious) by dba-lead: rows look wrong"),
        ("released", None, UNTIL_OLD),
    ],
)  # fmt: skip
def test_what_is_held_stays_until_its_hold_ends(
    kind: Literal["keep", "forensic", "suspicious", "released"], until: str | None, expect: str
) -> None:
    held = hold(OLD, kind, at("2026-09-02"), until=at(until) if until else None)
    assert said(Candidates((OLD, NEW), holds=(held,)))[0] == f"09-01 {expect}"


def test_what_is_in_use_stays() -> None:
    assert said(Candidates((OLD, NEW)), in_use=(OLD.id,))[0] == "09-01 kept: in use"


def test_after_a_failover_the_newest_of_the_new_line_stays_too() -> None:
    """The newest of all may belong to a line that was given up."""
    line = Line((Segment(LineageId("tl-2")), Segment(OLD.lineage, until=OLD.id)))
    found = said(Candidates((OLD, NEW), line=line))
    assert found == ["09-01 kept: the newest point", "11-22 kept: the newest point"]


def test_a_component_has_the_last_word_on_how_long() -> None:
    vault = plan().vaults[plan().witness_vault()]
    assert keep_of(database(), vault) == MONTH
    assert keep_of(database(keep=Keep(Period(3))), vault) == Keep(Period(3))


DAYS = st.integers(0, 400)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Candidates, Period]:
    days = draw(st.lists(DAYS, max_size=12, unique=True))
    points = tuple(point(NOW - timedelta(days=day), lineage=draw(st.sampled_from(["a", "b"]))) for day in days)
    proofs = tuple(
        proof(one, one.began + HOUR, check(), *([WRONG] if draw(st.booleans()) else []))
        for one in points
        if draw(st.booleans())
    )
    kinds: st.SearchStrategy[Literal["keep", "suspicious", "forensic", "released"]] = st.sampled_from(
        ["keep", "suspicious", "forensic", "released"]
    )
    until: st.SearchStrategy[datetime | None] = st.one_of(
        st.none(), DAYS.map(lambda day: NOW + timedelta(days=day - 200))
    )
    holds: tuple[Hold, ...] = tuple(
        hold(one, draw(kinds), NOW, id=f"h{number}", until=draw(until))
        for number, one in enumerate(points)
        if draw(st.booleans())
    )
    line = Line((Segment(LineageId("a")),)) if draw(st.booleans()) else Line()
    return Candidates(points, proofs, holds, line), Period(draw(st.integers(0, 6)), timedelta(days=draw(DAYS)))


@given(worlds())
def test_nothing_inside_the_policy_is_dropped_and_everything_has_a_reason(world: tuple[Candidates, Period]) -> None:
    among, keep = world
    decided = decide(among, Policy(Keep(keep)), NOW)
    assert sorted(one.point.id for one in decided) == sorted(one.id for one in among.points)
    for one in decided:
        assert one.because
        if isinstance(one, Expires):
            assert keep.after(one.point.ended) < NOW
            assert not [
                held for held in among.holds
                if held.point == one.point.id and held.kind != "released" and (held.until is None or held.until >= NOW)
            ]  # fmt: skip
    if among.points:
        newest: Point = max(among.points, key=lambda one: one.began)
        assert any(isinstance(one, Kept) and one.point == newest for one in decided)


# ── grandfather, father and son ──────────────────────────────────────────────────────────────────


def _every(hours: int, count: int) -> tuple[Point, ...]:
    return tuple(point(at("2026-11-22 11:00") - timedelta(hours=hours * n)) for n in reversed(range(count)))


def _kept(among: Candidates, keep: Keep, **policy: Any) -> list[str]:
    found = decide(among, Policy(keep, **policy), NOW)
    return [f"{one.point.began:%m-%d %H} {one.because}" for one in found if isinstance(one, Kept)]


def test_the_newest_of_each_of_the_newest_days_stands_for_it() -> None:
    assert _kept(Candidates(_every(8, 12)), Keep(daily=3)) == [
        "11-20 19 daily 3 of 3: it stands for 2026-11-20",
        "11-21 19 daily 2 of 3: it stands for 2026-11-21",
        "11-22 11 the newest point",
    ]


def test_days_without_a_point_are_not_counted() -> None:
    slept = (point(at("2026-01-01")), point(at("2026-01-02")), NEW)
    assert len(_kept(Candidates(slept), Keep(daily=3))) == 3


def test_a_point_may_stand_for_its_week_month_and_year_when_its_day_is_over() -> None:
    found = _kept(Candidates(_every(24, 400)), Keep(Period(span=timedelta(days=2)), weekly=2, monthly=2, yearly=2))
    assert found == [
        "12-31 11 yearly 2 of 2: it stands for 2025",
        "10-31 11 monthly 2 of 2: it stands for 2026-10",
        "11-15 11 weekly 2 of 2: it stands for 2026-W46",
        "11-21 11 kept for 2 d, until 2026-11-23 11:00:20 UTC",
        "11-22 11 the newest point",
    ]


def test_days_begin_by_the_plans_time_zone() -> None:
    late, early = point(at("2026-11-20 22:30")), point(at("2026-11-20 23:30"))  # the 20th and the 21st in Berlin
    assert len(_kept(Candidates((late, early, NEW)), Keep(daily=3), timezone="Europe/Berlin")) == 3
    assert len(_kept(Candidates((late, early, NEW)), Keep(daily=3))) == 2


def test_a_refuted_point_does_not_stand_for_its_day_while_there_is_a_sound_one() -> None:
    sound, refuted = point(at("2026-11-01 02:00")), point(at("2026-11-01 08:00"))
    among = Candidates((sound, refuted, NEW), (proof(refuted, NOW, check(), WRONG),))
    assert [one[:8] for one in _kept(among, Keep(daily=5))] == ["11-01 02", "11-22 00"]


def test_what_expires_says_why_no_rule_keeps_it() -> None:
    found = decide(Candidates((OLD, *_every(8, 4))), Policy(Keep(MONTH.within, last=2, daily=2, monthly=1)), NOW)
    assert isinstance(found[0], Expires)
    assert found[0].because == (
        "older than 30 d: it was kept until 2026-10-01 00:00:20 UTC; not one of the newest 2; "
        "2026-09-01 is too old for daily; 2026-09 is too old for monthly"
    )


def test_nothing_that_is_locked_expires() -> None:
    (only, _) = decide(Candidates((YOUNG, NEW)), Policy(Keep(last=1), lock=timedelta(days=60)), NOW)
    assert only == Kept(YOUNG, "locked until 2026-12-31 00:00:20 UTC")


@given(worlds(), st.lists(st.integers(0, 5), min_size=6, max_size=6), st.integers(0, 90))
def test_no_point_that_any_rule_keeps_is_dropped(
    world: tuple[Candidates, Period], counts: list[int], lock: int
) -> None:
    """Said again, without the reasons: what expires is old, not locked, and no rule of its own wants it."""
    among, within = world
    last, hourly, daily, weekly, monthly, yearly = counts
    keep = Keep(within, last, hourly, daily, weekly, monthly, yearly)
    decided = decide(among, Policy(keep, timedelta(days=lock)), NOW)
    kept = [one.point for one in decided if isinstance(one, Kept)]
    for one in decided:
        assert one.because
        if isinstance(one, Expires):
            assert within.after(one.point.ended) < NOW
            assert one.point.ended + timedelta(days=lock) < NOW
            assert sum(other.began > one.point.began for other in among.points) >= last
    for count, cut in ((hourly, 13), (daily, 10), (monthly, 7), (yearly, 4)):
        periods = sorted({one.began.isoformat()[:cut] for one in among.points}, reverse=True)[:count]
        assert {one.began.isoformat()[:cut] for one in kept} >= set(periods)


def test_an_hour_between_two_clocks_is_too_much() -> None:
    assert clocks_apart(NOW, NOW + HOUR) is None
    assert "apart" in (clocks_apart(NOW - HOUR - timedelta(seconds=1), NOW) or "")
