"""One flow of requests: words are looked up, what an answer gives is remembered, and what is shown holds no secret."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, assert_never

from backstay.adapters.http.exchange import LARGEST_BODY_BYTES, Answered, Sent, taken_apart
from backstay.adapters.http.paths import parsed, value_at
from backstay.errors import UnknownName, Usage
from backstay.plan import Json, Ref, Request, Space, Template
from backstay.values import say_size

LONGEST_SHOWN = 120
"""Characters of a path."""

LookUp = Callable[[Ref], str]


@dataclass(slots=True)
class Flow:
    look_up: LookUp
    saved: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    # ── what is sent ──

    def formed(self, request: Request) -> Sent:
        """The request with every word looked up. Raises SecretMissing, UnknownName, and Usage for a header that holds a
        line break: it would be two."""
        headers = {name: self._word(value) for name, value in request.headers.items()}
        if request.bearer is not None:
            headers["Authorization"] = f"Bearer {self._word(request.bearer)}"
        body = None
        if request.json is not None:
            body = json.dumps(self._json(request.json)).encode()
            headers["Content-Type"] = "application/json"
        if any(not part.isprintable() for header in headers.items() for part in header):
            raise Usage("a header of the request holds a line break or another control character")
        return Sent(
            request.method,
            self._word(request.url),
            headers,
            body,
            read_body=bool(request.save) or request.contains is not None,
            expect=request.expect,
        )

    def knows(self, request: Request) -> bool:
        """Whether every value that it takes from an earlier answer is there."""
        return all(ref.path in self.saved for ref in _refs(request) if ref.space is Space.SAVED)

    def _word(self, template: Template) -> str:
        return template.render(self._value)

    def _value(self, ref: Ref) -> str:
        if ref.space is not Space.SAVED:
            return self.look_up(ref)
        if ref.path not in self.saved:
            raise UnknownName(f"no earlier request of this flow saved {ref.path!r}")
        return self.saved[ref.path]

    def _json(self, body: Json) -> Any:
        match body:
            case Template():
                return self._word(body)
            case Decimal():
                return int(body) if body == body.to_integral_value() else float(body)
            case bool() | None:
                return body
            case tuple():
                return [self._json(item) for item in body]
            case _:
                return {name: self._json(value) for name, value in body.items()}

    # ── what comes back ──

    def learn(self, request: Request, answer: Answered) -> str:
        """Look into the answer and keep what the request saves. What is wrong with it; empty: nothing."""
        if not request.save and request.contains is None:
            return ""
        if not answer.whole:
            return f"it is longer than {say_size(LARGEST_BODY_BYTES)}, or compressed, and was not looked into"
        if request.contains is not None and request.contains not in answer.body.decode("utf-8", "replace"):
            return "without the text that is expected in it"
        try:
            found = parsed(answer.body) if request.save else None
            self.saved |= {name: value_at(found, path) for name, path in request.save.items()}
        except ValueError as error:
            return str(error)
        return ""

    # ── what is shown ──

    def shown(self, request: Request) -> str:
        """`GET /health`."""
        path = taken_apart(self._masked(request.url)).path or "/"
        path = "".join(letter if letter.isprintable() else "?" for letter in path)
        return f"{request.method} {path if len(path) <= LONGEST_SHOWN else path[:LONGEST_SHOWN] + '…'}"

    def host(self, request: Request) -> str:
        """Host and port, without credentials."""
        return taken_apart(self._masked(request.url)).netloc.rpartition("@")[2] or "the address"

    def _masked(self, template: Template) -> str:
        def mask(ref: Ref) -> str:
            match ref.space:
                case Space.ENV | Space.FILE | Space.SAVED:
                    return "***"
                case Space.SITE | Space.STEPS | Space.RUN:
                    return self.look_up(ref)
                case _:
                    assert_never(ref.space)

        return template.render(mask)


def _refs(request: Request) -> Iterator[Ref]:
    yield from request.url.refs()
    if request.bearer is not None:
        yield from request.bearer.refs()
    for value in request.headers.values():
        yield from value.refs()
    yield from _refs_in(request.json)


def _refs_in(body: Json) -> Iterator[Ref]:
    match body:
        case Template():
            yield from body.refs()
        case tuple():
            for item in body:
                yield from _refs_in(item)
        case Decimal() | bool() | None:
            return
        case _:
            for value in body.values():
                yield from _refs_in(value)
