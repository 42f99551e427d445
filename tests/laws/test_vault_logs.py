"""Laws of the log beside everything else in a vault: a look finds every flipped bit, a copy is the same, what was
damaged comes back from another vault, and what a kept point needs never goes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import WalConflict
from backstay.lsn import Lsn
from backstay.ports import Key, Listed
from backstay.reach import Base, Stretch
from backstay.retain import log_let_go
from backstay.values import PointId
from backstay.vault import Repository, check, join, names, open_vault
from backstay.vault.checks import Weight
from backstay.vault.logs import Brought, LetGo, copy_log, let_go
from backstay.vault.replacing import replace as replace_damaged
from fix_vault import DB, NOW, keyring, new_vault
from fix_wal import SYSTEM, piece, read

HISTORY = b"1\t0/1200000\tno recovery target specified\n"


def with_log() -> Repository:
    vault = new_vault(MemoryStore())
    vault.wal.keep_history(SYSTEM, 2, HISTORY)
    vault.wal.keep(piece(0x100_0000, 0x10_0000))
    vault.wal.keep(piece(0x110_0000, 0x10_0000))
    vault.wal.keep(piece(0x120_0000, 4_000, timeline=2))
    return vault


def beside(vault: Repository, store: MemoryStore | None = None) -> Repository:
    store = store if store is not None else MemoryStore()
    join(store, vault, keys=keyring(), now=NOW)
    return open_vault(store, "other", keyring())


def stretches(vault: Repository) -> list[Stretch]:
    return vault.wal.stretches(SYSTEM)


def objects(vault: Repository) -> dict[Key, bytes]:
    assert isinstance(vault.store, MemoryStore)
    return vault.store.objects


def places(vault: Repository) -> list[tuple[int, Lsn, Lsn]]:
    return [(one.timeline, one.start, one.end) for one in stretches(vault)]


def test_a_copy_has_the_same_bytes_and_is_made_once() -> None:
    source = with_log()
    target = beside(source)
    first = copy_log(source, target, stretches(source), [SYSTEM])
    assert first.objects == 3
    assert first.moved_bytes == sum(one.size_bytes for one in stretches(source))
    assert copy_log(source, target, stretches(source), [SYSTEM]) == Brought()
    below = [key for key in objects(source) if key.startswith(names.WAL)]
    assert all(objects(target)[key] == objects(source)[key] for key in below if names.is_stretch(key))
    assert target.wal.histories(SYSTEM) == {2: HISTORY}
    assert read(target, 0x100_0000, 0x120_0000) == read(source, 0x100_0000, 0x120_0000)
    assert list(check(target, read_data=True)) == []


class _Late(MemoryStore):
    """Its listing does not show yet what somebody has just put there."""

    late = False

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return iter(()) if self.late else super().list(prefix)


@pytest.mark.parametrize("seed", [0, 1])
def test_somebody_who_was_faster_had_the_same_log_or_it_is_said(seed: int) -> None:
    source, store = with_log(), _Late()
    target = beside(source, store)
    target.wal.keep(piece(0x100_0000, 0x10_0000, seed=seed))
    store.late = True
    if seed:
        with pytest.raises(WalConflict, match="other has other log than local"):
            copy_log(source, target, stretches(source), [SYSTEM])
    else:
        assert copy_log(source, target, stretches(source), [SYSTEM]).objects == 2


@pytest.mark.parametrize("where", ["stretch", "history"])
def test_every_flipped_bit_of_the_log_is_found_by_a_look_and_replaced(where: str) -> None:
    vault = with_log()
    other = beside(vault)
    copy_log(vault, other, stretches(vault), [SYSTEM])
    key = names.history(SYSTEM, 2) if where == "history" else names.stretch(SYSTEM, 2, 0x120_0000, 0x120_0000 + 4_000)
    sound = objects(vault)[key]
    for at in range(0, len(sound), 37):
        objects(vault)[key] = sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :]
        found = [one for one in check(vault, read_data=True) if one.weight is Weight.DAMAGED]
        assert [one.key for one in found] == [key], at
        assert [one.source for one in replace_damaged(vault, [other], [Key(found[0].key)])] == ["other"]
        if where == "stretch":
            assert objects(vault)[key] == sound
    assert list(check(vault, read_data=True)) == []


def test_a_look_without_reading_finds_what_is_cut_off_and_names_strangers() -> None:
    vault = with_log()
    key = names.stretch(SYSTEM, 2, 0x120_0000, 0x120_0000 + 4_000)
    objects(vault)[key] = objects(vault)[key][:-1]
    vault.store.put(Key("wal/x"), [b"x"])
    found = {one.key: one.weight for one in check(vault)}
    assert found == {key: Weight.DAMAGED, "wal/x": Weight.NOTE}


def test_what_is_damaged_is_not_copied() -> None:
    source = with_log()
    target = beside(source)
    key = names.stretch(SYSTEM, 1, 0x110_0000, 0x120_0000)
    objects(source)[key] = objects(source)[key][:-1] + b"\0"
    assert copy_log(source, target, stretches(source), [SYSTEM]).objects == 2
    assert places(target) == [one for one in places(source) if one[1] != 0x110_0000]


# ── letting go ───────────────────────────────────────────────────────────────────────────────────


def base(start: int, system: int = SYSTEM, timeline: int = 1) -> Base:
    return Base(PointId(f"p{start}"), DB, system, timeline, Lsn(start), Lsn(start + 10), 1 << 20, NOW)


def stretch(start: int, size: int, timeline: int = 1, system: int = SYSTEM) -> Stretch:
    return Stretch(system, timeline, Lsn(start), Lsn(start + size), NOW + timedelta(seconds=start))


kept = st.lists(st.builds(base, st.integers(0, 100), st.sampled_from([SYSTEM, 7])), max_size=4)
there = st.lists(
    st.builds(stretch, st.integers(0, 100), st.integers(1, 30), st.integers(1, 3), st.sampled_from([SYSTEM, 7])),
    max_size=8,
)


@given(there, kept)
def test_no_byte_that_a_kept_point_could_be_replayed_with_goes_and_all_other_log_does(
    log: list[Stretch], bases: list[Base]
) -> None:
    gone = log_let_go(log, bases)
    for one in log:
        own = [base for base in bases if base.system == one.system]
        needed = not own or any(one.end > base.start for base in own)
        assert (one in gone) is not needed


def test_what_is_let_go_is_deleted_and_nothing_else() -> None:
    vault = with_log()
    gone = log_let_go(stretches(vault), [base(0x110_0000)])
    freed = sum(one.size_bytes for one in gone)
    assert let_go(vault, gone) == LetGo(1, freed, 0)
    assert places(vault) == [(1, 0x110_0000, 0x120_0000), (2, 0x120_0000, 0x120_0000 + 4_000)]
    assert vault.wal.histories(SYSTEM) == {2: HISTORY}
