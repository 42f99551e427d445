"""The plan file: what is read out of a good one, what is said of a wrong one, the pages made of the declarations."""

from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backstay import config
from backstay.config.forms import Form
from backstay.config.fragments import plain
from backstay.config.nodes import Problem
from backstay.config.reading import At, Reading
from backstay.config.sections.whole import PLAN
from backstay.config.syntax import compose
from backstay.config.tables import Key, tables_in
from backstay.errors import AccessDenied, PlanInvalid, PlanMissing
from backstay.plan import (
    Approve,
    Ask,
    CallHttp,
    Choose,
    CommandCheck,
    CommandSource,
    Compare,
    DailyAt,
    Every,
    HttpCheck,
    Keep,
    Mode,
    OneOf,
    Plan,
    PostgresSource,
    PostgresWay,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    SqliteSource,
    Template,
    Wait,
    Within,
)
from backstay.values import ComponentName, Period, PersonName, SiteName, VaultName, digest_of
from fix_plans import GOOD, PLANS, WRONG, against

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = (PLANS / "good/minimal.yaml").read_text()


def good(name: str) -> Plan:
    return config.load(PLANS / f"good/{name}.yaml")


def said(text: str) -> list[str]:
    """Path and message of every problem."""
    return [f"{problem.path}: {problem.message}" for problem in config.problems(text, "plan.yaml")]


def steps_of(plan: Plan, scenario: str) -> list[Any]:
    return [step.verb for phase in plan.scenario(scenario).procedure for step in phase.steps]


# ── wrong plans ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_a_wrong_plan_gets_exactly_these_words(file: Path) -> None:
    with pytest.raises(PlanInvalid) as caught:
        config.load(file)
    expected = file.with_suffix(".expected").read_text().rstrip("\n")
    assert caught.value.detail.replace(f"{file.parent}/", "") == expected


def test_the_corpus_is_large_enough() -> None:
    assert len(WRONG) >= 45
    assert sum(file.with_suffix(".expected").read_text().count("\n") > 3 for file in WRONG) >= 20


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_no_message_quotes_a_secret(file: Path) -> None:
    expected = file.with_suffix(".expected").read_text()
    assert not [word for word in ("hunter2", "aHVudGVyMg", "glsa_", "hooks.slack", "QQQQ") if word in expected]


def test_the_error_counts_the_problems_and_names_the_file() -> None:
    with pytest.raises(PlanInvalid, match=r"plan\.yaml has 2 problems"):
        config.parse("backstay: 1\nsystem: {name: x}\n", "plan.yaml")


def test_problems_are_values_for_json() -> None:
    text = MINIMAL.replace("system:", "sistem:")
    assert config.problems(text, "p.yaml") == [
        Problem("p.yaml", 2, 1, "$.sistem", "unknown key `sistem`; did you mean `system`?")
    ]


def test_one_wrong_letter_is_one_problem() -> None:
    """Everything below a misspelled key is read as if it were spelled right."""
    text = (PLANS / "good/reference.yaml").read_text()
    for right, wrong in (
        ("components:", "componnets:"),
        ("people:", "poeple:"),
        ("sites:", "stes:"),
        ("smoke:", "smok:"),
    ):
        assert len(said(text.replace(f"\n{right}", f"\n{wrong}"))) == 1, wrong


def test_a_file_that_is_not_there_is_another_error(tmp_path: Path) -> None:
    with pytest.raises(PlanMissing):
        config.load(tmp_path / "backstay.yaml")
    with pytest.raises(PlanMissing):
        config.load(tmp_path)
    (tmp_path / "x").write_text("")
    with pytest.raises(PlanMissing):
        config.load(tmp_path / "x/backstay.yaml")


def test_a_file_that_may_not_be_read_is_another_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "backstay.yaml").write_text(MINIMAL)
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(AccessDenied):
        config.load(tmp_path / "backstay.yaml")


# ── good plans ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_plan_is_read(file: Path) -> None:
    plan, kept = config.load_kept(file)
    assert plan.digest == digest_of(kept)
    assert config.parse(kept.decode(), "elsewhere.yaml") == plan


