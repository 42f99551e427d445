"""Who can read, write, prove and recover: looking at it, and changing it in all vaults of the plan together."""

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backstay.app.home import Home
from backstay.errors import BackstayError, KeysUnsettled, Usage, WrongShares
from backstay.ports import Progress
from backstay.values import VaultName, count, is_name, listed, say_moment
from backstay.vault import Keyring, Passphrase, Repository, admission, shares
from backstay.vault.admission import Public
from backstay.vault.epochs import from_words
from backstay.vault.keyring import SECRET_SIZE, fresh, write_key, write_private
from backstay.vault.opening import founded
from backstay.vault.register import Holder, Register, differences, holders, read_register
from backstay.vault.roles import Role
from backstay.vault.signers import read_signers

LINE = "backstay-key-1"
LEAST_WORDS = 16
"""Characters of a passphrase: who has the vault's bytes may try words for as long as he likes."""
_LINE = re.compile(
    rf"{LINE}:(?P<name>[a-z0-9-]+):(?P<wish>[a-z]+):(?P<address>age1[0-9a-z]+):(?P<signer>[0-9a-f]{{64}}|-)"
)
_ADDRESS = re.compile(r"age1[0-9a-z]{40,80}")


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Listing:
    """What one vault says."""

    vault: VaultName
    register: Register
    holders: list[Holder]


def listing(home: Home) -> tuple[list[Listing], list[str]]:
    """Each vault that opens, and what is odd: differences between vaults, epochs that were begun and never used, what
    counts for nothing."""
    found = [
        Listing(name, register, holders(register))
        for name, one in home.vaults.items()
        for register in [read_register(one.store, one.opened.family, one.opened.root)]
    ]
    odd = differences((str(one.vault), one.register) for one in found)
    for one in found:
        odd += [
            f"{one.vault}: epoch {number} was begun, and nothing is sealed in it" for number, _ in one.register.begun
        ]
        odd += [f"{one.vault}: {over.key} counts for nothing: {over.why}" for over in one.register.passed_over]
    return found, odd


# ── a key for somebody else ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Handed:
    """The public half of a key as one word, and what to compare by telephone."""

    line: str
    public: Public
    wish: Role | None
    """What its maker made it for; what it may do, an owner decides."""

    @property
    def digits(self) -> str:
        """Sixteen digits of the line: whoever changes it on its way changes them."""
        digest = hashlib.sha256(self.line.encode()).hexdigest()[:16]
        return "-".join(digest[at : at + 4] for at in range(0, 16, 4))


