"""Which points are kept, and why each one.

What protects a point wins over its age: that it is in use, that it is held, that it is the last known good, or the
newest (of all, and of the current line of history), that it is locked. Then the plan's `keep` decides: every point that
is young enough, and of older ones a few that stand for their day, week, month or year (grandfather, father, son).
The strongest reason is the one that is given; of a point that expires, why no rule keeps it.

For a day (and so on) stands its newest point; but not one that was refuted or lies on a line of history that was
given up, while there is a better one. Days without a point are not counted: a machine that slept for a month loses
nothing. They begin by the plan's time zone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backstay.facts import Hold, Point, Refuted
from backstay.history import active_holds, taken_order
from backstay.lsn import Lsn
from backstay.plan import Component, Keep, VaultPlace
from backstay.reach import Base, Stretch
from backstay.values import PointId, say_moment, say_span
from backstay.verify import Candidates, Chosen, barred, choose, decisive

CLOCKS_APART = timedelta(hours=1)
"""When the store's clock and ours differ by more, nobody knows how old a point is."""

UNITS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda moment: f"{moment:%Y-%m-%d %H:00}",
    "daily": lambda moment: f"{moment:%Y-%m-%d}",
    "weekly": lambda moment: f"{moment:%G-W%V}",
    "monthly": lambda moment: f"{moment:%Y-%m}",
    "yearly": lambda moment: f"{moment:%Y}",
}
"""The keys of `keep`, and what a point's moment is called there. In the order in which reasons are given."""


@dataclass(frozen=True, slots=True)
class Kept:
    point: Point
    because: str


@dataclass(frozen=True, slots=True)
class Expires:
    point: Point
    because: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How long the points of one component are kept in one vault."""

    keep: Keep
    lock: timedelta | None = None
    timezone: str = "UTC"


def keep_of(component: Component, vault: VaultPlace) -> Keep:
    """The component's own word as a whole, else the vault's: the two are never mixed."""
    return component.keep or vault.keep


def policy_of(component: Component, vault: VaultPlace, timezone: str) -> Policy:
    return Policy(keep_of(component, vault), vault.lock, timezone)


def clocks_apart(store: datetime, ours: datetime) -> str | None:
    """Why nothing may expire now, where clocks differ too much."""
    apart = abs(store - ours)
    if apart <= CLOCKS_APART:
        return None
    return f"the store's clock says {say_moment(store)} and ours {say_moment(ours)}: {say_span(apart)} apart"


def decide(
    among: Candidates, policy: Policy, now: datetime, in_use: Iterable[PointId] = ()
) -> tuple[Kept | Expires, ...]:
    """One decision for every point of one component in one vault, oldest first, each with its reason. `now` by the
    store's clock. `in_use`: what a run, a proof or a copy under way reads."""
    ordered = sorted(among.points, key=taken_order)
    guards = {hold.point: _say_hold(hold) for hold in active_holds(among.holds) if _in_force(hold, now)}
    if isinstance(good := choose("proven", among, now), Chosen):
        guards.setdefault(good.point.id, "the newest proven point")
    for best in (ordered[-1:], [point for point in ordered if among.line.has(point)][-1:]):
        for point in best:
            guards.setdefault(point.id, "the newest point")
    guards |= dict.fromkeys(in_use, "in use")
    rules = _Rules(among, policy, now, ordered)
    return tuple(
        Kept(point, because) if (because := guards.get(point.id) or rules.keep(point)) else rules.expire(point)
        for point in ordered
    )


class _Rules:
    """What the plan says about points that nothing else protects."""

    def __init__(self, among: Candidates, policy: Policy, now: datetime, ordered: list[Point]) -> None:
        self._keep, self._lock, self._now = policy.keep, policy.lock, now
        self._zone = ZoneInfo(policy.timezone)
        self._last = {point.id: n for n, point in enumerate(reversed(ordered), 1) if n <= policy.keep.last}
        counts = policy.keep.counts()
        self._stands = {
            unit: self._representatives(unit, counts[unit], among, ordered) for unit in UNITS if counts[unit]
        }
        """By unit: which point stands for each of the newest hours, days, weeks, months or years that have one."""

    def _representatives(self, unit: str, most: int, among: Candidates, ordered: list[Point]) -> dict[str, PointId]:
        found: dict[str, Point] = {}
        for point in sorted(ordered, key=lambda point: (_is_sound(point, among), taken_order(point))):
            found[self._called(unit, point)] = point  # the last one wins: the best, and of equals the newest
        newest = sorted(found, reverse=True)[:most]
        return {called: found[called].id for called in newest}

    def _called(self, unit: str, point: Point) -> str:
        return UNITS[unit](point.began.astimezone(self._zone))

    def keep(self, point: Point) -> str | None:
        if self._lock is not None and self._now <= (until := point.ended + self._lock):
            return f"locked until {say_moment(until)}"
        if (within := self._keep.within) is not None and self._now <= (until := within.after(point.ended)):
            return f"kept for {within}, until {say_moment(until)}"
        if (number := self._last.get(point.id)) is not None:
            return f"one of the newest {self._keep.last} (number {number})"
        for unit, stands in self._stands.items():
            if stands.get(called := self._called(unit, point)) == point.id:
                number = 1 + sorted(stands, reverse=True).index(called)
                return f"{unit} {number} of {self._keep.counts()[unit]}: it stands for {called}"
        return None

    def expire(self, point: Point) -> Expires:
        why = list[str]()
        if (within := self._keep.within) is not None:
            why.append(f"older than {within}: it was kept until {say_moment(within.after(point.ended))}")
        if self._keep.last:
            why.append(f"not one of the newest {self._keep.last}")
        for unit, stands in self._stands.items():
            called = self._called(unit, point)
            other = stands.get(called)
            why.append(f"for {called} stands {other}" if other else f"{called} is too old for {unit}")
        return Expires(point, "; ".join(why))


def _is_sound(point: Point, among: Candidates) -> bool:
    told = decisive(point.id, among.proofs)
    refuted = told is not None and isinstance(told[1], Refuted)
    return not refuted and barred(point, among.holds, among.line) is None


def _in_force(hold: Hold, now: datetime) -> bool:
    return hold.until is None or now <= hold.until


def _say_hold(hold: Hold) -> str:
    until = f" until {say_moment(hold.until)}" if hold.until else ""
    return f"held ({hold.kind}) by {hold.by}{until}: {hold.reason}"


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


def log_let_go(stretches: Iterable[Stretch], bases: Iterable[Base]) -> tuple[Stretch, ...]:
    """Log that no kept point needs: what ends before the oldest point of its cluster begins. Positions in the log only
    grow, on every timeline. Log of a cluster that no point is kept of stays: nobody knows what it is for."""
    begins: dict[int, Lsn] = {}
    for base in bases:
        begins[base.system] = min(base.start, begins.get(base.system, base.start))
    return tuple(one for one in stretches if one.system in begins and one.end <= begins[one.system])
