"""What in a component's part of a vault is alive, as the pack lists of its points say.

    a pack is alive     when a live point lists it, or lists one that was moved into it
    a move is alive     when a live point lists the pack that was moved
    everything else     is dead, or is being written by somebody who holds a reservation

How much of a pack is alive is taken from the point that uses most of it. A point takes content over from the one before
it and from nowhere else, so of any pack that both use, the later one uses a part of what the earlier one does: in a
chain of backups the greatest number is that of all together. It decides only what is worth a closer look: what is
used, and whether it is so little, is found by a walk.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from backstay.errors import ObjectMissing
from backstay.ports import Key
from backstay.values import ComponentName, PointId
from backstay.vault import names
from backstay.vault.frames import What
from backstay.vault.index import newest
from backstay.vault.packs import parse_key
from backstay.vault.repository import Repository, Sealed

_AROUND = 1024
"""What a small pack has besides its frames, at most, in bytes."""
Moves = Mapping[bytes, tuple[bytes, ...]]


class Present(NamedTuple):
    """A pack that is in the store."""

    what: What
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a component."""

    present: Mapping[bytes, Present]
    moves: Moves
    points: Mapping[PointId, Sealed]
    listed: Mapping[bytes, int]
    """Packs that live points list: the most bytes that one of them uses."""
    open: Mapping[PointId, datetime]
    """Reservations that have no end, and since when they are there. Whose packs were seen, and whose point was not, is
    among them."""

    def alive(self) -> set[bytes]:
        return {*self.listed, *(new for old in self.listed for new in self.moves.get(old, ()))}

    def dead(self) -> set[bytes]:
        """Packs that are there for nobody; and moves that nobody follows."""
        return {*self.present, *self.moves} - self.alive()

    def lost(self) -> set[bytes]:
        """Packs that live points list and that are nowhere: neither there, nor moved into others that all are. What was
        in them may lie in packs that no list names: under a wrong name, or where a lost index said that it was."""
        gone = self.listed.keys() - self.present.keys()
        return {pack for pack in gone if any(new not in self.present for new in self.moves.get(pack, (pack,)))}

    def use(self) -> dict[bytes, int]:
        """At most how many bytes are alive of each pack that is there: of one into which others were moved, also what
        was alive of those."""
        found = {pack: size for pack, size in self.listed.items() if pack in self.present}
        for old in self.moves.keys() & self.listed.keys():
            for new in self.moves[old]:
                if new in self.present:
                    found[new] = found.get(new, 0) + self.listed[old]
        return found

    def sparse(self, least: float) -> list[bytes]:
        """Packs of which less than that share is alive, those first of which least is; their heads and ends not
        counted, or a pack with one short node in it would never be worth its place."""
        use = self.use()
        return sorted(
            (pack for pack, size in use.items() if size < (self.present[pack].size_bytes - _AROUND) * least),
            key=lambda pack: use[pack] / self.present[pack].size_bytes,
        )


def look(vault: Repository, component: ComponentName) -> Seen:
    """The index first, and points last: what it names was there before it, and a point that is sealed in between only
    makes more of it alive. Raises Damaged, ObjectMissing and WrongKey for a point that cannot be opened: it could need
    anything."""
    index = newest(vault.store, vault.opened, component)
    present = dict(_present(vault, component))
    open, points, listed = dict(_reserved(vault, component)), dict[PointId, Sealed](), dict[bytes, int]()
    for id, sealed in _ended(vault, component):
        open.pop(id, None)
        if sealed is None:
            continue
        points[sealed.point.id] = sealed
        for pack, size in vault.uses_of(sealed).all().items():
            listed[pack] = max(size, listed.get(pack, 0))
    return Seen(present, index.moves if index else {}, points, listed, open)


def _ended(vault: Repository, component: ComponentName) -> Iterator[tuple[PointId, Sealed | None]]:
    """Each reservation that has an end: its point, or None where it was expired."""
    for listed in vault.store.list(names.points(component)):
        if names.is_point(listed.key):
            with suppress(ObjectMissing):  # ended while we looked
                yield names.read_point(listed.key)[1], vault.sealed_at(listed.key)


def _reserved(vault: Repository, component: ComponentName) -> Iterator[tuple[PointId, datetime]]:
    for listed in vault.store.list(names.reserved(component)):
        if names.is_point(listed.key):
            yield names.read_point(listed.key)[1], listed.modified


def _present(vault: Repository, component: ComponentName) -> Iterator[tuple[bytes, Present]]:
    for prefix in (f"packs/{component}/", f"nodes/{component}/"):
        for listed in vault.store.list(prefix):
            with suppress(ValueError):  # a stranger's file; `check` names it
                what, _, pack = parse_key(listed.key)
                yield pack, Present(what, listed.size_bytes, listed.modified)


def key_of(component: ComponentName, pack: bytes, what: What) -> Key:
    return (names.data_pack if what is What.DATA else names.node_pack)(component, pack)
