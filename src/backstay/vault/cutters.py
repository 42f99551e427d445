"""How a stream is cut into chunks. What is here is part of the format: changing it breaks deduplication with every
point that exists (reading them never depends on it).

`fixed-64k` cuts at every 65,536 bytes. `cdc-v1` is FastCDC 2020 with the gear table of its reference implementation,
least 16 KiB, middle 64 KiB, most 256 KiB, normalization level 1; `docs/reference/vault-format.md` spells it out, and
test vectors notice a library that cuts elsewhere.
"""

from collections.abc import Iterator

from pyfastcdc import FastCDC

PAGE = 65_536
LEAST, MIDDLE, MOST = 16_384, 65_536, 262_144
SMALL_PAGES = PAGE
"""A page file shorter than this goes into a frame with other small files."""
SMALL_WHOLE = 262_144
"""A file up to this length is one chunk; a longer one is cut by `cdc-v1`."""


def fixed_cuts(size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each chunk of `size` bytes."""
    for start in range(0, size, PAGE):
        yield start, min(start + PAGE, size)


class ContentCuts:
    """`cdc-v1` over a stream that comes in pieces. Not for two threads at once."""

    def __init__(self) -> None:
        self._cutter = FastCDC(MIDDLE, min_size=LEAST, max_size=MOST, normalized_chunking=1)

    def cuts(self, data: memoryview, *, last: bool) -> tuple[list[tuple[int, int]], int]:
        """The chunks that are certain, and where the uncertain rest begins: unless this is the `last` piece, a chunk
        is certain only when the longest possible one would have fitted."""
        found: list[tuple[int, int]] = []
        for chunk in self._cutter.cut_buf(data):
            if not last and chunk.offset + MOST > len(data):
                return found, chunk.offset
            found.append((chunk.offset, chunk.offset + chunk.length))
        return found, len(data)
