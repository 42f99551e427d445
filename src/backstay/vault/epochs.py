"""Epochs: the keys that everything is sealed with, wrapped for each reader and each host that writes.

A *reader* gets the private half too, a *writer* does not: so a host can write, and cannot read back. A wrap is signed,
because age does not say who wrapped: else whoever can write to the store could hand a host an epoch of his own, and
read what it seals.

A new epoch is wrapped for everybody first. Only then the statement `used` is put beside the wraps, and from there on
writers take it: nothing is ever sealed in an epoch that somebody who should read it cannot open. The first epoch of a
vault needs no such statement; the header, written last, is its.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Key, Listed, Store
from backstay.values import stamp
from backstay.vault import names
from backstay.vault.codec import hex_of, pack_json, text_of, texts_of, unhex, unpack_json, whole_of
from backstay.vault.keyring import Keyring, Passphrase, unwrap_words, wrap, wrap_words
from backstay.vault.keys import Epoch, PassedOver, fingerprint, read_small, read_statement, sign_statement
from backstay.vault.signers import Signers, named, read_signers


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is wrapped for somebody."""

    family: bytes
    id_key: bytes = field(repr=False)
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Wrap:
    """One epoch's keys for one recipient, as the statement has it."""

    number: int
    epoch: bytes
    role: str
    """`reader` or `writer`."""
    recipient: str
    """`age1…`."""
    name: str
    made: str


@dataclass(frozen=True, slots=True)
class Used:
    """The statement that takes an epoch into use."""

    number: int
    epoch: bytes
    wraps: tuple[str, ...]
    """The last parts of the keys of its wraps when it was taken into use."""
    retired: tuple[bytes, ...]
    """Signers that were retired by then: it shows when one of their statements was removed."""


@dataclass(slots=True)
class Epochs:
    """What a keyring opens, and what stands beside it for others to see."""

    opened: dict[bytes, Epoch] = field(default_factory=dict[bytes, Epoch], repr=False)
    id_key: bytes = field(default=b"", repr=False)
    used: dict[bytes, Used] = field(default_factory=dict[bytes, Used])
    passed_over: list[PassedOver] = field(default_factory=list[PassedOver])

    @property
    def latest(self) -> int:
        return max((one.number for one in self.used.values()), default=1)

    @property
    def unused(self) -> frozenset[bytes]:
        return frozenset(id for id, epoch in self.opened.items() if epoch.number > 1 and id not in self.used)


# ── making ───────────────────────────────────────────────────────────────────────────────────────


def new_epoch(number: int) -> Epoch:
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return Epoch(
        hashlib.sha256(public).digest()[:8], number, public, secrets.token_bytes(32), private.private_bytes_raw()
    )


def wrapped(
    bundle: Bundle, role: str, recipient: str, keys: Keyring, *, now: datetime, name: str = ""
) -> tuple[Key, bytes]:
    """Key and content of the object that gives `recipient` (`age1…`) the keys of an epoch; `role` is `reader` or
    `writer`. Raises WrongKey for an address that is none."""
    assert role in ("reader", "writer")
    epoch = bundle.epoch
    secret = {
        "epoch": epoch.id.hex(), "family": bundle.family.hex(), "id_key": bundle.id_key.hex(),
        "metadata_key": epoch.metadata_key.hex(), "number": epoch.number, "public": epoch.public.hex(),
    }  # fmt: skip
    if role == "reader" and epoch.private is not None:
        secret["private"] = epoch.private.hex()
    body = {
        "age": wrap(pack_json(secret), recipient).hex(), "epoch": epoch.id.hex(), "family": bundle.family.hex(),
        "for": recipient, "made": stamp(now), "number": epoch.number, "role": role,
    }  # fmt: skip
    key = names.wrap(epoch.number, epoch.id, role, fingerprint(recipient.encode()))
    return key, sign_statement("wrap", body | named(name), keys)


