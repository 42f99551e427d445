"""Chunks put side by side: what continues each other in one file is written by one call.

A call for each chunk would cost more, by everything that the system does per call and per page. The memory is used
again and again, and begins at a page: a chunk that is a frame of its own is decompressed into it, and the disk can take
it from there.
"""

import mmap
from collections.abc import Callable

from backstay.vault.fetching import Located

SIDE_BYTES = 1 << 20
_SPARE = 4096
"""Behind the last chunk: a frame that is longer than it says is noticed there."""

Write = Callable[[int, memoryview, int], None]
"""Gets the number of a file, bytes, and where they go."""


class Side:
    """One thread's."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, SIDE_BYTES + _SPARE))
        self._file: int = -1
        self._start, self._size = 0, 0
        self._write: Write | None = None

    def begin(self, write: Write) -> None:
        self._write, self._size = write, 0

    def room(self, located: Located) -> memoryview:
        """For the bytes of a chunk, and some more that are nobody's. What it does not continue is written first."""
        size = located.chunk.size
        if located.offset != self._start + self._size or located.file != self._file or self._size + size > SIDE_BYTES:
            self.flush()
            self._file, self._start = located.file, located.offset
        return self.memory[self._size : self._size + size + _SPARE]

    def put(self, located: Located, data: memoryview) -> None:
        """A chunk is there: `data` may lie in its room already."""
        if len(data) > SIDE_BYTES:  # from a writer with other habits
            self.flush()
            self._send(located.file, data, located.offset)
            return
        room = self.room(located)[: len(data)]
        if data.obj is not self.memory.obj:
            room[:] = data
        self._size += len(data)

    def flush(self) -> None:
        size, self._size = self._size, 0
        if size:
            self._send(self._file, self.memory[:size], self._start)

    def _send(self, number: int, data: memoryview, start: int) -> None:
        assert self._write is not None, "a batch was begun"
        self._write(number, data, start)