def test_the_smallest_plan_has_sensible_defaults() -> None:
    plan = config.parse(MINIMAL, "backstay.yaml")
    database = plan.component("database")
    assert database.source == PostgresSource(url=plan.component("database").source.url)  # type: ignore[union-attr]
    assert database.protect.full == DailyAt(time(2, 0))
    assert database.prove.at == DailyAt(time(3, 0))
    assert plan.timezone == "UTC"
    assert plan.system.title == "shop"
    assert list(plan.sites) == ["primary"]
    assert plan.vault("local").keep == Keep(Period(span=timedelta(days=30)))
    assert str(plan.vault("local").url) == "./vault"
    assert plan.digest == digest_of(MINIMAL.encode())


def test_the_reference_plan_says_everything() -> None:
    plan = good("reference")
    assert plan.system.reviewed == date(2025, 10, 6)
    assert plan.system.review_every == Period(months=1)
    assert plan.objectives.availability == Decimal("99.9")
    assert plan.targets["certificate"] == timedelta(minutes=10)
    assert plan.excluded[0].agreed_by == "cto"
    assert plan.dns is not None
    assert plan.dns.ttl == timedelta(seconds=60)
    assert plan.vault("offsite").lock == timedelta(days=30)
    assert [component.kind for component in plan.components.values()] == [
        "postgres", "sqlite", "kubernetes", "git", "image", "files", "prometheus", "grafana",
    ]  # fmt: skip
    assert plan.vaults_of(plan.component("metrics")) == (VaultName("local"),)
    assert plan.watch is not None
    assert plan.watch.checks == ("health",)
    assert plan.alive is not None
    assert str(plan.alive[0]) == "${env:HEALTHCHECK_URL}"
    assert plan.authority.with_approval == "incident-commander"
    assert plan.criteria[5].when == "forecast > 2h"
    assert plan.audiences["customers"].settings["list.from"] == "database"
    assert plan.audiences["status_page"].within == timedelta(0)
    assert plan.war_room == "https://meet.example.com/dr"
    assert str(plan.templates) == "./templates"
    assert [(task.name, str(task.within)) for task in plan.after] == [
        ("immediate", "1 d"), ("short_term", "7 d"), ("long_term", "1 month"),
    ]  # fmt: skip
    assert plan.postmortem["published"] == Period(span=timedelta(hours=48))
    assert [drill.mode for drill in plan.drills] == [Mode.DRILL, Mode.DRILL, Mode.TABLETOP]
    assert plan.drills[1].every == DailyAt(time(4, 0))
    assert plan.site("dr").cluster is not None


def test_a_component_of_the_reference_plan() -> None:
    database = good("reference").component("database")
    assert isinstance(database.source, PostgresSource)
    assert database.source.way is PostgresWay.AUTO
    assert str(database.source.url.on(SiteName("dr"))) == "${env:DATABASE_URL}"
    assert (database.protect.full, database.protect.wal) == (DailyAt(time(2, 0)), True)
    assert database.protect.incremental == Every(Period(span=timedelta(hours=6)))
    assert database.prove.max_age == timedelta(hours=24)
    assert [question.name for question in database.prove.ask] == ["tenants", "orphaned lattices"]
    assert database.prove.ask[0].expect == Compare(">=", Decimal(1))
    assert database.newest == "SELECT max(at) FROM heartbeat"


def test_a_flow_of_the_reference_plan() -> None:
    plan = good("reference")
    user, script = plan.smoke["user"], plan.smoke["script"]
    assert isinstance(user, HttpCheck)
    assert [request.method for request in (*user.flow, *user.cleanup)] == ["POST", "POST", "POST", "DELETE"]
    assert user.flow[1].save == {"token": "$.token"}
    assert str(user.flow[2].bearer) == "${saved.token}"
    assert user.flow[2].json == {"dimensions": Decimal(4), "size": Decimal(5)}
    assert user.flow[2].expect == (201,)
    assert isinstance(script, CommandCheck)
    assert str(script.env["PRODUCTION_URL"]) == "${site.api}"


def test_the_procedure_of_the_reference_plan() -> None:
    plan = good("reference")
    database = ComponentName("database")
    assert steps_of(plan, "database-loss") == [
        Scale("catalytic-saas-api", "deployment", 0),
        Preserve(database, timedelta(minutes=3), required=False),
        Choose(database, "proven"),
        Restore(database, beside=True),
        Ask(database),
        Scale("catalytic-saas-api", "deployment", None),
        Smoke(),
    ]
    assert [phase.target for phase in plan.scenario("database-loss").procedure] == [
        timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=5),
    ]  # fmt: skip


