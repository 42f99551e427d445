"""Laws of the write-ahead log in a vault: however it was cut, it comes back as it was; what is damaged, foreign or
nobody's is never given; and a host that cannot read it back keeps it all the same."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, ObjectMissing, StoreUnreachable, WalConflict, WrongKey
from backstay.lsn import Lsn
from backstay.ports import Key, Listed
from backstay.vault import Keyring, Repository, names, open_vault
from backstay.vault.admission import Public, add, gather, sealed_by
from backstay.vault.roles import Role
from backstay.vault.signers import retirement
from backstay.vault.stretches import seal_stretch
from fix_vault import NOW, keyring, new_vault
from fix_wal import SYSTEM, log_of, piece

T = TypeVar("T")
OWNER, HOST, STRANGER = keyring(0), keyring(1), keyring(2)
ROOT = frozenset({OWNER.writer or b""})
START, SIZE = 0x0FFF_F000, 5 << 20
"""Across a border of listing as well."""


@cache
def the_log() -> bytes:
    return log_of(SYSTEM, 1, START, SIZE)


def read(vault: Repository, start: int = START, end: int = START + SIZE) -> bytes:
    return b"".join(vault.wal.read(SYSTEM, 1, Lsn(start), Lsn(end)))


def with_a_host() -> tuple[MemoryStore, Repository]:
    """A vault, and the same as a host has it that may write and not read back."""
    store = MemoryStore()
    family = gather([new_vault(store, OWNER)], NOW)
    add(family, Public("db1", HOST.recipient, HOST.writer), Role.WRITER)
    return store, as_(store, HOST)


def as_(store: MemoryStore, keys: Keyring) -> Repository:
    return open_vault(store, "local", replace(keys, trusted=ROOT))


cuts = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)), max_size=6)


@given(cuts, st.integers(0, SIZE - 1), st.integers(1, SIZE))
@settings(max_examples=40)
def test_log_that_was_cut_in_any_way_comes_back_or_its_first_gap_is_named(
    kept: list[tuple[int, int]], start: int, size: int
) -> None:
    vault, log, there = new_vault(MemoryStore()), the_log(), bytearray(SIZE)
    for at, length in kept:
        data = log[at : at + length]
        vault.wal.keep(replace(piece(START, 1), start=Lsn(START + at), data=data))
        there[at : at + len(data)] = b"\1" * len(data)
    end = min(start + size, SIZE)
    gap = there.find(0, start, end)
    if gap < 0:
        assert read(vault, START + start, START + end) == log[start:end]
        return
    with pytest.raises(ObjectMissing) as missing:
        read(vault, START + start, START + end)
    where = START + gap
    assert f"{where >> 32:X}/{where & 0xFFFFFFFF:X} on" in missing.value.message


def test_a_flipped_bit_anywhere_is_found_and_another_stretch_stands_in() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    vault.wal.keep(piece(0x100_0000, 3_000))
    (key,) = (key for key in store.objects if names.is_stretch(key))
    sound = store.objects[key]
    for at in range(0, len(sound), 41):
        store.objects[key] = sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :]
        with pytest.raises(Damaged):
            read(vault, 0x100_0000, 0x100_0000 + 3_000)
    for length in (0, 10, 200, len(sound) - 1):
        store.objects[key] = sound[:length]
        with pytest.raises(Damaged):
            read(vault, 0x100_0000, 0x100_0000 + 3_000)
        with pytest.raises(Damaged):  # what a server is about to forget has to be sure
            vault.wal.keep(piece(0x100_0000, 3_000))
    vault.wal.keep(piece(0x100_0000, 2_999))
    vault.wal.keep(piece(0x100_0064, 4_000))
    assert read(vault, 0x100_0000, 0x100_0000 + 4_000) == piece(0x100_0000, 4_000).data


def test_a_stretch_opens_under_no_other_name() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    vault.wal.keep(piece(0x100_0000, 4_096))
    (key,) = (key for key in store.objects if names.is_stretch(key))
    for other in (
        names.stretch(SYSTEM, 2, 0x100_0000, 0x100_1000),
        names.stretch(SYSTEM, 1, 0x110_0000, 0x110_1000),
        names.stretch(SYSTEM + 1, 1, 0x100_0000, 0x100_1000),
        names.stretch(SYSTEM, 1, 0x100_0000, 0x100_2000),
    ):
        store.put(other, [store.objects[key]])
        system, timeline, start, end = names.read_stretch(other)
        store.objects.pop(key, None) if other.endswith("2000") else None
        with pytest.raises(Damaged):
            list(vault.wal.read(system, timeline, Lsn(start), Lsn(end)))


def test_a_host_that_cannot_read_back_keeps_log_and_sees_a_conflict() -> None:
    store, host = with_a_host()
    host.wal.keep(piece(0x100_0000, 3 << 20))
    (stretch,) = host.wal.stretches(SYSTEM)
    assert host.wal.label(stretch).major == 17
    assert host.wal.keep(piece(0x100_0000, 3 << 20)).end == stretch.end
    with pytest.raises(WalConflict):
        host.wal.keep(piece(0x100_0000, 2 << 20, seed=1))
    with pytest.raises(WrongKey, match="cannot read data back"):
        read(host, 0x100_0000, 0x100_0001)
    assert read(as_(store, OWNER), 0x100_0000, 0x130_0000) == piece(0x100_0000, 3 << 20).data


def test_what_a_stranger_put_there_is_nobody_s_log() -> None:
    store, host = with_a_host()
    opened = host.opened
    forged = piece(0x100_0000, 4_096)
    key = names.stretch(SYSTEM, 1, 0x100_0000, 0x100_1000)
    store.put(key, [seal_stretch(opened, STRANGER, forged, [opened.chunk_id(forged.data)])])
    with pytest.raises(Damaged, match="nobody who is enrolled"):
        read(as_(store, OWNER), 0x100_0000, 0x100_1000)
    for name in (
        f"wal/{SYSTEM:016x}/00000001/{'f' * 16}-{'0' * 16}",
        "wal/x",
        f"wal/{SYSTEM:016x}/00000001/history.bak",
    ):
        store.put(Key(name), [b"x"])
    assert [one.start for one in host.wal.stretches(SYSTEM)] == [0x100_0000]
    assert host.wal.systems() == [SYSTEM]
    assert host.wal.histories(SYSTEM) == {}


def test_what_a_retired_host_had_kept_stays_believed_and_nothing_else_of_it_is() -> None:
    store, host = with_a_host()
    host.wal.keep(piece(0x100_0000, 4_096))
    host.wal.keep_history(SYSTEM, 2, b"1\t0/1001000\tx\n")
    owner = as_(store, OWNER)
    believed = list(sealed_by(owner, HOST.writer or b""))
    assert len(believed) == 2
    for key, data in retirement(HOST.writer or b"", believed, OWNER, family=owner.opened.family, now=NOW):
        store.put_if_absent(key, data)
    thief = piece(0x100_1000, 4_096)
    store.put(
        names.stretch(SYSTEM, 1, 0x100_1000, 0x100_2000),
        [seal_stretch(host.opened, HOST, thief, [host.opened.chunk_id(thief.data)])],
    )
    owner = as_(store, OWNER)
    assert read(owner, 0x100_0000, 0x100_1000) == piece(0x100_0000, 4_096).data
    assert owner.wal.histories(SYSTEM) == {2: b"1\t0/1001000\tx\n"}
    with pytest.raises(Damaged, match="retired, and appeared later"):
        read(owner, 0x100_1000, 0x100_2000)
    with pytest.raises(WrongKey, match="retired"):
        as_(store, HOST).wal.keep(piece(0x100_2000, 10))


class _Failing(MemoryStore):
    """Its n-th call fails: before it did anything, or after it did all of it and the answer was lost."""

    def __init__(self, call: int, after: bool) -> None:
        super().__init__()
        self._left, self._after, self.armed = call, after, False

    def _call(self, work: Callable[[], T]) -> T:
        if not self.armed:
            return work()  # also what the store asks of itself
        self._left -= 1
        self.armed = False
        try:
            found = work() if self._left or self._after else None
        finally:
            self.armed = True
        if not self._left or found is None:
            raise StoreUnreachable("no answer")
        return found

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        return self._call(lambda: super(_Failing, self).put_if_absent(key, data))

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return self._call(lambda: super(_Failing, self).get(key, start, length))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._call(lambda: super(_Failing, self).list(prefix))

    def now(self) -> datetime:
        return self._call(lambda: super(_Failing, self).now())


@pytest.mark.parametrize("call", range(1, 6))
def test_whatever_fails_while_log_is_kept_the_same_again_makes_it_whole(call: int) -> None:
    """A store call that fails before it is done, and one that fails after it was."""
    for after in (False, True):
        store = _Failing(call, after)
        vault = new_vault(store)
        store.armed = True
        with suppress(StoreUnreachable):
            vault.wal.keep(piece(0x100_0000, 2 << 20))
        store.armed = False
        vault.wal.keep(piece(0x100_0000, 2 << 20))
        assert read(vault, 0x100_0000, 0x120_0000) == piece(0x100_0000, 2 << 20).data
        assert len(vault.wal.stretches(SYSTEM)) == 1
