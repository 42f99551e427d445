"""Whose signatures count in a vault: who was enrolled, by whom, as what; and who was retired.

The root is an owner. Whoever an owner enrolled counts, and owners may enrol owners: a chain leads from the root to
everybody. Somebody who is *retired* seals nothing new that is believed. What he had sealed until then is listed, object
by object, when he is retired, and the list is signed: a thief with the old key can neither add to it, nor make an
object today that passes for one of last year.

Owners retire writers, provers and recoverers. An owner is retired by the root alone, and the root by nobody: so two
owners who retire each other leave no riddle. Who loses the root's key to a thief makes a new vault.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from backstay.errors import Damaged, ObjectMissing
from backstay.ports import Key, Listed, Store
from backstay.values import stamp
from backstay.vault import names
from backstay.vault.codec import hex_of, text_of, whole_of
from backstay.vault.keyring import Keyring
from backstay.vault.keys import (
    Opened,
    PassedOver,
    Retired,
    fingerprint,
    read_small,
    read_statement,
    sign_statement,
)
from backstay.vault.roles import Role, role_of

_SEEN = 16
"""Bytes in a list for each object: a hundred thousand objects are 1.6 MB."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One signer, as the statement has it."""

    public: bytes
    role: Role
    by: bytes
    made: str
    name: str
    """What people call it (`db1`, `anna`); empty for one that was given none."""


@dataclass(slots=True)
class Signers:
    root: bytes
    active: dict[bytes, Enrolled] = field(default_factory=dict[bytes, Enrolled])
    """Without the root."""
    retired: dict[bytes, Retired] = field(default_factory=dict[bytes, Retired])
    was: dict[bytes, Enrolled] = field(default_factory=dict[bytes, Enrolled])
    """How the retired were enrolled."""
    passed_over: list[PassedOver] = field(default_factory=list[PassedOver])

    @property
    def writers(self) -> dict[bytes, str]:
        return {self.root: Role.OWNER.value} | {public: one.role.value for public, one in self.active.items()}

    def owned(self, by: bytes, key: str, data: bytes) -> bool:
        """Whether an owner says so: one of today; or one of before, who had said it before he was retired."""
        if by == self.root:
            return True
        if (one := self.active.get(by)) is not None:
            return one.role is Role.OWNER
        before = self.retired.get(by)
        try:
            return before is not None and before.role is Role.OWNER and before.believes(key, data)
        except (Damaged, ObjectMissing):
            return False  # a list that somebody removed must not keep the vault from opening


# ── saying it ────────────────────────────────────────────────────────────────────────────────────


def enrolment(
    public: bytes, role: Role, keys: Keyring, *, family: bytes, now: datetime, name: str = ""
) -> tuple[Key, bytes]:
    """Key and content of the object that lets `public` sign."""
    body = {"family": family.hex(), "made": stamp(now), "role": role.value, "writer": public.hex()}
    return names.writer(fingerprint(family + public)), sign_statement("writer", body | named(name), keys)


def retirement(
    public: bytes, sealed: Iterable[bytes], keys: Keyring, *, family: bytes, now: datetime
) -> list[tuple[Key, bytes]]:
    """The objects that retire `public`; `sealed` is what it had sealed (each as `keys.seen`). The list comes first: the
    statement makes it real."""
    listed = b"".join(sorted(set(sealed)))
    digest, who = hashlib.sha256(listed).digest(), fingerprint(family + public)
    body = {
        "boxes": digest.hex(), "count": len(listed) // _SEEN, "family": family.hex(), "made": stamp(now),
        "writer": public.hex(),
    }  # fmt: skip
    statement = sign_statement("retire", body, keys)
    return [
        (names.retired_list(who, digest), listed),
        (names.retired(who, hashlib.sha256(statement).digest()), statement),
    ]


def named(name: str) -> dict[str, str]:
    return {"name": name} if name else {}


# ── reading it ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Claim:
    """A statement whose signature fits; whether its signer may say so is still to be seen."""

    key: Key
    data: bytes
    by: bytes
    public: bytes
    body: dict[str, Any]