def new_file(path: Path, name: str | None, wish: Role | None, trusted: Sequence[str] = ()) -> Handed:
    """Make a key file for another person or host. Raises TargetNotEmpty, AccessDenied, Usage."""
    roots = frozenset(_root(text) for text in trusted)
    name = _named(name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-"))
    keys = fresh() if wish is not None else replace(fresh(), seed=None)
    keys = replace(keys, trusted=roots)
    write_key(path, keys)
    return _handed(name, wish, keys)


def _handed(name: str, wish: Role | None, keys: Keyring) -> Handed:
    public = Public(name, keys.recipient, keys.writer)
    said = wish.value if wish else "reader"
    line = f"{LINE}:{name}:{said}:{public.address}:{public.signer.hex() if public.signer else '-'}"
    return Handed(line, public, wish)


def read_line(text: str, name: str | None) -> Handed:
    """What `key new` printed, or an age address alone. Raises Usage."""
    text = text.strip()
    if _ADDRESS.fullmatch(text):
        return Handed(text, Public(_named(name or ""), text, None), None)
    if (found := _LINE.fullmatch(text)) is None:
        raise Usage(
            "that is no public half of a key",
            detail=f"it begins with {LINE}: or with age1, and is one word",
            hint="`backstay key new FILE` prints it where the key is made",
        )
    wish = None if found["wish"] == "reader" else role_of(found["wish"])
    signer = None if found["signer"] == "-" else bytes.fromhex(found["signer"])
    return Handed(text, Public(_named(name or found["name"]), found["address"], signer), wish)


def role_of(text: str) -> Role | None:
    """None for a reader, who signs nothing. Raises Usage."""
    if text == "reader":
        return None
    try:
        return Role(text)
    except ValueError:
        known = listed(["reader", *(role.value for role in Role)], "or")
        raise Usage(f"{text!r} is no role", detail=f"a key is a {known}") from None


def _named(name: str) -> str:
    if not is_name(name):
        raise Usage(
            f"{name!r} cannot be the name of a key" if name else "this key has no name yet",
            hint="call it what people call its holder: --name anna",
        )
    return name


def _root(text: str) -> bytes:
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise Usage(f"{text!r} is no root of a vault", hint="`backstay key list` prints it: 64 digits")
    return bytes.fromhex(text)


# ── changing ─────────────────────────────────────────────────────────────────────────────────────


def _family(home: Home) -> admission.Family:
    """All vaults of the plan. Raises KeysUnsettled when one does not open: it would not learn of the change."""
    opened = list[Repository](home.vaults.values())
    if home.asked.vault is None:
        for name in home.plan.vaults:
            try:
                home.vault(name)
            except BackstayError as error:
                raise KeysUnsettled(
                    f"the vault {name} cannot be opened, and would not learn of the change",
                    detail=f"nothing was changed; {error.message}",
                    hint=error.hint or "make it answer, and try again",
                ) from None
    return admission.gather(opened, home.clock.now())


def admit(home: Home, handed: Handed, role: Role | None) -> Iterator[str]:
    """Let somebody in, in every vault. Raises WrongKey, KeysUnsettled."""
    family = _family(home)
    yield from admission.settle(family)
    holder = admission.add(family, handed.public, role)
    home.reopen()
    yield f"✔ {holder.short} is in: {what(holder)}"
    if handed.line.startswith(LINE):
        yield f"  compare by telephone, before you rely on it: {handed.digits}"
    yield f"  the holder adds this line to the key file, to know your vaults: BACKSTAY-TRUST-1 {family.root.hex()}"


def admit_words(home: Home, words: str, name: str | None, role: Role | None) -> Iterator[str]:
    """A key that stands behind a passphrase. Raises WrongShares for one that is too short."""
    refuse_weak(words)
    family = _family(home)
    yield from admission.settle(family)
    secret = secrets.token_bytes(SECRET_SIZE)
    holder = admission.add_words(family, secret, Passphrase(words, _named(name or "safe")), role)
    home.reopen()
    yield f"✔ whoever knows the passphrase is {holder.short}: {what(holder)}"
    yield "  try it now: backstay key unlock FILE"


def refuse_weak(words: str) -> None:
    if len(words) < LEAST_WORDS or len(set(words)) < 6:
        raise WrongShares(
            "this passphrase is too short",
            detail=f"fewer than {LEAST_WORDS} characters, or hardly any that differ",
            hint="six words drawn by dice are good, and can be remembered",
        )


def what(holder: Holder) -> str:
    """What a holder can do, as one sentence's end."""
    if holder.retired:
        return (
            f"was a {holder.role.value if holder.role else 'reader'}; what it sealed before is believed, nothing else"
        )
    does = ["reads"] if holder.reads else []
    match holder.role:
        case Role.OWNER:
            does.append("does everything, and lets others in")
        case Role.WRITER:
            does.append("makes points" if holder.writes or holder.reads else "may sign points, and has no keys for it")
        case Role.PROVER:
            does.append("seals proofs")
        case Role.RECOVERER:
            does.append("goes on with the journal, holds points")
        case None:
            pass
    if not holder.reads:
        does.append("cannot read back")
    return ", ".join(does)


def add_readers(home: Home) -> Iterator[str]:
    """Readers whom the plan names and the vaults lack. Raises nothing for a key that may not add them: it is said."""
    missing = missing_readers(home)
    if not missing:
        return
    try:
        family = _family(home)
        yield from admission.settle(family)
        for number, address in enumerate(missing):
            admission.add(family, Public(f"reader-{address[4:12]}", address, None), None)
            yield f"✔ added the reader {missing[number]}"
        home.reopen()
    except BackstayError as error:
        yield f"✘ {count(len(missing), 'reader')} of the plan cannot read yet: {error.message}"


def missing_readers(home: Home) -> list[str]:
    """Addresses that the plan names as readers, and for which the epoch in use is not wrapped somewhere."""
    wanted = dict.fromkeys(reader for place in home.plan.vaults.values() for reader in place.readers)
    lacking: dict[str, None] = {}
    for one in home.vaults.values():
        register = read_register(one.store, one.opened.family, one.opened.root)
        there = {wrap.recipient for wrap in register.recipients() if wrap.role == "reader"}
        lacking |= {reader: None for reader in wanted if reader not in there}
    return list(lacking)


def turn(home: Home) -> Iterator[str]:
    """A new epoch for everybody who is in."""
    family = _family(home)
    yield from admission.settle(family)
    epoch = admission.turn(family)
    home.reopen()
    yield f"✔ epoch {epoch.number} is in use in {listed(str(one.name) for one in family.vaults)}"
    yield "  what was sealed before stays in the epochs before it, and opens for those who could open it"


def find(home: Home, who: str) -> tuple[admission.Family, list[str], list[Holder]]:
    """Whom `who` names, after what was left half done is finished. Raises UnknownName."""
    family = _family(home)
    said = admission.settle(family)
    return family, said, admission.find(family, who)


def remove(
    home: Home, family: admission.Family, going: Sequence[Holder], until: datetime | None, progress: Progress
) -> Iterator[str]:
    """Take keys away. The order: first whose signatures end, then the new epoch."""
    epoch, believed = admission.remove(family, going, until=until, progress=progress)
    home.reopen()
    names = listed(dict.fromkeys(one.short for one in going))
    yield f"✔ {names} is out; epoch {epoch.number} is in use"
    if any(one.signer for one in going):
        since = f" until {say_moment(until)}" if until else ""
        yield f"  {count(believed, 'object')} that it had sealed{since} stay believed; what appears later is refused"
    if any(one.reads or one.writes for one in going):
        yield "  This protects what is sealed from now on. What could be read before may have been kept: where that"
        yield "  matters, change the passwords that are in those backups."


# ── keys that are words ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one person keeps."""

    number: int
    text: str


def split(home: Home, number: int, needed: int, name: str, role: Role | None) -> tuple[bytes, list[Sheet]]:
    """A fresh key as sheets of words; it is nobody's until `enrol_shared`. Raises WrongShares, WrongKey."""
    family = _family(home)
    secret = secrets.token_bytes(SECRET_SIZE)
    words = shares.split(secret, number, needed)
    if shares.join(words[-needed:]) != secret or shares.join(words[:needed]) != secret:
        raise WrongShares("the shares that were made do not give the key back; nothing was changed")
    kind = shares.needed_by(words[0])[1].partition(".")[0]
    said = f"The key {name!r} of the backups of {home.plan.system.title}: {role.value if role else 'reader'}."
    sheets = [
        Sheet(at, _sheet(f"share {at} of {number}, key {kind}", said, needed, text, family.root))
        for at, text in enumerate(words, start=1)
    ]
    return secret, sheets


def _sheet(top: str, what: str, needed: int, words: str, root: bytes) -> str:
    typed = words.split()
    rows = [
        "  ".join(f"{row + i + 1:>3}. {word:<10}" for i, word in enumerate(typed[row : row + 4])).rstrip()
        for row in range(0, len(typed), 4)
    ]
    return "\n".join((
        f"BACKSTAY: {top}", "", what, "",
        f"Any {needed} of the sheets give the key back; fewer say nothing about it. Keep this one where no other",
        "one is, on paper, and never in a photo. It does not run out. To use it, on any machine:", "",
        "    backstay key join KEYFILE", "", *rows, "",
        "The vaults that it is for are known by this line (it is no secret):", f"    BACKSTAY-TRUST-1 {root.hex()}", "",
    ))  # fmt: skip


def write_sheets(folder: Path, sheets: Sequence[Sheet]) -> list[Path]:
    """One file for each, 0600. Raises TargetNotEmpty, AccessDenied."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [folder / f"share-{sheet.number}-of-{len(sheets)}.txt" for sheet in sheets]
    for path, sheet in zip(paths, sheets):
        write_private(path, sheet.text, what="share")
    return paths


def enrol_shared(home: Home, secret: bytes, name: str, role: Role | None) -> Iterator[str]:
    """Let the key of the sheets in."""
    keys = Keyring.of(secret)
    family = _family(home)
    yield from admission.settle(family)
    holder = admission.add(family, Public(_named(name), keys.recipient, keys.writer if role else None), role)
    home.reopen()
    yield f"✔ {holder.short} is in: {what(holder)}. The key is on the sheets, and nowhere else"


def words_of_sheet(text: str) -> str:
    """The words of a share, from a sheet as it was printed, or from words alone."""
    numbered = re.findall(r"^\s*\d+\. .*$", text, re.M)
    return " ".join(re.findall(r"\d+\.\s+([a-z]+)", " ".join(numbered))) if numbered else " ".join(text.split())


def join(path: Path, words: Sequence[str], trusted: Sequence[str]) -> Keyring:
    """Write the key file that shares give. Raises WrongShares, TargetNotEmpty, Usage."""
    keys = replace(Keyring.of(shares.join(words)), trusted=frozenset(_root(text) for text in trusted))
    write_key(path, keys)
    return keys


def unlock(home: Home, path: Path, words: str) -> Keyring:
    """Write the key file that stands behind a passphrase in the vaults. Raises WrongShares, TargetNotEmpty."""
    for store in home.stores():
        header = founded(store)
        signers = read_signers(store, header.family, header.root)
        if found := from_words(store, (words,), header.family, signers, []):
            keys = replace(found[0], trusted=frozenset({header.root}))
            write_key(path, keys)
            return keys
    raise WrongShares(
        "no key stands behind these words",
        detail="every passphrase of the vault was tried",
        hint="try again: capitals, spaces and signs count",
    )
