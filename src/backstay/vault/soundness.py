"""Walking the tree of a point to its last chunk, to see whether all of it is there. What was whole is not walked again.

Nodes are named by their content, so a node that was found whole is whole in every point that has it: of a hundred
points that differ by little, little is read. What was found whole is written into a private SQLite file without a name,
which goes to disk when it grows: memory does not grow with the number of files. What is damaged is walked in each point
anew, because there it has to be named.

Content addressing leaves no cycles: a node would have to hold its own hash. A path may not be longer than a writer may
make it, so what an enrolled writer sealed on purpose ends, too.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Kind
from backstay.vault.frames import What
from backstay.vault.nodes import Chunk, Chunks, Content, Item, Ref, Small, Stream, Subtree
from backstay.vault.packs import Place
from backstay.vault.several import each
from backstay.vault.shelf import Shelf
from backstay.vault.stock import UNLISTED, Pack, Stock
from backstay.vault.trees import LONGEST_PATH, shown

TROUBLE = (Damaged, ObjectMissing, WrongKey)
_SIZE = struct.Struct("<cBQ")
_AHEAD = 4
CONTRADICTS = "its map contradicts itself"


class Lost(NamedTuple):
    """A chunk or node that a point needs, and that lies in nothing sound."""

    what: What
    id: bytes
    place: Place
    """Where it ought to be."""
    at: int
    size: int
    """In bytes; 0 for a node."""


Losing = Callable[[Lost], None]


def unminded(lost: Lost) -> None:
    """For who only wants to know which files are hurt."""


@dataclass(frozen=True, slots=True)
class Hurt:
    """Something of a point that cannot be read. `folder`: everything below `path` is unknown with it."""

    path: str
    why: str
    folder: bool = False
    unknown: bool = False
    """It could not be looked at: nothing is known for or against it."""
    lost: Lost | None = None
    """The node that could not be read, where that is the reason."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A node to look at: its content as its parent says it is."""

    kind: bytes
    """`t` of a tree of folders, `s` of a stream."""
    level: int
    ref: Ref
    path: str
    size_bytes: int = 0
    """Of a stream, what its parent says."""

    @property
    def key(self) -> bytes:
        return self.ref.id + _SIZE.pack(self.kind, self.level, self.size_bytes)


@dataclass(frozen=True, slots=True)
class _Inside:
    """A node that was read, and what is in it."""

    node: _Node
    children: "Iterator[_Node | Hurt]"


