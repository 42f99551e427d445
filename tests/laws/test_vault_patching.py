"""Laws of files that are told by how they differ from the point before: whatever differs, the point holds what a whole
read would have given; chunks in which nothing changed are not read, not from the source and not from the vault."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged
from backstay.ports import Cutter, Entry, Key, Kind, Replaced
from backstay.vault import Repository, check
from backstay.vault.walking import walked
from fix_vault import DB, MODIFIED, PLAN, File, back_up, later, new_vault, noise, sealing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 8192


def block(seed: int) -> bytes:
    return noise(BLOCK, seed) if seed else bytes(BLOCK)


def whole(seeds: Sequence[int]) -> bytes:
    return b"".join(map(block, seeds))


def cutter(size: int) -> Cutter:
    return Cutter.WHOLE if size <= 65_536 else Cutter.FIXED_64K


def expected(old: bytes, changed: dict[int, int], kept: int, length: int) -> bytes:
    """By the rules of `reconstruct_from_incremental_file`, block by block."""
    found = [
        old[n * BLOCK : (n + 1) * BLOCK] if n < min(kept, len(old) // BLOCK) else bytes(BLOCK) for n in range(length)
    ]
    for number, seed in changed.items():
        found[number] = block(seed)
    return b"".join(found)


def told(path: str, changed: dict[int, int], kept: int, length: int) -> Entry:
    numbers, size = sorted(changed), length * BLOCK
    data = whole([changed[number] for number in numbers])
    return Entry(
        path, Kind.FILE, 0o600, MODIFIED, size, lambda: io.BytesIO(data), cutter(size),
        replaced=Replaced(BLOCK, numbers, kept * BLOCK),
    )  # fmt: skip


def patch(vault: Repository, *entries: Entry, minutes: int = 1) -> bytes:
    with vault.begin(DB, plan=PLAN, now=later(minutes)) as writer:
        assert writer.before is not None
        writer.add(entries)
        point = writer.seal(sealing(later(minutes)))
    return b"".join(vault.open(point.id).read(entries[0].path))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[tuple[dict[int, int], int, int]]]:
    """An old file, and increments one after another: changed blocks, how many of the old count, the new length."""
    old = draw(st.lists(st.integers(0, 5), max_size=40))
    rounds: list[tuple[dict[int, int], int, int]] = []
    for _ in range(draw(st.integers(1, 3))):
        changed = draw(st.dictionaries(st.integers(0, 45), st.integers(0, 9), max_size=12))
        kept = draw(st.integers(0, 45))
        rounds.append((changed, kept, max(kept, max(changed, default=-1) + 1)))
    return old, rounds


@settings(max_examples=60, deadline=None)
@given(histories())
def test_what_differs_makes_the_file_that_a_whole_read_gives(
    history: tuple[list[int], list[tuple[dict[int, int], int, int]]],
) -> None:
    seeds, rounds = history
    store = MemoryStore()
    vault, now = new_vault(store), whole(seeds)
    back_up(vault, {"base/1": File(now, 0o600, cutter(len(now)))})
    for number, (changed, kept, length) in enumerate(rounds, 1):
        now = expected(now, changed, kept, length)
        assert patch(vault, told("base/1", changed, kept, length), minutes=number) == now
    assert list(check(vault, read_data=True)) == []
    for point in vault.points(DB):
        sealed = vault.sealed(point.id)
        assert walked(vault.shelf(DB), sealed.root).all().keys() <= vault.packs_of(point.id).keys()


class Counting(MemoryStore):
    """Counts the bytes of data packs that are read."""

    read_bytes = 0

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start, length)
        if key.startswith("packs/"):
            self.read_bytes += len(data)
        return data


def test_chunks_without_a_change_are_not_read_and_not_stored() -> None:
    store = Counting()
    vault, size = new_vault(store), 1600
    old = whole([1 + n % 7 for n in range(size)])
    back_up(vault, {"base/1": File(old, 0o600, Cutter.FIXED_64K), "base/2": File(old[:BLOCK])})
    store.read_bytes = 0
    changed = {5: 8, 801: 9}
    assert patch_only(vault, told("base/1", changed, size, size), told("base/2", {}, 1, 1)) < 3 * 65_536
    assert store.read_bytes < 4 * 65_536, "two chunks, of 200"
    newest = vault.points(DB)[-1]
    assert b"".join(vault.open(newest.id).read("base/1")) == expected(old, changed, size, size)


def patch_only(vault: Repository, *entries: Entry) -> int:
    with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
        writer.add(entries)
        return writer.seal(sealing(later(1))).stored_bytes


def test_a_file_that_was_not_there_cannot_differ() -> None:
    vault = new_vault(MemoryStore())
    back_up(vault, {"base/1": File(whole([1, 2]))})
    with pytest.raises(Damaged, match="no such file"):
        patch(vault, told("base/2", {0: 3}, 2, 2))


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_source_that_gives_other_blocks_than_it_told_makes_no_point(sent: int) -> None:
    vault = new_vault(MemoryStore())
    back_up(vault, {"base/1": File(whole([1] * 20), 0o600, Cutter.FIXED_64K)})
    entry = replace(
        told("base/1", {3: 4, 18: 5}, 20, 20), open=lambda: io.BytesIO(whole([9] * sent)[: sent * BLOCK - 1])
    )
    if sent == 3:
        entry = replace(entry, size_bytes=10 * BLOCK)
    with pytest.raises(Damaged, match="contradicts"):
        patch(vault, entry)
    assert len(vault.points(DB)) == 1


class Pushed(io.RawIOBase):
    """A part of one long stream: what comes after it is not there before it was read to its end."""

    def __init__(self, stream: io.BytesIO, size: int) -> None:
        self._stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")[: min(self.left, 100_000)]
        got = self._stream.readinto(view)
        self.left -= got
        return got


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 65_536, 70_000, 1 << 20, (1 << 20) + 1, 3 << 20]), max_size=8))
def test_a_source_that_pushes_is_read_in_turn(sizes: list[int]) -> None:
    """Lanes help each other with a long file, and nobody asks for the one behind it too early."""
    vault, stream = new_vault(MemoryStore()), io.BytesIO(b"".join(noise(size, at) for at, size in enumerate(sizes)))

    def entries() -> Iterator[Entry]:
        for number, size in enumerate(sizes):
            held = size <= 1000
            body = io.BytesIO(stream.read(size)) if held else Pushed(stream, size)
            opened = cast(BinaryIO, body)
            yield Entry(
                f"f{number}", Kind.FILE, 0o600, MODIFIED, size, lambda opened=opened: opened, cutter(size),
                in_turn=not held,
            )  # fmt: skip
            assert held or cast(Pushed, body).left == 0, "it was read to its end"

    with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
        writer.add(entries())
        point = writer.seal(sealing(later(1)))
    for number, size in enumerate(sizes):
        assert b"".join(vault.open(point.id).read(f"f{number}")) == noise(size, number)
