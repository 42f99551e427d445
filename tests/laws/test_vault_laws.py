"""Laws of the vault: whatever goes in comes back, however it was edited, wherever the writer died."""

import itertools
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.errors import Damaged, Lapsed, StoreUnreachable, VaultExists
from backstay.facts import CheckResult, Proof, Rung, Verdict
from backstay.ports import Cutter, Key
from backstay.values import VaultName
from backstay.vault import Repository, check, create, open_vault
from backstay.vault.boxes import seal_json
from backstay.vault.cutters import LEAST, MOST, PAGE, SMALL_WHOLE
from backstay.vault.lanes import GROUP_BYTES, SPAN
from fix_vault import (
    DB,
    NOW,
    PLAN,
    SMALL,
    Crash,
    File,
    Folder,
    Link,
    Mortal,
    Things,
    back_up,
    copy_of,
    entries,
    expected,
    held,
    keyring,
    laid_down,
    later,
    new_vault,
    noise,
    sealing,
)

_EDGES = (0, 1, LEAST, PAGE, SMALL_WHOLE, GROUP_BYTES, MOST, 1 << 20, SPAN)
_sizes = st.one_of(
    st.integers(0, 300),
    st.tuples(st.sampled_from(_EDGES), st.integers(-1, 1)).map(lambda pair: max(0, sum(pair))),
    st.integers(0, 700_000),
)


@st.composite
def _contents(draw: st.DrawFn) -> bytes:
    size, seed = draw(_sizes), draw(st.integers(0, 5))
    match draw(st.sampled_from(("noise", "zeros", "both", "text"))):
        case "zeros":
            return bytes(size)
        case "both":
            return (noise(PAGE, seed) + bytes(PAGE * 2) + noise(size, seed))[:size]
        case "text":
            return (b"INSERT INTO tenants VALUES (%d);\n" % seed * (size // 30 + 1))[:size]
        case _:
            return noise(size, seed)


_names = st.one_of(
    st.sampled_from(
        ["a", "b", "base", "a-b", "a.b", "name with space", "ünïcode", "日本", "x" * 255, "\udcff\udc80", "-"]
    ),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=6),
).filter(lambda name: name not in (".", "..") and len(name.encode("utf-8", "surrogateescape")) < 256)
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)


@st.composite
def _files(draw: st.DrawFn) -> File:
    """Not `builds`: that would show all the bytes of a failing example."""
    marks, cutters = st.sampled_from([b"", b"m"]), st.sampled_from(Cutter)
    return File(draw(_contents()), draw(st.integers(0, 0o7777)), draw(cutters), draw(marks))


_things = st.one_of(_files(), _files(), st.builds(Folder, st.integers(0, 0o7777)), st.builds(Link, _paths))


def _sound(things: Things) -> Things:
    """Without what would lie below a file or a link."""
    return {
        path: thing
        for path, thing in things.items()
        if all(isinstance(things.get(str(parent), Folder()), Folder) for parent in list(Path(path).parents)[:-1])
    }


_trees = st.dictionaries(_paths, _things, max_size=8).map(_sound)


def _readable(things: Things) -> Things:
    """With modes that let even a plain user look at what was laid down."""
    return {
        path: thing if isinstance(thing, Link) else replace(thing, mode=thing.mode | 0o700)
        for path, thing in things.items()
    }


@given(_trees)
def test_what_goes_in_comes_back(things: Things) -> None:
    vault = new_vault(MemoryStore())
    point = back_up(vault, things)
    assert held(vault.open(point.id)) == expected(things)
    assert list(check(vault, read_data=True)) == []


@given(_trees, st.integers(0, 99))
@settings(max_examples=20)
def test_the_folder_and_its_twin_in_memory_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, things: Things, seed: int
) -> None:
    things = _readable(things)
    tmp = tmp_path_factory.mktemp("law")
    on_disk, in_memory = new_vault(FolderStore(tmp / "vault")), new_vault(MemoryStore())
    for vault, name in ((on_disk, "one"), (in_memory, "two")):
        vault.open(back_up(vault, things).id).extract(tmp / name)
    assert laid_down(tmp / "one") == laid_down(tmp / "two") == expected(things)


@given(_trees, _trees, st.data())
def test_a_second_point_after_any_edit_comes_back_and_so_does_the_first(
    first: Things, second: Things, data: st.DataObject
) -> None:
    kept = {path: thing for path, thing in first.items() if data.draw(st.booleans(), label=f"keep {path!r}")}
    # A mark says "unchanged": whoever edits a file without changing its mark gets the old one, so edits change it.
    edits = {
        path: File(thing.data, thing.mode, thing.cutter, b"edited") if isinstance(thing, File) else thing
        for path, thing in second.items()
    }
    after = _sound({**kept, **edits})
    vault = new_vault(MemoryStore())
    one = back_up(vault, first)
    two = back_up(vault, after, now=later(1))
    assert held(vault.open(one.id)) == expected(first)
    assert held(vault.open(two.id)) == expected(after)
    assert list(check(vault, read_data=True)) == []


