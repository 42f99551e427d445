"""The table of stored facts: every fact's name, version and fields, spelled out. Nothing else decides.

A stored name never changes its meaning; a fact that must change gets a new version beside the old one. A name that is
not in the table was written by a newer Backstay; a name that is, with other fields, is damage.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from backstay.errors import JournalDamaged, JournalNewer
from backstay.facts import others, points, runs
from backstay.facts.shapes import (
    Shape,
    choice,
    flag,
    many,
    mapping,
    maybe,
    moment,
    one_of,
    or_none_yet,
    record,
    span,
    tagged,
    text,
    whole,
)
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    Json,
    Mode,
    Objectives,
    Phase,
    Preserve,
    Ref,
    Request,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    Space,
    Step,
    Target,
    Tell,
    Template,
    Wait,
    parse_target,
    spell,
)
from backstay.values import Between

# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _read_decimal(stored: Any) -> Decimal:
    try:
        found = Decimal(text.read(stored))
    except InvalidOperation:
        raise ValueError(f"{stored!r} is not a number") from None
    if not found.is_finite():
        raise ValueError(f"{stored!r} is not a number")
    return found


decimal: Shape[Decimal] = Shape(str, _read_decimal)
texts: Shape[Mapping[Any, str]] = mapping(text)
ref: Shape[Ref] = record(Ref, space=choice(Space), path=text)


def _write_template(value: Template) -> Any:
    return [part if isinstance(part, str) else ref.write(part) for part in value.parts]


def _read_template(stored: Any) -> Template:
    if not isinstance(stored, list):
        raise ValueError("a template is a list of texts and references")
    return Template(tuple(part if isinstance(part, str) else ref.read(part) for part in cast("list[Any]", stored)))


template: Shape[Template] = Shape(_write_template, _read_template)


def _write_json(value: Json) -> Any:
    match value:
        case Mapping():
            return {"map": {key: _write_json(inner) for key, inner in value.items()}}
        case tuple():
            return {"list": [_write_json(inner) for inner in value]}
        case Template():
            return {"text": template.write(value)}
        case Decimal():
            return {"number": str(value)}
        case _:
            return value


def _read_json(stored: Any) -> Json:
    match stored:
        case {"map": dict()}:
            return {str(key): _read_json(value) for key, value in cast("dict[Any, Any]", stored["map"]).items()}
        case {"list": list()}:
            return tuple(_read_json(value) for value in cast("list[Any]", stored["list"]))
        case {"text": parts}:
            return template.read(parts)
        case {"number": number}:
            return decimal.read(number)
        case bool() | None:
            return stored
        case _:
            raise ValueError("not a JSON body")


json_body: Shape[Json] = Shape(_write_json, _read_json)
between: Shape[Between] = record(Between, earliest=moment, latest=moment, source=text)
target: Shape[Target] = Shape(spell, lambda stored: parse_target(text.read(stored)))
"""As its one line of text (`plan.targets`)."""
objectives: Shape[Objectives] = record(Objectives, rto=maybe(span), rpo=maybe(span), availability=maybe(decimal))

# ── points and proofs (also the form in which the vault seals them) ──────────────────────────────

point: Shape[points.Point] = record(
    points.Point,
    id=text, component=text, lineage=text, parent=maybe(text), way=text, began=moment, ended=moment,
    newest=maybe(moment), newest_source=text, size=("size_bytes", whole), stored=("stored_bytes", whole), files=whole,
    plan=text, writer=text, about=texts,
)  # fmt: skip
check_result: Shape[points.CheckResult] = record(
    points.CheckResult,
    code=text, rung=choice(points.Rung), name=text, verdict=choice(points.Verdict), said=text, took=span,
)  # fmt: skip
proof: Shape[points.Proof] = record(
    points.Proof,
    point=text, component=text, vault=text, tier=one_of("bytes", "sample", "full"), began=moment, ended=moment,
    restore_took=maybe(span), checks=many(check_result), counts=mapping(whole), canaries=or_none_yet(mapping(whole)),
    newest=maybe(moment), plan=text,
)  # fmt: skip
hold: Shape[points.Hold] = record(
    points.Hold,
    id=text, point=text, component=text, kind=one_of("keep", "suspicious", "forensic", "released"), reason=text,
    by=text, at=moment, until=maybe(moment),
)  # fmt: skip

# ── steps ────────────────────────────────────────────────────────────────────────────────────────

request: Shape[Request] = record(
    Request,
    method=one_of("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"), url=template, expect=many(whole), json=json_body,
    bearer=maybe(template), headers=mapping(template), save=texts, contains=maybe(text),
)  # fmt: skip
verb: Shape[Any] = tagged("verb", {
    "scale": (Scale, record(Scale, workload=text, kind=one_of("process", "deployment"), to=maybe(whole))),
    "preserve": (Preserve, record(Preserve, component=text, within=span, required=flag)),
    "choose": (Choose, record(Choose, component=text, origin=text, target=maybe(target))),
    "restore": (Restore, record(Restore, component=text, beside=flag, target=maybe(target))),
    "ask": (Ask, record(Ask, component=text)),
    "smoke": (Smoke, record(Smoke, checks=many(text))),
    "command": (RunCommand, record(RunCommand, argv=many(template), env=mapping(template))),
    "http": (CallHttp, record(CallHttp, request=request)),
    "approve": (Approve, record(Approve, question=text, by=many(text), needed=whole)),
    "ask-person": (AskPerson, record(AskPerson, question=text, who=many(text))),
    "tell": (Tell, record(Tell, audience=text, message=text)),
    "wait": (Wait, record(Wait, length=span)),
})  # fmt: skip
step: Shape[Step] = record(
    Step,
    do=("verb", verb), id=text, name=text, target=maybe(span), timeout=span, retries=whole, needs=many(text),
    look=many(template), repeatable=flag,
)  # fmt: skip
phase: Shape[Phase] = record(Phase, name=text, steps=many(step), target=maybe(span))
outcome: Shape[Any] = tagged("outcome", {
    "succeeded": (runs.Succeeded, record(runs.Succeeded, saw=text, values=texts)),
    "try-later": (runs.TryLater, record(runs.TryLater, after=span, why=text)),
    "impossible": (runs.Impossible, record(runs.Impossible, why=text, code=whole)),
    "lost": (runs.Lost, record(runs.Lost, asked=text)),
})  # fmt: skip
sight: Shape[Any] = tagged("sight", {
    "happened": (runs.Happened, record(runs.Happened, saw=text, values=texts)),
    "did-not": (runs.DidNot, record(runs.DidNot, saw=text)),
    "cannot-tell": (runs.CannotTell, record(runs.CannotTell, why=text)),
})  # fmt: skip

# ── facts ────────────────────────────────────────────────────────────────────────────────────────

Fact = runs.RunFact | others.OtherFact

FACTS: Mapping[str, tuple[type, Shape[Any]]] = {
    "run-started/1": (runs.RunStarted, record(
        runs.RunStarted,
        run=text, scenario=text, title=text, mode=choice(Mode), plan=text, site=text, by=text, incident=maybe(text),
        declared=moment, disaster=maybe(between), objectives=objectives, phases=many(phase), components=many(text),
    )),
    "driving/1": (runs.Driving, record(runs.Driving, driver=text, epoch=whole, until=moment)),
    "released/1": (runs.Released, record(runs.Released, driver=text, epoch=whole)),
    "intended/1": (runs.Intended, record(runs.Intended, step=text, attempt=whole, epoch=whole)),
    "ended/1": (runs.Ended, record(runs.Ended, step=text, attempt=whole, outcome=outcome, took=span)),
    "looked/1": (runs.Looked, record(runs.Looked, step=text, attempt=whole, sight=sight)),
    "person-asked/1": (runs.PersonAsked, record(
        runs.PersonAsked, step=text, who=many(text), question=text, nonce=text, needed=whole,
    )),
    "person-answered/1": (runs.PersonAnswered, record(
        runs.PersonAnswered,
        step=text, who=text, answer=text, standing=one_of("signed", "claimed", "break-glass"), reason=text,
        signature=text,
    )),
    "step-skipped/1": (runs.StepSkipped, record(runs.StepSkipped, step=text, by=text, reason=text)),
    "step-retried/1": (runs.StepRetried, record(runs.StepRetried, step=text, by=text, reason=text)),
    "run-cancelled/1": (runs.RunCancelled, record(runs.RunCancelled, by=text, reason=text)),
    "run-ended/1": (runs.RunEnded, record(
        runs.RunEnded, result=one_of("recovered", "failed", "cancelled"), why=text,
    )),
    "plan-adopted/1": (others.PlanAdopted, record(others.PlanAdopted, digest=text, text=text, by=text, base=text)),
    "journal-opened/1": (others.JournalOpened, record(
        others.JournalOpened, epoch=whole, journal=text, host=text, witness=maybe(text),
    )),
    "components-claimed/1": (others.ComponentsClaimed, record(
        others.ComponentsClaimed, run=text, site=text, components=many(text), after=whole,
    )),
    "routine-began/1": (others.RoutineBegan, record(
        others.RoutineBegan,
        run=text, what=one_of("backup", "proof", "copy", "question", "capture"), vault=text, plan=text, driver=text,
        until=moment, point=maybe(text),
    )),
    "point-taken/1": (others.PointTaken, record(
        others.PointTaken, run=text, vault=text, point=point, took=span, said=many(text),
    )),
    "proof-given/1": (others.ProofGiven, record(others.ProofGiven, run=text, proof=proof)),
    "point-copied/1": (others.PointCopied, record(
        others.PointCopied,
        run=text, to=text, point=text, bytes=("moved_bytes", whole), took=span, **{"from": ("source", text)},
    )),
    "log-kept/1": (others.LogKept, record(
        others.LogKept, vaults=many(text), system=text, timeline=whole, end=text, until=moment,
    )),
    "routine-failed/1": (others.RoutineFailed, record(others.RoutineFailed, run=text, code=whole, why=text)),
    "point-missing/1": (others.PointMissing, record(others.PointMissing, vault=text, point=text)),
    "point-ended/1": (others.PointEnded, record(others.PointEnded, vault=text, point=text, why=text, by=text)),
    "hold-placed/1": (others.HoldPlaced, record(others.HoldPlaced, vault=text, hold=hold)),
    "gap-acknowledged/1": (others.GapAcknowledged, record(
        others.GapAcknowledged, system=whole, timeline=whole, start=whole, end=whole, by=text, reason=text,
    )),
    "lineage-began/1": (others.LineageBegan, record(
        others.LineageBegan, component=text, run=text, origin=text, lineage=text,
    )),
    "search-began/1": (others.SearchBegan, record(
        others.SearchBegan,
        search=text, question=text, expect=text, earliest=maybe(moment), latest=maybe(moment), by=text,
    )),
    "answer-given/1": (others.AnswerGiven, record(
        others.AnswerGiven,
        run=text, search=text, vault=text, point=text, at=maybe(moment), verdict=choice(points.Verdict), said=text,
        took=span,
    )),
    "search-ended/1": (others.SearchEnded, record(
        others.SearchEnded, search=text, good=maybe(text), bad=maybe(text), said=text,
    )),
    "check-seen/1": (others.CheckSeen, record(
        others.CheckSeen, check=text, colour=one_of("green", "red", "unknown"), at=moment, last=maybe(moment), why=text,
    )),
    "disaster-declared/1": (others.DisasterDeclared, record(
        others.DisasterDeclared,
        incident=text, scenario=text, by=text, standing=one_of("alone", "approved", "break-glass", "drill"),
        criteria=many(text), readings=texts, disaster=maybe(between), reason=text,
    )),
    "command-taken/1": (others.CommandTaken, record(others.CommandTaken, by=text, before=maybe(text))),
    "run-attached/1": (others.RunAttached, record(others.RunAttached, run=text)),
    "message-sent/1": (others.MessageSent, record(
        others.MessageSent, audience=text, template=text, digest=("text_digest", text), sent=flag, why=text,
    )),
    "noted/1": (others.Noted, record(others.Noted, by=text, text=text)),
    "recovery-declared/1": (others.RecoveryDeclared, record(others.RecoveryDeclared, by=text, summary=text)),
}  # fmt: skip

_fact = tagged("fact", FACTS)


def canonical(stored: Any) -> str:
    """JSON that is the same text for the same value: sorted keys, no spaces, no NaN, ASCII only."""
    return json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def write_fact(fact: Fact) -> str:
    """One line of canonical JSON."""
    return canonical(_fact.write(fact))


def read_fact(line: str) -> Fact:
    """The inverse. Raises JournalNewer for a fact that this version does not know, JournalDamaged for anything else."""
    try:
        stored: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalDamaged("a stored fact is not JSON", detail=str(error)) from None
    name = cast("dict[str, Any]", stored).get("fact") if isinstance(stored, dict) else None
    if not isinstance(name, str):
        raise JournalDamaged("a stored line is not a fact")
    if name not in FACTS:
        raise JournalNewer(f"this journal was written by a newer Backstay: unknown fact {name!r}")
    try:
        return _fact.read(stored)
    except (ValueError, AssertionError, RecursionError) as error:
        raise JournalDamaged(f"the fact {name!r} is damaged", detail=str(error)) from None
