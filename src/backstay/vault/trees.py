"""Trees of folders: built bottom-up from a sorted spool, walked top-down one page at a time.

Entries come in any order. Each is written to a spool (a private SQLite file without a name, which stays in memory
while it is small), sorted there, and laid into pages when the point is sealed. A folder is cut into pages after
names whose hash ends in eight zero bits: a new file changes one page and the way up to it, nothing else.
"""

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from blake3 import blake3

from backstay.errors import DiskFull, PathEscapes, Usage
from backstay.ports import Kind
from backstay.vault.codec import Cursor
from backstay.vault.nodes import (
    DEEPEST,
    Content,
    Item,
    Named,
    Nothing,
    Ref,
    Subtree,
    read_item,
    write_folder_branch,
    write_item,
    write_page,
)
from backstay.vault.shelf import Shelf

MOST_ITEMS = 1024
MOST_PAGE_BYTES = 1 << 20
IMPLIED_MODE = 0o700
LONGEST_PATH = 4096
"""In bytes."""


def path_key(path: str) -> bytes:
    """How a path is sorted: a folder, then everything below it. Raises PathEscapes for a path that leads out."""
    raw = path.encode("utf-8", "surrogateescape")
    parts = raw.split(b"/")
    if any(part in (b"", b".", b"..") or len(part) > 255 for part in parts) or b"\0" in raw or len(raw) > LONGEST_PATH:
        raise PathEscapes(
            f"{path!r} cannot be a path in a recovery point", detail="relative, no empty part, no . or .."
        )
    return raw.replace(b"/", b"\0")


