"""Boxes: small sealed objects, each signed by an enrolled writer. Points, proofs, holds, notes, marks.

    head | one frame: signer (32) | signature (64) | body

The head's place is the object's own key, so a box that is moved to another name does not open. The signature
covers the address, and with it the name, the vault family and the epoch. Signed, then sealed: the store sees neither.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import zstandard

from backstay.errors import Damaged
from backstay.ports import Key
from backstay.vault.codec import pack_json, unpack_json
from backstay.vault.frames import Cipher, FrameKind, Head, What, cipher, read_head
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, verified

_SIGNER, _SIGNATURE = 32, 64


@dataclass(frozen=True, slots=True)
class Box:
    """An opened box: who signed it, and what it says."""

    key: Key
    signer: bytes
    body: bytes

    def json(self) -> dict[str, Any]:
        """Raises Damaged when the body is not canonical JSON."""
        try:
            return unpack_json(self.body)
        except ValueError as error:
            raise Damaged(f"{self.key} does not say what it should: {error}") from None


def seal_box(opened: Opened, keys: Keyring, key: Key, body: bytes, *, letter: bool = False) -> bytes:
    """The bytes to store under `key`. A letter opens for readers only. Raises WrongKey without a signing key."""
    epoch, id = opened.newest, secrets.token_bytes(16)
    head = Head(What.LETTER if letter else What.BOX, epoch.id, opened.family, id, key)
    if letter:
        fresh = secrets.token_bytes(32)
        slot = opened.seal_key(epoch, fresh, head.address)
        head, sealer = Head(What.LETTER, epoch.id, opened.family, id, key, slot), Cipher(fresh, head.address)
    else:
        sealer = cipher(opened, head)
    signature = keys.sign(_message(head, body))
    return head.written() + sealer.seal(FrameKind.BODY, 0, (keys.writer or b"") + signature + body)


def seal_json(opened: Opened, keys: Keyring, key: Key, body: Any) -> bytes:
    return seal_box(opened, keys, key, pack_json(body))


def open_box(opened: Opened, key: Key, data: bytes, *, letter: bool = False) -> Box:
    """Raises Damaged for anything but what an enrolled writer sealed under this key; WrongKey."""
    try:
        head, start = read_head(data, What.LETTER if letter else What.BOX, opened.family, key)
        plain = cipher(opened, head).open(FrameKind.BODY, data[start:], zstandard.ZstdDecompressor())
        if len(plain) < _SIGNER + _SIGNATURE:
            raise ValueError("cut short")
        signer, signature = plain[:_SIGNER], plain[_SIGNER : _SIGNER + _SIGNATURE]
        box = Box(key, signer, plain[_SIGNER + _SIGNATURE :])
        if not verified(signer, signature, _message(head, box.body)):
            raise ValueError("its signature does not fit")
    except ValueError as error:
        raise Damaged(
            f"{key} in the vault was changed: {error}",
            detail="the sealed object is not what was written under this name",
            hint="take it from another vault of the plan, or restore another point",
        ) from None
    if signer not in opened.writers:
        raise Damaged(f"{key} is signed by nobody who is enrolled in this vault", detail=f"signer {signer.hex()[:16]}…")
    return box


def _message(head: Head, body: bytes) -> bytes:
    return b"backstay 1 box\n" + head.address + body
