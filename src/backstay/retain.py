"""Which points are kept, and why each one.

What protects a point wins over its age: that it is in use, that it is held, that it is the last known good, or the
newest (of all, and of the current line of history). The strongest reason is the one that is given. A rule
that thins out old points (grandfather, father, son) will stand between these and the age.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backstay.facts import Hold, Point
from backstay.history import active_holds, taken_order
from backstay.plan import Component, VaultPlace
from backstay.values import Period, PointId, say_moment
from backstay.verify import Candidates, Chosen, choose


@dataclass(frozen=True, slots=True)
class Kept:
    point: Point
    because: str


@dataclass(frozen=True, slots=True)
class Expires:
    point: Point
    because: str


def keep_of(component: Component, vault: VaultPlace) -> Period:
    """How long points are kept: the component's own word, else the vault's."""
    return component.keep or vault.keep


def decide(
    among: Candidates, keep: Period, now: datetime, in_use: Iterable[PointId] = ()
) -> tuple[Kept | Expires, ...]:
    """One decision for every point of one component in one vault, oldest first, each with its reason. `in_use`: what a
    run or a proof under way reads, and what a point under way builds upon."""
    ordered = sorted(among.points, key=taken_order)
    guards = {hold.point: _say_hold(hold) for hold in active_holds(among.holds) if _in_force(hold, now)}
    if isinstance(good := choose("proven", among, now), Chosen):
        guards.setdefault(good.point.id, "the newest proven point")
    for best in (ordered[-1:], [point for point in ordered if among.line.has(point)][-1:]):
        for point in best:
            guards.setdefault(point.id, "the newest point")
    guards |= dict.fromkeys(in_use, "in use")
    return tuple(_decide(point, keep, now, guards.get(point.id)) for point in ordered)


def _decide(point: Point, keep: Period, now: datetime, guard: str | None) -> Kept | Expires:
    until = keep.after(point.ended)
    if guard is not None:
        return Kept(point, guard)
    if now <= until:
        return Kept(point, f"kept for {keep}, until {say_moment(until)}")
    return Expires(point, f"older than {keep}: it was kept until {say_moment(until)}")


def _in_force(hold: Hold, now: datetime) -> bool:
    return hold.until is None or now <= hold.until


def _say_hold(hold: Hold) -> str:
    until = f" until {say_moment(hold.until)}" if hold.until else ""
    return f"held ({hold.kind}) by {hold.by}{until}: {hold.reason}"
