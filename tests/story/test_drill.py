"""Drills: when they are due, how they went, and what an older document's word is worth."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from backstay import drill, recover
from backstay.drill import DrillDue, DrillResult, Failed, Passed, Stated, say_due, say_frequency, say_result
from backstay.facts import NotVerified, RunEnded
from backstay.history import History, RunSeen, history, seen_run
from backstay.machine import State
from backstay.plan import Cron, DrillRule, Every, Mode, Objectives
from backstay.values import Period, ScenarioName
from fix_story import (
    HOUR,
    LOCAL,
    MINUTE,
    NOW,
    PRIMARY,
    at,
    happened,
    plan,
    recorded,
    run_started,
    usual_steps,
    whole_story,
)

FACTS, POINTS, PROOFS = whole_story()
STORY = history(FACTS, {LOCAL: POINTS}, PROOFS)
LOSS = ScenarioName("database-loss")


def held(id: str, when: str, slower: float = 1, mode: Mode = Mode.DRILL) -> RunSeen:
    run = seen_run(recorded(f"run/{id}", *happened(run_started(plan(), id, at(when), mode), *usual_steps(slower))))
    assert run is not None
    return run


def of(*runs: RunSeen) -> History:
    return History(runs=runs)


def test_a_drill_does_what_the_recovery_does() -> None:
    live = recover.compile(plan(), "database-loss", PRIMARY, Mode.LIVE)
    assert drill.steps(plan(), "database-loss") == live


# ── when ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("runs", "now", "expect"),
    [
        ([], "12:00",
         ["database-loss: a drill is due since 2026-11-22 12:00:00 UTC (database-loss was never practised (drill))"]),
        ([held("d", "2026-09-01 04:00")], "12:00", []),
        ([held("d", "2026-08-22 12:00")], "12:00",
         [("database-loss: a drill is due since 2026-11-22 12:00:00 UTC (every 3 months, and the last drill was on "
          "2026-08-22)")]),
        ([held("d", "2026-08-22 12:00", mode=Mode.TABLETOP)], "12:00",
         ["database-loss: a drill is due since 2026-11-22 12:00:00 UTC (database-loss was never practised (drill))"]),
        ([held("d", "2026-08-22 12:00"), held("l", "2026-11-01 12:00", mode=Mode.LIVE)], "12:00",
         [("database-loss: a drill is due since 2026-11-22 12:00:00 UTC (every 3 months, and the last drill was on "
          "2026-08-22)")]),
    ],
    ids=["never", "in time", "three months to the second", "a tabletop is no drill", "a recovery is no drill"],
)  # fmt: skip
def test_which_drills_are_due(runs: list[RunSeen], now: str, expect: list[str]) -> None:
    assert [say_due(one) for one in drill.due(plan(), of(*runs), at(now))] == expect


def test_the_longest_overdue_comes_first() -> None:
    nightly = DrillRule(LOSS, Every(Period(span=24 * HOUR)), Mode.DRILL)
    talk = DrillRule(LOSS, Every(Period(1)), Mode.TABLETOP)
    runs = of(held("t", "2026-09-01 09:00", mode=Mode.TABLETOP), held("d", "2026-11-20 04:00"))
    found = drill.due(plan(drills=(nightly, talk)), runs, NOW)
    assert [(one.rule.mode, one.since) for one in found] == [
        (Mode.TABLETOP, at("2026-10-01 09:00")), (Mode.DRILL, at("2026-11-21 04:00"))
    ]  # fmt: skip


def test_the_next_drill() -> None:
    found = drill.next_drill(plan(), of(held("d", "2026-11-01 04:00")), NOW)
    assert found is not None
    assert found[0] == at("2027-02-01 04:00")
    assert drill.next_drill(plan(drills=()), of(), NOW) is None


@pytest.mark.parametrize(
    ("every", "said"),
    [
        (Every(Period(3)), "Quarterly"),
        (Every(Period(12)), "Yearly"),
        (Every(Period(span=24 * HOUR)), "Every 1 d"),
        (Cron("0 3 * * *"), "By cron, 0 3 * * *"),
    ],
)
def test_how_often_in_words(every: Any, said: str) -> None:
    assert say_frequency(DrillRule(LOSS, every, Mode.DRILL)) == said


# ── how it went ─────────────────────────────────────────────────────────────────────────────────────

GOOD = held("d", "04:00")


def with_step(run: RunSeen, id: str, **changes: Any) -> RunSeen:
    return replace(run, steps=tuple(replace(one, **changes) if one.step.id == id else one for one in run.steps))


def promised(run: RunSeen, rto: timedelta | None) -> RunSeen:
    return replace(run, started=replace(run.started, objectives=Objectives(rto=rto)))


def allowed(run: RunSeen, rpo: timedelta) -> RunSeen:
    promised = replace(run.started.objectives, rpo=rpo)
    return replace(run, started=replace(run.started, objectives=promised))


RESULTS: list[tuple[str, RunSeen, DrillResult, str]] = [
    ("in time", GOOD, Passed(), "Pass"),
    ("to the second", promised(GOOD, timedelta(seconds=35)), Passed(), "Pass"),
    ("a second late", promised(GOOD, timedelta(seconds=34)), Failed("35.1 s, and 34 s was promised"),
     "Fail: 35.1 s, and 34 s was promised"),
    ("failed", replace(GOOD, ended=RunEnded("failed", "3.1-ask-database: tenants: 0; expected >= 1")),
     Failed("3.1-ask-database: tenants: 0; expected >= 1"), "Fail: 3.1-ask-database: tenants: 0; expected >= 1"),
    ("cancelled", replace(GOOD, ended=RunEnded("cancelled", "cto: no time")),
     NotVerified("it was cancelled: cto: no time"), "not verified: it was cancelled: cto: no time"),
    ("not ended", replace(GOOD, ended=None), NotVerified("it has not ended"), "not verified: it has not ended"),
    ("skipped", with_step(GOOD, "1.2-preserve-database", state=State.SKIPPED),
     NotVerified("1 step skipped: 1.2-preserve-database"), "not verified: 1 step skipped: 1.2-preserve-database"),
    ("nothing promised", promised(GOOD, None), NotVerified("no RTO was promised, so there is nothing to pass"),
     "not verified: no RTO was promised, so there is nothing to pass"),
    ("too much lost", allowed(GOOD, HOUR), Failed("database lost 2 h or more, and 1 h was promised"),
     "Fail: database lost 2 h or more, and 1 h was promised"),
    ("as much lost as allowed", allowed(GOOD, 2 * HOUR), Passed(), "Pass"),
    ("a tabletop", held("t", "04:00", mode=Mode.TABLETOP), NotVerified("nothing was restored: a tabletop run"),
     "not verified: nothing was restored: a tabletop run"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "expect", "said"), [row[1:] for row in RESULTS], ids=[row[0] for row in RESULTS])
def test_pass_or_fail_with_the_reason(run: RunSeen, expect: DrillResult, said: str) -> None:
    assert drill.result(run) == expect
    assert say_result(expect) == said


@pytest.mark.parametrize(
    ("earlier", "now", "note"),
    [
        ([], 1, "the first that was measured"),
        ([1.5], 1, "13 s faster than on 2026-10-01; “Restore” 12 s faster"),
        ([1], 1.5, "13 s slower than on 2026-10-01; “Restore” 12 s slower"),
        ([1], 1, "as long as on 2026-10-01"),
    ],
)
def test_a_drill_is_compared_with_the_one_before(earlier: list[float], now: float, note: str) -> None:
    before = [held(f"e{number}", "2026-10-01 04:00", slower) for number, slower in enumerate(earlier)]
    assert drill.compare(held("d", "04:00", now), before) == note


def test_what_was_not_measured_is_compared_with_nothing() -> None:
    assert drill.compare(held("t", "04:00", mode=Mode.TABLETOP), [GOOD]) == ""


def test_the_rows_of_the_table_newest_first_and_old_documents_beside_them() -> None:
    old = drill.stated(date(2025, 7, 15), "Full Recovery", HOUR, 58 * MINUTE, passed=True, notes="DNS was slow")
    rows = drill.rows(STORY, [old])
    assert [(row.on, row.scenario, row.target, row.actual, say_result(row.result), row.notes) for row in rows] == [
        (date(2026, 11, 22), "Database corruption or loss", 30 * MINUTE, timedelta(seconds=48.1), "Pass",
         "the first that was measured"),
        (date(2025, 7, 15), "Full Recovery", HOUR, 58 * MINUTE, "Pass (stated, not demonstrated)",
         "DNS was slow"),
    ]  # fmt: skip
    assert rows[0].run == "d1"
    assert say_result(Stated(passed=False)) == "Fail (stated, not demonstrated)"


def test_a_due_drill_knows_its_rule() -> None:
    rule = plan().drills[0]
    assert drill.due(plan(), of(), NOW) == [DrillDue(rule, NOW, "database-loss was never practised (drill)")]
