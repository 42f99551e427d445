"""`http`: one request, as a step.

Which outcome an answer has is decided by what it tells about the effect (RFC 9110, 9.2.2: GET, HEAD, PUT and DELETE are
idempotent, POST and PATCH are not):

    the expected status                       succeeded
    nothing was sent (refused, no such host)  try later
    429 or 503                                try later: the server says that it did not act
    another 5xx, or no answer, idempotent     try later: asking twice is asking once
    another 5xx, or no answer, otherwise      lost: look before asking again
    any other status                          impossible
"""

import re
from datetime import timedelta

from backstay.errors import StepFailed
from backstay.facts import Impossible, Lost, Outcome, Sight, Succeeded, TryLater
from backstay.plan import CallHttp, HttpCheck
from backstay.ports import Seen
from backstay.verbs import command
from backstay.verbs.component import repeatable
from backstay.verbs.estate import Scene

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
LATER = timedelta(seconds=5)

_TELLING = re.compile(r"token|secret|passw|key|bearer|cookie|session|auth", re.IGNORECASE)
"""Names of saved values that stay out of the journal."""


def do(scene: Scene) -> Outcome:
    verb = scene.step.verb
    assert isinstance(verb, CallHttp)
    within = min(scene.step.timeout * 0.9, timedelta(minutes=5))
    check = HttpCheck(scene.step.name or scene.step.id, (verb.request,), timeout=within)
    return _outcome(scene.estate.prober.probe(check, scene.words), verb.request.method)


def look(scene: Scene) -> Sight:
    verb = scene.step.verb
    assert isinstance(verb, CallHttp)
    if not scene.step.look and verb.request.method in IDEMPOTENT:
        return repeatable(scene)
    return command.look(scene)


def _outcome(seen: Seen, method: str) -> Outcome:
    if seen.colour == "green":
        return Succeeded(seen.why, {name: text for name, text in seen.saved.items() if not _TELLING.search(name)})
    if seen.colour == "unknown":
        return _impossible(seen)
    match seen.heard, seen.status:
        case "not-sent", _:
            return TryLater(LATER, seen.why)
        case "answered", 429 | 503:
            return TryLater(LATER, seen.why)
        case "answered", int(status) if status < 500:
            return _impossible(seen)
        case _ if method in IDEMPOTENT:
            return TryLater(LATER, seen.why)
        case _:
            return Lost(seen.why)


def _impossible(seen: Seen) -> Impossible:
    error = StepFailed("the request did not get the answer that the plan expects", detail=seen.why)
    return Impossible(str(error), error.code)
