"""The report of one run: what was promised, what it took, what came back, what was lost, and what this does not prove.

Written from the run's own facts and from nothing else, so that it can be written again in ten years.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from backstay import drill
from backstay.facts import NotVerified, Recorded
from backstay.history import (
    History,
    RunSeen,
    StepSeen,
    components_restored,
    phase_times,
    rpo_actual,
    rto_actual,
)
from backstay.incident import say_between
from backstay.machine import State
from backstay.objectives import judge_duration, judge_loss, over, say_loss
from backstay.plan import Ask, Choose, Mode, Smoke
from backstay.review import marks, telling
from backstay.review.tree import (
    Block,
    Bullets,
    Card,
    Cards,
    Code,
    Document,
    Mark,
    Notice,
    Pairs,
    Paragraph,
    Section,
    Table,
    Text,
)
from backstay.values import ComponentName, count, say_moment, say_size, say_span
from backstay.verify import exact

_STATE: Mapping[State, Mark] = {
    State.WAITING: Mark("none", "not reached"),
    State.RESTING: Mark("warn", "to be tried again"),
    State.ASKING: Mark("warn", "waiting for people"),
    State.PAUSING: Mark("warn", "waiting"),
    State.ACTING: Mark("warn", "under way"),
    State.UNSURE: Mark("warn", "never heard back"),
    State.IN_DOUBT: Mark("warn", "nobody could tell"),
    State.DONE: Mark("pass", "done"),
    State.FAILED: Mark("fail", "failed"),
    State.SKIPPED: Mark("warn", "skipped"),
}


def run_report(run: RunSeen, facts: Iterable[Recorded], history: History) -> Document:
    """`facts` are the run's stream; `history` knows the points that it used."""
    started = run.started
    kind = {Mode.LIVE: "Recovery", Mode.DRILL: "Drill", Mode.TABLETOP: "Tabletop exercise", Mode.DRY: "Dry run"}
    return Document(
        title=f"{kind[started.mode]}: {started.title}",
        subtitle=f"Run {run.id}",
        facts=(
            ("Result", outcome(run)),
            ("Declared", f"{say_moment(started.declared)} by {started.by}"),
            ("Ended", say_moment(run.ended_at) if run.ended_at else "not yet"),
            ("Site", started.site),
        ),
        blocks=(
            Cards("Promised and measured", tuple(_cards(run))),
            *_damaged(run),
            Section("What Happened", tuple(_story(run))),
            Section("Phases", (phases_table(run),)),
            Section("Steps", (steps_table(run),)),
            Section("Recovery Points", tuple(_points(run, history))),
            Section("What Came Back", tuple(_came_back(run, history))),
            Section("What Was Lost", tuple(_lost(run))),
            Section("Timeline", (telling.table(telling.timeline(facts)),)),
            Section("What This Does Not Prove", (Bullets(tuple(not_proved(run))),)),
        ),
        footer=(("Run", Code(run.id)), ("Plan", Code(started.plan)), ("Scenario", started.scenario)),
        contents=False,
    )


def outcome(run: RunSeen) -> Mark:
    if run.ended is None:
        return Mark("warn", "not ended")
    match run.ended.result:
        case "recovered":
            return Mark("pass", "recovered")
        case "failed":
            return Mark("fail", "failed")
        case "cancelled":
            return Mark("warn", "cancelled")


def _cards(run: RunSeen) -> Iterable[Card]:
    actual = rto_actual(run)
    judged = judge_duration(run.started.objectives.rto, actual)
    value = "not verified" if isinstance(actual, NotVerified) else say_span(actual)
    yield Card("RTO actual", value, marks.standing(judged.standing), judged.sentence)
    for component in components_restored(run):
        loss = rpo_actual(run, component)
        judged = judge_loss(run.started.objectives.rpo, loss)
        yield Card(f"RPO actual, {component}", marks.short(loss), marks.standing(judged.standing), judged.sentence)


