"""The sections of the plan document that say what was promised and what will be done: overview, scenarios, backup
strategy, recovery procedures."""

from datetime import timedelta
from decimal import Decimal

from backstay import estimate, recover
from backstay.history import History, RunSeen, rto_actual
from backstay.history.measures import REAL
from backstay.objectives import Status, judge_duration, say_mode
from backstay.plan import Mode, Phase, Plan, Preserve, Scenario, VaultPlace
from backstay.protect import say_schedule
from backstay.recover import NoRecovery
from backstay.review import marks
from backstay.review.tree import (
    Block,
    Bullets,
    Code,
    Mark,
    Notice,
    Numbered,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    inlines,
)
from backstay.values import ScenarioName, count, listed, say_moment, say_size, say_span
from backstay.verify import exact

MONTH = timedelta(days=365.25 / 12)


# ── overview ────────────────────────────────────────────────────────────────────────────────────────


def overview(plan: Plan) -> Section:
    system, promised = plan.system, plan.objectives
    purpose = system.purpose or f"This plan says how {system.title} is restored after a catastrophic failure."
    covers = [scenario.title for scenario in plan.scenarios.values()]
    objectives: list[Text] = [
        (Strong("RTO"), f": {_promise(promised.rto, 'of downtime from the declaration of a disaster')}"),
        (Strong("RPO"), f": {_promise(promised.rpo, 'of data may be lost')}"),
        (Strong("Availability SLA"), f": {availability(promised.availability)}"),
    ]
    blocks: list[Block] = [
        Section("Purpose", (Paragraph(purpose),)),
        Section("Objectives", (Bullets(tuple(objectives)),)),
        Section(
            "Scope", (Paragraph("This plan covers:"), Bullets(tuple(covers)) if covers else Paragraph("nothing yet"))
        ),
    ]
    protected = tuple(f"{component.name} ({component.kind})" for component in plan.components.values())
    blocks.append(Section("What is protected", (Bullets(protected or ("nothing",)),)))
    rows = tuple((one.what, one.because, _person(plan, one.agreed_by)) for one in plan.excluded)
    excluded = Table("Not protected, and agreed", ("What", "Why", "Agreed by"), rows, "Nothing is left out on purpose.")
    blocks.append(Section("What is not protected", (excluded,)))
    return Section("Overview", tuple(blocks))


def availability(percent: Decimal | None) -> str:
    """`99.9% (43.8 minutes of downtime a month)`."""
    if percent is None:
        return "not promised"
    minutes = MONTH * float((100 - percent) / 100) / timedelta(minutes=1)
    return f"{percent}% uptime ({minutes:.1f} minutes of downtime a month allowed)"


def _promise(length: timedelta | None, rest: str) -> str:
    return f"at most {exact(length)} {rest}" if length is not None else "not promised"


def _person(plan: Plan, name: str) -> str:
    return next((person.name for person in plan.people.values() if person.id == name), name)


# ── scenarios ───────────────────────────────────────────────────────────────────────────────────────


def scenarios(plan: Plan, history: History) -> Section:
    blocks: list[Block] = []
    for number, scenario in enumerate(plan.scenarios.values(), 1):
        blocks.append(Section(f"Scenario {number}: {scenario.title}", tuple(_scenario(plan, scenario, history))))
    return Section("Disaster Scenarios", tuple(blocks) or (Paragraph("The plan names no disasters."),))


def _scenario(plan: Plan, scenario: Scenario, history: History) -> list[Block]:
    promised = scenario.objectives.over(plan.objectives)
    rto, rpo = promised.rto, promised.rpo
    pairs = Pairs(
        (
            ("Probability", scenario.probability.value.capitalize()),
            ("Impact", scenario.impact.value.capitalize()),
            ("RTO", marks.limit(rto)),
            ("RPO", marks.limit(rpo)),
            ("Recovery Strategy", scenario.strategy or "none is written"),
            ("Last practised", _practised(scenario, history)),
        )
    )
    if not any(phase.steps for phase in scenario.procedure):
        missing = Notice(Mark("fail", "No procedure"), "The plan names this disaster and has no recovery for it.")
        return [pairs, missing]
    steps = tuple(_sentence(recover.say(step.verb)) for phase in scenario.procedure for step in phase.steps)
    return [pairs, Paragraph((Strong("Procedure"),)), Numbered(steps)]


def _practised(scenario: Scenario, history: History) -> Text:
    run = last_measured(history, scenario.name)
    if run is None:
        return marks.unknown("never recovered, never drilled")
    judged = judge_duration(run.started.objectives.rto, rto_actual(run))
    return (f"{say_mode(run)}: ".capitalize(), *inlines(marks.judged(judged)))


def last_measured(history: History, scenario: ScenarioName) -> RunSeen | None:
    """The newest real run of a scenario that has ended."""
    found = [
        run
        for run in history.runs
        if run.started.scenario == scenario and run.started.mode in REAL and run.ended is not None
    ]
    return found[-1] if found else None


# ── backups ─────────────────────────────────────────────────────────────────────────────────────────


