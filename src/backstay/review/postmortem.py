"""The skeleton of a post-mortem: what the journal knows is filled in, what people must think about is left to them.

Blameless: it says what happened and when. Who did it is in the journal, for whoever must know.
"""

from collections.abc import Iterable
from datetime import datetime

from backstay.facts import NotVerified, Recorded
from backstay.history import History, IncidentSeen, RunSeen, components_restored, rpo_actual, rto_actual
from backstay.incident import clocks, say_between, say_clock
from backstay.machine import State
from backstay.objectives import say_loss
from backstay.plan import Plan
from backstay.review import marks, telling
from backstay.review.run_report import outcome
from backstay.review.tree import Block, Bullets, Document, Mark, Paragraph, Section, Table, Text
from backstay.values import say_moment, say_span
from backstay.verify import exact

TO_WRITE = Mark("none", "to be written")


def post_mortem(
    plan: Plan, incident: IncidentSeen, facts: Iterable[Recorded], history: History, now: datetime
) -> Document:
    """`facts` are those of the incident and of its runs, in order."""
    runs = [run for id in incident.runs if (run := history.run(id)) is not None]
    declared = incident.declared
    title = plan.scenarios[declared.scenario].title if declared.scenario in plan.scenarios else declared.scenario
    return Document(
        title=f"Post-mortem: {title}",
        subtitle=f"Incident {incident.id}",
        facts=(
            ("Declared", say_moment(incident.at)),
            ("Recovered", say_moment(incident.recovered_at) if incident.recovered_at else "not declared yet"),
            ("Commander", incident.commander or "nobody took command"),
            ("Written", say_moment(now)),
        ),
        blocks=(
            Section("Summary", (Paragraph((TO_WRITE, ": in three sentences, for somebody who was not there.")),)),
            Section("Impact", tuple(_impact(incident, runs))),
            Section("Timeline", (telling.table(telling.timeline(facts)),)),
            Section("Root Cause", (Paragraph((TO_WRITE, ": ask why until the answer is not a person.")),)),
            Section("What Went Well", (Bullets(tuple(_well(runs)) or (TO_WRITE,)),)),
            Section("What Did Not", (Bullets(tuple(_badly(plan, incident, runs, now)) or (TO_WRITE,)),)),
            Section("Where We Were Lucky", (Paragraph((TO_WRITE, ": what would have made it worse.")),)),
            Section("Action Items", (actions(plan, incident, runs),)),
        ),
        contents=False,
    )


def _impact(incident: IncidentSeen, runs: list[RunSeen]) -> Iterable[Block]:
    says: list[Text] = [f"It struck {say_between(incident.declared.disaster)}."]
    for run in runs:
        actual = rto_actual(run)
        took = f"not verified: {actual.why}" if isinstance(actual, NotVerified) else say_span(actual)
        says.append((outcome(run), f", run {run.id}; down from the declaration to the last smoke check: {took}."))
        for component in components_restored(run):
            loss = rpo_actual(run, component)
            lost = f"not verified: {loss.why}" if isinstance(loss, NotVerified) else say_loss(loss)
            says.append(f"Data lost of {component}: {lost}.")
    says.append((TO_WRITE, ": how many customers noticed, and what they could not do."))
    yield Bullets(tuple(says))


def _well(runs: list[RunSeen]) -> Iterable[Text]:
    for run in runs:
        done = [seen for seen in run.steps if seen.state is State.DONE and seen.attempts <= 1]
        if done:
            yield f"{len(done)} of {len(run.steps)} steps of {run.id} were done at the first attempt."


def _badly(plan: Plan, incident: IncidentSeen, runs: list[RunSeen], now: datetime) -> Iterable[Text]:
    for run in runs:
        for seen in run.steps:
            if seen.state is State.FAILED:
                yield f"{seen.step.id} failed: {_line(seen.said)}."
            elif seen.state is State.SKIPPED:
                yield f"{seen.step.id} was skipped: {_line(seen.said)}."
            elif seen.attempts > 1:
                yield f"{seen.step.id} took {seen.attempts} attempts."
        actual, target = rto_actual(run), run.started.objectives.rto
        if not isinstance(actual, NotVerified) and target is not None and actual > target:
            yield f"The RTO was missed: {exact(actual)}, and {exact(target)} was promised."
    for clock in clocks(plan, incident, now):
        if clock.state in ("failed", "overdue") and clock.audience != "team":
            yield f"{say_clock(clock, now)}."


def actions(plan: Plan, incident: IncidentSeen, runs: list[RunSeen]) -> Table:
    """One line for everything that went wrong, and the follow-ups of the plan with their days."""
    rows: list[tuple[Text, ...]] = []
    for run in runs:
        rows += [
            (f"Find out why {seen.step.id} {seen.state.value}", "nobody yet", "not set")
            for seen in run.steps
            if seen.state in (State.FAILED, State.SKIPPED)
        ]
    for follow in plan.after:
        day = follow.within.after(incident.recovered_at) if incident.recovered_at else None
        due = f"{day:%Y-%m-%d %H:%M} UTC" if day else f"{marks.period(follow.within)} after the recovery"
        rows.append((f"Follow-up, {follow.name.replace('_', ' ')}", "nobody yet", due))
    return Table("Each with one owner and one day", ("Action", "Owner", "Due"), tuple(rows))


def _line(text: str) -> str:
    return text.splitlines()[0].rstrip(".") if text else "no reason was recorded"