def read_signers(store: Store, family: bytes, root: bytes) -> Signers:
    """Everybody whom the root's chain reaches. What is no valid statement is passed over."""
    found = Signers(root)
    enrolments = list(_claims(store, names.WRITERS, "writer", family, found))
    retirements = list(_claims(store, names.RETIRED, "retire", family, found))
    _retire(store, found, [one for one in retirements if one.by == root], family)
    _enrol(found, enrolments)
    # After the chain is known: whoever is no owner may be retired by any owner.
    enrolled = found.active | found.was
    for one in retirements:
        target = enrolled.get(one.public)
        if one.by == root or target is None or target.role is Role.OWNER:
            allowed = one.by == root
        else:
            allowed = found.owned(one.by, one.key, one.data)
            _retire(store, found, [one] if allowed else [], family)
        if not allowed:
            found.passed_over.append(PassedOver(one.key, "it is signed by nobody who may retire this signer"))
    for public in found.active.keys() & found.retired.keys():
        found.was[public] = found.active.pop(public)
        found.retired[public].role = found.was[public].role
    for one in enrolments:
        if one.public not in enrolled and one.public != root:
            found.passed_over.append(PassedOver(one.key, "it is signed by nobody who may enrol"))
    return found


def learn_signers(store: Store, opened: Opened) -> None:
    """Whoever was enrolled or retired since the vault was opened."""
    signers = read_signers(store, opened.family, opened.root)
    opened.writers.clear()
    opened.writers.update(signers.writers)
    opened.retired.update(signers.retired)


def _claims(store: Store, prefix: str, kind: str, family: bytes, found: Signers) -> Iterable[_Claim]:
    for listed in store.list(prefix):
        if names.is_retired_list(listed.key):
            continue
        try:
            claim = _claim(store, listed, kind)
        except ValueError as error:
            found.passed_over.append(PassedOver(listed.key, str(error)))
            continue
        if claim.body["family"] == family.hex():  # else left by the making of a vault that was never finished
            yield claim


def _claim(store: Store, listed: Listed, kind: str) -> _Claim:
    """Raises ValueError."""
    data = read_small(store, listed)
    body = read_statement(kind, data)
    family, public = hex_of(body, "family", 16), hex_of(body, "writer", 32)
    who = fingerprint(family + public)
    if kind == "writer":
        text_of(body, "role")
        expected = names.writer(who)
    else:
        hex_of(body, "boxes", 32)
        whole_of(body, "count")
        expected = names.retired(who, hashlib.sha256(data).digest())
    if listed.key != expected:
        raise ValueError("it belongs elsewhere")
    return _Claim(listed.key, data, hex_of(body, "by", 32), public, body)


def _enrol(found: Signers, claims: list[_Claim]) -> None:
    """Follow the chain from the root until it reaches nobody new."""
    waiting = [one for one in claims if one.public != found.root and role_of(one.body["role"]) is not None]
    grew = True
    while grew:
        grew = False
        for one in waiting:
            if one.public in found.active or one.public in found.was or not found.owned(one.by, one.key, one.data):
                continue
            name = one.body.get("name", "")
            enrolled = Enrolled(
                one.public, Role(one.body["role"]), one.by, str(one.body.get("made", "")), str(name)
            )  # fmt: skip
            if one.public in found.retired:
                found.was[one.public] = enrolled
                found.retired[one.public].role = enrolled.role
            else:
                found.active[one.public] = enrolled
            grew = True


def _retire(store: Store, found: Signers, claims: list[_Claim], family: bytes) -> None:
    for one in claims:
        if one.public != found.root:
            # Its role is known when its enrolment is read. Of several lists, what any of them has is believed.
            before = found.retired.setdefault(one.public, Retired(Role.WRITER, ()))
            before.lists += (_list(store, fingerprint(family + one.public), one),)


def _list(store: Store, who: str, claim: _Claim) -> Callable[[], frozenset[bytes]]:
    digest, count = hex_of(claim.body, "boxes", 32), whole_of(claim.body, "count")
    return partial(_read_list, store, names.retired_list(who, digest), digest, count)


def _read_list(store: Store, key: Key, digest: bytes, count: int) -> frozenset[bytes]:
    data = store.get(key, 0, _SEEN * count + 1)
    if hashlib.sha256(data).digest() != digest or len(data) != _SEEN * count:
        raise Damaged(
            f"{key} in the vault was changed: it is not the list that was signed when a signer was retired",
            hint="take this object from another vault of the plan",
        )
    return frozenset(data[at : at + _SEEN] for at in range(0, len(data), _SEEN))
