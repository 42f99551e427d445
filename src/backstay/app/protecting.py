"""Taking points and proving them, component by component. One that fails does not stop the others."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Literal

from backstay import engine, protect
from backstay.app import copying
from backstay.app.driving import driver, new_run
from backstay.app.estate import keeper_of, scratch, supported
from backstay.app.home import Home
from backstay.app.laying import Further, Laid, Over, lay_down
from backstay.app.marking import mark, suspicious_points
from backstay.app.reading import readable, surveyed
from backstay.app.walls import refuse_swallowed
from backstay.engine.routine import Note
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    Lapsed,
    NoProvenPoint,
    NoSuchPoint,
    NotSupported,
    ObjectMissing,
    StoreUnreachable,
    WrongKey,
)
from backstay.facts import Point, PointTaken, Proof, ProofGiven, RoutineBegan, RoutineFailed
from backstay.history import taken_order
from backstay.plan import PRIMARY, Component, PostgresSource, Target, say_target
from backstay.ports import Acting, Progress, Vault
from backstay.processes import sweep
from backstay.values import ComponentName, PointId, VaultName, count, listed
from backstay.verbs.component import refute
from backstay.verbs.leading import Led, lead
from backstay.verbs.routine import Mark, Routine, look_taken, prove_point, take_point
from backstay.verify import Candidates

Screen = Callable[[str], AbstractContextManager[Progress]]
"""Told what begins; gives who watches its bytes until it has ended."""

PATIENCE = timedelta(minutes=1)
"""After which a proof that does not end at its limit is ended."""
LONGEST = timedelta(hours=24)
"""How long one backup or proof may take before it is ended: its lease is not renewed."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one component in one vault. `passed_over`: vaults that come before it, and why each did not take
    the point."""

    component: ComponentName
    vault: VaultName | None
    result: PointTaken | Proof | BackstayError
    passed_over: tuple[tuple[VaultName, BackstayError], ...] = ()
    marked: str = ""
    """Why the point was marked suspicious."""
    picked: str = ""
    """How the point was chosen, where it was not simply the newest."""

    @property
    def error(self) -> BackstayError | None:
        return self.result if isinstance(self.result, BackstayError) else None


def chosen(home: Home, names: Sequence[str]) -> list[Component]:
    """The components that were named, or all. Raises UnknownName."""
    return [home.plan.component(name) for name in dict.fromkeys(names)] or list(home.plan.components.values())


# ── taking ───────────────────────────────────────────────────────────────────────────────────────


class Read(Enum):
    """What of a source is read for a point."""

    EVERYTHING = auto()
    CHANGES = auto()
    """What changed since the point before, as far as the source can tell."""
    DUE = auto()
    """What the schedule asks for, if it asks for anything."""


def backup(home: Home, names: Sequence[str], screen: Screen, read: Read = Read.EVERYTHING) -> list[Came]:
    """Take a point of each component, into the first of its vaults that answers: the source is read once. The others
    get it by `copying.copy`."""
    home.adopt("backstay")
    sweep_leftovers(home)
    came: list[Came] = []
    for component in chosen(home, names):
        if not supported(component):
            came.append(Came(component.name, None, _unsupported(home, component)))
            continue
        due = _due(home, component) if read is Read.DUE else None
        if read is Read.DUE and due is None:
            continue
        full = read is Read.EVERYTHING if due is None else due.kind == "full"
        came.append(_take_somewhere(home, component, full, screen))
    home.seal()
    return came


def _take_somewhere(home: Home, component: Component, full: bool, screen: Screen) -> Came:
    """Into the first of its vaults, in the plan's order; the next one takes over from one that is away or full."""
    passed_over: list[tuple[VaultName, BackstayError]] = []
    for vault in home.plan.vaults_of(component):
        taking, result = _take_into(home, component, vault, full, screen)
        if isinstance(result, Lapsed):  # a pruner got in between: the next one sees what it left
            taking, result = _take_into(home, component, vault, full, screen)
        if not isinstance(result, BackstayError) or not taking.is_about_the_vault(result):
            return Came(component.name, vault, result, tuple(passed_over))
        passed_over.append((vault, result))
    # Nobody took it: the first one is what the plan asks for, and the others are said with it.
    (first, error), *others = passed_over
    return Came(component.name, first, error, tuple(others))


