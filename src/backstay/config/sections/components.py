"""What is protected: when points are taken, how they are proven, what was promised."""

from datetime import time
from decimal import Decimal
from typing import Any

from backstay.config import grammar
from backstay.config.forms import Choice, Either, ListOf, Made, NameOf, Word
from backstay.config.reading import Named
from backstay.config.sections.existing import EXISTING
from backstay.config.sections.keeping import KEEP_FORM
from backstay.config.sections.sources import DATABASES, SOURCES, sort_of
from backstay.config.sections.words import OBJECTIVES, PERCENT, SCHEDULE, SOME_SPAN, SQL, TEXT
from backstay.config.spelling import quoted
from backstay.config.tables import Fields, OneOf, Table, default, optional, required
from backstay.plan import (
    Canary,
    Component,
    DailyAt,
    Objectives,
    PostgresSource,
    PostgresWay,
    Protect,
    Prove,
    Question,
    SandboxLimits,
    Tolerance,
)
from backstay.values import ComponentName, VaultName

USUAL_FULL = DailyAt(time(2, 0))
USUAL_PROOF = DailyAt(time(3, 0))

# ── protect ──────────────────────────────────────────────────────────────────────────────────────

FULL = optional("full", SCHEDULE, "when every byte is read again", '"02:00"', "never")
INCREMENTAL = optional("incremental", SCHEDULE, "when only what changed is read", "6h", "never")
WAL = default(
    "wal",
    Choice({"continuous": True}),
    False,
    "PostgreSQL's log is kept as it is written: seconds are lost at most",
    "continuous",
    "not kept",
)
BEFORE = optional("before", Choice({"deployment": "deployment"}), "taken by whoever deploys", "deployment", "not")


def _protect(fields: Fields) -> Protect:
    made = Protect(fields[FULL], fields[INCREMENTAL], fields[WAL], fields[BEFORE])
    for key in (INCREMENTAL, WAL):
        if fields.sound(key) and not fields.given(FULL):
            fields.spot(key).wrong(f'`{key.name}` needs a `full` to stand on: add one, like `full: "02:00"`')
    if not fields.places:
        fields.at.wrong('protects nothing: write when, like `full: "02:00"`, or take the line out')
    return made


PROTECT_TABLE = Table(
    "protect",
    "when points are taken",
    "When points are taken. Every point is full to restore: `full` means that every byte is read again, "
    "`incremental` that what did not change is taken from the point before. A text alone is `full`.",
    (FULL, INCREMENTAL, WAL, BEFORE),
    _protect,
)
PROTECT_FORM = Either(
    "a schedule, or several", text=Made(SCHEDULE, lambda _, full: Protect(full)), entries=PROTECT_TABLE
)

# ── prove ────────────────────────────────────────────────────────────────────────────────────────

QUESTION_SQL = required(
    "sql", SQL, "a question with one row and one column as its answer", '"SELECT count(*) FROM users"'
)
EXPECT = required(
    "expect",
    Word("an expectation, like >= 1", grammar.expectation, types=("string", "number")),
    "the right answers",
    '">= 1"',
)
AS = optional("as", TEXT, "what the answer is called", "users", "the question itself")


def _question(fields: Fields) -> Question:
    said = " ".join(fields[QUESTION_SQL].split())
    return Question(fields[QUESTION_SQL], fields[EXPECT], fields[AS] or (said if len(said) <= 60 else said[:59] + "…"))


QUESTION = Table(
    "question",
    "a question",
    "Asked of a restored database. Only its one answer is ever shown.",
    (QUESTION_SQL, EXPECT, AS),
    _question,
)

NO_LESS = optional(
    "expect",
    Word("an expectation, like >= 1", grammar.expectation, types=("string", "number")),
    "the right answers",
    '"= 1"',
    "a number that must never go down from one proof to the next",
)


def _canary(fields: Fields) -> Canary:
    said = " ".join(fields[QUESTION_SQL].split())
    return Canary(fields[QUESTION_SQL], fields[AS] or (said if len(said) <= 60 else said[:59] + "…"), fields[NO_LESS])


