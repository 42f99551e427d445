"""Laws of pruning a vault in which something is missing or being mended: what was lost may lie in packs that no list
names, so nothing there is dead; and once it is mended, pruning goes on."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import NotPruned
from backstay.facts import Point
from backstay.ports import Cutter, Key
from backstay.vault import Repository, open_vault
from backstay.vault.checks import Asked, Examination
from backstay.vault.healing import Healing
from backstay.vault.ledger import Ledger
from backstay.vault.pruning import Pruned, Rules, prune
from backstay.vault.rebuilding import rebuild
from fix_vault import DB, NOW, File, Things, back_up, expected, held, keyring, later, new_vault, noise

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
