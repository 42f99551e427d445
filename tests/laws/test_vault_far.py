"""A store that is far away is asked for several things at once: what comes of it is the same, and so is what fails."""

import itertools
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, ObjectMissing, StoreUnreachable
from backstay.ports import Cutter
from backstay.vault import fetching, open_vault
from fix_vault import File, Mortal, Things, back_up, copy_of, expected, keyring, laid_down, later, new_vault, noise

PAGE, PAGES = 65_536, 24


@pytest.fixture(autouse=True)
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "FAR_S", -1.0)
    monkeypatch.setattr(fetching, "GAP_BYTES", 0)


@pytest.fixture
def chain() -> tuple[MemoryStore, Things]:
    """Six backups: the pages of the file lie in six packs, and next to none beside the one before it."""
    store = MemoryStore()
    vault = new_vault(store)
    pages = [noise(PAGE, seed) for seed in range(PAGES)]
    for number in range(6):
        for at in range(number, PAGES, 6) if number else ():
            pages[at] = noise(PAGE, 100 * number + at)
        back_up(vault, {"base/1": File(b"".join(pages), cutter=Cutter.FIXED_64K)}, now=later(number))
    return store, {"base/1": File(b"".join(pages), cutter=Cutter.FIXED_64K)}


def _restored(store: MemoryStore | Mortal, to: Path) -> Path:
    vault = open_vault(store, "local", keyring())
    vault.open(vault.points()[-1].id).extract(to)
    return to


def test_it_is_the_same(chain: tuple[MemoryStore, Things], tmp_path: Path) -> None:
    store, things = chain
    assert laid_down(_restored(store, tmp_path / "to")) == expected(things)


def test_an_error_at_any_call_reaches_the_caller(chain: tuple[MemoryStore, Things], tmp_path: Path) -> None:
    store, things = chain
    for breaths in itertools.count(1):
        mortal = Mortal(store, breaths, dies=StoreUnreachable("the store does not answer"))
        try:
            to = _restored(mortal, tmp_path / str(breaths))
        except StoreUnreachable:
            continue
        assert laid_down(to) == expected(things)
        assert breaths > 20, "it asked for more than that"
        return


@pytest.mark.parametrize("damage", ["gone", "short", "changed"])
def test_whichever_pack_is_damaged_the_file_is_named(
    chain: tuple[MemoryStore, Things], tmp_path: Path, damage: str
) -> None:
    clean, _ = chain
    for number, key in enumerate(key for key in clean.objects if key.startswith("packs/")):
        store = copy_of(clean)
        data = store.objects.pop(key)
        if damage != "gone":
            store.objects[key] = data[: len(data) // 3] if damage == "short" else bytes(len(data))
        with pytest.raises((Damaged, ObjectMissing), match="base/1"):
            _restored(store, tmp_path / str(number))
