"""The spine: the heads of all streams, signed and sealed into the vaults.

A hash chain shows every change inside a stream, but not that its end was cut off, or that a whole chain was computed
anew. So the heads of all streams are gathered, signed by the journal's key, and put into every vault as the note
`spine/<epoch>/<number>`, which nobody can overwrite: every second in which something was appended, or every thousand
facts. Each spine names the one before it. A journal whose heads are behind a sealed spine was cut, or rolled back.

The newest spine is enough to verify everything before it, because each head stands for its whole chain.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backstay.adapters.journal.opened import STREAM, OpenJournal, Overtaken, spine_name
from backstay.adapters.journal.signing import signed
from backstay.errors import BackstayError, JournalDamaged, JournalReadOnly, StoreUnreachable
from backstay.facts import Spine, read_spine, signed_part, spine_digest, write_spine
from backstay.facts.audit import Finding, Flaw
from backstay.ports import Vault
from backstay.values import Digest, VaultName, digest_of, from_stamp, stamp

LOCK_FILE = "spine.lock"
DUE_AFTER = timedelta(seconds=1)
DUE_FACTS = 1000
PATIENCE = timedelta(seconds=10)
"""How long the last seal of a command waits for one under way: that one may have begun before our last facts."""
_NEWEST = 100
"""How many sealed spines a verification reads."""


@dataclass(frozen=True, slots=True)
class Sealed:
    number: int
    vaults: tuple[VaultName, ...]
    away: tuple[tuple[VaultName, str], ...]
    """Vaults that did not take it, and why."""


@dataclass(frozen=True, slots=True)
class Audit:
    findings: tuple[Finding, ...]
    spines: int
    """How many sealed spines could be compared."""
    away: tuple[tuple[VaultName, str], ...]

    @property
    def sound(self) -> bool:
        """Nothing was changed, removed, reordered or is missing, as far as could be seen."""
        return not any(finding.damage for finding in self.findings)


def spine_due(facts_since: int, since: timedelta | None) -> bool:
    """Is a spine due? `facts_since`: appended since the last one; `since`: its age, None when there is none."""
    return facts_since >= DUE_FACTS or (facts_since > 0 and (since is None or since >= DUE_AFTER))


def seal_when_due(journal: OpenJournal, vaults: Iterable[Vault], *, at_the_end: bool = False) -> Sealed | None:
    """Seal a spine if one is due; at the end of a command, if anything is new: nobody may come by for days. Raises as
    `seal_spine`."""
    about = journal.kept.about
    at, count = about("spine at"), int(about("spine count") or 0)
    since = None if at is None or at_the_end else journal.now() - from_stamp(at)
    if not spine_due(journal.kept.count() - count, since):
        return None
    return seal_spine(journal, vaults, journal.now(), patience=PATIENCE if at_the_end else timedelta())


def seal_spine(
    journal: OpenJournal, vaults: Iterable[Vault], now: datetime, *, patience: timedelta = timedelta()
) -> Sealed | None:
    """Seal the heads of all streams into every vault. None: another process of this state folder is at it, and was for
    as long as our patience lasts. Raises JournalReadOnly when another journal took over, StoreUnreachable when no vault
    took the spine."""
    with _only_one(journal, patience) as alone:
        if not alone:
            return None
        if isinstance(standing := journal.look(), Overtaken):
            raise JournalReadOnly("this journal is not sealed any more: another one took over", detail=standing.by)
        opened = list(vaults)
        while True:
            spine = _next_spine(journal, now)
            sealed, found = _spread(spine, opened)
            if found is None:
                break
            journal.refuse_to_fork(found)
            # Sealed before a crash, and not remembered: spread that one, and go on with the next.
            sealed, _ = _spread(found, opened)
            _remember(journal, found)
        if not sealed.vaults:
            said = "; ".join(f"{name}: {why}" for name, why in sealed.away) or "the plan has no vaults"
            raise StoreUnreachable("no vault took the journal's spine", detail=said)
        _remember(journal, spine)
        return sealed


def verify_journal(journal: OpenJournal, vaults: Iterable[Vault]) -> Audit:
    """Verify every fact of the journal, and compare it with what was sealed. Raises JournalDamaged when the file
    itself cannot be read."""
    found: dict[int, Spine] = {}
    findings: list[Finding] = []
    away: list[tuple[VaultName, str]] = []
    for vault in vaults:
        try:
            spines, flawed = _sealed_in(journal, vault)
        except BackstayError as error:
            away.append((VaultName(vault.name), error.message))
            continue
        findings += flawed
        for spine in spines:
            other = found.setdefault(spine.number, spine)
            if other != spine:
                said = f"{vault.name} has another spine {spine.number} than the vault before it"
                findings.append(Finding(STREAM, spine.number, Flaw.SPINE, said))
    ordered = [found[number] for number in sorted(found)]
    return Audit((*findings, *journal.verify(ordered)), len(ordered), tuple(away))


# ── sealing ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _only_one(journal: OpenJournal, patience: timedelta) -> Generator[bool]:
    """Only one process at a time, so that there is one spine of each number. A dead one's lock is free."""
    lock = os.open(journal.kept.path.with_name(LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _lock_within(lock, patience)
    finally:
        os.close(lock)


def _lock_within(lock: int, patience: timedelta) -> bool:
    until = time.monotonic() + patience.total_seconds()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
            continue
        return True


def _next_spine(journal: OpenJournal, now: datetime) -> Spine:
    about = journal.kept.about
    number, before = int(about("spine number") or 0) + 1, about("spine digest")
    unsigned = Spine(
        journal.id,
        journal.epoch,
        number,
        now,
        Digest(before) if before else digest_of(b""),
        journal.heads(),
        journal.key.public,
    )
    return replace(unsigned, signature=journal.key.sign(signed_part(unsigned)))


def _spread(spine: Spine, vaults: list[Vault]) -> tuple[Sealed, Spine | None]:
    """Put `spine` into every vault. Or the spine of this journal that has its number already, in one of them."""
    took: list[VaultName] = []
    away: list[tuple[VaultName, str]] = []
    for vault in vaults:
        name, data = spine_name(spine.journal, spine.epoch, spine.number), write_spine(spine)
        try:
            if not vault.keep_note(name, data) and (there := vault.note(name)) != data:
                found = read_spine(there or b"")
                if found.journal == spine.journal and signed(found, spine.signer):
                    return Sealed(spine.number, tuple(took), tuple(away)), found
                away.append((VaultName(vault.name), f"somebody else's {name} is there"))
                continue
            took.append(VaultName(vault.name))
        except BackstayError as error:
            away.append((VaultName(vault.name), error.message))
    return Sealed(spine.number, tuple(took), tuple(away)), None


def _remember(journal: OpenJournal, spine: Spine) -> None:
    notes = {
        "spine number": str(spine.number),
        "spine digest": spine_digest(spine),
        "spine at": stamp(spine.at),
        "spine count": str(sum(head.seq for head in spine.heads.values())),
    }
    journal.kept.note(notes, unless=_newer(spine.number))


def _newer(number: int) -> Callable[[Callable[[str], str | None]], bool]:
    return lambda about: int(about("spine number") or 0) >= number


# ── comparing ────────────────────────────────────────────────────────────────────────────────────


def _sealed_in(journal: OpenJournal, vault: Vault) -> tuple[list[Spine], list[Finding]]:
    """The newest spines of this journal in one vault, and what is wrong with them."""
    names = [
        (int(number), name)
        for name in vault.notes("spine/")
        if (number := name.rpartition("/")[2]).isdecimal() and _epoch_fits(journal, name)
    ]
    spines: list[Spine] = []
    findings: list[Finding] = []
    for number, name in sorted(names)[-_NEWEST:]:
        try:
            spine = read_spine(vault.note(name) or b"")
        except JournalDamaged:
            findings.append(Finding(STREAM, number, Flaw.SPINE, f"{name} in {vault.name} cannot be read"))
            continue
        if spine.journal != journal.id:
            continue
        if not signed(spine, journal.key.public):
            findings.append(Finding(STREAM, number, Flaw.SPINE, f"the signature of {name} in {vault.name} is wrong"))
        else:
            spines.append(spine)
    return spines, findings


def _epoch_fits(journal: OpenJournal, name: str) -> bool:
    epoch = name.removeprefix("spine/").partition("/")[0]
    return epoch == f"0-{journal.id}" or (epoch.isdecimal() and 0 < int(epoch) <= journal.epoch)
