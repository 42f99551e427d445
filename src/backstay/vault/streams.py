"""The map of one stream: which chunks it has, found by position. Reads the leaves that are asked for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from backstay.errors import Damaged
from backstay.vault.nodes import MOST_CHILDREN, Branch, Chunks, Ref, Stream, write_branch
from backstay.vault.outbox import Nodes
from backstay.vault.shelf import Shelf


class Leaf(NamedTuple):
    """A node of a stream map, and the part of the stream that it covers."""

    start: int
    """Where it begins in the stream."""
    size_bytes: int
    ref: Ref


class StreamMap:
    def __init__(
        self, shelf: Shelf, stream: Stream, size_bytes: int, visit: Callable[[int, Leaf], None] = lambda _, __: None
    ) -> None:
        """`visit` is told each branch that is read: its level, and the part of the stream that it covers."""
        self._shelf, self.stream, self.size_bytes, self._visit = shelf, stream, size_bytes, visit

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:
        """The leaves that hold any of the bytes from `start` up to `end`, in order. Raises Damaged, ObjectMissing."""
        stack = [(self.stream.level, Leaf(0, self.size_bytes, self.stream.top))]
        while stack:
            level, leaf = stack.pop()
            if leaf.start >= end or leaf.start + leaf.size_bytes <= start:
                continue
            if level == 0:
                yield leaf
                continue
            branch = self._shelf.branch(leaf.ref, level)
            self._visit(level, leaf)
            if sum(branch.sizes) != leaf.size_bytes:
                raise Damaged(f"a stream map of {self._shelf.component} contradicts itself")
            at, children = leaf.start, list[tuple[int, Leaf]]()
            for ref, size in zip(branch.children, branch.sizes):
                children.append((level - 1, Leaf(at, size, ref)))
                at += size
            stack += reversed(children)

    def chunks(self, leaf: Leaf) -> Chunks:
        """Raises Damaged, ObjectMissing."""
        found = self._shelf.leaf(leaf.ref)
        if sum(found.sizes) != leaf.size_bytes:
            raise Damaged(f"a stream map of {self._shelf.component} contradicts itself")
        return found


class StreamBuilder:
    """Gathers leaves into branches until one node is left."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._levels: list[tuple[list[Ref], list[int]]] = []

    def add(self, leaf: Ref, size_bytes: int) -> None:
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append(([], []))
            refs, sizes = self._levels[level]
            refs.append(leaf)
            sizes.append(size_bytes)
            if len(refs) < MOST_CHILDREN:
                return
            leaf, size_bytes = self._close(level)
            level += 1

    def top(self) -> tuple[int, Ref]:
        """Level and node of the whole stream. There is at least one leaf."""
        level = 0
        while True:
            refs, _ = self._levels[level]
            if level == len(self._levels) - 1 and len(refs) == 1:
                return level, refs[0]
            if refs:
                ref, size = self._close(level)
                if level + 1 == len(self._levels):
                    self._levels.append(([], []))
                self._levels[level + 1][0].append(ref)
                self._levels[level + 1][1].append(size)
            level += 1

    def _close(self, level: int) -> tuple[Ref, int]:
        refs, sizes = self._levels[level]
        self._levels[level] = ([], [])
        return self._nodes.write(write_branch(Branch(level + 1, tuple(refs), tuple(sizes)))), sum(sizes)
