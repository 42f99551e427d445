"""Laws of a copy beside pruners: whatever either of them does between any two calls of a store, no point of any vault
lacks a byte, and copying again comes to an end."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from backstay.adapters.around import Called, through
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, Lapsed, NoSuchPoint, ObjectMissing
from backstay.facts import Point
from backstay.ports import Cutter, Store
from backstay.vault import Repository, join, open_vault
from backstay.vault.copying import copy_point
from backstay.vault.names import sealed
from backstay.vault.pruning import Pruned, Rules, prune
from fix_vault import DB, NOW, File, Things, back_up, copy_of, expected, held, keyring, later, new_vault, noise

PAGE = 65_536
LAPSED = (Lapsed, NoSuchPoint, ObjectMissing)
"""What a copy may meet when a pruner was faster. Never Damaged, and never a point that lacks something."""


def pages(*seeds: int) -> File:
    return File(b"".join(noise(PAGE, seed) for seed in seeds), 0o600, Cutter.FIXED_64K)


HISTORY: list[Things] = [
    {"base/t": pages(1, 2, 3, 4, 5, 6), "conf": File(b"a = 1\n"), "gone": pages(80, 81, 82, 83)},
    {"base/t": pages(1, 2, 3, 14, 15, 16), "conf": File(b"a = 2\n")},
    {"base/t": pages(1, 22, 23, 14, 25, 16), "conf": File(b"a = 3\n")},
]


@cache
def _world() -> tuple[MemoryStore, MemoryStore, tuple[Point, ...]]:
    """Two vaults: the first with three points that share packs, the second with copies of the first two."""
    source, target = MemoryStore("local"), MemoryStore("off-site")
    local = new_vault(source)
    join(target, local, keys=keyring(), now=NOW)
    points = tuple(back_up(local, things, now=later(n)) for n, things in enumerate(HISTORY))
    for point in points[:2]:
        copy_point(local, open_vault(target, "off-site", keyring()), point)
    return source, target, points


def tidy(vault: Repository, *, patient: bool = True) -> Pruned:
    """`patient`: it waits for nobody's end, and leaves its marks. Else it takes everybody who has reserved for dead."""
    return prune(vault, DB, lambda: False, Rules() if patient else Rules(expire_after=timedelta(0)))


def meddled(store: Store, at: int, act: Callable[[], object]) -> tuple[Store, list[int]]:
    """The same store; right before its n-th call `act` happens, once."""
    calls, lock = [0], threading.Lock()

    def between(called: Called, method: Callable[..., Any]) -> Any:
        with lock:
            calls[0] += 1
            if calls[0] == at:
                act()
        return method(*called.args, **called.kwargs)

    return through(store, between), calls


def sound(vault: Repository, points: tuple[Point, ...]) -> None:
    for point in vault.points():
        assert held(vault.open(point.id)) == expected(HISTORY[points.index(point)])


def ends(store: MemoryStore, *points: Point) -> Callable[[], None]:
    """Retention ends these points, and a pruner runs, twice."""

    def act() -> None:
        vault = open_vault(store, store.describe(), keyring())
        for point in points:
            vault.end(point)
        tidy(vault)
        tidy(vault)

    return act


@pytest.mark.parametrize(("where", "impatient"), [("source", False), ("target", False), ("target", True)])
def test_a_pruner_between_any_two_calls_never_makes_a_point_that_lacks_something(where: str, impatient: bool) -> None:
    clean_source, clean_target, points = _world()
    for at in range(1, 400):
        source, target = copy_of(clean_source), copy_of(clean_target)
        theirs = source if where == "source" else target
        old = ends(theirs, *points[:2])

        def act(old: Callable[[], None] = old, theirs: MemoryStore = theirs) -> None:
            old()
            if impatient:
                tidy(open_vault(theirs, theirs.describe(), keyring()), patient=False)

        calls = [0]
        if where == "source":
            local_store, calls = meddled(source, at, act)
            local, off_site = open_vault(local_store, "local", keyring()), open_vault(target, "off-site", keyring())
        else:
            target_store, calls = meddled(target, at, act)
            local, off_site = open_vault(source, "local", keyring()), open_vault(target_store, "off-site", keyring())
        try:
            copy_point(local, off_site, points[2])
        except LAPSED:
            pass
        except Damaged as error:
            pytest.fail(f"{at}: {error}")
        sound(open_vault(target, "off-site", keyring()), points)
        sound(open_vault(source, "local", keyring()), points)
        assert _comes_to_an_end(source, target, points) or impatient, at
        if calls[0] < at:
            return
    pytest.fail("it never came to an end")


def _comes_to_an_end(source: MemoryStore, target: MemoryStore, points: tuple[Point, ...]) -> bool:
    """Whatever was left behind: prune, and copy again. False: a pruner that took everybody for dead expired the point
    itself, between its reservation and its seal. A name that was expired stays so."""
    for _ in range(4):
        off_site = open_vault(target, "off-site", keyring())
        try:
            copy_point(open_vault(source, "local", keyring()), off_site, points[2])
        except LAPSED:
            tidy(off_site, patient=False)
            continue
        tidy(off_site, patient=False)
        sound(open_vault(target, "off-site", keyring()), points)
        assert points[2] in off_site.points()
        return True
    assert open_vault(target, "off-site", keyring()).sealed_at(sealed(DB, points[2].id)) is None
    return False
