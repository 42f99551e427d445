"""Which points are kept, and why each one."""

from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.facts import Hold, Point, Rung, Verdict
from backstay.history import Line, Segment
from backstay.retain import Expires, Kept, decide, keep_of
from backstay.values import LineageId, Period
from backstay.verify import Candidates
from fix_story import HOUR, NOW, at, check, database, hold, plan, point, proof

MONTH = Period(span=timedelta(days=30))
ANCIENT, OLD, YOUNG, NEW = (point(at(day)) for day in ("2026-08-01", "2026-09-01", "2026-11-01", "2026-11-22"))
ALL = (ANCIENT, OLD, YOUNG, NEW)
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")


def said(among: Candidates, *, in_use: tuple[str, ...] = ()) -> list[str]:
    used = [one.id for one in among.points if one.id in in_use]
    return [
        f"{one.point.began:%m-%d} {'kept' if isinstance(one, Kept) else 'expires'}: {one.because}"
        for one in decide(among, MONTH, NOW, used)
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
    assert keep_of(database(keep=Period(3)), vault) == Period(3)


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
    decided = decide(among, keep, NOW)
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
