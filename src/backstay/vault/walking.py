"""Everything that a point names: each node of its tree and of its stream maps, with the chunks in it."""

from collections.abc import Callable, Iterator

from backstay.vault.nodes import Chunks, Content, Ref, Small, Stream, Subtree
from backstay.vault.shelf import Shelf
from backstay.vault.uses import Tally, Uses


def never(_: Ref) -> bool:
    return False


def references(shelf: Shelf, root: Content, skip: Callable[[Ref], bool] = never) -> Iterator[tuple[Ref, Chunks]]:
    """Each node, and the chunks that it names itself: all of a leaf, the short files of a page, none of a branch.
    What is below a node that `skip` knows is passed over. Raises Damaged, ObjectMissing, WrongKey."""
    stack: list[Subtree | Stream] = [root] if isinstance(root, Subtree) else []
    while stack:
        at = stack.pop()
        if skip(at.top):
            continue
        match at:
            case Subtree(0, ref):
                chunks = Chunks()
                for item in shelf.page(ref).values():
                    if isinstance(item.content, Small):
                        chunks.add(*item.content.chunk)
                    elif isinstance(item.content, Stream | Subtree):
                        stack.append(item.content)
                yield ref, chunks
            case Subtree(level, ref):
                stack += [Subtree(level - 1, child.ref) for child in shelf.folder_branch(ref, level)]
                yield ref, Chunks()
            case Stream(_, 0, ref):
                yield ref, shelf.leaf(ref)
            case Stream(cutter, level, ref):
                stack += [Stream(cutter, level - 1, child) for child in shelf.branch(ref, level).children]
                yield ref, Chunks()


def walked(shelf: Shelf, root: Content) -> Uses:
    """What a point uses, for one that has no list."""
    tally = Tally()
    for ref, chunks in references(shelf, root):
        tally.node(ref)
        for place in dict.fromkeys(chunks.places):
            if place is not None:
                tally.short(place)
    return tally.total()
