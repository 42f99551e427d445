"""Laws: who may do what is changed in all vaults together. (Dying anywhere: `tests/real/test_keys.py`.)"""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, KeysUnsettled, UnknownName, WrongKey, WrongShares
from backstay.ports import Key, Store
from backstay.vault import Keyring, Repository, admission, check, create, join, names, open_vault, shares
from backstay.vault.admission import Public
from backstay.vault.keyring import fresh
from backstay.vault.opening import ROOT_NAME
from backstay.vault.register import differences, holders, read_register
from backstay.vault.roles import Role
from fix_vault import NOW, SMALL, File, back_up, copy_of, expected, held, keyring, later

OWNER, HOST, ANNA, SECOND = keyring(0), keyring(1), keyring(2), keyring(3)
ROOT = frozenset({OWNER.writer or b""})


def public(keys: Keyring, name: str) -> Public:
    return Public(name, keys.recipient, keys.writer)


def two_vaults() -> list[MemoryStore]:
    stores = [MemoryStore(), MemoryStore()]
    create(stores[0], plan_name="p", keys=OWNER, now=NOW)
    join(stores[1], open_vault(stores[0], "local", OWNER), keys=OWNER, now=NOW)
    return stores


def opened(store: Store, keys: Keyring = OWNER, name: str = "local") -> Repository:
    return open_vault(store, name, replace(keys, trusted=ROOT))


def family(stores: list[MemoryStore]) -> admission.Family:
    return admission.gather([opened(store, name=f"v{n}") for n, store in enumerate(stores)], NOW)


def who(stores: list[MemoryStore]) -> set[tuple[str, str, bool, bool, bool]]:
    """What every vault says; fails when they differ."""
    registers = [read_register(store, opened(store).opened.family, opened(store).opened.root) for store in stores]
    assert differences((str(n), register) for n, register in enumerate(registers)) == []
    seen = [
        {
            (one.short, one.role.value if one.role else "reader", one.reads, one.writes, one.retired)
            for one in holders(r)
        }
        for r in registers
    ]
    assert all(one == seen[0] for one in seen)
    return seen[0]


OWNS = (ROOT_NAME, "owner", True, True, False)


# ── in and out ───────────────────────────────────────────────────────────────────────────────────


def test_a_writer_makes_points_in_every_vault_and_reads_none_back() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    assert who(stores) == {OWNS, ("db1", "writer", False, True, False)}
    for store in stores:
        host = opened(store, HOST)
        first = back_up(host, SMALL)
        again = back_up(host, {**SMALL, "new": File(b"new")}, now=later(1))
        assert again.stored_bytes < first.stored_bytes
        assert [epoch.private for epoch in host.opened.epochs.values()] == [None]
        with pytest.raises(WrongKey, match="cannot read data back"):
            held(host.open(first.id))
        assert held(opened(store).open(again.id)) == expected({**SMALL, "new": File(b"new")})


def test_who_is_added_later_reads_what_was_before_and_after_a_new_epoch() -> None:
    stores = two_vaults()
    first = back_up(opened(stores[0]), SMALL)
    admission.turn(family(stores))
    second = back_up(opened(stores[0]), SMALL, now=later(1))
    admission.add(family(stores), Public("anna", ANNA.recipient, None), None)
    anna = opened(stores[0], ANNA)
    assert held(anna.open(first.id)) == held(anna.open(second.id)) == expected(SMALL)
    with pytest.raises(WrongKey, match="not enrolled"):
        back_up(anna, SMALL, now=later(2))


def test_who_is_removed_reads_what_was_and_nothing_that_comes() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(ANNA, "anna"), Role.PROVER)
    first = back_up(opened(stores[0]), SMALL)
    there = family(stores)
    epoch, _ = admission.remove(there, admission.find(there, "anna"))
    assert epoch.number == 2
    second = back_up(opened(stores[0]), SMALL, now=later(1))
    anna = opened(stores[0], ANNA)
    assert held(anna.open(first.id)) == expected(SMALL)
    with pytest.raises(WrongKey):
        anna.open(second.id)
    assert who(stores) == {OWNS, ("anna", "prover", False, False, True)}
    with pytest.raises(UnknownName, match="'anna'"):
        admission.find(family(stores), "anna")
    with pytest.raises(WrongKey, match="was retired, and stays so"):
        admission.add(family(stores), public(ANNA, "anna"), Role.PROVER)


def test_what_a_removed_writer_sealed_is_believed_in_every_vault_until_the_moment_that_is_named() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    host = opened(stores[0], HOST)
    first, second = back_up(host, SMALL), back_up(host, SMALL, now=later(1))
    (key,) = [listed.key for listed in stores[0].list("points/") if listed.key.endswith(second.id.lower())]
    until = max(listed.modified for listed in stores[0].list() if listed.key < key or listed.key > key)
    stores[0]._times[key] = until + timedelta(hours=1)  # pyright: ignore[reportPrivateUsage]
    there = family(stores)
    _, believed = admission.remove(there, admission.find(there, "db1"), until=until)
    assert believed > 0
    points, damaged = opened(stores[0]).survey()
    assert [point.id for point in points] == [first.id]
    assert len(damaged) == 1


def test_the_root_is_never_removed_and_nobody_shuts_himself_out() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(SECOND, "second"), Role.OWNER)
    there = family(stores)
    with pytest.raises(WrongKey, match="the vault is known by it"):
        admission.remove(there, admission.find(there, ROOT_NAME))
    second = admission.gather([opened(store, SECOND) for store in stores], NOW)
    admission.add(second, public(HOST, "db1"), Role.WRITER)
    with pytest.raises(WrongKey, match="only the key that made the vault"):
        admission.remove(second, admission.find(second, "second"))
    for role in (Role.WRITER, Role.PROVER, Role.RECOVERER):
        with pytest.raises(WrongKey, match="is enrolled as an owner"):
            admission.add(there, public(SECOND, "second"), role)


