"""Questions about how things stand, answered from journal and vaults: nothing here changes anything."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backstay import objectives, review, spread
from backstay.adapters import journal as journals
from backstay.app import logs
from backstay.app.estate import KINDS
from backstay.app.home import Home
from backstay.app.reading import surveyed
from backstay.app.under_way import UnderWay, under_way
from backstay.errors import JournalDamaged, StoreUnreachable, TailNotVerified, UnknownName
from backstay.estimate import Estimate, Unknown
from backstay.facts import (
    Fact,
    Hold,
    HoldPlaced,
    NotVerified,
    Point,
    Proof,
    Proven,
    Recorded,
    Refuted,
    Result,
    write_fact,
)
from backstay.facts.audit import CLOCK_TOLERANCE
from backstay.history import active_holds, taken_order
from backstay.objectives import ComponentStatus
from backstay.values import PointId, StreamName, VaultName, count, listed, say_span, stamp
from backstay.verify import content, decisive, exact

# ── points ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PointRow:
    """One point, wherever it is."""

    point: Point
    vaults: Mapping[VaultName, str]
    """Which vaults have it, the nearest first, and what is known of the bytes in each: as `proof`, or `copied` where
    they were never read."""
    proof: str
    """`proven`, `refuted`, `not verified` or `unproven`."""
    why: str
    marks: tuple[Hold, ...] = ()
    """What keeps it from being chosen: `suspicious` or `forensic`."""


def points(home: Home, components: Sequence[str]) -> list[PointRow]:
    """Every point of the vaults at hand, oldest first. Raises UnknownName for a component that neither the plan nor a
    vault knows: an empty list would say that it has no points."""
    found: dict[PointId, Point] = {}
    holders: dict[PointId, list[VaultName]] = {}
    proofs: list[Proof] = []
    holds: list[Hold] = []
    for name, held in surveyed(home):
        with suppress(StoreUnreachable):  # `troubles` says so
            proofs += home.vaults[name].proofs()
            holds += home.vaults[name].holds()
        for point in held:
            if not components or point.component in components:
                found.setdefault(point.id, point)
                holders.setdefault(point.id, []).append(name)
    if home.asked.vault is None:  # the journal has marks that no vault took
        holds += [one.fact.hold for one in home.journal.everything() if isinstance(one.fact, HoldPlaced)]
    marks = [hold for hold in active_holds(holds) if hold.kind in ("suspicious", "forensic")]
    rows = [
        replace(
            _row_of(point, holders[point.id], [p for p in proofs if p.point == point.id]),
            marks=tuple(hold for hold in marks if hold.point == point.id),
        )
        for point in found.values()
    ]
    for name in components:
        if all(row.point.component != name for row in rows):
            _refuse_unknown(home, name)
    return sorted(rows, key=lambda row: taken_order(row.point))


def held_points(told: tuple[Sequence[Point], Sequence[Proof], str]) -> list[PointRow]:
    """Points that another program holds, their proofs, and who that is."""
    found, proofs, holder = told
    return [_row_of(point, [VaultName(holder)], [p for p in proofs if p.point == point.id]) for point in found]


def _row_of(point: Point, holders: Sequence[VaultName], proofs: Sequence[Proof]) -> PointRow:
    told = decisive(point.id, proofs, holders)
    word, why = ("unproven", "it was never restored") if told is None else result_word(told[1])
    return PointRow(point, {vault: _seen_in(vault, point, proofs) for vault in holders}, word, why)


def _seen_in(vault: VaultName, point: Point, proofs: Sequence[Proof]) -> str:
    """What a proof that read this vault's own bytes says."""
    told = decisive(point.id, [proof for proof in proofs if proof.vault == vault])
    if told is not None:
        return result_word(told[1])[0]
    return "copied" if proofs else "unproven"


def _refuse_unknown(home: Home, component: str) -> None:
    if home.asked.vault is None:
        home.plan.component(component)
        return
    known = {str(point.component) for vault in home.vaults.values() for point in vault.survey()[0]}
    raise UnknownName(
        f"the vault has no point of {component!r}",
        detail=f"it has points of {listed(sorted(known)) or 'nothing'}",
        hint="name one of those, or none to list them all",
    )


