"""Law: what an enrolled writer seals on purpose (his key was stolen) can make reading fail, and nothing else: no path
leads out, no size makes us set memory aside, no tree goes on for ever, and no byte is other than it says."""

import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError, Damaged, DiskFull, ObjectMissing, PathEscapes, TargetNotEmpty
from backstay.facts import Point
from backstay.ports import Cutter, Key, Kind
from backstay.vault import Repository, check, names, open_vault
from backstay.vault.boxes import seal_json
from backstay.vault.nodes import (
    Branch,
    Chunk,
    Chunks,
    Content,
    Item,
    Named,
    Ref,
    Small,
    Stream,
    Subtree,
    Target,
    write_branch,
    write_content,
    write_folder_branch,
    write_item,
    write_leaf,
    write_page,
)
from backstay.vault.outbox import Nodes, Outbox
from backstay.vault.packs import Place
from backstay.vault.straight import LEAST as STRAIGHT
from backstay.vault.uses import Tally
from fix_vault import DB, MODIFIED, SMALL, back_up, keyring, new_vault

MOST_BYTES = 64 << 20


class Thief:
    """Who has the key of an enrolled writer, and writes what he likes."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.vault = new_vault(self.store)
        self.point = back_up(self.vault, SMALL)
        self._outbox = Outbox(self.store, self.vault.opened, DB, 1)
        self._nodes = Nodes(self._outbox, self.vault.opened, {}, Tally())

    def node(self, data: bytes) -> Ref:
        return self._nodes.write(data)

    def page(self, items: Iterable[Item]) -> Subtree:
        return Subtree(0, self.node(write_page([write_item(item) for item in items])))

    def chunk(self) -> Chunk:
        """A sound one."""
        fetching = self.vault.open(self.point.id).fetching
        return next(fetching.located(fetching.find("PG_VERSION"), 0, 1)).chunk

    def seal(self, root: Content, size: int = 10) -> tuple[Repository, Point]:
        """The point says what he wants it to say."""
        self._nodes.close()
        self._outbox.drain()
        self._outbox.close()
        key = names.sealed(DB, self.point.id)
        found = self.vault.reopen(key).json()
        body = {"point": {**found["point"], "size": size}, "root": write_content(root).hex()}
        self.store.objects[key] = seal_json(self.vault.opened, keyring(), key, body)
        vault = open_vault(self.store, "local", keyring())
        return vault, vault.points()[0]


def file(name: bytes, content: Content, size: int) -> Item:
    return Item(name, Kind.FILE, False, 0o600, MODIFIED, size, b"", content)


def folder(name: bytes, content: Content) -> Item:
    return Item(name, Kind.FOLDER, False, 0o700, MODIFIED, 0, b"", content)


def link(name: bytes, target: bytes) -> Item:
    return Item(name, Kind.LINK, False, 0o777, MODIFIED, 0, b"", Target(target))


Make = Callable[[Thief], Content]


def escaping(name: bytes) -> Make:
    return lambda thief: thief.page([file(name, Small(thief.chunk()), thief.chunk().size)])


def one_stream(map: Callable[[Thief], Stream], size: int) -> Make:
    return lambda thief: thief.page([file(b"huge", map(thief), size)])


def lying_leaf(thief: Thief) -> Stream:
    chunk, chunks = thief.chunk(), Chunks()
    for _ in range(8192):
        chunks.add(chunk.id, 8192, chunk.place, 0)
    return Stream(Cutter.FIXED_64K, 0, thief.node(write_leaf(chunks)))


def huge_frame(thief: Thief) -> Stream:
    chunk, chunks = thief.chunk(), Chunks()
    assert chunk.place is not None
    chunks.add(chunk.id, 4 << 20, chunk.place._replace(length=(1 << 32) - 1), 0)
    return Stream(Cutter.FIXED_64K, 0, thief.node(write_leaf(chunks)))


def nothing_below(thief: Thief) -> Stream:
    ref = Ref(bytes(32), Place(bytes(16), bytes(8), 58, 100))
    return Stream(Cutter.CDC_V1, 8, thief.node(write_branch(Branch(8, (ref,) * 1024, (1 << 50,) * 1024))))


def zeros_of_another_id(thief: Thief) -> Stream:
    chunks = Chunks()
    chunks.add(bytes(32), 65_536, None, 0)
    return Stream(Cutter.FIXED_64K, 0, thief.node(write_leaf(chunks)))


HOSTILE: dict[str, Make] = {
    "..": escaping(b".."),
    "a slash": escaping(b"../../etc/cron.d/x"),
    "absolute": escaping(b"/etc/passwd"),
    "a NUL": escaping(b"a\0b"),
    "no name": escaping(b""),
    "a leaf that lies": one_stream(lying_leaf, 8192 * 8192),
    "a frame of 4 GiB": one_stream(huge_frame, 4 << 20),
    "an exabyte of nothing": one_stream(nothing_below, 1 << 60),
    "a size that is not its map's": one_stream(lying_leaf, 1 << 40),
    "zeros that are none": one_stream(zeros_of_another_id, 65_536),
}
ONLY_READING_TELLS = {"a leaf that lies"}
"""A map that names chunks as other than they are: the packs are sound, and so is the tree. Only a proof, which reads
the point itself, finds that."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tree_ends_in_an_error(name: str, tmp_path: Path) -> None:
    thief = Thief()
    vault, point = thief.seal(HOSTILE[name](thief))
    to = tmp_path / "in" / "to"
    tracemalloc.start()
    try:
        with pytest.raises((Damaged, ObjectMissing, PathEscapes, DiskFull)):
            vault.open(point.id).extract(to)
        found = list(check(vault, read_data=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any(finding.point == point.id for finding in found) or name in ONLY_READING_TELLS
    assert peak < MOST_BYTES
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"huge"}
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.iterdir()} <= {"in"}


