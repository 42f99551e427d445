"""Frames: what is compressed and sealed as one piece; and the head of every object that has them.

An object (a data pack, a node pack, or a box) begins with its head: what it is, its key epoch, the family of vaults,
its random id, and its place (the component of a pack, the key of a box). These bytes, its *address*, begin the
associated data of each of its frames: no frame can pass for one of another format, vault, component or object.

Every object has a key of its own, so a nonce is simply the ordinal of a frame and can never repeat: a data pack's key
is random and sealed to the epoch (the slot); the others are derived from the metadata key and the random id. A stretch
of log has both: what it says of itself is for writers too.
"""

import io
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstay.vault.codec import Cursor
from backstay.vault.keys import SLOT_SIZE, Opened

MAGIC = b"BACKSTAY"
FORMAT = 1
TAG_SIZE = 16
FRAME_HEAD = struct.Struct("<BBHIII")
"""Kind, two zeros, ordinal, length before compression, length sealed (with its tag)."""
_ADDRESS = struct.Struct("<8sBB8s16s16sH")
_SLOT = struct.Struct("<H")


class What(IntEnum):
    DATA = 1
    NODES = 2
    BOX = 3
    LETTER = 4
    """A box for readers only: its key is sealed to the epoch, like a data pack's."""
    LOG = 5
    """A stretch of write-ahead log: the same, behind a statement that writers read too."""


_SLOTTED = frozenset({What.DATA, What.LETTER, What.LOG})
"""Their key is random, and lies in the head, sealed to the epoch."""


class FrameKind(IntEnum):
    DATA = 1
    NODE = 2
    INDEX = 3
    BODY = 4


