"""Laws of pruning: what is left restores byte for byte, what nobody needs is gone; whoever dies anywhere, and whatever
fails, the next one takes it up."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TypeVar

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError, Lapsed, NotPruned, NotSupported, StoreUnreachable, WrongKey
from backstay.facts import Point
from backstay.ports import Cutter, Key
from backstay.vault import Keyring, Repository, boxes, check, join, open_vault, pruning
from backstay.vault.admission import Public, add, gather, turn
from backstay.vault.copying import copy_point
from backstay.vault.frames import Head, What
from backstay.vault.living import look
from backstay.vault.marks import Mark, marks, put_mark
from backstay.vault.pruning import Pruned, Rules, prune
from backstay.vault.roles import Role
from fix_vault import (
    DB,
    PLAN,
    Crash,
    File,
    Mortal,
    Things,
    back_up,
    copy_of,
    entries,
    expected,
    held,
    keyring,
    later,
    new_vault,
    noise,
    sealing,
)

T = TypeVar("T")
PAGE = 65_536
NOW_OR_NEVER = Rules(expire_after=timedelta(0))
"""For a test that knows: whoever holds a reservation is dead."""


def never() -> bool:
    return False


def tidy(vault: Repository, rules: Rules = NOW_OR_NEVER) -> Pruned:
    return prune(vault, DB, never, rules)


def pages(*seeds: int, mark: bytes = b"") -> File:
    return File(b"".join(noise(PAGE, seed) for seed in seeds), 0o600, Cutter.FIXED_64K, mark)


def _history() -> list[Things]:
    """Pages that change, short files in shared frames, a file that is taken over unread, one that goes."""
    steady: Things = {"base/marked": pages(90, 91, mark=b"same"), "conf": File(b"a = 1\n")}
    short: Things = {f"short/{n}": File(noise(2000, n)) for n in range(4)}
    return [
        {**steady, **short, "base/t": pages(1, 2, 3, 4, 5), "gone": pages(80, 81, 82)},
        {**steady, **short, "base/t": pages(1, 2, 13, 14, 15), "short/1": File(noise(2000, 51))},
        {**steady, **short, "base/t": pages(1, 22, 23, 14, 25), "short/1": File(noise(2000, 52))},
        {**steady, **short, "base/t": pages(1, 22, 33, 14, 35), "short/2": File(noise(2000, 53))},
    ]


@cache
def _taken() -> tuple[MemoryStore, list[tuple[Point, Things]]]:
    store = MemoryStore()
    vault = new_vault(store)
    return store, [(back_up(vault, things, now=later(n)), things) for n, things in enumerate(_history())]


def _world(*ended: int) -> tuple[MemoryStore, list[tuple[Point, Things]]]:
    """A vault of four points, of which some were ended, and the others."""
    before, points = _taken()
    store = copy_of(before)
    vault = open_vault(store, "local", keyring())
    for number in ended:
        vault.end(points[number][0])
    return store, [pair for number, pair in enumerate(points) if number not in ended]


def restores(store: MemoryStore, points: list[tuple[Point, Things]]) -> None:
    vault = open_vault(store, "local", keyring())
    assert [point.id for point in vault.points(DB)] == [point.id for point, _ in points]
    for point, things in points:
        assert held(vault.open(point.id)) == expected(things)


def nothing_dead(store: MemoryStore) -> None:
    """Everything that is there is there for somebody."""
    vault = open_vault(store, "local", keyring())
    seen = look(vault, DB)
    assert not seen.dead()
    assert [key for key in store.objects if key.startswith("marks/")] == []
    reserved = {key.rpartition("/")[2] for key in store.objects if key.startswith("reserved/")}
    assert reserved <= {id.lower() for id in seen.points}
    generations = {key.split("/")[2] for key in store.objects if key.startswith("index/")}
    assert len(generations) <= 1


def size_of(store: MemoryStore) -> int:
    return sum(len(data) for key, data in store.objects.items() if key.startswith(("packs/", "nodes/")))


# ── what is left, and what is gone ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ended", [(), (0,), (3,), (0, 1), (1, 2), (0, 1, 2), (0, 1, 2, 3)])
def test_what_is_left_restores_and_what_nobody_needs_is_gone(ended: tuple[int, ...]) -> None:
    store, left = _world(*ended)
    tidy(open_vault(store, "local", keyring()))
    restores(store, left)
    nothing_dead(store)
    assert [finding.said for finding in check(open_vault(store, "local", keyring()), read_data=True)] == []


@pytest.mark.parametrize(("least", "most"), [(0.5, 2), (1, 1.6)])
def test_of_four_points_one_is_left_and_so_is_its_size(least: float, most: float) -> None:
    """Packs of which half is alive stay as they are, so at most twice the live data is kept."""
    store, left = _world(0, 1, 2)
    did = tidy(open_vault(store, "local", keyring()), replace(NOW_OR_NEVER, least=least))
    data = sum(len(thing.data) for thing in left[0][1].values() if isinstance(thing, File))
    assert size_of(store) == did.present_bytes < most * data + 5_000
    assert did.moved > 0


def test_after_pruning_the_next_backup_stores_what_is_new_and_no_more() -> None:
    store, left = _world(0, 1)
    vault = open_vault(store, "local", keyring())
    tidy(vault)
    again = back_up(open_vault(store, "local", keyring()), left[-1][1], now=later(9))
    assert again.stored_bytes < 20_000  # maps and pages, that name new places
    tidy(vault)
    restores(store, [*left, (again, left[-1][1])])


def test_pruning_again_does_nothing() -> None:
    store, _ = _world(0, 1)
    tidy(open_vault(store, "local", keyring()))
    before = dict(store.objects)
    did = tidy(open_vault(store, "local", keyring()))
    assert store.objects == before
    assert (did.deleted, did.moved) == (0, 0)


def test_what_was_moved_is_moved_again_when_most_of_it_died() -> None:
    store, left = _world(0)
    vault = open_vault(store, "local", keyring())
    tidy(vault, replace(NOW_OR_NEVER, least=2))  # whatever is alive of them: all packs
    for point, _ in left[:-1]:
        open_vault(store, "local", keyring()).end(point)
    tidy(open_vault(store, "local", keyring()))
    restores(store, left[-1:])
    tidy(open_vault(store, "local", keyring()))  # forgets where what was moved twice had been in between
    restores(store, left[-1:])
    nothing_dead(store)


# ── dying, and failing ───────────────────────────────────────────────────────────────────────────


STRIDE = 1 if os.environ.get("BACKSTAY_EVERY_DEATH") else 11
"""Every eleventh death here; `tests/real/test_prune_sweep.py` dies all of them."""


def _worlds(kind: Callable[[MemoryStore, int], Mortal]) -> Iterator[MemoryStore]:
    """What is left when ending and pruning went wrong at its first call, at its second, and so on."""
    breaths = 1
    while True:
        store = copy_of(_taken()[0])
        mortal = kind(store, breaths)
        with suppress(Crash, BackstayError):
            _end_and_prune(mortal)
        if mortal.calls < breaths:
            assert breaths > 60
            return
        yield store
        breaths += STRIDE


def _dies(store: MemoryStore, breaths: int) -> Mortal:
    return Mortal(store, breaths)


def _dies_after(store: MemoryStore, breaths: int) -> Mortal:
    return Mortal(store, breaths, after=True)


class _Stumbling(Mortal):
    """Fails at the n-th call, and at no other."""

    def _breathe(self, act: Callable[[], T]) -> T:
        self.calls += 1
        if self.calls == self._breaths:
            raise StoreUnreachable("the store is away for a moment")
        return act()


def _end_and_prune(store: Mortal) -> None:
    """All that `backstay retain` does to a vault."""
    vault = open_vault(store, "local", keyring())
    for point in [point for point, _ in _taken()[1]][:2]:
        vault.end(point)
    tidy(vault)


@pytest.mark.parametrize("kind", [_dies, _dies_after, _Stumbling])
def test_whatever_goes_wrong_the_next_one_takes_it_up(kind: Callable[[MemoryStore, int], Mortal]) -> None:
    for store in _worlds(kind):
        left = [pair for pair in _taken()[1] if Key(f"points/database/{pair[0].id.lower()}") in store.objects]
        assert left[-2:] == _taken()[1][-2:]
        restores(store, left)
        vault = open_vault(store, "local", keyring())
        for point, _ in left[:-2]:
            vault.end(point)
        tidy(vault)
        tidy(open_vault(store, "local", keyring()))
        restores(store, left[-2:])
        nothing_dead(store)


# ── beside writers ───────────────────────────────────────────────────────────────────────────────


def test_a_backup_under_way_is_waited_for_and_spared() -> None:
    store, left = _world(0, 1)
    vault = open_vault(store, "local", keyring())
    with vault.begin(DB, plan=PLAN, now=later(9)) as writer:
        writer.add(entries(left[-1][1]))
        did = prune(vault, DB, never)
        assert did.waits == (writer.id,)
        assert did.marked > 0
        assert did.deleted == 0
        point = writer.seal(sealing(later(9)))
    restores(store, [*left, (point, left[-1][1])])
    prune(open_vault(store, "local", keyring()), DB, never)
    restores(store, [*left, (point, left[-1][1])])
    tidy(open_vault(store, "local", keyring()))
    nothing_dead(store)


def test_a_dead_writer_is_waited_for_no_longer_than_the_rules_say() -> None:
    store, left = _world(0, 1)
    vault = open_vault(store, "local", keyring())
    writer = vault.begin(DB, plan=PLAN, now=later(9))
    writer.add(entries({"new": pages(70, 71)}))
    did = tidy(open_vault(store, "local", keyring()))
    assert did.expired == (writer.id,)
    with pytest.raises(Lapsed):
        writer.seal(sealing())
    writer.__exit__()
    tidy(open_vault(store, "local", keyring()))
    restores(store, left)
    nothing_dead(store)


def test_backups_go_on_while_what_they_build_on_was_moved_and_waits_to_be_deleted() -> None:
    """A pruner that left its marks behind must not stop every backup until it comes back."""
    store, left = _world(0, 1)
    slow = open_vault(store, "local", keyring()).begin(DB, plan=PLAN, now=later(9))
    did = prune(open_vault(store, "local", keyring()), DB, never)
    assert did.waits
    assert did.moved
    points = list(left)
    for n in (10, 11, 12):
        things: Things = {**left[-1][1], "base/t": pages(1, 22, 33, 14, 100 + n)}
        points.append((back_up(open_vault(store, "local", keyring()), things, now=later(n)), things))
    slow.__exit__()
    tidy(open_vault(store, "local", keyring()))
    tidy(open_vault(store, "local", keyring()))
    restores(store, points)
    nothing_dead(store)


def test_a_point_is_copied_from_a_vault_in_which_its_packs_were_moved() -> None:
    store, left = _world(0, 1)
    vault = open_vault(store, "local", keyring())
    off_site = MemoryStore("off-site")
    join(off_site, vault, keys=keyring(), now=later(9))
    target = open_vault(off_site, "off-site", keyring())
    copy_point(vault, target, left[0][0])
    assert tidy(vault).moved > 0
    copy_point(vault, target, left[1][0])
    restores(off_site, left)
    tidy(open_vault(off_site, "off-site", keyring()))
    restores(off_site, left)
    empty = MemoryStore("empty")
    join(empty, vault, keys=keyring(), now=later(9))
    copy_point(vault, open_vault(empty, "empty", keyring()), left[1][0])
    restores(empty, left[1:])
    again = back_up(open_vault(empty, "empty", keyring()), left[1][1], now=later(9))
    tidy(open_vault(empty, "empty", keyring()))
    tidy(open_vault(empty, "empty", keyring()))
    restores(empty, [left[1], (again, left[1][1])])
    nothing_dead(empty)


# ── what cannot be done ──────────────────────────────────────────────────────────────────────────


def test_a_host_that_can_only_write_deletes_what_is_dead_and_says_what_it_could_not_move() -> None:
    store, left = _world(0, 1, 2)
    vault = open_vault(store, "local", keyring())
    blind = replace(
        vault.opened, epochs={id: replace(epoch, private=None) for id, epoch in vault.opened.epochs.items()}
    )
    did = tidy(Repository(store, "local", keyring(), blind))
    assert did.deleted > 0
    assert did.left
    assert all("cannot read data back" in why for why in did.left.values())
    restores(store, left)
    tidy(open_vault(store, "local", keyring()))
    restores(store, left)
    nothing_dead(store)


def test_a_store_that_cannot_say_who_was_first_is_pruned_for_a_single_writer_only() -> None:
    store, left = _world(0, 1)
    store.traits = replace(store.traits, put_if_absent=False)
    with pytest.raises(NotPruned, match="who of two was first"):
        tidy(open_vault(store, "local", keyring()))
    tidy(open_vault(store, "local", keyring()), replace(NOW_OR_NEVER, single_writer=True))
    restores(store, left)


def test_a_point_that_cannot_be_opened_could_need_anything() -> None:
    store, _ = _world(0)
    key = next(key for key in store.objects if key.startswith("points/"))
    store.objects[key] = store.objects[key][:-1]
    before = dict(store.objects)
    with pytest.raises(NotPruned, match="a point there cannot be opened"):
        tidy(open_vault(store, "local", keyring()))
    assert store.objects == before


def test_a_damaged_pack_is_left_for_whoever_can_heal_it() -> None:
    store, left = _world(0, 1, 2)
    for key in [key for key in store.objects if key.startswith("packs/")]:
        whole = bytearray(store.objects[key])
        for at in range(300, len(whole) - 5000, 1000):
            whole[at] ^= 1
        store.objects[key] = bytes(whole)
    listed = open_vault(store, "local", keyring()).packs_of(left[0][0].id)
    needed = {key for key in store.objects if key.startswith("packs/") and bytes.fromhex(key[-32:]) in listed}
    did = tidy(open_vault(store, "local", keyring()))
    assert needed <= set(store.objects)
    assert set(did.left) <= {key[-32:] for key in needed}
    assert all("seal is broken" in why for why in did.left.values())
    assert did.left


def test_a_stranger_among_the_marks_stops_neither_backup_nor_pruner() -> None:
    store, _ = _world(0)
    family = open_vault(store, "local", keyring()).opened.family
    unknown = Head(What.BOX, bytes(8), family, bytes(16), f"marks/{DB}/02").written() + bytes(200)
    store.put_if_absent(Key(f"marks/{DB}/01"), b"nobody's")
    store.put_if_absent(Key(f"marks/{DB}/02"), unknown)
    vault = open_vault(store, "local", keyring())
    for point in vault.points(DB):
        vault.end(point)
    dead = look(vault, DB).dead()
    mark = put_mark(store, vault.opened, keyring(), DB, Mark(frozenset(dead)))
    store.put_if_absent(Key(f"{mark.key}-waits"), b"nobody's")
    back_up(vault, {"new": pages(98)}, now=later(600))
    back_up(vault, {"new": pages(98, 99)}, now=later(660))
    did = tidy(open_vault(store, "local", keyring()))
    assert dead
    assert did.deleted == len(dead)


def test_a_mark_of_a_pruner_who_came_later_counts() -> None:
    """A backup that began before it was let in must not take its mark for a stranger's."""
    store, _ = _world(0)
    early, owner = open_vault(store, "local", keyring()), open_vault(store, "local", keyring())
    late = keyring(1)
    add(gather([owner], later(0)), Public("late", late.recipient, late.writer), Role.WRITER)
    put_mark(store, owner.opened, late, DB, Mark(frozenset({bytes(16)})))
    assert [mark.packs for mark in marks(store, early.opened, DB)] == [{bytes(16)}]
    turned = open_vault(store, "local", keyring())
    turn(gather([owner], later(1)))
    later_still = open_vault(store, "local", keyring())
    put_mark(store, later_still.opened, keyring(), DB, Mark(frozenset({bytes(range(16))})))
    with pytest.raises(WrongKey):
        marks(store, turned.opened, DB)


