"""The keys of a vault: a root that everybody believes, enrolled writers, and epochs.

- The *root* is the Ed25519 key that made the vault. It signs the header, enrols writers, and signs wrapped keys.
- A *writer* is an enrolled Ed25519 key; everything that it seals carries its signature. An *owner* may enrol others.
- An *epoch* has an X25519 key pair: each data pack has a fresh key, sealed to the public half (HPKE, RFC 9180). Its
  metadata key opens trees, indexes and points. Both are wrapped with age: for readers with the private half, for
  writers without, so a host can write and cannot read back.
- The *id key* makes chunk ids. It never changes, or nothing would be found again.

A wrap is signed, because age alone does not say who wrapped: without that, whoever can write to the store could
hand a writer an epoch of his own, and read what it seals.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backstay.errors import Damaged, WrongKey
from backstay.ports import Key, Store
from backstay.values import stamp
from backstay.vault import names
from backstay.vault.codec import hex_of, pack_json, text_of, unpack_json, whole_of
from backstay.vault.keyring import Keyring, Passphrase, Recipient, wrap

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
SLOT_SIZE = 80
"""An HPKE-sealed 32-byte key: 32 bytes encapsulated key, 32 bytes, 16 bytes tag."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The keys of one epoch, as far as we hold them."""

    id: bytes
    number: int
    public: bytes
    metadata_key: bytes = field(repr=False)
    private: bytes | None = field(repr=False)
    """None: we may write, not read back."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that a keyring opens in one vault."""

    family: bytes
    """16 random bytes, the same in every vault of a plan: what all associated data begins with."""
    vault: bytes
    plan: str
    root: bytes
    root_known: bool
    """Whether our keyring names this root. Else it is taken at its word, which is enough to read and not to write."""
    writers: dict[bytes, str]
    """Public key to role (`owner` or `writer`)."""
    epochs: dict[bytes, Epoch] = field(repr=False)
    chunk_key: bytes = field(repr=False)
    node_key: bytes = field(repr=False)
    name_key: bytes = field(repr=False)

    @property
    def newest(self) -> Epoch:
        return max(self.epochs.values(), key=lambda epoch: (epoch.number, epoch.id))

    def chunk_id(self, chunk: bytes | memoryview) -> bytes:
        """Keyed BLAKE3 of the plaintext, 32 bytes."""
        return blake3(chunk, key=self.chunk_key).digest()

    def epoch(self, id: bytes) -> Epoch:
        """Raises WrongKey for one whose keys we were never given."""
        try:
            return self.epochs[id]
        except KeyError:
            raise WrongKey(
                "this was sealed in a key epoch that we hold no key of", detail=f"epoch {id.hex()}"
            ) from None

    def seal_key(self, epoch: Epoch, key: bytes, info: bytes) -> bytes:
        return SUITE.encrypt(key, X25519PublicKey.from_public_bytes(epoch.public), info=info)

    def open_key(self, epoch: bytes, slot: bytes, info: bytes) -> bytes:
        """The key of a data pack. Raises WrongKey for a writer, cryptography's InvalidTag for damage."""
        if (private := self.epoch(epoch).private) is None:
            raise WrongKey(
                "this key may write to the vault, and cannot read data back",
                detail="it is enrolled as a writer, not as a reader",
                hint="use the key file of a reader",
            )
        return SUITE.decrypt(slot, X25519PrivateKey.from_private_bytes(private), info=info)

    def metadata_key(self, epoch: bytes, object_id: bytes, info: bytes) -> bytes:
        """A key for one object alone, from the epoch's metadata key."""
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=object_id, info=info)
        return derive.derive(self.epoch(epoch).metadata_key)


def fingerprint(public: bytes) -> str:
    """Sixteen digits that name a key in keys of objects and in messages."""
    return hashlib.sha256(public).hexdigest()[:16]


