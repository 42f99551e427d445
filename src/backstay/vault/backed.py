"""Reading a point from several vaults of a family at once: the nearest first, and what that one lacks from the next."""

from collections.abc import Callable, Sequence
from functools import partial

from backstay.errors import BackstayError, NoSuchPoint
from backstay.facts import Point
from backstay.values import PointId
from backstay.vault.family import same_family
from backstay.vault.reader import Reading
from backstay.vault.repository import Repository, Sealed
from backstay.vault.shelf import ELSEWHERE

Notice = Callable[[Repository, Point, BackstayError], None]
"""Told, once for each vault and point that is opened, of the first thing that a vault could not give."""


class Backed(Repository):
    """A vault to restore from: what it cannot give of a point (a pack that is missing or damaged, no answer any more)
    is read from `others` of its family, frame by frame. Everything else is the vault's own.

    A proof is never read like this: it has to say what one vault holds.
    """

    def __init__(self, vault: Repository, others: Sequence[Repository], notice: Notice) -> None:
        super().__init__(vault.store, vault.name, vault.keys, vault.opened)
        self._every = (vault, *(other for other in others if same_family(vault, other)))
        self._notice = notice

    def open(self, point: PointId) -> Reading:
        """Raises what the nearest met, when none has it."""
        holders: list[tuple[Repository, Sealed]] = []
        first: BackstayError | None = None
        for vault in self._every:
            try:
                holders.append((vault, vault.sealed(point)))
            except (*ELSEWHERE, NoSuchPoint) as error:
                first = first or error
        if not holders:
            assert first is not None, "somebody was asked"
            raise first
        found = holders[0][1]
        shelves = [vault.shelf(found.point.component) for vault, _ in holders]
        for (vault, _), shelf in zip(holders, shelves):
            shelf.notice = partial(self._notice, vault, found.point)
        shelves[0].others = tuple(shelves[1:])
        return Reading(shelves[0], found.point, found.root)
