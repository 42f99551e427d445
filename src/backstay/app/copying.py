"""Copying points between the vaults of the plan, until each has what it should have by its own retention.

A copy is a routine like a backup: one at a time for each component and vault, two facts in the journal, and a copy
whose driver died is looked at before the next one. What fails for one point does not stop the others, unless it is the
vault itself that is away or full: then the rest of what it lacks waits for the next time.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from backstay import engine, spread
from backstay.app.driving import driver, new_run
from backstay.app.home import Home
from backstay.engine.routine import Note
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    NoSuchPoint,
    NotSupported,
    ObjectMissing,
    StoreUnreachable,
    Usage,
)
from backstay.facts import Point, PointCopied, RoutineBegan, RoutineFailed
from backstay.history import History
from backstay.plan import Component
from backstay.ports import Acting, Progress
from backstay.reach import base_of
from backstay.retain import log_let_go
from backstay.values import ComponentName, PointId, VaultName
from backstay.vault import Repository
from backstay.vault.copying import copy_beside, copy_point, is_there
from backstay.vault.logs import Brought
from backstay.vault.logs import copy_log as bring_log

Screen = Callable[[str], AbstractContextManager[Progress]]

LONGEST = timedelta(hours=24)
"""How long the copy of one point may take before it is ended. The next one goes on where it stopped."""

_OF_THE_TARGET = (StoreUnreachable, DiskFull, AccessDenied, NotSupported)
"""What would meet the next point too."""
_OF_THE_SOURCE = (StoreUnreachable, Damaged, ObjectMissing, NoSuchPoint, NotSupported)
"""What another vault that has the point may not meet."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of one point, or (without a point) of all that a vault lacks."""

    component: ComponentName
    to: VaultName
    point: Point | None
    result: PointCopied | BackstayError
    locked: str = ""
    """Until when the copy is locked there, or that it is not; empty where nothing is."""

    @property
    def error(self) -> BackstayError | None:
        return self.result if isinstance(self.result, BackstayError) else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for. Nothing said: everything that any vault lacks, from wherever it is."""

    source: VaultName | None = None
    to: VaultName | None = None
    point: PointId | None = None
    verify: bool = False
    """Open every frame on its way."""


def copy(home: Home, components: Sequence[Component], wanted: Wanted, screen: Screen) -> list[Moved]:
    """Copy what the vaults of these components lack. Raises UnknownName, Usage, NoSuchPoint for what makes no sense."""
    _refuse_nonsense(home, wanted)
    moved: list[Moved] = []
    for component in components:
        vaults = home.plan.vaults_of(component)
        for to in vaults if len(vaults) > 1 else ():
            if wanted.to in (None, to):
                moved += _fill(home, component, to, wanted, screen)
    return moved


def _refuse_nonsense(home: Home, wanted: Wanted) -> None:
    for name in filter(None, (wanted.source, wanted.to)):
        home.plan.vault(name)
    if wanted.point is not None and home.history().point(wanted.point) is None:
        raise NoSuchPoint(
            f"no vault here has the point {wanted.point}",
            detail="nothing was copied",
            hint="copy its name from `backstay points`",
        )
    if wanted.source is not None and wanted.source == wanted.to:
        raise Usage(f"{wanted.to} cannot be copied into itself", detail="nothing was copied", hint="name two vaults")


def _fill(home: Home, component: Component, to: VaultName, wanted: Wanted, screen: Screen) -> list[Moved]:
    """Everything that one vault lacks of one component."""
    if (away := _away(home, to)) is not None:
        return [Moved(component.name, to, None, away)]
    history = home.history(component.name)
    moved: list[Moved] = []
    for point in _lacking(home, component, to, history, wanted):
        sources = _sources(history.vaults_of(point.id), to, wanted)
        if not sources:
            continue
        with screen(f"copying {component.name} into {to}") as progress:
            opened = tuple(home.vault(name) for name in sources)
            one = copy_into(home, Task(component, home.vault(to), point, opened, wanted.verify, progress))
        moved.append(one)
        if isinstance(one.result, _OF_THE_TARGET):
            break
    for source in _sources(history.vaults, to, wanted):
        with suppress(BackstayError):  # they follow with the next copy
            copy_beside(home.vault(source), home.vault(to), component.name)
    return moved


# ── the log ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LogMoved:
    """The write-ahead log of one component that one vault lacked."""

    component: ComponentName
    to: VaultName
    source: VaultName
    result: Brought | BackstayError

    @property
    def error(self) -> BackstayError | None:
        return self.result if isinstance(self.result, BackstayError) else None


def copy_log(home: Home, components: Sequence[Component], wanted: Wanted) -> list[LogMoved]:
    """Into each vault that has physical points: what another one has of the log behind the oldest of them. Where
    nothing was lacking, nothing is said."""
    moved: list[LogMoved] = []
    for component in components:
        # Of one that cannot be opened, `copy` has said so.
        vaults = [name for name in home.plan.vaults_of(component) if name not in home.closed]
        for to in vaults if wanted.point is None else ():
            for source in _sources(vaults, to, wanted) if wanted.to in (None, to) else ():
                try:
                    one = LogMoved(component.name, to, source, _bring_log(home, component, to, source))
                except BackstayError as error:
                    one = LogMoved(component.name, to, source, error)
                if one.error is not None or one.result != Brought():
                    moved.append(one)
    return moved


def _bring_log(home: Home, component: Component, to: VaultName, source: VaultName) -> Brought:
    target, other = home.vault(to), home.vault(source)
    bases = [base for point in target.survey(component.name)[0] if (base := base_of(point)) is not None]
    systems = sorted({base.system for base in bases})
    stretches = [one for system in systems for one in other.wal.stretches(system)]
    unneeded = set(log_let_go(stretches, bases))
    return bring_log(other, target, [one for one in stretches if one not in unneeded], systems)


def beside(home: Home, component: ComponentName, source: VaultName) -> None:
    """Proofs and holds of one vault, into the others that have their points. What cannot be brought now comes with the
    next copy."""
    for name, other in home.vaults.items():
        if name != source:
            with suppress(BackstayError):
                copy_beside(home.vault(source), other, component)


def _away(home: Home, name: VaultName) -> BackstayError | None:
    """Why nothing can be copied into it now."""
    try:
        home.vault(name).survey()
    except BackstayError as error:
        return error
    return None


def _lacking(home: Home, component: Component, to: VaultName, history: History, wanted: Wanted) -> Sequence[Point]:
    """The points that are to be copied, the newest first."""
    if wanted.point is None:
        return spread.lacking(home.plan, component, to, history, home.clock.now())
    if to in history.vaults_of(wanted.point):
        return ()
    return [point for point in history.points_of(component.name, evidence=True) if point.id == wanted.point]


def _sources(holders: Sequence[VaultName], to: VaultName, wanted: Wanted) -> tuple[VaultName, ...]:
    return tuple(name for name in holders if name != to and wanted.source in (None, name))


# ── one point ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Task:
    """One point on its way, from the first of `sources` that can give it."""

    component: Component
    to: Repository
    point: Point
    sources: tuple[Repository, ...]
    verify: bool
    progress: Progress
    locked: list[str] = field(default_factory=list[str])
    """What came of its locks, once it is there."""


def copy_into(home: Home, task: Task) -> Moved:
    """One that fails must not keep the others from being copied."""
    result, to = _attempt(home, task), VaultName(task.to.name)
    locked = "".join(task.locked) or "".join(f"NOT locked: {said}" for said in home.unlocked(to))
    return Moved(task.component.name, to, task.point, result, locked)


def _attempt(home: Home, task: Task) -> PointCopied | BackstayError:
    began = RoutineBegan(
        run=new_run("copy", home.clock.now()),
        what="copy",
        vault=VaultName(task.to.name),
        plan=home.plan.digest,
        driver="",
        until=home.journal.now() + LONGEST,
        point=task.point.id,
    )

    def act(acting: Acting, note: Note) -> PointCopied:
        return _copied(home, task, acting)

    def look(open_one: RoutineBegan) -> PointCopied | RoutineFailed:
        return _look(task, open_one)

    try:
        end = engine.routine(driver(home), task.component.name, began, act, look)
    except Cancelled:
        raise
    except BackstayError as error:
        return error
    assert isinstance(end, PointCopied), "a copy that raises nothing is a point"
    return end


def _copied(home: Home, task: Task, acting: Acting) -> PointCopied:
    """From the nearest vault that can give it. Raises what the last of them met."""
    started = home.clock.elapsed()
    for number, source in enumerate(task.sources, start=1):
        try:
            done = copy_point(source, task.to, task.point, verify=task.verify, progress=task.progress, stop=acting.stop)
        except _OF_THE_SOURCE:
            if number == len(task.sources):
                raise
            continue
        took = home.clock.elapsed() - started
        task.locked[:] = [done.locked]
        return PointCopied(
            acting.run, VaultName(source.name), VaultName(task.to.name), done.point, done.moved_bytes, took
        )
    raise AssertionError("a task has a source")


def _look(task: Task, began: RoutineBegan) -> PointCopied | RoutineFailed:
    """How a copy ended whose driver died: the point is there, or it is not."""
    assert began.point is not None, "a copy names its point"
    if is_there(task.to, task.component.name, began.point):
        return PointCopied(began.run, VaultName(""), began.vault, began.point, 0, timedelta())
    why = f"the copy of {began.point} into {began.vault} was interrupted: the next one goes on where it stopped"
    return RoutineFailed(began.run, Cancelled.code, why)
