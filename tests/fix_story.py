"""Small true-to-life values for the story tests: a plan, points, proofs, facts. All pure, with clocks of their own."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from backstay import recover
from backstay.facts import (
    CheckResult,
    CheckSeen,
    CommandTaken,
    DisasterDeclared,
    Driving,
    Ended,
    Fact,
    Hold,
    Intended,
    LineageBegan,
    MessageSent,
    Noted,
    Point,
    PointTaken,
    Proof,
    ProofGiven,
    Recorded,
    RecoveryDeclared,
    RunAttached,
    RunEnded,
    Rung,
    RunStarted,
    Succeeded,
    Verdict,
)
from backstay.plan import (
    Ask,
    Audience,
    Authority,
    Choose,
    Compare,
    Component,
    Criterion,
    DailyAt,
    DrillRule,
    Every,
    Excluded,
    FollowUp,
    HttpCheck,
    Keep,
    Level,
    Mode,
    Objectives,
    PerSite,
    Person,
    Phase,
    Plan,
    PostgresSource,
    Preserve,
    PrometheusSource,
    Protect,
    Prove,
    Question,
    Restore,
    Role,
    Scale,
    Scenario,
    Site,
    Smoke,
    SqliteSource,
    Step,
    System,
    Template,
    VaultPlace,
    Vendor,
)
from backstay.values import (
    Between,
    ComponentName,
    Digest,
    IncidentId,
    LineageId,
    Period,
    PersonName,
    PointId,
    RoleName,
    RunId,
    ScenarioName,
    SiteName,
    StepId,
    StreamName,
    VaultName,
    stamp,
)

DATABASE = ComponentName("database")
SETTINGS = ComponentName("settings-db")
METRICS = ComponentName("metrics")
LOCAL = VaultName("local")
PRIMARY = SiteName("primary")
PLAN = Digest("sha256:" + "1" * 64)
LINE = LineageId("pg-7300000000000000001-1")

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def at(text: str) -> datetime:
    """`2026-11-22 02:00` or `02:00:30` (of that day), in UTC."""
    if "-" not in text:
        text = f"2026-11-22 {text}"
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOW = at("12:00")


def words(text: str) -> Template:
    return Template((text,))


def point(
    began: datetime,
    component: ComponentName = DATABASE,
    *,
    lineage: str = LINE,
    newest: datetime | Literal["began"] | None = "began",
    size: int = 200_000_000,
    tail: str = "0a0b0c0d",
    **about: str,
) -> Point:
    return Point(
        id=PointId(f"{began:%Y%m%dT%H%M%SZ}-{tail}"),
        component=component,
        lineage=LineageId(lineage),
        parent=None,
        way="local",
        began=began,
        ended=began + 20 * SECOND,
        newest=began if newest == "began" else newest,
        newest_source="last commit",
        size_bytes=size,
        stored_bytes=size // 4,
        files=1200,
        plan=PLAN,
        writer="host1",
        about=about,
    )


def check(
    verdict: Verdict = Verdict.PASSED,
    rung: Rung = Rung.RESTORE,
    code: str = "R01",
    said: str = "restored and started in 22 s",
    name: str = "restore",
) -> CheckResult:
    return CheckResult(code, rung, name, verdict, said)


def proof(
    of: Point,
    ended: datetime,
    *checks: CheckResult,
    took: timedelta | None = 22 * SECOND,
    counts: dict[str, int] | None = None,
    tier: Literal["bytes", "sample", "full"] = "full",
) -> Proof:
    return Proof(
        point=of.id,
        component=of.component,
        vault=LOCAL,
        tier=tier,
        began=ended - MINUTE,
        ended=ended,
        restore_took=took,
        checks=checks or (check(),),
        counts=counts or {},
        plan=PLAN,
    )


def hold(of: Point, kind: Any, when: datetime, *, id: str = "h1", until: datetime | None = None) -> Hold:
    return Hold(id, of.id, of.component, kind, "rows look wrong", "dba-lead", when, until)


def recorded(stream: str, *facts: tuple[datetime, Fact]) -> tuple[Recorded, ...]:
    """Facts of one stream. Their links are made up: nothing in the story reads them."""
    return tuple(
        Recorded(StreamName(stream), seq, when, fact, Digest("sha256:" + "0" * 64), Digest(f"sha256:{seq:064x}"))
        for seq, (when, fact) in enumerate(facts, 1)
    )


def in_order(*streams: Iterable[Recorded]) -> list[Recorded]:
    return sorted((fact for stream in streams for fact in stream), key=lambda fact: (stamp(fact.at), fact.seq))


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────


def database(**changes: Any) -> Component:
    component = Component(
        DATABASE,
        PostgresSource(PerSite(words("postgresql://…"))),
        protect=Protect(full=DailyAt(time(2)), incremental=Every(Period(span=6 * HOUR))),
        prove=Prove(
            at=DailyAt(time(3)),
            max_age=24 * HOUR,
            within=30 * MINUTE,
            ask=(
                Question("SELECT count(*) FROM tenants", Compare(">=", Decimal(1)), "tenants"),
                Question("SELECT count(*) FROM orphans", Compare("=", Decimal(0)), "orphaned lattices"),
            ),
        ),
        objectives=Objectives(rto=30 * MINUTE, rpo=24 * HOUR),
        newest="SELECT max(at) FROM heartbeat",
    )
    return replace(component, **changes)


def database_loss() -> Scenario:
    return Scenario(
        ScenarioName("database-loss"),
        "Database corruption or loss",
        Level.MEDIUM,
        Level.CRITICAL,
        Objectives(rto=30 * MINUTE, rpo=24 * HOUR),
        "Restore from backup",
        (
            Phase(
                "Stop and preserve",
                (Step(Scale("api", "process", 0)), Step(Preserve(DATABASE))),
                5 * MINUTE,
            ),
            Phase("Restore", (Step(Choose(DATABASE)), Step(Restore(DATABASE))), 15 * MINUTE),
            Phase(
                "Verify and reopen",
                (Step(Ask(DATABASE)), Step(Scale("api", "process", None)), Step(Smoke(), id=StepId("smoke"))),
                5 * MINUTE,
            ),
        ),
    )


PEOPLE = {
    PersonName(name): Person(PersonName(name), title, email)
    for name, title, email in (
        ("cto", "CTO", "cto@example.com"),
        ("devops-lead", "DevOps Lead", "oncall-devops@example.com"),
        ("engineering-lead", "Engineering Lead", "eng@example.com"),
        ("dba-lead", "DBA Lead", "dba@example.com"),
    )
}
CTO, DEVOPS, ENGINEERING, DBA = PEOPLE
COMMANDER, ADMIN = RoleName("incident-commander"), RoleName("database-admin")
SYSTEM = System(
    "catalytic-saas",
    "Catalytic Computing SaaS",
    "Restore the platform within acceptable time after a catastrophic failure.",
    "DevOps Team",
    "CTO",
    "Catalytic Computing",
    date(2026, 10, 6),
    Period(1),
)
AUDIENCES = {
    "internal": Audience("internal", (words("…"),), every=15 * MINUTE),
    "status_page": Audience("status_page", (words("…"),), within=timedelta()),
    "customers": Audience("customers", (words("…"),), within=30 * MINUTE),
    "social": Audience("social", (words("…"),), settings={"when": "public"}),
}
CRITERIA = (
    Criterion("complete loss of the production environment", "smoke all red for 10m"),
    Criterion("data corruption affecting more than 50% of the data", "rows refuted > 50%"),
    Criterion("unrecoverable application failure"),
    Criterion("estimated recovery time over 2 hours", "forecast > 2h"),
)


def settings() -> Component:
    source = SqliteSource(PerSite(words("/var/lib/catalytic/settings.db")))
    return Component(SETTINGS, source, protect=Protect(full=DailyAt(time(2))))


def plan(**changes: Any) -> Plan:
    made = Plan(
        digest=PLAN,
        version=1,
        timezone="UTC",
        system=SYSTEM,
        objectives=Objectives(rto=HOUR, rpo=24 * HOUR, availability=Decimal("99.9")),
        sites={PRIMARY: Site(PRIMARY, {"api": words("https://api.example.com")})},
        vaults={LOCAL: VaultPlace(LOCAL, words("./vault"), Keep(Period(span=timedelta(days=30))))},
        components={DATABASE: database(), SETTINGS: settings()},
        scenarios={ScenarioName("database-loss"): database_loss()},
        targets={"dns": 5 * MINUTE, "certificate": 10 * MINUTE},
        excluded=(Excluded("user files", "the platform stores none", CTO),),
        smoke={"health": HttpCheck("health", ()), "metrics": HttpCheck("metrics", ()), "user": HttpCheck("user", ())},
        people=PEOPLE,
        roles={COMMANDER: Role(COMMANDER, DEVOPS, ENGINEERING), ADMIN: Role(ADMIN, DBA)},
        vendors=(Vendor("AWS", "Cloud infrastructure", "support portal", "P1: 15 min"),),
        authority=Authority((CTO, DEVOPS, ENGINEERING), COMMANDER, (CTO, ENGINEERING, DEVOPS)),
        criteria=CRITERIA,
        audiences=AUDIENCES,
        war_room="https://meet.example.com/dr",
        after=(
            FollowUp("immediate", Period(span=24 * HOUR)),
            FollowUp("short_term", Period(span=timedelta(weeks=1))),
            FollowUp("long_term", Period(1)),
        ),
        postmortem={"internal": Period(span=timedelta(weeks=1)), "published": Period(span=48 * HOUR)},
        drills=(DrillRule(ScenarioName("database-loss"), Every(Period(3)), Mode.DRILL, (DEVOPS, DBA), 3 * HOUR),),
    )
    return replace(made, **changes)


def unsupported() -> Component:
    return Component(METRICS, PrometheusSource(words("http://prometheus:9090")), protect=Protect(full=DailyAt(time(2))))


# ── a whole story ───────────────────────────────────────────────────────────────────────────────────


def happened(run: RunStarted, *ends: tuple[str, float, str, dict[str, str]]) -> tuple[tuple[datetime, Fact], ...]:
    """The facts of a run in which each step took some seconds and succeeded, one after the other."""
    moment = run.declared
    facts: list[tuple[datetime, Fact]] = [(moment, run), (moment, Driving("host1", 1, moment + HOUR))]
    for step, seconds, saw, values in ends:
        took = timedelta(seconds=seconds)
        facts.append((moment, Intended(StepId(step), 1, 1)))
        moment += took
        facts.append((moment, Ended(StepId(step), 1, Succeeded(saw, values), took)))
    return (*facts, (moment, RunEnded("recovered", f"{len(ends)} steps done")))


def run_started(
    of: Plan, id: str, when: datetime, mode: Mode, disaster: Between | None = None, **more: Any
) -> RunStarted:
    scenario = of.scenarios[ScenarioName("database-loss")]
    phases = recover.compile(of, scenario.name, PRIMARY, mode)
    assert not isinstance(phases, recover.NoRecovery)
    site = PRIMARY if mode is Mode.LIVE else SiteName("sandbox")
    given: dict[str, Any] = {
        "run": RunId(id), "scenario": scenario.name, "title": scenario.title, "mode": mode, "plan": of.digest,
        "site": site, "by": PersonName("devops-lead"), "incident": None, "declared": when, "disaster": disaster,
        "objectives": scenario.objectives, "phases": phases, "components": recover.components_of(phases),
    }  # fmt: skip
    return RunStarted(**(given | more))


TABLES = {"public.tenants": 12, "public.users": 480, "public.lattices": 40_000}
POINT = point(at("02:00"))
DISASTER = Between(at("09:59:30"), at("10:00:30"), "smoke check health: last green, then red")


def usual_steps(slower: float = 1) -> tuple[tuple[str, float, str, dict[str, str]], ...]:
    return (
        ("1.1-stop-api", 2 * slower, "0 of api run", {"workload": "api", "found": "2", "running": "0"}),
        ("1.2-preserve-database", 0.4, "moved aside to data.r2", {"kept": "/srv/data.r2"}),
        ("2.1-choose-database", 0.2, f"{POINT.id} from local: the newest proven point",
         {"chosen": "database", "point": POINT.id, "vault": "local", "moment": stamp(POINT.moment),
          "because": "the newest proven point, 8 h old, proven at 2026-11-22 03:01:00 UTC"}),
        ("2.2-restore-database", 24 * slower, "200 MB back, postmaster 4711 is up",
         {"restored": "database", "point": POINT.id, "vault": "local", "newest": stamp(POINT.moment)}),
        ("3.1-ask-database", 1.5, "database: 2 questions answered as expected; 40,492 rows in 3 tables",
         {"rows": "40492", "tables": "3", "newest": stamp(POINT.moment),
          **{f"rows.{name}": str(rows) for name, rows in TABLES.items()}}),
        ("3.2-start-api", 3, "2 of api run", {"workload": "api", "running": "2"}),
        ("3.3-smoke", 4, "3 checks green in 900 ms", {"smoke.health": "green", "last_green": stamp(at("10:04"))}),
    )  # fmt: skip


def whole_story() -> tuple[list[Recorded], list[Point], list[Proof]]:
    """A point, its proof, a drill at night, a disaster in the morning, the recovery; and what the vault has."""
    of = plan()
    checks = (
        check(),
        check(rung=Rung.VOLUME, code="V01", name="rows",
              said="40,492 rows in 3 tables; there is no earlier proof to compare with"),
        check(rung=Rung.MEANING, code="M01", name="tenants", said="tenants: 12, as expected (>= 1)"),
        check(rung=Rung.CLOCK, code="C01", name="age", said="1 h 1 min old, within 24 h (the RPO)"),
    )  # fmt: skip
    proven = proof(POINT, at("03:01"), *checks, counts=TABLES)
    component = recorded(
        "component/database",
        (POINT.ended, PointTaken(RunId("b1"), LOCAL, POINT, 20 * SECOND)),
        (proven.ended, ProofGiven(RunId("p1"), proven)),
        (at("10:02"), LineageBegan(DATABASE, RunId("r2"), POINT.id, "pg-7300000000000000001-2")),
    )
    watch = recorded(
        "watch",
        (at("01:00"), CheckSeen("health", "green", at("01:00"), None)),
        (at("10:00:30"), CheckSeen("health", "red", at("10:00:30"), at("09:59:30"), "connection refused")),
    )
    drill = recorded("run/d1", *happened(run_started(of, "d1", at("04:00"), Mode.DRILL), *usual_steps(1.5)))
    incident = IncidentId("i1")
    declared = DisasterDeclared(
        incident, ScenarioName("database-loss"), PersonName("devops-lead"), "alone",
        ("complete loss of the production environment",),
        {"complete loss of the production environment": "health red since 2026-11-22 10:00:30 UTC"}, DISASTER,
    )  # fmt: skip
    story = recorded(
        "incident/i1",
        (at("10:03"), declared),
        (at("10:03:01"), CommandTaken(PersonName("devops-lead"))),
        (at("10:03:02"), RunAttached(RunId("r2"))),
        (at("10:03:05"), MessageSent("internal", "emergency", PLAN, True)),
        (at("10:03:06"), MessageSent("customers", "initial", PLAN, False, "no address is set")),
        (at("10:03:30"), Noted(PersonName("dba-lead"), "The disk of db1 reported errors at 09:58.")),
        (at("10:05"), RecoveryDeclared(PersonName("devops-lead"), "all smoke checks pass")),
    )
    live = recorded(
        "run/r2",
        *happened(run_started(of, "r2", at("10:03"), Mode.LIVE, DISASTER, incident=incident), *usual_steps()),
    )
    return in_order(component, watch, drill, story, live), [POINT], [proven]
