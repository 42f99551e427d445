"""The two routines that need no procedure: taking a recovery point, and proving one.

A point is *begin, take, seal*: sealing is the last write, and leaving before it leaves garbage for the pruner, never
half a point. A proof is what was seen when the point was restored into a throw-away place: this module sees, and
`verify.judge` judges. What could not be looked at is handed on as such, with its reason.
"""

import errno
import shutil
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from backstay.errors import AccessDenied, BackstayError, Cancelled, DiskFull, SourceDown, TimedOut, Unreachable
from backstay.facts import CheckResult, Point, PointTaken, Proof, Refuted, RoutineBegan, RoutineFailed, Rung, Verdict
from backstay.plan import Check, Component, Objectives, Target
from backstay.ports import (
    Addressed,
    Answer,
    Answers,
    Clock,
    HeldReader,
    Keeper,
    PointReader,
    Progress,
    Sampled,
    Structured,
    Vault,
    unwatched,
)
from backstay.processes import sweep, working_folder
from backstay.values import Digest, PointId, RunId, VaultName, count, listed, say_size, say_span, utc
from backstay.verbs.comparing import reference_for
from backstay.verbs.flows import flow
from backstay.verbs.reading import Stoppable, Witnessed, heed, never
from backstay.verify import Structure, Tried, Unanswered, content, judge, sampled, suspect

T = TypeVar("T")
Tier = Literal["bytes", "sample", "full"]


@dataclass(frozen=True, slots=True)
class Routine:
    """One component, how it is kept, and where its points go."""

    run: RunId
    component: Component
    objectives: Objectives
    """The promise that holds for the component (`Plan.objectives_of`)."""
    plan: Digest
    keeper: Keeper
    vault: Vault
    clock: Clock
    progress: Progress = unwatched
    base: Path = Path()
    """The folder of the plan: its files and its programs are found from there."""
    smoke: Mapping[str, Check] = field(default_factory=dict[str, Check])
    """The plan's smoke checks, by name."""
    suspicious: Collection[PointId] = ()
    """Points that are marked, and that nobody has cleared: a proof of one is no measure for another."""
    stop: Callable[[], bool] = never
    """True as soon as it must end: it then raises Cancelled between two entries, two pieces, or two questions."""
    target: Target | None = None
    """A proof goes on from the point to here, over the log of the vault, and is kept nowhere. None: the point itself is
    proved."""


# ── taking ───────────────────────────────────────────────────────────────────────────────────────


def _unasked(point: PointId) -> None:
    pass


def take_point(routine: Routine, began: Callable[[PointId], None] = _unasked) -> PointTaken:
    """Take one state of the component into the vault, sealed. `began` is told the reserved id before anything is read:
    the journal's first fact of the routine belongs there.

    Raises SourceDown, SourceUnsuitable, AccessDenied, ToolFailed, DiskFull, StoreUnreachable, Lapsed, Cancelled: then
    there is no point.
    """
    clock, name = routine.clock, routine.component.name
    started = clock.elapsed()
    with edge(f"taking {name}"), routine.vault.begin(name, plan=routine.plan, now=clock.now()) as writer:
        began(writer.id)
        taken = routine.keeper.take(Stoppable(writer, routine.stop), routine.progress)
        heed(routine.stop)
        point = writer.seal(taken.sealing)
    took = clock.elapsed() - started
    # What the vault itself wrote into the point: a past that it could not read, and how long all is locked.
    said = tuple(point.about[name] for name in ("vault", "locks") if name in point.about)
    return PointTaken(routine.run, VaultName(routine.vault.name), point, took, (*taken.said, *said))


def look_taken(routine: Routine, began: RoutineBegan) -> PointTaken | RoutineFailed:
    """How a backup ended whose driver died: its point was sealed, and counts, or it was not. Raises what the vault
    raises."""
    point = next((one for one in routine.vault.points(routine.component.name) if one.id == began.point), None)
    if point is not None:
        said = ("its driver ended before it was noted here",)
        return PointTaken(began.run, began.vault, point, point.ended - point.began, said)
    return RoutineFailed(began.run, Cancelled.code, "its driver ended before the point was sealed: there is no point")


# ── proving ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Seen:
    """What a sandbox has shown so far; what is missing at the end was not seen."""

    restore_took: timedelta | None = None
    structure: Structure | Unanswered | None = None
    tables: tuple[str, ...] | None = None
    smoke: dict[str, tuple[Verdict, str]] = field(default_factory=dict[str, tuple[Verdict, str]])
    inspected: list[CheckResult] = field(default_factory=list[CheckResult])
    counts: Mapping[str, int] | Unanswered = field(default_factory=lambda: Unanswered("nothing was restored"))
    answers: dict[str, Answer | Unanswered] = field(default_factory=dict[str, "Answer | Unanswered"])
    canaries: dict[str, Answer | Unanswered] = field(default_factory=dict[str, "Answer | Unanswered"])
    newest: datetime | None = None


Mark = Callable[[Point, str], None]
"""Told of a point that is suspicious, and why, before its proof is kept: whoever dies in between has not hidden it."""