def _take_into(
    home: Home, component: Component, vault: VaultName, full: bool, screen: Screen
) -> "tuple[_Taking, PointTaken | Proof | BackstayError]":
    taking = _Taking(home, component, vault, full)
    with screen(f"taking {component.name} into {vault}") as progress:
        return taking, _attempt(partial(taking.run, progress))


def _unsupported(home: Home, component: Component) -> BackstayError:
    try:
        keeper_of(home, component, PRIMARY)
    except NotSupported as error:
        return error
    raise AssertionError(f"{component.kind} has a keeper, and is called unsupported")


def _due(home: Home, component: Component) -> protect.Due | None:
    """A point that any vault has is not due: the others get it by copying."""
    points = home.history(component.name).points_of(component.name)
    return next(iter(protect.due(component, points, home.clock.now(), home.plan.timezone)), None)


def _attempt(work: "Callable[[], PointTaken | Proof]") -> "PointTaken | Proof | BackstayError":
    """A component that fails must not keep the others from being protected."""
    try:
        return work()
    except Cancelled:
        raise
    except BackstayError as error:
        return error


def _routine(home: Home, component: Component, vault: Vault, kind: str, progress: Progress) -> Routine:
    return Routine(
        run=new_run(kind, home.clock.now()),
        component=component,
        objectives=home.plan.objectives_of(component),
        plan=home.plan.digest,
        keeper=keeper_of(home, component, PRIMARY),
        vault=vault,
        clock=home.clock,
        progress=progress,
        base=home.base,
        smoke=home.plan.smoke,
    )


def _began(home: Home, routine: Routine, what: Literal["backup", "proof"], point: PointId | None) -> RoutineBegan:
    limit = routine.component.prove.limits.time if what == "proof" else None
    # A proof ends itself at its limit, and says so; what does not hear that is ended a little later.
    until = home.journal.now() + (LONGEST if limit is None else limit + PATIENCE)
    vault = VaultName(routine.vault.name)
    return RoutineBegan(routine.run, what, vault, routine.plan, "", until, point)


_AT_FIRST = (AccessDenied, Damaged, DiskFull, ObjectMissing, StoreUnreachable, WrongKey)
"""What an open vault can meet before a point is reserved in it: nothing of the source was read yet."""
_LATER = (DiskFull, Lapsed, StoreUnreachable)
"""What it can meet afterwards. A source meets none of these, but for a full disk of ours."""


class _Taking:
    """One try to take a point into one vault."""

    def __init__(self, home: Home, component: Component, vault: VaultName, full: bool) -> None:
        self._home, self._component, self._vault, self._full = home, component, vault, full
        self._opening, self._reserved = False, False

    def is_about_the_vault(self, error: BackstayError) -> bool:
        """Whether another vault could still take the point."""
        return self._opening or isinstance(error, _LATER if self._reserved else _AT_FIRST)

    def run(self, progress: Progress) -> PointTaken:
        home, component = self._home, self._component
        refuse_swallowed(home, component)
        keeper = keeper_of(home, component, PRIMARY, full=self._full)
        self._opening = True
        vault = home.vault(self._vault)
        self._opening = False
        routine = replace(_routine(home, component, vault, "backup", progress), keeper=keeper)
        began = _began(home, routine, "backup", None)

        def act(acting: Acting, note: Note) -> PointTaken:
            def noting(point: PointId) -> None:
                self._reserved = True
                note(point)

            taken = take_point(replace(routine, stop=acting.stop), noting)
            return replace(taken, said=(*taken.said, *(f"NOT locked: {said}" for said in home.unlocked(self._vault))))

        def look(open_one: RoutineBegan) -> PointTaken | RoutineFailed:
            return look_taken(routine, open_one)

        end = engine.routine(driver(home), component.name, began, act, look)
        assert isinstance(end, PointTaken), "a backup that raises nothing has a point"
        return end


