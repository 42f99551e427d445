"""Making a vault, and opening one: the header, the root, the keys.

The header is three lines that will never change their shape, so that any version can read which format it meets:
a line with the format's number, a line of JSON signed by the root, and the SHA-256 of both. A header whose digest is
right and whose number is higher is *newer*; one whose digest is wrong is *damaged*.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from backstay.errors import Damaged, ObjectMissing, VaultExists, VaultMissing, VaultNewer, WrongKey
from backstay.ports import Store
from backstay.values import stamp
from backstay.vault import firsts, names
from backstay.vault.codec import hex_of, text_of
from backstay.vault.frames import FORMAT
from backstay.vault.keyring import TRUST, Keyring, Recipient
from backstay.vault.keys import (
    Bundle,
    Opened,
    derived,
    new_epoch,
    open_epochs,
    read_statement,
    read_writers,
    sign_statement,
    wrapped,
)

_HEADER = re.compile(rb"Backstay vault, format (\d{1,6})\n(.*)\nsha256 ([0-9a-f]{64})\n", re.DOTALL)


def lay_foundation(
    store: Store, *, plan_name: str, keys: Keyring, recipients: Iterable[Recipient] = (), now: datetime
) -> None:
    """Make a vault: `keys` becomes its root and its first writer; `recipients` (by default `keys` alone) can read it.

    The header is written last: half a vault is none, and making it again makes it whole.
    Raises VaultExists; WrongKey when `keys` cannot sign.
    """
    readers = tuple(recipients) or ((keys.recipient,) if keys.recipient else ())
    if keys.writer is None or not readers:
        raise WrongKey("this key cannot make a vault", detail="it must sign, and somebody must be able to read")
    if has_header(store):
        raise VaultExists(f"there is a vault in {store.describe()} already", hint="open it, or choose an empty place")
    bundle = Bundle(secrets.token_bytes(16), secrets.token_bytes(32), new_epoch(1))
    # What an attempt left that died before its header is of another family, and is not looked at.
    objects = [wrapped(bundle, "reader", who, keys, now=now) for who in dict.fromkeys(readers)]
    if keys.recipient:
        objects += [wrapped(bundle, "writer", keys.recipient, keys, now=now)]
    for key, data in objects:
        store.put_if_absent(key, data)
    body = header_body(bundle.family, plan_name, now)
    if not store.put_if_absent(names.HEADER, write_header(sign_statement("vault", body, keys))):
        raise VaultExists(f"somebody else made a vault in {store.describe()} at this moment")


def header_body(family: bytes, plan_name: str, now: datetime) -> dict[str, Any]:
    """Of a new vault: its own id is random."""
    return {"family": family.hex(), "made": stamp(now), "plan": plan_name, "vault": secrets.token_hex(16)}


def write_header(statement: bytes) -> bytes:
    text = f"Backstay vault, format {FORMAT}\n".encode() + statement + b"\n"
    return text + b"sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n"


def read_header(data: bytes, where: str) -> dict[str, Any]:
    """The signed body. Raises Damaged, VaultNewer."""
    found = _HEADER.fullmatch(data)
    if found is None or hashlib.sha256(data[: -len("sha256 \n") - 64]).hexdigest().encode() != found.group(3):
        raise Damaged(
            f"the header of the vault in {where} was changed",
            detail=f"the object {names.HEADER!r} does not have the digest that it ends with",
            hint="take this one small object from a copy of the vault",
        )
    if (version := int(found.group(1))) > FORMAT:
        raise VaultNewer(
            f"the vault in {where} has format {version}, and this Backstay reads format {FORMAT}",
            detail="it is not damaged; nothing in it was changed",
            hint="use the version of Backstay that wrote it, or a later one",
        )
    try:
        return read_statement("vault", found.group(2))
    except ValueError as error:
        raise Damaged(f"the header of the vault in {where} is damaged: {error}") from None


def unlock(store: Store, keys: Keyring) -> Opened:
    """Everything that `keys` opens. Raises VaultMissing, VaultNewer, WrongKey, Damaged."""
    # A header of somebody else, laid over ours, would be sound in itself: the first one counts.
    firsts.pinned(store, names.HEADER)
    try:
        header = read_header(store.get(names.HEADER), store.describe())
    except ObjectMissing:
        raise VaultMissing(
            f"there is no vault in {store.describe()}",
            detail=f"the place answers, and holds no object {names.HEADER!r}",
            hint="compare the address with the plan, and see whether its disk is mounted; only for a new start: "
            "`backstay init`",
        ) from None
    try:
        family, root = hex_of(header, "family", 16), hex_of(header, "by", 32)
        vault, plan = hex_of(header, "vault", 16), text_of(header, "plan")
    except ValueError as error:
        raise Damaged(f"the header of the vault in {store.describe()} is damaged: {error}") from None
    known = root == keys.writer or root in keys.trusted
    if keys.trusted and not known:
        raise WrongKey(
            f"the vault in {store.describe()} was made by somebody whom this key does not trust",
            detail=f"its root is {root.hex()}",
        )
    writers = read_writers(store, family, root)
    owners = [public for public, role in writers.items() if role == "owner"]
    epochs, id_key = open_epochs(store, keys, family, root, owners)
    return Opened(
        family, vault, plan, root, known, writers, epochs,
        derived(id_key, "chunk ids"), derived(id_key, "node ids"), derived(id_key, "object names"),
    )  # fmt: skip


def has_header(store: Store) -> bool:
    try:
        store.get(names.HEADER, 0, 1)
    except ObjectMissing:
        return False
    return True


def refuse_unless_writer(opened: Opened, keys: Keyring) -> None:
    """Raises WrongKey."""
    if keys.writer is None:
        raise WrongKey("this key can read, but not write", detail="it holds no signing key")
    if keys.writer not in opened.writers:
        raise WrongKey(
            "this key is not enrolled as a writer of the vault", detail=f"signing key {keys.writer.hex()[:16]}…"
        )
    if not opened.root_known:
        # Else whoever can write to the store could put a vault of his own there, and read what we seal to it.
        raise WrongKey(
            "this key does not know the root of the vault, so it may not write to it",
            detail=f"the root is {opened.root.hex()}",
            hint=f"compare that with what the owner says, and add the line `{TRUST} <root>` to the key file",
        )