def test_what_a_small_plan_can_say_shortly() -> None:
    plan = good("demo")
    process = plan.site("primary").processes["api"]
    assert [str(part) for part in process.start] == ["python", "-m", "catalytic", "serve"]
    assert str(process.pid_file) == "./run/api.pid"
    settings = plan.component("settings")
    assert isinstance(settings.source, SqliteSource)
    assert str(settings.source.path.anywhere) == "./data/settings.db"
    assert settings.protect.full == Every(Period(span=timedelta(hours=6)))
    expectations = [question.expect for question in plan.component("database").prove.ask]
    assert expectations == [Compare(">=", Decimal(1)), Within(timedelta(hours=1)), OneOf(("clean", "migrated"))]
    assert plan.audiences["internal"].to == ()
    health = plan.smoke["health"]
    assert isinstance(health, HttpCheck)
    assert 204 in health.flow[0].expect
    assert 302 not in health.flow[0].expect


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────


def test_five_scenarios_are_built_in() -> None:
    plan = config.parse(MINIMAL, "backstay.yaml")
    assert {name: scenario.objectives.rto for name, scenario in plan.scenarios.items()} == {
        "application-bug": timedelta(minutes=15),
        "cluster-failure": timedelta(hours=1),
        "database-loss": timedelta(minutes=30),
        "ransomware": timedelta(hours=2),
        "region-outage": timedelta(hours=1),
    }


def test_the_built_in_recovery_is_that_of_the_reference_plan() -> None:
    built_in, reference = good("demo").scenario("database-loss"), good("reference").scenario("database-loss")
    assert [phase.name for phase in built_in.procedure] == [phase.name for phase in reference.procedure]
    assert [phase.target for phase in built_in.procedure] == [phase.target for phase in reference.procedure]
    renamed = [Scale("catalytic-saas-api", "deployment", v.to) if isinstance(v, Scale) else v
               for v in steps_of(good("demo"), "database-loss")]  # fmt: skip
    assert renamed == steps_of(good("reference"), "database-loss")
    assert (built_in.title, built_in.strategy) == (reference.title, reference.strategy)


def test_nothing_is_stopped_where_nothing_runs() -> None:
    plan = config.parse(MINIMAL, "backstay.yaml")
    assert not [verb for verb in steps_of(plan, "database-loss") if isinstance(verb, Scale)]
    assert "database-loss: nothing is stopped while data is restored: no step scales a workload" in config.remarks(plan)


def test_no_database_no_procedure() -> None:
    plan = config.parse(MINIMAL.replace("postgres: ${env:DATABASE_URL}", "files: ./x"), "backstay.yaml")
    assert plan.scenario("database-loss").procedure == ()


def test_a_lonely_sqlite_database_is_the_database() -> None:
    plan = config.parse(MINIMAL.replace("postgres: ${env:DATABASE_URL}", "sqlite: ./x"), "backstay.yaml")
    assert Restore(ComponentName("database")) in steps_of(plan, "database-loss")


def test_postgres_goes_before_sqlite() -> None:
    assert Restore(ComponentName("database")) in steps_of(good("demo"), "database-loss")


def test_a_plan_changes_a_built_in_scenario_by_phases() -> None:
    plan = good("several-databases")
    scenario = plan.scenario("database-loss")
    assert scenario.objectives.rto == timedelta(minutes=45)
    assert scenario.objectives.rpo == timedelta(hours=24), "what is not said is as it was"
    assert [(phase.name, phase.target) for phase in scenario.procedure] == [
        ("Stop and preserve", timedelta(minutes=5)),
        ("Restore", timedelta(minutes=25)),
        ("Warm up", timedelta(minutes=2)),
        ("Verify and reopen", timedelta(minutes=5)),
    ]
    assert steps_of(plan, "database-loss")[:3] == [
        Scale("api", "process", 0), Scale("worker", "process", 0), Preserve(ComponentName("orders")),
    ]  # fmt: skip
    warm, clear = scenario.procedure[2].steps
    assert (warm.id, clear.needs, clear.repeatable, warm.timeout) == ("warm", ("warm",), True, timedelta(minutes=2))
    assert isinstance(warm.verb, RunCommand)
    assert isinstance(clear.verb, CallHttp)
    assert [str(part) for part in warm.look] == ["scripts/is-warm"]