# ── proving ──────────────────────────────────────────────────────────────────────────────────────

Tier = Literal["bytes", "sample", "full"]


def prove(
    home: Home,
    names: Sequence[str],
    screen: Screen,
    *,
    point: "str | AtRandom | Which | None" = None,
    tier: Tier = "full",
    vault: str | None = None,
) -> list[Came]:
    """Prove the newest point of each component, from the nearest vault that has it; or from `vault`, the newest that is
    there; or the one `point` that was named; or a random one of the last days. The proof is kept beside the point in
    every vault that has it.

    With a target (Which): the newest point that leads there, and the log from it on. That the moment can be reached is
    what is proved then, and how it answers; nothing is said of the point, and nothing is kept."""
    home.adopt("backstay")
    sweep_leftovers(home)
    only = home.plan.vault(vault).name if vault is not None else None
    came: list[Came] = []
    target = point.target if isinstance(point, Which) else None
    named = point.point if isinstance(point, Which) else point
    if target is not None:
        wanted = _to_lead(home, names, named if isinstance(named, str) else None, only, target)
    else:
        wanted = _to_prove(home, names, named, only, tier)
    for found in wanted:
        match found:
            case _Nothing(component, why):
                came.append(Came(component.name, only, why))
            case _Found(component, name, newest, picked):
                marks = list[str]()

                def marking(point: Point, why: str, marks: list[str] = marks) -> None:
                    marks.append(mark(home, point, why))

                with screen(f"proving {component.name} from {name}") as progress:
                    proving = _Proving(component, name, newest.id, tier, marking, target)
                    result = _attempt(partial(_prove, home, proving, progress))
                came.append(Came(component.name, name, result, marked=listed(marks), picked=picked))
                copying.beside(home, component.name, name)
    home.seal()
    return came


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Any point of the last so many days."""

    days: int


@dataclass(frozen=True, slots=True)
class _Found:
    component: Component
    vault: VaultName
    point: Point
    picked: str = ""
    """How it was chosen, where it was not simply the newest."""


@dataclass(frozen=True, slots=True)
class _Nothing:
    component: Component
    why: BackstayError


def _to_prove(
    home: Home, names: Sequence[str], point: "str | AtRandom | None", only: VaultName | None, tier: Tier
) -> list[_Found | _Nothing]:
    if isinstance(point, str):
        vault, found = find_point(home, PointId(point), only)
        if found.is_evidence and tier != "bytes":
            raise NotSupported(
                f"{found.id} is evidence: a damaged state, captured as it was, and nothing is proved by restoring it",
                hint="read its bytes with --tier bytes; lay it down with `backstay restore`",
            )
        return [_Found(home.plan.component(found.component), vault, found)]
    work: list[_Found | _Nothing] = []
    for component in chosen(home, names):
        if not supported(component):
            work.append(_Nothing(component, _unsupported(home, component)))
            continue
        vaults = (only,) if only else home.plan.vaults_of(component)
        work += (
            _newest_in(home, component, vaults) if point is None else _random_in(home, component, vaults, point.days)
        )
    return work


def _random_in(home: Home, component: Component, vaults: Sequence[VaultName], days: int) -> list[_Found | _Nothing]:
    """Any point of the last so many days, each as likely as the other, from the first of the vaults that has it: who
    only ever proves the newest does not see older ones rot. Which it was is in the proof."""
    there: dict[PointId, _Found] = {}
    troubles: list[_Found | _Nothing] = []
    for name in vaults:
        try:
            sound, damaged = home.vault(name).survey(component.name)
        except BackstayError as error:
            troubles.append(_Nothing(component, error))
            continue
        troubles += [_Nothing(component, error) for error in damaged[-1:]]
        for one in sound:
            if not one.is_evidence:
                there.setdefault(one.id, _Found(component, name, one))
    since = home.clock.now() - timedelta(days=days)
    young = [found for found in there.values() if found.point.moment >= since]
    if not young:
        of = f"of the last {count(days, 'day')}"
        why = NoProvenPoint(
            f"{component.name} has no recovery point {of}",
            detail=f"{count(len(there), 'older point')} in {listed(map(str, vaults))}",
            hint="ask for more days, or prove the newest: leave --random out",
        )
        return [*troubles, *([] if troubles and not there else [_Nothing(component, why)])]
    one = secrets.choice(young)
    picked = f"picked at random out of {count(len(young), 'point')} of the last {count(days, 'day')}"
    return [replace(one, picked=picked), *troubles]


def sweep_leftovers(home: Home) -> None:
    """Erase what processes that are dead left of their sandboxes and dumps: somebody's data in the clear."""
    sweep(scratch(home))
    if any(isinstance(component.source, PostgresSource) for component in home.plan.components.values()):
        from backstay.adapters.postgres.litter import sweep as sweep_registered

        sweep_registered()


