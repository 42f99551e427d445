"""The journal: append-only streams of facts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from backstay.facts import Fact, Head, Recorded
from backstay.values import StreamName


class Journal(Protocol):
    """What was done. One writer wins each place in a stream; nothing is ever changed or removed."""

    def append(self, stream: StreamName, facts: Sequence[Fact], *, expected: int) -> list[Recorded]:
        """Add `facts`, all or none, durably, after the fact with number `expected` (0: the stream is empty).

        Raises JournalConflict when somebody else appended first, JournalReadOnly when a journal with a
        higher epoch exists, ClockWentBack when the clock reads more than a minute before the stream's newest
        fact (less than that is smoothed: `at` never runs backwards in a stream).
        """
        ...

    def read(self, stream: StreamName, after: int = 0) -> list[Recorded]:
        """The facts of a stream with a number above `after`, in order."""
        ...

    def everything(self, after: datetime | None = None) -> Iterator[Recorded]:
        """Every fact of every stream, in the order in which they were appended."""
        ...

    def streams(self, prefix: str = "") -> list[StreamName]: ...

    def heads(self) -> Mapping[StreamName, Head]: ...

    def now(self) -> datetime:
        """The journal's clock: leases run by it."""
        ...
