"""The same recovery in a sealed room, with a stopwatch.

A drill has no procedure of its own: `steps` compiles the scenario exactly as a recovery would, and only the site
differs. What it took is measured like the real thing, and stands in the table *Last Drill Results* beside what older
documents state. What somebody only states was not demonstrated, and the row says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import assert_never

from backstay import recover
from backstay.facts import NotVerified
from backstay.history import History, RunSeen, components_restored, phase_times, rpo_actual, rto_actual
from backstay.machine import State
from backstay.plan import DrillRule, Every, Mode, Phase, Plan
from backstay.protect import next_after, say_schedule
from backstay.recover import Good, NoRecovery
from backstay.values import RunId, ScenarioName, SiteName, count, listed, say_moment, say_span
from backstay.verify import exact

SANDBOX = SiteName("sandbox")
"""The site of every drill: made for it, and gone afterwards."""

_AT_LEAST = timedelta(seconds=1)
"""A smaller difference between two drills is noise."""


@dataclass(frozen=True, slots=True)
class Passed:
    pass


@dataclass(frozen=True, slots=True)
class Failed:
    why: str


@dataclass(frozen=True, slots=True)
class Stated:
    """An older document says so; no journal shows it."""

    passed: bool


DrillResult = Passed | Failed | NotVerified | Stated


@dataclass(frozen=True, slots=True)
class DrillRow:
    """A row of *Last Drill Results*."""

    on: date
    scenario: str
    target: timedelta | None
    actual: timedelta | NotVerified
    result: DrillResult
    notes: str = ""
    run: RunId | None = None


@dataclass(frozen=True, slots=True)
class DrillDue:
    rule: DrillRule
    since: datetime
    because: str


def steps(plan: Plan, scenario: str, good: Good | None = None) -> tuple[Phase, ...] | NoRecovery:
    """What a drill of this scenario does: the steps of the recovery, by construction."""
    return recover.compile(plan, scenario, SANDBOX, Mode.DRILL, good)


# ── when ────────────────────────────────────────────────────────────────────────────────────────────


def due(plan: Plan, history: History, now: datetime) -> list[DrillDue]:
    """The drills that the plan wants and that were not held in time, the longest overdue first. One that was begun
    counts, however it ended: a failed drill is repeated by a person, not by the clock."""
    found: list[DrillDue] = []
    for rule in plan.drills:
        last = last_of(history, rule.scenario, rule.mode)
        if last is None:
            found.append(DrillDue(rule, now, f"{rule.scenario} was never practised ({rule.mode.value})"))
            continue
        since = next_after(rule.every, last.at, plan.timezone)
        if since is not None and since <= now:
            said = f"{say_schedule(rule.every)}, and the last {rule.mode.value} was on {last.at:%Y-%m-%d}"
            found.append(DrillDue(rule, since, said))
    return sorted(found, key=lambda drill: drill.since)


def next_drill(plan: Plan, history: History, now: datetime) -> tuple[datetime, DrillRule] | None:
    """The next drill of the plan. None: it plans none."""
    upcoming: list[tuple[datetime, DrillRule]] = []
    for rule in plan.drills:
        last = last_of(history, rule.scenario, rule.mode)
        moment = next_after(rule.every, last.at, plan.timezone) if last else now
        upcoming += [(moment, rule)] if moment else []
    return min(upcoming, key=lambda pair: pair[0], default=None)


def last_of(history: History, scenario: ScenarioName, mode: Mode) -> RunSeen | None:
    found = [run for run in history.runs if run.started.scenario == scenario and run.started.mode is mode]
    return found[-1] if found else None


def say_frequency(rule: DrillRule) -> str:
    """`Quarterly` for every three months, as people say it."""
    if isinstance(rule.every, Every) and not rule.every.period.span:
        usual = {1: "Monthly", 3: "Quarterly", 6: "Twice a year", 12: "Yearly"}
        if rule.every.period.months in usual:
            return usual[rule.every.period.months]
    said = say_schedule(rule.every)
    return said[0].upper() + said[1:]


# ── how it went ─────────────────────────────────────────────────────────────────────────────────────


def result(run: RunSeen) -> DrillResult:
    """Passed only when everything was done and measured, and in time. A drill with a skipped step is not verified:
    nobody knows what would have happened."""
    if run.ended is None:
        return NotVerified("it has not ended")
    if run.ended.result == "cancelled":
        return NotVerified(f"it was cancelled: {run.ended.why}")
    if run.ended.result == "failed":
        return Failed(run.ended.why)
    actual = rto_actual(run)
    if isinstance(actual, NotVerified):
        return actual
    target = run.started.objectives.rto
    if target is not None and int(actual.total_seconds()) > target.total_seconds():
        return Failed(f"{exact(actual)}, and {exact(target)} was promised")
    if (lost := _lost(run)) is not None:
        return lost
    if skipped := [seen.step.id for seen in run.steps if seen.state is State.SKIPPED]:
        return NotVerified(f"{count(len(skipped), 'step')} skipped: {listed(skipped)}")
    if target is None:
        return NotVerified("no RTO was promised, so there is nothing to pass")
    return Passed()


def _lost(run: RunSeen) -> Failed | NotVerified | None:
    """More data than was promised, or nobody knows how much. None: within the promise, or there is none."""
    target, unsure = run.started.objectives.rpo, None
    for component in components_restored(run) if target is not None else ():
        loss = rpo_actual(run, component)
        if isinstance(loss, NotVerified):
            unsure = unsure or NotVerified(f"what {component} lost: {loss.why}")
        elif target is not None and int(loss.least.total_seconds()) > target.total_seconds():
            return Failed(f"{component} lost {exact(loss.least)} or more, and {exact(target)} was promised")
        elif target is not None and int(loss.most.total_seconds()) > target.total_seconds():
            unsure = unsure or NotVerified(f"what {component} lost lies around the {exact(target)} that was promised")
    return unsure


def row(run: RunSeen, earlier: Iterable[RunSeen] = ()) -> DrillRow:
    """The row of one drill. Its note compares it with the drill of the same scenario before it."""
    return DrillRow(
        run.at.date(),
        run.started.title,
        run.started.objectives.rto,
        rto_actual(run),
        result(run),
        compare(run, earlier),
        run.id,
    )


def rows(history: History, stated: Iterable[DrillRow] = ()) -> tuple[DrillRow, ...]:
    """Every drill and tabletop, the newest first; `stated` are rows of older documents."""
    held = [run for run in history.runs if run.started.mode in (Mode.DRILL, Mode.TABLETOP)]
    made = [row(run, held[:number]) for number, run in enumerate(held)]
    return tuple(sorted([*made, *stated], key=lambda drill: drill.on, reverse=True))


def stated(
    on: date, scenario: str, target: timedelta | None, actual: timedelta, *, passed: bool, notes: str = ""
) -> DrillRow:
    """A row that an older document brings: its word, marked as that."""
    return DrillRow(on, scenario, target, actual, Stated(passed), notes)


def compare(run: RunSeen, earlier: Iterable[RunSeen]) -> str:
    """Against the last drill of the same scenario that was measured: the whole, then the phase that changed most."""
    now = rto_actual(run)
    if isinstance(now, NotVerified):
        return ""
    before = [
        (old, took)
        for old in earlier
        if old.started.scenario == run.started.scenario
        and old.started.mode is run.started.mode
        and not isinstance(took := rto_actual(old), NotVerified)
    ]
    if not before:
        return "the first that was measured"
    last, took = before[-1]
    said = _difference(now - took) + f" than on {last.at:%Y-%m-%d}"
    if abs(now - took) < _AT_LEAST:
        said = f"as long as on {last.at:%Y-%m-%d}"
    changes = [
        (new.took - old.took, new.name)
        for new, old in zip(phase_times(run), phase_times(last), strict=False)
        if new.name == old.name and new.took is not None and old.took is not None
    ]
    most = max(changes, key=lambda change: abs(change[0]), default=None)
    if most is None or abs(most[0]) < _AT_LEAST:
        return said
    return f"{said}; “{most[1]}” {_difference(most[0])}"


def _difference(length: timedelta) -> str:
    return f"{say_span(abs(length))} {'slower' if length > timedelta() else 'faster'}"


def say_result(of: DrillResult) -> str:
    """`Pass`, `Fail: …`, `not verified: …`, `Pass (stated, not demonstrated)`."""
    match of:
        case Passed():
            return "Pass"
        case Failed(why):
            return f"Fail: {why}"
        case NotVerified(why):
            return f"not verified: {why}"
        case Stated(passed):
            return f"{'Pass' if passed else 'Fail'} (stated, not demonstrated)"
        case _:
            assert_never(of)


def say_due(drill: DrillDue) -> str:
    """For the status screen."""
    return f"{drill.rule.scenario}: a {drill.rule.mode.value} is due since {say_moment(drill.since)} ({drill.because})"
