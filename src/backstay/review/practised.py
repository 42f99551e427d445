"""The sections of the plan document that say what was shown: drills, proofs, and the tables of objectives."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from backstay import drill
from backstay.drill import DrillRow
from backstay.facts import NotVerified, Proof
from backstay.history import History, Loss, newest_held
from backstay.history.measures import REAL
from backstay.objectives import ComponentStatus, Rto, Status, judge_duration, say_loss, say_mode
from backstay.plan import Plan
from backstay.protect import say_schedule
from backstay.recover import slug
from backstay.review import marks
from backstay.review.tree import (
    Block,
    Bullets,
    Code,
    Mark,
    Notice,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
)
from backstay.values import count, listed, say_moment, say_size, say_span
from backstay.verify import content, exact, say_expectation

NEWEST_DRILLS = 20


def testing(plan: Plan, history: History, status: Status, stated: Iterable[DrillRow]) -> Section:
    return Section(
        "Testing & Validation",
        (
            Section("Disaster Recovery Drills", tuple(_drills(plan, history, status.at))),
            Section("Last Drill Results", (drill_table(drill.rows(history, stated)),)),
            Section("Backup Verification", tuple(_verification(plan, history, status))),
            Section("Recovery Time Objectives", (rto_table(plan, history, status),)),
            Section("Recovery Point Objectives", (rpo_table(status),)),
        ),
    )


# ── drills ──────────────────────────────────────────────────────────────────────────────────────────


def _drills(plan: Plan, history: History, now: datetime) -> Iterable[Block]:
    rows = tuple(
        (
            plan.scenarios[rule.scenario].title if rule.scenario in plan.scenarios else rule.scenario,
            drill.say_frequency(rule),
            rule.mode.value,
            exact(rule.takes) if rule.takes else "not said",
            listed(plan.people[who].name for who in rule.participants if who in plan.people) or "nobody is named",
        )
        for rule in plan.drills
    )
    yield Table(
        "Drills that the plan wants",
        ("Scenario", "Frequency", "How", "Duration", "Participants"),
        rows,
        "The plan wants no drills.",
    )
    for late in drill.due(plan, history, now):
        yield Notice(Mark("warn", "Due"), drill.say_due(late) + ".")
    yield Section(
        "Drill Procedure",
        (
            Paragraph((Strong("Preparation week"),)),
            Bullets(
                (
                    "Schedule the drill with all participants",
                    "Notify stakeholders: there is no service disruption, the drill runs in a sandbox",
                    ("See what will be done: ", Code("backstay recover SCENARIO --mode dry")),
                )
            ),
            Paragraph((Strong("Drill day"),)),
            Bullets(
                (
                    ("Execute the recovery in a sandbox: ", Code("backstay drill SCENARIO")),
                    "Each phase and step is timed, and every outcome is recorded, by itself",
                    "Note issues as they come up",
                )
            ),
            Paragraph((Strong("Post-drill"),)),
            Bullets(
                (
                    "Conduct a retrospective, with the drill's report on the table",
                    "Update the plan; create action items",
                    _next(plan, history, now),
                )
            ),
        ),
    )


def _next(plan: Plan, history: History, now: datetime) -> str:
    upcoming = drill.next_drill(plan, history, now)
    if upcoming is None:
        return "Schedule the next drill"
    moment, rule = upcoming
    when = "now" if moment <= now else f"{moment:%Y-%m-%d}"
    return f"The next drill is due {when}: {rule.scenario} ({rule.mode.value})"


def drill_table(rows: Iterable[DrillRow]) -> Table:
    """*Last Drill Results*."""
    shown = list(rows)[:NEWEST_DRILLS]
    return Table(
        "Drills, the newest first",
        ("Drill Date", "Scenario", "Target RTO", "Actual RTO", "Pass/Fail", "Notes"),
        tuple(
            (
                f"{row.on:%Y-%m-%d}",
                row.scenario,
                marks.limit(row.target),
                marks.duration(row.actual),
                marks.drilled(row.result),
                row.notes,
            )
            for row in shown
        ),
        "No drill was held yet: nothing here was demonstrated.",
    )


# ── proofs ──────────────────────────────────────────────────────────────────────────────────────────


def _verification(plan: Plan, history: History, status: Status) -> Iterable[Block]:
    yield Paragraph(
        "Every recovery point is proved by restoring it into a throw-away place and asking it questions. "
        "A check that could not run is not verified; it never counts as passed."
    )
    rows: list[tuple[Text, ...]] = []
    for component in plan.components.values():
        rule = component.prove
        asked = "; ".join(f"{one.name} {say_expectation(one.expect)}" for one in rule.ask) or "no questions of its own"
        when = say_schedule(rule.at) if rule.at else "not scheduled"
        oldest = exact(rule.max_age) if rule.max_age else "no limit"
        longest = exact(rule.within) if rule.within else "no limit"
        rows.append((component.name, when, oldest, longest, asked))
    columns = ("Component", "Proved", "No older than", "No longer than", "Questions")
    yield Table("Automated checks", columns, tuple(rows))
    for row in status.components:
        yield Section(f"Last verification: {row.name}", tuple(_last_proof(row, history)))
        for proof in newest_held(history, row.name):
            seen = (Pairs(proof_pairs(proof, history)), checks_table(proof))
            yield Section(f"Last verification: {row.name}, held by {proof.vault}", seen)


def _last_proof(row: ComponentStatus, history: History) -> Iterable[Block]:
    if row.proof is None:
        why = f"this version cannot back up {row.kind}" if not row.supported else "it was never proved"
        yield Notice(Mark("warn", "Not verified"), f"{row.name}: {why}.")
        return
    yield Pairs(proof_pairs(row.proof, history))
    yield checks_table(row.proof)


def proof_pairs(proof: Proof, history: History) -> tuple[tuple[str, Text], ...]:
    point = history.point(proof.point)
    pairs: list[tuple[str, Text]] = [
        ("Recovery point", Code(proof.point)),
        ("Result", marks.proved(content(proof))),
        ("Proved", f"{say_moment(proof.ended)}, in {say_span(proof.ended - proof.began)}"),
    ]
    if point is not None:
        pairs.append(("Brings back", f"{say_moment(point.moment)} ({point.newest_source or 'when it began'})"))
        pairs.append(("Size", say_size(point.size_bytes)))
    if proof.counts:
        rows = f"{count(sum(proof.counts.values()), 'row')} in {count(len(proof.counts), 'table')}"
        pairs.append(("Rows", rows))
    return tuple(pairs)


def checks_table(proof: Proof) -> Table:
    return Table(
        f"Checks of the point {proof.point}",
        ("Check", "What it looks at", "Result", "What was seen"),
        tuple(
            (check.code, f"{check.rung.value}: {check.name}", marks.verdict(check.verdict), check.said)
            for check in proof.checks
        ),
    )


# ── objectives ──────────────────────────────────────────────────────────────────────────────────────


def rto_table(plan: Plan, history: History, status: Status) -> Table:
    rows: list[tuple[Text, ...]] = [_rto_row(row.name, row.rto) for row in status.components]
    rows += [_part(name, target, history) for name, target in plan.targets.items()]
    rows.append(_rto_row("Full system", status.rto))
    columns = ("Component", "Target RTO", "Actual RTO (last test)", "Status")
    return Table("From the declaration to the last smoke check passed", columns, tuple(rows))


def _rto_row(name: str, rto: Rto) -> tuple[Text, ...]:
    actual = marks.duration(rto.actual)
    if rto.run is not None and not isinstance(rto.actual, NotVerified):
        actual = f"{say_span(rto.actual)} ({say_mode(rto.run)})"
    said_already = isinstance(rto.actual, NotVerified) and rto.actual.why == rto.judged.sentence
    status = marks.standing(rto.judged.standing) if said_already else marks.judged(rto.judged)
    return name, marks.limit(rto.target), actual, status


def _part(name: str, target: timedelta, history: History) -> tuple[Text, ...]:
    """A part of a recovery (`dns`, `certificate`): measured by the newest step whose name begins with it."""
    found = [
        (seen.took, run)
        for run in history.runs
        if run.started.mode in REAL
        for seen in run.steps
        if seen.took is not None and (slug(seen.step) == name or slug(seen.step).startswith(f"{name}-"))
    ]
    if not found:
        never = NotVerified(f"no step called {name} was measured")
        return name, exact(target), marks.duration(never), Mark("warn", "not verified")
    took, run = found[-1]
    return name, exact(target), f"{say_span(took)} ({say_mode(run)})", marks.judged(judge_duration(target, took))


def rpo_table(status: Status) -> Table:
    rows: list[tuple[Text, ...]] = []
    for row in status.components:
        now = row.rpo.forecast
        would: Text = marks.unknown(now.why) if isinstance(now, NotVerified) else exact(now)
        if row.newest is None:
            would = Mark("fail", "everything")
        rows.append((row.name, marks.limit(row.rpo.target), loss(row.rpo.actual), would, marks.judged(row.rpo.judged)))
    return Table(
        "How much data may be lost, was lost at the last test, and would be lost now",
        ("Data", "Target RPO", "Actual RPO (last test)", "A disaster now", "Status"),
        tuple(rows),
    )


def loss(of: Loss | NotVerified) -> Text:
    return marks.unknown(of.why) if isinstance(of, NotVerified) else say_loss(of)