def taken_into_use(
    epoch: Epoch, family: bytes, wraps: Iterable[Key], retired: Collection[bytes], keys: Keyring, *, now: datetime
) -> tuple[Key, bytes]:
    """Key and content of the object that makes writers take an epoch."""
    body = {
        "epoch": epoch.id.hex(), "family": family.hex(), "made": stamp(now), "number": epoch.number,
        "retired": sorted(public.hex() for public in retired), "wraps": sorted(key.split("/")[-1] for key in wraps),
    }  # fmt: skip
    return names.used(epoch.number, epoch.id), sign_statement("epoch", body, keys)


def sealed_words(
    secret: bytes, passphrase: Passphrase, keys: Keyring, *, family: bytes, now: datetime
) -> tuple[Key, bytes]:
    """Key and content of the object from which the words of `passphrase` open `secret` (32 bytes, `Keyring.of`)."""
    recipient = Keyring.of(secret).recipient or ""
    body = {
        "age": wrap_words(secret, passphrase.words).hex(), "family": family.hex(), "for": recipient,
        "made": stamp(now), "name": passphrase.label,
    }  # fmt: skip
    return names.words(fingerprint(recipient.encode())), sign_statement("words", body, keys)


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


def open_epochs(store: Store, keys: Keyring, family: bytes, signers: Signers) -> Epochs:
    """The epochs that `keys` opens. Of the wraps, only those whose names say that they are ours are fetched. Raises
    WrongKey when none of them opens."""
    found = Epochs()
    rings = [keys, *from_words(store, keys.passphrases, family, signers, found.passed_over)]
    ours = {fingerprint(ring.recipient.encode()): ring for ring in rings if ring.recipient}
    others: list[Listed] = []
    for listed in store.list(names.KEYS):
        try:
            _, _, role, who = names.read_wrap(listed.key)
            if role and who not in ours:
                others.append(listed)
            elif role:
                if (wrap := read_wrap(store, listed, family, signers)) is not None:
                    _open(found, wrap[1], ours[who])
            elif (used := read_used(store, listed, family, signers)) is not None:
                found.used[used.epoch] = used
        except ValueError as error:
            found.passed_over.append(PassedOver(listed.key, str(error)))
    if not found.opened:
        raise WrongKey(
            f"no key that we hold opens the vault in {store.describe()}",
            detail=_for_whom(store, others, family, signers, found.passed_over),
            hint="use the key file that was made with the vault, or a copy of it",
        )
    return found


def read_wrap(store: Store, listed: Listed, family: bytes, signers: Signers) -> tuple[Wrap, dict[str, Any]] | None:
    """What a wrap says, and its whole body. None for one of another family. Raises ValueError for what does not
    count."""
    data = read_small(store, listed)
    body = read_statement("wrap", data)
    if hex_of(body, "family", 16) != family:
        return None  # left by the making of a vault that was never finished
    wrap = Wrap(
        whole_of(body, "number"), hex_of(body, "epoch", 8), text_of(body, "role"), text_of(body, "for"),
        str(body.get("name", "")), text_of(body, "made"),
    )  # fmt: skip
    if listed.key != names.wrap(wrap.number, wrap.epoch, wrap.role, fingerprint(wrap.recipient.encode())):
        raise ValueError("it belongs elsewhere")
    _refuse_unless_owned(listed.key, data, body, signers)
    return wrap, body


def read_used(store: Store, listed: Listed, family: bytes, signers: Signers) -> Used | None:
    """As `read_wrap`."""
    data = read_small(store, listed)
    body = read_statement("epoch", data)
    if hex_of(body, "family", 16) != family:
        return None
    used = Used(
        whole_of(body, "number"), hex_of(body, "epoch", 8),
        texts_of(body, "wraps"), tuple(unhex(public, 32) for public in texts_of(body, "retired")),
    )  # fmt: skip
    if listed.key != names.used(used.number, used.epoch):
        raise ValueError("it belongs elsewhere")
    _refuse_unless_owned(listed.key, data, body, signers)
    return used


