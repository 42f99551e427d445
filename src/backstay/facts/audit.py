"""Is the journal what was written? What a row must look like, and what is wrong with one that does not.

Pure, so that every journal is held to the same rules. A chain finds what was changed, removed, reordered or is missing
*inside* a stream. That its end was cut off, or that a whole chain was computed anew, only a sealed spine can show:
where none speaks of the end of a stream, that end is *tail not verified*, and is said to be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import pairwise

from backstay.errors import BackstayError, ClockWentBack
from backstay.facts.chain import NO_FACTS, Head, Recorded, Spine, genesis, link, log_after, spine_digest
from backstay.facts.stored import Fact, read_fact
from backstay.values import Digest, StreamName, say_moment, say_span

CLOCK_TOLERANCE = timedelta(minutes=1)
"""A clock that is set back by less is smoothed: `at` never runs backwards in a stream."""

_SEARCH = 2_000
"""How far from its place a fact is looked for before it is called changed, and not moved."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact as it is stored. `body` is the text itself."""

    stream: StreamName
    seq: int
    at: datetime
    body: str
    before: Digest
    digest: Digest


def next_moment(stream: StreamName, newest: datetime | None, now: datetime) -> datetime:
    """The `at` of the next fact. Raises ClockWentBack."""
    if newest is None or now >= newest:
        return now
    if newest - now > CLOCK_TOLERANCE:
        raise ClockWentBack(
            f"the clock reads {say_span(newest - now)} earlier than the newest fact of {stream}",
            detail=f"now {say_moment(now)}, newest fact {say_moment(newest)}",
            hint="set the clock right; if it is right, and was ahead before: go on in a fresh state folder (--state)",
        )
    return newest


def next_row(stream: StreamName, last: Row | None, at: datetime, body: str) -> Row:
    seq, before = (1, genesis(stream)) if last is None else (last.seq + 1, last.digest)
    return Row(stream, seq, at, body, before, link(before, stream, seq, at, body))


def recorded(row: Row, fact: Fact) -> Recorded:
    return Recorded(row.stream, row.seq, row.at, fact, row.before, row.digest)


# ── the audit ────────────────────────────────────────────────────────────────────────────────────


class Flaw(Enum):
    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    MISSING = "missing"
    """The end of a stream was cut off."""
    UNREADABLE = "unreadable"
    """Unchanged, and yet not a fact that this version reads."""
    SPINE = "spine"
    """What was sealed about the journal does not hold together."""
    GAP = "spine missing"
    """One of several is not there: removed, or its vault was away. Later ones stand for what it stood for."""
    TAIL = "tail not verified"
    """No damage: nothing sealed speaks of the end of this stream."""


@dataclass(frozen=True, slots=True)
class Finding:
    stream: StreamName
    seq: int
    """The fact it is about; for a tail, the last one that is verified."""
    flaw: Flaw
    said: str

    @property
    def damage(self) -> bool:
        return self.flaw is not Flaw.TAIL

    def __str__(self) -> str:
        return f"{self.stream} fact {self.seq}: {self.flaw.value}: {self.said}"


@dataclass(frozen=True, slots=True)
class Walk:
    """A journal as it was appended, from its first fact to its last."""

    facts: int
    log: Mapping[int, Digest]
    """The running digest after so many facts, where a spine was sealed."""
    sealed: int
    """The facts at the newest of those places."""
    heads: Mapping[StreamName, Head]
    """The end of each stream there."""


def walk(facts: Iterable[tuple[StreamName, int, Digest]], spines: Sequence[Spine]) -> Walk:
    """`facts` in the order of appending: stream, number in it, digest."""
    places = {spine.facts for spine in spines}
    log, logs, number, sealed = NO_FACTS, dict[int, Digest](), 0, 0
    heads, ends = dict[StreamName, Head](), dict[StreamName, Head]()
    for number, (stream, seq, digest) in enumerate(facts, 1):
        log = log_after(log, (digest,))
        ends[stream] = Head(seq, digest)
        if number in places:
            logs[number], sealed = log, number
            heads = heads | ends
            ends.clear()
    return Walk(number, logs, sealed, heads)


def audit(
    rows: Iterable[Row], heads: Mapping[StreamName, Head], spines: Sequence[Spine], walked: Walk | None = None
) -> list[Finding]:
    """Everything that is wrong with a journal, and what could not be verified. `rows` in the order of streams and
    numbers; `heads` as the journal itself remembers them; `spines` of this journal only, their signatures checked;
    `walked` is the same journal in the order of appending, where that is known."""
    findings: list[Finding] = []
    seals = _Seals(spines)
    order = [] if walked is None else list(_order(walked, spines))
    if walked is not None and not order:
        seals.know(walked.heads)
    stream: list[Row] = []
    seen = set[StreamName]()
    for row in rows:
        if stream and row.stream != stream[0].stream:
            findings += _stream(stream, heads, seals)
            stream = []
        stream.append(row)
        seen.add(row.stream)
    if stream:
        findings += _stream(stream, heads, seals)
    for name in sorted((heads.keys() | seals.newest.keys()) - seen):
        known = max(head.seq for head in (heads.get(name), seals.newest.get(name)) if head is not None)
        findings.append(Finding(name, 1, Flaw.MISSING, f"the whole stream is gone; it had {known} facts"))
    # What is wrong with one fact is wrong with the order of all: said only where nothing more exact can be.
    return [*_spines(spines), *findings, *([] if any(one.damage for one in findings) else order)]


