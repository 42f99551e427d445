"""What a journal wrote on its own after another one had taken over: kept beside the history, never mixed into it.

A machine that comes back from the dead may have facts that were never sealed: what it did in its last minutes. They are
read from its file, or from the vaults where it sealed them too late, and sealed as
`facts/side/<journal>/<first>-<last>`; a fact in the history says how many there are, and their running digest. Nothing
is ever folded from them.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from backstay.adapters.journal.opened import STREAM, OpenJournal
from backstay.adapters.journal.sqlite import FILE, SqliteJournal
from backstay.errors import BackstayError, JournalConflict, JournalDamaged, ObjectMissing, StoreUnreachable, Usage
from backstay.facts import NO_FACTS, SideImported, log_after
from backstay.facts.audit import Row
from backstay.facts.segments import (
    BLOCK,
    Range,
    Segment,
    read_name,
    read_segment,
    side_name,
    write_segment,
)
from backstay.ports import Clock, Vault
from backstay.values import VaultName


@dataclass(frozen=True, slots=True)
class Tail:
    """The facts of another journal that are no part of ours."""

    journal: str
    first: int
    rows: tuple[Row, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


@dataclass(frozen=True, slots=True)
class Side:
    """A branch that was imported, read back."""

    imported: SideImported
    rows: tuple[Row, ...]
    trouble: str
    """Why it is not what was imported; empty: it is."""


def tail_in(journal: OpenJournal, source: Path, clock: Clock) -> Tail:
    """Of a journal's file, or of the folder that has it. The file is read from a copy: it may be evidence. Raises
    ObjectMissing, JournalDamaged, Usage for a journal that has nothing in common with ours."""
    path = next((one for one in (source, source / FILE, source / ".backstay" / FILE) if one.is_file()), None)
    if path is None:
        raise ObjectMissing(f"there is no journal in {source}", detail=f"no {FILE} is there")
    with TemporaryDirectory(prefix="backstay-") as folder:
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                shutil.copyfile(path.parent / name, Path(folder) / name.replace(path.name, FILE))
        other = SqliteJournal(Path(folder), clock)
        try:
            if damage := [one for one in other.verify([]) if one.damage]:
                raise JournalDamaged(
                    f"the journal in {source} is damaged: nothing of it is imported",
                    detail="; ".join(str(one) for one in damage[:3]),
                    hint="keep the file as it is: it is evidence",
                )
            return _beyond(journal, other.about("journal") or "", other.rows(1, other.newest_number()))
        finally:
            other.close()


def tails_in_vaults(journal: OpenJournal, vaults: Iterable[Vault]) -> list[Tail]:
    """What the journals that ours goes on from sealed after we had gone on without it."""
    found: list[Tail] = []
    for ancestor in journal.after:
        ranges: dict[Range, bytes] = {}
        for vault in vaults:
            for name in vault.notes(f"facts/{ancestor.journal}/"):
                read = read_name(name)
                if read is not None and read[1].last > ancestor.facts and read[1] not in ranges:
                    ranges[read[1]] = vault.note(name) or b""
        rows = dict[int, Row]()
        for data in ranges.values():
            segment = read_segment(data)
            rows |= dict(enumerate(segment.rows, segment.first))
        numbers = [number for number in sorted(rows) if number > ancestor.facts]
        if numbers:
            found.append(Tail(ancestor.journal, numbers[0], tuple(rows[number] for number in numbers)))
    return found


def keep_side(journal: OpenJournal, vaults: Sequence[Vault], tail: Tail, by: str) -> SideImported | None:
    """Seal it into every vault that answers, then write down that it is there. None: it was done before. Raises
    StoreUnreachable when no vault took it, JournalReadOnly."""
    done = max((one.last for one in _imported(journal) if one.journal == tail.journal), default=0)
    first = max(tail.first, done + 1)
    rows = tail.rows[first - tail.first :]
    if not rows:
        return None
    journal.refuse_to_write()
    segments = [Segment(tail.journal, first + at, rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)]
    took, away = list[VaultName](), list[str]()
    for vault in vaults:
        try:
            for one in segments:
                vault.keep_note(side_name(tail.journal, Range(one.first, one.last)), write_segment(one))
            took.append(VaultName(vault.name))
        except BackstayError as error:
            away.append(f"{vault.name}: {error.message}")
    if not took:
        raise StoreUnreachable("no vault took the side branch", detail="; ".join(away))
    fact = SideImported(tail.journal, first, tail.last, log_after(NO_FACTS, [row.digest for row in rows]), by)
    while True:
        said = journal.read(STREAM)
        try:
            journal.append(STREAM, [fact], expected=said[-1].seq if said else 0)
        except JournalConflict:
            continue
        return fact


def side_branches(journal: OpenJournal, vaults: Sequence[Vault]) -> list[Side]:
    """Every branch that was imported, as the vaults have it."""
    return [_read_back(one, vaults) for one in _imported(journal)]


def _imported(journal: OpenJournal) -> list[SideImported]:
    return [one.fact for one in journal.read(STREAM) if isinstance(one.fact, SideImported)]


def _read_back(imported: SideImported, vaults: Sequence[Vault]) -> Side:
    trouble = "no vault here has it"
    for vault in vaults:
        try:
            rows = _rows_of(imported, vault)
        except BackstayError as error:
            trouble = f"{vault.name}: {error.message}"
            continue
        if log_after(NO_FACTS, [row.digest for row in rows]) == imported.digest:
            return Side(imported, rows, "")
        if rows:
            trouble = f"what {vault.name} has is not what was imported"
    return Side(imported, (), trouble)


def _rows_of(imported: SideImported, vault: Vault) -> tuple[Row, ...]:
    rows: dict[int, Row] = {}
    for name in vault.notes(f"facts/side/{imported.journal}/"):
        read = read_name(name, side=True)
        if read is None or read[1].last < imported.first or read[1].first > imported.last:
            continue
        segment = read_segment(vault.note(name) or b"")
        rows |= dict(enumerate(segment.rows, segment.first))
    return tuple(rows[number] for number in range(imported.first, imported.last + 1) if number in rows)


def _beyond(journal: OpenJournal, id: str, rows: Sequence[Row]) -> Tail:
    ours = journal.kept.digests(0, len(rows))
    pairs = enumerate(zip(rows, ours))
    common = next((at for at, (row, digest) in pairs if row.digest != digest), min(len(rows), len(ours)))
    if not common and id not in {one.journal for one in journal.after}:
        raise Usage(
            "that journal has nothing in common with this one",
            detail=f"it is journal {id}; not one of its {len(rows)} facts is here",
            hint="is it of another plan? its file can be looked at with --state",
        )
    return Tail(id, common + 1, tuple(rows[common:]))
