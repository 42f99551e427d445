"""The verbs on a system in memory: what each one does, how it is looked at, and which outcome an error becomes."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backstay import recover
from backstay.adapters.around import Fault, faulty
from backstay.adapters.memory.workloads import MemorySecrets
from backstay.errors import AccessDenied, BackstayError, Cancelled, SourceDown, StoreUnreachable, TimedOut
from backstay.facts import CannotTell, DidNot, Happened, Impossible, Lost, Outcome, Proven, Sight, Succeeded, TryLater
from backstay.plan import (
    CallHttp,
    Choose,
    HttpCheck,
    Mode,
    Preserve,
    Ref,
    Request,
    Restore,
    RunCommand,
    Scale,
    Site,
    Smoke,
    Space,
    Step,
    Tell,
    Template,
    Verb,
    Wait,
)
from backstay.ports import Seen
from backstay.values import ComponentName, RunId, SiteName, StepId, from_stamp
from backstay.verbs import VERBS, Dry, Guarded, Placed, PortWorld
from backstay.verbs.outcomes import LATER, outcome_of
from backstay.verify import NoneGood, candidates, choose
from fix_memory import RUN, System, acting, memory_system
from fix_story import DATABASE, LOCAL, PRIMARY, words


def steps_of(system: System) -> list[Step]:
    phases = recover.compile(system.world.plan, "database-loss", PRIMARY, Mode.LIVE)
    assert not isinstance(phases, recover.NoRecovery), phases
    return [step for phase in phases for step in phase.steps]


def perform(system: System, steps: list[Step], run: RunId = RUN) -> dict[str, str]:
    """Do every step in order, as an engine without trouble would."""
    world, given = PortWorld(system.estate), dict[str, str]()
    for step in steps:
        outcome = world.do(replace(acting(run=run), step=step.id), step, given)
        assert isinstance(outcome, Succeeded), outcome
        given |= {f"{step.id}.{name}": value for name, value in outcome.values.items()}
    return given


def do(system: System, verb: Verb, given: dict[str, str] | None = None, **step: Any) -> Outcome:
    made = Step(verb, StepId("1.1-step"), **step)
    return PortWorld(system.estate).do(acting(), made, given or {})


def look(system: System, verb: Verb, given: dict[str, str] | None = None, **step: Any) -> Sight:
    made = Step(verb, StepId("1.1-step"), **step)
    return PortWorld(system.estate).look(acting(), made, given or {})


@pytest.fixture
def system(tmp_path: Path) -> System:
    """With one proven point of the database, an hour old, and rows that came after it."""
    made = memory_system()
    assert made.prove(made.backup(), tmp_path).result() == Proven()
    made.clock.wait(timedelta(hours=1))
    made.world.component("database").write("lattices", made.clock.now(), ref=1)
    return made


# ── the main job ─────────────────────────────────────────────────────────────────────────────────


def test_a_lost_database_comes_back_and_the_application_runs_as_before(system: System) -> None:
    database = system.world.component("database")
    assert database.state is not None
    before = database.state.tables
    database.drop("tenants")
    assert system.world.colour("health") == ("red", "database has no table tenants")

    given = perform(system, steps_of(system))

    assert system.world.colour("health")[0] == "green"
    assert database.state.tables == {**before, "lattices": before["lattices"][:-1]}, "all but what came after the point"
    assert system.world.work.counts == {"api": 1}
    assert given["2.1-choose-database.vault"] == LOCAL
    assert given["3.1-ask-database.rows.tenants"] == "5"
    assert from_stamp(given["3.1-ask-database.newest"]) == before["lattices"][-2].at
    assert from_stamp(given["3.3-smoke.last_green"]) <= system.clock.now()
    assert system.world.effects()["database"] == ["stop", "move aside", "restore beside", "swap", "start"]


def test_the_damaged_state_is_kept_and_the_restored_one_begins_a_line_of_its_own(system: System) -> None:
    database = system.world.component("database")
    old = database.state
    assert old is not None
    given = perform(system, steps_of(system))
    assert database.kept == {f"preserved-{RUN}": old}
    assert given["2.2-restore-database.kept"] == f"preserved-{RUN}"
    assert given["2.2-restore-database.lineage"] != old.lineage


def test_a_point_that_a_restore_finds_damaged_is_not_chosen_again(system: System) -> None:
    """It was proven an hour ago, and would be the newest proven point until somebody proves it again."""
    (vault,) = system.world.vaults.values()
    (taken,) = vault.points()
    vault.damage(taken.id, next(one.path for one in vault.open(taken.id).entries() if one.size_bytes))
    steps = steps_of(system)
    restore = next(n for n, step in enumerate(steps) if isinstance(step.verb, Restore))
    given = perform(system, steps[:restore])
    outcome = PortWorld(system.estate).do(replace(acting(run=RUN), step=steps[restore].id), steps[restore], given)
    assert isinstance(outcome, Impossible)
    known = candidates(system.history(DATABASE), DATABASE)
    for origin in ("proven", "newest", taken.id):
        found = choose(origin, known, system.clock.now())
        assert isinstance(found, NoneGood), origin
    assert "B01" in found.reasons[0].why


def test_doing_everything_twice_has_each_effect_once(system: System) -> None:
    steps = steps_of(system)[:4]
    perform(system, steps)
    effects, seen = system.world.effects(), system.world.seen()
    world, given = PortWorld(system.estate), dict[str, str]()
    for step in steps:
        outcome = world.do(replace(acting(), step=step.id), step, given)
        assert isinstance(outcome, Succeeded), outcome
        given |= {f"{step.id}.{name}": value for name, value in outcome.values.items()}
    assert system.world.effects() == effects
    assert system.world.seen() == seen


# ── scale ────────────────────────────────────────────────────────────────────────────────────────


def test_scaling_to_recorded_brings_back_what_the_first_scale_of_the_run_found(system: System) -> None:
    system.world.work.counts["api"] = 3
    stopped = do(system, Scale("api", "process", 0))
    assert isinstance(stopped, Succeeded)
    assert stopped.values["found"] == "3"
    given = {f"1.1-stop-api.{name}": value for name, value in stopped.values.items()}
    assert do(system, Scale("api", "process", None), given) == Succeeded(
        "3 instances of api run, as before", {"workload": "api", "found": "3", "running": "3"}
    )


def test_a_crash_between_stopping_and_its_record_does_not_lose_how_many_ran(system: System) -> None:
    system.world.work.counts["api"] = 3
    do(system, Scale("api", "process", 0))  # and its outcome was never written
    seen = look(system, Scale("api", "process", 0))
    assert isinstance(seen, Happened)
    assert seen.values["found"] == "3"
    assert isinstance(do(system, Scale("api", "process", None), {}), Succeeded)
    assert system.world.work.counts == {"api": 3}


def test_an_application_that_the_disaster_killed_is_started_all_the_same(system: System) -> None:
    system.world.work.counts["api"] = 0
    stopped = do(system, Scale("api", "process", 0))
    assert isinstance(stopped, Succeeded)
    given = {f"1.1-stop-api.{name}": value for name, value in stopped.values.items()}
    started = do(system, Scale("api", "process", None), given)
    assert isinstance(started, Succeeded)
    assert started.saw == "1 instance of api runs (none ran when this run began)"
    assert system.world.work.counts == {"api": 1}


def test_a_scale_that_is_not_there_yet_did_not_happen(system: System) -> None:
    assert look(system, Scale("api", "process", 0)) == DidNot("api: 1 running, 0 wanted")


# ── choose, preserve, restore ────────────────────────────────────────────────────────────────────


def test_choosing_says_why_newer_points_were_passed_over(system: System) -> None:
    newest = system.backup()
    outcome = do(system, Choose(DATABASE))
    assert isinstance(outcome, Succeeded)
    assert outcome.values["point"] != newest.point.id
    assert f"{newest.point.id} it was never proved" in outcome.saw


def test_without_a_proven_point_choosing_is_impossible() -> None:
    made = memory_system()
    made.backup()
    outcome = do(made, Choose(DATABASE))
    assert isinstance(outcome, Impossible)
    assert outcome.code == 32
    assert "it was never proved" in outcome.why
    assert "backstay verify" in outcome.why


def test_a_restore_without_a_choice_is_impossible(system: System) -> None:
    outcome = do(system, Restore(DATABASE))
    assert isinstance(outcome, Impossible)
    assert outcome.code == 32


def test_in_place_nothing_that_runs_is_overwritten(system: System) -> None:
    chosen = do(system, Choose(DATABASE))
    assert isinstance(chosen, Succeeded)
    given = {f"2.1-choose-database.{name}": value for name, value in chosen.values.items()}
    outcome = do(system, Restore(DATABASE, beside=False), given)
    assert isinstance(outcome, Impossible)
    assert outcome.code == 31


def test_an_older_lease_of_the_same_run_may_not_act(system: System) -> None:
    world, step = PortWorld(system.estate), Step(Preserve(DATABASE), id=StepId("1.1-preserve"))
    assert isinstance(world.do(acting(epoch=2), step, {}), Succeeded)
    late = world.do(acting(epoch=1), step, {})
    assert isinstance(late, TryLater)
    assert "newer lease" in late.why


def test_the_questions_are_asked_of_what_was_restored_and_a_wrong_answer_stops_the_run(system: System) -> None:
    system.world.component("database").lose("tenants")
    outcome = do(system, replace(steps_of(system)[4]).verb)
    assert isinstance(outcome, Impossible)
    assert outcome.code == 34
    assert "tenants: 0; expected >= 1" in outcome.why


def test_a_component_that_is_not_up_yet_is_asked_later(system: System) -> None:
    system.world.component("database").running = False
    assert isinstance(do(system, steps_of(system)[4].verb), TryLater)


# ── smoke ────────────────────────────────────────────────────────────────────────────────────────


def test_red_is_not_an_answer_until_the_time_is_over(system: System) -> None:
    system.world.work.counts["api"] = 0
    began = system.clock.elapsed()
    outcome = do(system, Smoke(), timeout=timedelta(minutes=2))
    assert isinstance(outcome, Impossible)
    assert outcome.code == 64
    assert "health: health: api does not run" in outcome.why
    assert timedelta(minutes=1) < system.clock.elapsed() - began < timedelta(minutes=2)


def test_an_application_that_comes_up_late_is_waited_for(system: System) -> None:
    system.world.work.counts["api"] = 0
    colour = system.world.colour

    def up_after_a_while(check: str) -> Any:
        if system.world.prober.probed.count("health") > 4:
            system.world.work.counts["api"] = 1
        return colour(check)

    system.world.prober.judge = up_after_a_while
    outcome = do(system, Smoke())
    assert isinstance(outcome, Succeeded)
    assert outcome.values["smoke.health"] == "green"
    assert "in round 5" in outcome.saw


def test_every_round_has_a_run_id_of_its_own(system: System) -> None:
    names = list[str]()
    run_id = Ref(Space.RUN, "id")

    class Noting:
        def probe(self, check: Any, look_up: Any) -> Seen:
            names.append(look_up(run_id))
            return Seen("red" if len(names) < 4 else "green", "looked", timedelta())

    system = replace(system, estate=replace(system.estate, prober=Noting()))
    assert isinstance(do(system, Smoke(("health",))), Succeeded)
    assert len(set(names)) == len(names) == 4
    assert all(name.startswith(RUN) for name in names)


def test_a_missing_secret_is_said_at_once(system: System) -> None:
    secret = Template((Ref(Space.ENV, "SMOKE_PASSWORD"),))
    flow = (Request("POST", words("http://x/login"), (200,), json={"password": secret}),)
    made = replace(system.world.plan, smoke={"user": HttpCheck("user", flow)})
    system = replace(system, estate=replace(system.estate, plan=made))
    outcome = do(system, Smoke())
    assert isinstance(outcome, Impossible)
    assert outcome.code == 12
    assert "${env:SMOKE_PASSWORD}" in outcome.why


# ── http ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "seen", "expected"),
    [
        ("POST", Seen("green", "201", timedelta(), status=201), Succeeded),
        ("POST", Seen("red", "refused", timedelta(), heard="not-sent"), TryLater),
        ("POST", Seen("red", "503", timedelta(), status=503), TryLater),
        ("POST", Seen("red", "429", timedelta(), status=429), TryLater),
        ("POST", Seen("red", "500", timedelta(), status=500), Lost),
        ("POST", Seen("red", "no answer", timedelta(), heard="no-answer"), Lost),
        ("PUT", Seen("red", "500", timedelta(), status=500), TryLater),
        ("GET", Seen("red", "no answer", timedelta(), heard="no-answer"), TryLater),
        ("POST", Seen("red", "404", timedelta(), status=404), Impossible),
        ("GET", Seen("unknown", "no secret", timedelta(), heard="not-sent"), Impossible),
    ],
)
def test_what_an_answer_tells_about_the_effect_decides(system: System, method: Any, seen: Seen, expected: type) -> None:
    class Fixed:
        def probe(self, check: Any, look_up: Any) -> Seen:
            return seen

    system = replace(system, estate=replace(system.estate, prober=Fixed()))
    assert isinstance(do(system, CallHttp(Request(method, words("http://x/"), (201,)))), expected)


def test_a_saved_token_stays_out_of_the_journal(system: System) -> None:
    class Fixed:
        def probe(self, check: Any, look_up: Any) -> Seen:
            return Seen("green", "ok", timedelta(), saved={"token": "t0ps3cret", "id": "17"}, status=200)

    system = replace(system, estate=replace(system.estate, prober=Fixed()))
    outcome = do(system, CallHttp(Request("GET", words("http://x/"), (200,))))
    assert outcome == Succeeded("ok", {"id": "17"})


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def shell(script: str, **env: str | Template) -> RunCommand:
    argv = tuple(words(part) for part in ("/bin/sh", "-c", script))
    return RunCommand(argv, {name: words(text) if isinstance(text, str) else text for name, text in env.items()})


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", Succeeded), ("exit 75", TryLater), ("exit 1", Impossible), ("exit 2", Impossible)],
)
def test_the_exit_status_of_a_command_decides(system: System, script: str, expected: type) -> None:
    assert isinstance(do(system, shell(script)), expected)


def test_a_command_past_its_time_is_lost(system: System) -> None:
    assert isinstance(do(system, shell("exec sleep 30"), timeout=timedelta(milliseconds=300)), Lost)


def test_a_secret_that_a_command_echoes_does_not_reach_the_outcome(system: System) -> None:
    secrets = MemorySecrets({"${env:PASSWORD}": "hunter2/&"})
    system = replace(system, estate=replace(system.estate, secrets=secrets))
    password = Template((Ref(Space.ENV, "PASSWORD"),))
    outcome = do(system, shell('echo "it is $P" >&2; echo hunter2%2F%26 >&2; exit 3', P=password))
    assert isinstance(outcome, Impossible)
    assert "hunter2" not in outcome.why
    assert "it is ***" in outcome.why


def test_a_secret_may_not_be_an_argument(system: System) -> None:
    secrets = MemorySecrets({"${env:PASSWORD}": "pw"})
    system = replace(system, estate=replace(system.estate, secrets=secrets))
    outcome = do(system, RunCommand((words("echo"), Template((Ref(Space.ENV, "PASSWORD"),)))))
    assert isinstance(outcome, Impossible)
    assert outcome.code == 2


@pytest.mark.parametrize(("status", "expected"), [(0, Happened), (1, DidNot), (2, CannotTell), (127, CannotTell)])
def test_a_look_program_answers_by_its_exit_status(system: System, status: int, expected: type) -> None:
    asked = (words("/bin/sh"), words("-c"), words(f"exit {status}"))
    assert isinstance(look(system, shell("true"), look=asked), expected)


def test_a_command_without_a_look_program_cannot_be_looked_at(system: System) -> None:
    assert isinstance(look(system, shell("true")), CannotTell)


def test_a_value_of_an_earlier_step_is_found_by_the_name_in_the_plan(system: System) -> None:
    port = Template((Ref(Space.STEPS, "restore-database.port"),))
    outcome = do(system, shell('[ "$PORT" = 5433 ]', PORT=port), {"2.1-restore-database.port": "5433"})
    assert isinstance(outcome, Succeeded), outcome


def test_a_value_that_no_step_gave_is_named(system: System) -> None:
    outcome = do(system, shell("true", PORT=Template((Ref(Space.STEPS, "restore.port"),))), {"1.1-x.y": "1"})
    assert isinstance(outcome, Impossible)
    assert "${steps.restore.port}" in outcome.why
    assert "1.1-x.y" in outcome.why


# ── people ───────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_chat_service_cannot_stop_a_run(system: System) -> None:
    system.world.notifier.broken = True
    outcome = do(system, Tell("internal", "we are on it"))
    assert isinstance(outcome, Succeeded)
    assert outcome.values == {"told": "no"}


def test_a_wait_ends_as_soon_as_the_engine_says_stop(system: System) -> None:
    step = Step(Wait(timedelta(hours=1)), id=StepId("1.1-wait"))
    until = system.clock.elapsed() + timedelta(seconds=10)
    with pytest.raises(Cancelled):
        PortWorld(system.estate).do(acting(stop=lambda: system.clock.elapsed() >= until), step, {})
    assert system.clock.elapsed() < until + timedelta(seconds=2)


# ── errors, guard, dry ───────────────────────────────────────────────────────────────────────────


def test_every_verb_is_in_the_table() -> None:
    assert set(VERBS) == set(Verb.__args__)


@pytest.mark.parametrize("kind", LATER)
def test_what_may_pass_is_tried_later(kind: type[BackstayError]) -> None:
    assert isinstance(outcome_of(kind("no"), "it"), TryLater)


def test_what_passed_its_deadline_is_lost_and_the_rest_is_final() -> None:
    assert isinstance(outcome_of(TimedOut("late"), "it"), Lost)
    assert outcome_of(AccessDenied("no", detail="d", hint="h"), "it") == Impossible(
        "E41  no\n  known: d\n  try:   h", 41
    )
    with pytest.raises(Cancelled):
        outcome_of(Cancelled("stop"), "it")


@pytest.mark.parametrize(
    "error", [SourceDown("gone"), StoreUnreachable("gone"), RuntimeError("hunter2"), KeyError("x")]
)
def test_no_error_of_a_port_leaves_the_world(system: System, error: Exception) -> None:
    prober = faulty(system.world.prober, Fault(at=1, error=error, times=99))
    system = replace(system, estate=replace(system.estate, prober=prober))
    outcome = do(system, Smoke())
    assert isinstance(outcome, TryLater | Impossible)
    assert "hunter2" not in str(outcome)


def test_the_guard_refuses_a_component_of_another_site(system: System) -> None:
    def elsewhere(name: ComponentName) -> Placed:
        return Placed(SiteName("dr"), system.world.keeper(name))

    estate = replace(system.estate, keeper=elsewhere)
    world = Guarded(PortWorld(estate), estate)
    outcome = world.do(acting(), Step(Preserve(DATABASE), id=StepId("1.1-preserve")), {})
    assert isinstance(outcome, Impossible)
    assert outcome.code == 63
    assert "database on the site 'dr'" in outcome.why
    assert system.world.effects()["database"] == []


def test_the_guard_refuses_a_request_to_another_site(system: System) -> None:
    sites = {
        PRIMARY: Site(PRIMARY, {"api": words("https://api.example.com")}),
        SiteName("sandbox"): Site(SiteName("sandbox"), {"api": words("http://127.0.0.1:8000")}),
    }
    estate = replace(system.estate, plan=replace(system.world.plan, sites=sites), site=SiteName("sandbox"))
    world = Guarded(PortWorld(estate), estate)
    for url, expected in (("https://API.example.com/x", Impossible), ("http://127.0.0.1:8000/x", Succeeded)):
        step = Step(CallHttp(Request("POST", words(url), (200,))), id=StepId("1.1-http"))
        assert isinstance(world.do(acting(), step, {}), expected), url


def test_the_guard_refuses_it_also_where_the_sandbox_is_not_in_the_plan(system: System) -> None:
    unknown = Request("GET", Template((Ref(Space.ENV, "NO_SUCH"),)), (200,))
    flow = (unknown, Request("POST", words("https://api.example.com/register"), (201,)))
    made = replace(system.world.plan, smoke={"user": HttpCheck("user", flow)})
    estate = replace(system.estate, plan=made, site=SiteName("sandbox"), mode=Mode.DRILL)
    outcome = Guarded(PortWorld(estate), estate).do(acting(), Step(Smoke(), id=StepId("1.1-smoke")), {})
    assert isinstance(outcome, Impossible)
    assert outcome.code == 63


def test_a_dry_run_changes_nothing_and_says_everything(system: System) -> None:
    said = list[str]()
    world, given = Dry(PortWorld(system.estate), system.estate, said.append), dict[str, str]()
    before = system.world.seen()
    for step in steps_of(system):
        outcome = world.do(replace(acting(), step=step.id), step, given)
        assert isinstance(outcome, Succeeded), outcome
        given |= {f"{step.id}.{name}": value for name, value in outcome.values.items()}
    assert system.world.seen() == before
    assert all(not effects for effects in system.world.effects().values())
    assert len(said) == len(steps_of(system))
    assert any("would restore database beside the old one" in line and "There now:" in line for line in said)