def result_word(result: Result) -> tuple[str, str]:
    match result:
        case Proven():
            return "proven", ""
        case Refuted(why):
            return "refuted", why
        case NotVerified(why):
            return "not verified", why


# ── status ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StatusTold:
    title: str
    columns: Mapping[str, str]
    rows: tuple[tuple[str, ...], ...]
    vaults: tuple[tuple[str, ...], ...]
    """Component, vault, points, newest data, how far behind, when its own bytes were last read; empty for a plan with
    one vault."""
    sentences: tuple[str, ...]
    under_way: tuple[UnderWay, ...]
    """Open runs, and recoveries that failed: on the day, what somebody who types `status` must see first."""
    all_kept: bool
    """Nothing alarms, and no recovery is open or has failed."""
    plain: Mapping[str, Any]


def status(home: Home) -> StatusTold:
    """The status screen: one row a component, and a sentence for every promise that does not hold."""
    now = home.clock.now()
    history = home.history()
    found = objectives.status(home.plan, history, now, KINDS)
    columns = {"component": "left", "newest data": "left", "RPO": "left", "newest proof": "left", "RTO": "left",
               "standing": "left"}  # fmt: skip
    sentences = [f"{row.name}: {said}" for row in found.components for said in row.says]
    sentences += [f"whole: {said}" for said in found.says]
    troubles = [trouble.said for trouble in home.troubles()]
    if clock := home.clock_trouble():
        troubles.insert(0, clock)
    sentences += troubles
    sentences.append(found.sentence)
    if isinstance(standing := home.journal.standing, journals.Overtaken):
        sentences.append(f"this journal is read-only: {standing.by}")
    log_says, log_alarms = logs.sentences(home, history)
    sentences[-1:-1] = log_says
    open_runs = tuple(under_way(home, history, now))
    return StatusTold(
        title=f"{home.plan.system.title}, {now:%Y-%m-%d %H:%M:%S} UTC",
        columns=columns,
        rows=tuple(_row(row) for row in found.components),
        vaults=tuple(
            _vault_row(row, one, now) for row in found.components for one in row.vaults if len(row.vaults) > 1
        ),
        sentences=tuple(sentences),
        under_way=open_runs,
        all_kept=not found.standing.alarms
        and not troubles
        and not any(row.behind for row in found.components)
        and not log_alarms
        and not any(run.live for run in open_runs),
        plain={
            "at": stamp(now),
            "standing": found.standing.value,
            "sentence": found.sentence,
            "says": [*found.says, *log_says, *troubles],
            "open_runs": [run.plain for run in open_runs],
            "components": [_plain(row) for row in found.components],
        },
    )


def _row(row: ComponentStatus) -> tuple[str, ...]:
    return (
        row.name,
        "none" if row.age is None else f"{say_span(row.age)} old",
        f"{_target(row.rpo.target)}: {row.rpo.judged.standing.value}",
        _proof(row),
        f"{_target(row.rto.target)}: {row.rto.judged.standing.value}, last {_actual(row.rto.actual)}",
        row.standing.value,
    )


def _vault_row(row: ComponentStatus, one: spread.Standing, now: datetime) -> tuple[str, ...]:
    if not one.answered:
        return row.name, one.vault, "not known", "it does not answer", "not known", "not known"
    lacks = f"lacks {count(len(one.lacks), 'point')}" if one.lacks else "no"
    return (
        row.name,
        one.vault,
        f"{one.points:,}",
        "none" if one.age is None else f"{say_span(one.age)} old",
        f"{say_span(one.behind)}, {lacks}" if one.behind and one.lacks else lacks,
        "never" if one.read is None else f"{result_word(content(one.read))[0]} {_ago(now - one.read.ended)}",
    )


def _ago(age: timedelta) -> str:
    return "in the future" if age < -CLOCK_TOLERANCE else f"{say_span(max(age, timedelta()))} ago"


def _target(target: timedelta | None) -> str:
    return "not promised" if target is None else exact(target)


def _actual(actual: timedelta | NotVerified) -> str:
    return "never" if isinstance(actual, NotVerified) else say_span(actual)


def _proof(row: ComponentStatus) -> str:
    if row.proof_result is None or row.proof_age is None:
        return "never"
    return f"{result_word(row.proof_result)[0]} {_ago(row.proof_age)}"


