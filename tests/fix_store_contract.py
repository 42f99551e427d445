"""The contract of a Store. Subclass `StoreContract` with a `store` fixture: what passes here, the vault may trust.

class TestS3(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store: ...
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.errors import ObjectMissing
from backstay.ports import Key, Store


class StoreContract:
    """Every Store passes these. `store` is empty."""

    RACES = 5
    """How often several threads race for one key. Some servers take seconds for one."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        raise NotImplementedError

    def test_what_was_put_comes_back_as_one(self, store: Store) -> None:
        store.put(Key("packs/db/1f"), [b"one ", b"", b"two"])
        assert store.get(Key("packs/db/1f")) == b"one two"

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.put(Key("a"), [])
        assert store.get(Key("a")) == b""
        assert [listed.size_bytes for listed in store.list()] == [0]

    def test_a_part_of_an_object_can_be_read(self, store: Store) -> None:
        store.put(Key("a/b"), [b"0123456789"])
        assert store.get(Key("a/b"), 2, 3) == b"234"
        assert store.get(Key("a/b"), 7) == b"789"
        assert store.get(Key("a/b"), 8, 100) == b"89"
        assert store.get(Key("a/b"), 10, 5) == b""
        assert store.get(Key("a/b"), 100, 5) == b""
        assert store.get(Key("a/b"), 3, 0) == b""

    @pytest.mark.parametrize("key", ["nothing", "nothing/there", "a/b/c"])
    def test_what_is_not_there_is_missing(self, store: Store, key: str) -> None:
        store.put(Key("a/b"), [b"x"])
        with pytest.raises(ObjectMissing, match=key):
            store.get(Key(key))

    def test_a_folder_is_no_object(self, store: Store) -> None:
        store.put(Key("a/b"), [b"x"])
        with pytest.raises(ObjectMissing):
            store.get(Key("a"))

    def test_put_if_absent_never_overwrites(self, store: Store) -> None:
        assert store.put_if_absent(Key("points/db/1"), b"first")
        assert not store.put_if_absent(Key("points/db/1"), b"second")
        assert not store.put_if_absent(Key("points/db/1"), b"first")
        assert store.get(Key("points/db/1")) == b"first"

    def test_put_if_absent_has_one_winner(self, store: Store) -> None:
        for race in range(self.RACES):
            key, start, won = Key(f"points/db/{race}"), threading.Barrier(8), list[int]()

            def run(number: int, key: Key = key, start: threading.Barrier = start, won: list[int] = won) -> None:
                start.wait()
                if store.put_if_absent(key, b"%d" % number):
                    won.append(number)

            threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            assert store.get(key) == b"%d" % won[0]

    def test_objects_are_listed_in_the_order_of_their_keys(self, store: Store) -> None:
        keys = ["a/b", "a-b", "a.b", "a/b/c" + "x" * 100, "a_b", "b", "ab", "a/0", "z/1/2/3"]
        keys.remove("a/b")  # a key and a folder of the same name cannot both be
        for key in keys:
            store.put(Key(key), [key.encode()])
        assert [listed.key for listed in store.list()] == sorted(keys)
        assert [listed.size_bytes for listed in store.list()] == [len(key) for key in sorted(keys)]

    @pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "a/bc", "b/c", "nothing/", "a/b/1"])
    def test_a_prefix_chooses_by_text(self, store: Store, prefix: str) -> None:
        keys = ["a/b/1", "a/b/2", "a/bc/1", "ab/1", "a-/1", "b/c"]
        for key in keys:
            store.put(Key(key), [b"x"])
        assert [listed.key for listed in store.list(prefix)] == sorted(key for key in keys if key.startswith(prefix))

    def test_what_cannot_be_finished_was_never_there(self, store: Store) -> None:
        def parts() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError("the source died")

        with pytest.raises(RuntimeError):
            store.put(Key("packs/db/1"), parts())
        assert list(store.list()) == []
        store.put(Key("packs/db/1"), [b"whole"])
        assert store.get(Key("packs/db/1")) == b"whole"

    def test_what_was_deleted_is_gone_and_deleting_it_again_is_fine(self, store: Store) -> None:
        store.put(Key("a/b"), [b"x"])
        store.delete(Key("a/b"))
        store.delete(Key("a/b"))
        store.delete(Key("never/there"))
        assert list(store.list()) == []
        with pytest.raises(ObjectMissing):
            store.get(Key("a/b"))

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "..", "a/../b", ".", "A", "a b", "a\n", "ä", "a\0b", "+a"])
    def test_a_strange_key_is_refused(self, store: Store, key: str) -> None:
        with pytest.raises(ValueError, match="cannot be the name"):
            store.put_if_absent(Key(key), b"x")
        with pytest.raises(ValueError, match="cannot be the name"):
            store.put(Key(key), [b"x"])

    def test_the_times_of_objects_are_by_the_stores_own_clock(self, store: Store) -> None:
        before = store.now()
        store.put(Key("a"), [b"x"])
        (listed,) = store.list()
        assert before - timedelta(seconds=2) <= listed.modified <= store.now() + timedelta(seconds=2)
        assert listed.modified.utcoffset() == timedelta()

    def test_a_large_object_comes_back(self, store: Store) -> None:
        part = bytes(range(256)) * 4096
        store.put(Key("packs/db/large"), (part for _ in range(9)))
        assert store.get(Key("packs/db/large"), 8 * len(part), 10) == part[:10]
        assert [listed.size_bytes for listed in store.list()] == [9 * len(part)]