def _unmarked(point: Point, why: str) -> None:
    pass


def prove_point(routine: Routine, id: PointId, scratch: Path, tier: Tier = "full", mark: Mark = _unmarked) -> Proof:
    """Restore the point below the folder `scratch`, ask it everything, judge, and seal the proof beside the point.

    `bytes` only reads every byte. What goes wrong with the point, or with looking at it, is in the proof; raises
    NoSuchPoint, Damaged for a point whose own record cannot be read, Cancelled, Unreachable where the log does not lead
    to the target, and what the vault raises when the proof cannot be kept.
    """
    clock = routine.clock
    reader = routine.vault.open(id)
    seen, stopped = _Seen(), None
    began, over = clock.now(), _limit(routine)
    last = last_proof(routine.vault.proofs(), reader.point, routine.suspicious)
    limited = replace(routine, stop=lambda: routine.stop() or over())
    try:
        with edge(f"proving {id}"):
            _look(limited, reader, scratch, tier, seen, last)
    except Unreachable:
        raise  # that log is missing says nothing about the point
    except BackstayError as error:
        if over():
            stopped = _too_long(routine)
        elif isinstance(error, Cancelled):
            raise
        else:
            stopped = error
    tried = Tried(
        point=reader.point,
        vault=VaultName(routine.vault.name),
        tier=tier,
        began=began,
        ended=max(began, clock.now()),
        restore_took=seen.restore_took,
        inspected=tuple(seen.inspected),
        structure=seen.structure,
        tables=seen.tables,
        smoke=seen.smoke,
        counts=seen.counts,
        answers=seen.answers,
        newest=seen.newest,
        error=stopped,
    )
    proof = replace(judge(tried, routine.component, routine.objectives, last), plan=routine.plan)
    if routine.target is not None:
        return proof  # of a moment, which may well be a bad one: kept beside the point, it would speak of the point
    if stopped is None and tier != "bytes":
        suspected = suspect(reader.point, routine.component.prove, seen.counts, seen.canaries, last)
        proof = replace(proof, checks=(*proof.checks, *suspected.checks), canaries=suspected.canaries)
        if suspected.reasons:
            mark(reader.point, listed(suspected.reasons))
    routine.vault.keep_proof(proof)
    return proof


def last_proof(proofs: list[Proof], point: Point, suspicious: Collection[PointId] = ()) -> Proof | None:
    """What the rows of `point` are compared with: the newest proof, of this point or an older one, that has counts and
    did not refute it. A newer point may rightly have far more rows; a refuted one must not become the measure, nor one
    that is suspicious: what it has lost would be missed by nobody from the next point on. Ids sort by the second, and
    no further: of two points of one second, the one that was proved last is the older."""
    fit = [
        proof
        for proof in proofs
        if proof.component == point.component
        and proof.point[:_SECOND] <= point.id[:_SECOND]
        and proof.counts
        and proof.point not in suspicious
        and not isinstance(content(proof), Refuted)
    ]
    return max(fit, key=lambda proof: (proof.point[:_SECOND], proof.ended), default=None)


_SECOND = len("20261122T204437Z")


def _limit(routine: Routine) -> Callable[[], bool]:
    """True as soon as the proof has taken longer than the plan lets it."""
    limit, began = routine.component.prove.limits.time, routine.clock.elapsed()
    return lambda: limit is not None and routine.clock.elapsed() - began >= limit


def _too_long(routine: Routine) -> TimedOut:
    limit = routine.component.prove.limits.time
    assert limit is not None
    return TimedOut(
        f"the proof was ended after {say_span(limit)}",
        detail="the plan's limit (`prove: {limits: {time: …}}`); what came after was not looked at",
        hint="raise the limit, or prove a sample: backstay verify --tier sample",
    )


def _look(routine: Routine, reader: PointReader, scratch: Path, tier: Tier, seen: _Seen, last: Proof | None) -> None:
    """Fill `seen`, rung by rung. Raises what stops it."""
    if isinstance(reader, HeldReader):
        _look_at_held(routine, reader, scratch, tier, seen, last)
        return
    witnessed = Witnessed(reader, routine.stop)
    if tier != "bytes":
        _in_a_sandbox(routine, witnessed, scratch, tier, seen, last)
    # A keeper need not read all of a point to bring it up. The bytes it left out are part of the promise too.
    started = routine.clock.elapsed()
    witnessed.read_the_rest(routine.progress)
    size = f"{say_size(reader.point.size_bytes)} in {count(reader.point.files, 'file')}"
    said = f"{size} read from {routine.vault.name}; every chunk is what was written"
    took = routine.clock.elapsed() - started
    seen.inspected.insert(0, CheckResult("B01", Rung.BYTES, "bytes", Verdict.PASSED, said, took))


