"""Writing straight to the disk, past the page cache (`O_DIRECT`), as long as the disk keeps up.

Through the cache, a restore pays three times for each byte: for a page of memory, for the copy, and for the kernel's
writing it out, which competes with us for the same processors; on a fast disk that costs more than opening and
decompressing do. And what other programs of this machine had in the cache is driven out. Past it, the disk takes the
bytes from our buffer, without a processor.

A slow disk is another matter: while it writes, we want to go on; and the server that is started next finds its pages in
memory. So each restore looks at what writing straight costs it, and files that are begun later go through the cache
when that is too much. A file is written in one way from its first byte to its last: open(2) warns of mixing the two.
"""

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from time import monotonic

LEAST = 1 << 20
"""Shorter files go through the cache: one call and one fsync, which has to wait for the disk anyway."""
BLOCK = 4096
"""Offsets, lengths and memory are multiples of it: more than any disk asks for, and who asks for more gets no more."""
SLOW = 100e6
"""Bytes per second and thread. Below, the disk is what is waited for: the cache is not slower, and stays warm. (At 270,
on a busy machine, 4 GB took 5.5 seconds straight, and 7.5 through the cache.)"""
_ENOUGH = 16 << 20
"""After so much, what is known of the disk is judged, and forgotten."""


class Straight:
    """What one restore knows about its disk. For several threads."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.is_worth_it, self._clock = hasattr(os, "O_DIRECT"), clock
        self._lock, self._bytes, self._seconds = threading.Lock(), 0, 0.0

    def turn(self, handle: int) -> bool:
        """From now on, `handle` writes past the cache. False where its file system has no such way."""
        try:
            fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) | os.O_DIRECT)
        except OSError:  # not at open(2): that would leave the new file behind, where it fails
            self.is_worth_it = False
            return False
        return True

    def write(self, handle: int, data: memoryview, at: int) -> None:
        """`at` is a multiple of BLOCK. The end of a file that is no whole block is written as one that ends with zeros:
        whoever finishes the file cuts it."""
        began, size = self._clock(), len(data)
        whole = size - size % BLOCK
        _write(self, handle, data[:whole], at)
        if whole < size:
            last = memoryview(mmap.mmap(-1, BLOCK))
            last[: size - whole] = data[whole:]
            _write(self, handle, last, at + whole)
        self._judge(size, self._clock() - began)

    def _judge(self, size: int, seconds: float) -> None:
        with self._lock:
            self._bytes, self._seconds = self._bytes + size, self._seconds + seconds
            if self._bytes >= _ENOUGH:
                self.is_worth_it = self.is_worth_it and self._bytes >= SLOW * self._seconds
                self._bytes, self._seconds = 0, 0.0


def turn_back(handle: int) -> None:
    """From now on, `handle` writes through the cache."""
    fcntl.fcntl(handle, fcntl.F_SETFL, fcntl.fcntl(handle, fcntl.F_GETFL) & ~os.O_DIRECT)


def _write(straight: Straight, handle: int, data: memoryview, at: int) -> None:
    is_turned_back = False
    while data:
        try:
            n = os.pwrite(handle, data, at)
        except OSError as error:
            if error.errno != errno.EINVAL or is_turned_back:
                raise
            straight.is_worth_it = False  # a disk with larger blocks, or a call that ended within one
            turn_back(handle)
            is_turned_back = True
        else:
            data, at = data[n:], at + n