def test_a_scenario_of_ones_own() -> None:
    plan = good("several-databases")
    decide, _ = plan.scenario("flood").procedure
    assert decide.steps[0].verb == Approve("Move to the other site?", (PersonName("ceo"), PersonName("cto")), 1)
    assert decide.steps[3].verb == Wait(timedelta(seconds=30))
    assert isinstance(plan.component("directory").source, CommandSource)
    users = plan.component("users").source
    assert isinstance(users, PostgresSource)
    assert users.way is PostgresWay.MANAGED
    assert {name: str(value) for name, value in users.managed.items()} == {
        "rds": "users-prod", "login": "${file:/run/secrets/users-url}",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "repeatable"), [("get", True), ("head", True), ("post", False), ("delete", False)])
def test_a_request_that_only_reads_is_repeatable(method: str, repeatable: bool) -> None:
    step = f"{{http: {{{method}: 'https://a'}}}}"
    text = (
        f"scenarios: {{x: {{title: X, probability: low, impact: low, procedure: [{{phase: P, steps: [{step}]}}]}}}}\n"
    )
    plan = config.parse(MINIMAL + text, "backstay.yaml")
    assert plan.scenario("x").procedure[0].steps[0].repeatable is repeatable
    assert any("neither `look` nor `repeatable: true`" in remark for remark in config.remarks(plan)) is not repeatable


# ── several files ────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_laid_over_what_it_extends() -> None:
    plan = good("extended")
    assert (plan.system.title, plan.system.owner) == ("The Shop in production", "DevOps Team")
    assert (plan.objectives.rto, plan.objectives.rpo) == (timedelta(hours=1), timedelta(hours=24))
    assert plan.vault("local").keep == Keep(Period(span=timedelta(days=30)))
    assert list(plan.vaults) == ["local", "offsite"]
    assert list(plan.people) == ["cto"]


def test_the_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "shared").mkdir(parents=True)
        for name in ("extended.yaml", "shared/common.yaml"):
            (tmp_path / folder / name).write_bytes((PLANS / "good" / name).read_bytes())
    first, second = config.load(tmp_path / "a/extended.yaml"), config.load(tmp_path / "b/extended.yaml")
    assert first == second == good("extended")
    common = tmp_path / "b/shared/common.yaml"
    common.write_text(common.read_text().replace("DevOps Team", "Ops"))
    assert config.load(tmp_path / "b/extended.yaml").digest != first.digest, "what is extended is part of the plan"


