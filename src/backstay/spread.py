"""How the points of a plan lie in its vaults: which of them each vault lacks, and how far it is behind.

A point is taken into one vault, and copied into the others. What a vault should have is what its own retention would
keep if it had everything: so a vault that keeps 90 days is not asked to take what another one keeps for years. A point
that was refuted is copied to nobody. A vault that does not answer is not known to be behind: it is not known at all.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay import retain
from backstay.facts import Point, Proof, Refuted
from backstay.history import History, taken_order
from backstay.plan import Component, Plan
from backstay.retain import Kept
from backstay.values import VaultName, count
from backstay.verify import candidates, decisive, exact

GRACE = timedelta(hours=1)
"""How long after its end a point may be missing in a vault before that is said: it may be on its way."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one vault stands with one component."""

    vault: VaultName
    answered: bool
    """False: nothing is known, and the rest is empty."""
    points: int
    newest: Point | None
    lacks: tuple[Point, ...] = ()
    """What it should have and another vault has, newest first."""
    behind: timedelta | None = None
    """How much older its newest data is than the newest that any vault has. None: it has the newest, or nothing."""
    age: timedelta | None = None
    """Of its newest data: what would be lost if this vault were all that is left."""
    read: Proof | None = None
    """The newest proof that read this vault's own bytes. None: what is there was copied, and never read."""


def standings(plan: Plan, component: Component, history: History, now: datetime) -> tuple[Standing, ...]:
    """One for each vault of the component, in the plan's order."""
    everything = history.points_of(component.name)
    return tuple(_standing(plan, component, vault, everything, history, now) for vault in plan.vaults_of(component))


def _standing(
    plan: Plan, component: Component, vault: VaultName, everything: tuple[Point, ...], history: History, now: datetime
) -> Standing:
    if vault not in history.vaults:
        return Standing(vault, False, 0, None)
    held = history.points_of(component.name, vault)
    newest = held[-1] if held else None
    behind = everything[-1].moment - newest.moment if newest and everything else timedelta()
    return Standing(
        vault,
        True,
        len(held),
        newest,
        lacking(plan, component, vault, history, now),
        behind if behind > timedelta() else None,
        max(now - newest.moment, timedelta()) if newest else None,
        _read_in(vault, held, history),
    )


def _read_in(vault: VaultName, held: tuple[Point, ...], history: History) -> Proof | None:
    ids = {point.id for point in held}
    return next((proof for proof in reversed(history.proofs) if proof.vault == vault and proof.point in ids), None)


def lacking(plan: Plan, component: Component, vault: VaultName, history: History, now: datetime) -> tuple[Point, ...]:
    """Points that `vault` should hold by its own retention, and that another vault has: newest first, for that is the
    order in which they are worth copying."""
    held = {point.id for point in history.points_of(component.name, vault, evidence=True)}
    # Not its lock: that keeps what is there, and is no reason to bring what is not.
    policy = retain.Policy(retain.keep_of(component, plan.vaults[vault]), timezone=plan.timezone)
    wanted = [
        one.point
        for one in retain.decide(candidates(history, component.name), policy, now)
        if isinstance(one, Kept) and one.point.id not in held and not _refuted(one.point, history)
    ]
    return tuple(sorted(wanted, key=taken_order, reverse=True))


def _refuted(point: Point, history: History) -> bool:
    told = decisive(point.id, history.proofs, history.vaults_of(point.id))
    return told is not None and isinstance(told[1], Refuted)


def late(standing: Standing, now: datetime) -> tuple[Point, ...]:
    """What it lacks for longer than a copy may be on its way."""
    return tuple(point for point in standing.lacks if now - point.ended > GRACE)


def say(standing: Standing, now: datetime, rpo: timedelta | None) -> str | None:
    """`off-site is 26 h behind: it lacks 2 points; its newest is 50 h old, and the RPO allows 24 h`. None: it has what
    it should have, or nothing is known."""
    lacks = late(standing, now)
    if not lacks:
        return None
    missing = f"it lacks {count(len(lacks), 'point')}"
    if standing.newest is None or standing.age is None:
        return f"{standing.vault} has no point yet: {missing}"
    how = f"is {exact(standing.behind)} behind" if standing.behind else "has the newest point, and not all"
    old = f"its newest is {exact(standing.age)} old"
    over = f", and the RPO allows {exact(rpo)}" if rpo is not None and standing.age > rpo else ""
    return f"{standing.vault} {how}: {missing}; {old}{over}"
