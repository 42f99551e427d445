"""From what a sandbox gave to the checks of a proof: the ladder of DESIGN.md, rung by rung.

A keeper's own `inspect` brings the rungs that only it can climb (structure, integrity). What is judged here is what
every component has in common: could it be restored, are the rows still there, do the plan's questions have the right
answers, and was it in time. Codes are stable; `CODES` says what each means.

Not every check speaks against the data (`ladder`): a point that is a day too old, or whose index has to be rebuilt, is
still the best there is on the worst day. `content` goes by what is critical alone, and `last_known_good` by `content`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from backstay.errors import (
    BackstayError,
    Damaged,
    ObjectMissing,
    PathEscapes,
    PointRefuted,
    ToolFailed,
)
from backstay.facts import CheckResult, Point, Proof, Result, Rung, Verdict
from backstay.plan import Component, FilesSource, Objectives, Tolerance
from backstay.values import Digest, VaultName, count, listed, say_moment, say_span, utc
from backstay.verify.answers import Answer, evaluate, exact
from backstay.verify.ladder import critical
from backstay.verify.structure import Reference, judge_structure

CODES: Mapping[str, str] = {
    "B01": "Every byte of the point could be read from the vault, and is what was written.",
    "B04": "An existing backup could be read to its end, and says that it is whole.",
    "R01": "The point could be restored and started in a place of its own.",
    "S02": "The structure is that of the plan's file, or nothing is gone since the last proof.",
    "V01": "Every table of the last proof is there, and none is empty or far smaller.",
    "V05": "No table lost more than a tenth of its rows since the last proof.",
    "M01": "A question of the plan has the answer that the plan expects.",
    "M02": "The proof was not cut short after the restore.",
    "M03": "The application's own check works on the restored database.",
    "M05": "What the plan calls a canary is as it must be, and no number of one went down.",
    "C01": "The point is not older than the plan allows.",
    "C02": "Restoring and asking did not take longer than the plan allows.",
}
"""The checks judged here. Keepers have their own, with other numbers."""

CLOCK_TOLERANCE = timedelta(minutes=1)
"""Clocks of two machines may differ by this without being mistrusted (as the journal has it)."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that could not be asked, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Structure:
    """What was there, and what it is compared with; None: nothing is known to compare with."""

    lines: tuple[str, ...]
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What happened when a point was proved: everything that was seen, nothing judged yet."""

    point: Point
    vault: VaultName
    tier: Literal["bytes", "sample", "full"]
    began: datetime
    ended: datetime
    restore_took: timedelta | None = None
    inspected: tuple[CheckResult, ...] = ()
    """The keeper's own checks."""
    structure: "Structure | Unanswered | None" = None
    """None: this kind has no structure, or it was not looked at."""
    tables: tuple[str, ...] | None = None
    """Every table that is there, where `counts` has a sample of them. None: it has all."""
    smoke: Mapping[str, tuple[Verdict, str]] = field(default_factory=dict[str, "tuple[Verdict, str]"])
    """What the application's checks said, by their names."""
    counts: Mapping[str, int] | Unanswered = field(default_factory=lambda: Unanswered("nothing was restored"))
    answers: Mapping[str, Answer | Unanswered] = field(default_factory=dict[str, "Answer | Unanswered"])
    """By the name of the question."""
    newest: datetime | None = None
    error: BackstayError | None = None
    """What stopped it, if something did."""
    plan: Digest = Digest("")
    """The plan whose questions were asked."""


def judge(
    tried: Tried,
    component: Component,
    objectives: Objectives,
    last: Proof | None,
) -> Proof:
    """The proof: what was tried, judged. `objectives` are the ones that hold for the component, `last` its last proof
    that has counts. The moment of judging is `tried.ended`."""
    checks = list(tried.inspected)
    if tried.restore_took is not None and not any(check.rung is Rung.RESTORE for check in checks):
        said = f"restored and started in {say_span(tried.restore_took)}"
        checks.append(CheckResult("R01", Rung.RESTORE, "restore", Verdict.PASSED, said, tried.restore_took))
    if tried.error is not None:
        checks.append(stopped(tried.error, restored=tried.restore_took is not None))
    elif tried.tier != "bytes":
        what = ("file", "folder") if isinstance(component.source, FilesSource) else ("row", "table")
        if tried.structure is not None:
            checks.append(structured(tried.structure))
        checks.append(volume(tried.counts, last, component.prove.volume, what, tried.tables))
        checks += meaning(tried, component)
    checks += clock(tried, component, objectives)
    return Proof(
        point=tried.point.id,
        component=tried.point.component,
        vault=tried.vault,
        tier=tried.tier,
        began=tried.began,
        ended=tried.ended,
        restore_took=tried.restore_took,
        checks=tuple(checks),
        # A part of the tables is no measure for the next proof.
        counts=tried.counts if isinstance(tried.counts, Mapping) and tried.tables is None else {},
        newest=tried.newest,
        plan=tried.plan,
    )


