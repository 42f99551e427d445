"""Where chunks and nodes are, by id: asked only when a location hint is stale.

Written lazily, by whoever moves frames. An index is a *generation*: shards by the first bits of the id, and last of
all the box `complete`, which says how many bits. The newest complete generation counts; one shard (some MB at most)
is fetched when an id in it is asked for. Everything in it can be rebuilt from the ends of the packs.
"""

import re
import sqlite3
import struct
from collections.abc import Iterable
from contextlib import closing

from backstay.errors import Damaged
from backstay.ports import Key, Store
from backstay.values import ComponentName
from backstay.vault.boxes import open_box, seal_box, seal_json
from backstay.vault.codec import Cursor, whole_of
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened
from backstay.vault.packs import Piece, Place

SHARD_PIECES = 32_768
_COUNT = struct.Struct("<I")
_ROW = struct.Struct("<32s16s8sIIII")
_KEY = re.compile(r"index/[a-z0-9-]+/([0-9]{12})/(?:complete|[0-9a-f]+)\Z")


class Index:
    """The newest complete index of one component, read as far as it is needed."""

    def __init__(self, store: Store, opened: Opened, component: ComponentName) -> None:
        self._store, self._opened, self._component = store, opened, component
        self._newest: tuple[int, int] | None = None
        """Generation and bits."""
        self._shards: dict[int, dict[bytes, tuple[Place, int]]] = {}

    def find(self, id: bytes) -> tuple[Place, int] | None:
        """Place of the frame and start in its plaintext; None when no index has it. Raises Damaged."""
        if self._newest is None and (found := newest(self._store, self._component)) is not None:
            box = open_box(self._opened, _complete(self._component, found), self._get(found, "complete"))
            try:
                self._newest = found, min(whole_of(box.json(), "bits"), 24)
            except ValueError as error:
                raise Damaged(f"{box.key} does not say what it should: {error}") from None
        if self._newest is None:
            return None
        generation, bits = self._newest
        shard = prefix(id, bits)
        if shard not in self._shards:
            if len(self._shards) >= 16:
                self._shards.clear()
            self._shards[shard] = self._read(generation, bits, shard)
        return self._shards[shard].get(id)

    def _get(self, generation: int, name: str) -> bytes:
        return self._store.get(Key(f"{_folder(self._component, generation)}{name}"))

    def _read(self, generation: int, bits: int, shard: int) -> dict[bytes, tuple[Place, int]]:
        key = _shard_key(self._component, generation, bits, shard)
        box = open_box(self._opened, key, self._store.get(key))
        cursor = Cursor(box.body)
        found: dict[bytes, tuple[Place, int]] = {}
        try:
            for _ in range(cursor.unpack(_COUNT)[0]):
                id, pack, epoch, offset, length, at, _size = cursor.unpack(_ROW)
                found[id] = Place(pack, epoch, offset, length), at
            cursor.finish()
        except ValueError as error:
            raise Damaged(f"the index {key} is damaged: {error}") from None
        return found


def newest(store: Store, component: ComponentName, *, complete: bool = True) -> int | None:
    """The newest generation that is complete; or the newest of all, for one who begins another."""
    keys = [listed.key for listed in store.list(f"index/{component}/")]
    found = [_KEY.match(key) for key in keys if key.endswith("/complete") or not complete]
    return max((int(match.group(1)) for match in found if match), default=None)


def write_index(store: Store, opened: Opened, keys: Keyring, component: ComponentName, pieces: Iterable[Piece]) -> int:
    """A new generation with all of `pieces`; returns its number. A file without a name sorts them."""
    generation = (newest(store, component, complete=False) or 0) + 1
    with closing(sqlite3.connect("")) as spool:
        spool.execute("CREATE TABLE piece (id BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID")
        rows = ((p.id, _ROW.pack(p.id, *p.place, p.at, p.size)) for p in pieces)
        spool.executemany("INSERT OR REPLACE INTO piece VALUES (?, ?)", rows)
        total = spool.execute("SELECT count(*) FROM piece").fetchone()[0]
        bits = min(max(0, (total // SHARD_PIECES).bit_length()), 24)
        for shard in range(1 << bits):
            low, high = _bounds(shard, bits)
            found = spool.execute("SELECT row FROM piece WHERE id >= ? AND id < ? ORDER BY id", (low, high)).fetchall()
            body = _COUNT.pack(len(found)) + b"".join(row for (row,) in found)
            key = _shard_key(component, generation, bits, shard)
            store.put_if_absent(key, seal_box(opened, keys, key, body))
    key = _complete(component, generation)
    store.put_if_absent(key, seal_json(opened, keys, key, {"bits": bits, "pieces": total}))
    return generation


def prefix(id: bytes, bits: int) -> int:
    """The first `bits` bits of an id."""
    return int.from_bytes(id[:4], "big") >> (32 - bits)


def _bounds(shard: int, bits: int) -> tuple[bytes, bytes]:
    low = (shard << (32 - bits)).to_bytes(5, "big")[1:]
    high = ((shard + 1) << (32 - bits)).to_bytes(5, "big")
    return low, (high[1:] if high[0] == 0 else b"\xff" * 33)


def _folder(component: ComponentName, generation: int) -> str:
    return f"index/{component}/{generation:012d}/"


def _complete(component: ComponentName, generation: int) -> Key:
    return Key(f"{_folder(component, generation)}complete")


def _shard_key(component: ComponentName, generation: int, bits: int, shard: int) -> Key:
    return Key(f"{_folder(component, generation)}{shard:0{max(1, (bits + 3) // 4)}x}")
