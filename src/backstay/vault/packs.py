"""Packs: many frames in one object of tens of megabytes, with their own index at the end.

    head | frame 0 | frame 1 | … | index frame | trailer (32 bytes)

The trailer says where the index is; it is not secret, and carries a digest bound to the pack's id. The index (sealed
with the metadata key, so writers read it too) lists every frame and every chunk in it: whatever else is lost, the
places of all chunks can be rebuilt from the packs alone.
"""

import hashlib
import mmap
import secrets
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import zstandard

from backstay.ports import Key, Store
from backstay.values import ComponentName
from backstay.vault import names
from backstay.vault.codec import Cursor
from backstay.vault.frames import (
    FRAME_HEAD,
    LARGEST_SEALED,
    TAG_SIZE,
    Cipher,
    FrameKind,
    Head,
    What,
    cipher,
    head_size,
    index_cipher,
    read_head,
)
from backstay.vault.keys import Opened

TARGET_SIZE = 16 << 20
"""A pack is closed when it is this long. Any length below 4 GiB may be read."""
MOST_PIECES = 32_768
"""A pack is closed when it holds this many chunks: its index stays small."""
BUFFER_SIZE = TARGET_SIZE + (2 << 20)
PART_BYTES = 1 << 20
"""A store gets a pack in pieces of this length."""

_TRAILER = struct.Struct("<QII8s8s")
_END = b"BACKSEND"
_COUNTS = struct.Struct("<II")


class Place(NamedTuple):
    """A location hint: where a frame lies. May be stale after repacking; an index answers then."""

    pack: bytes
    epoch: bytes
    offset: int
    length: int


class Piece(NamedTuple):
    """One chunk or node in the index of a pack."""

    id: bytes
    place: Place
    at: int
    """Where it begins in the frame's plaintext."""
    size: int


class PackBuilder:
    """One pack being filled, in a buffer that is reused. Not for two threads at once."""

    def __init__(self, opened: Opened, what: What, component: ComponentName, buffer: bytearray | mmap.mmap) -> None:
        epoch = opened.newest
        id = secrets.token_bytes(16)
        head = Head(what, epoch.id, opened.family, id, component)
        if what is What.DATA:
            key = secrets.token_bytes(32)
            head = Head(what, epoch.id, opened.family, id, component, opened.seal_key(epoch, key, head.address))
            self._cipher = Cipher(key, head.address)
        else:
            self._cipher = cipher(opened, head)
        self._index_cipher = index_cipher(opened, head)
        self.id, self.epoch, self.buffer, self.what = id, epoch.id, buffer, what
        self.key = pack_key(what, component, id)
        self._kind = FrameKind.DATA if what is What.DATA else FrameKind.NODE
        self.view = memoryview(buffer)
        self.watch: Callable[[int], None] | None = None
        """Told now and then up to where nothing will change."""
        written = head.written()
        self.view[: len(written)] = written
        self._start = self._end = len(written)
        self._told = 0
        self._frames, self._plain_sizes = array("I"), array("I")
        self._ids, self._owners, self._ats, self._sizes = bytearray(), array("I"), array("I"), array("I")

    @property
    def is_empty(self) -> bool:
        return not self._frames

    def has_room(self, compressed_size: int, pieces: int) -> bool:
        if self.is_empty:
            return True
        after = self._end + FRAME_HEAD.size + compressed_size + TAG_SIZE
        return after <= TARGET_SIZE and len(self._sizes) + pieces <= MOST_PIECES

    def add(
        self, compressed: bytes | memoryview, plain_size: int, ids: bytes, ats: list[int], sizes: list[int]
    ) -> Place:
        """Seal one frame that holds the chunks `ids` (32 bytes each) at `ats`."""
        ordinal, offset = len(self._frames), self._end
        length = self._cipher.seal_into(self.view, offset, self._kind, ordinal, plain_size, compressed)
        self._end += length
        self._frames.append(length)
        self._plain_sizes.append(plain_size)
        self._ids += ids
        self._owners.extend([ordinal] * len(sizes))
        self._ats.extend(ats)
        self._sizes.extend(sizes)
        if self.watch is not None and self._end - self._told >= PART_BYTES:
            self._told = self._end
            self.watch(self._end)
        return Place(self.id, self.epoch, offset, length)

    def finish(self) -> "PackParts":
        """Close it: the parts to store, in order. They can be gone through again, for another try."""
        plain = b"".join((
            _COUNTS.pack(len(self._frames), len(self._sizes)),
            *(_column(each) for each in (self._frames, self._plain_sizes)),
            bytes(self._ids),
            *(_column(each) for each in (self._owners, self._ats, self._sizes)),
        ))  # fmt: skip
        index = self._index_cipher.seal(FrameKind.INDEX, len(self._frames), plain)
        end = trailer(self.id, self._end, len(index), len(self._frames))
        return PackParts(self.view[: self._end], index + end)


