"""Storing pieces of old packs in new ones, with a generation of the index that says where they are now."""

import secrets
import sqlite3
from collections.abc import Iterator
from datetime import datetime

import zstandard

from backstay.errors import Lapsed
from backstay.values import ComponentName, PointId, utc
from backstay.vault import names
from backstay.vault.boxes import seal_json
from backstay.vault.copying import packs_in
from backstay.vault.frames import What
from backstay.vault.generations import Change, write_index
from backstay.vault.index import ROW, newest
from backstay.vault.marks import condemned
from backstay.vault.packs import BUFFER_SIZE, PackBuilder, Piece, Place
from backstay.vault.repository import Repository
from backstay.vault.soundness import Lost

GROUP_BYTES = 256 << 10
"""Short chunks are compressed together, as a writer does."""


class Restocking:
    """For one component and one thread. Leaving it without `finish` leaves packs that nobody needs.

    It holds a reservation from before its first pack to behind its index: a pruner that listed the packs meanwhile
    waits for it, and sees then that they are needed.
    """

    def __init__(self, vault: Repository, component: ComponentName, now: datetime) -> None:
        self._vault, self._component, self._now = vault, component, utc(now)
        self._packs: dict[What, PackBuilder] = {}
        self._group: list[tuple[Lost, bytes]] = []
        self._group_bytes = 0
        self._moves: dict[bytes, dict[bytes, None]] = {}
        self._compress = zstandard.ZstdCompressor(level=3)
        self._reservation: PointId | None = None
        self._rows = sqlite3.connect("")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE piece (row BLOB NOT NULL)")

    def __enter__(self) -> "Restocking":
        return self

    def __exit__(self, *exc: object) -> None:
        self._rows.close()
        if self._reservation is not None and exc[0] is None:
            self._end()

    def add(self, lost: Lost, data: bytes) -> None:
        """Store a piece anew. `data` was verified."""
        if self._reservation is None:
            self._reserve()
        if lost.what is What.NODES:
            self._seal(What.NODES, [(lost, data)])
            return
        if self._group_bytes + len(data) > GROUP_BYTES:
            self._seal_group()
        self._group.append((lost, data))
        self._group_bytes += len(data)

    def finish(self) -> bool:
        """Make it count: from now on readers find the pieces. Whether there were any. Raises Lapsed when a pruner was
        faster: it is to be done again."""
        self._seal_group()
        if not self._moves:
            return False
        for pack in self._packs.values():
            self._vault.store.put(pack.key, pack.finish())
        new = {pack for packs in self._moves.values() for pack in packs}
        vault, own = self._vault, self._reservation
        assert own is not None, "whoever moved something had reserved"
        if new & condemned(vault.store, vault.opened, self._component, own) or self._is_expired():
            raise Lapsed(
                f"a pruner took what was just stored anew in {vault.name}",
                hint="wait until it is done, and mend the vault again",
            )
        change = Change(moves={old: tuple(packs) for old, packs in self._moves.items()}, gone=self._gone())
        write_index(vault.store, vault.opened, vault.keys, self._component, self._pieces(), change)
        return True

    def _gone(self) -> set[bytes]:
        """Packs that are missing and into which something was moved: what could be found of it is stored anew."""
        vault = self._vault
        index = newest(vault.store, vault.opened, self._component)
        targets = {new for packs in index.moves.values() for new in packs} if index else set[bytes]()
        return targets - packs_in(vault, self._component, targets).keys()

    # ── packs ──

    def _seal_group(self) -> None:
        if self._group:
            self._seal(What.DATA, self._group)
        self._group, self._group_bytes = [], 0

    def _seal(self, what: What, pieces: list[tuple[Lost, bytes]]) -> None:
        """One frame."""
        plain = b"".join(data for _, data in pieces)
        sizes = [len(data) for _, data in pieces]
        ats = [sum(sizes[:n]) for n in range(len(sizes))]
        compressed = self._compress.compress(plain)
        pack = self._pack(what, len(compressed), len(pieces))
        place = pack.add(compressed, len(plain), b"".join(lost.id for lost, _ in pieces), ats, sizes)
        for (lost, _), at, size in zip(pieces, ats, sizes):
            self._moves.setdefault(lost.place.pack, {})[pack.id] = None
            self._rows.execute("INSERT INTO piece VALUES (?)", (ROW.pack(lost.id, *place, at, size),))

    def _pack(self, what: What, compressed_size: int, pieces: int) -> PackBuilder:
        pack = self._packs.get(what)
        if pack is not None and pack.has_room(compressed_size, pieces):
            return pack
        buffer = bytearray(BUFFER_SIZE) if pack is None else pack.buffer
        if pack is not None:
            self._vault.store.put(pack.key, pack.finish())
        self._packs[what] = PackBuilder(self._vault.opened, what, self._component, buffer)
        return self._packs[what]

    def _pieces(self) -> Iterator[Piece]:
        for (row,) in self._rows.execute("SELECT row FROM piece"):
            id, pack, epoch, offset, length, at, size = ROW.unpack(row)
            yield Piece(id, Place(pack, epoch, offset, length), at, size)

    # ── the reservation ──

    def _reserve(self) -> None:
        vault, component = self._vault, self._component
        id = PointId(f"{self._now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        key = names.reserved(component, id)
        body = {"component": component, "plan": "", "point": id}
        vault.store.put_if_absent(key, seal_json(vault.opened, vault.keys, key, body))
        self._reservation = id

    def _is_expired(self) -> bool:
        assert self._reservation is not None, "it was made with the first piece"
        key = names.sealed(self._component, self._reservation)
        return any(listed.key == key for listed in self._vault.store.list(key))

    def _end(self) -> None:
        assert self._reservation is not None, "it was made with the first piece"
        self._vault.expire(self._component, self._reservation, now=self._now, why="a repair, which makes no point")