@pytest.mark.parametrize("keys", [HOST, replace(OWNER, seed=None)])
def test_only_an_owner_changes_anything(keys: Keyring) -> None:
    stores = two_vaults()
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    with pytest.raises(WrongKey, match="may not change who may do what"):
        admission.gather([opened(store, keys) for store in stores], NOW)


def test_a_name_stands_for_one_key() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    for name in ("db1", ROOT_NAME):
        with pytest.raises(WrongKey):
            admission.add(family(stores), public(ANNA, name), Role.PROVER)
    before = copy_of(stores[0]).objects
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    assert stores[0].objects == before, "doing it again does nothing"


# ── half done ────────────────────────────────────────────────────────────────────────────────────


def test_a_vault_in_which_a_name_is_taken_is_left_as_it_was() -> None:
    stores = two_vaults()
    register = read_register(stores[0], opened(stores[0]).opened.family, opened(stores[0]).opened.root)
    epoch = register.current
    from backstay.vault.keys import fingerprint

    taken = names.wrap(*epoch, "reader", fingerprint((ANNA.recipient or "").encode()))
    stores[1].put_if_absent(taken, b"a stranger's")
    with pytest.raises(KeysUnsettled, match="did not take a statement"):
        admission.add(family(stores), Public("anna", ANNA.recipient, None), None)
    stores[1].delete(taken)
    admission.settle(family(stores))
    admission.add(family(stores), Public("anna", ANNA.recipient, None), None)
    assert ("anna", "reader", True, False, False) in who(stores)
    assert list(check(opened(stores[1]))) == []


def test_an_epoch_that_was_begun_and_never_used_is_said() -> None:
    stores = two_vaults()
    admission.turn(family(stores))
    for store in stores:
        for listed in list(store.list("keys/000002")):
            if listed.key.endswith("/used"):
                store.delete(Key(listed.key))
    register = read_register(stores[0], opened(stores[0]).opened.family, opened(stores[0]).opened.root)
    assert [number for number, _ in register.begun] == [2]
    assert register.current[0] == 1
    assert admission.turn(family(stores)).number == 3


# ── shares ───────────────────────────────────────────────────────────────────────────────────────


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(2, n))),
    st.data(),
)
@settings(max_examples=15, deadline=None)
def test_any_few_of_the_sheets_give_the_key_and_fewer_do_not(
    secret: bytes, size: tuple[int, int], data: st.DataObject
) -> None:
    number, needed = size
    words = shares.split(secret, number, needed)
    assert len(words) == number
    assert all(len(sheet.split()) == shares.WORDS for sheet in words)
    chosen = data.draw(st.permutations(words))
    assert shares.join(chosen[:needed]) == secret
    if needed > 2:
        with pytest.raises(WrongShares, match="too few"):
            shares.join(chosen[: needed - 1])
    with pytest.raises(WrongShares, match="given twice"):
        shares.join([chosen[0]] * needed)


def test_shares_of_two_keys_and_misread_words_are_told_apart_and_never_quoted() -> None:
    one, other = (shares.split(bytes([n]) * 32, 3, 2) for n in (1, 2))
    with pytest.raises(WrongShares, match="share 2 belongs to another key than share 1"):
        shares.join([one[0], other[1]])
    words = one[0].split()
    with pytest.raises(WrongShares, match="share 1 has words that are in no share: word 4") as caught:
        shares.join([" ".join([*words[:3], "xyzzy", *words[4:]]), one[1]])
    assert "xyzzy" not in str(caught.value)
    swapped = [*words[:7], words[8], words[7], *words[9:]]
    for wrong in (words[:-1], [*words, words[0]], swapped):
        with pytest.raises(WrongShares, match="share 1 is not what was written") as caught:
            shares.join([" ".join(wrong), one[1]])
        assert words[0] not in str(caught.value).split()


@pytest.mark.parametrize(("number", "needed"), [(1, 1), (3, 1), (2, 3), (17, 2), (0, 0)])
def test_numbers_that_make_no_sense_are_refused(number: int, needed: int) -> None:
    with pytest.raises(WrongShares, match="no way to share a key"):
        shares.split(bytes(32), number, needed)


def test_a_key_from_a_secret_is_always_the_same_and_no_other() -> None:
    one = Keyring.of(bytes(32))
    assert one == Keyring.of(bytes(32))
    assert one.recipient is not None
    assert one.recipient.startswith("age1")
    assert Keyring.of(b"\1" + bytes(31)).recipient != one.recipient
    assert one.seed != fresh().seed


def test_a_removed_list_is_said_where_it_matters() -> None:
    stores = two_vaults()
    admission.add(family(stores), public(HOST, "db1"), Role.WRITER)
    back_up(opened(stores[0], HOST), SMALL)
    there = family(stores)
    admission.remove(there, admission.find(there, "db1"))
    for listed in list(stores[0].list("retired/")):
        if names.is_retired_list(listed.key):
            stores[0].delete(listed.key)
    with pytest.raises(Damaged, match="the list of what he had sealed cannot be read") as caught:
        opened(stores[0]).points()
    assert "another vault" in caught.value.hint
    admission.settle(family(stores))
    assert len(opened(stores[0]).points()) == 1, "the other vault had it"
