"""Who: people, roles, vendors, who may declare a disaster, who is told, what follows."""

from collections.abc import Mapping

from backstay.config import grammar
from backstay.config.forms import Choice, ListOf, MapOf, NameOf, Word, Worded
from backstay.config.reading import Named
from backstay.config.sections.words import SOME_SPAN, SPAN, SQL, TEXT
from backstay.config.spelling import quoted
from backstay.config.tables import Fields, Table, default, optional, others_of, required
from backstay.plan import Audience, Authority, Criterion, FollowUp, Person, Role, Template, Vendor
from backstay.values import Period, PersonName, RoleName

PERSON_NAME = NameOf(Named.PERSON)
PEOPLE = ListOf(PERSON_NAME, or_one=True)


def named(people: tuple[str, ...]) -> tuple[PersonName, ...]:
    """Each once, in the order in which they were written."""
    return tuple(PersonName(name) for name in dict.fromkeys(people))


# ── people and roles ─────────────────────────────────────────────────────────────────────────────

PERSON_CALLED = required("name", TEXT, "what the person is called", "DevOps Lead")
EMAIL = optional("email", Word("an e-mail address", grammar.email), "where mail reaches them", "ops@example.com")
PHONE = optional("phone", Worded("a number or a reference"), "where a call reaches them", "${env:PHONE_OPS}")
PAGE = optional("page", Worded("a reference"), "the address that pages them", "${env:PAGE_OPS}")
SSH_KEY = optional(
    "key",
    Word("a public key, ssh-ed25519 …", grammar.ssh_key),
    "what their approvals are checked with",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Yc1zCzvkjuwZn0hCsSS7ULaGv9Hk5PTK3gH8rJ0eG ops",
    "their approvals are claims, not proof",
)
PERSON = Table(
    "person",
    "a person",
    "Somebody who decides, helps, or is told.",
    (PERSON_CALLED, EMAIL, PHONE, PAGE, SSH_KEY),
    lambda fields: Person(
        PersonName(fields.name),
        fields[PERSON_CALLED],
        fields[EMAIL],
        fields[PHONE],
        fields[PAGE],
        fields[SSH_KEY],
    ),
)

ROLE_PRIMARY = required("primary", PERSON_NAME, "who fills it", "devops-lead")
ROLE_BACKUP = optional("backup", PERSON_NAME, "who fills it when the primary cannot", "engineering-lead", "nobody")


def _role(fields: Fields) -> Role:
    primary, backup = fields[ROLE_PRIMARY], fields[ROLE_BACKUP]
    if primary == backup:
        fields.spot(ROLE_BACKUP).wrong(f"the backup is the primary, {quoted(primary)}: name somebody else")
    return Role(RoleName(fields.name), PersonName(primary), None if backup is None else PersonName(backup))


ROLE = Table("role", "a role", "A part that somebody plays in a recovery.", (ROLE_PRIMARY, ROLE_BACKUP), _role)

VENDOR_NAME = required("name", TEXT, "who", "AWS")
SERVICE = required("service", TEXT, "what they do for us", "Cloud infrastructure")
CONTACT = default("contact", TEXT, "", "how to reach them", "support portal", "nothing")
SLA = default("sla", TEXT, "", "how fast they promised to answer", '"P1: 15 min"', "nothing")
VENDOR = Table(
    "vendor",
    "a vendor",
    "Somebody outside on whom a recovery depends.",
    (VENDOR_NAME, SERVICE, CONTACT, SLA),
    lambda fields: Vendor(fields[VENDOR_NAME], fields[SERVICE], fields[CONTACT], fields[SLA]),
)

# ── who may declare ──────────────────────────────────────────────────────────────────────────────

APPROVAL_ROLE = required("role", NameOf(Named.ROLE), "who needs a second person", "incident-commander")
APPROVAL_OF = required("of", ListOf(PERSON_NAME, at_least=1, or_one=True), "who can approve", "[cto, devops-lead]")
NEEDED = default(
    "needed", Word("a whole number", grammar.WholeNumber(1, 20), types=("integer",)), 1, "how many of them", "1", "1"
)


def _approval(fields: Fields) -> tuple[RoleName, tuple[PersonName, ...], int]:
    of, needed = named(fields[APPROVAL_OF]), fields[NEEDED]
    if needed > len(of):
        fields.spot(NEEDED if fields.given(NEEDED) else APPROVAL_OF).wrong(
            f"{needed} of {len(of)} cannot approve: name more people, or need fewer"
        )
    return RoleName(fields[APPROVAL_ROLE]), of, needed


APPROVAL = Table(
    "approval",
    "a second opinion",
    "A role that may declare only when others agree. Who asks does not count among them.",
    (APPROVAL_ROLE, APPROVAL_OF, NEEDED),
    _approval,
)

ALONE = default("alone", PEOPLE, (), "who may declare without asking", "[cto, devops-lead]", "nobody")
WITH_APPROVAL = optional(
    "with_approval",
    APPROVAL,
    "who may declare when others agree",
    "{role: incident-commander, of: [cto, devops-lead], needed: 1}",
    "nobody",
)


def _authority(fields: Fields) -> Authority:
    alone, approval = named(fields[ALONE]), fields[WITH_APPROVAL]
    if not alone and not fields.given(WITH_APPROVAL):
        fields.at.wrong("names nobody who may declare a disaster: add `alone: [NAME]`")
    return Authority(alone) if approval is None else Authority(alone, *approval)


