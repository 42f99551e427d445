"""One stretch of write-ahead log as an object: sealed by whoever keeps it, opened by whoever replays it.

    head, with the key of the log sealed to the epoch | statement | frame 1 | frame 2 | …

The *statement* (signer, signature, canonical JSON) has for each frame its length and the id of its bytes, and what is
known of the server. It is sealed with the metadata key: a host that cannot read the log back still sees until when it
is kept, and whether what it has to send is what lies there. Cluster, timeline and place are the object's own name,
which the head repeats; the signature covers the head with the sealed key, so nothing of another object fits.

Frames are cut where the position is a multiple of 1 MiB: the same log cut in another way still has most frames alike.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import zstandard

from backstay.lsn import Lsn
from backstay.ports import Key, Label, Piece
from backstay.values import from_stamp, stamp
from backstay.vault import names
from backstay.vault.boxes import refuse_unsigned
from backstay.vault.codec import pack_json, text_of, unhex, unpack_json, whole_of
from backstay.vault.frames import (
    FRAME_HEAD,
    LARGEST_SEALED,
    TAG_SIZE,
    Cipher,
    FrameKind,
    Head,
    What,
    head_size,
    metadata_cipher,
    read_head,
)
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, seen, verified

FRAME = 1 << 20
"""A frame ends where the position is a multiple of this."""
LONGEST = 64 << 20
"""So many bytes of log an object has at most: whoever looks for what overlaps a place need not look further back."""
LONGEST_FRONT = 1 << 20
"""The head and the statement. 65 frames need 8 KiB."""
_SIGNER, _SIGNATURE = 32, 64


class LogFrame(NamedTuple):
    """One frame: the log from `at`, `size` bytes of it, which lie from `offset` in the object, sealed."""

    ordinal: int
    at: Lsn
    size: int
    id: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Front:
    """Everything of an object but the log itself."""

    key: Key
    head: Head
    signer: bytes
    label: Label
    frames: tuple[LogFrame, ...]
    seen: bytes
    """What stands for the object in the list of a retired signer: of its front, which has the ids of the rest."""
    size_bytes: int
    """Of the whole object."""


# ── sealing ──────────────────────────────────────────────────────────────────────────────────────


def key_of(piece: Piece) -> Key:
    return names.stretch(piece.system, piece.timeline, piece.start, piece.end)


def cuts(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where frames begin, and their lengths."""
    while start < end:
        size = min(FRAME - start % FRAME, end - start)
        yield start, size
        start += size


def ids_of(opened: Opened, piece: Piece) -> list[bytes]:
    data = memoryview(piece.data)
    return [opened.chunk_id(data[at - piece.start :][:size]) for at, size in cuts(piece.start, piece.end)]


def seal_stretch(opened: Opened, keys: Keyring, piece: Piece, ids: list[bytes]) -> bytes:
    """The object for `key_of(piece)`. `ids`: those of its frames. Raises WrongKey without a signing key."""
    assert 0 < len(piece.data) <= LONGEST, f"{len(piece.data)} bytes of log in one object"
    key, epoch, fresh = key_of(piece), opened.newest, secrets.token_bytes(32)
    bare = Head(What.LOG, epoch.id, opened.family, secrets.token_bytes(16), key)
    head = Head(What.LOG, epoch.id, opened.family, bare.id, key, opened.seal_key(epoch, fresh, bare.address))
    sealer, data = Cipher(fresh, head.address), memoryview(piece.data)
    sealed = [
        sealer.seal(FrameKind.DATA, ordinal, bytes(data[at - piece.start :][:size]), level=1)
        for ordinal, (at, size) in enumerate(cuts(piece.start, piece.end), start=1)
    ]
    body = pack_json({
        "frames": [{"id": id.hex(), "length": len(frame)} for id, frame in zip(ids, sealed, strict=True)],
        "major": piece.major,
        "segment": piece.segment_bytes,
        "since": stamp(piece.since) if piece.since else None,
        "until": stamp(piece.until) if piece.until else None,
    })  # fmt: skip
    signed = (keys.writer or b"") + keys.sign(_message(head, body)) + body
    return b"".join((head.written(), metadata_cipher(opened, head).seal(FrameKind.BODY, 0, signed), *sealed))