def _damaged(run: RunSeen) -> Iterable[Block]:
    if run.damage:
        yield Notice(Mark("fail", "Journal damaged"), f"What follows is not complete: {run.damage}.")


def _story(run: RunSeen) -> Iterable[Block]:
    started = run.started
    pairs: list[tuple[str, Text]] = [
        ("Scenario", started.title),
        ("Mode", started.mode.value),
        ("The disaster struck", say_between(started.disaster)),
        ("Declared", say_moment(started.declared)),
        ("First step began", _moment(min((seen.began for seen in run.steps if seen.began), default=None))),
        ("Last smoke check passed", _moment(_last_smoke(run))),
    ]
    if run.ended is not None and run.ended.why:
        pairs.append(("In one sentence", run.ended.why))
    if started.incident:
        pairs.append(("Incident", started.incident))
    yield Pairs(tuple(pairs))


def _last_smoke(run: RunSeen) -> datetime | None:
    ends = [seen.ended for seen in run.steps if isinstance(seen.step.verb, Smoke) and seen.done and seen.ended]
    return max(ends, default=None)


def _moment(moment: datetime | None) -> Text:
    return say_moment(moment) if moment else marks.unknown("it did not come to that")


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────


def phases_table(run: RunSeen) -> Table:
    """Target against actual; the clock of a phase runs from its first step to its last."""
    rows: list[tuple[Text, ...]] = []
    for number, phase in enumerate(phase_times(run), 1):
        name = f"{number}. {phase.name}"
        target = exact(phase.target) if phase.target else "no target"
        if phase.took is None:
            rows.append((name, target, Mark("warn", "not verified"), Mark("warn", "it was not completed")))
            continue
        late = phase.target is not None and over(phase.took, phase.target)
        state = Mark("fail", "late") if late else Mark("pass", "in time") if phase.target else Mark("none", "no target")
        rows.append((name, target, say_span(phase.took), state))
    return Table("Phases, target against actual", ("Phase", "Target", "Actual", "Status"), tuple(rows))


def steps_table(run: RunSeen) -> Table:
    rows = tuple(
        (seen.step.id, _STATE[seen.state], _took(seen), str(seen.attempts or "none"), _said(seen)) for seen in run.steps
    )
    return Table("Every step, in order", ("Step", "Outcome", "Took", "Attempts", "What was seen"), rows)


def _took(seen: StepSeen) -> str:
    if seen.took is not None:
        return say_span(seen.took)
    if seen.done and seen.began and seen.ended:
        return f"{say_span(seen.ended - seen.began)}, by the clock"
    return "unknown" if seen.attempts else ""


def _said(seen: StepSeen) -> str:
    return " ".join(seen.said.split())


# ── points, rows, losses ────────────────────────────────────────────────────────────────────────────


def _points(run: RunSeen, history: History) -> Iterable[Block]:
    rows: list[tuple[Text, ...]] = []
    for seen in run.steps:
        if isinstance(seen.step.verb, Choose) and seen.done:
            values = seen.values
            point = next((held.point for held in history.points if held.point.id == values.get("point")), None)
            size = say_size(point.size_bytes) if point else "not verified: the vault no longer lists it"
            rows.append(
                (
                    seen.step.verb.component,
                    Code(values.get("point", "not recorded")),
                    values.get("vault", "not recorded"),
                    size,
                    values.get("because", seen.said),
                )
            )
    columns = ("Component", "Recovery point", "Vault", "Size", "Why this one")
    yield Table("What the recovery started from", columns, tuple(rows), "No recovery point was chosen.")


def rows_back(run: RunSeen, component: ComponentName) -> Mapping[str, int]:
    """Rows per table, as counted by the run's own `ask` step."""
    for seen in reversed(run.steps):
        if isinstance(seen.step.verb, Ask) and seen.step.verb.component == component and seen.done:
            return {
                name.removeprefix("rows."): int(value)
                for name, value in seen.values.items()
                if name.startswith("rows.") and value.isdigit()
            }
    return {}


