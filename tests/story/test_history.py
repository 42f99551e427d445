"""The fold of everything, and what a run cost."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backstay.facts import (
    Fact,
    HoldPlaced,
    Intended,
    NotVerified,
    ProofGiven,
    RoutineFailed,
    RunCancelled,
    RunEnded,
    StepSkipped,
)
from backstay.history import (
    Loss,
    RunSeen,
    active_holds,
    component_rto,
    components_restored,
    history,
    phase_times,
    rpo_actual,
    rto_actual,
    seen_run,
)
from backstay.machine import State
from backstay.plan import Mode, Restore, Smoke
from backstay.values import Between, RunId, StepId
from fix_story import (
    DATABASE,
    DISASTER,
    HOUR,
    LOCAL,
    MINUTE,
    POINT,
    SECOND,
    SETTINGS,
    at,
    happened,
    hold,
    in_order,
    plan,
    proof,
    recorded,
    run_started,
    usual_steps,
    whole_story,
)

FACTS, POINTS, PROOFS = whole_story()


def seen(*facts: tuple[Any, Fact]) -> RunSeen:
    run = seen_run(recorded("run/r", *facts))
    assert run is not None
    assert not run.damage
    return run


def usual(mode: Mode = Mode.LIVE, disaster: Between | None = DISASTER, **more: Any) -> RunSeen:
    return seen(*happened(run_started(plan(), "r", at("10:03"), mode, disaster, **more), *usual_steps()))


# ── the fold ────────────────────────────────────────────────────────────────────────────────────────


def test_everything_is_folded_once() -> None:
    twice = history(FACTS, {LOCAL: POINTS}, PROOFS)
    assert len(twice.proofs) == 1  # the vault and the journal both have it
    assert [run.id for run in twice.runs] == ["d1", "r2"]
    assert [incident.id for incident in twice.incidents] == ["i1"]
    incident = twice.incidents[0]
    assert incident.commander == "devops-lead"
    assert incident.runs == ("r2",)
    assert incident.recovered_at == at("10:05")
    assert twice.line(DATABASE).current == "pg-7300000000000000001-2"
    assert [check.colour for check in twice.checks] == ["green", "red"]


def test_a_point_in_two_vaults_is_one_point() -> None:
    far: Any = "offsite"
    both = history([], {LOCAL: [POINT], far: [POINT]})
    assert both.points_of(DATABASE) == (POINT,)
    assert both.vaults_of(POINT.id) == (LOCAL, "offsite")
    assert both.points_of(DATABASE, far) == (POINT,)
    assert both.points_of(SETTINGS) == ()


def test_a_failed_routine_belongs_to_the_component_of_its_stream() -> None:
    facts = recorded("component/database", (at("02:00"), RoutineFailed(RunId("b1"), 40, "it does not answer")))
    assert history(facts, {}).failed[0][1] == DATABASE


def test_holds_and_proofs_come_from_vault_and_journal() -> None:
    placed, released = hold(POINT, "keep", at("05:00")), hold(POINT, "released", at("06:00"))
    other = proof(POINT, at("04:00"))
    facts = recorded(
        "component/database",
        (at("05:00"), HoldPlaced(LOCAL, placed)),
        (at("05:30"), ProofGiven(RunId("p"), other)),
    )
    found = history(facts, {LOCAL: [POINT]}, PROOFS, [placed])
    assert [one.ended for one in found.proofs] == [at("03:01"), at("04:00")]
    assert active_holds(found.holds) == (placed,)
    assert active_holds((placed, released)) == ()


def test_a_damaged_run_says_so_and_hides_nothing_else() -> None:
    start = run_started(plan(), "bad", at("09:00"), Mode.LIVE)
    bad = recorded("run/bad", (at("09:00"), start), (at("09:01"), Intended(StepId("1.1-stop-api"), 1, 1)))
    found = history(in_order(FACTS, bad), {LOCAL: POINTS})
    broken = found.run(RunId("bad"))
    assert broken is not None
    assert broken.damage == "fact 2 of run/bad cannot follow what went before: nobody holds the lease"
    assert found.run(RunId("r2")) is not None


def test_the_clocks_of_a_step() -> None:
    restore = usual().step(StepId("2.2-restore-database"))
    assert restore is not None
    assert (restore.state, restore.took, restore.attempts) == (State.DONE, 24 * SECOND, 1)
    assert restore.began is not None
    assert restore.ended == restore.began + 24 * SECOND


# ── RTO actual ──────────────────────────────────────────────────────────────────────────────────────


def test_rto_actual_runs_from_the_declaration_to_the_last_smoke_check() -> None:
    assert rto_actual(usual()) == timedelta(seconds=35.1)
    early = usual(declared=at("10:00"))
    assert rto_actual(early) == timedelta(seconds=35.1)  # `happened` begins at the declaration


def test_the_time_to_decide_counts() -> None:
    run = usual()
    late = replace(run, started=replace(run.started, declared=at("09:53")))
    assert rto_actual(late) == 10 * MINUTE + timedelta(seconds=35.1)


def without(run: RunSeen, *verbs: type) -> RunSeen:
    return replace(run, steps=tuple(one for one in run.steps if not isinstance(one.step.verb, verbs)))


def changed(run: RunSeen, id: str, **changes: Any) -> RunSeen:
    steps = tuple(replace(one, **changes) if one.step.id == id else one for one in run.steps)
    return replace(run, steps=steps)


NOT_MEASURED: list[tuple[str, RunSeen, str]] = [
    ("a tabletop", usual(Mode.TABLETOP), "nothing was restored: a tabletop run"),
    ("a dry run", usual(Mode.DRY), "nothing was restored: a dry run"),
    ("no smoke step", without(usual(), Smoke), "the procedure has no smoke step, so nobody looked whether it works"),
    ("skipped", changed(usual(), "3.3-smoke", state=State.SKIPPED, said="cto: it is obvious"),
     "the last smoke step was skipped (cto: it is obvious)"),
    ("failed", changed(usual(), "3.3-smoke", state=State.FAILED), "the last smoke step did not pass"),
    ("under way", replace(changed(usual(), "3.3-smoke", state=State.ACTING), ended=None),
     "the last smoke step has not passed yet"),
    ("clocks differ", replace(usual(), started=replace(usual().started, declared=at("11:00"))),
     "it ended at 2026-11-22 10:03:35 UTC, before the declaration at 2026-11-22 11:00:00 UTC: clocks differ"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "why"), [row[1:] for row in NOT_MEASURED], ids=[row[0] for row in NOT_MEASURED])
def test_what_was_not_measured_is_not_verified(run: RunSeen, why: str) -> None:
    assert rto_actual(run) == NotVerified(why)


def test_the_rto_of_a_component_ends_with_its_own_last_step_where_others_were_restored_too() -> None:
    run = usual()
    assert component_rto(run, DATABASE) == rto_actual(run)
    assert component_rto(run, SETTINGS) == NotVerified("the run did not restore settings-db")
    other = replace(run.steps[3], step=replace(run.steps[3].step, id=StepId("x"), verb=Restore(SETTINGS)))
    both = replace(run, steps=(*run.steps[:4], other, *run.steps[4:]))
    assert components_restored(both) == (DATABASE, SETTINGS)
    assert component_rto(both, DATABASE) == timedelta(seconds=28.1)  # when it had been asked
    assert component_rto(both, SETTINGS) == timedelta(seconds=26.6)
    assert component_rto(without(both, Smoke), SETTINGS) == NotVerified(
        "the procedure has no smoke step, so nobody looked whether it works"
    )


# ── RPO actual ──────────────────────────────────────────────────────────────────────────────────────


def test_rpo_actual_is_a_range_as_wide_as_the_disasters_moment() -> None:
    loss = rpo_actual(usual(), DATABASE)
    assert isinstance(loss, Loss)
    assert (loss.least, loss.most) == (7 * HOUR + 59 * MINUTE + 30 * SECOND, 8 * HOUR + 30 * SECOND)
    assert (loss.newest, loss.source) == (POINT.moment, "the component's own question, after the restore")
    assert not loss.clamped


def newest(run: RunSeen, **values: str | None) -> RunSeen:
    for id, name in (
        ("3.1-ask-database", "ask"),
        ("2.2-restore-database", "restore"),
        ("2.1-choose-database", "choose"),
    ):
        value = values.get(name)
        key = "moment" if name == "choose" else "newest"
        run = changed(run, id, values={} if value is None else {key: value})
    return run


@pytest.mark.parametrize(
    ("values", "least", "most", "source"),
    [
        ({"restore": "2026-11-22T09:59:00.000000Z"}, 30 * SECOND, 90 * SECOND,
         "the last that was replayed by the restore"),
        ({"choose": "2026-11-22T09:59:30.000000Z"}, timedelta(), 60 * SECOND, "the recovery point"),
        ({"ask": "2026-11-22T10:00:00+00:00"}, timedelta(), 30 * SECOND,
         "the component's own question, after the restore"),
        # The application was writing again when it was asked: the answer says nothing of what was saved.
        ({"ask": "2026-11-22T10:03:20.000000Z", "restore": "2026-11-22T09:59:00.000000Z"}, 30 * SECOND, 90 * SECOND,
         "the last that was replayed by the restore"),
        ({"restore": "2026-11-22T10:00:30.000000Z"}, timedelta(), timedelta(),
         "the last that was replayed by the restore"),
    ],
)  # fmt: skip
def test_the_newest_data_is_known_in_three_ways(
    values: dict[str, str | None], least: timedelta, most: timedelta, source: str
) -> None:
    loss = rpo_actual(newest(usual(), **values), DATABASE)
    assert isinstance(loss, Loss)
    assert (loss.least, loss.most, loss.source) == (least, most, source)


def test_less_than_nothing_is_not_lost_and_it_is_said() -> None:
    loss = rpo_actual(newest(usual(), restore="2026-11-22T10:00:00.000000Z"), DATABASE)
    assert isinstance(loss, Loss)
    assert loss.clamped


def test_what_was_lost_is_not_verified_where_either_end_is_unknown() -> None:
    assert rpo_actual(usual(disaster=None), DATABASE) == NotVerified("the moment of the disaster is not known")
    assert rpo_actual(newest(usual()), DATABASE) == NotVerified("how new the data is that came back is not known")
    unclear = newest(usual(), restore="yesterday")
    assert rpo_actual(unclear, DATABASE) == NotVerified("how new the data is that came back is not known")
    assert rpo_actual(usual(), SETTINGS) == NotVerified("the run did not restore settings-db")
    assert rpo_actual(usual(Mode.DRY), DATABASE) == NotVerified("nothing was restored: a dry run")


def test_a_drill_is_measured_as_if_the_disaster_came_when_it_began() -> None:
    loss = rpo_actual(usual(Mode.DRILL, None), DATABASE)
    assert isinstance(loss, Loss)
    assert loss.most == at("10:03") - POINT.moment
    assert loss.disaster.source == "the drill's declaration, as if it had struck then"


# ── phases ──────────────────────────────────────────────────────────────────────────────────────────


def test_phases_have_their_own_clocks() -> None:
    times = phase_times(usual())
    assert [(one.name, one.target, one.took) for one in times] == [
        ("Stop and preserve", 5 * MINUTE, timedelta(seconds=2.4)),
        ("Restore", 15 * MINUTE, timedelta(seconds=24.2)),
        ("Verify and reopen", 5 * MINUTE, timedelta(seconds=8.5)),
    ]


def test_a_phase_that_was_not_completed_has_no_end() -> None:
    begun = run_started(plan(), "r", at("10:03"), Mode.LIVE)
    facts = list(happened(begun, *usual_steps()[:3]))[:-1]
    cancelled = (at("10:05"), RunCancelled("cto", "wrong database")), (at("10:05"), RunEnded("cancelled", "cto"))
    times = phase_times(seen(*facts, *cancelled))
    assert [one.took is not None for one in times] == [True, False, False]


def test_a_skipped_step_ends_its_phase() -> None:
    begun = run_started(plan(), "r", at("10:03"), Mode.LIVE)
    facts = list(happened(begun, *usual_steps()[:1]))[:-1]
    skipped = (at("10:04"), StepSkipped(StepId("1.2-preserve-database"), "cto", "no room"))
    assert phase_times(seen(*facts, skipped))[0].took == MINUTE


# ── lineages ─────────────────────────────────────────────────────────────────────────────────────


def with_lineage(step: tuple[str, float, str, dict[str, str]]) -> tuple[str, float, str, dict[str, str]]:
    name, seconds, saw, values = step
    return (name, seconds, saw, values | {"lineage": "tl-2"}) if "restore" in name else step


@pytest.mark.parametrize(("mode", "line"), [(Mode.LIVE, "tl-2"), (Mode.DRILL, POINT.lineage)])
def test_a_live_restore_begins_a_lineage_by_itself_and_a_drill_does_not(mode: Mode, line: str) -> None:
    """The run's own stream says so: a driver that dies right after the swap leaves nothing to be written down."""
    steps = [with_lineage(step) for step in usual_steps()]
    facts = happened(run_started(plan(), "r9", at("10:01"), mode), *steps)[:-1]  # it never came to its end
    assert history(recorded("run/r9", *facts), {LOCAL: [POINT]}).line(DATABASE).current == line
