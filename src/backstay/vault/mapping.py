"""The map of one stream while it is written: chunks come in order, are laid into leaves, and leaves into branches."""

from backstay.ports import Cutter
from backstay.vault.base import BaseStream
from backstay.vault.nodes import LEAF_BYTES, Chunks, Content, Nothing, Stream, write_leaf
from backstay.vault.outbox import Nodes
from backstay.vault.streams import StreamBuilder
from backstay.vault.uses import Tally


class Mapping:
    """For one thread at a time. `base`: the map of the point before; leaves that are as there are taken from it."""

    def __init__(self, nodes: Nodes, tally: Tally, cutter: Cutter, base: BaseStream | None) -> None:
        self._nodes, self._tally, self._cutter, self._base = nodes, tally, cutter, base
        self._leaf, self._leaf_bytes, self._leaf_start = Chunks(), 0, 0
        self._map = StreamBuilder(nodes)

    def append(self, chunks: Chunks) -> None:
        size = sum(chunks.sizes)
        if self._leaf_bytes + size > LEAF_BYTES:
            self._end_leaf()
        self._leaf.extend(chunks)
        self._leaf_bytes += size

    def end(self) -> tuple[Content, int]:
        """What the file is, and its length."""
        self._end_leaf()
        if self._leaf_start == 0:
            return Nothing(), 0
        level, top = self._map.top()
        return Stream(self._cutter, level, top), self._leaf_start

    def _end_leaf(self) -> None:
        if not self._leaf_bytes:
            return
        old = self._base.leaf_at(self._leaf_start) if self._base else None
        self._tally.leaf(self._leaf)
        self._map.add(self._nodes.write(write_leaf(self._leaf), (old,)), self._leaf_bytes)
        self._leaf_start += self._leaf_bytes
        self._leaf, self._leaf_bytes = Chunks(), 0
