"""Laws of packs that are stored while they are filled: the same objects, or none, and nobody waits for ever."""

import io
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.errors import DiskFull
from backstay.ports import Cutter, Entry, Key, Kind, StoreTraits
from backstay.vault import Repository, check, open_vault
from backstay.vault.frames import What
from backstay.vault.growing import PAGE_BYTES, Abandoned, GrowingPack, new_buffer
from backstay.vault.packs import BUFFER_SIZE, PART_BYTES, PackBuilder
from fix_vault import DB, MODIFIED, NOW, PLAN, SMALL, File, Things, back_up, expected, held, keyring, new_vault, noise

NOISE = noise(40 << 20)
LONG: Things = {
    **SMALL, **{f"base/1/{n}": File(NOISE[n << 20 : (n + 8) << 20], cutter=Cutter.FIXED_64K) for n in range(0, 32, 8)},
}  # fmt: skip
WAIT_S = 20


class Taking(MemoryStore):
    """Takes parts as they are made; fails at one of them."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.traits = StoreTraits(put_if_absent=True, object_lock=False, versions=False, takes_as_made=True)
        self.left, self._counting = fails_at, threading.Lock()

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        super().put(key, list(self._counted(parts)))

    def _counted(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            with self._counting:
                self.left -= 1
                if self.left == 0:
                    raise DiskFull("no room left", detail=f"needed {getattr(parts, 'size_bytes', 0)}")
            yield part


def watched(work: "threading.Thread") -> None:
    work.start()
    work.join(WAIT_S)
    assert not work.is_alive(), "it waits for ever"


def backed_up(vault: Repository) -> list[BaseException]:
    """Backs up, in a thread that is waited for; what it met."""
    met: list[BaseException] = []

    def work() -> None:
        try:
            back_up(vault, LONG)
        except BaseException as error:  # noqa: BLE001 - looked at by whoever asked
            met.append(error)

    watched(threading.Thread(target=work, daemon=True))
    return met


def test_what_was_stored_while_it_was_made_is_what_a_reader_finds(tmp_path: Path) -> None:
    vault = new_vault(FolderStore(tmp_path / "vault"))
    point = back_up(vault, LONG)
    assert held(open_vault(FolderStore(tmp_path / "vault"), "local", keyring()).open(point.id)) == expected(LONG)
    assert list(check(vault, read_data=True)) == []
    assert list((tmp_path / "vault" / "+incoming").iterdir()) == []


@pytest.mark.parametrize("number", [1, 2, 3, 17, 18, 34])
def test_a_store_that_fails_at_any_part_ends_the_backup(number: int) -> None:
    store = Taking()
    vault = new_vault(store)
    store.left = number
    met = backed_up(vault)
    assert [type(error) for error in met] == [DiskFull]
    assert [key for key in store.objects if key.startswith(("packs/", "nodes/", "points/"))] == []
    store.left = -1
    assert held(vault.open(back_up(vault, LONG).id)) == expected(LONG)


def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def readinto(self, buffer: "memoryview | bytearray", /) -> int:  # type: ignore[override]
            if self.tell() >= 9 << 20:
                raise OSError("the disk is gone")
            return super().readinto(buffer)

    vault = new_vault(FolderStore(tmp_path / "vault"))
    failing = Entry(
        "f", Kind.FILE, 0o600, MODIFIED, len(NOISE), lambda: Failing(NOISE), Cutter.FIXED_64K, mark=b"",
    )  # fmt: skip
    met: list[BaseException] = []

    def work() -> None:
        try:
            with vault.begin(DB, plan=PLAN, now=NOW) as writer:
                writer.add([failing])
        except OSError as error:
            met.append(error)

    watched(threading.Thread(target=work, daemon=True))
    assert [str(error) for error in met] == ["the disk is gone"]
    assert list((tmp_path / "vault" / "+incoming").iterdir()) == []
    assert [path for path in (tmp_path / "vault").rglob("*") if len(path.name) == 32] == []


def test_parts_are_given_as_they_are_made_and_their_memory_is_given_back() -> None:
    vault = new_vault(MemoryStore())
    pack = PackBuilder(vault.opened, What.DATA, DB, new_buffer())
    growing = GrowingPack(pack)
    pack.watch = growing.grew
    parts = iter(growing)

    def fill(n: int) -> None:
        for _ in range(n):
            pack.add(NOISE[:PART_BYTES], PART_BYTES, bytes(32), [0], [PART_BYTES])

    fill(3)
    first = [next(parts), next(parts)]
    assert [len(part) for part in first] == [PART_BYTES] * 2
    assert bytes(pack.view[:PART_BYTES]) == first[0], "nothing is forgotten before it was stored"
    first.append(next(parts))
    assert pack.view[:PAGE_BYTES] == bytes(PAGE_BYTES), "these were"
    assert bytes(pack.view[PAGE_BYTES : PAGE_BYTES + PART_BYTES]) == first[2]
    fill(1)
    growing.close()
    rest = list(parts)
    assert len(b"".join([*first, *rest])) == growing.size_bytes
    with pytest.raises(AssertionError, match="no second time"):
        list(growing)


def test_who_waits_for_a_pack_that_is_given_up_hears_of_it() -> None:
    vault = new_vault(MemoryStore())
    growing = GrowingPack(PackBuilder(vault.opened, What.DATA, DB, bytearray(BUFFER_SIZE)))
    met: list[str] = []

    def work() -> None:
        try:
            list(growing)
        except Abandoned:
            met.append(f"{growing.size_bytes} bytes")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    growing.abandon()
    thread.join(WAIT_S)
    assert met == ["0 bytes"]