def _came_back(run: RunSeen, history: History) -> Iterable[Block]:
    for component in components_restored(run):
        counted = rows_back(run, component)
        chosen = next((s.values.get("point", "") for s in run.steps if _chose(s, component)), "")
        proofs = [proof for proof in history.proofs_of(component) if proof.point == chosen and proof.counts]
        proved: Mapping[str, int] = proofs[-1].counts if proofs else {}
        if not counted:
            why = "its rows were not counted after the restore"
            yield Notice(Mark("warn", "Not verified"), f"{component}: {why}.")
            continue
        rows = tuple(_rows(table, proved.get(table), now) for table, now in sorted(counted.items()))
        columns = ("Table", "In the proof of the point", "After the recovery", "Same")
        yield Table(f"Rows of {component}", columns, rows)


def _chose(seen: StepSeen, component: ComponentName) -> bool:
    return isinstance(seen.step.verb, Choose) and seen.step.verb.component == component and seen.done


def _rows(table: str, before: int | None, now: int) -> tuple[Text, ...]:
    return table, "not counted" if before is None else f"{before:,}", f"{now:,}", _same(before, now)


def _same(before: int | None, now: int) -> Mark:
    if before is None:
        return Mark("warn", "not verified")
    if before == now:
        return Mark("pass", "same")
    return Mark("warn", f"{count(abs(now - before), 'row')} {'more' if now > before else 'fewer'}")


def _lost(run: RunSeen) -> Iterable[Block]:
    if not components_restored(run):
        yield Paragraph("The procedure restores nothing, so nothing can be lost by it.")
    for component in components_restored(run):
        loss = rpo_actual(run, component)
        if isinstance(loss, NotVerified):
            yield Notice(Mark("warn", "Not verified"), f"{component}: {loss.why}.")
            continue
        pairs: list[tuple[str, Text]] = [
            ("Component", component),
            ("Newest data that came back", f"{say_moment(loss.newest)} ({loss.source})"),
            ("The disaster struck", say_between(loss.disaster)),
            ("Lost", say_loss(loss)),
            ("Against the promise", marks.judged(judge_loss(run.started.objectives.rpo, loss))),
        ]
        if loss.clamped:
            pairs.append(
                ("Note", "The data is newer than the earliest moment of the disaster: the range begins at nothing.")
            )
        yield Pairs(tuple(pairs))


# ── what it does not prove ──────────────────────────────────────────────────────────────────────────


def not_proved(run: RunSeen) -> list[str]:
    """What a reader might take this report for, and should not."""
    says: list[str] = []
    if run.started.mode is Mode.DRILL:
        says.append("It ran in a sandbox: traffic, DNS and the people of the worst day were not part of it.")
    if run.started.mode in (Mode.TABLETOP, Mode.DRY):
        says.append("Nothing was restored: it shows that there is a procedure, not that it works.")
    if isinstance(result := drill.result(run), NotVerified):
        says.append(f"The result is not verified: {result.why}.")
    says += [
        f"{seen.step.id} was skipped: what it does was not done ({_said(seen)})."
        for seen in run.steps
        if seen.state is State.SKIPPED
    ]
    says += [
        f"{seen.step.id} was found done by a look; how long it took was not measured."
        for seen in run.steps
        if seen.done and seen.took is None and seen.attempts > 0
    ]
    if run.started.disaster is None and run.started.mode is Mode.LIVE:
        says.append("The moment of the disaster is not known, so neither is what was lost.")
    says.append("Rows were counted and questions were asked; that every single value is right was not checked.")
    if not any(isinstance(seen.step.verb, Ask) and seen.done for seen in run.steps):
        says.append("No question was asked of the data that came back.")
    says.append("How the service bore real load afterwards was not measured.")
    return says
