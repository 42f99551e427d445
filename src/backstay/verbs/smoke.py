"""`smoke`: does it work again? All checks, or those that are named, until every one is green in the same round.

An application needs time to come up, so red is not an answer at once: checks are asked again, with growing pauses,
until nine tenths of the step's timeout are over (the rest is for the last round to end by itself, so that the answer is
*red* and not *lost*); where the plan sets no timeout, for ten minutes. A check that could not run at all is not green
either. Each round has a `${run.id}` of its own: what an interrupted round registered is not in the way of the next.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from backstay.errors import SmokeRed, UnknownName
from backstay.facts import Outcome, Succeeded
from backstay.plan import Check, CommandCheck, HttpCheck, Json, Request, Smoke, Space, Template
from backstay.ports import Seen
from backstay.recover.compiling import USUAL_TIMEOUT
from backstay.values import count, listed, say_span, stamp
from backstay.verbs.estate import Scene

FIRST_PAUSE = timedelta(milliseconds=250)
LONGEST_PAUSE = timedelta(seconds=5)
COMING_UP = timedelta(minutes=10)
"""How long an application may take to come up where the plan does not say: not the hour that any step may take."""


def do(scene: Scene) -> Outcome:
    """Gives `smoke.<check>` and `last_green`, the moment that ends the clock of the RTO.

    Raises SmokeRed, SecretMissing, Cancelled."""
    checks = _checks(scene)
    _have_secrets(scene, checks)
    clock = scene.estate.clock
    began = clock.elapsed()
    set_by_plan = scene.step.timeout != USUAL_TIMEOUT
    until, pause = began + (scene.step.timeout * 0.9 if set_by_plan else COMING_UP), FIRST_PAUSE
    round_number = 0
    while True:
        round_number += 1
        seen = _round(scene, checks, round_number)
        if all(one.colour == "green" for one in seen.values()):
            values = {f"smoke.{name}": one.colour for name, one in seen.items()}
            return Succeeded(_said(seen, round_number), {**values, "last_green": stamp(clock.now())})
        if clock.elapsed() + pause >= until:
            raise _red(seen, clock.elapsed() - began)
        scene.acting.progress(0, None, scene.words.clean(_worst(seen)))
        scene.rest(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _checks(scene: Scene) -> dict[str, Check]:
    verb, known = scene.step.verb, scene.estate.plan.smoke
    assert isinstance(verb, Smoke)
    if strange := [name for name in verb.checks if name not in known]:
        raise UnknownName(f"the plan has no smoke check {listed(strange)}", detail=f"known: {listed(sorted(known))}")
    found = {name: known[name] for name in verb.checks or known}
    if not found:
        raise SmokeRed("the plan has no smoke checks, so nobody can say that it works", hint="add some under `smoke:`")
    return found


def _round(scene: Scene, checks: dict[str, Check], number: int) -> dict[str, Seen]:
    acting = scene.acting
    words = scene.words.named(f"{acting.run}-{acting.epoch}-{acting.attempt}-{number}")
    return {name: scene.estate.prober.probe(check, words) for name, check in checks.items()}


def _said(seen: dict[str, Seen], rounds: int) -> str:
    took = sum((one.took for one in seen.values()), timedelta())
    patience = f", in round {rounds}" if rounds > 1 else ""
    return f"{count(len(seen), 'check')} green in {say_span(took)}{patience}"


def _worst(seen: dict[str, Seen]) -> str:
    return next(f"{name}: {one.why}" for name, one in seen.items() if one.colour != "green")


def _red(seen: dict[str, Seen], took: timedelta) -> SmokeRed:
    red = [name for name, one in seen.items() if one.colour == "red"]
    unknown = [name for name, one in seen.items() if one.colour == "unknown"]
    parts = [f"{listed(red)} red"] if red else []
    parts += [f"{listed(unknown)} not verified"] if unknown else []
    return SmokeRed(
        f"smoke checks after {say_span(took)}: {', '.join(parts)}",
        detail="; ".join(f"{name}: {one.why}" for name, one in seen.items() if one.colour != "green"),
        hint="see what the application logs; then `backstay run retry` this step, and `backstay resume`",
    )


def _have_secrets(scene: Scene, checks: dict[str, Check]) -> None:
    """A missing secret does not come by waiting: say so now. Raises SecretMissing."""
    for check in checks.values():
        for template in _templates(check):
            for ref in template.refs():
                if ref.space in (Space.ENV, Space.FILE):
                    scene.words(ref)


def _templates(check: Check) -> list[Template]:
    match check:
        case CommandCheck(argv=argv, env=env):
            return [*argv, *env.values()]
        case HttpCheck(flow=flow, cleanup=cleanup):
            return [template for request in (*flow, *cleanup) for template in _of(request)]
        case _:
            assert_never(check)


def _of(request: Request) -> list[Template]:
    bearer = [request.bearer] if request.bearer else []
    return [request.url, *bearer, *request.headers.values(), *_of_json(request.json)]


def _of_json(body: Json) -> list[Template]:
    match body:
        case Template():
            return [body]
        case Mapping():
            return [template for value in body.values() for template in _of_json(value)]
        case tuple():
            return [template for value in body for template in _of_json(value)]
        case _:
            return []