CANARY = Table(
    "canary",
    "a canary",
    "A question like those of `ask`, whose wrong answer marks the point *suspicious* and does not refute it: a person "
    "may name it, and nothing chooses it by itself. A row that must be there; a number that must never go down.",
    (QUESTION_SQL, NO_LESS, AS),
    _canary,
)

PROVE_AT = default("at", SCHEDULE, USUAL_PROOF, "when the newest point is proven", '"03:00"', '`"03:00"`')
MAX_AGE = optional("max_age", SOME_SPAN, "a point older than this is stale, to the second", "24h", "never stale")
PROVE_WITHIN = optional("within", SOME_SPAN, "how long restoring and asking may take", "30m", "as long as it takes")
ASK = default(
    "ask",
    ListOf(QUESTION),
    (),
    "questions whose answers show that the data is right",
    '[{sql: "SELECT count(*) FROM users", expect: ">= 1"}]',
    "none",
)
CANARIES = default(
    "canary",
    ListOf(CANARY),
    (),
    "questions whose wrong answers make a point suspicious",
    '[{sql: "SELECT count(*) FROM invoices"}]',
    "none",
)


# ── how much may change, how much it may use ─────────────────────────────────────────────────────

_USUAL = Tolerance()
A_NUMBER = Word("a whole number", grammar.whole, types=("string", "number"))
FEW = default("few", A_NUMBER, _USUAL.few, "a table that had fewer rows may be empty", "10", "10")
SOME = default("some", A_NUMBER, _USUAL.some, "a table that had fewer rows may shrink", "1000", "100")
LEFT = default("left", PERCENT, Decimal(50), "the share of the rows of the last proof that must be left", "90%", "50%")
FREE = default("free", ListOf(TEXT), (), "tables that may lose rows, and may go", "[public.sessions]", "none")
VOLUME_TABLE = Table(
    "volume",
    "how many rows may be missing",
    "When fewer rows than in the last proof are a defect. A table that is missing always is, unless it is `free`.",
    (FEW, SOME, LEFT, FREE),
    lambda fields: Tolerance(fields[FEW], fields[SOME], float(fields[LEFT]) / 100, fields[FREE]),
)

AN_AMOUNT = Word("a size, like 4 GiB", grammar.amount)
MEMORY = optional("memory", AN_AMOUNT, "address space of each process of a restored server", "2 GiB", "4 GiB")
DISK = optional("disk", AN_AMOUNT, "of the restored point and what its server writes", "200 GB", "what is free")
TIME = optional("time", SOME_SPAN, "from the beginning of a proof to its end", "2h", "24 h")
LIMITS_TABLE = Table(
    "limits",
    "what a proof may use",
    "What a sandbox may use of the machine that proves. A proof that meets a limit is *not verified*, with the reason.",
    (MEMORY, DISK, TIME),
    lambda fields: SandboxLimits(fields[MEMORY], fields[DISK], fields[TIME]),
)

VOLUME = default(
    "volume", VOLUME_TABLE, Tolerance(), "how many rows may be missing", "{left: 90%}", "half of a table of 100 rows"
)
STRUCTURE = optional(
    "structure",
    Word("a file beside the plan", grammar.file_beside),
    "the structure that the database should have, as `backstay verify --structure` writes it",
    "schema.txt",
    "the last proof's",
)
PROVE_SMOKE = default(
    "smoke",
    ListOf(NameOf(Named.CHECK), or_one=True),
    (),
    "smoke checks that are run against the restored database: commands, which get its address as `DATABASE_URL`",
    "[can-read-orders]",
    "none",
)
LIMITS = default("limits", LIMITS_TABLE, SandboxLimits(), "what a proof may use", "{memory: 2 GiB, time: 2h}", "below")


def _prove(fields: Fields) -> Prove:
    for key, what, of in ((ASK, "questions", fields[ASK]), (CANARIES, "canaries", fields[CANARIES])):
        names = [one.name for one in of]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            fields.spot(key).wrong(f"two {what} are called {quoted(name)}: name them with `as`")
    return Prove(
        at=fields[PROVE_AT],
        max_age=fields[MAX_AGE],
        within=fields[PROVE_WITHIN],
        ask=fields[ASK],
        canary=fields[CANARIES],
        volume=fields[VOLUME],
        structure=fields[STRUCTURE],
        smoke=fields[PROVE_SMOKE],
        limits=fields[LIMITS],
    )