def test_a_problem_in_a_fragment_has_the_place_in_the_fragment(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("objectives:\n  rto: 30x\n")
    (tmp_path / "backstay.yaml").write_text("extends: common.yaml\n" + MINIMAL)
    problem = config.problems((tmp_path / "backstay.yaml").read_text(), str(tmp_path / "backstay.yaml"))[0]
    assert (problem.file, problem.line, problem.column) == (str(tmp_path / "common.yaml"), 2, 8)


# ── remarks ──────────────────────────────────────────────────────────────────────────────────────


def test_remarks_are_sentences_about_gaps() -> None:
    assert config.remarks(good("demo")) == [
        "settings: no questions (`prove: {ask: …}`): a proof cannot tell whether the data is right",
        "every vault is a folder: whatever takes this machine takes the recovery points with it",
        "no procedure yet for application-bug, cluster-failure, ransomware and region-outage",
        UNDONE + "`communication` (internal and customers): no messages are sent; people have to send them",
    ]


UNDONE = "not done by this version: "


def test_remarks_say_what_this_version_does_nothing_with() -> None:
    more = "alive: {ping: 'https://a', every: 5m}\ndns: {zone: a.com, record: b, ttl: 60s, provider: route53}\n"
    text = MINIMAL.replace("./vault", "{url: 'gs://bucket/here', keep: 90d, lock: 30d}") + more
    found = [said for said in config.remarks(config.parse(text, "backstay.yaml")) if said.startswith(UNDONE)]
    assert found == [
        UNDONE + "`lock` (local): only buckets in S3 are locked; whoever may write there may delete",
        UNDONE + "`alive`: nobody outside is told that Backstay still runs",
        UNDONE + "`dns`: no record is changed; people have to change it",
    ]


def test_remarks_name_what_each_component_asks_for_in_vain() -> None:
    vain = "{url: 'postgresql://a', way: stream}\n    protect: {full: 1d, wal: continuous, before: deployment}"
    text = MINIMAL.replace("${env:DATABASE_URL}", vain)
    found = [said for said in config.remarks(config.parse(text, "backstay.yaml")) if said.startswith(UNDONE)]
    assert found[:2] == [
        UNDONE + "`before` (database): nothing sees a deployment; run `backstay backup` before each",
    ]
    assert not any("stream" in said for said in found), "that is done"
    managed = "{url: 'postgresql://a', managed: {rds: shop}}\n    protect: {full: 1d}"
    found = list(config.remarks(config.parse(MINIMAL.replace("${env:DATABASE_URL}", managed), "backstay.yaml")))
    said = "`managed` (database): no provider is asked; PostgreSQL is taken by its files or by a dump only"
    assert UNDONE + said in found


def test_remarks_name_placeholders_and_missing_keys() -> None:
    text = MINIMAL.replace("./vault", "{url: ./vault, readers: [age1ops…]}")
    more = (
        "people: {a: {name: A}, b: {name: B}}\nroles: {r: {primary: a}}\nsites: {primary: {api: 'https://a'}, dr: {}}\n"
    )
    more += "declaration: {authority: {with_approval: {role: r, of: [b]}}}\nsmoke: {h: {get: '${site.api}'}}\n"
    found = config.remarks(config.parse(text + more, "backstay.yaml"))
    assert "vault local: `age1ops…` stands for a reader, and is no key yet" in found
    assert "no key for b: what they approve is a claim, not a proof" in found
    assert "`${site.api}` is not said for 1 site: dr; smoke checks cannot run there" in found


# ── the declarations as documents ────────────────────────────────────────────────────────────────


def test_the_reference_page_is_what_the_declarations_say() -> None:
    assert (ROOT / "docs/reference/plan-file.md").read_text() == config.reference()


def every_key() -> list[Any]:
    keys: dict[str, Key[Any]] = {
        f"{table.title}.{key.name}": key for table in tables_in(PLAN) for key in table.all_keys()
    }
    return [pytest.param(key, id=name) for name, key in keys.items()]


@pytest.mark.parametrize("key", every_key())
def test_the_example_of_a_key_is_read_by_its_form(key: Key[Any]) -> None:
    assert key.help
    assert read_alone(key.form, key.example) == []


def read_alone(form: Form[Any], text: str) -> list[str]:
    """Problems of shape: what a text names need not exist here."""
    reading = Reading()
    node = compose(f"example: {text}\n", "example", reading.problems)
    value = getattr(node, "entries")["example"][1]  # noqa: B009 - the type is one of three
    form.read(At(reading, value, ("example",)))
    return [str(problem) for problem in reading.problems if "nothing was saved" not in problem.message]


@pytest.mark.parametrize("file", [*GOOD, PLANS / "good/shared/common.yaml"], ids=lambda file: file.stem)
def test_a_good_plan_satisfies_the_schema(file: Path) -> None:
    assert against(config.schema(), plain(compose(file.read_text(), "plan", []))) == []


def test_a_plan_as_one_file_satisfies_the_schema() -> None:
    kept = config.kept(PLANS / "good/extended.yaml").decode()
    assert "extends" not in kept
    assert against(config.schema(), plain(compose(kept, "plan", []))) == []


def test_the_schema_refuses_what_has_the_wrong_shape() -> None:
    wrong = {
        "backstay": "1",
        "system": {"nam": "x"},
        "vaults": {"A B": "./v"},
        "components": {"a": {"sqlite": "x", "files": "y"}},
        "excluded": [{"what": "x", "because": "y"}],
    }
    assert against(config.schema(), wrong) == [
        "$.backstay: is not integer",
        "$.system.nam: is not allowed",
        "$.vaults.A B: does not match ^(?=.{1,63}$)[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        "$.components.a: 2 of oneOf fit",
        "$.excluded[0]: agreed_by is missing",
    ]


def test_printing_a_template_resolves_nothing() -> None:
    plan = config.parse(MINIMAL, "backstay.yaml")
    source = plan.component("database").source
    assert isinstance(source, PostgresSource)
    assert str(source.url.anywhere) == "${env:DATABASE_URL}"
    assert isinstance(source.url.anywhere, Template)
    assert source.url.anywhere.is_secret()
