"""The write-ahead log in a vault: kept as it comes, read as it is replayed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from backstay.lsn import Lsn
from backstay.reach import Log, Stretch, read_histories


@dataclass(frozen=True, slots=True)
class Piece:
    """Log that is about to be kept: `data` begins at `start`. `since` and `until`: the server's clock when its first
    and its last byte were sent; None where nobody said (an archived segment)."""

    system: int
    timeline: int
    start: Lsn
    data: bytes
    segment_bytes: int
    """Of the cluster; never assumed."""
    major: int
    """Of the server."""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def end(self) -> Lsn:
        return Lsn(self.start + len(self.data))


@dataclass(frozen=True, slots=True)
class Label:
    """What the head of a stretch says, its signature checked."""

    segment_bytes: int
    major: int
    since: datetime | None
    until: datetime | None


class WalShelf(Protocol):
    """The log of every cluster that one vault has.

    `keep` returns when the bytes are durable: what it returned for may be confirmed to a server, which then forgets
    them. The same bytes again are no error; *other* bytes for the same place are (another cluster writes here, or
    history was forked): they raise WalConflict, and nothing is written.
    """

    def keep(self, piece: Piece) -> Stretch:
        """One object, or several for a very long piece; the stretch is all of it. Raises WalConflict, also for a piece
        in which a segment begins with the header of another place or cluster; StoreUnreachable, AccessDenied, DiskFull,
        WrongKey; Damaged where what lies in its place already cannot be compared."""
        ...

    def keep_history(self, system: int, timeline: int, text: bytes) -> None:
        """`<timeline>.history`, as the server has it. Kept before any byte of its timeline: without it a recovery
        stops on the old one, and says nothing. Raises WalConflict for another text."""
        ...

    def systems(self) -> list[int]:
        """Clusters with log here, by listing."""
        ...

    def stretches(self, system: int, timeline: int | None = None) -> list[Stretch]:
        """By timeline and start. By listing alone: no object is opened."""
        ...

    def histories(self, system: int) -> Mapping[int, bytes]:
        """Every history that is here, by its timeline; signatures checked. Raises Damaged."""
        ...

    def read(self, system: int, timeline: int, start: Lsn, end: Lsn) -> Iterator[bytes]:
        """Exactly the bytes from `start` up to `end`, in pieces of up to a few MiB, over as many stretches as needed,
        each verified. Raises ObjectMissing where there is a gap, naming the place; Damaged where no stretch gives the
        bytes unchanged, WrongKey."""
        ...

    def label(self, stretch: Stretch) -> Label:
        """What its head says: one short read. Raises Damaged, ObjectMissing, WrongKey."""
        ...

    def spans(self, system: int, timeline: int) -> Iterator[tuple[Stretch, datetime | None, datetime | None]]:
        """Each stretch with `since` and `until` of its piece: opens only the head of each object."""
        ...


_LABELS = 3
"""Stretches at the end of an unbroken part whose heads are opened: a receiver that has just begun said nothing yet."""
_PARTS = 32


def log_of(shelf: WalShelf, system: int) -> Log:
    """All that a shelf has of the log of one cluster, by listing; opened are the heads of the stretches at the ends of
    each unbroken part, which say up to which moment it goes. Raises what the shelf raises."""
    stretches = tuple(shelf.stretches(system))
    good, bad = read_histories(shelf.histories(system))
    log = Log(system, stretches, good, bad)
    moments = dict[Stretch, tuple[datetime | None, datetime | None]]()
    for runs in log.runs.values():
        for run in runs[-_PARTS:]:
            for one in {run.parts[0]: None, **dict.fromkeys(run.parts[-_LABELS:])}:
                label = shelf.label(one)
                moments[one] = label.since, label.until
    return replace(log, moments=moments)
