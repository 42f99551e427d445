"""The point before: what a backup compares itself with, so that only what is new is stored.

A chunk or node is taken from there only when its pack is in the store and long enough to hold it: a backup that reads
everything ("full") heals what somebody removed. When the point before cannot be read, the backup simply stores all:
a damaged past must not stop a sound present.
"""

import threading
from collections.abc import Mapping

from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Cutter
from backstay.vault.nodes import Chunk, Chunks, Content, Item, Nothing, Ref, Small, Stream
from backstay.vault.packs import Place
from backstay.vault.shelf import Shelf
from backstay.vault.streams import Leaf, StreamMap
from backstay.vault.trees import Tree
from backstay.vault.uses import PackList, Tally, Uses

_UNREADABLE = (Damaged, ObjectMissing, WrongKey)
_REACH = 64 << 20
"""How far from its old position a chunk of a logical dump is still looked for, in bytes."""


class Base:
    """`present` has the packs of the component: id to length. `list` is the pack list of the point before; None
    when there is none that can be read."""

    def __init__(self, shelf: Shelf, root: Content, present: Mapping[bytes, int], list: PackList | None) -> None:
        self.known: dict[bytes, Ref] = {}
        self.trouble: BackstayError | None = None
        """Why the point before could not be read, where it could not."""
        self.replaced = Tally()
        """What of the point before was looked at, leaf by leaf: the new point counts its own instead."""
        # With a pack missing, nothing is taken over unread: what is gone is found, and stored again.
        self.list = list if list is not None and all(pack in present for pack in list.uses.all()) else None
        self._shelf, self._present = shelf, present
        self._tree, self._pages = Tree(shelf, root, self._visit), dict[bytes, Ref]()

    def _visit(self, page: Ref) -> None:
        self.known[page.id] = self._pages[page.id] = page

    def find(self, path: str) -> Item | None:
        """What was at `path`; None also when that part of the tree cannot be read."""
        try:
            return self._tree.find(path)
        except _UNREADABLE as error:
            self.trouble = error
            return None

    def has(self, place: Place | None) -> bool:
        """Whether the frame is still there, as far as a listing can tell."""
        if place is None:
            return True
        return self._present.get(place.pack, 0) >= place.offset + place.length

    def take_over(self, file: Item, tally: Tally) -> bool:
        """Whether all of `file` is still there; then it is counted. Its map is read only where no list tells."""
        match file.content:
            case Nothing():
                return True
            case Small(chunk) if chunk.place and self.has(chunk.place):
                tally.short(chunk.place)
                return True
            case Stream(_, _, top) if self.list is not None and self.has(top.place):
                tally.unread = True
                return True
            case Stream():
                return self._take_over(file.content, file.size_bytes, tally)
            case _:
                return False

    def _take_over(self, stream: Stream, size_bytes: int, tally: Tally) -> bool:
        """Chunk by chunk, as its map has them."""
        passed = list[Leaf]()
        map = StreamMap(self._shelf, stream, size_bytes, lambda _, branch: passed.append(branch))
        try:
            for leaf in map.leaves(0, size_bytes):
                chunks = map.chunks(leaf)
                if not all(self.has(place) for place in chunks.places):
                    return False
                tally.leaf(chunks)
                passed.append(leaf)
        except _UNREADABLE as error:
            self.trouble = error
            return False
        for node in passed:
            tally.node(node.ref)
        return all(self.has(node.ref.place) for node in passed)

    def count(self, used: Tally) -> Uses:
        """What a new point uses, by its own `used` and by the list of this one."""
        if not used.unread or self.list is None:
            return used.total()
        for page in self._pages.values():
            self.replaced.node(page)
        return used.total_after(self.list.said, self.replaced)

    def stream(self, item: Item | None, cutter: Cutter) -> "BaseStream | None":
        """The map of a file that was cut in the same way."""
        if item is None or not isinstance(item.content, Stream) or item.content.cutter is not cutter:
            return None
        return BaseStream(self, self._shelf, item.content, item.size_bytes)


