"""Lanes: each a thread that reads files, cuts, hashes, compresses and seals them into a pack of its own.

A file stays in one lane, so its frames lie one behind another and a restore reads them in one go. Only when there
are no more files do the lanes that are free help with a long one, a MiB at a time. The libraries let go of Python's
lock while they work on a chunk; nothing here is done byte by byte.
"""

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import zstandard
from blake3 import blake3

from backstay.errors import Damaged
from backstay.ports import Cutter, Entry, Kind, Replaced, Vanished
from backstay.vault.base import Base, BaseStream
from backstay.vault.cutters import PAGE, SMALL_PAGES, SMALL_WHOLE, ContentCuts, fixed_cuts
from backstay.vault.fetching import Fetching
from backstay.vault.frames import What
from backstay.vault.keys import Opened
from backstay.vault.mapping import Mapping
from backstay.vault.nodes import Chunk, Chunks, Content, Item, Nothing, Small, Target
from backstay.vault.outbox import Nodes, Outbox
from backstay.vault.packs import PackBuilder, Place
from backstay.vault.patching import Patching
from backstay.vault.trees import Spool, path_key
from backstay.vault.uses import Tally

SPAN = 1 << 20
"""What is read and worked on at once: it stays in the processor's cache between reading, hashing and compressing. A
multiple of a page chunk; a leaf is a multiple of it."""
GROUP_BYTES = 256 << 10
LARGE_FRAME = 1 << 20
LEVEL = 1


@dataclass(frozen=True, slots=True)
class Bench:
    """What all lanes of a backup share."""

    opened: Opened
    outbox: Outbox
    nodes: Nodes
    spool: Spool
    tally: Tally
    base: Base | None
    before: Fetching | None
    """The point that `base` compares with, to be read."""
    zero_page: bytes
    """The id of 64 KiB of zeros: stored nowhere."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a stream in a lane's buffer, cut."""

    number: int
    start: int
    cuts: list[tuple[int, int]]


