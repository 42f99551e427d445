"""Fetching the chunks of files: which they are, where they lie, and their verified bytes.

Frames that lie side by side in a pack are read at once. Every frame is opened with its own associated data, and every
chunk is hashed again, before a byte of it is handed on.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from backstay.errors import BackstayError, Damaged, NoSuchPoint, ObjectMissing, WrongKey
from backstay.facts import Point
from backstay.ports import Kind, Stored
from backstay.vault.nodes import Chunk, Content, Item, Small, Stream, Target
from backstay.vault.packs import Place
from backstay.vault.shelf import ELSEWHERE, Shelf, damaged
from backstay.vault.streams import StreamMap
from backstay.vault.trees import Tree, shown

_ASKING, _AHEAD = 4, 16
"""So many at once, and so many files in advance: fewer than a shelf remembers."""
_READERS = 8
"""So many runs are read at once from a store that is far, for each file or batch."""
FAR_S = 0.002
"""A store that takes longer to answer is far: a disk of this machine is as fast one by one, and that costs less."""
READ_BYTES = 8 << 20
"""At most this much is asked of a store at once that is far."""
NEAR_BYTES = 1 << 20
"""And of one that is near, or of which that is not known yet: it stays in the processor's cache."""
GAP_BYTES = 128 << 10
"""Frames with no more than this between them are read as one."""
_AMISS = (Damaged, ObjectMissing)
"""What an index may know a way around."""


class Located(NamedTuple):
    """A chunk and where it goes."""

    offset: int
    chunk: Chunk
    file: int = 0
    """Which of several files that are read together."""


Read = Callable[[], bytes]
"""The bytes of a run, once they are there. Raises as `Shelf.read`."""
Fetched = tuple[Located, memoryview | None]
"""A chunk and its bytes; None for zeros."""
Room = Callable[[Located], memoryview]
"""Memory for the bytes of a chunk that is a frame of its own; a byte more than it has, at least, or it is not used."""


