"""Who holds what in a vault: every statement about keys, read and put together for people.

Readers and hosts that write are known by the addresses for which an epoch was wrapped, signers by their public keys.
Both halves of one key carry the same name, where one was given; that is how they are shown as one holder.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backstay.ports import Store
from backstay.vault import names
from backstay.vault.epochs import Used, Wrap, read_used, read_words, read_wrap
from backstay.vault.keys import PassedOver, fingerprint
from backstay.vault.opening import ROOT_NAME, believe_the_epochs
from backstay.vault.roles import Role
from backstay.vault.signers import Signers, read_signers


@dataclass(frozen=True, slots=True)
class Register:
    """Everything that a vault says about keys. Made without any key: it is all public."""

    family: bytes
    root: bytes
    signers: Signers = field(repr=False)
    wraps: tuple[Wrap, ...]
    used: tuple[Used, ...]
    behind_words: frozenset[str]
    """Addresses of keys that a passphrase opens."""
    statements: frozenset[str]
    """The keys of all that counts."""
    passed_over: tuple[PassedOver, ...]

    @property
    def current(self) -> tuple[int, bytes]:
        """Number and id of the epoch that is written with."""
        first = [(wrap.number, wrap.epoch) for wrap in self.wraps if wrap.number == 1]
        return max([*first, *((one.number, one.epoch) for one in self.used)], default=(0, b""))

    @property
    def begun(self) -> list[tuple[int, bytes]]:
        """Epochs that were wrapped for some, and never taken into use."""
        used = {one.epoch for one in self.used}
        return sorted({(wrap.number, wrap.epoch) for wrap in self.wraps if wrap.number > 1 and wrap.epoch not in used})

    def recipients(self) -> list[Wrap]:
        """For whom the current epoch is wrapped."""
        return [wrap for wrap in self.wraps if (wrap.number, wrap.epoch) == self.current]


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds a key: what he can do in the vault now."""

    name: str
    address: str | None
    """`age1…`."""
    signer: bytes | None
    role: Role | None
    """As a signer; None: he signs nothing."""
    reads: bool
    writes: bool
    """The keys to make points are wrapped for him."""
    by_words: bool = False
    is_root: bool = False
    retired: bool = False

    @property
    def short(self) -> str:
        """What he is called in a list: his name, else the beginning of a key."""
        return self.name or (self.address or "")[:16] or (fingerprint(self.signer) if self.signer else "nobody")


def read_register(store: Store, family: bytes, root: bytes) -> Register:
    """Raises what the store raises; what counts for nothing is passed over."""
    signers = read_signers(store, family, root)
    wraps, used, words, counted = list[Wrap](), list[Used](), set[str](), set[str]()
    passed_over = list(signers.passed_over)
    for listed in (*store.list(names.KEYS), *store.list(names.WORDS)):
        try:
            if listed.key.startswith(names.WORDS):
                found: object = read_words(store, listed, family, signers)
                words |= {listed.key.removeprefix(names.WORDS)} if found else set()
            elif names.read_wrap(listed.key)[2]:
                found = read_wrap(store, listed, family, signers)
                wraps += [found[0]] if found else []
            else:
                found = read_used(store, listed, family, signers)
                used += [found] if found else []
            if found is not None:
                counted.add(listed.key)
        except ValueError as error:
            passed_over.append(PassedOver(listed.key, str(error)))
    believe_the_epochs(signers, used)
    bad = {one.key for one in signers.passed_over}
    for prefix in (names.WRITERS, names.RETIRED):
        counted |= {listed.key for listed in store.list(prefix)} - bad
    behind = frozenset(wrap.recipient for wrap in wraps if fingerprint(wrap.recipient.encode()) in words)
    return Register(
        family, root, signers, tuple(wraps), tuple(used), behind, frozenset(counted), tuple(passed_over)
    )  # fmt: skip


def holders(register: Register) -> list[Holder]:
    """Who can do something now, then who was retired; the root first."""
    signers, taken, found = register.signers, set[bytes](), list[Holder]()
    by_name = {one.name: one for one in signers.active.values() if one.name}
    for address in dict.fromkeys(wrap.recipient for wrap in register.recipients()):
        wraps = [wrap for wrap in register.recipients() if wrap.recipient == address]
        name = next((wrap.name for wrap in wraps if wrap.name), "")
        is_root = name == ROOT_NAME
        signer = register.root if is_root else by_name[name].public if name in by_name else None
        taken |= {signer} if signer else set()
        role = Role.OWNER if is_root else by_name[name].role if name in by_name else None
        roles = {wrap.role for wrap in wraps}
        found.append(
            Holder(name, address, signer, role, "reader" in roles, "writer" in roles, address in register.behind_words,
                   is_root)
        )  # fmt: skip
    if register.root not in taken:
        found.append(Holder(ROOT_NAME, None, register.root, Role.OWNER, False, False, is_root=True))
    for one in signers.active.values():
        if one.public not in taken:
            found.append(Holder(one.name, None, one.public, one.role, False, False))
    for public, one in signers.was.items():
        found.append(Holder(one.name, None, public, one.role, False, False, retired=True))
    return sorted(found, key=lambda one: (one.retired, not one.is_root, one.short))


def differences(registers: Iterable[tuple[str, Register]]) -> list[str]:
    """What some vaults of a family say about keys and others do not: a sentence for each that lacks anything."""
    known = list(registers)
    everything = frozenset[str]().union(*(register.statements for _, register in known))
    found: list[str] = []
    for name, register in known:
        if lacking := sorted(everything - register.statements):
            found.append(f"the vault {name} lacks {len(lacking)} of the family's statements about keys: {lacking[0]}")
    return found
