"""The sections of the plan document that are about people: who decides, who is told, whom to call, what comes after."""

from datetime import timedelta

from backstay.incident import Blanks, emergency, initial, measure, resolved, update
from backstay.incident.authority import ForAPerson
from backstay.plan import Audience, Criterion, Plan
from backstay.review import marks
from backstay.review.tree import (
    Block,
    Bullets,
    Code,
    Listing,
    Mark,
    Notice,
    Numbered,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
)
from backstay.values import PersonName, listed
from backstay.verify import exact

# ── declaration ─────────────────────────────────────────────────────────────────────────────────────


def declaration(plan: Plan) -> Section:
    authority = plan.authority
    alone = tuple(_named(plan, name) for name in authority.alone)
    role = plan.roles.get(authority.with_approval) if authority.with_approval else None
    blocks: list[Block] = []
    if alone:
        blocks += [Paragraph("Only the following may declare a disaster alone:"), Numbered(alone)]
    else:
        blocks.append(
            Notice(Mark("warn", "Nobody"), "The plan gives nobody the authority to declare a disaster alone.")
        )
    if role is not None:
        holders = listed(_named(plan, name) for name in (role.primary, role.backup) if name)
        approvers = listed((_named(plan, name) for name in authority.approvers), "or")
        blocks.append(
            Paragraph(
                (Strong(_title(role.name)), f" ({holders}), with the approval of {authority.needed} of {approvers}.")
            )
        )
    process = (
        "Assess the situation: what has failed, how long recovery would take otherwise, which criteria are met",
        ("Declare the disaster and start the recovery: ", Code("backstay recover SCENARIO --by NAME")),
        "Activate the team: page who is on call, notify management, name an incident commander",
        "Execute the recovery: every step is recorded as it happens; keep stakeholders informed",
        "Declare the recovery complete: every smoke check passes; watch closely for 24 hours; conduct a post-mortem",
    )
    return Section(
        "Disaster Declaration",
        (
            Section("Authority", tuple(blocks)),
            Section("Declaration Criteria", (criteria(plan.criteria),)),
            Section("Declaration Process", (Numbered(process), Listing(str(emergency(Blanks()))))),
        ),
    )


def criteria(of: tuple[Criterion, ...]) -> Table:
    rows = tuple((_upper(one.what), _measured(one)) for one in of)
    return Table("Declare a disaster if", ("What", "Measured by"), rows, "The plan has no criteria: people judge.")


def _measured(one: Criterion) -> Text:
    try:
        if isinstance(measure(one.when), ForAPerson):
            return "a person judges"
    except ValueError:
        return marks.unknown(f"{one.when} cannot be measured")
    return Code(one.when or "")


# ── communication ───────────────────────────────────────────────────────────────────────────────────


def communication(plan: Plan) -> Section:
    rows = tuple(_audience(audience) for audience in plan.audiences.values())
    during: list[Block] = [
        Table("Who is told", ("Audience", "First word", "Then", "Where"), rows, "The plan names no audiences.")
    ]
    if plan.war_room:
        during.append(Pairs((("War room", plan.war_room),)))
    company = plan.system.company or Blanks().company
    blanks = Blanks(company=company)
    templates = (
        Section("Initial Notification", (Listing(str(initial(blanks))),)),
        Section("Update", (Listing(str(update(blanks, None))),)),
        Section("Recovery Complete", (Listing(str(resolved(blanks))),)),
    )
    return Section(
        "Communication Plan",
        (Section("During Disaster", tuple(during)), Section("Communication Templates", templates)),
    )


def _audience(audience: Audience) -> tuple[Text, ...]:
    first = "not promised"
    if audience.within is not None:
        first = "at once" if audience.within == timedelta() else f"within {exact(audience.within)} of the declaration"
    elif audience.every is not None:
        first = f"within {exact(audience.every)} of the declaration"
    then = f"every {exact(audience.every)}" if audience.every else "when something changes"
    where = listed(f"{key.replace('_', ' ')} {value}" for key, value in audience.settings.items()) or "as the plan says"
    return _title(audience.name), first, then, where