def verified(signer: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# ── signed statements ────────────────────────────────────────────────────────────────────────────


def sign_statement(kind: str, body: dict[str, Any], keys: Keyring) -> bytes:
    """A small public object that somebody answers for: canonical JSON with `by` and `signature`."""
    assert keys.writer is not None
    body = {**body, "by": keys.writer.hex()}
    return pack_json({**body, "signature": keys.sign(_message(kind, body)).hex()})


def read_statement(kind: str, data: bytes) -> dict[str, Any]:
    """The body, its signature checked against `by`; whether `by` may say so is the caller's question."""
    body = unpack_json(data)
    signature = hex_of(body, "signature", 64)
    del body["signature"]
    if not verified(hex_of(body, "by", 32), signature, _message(kind, body)):
        raise ValueError("its signature does not fit")
    return body


def _message(kind: str, body: dict[str, Any]) -> bytes:
    return f"backstay 1 {kind}\n".encode() + pack_json(body)


# ── writers ──────────────────────────────────────────────────────────────────────────────────────


def enrolment(public: bytes, role: str, keys: Keyring, *, family: bytes, now: datetime) -> tuple[Key, bytes]:
    """Key and content of the object that makes `public` a writer (or an `owner`)."""
    body = {"family": family.hex(), "made": stamp(now), "role": role, "writer": public.hex()}
    return Key(f"{names.WRITERS}{fingerprint(family + public)}"), sign_statement("writer", body, keys)


def read_writers(store: Store, family: bytes, root: bytes) -> dict[bytes, str]:
    """Everybody enrolled by the root, or by an owner that the root's chain reaches. Raises Damaged."""
    claims: list[tuple[bytes, bytes, str]] = []
    for listed in store.list(names.WRITERS):
        try:
            body = read_statement("writer", store.get(listed.key))
            of_family, writer = hex_of(body, "family", 16), hex_of(body, "writer", 32)
            if listed.key != f"{names.WRITERS}{fingerprint(of_family + writer)}":
                raise ValueError("it belongs elsewhere")
            if of_family != family:
                continue  # left by the making of a vault that was never finished
            claims.append((hex_of(body, "by", 32), writer, text_of(body, "role")))
        except ValueError as error:
            raise Damaged(f"the enrolment {listed.key} is damaged: {error}") from None
    found = {root: "owner"}
    while new := {w: role for by, w, role in claims if w not in found and found.get(by) == "owner"}:
        found.update(new)
    return found


# ── epochs ───────────────────────────────────────────────────────────────────────────────────────


def new_epoch(number: int) -> Epoch:
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return Epoch(
        hashlib.sha256(public).digest()[:8], number, public, secrets.token_bytes(32), private.private_bytes_raw()
    )


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is wrapped for somebody."""

    family: bytes
    id_key: bytes = field(repr=False)
    epoch: Epoch


def wrapped(bundle: Bundle, role: str, recipient: Recipient, keys: Keyring, *, now: datetime) -> tuple[Key, bytes]:
    """Key and content of the object that gives `recipient` the keys of an epoch; `role` is `reader` or `writer`."""
    assert role in ("reader", "writer")
    epoch = bundle.epoch
    secret = {
        "epoch": epoch.id.hex(), "family": bundle.family.hex(), "id_key": bundle.id_key.hex(),
        "metadata_key": epoch.metadata_key.hex(), "number": epoch.number, "public": epoch.public.hex(),
    }  # fmt: skip
    if role == "reader" and epoch.private is not None:
        secret["private"] = epoch.private.hex()
    who = f"passphrase {recipient.label}" if isinstance(recipient, Passphrase) else recipient
    body = {
        "age": wrap(pack_json(secret), recipient).hex(), "epoch": epoch.id.hex(), "family": bundle.family.hex(),
        "for": who, "made": stamp(now), "number": epoch.number, "role": role,
    }  # fmt: skip
    return _wrap_key(epoch.number, epoch.id, role, who), sign_statement("wrap", body, keys)


def _wrap_key(number: int, epoch: bytes, role: str, who: str) -> Key:
    return Key(f"{names.KEYS}{number:06d}-{epoch.hex()}/{role}-{fingerprint(who.encode())}")


def open_epochs(
    store: Store, keys: Keyring, family: bytes, root: bytes, owners: Iterable[bytes]
) -> tuple[dict[bytes, Epoch], bytes]:
    """The epochs that `keys` opens, and the id key. Raises WrongKey when there is none, Damaged for altered ones."""
    allowed, epochs, others = {root, *owners}, dict[bytes, Epoch](), list[str]()
    id_key = b""
    for listed in store.list(names.KEYS):
        try:
            body = _read_wrap(listed.key, store.get(listed.key))
            if hex_of(body, "family", 16) != family:
                continue  # left by the making of a vault that was never finished
            if hex_of(body, "by", 32) not in allowed:
                raise ValueError("it is signed by nobody whom the root knows")
            if text_of(body, "role") == "reader":
                others.append(text_of(body, "for"))
            if not _may_be_ours(text_of(body, "for"), keys):
                continue
            for secret in keys.opened(hex_of(body, "age")):
                epoch, id_key = _read_secret(secret, body)
                if epoch.id not in epochs or epochs[epoch.id].private is None:
                    epochs[epoch.id] = epoch
        except ValueError as error:
            raise Damaged(f"the wrapped key {listed.key} is damaged: {error}") from None
    if not epochs:
        raise WrongKey(
            f"no key that we hold opens the vault in {store.describe()}",
            detail="it opens for " + (", ".join(dict.fromkeys(others)) or "nobody: its wrapped keys are missing"),
            hint="use the key file that was made with the vault, or a copy of it",
        )
    return epochs, id_key


def _may_be_ours(who: str, keys: Keyring) -> bool:
    """Spares a scrypt for what is surely for somebody else."""
    return who == keys.recipient or (who.startswith("passphrase ") and bool(keys.passphrases))


def _read_wrap(key: Key, data: bytes) -> dict[str, Any]:
    body = read_statement("wrap", data)
    expected = _wrap_key(
        whole_of(body, "number"), hex_of(body, "epoch", 8), text_of(body, "role"), text_of(body, "for")
    )
    if key != expected:
        raise ValueError("it belongs elsewhere")
    return body


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


def derived(id_key: bytes, purpose: str) -> bytes:
    """BLAKE3's derive_key: ids of chunks, ids of nodes and names of objects never share a key."""
    return blake3(id_key, derive_key_context=f"backstay 2026-11 {purpose} v1").digest()
