"""What a service begins by itself, and what it leaves alone."""

from dataclasses import replace
from typing import Any

import pytest

from backstay.agenda import Job, Seen, Work, agenda
from backstay.facts import Driving, Fact, Intended, PersonAnswered, PersonAsked, RoutineFailed
from backstay.history import history
from backstay.machine import RunState, fold
from backstay.plan import Approve, DrillRule, Every, Mode, Phase, RunCommand, Step, Template
from backstay.values import Period, PersonName, RunId, ScenarioName, StepId
from fix_story import (
    DATABASE,
    DEVOPS,
    HOUR,
    LOCAL,
    SECOND,
    at,
    plan,
    point,
    proof,
    recorded,
    run_started,
)

ABLE = frozenset({DATABASE})
ONE = plan(components={DATABASE: plan().components[DATABASE]}, drills=())
NEWEST = point(at("02:00"))
PROVEN = proof(NEWEST, at("03:01"))


def due(
    now: str, *, of: Any = ONE, points: Any = (NEWEST,), proofs: Any = (PROVEN,), facts: Any = (), **seen: Any
) -> list[str]:
    """What is due, by name, without the daily retention."""
    known = history(facts, {LOCAL: points}, proofs)
    return [job.name for job in agenda(of, known, Seen(able=ABLE, **seen), at(now)) if job.work is not Work.RETAIN]


# ── points and proofs ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "more", "expect"),
    [
        ("04:00", {}, []),
        ("08:00", {}, ["backup database"]),
        ("2026-11-23 03:00", {}, ["backup database", "verify database"]),
        ("12:00", {"points": (), "proofs": ()}, ["backup database"]),
        ("02:30", {"proofs": ()}, ["verify database"]),
        ("12:00", {"of": replace(ONE, components={}), "points": ()}, []),
    ],
    ids=["nothing", "a point", "a point comes before the proof", "the first point", "the first proof", "no component"],
)
def test_points_and_proofs(now: str, more: dict[str, Any], expect: list[str]) -> None:
    assert due(now, **more) == expect


def test_what_this_version_cannot_take_is_not_begun() -> None:
    assert agenda(ONE, history((), {LOCAL: ()}), Seen(), at("12:00")) == []


def failed(what: str, *moments: str, code: int = 24) -> Any:
    return recorded(
        "component/database", *((at(when), RoutineFailed(RunId(f"{what}-x{when}"), code, "away")) for when in moments)
    )


@pytest.mark.parametrize(
    ("moments", "now", "expect"),
    [
        (["08:00"], "08:00:59", []),
        (["08:00"], "08:01", ["backup database"]),
        (["08:00", "08:02"], "08:06", []),
        (["08:00", "08:02"], "08:07", ["backup database"]),
        (["08:00", "08:02", "08:08", "08:30", "09:30"], "10:29", []),
        (["08:00", "08:02", "08:08", "08:30", "09:30"], "10:30", ["backup database"]),
    ],
)
def test_what_failed_rests_longer_each_time(moments: list[str], now: str, expect: list[str]) -> None:
    assert due(now, facts=failed("backup", *moments)) == expect


def test_a_proof_that_failed_keeps_no_point_from_being_taken() -> None:
    assert due("08:00", facts=failed("proof", "08:00")) == ["backup database"]


def test_what_was_stopped_has_not_failed() -> None:
    assert due("08:00", facts=failed("backup", "08:00", code=130)) == ["backup database"]


def test_failures_before_the_last_point_are_forgotten() -> None:
    assert due("08:01", facts=failed("backup", "01:00", "01:10", "01:30")) == ["backup database"]


def test_what_a_clock_that_was_ahead_wrote_down_puts_nothing_off() -> None:
    ahead = "2027-11-22 08:00"
    assert due("08:00", facts=failed("backup", ahead)) == ["backup database"]
    assert due("2026-11-23 01:00", points=(NEWEST,), facts=failed("proof", ahead), proofs=()) == [
        "backup database", "verify database",
    ]  # fmt: skip
    assert due("2026-11-23 03:00", proofs=(PROVEN, proof(NEWEST, at(ahead)))) == ["backup database", "verify database"]


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────