# ── contacts ────────────────────────────────────────────────────────────────────────────────────────


def contacts(plan: Plan) -> Section:
    rows: list[tuple[Text, ...]] = []
    for role in plan.roles.values():
        holder = plan.people.get(role.primary)
        backup = _named(plan, role.backup) if role.backup else Mark("warn", "nobody")
        contact: Text = holder.email if holder and holder.email else Mark("warn", "no address")
        rows.append((_title(role.name), _named(plan, role.primary), backup, contact))
    people = tuple(
        (person.name, person.email or "not given", "as the plan says" if person.phone or person.page else "not given",
         "yes" if person.key else "no")
        for person in plan.people.values()
    )  # fmt: skip
    vendors = tuple((one.name, one.service, one.contact, one.sla) for one in plan.vendors)
    return Section(
        "Contacts",
        (
            Section("Disaster Recovery Team", (Table("Roles", ("Role", "Primary", "Backup", "Contact"), tuple(rows)),)),
            Section("People", (Table("People", ("Name", "E-mail", "Phone or pager", "Can sign"), people),)),
            Section(
                "Vendor Contacts",
                (Table("Vendors", ("Vendor", "Service", "Support Contact", "SLA"), vendors, "No vendors are named."),),
            ),
        ),
    )


# ── afterwards ──────────────────────────────────────────────────────────────────────────────────────

AFTER: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "immediate": (
        ("Document the incident", (
            "Complete the incident timeline", "Record all actions taken", "Capture metrics and logs",
            "Note what worked and what did not",
        )),
        ("Communicate the status", (
            "Send the all-clear notification", "Update the status page", "Thank team members",
            "Notify customers of the resolution",
        )),
        ("Monitor closely", (
            "Watch for residual issues", "Verify that backups and proofs run again", "Check monitoring and alerts",
            "Ensure full functionality",
        )),
    ),
    "short_term": (
        ("Conduct the post-mortem", (
            "Blameless review of the incident", "Identify the root cause", "Document lessons learned",
            "Create action items",
        )),
        ("Update procedures", (
            "Refine the recovery procedures", "Update runbooks", "Improve automation", "Enhance monitoring",
        )),
        ("Test improvements", (
            "Verify that fixes prevent recurrence", "Test updated procedures", "Validate new monitoring",
        )),
    ),
    "long_term": (
        ("Implement improvements", (
            "Complete all action items", "Enhance redundancy", "Improve failover capability",
            "Update the disaster recovery plan",
        )),
        ("Training", (
            "Train the team on updated procedures", "Conduct tabletop exercises", "Schedule the next drill",
            "Share learnings across the organization",
        )),
    ),
}  # fmt: skip
"""What is to be done after a disaster, by horizon: the reference document's list."""


def afterwards(plan: Plan) -> Section:
    due = {follow.name: f"within {marks.period(follow.within)}" for follow in plan.after}
    blocks: list[Block] = []
    for horizon, tasks in AFTER.items():
        when = due.get(horizon, "the plan sets no time")
        inner: list[Block] = []
        for title, items in tasks:
            inner += [Paragraph((Strong(title),)), Bullets(tuple(items))]
        blocks.append(Section(f"{_title(horizon)} ({when} of the recovery)", tuple(inner)))
    rows = tuple((_title(name), marks.period(within)) for name, within in plan.postmortem.items())
    if rows:
        blocks.append(Section("Post-mortem", (Table("Due after the recovery", ("Post-mortem", "Within"), rows),)))
    return Section("Post-Disaster Actions", tuple(blocks))


# ── names ───────────────────────────────────────────────────────────────────────────────────────────


def _named(plan: Plan, name: PersonName) -> str:
    person = plan.people.get(name)
    return person.name if person else str(name)


def _title(name: str) -> str:
    """`incident-commander` to `Incident commander`."""
    return _upper(name.replace("-", " ").replace("_", " "))


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