def from_words(
    store: Store, passphrases: Sequence[str], family: bytes, signers: Signers, passed_over: list[PassedOver]
) -> list[Keyring]:
    """The keys that these words open. Only what an owner signed is tried: a stranger's file could make one derivation
    last for hours."""
    found: list[Keyring] = []
    for listed in store.list(names.WORDS) if passphrases else ():
        try:
            if (sealed := read_words(store, listed, family, signers)) is None:
                continue
            opened = (unwrap_words(sealed, words) for words in passphrases)
            found += [Keyring.of(secret) for secret in opened if secret is not None and len(secret) == 32]
        except ValueError as error:
            passed_over.append(PassedOver(listed.key, str(error)))
    return found


def read_words(store: Store, listed: Listed, family: bytes, signers: Signers) -> bytes | None:
    """The age file that a passphrase opens. None for one of another family. Raises ValueError for what does not
    count."""
    data = read_small(store, listed)
    body = read_statement("words", data)
    if hex_of(body, "family", 16) != family:
        return None
    if listed.key != names.words(fingerprint(text_of(body, "for").encode())):
        raise ValueError("it belongs elsewhere")
    _refuse_unless_owned(listed.key, data, body, signers)
    return hex_of(body, "age")


def examine(store: Store, family: bytes, root: bytes) -> list[PassedOver]:
    """Every statement of a vault, and what does not count among them: a stranger's, or one that was changed."""
    signers = read_signers(store, family, root)
    found = list(signers.passed_over)
    for listed in store.list(names.KEYS):
        try:
            _, _, role, _ = names.read_wrap(listed.key)
            read = read_wrap if role else read_used
            read(store, listed, family, signers)
        except ValueError as error:
            found.append(PassedOver(listed.key, str(error)))
    for listed in store.list(names.WORDS):
        try:
            read_words(store, listed, family, signers)
        except ValueError as error:
            found.append(PassedOver(listed.key, str(error)))
    for public, retired in signers.retired.items():
        try:
            retired.believes("", b"")
        except (Damaged, ObjectMissing) as error:
            found.append(PassedOver(f"{names.RETIRED}{fingerprint(family + public)}", error.message))
    return found


def _refuse_unless_owned(key: Key, data: bytes, body: dict[str, Any], signers: Signers) -> None:
    if not signers.owned(hex_of(body, "by", 32), key, data):
        raise ValueError("it is signed by nobody whom the root knows")


def _for_whom(
    store: Store, others: list[Listed], family: bytes, signers: Signers, passed_over: list[PassedOver]
) -> str:
    readers: list[str] = []
    for listed in others:
        try:
            if (found := read_wrap(store, listed, family, signers)) is not None and found[0].role == "reader":
                readers.append(f"{found[0].recipient} ({found[0].name})" if found[0].name else found[0].recipient)
        except ValueError as error:
            passed_over.append(PassedOver(listed.key, str(error)))
    said = "it opens for " + (", ".join(dict.fromkeys(readers)) or "nobody: its wrapped keys are missing")
    return said + "".join(f"; {one.key} is passed over: {one.why}" for one in passed_over[:3])


def _open(found: Epochs, body: dict[str, Any], ring: Keyring) -> None:
    """Raises ValueError for what a recipient cannot make sense of."""
    if (secret := ring.opened(hex_of(body, "age"))) is not None:
        epoch, found.id_key = _read_secret(secret, body)
        if epoch.id not in found.opened or found.opened[epoch.id].private is None:
            found.opened[epoch.id] = epoch


def _read_secret(secret: bytes, body: dict[str, Any]) -> tuple[Epoch, bytes]:
    found = unpack_json(secret)
    if any(found.get(key) != body[key] for key in ("epoch", "family", "number")):
        raise ValueError("what is inside is not what is written outside")
    private = hex_of(found, "private", 32) if "private" in found else None
    epoch = Epoch(
        hex_of(found, "epoch", 8), whole_of(found, "number"), hex_of(found, "public", 32),
        hex_of(found, "metadata_key", 32), private,
    )  # fmt: skip
    if hashlib.sha256(epoch.public).digest()[:8] != epoch.id:
        raise ValueError("the epoch is not the one of its public key")
    return epoch, hex_of(found, "id_key", 32)
