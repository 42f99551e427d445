"""What a keyring opens in one vault, and the signed statements that everything about keys rests on.

- The *root* is the Ed25519 key that made the vault. It signs the header, enrols signers, and signs wrapped keys.
- A *signer* is an enrolled Ed25519 key (`signers`); what it may seal, its role says (`roles`).
- An *epoch* (`epochs`) has an X25519 key pair: each data pack has a fresh key, sealed to the public half (HPKE, RFC
  9180). Its metadata key opens trees, indexes and points.
- The *id key* makes chunk ids. It never changes, or nothing would be found again.

Below `keys/`, `writers/`, `retired/` and `words/` lie public statements. Whoever can write to the store can put
anything there; what is not validly signed by somebody who may is *passed over*, and reported. It must never be a reason
not to open: else one small file would close the vault on the worst day.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backstay.errors import ObjectMissing, WrongKey
from backstay.ports import Listed, Store
from backstay.vault.codec import hex_of, pack_json, unpack_json
from backstay.vault.keyring import Keyring
from backstay.vault.roles import Role

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
    """Everybody who may sign now: public key to role (`roles`)."""
    epochs: dict[bytes, Epoch] = field(repr=False)
    chunk_key: bytes = field(repr=False)
    node_key: bytes = field(repr=False)
    name_key: bytes = field(repr=False)
    retired: "dict[bytes, Retired]" = field(default_factory=dict["bytes", "Retired"], repr=False)
    """Those who may not sign any more, and what is believed of them."""
    unused: frozenset[bytes] = frozenset()
    """Epochs that are wrapped and were never taken into use: nothing is sealed in them."""
    latest: int = 1
    """The number of the newest epoch that is in use, whether we hold its keys or not."""
    passed_over: "list[PassedOver]" = field(default_factory=list["PassedOver"])
    """What was met while opening, and is nobody's whom the root knows."""

    @property
    def newest(self) -> Epoch:
        """The epoch that new objects are sealed in, as far as we hold its keys."""
        used = [epoch for epoch in self.epochs.values() if epoch.id not in self.unused]
        return max(used or self.epochs.values(), key=lambda epoch: (epoch.number, epoch.id))

    def role(self, signer: bytes) -> Role | None:
        """What a signer is now, or was until it was retired; None for a stranger."""
        if signer in self.retired:
            return self.retired[signer].role
        return Role(self.writers[signer]) if signer in self.writers else None

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


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An object that is not what its name promises, or was signed by nobody who may: it counts for nothing."""

    key: str
    why: str


@dataclass(slots=True)
class Retired:
    """A signer of before. What was listed when it was retired stays believed; nothing else that it signed is."""

    role: Role
    lists: tuple[Callable[[], frozenset[bytes]], ...]
    """Each gives the `seen` of what it had sealed; read when first needed, for they may be long. Raises Damaged,
    ObjectMissing."""
    _believed: frozenset[bytes] | None = field(default=None, repr=False)

    def believes(self, key: str, data: bytes) -> bool:
        """Whether this very object was there when the signer was retired. Raises Damaged, ObjectMissing."""
        if self._believed is None:
            self._believed = frozenset[bytes]().union(*(read() for read in self.lists))
        return seen(key, data) in self._believed


def seen(key: str, data: bytes) -> bytes:
    """Sixteen bytes that name one object with its content, in the list of a retired signer."""
    return hashlib.sha256(b"backstay 1 seen\n" + key.encode() + b"\n" + data).digest()[:16]


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


_LARGEST_STATEMENT = 256 << 10


def read_small(store: Store, listed: Listed) -> bytes:
    """A public object that should be a statement. Raises ValueError for one that cannot be: a stranger's gigabytes are
    not fetched."""
    if listed.size_bytes > _LARGEST_STATEMENT:
        raise ValueError(f"it has {listed.size_bytes} bytes, more than any statement")
    try:
        return store.get(listed.key)
    except ObjectMissing:
        raise ValueError("it was listed, and is not there") from None


def _message(kind: str, body: dict[str, Any]) -> bytes:
    return f"backstay 1 {kind}\n".encode() + pack_json(body)


def derived(id_key: bytes, purpose: str) -> bytes:
    """BLAKE3's derive_key: ids of chunks, ids of nodes and names of objects never share a key."""
    return blake3(id_key, derive_key_context=f"backstay 2026-11 {purpose} v1").digest()
