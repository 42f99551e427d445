"""Laws of size: what a point costs to open does not grow with it, and what the bill says is what a store counts."""

import random
import tracemalloc
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.bill import requests_of_backup, requests_of_restore
from backstay.ports import Cutter
from backstay.vault import open_vault
from backstay.vault.stock import Lengths
from fix_counting import CountingStore
from fix_vault import DB, File, Things, back_up, keyring, later, new_vault, noise

PAGE = 65_536


def _things(files: int, pages: int) -> Things:
    """A page file that is mostly zeros, so that its map is long and its bytes are few; and many short files."""
    table = bytearray(pages * PAGE)
    for page in range(0, pages, 64):
        table[page * PAGE : page * PAGE + 4096] = noise(4096, page)
    things: dict[str, File] = {f"pg_xact/{n:06d}": File(b"%d" % n) for n in range(files)}
    return {**things, "base/1/1259": File(bytes(table), cutter=Cutter.FIXED_64K)}


@pytest.mark.parametrize(("files", "pages"), [(300, 200), (3000, 2000)])
def test_one_page_of_a_point_costs_kilobytes_whatever_its_size(files: int, pages: int) -> None:
    store = CountingStore()
    vault = new_vault(store)
    point = back_up(vault, _things(files, pages))
    fresh = open_vault(store, "local", keyring())
    store.forget()
    reader = fresh.open(point.id)
    opened = store.requests, store.read_bytes
    assert len(b"".join(reader.read("base/1/1259", 64 * PAGE, 8192))) == 8192
    assert opened[0] <= 2, "a listing of points, and the point"
    assert opened[1] < 2_000
    assert store.requests - opened[0] <= 8, "the pages of three folders, a branch, a leaf, the head of a pack, a frame"
    assert store.read_bytes < 150_000
    store.forget()
    assert b"".join(reader.read("pg_xact/000123")) == b"123"
    assert store.requests <= 4
    assert store.read_bytes < 60_000


def test_the_bill_counts_the_requests_that_the_vault_makes(tmp_path: Path) -> None:
    store = CountingStore()
    vault = new_vault(store)
    things = _things(2000, 1100)
    back_up(vault, things)
    vault = open_vault(store, "local", keyring())
    store.forget()
    point = back_up(vault, things, now=later(1))
    writes, reads = requests_of_backup(point)
    assert sum(store.writes.values()) + sum(store.lists.values()) <= writes
    assert reads / 3 < sum(store.reads.values()) <= reads
    needed = sum(vault.packs_of(point.id).values())
    store.forget()
    open_vault(store, "local", keyring()).open(point.id).extract(tmp_path / "to")
    restored = requests_of_restore(needed, point)
    assert restored / 3 < sum(store.reads.values()) <= restored


def test_the_list_of_packs_takes_21_bytes_a_pack() -> None:
    store = MemoryStore()
    for number in range(5000):
        store.objects[f"packs/{DB}/{number * 0x10001:032x}"] = b"12345"  # type: ignore[index]
        store._times[f"packs/{DB}/{number * 0x10001:032x}"] = later(0)  # type: ignore[index]
    tracemalloc.start()
    lengths = Lengths(store, DB)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(lengths) == 5000
    assert held < 5000 * 30 + 20_000
    assert all(lengths[(number * 0x10001).to_bytes(16, "big")] == 5 for number in range(0, 5000, 7))
    assert lengths.get(b"\xff" * 16) is None
    assert set(lengths) == {(number * 0x10001).to_bytes(16, "big") for number in range(5000)}


def test_a_restore_after_a_hundred_and_twenty_backups_reads_little_more_than_the_database(tmp_path: Path) -> None:
    """One percent of the 8 KiB pages changed in each, anywhere; none of it compresses. What is read between the frames
    that are wanted is the rest."""
    store, dice = CountingStore(), random.Random(120)
    vault, data = new_vault(store), bytearray(noise(192 * PAGE))
    pages = len(data) // 8192
    point = back_up(vault, {"base/1/1259": File(bytes(data), cutter=Cutter.FIXED_64K)})
    for number in range(120):
        for page in dice.sample(range(pages), pages // 100):
            data[page * 8192 + 100 : page * 8192 + 108] = dice.randbytes(8)
        table = File(bytes(data), cutter=Cutter.FIXED_64K)
        point = back_up(vault, {"base/1/1259": table}, now=later(number + 1))
    reader = open_vault(store, "local", keyring()).open(point.id)
    store.forget()
    reader.extract(tmp_path / "to")
    assert (tmp_path / "to" / "base" / "1" / "1259").read_bytes() == data
    assert store.read_bytes < 1.2 * len(data)
    assert sum(store.reads.values()) < 250, "of 192 frames in 121 packs"