@pytest.mark.parametrize("cutter", [Cutter.CDC_V1, Cutter.WHOLE])
@pytest.mark.parametrize(
    "data", [bytes(600_000), bytes(3 << 20), b"the same line\n" * 60_000], ids=["600 kB", "3 MiB", "lines"]
)
def test_content_that_repeats_is_mapped_as_it_was(data: bytes, cutter: Cutter) -> None:
    """Equal chunks may be found in several places: another one each time would store the map again."""
    vault = new_vault(MemoryStore())
    back_up(vault, {"dump": File(data, cutter=cutter)})
    again = back_up(vault, {"dump": File(data, cutter=cutter)}, now=later(1))
    assert again.stored_bytes == 0
    assert held(vault.open(again.id)) == {"dump": File(data)}


@given(_trees)
@settings(max_examples=25)
def test_what_did_not_change_is_stored_once(things: Things) -> None:
    vault = new_vault(MemoryStore())
    back_up(vault, things)
    again = back_up(vault, things, now=later(1))
    assert again.stored_bytes == 0
    assert held(vault.open(again.id)) == expected(things)


@given(st.integers(0, 3 << 20), st.integers(1, 4000), st.integers(0, 4000))
@settings(max_examples=15)
def test_an_edit_in_a_dump_stores_little_wherever_it_is(at: int, inserted: int, removed: int) -> None:
    data = noise(3 << 20)
    vault = new_vault(MemoryStore())
    back_up(vault, {"dump": File(data, cutter=Cutter.CDC_V1)})
    edited = data[:at] + noise(inserted, 7) + data[at + removed :]
    point = back_up(vault, {"dump": File(edited, cutter=Cutter.CDC_V1)}, now=later(1))
    assert point.stored_bytes < 4 * MOST + 40_000
    assert held(vault.open(point.id)) == {"dump": File(edited)}


def test_content_that_moved_far_is_still_found() -> None:
    data = noise(6 << 20)
    vault = new_vault(MemoryStore())
    back_up(vault, {"dump": File(data, cutter=Cutter.CDC_V1)})
    point = back_up(vault, {"dump": File(noise(5 << 20, 9) + data, cutter=Cutter.CDC_V1)}, now=later(1))
    assert point.stored_bytes < (5 << 20) + 2 * MOST + 40_000


def test_one_changed_page_stores_one_chunk() -> None:
    data = bytearray(noise(40 * PAGE))
    vault = new_vault(MemoryStore())
    back_up(vault, {"1259": File(bytes(data), cutter=Cutter.FIXED_64K)})
    data[17 * PAGE + 100] ^= 1
    point = back_up(vault, {"1259": File(bytes(data), cutter=Cutter.FIXED_64K)}, now=later(1))
    assert PAGE < point.stored_bytes < PAGE + 6000


@pytest.mark.parametrize("size", [64 << 20, (64 << 20) + 1, (129 << 20) + PAGE])
def test_a_stream_longer_than_a_leaf_comes_back(size: int) -> None:
    ends = noise(PAGE), noise(1000, 4)
    data = ends[0] + bytes(size - PAGE - 1000) + ends[1]
    vault = new_vault(MemoryStore())
    point = back_up(vault, {"1259": File(data, cutter=Cutter.FIXED_64K)})
    assert point.stored_bytes < 200_000
    reader = vault.open(point.id)
    assert b"".join(reader.read("1259")) == data
    assert b"".join(reader.read("1259", size - 500)) == data[-500:]
    again = back_up(vault, {"1259": File(data, cutter=Cutter.FIXED_64K)}, now=later(1))
    assert again.stored_bytes == 0


def test_a_folder_of_many_files_is_cut_into_pages_and_one_new_file_changes_one() -> None:
    things = {f"pg_xact/{n:06d}": File(b"%d" % n) for n in range(5000)}
    vault = new_vault(MemoryStore())
    first = back_up(vault, things)
    assert held(vault.open(first.id)) == expected(things)
    reader = vault.open(first.id)
    assert reader.entry("pg_xact/004321") is not None
    assert reader.entry("pg_xact/999999") is None
    second = back_up(vault, {**things, "pg_xact/002500x": File(b"new")}, now=later(1))
    assert second.stored_bytes < 60_000 < first.stored_bytes


# ── death ────────────────────────────────────────────────────────────────────────────────────────