def _plain(row: ComponentStatus) -> dict[str, Any]:
    def judged(of: Any) -> dict[str, Any]:
        return {"standing": of.judged.standing.value, "why": of.judged.sentence}

    return {
        "name": row.name,
        "kind": row.kind,
        "supported": row.supported,
        "newest_point": row.newest.id if row.newest else None,
        "age_s": row.age.total_seconds() if row.age is not None else None,
        "proof": result_word(row.proof_result)[0] if row.proof_result is not None else None,
        "proof_age_s": row.proof_age.total_seconds() if row.proof_age is not None else None,
        "rpo": {"target_s": _seconds(row.rpo.target), "forecast_s": _seconds(row.rpo.forecast), **judged(row.rpo)},
        "rto": {
            "target_s": _seconds(row.rto.target),
            "actual_s": _seconds(row.rto.actual),
            "forecast_s": _seconds(row.rto.forecast),
            **judged(row.rto),
        },
        "standing": row.standing.value,
        "says": list(row.says),
        "vaults": [_plain_vault(one) for one in row.vaults],
    }


def _plain_vault(one: spread.Standing) -> dict[str, Any]:
    return {
        "vault": one.vault,
        "answered": one.answered,
        "points": one.points,
        "newest_point": one.newest.id if one.newest else None,
        "age_s": _seconds(one.age),
        "behind_s": _seconds(one.behind),
        "lacks": [point.id for point in one.lacks],
        "read": result_word(content(one.read))[0] if one.read else None,
        "read_at": stamp(one.read.ended) if one.read else None,
    }


def _seconds(value: timedelta | NotVerified | Estimate | Unknown | None) -> float | None:
    match value:
        case timedelta():
            return value.total_seconds()
        case Estimate():
            return value.median.total_seconds()
        case _:
            return None


# ── the journal ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class JournalChecked:
    lines: tuple[str, ...]
    code: int
    plain: Mapping[str, Any]


def verify_journal(home: Home) -> JournalChecked:
    """Every link, and the end against what was sealed. Code 0, 50 (damage) or 55 (the end is not verified)."""
    audit = journals.verify_journal(home.journal, home.vaults.values())
    facts = sum(head.seq for head in home.journal.heads().values())
    damage = [finding for finding in audit.findings if finding.damage]
    lines = [f"{'✘' if finding.damage else '?'} {finding}" for finding in audit.findings]
    lines += [f"? the vault {name} could not be asked: {why}" for name, why in audit.away]
    code = JournalDamaged.code if damage else TailNotVerified.code if audit.findings or not audit.spines else 0
    if code == 0:
        lines.append(f"✔ {facts:,} facts, every link holds; the end agrees with {audit.spines:,} sealed spines")
    plain = {
        "facts": facts,
        "spines": audit.spines,
        "findings": [{"damage": finding.damage, "what": str(finding)} for finding in audit.findings],
    }
    return JournalChecked(tuple(lines), code, plain)


@dataclass(frozen=True, slots=True)
class FactsTold:
    lines: tuple[str, ...]
    plain: tuple[Mapping[str, Any], ...]


def facts(home: Home, stream: str | None, last: int) -> FactsTold:
    """The newest facts of one stream, or of all, oldest first."""
    found: Iterable[Recorded] = home.journal.everything() if stream is None else home.journal.read(StreamName(stream))
    newest = [(r, json.loads(write_fact(r.fact))) for r in (list(found)[-last:] if last > 0 else [])]
    lines = tuple(f"{_short(r.at)}  {r.stream} {r.seq}  {_in_words(r.fact, stored['fact'])}" for r, stored in newest)
    plain = tuple(
        {"stream": r.stream, "seq": r.seq, "at": stamp(r.at), "digest": r.digest, "fact": stored}
        for r, stored in newest
    )
    return FactsTold(lines, plain)


def _in_words(fact: Fact, kind: str) -> str:
    """The sentence of the timeline. What that leaves out (leases, beginnings) goes by its kind: `run attached`."""
    told = review.entry(fact)
    return told[0] if told is not None else kind.partition("/")[0].replace("-", " ")


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
