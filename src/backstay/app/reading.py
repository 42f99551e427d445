"""Reading a point back from whichever vault can give it: the nearest first, and what that one lacks from the next."""

from backstay.app.home import Home
from backstay.errors import BackstayError, Damaged, ObjectMissing
from backstay.facts import Point
from backstay.values import ComponentName, VaultName
from backstay.vault import Backed, Repository
from backstay.verbs.component import refute


def readable(home: Home, name: VaultName) -> Repository:
    """The vault of that name, backed by the others of its family; another one where it cannot be opened any more: a
    recovery that has chosen a vault must not stop because that one is gone. What a vault could not give is kept in
    `home.noticed`, and damage is written beside the point. Raises the reason when no vault can be opened."""
    opened = home.vaults
    vault = opened.get(name) or next(iter(opened.values()), None) or home.vault(name)

    def notice(where: Repository, point: Point, error: BackstayError) -> None:
        home.noticed.append((VaultName(where.name), point.id, error))
        if isinstance(error, Damaged | ObjectMissing):
            now = home.clock.now()
            refute(where, point, error, (now, now))

    return Backed(vault, [other for other in opened.values() if other is not vault], notice)


def surveyed(home: Home, component: ComponentName | None = None) -> list[tuple[VaultName, list[Point]]]:
    """The points of every vault that answers, the nearest vault first. Raises what the first one met, if none does."""
    found: list[tuple[VaultName, list[Point]]] = []
    first: BackstayError | None = None
    for name, vault in home.vaults.items():
        try:
            found.append((name, vault.survey(component)[0]))
        except BackstayError as error:
            first = first or error
    if not found and first is not None:
        raise first
    return found


def said(home: Home) -> list[str]:
    """A sentence for each vault that could not give what it should have."""
    return [
        f"the vault {name} could not give all of {point}: {error.message}; it was read from another vault"
        for name, point, error in home.noticed
    ]
