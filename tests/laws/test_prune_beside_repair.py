"""Laws of pruning a vault in which something is missing or being mended: what was lost may lie in packs that no list
names, so nothing there is dead; and once it is mended, pruning goes on."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from backstay.adapters.around import Called, through
from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import NotPruned
from backstay.facts import Point
from backstay.ports import Cutter, Key, Lock, Store
from backstay.vault import Repository, join, open_vault
from backstay.vault.checks import Asked, Examination
from backstay.vault.copying import copy_point
from backstay.vault.healing import Healing
from backstay.vault.index import newest, read_shard
from backstay.vault.ledger import Ledger
from backstay.vault.names import sealed
from backstay.vault.pruning import Pruned, Rules, prune
from backstay.vault.rebuilding import rebuild
from backstay.vault.replacing import finish, replace
from fix_vault import (
    DB,
    NOW,
    Crash,
    File,
    Mortal,
    Things,
    back_up,
    copy_of,
    expected,
    held,
    keyring,
    later,
    new_vault,
    noise,
)  # fmt: skip

PAGE = 65_536
CONF = File(b"a = 1\n")


def pages(*seeds: int) -> File:
    return File(b"".join(noise(PAGE, seed) for seed in seeds), 0o600, Cutter.FIXED_64K)


def opened(store: MemoryStore) -> Repository:
    return open_vault(store, "local", keyring())


def tidy(store: MemoryStore) -> Pruned:
    return prune(opened(store), DB, lambda: False, Rules(expire_after=timedelta(0)))


def mended(store: MemoryStore) -> None:
    with Ledger(None) as ledger:
        Healing(opened(store), [], ledger, NOW).run(Asked(0))


def rebuilt(store: MemoryStore) -> None:
    with Ledger(None) as ledger:
        vault = opened(store)
        looked = Examination(vault, ledger, NOW, Asked(0))
        assert list(looked.findings())
        assert list(rebuild(vault, looked.stock))


def moved() -> tuple[MemoryStore, Point, Things]:
    """A vault with one point, of which some lies where the index says, and nowhere else."""
    store = MemoryStore()
    vault = new_vault(store)
    first = back_up(vault, {"base/t": pages(1, 2, 3, 4, 5, 6), "conf": CONF})
    things: Things = {"base/t": pages(1, 12, 13, 14, 15, 16), "conf": CONF}
    point = back_up(vault, things, now=later(1))
    vault.end(first)
    assert tidy(store).moved
    return store, point, things


def without_index(store: MemoryStore) -> None:
    for key in [key for key in store.objects if key.startswith("index/")]:
        store.delete(key)


def with_a_damaged_index(store: MemoryStore) -> None:
    for key in [key for key in store.objects if key.startswith("index/") and key.endswith("/complete")]:
        store.objects[key] = store.objects[key][:-1] + bytes([store.objects[key][-1] ^ 1])


def under_other_names(store: MemoryStore) -> None:
    for n, key in enumerate([key for key in store.objects if key.startswith("packs/")]):
        store.put(Key(f"packs/{DB}/{n:032x}"), [store.objects[key]])
        store.delete(key)


@pytest.mark.parametrize("harm", [without_index, with_a_damaged_index, under_other_names])
@pytest.mark.parametrize("first", [rebuilt, tidy, None])
def test_what_lies_where_no_list_says_outlives_a_pruner_and_can_be_mended(
    harm: Callable[[MemoryStore], None], first: Callable[[MemoryStore], object] | None
) -> None:
    store, point, things = moved()
    harm(store)
    if first is rebuilt:
        rebuilt(store)
    if first is not None:
        with pytest.raises(NotPruned):
            tidy(store)
    mended(store)
    for _ in range(3):
        tidy(store)
        assert held(opened(store).open(point.id)) == expected(things)
    assert tidy(store).marked == 0


def test_what_nobody_has_any_more_keeps_nobody_from_pruning_once_its_points_are_ended() -> None:
    store, point, _ = moved()
    store.delete(next(key for key in sorted(store.objects) if key.startswith("packs/")))
    things: Things = {"base/t": pages(31), "conf": CONF}
    back_up(opened(store), things, now=later(2))
    with pytest.raises(NotPruned, match="missing"):
        tidy(store)
    opened(store).end(point)
    tidy(store)
    assert [held(opened(store).open(left.id)) for left in opened(store).points()] == [expected(things)]


def test_what_an_index_was_rebuilt_upon_outlives_the_point_that_it_was_stored_for() -> None:
    """Two points that share no pack have the same pages; those of the first are damaged, and read from the second's."""
    store = MemoryStore()
    vault, things = new_vault(store), {"base/t": pages(1, 2, 3)}
    first = back_up(vault, things)
    records = {key: store.objects[key] for key in store.objects if first.id.lower() in key}
    packs = [key for key in store.objects if key.startswith("packs/")]
    for key in records:
        store.delete(key)
    second = back_up(opened(store), things, now=later(1))
    for key, data in records.items():
        store.put(key, [data])
    for key in packs:
        data = bytearray(store.objects[key])
        data[2000] ^= 1
        store.objects[key] = bytes(data)
    with Ledger(None) as ledger:
        vault = opened(store)
        looked = Examination(vault, ledger, NOW, Asked(100))
        assert list(looked.findings())
        assert list(rebuild(vault, looked.stock))
    assert held(opened(store).open(first.id)) == expected(things)
    opened(store).end(second)
    for _ in range(3):
        tidy(store)
    assert held(opened(store).open(first.id)) == expected(things)


