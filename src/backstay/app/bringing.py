"""Bringing points from a vault that is not in the plan: another plan's, an old one, a copy of a folder.

One of the same family is copied from as it is. Of another family each point is read and sealed anew, oldest first, so
that what they share is stored once; a point that was brought before is known by the id that it had.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backstay import engine, spread
from backstay.app import stores
from backstay.app.copying import LONGEST, Moved, Screen, Task, Wanted, copy_into
from backstay.app.driving import driver, new_run
from backstay.app.home import Home
from backstay.engine.routine import Note
from backstay.errors import BackstayError, Cancelled, NoSuchPoint
from backstay.facts import Point, PointCopied, RoutineBegan, RoutineFailed
from backstay.history import history, taken_order
from backstay.plan import Component
from backstay.ports import Acting, Progress
from backstay.values import PointId, VaultName
from backstay.vault import Keyring, Repository, open_vault
from backstay.vault.copying import is_there
from backstay.vault.family import same_family
from backstay.vault.resealing import COPIED, reseal_point


@dataclass(frozen=True, slots=True)
class Outside:
    """A vault by its address, and the key file that opens it; without one, our own."""

    address: str
    key: Path | None = None


def bring(home: Home, components: Sequence[Component], outside: Outside, wanted: Wanted, screen: Screen) -> list[Moved]:
    """What the vaults of these components would keep of it, and lack: into `wanted.to`, or the first vault of each.
    Raises what opening the other vault raises, and NoSuchPoint."""
    home.adopt("backstay")
    keys = home.keys if outside.key is None else Keyring.load(outside.key)
    name = VaultName(Path(outside.address).name or "outside")
    source = open_vault(stores.at(outside.address, home.here, home.clock), name, keys)
    if wanted.point is not None and all(point.id != wanted.point for point in source.survey()[0]):
        raise NoSuchPoint(f"the vault {outside.address} has no point {wanted.point}", detail="nothing was copied")
    moved: list[Moved] = []
    for component in components:
        vaults = home.plan.vaults_of(component)
        to = vaults[0] if wanted.to is None else home.plan.vault(wanted.to).name
        if to in vaults:
            moved += _into(home, component, source, to, wanted, screen)
    return moved


def _into(
    home: Home, component: Component, source: Repository, to: VaultName, wanted: Wanted, screen: Screen
) -> list[Moved]:
    try:
        target = home.vault(to)
        points = _lacking(home, component, source, target, wanted)
    except BackstayError as error:
        return [Moved(component.name, to, None, error)]
    moved: list[Moved] = []
    for point in points:
        with screen(f"bringing {component.name} into {to}") as progress:
            if same_family(source, target):
                moved.append(copy_into(home, Task(component, target, point, (source,), wanted.verify, progress)))
            else:
                moved.append(Moved(component.name, to, point, _reseal(home, source, target, point, progress)))
    return moved


def _lacking(home: Home, component: Component, source: Repository, target: Repository, wanted: Wanted) -> list[Point]:
    """Oldest first."""
    there, to = target.survey(component.name)[0], VaultName(target.name)
    known = {point.id for point in there} | {PointId(point.about.get(COPIED, "")) for point in there}
    found = source.survey(component.name)[0]
    if wanted.point is not None:
        return [point for point in found if point.id == wanted.point and point.id not in known]
    both = history((), {to: there, VaultName("another vault"): found}, source.proofs(), source.holds())
    lacking = spread.lacking(home.plan, component, to, both, home.clock.now())
    return sorted((point for point in lacking if point.id not in known), key=taken_order)


def _reseal(
    home: Home, source: Repository, target: Repository, point: Point, progress: Progress
) -> PointCopied | BackstayError:
    """As a routine: the point that is reserved is written down before anything is read."""
    until = home.journal.now() + LONGEST
    run = new_run("copy", home.clock.now())
    began = RoutineBegan(run, "copy", VaultName(target.name), home.plan.digest, "", until, None)
    started = home.clock.elapsed()

    def act(acting: Acting, note: Note) -> PointCopied:
        made = reseal_point(
            source.open(point.id), target, plan=home.plan.digest, reserved=note, progress=progress, stop=acting.stop
        )
        took = home.clock.elapsed() - started
        return PointCopied(run, VaultName(source.name), VaultName(target.name), made.id, made.stored_bytes, took)

    def look(open_one: RoutineBegan) -> PointCopied | RoutineFailed:
        if open_one.point is not None and is_there(target, point.component, open_one.point):
            took = home.clock.elapsed() - started
            return PointCopied(open_one.run, VaultName(""), open_one.vault, open_one.point, 0, took)
        return RoutineFailed(open_one.run, Cancelled.code, "sealing a point anew was interrupted: there is no point")

    try:
        end = engine.routine(driver(home), point.component, began, act, look)
    except Cancelled:
        raise
    except BackstayError as error:
        return error
    assert isinstance(end, PointCopied), "what raises nothing is a point"
    return end
