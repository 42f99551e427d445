"""Laws of mending a vault: what anybody still has comes back, nothing is made worse, and dying changes nothing."""

import itertools
import os
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError, Damaged, ObjectMissing, StoreUnreachable
from backstay.facts import Verdict
from backstay.ports import Key, Store
from backstay.values import VaultName
from backstay.vault import Repository, check, open_vault
from backstay.vault.checks import Asked, Examination, Weight
from backstay.vault.copying import copy_point
from backstay.vault.family import join
from backstay.vault.healing import Healing
from backstay.vault.ledger import Ledger
from backstay.verify import of_bytes
from fix_vault import (
    NOW,
    SMALL,
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
)

MORE: Things = {**SMALL, **{f"many/{n}": File(noise(300 + n, n)) for n in range(300)}, "new": File(noise(200_000))}


def family(*, copied: bool = True) -> tuple[MemoryStore, MemoryStore]:
    """A vault with two points, and another of its family that has copies of them."""
    store, beside = MemoryStore("local"), MemoryStore("off-site")
    vault = new_vault(store)
    back_up(vault, SMALL)
    back_up(vault, MORE, now=later(1))
    join(beside, vault, keys=keyring(), now=NOW)
    if copied:
        for point in vault.points():
            copy_point(vault, opened(beside), point)
    return store, beside


def opened(store: Store, name: str = "local") -> Repository:
    return open_vault(store, name, keyring())


def heal(store: Store, *others: Store) -> tuple[Healing, Examination]:
    with Ledger(None) as ledger:
        healing = Healing(opened(store), [opened(one, "off-site") for one in others], ledger, NOW)
        return healing, healing.run(Asked(100))


def gives_all(store: Store) -> bool:
    vault = opened(store)
    first, second = vault.points()[:2]
    return held(vault.open(first.id)) == expected(SMALL) and held(vault.open(second.id)) == expected(MORE)


def what_can_be_read(store: Store) -> dict[tuple[str, str], object]:
    """Point and path to what is read there; what cannot be read is missing."""
    found: dict[tuple[str, str], object] = {}
    vault = opened(store)
    for point in vault.survey()[0]:
        reader = vault.open(point.id)
        try:
            entries = list(reader.entries())
        except BackstayError:
            continue
        for entry in entries:
            try:
                found[point.id, entry.path] = b"".join(reader.read(entry.path)) if entry.size_bytes else None
            except BackstayError:
                continue
    return found


EVERY = os.environ.get("HYPOTHESIS_PROFILE") == "night"
Harm = Callable[[MemoryStore], object]


def packs(store: MemoryStore, prefix: str = "") -> list[Key]:
    return [key for key in sorted(store.objects) if key.startswith(prefix or ("packs/", "nodes/"))]


def flip(store: MemoryStore, key: Key, every: int = 997) -> None:
    data = bytearray(store.objects[key])
    data[::every] = bytes(byte ^ 0x55 for byte in data[::every])
    store.objects[key] = bytes(data)


def delete(prefix: str) -> Harm:
    return lambda store: [store.objects.pop(key) for key in packs(store, prefix)]


def flipped(prefix: str) -> Harm:
    return lambda store: [flip(store, key) for key in packs(store, prefix)]


