"""Making a vault, and opening one: the header, the root, the keys.

The header is three lines that will never change their shape, so that any version can read which format it meets:
a line with the format's number, a line of JSON signed by the root, and the SHA-256 of both. A header whose digest is
right and whose number is higher is *newer*; one whose digest is wrong is *damaged*.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backstay.errors import Damaged, ObjectMissing, VaultExists, VaultMissing, VaultNewer, WrongKey
from backstay.ports import Key, Store
from backstay.values import stamp
from backstay.vault import firsts, names
from backstay.vault.codec import hex_of, text_of
from backstay.vault.epochs import Bundle, Used, new_epoch, open_epochs, sealed_words, wrapped
from backstay.vault.frames import FORMAT
from backstay.vault.keyring import SECRET_SIZE, TRUST, Keyring, Passphrase, Recipient
from backstay.vault.keys import Opened, Retired, derived, read_statement, sign_statement
from backstay.vault.roles import Role, may_sign
from backstay.vault.signers import Signers, read_signers

ROOT_NAME = "owner"
"""What the key that made the vault is called."""

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
    for who in dict.fromkeys(readers):
        address, words = for_reader(bundle.family, who, keys, now)
        name = who.label if isinstance(who, Passphrase) else ROOT_NAME if who == keys.recipient else ""
        for key, data in [*words, wrapped(bundle, "reader", address, keys, now=now, name=name)]:
            store.put_if_absent(key, data)
    if keys.recipient:
        store.put_if_absent(*wrapped(bundle, "writer", keys.recipient, keys, now=now, name=ROOT_NAME))
    body = header_body(bundle.family, plan_name, now)
    if not store.put_if_absent(names.HEADER, write_header(sign_statement("vault", body, keys))):
        raise VaultExists(f"somebody else made a vault in {store.describe()} at this moment")


def header_body(family: bytes, plan_name: str, now: datetime) -> dict[str, Any]:
    """Of a new vault: its own id is random."""
    return {"family": family.hex(), "made": stamp(now), "plan": plan_name, "vault": secrets.token_hex(16)}


def for_reader(family: bytes, who: Recipient, keys: Keyring, now: datetime) -> tuple[str, list[tuple[Key, bytes]]]:
    """The address to wrap epochs for, and what has to be stored first: of a passphrase, the key that it opens."""
    if isinstance(who, str):
        return who, []
    secret = secrets.token_bytes(SECRET_SIZE)
    return Keyring.of(secret).recipient or "", [sealed_words(secret, who, keys, family=family, now=now)]


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


@dataclass(frozen=True, slots=True)
class Founded:
    """What the header says: whose vault it is."""

    family: bytes
    root: bytes
    vault: bytes
    plan: str


def founded(store: Store) -> Founded:
    """Raises VaultMissing, VaultNewer, Damaged."""
    # A header of somebody else, laid over ours, would be sound in itself: the first one counts.
    firsts.pinned(store, names.HEADER)
    try:
        header = read_header(store.get(names.HEADER), store.describe())
    except ObjectMissing:
        raise VaultMissing(
            f"there is no vault in {store.describe()}",
            detail=f"no object {names.HEADER!r} is there",
            hint="compare the address with the plan, and see whether its disk is mounted; only for a new start: "
            "`backstay init`",
        ) from None
    try:
        return Founded(
            hex_of(header, "family", 16), hex_of(header, "by", 32), hex_of(header, "vault", 16), text_of(header, "plan")
        )
    except ValueError as error:
        raise Damaged(f"the header of the vault in {store.describe()} is damaged: {error}") from None


def unlock(store: Store, keys: Keyring) -> Opened:
    """Everything that `keys` opens. Raises VaultMissing, VaultNewer, WrongKey, Damaged."""
    header = founded(store)
    family, root = header.family, header.root
    known = root == keys.writer or root in keys.trusted
    if keys.trusted and not known:
        raise WrongKey(
            f"the vault in {store.describe()} was made by somebody whom this key does not trust",
            detail=f"its root is {root.hex()}",
        )
    signers = read_signers(store, family, root)
    found = open_epochs(store, keys, family, signers)
    believe_the_epochs(signers, found.used.values())
    return Opened(
        family, header.vault, header.plan, root, known, signers.writers, found.opened,
        derived(found.id_key, "chunk ids"), derived(found.id_key, "node ids"), derived(found.id_key, "object names"),
        signers.retired, found.unused, found.latest, [*signers.passed_over, *found.passed_over],
    )  # fmt: skip


def believe_the_epochs(signers: Signers, used: Iterable[Used]) -> None:
    """An epoch names the signers that were retired before it. If the statement about one of them is gone, somebody
    removed it, to make the stolen key count again: it does not."""

    def gone() -> frozenset[bytes]:
        raise Damaged("the statement that retired its signer was removed from the vault")

    for one in used:
        for public in one.retired:
            if public not in signers.retired and public != signers.root:
                was = signers.active.pop(public, None)
                signers.retired[public] = Retired(was.role if was else Role.WRITER, (gone,))


def has_header(store: Store) -> bool:
    try:
        store.get(names.HEADER, 0, 1)
    except ObjectMissing:
        return False
    return True


def refuse_unless_writer(opened: Opened, keys: Keyring) -> None:
    """Whoever makes points must be one who may. Raises WrongKey."""
    refuse_unless_may_sign(opened, keys, Key("points/"))


def refuse_unless_may_sign(opened: Opened, keys: Keyring, key: Key) -> None:
    """Before anything is sealed under `key`: else it would be there and count for nothing. Raises WrongKey."""
    if keys.writer is None:
        raise WrongKey("this key can read, but not write", detail="it holds no signing key")
    if keys.writer in opened.retired:
        raise WrongKey("this key was retired: nothing that it seals is believed", hint="use another key of the vault")
    if (role := opened.role(keys.writer)) is None:
        raise WrongKey(
            "this key is not enrolled as a writer of the vault",
            detail=f"signing key {keys.writer.hex()[:16]}…",
            hint="its owner enrols it: `backstay key add`",
        )
    if not may_sign(role, key):
        what = key.partition("/")[0]
        raise WrongKey(
            f"this key is enrolled as a {role.value}, and may not write {what} into the vault",
            detail="what it may write, its role says: `backstay key list`",
            hint="use the key of a writer or of the owner",
        )
    if not opened.root_known:
        # Else whoever can write to the store could put a vault of his own there, and read what we seal to it.
        raise WrongKey(
            "this key does not know the root of the vault, so it may not write to it",
            detail=f"the root is {opened.root.hex()}",
            hint=f"compare that with what the owner says, and add the line `{TRUST} <root>` to the key file",
        )
    if opened.newest.number < opened.latest or opened.newest.id in opened.unused:
        raise WrongKey(
            "the keys of the vault were changed, and the new ones were not wrapped for this key",
            detail=f"epoch {opened.latest} is in use, and this key opens {opened.newest.number} at most",
            hint="the owner adds it again: `backstay key add`",
        )