class _Seals:
    """What the sealed spines say about every stream."""

    def __init__(self, spines: Sequence[Spine]) -> None:
        self.newest: dict[StreamName, Head] = {}
        self.known: dict[StreamName, dict[int, tuple[Digest, Spine]]] = {}
        for spine in spines:
            for stream, head in spine.heads.items():
                if stream not in self.newest or head.seq > self.newest[stream].seq:
                    self.newest[stream] = head
                self.known.setdefault(stream, {})[head.seq] = (head.digest, spine)

    def know(self, heads: Mapping[StreamName, Head]) -> None:
        """The running digest of a spine was right, so it speaks for the end of every stream, named or not."""
        for stream, head in heads.items():
            if stream not in self.newest or head.seq > self.newest[stream].seq:
                self.newest[stream] = head


def _order(walked: Walk, spines: Sequence[Spine]) -> Iterator[Finding]:
    stream = StreamName("journal")
    for spine in spines:
        if spine.facts > walked.facts:
            said = f"spine {spine.number} was sealed over {spine.facts} facts, and {walked.facts} are here"
            yield Finding(stream, spine.number, Flaw.MISSING, said)
        elif walked.log.get(spine.facts, NO_FACTS) != spine.log:
            said = f"the first {spine.facts} facts are not those of spine {spine.number}, or not in their order"
            yield Finding(stream, spine.number, Flaw.CHANGED, said)
        else:
            continue
        return


def _stream(rows: list[Row], heads: Mapping[StreamName, Head], seals: _Seals) -> Iterator[Finding]:
    name, last = rows[0].stream, rows[-1]
    yield from _chain(rows)
    head, sealed = heads.get(name), seals.newest.get(name)
    if head is None or head.seq < last.seq or (head.seq == last.seq and head.digest != last.digest):
        yield Finding(name, last.seq, Flaw.CHANGED, "the journal's own note of this stream's end does not match it")
    known = max(head.seq if head else 0, sealed.seq if sealed else 0)
    if known > last.seq:
        gone = f"facts {last.seq + 1} to {known} are" if known > last.seq + 1 else f"fact {known} is"
        yield Finding(name, last.seq + 1, Flaw.MISSING, f"the end of the stream was cut off: {gone} missing")
    present = {row.seq: row for row in rows}
    for seq, (digest, spine) in sorted(seals.known.get(name, {}).items()):
        if seq in present and present[seq].digest != digest:
            said = f"not what was sealed in spine {spine.number} on {say_moment(spine.at)}"
            yield Finding(name, seq, Flaw.CHANGED, said)
    if sealed is None or sealed.seq < last.seq:
        yield Finding(name, sealed.seq if sealed else 0, Flaw.TAIL, f"nothing sealed speaks of fact {last.seq}")


def _chain(rows: list[Row]) -> Iterator[Finding]:
    name, before, expected = rows[0].stream, genesis(rows[0].stream), 1
    for row in rows:
        if row.seq > expected:
            gone = f"facts {expected} to {row.seq - 1} are" if row.seq > expected + 1 else f"fact {expected} is"
            yield Finding(name, expected, Flaw.REMOVED, f"{gone} missing, and later ones are there")
            before = row.before
        if link(before, name, row.seq, row.at, row.body) != row.digest or row.before != before:
            yield _wrong(row, before, len(rows))
        elif problem := _unreadable(row.body):
            yield Finding(name, row.seq, Flaw.UNREADABLE, problem)
        before, expected = row.digest, row.seq + 1


def _wrong(row: Row, before: Digest, length: int) -> Finding:
    """What happened to a row that does not fit its place."""
    if link(row.before, row.stream, row.seq, row.at, row.body) == row.digest:
        return Finding(row.stream, row.seq, Flaw.CHANGED, "it stands behind another fact than the one before it")
    for seq in range(max(1, row.seq - _SEARCH), min(length, row.seq + _SEARCH) + 2):
        if link(row.before, row.stream, seq, row.at, row.body) == row.digest:
            return Finding(row.stream, row.seq, Flaw.REORDERED, f"it is fact {seq}, and stands in another place")
    return Finding(row.stream, row.seq, Flaw.CHANGED, "it is not what was written")


def _unreadable(body: str) -> str:
    try:
        read_fact(body)
    except BackstayError as error:
        return error.message
    return ""


def _spines(spines: Sequence[Spine]) -> Iterator[Finding]:
    stream = StreamName("journal")
    for earlier, later in pairwise(spines):
        if later.journal != earlier.journal:
            continue  # it went on from a vault, where the last spine of the other may not have been at hand
        if later.number > earlier.number + 1:
            yield Finding(stream, later.number, Flaw.GAP, f"spine {earlier.number + 1} is not in the vault")
        elif later.before != spine_digest(earlier):
            yield Finding(stream, later.number, Flaw.SPINE, f"spine {later.number} does not follow the one before it")
        if later.signer != earlier.signer:
            yield Finding(stream, later.number, Flaw.SPINE, f"spine {later.number} was signed by another key")