def _newest_in(home: Home, component: Component, vaults: Sequence[VaultName]) -> list[_Found | _Nothing]:
    """What to prove: the newest point, in the first of the vaults that has it. A vault that cannot be looked into, or
    has points that are damaged, is said beside it: what is newest is known of the others only."""
    best: _Found | None = None
    troubles: list[_Found | _Nothing] = []
    for name in vaults:
        try:
            sound, damaged = home.vault(name).survey(component.name)
        except BackstayError as error:
            troubles.append(_Nothing(component, error))
            continue
        troubles += [_Nothing(component, error) for error in damaged[-1:]]
        newest = max((point for point in sound if not point.is_evidence), key=taken_order, default=None)
        if newest is not None and (best is None or taken_order(newest) > taken_order(best.point)):
            best = _Found(component, name, newest)
    if best is None and not troubles:
        hint, where = f"take one: backstay backup {component.name}", listed(map(str, vaults))
        return [_Nothing(component, NoProvenPoint(f"{component.name} has no recovery point in {where}", hint=hint))]
    return [*([best] if best else []), *troubles]


def _to_lead(
    home: Home, names: Sequence[str], point: str | None, only: VaultName | None, target: Target
) -> list["_Found | _Nothing"]:
    """The newest point of each component that leads to the target, from a vault whose log does. Components without a
    log are passed over, unless they were named."""
    work: list[_Found | _Nothing] = []
    for component in chosen(home, names):
        if not names and not isinstance(component.source, PostgresSource):
            continue
        led, name, found = leading_point(home, component.name, target, point, only)
        if found is None or name is None:
            work.append(_Nothing(component, led.unreachable(component.name)))
        else:
            work.append(_Found(component, name, found))
    if not work:
        raise NotSupported(
            f"nothing in the plan can be brought to {say_target(target)}", hint="only PostgreSQL has a log"
        )
    return work


def leading_point(
    home: Home, component: ComponentName, target: Target, point: str | None, only: VaultName | None = None
) -> tuple[Led, VaultName | None, Point | None]:
    """The newest point that leads to the target, and the vault over whose log; `point`: that one, or none."""
    held: dict[PointId, tuple[VaultName, ...]] = {}
    points: dict[PointId, Point] = {}
    for name, there in surveyed(home, component):
        for one in there:
            if only in (None, name) and point in (None, one.id):
                points[one.id] = one
                held[one.id] = (*held.get(one.id, ()), name)
    led = lead(Candidates(tuple(points.values()), held=held), target, partial(readable, home))
    newest = max((points[id] for id in led.routes), key=taken_order, default=None)
    return led, next(iter(led.routes[newest.id])) if newest is not None else None, newest


@dataclass(frozen=True, slots=True)
class _Proving:
    component: Component
    vault: VaultName
    point: PointId
    tier: Tier
    mark: Mark
    target: Target | None = None


