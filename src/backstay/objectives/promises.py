"""What was promised for one component, what was measured, and what a disaster right now would cost.

Four answers, never two: kept, broken, unproven (it may be true, and nothing has shown it), unknown (it cannot be known
from here). What cannot be known never reads as kept. `docs/explanation/objectives.md` has the definitions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from backstay import estimate
from backstay.estimate import Expected
from backstay.facts import NotVerified, Point
from backstay.history import History, Loss, RunSeen, component_rto, components_restored, rpo_actual
from backstay.history.measures import REAL
from backstay.plan import Component, Mode
from backstay.values import ComponentName, say_span
from backstay.verify import Chosen, NoneGood, exact
from backstay.verify.checks import CLOCK_TOLERANCE


class Standing(Enum):
    """How a promise stands, the worst first."""

    BROKEN = "broken"
    UNKNOWN = "unknown"
    UNPROVEN = "unproven"
    KEPT = "kept"
    NOT_PROMISED = "not promised"

    @property
    def alarms(self) -> bool:
        return self in (Standing.BROKEN, Standing.UNKNOWN, Standing.UNPROVEN)


def worst(standings: Iterable[Standing]) -> Standing:
    order = list(Standing)
    return min(standings, key=order.index, default=Standing.NOT_PROMISED)


@dataclass(frozen=True, slots=True)
class Judged:
    standing: Standing
    sentence: str


@dataclass(frozen=True, slots=True)
class Rpo:
    """How much data may be lost, was lost, and would be lost now."""

    target: timedelta | None
    actual: Loss | NotVerified
    """Of the last recovery or drill that restored it."""
    forecast: timedelta | NotVerified
    """The age of the newest data that a recovery would bring back: of the newest point that nothing speaks against, and
    of the log that is kept after it."""
    judged: Judged


@dataclass(frozen=True, slots=True)
class Rto:
    """How long being down may last, lasted, and is expected to last."""

    target: timedelta | None
    actual: timedelta | NotVerified
    run: RunSeen | None
    """Where `actual` comes from."""
    forecast: Expected
    """Of the restore alone: what it takes with the data of today."""
    judged: Judged


def over(length: timedelta, limit: timedelta) -> bool:
    """Longer than was promised, to the second: 24 h is in time, 24 h and one second is not."""
    return int(length.total_seconds()) > limit.total_seconds()


# ── data ────────────────────────────────────────────────────────────────────────────────────────────


def rpo(
    component: ComponentName,
    target: timedelta | None,
    newest: Chosen | NoneGood,
    good: Chosen | NoneGood,
    history: History,
    now: datetime,
) -> Rpo:
    """`newest` and `good` are what `verify.choose` found as `newest` and as `proven`."""
    run = last_run(history, component)
    actual = rpo_actual(run, component) if run else NotVerified("it was never recovered and never drilled")
    return Rpo(target, actual, age_of(newest, history, now), _judge_rpo(target, (newest, good), history, now))


def age_of(found: Chosen | NoneGood, history: History, now: datetime) -> timedelta | NotVerified:
    if isinstance(found, NoneGood):
        return NotVerified(found.why)
    old = now - history.newest_from(found.point)
    if old < -CLOCK_TOLERANCE:
        return NotVerified(f"the newest data lies {exact(-old)} in the future: clocks differ")
    return max(old, timedelta())


def _judge_rpo(
    target: timedelta | None, found: tuple[Chosen | NoneGood, Chosen | NoneGood], history: History, now: datetime
) -> Judged:
    newest, good = found
    if isinstance(newest, NoneGood):
        if newest.reasons:
            return Judged(Standing.BROKEN, f"no recovery point can be used: {newest.reasons[0].why}")
        return Judged(Standing.BROKEN, f"{newest.why}: everything would be lost")
    old, proven = age_of(newest, history, now), age_of(good, history, now)
    if isinstance(old, NotVerified):
        return Judged(Standing.UNKNOWN, old.why)
    said = f"{_what(newest, history, 'newest')} is {exact(old)} old"
    if target is None:
        return Judged(Standing.NOT_PROMISED, f"{said}; no RPO was promised")
    if over(old, target):
        return Judged(Standing.BROKEN, f"{said}; the RPO allows {exact(target)}")
    if isinstance(good, NoneGood):
        return Judged(Standing.UNPROVEN, f"{said}, and no point is proven")
    if isinstance(proven, NotVerified):
        return Judged(Standing.UNKNOWN, proven.why)
    if over(proven, target):
        return Judged(
            Standing.UNPROVEN,
            f"{said} and not proven; the newest proven one is {exact(proven)} old, and the RPO allows {exact(target)}",
        )
    said = f"{_what(good, history, 'newest proven')} is {exact(proven)} old"
    return Judged(Standing.KEPT, f"{said}, within {exact(target)}")


def _what(found: Chosen, history: History, which: str) -> str:
    """Of a point that log goes on from, it is the log that is so old."""
    leads = found.point.id in history.leads and history.leads[found.point.id] > found.point.moment
    return f"the log kept after the {which} point" if leads else f"the {which} point"


def judge_loss(target: timedelta | None, loss: Loss | NotVerified) -> Judged:
    """What a run lost, against what was promised."""
    if isinstance(loss, NotVerified):
        return Judged(Standing.UNKNOWN, f"not verified: {loss.why}")
    said = say_loss(loss)
    if target is None:
        return Judged(Standing.NOT_PROMISED, f"{said}; no RPO was promised")
    if not over(loss.most, target):
        return Judged(Standing.KEPT, f"{said}, within {exact(target)}")
    if over(loss.least, target):
        return Judged(Standing.BROKEN, f"{said}; the RPO allows {exact(target)}")
    return Judged(Standing.UNKNOWN, f"not verified: {said}, and the RPO of {exact(target)} lies in between")


def say_loss(loss: Loss) -> str:
    """`22 s`, `between 3 min and 4 min`, `up to 40 s`, `nothing`."""
    if loss.most == timedelta():
        return "nothing"
    if loss.least == loss.most or exact(loss.least) == exact(loss.most):
        return exact(loss.most)
    if loss.least == timedelta():
        return f"up to {exact(loss.most)}"
    return f"between {exact(loss.least)} and {exact(loss.most)}"


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def rto(component: ComponentName, target: timedelta | None, history: History, point: Point | None) -> Rto:
    run = last_run(history, component)
    actual = component_rto(run, component) if run else NotVerified("it was never recovered and never drilled")
    forecast = estimate.restore(history, component, point.size_bytes if point else None)
    return Rto(target, actual, run, forecast, _judge_rto(target, actual, run, forecast))


def last_run(history: History, component: ComponentName) -> RunSeen | None:
    """The newest recovery or drill that was to restore the component and has ended, unless it was only cancelled."""
    found = [
        run
        for run in history.runs
        if run.started.mode in REAL
        and run.ended is not None
        and run.ended.result != "cancelled"
        and component in components_restored(run)
    ]
    return found[-1] if found else None


def last_of_everything(history: History, components: Iterable[Component]) -> RunSeen | None:
    """The newest such run that restored all of `components`."""
    wanted = {component.name for component in components}
    found = [
        run
        for run in history.runs
        if run.started.mode in REAL and run.ended is not None and wanted and wanted <= set(components_restored(run))
    ]
    return found[-1] if found else None


def _first_line(text: str) -> str:
    """An error of several lines, in a sentence."""
    return text.partition("\n")[0]


def _judge_rto(
    target: timedelta | None, actual: timedelta | NotVerified, run: RunSeen | None, forecast: Expected
) -> Judged:
    expected = forecast if isinstance(forecast, estimate.Estimate) else None
    if target is None:
        took = f"it took {say_span(actual)}" if isinstance(actual, timedelta) else actual.why
        return Judged(Standing.NOT_PROMISED, f"{took}; no RTO was promised")
    if run is not None and run.ended is not None and run.ended.result == "failed":
        return Judged(Standing.BROKEN, f"the last {say_mode(run)} failed: {_first_line(run.ended.why)}")
    if expected is not None and over(expected.median, target):
        return Judged(
            Standing.BROKEN, f"restoring alone takes {estimate.say(expected)}; the RTO allows {exact(target)}"
        )
    if isinstance(actual, NotVerified):
        alone = f"; restoring alone takes {estimate.say(expected)}" if expected else ""
        return Judged(Standing.UNPROVEN, f"{actual.why}{alone}")
    when = f"the last {say_mode(run)}" if run else "the last run"
    if over(actual, target):
        return Judged(Standing.BROKEN, f"{when} took {exact(actual)}; the RTO allows {exact(target)}")
    if expected is not None and over(expected.worst, target):
        return Judged(
            Standing.UNPROVEN,
            f"{when} took {say_span(actual)}, but restoring alone took up to {say_span(expected.worst)}",
        )
    return Judged(Standing.KEPT, f"{when} took {say_span(actual)}, within {exact(target)}")


def judge_duration(target: timedelta | None, actual: timedelta | NotVerified) -> Judged:
    """What a run took, against what was promised."""
    if isinstance(actual, NotVerified):
        return Judged(Standing.UNKNOWN, f"not verified: {actual.why}")
    if target is None:
        return Judged(Standing.NOT_PROMISED, f"{say_span(actual)}; no RTO was promised")
    if over(actual, target):
        return Judged(Standing.BROKEN, f"{exact(actual)}; the RTO allows {exact(target)}")
    return Judged(Standing.KEPT, f"{say_span(actual)}, within {exact(target)}")


def say_mode(run: RunSeen) -> str:
    """`drill of 2026-11-22`, `recovery of 2026-11-22`."""
    return f"{'drill' if run.started.mode is Mode.DRILL else 'recovery'} of {run.at:%Y-%m-%d}"