class BaseStream:
    """A stream of the point before, looked at piece by piece beside the new one."""

    def __init__(self, base: Base, shelf: Shelf, stream: Stream, size_bytes: int) -> None:
        self._base, self._map = base, StreamMap(shelf, stream, size_bytes, self._look_at)
        self._lock, self._looked_at = threading.Lock(), set[tuple[int, int]]()
        self._drift = 0
        """How far content has moved, as last seen."""

    def leaves(self, start: int, end: int) -> list[tuple[Leaf, Chunks]]:
        """What can be read of the leaves that hold these bytes."""
        try:
            found = [(leaf, self._map.chunks(leaf)) for leaf in self._map.leaves(start, end)]
        except _UNREADABLE as error:
            self._base.trouble = error
            return []
        for leaf, chunks in found:
            self._look_at(0, leaf, chunks)
        return found

    def _look_at(self, level: int, node: Leaf, chunks: Chunks | None = None) -> None:
        """Counted once, where it stands: lanes come by many times."""
        with self._lock:
            if (level, node.start) in self._looked_at:
                return
            self._looked_at.add((level, node.start))
        self._base.replaced.node(node.ref)
        if chunks is not None:
            self._base.replaced.leaf(chunks)
        else:
            self._base.known[node.ref.id] = node.ref

    def leaf_at(self, start: int) -> Ref | None:
        """The leaf that begins there."""
        return next((leaf.ref for leaf, _ in self.leaves(start, start + 1) if leaf.start == start), None)

    def by_position(self, start: int, end: int, size: int) -> "Aligned | None":
        """The chunks of these bytes, where all chunks have the same `size`."""
        found = self.leaves(start, end)
        if len(found) != 1 or (start - found[0][0].start) % size:
            return None
        leaf, chunks = found[0]
        return Aligned(chunks, (start - leaf.start) // size, self._base)

    def by_content(self, start: int, end: int) -> "Nearby":
        """Chunks near these bytes by their id, and where each was: content may have moved."""
        found: dict[tuple[bytes, int], Chunk] = {}
        middle = max(0, start + self._drift)
        for leaf, chunks in self.leaves(max(0, middle - _REACH), middle + (end - start) + _REACH):
            at = leaf.start
            for i in range(len(chunks)):
                chunk = chunks.chunk(i)
                found[chunk.id, at] = chunk
                at += chunk.size
        return Nearby({where: chunk for where, chunk in found.items() if self._base.has(chunk.place)})

    def place_of(self, new: int) -> int:
        """Where these bytes were, if they moved as those before them did."""
        return new + self._drift

    def moved(self, old: int, new: int) -> None:
        self._drift = old - new


class Nearby:
    """The old chunks near the new ones. The same content may stand in several places: the one where it is looked for
    comes first, so that what did not change is mapped as it was, and its map is not stored again."""

    __slots__ = ("_anywhere", "_there")

    def __init__(self, there: dict[tuple[bytes, int], Chunk]) -> None:
        self._there = there
        self._anywhere = {id: (chunk, at) for (id, at), chunk in there.items()}

    def find(self, id: bytes, at: int) -> tuple[Chunk, int] | None:
        """The chunk of this id, and where it was."""
        chunk = self._there.get((id, at))
        return (chunk, at) if chunk is not None else self._anywhere.get(id)


class Aligned:
    """The old chunks beside the new ones, by their number."""

    __slots__ = ("_base", "_chunks", "_first")

    def __init__(self, chunks: Chunks, first: int, base: Base) -> None:
        self._chunks, self._first, self._base = chunks, first, base

    def same(self, i: int, id: bytes, size: int) -> tuple[Place | None, int] | None:
        """Where chunk `i` is, if it is the one of that id and still there."""
        n = self._first + i
        if (
            n >= len(self._chunks)
            or bytes(self._chunks.ids[32 * n : 32 * n + 32]) != id
            or self._chunks.sizes[n] != size
        ):
            return None
        place = self._chunks.places[n]
        return (place, self._chunks.ats[n]) if self._base.has(place) else None