def stopped(error: BackstayError, *, restored: bool = False) -> CheckResult:
    """The check that an error stands for. Damage refutes the point; what is missing here (a tool, room, a key, the
    network) only says that we could not look."""
    said = error.message + (f" ({error.detail})" if error.detail else "")
    match error:
        case _ if restored and not isinstance(error, Damaged):
            return CheckResult(
                "M02", Rung.MEANING, "the rest", Verdict.NOT_VERIFIED, f"stopped after the restore: {said}"
            )
        case Damaged() | ObjectMissing() | PathEscapes():
            return CheckResult("B01", Rung.BYTES, "bytes", Verdict.FAILED, said)
        case ToolFailed() | PointRefuted():
            return CheckResult("R01", Rung.RESTORE, "restore", Verdict.FAILED, said)
        case _:
            return CheckResult("R01", Rung.RESTORE, "restore", Verdict.NOT_VERIFIED, f"could not be restored: {said}")


def volume(
    counts: Mapping[str, int] | Unanswered, last: Proof | None, tolerance: Tolerance,
    what: tuple[str, str] = ("row", "table"), tables: tuple[str, ...] | None = None,
) -> CheckResult:  # fmt: skip
    """Rows per table against the last proof, or what else was counted: `what` names it. Names and numbers only.
    `tables`: all that are there, where `counts` is of a sample."""
    verdict, said = _volume(counts, last, tolerance, what, tables)
    return CheckResult("V01", Rung.VOLUME, f"{what[0]}s", verdict, said)


def _volume(
    counts: Mapping[str, int] | Unanswered, last: Proof | None, tolerance: Tolerance, what: tuple[str, str],
    tables: tuple[str, ...] | None,
) -> tuple[Verdict, str]:  # fmt: skip
    row, table_word = what
    if isinstance(counts, Unanswered):
        return Verdict.NOT_VERIFIED, f"the {row}s could not be counted: {counts.why}"
    total = f"{count(sum(counts.values()), row)} in {count(len(counts), table_word)}"
    total += f" of {len(tables):,} (a sample)" if tables is not None else ""
    if last is None or not last.counts:
        return Verdict.PASSED, f"{total}; there is no earlier proof to compare with"
    wrong: list[str] = []
    for table, before in sorted(last.counts.items()):
        now = counts.get(table)
        if table in tolerance.free or (now is None and tables is not None and table in tables):
            continue
        if now is None:
            wrong.append(f"{table} is missing (it had {count(before, row)})")
        elif now == 0 and before >= tolerance.few:
            wrong.append(f"{table} is empty (it had {count(before, row)})")
        elif before >= tolerance.some and now < before * tolerance.left:
            wrong.append(f"{table} has {count(now, row)} (it had {before:,})")
    since = f"compared with the proof of {say_moment(last.ended)}"
    if wrong:
        return Verdict.FAILED, f"{listed(wrong[:5])}{_more(wrong, table_word)}; {since}"
    return Verdict.PASSED, f"{total}, {since}"


def _more(wrong: list[str], table: str) -> str:
    return f", and {count(len(wrong) - 5, f'more {table}')}" if len(wrong) > 5 else ""


def structured(seen: "Structure | Unanswered") -> CheckResult:
    """The structure against the plan's file, else against the last proof."""
    if isinstance(seen, Unanswered):
        verdict, said = Verdict.NOT_VERIFIED, f"the structure was not compared: {seen.why}"
    else:
        verdict, said = judge_structure(seen.lines, seen.reference)
    return CheckResult("S02", Rung.STRUCTURE, "structure", verdict, said)


def meaning(tried: Tried, component: Component) -> list[CheckResult]:
    """The plan's own questions and checks. One that was not answered is not verified; one that was forgotten too."""
    checks: list[CheckResult] = []
    for question in component.prove.ask:
        answer = tried.answers.get(question.name, Unanswered("it was not asked"))
        if isinstance(answer, Unanswered):
            verdict, said = Verdict.NOT_VERIFIED, f"no answer: {answer.why}"
        else:
            verdict, said = evaluate(question.expect, answer, tried.point.moment)
        checks.append(CheckResult("M01", Rung.MEANING, question.name, verdict, f"{question.name}: {said}"))
    for name in component.prove.smoke:
        verdict, said = tried.smoke.get(name, (Verdict.NOT_VERIFIED, "it was not run"))
        checks.append(CheckResult("M03", Rung.MEANING, name, verdict, f"{name}: {said}"))
    return checks


