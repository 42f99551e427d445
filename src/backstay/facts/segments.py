"""Segments: the facts themselves, as they are kept in the vaults.

A spine shows that a journal is whole; it cannot bring one back. So the facts since the last spine are sealed beside
it, in the order of appending, as `facts/<journal>/<first>-<last>`: whoever has a vault and a key has the journal. The
numbers count all facts of a journal, whatever their streams, from 1. A segment ends at each thousandth fact, and the
one that ends there has that whole thousand: so a journal is read in few large pieces, whatever pieces it was sealed in.

A segment is lines of canonical JSON. The first says whose it is, and after which journals it goes on; each of the
others is one fact as the journal stores it. Pure, and strict: what is read may be damaged, or hostile.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from backstay.errors import JournalDamaged
from backstay.facts.audit import Row
from backstay.facts.chain import link
from backstay.facts.shapes import Shape, many, moment, record, text, whole
from backstay.facts.stored import canonical

BLOCK = 1000
LARGEST_SEGMENT = 256 << 20
"""Bytes. A vault opens no larger box."""
_KIND = "backstay-facts/1"
_NAME = re.compile(r"facts/([0-9a-f]{16})/([1-9][0-9]{0,11})-([1-9][0-9]{0,11})\Z")
_SIDE = re.compile(r"facts/side/([0-9a-f]{16})/([1-9][0-9]{0,11})-([1-9][0-9]{0,11})\Z")


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A journal that another one goes on from, and how far: what it wrote later is no part of the history."""

    journal: str
    facts: int
    signer: str
    """The public half of its key, hexadecimal."""


@dataclass(frozen=True, slots=True)
class Segment:
    journal: str
    first: int
    """The number of the first of `rows`."""
    rows: tuple[Row, ...]
    after: tuple[Ancestor, ...] = ()
    """The journals that this one goes on from, oldest first."""

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """What the name of a segment says is in it."""

    first: int
    last: int


def segment_name(journal: str, within: Range) -> str:
    return f"facts/{journal}/{within.first}-{within.last}"


def side_name(journal: str, within: Range) -> str:
    """Facts that a journal wrote after another one had taken over: kept, and no part of the history."""
    return f"facts/side/{journal}/{within.first}-{within.last}"


def read_name(name: str, *, side: bool = False) -> tuple[str, Range] | None:
    """The journal and the numbers; None for anything else that lies there."""
    found = (_SIDE if side else _NAME).match(name)
    if found is None or not int(found[2]) <= int(found[3]) < int(found[2]) + BLOCK:
        return None
    return found[1], Range(int(found[2]), int(found[3]))


def pieces(done: int, now: int) -> Iterator[Range]:
    """How the facts after `done` are sealed, up to `now`: each completed thousand whole, then the rest."""
    at = done
    while (end := (at // BLOCK + 1) * BLOCK) <= now:
        yield Range(end - BLOCK + 1, end)
        at = end
    if at < now:
        yield Range(at + 1, now)


def covered(ranges: Iterable[Range]) -> int:
    """Up to which fact, from the first, nothing is missing."""
    upto = 0
    for within in sorted(ranges):
        if within.first > upto + 1:
            break
        upto = max(upto, within.last)
    return upto


# ── the stored form ──────────────────────────────────────────────────────────────────────────────

_ancestor: Shape[Ancestor] = record(Ancestor, journal=text, facts=whole, signer=text)
ancestors: Shape[tuple[Ancestor, ...]] = many(_ancestor)
_row: Shape[Row] = record(Row, stream=text, seq=whole, at=moment, body=text, before=text, digest=text)


def write_segment(segment: Segment) -> bytes:
    about = {
        "after": ancestors.write(segment.after),
        "first": segment.first,
        "journal": segment.journal,
        "kind": _KIND,
        "last": segment.last,
    }
    return "\n".join((canonical(about), *(canonical(_row.write(row)) for row in segment.rows), "")).encode()


def read_segment(data: bytes) -> Segment:
    """The inverse. Every fact has the digest that it should; whether each stands behind the one before it is seen when
    all segments are there. Raises JournalDamaged for anything that `write_segment` did not write."""
    try:
        segment = _read(data)
        if write_segment(segment) != data:
            raise ValueError("it is not written as it should be")
    except (ValueError, RecursionError, OverflowError) as error:
        raise JournalDamaged("a sealed segment of the journal cannot be read", detail=str(error)[:200]) from None
    return segment


def _read(data: bytes) -> Segment:
    if len(data) > LARGEST_SEGMENT:
        raise ValueError("it is too large")
    lines = data.decode("ascii").split("\n")
    if not 3 <= len(lines) <= BLOCK + 2 or lines[-1]:
        raise ValueError(f"{len(lines) - 1} lines")
    about = _mapping(lines[0])
    if set(about) != {"after", "first", "journal", "kind", "last"} or about["kind"] != _KIND:
        raise ValueError("it does not begin like a segment")
    rows = tuple(_row.read(_mapping(line)) for line in lines[1:-1])
    segment = Segment(text.read(about["journal"]), whole.read(about["first"]), rows, ancestors.read(about["after"]))
    if segment.first < 1 or segment.last != about["last"]:
        raise ValueError(f"it says facts {about['first']} to {about['last']}, and has {len(rows)}")
    for row in rows:
        if row.seq < 1 or link(row.before, row.stream, row.seq, row.at, row.body) != row.digest:
            raise ValueError(f"fact {row.seq} of {row.stream} is not what was written")
    return segment


def _mapping(line: str) -> dict[str, Any]:
    found: Any = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no mapping")
    return cast("dict[str, Any]", found)


# ── putting them together ────────────────────────────────────────────────────────────────────────


def line_ranges(names: Iterable[str], journal: str, after: Sequence[Ancestor]) -> Mapping[Range, list[tuple[str, str]]]:
    """The segments of one history: of `journal`, and of those that it goes on from, each as far as it counts. A range
    of facts, and who has it: (the name of the segment, its journal)."""
    upto = {ancestor.journal: ancestor.facts for ancestor in after}
    found: dict[Range, list[tuple[str, str]]] = {}
    for name in names:
        if (read := read_name(name)) is None:
            continue
        owner, within = read
        if owner == journal:
            found.setdefault(within, []).append((name, owner))
        elif owner in upto and within.first <= upto[owner]:
            found.setdefault(Range(within.first, min(within.last, upto[owner])), []).append((name, owner))
    return found