class Spool:
    """The entries of a point that is being written. For several threads."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE entry (path BLOB PRIMARY KEY, item BLOB NOT NULL) WITHOUT ROWID")
        self._lock = threading.Lock()

    def add(self, path: str, item: Item) -> None:
        """Raises Usage for a path that came before."""
        with self._lock:
            try:
                self._rows.execute("INSERT INTO entry VALUES (?, ?)", (path_key(path), write_item(item)))
            except sqlite3.IntegrityError:
                raise Usage(f"{path!r} came twice in one recovery point") from None
            except sqlite3.OperationalError as error:
                raise DiskFull(
                    "no room for the list of files of this backup", detail=str(error),
                    hint="make room in the folder for temporary files, or set SQLITE_TMPDIR to another",
                ) from error  # fmt: skip

    def sorted(self) -> Iterator[tuple[list[bytes], Item]]:
        """Every entry behind its folder. The parts of its path, and what it is."""
        for path, item in self._rows.execute("SELECT path, item FROM entry ORDER BY path"):
            yield path.split(b"\0"), read_item(Cursor(item))

    def close(self) -> None:
        self._rows.close()


@dataclass(slots=True)
class _Folder:
    """A folder that is being laid into pages."""

    item: Item | None
    """What was said about it. None: implied, or the root."""
    name: bytes
    page: list[bytes] = field(default_factory=list[bytes])
    page_bytes: int = 0
    first: bytes = b""
    levels: list[list[Named]] = field(default_factory=list[list[Named]])
    size_bytes: int = 0
    newest: datetime = datetime(1970, 1, 1, tzinfo=UTC)


class TreeBuilder:
    """Lays sorted entries into pages and branches. `write` keeps a node and says where it is."""

    def __init__(self, write: Callable[[bytes], Ref]) -> None:
        self._write = write

    def build(self, entries: Iterator[tuple[list[bytes], Item]]) -> tuple[Content, int, int]:
        """The root, the files in it and their size. Raises PathEscapes for something below a file or a link."""
        open_folders, files = [_Folder(None, b"")], 0
        leaf: list[bytes] | None = None
        for parts, item in entries:
            if leaf is not None and parts[: len(leaf)] == leaf:
                shown = b"/".join(leaf).decode("utf-8", "replace")
                raise PathEscapes(f"{shown!r} is no folder in this recovery point, and something is said to be in it")
            shared = 0
            while shared < min(len(open_folders), len(parts)) - 1 and open_folders[shared + 1].name == parts[shared]:
                shared += 1
            self._close_below(open_folders, shared)
            open_folders += [_Folder(None, part) for part in parts[shared:-1]]
            if item.kind is Kind.FOLDER:
                open_folders.append(_Folder(item, item.name))
                leaf = None
            else:
                files += item.kind is Kind.FILE
                self._add(open_folders[-1], item)
                leaf = parts
        self._close_below(open_folders, 0)
        root = open_folders[0]
        return self._top(root), files, root.size_bytes

    def _close_below(self, open_folders: list[_Folder], depth: int) -> None:
        while len(open_folders) > depth + 1:
            done = open_folders.pop()
            content = self._top(done)
            said = done.item
            item = (
                Item(done.name, Kind.FOLDER, True, IMPLIED_MODE, done.newest, done.size_bytes, b"", content)
                if said is None
                else said._replace(size_bytes=done.size_bytes, content=content)
            )
            self._add(open_folders[-1], item)

    def _add(self, folder: _Folder, item: Item) -> None:
        if not folder.page:
            folder.first = item.name
        written = write_item(item)
        folder.page.append(written)
        folder.page_bytes += len(written)
        folder.size_bytes += item.size_bytes
        folder.newest = max(folder.newest, item.modified)
        if ends_page(item.name) or len(folder.page) >= MOST_ITEMS or folder.page_bytes >= MOST_PAGE_BYTES:
            self._end_page(folder)

    def _end_page(self, folder: _Folder) -> None:
        ref = self._write(write_page(folder.page))
        child = Named(folder.first, ref)
        folder.page, folder.page_bytes = [], 0
        for level in range(DEEPEST + 1):
            if level == len(folder.levels):
                folder.levels.append([])
            children = folder.levels[level]
            children.append(child)
            if len(children) < MOST_ITEMS:
                return
            child = self._end_branch(folder, level)
        raise Usage("a folder has more entries than the vault's format can hold")

    def _end_branch(self, folder: _Folder, level: int) -> Named:
        children = folder.levels[level]
        child = Named(children[0].first, self._write(write_folder_branch(level + 1, children)))
        folder.levels[level] = []
        return child

    def _top(self, folder: _Folder) -> Content:
        """Close what is open, from the pages up, until one node is left."""
        if folder.page:
            self._end_page(folder)
        level = 0
        while level < len(folder.levels):
            children = folder.levels[level]
            if level == len(folder.levels) - 1 and len(children) == 1:
                return Subtree(level, children[0].ref)
            if children:
                child = self._end_branch(folder, level)
                if level + 1 == len(folder.levels):
                    folder.levels.append([])
                folder.levels[level + 1].append(child)
            level += 1
        return Nothing()


def ends_page(name: bytes) -> bool:
    """Whether a page ends behind this name: decided by the name alone, so that insertions stay local."""
    return blake3(name).digest(1)[0] == 0


# ── walking ──────────────────────────────────────────────────────────────────────────────────────


class Tree:
    """A tree in the vault. Reads the pages that are asked for."""

    def __init__(self, shelf: Shelf, root: Content, visit: Callable[[Ref], None] = lambda _: None) -> None:
        """`visit` is told each node that was read on the way to a child: a writer takes those that did not change."""
        self._shelf, self.root, self._visit = shelf, root, visit

    def items(self, of: Content) -> Iterator[Item]:
        """The entries of a folder, in the order of names."""
        stack = [(of.level, of.top)] if isinstance(of, Subtree) else []
        while stack:
            level, ref = stack.pop()
            if level == 0:
                yield from self._shelf.page(ref).values()
            else:
                stack += [(level - 1, child.ref) for child in reversed(self._shelf.folder_branch(ref, level))]

    def child(self, of: Content, name: bytes) -> Item | None:
        """One entry of a folder: reads one page and the way to it."""
        if not isinstance(of, Subtree):
            return None
        level, ref = of
        while level > 0:
            children = self._shelf.folder_branch(ref, level)
            self._visit(ref)
            at = bisect_right(children, name, key=lambda child: child.first) - 1
            if at < 0:
                return None
            level, ref = level - 1, children[at].ref
        page = self._shelf.page(ref)
        self._visit(ref)  # not before: one that cannot be read must not be taken over
        return page.get(name)

    def find(self, path: str) -> Item | None:
        """What is at `path`. Raises PathEscapes for a path that cannot be."""
        at, item = self.root, None
        for part in path_key(path).split(b"\0"):
            item = self.child(at, part)
            if item is None:
                return None
            at = item.content
        return item

    def walk(self, of: Content, path: str = "") -> Iterator[tuple[str, Item]]:
        """Everything below a folder, each folder before what is in it, in the order of paths."""
        stack = [(path, self.items(of))]
        while stack:
            at, items = stack[-1]
            item = next(items, None)
            if item is None:
                stack.pop()
                continue
            here = f"{at}/{shown(item.name)}" if at else shown(item.name)
            if len(stack) * 2 > LONGEST_PATH or len(here) > LONGEST_PATH:
                # No writer of ours makes one; somebody who may write could make a tree that never ends.
                raise PathEscapes(f"a path in this recovery point is longer than any may be: {here[:80]!r}…")
            yield here, item
            if item.kind is Kind.FOLDER:
                stack.append((here, self.items(item.content)))


def shown(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