LARGEST_PLAIN = {
    FrameKind.DATA: 4 << 20, FrameKind.NODE: 16 << 20, FrameKind.INDEX: 16 << 20, FrameKind.BODY: 64 << 20,
}  # fmt: skip
"""A frame that says to be larger is not ours: nobody makes us set aside more memory than this."""
LARGEST_SEALED = {kind: size + size // 128 + 4096 for kind, size in LARGEST_PLAIN.items()}
"""The same, of what is stored: what does not compress grows a little. A hint that asks for more is not followed."""


@dataclass(frozen=True, slots=True)
class Head:
    what: What
    epoch: bytes
    family: bytes
    id: bytes
    place: str
    slot: bytes = b""

    @property
    def address(self) -> bytes:
        place = self.place.encode("ascii")
        return _ADDRESS.pack(MAGIC, FORMAT, self.what, self.epoch, self.family, self.id, len(place)) + place

    def written(self) -> bytes:
        return self.address + _SLOT.pack(len(self.slot)) + self.slot


def head_size(place: str, what: What) -> int:
    return _ADDRESS.size + len(place.encode("ascii")) + _SLOT.size + (SLOT_SIZE if what in _SLOTTED else 0)


def read_head(data: bytes, what: What, family: bytes, place: str) -> tuple[Head, int]:
    """The head and its length. Raises ValueError for that of another object."""
    cursor = Cursor(data)
    magic, version, found, epoch, of_family, id, place_size = cursor.unpack(_ADDRESS)
    if magic != MAGIC or version != FORMAT:
        raise ValueError("it does not begin like an object of this format")
    if found != what or of_family != family or cursor.take(place_size) != place.encode("ascii"):
        raise ValueError("it belongs elsewhere")
    slot = cursor.take(cursor.unpack(_SLOT)[0])
    if len(slot) != (SLOT_SIZE if what in _SLOTTED else 0):
        raise ValueError("its key has the wrong length")
    return Head(what, epoch, family, id, place, slot), len(data) - cursor.left


def cipher(opened: Opened, head: Head) -> "Cipher":
    """Of an object's frames. Raises WrongKey; ValueError when the sealed key was changed."""
    if head.what in _SLOTTED:
        try:
            key = opened.open_key(head.epoch, head.slot, head.address)
        except InvalidTag:
            raise ValueError("its sealed key does not open") from None
    else:
        return metadata_cipher(opened, head)
    return Cipher(key, head.address)


def metadata_cipher(opened: Opened, head: Head) -> "Cipher":
    """Of what writers read as well."""
    return Cipher(opened.metadata_key(head.epoch, head.id, b"backstay 1 frames" + head.address), head.address)


def index_cipher(opened: Opened, head: Head) -> "Cipher":
    """Of the index at a pack's end: writers read it too, so it never needs the key of the data."""
    key = opened.metadata_key(head.epoch, head.id, b"backstay 1 index" + head.address)
    return Cipher(key, head.address)


class Cipher:
    """Seals and opens the frames of one object."""

    __slots__ = ("_aead", "_prefix")

    def __init__(self, key: bytes, address: bytes) -> None:
        self._aead, self._prefix = AESGCM(key), address

    def seal_into(
        self, buffer: memoryview, at: int, kind: int, ordinal: int, plain_size: int, compressed: bytes | memoryview
    ) -> int:
        """Write one frame at `at`; returns its length. The caller sees to it that an ordinal is used once."""
        sealed_size = len(compressed) + TAG_SIZE
        head = FRAME_HEAD.pack(kind, 0, 0, ordinal, plain_size, sealed_size)
        body = at + FRAME_HEAD.size
        buffer[at:body] = head
        self._aead.encrypt_into(nonce(ordinal), compressed, self._prefix + head, buffer[body : body + sealed_size])
        return FRAME_HEAD.size + sealed_size

    def seal(self, kind: int, ordinal: int, plain: bytes, level: int = 3) -> bytes:
        compressed = zstandard.ZstdCompressor(level=level).compress(plain)
        buffer = bytearray(FRAME_HEAD.size + len(compressed) + TAG_SIZE)
        self.seal_into(memoryview(buffer), 0, kind, ordinal, len(plain), compressed)
        return bytes(buffer)

    def open(
        self,
        kind: FrameKind,
        frame: bytes | memoryview,
        inflate: zstandard.ZstdDecompressor,
    ) -> bytes:
        """The plaintext of one frame that fills `frame` exactly. Raises ValueError."""
        return inflated(*self.unseal(kind, frame), inflate)

    def unseal(
        self, kind: FrameKind, frame: bytes | memoryview, room: memoryview | None = None
    ) -> tuple[memoryview, int]:
        """The same, still compressed, and the length that it says to have before that. Raises ValueError. The seal is
        opened in `room`, where that is large enough, without asking for memory: one thread at a time."""
        if len(frame) < FRAME_HEAD.size + TAG_SIZE:
            raise ValueError("cut short")
        head = bytes(frame[: FRAME_HEAD.size])
        found, zero, zeros, ordinal, plain_size, sealed_size = FRAME_HEAD.unpack(head)
        if (
            found != kind
            or zero
            or zeros
            or FRAME_HEAD.size + sealed_size != len(frame)
            or plain_size > LARGEST_PLAIN[kind]
        ):
            raise ValueError("no frame begins there")
        size = sealed_size - TAG_SIZE
        opened = room[:size] if room is not None and size <= len(room) else memoryview(bytearray(size))
        try:
            self._aead.decrypt_into(nonce(ordinal), frame[FRAME_HEAD.size :], self._prefix + head, opened)
        except InvalidTag:
            raise ValueError("its bytes were changed (its seal is broken)") from None
        return opened, plain_size


def inflated(compressed: bytes | memoryview, plain_size: int, inflate: zstandard.ZstdDecompressor) -> bytes:
    """Exactly `plain_size` bytes, and never more memory than that. Raises ValueError."""
    try:
        if zstandard.frame_content_size(compressed) != plain_size:
            raise ValueError("it does not have the length that it says")
        return inflate.decompress(compressed, max_output_size=plain_size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None


def inflated_into(
    room: memoryview, compressed: memoryview, plain_size: int, inflate: zstandard.ZstdDecompressor
) -> memoryview:
    """The same, at the beginning of `room`, which is longer than that: nothing is set aside, nothing copied. What a
    longer frame, or another one behind it, would write is noticed; one without content passes. Raises ValueError."""
    try:
        if zstandard.frame_content_size(compressed) != plain_size:
            raise ValueError("it does not have the length that it says")
        reader = cast("io.RawIOBase", inflate.stream_reader(compressed, read_across_frames=True))
        if reader.readinto(room[: plain_size + 1]) != plain_size:
            raise ValueError("it does not have the length that it says")
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    return room[:plain_size]


def nonce(ordinal: int) -> bytes:
    """96 bits: the ordinal of the frame, big-endian. Unique because no two objects share a key."""
    return ordinal.to_bytes(12, "big")
