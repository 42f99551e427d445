"""The disaster recovery plan as a document, with every table filled from what really happened.

It has every section of the document that it takes the place of. What nobody can show yet stands in the last section,
and nowhere reads as if it were true.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from backstay.drill import DrillRow
from backstay.facts import NotVerified
from backstay.history import History
from backstay.objectives import CAN, ComponentStatus, Status, status, unheeded
from backstay.plan import Plan
from backstay.review import marks, people, planned, practised
from backstay.review.tree import Bullets, Card, Cards, Code, Document, Mark, Paragraph, Section, Text
from backstay.values import say_moment
from backstay.verify import exact


def plan_document(
    plan: Plan, history: History, now: datetime, stated: Iterable[DrillRow] = (), can: Collection[str] = CAN
) -> Document:
    """The plan document as of `now`. `stated` are drill rows of older documents, `can` the kinds of component that
    this installation can back up."""
    found = status(plan, history, now, can)
    return Document(
        title="Disaster Recovery Plan",
        subtitle=f"{plan.system.title} - Business Continuity & Disaster Recovery",
        facts=(
            ("RTO (Recovery Time Objective)", marks.limit(plan.objectives.rto)),
            ("RPO (Recovery Point Objective)", marks.limit(plan.objectives.rpo)),
            ("Last Updated", f"{plan.system.reviewed:%Y-%m-%d}" if plan.system.reviewed else "not said"),
            ("Filled from the journal", say_moment(now)),
        ),
        blocks=(
            Cards("Promises at a glance", tuple(card(row) for row in found.components)),
            planned.overview(plan),
            planned.scenarios(plan, history),
            planned.strategy(plan, found),
            planned.procedures(plan, history),
            practised.testing(plan, history, found, stated),
            people.declaration(plan),
            people.communication(plan),
            people.contacts(plan),
            people.afterwards(plan),
            not_shown(plan, found),
        ),
        footer=_footer(plan, now),
    )


def card(row: ComponentStatus) -> Card:
    """One component at a glance: how old the data is that would come back, and what stands against its promises."""
    now = row.rpo.forecast
    if not row.supported:
        value = "not protected"
    elif row.newest is None:
        value = "no recovery point"
    else:
        value = "not verified" if isinstance(now, NotVerified) else f"{exact(now)} old"
    sentence = row.says[0] if row.says else f"{row.rpo.judged.sentence}; {row.rto.judged.sentence}"
    return Card(row.name, value, marks.standing(row.standing), sentence)


def not_shown(plan: Plan, found: Status) -> Section:
    """What this document does not prove."""
    says: list[Text] = [f"{row.name}: {sentence}." for row in found.components for sentence in row.says]
    says += [f"{sentence}." for sentence in found.says]
    if found.rto.judged.standing.alarms:
        says.append(f"The whole: RTO {found.rto.judged.standing.value}: {found.rto.judged.sentence}.")
    if plan.objectives.availability is not None:
        promised = plan.objectives.availability
        says.append(f"Availability ({promised}% promised) is not verified: this version does not measure it.")
    says.append(
        "A drill runs in a sandbox: that it was in time shows what is possible, not how long it takes on the worst day."
    )
    undone = tuple(_with_code(f"{said}.") for said in unheeded(plan))
    return Section(
        "What This Document Does Not Show",
        (
            Paragraph(found.sentence.capitalize() + "."),
            Bullets(tuple(says)),
            Section("What the plan says, and this version does not do", (Bullets(undone),)),
        ),
    )


def _with_code(said: str) -> Text:
    """What stands between backticks, as code."""
    return tuple(Code(part) if number % 2 else part for number, part in enumerate(said.split("`")) if part)


def _footer(plan: Plan, now: datetime) -> tuple[tuple[str, Text], ...]:
    system = plan.system
    due: Text = "not said"
    if system.reviewed and system.review_every:
        day = system.review_every.after(datetime(*system.reviewed.timetuple()[:3], tzinfo=now.tzinfo)).date()
        due = Mark("warn", f"{day:%Y-%m-%d}, overdue") if day < now.date() else f"{day:%Y-%m-%d}"
    return (
        ("Last Updated", f"{system.reviewed:%Y-%m-%d}" if system.reviewed else "not said"),
        ("Next Review", due),
        ("Owner", system.owner or "not said"),
        ("Approved By", system.approved_by or "not said"),
        ("Plan", Code(plan.digest)),
    )