def _message(head: Head, body: bytes) -> bytes:
    return b"backstay 1 log\n" + head.written() + body


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


def front_size(key: Key, data: bytes) -> int:
    """How long the front of the object is that begins with `data`. Raises ValueError."""
    start = head_size(key, What.LOG)
    if len(data) < start + FRAME_HEAD.size:
        raise ValueError("cut short")
    sealed = FRAME_HEAD.unpack_from(data, start)[5]
    if (size := start + FRAME_HEAD.size + sealed) > LONGEST_FRONT or sealed < TAG_SIZE:
        raise ValueError("its statement is longer than any may be")
    return size


def read_front(opened: Opened, key: Key, data: bytes) -> Front:
    """`data` is exactly as long as `front_size` says. Raises ValueError for what is not such an object; WrongKey; and
    Damaged when nobody signed it who may."""
    _, _, start, end = names.read_stretch(key)
    head, at = read_head(data, What.LOG, opened.family, key)
    plain = metadata_cipher(opened, head).open(FrameKind.BODY, data[at:], zstandard.ZstdDecompressor())
    if len(plain) < _SIGNER + _SIGNATURE:
        raise ValueError("cut short")
    signer, signature = plain[:_SIGNER], plain[_SIGNER : _SIGNER + _SIGNATURE]
    body = plain[_SIGNER + _SIGNATURE :]
    if not verified(signer, signature, _message(head, body)):
        raise ValueError("its signature does not fit")
    refuse_unsigned(opened, key, signer, data)
    label, frames = read_said(body, start, end, len(data))
    return Front(key, head, signer, label, frames, seen(key, data), frames[-1].offset + frames[-1].length)


def read_said(body: bytes, start: int, end: int, offset: int) -> tuple[Label, tuple[LogFrame, ...]]:
    """The statement of a stretch from `start` to `end`, whose frames begin at `offset`. Raises ValueError."""
    said = unpack_json(body)
    frames = tuple(_frames(said, start, end, offset))
    label = Label(whole_of(said, "segment"), whole_of(said, "major"), _moment(said, "since"), _moment(said, "until"))
    if not FRAME <= label.segment_bytes <= 1 << 30 or label.segment_bytes & (label.segment_bytes - 1):
        raise ValueError("its segments have a size that no cluster has")
    return label, frames


def _frames(said: dict[str, Any], start: int, end: int, offset: int) -> Iterator[LogFrame]:
    found: Any = said.get("frames")
    places = list(cuts(start, end)) if end - start <= LONGEST else []
    if not isinstance(found, list) or not places or len(cast("list[Any]", found)) != len(places):
        raise ValueError("its frames are not those of its place")
    for ordinal, (one, (at, size)) in enumerate(zip(cast("list[dict[str, Any]]", found), places), start=1):
        if not isinstance(cast("Any", one), dict):
            raise ValueError("frames: objects expected")
        length = whole_of(one, "length")
        if length > LARGEST_SEALED[FrameKind.DATA]:
            raise ValueError("it has a frame that is longer than any may be")
        yield LogFrame(ordinal, Lsn(at), size, unhex(text_of(one, "id"), 32), offset, length)
        offset += length


def _moment(said: dict[str, Any], name: str) -> datetime | None:
    return None if said.get(name) is None else from_stamp(text_of(said, name))


def open_frame(opened: Opened, front: Front, frame: LogFrame, sealer: Cipher, data: bytes) -> bytes:
    """The log that is in `frame`, whose sealed bytes are `data`. Raises ValueError."""
    plain = sealer.open(FrameKind.DATA, data, zstandard.ZstdDecompressor())
    if int.from_bytes(data[4:8], "little") != frame.ordinal:
        raise ValueError("it is another frame than its statement says")
    if len(plain) != frame.size or opened.chunk_id(plain) != frame.id:
        raise ValueError("it holds other bytes than its statement says")
    return plain
