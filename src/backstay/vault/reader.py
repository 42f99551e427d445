"""Reading a sealed point: what it holds, the bytes of a file from anywhere, and all of it into a folder.

Whatever is asked for, only the nodes on the way are read: kilobytes, whatever the size of the point.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from backstay.errors import Damaged, NoSuchPoint, ObjectMissing, WrongKey
from backstay.facts import Point
from backstay.ports import Kind, Progress, Stored, unwatched
from backstay.vault.extract import Ground, extract
from backstay.vault.fetching import Fetching, Located, stored
from backstay.vault.nodes import Content
from backstay.vault.shelf import Shelf

PIECE_BYTES = 4 << 20
_UNREADABLE = (Damaged, ObjectMissing, WrongKey)


class Reading:
    """A PointReader."""

    def __init__(self, shelf: Shelf, point: Point, root: Content) -> None:
        self.point = point
        self.fetching = Fetching(shelf, point, root)

    def entries(self, under: str = "") -> Iterator[Stored]:
        here = under
        try:
            for here, item in self.fetching.items(under):
                yield stored(here, item)
        except _UNREADABLE as error:
            raise self.fetching.about(error, here or "the list of files") from None

    def entry(self, path: str) -> Stored | None:
        try:
            item = self.fetching.tree.find(path)
        except _UNREADABLE as error:
            raise self.fetching.about(error, path) from None
        return None if item is None else stored(path, item)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        try:
            if (item := self.fetching.find(path)).kind is not Kind.FILE:
                raise NoSuchPoint(f"{path!r} in point {self.point.id} of {self.point.component} is no file")
            end = item.size_bytes if length is None else min(item.size_bytes, start + length)
            held: list[Located] = []
            for located in self.fetching.located(item, start, end):
                if held and located.offset + located.chunk.size - held[0].offset > PIECE_BYTES:
                    yield self._joined(held, start, end)
                    held = []
                held.append(located)
            if held:
                yield self._joined(held, start, end)
        except _UNREADABLE as error:
            raise self.fetching.about(error, path) from None

    def _joined(self, held: list[Located], start: int, end: int) -> bytes:
        first, last = held[0].offset, held[-1].offset + held[-1].chunk.size
        data = bytearray(last - first)
        for located, chunk in self.fetching.fetch(held):
            if chunk is not None:
                at = located.offset - first
                data[at : at + len(chunk)] = chunk
        return bytes(memoryview(data)[max(start - first, 0) : min(end, last) - first])

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
        over: bool = False,
    ) -> None:
        extract(self.fetching, Ground(to, place, over), under=under, progress=progress)
