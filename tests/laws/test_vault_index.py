"""Location hints may be stale: after repacking, the index answers. The format must allow it from the first day."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, ObjectMissing
from backstay.ports import Cutter, Key, Listed
from backstay.vault import Repository, open_vault
from backstay.vault.boxes import seal_json
from backstay.vault.frames import What
from backstay.vault.generations import Change, write_index
from backstay.vault.index import Index, newest, read_complete
from backstay.vault.keys import Opened
from backstay.vault.packs import BUFFER_SIZE, PackBuilder, Piece, Place, parse_key, read_contents
from fix_vault import DB, SMALL, File, Things, back_up, expected, held, keyring, later, new_vault, noise


def _repack(vault: Repository, what: What, prefix: str, *, delete: bool = True) -> list[Piece]:
    """Move everything below `prefix` into one new pack, as a pruner will, and delete the old ones."""
    import zstandard

    store, new, moved = vault.store, PackBuilder(vault.opened, what, DB, bytearray(BUFFER_SIZE)), list[Piece]()
    shelf = vault.open(vault.points()[0].id).fetching.shelf
    for listed in list(store.list(prefix)):
        contents = read_contents(store, vault.opened, listed.key, listed.size_bytes)
        for piece in contents.pieces:
            if what is What.NODES:
                plain = shelf.node_at(piece.id, piece.place)
            else:
                frame = store.get(listed.key, piece.place.offset, piece.place.length)
                plain = shelf.open_data(piece.place, frame)[piece.at : piece.at + piece.size]
            place = new.add(zstandard.compress(plain), len(plain), piece.id, [0], [len(plain)])
            moved.append(Piece(piece.id, place, 0, len(plain)))
        if delete:
            store.delete(listed.key)
    store.put(new.key, new.finish())
    return moved


def test_after_repacking_everything_is_found_by_the_index() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    things = {**SMALL, "large": File(noise(900_000), cutter=Cutter.FIXED_64K)}
    points = [back_up(vault, things), back_up(vault, {**things, "new": File(b"new")}, now=later(1))]
    pieces = _repack(vault, What.DATA, "packs/") + _repack(vault, What.NODES, "nodes/")

    vault = open_vault(store, "local", keyring())
    with pytest.raises(ObjectMissing):
        held(vault.open(points[0].id))
    write_index(store, vault.opened, keyring(), DB, pieces)
    vault = open_vault(store, "local", keyring())
    assert held(vault.open(points[0].id)) == expected(things)
    assert held(vault.open(points[1].id)) == expected({**things, "new": File(b"new")})
    third = back_up(vault, things, now=later(2))
    assert held(vault.open(third.id)) == expected(things)


@pytest.mark.parametrize("prefix", ["packs/", "nodes/"])
@pytest.mark.parametrize("damage", ["flipped", "cut short", "another's", "empty"])
def test_what_is_damaged_is_found_by_the_index(prefix: str, damage: str) -> None:
    """A pack that stands there and is wrong is healed by a new one: its name is never written again."""
    store = MemoryStore()
    vault = new_vault(store)
    things = {**SMALL, "large": File(noise(900_000), cutter=Cutter.FIXED_64K)}
    point = back_up(vault, things)
    old = [listed.key for listed in store.list(prefix)]
    pieces = _repack(vault, What.DATA if prefix == "packs/" else What.NODES, prefix, delete=False)
    for key in old:
        whole = store.objects[key]
        store.objects[key] = {
            "flipped": bytes(byte ^ 1 for byte in whole),
            "cut short": whole[: len(whole) * 2 // 3],
            "another's": noise(len(whole)),
            "empty": b"",
        }[damage]
    with pytest.raises(Damaged):
        held(open_vault(store, "local", keyring()).open(point.id))
    write_index(store, vault.opened, keyring(), DB, pieces)
    assert held(open_vault(store, "local", keyring()).open(point.id)) == expected(things)


@pytest.mark.parametrize("prefix", ["packs/", "nodes/"])
def test_an_index_that_lies_makes_an_error_and_never_other_bytes(prefix: str) -> None:
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, SMALL)
    pieces = _repack(vault, What.DATA if prefix == "packs/" else What.NODES, prefix)
    places = [piece.place for piece in pieces]
    lies = [
        [piece._replace(place=place) for piece, place in zip(pieces, places[1:] + places[:1])],
        [piece._replace(place=piece.place._replace(offset=1 << 31)) for piece in pieces],
        [piece._replace(place=piece.place._replace(length=(1 << 32) - 1)) for piece in pieces],
        [piece._replace(place=piece.place._replace(pack=noise(16))) for piece in pieces],
        [piece._replace(at=piece.at + 1) for piece in pieces] if prefix == "packs/" else [],
    ]
    for lie in lies:
        write_index(store, vault.opened, keyring(), DB, lie)
        with pytest.raises((Damaged, ObjectMissing)):
            held(open_vault(store, "local", keyring()).open(point.id))


def test_an_index_that_was_never_finished_does_not_count() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, SMALL)
    pieces = _repack(vault, What.DATA, "packs/") + _repack(vault, What.NODES, "nodes/")
    write_index(store, vault.opened, keyring(), DB, [])
    (complete,) = [listed.key for listed in store.list("index/") if listed.key.endswith("/complete")]
    store.delete(complete)
    assert write_index(store, vault.opened, keyring(), DB, pieces) == 2
    assert held(open_vault(store, "local", keyring()).open(point.id)) == expected(SMALL)


def test_an_index_of_many_pieces_is_cut_into_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backstay.vault.generations.SHARD_PIECES", 100)
    store = MemoryStore()
    vault = new_vault(store)
    pieces = [Piece(noise(32, n), Place(noise(16, n), noise(8, n), n, n + 1), n, n) for n in range(2000)]
    write_index(store, vault.opened, keyring(), DB, pieces)
    shards = [listed for listed in store.list("index/") if not listed.key.endswith(("begun", "complete"))]
    assert len(shards) == 32
    index = Index(store, vault.opened, DB)
    assert all(index.find(piece.id) == (piece.place, piece.at) for piece in pieces)
    assert index.find(noise(32, 99_999)) is None


# ── generations ──────────────────────────────────────────────────────────────────────────────────


def _piece(name: str, pack: str) -> Piece:
    return Piece(name.encode().ljust(32), Place(pack.encode().ljust(16), b"epoch678", 1, 2), 0, 1)


def _id(pack: str) -> bytes:
    return pack.encode().ljust(16)


def _moves(**moves: str) -> Change:
    return Change({_id(old): tuple(_id(new) for new in packs.split()) for old, packs in moves.items()})


def test_a_generation_has_what_still_matters_of_those_before() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    where = (store, vault.opened, keyring(), DB)
    write_index(*where, [_piece("one", "q"), _piece("two", "q")], _moves(p="q"))
    write_index(*where, [_piece("one", "r")], _moves(q="r"))
    write_index(*where, [], Change(gone=(_id("nothing"),)))
    found = newest(store, vault.opened, DB)
    assert found is not None
    assert found.moves == {_id("p"): (_id("r"),), _id("q"): (_id("r"),)}
    index = Index(store, vault.opened, DB)
    assert index.find(_piece("one", "").id) == (_piece("one", "r").place, 0)
    assert index.find(_piece("two", "").id) is None  # nobody used it when q was moved
    write_index(*where, [], Change(forget=(_id("p"), _id("q"))))
    found = newest(store, vault.opened, DB)
    assert found is not None
    assert (found.moves, found.pieces) == ({}, 0)


def test_a_generation_that_was_given_up_does_not_count_and_its_writer_begins_again() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    where = (store, vault.opened, keyring(), DB)
    store.put_if_absent(key := Key("index/database/000000000001/begun"), seal_json(vault.opened, keyring(), key, {}))
    assert write_index(*where, [_piece("one", "q")]) == 2
    key = Key("index/database/000000000001/complete")
    assert read_complete(vault.reopen(key), 1) is None


def _nothing() -> None:
    pass


class _Meanwhile(MemoryStore):
    """Somebody else comes by before the n-th call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.before = 0, 0
        self.act: Callable[[], None] = _nothing

    def _tick(self) -> None:
        self.calls += 1
        if self.calls == self.before:
            self.act()

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        self._tick()
        return super().put_if_absent(key, data)

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        self._tick()
        return super().get(key, start, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        self._tick()
        return super().list(prefix)


def test_of_two_who_write_an_index_at_once_nothing_is_lost() -> None:
    """Whatever one does between two calls of the other: the newest generation has the pieces and moves of both."""
    before, calls = 1, 1
    while before <= calls:
        store = _Meanwhile()
        vault = new_vault(store)

        def write(name: str, opened: Opened = vault.opened, store: MemoryStore = store) -> None:
            write_index(store, opened, keyring(), DB, [_piece(name, f"q-{name}")], _moves(**{name: f"q-{name}"}))

        write("zero")
        store.calls, store.before, store.act = 0, before, partial(write, "one")
        write("two")
        calls = store.calls
        found = newest(store, vault.opened, DB)
        assert found is not None
        assert set(found.moves) == {_id("zero"), _id("one"), _id("two")}, before
        index = Index(store, vault.opened, DB)
        assert all(index.find(_piece(name, "").id) for name in ("zero", "one", "two")), before
        before += 1
    assert before > 10


def test_what_was_moved_is_found_by_the_end_of_the_pack_that_it_was_moved_into() -> None:
    """Neighbours were moved together: a restore reads the end of one pack, not a shard for each chunk."""
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, {"large": File(noise(900_000), cutter=Cutter.FIXED_64K)})
    old = [parse_key(listed.key)[2] for listed in store.list("packs/")]
    pieces = _repack(vault, What.DATA, "packs/")
    change = Change(dict.fromkeys(old, tuple({piece.place.pack for piece in pieces})))
    write_index(store, vault.opened, keyring(), DB, [], change)
    assert held(open_vault(store, "local", keyring()).open(point.id))["large"] == File(noise(900_000))


