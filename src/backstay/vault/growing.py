"""A pack that is stored while it is filled, where the store takes parts as they are made.

A lane adds frames; a sender gives the store each MiB that is full, and its memory back to the kernel. So a backup needs
a MiB or two for each pack, not the whole of it.
"""

import mmap
import threading
from collections.abc import Iterator
from contextlib import suppress

from backstay.vault.packs import BUFFER_SIZE, PART_BYTES, PackBuilder, PackParts

PAGE_BYTES = 2 << 20
"""A huge page, of most processors. In less, no memory is given back."""


class Abandoned(Exception):
    """The backup ends without this pack."""


class GrowingPack:
    """The parts of a pack, in order, for one who goes through them once. Between two threads."""

    def __init__(self, pack: PackBuilder) -> None:
        self._pack, self._changed = pack, threading.Condition()
        self._ready, self._is_abandoned, self._is_begun = 0, False, False
        self._parts: PackParts | None = None

    def grew(self, end: int) -> None:
        """By the lane: nothing before `end` will change."""
        with self._changed:
            self._ready = end
            self._changed.notify_all()

    def close(self) -> None:
        """By the lane: nothing more comes."""
        parts = self._pack.finish()
        with self._changed:
            self._parts = parts
            self._changed.notify_all()

    def abandon(self) -> None:
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        return self._parts is not None

    @property
    def size_bytes(self) -> int:
        """Of all of it: waits until that is known. 0 for one that was abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: self._parts is not None or self._is_abandoned)
            return self._parts.size_bytes if self._parts is not None else 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises Abandoned."""
        assert not self._is_begun, "what was given is forgotten: there is no second time"
        self._is_begun, at = True, 0
        while not self._is_last(at):
            yield bytes(self._pack.view[at : at + PART_BYTES])
            at += PART_BYTES
            if at % PAGE_BYTES == 0:
                _forget(self._pack.buffer, at - PAGE_BYTES)
        assert self._parts is not None, "it is closed"
        yield from self._parts.after(at)

    def _is_last(self, at: int) -> bool:
        """Whether no more whole part follows."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ready >= at + PART_BYTES or self._parts is not None or self._is_abandoned
            )
            if self._is_abandoned:
                raise Abandoned
            return self._ready < at + PART_BYTES


def new_buffer() -> mmap.mmap:
    """For a pack. Not a bytearray: memory that was never written to is never taken. In huge pages, where there are: a
    pack in small ones, taken and given back, costs six times as much as filling it."""
    buffer = mmap.mmap(-1, BUFFER_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _forget(buffer: bytearray | mmap.mmap, start: int) -> None:
    """A page is not needed any more: its memory goes back to the kernel, until somebody writes there again."""
    if isinstance(buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        buffer.madvise(mmap.MADV_DONTNEED, start, PAGE_BYTES)
