"""Changing who may do what, in all vaults of a family together.

Everything here is a few small signed statements. Each is written once and read back, and what makes others count comes
last: an epoch is wrapped for everybody in every vault before any vault takes it into use. So a run that dies leaves
either what was, or statements that count already in some vaults; `settle`, which every change begins with, carries
those to the others. The id key stays as it is for ever, or nothing that is stored would be found again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from backstay.errors import Damaged, KeysUnsettled, ObjectMissing, UnknownName, WrongKey
from backstay.ports import Key, Listed, Progress, unwatched
from backstay.vault import names
from backstay.vault.boxes import open_box
from backstay.vault.codec import unpack_json
from backstay.vault.epochs import Bundle, Epochs, Wrap, new_epoch, open_epochs, sealed_words, taken_into_use, wrapped
from backstay.vault.family import refuse_strangers, spread_statements
from backstay.vault.firsts import LARGEST_BOX
from backstay.vault.keyring import Keyring, Passphrase
from backstay.vault.keys import Epoch, fingerprint, seen
from backstay.vault.opening import ROOT_NAME
from backstay.vault.register import Holder, Register, holders, read_register
from backstay.vault.repository import Repository
from backstay.vault.roles import Role
from backstay.vault.several import each, pool
from backstay.vault.signers import enrolment, retirement

_BOXES = ("reserved/", "points/", "proofs/", "holds/", "notes/", "marks/", "index/", "secrets/", names.WAL)
_STATEMENTS = (names.WRITERS, names.RETIRED, names.KEYS, names.WORDS)


@dataclass(frozen=True, slots=True)
class Public:
    """The public halves of somebody's key, as they are handed over, and what to call him."""

    name: str
    address: str | None
    signer: bytes | None


@dataclass(frozen=True, slots=True)
class Family:
    """The vaults of one plan, opened with an owner's key."""

    vaults: tuple[Repository, ...]
    now: datetime

    @property
    def keys(self) -> Keyring:
        return self.vaults[0].keys

    @property
    def id(self) -> bytes:
        return self.vaults[0].opened.family

    @property
    def root(self) -> bytes:
        return self.vaults[0].opened.root

    def register(self) -> Register:
        """Of the first vault: after `settle`, all say the same."""
        return read_register(self.vaults[0].store, self.id, self.root)

    def epochs(self) -> Epochs:
        return open_epochs(self.vaults[0].store, self.keys, self.id, self.register().signers)


def gather(vaults: Sequence[Repository], now: datetime) -> Family:
    """Raises WrongKey unless our key is an owner's and knows the root; NotSupported for vaults of two families."""
    first, *others = vaults
    for other in others:
        refuse_strangers(first, other)
    if first.keys.writer is None or first.opened.role(first.keys.writer) is not Role.OWNER or not first.root_known:
        raise WrongKey(
            "this key may not change who may do what",
            detail="that takes the key of an owner of the vault, which the one that made it is",
            hint="`backstay key list` shows the owners; name the key file with --key",
        )
    return Family(tuple(vaults), now)


def settle(family: Family) -> list[str]:
    """Carry every statement to the vaults that lack it: an earlier run may have died half way. Gives what was done."""
    before = [_statements(vault) for vault in family.vaults]
    for source in family.vaults:
        for target in family.vaults:
            if source is not target:
                spread_statements(source.store, target.store, source.opened)
    said: list[str] = []
    for vault, had in zip(family.vaults, before):
        if added := len(_statements(vault) - had):
            said.append(f"finished what an earlier run had left half done: {added} statements carried to {vault.name}")
    return said


def _statements(vault: Repository) -> set[Key]:
    return {listed.key for prefix in _STATEMENTS for listed in vault.store.list(prefix)}


def _place(family: Family, key: Key, data: bytes) -> None:
    """The same statement in every vault, read back. Raises KeysUnsettled where something else has its name."""
    for vault in family.vaults:
        vault.store.put_if_absent(key, data)  # False also where our own attempt came through, and its answer did not
        if vault.store.get(key) != data:
            raise KeysUnsettled(
                f"{vault.name} did not take a statement about keys",
                detail=f"something else has the name {key} there; what was written so far is not in use",
                hint="`backstay vault check` says what it is; if it counts for nothing, remove it and try again",
            )


# ── adding ───────────────────────────────────────────────────────────────────────────────────────


