"""Boxes: small sealed objects, each signed by somebody who may. Points, proofs, holds, notes, marks, secrets.

    head | one frame: signer (32) | signature (64) | body

The head's place is the object's own key, so a box that is moved to another name does not open. The signature
covers the address, and with it the name, the vault family and the epoch. Signed, then sealed: the store sees neither.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import zstandard

from backstay.errors import Damaged, NotSupported, ObjectMissing
from backstay.ports import Key
from backstay.vault.codec import pack_json, unpack_json
from backstay.vault.frames import LARGEST_PLAIN, Cipher, FrameKind, Head, What, cipher, read_head
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, verified
from backstay.vault.roles import may_sign

_SIGNER, _SIGNATURE = 32, 64
LONGEST_BODY = LARGEST_PLAIN[FrameKind.BODY] - _SIGNER - _SIGNATURE


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
    """The bytes to store under `key`. A letter opens for readers only. Raises WrongKey without a signing key;
    NotSupported for a body that is longer than `open_box` would open."""
    epoch, id = opened.newest, secrets.token_bytes(16)
    head = Head(What.LETTER if letter else What.BOX, epoch.id, opened.family, id, key)
    if letter:
        fresh = secrets.token_bytes(32)
        slot = opened.seal_key(epoch, fresh, head.address)
        head, sealer = Head(What.LETTER, epoch.id, opened.family, id, key, slot), Cipher(fresh, head.address)
    else:
        sealer = cipher(opened, head)
    if len(body) > LONGEST_BODY:
        raise NotSupported(
            f"{key} would be longer than any box may be: nobody could open it again",
            detail=f"{len(body)} bytes, and {LONGEST_BODY} is the most",
            hint="nothing was stored; where packs are moved: prune more often, so that fewer are moved at once",
        )
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
    refuse_unsigned(opened, key, box.signer, data)
    return box


def refuse_unsigned(opened: Opened, key: Key, signer: bytes, data: bytes) -> None:
    """The signature fits; does it count? `data`: what stands for the object in the list of a retired signer. Raises
    Damaged."""
    who = f"signer {signer.hex()[:16]}…"
    if (role := opened.role(signer)) is None:
        raise Damaged(f"{key} is signed by nobody who is enrolled in this vault", detail=who)
    if not may_sign(role, key):
        raise Damaged(f"{key} is signed by a {role.value}, who may not write there", detail=who)
    if (retired := opened.retired.get(signer)) is None:
        return
    try:
        believed = retired.believes(key, data)
    except (Damaged, ObjectMissing) as error:
        raise Damaged(
            f"{key} is signed by somebody who was retired, and the list of what he had sealed cannot be read",
            detail=f"{who}; {error.message}",
            hint="take what is missing below retired/ from another vault of the plan",
        ) from None
    if not believed:
        raise Damaged(
            f"{key} is signed by somebody who was retired, and appeared later",
            detail=f"{who}; it is not in the list of what he had sealed until then",
            hint="somebody may have his old key: `backstay key list`",
        )


def _message(head: Head, body: bytes) -> bytes:
    return b"backstay 1 box\n" + head.address + body
