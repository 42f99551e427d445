"""The spine: the heads of all streams, signed and sealed into the vaults.

A hash chain shows every change inside a stream, but not that its end was cut off, or that a whole chain was computed
anew. So the heads of all streams are gathered, signed by the journal's key, and put into every vault as the note
`spine/<epoch>/<number>`, which nobody can overwrite: every second in which something was appended, or every thousand
facts. Each spine names the one before it. A journal whose heads are behind a sealed spine was cut, or rolled back.

The newest spine is enough to verify everything before it: its running digest stands for every fact, in order. It names
only the streams that grew, so it stays small however many there are; one in a hundred names them all, so that what is
wrong can be named as well. Before a spine, the facts that it speaks of are sealed: `sending`.
"""

import fcntl
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backstay.adapters.journal.opened import STREAM, OpenJournal, Overtaken, spine_name
from backstay.adapters.journal.sending import send_facts
from backstay.adapters.journal.signing import signed
from backstay.errors import BackstayError, Damaged, JournalDamaged, JournalReadOnly, StoreUnreachable, WrongKey
from backstay.facts import NO_FACTS, Spine, log_after, read_spine, signed_part, spine_digest, write_spine
from backstay.facts.audit import Finding, Flaw
from backstay.facts.segments import Ancestor
from backstay.ports import Vault
from backstay.values import Digest, VaultName, digest_of, from_stamp, stamp

LOCK_FILE = "spine.lock"
DUE_AFTER = timedelta(seconds=1)
DUE_FACTS = 1000
PATIENCE = timedelta(seconds=10)
"""How long the last seal of a command waits for one under way: that one may have begun before our last facts."""
_NEWEST = 100
"""How many sealed spines a verification reads. One of them names every stream."""
_FEW = 32
"""Of so few streams, every spine names all."""


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
    at, count = about("spine at"), int(about("spine facts") or 0)
    since = None if at is None or at_the_end else journal.now() - from_stamp(at)
    if not spine_due(journal.kept.newest_number() - count, since):
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
            sealed, found = _spread(journal, spine, opened)
            if found is None:
                break
            journal.refuse_to_fork(found)
            # Sealed before a crash, and not remembered: spread that one, and go on with the next.
            sealed, _ = _spread(journal, found, opened)
            _remember(journal, found)
        if not sealed.vaults:
            said = "; ".join(f"{name}: {why}" for name, why in sealed.away) or "the plan has no vaults"
            raise StoreUnreachable("no vault took the journal's spine", detail=said)
        _remember(journal, spine)
        return sealed


def verify_journal(journal: OpenJournal, vaults: Iterable[Vault]) -> Audit:
    """Verify every fact of the journal, and compare it with what was sealed: of this journal, and of those that it goes
    on from. Raises JournalDamaged when the file itself cannot be read."""
    writers = (*journal.after, Ancestor(journal.id, journal.kept.newest_number(), journal.key.public))
    spines, findings, away = sealed_spines(writers, vaults, journal.epoch)
    # Of another journal, only what was taken over from it counts; of our own, also what is not here any more.
    known = {one.journal: one.facts for one in journal.after}
    ours = [spine for spine in spines if spine.facts <= known.get(spine.journal, spine.facts)]
    return Audit((*findings, *journal.verify(ours)), len(ours), away)


def sealed_spines(
    writers: Sequence[Ancestor], vaults: Iterable[Vault], epoch: int
) -> tuple[list[Spine], list[Finding], tuple[tuple[VaultName, str], ...]]:
    """The newest spines of these journals, up to an epoch, in all of the vaults, oldest first; what is wrong with them;
    and the vaults that could not be asked, and why."""
    found: dict[tuple[int, int], Spine] = {}
    findings: list[Finding] = []
    away: list[tuple[VaultName, str]] = []
    for vault in vaults:
        try:
            spines, flawed = _sealed_in(vault, writers, epoch)
        except BackstayError as error:
            away.append((VaultName(vault.name), error.message))
            continue
        findings += flawed
        for place, spine in spines:
            other = found.setdefault(place, spine)
            if other != spine:
                said = f"{vault.name} has another spine {spine.number} than the vault before it"
                findings.append(Finding(STREAM, spine.number, Flaw.SPINE, said))
    return [found[place] for place in sorted(found)], findings, tuple(away)


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
    kept = journal.kept
    number, before = int(kept.about("spine number") or 0) + 1, kept.about("spine digest")
    since, log = int(kept.about("spine facts") or 0), Digest(kept.about("spine log") or NO_FACTS)
    # Counted once: what is appended meanwhile belongs to the next spine.
    facts = kept.newest_number()
    heads = kept.heads_at(facts)
    whole = number % _NEWEST == 1 or len(heads) <= _FEW
    unsigned = Spine(
        journal=journal.id,
        epoch=journal.epoch,
        number=number,
        at=now,
        before=Digest(before) if before else digest_of(b""),
        facts=facts,
        log=log_after(log, kept.digests(since, facts)),
        whole=whole,
        heads=heads if whole else kept.heads_at(facts, since),
        signer=journal.key.public,
    )
    return replace(unsigned, signature=journal.key.sign(signed_part(unsigned)))