def strategy(plan: Plan, status: Status) -> Section:
    rows: list[tuple[Text, ...]] = []
    for row in status.components:
        component = plan.components[row.name]
        vaults = [plan.vaults[name] for name in plan.vaults_of(component) if name in plan.vaults]
        kept = listed(f"{marks.kept(component.keep or vault.keep)} in {vault.name}" for vault in vaults) or "nowhere"
        if not row.supported:
            newest: Text = marks.unknown(f"this version cannot back up {row.kind}")
        elif row.newest is None:
            newest = Mark("fail", "none")
        else:
            newest = f"{say_moment(row.newest.began)}, {say_size(row.newest.size_bytes)}"
        rows.append((row.name, row.kind, _schedule(plan, row.name), kept, newest))
    components = Table(
        "What is backed up, when, and where it is kept",
        ("Component", "Kind", "Schedule", "Kept", "Newest recovery point"),
        tuple(rows),
    )
    vaults = Table(
        "Vaults",
        ("Vault", "Address", "Kept for", "Locked for"),
        tuple(
            (vault.name, Code(str(vault.url)), marks.kept(vault.keep), _lock(vault)) for vault in plan.vaults.values()
        ),
    )
    where: list[Block] = [vaults]
    if len(plan.vaults) > 1:
        where.append(_by_vault(status))
    where.append(Paragraph("Every recovery point is encrypted before it leaves this machine, and signed."))
    return Section(
        "Backup Strategy",
        (Section("Backup Components", (components,)), Section("Where they are kept", tuple(where))),
    )


def _by_vault(status: Status) -> Table:
    """Each point is taken once, and copied: what each vault has of that, on the day of the document."""
    rows: list[tuple[Text, ...]] = []
    for row in status.components:
        for one in row.vaults:
            if not one.answered:
                rows.append((row.name, one.vault, marks.unknown("it did not answer"), "not known", "not known"))
                continue
            newest: Text = say_moment(one.newest.moment) if one.newest else Mark("fail", "none")
            lacks: Text = Mark("fail", f"lacks {count(len(one.lacks), 'point')}") if one.lacks else Mark("pass", "all")
            read = say_moment(one.read.ended) if one.read else "never: what is there was copied"
            rows.append((row.name, one.vault, lacks, newest, read))
    return Table(
        "What each vault has",
        ("Component", "Vault", "Of what it should have", "Newest data", "Its own bytes were last read by a proof"),
        tuple(rows),
    )


def _lock(vault: VaultPlace) -> str:
    return exact(vault.lock) if vault.lock else "not locked"


def _schedule(plan: Plan, name: str) -> str:
    protect = plan.component(name).protect
    parts = [f"full {say_schedule(protect.full)}"] if protect.full else []
    parts += [f"incremental {say_schedule(protect.incremental)}"] if protect.incremental else []
    parts += ["WAL continuously"] if protect.wal else []
    parts += [f"before each {protect.before}"] if protect.before else []
    return listed(parts) or "not scheduled"


# ── procedures ──────────────────────────────────────────────────────────────────────────────────────


def procedures(plan: Plan, history: History) -> Section:
    """Every scenario's steps as a run would do them, with what they are expected to take."""
    blocks = [
        Section(f"Recovery from: {scenario.title}", tuple(_procedure(plan, scenario, history)))
        for scenario in plan.scenarios.values()
        if any(phase.steps for phase in scenario.procedure)
    ]
    return Section("Recovery Procedures", tuple(blocks) or (Paragraph("The plan has no procedures."),))


def _procedure(plan: Plan, scenario: Scenario, history: History) -> list[Block]:
    site = next(iter(plan.sites), None)
    made = recover.compile(plan, scenario.name, site, Mode.TABLETOP) if site else NoRecovery("the plan has no sites")
    if isinstance(made, NoRecovery):
        return [Notice(Mark("fail", "No recovery"), made.why)]
    blocks: list[Block] = [
        Pairs(
            (
                ("Estimated Time", estimate.say(estimate.procedure(history, made))),
                ("Promised", marks.limit(scenario.objectives.over(plan.objectives).rto)),
                ("To run it", Code(f"backstay recover {scenario.name}")),
                ("To practise it", Code(f"backstay drill {scenario.name}")),
            )
        )
    ]
    for number, phase in enumerate(made, 1):
        target = f" ({exact(phase.target)})" if phase.target else ""
        blocks.append(Section(f"Phase {number}: {phase.name}{target}", (_steps(number, phase, history),)))
    return blocks


def _steps(number: int, phase: Phase, history: History) -> Table:
    rows: list[tuple[Text, ...]] = []
    for step in phase.steps:
        expected = estimate.step(history, step)
        took: Text = say_span(expected.median) if isinstance(expected, estimate.Estimate) else "unknown"
        changes = recover.blast_radius(step) or "Nothing."
        rows.append((step.id, _sentence(recover.say(step.verb)), _limit(step.verb, step.timeout), took, changes))
    columns = ("Step", "What is done", "At most", "Usually", "What it stops or replaces")
    return Table(f"Steps of phase {number}", columns, tuple(rows))


def _limit(verb: object, timeout: timedelta) -> str:
    return exact(verb.within) if isinstance(verb, Preserve) else exact(timeout)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
