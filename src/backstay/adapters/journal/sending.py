"""The facts themselves, sealed into the vaults, so that each vault holds the whole journal (`facts.segments`).

What a vault has is remembered here for a day, then looked up again: it may have been emptied, or set back. One that was
away gets everything that it missed, in thousands. Whose facts they are is told to each vault, not to the witness alone:
any of them may be the one that is left.
"""

from collections.abc import Iterator
from datetime import timedelta

from backstay.adapters.journal.opened import OpenJournal
from backstay.errors import Damaged
from backstay.facts.audit import Row
from backstay.facts.segments import (
    Range,
    Segment,
    covered,
    line_ranges,
    pieces,
    segment_name,
    write_segment,
)
from backstay.ports import Vault
from backstay.values import from_stamp, stamp

_REMEMBERED = timedelta(days=1)
_MOST = 32 << 20
"""Bytes of facts in one segment; a single larger fact has one of its own."""


def send_facts(journal: OpenJournal, vault: Vault, upto: int) -> None:
    """Seal into `vault` what it does not have of the first `upto` facts. Raises what the vault raises, and Damaged when
    other facts than ours lie there under the same name."""
    sent = facts_in(journal, vault)
    for within in pieces(sent, upto):
        for segment in _cut(journal, within):
            name, data = segment_name(journal.id, Range(segment.first, segment.last)), write_segment(segment)
            if not vault.keep_note(name, data) and vault.note(name) != data:
                raise Damaged(f"other facts lie in {vault.name} as {name}", detail="they are not this journal's")
    if upto > sent:
        _remember(journal, vault, upto)


def facts_in(journal: OpenJournal, vault: Vault) -> int:
    """How many facts of this journal, from the first without a gap, are in the vault."""
    words = (journal.kept.about(_mark(vault)) or "").split()
    if len(words) == 2 and abs(journal.now() - from_stamp(words[1])) < _REMEMBERED:
        return int(words[0])
    names = [
        name for id in (journal.id, *(one.journal for one in journal.after)) for name in vault.notes(f"facts/{id}/")
    ]
    sent = covered(line_ranges(names, journal.id, journal.after))
    if journal.epoch:
        vault.keep_note(f"journal/{journal.epoch}", journal.words(journal.epoch))
    _remember(journal, vault, sent)
    return sent


def _mark(vault: Vault) -> str:
    return f"facts in {vault.id}"


def _remember(journal: OpenJournal, vault: Vault, sent: int) -> None:
    journal.kept.note({_mark(vault): f"{sent} {stamp(journal.now())}"}, unless=lambda about: False)


def _cut(journal: OpenJournal, within: Range) -> Iterator[Segment]:
    rows, size, first = list[Row](), 0, within.first
    for row in journal.kept.rows(within.first, within.last):
        if rows and size + len(row.body) > _MOST:
            yield Segment(journal.id, first, tuple(rows), journal.after)
            rows, size, first = [], 0, first + len(rows)
        rows.append(row)
        size += len(row.body)
    if first + len(rows) - 1 != within.last:
        raise Damaged(
            "facts are missing in the journal, so they are not sealed",
            detail=f"of facts {within.first} to {within.last}, {first + len(rows) - within.first} are here",
            hint="`backstay journal verify` lists everything that is wrong",
        )
    yield Segment(journal.id, first, tuple(rows), journal.after)
