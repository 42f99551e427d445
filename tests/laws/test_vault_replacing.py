"""Laws of replacing what is small and damaged: boxes, enrolments, wrapped keys and the header. Each comes back from
another vault of the family; a process that dies in between leaves what the next one finishes."""

import itertools
import os
from collections.abc import Callable

import pytest

from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import AccessDenied, BackstayError, Damaged, VaultMissing, VaultNewer
from backstay.facts import Hold, Verdict
from backstay.ports import Key, Lock, Store
from backstay.values import VaultName, span
from backstay.vault import Keyring, Repository, check, open_vault
from backstay.vault.codec import pack_json
from backstay.vault.copying import copy_beside, copy_point
from backstay.vault.family import join
from backstay.vault.foundation import mend_foundation
from backstay.vault.opening import write_header
from backstay.vault.replacing import finish, replace
from backstay.verify import of_bytes
from fix_vault import DB, NOW, SMALL, Crash, Mortal, back_up, copy_of, expected, held, keyring, new_vault

STEP = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "night" else 3
"""Every third call in the short run, every one at night."""


def opened(store: Store, name: str = "local") -> Repository:
    return open_vault(store, name, keyring())


def family(store: Store | None = None) -> tuple[Store, MemoryStore]:
    store, beside = store or MemoryStore("local"), MemoryStore("off-site")
    vault = new_vault(store)
    point = back_up(vault, SMALL)
    vault.keep_hold(Hold("h1", point.id, DB, "keep", "incident", "cto", NOW))
    vault.keep_note("plan/sha256:00", b"backstay: 1")
    vault.keep_proof(of_bytes(point, VaultName("local"), (NOW, NOW), Verdict.PASSED, "read"))
    join(beside, vault, keys=keyring(), now=NOW)
    copy_point(vault, opened(beside), point)
    copy_beside(vault, opened(beside), DB)
    return store, beside