PROVE_TABLE = Table(
    "prove",
    "how points are proven",
    "How the newest point is proven: it is restored into a throw-away place and asked.",
    (PROVE_AT, MAX_AGE, PROVE_WITHIN, ASK, CANARIES, VOLUME, STRUCTURE, PROVE_SMOKE, LIMITS),
    _prove,
)

# ── component ────────────────────────────────────────────────────────────────────────────────────

COMPONENT_OBJECTIVES = default(
    "objectives", OBJECTIVES, Objectives(), "what was promised for it", "{rto: 30m, rpo: 24h}", "the system's"
)
PROTECT = default(
    "protect",
    PROTECT_FORM,
    Protect(full=USUAL_FULL),
    "when points are taken",
    '{full: "02:00", incremental: 6h}',
    '`full: "02:00"`',
)
PROVE = default(
    "prove", PROVE_TABLE, Prove(at=USUAL_PROOF), "how points are proven", '{at: "03:00", within: 30m}', '`at: "03:00"`'
)
NEWEST = optional(
    "newest",
    SQL,
    "a question whose answer is the newest moment in the data: RPO is measured by it",
    "SELECT max(at) FROM heartbeat",
    "the moment of the point",
)
COMPONENT_KEEP = optional(
    "keep", KEEP_FORM, "how long its points are kept, in every vault", "30d", "what the vault says"
)
COMPONENT_VAULTS = default(
    "vaults", ListOf(NameOf(Named.VAULT), at_least=1, or_one=True), (), "where its points are kept", "[local]", "all"
)


def _component(fields: Fields) -> Component:
    source = next(fields[key] for key in SOURCES if fields.given(key))
    kind = sort_of(fields.at.node)
    if kind not in DATABASES:
        if fields.given(NEWEST):
            fields.spot(NEWEST).wrong("only a database can be asked")
        prove = fields[PROVE]
        for given, word in ((prove.ask or prove.canary, "ask"), (prove.structure, "structure"), (prove.smoke, "smoke")):
            if given:
                fields.spot(PROVE).wrong(f"only a database can be asked: `{word}` goes with postgres or sqlite")
    if fields.given(EXISTING) and not isinstance(source, PostgresSource):
        fields.spot(EXISTING).wrong("only backups of a PostgreSQL database can be read: pgBackRest's and pg_dump's")
    if fields[PROTECT].wal:
        _refuse_wal(fields, source)
    return Component(
        name=ComponentName(fields.name),
        source=source,
        protect=fields[PROTECT],
        prove=fields[PROVE],
        objectives=fields[COMPONENT_OBJECTIVES],
        newest=fields[NEWEST],
        keep=fields[COMPONENT_KEEP],
        vaults=tuple(VaultName(name) for name in fields[COMPONENT_VAULTS]),
        existing=fields[EXISTING],
    )


def _refuse_wal(fields: Fields, source: Any) -> None:
    if not isinstance(source, PostgresSource):
        fields.spot(PROTECT).wrong("`wal: continuous` is PostgreSQL's: take points more often instead")
    elif source.way is PostgresWay.LOGICAL:
        fields.spot(PROTECT).wrong(
            "`wal: continuous` cannot be replayed over a logical point: use `way: local` or `way: stream`"
        )
    elif source.managed:
        fields.spot(PROTECT).wrong(
            "`wal: continuous` cannot be had from a managed database: no provider gives its log away. Rely on the "
            "provider's point-in-time window, take logical points more often, or replicate to a server of your own"
        )


COMPONENT = Table(
    "component",
    "a component",
    "One protected part of the system. Exactly one key says what it is; the others say when its points are taken, "
    "how they are proven, and what was promised.",
    (PROTECT, PROVE, COMPONENT_OBJECTIVES, NEWEST, COMPONENT_KEEP, COMPONENT_VAULTS, EXISTING),
    _component,
    one_of=OneOf("what it is", SOURCES),
)