def _spread(journal: OpenJournal, spine: Spine, vaults: list[Vault]) -> tuple[Sealed, Spine | None]:
    """Put the facts, then `spine`, into every vault. Or the spine of this journal that has its number already, in one
    of them: a crash came between sealing it and remembering it, or this journal is an old copy of itself."""
    took: list[VaultName] = []
    away: list[tuple[VaultName, str]] = []
    name, data = spine_name(spine.journal, spine.epoch, spine.number), write_spine(spine)
    for vault in vaults:
        try:
            # Looked at first: a journal that was set back must not seal its other history.
            there = vault.note(name)
            if there is None:
                send_facts(journal, vault, spine.facts)
                there = data if vault.keep_note(name, data) else vault.note(name) or b""
            if there == data:
                took.append(VaultName(vault.name))
                continue
            found = read_spine(there)
            if found.journal == spine.journal and signed(found, spine.signer):
                return Sealed(spine.number, tuple(took), tuple(away)), found
            away.append((VaultName(vault.name), f"somebody else's {name} is there"))
        except BackstayError as error:
            away.append((VaultName(vault.name), error.message))
    return Sealed(spine.number, tuple(took), tuple(away)), None


def _remember(journal: OpenJournal, spine: Spine) -> None:
    notes = {
        "spine number": str(spine.number),
        "spine digest": spine_digest(spine),
        "spine at": stamp(spine.at),
        "spine facts": str(spine.facts),
        "spine log": spine.log,
    }
    journal.kept.note(notes, unless=_newer(spine.number))


def _newer(number: int) -> Callable[[Callable[[str], str | None]], bool]:
    return lambda about: int(about("spine number") or 0) >= number


# ── comparing ────────────────────────────────────────────────────────────────────────────────────


def _sealed_in(
    vault: Vault, writers: Sequence[Ancestor], upto: int
) -> tuple[list[tuple[tuple[int, int], Spine]], list[Finding]]:
    """The newest spines of some journals in one vault, each with its place in their order, and what is wrong there."""
    order = {one.journal: place for place, one in enumerate(writers)}
    signers = {one.journal: one.signer for one in writers}
    spines: list[tuple[tuple[int, int], Spine]] = []
    findings: list[Finding] = []
    read, locked = 0, None
    for number, name in _newest_names(vault.notes("spine/"), order.keys(), upto):
        if read == _NEWEST:
            break
        try:
            data = vault.note(name)
        except WrongKey as error:
            locked = error
            continue
        except Damaged:
            # Passed over: else a hundred small files with high numbers would hide every true spine.
            findings.append(Finding(STREAM, number, Flaw.SPINE, f"{name} in {vault.name} was sealed by nobody who may"))
            continue
        read += 1
        try:
            spine = read_spine(data or b"")
        except JournalDamaged:
            findings.append(Finding(STREAM, number, Flaw.SPINE, f"{name} in {vault.name} cannot be read"))
            continue
        if spine.journal not in signers:
            continue
        if not signed(spine, signers[spine.journal]):
            findings.append(Finding(STREAM, number, Flaw.SPINE, f"the signature of {name} in {vault.name} is wrong"))
        else:
            spines.append(((order[spine.journal], number), spine))
    if locked is not None and not read:
        raise locked
    return spines, findings[::-1]


def _newest_names(names: Iterable[str], journals: Collection[str], upto: int) -> list[tuple[int, str]]:
    found: list[tuple[int, int, str]] = []
    for name in names:
        parts = name.split("/")
        if len(parts) != 3 or not parts[2].isdecimal() or len(parts[2]) > 12:
            continue
        epoch, _, id = parts[1].partition("-")
        if epoch.isdecimal() and len(epoch) < 10 and int(epoch) <= upto and (not id or id in journals):
            found.append((int(epoch), int(parts[2]), name))
    return [(number, name) for _, number, name in sorted(found, reverse=True)]
