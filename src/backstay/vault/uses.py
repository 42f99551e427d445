"""Which packs a point needs, and how many of their bytes: its *pack list*, written with the point.

Who asks what may be deleted, what to copy, which lock to extend, or which points a lost pack hurts, reads a few
hundred kilobytes instead of walking the tree. The list says at least what is true: it never leaves out a pack that
reading the point touches, and a number may be too high (where content was taken over unread, it is carried over from
the point before), never too low.

What is counted, once for each time that the point names it: of a leaf each frame, of short files each frame, of the
tree each node. `Tally` does that while a point is written; `walked` reads it off a point of before there were lists.
"""

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from backstay.vault.codec import Cursor
from backstay.vault.frames import What
from backstay.vault.nodes import Chunks, Ref
from backstay.vault.packs import Place

MOST_PACKS = 65_536
"""In one node: 1.3 MB. A pack has 16 MiB, so that is a TB."""
MOST_BYTES = (1 << 32) - 1
_PACK_LIST = 5
_HEAD = struct.Struct("<BBI")
_REMEMBERED = 16_384
"""Frames of short files that are remembered, so that one which many files share is counted once."""


@dataclass(frozen=True, slots=True)
class Uses:
    """Pack to bytes, of data packs and of node packs."""

    data: Mapping[bytes, int] = field(default_factory=dict[bytes, int])
    nodes: Mapping[bytes, int] = field(default_factory=dict[bytes, int])

    def all(self) -> dict[bytes, int]:
        """The two have no pack in common: ids are random."""
        return {**self.data, **self.nodes}


@dataclass(frozen=True, slots=True)
class PackList:
    """A list that was read: what it says, and its nodes."""

    said: Uses
    nodes: tuple[Ref, ...]

    @property
    def uses(self) -> Uses:
        """With the packs in which the list itself lies: they were not known when it was written."""
        nodes = dict(self.said.nodes)
        for ref in self.nodes:
            _add(nodes, ref.place)
        return Uses(self.said.data, nodes)


def write_pack_lists(uses: Uses) -> Iterator[bytes]:
    """The nodes of a list: as many as are needed, none for a point without content."""
    for what, packs in ((What.DATA, uses.data), (What.NODES, uses.nodes)):
        ids = sorted(packs)
        for start in range(0, len(ids), MOST_PACKS):
            some = ids[start : start + MOST_PACKS]
            numbers = struct.pack(f"<{len(some)}I", *(min(packs[id], MOST_BYTES) for id in some))
            yield _HEAD.pack(_PACK_LIST, what, len(some)) + b"".join(some) + numbers


def read_pack_list(data: bytes) -> tuple[What, dict[bytes, int]]:
    """Raises ValueError."""
    cursor = Cursor(data)
    kind, what, n = cursor.unpack(_HEAD)
    if kind != _PACK_LIST or what not in (What.DATA, What.NODES) or not 0 < n <= MOST_PACKS:
        raise ValueError("not a list of packs")
    joined = cursor.take(16 * n)
    ids = [joined[at : at + 16] for at in range(0, 16 * n, 16)]
    numbers = cursor.column(n, "I")
    cursor.finish()
    if any(before >= after for before, after in pairwise(ids)):
        raise ValueError("a list of packs that is not in order")
    return What(what), dict(zip(ids, numbers))


class Reader(Protocol):
    """As much of a `Shelf` as this needs."""

    def pack_list(self, ref: Ref) -> tuple[What, dict[bytes, int]]: ...


def read_pack_lists(shelf: Reader, nodes: tuple[Ref, ...]) -> PackList:
    """The list of a point. Raises Damaged, ObjectMissing, WrongKey."""
    found: dict[What, dict[bytes, int]] = {What.DATA: {}, What.NODES: {}}
    for ref in nodes:
        what, packs = shelf.pack_list(ref)
        found[what].update(packs)
    return PackList(Uses(found[What.DATA], found[What.NODES]), nodes)


class Tally:
    """What is used, counted as it comes. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data, self._taken, self._nodes = dict[bytes, int](), dict[bytes, int](), dict[bytes, int]()
        self._pages = set[Place]()
        self._recent: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self.unread = False
        """Whether a file was taken over without looking at its map: its packs are known from the point before alone."""

    def leaf(self, chunks: Chunks) -> None:
        frames = {place for place in chunks.places if place is not None}
        with self._lock:
            for place in frames:
                _add(self._data, place)

    def frame(self, place: Place) -> None:
        """A new frame with short files."""
        with self._lock:
            self._remember(place)
            _add(self._data, place)

    def short(self, place: Place) -> None:
        """A short file that was taken over, in a frame that it may share with others."""
        with self._lock:
            if self._remember(place):
                _add(self._taken, place)

    def _remember(self, place: Place) -> bool:
        key = (place.pack, place.offset)
        new = key not in self._recent
        self._recent[key] = None
        self._recent.move_to_end(key)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return new

    def node(self, ref: Ref) -> None:
        """Of a stream map."""
        with self._lock:
            _add(self._nodes, ref.place)

    def page(self, ref: Ref) -> None:
        """Of the tree, where folders with the same content share a node: it is counted once."""
        with self._lock:
            if ref.place not in self._pages:
                self._pages.add(ref.place)
                _add(self._nodes, ref.place)

    def total(self) -> Uses:
        """When all was counted."""
        return Uses(_sum(self._data, self._taken), dict(self._nodes))

    def total_after(self, before: Uses, replaced: "Tally") -> Uses:
        """When something was taken over unread: of the point before, all that was not seen to be `replaced`, and
        what is new.

        Short files that were taken over are in what was before, and are not added again.
        """
        data = _sum(_rest(before.data, replaced._data), self._data)
        for pack, size in self._taken.items():
            if pack not in before.data:
                data[pack] = data.get(pack, 0) + size
        return Uses(data, _sum(_rest(before.nodes, replaced._nodes), self._nodes))


def _add(into: dict[bytes, int], place: Place) -> None:
    into[place.pack] = into.get(place.pack, 0) + place.length


def _sum(some: Mapping[bytes, int], others: Mapping[bytes, int]) -> dict[bytes, int]:
    total = dict(some)
    for pack, size in others.items():
        total[pack] = total.get(pack, 0) + size
    return total


def _rest(before: Mapping[bytes, int], replaced: Mapping[bytes, int]) -> dict[bytes, int]:
    """What is left. A pack of which nothing is left is not used any more: each use of it was seen to be replaced.
    A number at its limit may stand for more, so nothing is taken from it."""
    rest = {pack: n if n >= MOST_BYTES else n - replaced.get(pack, 0) for pack, n in before.items()}
    return {pack: n for pack, n in rest.items() if n > 0}
