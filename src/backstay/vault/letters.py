"""The values of a plan's secrets, sealed into the vault: for readers only.

A *letter* has the values; whoever only writes, cannot open it again. Beside it lies a *list*, a box: which references
it has, and for each a digest by which whoever has the value can see whether it is still the one that was sealed. The
list is written last, and makes the letter count.

The digest is of scrypt, with a salt, under a key of the vault's: a short password should not be found from it by
somebody who can read the list, and to compare one value costs a twentieth of a second.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from blake3 import blake3

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Key
from backstay.values import Digest, from_stamp, stamp, utc
from backstay.vault import names
from backstay.vault.boxes import Box
from backstay.vault.codec import hex_of, pack_json, text_of, unhex
from backstay.vault.keys import derived, fingerprint
from backstay.vault.repository import Repository


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """What was sealed, and when: no values."""

    key: Key
    """Of the letter."""
    plan: Digest
    at: datetime
    by: str
    """The signer: sixteen digits, as `point.writer` has it."""
    salt: bytes
    digests: Mapping[str, bytes]
    """By reference, as the plan writes it: `${env:DATABASE_URL}`."""


def seal_secrets(vault: Repository, plan: Digest, values: Mapping[str, str], now: datetime) -> SealedSecrets:
    """Keep `values` (by reference) for the readers of the vault. Raises WrongKey for a key that may not."""
    now, salt = utc(now), secrets.token_bytes(16)
    id, of = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}", plan.removeprefix("sha256:")
    digests = {ref: _digest(vault, ref, value, salt) for ref, value in values.items()}
    key = names.secrets(of, id, "letter")
    said = {"at": stamp(now), "plan": plan}
    vault.keep(key, pack_json(said | {"values": dict(values)}))
    listed = {ref: digest.hex() for ref, digest in digests.items()}
    vault.keep(names.secrets(of, id, "list"), pack_json(said | {"salt": salt.hex(), "values": listed}))
    return SealedSecrets(key, plan, now, fingerprint(vault.keys.writer or b""), salt, digests)


def sealed_secrets(vault: Repository) -> list[SealedSecrets]:
    """Everything that was sealed, oldest first. What counts for nothing is passed over, and kept in
    `Repository.passed_over`."""
    found: list[SealedSecrets] = []
    for listed in vault.store.list(names.SECRETS):
        try:
            plan, id, what = names.read_secrets(listed.key)
            if what == "list":
                found.append(_read(vault.reopen(listed.key), plan, id))
        except ValueError as error:
            vault.passed_over[listed.key] = str(error)
        except (Damaged, ObjectMissing, WrongKey) as error:
            vault.passed_over[listed.key] = error.message
    return sorted(found, key=lambda one: (one.at, one.key))


def open_secrets(vault: Repository, sealed: SealedSecrets) -> dict[str, str]:
    """The values, by reference. Raises WrongKey for a key that only writes, Damaged, ObjectMissing."""
    body = vault.reopen(sealed.key).json()
    values = body.get("values")
    if not isinstance(values, dict) or body.get("plan") != sealed.plan:
        raise Damaged(f"{sealed.key} does not say what it should")
    return {str(ref): str(value) for ref, value in values.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def is_sealed(vault: Repository, sealed: SealedSecrets, ref: str, value: str) -> bool:
    """Whether this very value was sealed. Needs no reader's key."""
    digest = sealed.digests.get(ref)
    return digest is not None and secrets.compare_digest(digest, _digest(vault, ref, value, sealed.salt))


def _digest(vault: Repository, ref: str, value: str, salt: bytes) -> bytes:
    plain = value.encode("utf-8", "surrogateescape")
    slow = hashlib.scrypt(plain, salt=salt + ref.encode(), n=1 << 14, r=8, p=1, dklen=32)
    return blake3(slow, key=derived(vault.opened.name_key, "digests of secrets")).digest(16)


def _read(box: Box, plan: str, id: str) -> SealedSecrets:
    body = box.json()
    values = body.get("values")
    if not isinstance(values, dict) or text_of(body, "plan") != f"sha256:{plan}":
        raise ValueError("it does not say what it should")
    digests = {str(ref): unhex(str(digest), 16) for ref, digest in values.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return SealedSecrets(
        names.secrets(plan, id, "letter"), Digest(f"sha256:{plan}"), from_stamp(text_of(body, "at")),
        fingerprint(box.signer), hex_of(body, "salt", 16), digests,
    )  # fmt: skip
