"""Promises: kept, broken, unproven or unknown; and the status screen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backstay.facts import NotVerified, PointMissing, Proof, RoutineFailed, RunEnded, Rung, Verdict
from backstay.history import History, Loss, history, seen_run
from backstay.objectives import (
    ComponentStatus,
    Standing,
    judge_duration,
    judge_loss,
    say_loss,
    status,
    worst,
)
from backstay.plan import Component, Mode, Objectives, Plan, Protect, Prove
from backstay.values import Between, RunId
from fix_story import (
    DATABASE,
    DISASTER,
    HOUR,
    LOCAL,
    METRICS,
    MINUTE,
    NOW,
    POINT,
    SECOND,
    SETTINGS,
    at,
    check,
    database,
    happened,
    hold,
    in_order,
    plan,
    point,
    proof,
    recorded,
    run_started,
    unsupported,
    usual_steps,
    whole_story,
)

FACTS, POINTS, PROOFS = whole_story()
STORY = history(FACTS, {LOCAL: POINTS}, PROOFS)
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")
UNSURE = check(Verdict.NOT_VERIFIED, Rung.MEANING, "M01", "tenants: no answer: it was not asked")


def alone(**changes: Any) -> Plan:
    """A plan with the database only, and nothing scheduled: what is said is about promises."""
    quiet: dict[str, Any] = {"protect": Protect(), "prove": Prove()}
    return plan(components={DATABASE: database(**(quiet | changes))}, drills=())


def row(of: History, plan: Plan | None = None, now: Any = NOW) -> ComponentStatus:
    return status(plan or alone(), of, now).components[0]


def having(*points: Any, proofs: tuple[Proof, ...] = (), **more: Any) -> History:
    return replace(history([], {LOCAL: points}, proofs), **more)


# ── data ────────────────────────────────────────────────────────────────────────────────────────────

FRESH, DAY_OLD, LATE = point(at("10:00")), point(NOW - 24 * HOUR), point(NOW - 24 * HOUR - SECOND)

RPO: list[tuple[str, History, Standing, str]] = [
    ("proven and young", having(FRESH, proofs=(proof(FRESH, at("11:00")),)), Standing.KEPT,
     "the newest proven point is 2 h old, within 24 h"),
    ("24 h is in time", having(DAY_OLD, proofs=(proof(DAY_OLD, at("11:00")),)), Standing.KEPT,
     "the newest proven point is 24 h old, within 24 h"),
    ("24 h and one second is not", having(LATE, proofs=(proof(LATE, at("11:00")),)), Standing.BROKEN,
     "the newest point is 24 h 0 min 1 s old; the RPO allows 24 h"),
    ("young and not proven", having(FRESH), Standing.UNPROVEN, "the newest point is 2 h old, and no point is proven"),
    ("young and refuted, and no other", having(FRESH, proofs=(proof(FRESH, at("11:00"), check(), WRONG),)),
     Standing.BROKEN,
     "no recovery point can be used: refuted at 2026-11-22 11:00:00 UTC: M01 tenants: 0; expected >= 1"),
    ("young and not verified", having(FRESH, proofs=(proof(FRESH, at("11:00"), check(), UNSURE),)), Standing.UNPROVEN,
     "the newest point is 2 h old, and no point is proven"),
    ("young, and the proven one is late", having(LATE, FRESH, proofs=(proof(LATE, at("11:00")),)), Standing.UNPROVEN,
     ("the newest point is 2 h old and not proven; "
     "the newest proven one is 24 h 0 min 1 s old, and the RPO allows 24 h")),
    ("refuted, and the one before it is in time",
     having(DAY_OLD, FRESH, proofs=(proof(DAY_OLD, at("10:30")), proof(FRESH, at("11:00"), check(), WRONG))),
     Standing.KEPT, "the newest proven point is 24 h old, within 24 h"),
    ("nothing", having(), Standing.BROKEN, "there is no recovery point: everything would be lost"),
    ("suspicious", having(FRESH, holds=(hold(FRESH, "suspicious", NOW),)), Standing.BROKEN,
     "no recovery point can be used: marked suspicious by dba-lead: rows look wrong"),
    ("log goes on from the proven one", having(LATE, proofs=(proof(LATE, at("11:00")),), leads={LATE.id: NOW - MINUTE}),
     Standing.KEPT, "the log kept after the newest proven point is 1 min old, within 24 h"),
    ("log goes on from a younger one only",
     having(LATE, FRESH, proofs=(proof(LATE, at("11:00")),), leads={FRESH.id: NOW - MINUTE}), Standing.UNPROVEN,
     ("the log kept after the newest point is 1 min old and not proven; "
      "the newest proven one is 24 h 0 min 1 s old, and the RPO allows 24 h")),
    ("log that ends before the point does says nothing", having(FRESH, leads={FRESH.id: at("09:00")}),
     Standing.UNPROVEN, "the newest point is 2 h old, and no point is proven"),
    ("from the future", having(point(at("14:00"))), Standing.UNKNOWN,
     "the newest data lies 2 h in the future: clocks differ"),
]  # fmt: skip


@pytest.mark.parametrize(("of", "standing", "said"), [one[1:] for one in RPO], ids=[one[0] for one in RPO])
def test_what_may_be_lost(of: History, standing: Standing, said: str) -> None:
    judged = row(of).rpo.judged
    assert (judged.standing, judged.sentence) == (standing, said)


def test_without_a_promise_the_age_is_said_and_nothing_is_judged() -> None:
    free = replace(alone(), objectives=Objectives())
    free = replace(free, components={DATABASE: database(objectives=Objectives(), protect=Protect(), prove=Prove())})
    found = row(having(FRESH), free)
    assert found.rpo.judged.standing is Standing.NOT_PROMISED
    assert found.rpo.judged.sentence == "the newest point is 2 h old; no RPO was promised"
    assert found.rto.judged.sentence == "it was never recovered and never drilled; no RTO was promised"
    assert found.says == ()


def test_the_forecast_is_the_age_of_what_would_be_restored() -> None:
    assert row(having(FRESH)).rpo.forecast == 2 * HOUR
    assert row(having()).rpo.forecast == NotVerified("there is no recovery point")


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def ran(slower: float = 1, mode: Mode = Mode.DRILL, **changes: Any) -> Any:
    run = seen_run(
        recorded("run/r", *happened(run_started(plan(), "r", at("10:03"), mode, DISASTER), *usual_steps(slower)))
    )
    assert run is not None
    return replace(run, **changes)


def slow_restore(seconds: int) -> tuple[Proof, ...]:
    return (proof(POINT, at("11:00"), took=timedelta(seconds=seconds)),)


TIME: list[tuple[str, History, Standing, str]] = [
    ("a drill in time", having(POINT, runs=(ran(),)), Standing.KEPT,
     "the last drill of 2026-11-22 took 35.1 s, within 30 min"),
    ("the day itself", having(POINT, runs=(ran(1, Mode.LIVE),)), Standing.KEPT,
     "the last recovery of 2026-11-22 took 35.1 s, within 30 min"),
    ("never", having(POINT), Standing.UNPROVEN, "it was never recovered and never drilled"),
    ("never, but a proof says something", having(POINT, proofs=slow_restore(22)), Standing.UNPROVEN,
     "it was never recovered and never drilled; restoring alone takes about 22 s (measured once)"),
    ("never, and a proof says enough", having(POINT, proofs=slow_restore(1801)), Standing.BROKEN,
     "restoring alone takes about 30 min 1 s (measured once); the RTO allows 30 min"),
    ("late", having(POINT, runs=(ran(80),)), Standing.BROKEN,
     "restoring alone takes about 32 min (measured once); the RTO allows 30 min"),
    ("failed", having(POINT, runs=(ran(ended=RunEnded("failed", "2.2-restore-database: no room")),)), Standing.BROKEN,
     "the last drill of 2026-11-22 failed: 2.2-restore-database: no room"),
    ("cancelled ones do not count", having(POINT, runs=(ran(), ran(ended=RunEnded("cancelled", "cto")))), Standing.KEPT,
     "the last drill of 2026-11-22 took 35.1 s, within 30 min"),
    ("a tabletop shows nothing", having(POINT, runs=(ran(1, Mode.TABLETOP),)), Standing.UNPROVEN,
     "it was never recovered and never drilled"),
    ("one slow restore casts a doubt",
     having(POINT, runs=(ran(),), proofs=(*slow_restore(1900), proof(POINT, at("11:30"), took=20 * SECOND))),
     Standing.UNPROVEN, "the last drill of 2026-11-22 took 35.1 s, but restoring alone took up to 31 min 40 s"),
]  # fmt: skip


@pytest.mark.parametrize(("of", "standing", "said"), [one[1:] for one in TIME], ids=[one[0] for one in TIME])
def test_how_long_it_may_take(of: History, standing: Standing, said: str) -> None:
    judged = row(of).rto.judged
    assert (judged.standing, judged.sentence) == (standing, said)


def test_a_drill_that_took_too_long_breaks_the_promise() -> None:
    late = ran()
    late = replace(late, started=replace(late.started, declared=at("09:30")))
    judged = row(having(POINT, runs=(late,))).rto.judged
    assert judged.sentence == "the last drill of 2026-11-22 took 33 min 35 s; the RTO allows 30 min"


# ── what a run cost ─────────────────────────────────────────────────────────────────────────────────


def lost(least: timedelta, most: timedelta) -> Loss:
    return Loss(least, most, NOW, "the recovery point", Between(NOW, NOW, "said by dba"), clamped=False)


@pytest.mark.parametrize(
    ("loss", "target", "standing", "said"),
    [
        (lost(HOUR, HOUR), 2 * HOUR, Standing.KEPT, "1 h, within 2 h"),
        (lost(3 * MINUTE, 4 * MINUTE), HOUR, Standing.KEPT, "between 3 min and 4 min, within 1 h"),
        (lost(timedelta(), 40 * SECOND), HOUR, Standing.KEPT, "up to 40 s, within 1 h"),
        (lost(timedelta(), timedelta()), timedelta(), Standing.KEPT, "nothing, within 0 s"),
        (lost(2 * HOUR, 3 * HOUR), HOUR, Standing.BROKEN, "between 2 h and 3 h; the RPO allows 1 h"),
        (lost(HOUR, 3 * HOUR), 2 * HOUR, Standing.UNKNOWN,
         "not verified: between 1 h and 3 h, and the RPO of 2 h lies in between"),
        (lost(HOUR, HOUR), None, Standing.NOT_PROMISED, "1 h; no RPO was promised"),
        (NotVerified("the moment of the disaster is not known"), HOUR, Standing.UNKNOWN,
         "not verified: the moment of the disaster is not known"),
    ],
)  # fmt: skip
def test_what_was_lost_is_judged_as_a_range(
    loss: Loss | NotVerified, target: timedelta | None, standing: Standing, said: str
) -> None:
    judged = judge_loss(target, loss)
    assert (judged.standing, judged.sentence) == (standing, said)


def test_a_range_in_words() -> None:
    assert say_loss(lost(22 * SECOND, 22 * SECOND)) == "22 s"


@pytest.mark.parametrize(
    ("actual", "target", "standing", "said"),
    [
        (58 * MINUTE, HOUR, Standing.KEPT, "58 min, within 1 h"),
        (HOUR + SECOND, HOUR, Standing.BROKEN, "1 h 0 min 1 s; the RTO allows 1 h"),
        (HOUR, None, Standing.NOT_PROMISED, "1 h; no RTO was promised"),
        (NotVerified("the last smoke step did not pass"), HOUR, Standing.UNKNOWN,
         "not verified: the last smoke step did not pass"),
    ],
)  # fmt: skip
def test_what_it_took_is_judged(
    actual: timedelta | NotVerified, target: timedelta | None, standing: Standing, said: str
) -> None:
    judged = judge_duration(target, actual)
    assert (judged.standing, judged.sentence) == (standing, said)


# ── the screen ──────────────────────────────────────────────────────────────────────────────────────


def test_a_quiet_row_has_nothing_to_say() -> None:
    found = row(having(POINT, proofs=(proof(POINT, at("03:01")),), runs=(ran(),)))
    assert found.says == ()
    assert found.standing is Standing.KEPT
    assert (found.age, found.proof_age) == (10 * HOUR, 8 * HOUR + 59 * MINUTE)


def test_what_this_version_cannot_back_up_says_so_once() -> None:
    found = row(having(), plan(components={METRICS: unsupported()}, drills=()))
    assert found.says == ("unknown: this version cannot back up prometheus: nothing of it is protected",)
    assert not found.supported


def care(component: Component, of: History, now: Any = NOW) -> tuple[str, ...]:
    return status(plan(components={DATABASE: component}, drills=()), of, now).components[0].says


def test_what_is_overdue_is_said_after_an_hour_of_grace() -> None:
    well = having(POINT, proofs=(proof(POINT, at("03:01")),), runs=(ran(),))
    assert care(database(), well, at("09:00")) == ()
    assert care(database(), well, at("09:01")) == (
        (
            "an incremental point is due since 2026-11-22 08:00:00 UTC "
            "(every 6 h, and the newest point is of 2026-11-22 02:00:00 UTC)"
        ),
    )
    tomorrow = at("2026-11-23 04:01")
    assert care(database(protect=Protect()), well, tomorrow) == (
        "RPO broken: the newest point is 26 h 1 min old; the RPO allows 24 h",
        "stale: the point is 26 h 1 min old; the plan's `max_age` allows 24 h",
        "a proof is due since 2026-11-23 03:00:00 UTC (the last was at 2026-11-22 03:01:00 UTC)",
    )


def test_a_backup_that_failed_is_said_until_the_next_one_works() -> None:
    facts = recorded("component/database", (at("08:00"), RoutineFailed(RunId("b2"), 40, "it does not answer")))
    failed = history(facts, {LOCAL: [POINT]}, PROOFS)
    quiet = database(protect=Protect(), prove=Prove())
    assert "the last attempt failed at 2026-11-22 08:00:00 UTC: it does not answer" in care(quiet, failed)
    later = history(facts, {LOCAL: [POINT, point(at("09:00"))]}, PROOFS)
    assert not [one for one in care(quiet, later) if "failed" in one]


def test_a_refuted_newest_point_is_said_even_where_an_older_one_keeps_the_promise() -> None:
    of = having(DAY_OLD, FRESH, proofs=(proof(DAY_OLD, at("10:30")), proof(FRESH, at("11:00"), check(), WRONG)))
    says = care(database(protect=Protect(), prove=Prove()), of)
    assert "the newest point was refuted at 2026-11-22 11:00:00 UTC: M01 tenants: 0; expected >= 1" in says


def test_the_whole_screen_of_the_story() -> None:
    found = status(plan(components={**plan().components, METRICS: unsupported()}), STORY, NOW)
    assert {one.name: one.standing for one in found.components} == {
        DATABASE: Standing.KEPT, SETTINGS: Standing.BROKEN, METRICS: Standing.UNKNOWN
    }  # fmt: skip
    assert found.sentence == "2 of 7 promises kept, 1 broken, 2 unknown and 2 unproven"
    assert found.standing is Standing.BROKEN
    assert found.rpo.judged.sentence == "settings-db: there is no recovery point: everything would be lost"
    assert found.rto.judged.sentence == "no recovery or drill has restored every component"


def test_the_whole_is_kept_when_one_run_brought_everything_back() -> None:
    found = status(alone(), STORY, NOW)
    assert found.rto.judged.sentence == "the last full recovery of 2026-11-22 took 35.1 s, within 1 h"
    assert found.sentence == "every promise is kept"
    assert isinstance(found.rpo.actual, Loss)
    assert found.rpo.forecast == 10 * HOUR


def test_an_empty_plan_promises_nothing() -> None:
    found = status(plan(components={}, drills=(), objectives=Objectives()), History(), NOW)
    assert found.sentence == "nothing was promised"


def test_a_point_that_the_vault_lost_is_an_alarm() -> None:
    facts = recorded("component/database", (at("08:00"), PointMissing(LOCAL, POINT.id)))
    found = status(alone(), history(facts, {LOCAL: []}), NOW)
    assert found.says == (f"the journal speaks of the point {POINT.id}, and the vault local does not have it",)
    back = status(alone(), history(facts, {LOCAL: [POINT]}), NOW)
    assert back.says == ()


def test_drills_that_are_due_are_on_the_screen() -> None:
    found = status(plan(), in_past(), NOW)
    assert found.says == (
        "database-loss: a drill is due since 2026-11-22 12:00:00 UTC (database-loss was never practised (drill))",
    )


def in_past() -> History:
    return history(in_order(), {})


def test_the_worst_standing_counts() -> None:
    assert worst([Standing.KEPT, Standing.UNPROVEN, Standing.UNKNOWN]) is Standing.UNKNOWN
    assert worst([]) is Standing.NOT_PROMISED
