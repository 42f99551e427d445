"""A file that is the one of the point before with some blocks replaced: what PostgreSQL's incremental backups send.

Chunks of 64 KiB without a replaced block are taken over by their id and place: their bytes are neither asked of the
source, nor read from the vault, nor hashed. A chunk with one needs its old bytes, so this needs a key that reads. The
result is as if the whole file had been read: nobody who restores the point has a chain to follow.
"""

from bisect import bisect_left
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Protocol

from backstay.errors import Damaged
from backstay.ports import Cutter, Entry, Replaced
from backstay.vault.base import Base, BaseStream
from backstay.vault.cutters import PAGE
from backstay.vault.fetching import Fetching, Located
from backstay.vault.mapping import Mapping
from backstay.vault.nodes import Chunk, Chunks, Content, Item, Stream
from backstay.vault.outbox import Nodes
from backstay.vault.packs import Place
from backstay.vault.uses import Tally

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BATCH = 4 << 20
"""So much of the file is worked on at once: its old chunks are fetched together, those side by side in one read."""


class Bench(Protocol):
    """As much of the lanes' bench as this needs."""

    @property
    def nodes(self) -> Nodes: ...
    @property
    def tally(self) -> Tally: ...
    @property
    def base(self) -> Base | None: ...
    @property
    def before(self) -> Fetching | None: ...


Page = Callable[[memoryview], tuple[bytes, Place | None]]
"""Stores one chunk: its id and its place."""


class Patching:
    """One such file. The parts of it are made in order, each once."""

    def __init__(self, bench: Bench, entry: Entry, replaced: Replaced, old: Item) -> None:
        assert bench.base is not None, "there is a point before"
        assert bench.before is not None, "and it can be read"
        assert entry.open is not None, f"{entry.path}: a file needs something to open"
        assert PAGE % replaced.block_bytes == 0, "a block lies in one chunk"
        self._bench, self._base, self._before, self._entry = bench, bench.base, bench.before, entry
        self._replaced, self._old = replaced, old
        self._kept = min(old.size_bytes, replaced.kept_bytes, entry.size_bytes)
        self._file: BinaryIO = entry.open()
        self._next = 0

    def stream(self, page: Page) -> Content:
        """The whole file as a map of chunks."""
        size, base = self._entry.size_bytes, self._base.stream(self._old, Cutter.FIXED_64K)
        mapping = Mapping(self._bench.nodes, self._bench.tally, Cutter.FIXED_64K, base)
        room = memoryview(bytearray(min(BATCH, -(-size // PAGE) * PAGE)))
        for start in range(0, size, BATCH):
            mapping.append(self._batch(start, min(start + BATCH, size), base, room, page))
        content, length = mapping.end()
        assert length == size, f"{self._entry.path}: {length} bytes were made of {size}"
        return content

    def fill(self, start: int, view: memoryview) -> None:
        """The bytes from `start` on, as the new file has them."""
        view[:] = bytes(len(view))
        if (old_end := min(start + len(view), self._kept)) > start:
            self._fetch(list(self._before.located(self._old, start, old_end)), start, old_end, view)
        self._lay_blocks(start, start + len(view), start, view)

    def finish(self) -> None:
        """Raises Damaged when the source gave more or less than it had told."""
        self._file.close()
        if self._next != len(self._replaced.blocks):
            raise self._contradiction(f"block {self._replaced.blocks[self._next]} lies behind the end of the file")

    def _batch(self, start: int, end: int, base: BaseStream | None, room: memoryview, page: Page) -> Chunks:
        taken = self._untouched(start, end, base)
        wanted = list[Located]()
        for at in range(start, end, PAGE):
            stop = min(at + PAGE, end)
            if at not in taken and at < self._kept and not self._covered(at, min(stop, self._kept)):
                wanted += self._before.located(self._old, at, min(stop, self._kept))
        view = room[: end - start]
        for at in range(start, end, PAGE):
            if at not in taken:
                view[at - start : at - start + PAGE] = bytes(min(PAGE, end - at))
        self._fetch(wanted, start, min(end, self._kept), view)
        found = Chunks()
        for at in range(start, end, PAGE):
            stop = min(at + PAGE, end)
            if (chunk := taken.get(at)) is not None:
                found.add(chunk.id, chunk.size, chunk.place, chunk.at)
            else:
                self._lay_blocks(at, stop, start, view)
                id, place = page(view[at - start : stop - start])
                found.add(id, stop - at, place, 0)
        return found

    def _untouched(self, start: int, end: int, base: BaseStream | None) -> dict[int, Chunk]:
        """By their position: the old chunks in which nothing changes, and that are still there."""
        if base is None or not isinstance(self._old.content, Stream):
            return {}
        found = dict[int, Chunk]()
        for leaf, chunks in base.leaves(start, end):
            first = max(start, leaf.start)
            for at in range(first - first % PAGE, min(end, leaf.start + leaf.size_bytes, self._kept), PAGE):
                size, number = min(PAGE, self._entry.size_bytes - at), (at - leaf.start) // PAGE
                if self._touched(at, at + size) or at + size > self._kept or chunks.sizes[number] != size:
                    continue
                if (now := self._base.chunk_now(chunks.chunk(number))) is not None:
                    found[at] = now
        return found

    def _first(self, at: int) -> int:
        """The number of the first replaced block that ends behind `at`."""
        return bisect_left(self._replaced.blocks, at // self._replaced.block_bytes)

    def _touched(self, start: int, end: int) -> bool:
        blocks, first = self._replaced.blocks, self._first(start)
        return first < len(blocks) and blocks[first] * self._replaced.block_bytes < end

    def _covered(self, start: int, end: int) -> bool:
        """Whether every byte is replaced: then the old ones are not needed."""
        number = -(-(end - start) // self._replaced.block_bytes)
        first = self._first(start)
        some = list(islice(self._replaced.blocks, first, first + number))
        return len(some) == number and some[-1] == start // self._replaced.block_bytes + number - 1

    def _fetch(self, wanted: list[Located], start: int, end: int, view: memoryview) -> None:
        """The old bytes between `start` and `end`, into `view`, which begins at `start`. Raises Damaged, WrongKey."""
        for located, data in self._before.fetch(wanted):
            if data is not None:
                first, last = max(start, located.offset), min(end, located.offset + len(data))
                view[first - start : last - start] = data[first - located.offset : last - located.offset]

    def _lay_blocks(self, start: int, end: int, origin: int, view: "WriteableBuffer") -> None:
        """The replaced blocks between `start` and `end`; `view` begins at `origin`."""
        size, blocks, into = self._replaced.block_bytes, self._replaced.blocks, memoryview(view)
        while self._next < len(blocks) and blocks[self._next] * size < end:
            at = blocks[self._next] * size
            if at < start or at + size > end:
                raise self._contradiction(f"block {blocks[self._next]} is out of order")
            self._read_exactly(into[at - origin : at - origin + size])
            self._next += 1

    def _read_exactly(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            data = self._file.read(len(view) - at)
            if not data:
                raise self._contradiction("it ends before its last block")
            view[at : at + len(data)] = data
            at += len(data)

    def _contradiction(self, why: str) -> Damaged:
        return Damaged(f"what the source sent of {self._entry.path!r} contradicts itself", detail=why)