def add(family: Family, who: Public, role: Role | None) -> Holder:
    """Let `who` in: `role` None reads and signs nothing. Writers get the keys to make points and not those to read;
    everybody else reads. Doing it again does what is left. Raises WrongKey, KeysUnsettled."""
    register = family.register()
    _refuse_unfit(register, who, role)
    if role is not None and who.signer is not None and who.signer not in register.signers.writers:
        _place(family, *enrolment(who.signer, role, family.keys, family=family.id, now=family.now, name=who.name))
    if who.address is not None:
        _wrap_all(family, register, who, "writer" if role is Role.WRITER else "reader")
        if role is Role.OWNER:
            _wrap_all(family, register, who, "writer")
    return next(
        one for one in holders(family.register())
        if not one.retired and who.address in (one.address, None) and (who.address or who.signer == one.signer)
    )  # fmt: skip


def _refuse_unfit(register: Register, who: Public, role: Role | None) -> None:
    signers = register.signers
    if role is not None and who.signer is None:
        raise WrongKey(
            f"{who.name} cannot be enrolled as a {role.value}: the key that was handed over signs nothing",
            hint="a whole key is made with `backstay key new FILE`",
        )
    if role is None and who.address is None:
        raise WrongKey(f"{who.name} cannot read: the key that was handed over has no age address")
    if who.signer is not None and who.signer in signers.retired:
        raise WrongKey(
            f"this key of {who.name} was retired, and stays so", hint="make a new one: backstay key new FILE"
        )
    if who.signer is not None and (was := signers.active.get(who.signer)) is not None and role not in (None, was.role):
        raise WrongKey(
            f"{who.name} is enrolled as {was.role.said} already, and a key has one role",
            hint=f"make a second key for the other role, or first `backstay key remove {who.name}`",
        )
    if who.name == ROOT_NAME:
        raise WrongKey(f"{ROOT_NAME} is the key that made the vault", hint="give this one another name: --name")
    for one in holders(register):
        same = one.address == who.address if one.address and who.address else one.signer == who.signer
        if one.name == who.name and not same and not one.retired:
            raise WrongKey(
                f"there is a {who.name} already, with another key",
                hint="give this one a name of its own: backstay key add LINE --name NAME",
            )


def _wrap_all(family: Family, register: Register, who: Public, role: str) -> None:
    """Every epoch that is in use, the newest last: points of before are read, or built on, as well."""
    assert who.address is not None
    epochs = family.epochs()
    for epoch in sorted(epochs.opened.values(), key=lambda one: one.number):
        if epoch.id in epochs.unused:
            continue
        if role == "reader" and epoch.private is None:
            raise WrongKey("this key cannot let anybody read: it cannot read the vault itself")
        bundle = Bundle(family.id, epochs.id_key, epoch)
        key, data = wrapped(bundle, role, who.address, family.keys, now=family.now, name=who.name)
        if key not in register.statements:
            _place(family, key, data)


def add_words(family: Family, secret: bytes, words: Passphrase, role: Role | None) -> Holder:
    """A key that follows from `secret` and stands behind words; known by the words' label."""
    _place(family, *sealed_words(secret, words, family.keys, family=family.id, now=family.now))
    keys = Keyring.of(secret)
    return add(family, Public(words.label, keys.recipient, keys.writer if role else None), role)


# ── a new epoch ──────────────────────────────────────────────────────────────────────────────────


def turn(family: Family, without: Callable[[Wrap], bool] = lambda wrap: False) -> Epoch:
    """A new epoch, wrapped for everybody whom the one in use is wrapped for, but those that `without` names; and for us
    first. Taken into use in every vault when it is whole in all. Raises KeysUnsettled, WrongKey."""
    register, epochs, ours = family.register(), family.epochs(), family.keys.recipient
    highest = max(wrap.number for wrap in register.wraps)
    bundle = Bundle(family.id, epochs.id_key, new_epoch(highest + 1))
    staying = [wrap for wrap in register.recipients() if not without(wrap)]
    if not any(wrap.role == "reader" for wrap in staying):
        raise WrongKey("nobody could read what comes: an epoch needs at least one reader")
    if not any(wrap.recipient == ours for wrap in staying):
        raise WrongKey("this key would shut itself out", hint="let another owner do it: `backstay key list`")
    placed: list[Key] = []
    for wrap in sorted(staying, key=lambda wrap: (wrap.recipient != ours, wrap.recipient, wrap.role)):
        key, data = wrapped(bundle, wrap.role, wrap.recipient, family.keys, now=family.now, name=wrap.name)
        _place(family, key, data)
        placed.append(key)
    for vault in family.vaults:
        found = open_epochs(vault.store, family.keys, family.id, register.signers).opened
        if bundle.epoch.id not in found:
            raise KeysUnsettled(f"the new epoch does not open in {vault.name}; it was not taken into use")
    _place(family, *taken_into_use(
        bundle.epoch, family.id, placed, register.signers.retired, family.keys, now=family.now
    ))  # fmt: skip
    return bundle.epoch


