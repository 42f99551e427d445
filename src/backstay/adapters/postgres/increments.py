"""`INCREMENTAL.<name>`: a file of a relation, told by the blocks that changed since an earlier backup.

Its head (basebackup_incremental.c, `GetIncrementalHeaderSize`; reconstruct.c of pg_combinebackup reads it): three
numbers of four bytes in the server's order, which is little-endian wherever we run: magic, number of blocks,
*truncation block length*; then the numbers of the blocks, and, where there are any, zeros up to a whole block. Then the
blocks.

The file that comes of it has every block that is named; of those that are not, the old ones below the truncation block
length; between them, zeros (`find_reconstructed_block_length`, `reconstruct_from_incremental_file`).
"""

import struct
from array import array
from dataclasses import dataclass
from itertools import pairwise

from backstay.errors import Damaged
from backstay.ports import Replaced

PREFIX = "INCREMENTAL."
MAGIC = 0xD3AE1F0D
_HEAD = struct.Struct("<III")
_MOST_BLOCKS = 1 << 24
"""A segment of a relation has 131,072; `--with-segsize` makes longer ones."""


@dataclass(frozen=True, slots=True)
class Increment:
    blocks: "array[int]"
    truncation: int
    """In blocks."""
    head_bytes: int

    def size_bytes(self, block_bytes: int) -> int:
        """Of the file that it makes."""
        last = self.blocks[-1] + 1 if self.blocks else 0
        return max(self.truncation, last) * block_bytes

    def replaced(self, block_bytes: int) -> Replaced:
        return Replaced(block_bytes, self.blocks, self.truncation * block_bytes)


def numbers_of(head: bytes, name: str) -> int:
    """How many blocks the first twelve bytes promise. Raises Damaged."""
    magic, number, truncation = _HEAD.unpack(head)
    if magic != MAGIC or number > _MOST_BLOCKS or truncation > _MOST_BLOCKS:
        raise _odd(name, "it does not begin as one")
    return number


def head_bytes(number: int, block_bytes: int) -> int:
    size = _HEAD.size + 4 * number
    return size if not number else -(-size // block_bytes) * block_bytes


def read_increment(head: bytes, name: str, size_bytes: int, block_bytes: int) -> Increment:
    """From the whole head of a file of that length. Raises Damaged for what does not fit together."""
    _, number, truncation = _HEAD.unpack_from(head)
    blocks = array("I")
    blocks.frombytes(head[_HEAD.size : _HEAD.size + 4 * number])
    if size_bytes != len(head) + number * block_bytes:
        raise _odd(name, f"{size_bytes} bytes for {number} blocks")
    if any(before >= after for before, after in pairwise(blocks)) or (blocks and blocks[-1] >= _MOST_BLOCKS):
        raise _odd(name, "its blocks are not in order")
    return Increment(blocks, truncation, len(head))


def _odd(name: str, why: str) -> Damaged:
    return Damaged(f"the server sent an increment that cannot be read: {name}", detail=why)


HEAD_BYTES = _HEAD.size
