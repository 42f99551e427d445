"""Going on with a journal whose machine is gone: its facts come back from the vaults, and its epoch is ended.

Three steps, each of which may be repeated after a crash. `find_history` reads what the vaults hold, and compares it
with what was sealed. `lay_history` puts it into an empty journal, exactly as it was stored. `take_over` takes the next
epoch: in every vault that answers, because the one that decides, the witness, may be gone with the machine; the first
that answers decides. Of several that arrive at once one wins, and the others are told who.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from backstay.adapters.journal.opened import OpenJournal, Overtaken, Verified, newest_epoch, next_epoch
from backstay.adapters.journal.spines import sealed_spines
from backstay.errors import BackstayError, EpochTaken, JournalDamaged, StoreUnreachable
from backstay.facts import NO_FACTS, Head, Spine, canonical, genesis, log_after, read_spine, spine_digest
from backstay.facts.audit import Finding, Flaw, Row, audit, walk
from backstay.facts.segments import (
    Ancestor,
    Range,
    Segment,
    ancestors,
    line_ranges,
    read_name,
    read_segment,
)
from backstay.ports import Vault
from backstay.values import StreamName, VaultName, digest_of

_AT_ONCE = 8
"""Segments that are fetched together: a bucket answers many at once, each slowly."""


@dataclass(frozen=True, slots=True)
class Found:
    """The journal that the vaults hold, and how far it can be believed."""

    journal: str
    epoch: int
    """The highest that anybody took, in any vault; 0: none."""
    host: str
    at: str
    """Who took it, and when, as they wrote it."""
    line: tuple[Ancestor, ...]
    """What goes on from here comes after these; the last is `journal` itself."""
    rows: tuple[Row, ...]
    spines: tuple[Spine, ...]
    findings: tuple[Finding, ...]
    """What is wrong, and what could not be verified."""
    beyond: int
    """Facts that are sealed behind a gap, and were not read."""
    troubles: tuple[str, ...] = ()
    """Segments and vaults that could not be read."""

    @property
    def damage(self) -> bool:
        return any(one.damage for one in self.findings)


def find_history(vaults: Sequence[Vault]) -> Found | None:
    """The newest journal in these vaults; where they disagree who took the highest epoch, the first one is believed.
    None: no vault holds one. Raises StoreUnreachable when no vault answers."""
    seen = _Seen.of(vaults)
    epoch, words = seen.newest_epoch
    journal = str(words.get("journal", "")) or seen.without_epoch()
    if not journal:
        return None
    after = _ancestors_in(words, seen, journal)
    rows, beyond = seen.read(line_ranges(seen.holders, journal, after))
    # A journal that has just arrived may have sealed nothing yet: then all of it is of those before.
    signer = str(words.get("key", "")) or _signer_of(seen, vaults, journal, epoch)
    line = (*after, Ancestor(journal, len(rows), signer))
    spines, flaws, away = sealed_spines(line, vaults, epoch)
    known = {one.journal: one.facts for one in after}
    spines = [spine for spine in spines if spine.facts <= known.get(spine.journal, spine.facts)]
    heads = {row.stream: Head(row.seq, row.digest) for row in rows}
    walked = walk(((row.stream, row.seq, row.digest) for row in rows), spines)
    ordered = sorted(rows, key=lambda row: (row.stream, row.seq))
    findings = [*flaws, *audit(ordered, heads, spines, walked)]
    # One vault alone may lack what was sealed while it was away. Of all of them, `journal verify` asks for it.
    gaps = [str(one) for one in findings if one.flaw is Flaw.GAP]
    return Found(
        journal=journal,
        epoch=epoch,
        host=str(words.get("host", "somebody")),
        at=str(words.get("at", "an unknown day")),
        line=line,
        rows=tuple(rows),
        spines=tuple(spines),
        findings=tuple(one for one in findings if one.flaw is not Flaw.GAP),
        beyond=beyond,
        troubles=(*seen.troubles, *gaps, *(f"the vault {name} could not be asked: {why}" for name, why in away)),
    )


def lay_history(journal: OpenJournal, found: Found) -> bool:
    """Put it into a journal that has no facts of its own; what was put there by somebody who was stopped is put there
    anew. False when this journal has gone on already. Raises JournalConflict when it began by itself, EpochTaken
    when it was overtaken."""
    refuse_overtaken(journal)
    if journal.epoch and journal.after:
        return False
    own = [spine for spine in found.spines if spine.facts <= len(found.rows)]
    notes = {
        "after": canonical(ancestors.write(found.line)),
        "spine digest": spine_digest(own[-1]) if own else digest_of(b""),
        "spine facts": str(len(found.rows)),
        "spine log": log_after(NO_FACTS, [row.digest for row in found.rows]),
    }
    journal.kept.lay(found.rows, notes)
    return True


def take_over(journal: OpenJournal, vaults: Sequence[Vault], seen: int) -> Verified:
    """Take the epoch after `seen`, in every vault that answers; the first of them decides. Raises EpochTaken when
    somebody else was first there (this journal writes no more, ever), StoreUnreachable when none answers."""
    refuse_overtaken(journal)
    epoch, words = journal.claim(_next_epoch(vaults, seen))
    name, decided, away = f"journal/{epoch}", None, list[str]()
    for vault in vaults:
        try:
            there = words if vault.keep_note(name, words) else vault.note(name)
        except BackstayError as error:
            away.append(f"{vault.name}: {error.message}")
            continue
        if decided is not None:
            continue
        decided = VaultName(vault.name)
        if there != words:
            overtaken = journal.overtaken_by(epoch, there)
            raise EpochTaken(
                "somebody else took over at this moment",
                detail=f"{overtaken.by}, in the vault {decided}",
                hint=_GO_THERE,
            )
    if decided is None:
        raise StoreUnreachable("no vault took the journal's next epoch", detail="; ".join(away))
    return journal.settle(epoch, decided)


def _next_epoch(vaults: Sequence[Vault], seen: int) -> int:
    """The first that is free of strangers in all vaults that answer."""
    epoch = seen + 1
    for vault in vaults:
        with suppress(BackstayError):  # it is said where it is used
            epoch = next_epoch(vault, epoch - 1)
    return epoch


def refuse_overtaken(journal: OpenJournal) -> None:
    """Raises EpochTaken."""
    if isinstance(standing := journal.standing, Overtaken):
        raise EpochTaken("this journal was overtaken already", detail=standing.by, hint=_GO_THERE)


_GO_THERE = "work there; to take over from that one too, bootstrap again into an empty folder"


# ── what is in the vaults ────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Seen:
    """The names of segments and epochs in all vaults, and reading them."""

    holders: dict[str, list[Vault]] = field(default_factory=dict[str, list[Vault]])
    epochs: dict[int, Mapping[str, object]] = field(default_factory=dict[int, Mapping[str, object]])
    troubles: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, vaults: Iterable[Vault]) -> "_Seen":
        seen, answered = cls(), False
        for vault in vaults:
            try:
                for name in vault.notes("facts/"):
                    seen.holders.setdefault(name, []).append(vault)
                epoch, words = newest_epoch(vault)
                seen.epochs.setdefault(epoch, words)
                answered = True
            except BackstayError as error:
                seen.troubles.append(f"the vault {vault.name} could not be asked: {error.message}")
        if not answered:
            raise StoreUnreachable("no vault answers", detail="; ".join(seen.troubles))
        return seen

    @property
    def newest_epoch(self) -> tuple[int, Mapping[str, object]]:
        highest = max(self.epochs, default=0)
        return highest, self.epochs.get(highest, {})

    def without_epoch(self) -> str:
        """A journal that never met its witness: the longest of those that sealed anything."""
        found = [read for name in self.holders if (read := read_name(name)) is not None]
        return max(found, key=lambda one: (one[1].last, one[0]), default=("", None))[0]

    def segment(self, name: str) -> Segment | None:
        """Whichever vault gives it undamaged."""
        for vault in self.holders.get(name, []):
            try:
                segment = read_segment(vault.note(name) or b"")
                journal, within = read_name(name) or ("", Range(0, 0))
                if (segment.journal, segment.first, segment.last) != (journal, within.first, within.last):
                    raise JournalDamaged("it belongs elsewhere")
            except BackstayError as error:
                self.troubles.append(f"{name} in the vault {vault.name}: {error}")
                continue
            return segment
        return None

    def read(self, ranges: Mapping[Range, Sequence[tuple[str, str]]]) -> tuple[list[Row], int]:
        """Every fact from the first to the first gap, and how many lie behind that."""
        rows, ends = list[Row](), dict[StreamName, Head]()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            fetching = {name: pool.submit(self.segment, name) for name in _fewest(ranges)}
            while (part := self._next(ranges, len(rows) + 1, ends, fetching)) is not None:
                rows += part
                ends |= {row.stream: Head(row.seq, row.digest) for row in part}
        return rows, max([0, *(within.last for within in ranges)]) - len(rows)

    def _next(
        self,
        ranges: Mapping[Range, Sequence[tuple[str, str]]],
        at: int,
        ends: Mapping[StreamName, Head],
        fetching: Mapping[str, "Future[Segment | None]"],
    ) -> Sequence[Row] | None:
        """The facts from number `at` on, out of the segment that reaches furthest and follows what is there."""
        for within in _from(ranges, at):
            for name, _ in ranges[within]:
                segment = fetching[name].result() if name in fetching else self.segment(name)
                if segment is None:
                    continue
                part = segment.rows[at - segment.first : within.last - segment.first + 1]
                if _follows(part, ends):
                    return part
                self.troubles.append(f"{name}: its facts do not follow those before it")
        return None


def _from(ranges: Collection[Range], at: int) -> list[Range]:
    return sorted((one for one in ranges if one.first <= at <= one.last), key=lambda one: -one.last)


def _fewest(ranges: Mapping[Range, Sequence[tuple[str, str]]]) -> list[str]:
    """The names of the segments that are read when nothing is wrong with any."""
    names, at = list[str](), 1
    while found := _from(ranges, at):
        names.append(ranges[found[0]][0][0])
        at = found[0].last + 1
    return names


def _follows(rows: Sequence[Row], ends: Mapping[StreamName, Head]) -> bool:
    found = dict(ends)
    for row in rows:
        last = found.get(row.stream, Head(0, genesis(row.stream)))
        if (row.seq, row.before) != (last.seq + 1, last.digest):
            return False
        found[row.stream] = Head(row.seq, row.digest)
    return True


def _ancestors_in(words: Mapping[str, object], seen: _Seen, journal: str) -> tuple[Ancestor, ...]:
    """Which journals it goes on from: as it wrote when it took its epoch, else as its segments say."""
    try:
        return ancestors.read(words["after"])
    except (KeyError, ValueError):
        pass
    for name in sorted(seen.holders):
        if (read := read_name(name)) is not None and read[0] == journal and (segment := seen.segment(name)):
            return segment.after
    return ()


def _signer_of(seen: _Seen, vaults: Iterable[Vault], journal: str, epoch: int) -> str:
    """The key of a journal that did not write it down: that of its newest spine. (Spines are in boxes, so an enrolled
    writer sealed them in any case.)"""
    for prefix in (f"spine/{epoch}/", f"spine/0-{journal}/"):
        for vault in vaults:
            try:
                names = sorted(vault.notes(prefix), key=lambda name: (len(name), name))
                spine = read_spine((vault.note(names[-1]) if names else None) or b"")
            except BackstayError as error:
                seen.troubles.append(f"{prefix} in the vault {vault.name}: {error.message}")
                continue
            if spine.journal == journal:
                return spine.signer
    return ""