ASKS = Step(Approve("Open to traffic?", (PersonName("cto"),)), id=StepId("1.1-approve"), name="approve")


def run(*facts: Fact, mode: Mode = Mode.LIVE, step: Step = ASKS) -> RunState:
    started = run_started(plan(), "r1", at("10:00"), mode, phases=(Phase("Ask", (step,)),), incident=None)
    return fold(recorded("run/r1", *((at("10:00") + n * SECOND, fact) for n, fact in enumerate((started, *facts)))))


def _anything(words: bytes, answered: PersonAnswered) -> bool:
    return True


def _everything(run: RunState) -> bool:
    return True


QUESTION = PersonAsked(ASKS.id, (PersonName("cto"),), "Open to traffic?", "nonce")
YES = PersonAnswered(ASKS.id, PersonName("cto"), "yes", "signed", signature="by cto")


def test_a_run_that_waits_for_a_person_is_left_alone_until_the_answer_holds() -> None:
    driven = Driving("host1", 1, at("10:01"))
    assert due("12:00", open_runs=(run(driven, QUESTION),)) == []
    assert due("12:00", open_runs=(run(driven, QUESTION, YES),)) == []
    assert due("12:00", open_runs=(run(driven, QUESTION, YES),), signed=_anything) == ["resume r1"]


def test_a_run_that_nobody_drives_is_gone_on_with_and_keeps_its_components_from_everything_else() -> None:
    assert due("08:00", open_runs=(run(),)) == ["resume r1"]


def test_one_whose_driver_died_in_the_middle_of_a_step_is_gone_on_with() -> None:
    acting = Step(RunCommand((Template(("true",)),)), id=StepId("1.1-act"))
    driven, begun = Driving("host1", 1, at("10:01")), Intended(StepId("1.1-act"), 1, 1)
    assert due("12:00", open_runs=(run(driven, begun, step=acting),)) == ["resume r1"]


def test_one_that_is_driven_is_left_alone() -> None:
    assert due("08:00", open_runs=(run(),), driven=_everything) == []


def test_a_rehearsal_keeps_nothing_from_being_protected() -> None:
    assert due("08:00", open_runs=(run(mode=Mode.DRILL),)) == ["resume r1", "backup database"]


def test_a_dry_run_goes_on_for_nobody() -> None:
    assert due("04:00", open_runs=(run(mode=Mode.DRY),)) == []


# ── drills and the rest ──────────────────────────────────────────────────────────────────────────


def drills(*people: PersonName) -> Any:
    rule = DrillRule(ScenarioName("database-loss"), Every(Period(span=24 * HOUR)), Mode.DRILL, people)
    return replace(ONE, drills=(rule,))


def test_a_drill_without_participants_begins_by_itself() -> None:
    assert due("04:00", of=drills()) == ["drill database-loss"]


def test_one_with_participants_waits_for_them() -> None:
    assert due("04:00", of=drills(DEVOPS)) == []


def test_points_are_let_go_once_a_day_and_never_beside_a_recovery() -> None:
    known = history((), {LOCAL: (NEWEST,)}, (PROVEN,))
    assert agenda(ONE, known, Seen(able=ABLE), at("04:00")) == [Job(Work.RETAIN, "", at("00:00"), "once a day")]
    assert Work.RETAIN not in {job.work for job in agenda(ONE, known, Seen((run(),), ABLE), at("04:00"))}


def test_jobs_of_one_component_share_a_lane_and_a_recovery_has_its_own() -> None:
    lanes = [Job(work, "database", at("04:00"), "").lane for work in (Work.BACKUP, Work.VERIFY, Work.RESUME)]
    assert lanes == ["database", "database", "resume database"]
