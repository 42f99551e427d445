"""What the plan's vaults cost: the listing of each, its points and the plan's schedules, handed to `bill`."""

from collections.abc import Sequence
from dataclasses import dataclass

from backstay.app.home import Home
from backstay.bill import LIST, Bill, Held, Kept, ListPrices, bill
from backstay.errors import BackstayError, UnknownName
from backstay.history import taken_order
from backstay.plan import Component, VaultPlace
from backstay.ports import Progress, unwatched
from backstay.values import VaultName, listed
from backstay.vault import Repository


@dataclass(frozen=True, slots=True)
class Billed:
    """One vault. `bill` is None for a folder without prices of its own: nobody sends one."""

    vault: VaultName
    url: str
    held: Held | None
    bill: Bill | None
    trouble: BackstayError | None = None
    """Why nothing could be measured."""


def cost(home: Home, vaults: Sequence[str], progress: Progress = unwatched) -> list[Billed]:
    """Raises UnknownName, PlanMissing."""
    for name in vaults:
        if name not in home.plan.vaults:
            known = listed(map(str, home.plan.vaults))
            raise UnknownName(f"the plan has no vault {name!r}", detail=f"it has {known}", hint="name one of those")
    places = [place for name, place in home.plan.vaults.items() if not vaults or name in vaults]
    found: list[Billed] = []
    for place in places:
        try:
            found.append(_billed(home, place, progress))
        except BackstayError as error:
            found.append(Billed(place.name, str(place.url), None, None, error))
    return found


def _billed(home: Home, place: VaultPlace, progress: Progress) -> Billed:
    vault = home.vault(place.name)
    held = _held(vault, progress)
    prices = _prices(place)
    if prices is None:
        return Billed(place.name, str(place.url), held, None)
    components = [one for one in home.plan.components.values() if place.name in home.plan.vaults_of(one)]
    kept = [_kept(vault, component) for component in components]
    made = bill(held, kept, prices, home.clock.now(), home.plan.timezone)
    return Billed(place.name, str(place.url), held, made)


def _prices(place: VaultPlace) -> ListPrices | None:
    scheme = str(place.url).partition("://")[0]
    if place.prices is not None:
        return ListPrices(place.prices, "the prices of the plan")
    return LIST.get(scheme)


def _held(vault: Repository, progress: Progress) -> Held:
    stored = objects = 0
    for one in vault.store.list():
        stored, objects = stored + one.size_bytes, objects + 1
        if objects % 1000 == 0:
            progress(objects, None, one.key)
    return Held(stored, objects)


def _kept(vault: Repository, component: Component) -> Kept:
    points = tuple(sorted(vault.survey(component.name)[0], key=taken_order))
    try:
        needed = sum(vault.packs_of(points[-1].id).values()) if points else None
    except BackstayError:
        needed = None  # the line says that it is not known; `vault check` says why
    return Kept(component, points, needed)