def _prove(home: Home, what: _Proving, progress: Progress) -> Proof:
    routine = _routine(home, what.component, home.vault(what.vault), "proof", progress)
    if what.target is not None:
        return prove_point(replace(routine, target=what.target), what.point, scratch(home), what.tier)
    began = _began(home, routine, "proof", what.point)

    def act(acting: Acting, note: Note) -> ProofGiven:
        marked = suspicious_points(home.history(what.component.name).holds)
        stoppable = replace(routine, stop=acting.stop, suspicious=marked)
        return ProofGiven(routine.run, prove_point(stoppable, what.point, scratch(home), what.tier, what.mark))

    def look(open_one: RoutineBegan) -> RoutineFailed:
        return RoutineFailed(open_one.run, 1, "it was interrupted; nothing was found out about the point")

    end = engine.routine(driver(home), what.component.name, began, act, look)
    assert isinstance(end, ProofGiven), "a proof that raises nothing was given"
    return end.proof


# ── points ───────────────────────────────────────────────────────────────────────────────────────


def find_point(home: Home, id: PointId, only: VaultName | None = None) -> tuple[VaultName, Point]:
    """The point, and the nearest vault that has it, or `only` that one. Raises NoSuchPoint."""
    for name, points in surveyed(home) if only is None else [(only, home.vault(only).survey()[0])]:
        for point in points:
            if point.id == id:
                return name, point
    raise NoSuchPoint(
        f"no vault here has the point {id}",
        detail=f"looked in {listed(map(str, home.vaults))}",
        hint="copy its name from `backstay points`; a point that the journal knows and no vault has is an alarm",
    )


def newest_point(home: Home, component: ComponentName) -> tuple[VaultName, Point]:
    """Raises NoSuchPoint."""
    found = [(point, name) for name, points in surveyed(home, component) for point in points if not point.is_evidence]
    if not found:
        known = sorted({str(point.component) for _, points in surveyed(home) for point in points})
        raise NoSuchPoint(
            f"no vault here has a point of {component}",
            detail=f"there are points of {listed(known)}" if known else "there is no point at all",
            hint=f"name another vault with --vault; while {component} still lives: `backstay backup {component}`",
        )
    point, name = max(found, key=lambda one: taken_order(one[0]))
    return name, point


@dataclass(frozen=True, slots=True)
class Which:
    """Which state of a component is laid down."""

    point: str | None = None
    """None: the newest; with a target the newest that leads there."""
    target: Target | None = None


def chosen_point(home: Home, component: ComponentName, which: Which) -> tuple[VaultName, Point]:
    """The point, and the nearest vault that has it, or whose log leads on. Raises NoSuchPoint, Unreachable."""
    if which.target is not None:
        led, name, found = leading_point(home, component, which.target, which.point)
        if found is None or name is None:
            raise led.unreachable(component)
        return name, found
    return newest_point(home, component) if which.point is None else find_point(home, PointId(which.point))


def restore_to(
    home: Home, component: str, to: Path, which: Which, progress: Progress, over: Over | None = None
) -> Laid:
    """Lay a point down in a folder of its own, or over what is there; with a target, replay its log there. Needs a
    vault and a key, no plan. Raises TargetNotEmpty, TargetAlive, NoSuchPoint, Unreachable, DiskFull and what the vault
    raises."""
    name, found = chosen_point(home, ComponentName(component), which)
    if found.component != component:
        raise NoSuchPoint(
            f"the point {found.id} is of {found.component}, not of {component}",
            detail="nothing was written",
            hint=f"`backstay points {component}` lists those of {component}",
        )
    vault, began = readable(home, name), home.clock.now()
    try:
        further = None if which.target is None else Further(which.target, vault.wal, home.clock)
        return Laid(found, name, lay_down(vault.open(found.id), to.absolute(), progress, over, further))
    except (Damaged, ObjectMissing) as error:
        refute(vault, found, error, (began, home.clock.now()))
        raise