# ── records that are being replaced, and indexes that are being written ──────────────────────────


def _family() -> tuple[MemoryStore, MemoryStore, Point, Things]:
    store, beside, things = MemoryStore("local"), MemoryStore("off-site"), {"base/t": pages(1, 2)}
    vault = new_vault(store)
    point = back_up(vault, things)
    join(beside, vault, keys=keyring(), now=NOW)
    copy_point(vault, open_vault(beside, "off-site", keyring()), point)
    return store, beside, point, things


def replaced(store: Store, beside: MemoryStore, key: Key) -> None:
    vault, other = open_vault(store, "local", keyring()), open_vault(beside, "off-site", keyring())
    finish(vault)
    assert all(one.source for one in replace(vault, [other], [key]))


def test_a_record_whose_replacing_was_stopped_is_not_taken_for_a_dead_writer() -> None:
    clean, beside, point, things = _family()
    key = sealed(DB, point.id)
    clean.objects[key] = b"damaged"
    missing = 0
    for breath in range(1, 100):
        store = copy_of(clean)
        mortal = Mortal(store, breath)
        with suppress(Crash):
            replaced(mortal, beside, key)
        missing += key not in store.objects
        with suppress(NotPruned):
            tidy(store)
        replaced(store, beside, key)
        tidy(store)
        assert held(opened(store).open(point.id)) == expected(things), breath
        if not mortal.dead:
            assert missing
            return
    pytest.fail("it never came to an end")


def test_a_point_that_was_ended_is_not_put_back_by_a_note_that_is_locked() -> None:
    clean, beside, point, _ = _family()
    now = [NOW]
    store = MemoryBucket(lock=Lock(timedelta(days=7)), now=lambda: now[0])
    for key, data in clean.objects.items():
        store.put(key, [b"damaged" if key == sealed(DB, point.id) else data])
    now[0] += timedelta(days=60)
    replaced(store, beside, sealed(DB, point.id))
    vault = open_vault(store, "local", keyring())
    assert (vault.points(), len(vault.notes("repair/"))) == ([point], 1)
    now[0] += timedelta(days=60)
    vault.end(point)
    assert finish(open_vault(store, "local", keyring())) == []
    assert open_vault(store, "local", keyring()).points() == []


def test_an_index_that_is_being_written_is_not_swept() -> None:
    for at in range(1, 60):
        store = MemoryStore()
        point = back_up(new_vault(store), {"base/t": pages(1, 2)})
        calls = [0]

        def between(
            called: Called,
            method: Callable[..., Any],
            store: MemoryStore = store,
            calls: list[int] = calls,
            at: int = at,
        ) -> Any:
            calls[0] += 1
            if calls[0] == at:
                prune(opened(store), DB, lambda: False, Rules())
            return method(*called.args, **called.kwargs)

        vault = opened(store)
        with Ledger(None) as ledger:
            looked = Examination(vault, ledger, NOW, Asked(0))
            list(looked.findings())
            list(rebuild(open_vault(through(store, between), "local", keyring()), looked.stock))
        generation = newest(store, vault.opened, DB)
        assert generation is not None
        assert sum(1 for _ in read_shard(store, vault.opened, DB, generation, 0)) == generation.pieces
        assert opened(store).points() == [point]
        if calls[0] < at:
            return
    pytest.fail("it never came to an end")