def test_a_point_that_was_moved_is_the_base_of_the_next_and_little_is_stored() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    things: Things = {
        **SMALL,
        "large": File(noise(900_000), cutter=Cutter.FIXED_64K),
        "marked": File(noise(500_000, 1), cutter=Cutter.FIXED_64K, mark=b"m"),
        "text": File(noise(900_000, 2), cutter=Cutter.CDC_V1),
    }
    first = back_up(vault, things)
    uses = vault.uses_of(vault.sealed(first.id))
    moved = {what: _repack(vault, what, prefix) for what, prefix in ((What.DATA, "packs/"), (What.NODES, "nodes/"))}
    new = {what: tuple({piece.place.pack for piece in pieces}) for what, pieces in moved.items()}
    moves = {**dict.fromkeys(uses.data, new[What.DATA]), **dict.fromkeys(uses.nodes, new[What.NODES])}
    write_index(store, vault.opened, keyring(), DB, moved[What.DATA] + moved[What.NODES], Change(moves))
    vault = open_vault(store, "local", keyring())
    second = back_up(vault, things, now=later(1))
    assert second.stored_bytes < 10_000  # maps and pages, with the new places in them
    assert held(vault.open(second.id)) == expected(things)
    third = back_up(vault, things, now=later(2))
    assert third.stored_bytes == 0
