"""What somebody laid over the objects of a vault, in a store that keeps versions: delete markers, and later versions.

Nothing of that is done by us, and nothing is lost by it: first versions are read all the same. But it is the trace of
somebody who has our credentials, or of a tool that cleans up, so it is named by what it hides, and can be taken away.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from backstay.errors import AccessDenied, BackstayError, Damaged, ObjectLocked, ObjectMissing, WrongKey
from backstay.ports import Cover, Hidden, Key, versioned
from backstay.values import ComponentName, PointId, count, say_moment
from backstay.vault import names
from backstay.vault.packs import parse_key
from backstay.vault.repository import Repository


@dataclass(frozen=True, slots=True)
class Covered:
    """One object that something lies on."""

    key: Key
    by: Cover
    said: str
    component: ComponentName | None = None
    points: tuple[PointId, ...] = ()
    """Those that need it, the newest last. None for what no point needs, or all do."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    key: Key
    left: BackstayError | None
    """Why it is still covered. None: it is as it was written."""


def covered(vault: Repository) -> Iterator[Covered]:
    """Everything that something lies on, in the order of keys. Nothing, where the store keeps no versions."""
    store = versioned(vault.store)
    if store is None:
        return
    users: dict[ComponentName, dict[bytes, list[PointId]]] = {}
    for hidden in store.hidden():
        yield _named(vault, hidden, users)


def _named(vault: Repository, hidden: Hidden, users: dict[ComponentName, dict[bytes, list[PointId]]]) -> Covered:
    component, points = None, list[PointId]()
    with suppress(ValueError):
        component, point = names.read_point(hidden.key)
        points.append(point)
    with suppress(ValueError):
        _, component, pack = parse_key(hidden.key)
        if component not in users:
            users[component] = _users(vault, component)
        points += users[component].get(pack, [])
    what = "a delete marker hides it" if hidden.by is Cover.DELETED else "it was overwritten"
    said = f"{what} since {say_moment(hidden.since)}; its first version is read all the same"
    if len(points) > 1:
        said += f"; {count(len(points), 'point')} of {component} need it"
    return Covered(hidden.key, hidden.by, said, component, tuple(points))


def _users(vault: Repository, component: ComponentName) -> dict[bytes, list[PointId]]:
    """Pack to the points that list it, the oldest first."""
    found: dict[bytes, list[PointId]] = {}
    for point in vault.survey(component)[0]:
        with suppress(Damaged, ObjectMissing, WrongKey):  # then `check` says more about it
            for pack in vault.packs_of(point.id):
                found.setdefault(pack, []).append(point.id)
    return found


def uncover(vault: Repository) -> Iterator[Uncovered]:
    """Take away what lies on anything, one by one. What is locked, or what we have no right to remove, stays."""
    store = versioned(vault.store)
    if store is None:
        return
    for hidden in store.hidden():
        left = None
        try:
            store.uncover(hidden.key)
        except (ObjectLocked, AccessDenied) as error:
            left = error
        yield Uncovered(hidden.key, left)
