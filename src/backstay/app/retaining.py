"""Letting points go that the plan no longer keeps, and holding those that somebody needs.

First decide, for every component in every vault, and show it; then end what expires, point by point, each written down
before it is deleted; then delete what no point needs any more.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import eq

from backstay.app.home import Home
from backstay.app.noting import note
from backstay.app.protecting import chosen
from backstay.app.under_way import unfinished
from backstay.engine.routine import component_stream, open_routines
from backstay.errors import BackstayError, NoSuchPoint, NotPruned, ObjectLocked, Usage
from backstay.facts import Hold, HoldPlaced, Point, PointEnded
from backstay.history import History, active_holds
from backstay.plan import Choose, Component
from backstay.ports import Progress
from backstay.reach import base_of
from backstay.retain import Expires, Kept, clocks_apart, decide, log_let_go, policy_of
from backstay.values import ComponentName, PersonName, PointId, VaultName
from backstay.vault import Repository
from backstay.vault.logs import LetGo, let_go
from backstay.vault.pruning import Pruned, Rules, prune
from backstay.verify import candidates

Screen = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was decided about one component in one vault; or why nothing could be."""

    component: ComponentName
    vault: VaultName
    decisions: tuple[Kept | Expires, ...] = ()
    error: BackstayError | None = None

    @property
    def expiring(self) -> list[Expires]:
        return [one for one in self.decisions if isinstance(one, Expires)]


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a shelf."""

    shelf: Shelf
    ended: tuple[PointId, ...] = ()
    locked: tuple[PointId, ...] = ()
    """Points whose lock in the store forbids to delete them yet."""
    pruned: Pruned | None = None
    log: LetGo = field(default_factory=LetGo)
    """Of the write-ahead log."""
    error: BackstayError | None = None


def decide_all(home: Home, names: Sequence[str]) -> list[Shelf]:
    """What expires now, and why everything else does not."""
    return [
        _decide(home, component, vault) for component in chosen(home, names) for vault in home.plan.vaults_of(component)
    ]


def _decide(home: Home, component: Component, name: VaultName) -> Shelf:
    try:
        vault = home.vault(name)
        now = vault.store.now()
        if apart := clocks_apart(now, home.clock.now()):
            raise NotPruned(
                f"nothing of {component.name} in {name} expires: nobody knows how old it is",
                detail=apart,
                hint="set the clock that is wrong",
            )
        if damaged := vault.survey(component.name)[1]:
            raise NotPruned(
                f"nothing of {component.name} in {name} expires: a point there cannot be opened",
                detail=damaged[0].message,
                hint="look with `backstay vault check`",
            )
        _refuse_unless_all_speak(home, component, name)
        history = home.history(component.name)
        among = candidates(history, component.name)
        here = {point.id for point in vault.points(component.name)}
        among = replace(among, points=tuple(point for point in among.points if point.id in here))
        policy = policy_of(component, home.plan.vaults[name], home.plan.timezone)
        return Shelf(component.name, name, decide(among, policy, now, in_use(home, history, component.name)))
    except BackstayError as error:
        return Shelf(component.name, name, error=error)


def _refuse_unless_all_speak(home: Home, component: Component, name: VaultName) -> None:
    """A hold, or the newest proof, may be in another vault alone: somebody on another host wrote it there while this
    one was away. Raises NotPruned."""
    for other in home.plan.vaults_of(component):
        try:
            vault = home.vault(other)
            vault.holds()
            vault.proofs()
        except BackstayError as error:
            raise NotPruned(
                f"nothing of {component.name} in {name} expires: what {other} holds and proves is not known",
                detail=error.message,
                hint=f"do it again when {other} is back; if it never comes back, take it out of the plan",
            ) from error


def in_use(home: Home, history: History, component: ComponentName) -> set[PointId]:
    """Points that an open run, a failed recovery that nobody took up again, a proof or a copy may still read."""
    runs = [run for run in history.runs if run.is_open] + unfinished(history)
    used = {PointId(seen.values["point"]) for run in runs for seen in run.steps if "point" in seen.values}
    used |= {PointId(seen.step.verb.origin) for run in runs for seen in run.steps if isinstance(seen.step.verb, Choose)}
    routines = open_routines(home.journal.read(component_stream(component)))
    return used | {began.point for began in routines if began.point is not None}


def carry_out(
    home: Home, shelves: Iterable[Shelf], by: str, screen: Screen, pause: Callable[[], bool], rules: Rules
) -> list[Done]:
    """End what expires, and prune. One vault that fails does not stop the others."""
    home.refuse_if_overtaken()
    done: list[Done] = []
    for shelf in shelves:
        if shelf.error is not None:
            done.append(Done(shelf, error=shelf.error))
            continue
        with screen(f"pruning {shelf.component} in {shelf.vault}"):
            done.append(_carry_out(home, shelf, by, pause, rules))
    home.seal()
    return done


def _carry_out(home: Home, shelf: Shelf, by: str, pause: Callable[[], bool], rules: Rules) -> Done:
    ended, locked = list[PointId](), list[PointId]()
    try:
        vault = home.vault(shelf.vault)
        # Somebody may have begun to use one, or to hold it, since the table was shown.
        now = _decide(home, home.plan.component(shelf.component), shelf.vault)
        if now.error is not None:
            raise now.error
        still = {one.point.id for one in now.expiring}
        for expiring in shelf.expiring:
            if expiring.point.id not in still:
                continue
            _write_down(home, shelf, expiring, by)
            try:
                vault.end(expiring.point)
                ended.append(expiring.point.id)
            except ObjectLocked:
                locked.append(expiring.point.id)
        pruned = prune(vault, shelf.component, pause, rules)
        return Done(shelf, tuple(ended), tuple(locked), pruned, _let_log_go(vault, shelf.component))
    except BackstayError as error:
        return Done(shelf, tuple(ended), tuple(locked), error=error)


def _let_log_go(vault: Repository, component: ComponentName) -> LetGo:
    """Of the clusters that the component has points of. Points of other components may be of the same cluster, and one
    that cannot be opened could be of any: then nothing goes."""
    points, damaged = vault.survey()
    if damaged:
        return LetGo()
    bases = [base for point in points if (base := base_of(point)) is not None]
    systems = {base.system for base in bases if base.component == component}
    return let_go(vault, log_let_go((one for system in systems for one in vault.wal.stretches(system)), bases))


def _write_down(home: Home, shelf: Shelf, expiring: Expires, by: str) -> None:
    fact = PointEnded(shelf.vault, expiring.point.id, expiring.because, by)
    note(home, shelf.component, fact, lambda old: isinstance(old, PointEnded) and _same(old, fact))


def _same(one: PointEnded, other: PointEnded) -> bool:
    return (one.vault, one.point) == (other.vault, other.point)


# ── holds ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Held:
    hold: Hold
    vaults: tuple[VaultName, ...]
    """Where the point is, and is held."""


def place_hold(home: Home, hold: Hold) -> Held:
    """Hold a point in every vault that has it. Raises NoSuchPoint."""
    home.refuse_if_overtaken()
    places = [name for name, vault in home.vaults.items() if _has(vault.survey(hold.component)[0], hold.point)]
    for name in places:
        home.vault(name).keep_hold(hold)
        placed = HoldPlaced(name, hold)
        note(home, hold.component, placed, partial(eq, placed))
    home.seal()
    return Held(hold, tuple(places))


def _has(points: Iterable[Point], id: PointId) -> bool:
    return any(point.id == id for point in points)


def release(home: Home, point: PointId, component: ComponentName, by: PersonName, reason: str | None) -> list[Held]:
    """Take back every hold of a point. Raises NoSuchPoint when none is in force, Usage where a reason is owed."""
    now = home.clock.now()
    holds = [hold for hold in active_holds(home.history(component).holds) if hold.point == point]
    if not holds:
        raise NoSuchPoint(f"nobody holds the point {point}", hint="`backstay retain --dry-run` shows what is held")
    if marked := [hold for hold in holds if hold.kind != "keep" and reason is None]:
        raise Usage(
            f"{point} is held as {marked[0].kind}: people will ask why it no longer is",
            detail=f"{marked[0].by} said: {marked[0].reason}",
            hint='add --reason "…"',
        )
    why = reason or "no longer needed"
    return [place_hold(home, Hold(hold.id, point, component, "released", why, by, now, None)) for hold in holds]
