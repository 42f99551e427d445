"""Location hints may be stale: after repacking, the index answers. The format must allow it from the first day."""

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import Damaged, ObjectMissing
from backstay.ports import Cutter
from backstay.vault import Repository, open_vault
from backstay.vault.frames import What
from backstay.vault.index import write_index
from backstay.vault.packs import BUFFER_SIZE, PackBuilder, Piece, Place, read_contents
from fix_vault import DB, SMALL, File, back_up, expected, held, keyring, later, new_vault, noise


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
    monkeypatch.setattr("backstay.vault.index.SHARD_PIECES", 100)
    store = MemoryStore()
    vault = new_vault(store)
    pieces = [Piece(noise(32, n), Place(noise(16, n), noise(8, n), n, n + 1), n, n) for n in range(2000)]
    write_index(store, vault.opened, keyring(), DB, pieces)
    shards = [listed for listed in store.list("index/") if not listed.key.endswith("complete")]
    assert len(shards) == 32
    from backstay.vault.index import Index

    index = Index(store, vault.opened, DB)
    assert all(index.find(piece.id) == (piece.place, piece.at) for piece in pieces)
    assert index.find(noise(32, 99_999)) is None