def _in_a_sandbox(
    routine: Routine, reader: PointReader, scratch: Path, tier: Tier, seen: _Seen, last: Proof | None
) -> None:
    with throw_away(scratch, reader.point, routine.component.prove.limits.disk_bytes) as folder:
        started = routine.clock.elapsed()
        log = routine.vault.wal if routine.target is not None else None
        made = routine.keeper.sandbox(reader, folder, routine.progress, target=routine.target, log=log)
        with made as answers:
            seen.restore_took = routine.clock.elapsed() - started
            # Before it is inspected: pg_amcheck leaves its extension behind.
            seen.structure = _structure(routine, answers, last)
            seen.inspected += answers.inspect(tier)
            heed(routine.stop)
            _ask(routine, answers, seen, reader.point if tier == "sample" else None)
            _flows(routine, answers, seen)


def _look_at_held(
    routine: Routine, reader: HeldReader, scratch: Path, tier: Tier, seen: _Seen, last: Proof | None
) -> None:
    """The same for a point that another program holds: it is not read in pieces, but restored by that program."""
    started = routine.clock.elapsed()
    verdict, said = reader.check_bytes(routine.progress)
    took = routine.clock.elapsed() - started
    seen.inspected.append(CheckResult("B04", Rung.BYTES, "bytes of an existing backup", verdict, said, took))
    heed(routine.stop)
    if tier != "bytes" and verdict is not Verdict.FAILED:
        _in_a_sandbox(routine, reader, scratch, tier, seen, last)


def _ask(routine: Routine, answers: Answers, seen: _Seen, sample_of: Point | None) -> None:
    component = routine.component
    heed(routine.stop)
    if sample_of is not None and isinstance(answers, Sampled):
        tables = _answered(answers.tables)
        if isinstance(tables, Unanswered):
            seen.counts = tables
        else:
            seen.tables = tuple(tables)
            seen.counts = _answered(partial(answers.counts_in, sampled(tables, sample_of.id)))
    else:
        seen.counts = _answered(answers.counts)
    for question in component.prove.ask:
        heed(routine.stop)
        seen.answers[question.name] = _answered(partial(answers.ask, question.sql))
    for canary in component.prove.canary:
        heed(routine.stop)
        seen.canaries[canary.name] = _answered(partial(answers.ask, canary.sql))
    if component.newest is not None:
        seen.newest = moment_of(_answered(partial(answers.ask, component.newest)))


def _structure(routine: Routine, answers: Answers, last: Proof | None) -> Structure | Unanswered | None:
    if not isinstance(answers, Structured):
        return None
    lines = _answered(answers.structure)
    if isinstance(lines, Unanswered):
        return lines
    reference = reference_for(routine.vault, routine.component.prove.structure, routine.base, last)
    return reference if isinstance(reference, Unanswered) else Structure(tuple(lines), reference)


def _flows(routine: Routine, answers: Answers, seen: _Seen) -> None:
    """Last: the application may write."""
    for name in routine.component.prove.smoke:
        heed(routine.stop)
        if isinstance(answers, Addressed) and (address := answers.address()):
            seen.smoke[name] = flow(routine.smoke.get(name), address, routine.base, routine.run, routine.stop)


def _answered(ask: Callable[[], T]) -> "T | Unanswered":
    try:
        return ask()
    except Cancelled:
        raise
    except BackstayError as error:
        return Unanswered(f"{error.message} ({error.detail})" if error.detail else error.message)


def moment_of(answer: object) -> datetime | None:
    """An answer as a moment in UTC; None: it is none, or has no time zone. SQLite gives ISO 8601 as text."""
    if isinstance(answer, str):
        try:
            answer = datetime.fromisoformat(answer.strip())
        except ValueError:
            return None
    return utc(answer) if isinstance(answer, datetime) and answer.tzinfo is not None else None


@contextmanager
def throw_away(scratch: Path, point: Point, most_bytes: int | None = None) -> Generator[Path]:
    """An empty folder (0700) with room for the point; gone afterwards, whatever happened. What a killed prover left,
    somebody's data in the clear, goes first. Raises DiskFull, also where the point is larger than `most_bytes`."""
    sweep(scratch)
    if most_bytes is not None and point.size_bytes > most_bytes:
        raise DiskFull(
            f"{point.id} is larger than its sandbox may be",
            detail=f"it needs {say_size(point.size_bytes)}; the plan's limit (`prove: {{limits: {{disk: …}}}}`) is "
            f"{say_size(most_bytes)}",
            hint="raise the limit, or read the bytes only: backstay verify --tier bytes",
        )
    free = shutil.disk_usage(scratch).free
    if free < point.size_bytes:
        raise DiskFull(
            f"no room to restore {point.id} for its proof",
            detail=f"{say_size(free)} are free below {scratch}, and it needs {say_size(point.size_bytes)}",
            hint="make room there, or put the state folder on a larger disk with --state",
        )
    with working_folder(scratch, f"prove-{point.id}") as folder:
        yield folder


@contextmanager
def edge(doing: str) -> Generator[None]:
    """An error of the operating system that an adapter let through, in our words."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                raise DiskFull(f"no room left while {doing}", detail=why + where) from error
            case errno.EACCES | errno.EPERM:
                raise AccessDenied(f"not allowed while {doing}", detail=why + where) from error
            case _:
                raise SourceDown(f"the system failed us while {doing}", detail=why + where) from error