class Lane:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._compress = zstandard.ZstdCompressor(level=LEVEL)
        self._buffer = bytearray(SPAN)
        self.view = memoryview(self._buffer)
        self._pack: PackBuilder | None = None
        self._group, self._grouped = bytearray(), list[tuple[Chunk, Entry]]()

    # ── files ──

    def take(self, entry: Entry) -> "Source | int":
        """Store one entry. Its size; or, for one that is long, a source that all lanes may drain."""
        path_key(entry.path)
        assert len(entry.mark) <= 64, "a change mark has at most 64 bytes"
        base = self._bench.base
        before = base.find(entry.path) if base else None
        if entry.kind is not Kind.FILE:
            content = Target(entry.target.encode("utf-8", "surrogateescape")) if entry.kind is Kind.LINK else Nothing()
            self.keep(entry, 0, content)
            return 0
        same = before is not None and before.kind is Kind.FILE and entry.mark != b"" and before.mark == entry.mark
        if base and before and same and (content := base.take_over(before, self._bench.tally)) is not None:
            self.keep(entry, before.size_bytes, content)
            return before.size_bytes
        assert entry.open is not None, f"{entry.path}: a file needs something to open"
        if entry.replaced is not None:
            return self._patch(entry, entry.replaced, before)
        try:
            file = entry.open()
        except Vanished:
            return 0
        return self._read(entry, file, before)

    def _read(self, entry: Entry, file: BinaryIO, before: Item | None) -> "Source | int":
        try:
            size = fill(file, self.view, 0)
        except Vanished:
            file.close()
            return 0
        except BaseException:
            file.close()
            raise
        if size < SPAN and size <= (SMALL_PAGES - 1 if entry.cutter is Cutter.FIXED_64K else SMALL_WHOLE):
            file.close()
            self.keep_small(entry, size, before)
            return size
        return Source(self._bench, entry, file, before, self.view[:size], ended=size < SPAN)

    def _patch(self, entry: Entry, replaced: Replaced, before: Item | None) -> int:
        """Only what differs comes from the source; see `patching`."""
        bench = self._bench
        if bench.before is None or bench.base is None or before is None or before.kind is not Kind.FILE:
            raise Damaged(
                f"{entry.path!r} is told by how it differs from the point before, and that has no such file",
                hint="take a point that reads everything",
            )
        untouched = not replaced.blocks and entry.size_bytes == before.size_bytes <= replaced.kept_bytes
        if untouched and (content := bench.base.take_over(before, bench.tally)) is not None:
            self.keep(entry, before.size_bytes, content)
            return entry.size_bytes
        patching = Patching(bench, entry, replaced, before)
        if entry.size_bytes <= (SMALL_PAGES - 1 if entry.cutter is Cutter.FIXED_64K else SMALL_WHOLE):
            patching.fill(0, self.view[: entry.size_bytes])
            self.keep_small(entry, entry.size_bytes, before)
        else:
            self.keep(entry, entry.size_bytes, patching.stream(self.page))
        patching.finish()
        return entry.size_bytes

    def keep_small(self, entry: Entry, size: int, before: Item | None) -> None:
        if size == 0:
            self.keep(entry, 0, Nothing())
            return
        data = self.view[:size]
        id = blake3(data, key=self._bench.opened.chunk_key).digest()
        old, base = before.content if before else None, self._bench.base
        if base and isinstance(old, Small) and old.chunk.id == id and (now := base.chunk_now(old.chunk)) and now.place:
            self._bench.tally.short(now.place)
            self.keep(entry, size, Small(now))
            return
        if len(self._group) + size > GROUP_BYTES:
            self.flush_group()
        self._grouped.append((Chunk(id, size, None, len(self._group)), entry))
        self._group += data

    def flush_group(self) -> None:
        """Seal the small files that were gathered, and note where each is."""
        if not self._grouped:
            return
        ids = b"".join(chunk.id for chunk, _ in self._grouped)
        ats, sizes = [chunk.at for chunk, _ in self._grouped], [chunk.size for chunk, _ in self._grouped]
        place = self._seal(bytes(self._group), ids, ats, sizes)
        self._bench.tally.frame(place)
        for chunk, entry in self._grouped:
            self.keep(entry, chunk.size, Small(chunk._replace(place=place)))
        self._group, self._grouped = bytearray(), []

    def keep(self, entry: Entry, size: int, content: Content) -> None:
        self._bench.spool.add(entry.path, item_of(entry, size, content))

    def finish(self) -> None:
        self.flush_group()
        if self._pack is not None:
            self._bench.outbox.send(self._pack)
            self._pack = None

    # ── streams ──

    def drain(self, source: "Source", seen: Callable[[int], None]) -> None:
        """Work on `source` until nothing of it is left to begin."""
        while (span := source.next(self.view)) is not None:
            if not span.cuts:  # the file ended where the piece before it did
                source.put(span.number, Chunks())
                continue
            work = self._pages if source.cutter is Cutter.FIXED_64K else self._content
            source.put(span.number, work(span, source.base))
            seen(span.cuts[-1][1])

    def _pages(self, span: Span, base: BaseStream | None) -> Chunks:
        """Each chunk in a frame of its own: a page that is asked for costs 64 KiB, not more."""
        key, zero, view, found = self._bench.opened.chunk_key, self._bench.zero_page, self.view, Chunks()
        old = base.by_position(span.start, span.start + span.cuts[-1][1], PAGE) if base else None
        for i, (start, end) in enumerate(span.cuts):
            data, size = view[start:end], end - start
            id = blake3(data, key=key).digest()
            if old and (same := old.same(i, id, size)) is not None:
                found.add(id, size, *same)
            else:
                found.add(id, size, None if id == zero else self._seal(data, id, [0], [size]), 0)
        return found

    def page(self, data: memoryview) -> tuple[bytes, Place | None]:
        """Id and place of one chunk of pages that is not in the point before."""
        id = blake3(data, key=self._bench.opened.chunk_key).digest()
        return id, None if id == self._bench.zero_page else self._seal(data, id, [0], [len(data)])

    def _content(self, span: Span, base: BaseStream | None) -> Chunks:
        """New chunks that lie side by side share frames of up to 1 MiB."""
        key, view, found = self._bench.opened.chunk_key, self.view, Chunks()
        old = base.by_content(span.start, span.start + span.cuts[-1][1]) if base else None
        fresh: list[tuple[int, int]] = []
        for start, end in span.cuts:
            id = blake3(view[start:end], key=key).digest()
            known = old.find(id, base.place_of(span.start + start)) if old and base else None
            if fresh and (known or end - fresh[0][0] > LARGE_FRAME):
                self._seal_run(fresh, found)
                fresh = []
            if known and base:
                chunk, at = known
                base.moved(at, span.start + start)
                found.add(id, chunk.size, chunk.place, chunk.at)
            else:
                found.add(id, end - start, None, 0)
                fresh.append((start, end))
        if fresh:
            self._seal_run(fresh, found)
        return found

    def _seal_run(self, run: list[tuple[int, int]], found: Chunks) -> None:
        """Seal the last chunks of `found`, which were added without a place."""
        first, n = run[0][0], len(run)
        ats, sizes = [start - first for start, _ in run], [end - start for start, end in run]
        place = self._seal(self.view[first : run[-1][1]], bytes(found.ids[-32 * n :]), ats, sizes)
        found.places[-n:] = [place] * n
        found.ats[-n:] = ats

    def _seal(self, plain: bytes | memoryview, ids: bytes, ats: list[int], sizes: list[int]) -> Place:
        compressed = self._compress.compress(plain)
        if self._pack is not None and not self._pack.has_room(len(compressed), len(sizes)):
            self._bench.outbox.send(self._pack)
            self._pack = None
        if self._pack is None:
            self._pack = self._bench.outbox.open_pack(What.DATA)
        return self._pack.add(compressed, len(plain), ids, ats, sizes)


