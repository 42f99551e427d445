"""The point before: what a backup compares itself with, so that only what is new is stored.

A chunk or node is taken from there only when its pack is in the store and long enough to hold it: a backup that reads
everything ("full") heals what somebody removed. When the point before cannot be read, the backup simply stores all:
a damaged past must not stop a sound present.
"""

import threading
from collections.abc import Iterable, Mapping

from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Cutter
from backstay.vault.frames import What
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
    when there is none that can be read. What was moved since is found by the index, and named where it is now."""

    def __init__(self, shelf: Shelf, root: Content, present: Mapping[bytes, int], list: PackList | None) -> None:
        self.known: dict[bytes, Ref] = {}
        self.trouble: BackstayError | None = None
        """Why the point before could not be read, where it could not."""
        self.replaced = Tally()
        """What of the point before was looked at, leaf by leaf: the new point counts its own instead."""
        self._shelf, self._present, self._moves = shelf, present, self._look_up_moves(shelf)
        # With a pack missing, nothing is taken over unread: what is gone is found, and stored again.
        self.list = list if list is not None and all(self._stands(pack) for pack in list.uses.all()) else None
        self._tree, self._pages = Tree(shelf, root, self._visit), dict[bytes, Ref]()

    def _visit(self, page: Ref) -> None:
        self._pages[page.id] = page
        self.know(page)

    def know(self, node: Ref) -> None:
        if (now := self.ref_now(node)) is not None:
            self.known[node.id] = now

    def find(self, path: str) -> Item | None:
        """What was at `path`; None also when that part of the tree cannot be read."""
        try:
            return self._tree.find(path)
        except _UNREADABLE as error:
            self.trouble = error
            return None

    def _look_up_moves(self, shelf: Shelf) -> Mapping[bytes, tuple[bytes, ...]]:
        try:
            found = shelf.index.generation()
        except _UNREADABLE as error:
            self.trouble = error
            return {}
        return found.moves if found else {}

    def _stands(self, pack: bytes) -> bool:
        return pack in self._present or (pack in self._moves and all(new in self._present for new in self._moves[pack]))

    def stands_for(self, packs: Iterable[bytes]) -> set[bytes]:
        """Those packs; for one that was moved and is gone, those that have now what was used of it."""
        gone = {old for old in self._moves if old not in self._present}
        return {now for pack in packs for now in (self._moves[pack] if pack in gone else (pack,))}

    def now(self, id: bytes, place: Place | None, at: int, what: What = What.DATA) -> tuple[Place | None, int] | None:
        """Where a chunk is now, as far as a listing and the index can tell. None: it is gone."""
        if place is None or self._present.get(place.pack, 0) >= place.offset + place.length:
            return place, at
        if place.pack not in self._moves:
            return None
        try:
            found = self._shelf.index.find(id, place, what)
        except _UNREADABLE as error:
            self.trouble = error
            return None
        there = found is not None and self._present.get(found[0].pack, 0) >= found[0].offset + found[0].length
        return found if there else None

    def chunk_now(self, chunk: Chunk) -> Chunk | None:
        if (found := self.now(chunk.id, chunk.place, chunk.at)) is None:
            return None
        return chunk if found[0] == chunk.place else chunk._replace(place=found[0], at=found[1])

    def ref_now(self, ref: Ref) -> Ref | None:
        found = self.now(ref.id, ref.place, 0, What.NODES)
        return Ref(ref.id, found[0]) if found is not None and found[0] is not None else None

    def take_over(self, file: Item, tally: Tally) -> Content | None:
        """The content of `file`, if all of it is still there; then it is counted. Its map is read only where no list
        tells."""
        match file.content:
            case Nothing():
                return file.content
            case Small(chunk) if (now := self.chunk_now(chunk)) is not None and now.place is not None:
                tally.short(now.place)
                return Small(now)
            case Stream() if self.list is not None:
                tally.unread = True
                return file.content
            case Stream():
                return file.content if self._take_over(file.content, file.size_bytes, tally) else None
            case _:
                return None

    def _take_over(self, stream: Stream, size_bytes: int, tally: Tally) -> bool:
        """Chunk by chunk, as its map has them."""
        passed = list[Leaf]()
        map = StreamMap(self._shelf, stream, size_bytes, lambda _, branch: passed.append(branch))
        try:
            for leaf in map.leaves(0, size_bytes):
                chunks = map.chunks(leaf)
                if not all(self.chunk_now(chunks.chunk(i)) for i in range(len(chunks))):
                    return False
                tally.leaf(chunks)
                passed.append(leaf)
        except _UNREADABLE as error:
            self.trouble = error
            return False
        for node in passed:
            tally.node(node.ref)
        return all(self.ref_now(node.ref) for node in passed)

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
        self._near: tuple[tuple[tuple[int, bytes], ...], Nearby] | None = None
        """What was gathered last, and from which leaves: pieces of a stream that follow each other ask for the same."""

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
            self._base.know(node.ref)

    def leaf_at(self, start: int) -> Ref | None:
        """The leaf that begins there."""
        found = next((leaf.ref for leaf, _ in self.leaves(start, start + 1) if leaf.start == start), None)
        return None if found is None else self._base.ref_now(found)

    def by_position(self, start: int, end: int, size: int) -> "Aligned | None":
        """The chunks of these bytes, where all chunks have the same `size`."""
        found = self.leaves(start, end)
        if len(found) != 1 or (start - found[0][0].start) % size:
            return None
        leaf, chunks = found[0]
        first, last = (start - leaf.start) // size, -(-(end - leaf.start) // size)
        return Aligned(list(chunks.part(first, last)), self._base)

    def by_content(self, start: int, end: int) -> "Nearby":
        """Chunks near these bytes by their id, and where each was: content may have moved."""
        middle = max(0, start + self._drift)
        leaves = self.leaves(max(0, middle - _REACH), middle + (end - start) + _REACH)
        met = tuple((leaf.start, leaf.ref.id) for leaf, _ in leaves)
        near = self._near  # lanes come by at once: each goes on with what it saw
        if near is None or near[0] != met:
            near = self._near = met, Nearby(self._found(leaves))
        return near[1]

    def _found(self, leaves: list[tuple[Leaf, Chunks]]) -> dict[tuple[bytes, int], Chunk]:
        found: dict[tuple[bytes, int], Chunk] = {}
        for leaf, chunks in leaves:
            at = leaf.start
            for i in range(len(chunks)):
                chunk = chunks.chunk(i)
                if (now := self._base.chunk_now(chunk)) is not None:
                    found[chunk.id, at] = now
                at += chunk.size
        return found

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

    __slots__ = ("_base", "_old")

    def __init__(self, old: list[Chunk], base: Base) -> None:
        self._old, self._base = old, base

    def same(self, i: int, id: bytes, size: int) -> tuple[Place | None, int] | None:
        """Where chunk `i` is, if it is the one of that id and still there."""
        if i >= len(self._old) or (old := self._old[i]).id != id or old.size != size:
            return None
        return self._base.now(id, old.place, old.at)