def flip(store: MemoryStore, key: Key) -> None:
    data = bytearray(store.objects[key])
    data[len(data) // 2] ^= 1
    store.objects[key] = bytes(data)


def memory() -> tuple[MemoryStore, MemoryStore]:
    store, beside = family()
    assert isinstance(store, MemoryStore)
    return store, beside


def first(store: MemoryStore, prefix: str) -> Key:
    return next(key for key in sorted(store.objects) if key.startswith(prefix))


@pytest.mark.parametrize("prefix", ["points/", "proofs/", "holds/", "notes/", "reserved/"])
def test_a_damaged_box_is_replaced_by_the_copy_of_another_vault(prefix: str) -> None:
    store, beside = memory()
    key = first(store, prefix)
    whole = store.objects[key]
    flip(store, key)
    (done,) = replace(opened(store), [opened(beside, "off-site")], [key])
    assert (done.source, store.objects[key]) == ("off-site", whole)
    assert list(check(opened(store))) == []
    assert not any(one.startswith("notes/repair/") for one in store.objects)


def test_a_box_that_nobody_has_whole_is_left_as_it_is() -> None:
    store, beside = memory()
    key = first(store, "points/")
    flip(store, key)
    flip(beside, key)
    before = dict(store.objects)
    (done,) = replace(opened(store), [opened(beside, "off-site")], [key])
    assert done.source == ""
    assert store.objects == before


def test_what_says_where_things_lie_here_is_not_taken_from_another_vault() -> None:
    store, beside = memory()
    assert list(replace(opened(store), [opened(beside)], [Key("index/database/000000000001/0")])) == []


def test_dying_at_any_call_of_a_replacement_loses_nothing() -> None:
    clean, beside = memory()
    key = first(clean, "points/")
    whole = clean.objects[key]
    flip(clean, key)
    for breaths, after in itertools.product(range(1, 60, STEP), (False, True)):
        store = copy_of(clean)
        mortal = Mortal(store, breaths, after=after)
        try:
            list(replace(opened(mortal), [opened(beside)], [key]))
        except Crash:
            finish(opened(store))  # whoever comes next, without the other vault
            assert store.objects.get(key) in (whole, clean.objects[key])
            list(replace(opened(store), [opened(beside)], [key]))
        assert store.objects[key] == whole
        assert not any(one.startswith("notes/repair/") for one in store.objects)


@pytest.mark.parametrize("prefix", ["vault", "keys/", "packs/", "nodes/", "points/", "proofs/"])
def test_a_note_of_a_thief_makes_nobody_delete_anything(prefix: str) -> None:
    """With a host's key he may leave notes of repairs; an owner who mends has the rights that the host lacks."""
    store, _ = memory()
    vault = opened(store)
    key = first(store, prefix)
    flip(store, key)
    before = store.objects[key]
    for number, data in enumerate((b"nothing", before, store.objects[first(store, "holds/")])):
        vault.keep_note(f"repair/{number}", pack_json({"data": data.hex(), "key": key}))
    assert finish(vault) == []
    assert store.objects[key] == before


def test_where_a_lock_forbids_it_that_is_said_and_nothing_is_changed() -> None:
    bucket = MemoryBucket(lock=Lock(span("30d")), now=lambda: NOW)
    store, beside = family(bucket)
    key = next(listed.key for listed in bucket.list("points/"))
    # What is damaged there is the first version itself, as a disk would damage it.
    pile = bucket.piles[key].first
    assert pile is not None
    assert pile.data is not None
    pile.data = pile.data[:-1]
    (done,) = replace(opened(store), [opened(beside)], [key])
    assert "it is locked until" in done.why
    assert not list(bucket.list("notes/repair/"))


# ── the foundation ───────────────────────────────────────────────────────────────────────────────


def harm_header_line(store: MemoryStore) -> None:
    flip(store, Key("vault"))


def harm_digest(store: MemoryStore) -> None:
    store.objects[Key("vault")] = store.objects[Key("vault")][:-3] + b"0\n"


def harm_all_keys(store: MemoryStore) -> None:
    for key in [key for key in store.objects if key.startswith("keys/")]:
        flip(store, key)


def lose_header(store: MemoryStore) -> None:
    del store.objects[Key("vault")]


@pytest.mark.parametrize("harm", [harm_header_line, harm_digest, harm_all_keys, lose_header])
def test_a_vault_that_does_not_open_opens_again(harm: Callable[[MemoryStore], None]) -> None:
    store, beside = memory()
    id = opened(store).opened.vault
    harm(store)
    with pytest.raises(BackstayError):
        opened(store)
    assert list(mend_foundation(store, [opened(beside)], keyring()))
    vault = opened(store)
    assert held(vault.open(vault.points()[0].id)) == expected(SMALL)
    assert (vault.opened.vault == id) == (harm in (harm_digest, harm_all_keys))
    assert list(mend_foundation(store, [opened(beside)], keyring())) == []


def test_a_digest_alone_needs_no_other_vault_and_no_root() -> None:
    store, _ = memory()
    harm_digest(store)
    assert list(mend_foundation(store, [], Keyring()))
    assert opened(store).points()


def test_only_the_root_signs_a_header_and_only_for_its_own_family() -> None:
    store, beside = memory()
    harm_header_line(store)
    with pytest.raises(Damaged, match="cannot sign a new one"):
        list(mend_foundation(store, [opened(beside)], Keyring(keyring().identity, keyring(5).seed)))
    stranger = MemoryStore("elsewhere")
    new_vault(stranger, keyring())
    with pytest.raises(Damaged, match="nothing at hand can mend it"):
        list(mend_foundation(store, [opened(stranger)], keyring()))
    with pytest.raises(VaultMissing):
        list(mend_foundation(MemoryStore("empty"), [opened(beside)], keyring()))


def test_a_newer_vault_is_not_mended_into_an_older_one() -> None:
    import hashlib

    store, beside = memory()
    text = write_header(store.objects[Key("vault")].split(b"\n")[1]).replace(b"format 1", b"format 2", 1)
    text = text[: text.rindex(b"sha256")]
    newer = text + b"sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n"
    store.objects[Key("vault")] = newer
    with pytest.raises(VaultNewer):
        list(mend_foundation(store, [opened(beside)], keyring()))
    assert store.objects[Key("vault")] == newer


def test_dying_at_any_call_of_mending_the_foundation_is_made_good_by_the_next() -> None:
    clean, beside = memory()
    harm_header_line(clean)
    flip(clean, first(clean, "keys/"))
    for breaths, after in itertools.product(range(1, 30, STEP), (False, True)):
        store = copy_of(clean)
        try:
            list(mend_foundation(Mortal(store, breaths, after=after), [opened(beside)], keyring()))
        except Crash:
            list(mend_foundation(store, [opened(beside)], keyring()))
        assert opened(store).points()
    with pytest.raises(AccessDenied):
        list(mend_foundation(Mortal(clean, 2, dies=AccessDenied("no")), [opened(beside)], keyring()))