AUTHORITY = Table(
    "authority",
    "an authority",
    "Who may declare a disaster, alone or with others.",
    (ALONE, WITH_APPROVAL),
    _authority,
)

CRITERION_WHAT = required("what", TEXT, "what has happened", "complete loss of production")
CRITERION_WHEN = optional(
    "when",
    Word("a criterion, like forecast > 2h", grammar.criterion),
    "how it is seen without a person",
    "smoke all red for 10m",
    "a person judges",
)


def _criterion(fields: Fields) -> Criterion:
    when = fields[CRITERION_WHEN]
    if when is not None and (check := grammar.criterion_check(when)) is not None:
        fields.spot(CRITERION_WHEN).mention(Named.CHECK, check)
    return Criterion(fields[CRITERION_WHAT], when)


CRITERION = Table(
    "criterion", "a criterion", "A reason to declare a disaster.", (CRITERION_WHAT, CRITERION_WHEN), _criterion
)

DECLARED_AUTHORITY = default(
    "authority", AUTHORITY, Authority(), "who may declare", "{alone: [cto]}", "whoever holds the plan"
)
CRITERIA = default(
    "criteria", ListOf(CRITERION), (), "reasons to declare", "[{what: data is lost, when: rows refuted > 50%}]", "none"
)
DECLARATION = Table(
    "declaration",
    "how a disaster is declared",
    "Who may declare a disaster, and when.",
    (DECLARED_AUTHORITY, CRITERIA),
    lambda fields: (fields[DECLARED_AUTHORITY], fields[CRITERIA]),
)

# ── who is told ──────────────────────────────────────────────────────────────────────────────────

TO = default(
    "to",
    ListOf(Worded("an address"), or_one=True),
    (),
    "where messages go",
    '["${env:CHAT_WEBHOOK}"]',
    "only shown on the terminal",
)
TOLD_WITHIN = optional("within", SPAN, "by when the first message is out", "30m", "no promise")
TOLD_EVERY = optional("every", SOME_SPAN, "how often there is news", "15m", "when something changed")
CHANNEL = optional("channel", TEXT, "the channel of the chat", "'#disaster-recovery'")
WHEN = optional("when", Choice({"always": "always", "public": "public"}), "`public`: once the public knows", "public")
LIST_SQL = required("sql", SQL, "the addresses", "SELECT email FROM users")
LIST_FROM = required("from", NameOf(Named.COMPONENT), "the component that is asked", "database")
LIST = Table(
    "list",
    "a list of addresses",
    "Addresses that a component knows: captured with each point, sealed, so that they can be had when it is lost.",
    (LIST_SQL, LIST_FROM),
    lambda fields: {"list.sql": fields[LIST_SQL], "list.from": fields[LIST_FROM]},
)
LIST_KEY = optional(
    "list", LIST, "addresses that a component knows", '{sql: "SELECT email FROM users", from: database}'
)


def _audience(fields: Fields) -> Audience:
    settings = dict[str, str](fields[LIST_KEY] or {})
    for key in (CHANNEL, WHEN):
        if (said := fields[key]) is not None:
            settings[key.name] = said
    return Audience(fields.name, fields[TO], fields[TOLD_WITHIN], fields[TOLD_EVERY], settings)


AUDIENCE = Table(
    "audience",
    "an audience",
    "People who wait for news, and how they get it.",
    (TO, TOLD_WITHIN, TOLD_EVERY, CHANNEL, WHEN, LIST_KEY),
    _audience,
)


def _audience_name(text: str) -> str:
    if not text.replace("_", "").replace("-", "").isalnum() or not text.islower() or not text.isascii():
        raise ValueError(f"{quoted(text)} is not a name: small letters, digits, hyphens and underscores")
    return text


WAR_ROOM = optional("war_room", TEXT, "where the people who recover meet", "https://meet.example.com/dr")
TEMPLATES = optional(
    "templates", Worded("a path"), "a folder with your own messages", "./templates", "the built-in ones"
)


def _communication(fields: Fields) -> tuple[dict[str, Audience], str | None, Template | None]:
    return others_of(fields), fields[WAR_ROOM], fields[TEMPLATES]


COMMUNICATION = Table(
    "communication",
    "the communication",
    "Who is told what, how fast and how often. Usual audiences: `internal`, `status_page`, `customers`, `social`.",
    (WAR_ROOM, TEMPLATES),
    _communication,
    others=AUDIENCE,
    others_named=_audience_name,
    others_about="an audience",
    others_declare=Named.AUDIENCE,
)

# ── what follows ─────────────────────────────────────────────────────────────────────────────────

DUE = Word("a due time, like within 24h", grammar.due_time)


def _label(text: str) -> str:
    if not text.strip() or len(text) > 63:
        raise ValueError("is not a name: one to 63 letters")
    return text


POSTMORTEM = default(
    "postmortem",
    MapOf(DUE, "names and due times", key=_label, pattern=""),
    {},
    "by when it is written and published",
    "{internal: 1 week, published: 48h}",
    "no promise",
)


def _after(fields: Fields) -> tuple[tuple[FollowUp, ...], Mapping[str, Period]]:
    tasks = tuple(FollowUp(name, due) for name, due in others_of(fields).items())
    return tasks, fields[POSTMORTEM]


AFTER = Table(
    "after",
    "the follow-up",
    "What follows a recovery, and when it is due, counted from the recovery.",
    (POSTMORTEM,),
    _after,
    others=DUE,
    others_named=_label,
    others_about="a group of tasks, like `immediate: within 24h`",
)
