"""The contract of a Store, on the folder and on the twin in memory; and what only a folder has."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore, folder
from backstay.errors import AccessDenied, DiskFull, StoreUnreachable
from backstay.ports import Key, Store
from fix_store_contract import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return MemoryStore()


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FolderStore(tmp_path / "not" / "made" / "yet")

    def test_nobody_else_may_read_what_is_stored(self, tmp_path: Path) -> None:
        FolderStore(tmp_path / "vault").put(Key("a/b"), [b"x"])
        modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "vault", *(tmp_path / "vault").rglob("*")]}
        assert modes == {0}

    def test_what_a_dead_process_left_is_swept_away_and_a_living_ones_is_not(self, tmp_path: Path) -> None:
        incoming = tmp_path / "+incoming"
        incoming.mkdir()
        old = time.time() - 7200
        for name in ("dead", "alive", "young"):
            (incoming / name).write_bytes(b"half")
        os.utime(incoming / "dead", (old, old))
        os.utime(incoming / "alive", (old, old))
        with (incoming / "alive").open("rb") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            FolderStore(tmp_path).put(Key("a"), [b"x"])
            assert sorted(path.name for path in incoming.iterdir()) == ["alive", "young"]

    def test_a_folder_that_another_thread_makes_while_we_look_is_ours_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root, look = tmp_path / "vault", Path.stat
        store, raced = FolderStore(root), list[bool]()

        def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
            if path != root or raced:
                return look(path, follow_symlinks=follow_symlinks)
            raced.append(True)
            store.put(Key("a"), [b"theirs"])  # between our look, which saw nothing, and our judgement
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

        monkeypatch.setattr(Path, "stat", stat)
        store.put(Key("b"), [b"ours"])
        assert raced
        assert [listed.key for listed in store.list()] == ["a", "b"]

    def test_half_written_files_are_never_listed(self, tmp_path: Path) -> None:
        (tmp_path / "+incoming").mkdir()
        (tmp_path / "+incoming" / "half").write_bytes(b"half")
        (tmp_path / "Stranger").write_bytes(b"not ours")
        assert list(FolderStore(tmp_path).list()) == []

    def test_a_full_disk_says_what_is_free_and_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = FolderStore(tmp_path)
        store.put(Key("older"), [b"safe"])

        def full(handle: int, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(folder, "_write", full)
        with pytest.raises(DiskFull, match="no room left") as caught:
            store.put(Key("packs/db/1"), [b"x" * 1000])
        assert caught.value.detail.startswith("needed 1.0 kB, free ")
        assert list((tmp_path / "+incoming").iterdir()) == []
        assert [listed.key for listed in store.list()] == ["older"]

    def test_a_folder_that_refuses_us_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(handle: int, data: bytes) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(folder, "_write", refuse)
        with pytest.raises(AccessDenied, match="Read-only"):
            FolderStore(tmp_path).put_if_absent(Key("a"), b"x")


def test_a_folder_whose_disk_was_taken_away_gets_nothing_written_into_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "vault")
    store.put(Key("vault.json"), [b"here"])
    (tmp_path / "vault").rename(tmp_path / "unmounted")
    with pytest.raises(StoreUnreachable, match="not the folder that it was"):
        store.put_if_absent(Key("points/one"), b"lost")
    assert not (tmp_path / "vault").exists()
    (tmp_path / "vault").mkdir()  # the mount point, empty
    with pytest.raises(StoreUnreachable, match="not the folder that it was"):
        store.put(Key("points/one"), [b"lost"])
    assert list((tmp_path / "vault").iterdir()) == []


def test_a_folder_that_was_only_read_from_is_not_made_again(tmp_path: Path) -> None:
    FolderStore(tmp_path / "vault").put(Key("vault.json"), [b"here"])
    store = FolderStore(tmp_path / "vault")
    store.get(Key("vault.json"))
    (tmp_path / "vault").rename(tmp_path / "unmounted")
    with pytest.raises(StoreUnreachable):
        store.put(Key("points/one"), [b"lost"])
    assert not (tmp_path / "vault").exists()