def _with_one_point() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    vault = new_vault(store)
    back_up(vault, SMALL)
    return store, vault


def _edited() -> Things:
    return {**SMALL, "base/1/1259": File(noise(100_000, 8), 0o600, Cutter.FIXED_64K, b"m2"), "new": File(noise(9000))}


def _breaths() -> int:
    """How many calls of the store a backup makes."""
    store, _ = _with_one_point()
    counting = Mortal(store, 0)
    back_up(open_vault(counting, "local", keyring()), _edited(), now=later(1))
    return counting.calls


@pytest.mark.parametrize("after", [False, True])
def test_dying_at_any_call_of_a_backup_leaves_no_half_point_and_the_next_one_succeeds(after: bool) -> None:
    clean, _ = _with_one_point()
    (old,) = open_vault(clean, "local", keyring()).points()
    for breaths in range(1, _breaths() + 1):
        store = copy_of(clean)
        with suppress(Crash):  # how many packs there are depends on the threads: the last calls may not come
            back_up(open_vault(Mortal(store, breaths, after=after), "local", keyring()), _edited(), now=later(1))
        vault = open_vault(store, "local", keyring())
        for point in vault.points():
            things = SMALL if point == old else _edited()
            assert held(vault.open(point.id)) == expected(things), breaths
        assert old in vault.points(), breaths
        again = back_up(vault, _edited(), now=later(2))
        assert held(vault.open(again.id)) == expected(_edited()), breaths
        assert list(check(vault, read_data=True)) == [], breaths


@pytest.mark.parametrize("after", [False, True])
def test_dying_while_a_vault_is_made_leaves_none_or_a_whole_one(after: bool) -> None:
    for breaths in itertools.count(1):
        store = MemoryStore()
        mortal = Mortal(store, breaths, after=after)
        try:
            create(mortal, plan_name="catalytic", keys=keyring(), now=NOW)
        except Crash:
            pass
        else:
            break
        with suppress(VaultExists):
            create(store, plan_name="catalytic", keys=keyring(), now=NOW)
        vault = open_vault(store, "local", keyring())
        assert held(vault.open(back_up(vault, SMALL).id)) == expected(SMALL)


def test_an_error_at_any_call_of_the_store_reaches_the_caller() -> None:
    clean, _ = _with_one_point()
    for breaths in range(1, _breaths()):
        store = copy_of(clean)
        away = Mortal(store, breaths, dies=StoreUnreachable("the store does not answer"))
        with pytest.raises(StoreUnreachable, match="does not answer"):
            back_up(open_vault(away, "local", keyring()), _edited(), now=later(1))
        assert len(open_vault(store, "local", keyring()).points()) == 1


def test_dying_at_any_call_of_a_restore_changes_nothing_in_the_vault(tmp_path: Path) -> None:
    store, vault = _with_one_point()
    (point,) = vault.points()
    before = dict(store.objects)
    for breaths in itertools.count(1):
        mortal = Mortal(store, breaths)
        try:
            open_vault(mortal, "local", keyring()).open(point.id).extract(tmp_path / str(breaths))
        except Crash:
            assert store.objects == before
        else:
            assert laid_down(tmp_path / str(breaths)) == expected(SMALL)
            break


def test_a_backup_that_is_given_up_takes_back_what_it_stored() -> None:
    store, vault = _with_one_point()
    before = {key for key in store.objects if not key.startswith("reserved/")}
    with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
        writer.add(entries({"large": File(noise(60 << 20))}))
    assert {key for key in store.objects if not key.startswith("reserved/")} == before


# ── writers and pruners at once ──────────────────────────────────────────────────────────────────


def test_a_reservation_that_was_expired_cannot_be_sealed_any_more() -> None:
    vault = new_vault(MemoryStore())
    with vault.begin(DB, plan=PLAN, now=NOW) as writer:
        writer.add(entries(SMALL))
        vault.expire(DB, writer.id, now=later(60), why="open for more than an hour")
        with pytest.raises(Lapsed, match="expired"):
            writer.seal(sealing())
    assert vault.points() == []
    assert dict(vault.reserved(DB)) == {writer.id: False}


def test_a_point_that_was_sealed_cannot_be_expired_as_a_reservation() -> None:
    vault = new_vault(MemoryStore())
    point = back_up(vault, SMALL)
    with pytest.raises(Lapsed, match="sealed"):
        vault.expire(DB, point.id, now=later(60), why="late")
    assert vault.points() == [point]


def test_a_store_that_repeats_its_own_write_is_no_other_winner() -> None:
    class Repeating(MemoryStore):
        """Answers as one whose first answer was lost on the way."""

        def put_if_absent(self, key: Key, data: bytes) -> bool:
            return super().put_if_absent(key, data) and not key.startswith("points/")

    vault = new_vault(Repeating())
    point = back_up(vault, SMALL)
    assert vault.points() == [point]