class Fetching:
    """What lies behind one point."""

    def __init__(self, shelf: Shelf, point: Point, root: Content) -> None:
        self.point, self.shelf, self.tree = point, shelf, Tree(shelf, root)
        self._is_far = False
        self._others = tuple(Fetching(other, point, root) for other in shelf.others)

    def find(self, path: str) -> Item:
        """Raises NoSuchPoint when nothing is there."""
        if (item := self.tree.find(path)) is None:
            raise NoSuchPoint(f"there is no {path!r} in point {self.point.id} of {self.point.component}")
        return item

    def items(self, under: str) -> Iterator[tuple[str, Item]]:
        """Everything at or below `under`, folders first. Raises NoSuchPoint when nothing is there."""
        if not under:
            yield from self.tree.walk(self.tree.root)
            return
        item = self.find(under)
        yield under, item
        if item.kind is Kind.FOLDER:
            yield from self.tree.walk(item.content, under)

    def ahead(self, items: Iterator[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
        """The same entries. The maps of the next files are read meanwhile, several at once: a database has a thousand
        files, and a store that is far away answers each question in its own time."""
        waiting: deque[tuple[str, Item]] = deque()
        trouble: BackstayError | None = None
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="backstay-ahead") as pool:
            try:
                for path, item in items:
                    waiting.append((path, item))
                    if isinstance(item.content, Stream):
                        pool.submit(self._warm, item.content, item.size_bytes)
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft()
            except BackstayError as error:
                trouble = error
            yield from waiting
        if trouble is not None:
            raise trouble

    def _warm(self, stream: Stream, size_bytes: int) -> None:
        """Read the first map of a file, for whoever needs it next: he also meets what is wrong with it."""
        for leaf in StreamMap(self.shelf, stream, size_bytes).leaves(0, 1):
            self.shelf.leaf(leaf.ref)

    def located(self, item: Item, start: int, end: int) -> Iterator[Located]:
        """The chunks of a file that hold the bytes from `start` up to `end`. Raises Damaged, ObjectMissing."""
        match item.content:
            case Small(chunk):
                if chunk.size != item.size_bytes:
                    raise self._contradiction()
                if start < end:
                    yield Located(0, chunk)
            case Stream():
                map = StreamMap(self.shelf, item.content, item.size_bytes)
                for leaf in map.leaves(start, end):
                    at = leaf.start
                    chunks = map.chunks(leaf)
                    for chunk in chunks.part(0, len(chunks)):
                        if at < end and at + chunk.size > start:
                            yield Located(at, chunk)
                        at += chunk.size
            case _:
                if item.size_bytes:
                    raise self._contradiction()

    def fetch(self, wanted: list[Located], room: Room | None = None) -> Iterator[Fetched]:
        """The verified bytes of each chunk, in the order of the packs. Those that lie in `room` are used before the
        next one is asked for. Raises Damaged, ObjectMissing, WrongKey."""
        places: dict[Place, list[Located]] = {}
        for located in wanted:
            if (place := located.chunk.place) is not None:
                places.setdefault(place, []).append(located)
            elif located.chunk.id == self.shelf.zeros(located.chunk.size):
                yield located, None
            else:
                raise self._contradiction()
        most = READ_BYTES if self._is_far else NEAR_BYTES
        for run, read in self._reading(list(runs(sorted(places), most))):
            yield from (self._fetch_anywhere if self._others else self._fetch_run)(run, places, read, room)

    def _reading(self, every: list[list[Place]]) -> Iterator[tuple[list[Place], Read | None]]:
        """Each run, and who has its bytes: nobody yet, where the store is near. Else the next ones are read meanwhile,
        up to READ_BYTES in all: after many backups, what lies side by side in a file lies in many packs."""
        left = deque(every)
        while left and not (self._is_far and len(left) > 1 and self.shelf in self.shelf.asked()):
            yield left.popleft(), None
        if not left:
            return
        asked, asked_bytes, pack = deque[tuple[list[Place], Future[bytes]]](), 0, b""
        pool = ThreadPoolExecutor(min(len(left), _READERS), thread_name_prefix="backstay-read")
        try:
            while left or asked:
                while left and (not asked or asked_bytes + _span(left[0]) <= READ_BYTES):
                    run = left.popleft()
                    asked.append((run, pool.submit(self._read, run, opens=run[0].pack != pack)))
                    asked_bytes, pack = asked_bytes + _span(run), run[0].pack
                run, future = asked.popleft()
                yield run, future.result
                asked_bytes -= _span(run)
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, run: list[Place], *, opens: bool = False) -> bytes:
        """`opens`: the key of the pack is asked for, too, so that nobody has to wait for it later."""
        began = monotonic()
        data = self.shelf.read(run[0], run[0].offset, _span(run))
        self._is_far = self._is_far or monotonic() - began > FAR_S + len(data) / 1e9
        if opens:
            with suppress(*_AMISS, WrongKey):  # whoever opens the frames meets it again
                self.shelf.data_cipher(run[0])
        return data

    def _fetch_anywhere(
        self, run: list[Place], places: dict[Place, list[Located]], read: Read | None, room: Room | None
    ) -> Iterator[Fetched]:
        """What one vault cannot give comes from the next. Each chunk is verified, whoever has it. Raises what the
        nearest met."""
        left = {place: list(places[place]) for place in run}
        first: BackstayError | None = None
        asked = self.shelf.asked()
        for fetching in (one for one in (self, *self._others) if one.shelf in asked):
            wanted = {place: list(located) for place, located in left.items() if located}
            try:
                own = read if fetching is self else None
                for located, data in fetching._fetch_run(list(wanted), wanted, own, room):
                    left[_place_of(located)].remove(located)
                    yield located, data
                return
            except ELSEWHERE as error:
                fetching.shelf.meet(error)
                first = first or error
        assert first is not None, "somebody was asked"
        raise first

    def _fetch_run(
        self, run: list[Place], places: dict[Place, list[Located]], read: Read | None = None, room: Room | None = None
    ) -> Iterator[Fetched]:
        start = run[0].offset
        try:
            data = memoryview(read() if read else self._read(run))
        except _AMISS as error:
            if self.shelf.unveiled(self.shelf.data_key(run[0])):
                yield from self._fetch_run(run, places)
                return
            for frame in run:
                if len(run) > 1 and isinstance(error, Damaged):  # a pack that is cut short still has its first frames
                    yield from self._fetch_run([frame], places)
                else:
                    yield from (self._fetch_moved(located, frame, error) for located in places[frame])
            return
        for frame in run:
            at = frame.offset - start
            yield from self._fetch_frame(frame, data[at : at + frame.length], places[frame], room)

    def _fetch_frame(
        self, frame: Place, sealed: memoryview, wanted: list[Located], room: Room | None
    ) -> Iterator[Fetched]:
        try:
            into = room(wanted[0]) if room is not None and len(wanted) == 1 and not wanted[0].chunk.at else None
            plain = self.shelf.open_data(frame, sealed, into)
        except _AMISS as error:
            if self.shelf.unveiled(self.shelf.data_key(frame)):
                yield from self._fetch_run([frame], {frame: wanted})
            else:
                yield from (self._fetch_moved(located, frame, error) for located in wanted)
            return
        for located in wanted:
            try:
                data = self._verified(located.chunk, frame, located.chunk.at, plain)
            except Damaged as error:  # an index may know better than the map
                yield self._fetch_moved(located, frame, error)
            else:
                yield located, data

    def _fetch_moved(self, located: Located, hint: Place, error: Damaged | ObjectMissing) -> Fetched:
        """What lies at the hint is missing or damaged: the index may know where it is now."""
        place, at = self.shelf.elsewhere(located.chunk.id, hint, error)
        frame = self.shelf.read(place, place.offset, place.length)
        return located, self._verified(located.chunk, place, at, self.shelf.open_data(place, frame))

    def _verified(self, chunk: Chunk, place: Place, at: int, plain: memoryview) -> memoryview:
        data = plain[at : at + chunk.size]
        if len(data) != chunk.size or self.shelf.opened.chunk_id(data) != chunk.id:
            why = "it holds another chunk than it should"
            raise damaged(self.shelf.data_key(place), self.point.component, why, place)
        return data

    def _contradiction(self) -> Damaged:
        return Damaged(f"the map of a file of {self.point.component} contradicts itself")

    def about(self, error: BackstayError, path: str) -> BackstayError:
        """The same kind of error, naming the path that cannot be read."""
        return type(error)(
            f"{path!r} in point {self.point.id} of {self.point.component} cannot be read",
            detail=f"{error.message}; {error.detail}" if error.detail else error.message,
            hint=error.hint or "restore an older point, or the same one from another vault",
        )


def _span(run: list[Place]) -> int:
    return run[-1].offset + run[-1].length - run[0].offset


def _place_of(located: Located) -> Place:
    assert located.chunk.place is not None, "zeros are fetched from nowhere"
    return located.chunk.place


def stored(path: str, item: Item) -> Stored:
    target = shown(item.content.text) if isinstance(item.content, Target) else ""
    size = item.size_bytes if item.kind is Kind.FILE else 0
    return Stored(path, item.kind, item.mode, item.modified, size, target)


def runs(places: list[Place], most: int = READ_BYTES) -> Iterator[list[Place]]:
    """Frames of one pack that lie close together, to be read at once: so many bytes, or one frame."""
    run: list[Place] = []
    for place in places:
        if run and (
            place.pack != run[0].pack
            or place.offset - (run[-1].offset + run[-1].length) > GAP_BYTES
            or place.offset + place.length - run[0].offset > most
        ):
            yield run
            run = []
        run.append(place)
    if run:
        yield run