# ── removing ─────────────────────────────────────────────────────────────────────────────────────


def find(family: Family, who: str) -> list[Holder]:
    """Everything that `who` names: a name, an address, a signer's digits or their beginning. Raises UnknownName."""
    there = [one for one in holders(family.register()) if not one.retired]
    found = [
        one for one in there
        if who == one.name or who == one.address
        or (one.signer is not None and len(who) >= 8 and who in (one.signer.hex(), fingerprint(one.signer)))
    ]  # fmt: skip
    if not found:
        raise UnknownName(
            f"no key of the vault is called {who!r}",
            detail="there are " + ", ".join(one.short for one in there),
            hint="copy the name or the key from `backstay key list`",
        )
    return found


def remove(
    family: Family, going: Sequence[Holder], *, until: datetime | None = None, progress: Progress = unwatched
) -> tuple[Epoch, int]:
    """Take somebody's keys away: retire what signs, and begin an epoch without what reads or writes. `until`: what
    appeared in the vaults after that is not believed, by the stores' own clocks. Gives the epoch, and how many objects
    of the signer stay believed."""
    believed = 0
    for one in going:
        if one.is_root:
            raise WrongKey(
                "the key that made the vault cannot be taken away: the vault is known by it",
                hint="if somebody may have it: make a new key and a new vault, and let the old one run out",
            )
        if one.role is Role.OWNER and family.keys.writer != family.root:
            raise WrongKey(f"{one.short} is an owner: only the key that made the vault retires one")
        if one.signer is not None and one.signer == family.keys.writer:
            raise WrongKey("this key cannot take itself away", hint="let another owner do it")
    addresses = {one.address for one in going if one.address}
    for one in going:
        if one.signer is not None:
            believed += _retire(family, one.signer, until, progress)
    return turn(family, lambda wrap: wrap.recipient in addresses), believed


def _retire(family: Family, signer: bytes, until: datetime | None, progress: Progress) -> int:
    sealed = set[bytes]()
    for vault in family.vaults:
        sealed |= set(sealed_by(vault, signer, until, progress))
    for key, data in retirement(signer, sealed, family.keys, family=family.id, now=family.now):
        _place(family, key, data)
    return len(sealed)


def sealed_by(
    vault: Repository, signer: bytes, until: datetime | None = None, progress: Progress = unwatched
) -> Iterable[bytes]:
    """Every object of a vault that `signer` answers for, as `keys.seen`. Reads them all: to be done once, when somebody
    leaves."""
    listed = [
        one for prefix in (*_BOXES, *_STATEMENTS) for one in vault.store.list(prefix)
        if until is None or one.modified <= until
    ]  # fmt: skip
    with pool("backstay-retire") as threads:
        for done, found in enumerate(each(threads, partial(_if_sealed_by, vault, signer), listed), start=1):
            progress(done, len(listed), "looking for what it had sealed")
            if found is not None:
                yield found


def _if_sealed_by(vault: Repository, signer: bytes, listed: Listed) -> bytes | None:
    if names.is_stretch(listed.key):
        return _if_kept_by(vault, signer, listed.key)
    if listed.size_bytes > LARGEST_BOX:
        return None  # a stranger's
    data = vault.store.get(listed.key)
    try:
        if listed.key.startswith(_STATEMENTS):
            by = unpack_json(data).get("by")
            return seen(listed.key, data) if by == signer.hex() else None
        box = open_box(vault.opened, listed.key, data, letter=names.is_letter(listed.key))
    except (Damaged, WrongKey, ValueError):
        return None  # nobody's, or of an epoch that we cannot read: it is not believed
    return seen(listed.key, data) if box.signer == signer else None


def _if_kept_by(vault: Repository, signer: bytes, key: Key) -> bytes | None:
    """Of log, the front alone is read: it has the ids of the rest."""
    try:
        front = vault.wal.front(key)
    except (Damaged, ObjectMissing, WrongKey):
        return None
    return front.seen if front.signer == signer else None