@pytest.mark.parametrize("lost", ["packs/", "nodes/"])
def test_a_full_backup_heals_what_somebody_removed(lost: str) -> None:
    store, vault = _with_one_point()
    for listed in list(store.list(lost)):
        store.delete(listed.key)
    unmarked = {p: File(t.data, t.mode, t.cutter) if isinstance(t, File) else t for p, t in SMALL.items()}
    point = back_up(vault, unmarked, now=later(1))
    assert held(vault.open(point.id)) == expected(SMALL)
    assert ("vault" in point.about) == (lost == "nodes/")


def test_a_damaged_point_before_does_not_stop_a_backup() -> None:
    store, vault = _with_one_point()
    (key,) = [listed.key for listed in store.list("points/")]
    store.objects[key] = store.objects[key][:-1]
    vault = open_vault(store, "local", keyring())
    point = back_up(vault, SMALL, now=later(1))
    assert point.parent is None
    assert key in point.about["vault"]
    assert held(vault.open(point.id)) == expected(SMALL)


def test_a_point_after_one_whose_bytes_were_refuted_shares_nothing_with_it() -> None:
    """Else one flipped bit would be in every later point, and none could ever be proven again."""
    store, vault = _with_one_point()
    first = vault.points()[0]
    for key in [listed.key for listed in store.list("packs/")]:
        store.objects[key] = store.objects[key][:200] + b"\xff" * 50 + store.objects[key][250:]
    check = CheckResult("B01", Rung.BYTES, "bytes", Verdict.FAILED, "damaged")
    vault.keep_proof(Proof(first.id, DB, VaultName("local"), "full", later(1), later(2), None, (check,)))
    second = back_up(open_vault(store, "local", keyring()), SMALL, now=later(3))
    assert held(open_vault(store, "local", keyring()).open(second.id)) == expected(SMALL)
    assert second.parent == first.id


def test_a_damaged_point_does_not_hide_the_sound_ones() -> None:
    store, vault = _with_one_point()
    (key,) = [listed.key for listed in store.list("points/")]
    sound = back_up(vault, SMALL, now=later(1))
    store.objects[key] = store.objects[key][:-1]
    vault = open_vault(store, "local", keyring())
    with pytest.raises(Damaged, match=key):
        vault.points()
    points, damaged = vault.survey(DB)
    assert points == [sound]
    assert [key in error.message for error in damaged] == [True]


def test_strangers_files_in_the_vault_are_passed_over_and_named_by_check() -> None:
    store, vault = _with_one_point()
    for key in (
        "points/database/readme",
        "packs/database/readme",
        "reserved/database/x",
        "holds/x",
        "notes/_",
        "other",
    ):
        store.put(Key(key), [b"hello"])
    vault = open_vault(store, "local", keyring())
    assert [point.parent for point in vault.points()] == [None]
    assert list(dict(vault.reserved(DB)).values()) == [True]
    assert vault.notes("") == []
    assert back_up(vault, SMALL, now=later(1)).stored_bytes == 0
    assert {finding.key for finding in check(vault)} == {
        "points/database/readme", "packs/database/readme", "reserved/database/x", "holds/x", "notes/_",
    }  # fmt: skip


def test_lanes_share_a_long_file_and_put_it_together_in_order() -> None:
    data = b"".join(noise(PAGE, n) for n in range(300))
    for cutter in Cutter:
        vault = new_vault(MemoryStore())
        point = back_up(vault, {"one": File(data, cutter=cutter)})
        assert held(vault.open(point.id)) == {"one": File(data)}


def test_a_writer_gives_up_what_a_pruner_has_marked() -> None:
    store, vault = _with_one_point()
    marked = [listed.key.rpartition("/")[2] for listed in store.list("packs/")]
    with vault.begin(DB, plan=PLAN, now=later(1)) as writer:
        writer.add(entries(SMALL))
        key = Key("marks/database/1")
        store.put_if_absent(key, seal_json(vault.opened, keyring(), key, {"packs": marked}))
        with pytest.raises(Lapsed, match="pruner"):
            writer.seal(sealing())
    assert len(vault.points()) == 1


def test_a_mark_on_other_packs_disturbs_nobody() -> None:
    store, vault = _with_one_point()
    key = Key("marks/database/1")
    store.put_if_absent(key, seal_json(vault.opened, keyring(), key, {"packs": ["00" * 16]}))
    assert held(vault.open(back_up(vault, SMALL, now=later(1)).id)) == expected(SMALL)