def cut(store: MemoryStore) -> None:
    for key in packs(store):
        store.objects[key] = store.objects[key][: len(store.objects[key]) // 2]


def ends_lost(store: MemoryStore) -> None:
    for key in packs(store):
        store.objects[key] = store.objects[key][:-9]


def swapped(store: MemoryStore) -> None:
    for prefix in ("packs/", "nodes/"):
        keys = packs(store, prefix)
        for one, two in itertools.pairwise(keys):
            store.objects[one], store.objects[two] = store.objects[two], store.objects[one]


def scrambled(store: MemoryStore) -> None:
    for n, key in enumerate(packs(store)):
        folder = key.rpartition("/")[0]
        store.put(Key(f"{folder}/{n:032x}" if n % 2 else f"{folder}/lost-{n}"), [store.objects.pop(key)])


def everything(store: MemoryStore) -> None:
    swapped(store)
    for key in packs(store)[::2]:
        flip(store, key)
    delete("nodes/")(store)


HARM: dict[str, Harm] = {
    "packs are gone": delete("packs/"),
    "trees are gone": delete("nodes/"),
    "packs have flipped bits": flipped("packs/"),
    "trees have flipped bits": flipped("nodes/"),
    "everything is cut in half": cut,
    "all ends are lost": ends_lost,
    "packs are swapped": swapped,
    "names are scrambled": scrambled,
    "all of it": lambda store: (
        swapped(store),
        [flip(store, key) for key in packs(store)[::2]],
        delete("nodes/")(store),
    ),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_another_vault_has_comes_back(harm: Harm) -> None:
    store, beside = family()
    harm(store)
    healing, looked = heal(store, beside)
    assert all(point.is_whole for point in looked.points), healing.findings
    assert healing.healed.left == 0
    assert gives_all(store)
    again, _ = heal(store, beside)
    assert not again.healed.any(), "it was whole, and more was stored"


@pytest.mark.parametrize("harm", [ends_lost, swapped, scrambled], ids=lambda harm: harm.__name__)
def test_what_lies_under_another_name_comes_back_from_the_vault_itself(harm: Harm) -> None:
    store, _ = family(copied=False)
    harm(store)
    _, looked = heal(store)
    assert all(point.is_whole for point in looked.points)
    assert gives_all(store)


def test_a_newer_full_backup_heals_the_points_before_it() -> None:
    """What it stored anew lies in packs that no map of the old point names: the ends of all packs are searched."""
    store, _ = family(copied=False)
    for key in packs(store, "packs/"):
        flip(store, key)
    vault = opened(store)
    point = vault.points()[1]
    vault.keep_proof(of_bytes(point, VaultName("local"), (NOW, NOW), Verdict.FAILED, "damaged"))
    back_up(vault, MORE, now=later(2))
    heal(store)
    assert gives_all(store)


def test_independent_backups_of_one_family_heal_each_other() -> None:
    store, beside = family(copied=False)
    back_up(opened(beside), MORE, now=later(3))
    for key in packs(store, "packs/"):
        flip(store, key)
    heal(store, beside)
    assert gives_all(store)


def test_what_nobody_has_stays_lost_and_is_named() -> None:
    store, beside = family()
    for one in (store, beside):
        flip(one, max(packs(one, "packs/"), key=lambda key: len(store.objects[key])), every=60_000)
    healing, looked = heal(store, beside)
    assert healing.healed.left > 0
    assert not all(point.is_whole for point in looked.points)
    assert any(finding.path for finding in healing.findings if finding.weight is Weight.DAMAGED)


@settings(max_examples=5 if not EVERY else 2000)
@given(st.integers(0, 1 << 32))
def test_no_point_is_ever_made_worse(seed: int) -> None:
    """Whatever is broken in both vaults: after mending, everything that could be read reads the same."""
    rng = random.Random(seed)
    store, beside = family()
    for one in (store, beside):
        for key in packs(one):
            match rng.randrange(6):
                case 0:
                    del one.objects[key]
                case 1:
                    flip(one, key, every=rng.randrange(50, 50_000))
                case 2:
                    one.objects[key] = one.objects[key][: rng.randrange(len(one.objects[key]))]
                case _:
                    pass
    before, objects = what_can_be_read(store), dict(store.objects)
    healing, _ = heal(store, beside)
    after = what_can_be_read(store)
    assert before.items() <= after.items()
    assert objects.items() <= store.objects.items(), "something that was stored was changed"
    if healing.healed.left == 0:
        assert gives_all(store)


def harmed() -> tuple[MemoryStore, MemoryStore]:
    """One small point, of which half the packs are gone and the others have flipped bits; and a sound copy."""
    store, beside = MemoryStore("local"), MemoryStore("off-site")
    vault = new_vault(store)
    point = back_up(vault, SMALL)
    join(beside, vault, keys=keyring(), now=NOW)
    copy_point(vault, opened(beside), point)
    for n, key in enumerate(packs(store)):
        if n % 2:
            flip(store, key)
        else:
            del store.objects[key]
    return store, beside


def gives_small(store: Store) -> bool:
    vault = opened(store)
    return held(vault.open(vault.points()[0].id)) == expected(SMALL)


STEP = 1 if EVERY else 5
"""Every fifth call in the short run, every one at night."""


def test_dying_at_any_call_leaves_nothing_worse_and_the_next_one_goes_on() -> None:
    store, beside = harmed()
    for breaths in itertools.count(1, STEP):
        hurt = copy_of(store)
        try:
            heal(Mortal(hurt, breaths), beside)
        except Crash:
            assert store.objects.items() <= hurt.objects.items()
        else:
            assert gives_small(hurt)
            break
        if breaths % 4 == 1:
            heal(hurt, beside)
            assert gives_small(hurt)


def test_a_store_that_fails_at_any_call_stops_the_mending_and_harms_nothing() -> None:
    store, beside = harmed()
    for breaths in itertools.count(2, STEP):
        hurt, other = copy_of(store), copy_of(beside)
        away = Mortal(hurt if breaths % 2 else other, breaths, dies=StoreUnreachable("the store does not answer"))
        try:
            heal(*((away, other) if breaths % 2 else (hurt, away)))
        except StoreUnreachable:
            assert store.objects.items() <= hurt.objects.items()
        else:
            assert gives_small(hurt)
            break


def test_an_other_vault_that_lies_gives_nothing() -> None:
    """Its packs are under the names of others: every piece is hashed before it counts."""
    store, beside = family()
    for key in packs(store, "packs/"):
        flip(store, key)
    swapped(beside)
    for key in packs(beside):
        flip(beside, key, every=11)
    healing, _ = heal(store, beside)
    assert not healing.healed.any()
    for point in opened(store).points():
        with pytest.raises((Damaged, ObjectMissing)):
            held(opened(store).open(point.id))


@pytest.mark.parametrize(
    "harm", ["packs have flipped bits", "trees have flipped bits", "all ends are lost", "all of it"]
)
def test_a_healed_vault_is_the_base_of_the_next_backup_and_of_a_copy(harm: str) -> None:
    store, beside = family()
    HARM[harm](store)
    heal(store, beside)
    third = back_up(opened(store), {**MORE, "third": File(b"3")}, now=later(5))
    assert held(opened(store).open(third.id)) == expected({**MORE, "third": File(b"3")})
    assert [finding for finding in check(opened(store), read_data=True) if finding.weight is Weight.DAMAGED] == []
    third_vault = MemoryStore("third")
    join(third_vault, opened(store), keys=keyring(), now=NOW)
    for point in opened(store).points():
        copy_point(opened(store), opened(third_vault, "third"), point)
    assert gives_all(third_vault)
    assert list(check(opened(third_vault), read_data=True)) == []
