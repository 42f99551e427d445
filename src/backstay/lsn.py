"""Places in the write-ahead log: arithmetic on LSNs, names of segments, and what the head of a segment must say.

The size of a segment is a parameter everywhere: `initdb --wal-segsize` chooses it, and it is never assumed.
"""

import re
import struct
from collections.abc import Iterator
from typing import NewType

Lsn = NewType("Lsn", int)
"""A byte position in the WAL, as PostgreSQL's `pg_lsn`."""

_LONG_HEADER = struct.Struct("<HHIQIxxxxQII")
"""XLogLongPageHeaderData (xlog_internal.h): magic, info, timeline, page address, remaining bytes, padding, system
identifier, segment size, block size. In the byte order of the server: little-endian wherever we run."""

_LONG = 0x0002
"""XLP_LONG_HEADER: set on the first page of every segment."""

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def lsn(text: str) -> Lsn:
    """`0/2000028` to a position. Raises ValueError."""
    if (found := _LSN.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is not an LSN")
    return Lsn(int(found[1], 16) << 32 | int(found[2], 16))


def say_lsn(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, segment_bytes: int) -> str:
    """XLogFileName: eight digits each of timeline, log and segment. How many segments a log has depends on their size:
    0x100 of 16 MiB, 0x40 of 64 MiB."""
    per_log = 0x1_0000_0000 // segment_bytes
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def segment_place(name: str, segment_bytes: int) -> tuple[int, Lsn]:
    """The inverse: timeline, and first position. Raises ValueError for what is no name of a segment of this size."""
    if _SEGMENT.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a segment")
    timeline, log, part = (int(name[at : at + 8], 16) for at in (0, 8, 16))
    if timeline == 0 or part >= 0x1_0000_0000 // segment_bytes:
        raise ValueError(f"{name!r} is not the name of a segment of {segment_bytes} bytes")
    return timeline, Lsn(log << 32 | part * segment_bytes)


def segments(timeline: int, start: Lsn, stop: Lsn, segment_bytes: int) -> Iterator[tuple[str, int]]:
    """Every segment that holds a byte from `start` up to, and not including, `stop`; with its first position.

    `stop` on a boundary is the end of the segment before it (XLByteToPrevSeg): the one that begins there holds
    nothing yet, and may not exist.
    """
    assert start < stop, f"WAL range runs backwards: {say_lsn(start)} to {say_lsn(stop)}"
    for number in range(start // segment_bytes, (stop - 1) // segment_bytes + 1):
        yield segment_name(timeline, number, segment_bytes), number * segment_bytes


def wrong_with_segment(head: bytes, *, system: int, position: int, segment_bytes: int, timeline: int) -> str | None:
    """Why the segment that begins with `head` is not the one that belongs at `position`; None when it is.

    A segment that was recycled has its new name already and still the old contents; one of another cluster has the
    right name and another system identifier. Both have poisoned archives before. A segment may begin with an older
    timeline (it was copied at a switch), never with a newer one.
    """
    if len(head) < _LONG_HEADER.size:
        return f"it has only {len(head)} bytes"
    magic, info, page_timeline, address, _, owner, size, _ = _LONG_HEADER.unpack_from(head)
    if magic == 0 or not info & _LONG:
        return "it does not begin with the header of a segment"
    if owner != system:
        return f"it belongs to another cluster (system identifier {owner}, not {system})"
    if size != segment_bytes:
        return f"it is made for segments of {size} bytes, not {segment_bytes}"
    if address != position:
        return f"it holds the WAL from {say_lsn(address)}, not from {say_lsn(position)}"
    if page_timeline > timeline:
        return f"it is of timeline {page_timeline}, not {timeline}"
    return None
