"""Law: no damage to any stored object goes unseen, and none ever gives other data than was put in."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError, Damaged, ObjectMissing, VaultNewer
from backstay.facts import Hold
from backstay.ports import Cutter, Key
from backstay.vault import Repository, check, open_vault
from backstay.vault.boxes import seal_json
from backstay.vault.codec import Cursor
from backstay.vault.generations import write_index
from backstay.vault.names import node_pack
from backstay.vault.nodes import (
    Subtree,
    read_branch,
    read_content,
    read_folder_branch,
    read_leaf,
    read_page,
)
from backstay.vault.opening import read_header, write_header
from backstay.vault.packs import read_contents
from fix_vault import (
    DB,
    NOW,
    SMALL,
    File,
    Folder,
    Link,
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

TINY: Things = {
    "PG_VERSION": File(b"15\n"),
    "base/1259": File(noise(65_536, 1)[:300] * 220, 0o600, Cutter.FIXED_64K),
    "dump": File(b"INSERT INTO tenants VALUES (1);\n" * 9000, cutter=Cutter.CDC_V1),
    "link": Link("base"),
    "pg_wal": Folder(0o700),
}
EVERY = os.environ.get("HYPOTHESIS_PROFILE") == "night"


def _tiny() -> MemoryStore:
    """A vault with every kind of object, a few kilobytes long."""
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, TINY)
    back_up(vault, {**TINY, "new": File(b"new")}, now=later(1))
    vault.keep_hold(Hold("h1", point.id, DB, "keep", "incident", "cto", NOW))
    vault.keep_note("plan/sha256:00", b"backstay: 1")
    _index(vault)
    return store


def _index(vault: Repository) -> None:
    pieces = [
        piece
        for listed in [*vault.store.list("packs/"), *vault.store.list("nodes/")]
        for piece in read_contents(vault.store, vault.opened, listed.key, listed.size_bytes).pieces
    ]
    write_index(vault.store, vault.opened, keyring(), DB, pieces)


def _look(store: MemoryStore, changed: str = "packs/") -> list[str]:
    """Read everything. What was found wrong; data that is not what was put in fails the test at once. Where the object
    that was `changed` has nothing to do with data, the first thing that is found is enough."""
    try:
        vault = open_vault(store, "local", keyring())
    except BackstayError as error:
        return [error.message]
    findings = check(vault, read_data=True)
    if not changed.startswith(("packs/", "nodes/", "points/")):
        return [finding.said for finding in islice(findings, 1)]
    wrong = [finding.said for finding in findings]
    for listed in store.list("points/"):
        try:
            if (found := vault.sealed_at(listed.key)) is not None:
                things = TINY if found[0].parent is None else {**TINY, "new": File(b"new")}
                assert held(vault.open(found[0].id)) == expected(things)
        except BackstayError as error:
            wrong.append(error.message)
    return wrong


def _positions(size: int) -> Iterator[int]:
    for at in range(size):
        if EVERY or at < 40 or at >= size - 33 or at % 131 == 0:
            yield at


def test_the_vault_that_is_damaged_here_is_sound() -> None:
    assert _look(_tiny()) == []


def test_every_flipped_bit_is_found() -> None:
    store = _tiny()
    kinds = {key.split("/")[0] for key in store.objects}
    assert kinds == {"vault", "keys", "packs", "nodes", "reserved", "points", "holds", "notes", "index"}
    for key, whole in list(store.objects.items()):
        for at in _positions(len(whole)):
            store.objects[key] = whole[:at] + bytes([whole[at] ^ (1 << (at * 5 + at // 8) % 8)]) + whole[at + 1 :]
            assert _look(store, key), f"{key}, byte {at}"
        store.objects[key] = whole
    assert _look(store) == []


def test_every_truncation_is_found() -> None:
    store = _tiny()
    for key, whole in list(store.objects.items()):
        for size in {0, 1, 16, len(whole) // 2, len(whole) - 33, len(whole) - 32, len(whole) - 1}:
            store.objects[key] = whole[: max(0, size)]
            assert _look(store), f"{key}, {size} of {len(whole)} bytes"
        for more in (whole + b"\0", whole + whole):
            store.objects[key] = more
            assert _look(store), f"{key}, {len(more)} instead of {len(whole)} bytes"
        store.objects[key] = whole


def test_two_objects_that_were_swapped_are_found() -> None:
    store = _tiny()
    keys = sorted(store.objects)
    for one in keys:
        for other in keys:
            if one < other:
                swapped = copy_of(store)
                swapped.objects[one], swapped.objects[other] = store.objects[other], store.objects[one]
                assert _look(swapped), f"{one} and {other}"


def test_an_object_of_another_vault_is_found() -> None:
    store, other = _tiny(), _tiny()
    for prefix in ("packs/", "nodes/", "points/", "notes/", "holds/"):
        (key, *_), (foreign, *_) = ([listed.key for listed in s.list(prefix)] for s in (store, other))
        mixed = copy_of(store)
        mixed.objects[key] = other.objects[foreign]
        assert _look(mixed), key


@given(st.data())
def test_any_mutation_gives_an_error_or_the_truth(data: st.DataObject) -> None:
    store = _tiny()
    for _ in range(data.draw(st.integers(1, 3))):
        key = sorted(store.objects)[data.draw(st.integers(0, 99)) % len(store.objects)]
        whole = store.objects[key]
        start = data.draw(st.integers(0, 9999)) % (len(whole) + 1)
        end = start + data.draw(st.integers(0, 40))
        store.objects[key] = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    _look(store)


@pytest.mark.parametrize("prefix", ["packs/", "nodes/"])
def test_a_missing_pack_names_the_path_that_needs_it(prefix: str) -> None:
    store = MemoryStore()
    point = back_up(new_vault(store), TINY)
    for listed in list(store.list(prefix)):
        store.delete(listed.key)
    vault = open_vault(store, "local", keyring())
    with pytest.raises(ObjectMissing, match=f"{point.id} of database") as caught:
        held(vault.open(point.id))
    assert f"{prefix}database/" in caught.value.detail
    found = list(check(vault))
    assert all(finding.point == point.id and finding.component == DB for finding in found)
    if prefix == "packs/":
        assert "'PG_VERSION'" in caught.value.message
        assert sorted(finding.path for finding in found) == ["PG_VERSION", "base/1259", "dump"]


def test_a_flipped_bit_names_the_file_and_leaves_the_others_readable(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, {"good": File(noise(300_000, 1)), "bad": File(noise(300_000, 2)), "small": File(b"x")})
    located = vault.open(point.id).fetching
    place = next(iter(located.located(located.find("bad"), 0, 1))).chunk.place
    assert place is not None
    key = located.shelf.data_key(place)
    whole, at = store.objects[key], place.offset + 1000
    store.objects[key] = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]

    with pytest.raises(Damaged, match=r"'bad' in point .* of database cannot be read") as caught:
        vault.open(point.id).extract(tmp_path_factory.mktemp("law") / "to")
    assert key in caught.value.detail
    with pytest.raises(Damaged, match="'bad'"):
        list(vault.open(point.id).read("bad"))
    assert b"".join(vault.open(point.id).read("good")) == noise(300_000, 1)
    assert b"".join(vault.open(point.id).read("small")) == b"x"
    assert {finding.path for finding in check(vault, read_data=True) if finding.point} == {"bad"}
    assert list(check(vault)) == []


def test_a_header_of_a_newer_format_is_newer_and_a_changed_one_is_damaged() -> None:
    store = _tiny()
    header = store.objects[Key("vault")]
    statement = header.split(b"\n")[1]
    newer = write_header(statement).replace(b"format 1\n", b"format 2\n", 1)
    with pytest.raises(Damaged, match="header"):
        read_header(newer, "here")
    text = b"Backstay vault, format 2\nanything that a later version may write\n"
    store.objects[Key("vault")] = text + b"sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n"
    with pytest.raises(VaultNewer, match=r"has format 2, and this Backstay reads format 1"):
        open_vault(store, "local", keyring())


def test_a_point_that_was_replayed_under_another_name_is_found() -> None:
    store = _tiny()
    older, newer = (listed.key for listed in store.list("points/"))
    store.objects[newer] = store.objects[older]
    with pytest.raises(Damaged, match=newer):
        open_vault(store, "local", keyring()).points()


def test_a_point_signed_by_somebody_who_is_not_enrolled_is_refused() -> None:
    store = _tiny()
    vault = open_vault(store, "local", keyring())
    (key, *_) = (listed.key for listed in store.list("points/"))
    body = vault.reopen(key).json()
    store.objects[key] = seal_json(vault.opened, keyring(7), key, body)
    with pytest.raises(Damaged, match="nobody who is enrolled"):
        open_vault(store, "local", keyring()).points()


# ── parsers ──────────────────────────────────────────────────────────────────────────────────────


def _nodes() -> list[bytes]:
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, {**SMALL, **{f"many/{n}": File(b"%d" % n) for n in range(300)}})
    shelf = vault.open(point.id).fetching.shelf
    found = [
        shelf.node_at(piece.id, piece.place)
        for listed in store.list("nodes/")
        for piece in read_contents(store, vault.opened, listed.key, listed.size_bytes).pieces
    ]
    assert len(found) > 5
    return found


NODES = _nodes()


@given(st.data())
def test_no_bytes_make_a_parser_of_nodes_fail_in_another_way(data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(NODES))
    at = data.draw(st.integers(0, min(len(node), 300)))
    mutated = node[:at] + data.draw(st.binary(max_size=8)) + node[at + data.draw(st.integers(0, 8)) :]
    for bytes_of in (mutated, data.draw(st.binary(max_size=80))):
        for level in (0, 1, 2):
            for read in (
                read_leaf,
                read_page,
                partial(read_branch, level=level),
                partial(read_folder_branch, level=level),
                _content_of,
            ):
                with suppress(ValueError):
                    read(bytes_of)


def _content_of(data: bytes) -> object:
    return read_content(Cursor(data))


@given(st.binary(max_size=300))
def test_no_bytes_make_the_header_fail_in_another_way(data: bytes) -> None:
    for whole in (data, b"Backstay vault, format 1\n" + data, b"backstay vault, format 1\n{}\nsha256 " + data):
        with pytest.raises(BackstayError):
            read_header(whole, "here")


def test_a_page_that_is_damaged_is_written_anew_though_nothing_in_it_has_changed() -> None:
    """A page of links has no place of any chunk in it: the new one has the same id."""
    store = MemoryStore()
    vault = new_vault(store)
    things: Things = {"links/a": Link("x"), "links/b": Link("y"), "f": File(b"1" * 100)}
    root = vault.sealed(back_up(vault, things).id).root
    assert isinstance(root, Subtree)
    page = vault.shelf(DB).page(root.top)[b"links"].content
    assert isinstance(page, Subtree)
    key, at = node_pack(DB, page.top.place.pack), page.top.place.offset + 5
    data = bytearray(store.objects[key])
    data[at] ^= 1
    store.objects[key] = bytes(data)
    point = back_up(open_vault(store, "local", keyring()), {**things, "f": File(b"2" * 100)}, now=later(1))
    assert held(open_vault(store, "local", keyring()).open(point.id)) == expected({**things, "f": File(b"2" * 100)})