def test_strangers_everywhere_stop_neither_backup_nor_restore_nor_pruner() -> None:
    """Small files with names of ours, by somebody who may write to the store and holds no key."""
    store, _ = _world(0)
    id = "20301122t204437z-7f3a9c1d"
    for key in (
        f"reserved/{DB}/{id}", f"locks/{DB}/x", f"locks/_vault/{id}", "canary/lock-x", f"packs/{DB}/{'0' * 32}",
        f"nodes/{DB}/{'f' * 32}", f"holds/{DB}/{'0' * 32}", f"proofs/{DB}/{id}/{'0' * 32}", "notes/repair/x", "keys/x",
        "notes/probe/x", "notes/plan/x", "notes/spine/1/1", "notes/facts/x/1-2", "writers/x", "words/x", "retired/x",
        f"marks/{DB}/x", f"secrets/{'0' * 64}/{id}/list",
    ):  # fmt: skip
        assert store.put_if_absent(Key(key), b"nobody's")
    vault = open_vault(store, "local", keyring())
    vault.end(vault.points(DB)[0])
    point = back_up(vault, {"new": pages(98)}, now=later(600))
    assert tidy(open_vault(store, "local", keyring())).deleted
    assert held(open_vault(store, "local", keyring()).open(point.id))
    # An index, or a point, that cannot be read could be ours, and need anything: there only nothing is deleted.
    store.put_if_absent(Key(f"index/{DB}/000000000099/complete"), b"nobody's")
    store.put_if_absent(Key(f"points/{DB}/{id}"), b"nobody's")
    assert held(vault.open(back_up(vault, {"new": pages(99)}, now=later(660)).id))
    with pytest.raises(NotPruned):
        tidy(open_vault(store, "local", keyring()))


def test_a_stranger_cannot_prune() -> None:
    store, _ = _world(0)
    reader = Keyring(keyring().identity)
    with pytest.raises(BackstayError, match="but not write"):
        tidy(open_vault(store, "local", reader))


def test_what_one_box_cannot_name_is_left_for_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_MOST_MARKED", 1)
    monkeypatch.setattr(pruning, "_MOST_MOVES", 2)
    store, points = _world(0, 1)
    assert tidy(open_vault(store, "local", keyring())).moved <= 2
    restores(store, points)
    for _ in range(12):
        tidy(open_vault(store, "local", keyring()))
        restores(store, points)
    nothing_dead(store)


def test_a_box_that_nobody_could_open_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with too many moves would close the way to all that was ever moved."""
    monkeypatch.setattr(boxes, "LONGEST_BODY", 600)
    store, points = _world(0, 1)
    with suppress(NotSupported):
        tidy(open_vault(store, "local", keyring()))
    restores(store, points)
    assert all(len(data) < 2000 for key, data in store.objects.items() if key.endswith("/complete"))
