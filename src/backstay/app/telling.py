"""Questions about how things stand, answered from journal and vaults: nothing here changes anything."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backstay import objectives, review
from backstay.adapters import journal as journals
from backstay.app.estate import KINDS
from backstay.app.home import Home
from backstay.app.under_way import UnderWay, under_way
from backstay.errors import JournalDamaged, TailNotVerified, UnknownName
from backstay.estimate import Estimate, Unknown
from backstay.facts import Fact, NotVerified, Point, Proof, Proven, Recorded, Refuted, Result, write_fact
from backstay.facts.audit import CLOCK_TOLERANCE
from backstay.history import taken_order
from backstay.objectives import ComponentStatus
from backstay.values import StreamName, VaultName, listed, say_span, stamp
from backstay.verify import content, exact

# ── points ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PointRow:
    point: Point
    vault: VaultName
    proof: str
    """`proven`, `refuted`, `not verified` or `unproven`."""
    why: str


def points(home: Home, components: Sequence[str]) -> list[PointRow]:
    """Every point of the vaults at hand, oldest first. Raises UnknownName for a component that neither the plan nor a
    vault knows: an empty list would say that it has no points."""
    rows: list[PointRow] = []
    for name, vault in home.vaults.items():
        proofs = vault.proofs()
        for point in vault.survey()[0]:
            if not components or point.component in components:
                word, why = _latest([proof for proof in proofs if proof.point == point.id])
                rows.append(PointRow(point, name, word, why))
    for name in components:
        if all(row.point.component != name for row in rows):
            _refuse_unknown(home, name)
    return sorted(rows, key=lambda row: taken_order(row.point))


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


def _latest(proofs: Sequence[Proof]) -> tuple[str, str]:
    """What the newest proof says of the data; its age is another matter."""
    if not proofs:
        return "unproven", "it was never restored"
    return result_word(content(max(proofs, key=lambda proof: proof.ended)))


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
    open_runs = tuple(under_way(home, history, now))
    return StatusTold(
        title=f"{home.plan.system.title}, {now:%Y-%m-%d %H:%M:%S} UTC",
        columns=columns,
        rows=tuple(_row(row) for row in found.components),
        sentences=tuple(sentences),
        under_way=open_runs,
        all_kept=not found.standing.alarms and not troubles and not any(run.live for run in open_runs),
        plain={
            "at": stamp(now),
            "standing": found.standing.value,
            "sentence": found.sentence,
            "says": [*found.says, *troubles],
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


def _target(target: timedelta | None) -> str:
    return "not promised" if target is None else exact(target)


def _actual(actual: timedelta | NotVerified) -> str:
    return "never" if isinstance(actual, NotVerified) else say_span(actual)


def _proof(row: ComponentStatus) -> str:
    if row.proof_result is None or row.proof_age is None:
        return "never"
    ago = "in the future" if row.proof_age < -CLOCK_TOLERANCE else f"{say_span(max(row.proof_age, timedelta()))} ago"
    return f"{result_word(row.proof_result)[0]} {ago}"


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
