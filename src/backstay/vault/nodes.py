"""Nodes: trees and stream maps, content-addressed.

A node's id is the keyed BLAKE3 of its bytes, so what did not change is one id, and is not written again. Numbers are
little-endian and of fixed width, columns of a stream map lie beside each other: a thousand chunks are read by six
calls of `struct`. See `docs/reference/vault-format.md` for each byte.

    leaf          up to 64 MiB of a stream: its chunks
    branch        of a stream too long for one leaf: leaves or branches
    page          some entries of a folder, in the order of names
    folder branch of a folder too long for one page: pages or branches
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from backstay.ports import Cutter, Kind
from backstay.vault.codec import Cursor, named
from backstay.vault.packs import Place

LEAF_BYTES = 64 << 20
"""A leaf maps at most this much of a stream, so that leaves are found by position."""
MOST_CHUNKS = 8192
MOST_CHILDREN = 1024
DEEPEST = 8
ZEROS = 0xFFFF
"""Instead of a pack: the chunk is all zeros and is stored nowhere."""

_LEAF, _BRANCH, _PAGE, _FOLDER_BRANCH = 1, 2, 3, 4
_PLACE = struct.Struct("<16s8sII")
_REF = struct.Struct("<32s16s8sII")
_PIECE = struct.Struct("<32s16s8sIIII")
_LEAF_HEAD = struct.Struct("<BIH")
_BRANCH_HEAD = struct.Struct("<BBI")
_PAGE_HEAD = struct.Struct("<BI")
_ENTRY = struct.Struct("<BBHqQB")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CUTTERS = {Cutter.FIXED_64K: 1, Cutter.CDC_V1: 2}
_CUTTER_OF = {code: cutter for cutter, code in _CUTTERS.items()}
_KINDS = {Kind.FOLDER: 1, Kind.FILE: 2, Kind.LINK: 3}
_KIND_OF = {code: kind for kind, code in _KINDS.items()}


class Ref(NamedTuple):
    """A node: its id, and where it was when this was written."""

    id: bytes
    place: Place

    def written(self) -> bytes:
        return _REF.pack(self.id, *self.place)


def read_ref(cursor: Cursor) -> Ref:
    id, pack, epoch, offset, length = cursor.unpack(_REF)
    return Ref(id, Place(pack, epoch, offset, length))


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


class Chunk(NamedTuple):
    id: bytes
    size: int
    place: Place | None
    """None: all zeros."""
    at: int


@dataclass(slots=True)
class Chunks:
    """Consecutive chunks of a stream, as columns. What the writer gathers, and a leaf holds."""

    ids: bytearray = field(default_factory=bytearray)
    sizes: list[int] = field(default_factory=list[int])
    places: list[Place | None] = field(default_factory=list[Place | None])
    ats: list[int] = field(default_factory=list[int])

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, id: bytes, size: int, place: Place | None, at: int) -> None:
        self.ids += id
        self.sizes.append(size)
        self.places.append(place)
        self.ats.append(at)

    def extend(self, other: "Chunks") -> None:
        self.ids += other.ids
        self.sizes += other.sizes
        self.places += other.places
        self.ats += other.ats

    def part(self, first: int, last: int) -> Iterator[Chunk]:
        """Those from `first` up to `last`, or to the end. It costs less than asking for each."""
        ids = bytes(self.ids[32 * first : 32 * last])
        each = (ids[at : at + 32] for at in range(0, len(ids), 32))
        return map(Chunk._make, zip(each, self.sizes[first:last], self.places[first:last], self.ats[first:last]))

    def chunk(self, i: int) -> Chunk:
        return Chunk(bytes(self.ids[32 * i : 32 * i + 32]), self.sizes[i], self.places[i], self.ats[i])


def write_leaf(chunks: Chunks) -> bytes:
    packs: dict[tuple[bytes, bytes], int] = {}
    numbers: list[int] = []
    offsets: list[int] = []
    lengths: list[int] = []
    for place in chunks.places:
        if place is None:
            numbers.append(ZEROS)
            offsets.append(0)
            lengths.append(0)
            continue
        numbers.append(packs.setdefault((place.pack, place.epoch), len(packs)))
        offsets.append(place.offset)
        lengths.append(place.length)
    n = len(chunks)
    return b"".join((
        _LEAF_HEAD.pack(_LEAF, n, len(packs)),
        *(pack + epoch for pack, epoch in packs),
        bytes(chunks.ids),
        struct.pack(f"<{n}I{n}H{n}I{n}I{n}I", *chunks.sizes, *numbers, *offsets, *lengths, *chunks.ats),
    ))  # fmt: skip


def read_leaf(data: bytes) -> Chunks:
    """Raises ValueError."""
    cursor = Cursor(data)
    kind, n, count = cursor.unpack(_LEAF_HEAD)
    if kind != _LEAF or not 0 < n <= MOST_CHUNKS:
        raise ValueError("not a leaf of a stream")
    packs = [(cursor.take(16), cursor.take(8)) for _ in range(count)]
    ids = bytearray(cursor.take(32 * n))
    sizes, numbers = cursor.column(n, "I"), cursor.column(n, "H")
    offsets, lengths, ats = (cursor.column(n, "I") for _ in range(3))
    cursor.finish()
    if 0 in sizes or sum(sizes) > LEAF_BYTES:
        raise ValueError("a leaf of a stream with impossible lengths")
    places: list[Place | None] = []
    for number, offset, length in zip(numbers, offsets, lengths):
        if number == ZEROS:
            places.append(None)
        elif number < count:
            places.append(Place(*packs[number], offset, length))
        else:
            raise ValueError("a leaf of a stream points to no pack")
    return Chunks(ids, list(sizes), places, list(ats))


@dataclass(frozen=True, slots=True)
class Branch:
    """Children of one level, with the bytes of the stream that each covers."""

    level: int
    children: tuple[Ref, ...]
    sizes: tuple[int, ...]


def write_branch(branch: Branch) -> bytes:
    n = len(branch.children)
    return b"".join((
        _BRANCH_HEAD.pack(_BRANCH, branch.level, n),
        *(child.written() for child in branch.children),
        struct.pack(f"<{n}Q", *branch.sizes),
    ))  # fmt: skip


def read_branch(data: bytes, level: int) -> Branch:
    """Raises ValueError."""
    cursor = Cursor(data)
    kind, found, n = cursor.unpack(_BRANCH_HEAD)
    if kind != _BRANCH or found != level or not 0 < n <= MOST_CHILDREN:
        raise ValueError("not this branch of a stream")
    children = tuple(read_ref(cursor) for _ in range(n))
    sizes = cursor.column(n, "Q")
    cursor.finish()
    if 0 in sizes or sum(sizes) >= 1 << 63:
        raise ValueError("a branch of a stream with impossible lengths")
    return Branch(level, children, sizes)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


class Nothing(NamedTuple):
    """An empty file or folder."""


class Small(NamedTuple):
    """A file that is one chunk, in a frame with others."""

    chunk: Chunk


class Stream(NamedTuple):
    cutter: Cutter
    level: int
    top: Ref


class Subtree(NamedTuple):
    level: int
    top: Ref


class Target(NamedTuple):
    """Where a link points, as it was written."""

    text: bytes


Content = Nothing | Small | Stream | Subtree | Target


class Item(NamedTuple):
    """One entry of a folder."""

    name: bytes
    kind: Kind
    implied: bool
    """A folder that nobody named: it is there because something is in it."""
    mode: int
    modified: datetime
    size_bytes: int
    """Of a folder: of all files below it."""
    mark: bytes
    content: Content


def write_content(content: Content) -> bytes:
    match content:
        case Nothing():
            return b"\0"
        case Small(chunk):
            assert chunk.place is not None
            return b"\1" + _PIECE.pack(chunk.id, *chunk.place, chunk.at, chunk.size)
        case Stream(cutter, level, top):
            return bytes((2, _CUTTERS[cutter], level)) + top.written()
        case Subtree(level, top):
            return bytes((3, level)) + top.written()
        case Target(text):
            return b"\4" + named(text)


def read_content(cursor: Cursor) -> Content:
    """Raises ValueError."""
    match cursor.take(1)[0]:
        case 0:
            return Nothing()
        case 1:
            id, pack, epoch, offset, length, at, size = cursor.unpack(_PIECE)
            return Small(Chunk(id, size, Place(pack, epoch, offset, length), at))
        case 2:
            cutter, level = cursor.take(2)
            if cutter not in _CUTTER_OF:
                raise ValueError("a stream cut in an unknown way")
            return Stream(_CUTTER_OF[cutter], _level(level), read_ref(cursor))
        case 3:
            return Subtree(_level(cursor.take(1)[0]), read_ref(cursor))
        case 4:
            return Target(cursor.name())
        case _:
            raise ValueError("an entry of an unknown kind")


def _level(level: int) -> int:
    if level > DEEPEST:
        raise ValueError("a tree that is too deep")
    return level


def write_item(item: Item) -> bytes:
    microseconds = (item.modified - _EPOCH) // timedelta(microseconds=1)
    head = _ENTRY.pack(_KINDS[item.kind], item.implied, item.mode, microseconds, item.size_bytes, len(item.mark))
    return named(item.name) + head + item.mark + named(b"") + write_content(item.content)


def read_item(cursor: Cursor) -> Item:
    """Raises ValueError for anything that could not be laid down safely: the names are checked here, once."""
    name = cursor.name()
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise ValueError("an entry with an impossible name")
    kind, implied, mode, microseconds, size, mark_size = cursor.unpack(_ENTRY)
    mark = cursor.take(mark_size)
    cursor.name()  # kept free for attributes that a later version may add; whoever does not know them passes over
    content = read_content(cursor)
    if kind not in _KIND_OF or implied > 1 or mode > 0o7777 or size >= 1 << 63:
        raise ValueError("an entry of an unknown kind")
    fits = {
        Kind.FOLDER: Nothing | Subtree, Kind.FILE: Nothing | Small | Stream, Kind.LINK: Target,
    }[_KIND_OF[kind]]  # fmt: skip
    if not isinstance(content, fits):
        raise ValueError("an entry whose content is of another kind")
    try:
        modified = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ValueError("an entry with an impossible time") from None
    return Item(name, _KIND_OF[kind], bool(implied), mode, modified, size, mark, content)


def write_page(items: list[bytes]) -> bytes:
    """From entries that are written already, in the order of names."""
    return _PAGE_HEAD.pack(_PAGE, len(items)) + b"".join(items)


def read_page(data: bytes) -> dict[bytes, Item]:
    """Name to entry, in the order of names. Raises ValueError."""
    cursor = Cursor(data)
    kind, n = cursor.unpack(_PAGE_HEAD)
    if kind != _PAGE or not 0 < n <= len(data):
        raise ValueError("not a page of a folder")
    items = [read_item(cursor) for _ in range(n)]
    cursor.finish()
    if any(before.name >= after.name for before, after in pairwise(items)):
        raise ValueError("a page of a folder whose names are not in order")
    return {item.name: item for item in items}


class Named(NamedTuple):
    """A child of a folder branch, and the first name in it."""

    first: bytes
    ref: Ref


def write_folder_branch(level: int, children: list[Named]) -> bytes:
    head = _BRANCH_HEAD.pack(_FOLDER_BRANCH, level, len(children))
    return head + b"".join(named(child.first) + child.ref.written() for child in children)


def read_folder_branch(data: bytes, level: int) -> list[Named]:
    """Raises ValueError."""
    cursor = Cursor(data)
    kind, found, n = cursor.unpack(_BRANCH_HEAD)
    if kind != _FOLDER_BRANCH or found != level or not 0 < n <= len(data):
        raise ValueError("not this branch of a folder")
    children = [Named(cursor.name(), read_ref(cursor)) for _ in range(n)]
    cursor.finish()
    if any(before.first >= after.first for before, after in pairwise(children)):
        raise ValueError("a branch of a folder whose names are not in order")
    return children


# ── whatever it is ───────────────────────────────────────────────────────────────────────────────


def places_in(data: bytes) -> Iterator[tuple[bytes, Place, int, int]]:
    """What a node names, whatever kind of node it is: id, place, start in the frame's plaintext and size; the last two
    are 0 for nodes. Raises ValueError."""
    match data[:1]:
        case b"\x01":
            chunks = read_leaf(data)
            for i in range(len(chunks)):
                if (place := chunks.places[i]) is not None:
                    yield chunks.chunk(i).id, place, chunks.ats[i], chunks.sizes[i]
        case b"\x02":
            for child in read_branch(data, data[1]).children:
                yield child.id, child.place, 0, 0
        case b"\x03":
            for item in read_page(data).values():
                match item.content:
                    case Small(chunk) if chunk.place is not None:
                        yield chunk.id, chunk.place, chunk.at, chunk.size
                    case Stream(_, _, top) | Subtree(_, top):
                        yield top.id, top.place, 0, 0
                    case _:
                        pass
        case b"\x04":
            for child in read_folder_branch(data, data[1]):
                yield child.ref.id, child.ref.place, 0, 0
        case _:  # a list of packs names nothing that is read
            pass
