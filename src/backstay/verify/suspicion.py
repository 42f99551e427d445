"""What makes a point suspicious: it is sound, and yet data seems to have gone. A person has to say.

Far fewer rows, or a table that is gone, refute a point (V01). Between that and nothing lies what only people can judge:
a tenth of the orders may have been deleted on purpose. Such a point is *marked*: automatic choice passes it over with
the reason, and a person can name it, or take the mark back.

Two things are looked at, both against the last proof. **Rows**: a table that had many and lost more than a tenth of
them. **Canaries**, which the plan names under `prove`: a question that must have a certain answer (a row that must be
there), or whose number must never go down.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from backstay.facts import CheckResult, Point, Proof, Rung, Verdict
from backstay.plan import Canary, Prove
from backstay.values import count, listed, say_moment
from backstay.verify.answers import Answer, evaluate, say_answer
from backstay.verify.checks import Unanswered

MANY = 100
"""Rows of a table from which on its losses say something."""
MOST_LOST = Decimal("0.1")
"""The share of rows that may be gone since the last proof."""
ROWS, CANARY = "V05", "M05"


@dataclass(frozen=True, slots=True)
class Suspected:
    """What was looked at. `reasons`: why the point is to be marked; empty: it is not."""

    checks: tuple[CheckResult, ...]
    reasons: tuple[str, ...]
    canaries: Mapping[str, int]
    """The numbers that must not go down, for the next proof."""


def suspect(
    point: Point,
    rule: Prove,
    counts: Mapping[str, int] | Unanswered,
    answers: Mapping[str, Answer | Unanswered],
    last: Proof | None,
) -> Suspected:
    """`answers` of the canaries by their name; `last`: the proof that is compared with."""
    checks, reasons, numbers = list[CheckResult](), list[str](), dict[str, int]()
    if not isinstance(counts, Unanswered) and (lost := _lost(counts, last, rule.volume.free)):
        reasons.append(lost)
        checks.append(CheckResult(ROWS, Rung.VOLUME, "rows lost", Verdict.NOT_VERIFIED, f"{lost}{_ASK}"))
    for canary in rule.canary:
        answer = answers.get(canary.name, Unanswered("it was not asked"))
        verdict, said, reason = _canary(canary, answer, point, last)
        if reason:
            reasons.append(reason)
        if canary.expect is None and isinstance(answer, int) and not isinstance(answer, bool):
            numbers[canary.name] = answer
        checks.append(CheckResult(CANARY, Rung.MEANING, canary.name, verdict, f"{canary.name}: {said}"))
    return Suspected(tuple(checks), tuple(reasons), numbers)


_ASK = "; a person has to say whether that is right"


def _lost(counts: Mapping[str, int], last: Proof | None, free: Collection[str]) -> str:
    """Names and numbers. A table that is not there, or lost most of its rows, is V01's: it is refuted. `free`: tables
    that the plan lets lose rows."""
    if last is None:
        return ""
    fewer = [
        f"{table} has {counts[table]:,} of {count(before, 'row')}"
        for table, before in sorted(last.counts.items())
        if before >= MANY and table not in free and table in counts and counts[table] < before * (1 - MOST_LOST)
    ]
    return f"{_some(fewer)} of the proof of {say_moment(last.ended)}" if fewer else ""


def _some(parts: Sequence[str]) -> str:
    return listed([*parts[:3], *([f"{len(parts) - 3} more"] if len(parts) > 3 else [])])


def _canary(canary: Canary, answer: Answer | Unanswered, point: Point, last: Proof | None) -> tuple[Verdict, str, str]:
    """Verdict, sentence, and why the point is suspicious."""
    if isinstance(answer, Unanswered):
        return Verdict.NOT_VERIFIED, f"no answer: {answer.why}", ""
    if canary.expect is not None:
        verdict, said = evaluate(canary.expect, answer, point.moment)
        if verdict is Verdict.FAILED:
            return Verdict.NOT_VERIFIED, f"{said}{_ASK}", f"the canary {canary.name}: {said}"
        return verdict, said, ""
    if isinstance(answer, bool) or not isinstance(answer, int):
        return Verdict.NOT_VERIFIED, f"{say_answer(answer)} is no whole number, which could go down", ""
    before = last.canaries.get(canary.name) if last is not None else None
    if before is None:
        return Verdict.PASSED, f"{answer:,}; there is no earlier proof to compare with", ""
    if answer < before:
        said = f"{answer:,}, and it was {before:,}: it must never go down"
        return Verdict.NOT_VERIFIED, f"{said}{_ASK}", f"the canary {canary.name}: {said}"
    return Verdict.PASSED, f"{answer:,}, and it was {before:,}", ""