class Known:
    """The nodes that are known to be whole, with everything below them. For one thread."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE whole (node BLOB PRIMARY KEY) WITHOUT ROWID")

    def has(self, node: bytes) -> bool:
        return self._rows.execute("SELECT 1 FROM whole WHERE node = ?", (node,)).fetchone() is not None

    def add(self, node: bytes) -> None:
        self._rows.execute("INSERT OR IGNORE INTO whole VALUES (?)", (node,))

    def close(self) -> None:
        self._rows.close()


class Walk:
    """Walks the points of one component. For one thread; nodes are read by `threads`."""

    def __init__(
        self, shelf: Shelf, stock: Stock, known: Known, threads: ThreadPoolExecutor, losing: Losing = unminded
    ) -> None:
        """`losing` hears of everything that is lost: of each chunk, and not only of each file."""
        self.shelf, self._stock, self._known, self._threads, self._losing = shelf, stock, known, threads, losing
        self.needed: set[tuple[What, bytes]] = set()
        """Spoilt packs that a point needs, because nothing else has what is in them."""

    def look(self, root: Content) -> Iterator[Hurt]:
        """What cannot be read below `root`, in the order of paths. Empty: it is whole."""
        top = iter([_Node(b"t", root.level, root.top, "")] if isinstance(root, Subtree) else [])
        stack: list[tuple[_Node | None, Iterator[_Inside | Hurt]]] = [(None, self._opened(top))]
        whole = [True]
        while stack:
            match next(stack[-1][1], None):
                case None:
                    node, _ = stack.pop()
                    if whole.pop():
                        if node is not None:
                            self._known.add(node.key)
                    elif whole:
                        whole[-1] = False
                case Hurt() as hurt:
                    whole[-1] = False
                    yield hurt
                case _Inside(node, children):
                    stack.append((node, self._opened(children)))
                    whole.append(True)

    def look_at_list(self, ref: Ref) -> None:
        """A node of a point's list of packs: it hurts no file, and whoever copies or prunes needs it."""
        pack = self._stock.find(What.NODES, self.shelf.component, ref.place.pack)
        amiss = self._stock.trouble(What.NODES, self.shelf.component, ref.place) or self._is_left(pack)
        if amiss and not self._healed(What.NODES, ref.id, ref.place):
            self._lose(Lost(What.NODES, ref.id, ref.place, 0, 0))

    def _opened(self, children: "Iterator[_Node | Hurt]") -> Iterator[_Inside | Hurt]:
        """Each child with what is in it; some are read ahead. Those that are known to be whole are left out."""
        new = (child for child in children if isinstance(child, Hurt) or not self._known.has(child.key))
        for found in each(self._threads, self._read, new, _AHEAD):
            match found:
                case _Inside(node, _):
                    pack = self._stock.find(What.NODES, self.shelf.component, node.ref.place.pack)
                    if self._is_left(pack) and not self._healed(What.NODES, node.ref.id, node.ref.place):
                        self._lose(_lost_node(node))
                case Hurt(lost=Lost() as lost):
                    self._lose(lost)
                case Hurt():
                    pass
            yield found

    def _is_left(self, pack: Pack | None) -> bool:
        """Whether what is still whole in a pack counts as lost too: where its end is damaged, for it does not say what
        is in it; and of any damaged one when somebody mends, so that nothing needs it any more."""
        if pack is None:
            return False
        return bool(pack.flags & UNLISTED) or (self._losing is not unminded and self._stock.is_spoilt(pack))

    def _lose(self, lost: Lost) -> None:
        self.needed.add((lost.what, lost.place.pack))
        self._losing(lost)

    # ── reading nodes, in any thread ──

    def _read(self, child: _Node | Hurt) -> _Inside | Hurt:
        if isinstance(child, Hurt):
            return child
        try:
            return _Inside(child, self._children(child))
        except TROUBLE as error:
            unknown, folder = isinstance(error, WrongKey), child.kind == b"t"
            said = f"{error.message}; {error.detail}" if error.detail else error.message
            return Hurt(child.path, said, folder, unknown, _lost_node(child))

    def _children(self, node: _Node) -> "Iterator[_Node | Hurt]":
        """Reads the node. Its children come when they are asked for, by whoever asks."""
        if node.kind == b"t" and node.level == 0:
            return self._page(node, list(self.shelf.page(node.ref).values()))
        if node.kind == b"t":
            branch = self.shelf.folder_branch(node.ref, node.level)
            return iter([_Node(b"t", node.level - 1, child.ref, node.path) for child in branch])
        found = self.shelf.branch(node.ref, node.level) if node.level else self.shelf.leaf(node.ref)
        if sum(found.sizes) != node.size_bytes:
            raise Damaged(CONTRADICTS)
        if isinstance(found, Chunks):
            return self._leaf(node, found)
        below = zip(found.children, found.sizes)
        return iter([_Node(b"s", node.level - 1, ref, node.path, size) for ref, size in below])

    # ── looking at what is in them ──

    def _page(self, node: _Node, items: list[Item]) -> Iterator[_Node | Hurt]:
        for item in items:
            path = f"{node.path}/{shown(item.name)}" if node.path else shown(item.name)
            if len(path.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
                yield Hurt(path[:80] + "…", "its path is longer than any writer makes one", folder=True)
                continue
            match item.content:
                case Subtree(level, top):
                    yield _Node(b"t", level, top, path)
                case Stream(_, level, top):
                    yield _Node(b"s", level, top, path, item.size_bytes)
                case Small(chunk):
                    if chunk.size != item.size_bytes:
                        yield Hurt(path, CONTRADICTS)
                    elif (hurt := self._chunk(path, chunk)) is not None:
                        yield hurt
                case _:
                    if item.kind is Kind.FILE and item.size_bytes:
                        yield Hurt(path, CONTRADICTS)

    def _leaf(self, node: _Node, chunks: Chunks) -> Iterator[_Node | Hurt]:
        """One finding for a leaf is enough: it names the file."""
        ends: dict[bytes, int] = {}
        for place in chunks.places:
            if place is not None:
                ends[place.pack] = max(ends.get(place.pack, 0), place.offset + place.length)
        suspects = {pack for pack, end in ends.items() if self._is_suspect(pack, end)}
        first: Hurt | None = None
        for i, place in enumerate(chunks.places):
            if place is None and bytes(chunks.ids[32 * i : 32 * i + 32]) != self.shelf.zeros(chunks.sizes[i]):
                first = first or Hurt(node.path, CONTRADICTS)
            elif place is not None and place.pack in suspects:
                hurt = self._chunk(node.path, chunks.chunk(i))
                first = first or hurt
        if first is not None:
            yield first

    def _is_suspect(self, pack: bytes, end: int) -> bool:
        found = self._stock.find(What.DATA, self.shelf.component, pack)
        return found is None or end > found.size_bytes or self._stock.is_spoilt(found)

    def _chunk(self, path: str, chunk: Chunk) -> Hurt | None:
        if chunk.place is None:
            return None
        why = self._stock.trouble(What.DATA, self.shelf.component, chunk.place)
        pack = self._stock.find(What.DATA, self.shelf.component, chunk.place.pack)
        if not why and not self._is_left(pack):
            return None
        if self._healed(What.DATA, chunk.id, chunk.place):
            return None
        self._lose(Lost(What.DATA, chunk.id, chunk.place, chunk.at, chunk.size))
        if why:
            return Hurt(path, why)
        # Its pack cannot say what is in it: the frame has to be asked itself.
        try:
            self.shelf.read_chunk(chunk, chunk.place, chunk.at)
        except TROUBLE as error:
            return Hurt(path, error.message, unknown=isinstance(error, WrongKey))
        return None

    def _healed(self, what: What, id: bytes, hint: Place) -> bool:
        """Whether an index knows another place, where nothing is known to be wrong. Whoever mends asks for more: that
        the index says that it was moved there. A pruner spares such a pack, and none that merely has the same piece."""
        with suppress(Damaged, ObjectMissing):
            if (known := self.shelf.index.known(id, hint, what)) is not None and known[0] != hint:
                if self._losing is not unminded and not self._is_move(hint.pack, known[0].pack):
                    return False
                pack = self._stock.find(what, self.shelf.component, known[0].pack)
                sound = pack is not None and not self._stock.trouble(what, self.shelf.component, known[0])
                return sound and pack is not None and not pack.flags & UNLISTED
        return False

    def _is_move(self, old: bytes, new: bytes) -> bool:
        generation = self.shelf.index.generation()
        return generation is not None and new in generation.moves.get(old, ())


def _lost_node(node: _Node) -> Lost:
    return Lost(What.NODES, node.ref.id, node.ref.place, 0, 0)
