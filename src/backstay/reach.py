"""Which moments can be reached: points, the write-ahead log that was kept, and the timelines between them.

The log of a cluster is a tree. A promotion, and every recovery to a moment, begins a new *timeline*; its history says
where it left the one before it. What the vault has of a timeline is a set of *stretches*; between two of them may be a
gap, and over a gap nothing is replayed. All of it follows from a listing: nothing else remembers what was kept.
"""

from dataclasses import dataclass
from datetime import datetime

from backstay.lsn import Lsn


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unbroken piece of the log of one timeline, as one object of a vault: the bytes from `start` up to, and not
    including, `end`. Objects may overlap (a sender died and began again): equal places hold equal bytes."""

    system: int
    """The cluster's system identifier."""
    timeline: int
    start: Lsn
    end: Lsn
    kept: datetime
    """When it was durable in the vault, by the store's clock: no byte in it is younger."""
    size_bytes: int = 0
    """As stored."""

    def __post_init__(self) -> None:
        assert self.start < self.end, f"a stretch runs backwards: {self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class Left:
    """One line of a timeline's history: `timeline` was left at `at` (`00000003.history`, the manual's 27.3.5)."""

    timeline: int
    at: Lsn
    reason: str = ""
