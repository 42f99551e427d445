"""A point reader that remembers what was read, so that a proof can read the rest.

It remembers as little as it can: whole branches by their path, and of those only what was left out. A point with
millions of files that was extracted whole costs one text.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from backstay.facts import Point
from backstay.ports import Kind, PointReader, Progress, Stored, unwatched


class Witnessed:
    """The same point; every byte that goes through is verified by `within`, and noted here."""

    point: Point

    def __init__(self, within: PointReader) -> None:
        self._within, self.point = within, within.point
        self._branches: list[str] = []
        self._left_out: set[str] = set()
        self._read: set[str] = set()

    def entries(self, under: str = "") -> Iterator[Stored]:
        return self._within.entries(under)

    def entry(self, path: str) -> Stored | None:
        return self._within.entry(path)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        yield from self._within.read(path, start, length)
        if start == 0 and length is None:
            self._read.add(path)

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
    ) -> None:
        left_out: set[str] = set()

        def noted(stored: Stored) -> Path | None:
            assert place is not None
            where = place(stored)
            if where is None and stored.kind is Kind.FILE:
                left_out.add(stored.path)
            return where

        self._within.extract(to, under=under, place=None if place is None else noted, progress=progress)
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
            for piece in self._within.read(stored.path):
                done += len(piece)
                progress(done, None, "reading what the restore left out")

    def _is_left(self, path: str) -> bool:
        if path in self._read:
            return False
        return path in self._left_out or not any(_below(path, branch) for branch in self._branches)


def _below(path: str, branch: str) -> bool:
    return branch in ("", path) or path.startswith(branch + "/")