def test_a_chain_of_folders_ends_where_no_path_can_go_on() -> None:
    thief = Thief()
    at = thief.page([file(b"end", Small(thief.chunk()), thief.chunk().size)])
    for _ in range(2100):
        at = thief.page([folder(b"d", at)])
    vault, point = thief.seal(at)
    with pytest.raises(PathEscapes):
        list(vault.open(point.id).entries())
    assert any("longer" in finding.said for finding in check(vault) if finding.point)


def test_a_tree_that_doubles_at_each_level_is_checked_in_no_time() -> None:
    """Each node is looked at once, however many paths lead to it; and what is damaged is counted, not listed."""
    thief = Thief()
    at = thief.page([file(b"end", Small(thief.chunk()), thief.chunk().size)])
    for _ in range(40):
        at = thief.page([folder(b"a", at), folder(b"b", at)])
    vault, _ = thief.seal(at)
    assert [finding for finding in check(vault, read_data=True) if finding.point] == []


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link and a folder of one name cannot both be in a page; in two pages they can."""
    outside = tmp_path / "outside"
    outside.mkdir()
    thief = Thief()
    chunk = thief.chunk()
    inner = thief.page([file(b"x", Small(chunk), chunk.size)])
    vault, point = thief.seal(thief.page([link(b"a", str(outside).encode()), folder(b"b", inner)]))
    vault.open(point.id).extract(tmp_path / "to")
    assert list(outside.iterdir()) == []
    thief = Thief()
    inner = thief.page([file(b"x", Small(chunk := thief.chunk()), chunk.size)])
    pages = [write_page([write_item(link(b"a", str(outside).encode()))]), write_page([write_item(folder(b"a", inner))])]
    children = [Named(b"a", thief.node(pages[0])), Named(b"b", thief.node(pages[1]))]
    vault, point = thief.seal(Subtree(1, thief.node(write_folder_branch(1, children))))
    with pytest.raises((BackstayError, TargetNotEmpty)):
        vault.open(point.id).extract(tmp_path / "again")
    assert list(outside.iterdir()) == []


def test_a_box_of_gigabytes_under_a_name_of_ours_is_not_fetched_whole() -> None:
    """Who cannot seal can still write: listing the points must not need the memory that he has to give."""
    asked: list[int | None] = []

    class Noting(MemoryStore):
        def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
            if key.startswith("points/"):
                asked.append(length)
            return super().get(key, start, length)

    store = Noting()
    vault = new_vault(store)
    back_up(vault, SMALL)
    open_vault(store, "local", keyring()).points()
    assert asked
    assert all(length is not None and length < 66 << 20 for length in asked)


def test_pages_that_were_cut_as_no_writer_of_ours_does_come_back_too(tmp_path: Path) -> None:
    """Long enough to be written past the page cache, in blocks: nothing that another chunk has there is overwritten."""
    thief, chunks = Thief(), Chunks()
    reader = thief.vault.open(thief.point.id)
    parts = [located.chunk for located in reader.fetching.located(reader.fetching.find("dump/tenants"), 0, 300_000)]
    while sum(chunks.sizes) <= STRAIGHT:
        for part in parts:
            chunks.add(part.id, part.size, part.place, part.at)
    assert any(size % 4096 for size in chunks.sizes)
    size, said = sum(chunks.sizes), b"".join(reader.read("dump/tenants"))
    stream = Stream(Cutter.FIXED_64K, 0, thief.node(write_leaf(chunks)))
    vault, point = thief.seal(thief.page([file(b"odd", stream, size)]), size)
    vault.open(point.id).extract(tmp_path / "to")
    assert (tmp_path / "to" / "odd").read_bytes() == said * (size // len(said))
