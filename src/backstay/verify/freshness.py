"""Is a vault as new as it should be? An older state of a whole store looks sound: only a memory elsewhere can tell.

What remembers: the journal, which knows each point that was taken; and *heads*, the newest point of each component, as
somebody wrote them down. A point that is remembered and not there, though nobody let it expire, is an alarm.
Where nothing is remembered, that is the answer: freshness was not verified.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from backstay.facts import Point
from backstay.history import History, taken_order
from backstay.values import ComponentName, PointId, VaultName, count, listed


@dataclass(frozen=True, slots=True)
class AsNew:
    """Everything that is remembered is there. `by` says who remembers."""

    by: str


@dataclass(frozen=True, slots=True)
class Older:
    """An alarm: these were in the vault, and nobody let them expire."""

    missing: tuple[PointId, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Unremembered:
    why: str


Freshness = AsNew | Older | Unremembered
Head = tuple[ComponentName, PointId]
"""The newest point of a component, as somebody remembers it."""


def remembered(history: History, vault: VaultName, gone: Collection[PointId] = ()) -> tuple[PointId, ...]:
    """The points that the journal knows to have been put into the vault, and not to have left it (`gone`)."""
    gone = {*gone, *(fact.point for fact in history.ended if fact.vault == vault)}
    taken = [fact.point.id for _, fact in history.taken if fact.vault == vault]
    copied = [fact.point for _, fact in history.copied if fact.to == vault]
    return tuple(id for id in dict.fromkeys([*taken, *copied]) if id not in gone)


def freshness(
    points: Mapping[PointId, ComponentName], taken: Collection[PointId], heads: Iterable[Head] = (),
    spines: Mapping[str, bool] = {},
) -> Freshness:  # fmt: skip
    """`points` are in the vault now, readable or not; `taken` is what the journal knows, `heads` what people do.
    `spines`: heads of the journal that people remember, and whether the vault has each of them."""
    missing = [id for id in taken if id not in points]
    by = [f"the journal ({count(len(taken), 'point')})"] if taken else []
    # Retention never lets the newest point of a component go: so it, or a newer one, must be there.
    given = list(heads)
    missing += [id for component, id in given if not _reached(points, component, id) and id not in missing]
    by += [f"{count(len(given) + len(spines), 'head')} given by hand"] if given or spines else []
    unsealed = [f"the spine {head}" for head, there in spines.items() if not there]
    if missing or unsealed:
        shown = listed([*unsealed, *missing[:3], *([f"{len(missing) - 3} more"] if len(missing) > 3 else [])])
        return Older(tuple(missing), f"{shown}: known to {listed(by)}, and not in the vault")
    if not by:
        return Unremembered("nothing here remembers what the vault had: no journal, and no --head")
    return AsNew(listed(by))


def _reached(points: Mapping[PointId, ComponentName], component: ComponentName, head: PointId) -> bool:
    """Ids sort by the second, and no further: of two points of one second, each has to be there itself."""
    return any(of == component and (id == head or id[:16] > head[:16]) for id, of in points.items())


def heads(points: Iterable[Point]) -> tuple[Head, ...]:
    """What to write down now, for the next look."""
    newest = {point.component: point.id for point in sorted(points, key=taken_order)}
    return tuple(sorted(newest.items()))
