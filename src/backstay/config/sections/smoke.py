"""What "it works" means: requests, flows of requests, commands; and who watches them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal, cast

from backstay.config import grammar
from backstay.config.forms import (
    IN_FLOW,
    IN_STEP,
    ON_SITE,
    Form,
    ListOf,
    Made,
    MapOf,
    NameOf,
    Placed,
    WithPlace,
    Word,
    Worded,
)
from backstay.config.nodes import Entries, Items, Text
from backstay.config.reading import BAD, At, Bad, Named
from backstay.config.sections.words import SOME_SPAN, TEXT, WORD_PATTERN, a_word, argv, environment
from backstay.config.spelling import MOST_NEARBY, nearest
from backstay.config.tables import Fields, Key, Likeliest, OneOf, Table, default, optional, required
from backstay.plan import Check, CommandCheck, HttpCheck, Json, Request, Space, Template, Watch

# ── a body in JSON ───────────────────────────────────────────────────────────────────────────────


class Body(Form[Json]):
    """JSON whose texts are templates: `4` is a number, `"4"` a text."""

    says = "a JSON value"
    takes_nothing = True

    def __init__(self, spaces: frozenset[Space]) -> None:
        self._text = Worded(spaces=spaces)

    def read(self, at: At) -> Json | Bad:
        node = at.node
        if isinstance(node, Text):
            return self._scalar(at, node)
        if isinstance(node, Items):
            items = [self.read(at.into(number, item)) for number, item in enumerate(node.items)]
            return BAD if any(isinstance(i, Bad) for i in items) else cast("Json", tuple(items))
        pairs = {name: self.read(at.into(name, value)) for name, (_, value) in node.entries.items()}
        return BAD if any(isinstance(v, Bad) for v in pairs.values()) else cast("Json", pairs)

    def _scalar(self, at: At, node: Text) -> Json | Bad:
        if node.is_empty:
            return None
        if node.plain and node.text in ("true", "false"):
            return node.text == "true"
        if node.plain:
            try:
                return grammar.number(node.text)
            except ValueError:
                pass
        return Template(()) if node.text == "" else self._text.read(at)

    def schema(self) -> dict[str, Any]:
        return {}


# ── requests ─────────────────────────────────────────────────────────────────────────────────────

_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
_METHODS: tuple[_Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
ANY_SUCCESS = tuple(range(200, 300))


def _web_address(address: Template) -> str | None:
    first = address.parts[0]
    if isinstance(first, str) and not first.startswith(("http://", "https://")):
        return "is not the address of a page: begin with http://, https:// or a reference like ${site.api}"
    return None


def _statuses(_: At, found: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(status for several in found for status in several))


STATUS = Word("an HTTP status, like 200 or 2xx", grammar.statuses, types=("string", "integer"))


def _header(text: str) -> str:
    if not text or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in text):
        raise ValueError("is not the name of an HTTP header")
    return text


class RequestKeys:
    """The keys of a request; which namespaces its texts may name depends on where it stands."""

    def __init__(self, spaces: frozenset[Space]) -> None:
        address = Worded("an address", spaces, check=_web_address)
        self.methods: tuple[Key[Template], ...] = tuple(
            required(m.lower(), address, f"{m} this address", f'"${{site.api}}/{"health" if m == "GET" else "me"}"')
            for m in _METHODS
        )
        self.expect = default(
            "expect",
            Made(ListOf(STATUS, at_least=1, or_one=True), _statuses, STATUS.says),
            ANY_SUCCESS,
            "the statuses that count as right",
            "200",
            "`2xx`",
        )
        self.json = optional("json", Body(spaces), "the body, in JSON", "{size: 5}", "no body")
        token = '"${token}"' if Space.SAVED in spaces else '"${env:TOKEN}"'
        self.bearer = optional("bearer", Worded("a reference", spaces), "the token that it carries", token)
        header = MapOf(Worded(spaces=spaces), "headers and their values", key=_header, pattern="")
        self.headers = default("headers", header, {}, "further headers", "{Accept: text/plain}", "none")
        path = Word("a path into the JSON answer, like $.token", grammar.json_path)
        saved = MapOf(path, "names and paths", key=a_word, pattern=WORD_PATTERN)
        self.save = default("save", saved, {}, "values of the answer that are used later", "{token: $.token}", "none")
        self.contains = optional("contains", TEXT, "a text that the answer must hold", "ok", "anything")
        self.keys = (self.expect, self.json, self.bearer, self.headers, self.save, self.contains)
        self.one_of = OneOf("what to ask", self.methods)

    def build(self, fields: Fields) -> Request:
        key = next(key for key in self.methods if fields.given(key))
        if fields.given(self.json) and key.name in ("get", "head"):
            fields.spot(self.json).wrong(f"a {key.name.upper()} request has no body")
        return Request(
            method=cast("_Method", key.name.upper()),
            url=fields[key],
            expect=fields[self.expect],
            json=fields[self.json],
            bearer=fields[self.bearer],
            headers=fields[self.headers],
            save=fields[self.save],
            contains=fields[self.contains],
        )


_IN_FLOW = RequestKeys(IN_FLOW)
_IN_STEP = RequestKeys(IN_STEP)
REQUEST = Table(
    "request",
    "a request",
    "One HTTP request. In a flow `${name}` is what an earlier answer was saved as.",
    _IN_FLOW.keys,
    _IN_FLOW.build,
    one_of=_IN_FLOW.one_of,
)
STEP_REQUEST = Table(
    "step-request",
    "a request",
    "One HTTP request of a procedure. What it saves, later steps name as `${steps.STEP.NAME}`.",
    _IN_STEP.keys,
    _IN_STEP.build,
    one_of=_IN_STEP.one_of,
)

# ── checks ───────────────────────────────────────────────────────────────────────────────────────

PATIENCE = timedelta(seconds=10)
TIMEOUT = default("timeout", SOME_SPAN, PATIENCE, "how long one request may take", "10s", "10 s")
FLOW = required(
    "flow", ListOf(WithPlace(REQUEST), at_least=1), "requests, one after the other", '[{get: "${site.api}/health"}]'
)
CLEANUP = default(
    "cleanup",
    ListOf(WithPlace(REQUEST)),
    (),
    "requests that clear away, whatever the flow came to",
    '[{delete: "${site.api}/me", bearer: "${token}"}]',
    "none",
)


def _flow(fields: Fields) -> HttpCheck:
    flow, cleanup = fields[FLOW], fields[CLEANUP]
    _check_saved((*flow, *cleanup))
    return HttpCheck(fields.name, _readable(flow), _readable(cleanup), fields[TIMEOUT])


def _readable(requests: Iterable[Placed[Request | Bad]]) -> tuple[Request, ...]:
    return tuple(request.value for request in requests if not isinstance(request.value, Bad))


def _check_saved(requests: Iterable[Placed[Request | Bad]]) -> None:
    """Every `${saved.…}` has to be saved by an earlier request."""
    saved: dict[str, None] = {}
    for request in requests:
        at = request.at
        for seen in at.reading.refs_under(at.path):
            if seen.ref.space is Space.SAVED and seen.ref.path not in saved:
                near = nearest(seen.ref.path, list(saved)[-MOST_NEARBY:])
                end = f"; did you mean `${{{near}}}`?" if near else "; an earlier request says `save: {NAME: $.path}`"
                said = f"nothing was saved as `{seen.ref.path}` before this request"
                at.reading.problem(seen.place, seen.path, said + end)
        saved.update(dict.fromkeys(_saves(request)))


def _saves(request: Placed[Request | Bad]) -> list[str]:
    """The names that a request saves; of one with problems, those that are written."""
    if not isinstance(request.value, Bad):
        return list(request.value.save)
    save = request.at.node.entries.get("save") if isinstance(request.at.node, Entries) else None
    return list(save[1].entries) if save is not None and isinstance(save[1], Entries) else []


FLOW_TABLE = Table(
    "flow",
    "a flow",
    "What a user does, as requests in a row. It stops at the first that is not right; `cleanup` runs in any case.",
    (FLOW, CLEANUP, TIMEOUT),
    _flow,
)


def _single(fields: Fields) -> HttpCheck:
    request = _IN_FLOW.build(fields)
    for seen in fields.at.reading.refs_under(fields.at.path):
        if seen.ref.space is Space.SAVED:
            fields.at.reading.problem(seen.place, seen.path, f"nothing was saved as `{seen.ref.path}`: this is no flow")
    return HttpCheck(fields.name, (request,), (), fields[TIMEOUT])


SINGLE = Table(
    "single-request",
    "a request",
    "One HTTP request as a whole check. Its keys are those of a request, and `timeout`.",
    (*_IN_FLOW.keys, TIMEOUT),
    _single,
    one_of=_IN_FLOW.one_of,
)

RUN = required("run", argv(ON_SITE), "a program; exit 0 is a pass", "[tests/smoke.sh]")
ENV = default("env", environment(ON_SITE), {}, "variables it gets beside ours", '{URL: "${site.api}"}', "none")
RUN_TIMEOUT = default("timeout", SOME_SPAN, timedelta(minutes=5), "how long it may take", "5m", "5 min")
COMMAND_CHECK = Table(
    "command-check",
    "a command",
    "Any program as a check.",
    (RUN, ENV, RUN_TIMEOUT),
    lambda fields: CommandCheck(fields.name, fields[RUN], fields[ENV], fields[RUN_TIMEOUT]),
)

CHECK: Form[Check] = Likeliest("a request, a flow or a command", (SINGLE, FLOW_TABLE, COMMAND_CHECK))

# ── watching ─────────────────────────────────────────────────────────────────────────────────────

WATCH_EVERY = required("every", SOME_SPAN, "how often", "1m")
WATCH_CHECKS = default(
    "checks", ListOf(NameOf(Named.CHECK), at_least=1, or_one=True), (), "which smoke checks", "[health]", "all"
)
WATCH = Table(
    "watch",
    "what is watched",
    "Availability is measured by these checks; gaps read unknown.",
    (WATCH_EVERY, WATCH_CHECKS),
    lambda fields: Watch(fields[WATCH_EVERY], fields[WATCH_CHECKS]),
)

PING = required("ping", Worded("an address"), "an address that somebody outside watches", "${env:HEALTHCHECK_URL}")
ALIVE_EVERY = default("every", SOME_SPAN, timedelta(minutes=5), "how often", "5m", "5 min")
ALIVE = Table(
    "alive",
    "a sign of life",
    "A sign of life, so that somebody outside notices when Backstay itself is silent.",
    (PING, ALIVE_EVERY),
    lambda fields: (fields[PING], fields[ALIVE_EVERY]),
)
