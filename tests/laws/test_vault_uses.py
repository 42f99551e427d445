"""Laws of pack lists: a list never leaves out what reading its point touches, after any history of backups; and after
one that read everything it says no more than is true."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.facts import Point
from backstay.ports import Cutter
from backstay.vault import Repository, check
from backstay.vault.boxes import seal_json
from backstay.vault.frames import What
from backstay.vault.nodes import Nothing, write_content
from backstay.vault.uses import MOST_PACKS, Tally, Uses, read_pack_list, write_pack_lists
from backstay.vault.walking import references
from fix_vault import DB, SMALL, File, Things, back_up, keyring, later, new_vault, noise

PAGE = 65_536


def _touched(vault: Repository, point: Point) -> dict[bytes, int]:
    """What the walk of a point finds: each frame and each node once."""
    sealed = vault.sealed(point.id)
    shelf = vault.shelf(DB)
    places = {place for ref, chunks in references(shelf, sealed.root) for place in (ref.place, *chunks.places) if place}
    places |= {ref.place for ref in sealed.packs or ()}
    found: dict[bytes, int] = {}
    for place in places:
        found[place.pack] = found.get(place.pack, 0) + place.length
    return found


def _pages(seeds: list[int], mark: bytes = b"") -> File:
    return File(b"".join(noise(PAGE, seed) if seed else bytes(PAGE) for seed in seeds), 0o600, Cutter.FIXED_64K, mark)


@st.composite
def _histories(draw: st.DrawFn) -> list[Things]:
    """Some backups of the same few files: pages that come and go, marks that are told the truth, short files."""
    seeds, history = st.integers(0, 9), list[Things]()
    files: dict[str, tuple[list[int], int]] = {
        f"base/{n}": (draw(st.lists(seeds, min_size=2, max_size=4)), 0) for n in range(3)
    }
    small = dict[str, int]()
    for round in range(draw(st.integers(1, 5))):
        for name in draw(st.lists(st.sampled_from([*files, "base/new"]), max_size=2)):
            files[name] = (draw(st.lists(seeds, min_size=2, max_size=4)), round)
        for name in draw(st.lists(st.sampled_from(["a", "b", "dir/c", "dir/d"]), max_size=3)):
            small[name] = draw(seeds)
        marked = draw(st.booleans())
        things: dict[str, File] = {
            name: _pages(pages, b"m%d" % changed if marked else b"") for name, (pages, changed) in files.items()
        }
        things |= {name: File(b"%d" % seed * 40, mark=b"%d" % seed if marked else b"") for name, seed in small.items()}
        history.append(things)
    return history


@given(_histories())
@settings(max_examples=40)
def test_a_list_has_every_pack_that_its_point_touches(history: list[Things]) -> None:
    vault = new_vault(MemoryStore())
    points = [back_up(vault, things, now=later(n)) for n, things in enumerate(history)]
    for point in points:
        said, true = vault.packs_of(point.id), _touched(vault, point)
        assert all(said.get(pack, 0) >= size for pack, size in true.items())


@given(_histories())
@settings(max_examples=20)
def test_after_reading_everything_a_list_says_no_more_than_is_true(history: list[Things]) -> None:
    vault = new_vault(MemoryStore())
    points = list[Point]()
    for n, things in enumerate(history):
        bare = {name: replace(thing, mark=b"") for name, thing in things.items() if isinstance(thing, File)}
        points.append(back_up(vault, bare, now=later(n)))
    assert set(vault.packs_of(points[-1].id)) == set(_touched(vault, points[-1]))


def test_what_was_replaced_leaves_the_list_though_others_were_taken_over_unread() -> None:
    """The chain of incremental backups is where dead packs must be seen: there may be no full one for a year."""
    vault = new_vault(MemoryStore())
    still = {"base/still": _pages([1, 2, 3], b"same")}
    first = back_up(vault, {"base/moving": _pages([4, 5], b"0")})
    second = back_up(vault, {**still, "base/moving": _pages([4, 5], b"0")}, now=later(1))
    third = back_up(vault, {**still, "base/moving": _pages([6, 7], b"1")}, now=later(2))
    data = [set(vault.uses_of(vault.sealed(point.id)).data) for point in (first, second, third)]
    assert data[0] <= data[1]
    assert not data[0] & data[2]
    assert data[2] & data[1]


def test_an_unchanged_backup_writes_no_list_anew() -> None:
    vault = new_vault(MemoryStore())
    back_up(vault, {**SMALL, "base/marked": _pages([1, 2], b"m")})
    again = [back_up(vault, {**SMALL, "base/marked": _pages([1, 2], b"m")}, now=later(n)) for n in (1, 2)]
    assert [point.stored_bytes for point in again] == [0, 0]


def test_a_point_of_before_there_were_lists_is_walked_and_so_are_maps_after_it() -> None:
    vault = new_vault(MemoryStore())
    things: Things = {**SMALL, "base/marked": _pages([1, 2], b"m")}
    first = back_up(vault, things)
    sealed = vault.sealed(first.id)
    key = next(key for key in vault.store.list("points/")).key
    box = vault.reopen(key).json()
    del box["packs"]
    vault.store.delete(key)
    vault.store.put_if_absent(key, seal_json(vault.opened, keyring(), key, box))
    vault.reopen(key)
    assert vault.sealed(first.id).packs is None
    lists = {ref.place.pack for ref in sealed.packs or ()}
    assert set(vault.packs_of(first.id)) | lists == set(_touched(vault, first)) | lists
    second = back_up(vault, things, now=later(1))
    assert second.stored_bytes < 1000  # its list alone
    assert set(vault.packs_of(second.id)) == set(_touched(vault, second))


def test_a_backup_after_a_pack_was_lost_takes_nothing_over_unread() -> None:
    vault = new_vault(MemoryStore())
    things: Things = {"base/marked": _pages([1, 2], b"m"), "base/other": _pages([3, 4], b"o")}
    first = back_up(vault, things)
    for pack in vault.uses_of(vault.sealed(first.id)).data:
        vault.store.delete(next(found.key for found in vault.store.list("packs/") if found.key.endswith(pack.hex())))
    second = back_up(vault, things, now=later(1))
    assert b"".join(vault.open(second.id).read("base/marked")) == _pages([1, 2]).data


def test_a_list_that_is_gone_is_found_by_check() -> None:
    vault = new_vault(MemoryStore())
    point = back_up(vault, SMALL)
    lists = vault.sealed(point.id).packs
    assert lists
    key = next(found.key for found in vault.store.list("nodes/") if found.key.endswith(lists[0].place.pack.hex()))
    vault.store.delete(key)
    assert any("list of packs" in finding.said for finding in check(vault))


def test_long_lists_have_several_nodes() -> None:
    packs = {n.to_bytes(16, "big"): n + 1 for n in range(MOST_PACKS + 3)}
    nodes = list(write_pack_lists(Uses(packs, {b"n" * 16: 1 << 40})))
    assert len(nodes) == 3
    read = [read_pack_list(node) for node in nodes]
    assert read[0][1] | read[1][1] == packs
    assert read[2] == (What.NODES, {b"n" * 16: (1 << 32) - 1})


@given(st.data())
@settings(max_examples=50)
def test_a_changed_list_is_refused_or_means_something(data: st.DataObject) -> None:
    (node,) = write_pack_lists(Uses({b"a" * 16: 1, b"b" * 16: 2}))
    at = data.draw(st.integers(0, len(node) - 1))
    changed = node[:at] + bytes([data.draw(st.integers(0, 255))]) + node[at + 1 :]
    for hostile in (changed, node[:at], node + b"x"):
        try:
            read_pack_list(hostile)
        except ValueError:
            continue
        assert len(hostile) == len(node)


def test_an_empty_point_has_an_empty_list() -> None:
    vault = new_vault(MemoryStore())
    assert dict(vault.packs_of(back_up(vault, {}).id)) == {}
    assert Tally().total() == Uses()
    assert write_content(Nothing()) == b"\0"


def test_a_list_is_hostile_until_it_is_read() -> None:
    for node in (
        b"",
        b"\5",
        b"\5\1" + (1 << 31).to_bytes(4, "little"),
        b"\5\3" + (1).to_bytes(4, "little") + b"x" * 20,
    ):
        with pytest.raises(ValueError):
            read_pack_list(node)


def test_the_list_costs_twenty_bytes_a_pack() -> None:
    (node,) = write_pack_lists(Uses({n.to_bytes(16, "big"): 1 for n in range(1000)}))
    assert len(node) == 6 + 20 * 1000