def pack_key(what: What, component: ComponentName, id: bytes) -> Key:
    return (names.data_pack if what is What.DATA else names.node_pack)(component, id)


class PackParts:
    """The bytes of a finished pack, a MiB at a time."""

    def __init__(self, body: memoryview, end: bytes) -> None:
        self._body, self._tail = body, end

    @property
    def size_bytes(self) -> int:
        return len(self._body) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        return self.after(0)

    def after(self, at: int) -> Iterator[bytes]:
        """What follows the first `at` bytes, which are in the body."""
        for start in range(at, len(self._body), PART_BYTES):
            yield bytes(self._body[start : start + PART_BYTES])
        yield self._tail


def _column(values: "array[int]") -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def trailer(pack: bytes, offset: int, length: int, frames: int) -> bytes:
    digest = hashlib.sha256(pack + struct.pack("<QII", offset, length, frames)).digest()[:8]
    return _TRAILER.pack(offset, length, frames, digest, _END)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Contents:
    """What the index of a pack says."""

    head: Head
    size_bytes: int
    frames: tuple[Place, ...]
    plain_sizes: tuple[int, ...]
    pieces: tuple[Piece, ...]


def read_contents(store: Store, opened: Opened, key: Key, size_bytes: int) -> Contents:
    """The index of one pack, in two reads. Raises ValueError for a damaged one, ObjectMissing, WrongKey."""
    what, component, pack = parse_key(key)
    head_length = head_size(component, what)
    head, _ = read_head(store.get(key, 0, head_length), what, opened.family, component)
    if head.id != pack:
        raise ValueError("it is another pack than its name says")
    if size_bytes < head_length + _TRAILER.size:
        raise ValueError("cut short")
    end = store.get(key, size_bytes - _TRAILER.size)
    offset, length, frames, digest, magic = Cursor(end).unpack(_TRAILER)
    del digest, magic
    if end != trailer(pack, offset, length, frames) or offset + length + _TRAILER.size != size_bytes:
        raise ValueError("its end is cut off or changed")
    if length > LARGEST_SEALED[FrameKind.INDEX]:
        raise ValueError("its index is longer than any may be")
    frame = store.get(key, offset, length)
    plain = index_cipher(opened, head).open(FrameKind.INDEX, frame, zstandard.ZstdDecompressor())
    contents = _read_index(plain, head, head_length, size_bytes)
    if len(contents.frames) != frames or _end_of(contents, head_length) != offset:
        raise ValueError("its index does not fit")
    return contents


def _end_of(contents: Contents, start: int) -> int:
    return contents.frames[-1].offset + contents.frames[-1].length if contents.frames else start


def _read_index(plain: bytes, head: Head, start: int, size_bytes: int) -> Contents:
    cursor = Cursor(plain)
    frames, pieces = cursor.unpack(_COUNTS)
    lengths, plain_sizes = cursor.column(frames, "I"), cursor.column(frames, "I")
    ids = cursor.take(32 * pieces)
    owners, ats, sizes = (cursor.column(pieces, "I") for _ in range(3))
    cursor.finish()
    places: list[Place] = []
    if lengths and max(lengths) > LARGEST_SEALED[FrameKind.NODE]:
        raise ValueError("its index has a frame that is longer than any may be")
    for length in lengths:
        places.append(Place(head.id, head.epoch, start, length))
        start += length
    found: list[Piece] = []
    for i, (owner, at, size) in enumerate(zip(owners, ats, sizes)):
        if owner >= frames or at + size > plain_sizes[owner]:
            raise ValueError("its index points outside")
        found.append(Piece(ids[32 * i : 32 * i + 32], places[owner], at, size))
    return Contents(head, size_bytes, tuple(places), plain_sizes, tuple(found))


def parse_key(key: Key) -> tuple[What, ComponentName, bytes]:
    """What the name of a pack says. Raises ValueError."""
    parts = key.split("/")
    if len(parts) != 3 or parts[0] not in ("packs", "nodes") or len(parts[2]) != 32:
        raise ValueError(f"{key!r} is no name of a pack")
    what = What.DATA if parts[0] == "packs" else What.NODES
    return what, ComponentName(parts[1]), bytes.fromhex(parts[2])
