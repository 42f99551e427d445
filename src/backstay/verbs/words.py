"""Looking up `${…}` for one act, and keeping what is secret out of everything that is said about it.

Words remembers every secret that it gave away. Whatever leaves a verb (an outcome, a sight, a line of progress) goes
through `clean`, so that a secret does not reach the journal even when a program echoes its own password, or a server
puts it into an error page: as it is, and as a URL or a JSON text would spell it.
"""

import json
from collections.abc import Mapping
from typing import assert_never
from urllib.parse import quote, quote_plus

from backstay.errors import UnknownName, Usage
from backstay.facts import CannotTell, DidNot, Happened, Impossible, Lost, Outcome, Sight, Succeeded, TryLater
from backstay.plan import Mode, Plan, Ref, Space, Template
from backstay.ports import Secrets
from backstay.recover import slug_of
from backstay.values import SiteName, StepId

SHORTEST_SECRET = 3
"""Shorter ones are not looked for: `1` would be found in every number."""


class Words:
    """The closed namespaces of `${…}`, for one act of one run."""

    def __init__(
        self, plan: Plan, site: SiteName, mode: Mode, secrets: Secrets, run: str, given: Mapping[str, str]
    ) -> None:
        self._plan, self._site, self._mode = plan, site, mode
        self._secrets, self._run, self._given = secrets, run, given
        self._known: set[str] = set()

    def named(self, run: str) -> "Words":
        """The same, with another `${run.id}`; what it gives away is remembered here too."""
        other = Words(self._plan, self._site, self._mode, self._secrets, run, self._given)
        other._known = self._known
        return other

    def __call__(self, ref: Ref) -> str:
        """Raises SecretMissing, UnknownName, and Usage for `${saved.…}` outside a flow."""
        match ref.space:
            case Space.ENV | Space.FILE:
                value = self._secrets.value(ref)
                self._known.add(value)
                return value
            case Space.SITE:
                return self._endpoint(ref)
            case Space.STEPS:
                return value_of(self._given, ref)
            case Space.RUN:
                return self._about_run(ref)
            case Space.SAVED:
                raise Usage(f"{ref} is used outside the flow that saves it", hint="use ${steps.…} for an earlier step")
            case _:
                assert_never(ref.space)

    def text(self, template: Template) -> str:
        return template.render(self)

    def holds_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._known if secret)

    def clean(self, text: str) -> str:
        """`text` without any secret that was given away."""
        for secret in sorted(self._known, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                for spelled in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)):
                    text = text.replace(spelled, "***")
        return text

    def _endpoint(self, ref: Ref) -> str:
        endpoints = self._plan.site(self._site).endpoints
        if ref.path not in endpoints:
            known = ", ".join(sorted(endpoints)) or "none"
            raise UnknownName(f"the site {self._site!r} has no {ref.path!r}", detail=f"endpoints of the site: {known}")
        return endpoints[ref.path].render(self._inside_endpoint)

    def _inside_endpoint(self, ref: Ref) -> str:
        if ref.space is Space.SITE:
            raise Usage(f"an endpoint of the site {self._site!r} is made of another: {ref}")
        return self(ref)

    def _about_run(self, ref: Ref) -> str:
        match ref.path:
            case "id":
                return self._run
            case "mode":
                return self._mode.value
            case "site":
                return self._site
            case _:
                raise UnknownName(f"a run has no {ref.path!r}", detail="known: id, mode and site")


def value_of(given: Mapping[str, str], ref: Ref) -> str:
    """What an earlier step gave. A step is named as the plan names it, or by its id in the run: `${steps.restore.port}`
    finds `restore.port`, and `2.1-restore.port`. Raises UnknownName."""
    if ref.path in given:
        return given[ref.path]
    found = [value for key, value in given.items() if slug_of(StepId(key)) == ref.path]
    if found:
        return found[-1]
    raise UnknownName(
        f"no earlier step of this run gave {ref}", detail=f"given: {', '.join(sorted(given)) or 'nothing yet'}"
    )


def clean_outcome(outcome: Outcome, words: Words) -> Outcome:
    match outcome:
        case Succeeded(saw, values):
            return Succeeded(words.clean(saw), {name: words.clean(value) for name, value in values.items()})
        case TryLater(after, why):
            return TryLater(after, words.clean(why))
        case Impossible(why, code):
            return Impossible(words.clean(why), code)
        case Lost(asked):
            return Lost(words.clean(asked))
        case _:
            assert_never(outcome)


def clean_sight(sight: Sight, words: Words) -> Sight:
    match sight:
        case Happened(saw, values):
            return Happened(words.clean(saw), {name: words.clean(value) for name, value in values.items()})
        case DidNot(saw):
            return DidNot(words.clean(saw))
        case CannotTell(why):
            return CannotTell(words.clean(why))
        case _:
            assert_never(sight)
