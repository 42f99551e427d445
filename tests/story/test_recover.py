"""From a scenario to steps: ids, needs, times, words, and the reasons why there is no recovery."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backstay.errors import UnknownName
from backstay.history import history
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    Level,
    Mode,
    Objectives,
    Phase,
    Plan,
    Preserve,
    Ref,
    Request,
    Restore,
    RunCommand,
    Scale,
    Scenario,
    Smoke,
    Space,
    Step,
    Tell,
    Template,
    Verb,
    Wait,
)
from backstay.recover import (
    NoRecovery,
    blast_radius,
    compile,  # noqa: A004 the word of the house: `recover.compile`
    components_of,
    explain,
    say,
    slug_of,
    target_of,
    with_point,
)
from backstay.values import ComponentName, PersonName, PointId, ScenarioName, SiteName, StepId
from backstay.verify import Chosen, NoneGood, PassedOver
from fix_story import (
    DATABASE,
    HOUR,
    LOCAL,
    MINUTE,
    PRIMARY,
    at,
    database_loss,
    plan,
    point,
    whole_story,
    words,
)

GOOD = {DATABASE: Chosen(point(at("02:00")), "the newest proven point")}


def with_steps(*phases: tuple[Step, ...]) -> Plan:
    scenario = replace(database_loss(), procedure=tuple(Phase(f"phase {n}", steps) for n, steps in enumerate(phases)))
    return plan(scenarios={scenario.name: scenario})


def steps(made: tuple[Phase, ...] | NoRecovery) -> list[Step]:
    assert not isinstance(made, NoRecovery), made
    return [step for phase in made for step in phase.steps]


def test_a_scenario_becomes_numbered_steps_each_after_the_one_before() -> None:
    made = compile(plan(), "database-loss", PRIMARY, Mode.LIVE, GOOD)
    assert [(step.id, step.needs) for step in steps(made)] == [
        ("1.1-stop-api", ()),
        ("1.2-preserve-database", ("1.1-stop-api",)),
        ("2.1-choose-database", ("1.2-preserve-database",)),
        ("2.2-restore-database", ("2.1-choose-database",)),
        ("3.1-ask-database", ("2.2-restore-database",)),
        ("3.2-start-api", ("3.1-ask-database",)),
        ("3.3-smoke", ("3.2-start-api",)),
    ]
    assert not isinstance(made, NoRecovery)
    assert [(phase.name, phase.target) for phase in made] == [
        ("Stop and preserve", 5 * MINUTE), ("Restore", 15 * MINUTE), ("Verify and reopen", 5 * MINUTE)
    ]  # fmt: skip
    assert components_of(made) == (DATABASE,)


def test_a_drill_has_the_very_same_steps() -> None:
    live = compile(plan(), "database-loss", PRIMARY, Mode.LIVE, GOOD)
    drill = compile(plan(), "database-loss", SiteName("sandbox"), Mode.DRILL, GOOD)
    assert live == drill


def test_steps_that_name_their_needs_run_side_by_side_and_the_next_phase_waits_for_all() -> None:
    first, other = ComponentName("database"), ComponentName("settings-db")
    made = compile(
        with_steps(
            (Step(Scale("api", "process", 0)),),
            (
                Step(Choose(first), id=StepId("pick-db")),
                Step(Choose(other), id=StepId("pick-settings"), needs=(StepId("stop-api"),)),
                Step(Restore(first), needs=(StepId("pick-db"),)),
                Step(Restore(other), needs=(StepId("pick-settings"),)),
            ),
            (Step(Smoke(("health",))),),
        ),
        "database-loss", PRIMARY, Mode.LIVE,
    )  # fmt: skip
    assert [(step.id, step.needs) for step in steps(made)] == [
        ("1.1-stop-api", ()),
        ("2.1-pick-db", ("1.1-stop-api",)),
        ("2.2-pick-settings", ("1.1-stop-api",)),
        ("2.3-restore-database", ("2.1-pick-db",)),
        ("2.4-restore-settings-db", ("2.2-pick-settings",)),
        ("3.1-smoke-health", ("2.3-restore-database", "2.4-restore-settings-db")),
    ]


def test_a_name_that_comes_twice_means_the_nearest_step_before() -> None:
    smoke, wait = Step(Smoke()), Step(Wait(MINUTE), needs=(StepId("smoke"),))
    made = compile(with_steps((smoke, smoke, wait)), "database-loss", PRIMARY, Mode.LIVE)
    assert steps(made)[2].needs == ("1.2-smoke",)


def test_a_restore_without_a_choice_gets_the_last_known_good() -> None:
    made = compile(with_steps((Step(Restore(DATABASE)), Step(Restore(DATABASE)))), "database-loss", PRIMARY, Mode.LIVE)
    assert [step.id for step in steps(made)] == [
        "1.1-choose-database", "1.2-restore-database", "1.3-restore-database"
    ]  # fmt: skip


def test_a_person_can_name_the_point() -> None:
    named = with_point(database_loss(), DATABASE, PointId("20261120T020000Z-0a0b0c0d"))
    made = compile(plan(scenarios={named.name: named}), "database-loss", PRIMARY, Mode.LIVE)
    assert steps(made)[2].verb == Choose(DATABASE, "20261120T020000Z-0a0b0c0d")


def test_compiling_twice_changes_nothing() -> None:
    once = compile(plan(), "database-loss", PRIMARY, Mode.LIVE)
    assert not isinstance(once, NoRecovery)
    again = replace(database_loss(), procedure=once)
    assert compile(plan(scenarios={again.name: again}), "database-loss", PRIMARY, Mode.LIVE) == once


@pytest.mark.parametrize(
    ("step", "timeout"),
    [
        (Step(Restore(DATABASE)), HOUR),
        (Step(Restore(DATABASE), timeout=5 * HOUR), 5 * HOUR),
        (Step(Preserve(DATABASE, within=3 * MINUTE)), 4 * MINUTE),
        (Step(Wait(2 * HOUR)), 2 * HOUR + MINUTE),
        (Step(Approve("go?", (PersonName("cto"),))), 24 * HOUR),
        (Step(Approve("go?", (PersonName("cto"),)), timeout=10 * MINUTE), 10 * MINUTE),
        (Step(AskPerson("which?", (PersonName("cto"),))), 24 * HOUR),
    ],
    ids=lambda given: getattr(given, "verb_name", str(given)),
)
def test_every_step_has_a_timeout_that_can_be_meant(step: Step, timeout: timedelta) -> None:
    made = compile(with_steps((Step(Choose(DATABASE)), step)), "database-loss", PRIMARY, Mode.LIVE)
    assert steps(made)[-1].timeout == timeout


def test_the_slug_is_what_later_steps_speak_of() -> None:
    assert slug_of(StepId("12.3-restore-database")) == "restore-database"


# ── why there is none ───────────────────────────────────────────────────────────────────────────────

NAME_ONE = (
    "prove one with `backstay verify database --point ID`; or use one as it is, with --point database=ID: "
    "it is written down that you did"
)
SEVEN = {
    DATABASE: NoneGood(
        "no recovery point is proven", tuple(PassedOver(PointId(f"p{number}"), "old") for number in range(7, 0, -1))
    )
}
UNPROVEN = {DATABASE: NoneGood("no recovery point is proven", (PassedOver(PointId("p1"), "it was never proved"),))}


@pytest.mark.parametrize(
    ("of", "site", "good", "why", "hint", "points"),
    [
        (with_steps(), "primary", GOOD,
         "the plan has no procedure for “Database corruption or loss”",
         "write scenarios.database-loss.procedure in the plan", None),
        (plan(), "moon", GOOD, "the plan has no site 'moon'", "choose one of: primary", None),
        (plan(), "primary", UNPROVEN,
         "database cannot be restored: no recovery point is proven",
         NAME_ONE,
         "p1: it was never proved"),
        (plan(), "primary", SEVEN,
         "database cannot be restored: no recovery point is proven",
         NAME_ONE,
         "p7: old\np6: old\np5: old\np4: old\np3: old\nand 2 older ones: `backstay points database`"),
        (plan(), "primary", {}, "database cannot be restored: nobody looked for one",
         "see what the vaults hold with `backstay points`; take a point with `backstay backup database`",
         "no vault of the plan has a point of database"),
        (with_steps((Step(Ask(ComponentName("databse"))),)), "primary", GOOD,
         "the step “ask-databse” of the phase “phase 0” works on 'databse', which is no component of the plan",
         "components of the plan: database, settings-db", None),
        (with_steps((Step(Smoke(("helth",))),)), "primary", GOOD,
         "the step “smoke-helth” of the phase “phase 0” runs 'helth', which is no smoke check of the plan",
         "smoke checks of the plan: health, metrics, user", None),
        (with_steps((Step(Wait(MINUTE), needs=(StepId("later"),)), Step(Smoke(), id=StepId("later")))), "primary", GOOD,
         "the step “wait” of the phase “phase 0” needs 'later', and no step before it has that name", "", None),
    ],
    ids=["no procedure", "no site", "nothing proven", "many", "nobody looked", "no component", "no check", "no need"],
)  # fmt: skip
def test_why_there_is_no_recovery(
    of: Plan, site: str, good: Any, why: str, hint: str, points: str | None
) -> None:  # fmt: skip
    assert compile(of, "database-loss", SiteName(site), Mode.LIVE, good) == NoRecovery(why, hint, points)


def test_talking_a_recovery_through_needs_no_point() -> None:
    assert not isinstance(compile(plan(), "database-loss", PRIMARY, Mode.TABLETOP, UNPROVEN), NoRecovery)


def test_an_unknown_scenario_is_an_error_of_the_asker() -> None:
    with pytest.raises(UnknownName, match="the plan has no scenario 'flood'"):
        compile(plan(), "flood", PRIMARY, Mode.LIVE)


# ── in words ────────────────────────────────────────────────────────────────────────────────────────

SECRET = Template(("https://hooks.example.com/", Ref(Space.ENV, "TOKEN")))
TWO = (PersonName("cto"), PersonName("devops-lead"))
CHANGES = "Backstay does not know what it changes."

WORDS: list[tuple[Verb, str, str | None, str | None]] = [
    (Scale("api", "process", 0), "stop api", "api stops: nobody can use it until it is started again.", "api"),
    (Scale("api", "process", 3), "run 3 of api", None, None),
    (Scale("api", "process", None), "start api again, as many as ran before", None, None),
    (Preserve(DATABASE),
     "move the damaged state of database aside, within 3 min; go on without it if that cannot be done",
     "database stops, and its data is renamed aside. Nothing is deleted.", "database"),
    (Preserve(DATABASE, required=True), "move the damaged state of database aside, within 3 min",
     "database stops, and its data is renamed aside. Nothing is deleted.", "database"),
    (Choose(DATABASE), "choose the newest proven recovery point of database", None, None),
    (Choose(DATABASE, "newest"), "choose the newest recovery point of database, proven or not", None, None),
    (Choose(DATABASE, "clean"), "choose the newest proven recovery point of database from before the disaster", None,
     None),
    (Choose(DATABASE, "20261122T020000Z-0a0b0c0d"), "use the recovery point 20261122T020000Z-0a0b0c0d of database",
     None, None),
    (Restore(DATABASE), "restore database beside the old one, then swap them by rename",
     "database is replaced by the recovery point. What is there now is kept aside.", "database"),
    (Restore(DATABASE, beside=False), "restore database in the place of the old one",
     "What database holds now is overwritten, and cannot be had back.", "database"),
    (Ask(DATABASE), "ask database the plan's questions", None, None),
    (Smoke(), "run every smoke check", None, None),
    (Smoke(("health",)), "run the smoke check health", None, None),
    (Smoke(("health", "user")), "run the smoke checks health and user", None, None),
    (RunCommand((words("make"), words("dns"))), "run `make dns`", f"A program of the plan runs: make. {CHANGES}",
     "1.1-x"),
    (CallHttp(Request("POST", SECRET, (200,))), "send POST https://hooks.example.com/${env:TOKEN}",
     f"POST is sent to https://hooks.example.com/${{env:TOKEN}}. {CHANGES}", "1.1-x"),
    (CallHttp(Request("GET", words("https://x"), (200,))), "send GET https://x", None, None),
    (Approve("restore now?", TWO), "wait until 1 of cto or devops-lead approves: restore now?", None, None),
    (Approve("restore now?", TWO, 2), "wait until 2 of cto or devops-lead approve: restore now?", None, None),
    (AskPerson("which region?", TWO), "ask cto or devops-lead: which region?", None, None),
    (Tell("customers", "initial"), "tell customers: initial", None, None),
    (Wait(5 * MINUTE), "wait 5 min", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "said", "radius", "target"), WORDS, ids=[row[1] for row in WORDS])
def test_every_verb_says_what_it_does_and_what_it_destroys(
    verb: Verb, said: str, radius: str | None, target: str | None
) -> None:
    step = Step(verb, id=StepId("1.1-x"))
    assert (say(verb), blast_radius(step), target_of(step)) == (said, radius, target)


def test_a_scenario_of_its_own() -> None:
    """The fixture is not the only shape: no target, no procedure beyond one step."""
    own = Scenario(ScenarioName("own"), "Own", Level.LOW, Level.LOW, Objectives(), "", (Phase("p", (Step(Smoke()),)),))
    made = compile(plan(scenarios={own.name: own}), "own", PRIMARY, Mode.DRY)
    assert [step.id for step in steps(made)] == ["1.1-smoke"]


# ── told before it is done ──────────────────────────────────────────────────────────────────────────


def test_a_recovery_is_explained_before_it_is_done() -> None:
    facts, points, proofs = whole_story()
    known = history(facts, {LOCAL: points}, proofs)
    made = compile(plan(), "database-loss", PRIMARY, Mode.LIVE, GOOD)
    assert not isinstance(made, NoRecovery)
    assert "\n".join(explain(made, known, GOOD, 30 * MINUTE)) == (
        "Phase 1: Stop and preserve, within 5 min\n"
        "  1.1-stop-api: stop api (about 2.5 s)\n"
        "    api stops: nobody can use it until it is started again.\n"
        "  1.2-preserve-database: move the damaged state of database aside, within 3 min; go on without it if that "
        "cannot be done (about 400 ms)\n"
        "    database stops, and its data is renamed aside. Nothing is deleted.\n"
        "Phase 2: Restore, within 15 min\n"
        "  2.1-choose-database: choose the newest proven recovery point of database (about 200 ms)\n"
        "    As of now that is 20261122T020000Z-0a0b0c0d: the newest proven point.\n"
        "  2.2-restore-database: restore database beside the old one, then swap them by rename (about 24 s)\n"
        "    database is replaced by the recovery point. What is there now is kept aside.\n"
        "Phase 3: Verify and reopen, within 5 min\n"
        "  3.1-ask-database: ask database the plan's questions (about 1.5 s)\n"
        "  3.2-start-api: start api again, as many as ran before (about 3 s)\n"
        "  3.3-smoke: run every smoke check (about 4 s)\n"
        "The whole takes about 35.6 s (48.1 s at worst, measured 2 times); 30 min was promised"
    )


def test_log_that_a_recovery_would_leave_out_is_said_before_anybody_confirms() -> None:
    facts, points, proofs = whole_story()
    known = history(facts, {LOCAL: points}, proofs, leads={points[0].id: at("09:58")})
    made = compile(plan(), "database-loss", PRIMARY, Mode.LIVE, GOOD)
    assert not isinstance(made, NoRecovery)
    when = "2026-11-22 09:58:00 UTC"
    said = f"    Log is kept after it, up to {when}. It is left out, unless you add --at MOMENT or --latest."
    assert said in explain(made, known, GOOD)
    assert said not in explain(made, history(facts, {LOCAL: points}, proofs), GOOD)


def test_what_was_never_measured_is_said_and_a_missing_point_too() -> None:
    made = compile(with_steps((Step(Restore(DATABASE), target=MINUTE),)), "database-loss", PRIMARY, Mode.LIVE)
    assert not isinstance(made, NoRecovery)
    assert explain(made, history([], {}), UNPROVEN) == (
        "Phase 1: phase 0",
        "  1.1-choose-database: choose the newest proven recovery point of database (never measured)",
        "    As of now there is none: no recovery point is proven.",
        (
            "  1.2-restore-database: restore database beside the old one, then swap them by rename "
            "(never measured, within 1 min)"
        ),
        "    database is replaced by the recovery point. What is there now is kept aside.",
        "How long the whole takes is unknown: choose database was never measured, nor 1 other step",
    )


def test_a_recovery_that_nobody_could_call_working_does_not_begin() -> None:
    """It would stop and replace the database first, and find out afterwards."""
    found = compile(plan(smoke={}), "database-loss", PRIMARY, Mode.LIVE)
    assert isinstance(found, NoRecovery)
    assert "smoke checks, and it has none" in found.why
