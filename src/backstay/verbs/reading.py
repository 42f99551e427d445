"""A point that can be interrupted while it is read or written, and a reader that remembers what was read.

A proof reads the rest of what a restore left out. To know what that is, `Witnessed` remembers as little as it can:
whole branches by their path, and of those only what was left out. A point with millions of files that was extracted
whole costs one text.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from backstay.errors import Cancelled
from backstay.facts import Point
from backstay.ports import Entry, Kind, PointReader, PointWriter, Progress, Sealing, Stored, unwatched
from backstay.values import PointId


def never() -> bool:
    return False


def heed(stop: Callable[[], bool]) -> None:
    """Raises Cancelled when somebody asks us to stop."""
    if stop():
        raise Cancelled("stopped at the wish of whoever drives")


class Stoppable:
    """The same writer; `stop` is asked before each entry."""

    id: PointId

    def __init__(self, within: PointWriter, stop: Callable[[], bool]) -> None:
        self._within, self._stop, self.id = within, stop, within.id

    @property
    def before(self) -> PointReader | None:
        return self._within.before

    def __enter__(self) -> "Stoppable":
        self._within.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._within.__exit__(*exc)

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        def heeding() -> Iterator[Entry]:
            for entry in entries:
                heed(self._stop)
                yield entry

        self._within.add(heeding(), progress)

    def seal(self, sealing: Sealing) -> Point:
        return self._within.seal(sealing)


class Witnessed:
    """The same point; every byte that goes through is verified by `within`, and noted here. `stop` is asked before each
    piece and each file."""

    point: Point

    def __init__(self, within: PointReader, stop: Callable[[], bool] = never) -> None:
        self._within, self._stop, self.point = within, stop, within.point
        self._branches: list[str] = []
        self._left_out: set[str] = set()
        self._read: set[str] = set()

    def entries(self, under: str = "") -> Iterator[Stored]:
        return self._within.entries(under)

    def entry(self, path: str) -> Stored | None:
        return self._within.entry(path)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        for piece in self._within.read(path, start, length):
            heed(self._stop)
            yield piece
        if start == 0 and length is None:
            self._read.add(path)

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
        over: bool = False,
    ) -> None:
        left_out: set[str] = set()

        def noted(stored: Stored) -> Path | None:
            heed(self._stop)
            where = to / stored.path if place is None else place(stored)
            if where is None and stored.kind is Kind.FILE:
                left_out.add(stored.path)
            return where

        self._within.extract(to, under=under, place=noted, progress=progress, over=over)
        self._branches.append(under)
        self._left_out |= left_out

    def read_the_rest(self, progress: Progress = unwatched) -> None:
        """Read every file that nobody has read to its end. Raises Damaged, ObjectMissing."""
        if "" in self._branches and self._left_out <= self._read:
            return
        done = 0
        for stored in self._within.entries():
            if stored.kind is not Kind.FILE or not self._is_left(stored.path):
                continue
            for piece in self.read(stored.path):
                done += len(piece)
                progress(done, None, "reading what the restore left out")

    def _is_left(self, path: str) -> bool:
        if path in self._read:
            return False
        return path in self._left_out or not any(_below(path, branch) for branch in self._branches)


def _below(path: str, branch: str) -> bool:
    return branch in ("", path) or path.startswith(branch + "/")
