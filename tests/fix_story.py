"""Small true-to-life values for the story tests: a plan, points, proofs, facts. All pure, with clocks of their own."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from backstay.facts import CheckResult, Fact, Hold, Point, Proof, Recorded, Rung, Verdict
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
    ComponentName,
    Digest,
    LineageId,
    Period,
    PersonName,
    PointId,
    RoleName,
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


def plan(**changes: Any) -> Plan:
    people = {
        PersonName("cto"): Person(PersonName("cto"), "CTO", "cto@example.com"),
        PersonName("devops-lead"): Person(PersonName("devops-lead"), "DevOps Lead", "oncall-devops@example.com"),
        PersonName("engineering-lead"): Person(PersonName("engineering-lead"), "Engineering Lead", "eng@example.com"),
        PersonName("dba-lead"): Person(PersonName("dba-lead"), "DBA Lead", "dba@example.com"),
    }
    made = Plan(
        digest=PLAN,
        version=1,
        timezone="UTC",
        system=System(
            "catalytic-saas",
            "Catalytic Computing SaaS",
            "Restore the platform within acceptable time after a catastrophic failure.",
            "DevOps Team",
            "CTO",
            "Catalytic Computing",
            date(2026, 10, 6),
            Period(1),
        ),
        objectives=Objectives(rto=HOUR, rpo=24 * HOUR, availability=Decimal("99.9")),
        sites={PRIMARY: Site(PRIMARY, {"api": words("https://api.example.com")})},
        vaults={LOCAL: VaultPlace(LOCAL, words("./vault"), Period(span=timedelta(days=30)))},
        components={
            DATABASE: database(),
            SETTINGS: Component(
                SETTINGS,
                SqliteSource(PerSite(words("/var/lib/catalytic/settings.db"))),
                protect=Protect(full=DailyAt(time(2))),
            ),
        },
        scenarios={ScenarioName("database-loss"): database_loss()},
        targets={"dns": 5 * MINUTE, "certificate": 10 * MINUTE},
        excluded=(Excluded("user files", "the platform stores none", PersonName("cto")),),
        smoke={"health": HttpCheck("health", ()), "metrics": HttpCheck("metrics", ()), "user": HttpCheck("user", ())},
        people=people,
        roles={
            RoleName("incident-commander"): Role(
                RoleName("incident-commander"), PersonName("devops-lead"), PersonName("engineering-lead")
            ),
            RoleName("database-admin"): Role(RoleName("database-admin"), PersonName("dba-lead")),
        },
        vendors=(Vendor("AWS", "Cloud infrastructure", "support portal", "P1: 15 min"),),
        authority=Authority(
            alone=(PersonName("cto"), PersonName("devops-lead"), PersonName("engineering-lead")),
            with_approval=RoleName("incident-commander"),
            approvers=(PersonName("cto"), PersonName("engineering-lead"), PersonName("devops-lead")),
        ),
        criteria=(
            Criterion("complete loss of the production environment", "smoke all red for 10m"),
            Criterion("data corruption affecting more than 50% of the data", "rows refuted > 50%"),
            Criterion("unrecoverable application failure"),
            Criterion("estimated recovery time over 2 hours", "forecast > 2h"),
        ),
        audiences={
            "internal": Audience("internal", (words("…"),), every=15 * MINUTE),
            "status_page": Audience("status_page", (words("…"),), within=timedelta()),
            "customers": Audience("customers", (words("…"),), within=30 * MINUTE),
            "social": Audience("social", (words("…"),), settings={"when": "public"}),
        },
        war_room="https://meet.example.com/dr",
        after=(
            FollowUp("immediate", Period(span=24 * HOUR)),
            FollowUp("short_term", Period(span=timedelta(weeks=1))),
            FollowUp("long_term", Period(1)),
        ),
        postmortem={"internal": Period(span=timedelta(weeks=1)), "published": Period(span=48 * HOUR)},
        drills=(
            DrillRule(
                ScenarioName("database-loss"),
                Every(Period(3)),
                Mode.DRILL,
                (PersonName("devops-lead"), PersonName("dba-lead")),
                3 * HOUR,
            ),
        ),
    )
    return replace(made, **changes)


def unsupported() -> Component:
    return Component(METRICS, PrometheusSource(words("http://prometheus:9090")), protect=Protect(full=DailyAt(time(2))))