def clock(tried: Tried, component: Component, objectives: Objectives) -> list[CheckResult]:
    """Age against `max_age` and the RPO, time to restore against `within` and the RTO: whichever is stricter."""
    checks = [age(tried.point, component, objectives, tried.ended)]
    limits = [
        (limit, name)
        for limit, name in ((component.prove.within, "the plan's `within`"), (objectives.rto, "the RTO"))
        if limit is not None
    ]
    if limits and tried.tier != "bytes":
        limit, name = min(limits)
        took = tried.ended - tried.began
        if tried.error is not None:
            verdict, said = Verdict.NOT_VERIFIED, "the restore did not come to its end"
        elif _whole(took) <= limit:
            verdict, said = Verdict.PASSED, f"restored and asked in {say_span(took)}, within {exact(limit)} ({name})"
        else:
            verdict, said = Verdict.FAILED, f"restored and asked in {exact(took)}; {name} allows {exact(limit)}"
        checks.append(CheckResult("C02", Rung.CLOCK, "time to restore", verdict, said, took))
    return checks


def age(point: Point, component: Component, objectives: Objectives, now: datetime) -> CheckResult:
    """24 h is in time, 24 h and one second is too old. Fractions of a second do not count."""
    verdict, said = _age(point, component, objectives, now)
    return CheckResult("C01", Rung.CLOCK, "age", verdict, said)


def _age(point: Point, component: Component, objectives: Objectives, now: datetime) -> tuple[Verdict, str]:
    limits = [
        (limit, name)
        for limit, name in ((component.prove.max_age, "the plan's `max_age`"), (objectives.rpo, "the RPO"))
        if limit is not None
    ]
    old = utc(now) - utc(point.moment)
    if old < -CLOCK_TOLERANCE:
        return Verdict.NOT_VERIFIED, (
            f"its newest data is of {say_moment(point.moment)}, {exact(-old)} in the future: clocks differ"
        )
    old = max(old, timedelta())
    if not limits:
        return Verdict.PASSED, f"{exact(old)} old; the plan sets no limit"
    limit, name = min(limits)
    if _whole(old) <= limit:
        return Verdict.PASSED, f"{exact(old)} old, within {exact(limit)} ({name})"
    return Verdict.FAILED, f"{exact(old)} old; {name} allows {exact(limit)}"


def _whole(length: timedelta) -> timedelta:
    return timedelta(seconds=int(length.total_seconds()))


def mending(proof: Proof) -> tuple[str, ...]:
    """What else speaks against it, and not against the data: to be mended after a restore, or to be looked at."""
    return tuple(
        check.said
        for check in proof.checks
        if not critical(check) and check.rung is not Rung.CLOCK and check.verdict is not Verdict.PASSED
    )


def of_bytes(point: Point, vault: VaultName, during: tuple[datetime, datetime], verdict: Verdict, said: str) -> Proof:
    """What somebody found out about a point's bytes who was not out to prove it: a check of the whole vault, or a
    restore that met damage. `during`: when it began and ended."""
    found = CheckResult("B01", Rung.BYTES, "bytes", verdict, said)
    return Proof(point.id, point.component, vault, "bytes", *during, restore_took=None, checks=(found,))


def only_bytes_failed(proof: Proof) -> bool:
    """Whether all that speaks against the point is that its bytes could not be read from the vault."""
    failed = [check.code for check in proof.checks if check.verdict is Verdict.FAILED and critical(check)]
    return bool(failed) and set(failed) == {"B01"}


def bytes_passed(proof: Proof) -> bool:
    return any(check.code == "B01" and check.verdict is Verdict.PASSED for check in proof.checks)


def content(proof: Proof) -> Result:
    """What the proof says of the data: what is critical, and nothing else (`ladder`)."""
    return replace(proof, checks=tuple(check for check in proof.checks if critical(check))).result()


def late(proof: Proof) -> tuple[str, ...]:
    """What the clock had against it."""
    return tuple(
        check.said for check in proof.checks if check.rung is Rung.CLOCK and check.verdict is not Verdict.PASSED
    )
