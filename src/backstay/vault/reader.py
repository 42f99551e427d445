"""Reading a sealed point: what it holds, the bytes of a file from anywhere, and all of it into a folder.

Whatever is asked for, only the nodes on the way are read. Every frame is opened with its own associated data, and every
chunk is hashed again, before a byte of it is handed on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from backstay.errors import BackstayError, Damaged, NoSuchPoint, ObjectMissing, WrongKey
from backstay.facts import Point
from backstay.ports import Kind, Progress, Stored, unwatched
from backstay.vault.nodes import Chunk, Content, Item, Small, Stream, Target
from backstay.vault.packs import Place
from backstay.vault.shelf import Shelf, damaged
from backstay.vault.streams import StreamMap
from backstay.vault.trees import Tree, shown

READ_BYTES = 8 << 20
"""At most this much is asked of the store at once."""
PIECE_BYTES = 4 << 20
GAP_BYTES = 32 << 10
"""Frames with no more than this between them are read as one."""


class Located(NamedTuple):
    """A chunk and where it goes."""

    offset: int
    chunk: Chunk
    file: int = 0
    """Which of several files that are read together."""


class Reading:
    """A PointReader."""

    def __init__(self, shelf: Shelf, point: Point, root: Content) -> None:
        self.point = point
        self.shelf, self.tree = shelf, Tree(shelf, root)

    def entries(self, under: str = "") -> Iterator[Stored]:
        try:
            for path, item in self.items(under):
                yield stored(path, item)
        except (Damaged, ObjectMissing) as error:
            raise self._about(error, under or "the list of files") from None

    def entry(self, path: str) -> Stored | None:
        try:
            item = self.tree.find(path)
        except (Damaged, ObjectMissing) as error:
            raise self._about(error, path) from None
        return None if item is None else stored(path, item)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if (item := self.tree.find(path)) is None or item.kind is not Kind.FILE:
            raise NoSuchPoint(f"there is no file {path!r} in point {self.point.id} of {self.point.component}")
        end = item.size_bytes if length is None else min(item.size_bytes, start + length)
        try:
            held: list[Located] = []
            for located in self.located(item, start, end):
                if held and located.offset + located.chunk.size - held[0].offset > PIECE_BYTES:
                    yield self._joined(held, start, end)
                    held = []
                held.append(located)
            if held:
                yield self._joined(held, start, end)
        except (Damaged, ObjectMissing, WrongKey) as error:
            raise self._about(error, path) from None

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
    ) -> None:
        from backstay.vault.extract import extract

        extract(self, to, under=under, place=place, progress=progress)

    # ── inside ──

    def items(self, under: str) -> Iterator[tuple[str, Item]]:
        """Everything at or below `under`. Raises NoSuchPoint when nothing is there."""
        if not under:
            yield from self.tree.walk(self.tree.root)
            return
        if (item := self.tree.find(under)) is None:
            raise NoSuchPoint(f"there is no {under!r} in point {self.point.id} of {self.point.component}")
        yield under, item
        if item.kind is Kind.FOLDER:
            yield from self.tree.walk(item.content, under)

    def located(self, item: Item, start: int, end: int) -> Iterator[Located]:
        """The chunks of a file that hold the bytes from `start` up to `end`."""
        match item.content:
            case Small(chunk):
                if chunk.size != item.size_bytes:
                    raise damaged_map(self)
                if start < end:
                    yield Located(0, chunk)
            case Stream():
                map = StreamMap(self.shelf, item.content, item.size_bytes)
                for leaf in map.leaves(start, end):
                    chunks, at = map.chunks(leaf), leaf.start
                    for i in range(len(chunks)):
                        if at < end and at + chunks.sizes[i] > start:
                            yield Located(at, chunks.chunk(i))
                        at += chunks.sizes[i]
            case _:
                if item.size_bytes:
                    raise damaged_map(self)

    def fetch(self, wanted: list[Located]) -> Iterator[tuple[Located, bytes | memoryview | None]]:
        """The verified bytes of each chunk, in the order of the packs; None for zeros."""
        places: dict[Place, list[Located]] = {}
        for located in wanted:
            if located.chunk.place is None:
                yield self._zeros(located)
            else:
                places.setdefault(located.chunk.place, []).append(located)
        for run in runs(sorted(places)):
            yield from self._fetch_run(run, places)

    def _zeros(self, located: Located) -> tuple[Located, None]:
        chunk = located.chunk
        if chunk.id != self.shelf.zeros(chunk.size):
            raise damaged_map(self)
        return located, None

    def _fetch_run(
        self, run: list[Place], places: dict[Place, list[Located]]
    ) -> Iterator[tuple[Located, bytes | memoryview | None]]:
        start = run[0].offset
        try:
            data = memoryview(self.shelf.read(run[0], start, run[-1].offset + run[-1].length - start))
        except ObjectMissing:
            for frame in run:
                yield from self._fetch_moved(places[frame])
            return
        for frame in run:
            at = frame.offset - start
            plain = memoryview(self.shelf.open_data(frame, data[at : at + frame.length]))
            for located in places[frame]:
                yield located, self._chunk(located.chunk, frame, located.chunk.at, plain)

    def _fetch_moved(self, all: list[Located]) -> Iterator[tuple[Located, bytes | memoryview | None]]:
        """The pack that a hint names is gone: the index may know another."""
        for located in all:
            hint = located.chunk.place
            found = self.shelf.moved(located.chunk.id)
            if found is None or found[0] == hint or hint is None:
                assert hint is not None
                raise ObjectMissing(
                    f"a pack of {self.point.component} is missing", detail=f"object {self.shelf.data_key(hint)}"
                )
            place, at = found
            frame = self.shelf.read(place, place.offset, place.length)
            yield located, self._chunk(located.chunk, place, at, memoryview(self.shelf.open_data(place, frame)))

    def _chunk(self, chunk: Chunk, place: Place, at: int, plain: memoryview) -> memoryview:
        data = plain[at : at + chunk.size]
        if len(data) != chunk.size:
            raise damaged(self.shelf.data_key(place), self.point.component, "a chunk reaches out of its frame", place)
        self.shelf.verify(chunk.id, data, place)
        return data

    def _joined(self, held: list[Located], start: int, end: int) -> bytes:
        first, last = held[0].offset, held[-1].offset + held[-1].chunk.size
        data = bytearray(last - first)
        for located, chunk in self.fetch(held):
            if chunk is not None:
                at = located.offset - first
                data[at : at + len(chunk)] = chunk
        return bytes(memoryview(data)[max(start - first, 0) : min(end, last) - first])

    def _about(self, error: BackstayError, path: str) -> BackstayError:
        return about(error, self.point, path)


def about(error: BackstayError, point: Point, path: str) -> BackstayError:
    """The same kind of error, naming the path that cannot be read."""
    detail = f"{error.message}; {error.detail}" if error.detail else error.message
    hint = (
        error.hint
        or "restore an older point, or the same one from another vault; `backstay vault check` names the rest"
    )
    return type(error)(f"{path!r} in point {point.id} of {point.component} cannot be read", detail=detail, hint=hint)


def damaged_map(reading: Reading) -> Damaged:
    return Damaged(f"the map of a file of {reading.point.component} contradicts itself")


def stored(path: str, item: Item) -> Stored:
    target = shown(item.content.text) if isinstance(item.content, Target) else ""
    size = item.size_bytes if item.kind is Kind.FILE else 0
    return Stored(path, item.kind, item.mode, item.modified, size, target)


def runs(places: list[Place]) -> Iterator[list[Place]]:
    """Frames of one pack that lie close together, to be read at once."""
    run: list[Place] = []
    for place in places:
        if run and (
            place.pack != run[0].pack
            or place.offset - (run[-1].offset + run[-1].length) > GAP_BYTES
            or place.offset + place.length - run[0].offset > READ_BYTES
        ):
            yield run
            run = []
        run.append(place)
    if run:
        yield run
