"""The verbs of a procedure, each with its own keys, and the step around them.

In a procedure `the database` and `the application` stand for what the scenario `uses`: built-in scenarios are written
in these words, and `scenarios` puts the plan's own names in their place. No name of a plan has a space in it, so
nothing can be taken for them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from backstay.config import grammar
from backstay.config.forms import (
    IN_STEP,
    Choice,
    Either,
    Flag,
    Form,
    ListOf,
    Made,
    NameOf,
    Schema,
    Word,
    a_name,
    refuse,
)
from backstay.config.nodes import Text
from backstay.config.reading import BAD, At, Bad, Named
from backstay.config.sections.people import named
from backstay.config.sections.smoke import STEP_REQUEST
from backstay.config.sections.words import SOME_SPAN, TEXT, argv, environment
from backstay.config.spelling import nearest, quoted
from backstay.config.tables import Fields, Key, OneOf, Table, default, optional, required
from backstay.plan import (
    EXISTING,
    VERB_NAME,
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    Step,
    Tell,
    Verb,
    Wait,
    parse_target,
)
from backstay.values import ComponentName, StepId

THE_DATABASE = "the database"
THE_APPLICATION = "the application"


class _Recovered(Form[ComponentName]):
    """A component by name, or `the database`."""

    says = f"the name of a component, or `{THE_DATABASE}`"

    def read(self, at: At) -> ComponentName | Bad:
        if not isinstance(at.node, Text) or at.node.is_empty:
            return refuse(self, at)
        said = at.node.text
        if said.startswith("the ") and said != THE_DATABASE:
            at.wrong(f"{quoted(said)} means nothing here; did you mean `{THE_DATABASE}`?")
            return BAD
        if said != THE_DATABASE:
            at.mention(Named.COMPONENT, said)
        return ComponentName(said)

    def schema(self) -> Schema:
        return {"type": "string"}


COMPONENT_NAME = _Recovered()
COMPONENT = required("component", COMPONENT_NAME, "which component", "database")

# ── scale ────────────────────────────────────────────────────────────────────────────────────────

_how_many = grammar.WholeNumber(0, 10_000)


def _to(text: str) -> int | None:
    if text == "recorded":
        return None
    if nearest(text, ["recorded"]):
        raise ValueError(f"{quoted(text)} is no number of instances; did you mean `recorded`?")
    return _how_many(text)


PROCESS = required("process", NameOf(Named.PROCESS), "a process of the site", "api")
DEPLOYMENT = required("deployment", TEXT, "a deployment of the site's cluster", "shop-api")
WORKLOAD = required("workload", Choice({THE_APPLICATION: THE_APPLICATION}), "what the scenario uses", THE_APPLICATION)
TO = required(
    "to",
    Word("a number, or `recorded`", _to, types=("integer", "string")),
    "how many are to run; `recorded`: as many as the first `scale` of the run found",
    "0",
)


def _scale(fields: Fields) -> Scale:
    to = fields[TO]
    if fields.given(PROCESS):
        if to is not None and to > 1:
            fields.spot(TO).wrong("a process runs once or not at all: 0, 1 or `recorded`")
        return Scale(fields[PROCESS], "process", to)
    if fields.given(DEPLOYMENT):
        return Scale(fields[DEPLOYMENT], "deployment", to)
    return Scale(fields[WORKLOAD], "process", to)


SCALE = Table(
    "scale",
    "a scale step",
    "How many of a workload run: 0 stops it.",
    (TO,),
    _scale,
    one_of=OneOf("what", (PROCESS, DEPLOYMENT, WORKLOAD)),
)

# ── restoring ────────────────────────────────────────────────────────────────────────────────────

PRESERVE_WITHIN = default("within", SOME_SPAN, timedelta(minutes=3), "how long it may take", "3m", "3 min")
ELSE = default(
    "else", Choice({"continue": False, "stop": True}), False, "what to do where it cannot be kept", "stop", "`continue`"
)
PRESERVE = Table(
    "preserve",
    "a preserve step",
    "Keep the damaged state for forensics, in constant time, never at the price of the RTO.",
    (COMPONENT, PRESERVE_WITHIN, ELSE),
    lambda fields: Preserve(fields[COMPONENT], fields[PRESERVE_WITHIN], fields[ELSE]),
)

_ORIGINS = ("proven", "newest", "clean", *EXISTING)


def _origin(text: str) -> str:
    """Which point: a word, or the id of one (`20261122T204437Z-7f3a9c1d`, `pgbackrest-main-20261122-204437F`)."""
    if text in _ORIGINS or (text[:8].isdigit() and "T" in text and "-" in text and len(text) <= 64):
        return text
    if any(text.startswith(f"{held}-") for held in EXISTING) and len(text) <= 200:
        return text
    near = nearest(text, _ORIGINS)
    end = (
        f"; did you mean `{near}`?"
        if near
        else f": write {', '.join(f'`{word}`' for word in _ORIGINS)} or the id of a point"
    )
    raise ValueError(f"{quoted(text)} names no point{end}")


FROM = default(
    "from",
    Word("`proven`, `newest`, `clean`, what holds it (`pgbackrest`, `pg_dump`), or the id of a point", _origin),
    "proven",
    "which point",
    "proven",
    "`proven`: the last known good",
)
CHOOSE = Table(
    "choose",
    "a choose step",
    "Which recovery point is restored.",
    (COMPONENT, FROM),
    lambda fields: Choose(fields[COMPONENT], fields[FROM]),
)

BESIDE = default("beside", Flag(), True, "restored beside the old one, asked, then swapped by rename", "true", "`true`")
UNTIL = optional(
    "until",
    Word("`latest`, a moment, an LSN, `xid NUMBER` or `restore-point NAME`", parse_target),
    "how far the log is replayed after the point; `before` in front leaves out what lies exactly there",
    "latest",
    "to the end of the point itself",
)
RESTORE = Table(
    "restore",
    "a restore step",
    "Bring the chosen point back.",
    (COMPONENT, BESIDE, UNTIL),
    lambda fields: Restore(fields[COMPONENT], fields[BESIDE], fields[UNTIL]),
)
ASK = Table(
    "ask",
    "an ask step",
    "Ask a restored component the plan's own questions.",
    (COMPONENT,),
    lambda fields: Ask(fields[COMPONENT]),
)

# ── commands and people ──────────────────────────────────────────────────────────────────────────

RUN = required("run", argv(IN_STEP), "the program and its arguments", "[scripts/warm-cache, --all]")
ENV = default("env", environment(IN_STEP), {}, "variables it gets beside ours", '{URL: "${site.api}"}', "none")
COMMAND = Table(
    "command",
    "a command step",
    "A program by its arguments, never a text for a shell. With `look` or `repeatable: true`, or a crash in it "
    "becomes a question to a person.",
    (RUN, ENV),
    lambda fields: RunCommand(fields[RUN], fields[ENV]),
)

QUESTION = required("question", TEXT, "what is asked", "May the old database be dropped?")
BY = required("by", ListOf(NameOf(Named.PERSON), at_least=1, or_one=True), "who can say yes", "[cto, devops-lead]")
NEEDED = default(
    "needed", Word("a whole number", grammar.WholeNumber(1, 20), types=("integer",)), 1, "how many of them", "1", "1"
)


def _approve(fields: Fields) -> Approve:
    by, needed = named(fields[BY]), fields[NEEDED]
    if needed > len(by):
        fields.spot(NEEDED).wrong(f"{needed} of {len(by)} cannot say yes: ask more people, or need fewer")
    return Approve(fields[QUESTION], by, needed)


APPROVE = Table(
    "approve",
    "an approve step",
    "People must say yes. Who started the run does not count.",
    (QUESTION, BY, NEEDED),
    _approve,
)
WHO = required("who", ListOf(NameOf(Named.PERSON), at_least=1, or_one=True), "who is asked", "[dba-lead]")
ASK_PERSON = Table(
    "ask-person",
    "an ask-person step",
    "A question that only a person can answer.",
    (QUESTION, WHO),
    lambda fields: AskPerson(fields[QUESTION], named(fields[WHO])),
)
AUDIENCE = required("audience", NameOf(Named.AUDIENCE), "who is told", "customers")
MESSAGE = required("message", TEXT, "what", "We are restoring the database.")
TELL = Table(
    "tell",
    "a tell step",
    "Tell an audience something.",
    (AUDIENCE, MESSAGE),
    lambda fields: Tell(fields[AUDIENCE], fields[MESSAGE]),
)

# ── the step ─────────────────────────────────────────────────────────────────────────────────────


V = TypeVar("V", bound=Verb)


def _or_component(table: Table[V], make: Callable[[ComponentName], V]) -> Either[V]:
    short = Made(COMPONENT_NAME, lambda _, name: make(name))
    return Either(f"a component, or {table.says}", text=short, entries=table)


def _checks(_: At, names: tuple[str, ...]) -> Smoke:
    return Smoke(names)


CHECKS = ListOf(NameOf(Named.CHECK), at_least=1, or_one=True)
_FORMS: dict[str, tuple[Form[Any], str, str]] = {
    "scale": (SCALE, "set how many run", "{process: api, to: 0}"),
    "preserve": (_or_component(PRESERVE, Preserve), "keep the damaged state", "database"),
    "choose": (
        _or_component(CHOOSE, Choose),
        "choose a point",
        "{component: database, from: proven}",
    ),
    "restore": (
        _or_component(RESTORE, Restore),
        "restore it",
        "{component: database, beside: true}",
    ),
    "ask": (_or_component(ASK, Ask), "ask the plan's questions", "database"),
    "smoke": (Made(CHECKS, _checks, "smoke checks"), "run smoke checks; alone (`- smoke`): all of them", "[health]"),
    "command": (
        Either("a program, or the settings of one", items=Made(RUN.form, lambda _, a: RunCommand(a)), entries=COMMAND),
        "run a program",
        "{run: [scripts/warm-cache]}",
    ),
    "http": (Made(STEP_REQUEST, lambda _, r: CallHttp(r)), "send a request", '{post: "${site.api}/cache/clear"}'),
    "approve": (APPROVE, "wait until people say yes", '{question: "Open to traffic?", by: [cto]}'),
    "ask-person": (ASK_PERSON, "ask people something", '{question: "Which version?", who: [cto]}'),
    "tell": (TELL, "tell an audience", '{audience: customers, message: "…"}'),
    "wait": (Made(SOME_SPAN, lambda _, s: Wait(s)), "wait", "30s"),
}
assert set(_FORMS) == set(VERB_NAME.values()), "every verb has its grammar"
VERBS: tuple[Key[Verb], ...] = tuple(required(name, *declared) for name, declared in _FORMS.items())

STEP_NAME = optional("name", Word("a name", a_name), "by which later steps refer to it", "warm-cache", "none")
TARGET = optional("target", SOME_SPAN, "how long it should take", "2m", "not said")
TIMEOUT = default("timeout", SOME_SPAN, timedelta(hours=1), "how long it may take", "10m", "1 h")
RETRIES = default(
    "retries",
    Word("a whole number", grammar.WholeNumber(0, 100), types=("integer",)),
    2,
    "how often it is tried again after *try later*",
    "2",
    "2",
)
NEEDS = default(
    "needs",
    ListOf(Word("the name of a step", a_name), or_one=True),
    (),
    "earlier steps that must be done",
    "[restore-db]",
    "the step before it",
)
LOOK = default(
    "look",
    argv(IN_STEP),
    (),
    "a program that tells whether the step has happened: exit 0 yes, 1 no, else unknown",
    "[scripts/is-warm]",
    "none",
)
REPEATABLE = default(
    "repeatable", Flag(), False, "twice is the same as once", "true", "`false`; for GET and HEAD `true`"
)


def _step(fields: Fields) -> Step:
    verb = next(fields[key] for key in VERBS if fields.given(key))
    reads = isinstance(verb, CallHttp) and verb.request.method in ("GET", "HEAD")  # safe: RFC 9110, 9.2.1
    name = fields[STEP_NAME] or ""
    return Step(
        verb=verb,
        id=StepId(name),
        name=name,
        target=fields[TARGET],
        timeout=fields[TIMEOUT],
        retries=fields[RETRIES],
        needs=tuple(StepId(needed) for needed in fields[NEEDS]),
        look=fields[LOOK],
        repeatable=fields[REPEATABLE] or reads,
    )


STEP_TABLE = Table(
    "step",
    "a step",
    "One verb, and what holds for every verb.",
    (STEP_NAME, TARGET, TIMEOUT, RETRIES, NEEDS, LOOK, REPEATABLE),
    _step,
    one_of=OneOf("what to do", VERBS),
)


def _bare(text: str) -> Step:
    """A verb alone: only `smoke` needs nothing more."""
    if text == "smoke":
        return Step(Smoke())
    near = nearest(text, _FORMS)
    if near == text:
        raise ValueError(f"`{text}` needs more: write it like `{text}: {_FORMS[text][2]}`")
    raise ValueError(f"there is no verb {quoted(text)}" + (f"; did you mean `{near}`?" if near else ""))


STEP = Either("a step, like `smoke` or `ask: database`", text=Word("a verb", _bare), entries=STEP_TABLE)