class Source:
    """One long file. Lanes take turns to read it, work side by side, and what they make is put in order again."""

    def __init__(
        self, bench: Bench, entry: Entry, file: BinaryIO, before: Item | None, first: memoryview, *, ended: bool
    ) -> None:
        self.entry = entry
        self.cutter = Cutter.FIXED_64K if entry.cutter is Cutter.FIXED_64K else Cutter.CDC_V1
        self.base = bench.base.stream(before, self.cutter) if bench.base else None
        self._bench, self._file, self._lock = bench, file, threading.Lock()
        self._content = ContentCuts() if self.cutter is Cutter.CDC_V1 else None
        self._carried, self._read_ended = bytes(first), ended
        self._at, self._numbers, self._next = 0, 0, 0
        self._done: dict[int, Chunks] = {}
        self._map = Mapping(bench.nodes, bench.tally, self.cutter, self.base)
        self._vanished, self._finished = False, False
        self.exhausted = False

    def next(self, view: memoryview) -> Span | None:
        """Read the next piece into `view`. None when there is no more to begin."""
        with self._lock:
            if self.exhausted:
                return None
            try:
                return self._next_span(view)
            except Vanished:
                self._vanished = True
                self.close()
                return None
            except BaseException:
                self.close()
                raise

    def _next_span(self, view: memoryview) -> Span:
        size = len(self._carried)
        view[:size] = self._carried
        if not self._read_ended:
            filled = fill(self._file, view, size)
            self._read_ended, size = filled < len(view), filled
        if self._content is None:
            cuts, rest = list(fixed_cuts(size)), size
        else:
            cuts, rest = self._content.cuts(view[:size], last=self._read_ended)
        self._carried = bytes(view[rest:size])
        span = Span(self._numbers, self._at, cuts)
        self._numbers += 1
        self._at += rest
        if self._read_ended:
            self.close()
        return span

    def close(self) -> None:
        self.exhausted = True
        self._file.close()

    def put(self, number: int, chunks: Chunks) -> None:
        """The finished piece of that number. The last one makes the file part of the point."""
        with self._lock:
            self._done[number] = chunks
            while (ready := self._done.pop(self._next, None)) is not None:
                self._next += 1
                self._map.append(ready)
            if self.exhausted and self._next == self._numbers and not self._finished:
                self._finished = True
                if not self._vanished:
                    content, size = self._map.end()
                    self._bench.spool.add(self.entry.path, item_of(self.entry, size, content))


def item_of(entry: Entry, size: int, content: Content) -> Item:
    name = entry.path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    modified: datetime = entry.modified
    return Item(name, entry.kind, False, entry.mode & 0o7777, modified, size, entry.mark, content)


def fill(file: BinaryIO, view: memoryview, at: int) -> int:
    """Read until `view` is full or the file ends; where it stands then."""
    into: Callable[[memoryview], int | None] | None = getattr(file, "readinto", None)
    while at < len(view):
        if into is not None:
            if (n := into(view[at:])) is None:
                raise BlockingIOError(errno.EAGAIN, "a source must block until it has data, or has ended")
        else:
            data = file.read(len(view) - at)
            n = len(data)
            view[at : at + n] = data
        if n == 0:
            break
        at += n
    return at
