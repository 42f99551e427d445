"""Writing an index: a new generation with everything of the one before that still matters, and what was moved since.

Two may write at once, on two hosts. Each takes a number by put-if-absent, and the chain of complete generations has
no gap: before a generation is completed, every lower number is closed for good. Closing is putting `complete` if
absent, so of the writer who completes a generation and the one who gives it up there is one winner. Hence each
complete generation was carried over from *all* complete ones before it, and what it says of a moved pack can be
relied upon as soon as it is there.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field

from backstay.errors import Damaged, Lapsed, ObjectMissing
from backstay.ports import Key, Store
from backstay.values import ComponentName
from backstay.vault.boxes import open_box, seal_box, seal_json
from backstay.vault.index import (
    COUNT,
    MOST_BITS,
    ROW,
    Generation,
    name_of,
    newest,
    number_of,
    numbers,
    read_complete,
    read_shard,
    shard_name,
)
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened
from backstay.vault.packs import Piece

SHARD_PIECES = 32_768
_TRIES = 16


@dataclass(frozen=True, slots=True)
class Change:
    """What is new since the generation before."""

    moves: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict[bytes, tuple[bytes, ...]])
    """Old packs, and those that have now what was used of them: none where nothing was."""
    forget: Collection[bytes] = ()
    """Moved packs that no live point lists, nor ever can again (a pruner marked them, and waited)."""
    gone: Collection[bytes] = ()
    """Packs that are not in the store: what lies there is not carried over."""
    anew: bool = False
    """The pieces are all there are: none is carried over, and a generation that cannot be read stands in nobody's way.
    The moves of one that can be are kept."""


def write_index(
    store: Store, opened: Opened, keys: Keyring, component: ComponentName, pieces: Iterable[Piece],
    change: Change = Change(),
) -> int:  # fmt: skip
    """A new generation with `pieces`, and its number. When this returns it is durable, and the newest there is.
    Raises Lapsed when others are always faster."""
    desk = _Desk(store, opened, keys, component, anew=change.anew)
    with closing(sqlite3.connect("", isolation_level=None)) as spool:  # a file without a name: no memory
        spool.execute("PRAGMA journal_mode = OFF")
        spool.execute("CREATE TABLE new (id BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID")
        spool.executemany("INSERT OR REPLACE INTO new VALUES (?, ?)", (_row(piece) for piece in pieces))
        for _ in range(_TRIES):
            number = desk.take_number()
            before = (newest_readable if change.anew else newest)(store, opened, component)
            moves, carried = _carried(before, change), None if change.anew else before
            try:
                shards = desk.write_shards(spool, number, carried, set(change.gone) | _dropped(before, moves))
            except ObjectMissing:
                if newest(store, opened, component) == before:
                    raise
                continue  # it was swept while we read it: there is a newer one
            if shards is not None and desk.complete(number, before, Generation(number, *shards, moves)):
                return number
    raise Lapsed(
        f"cannot write an index of {component} in {store.describe()}",
        detail="somebody else wrote one at the same time, again and again",
        hint="see whether several pruners run on this vault, and run this one again",
    )


def newest_readable(store: Store, opened: Opened, component: ComponentName) -> Generation | None:
    """The newest complete generation that is not damaged, for who writes everything anew."""
    for number in sorted(numbers(store, component, "complete"), reverse=True):
        key = name_of(component, number, "complete")
        with suppress(Damaged, ObjectMissing):
            if (found := read_complete(open_box(opened, key, store.get(key)), number)) is not None:
                return found
    return None


def _row(piece: Piece) -> tuple[bytes, bytes]:
    return piece.id, ROW.pack(piece.id, *piece.place, piece.at, piece.size)


def _carried(before: Generation | None, change: Change) -> dict[bytes, tuple[bytes, ...]]:
    """Where packs went that were moved once or twice."""
    moves = dict(before.moves) if before else {}
    for old, packs in moves.items():
        moves[old] = tuple(dict.fromkeys(new for pack in packs for new in change.moves.get(pack, (pack,))))
    for old, packs in change.moves.items():
        moves[old] = tuple(dict.fromkeys((*moves.get(old, ()), *packs)))
    return {
        old: tuple(pack for pack in packs if pack not in change.gone)
        for old, packs in moves.items()
        if old not in change.forget
    }


def _dropped(before: Generation | None, moves: Mapping[bytes, tuple[bytes, ...]]) -> set[bytes]:
    """Packs into which something was moved that nobody may ask for any more."""
    had = {pack for packs in before.moves.values() for pack in packs} if before else set[bytes]()
    return had - {pack for packs in moves.values() for pack in packs}


def is_any_unfinished(store: Store, opened: Opened, component: ComponentName) -> bool:
    """Whether somebody began a generation above the newest one, and died or is at it still."""
    begun = max(numbers(store, component), default=0)
    found = newest(store, opened, component)
    return begun > (found.number if found else 0)


def sweep_index(store: Store, opened: Opened, component: ComponentName) -> Iterator[Key]:
    """Objects of generations that count no more, each `complete` last: those below the newest that is complete. What is
    above it may be completed at any time, by somebody whom everybody takes for dead."""
    keys = [listed.key for listed in store.list(f"index/{component}/")]
    found = newest(store, opened, component)
    for key in sorted(keys, key=lambda key: key.endswith("/complete")):
        number = number_of(key)
        if number is not None and found is not None and number < found.number:
            yield key


class _Desk:
    """Where one component's index is written."""

    def __init__(self, store: Store, opened: Opened, keys: Keyring, component: ComponentName, *, anew: bool) -> None:
        self._store, self._opened, self._keys, self._component, self._anew = store, opened, keys, component, anew

    def take_number(self) -> int:
        number = max(numbers(self._store, self._component), default=0)
        while True:
            number += 1
            if self._put(number, "begun", {"number": number}):
                return number

    def write_shards(
        self, spool: sqlite3.Connection, number: int, before: Generation | None, drop: Collection[bytes]
    ) -> tuple[int, int] | None:
        """The bits, and how many pieces. None: somebody had our number before, and wrote under it."""
        spool.execute("DROP TABLE IF EXISTS piece")
        spool.execute("CREATE TABLE piece (id BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID")
        if before is not None:
            kept = (piece for piece in self._pieces(before) if piece.place.pack not in drop)
            spool.executemany("INSERT OR REPLACE INTO piece VALUES (?, ?)", (_row(piece) for piece in kept))
        spool.execute("INSERT OR REPLACE INTO piece SELECT id, row FROM new")
        total = spool.execute("SELECT count(*) FROM piece").fetchone()[0]
        bits = min((total // SHARD_PIECES).bit_length(), MOST_BITS)
        for shard in range(1 << bits):
            low, high = _bounds(shard, bits)
            found = spool.execute("SELECT row FROM piece WHERE id >= ? AND id < ? ORDER BY id", (low, high)).fetchall()
            body = COUNT.pack(len(found)) + b"".join(row for (row,) in found)
            key = shard_name(self._component, number, bits, shard)
            sealed = seal_box(self._opened, self._keys, key, body)
            # A store that tries again by itself may find its own first try.
            if not self._store.put_if_absent(key, sealed) and self._store.get(key) != sealed:
                return None
        return bits, total

    def _pieces(self, of: Generation) -> Iterator[Piece]:
        for shard in range(1 << of.bits):
            yield from read_shard(self._store, self._opened, self._component, of, shard)

    def complete(self, number: int, before: Generation | None, made: Generation) -> bool:
        """Close what is below, then put the last box. False when another one came in between: `made` lacks its
        pieces, and a new number is needed."""
        since = before.number if before else 0
        for lower in sorted(numbers(self._store, self._component)):
            if since < lower < number and not self._give_up(lower):
                return False
        body = {
            "bits": made.bits,
            "moves": {old.hex(): [pack.hex() for pack in packs] for old, packs in made.moves.items()},
            "pieces": made.pieces,
        }
        if not self._put(number, "complete", body):
            return False  # given up by one who took a higher number
        found = newest(self._store, self._opened, self._component)
        return found is not None and found.number == number

    def _give_up(self, number: int) -> bool:
        """Whether the generation of that number will never count."""
        if self._put(number, "complete", {"given_up": True}):
            return True
        key = name_of(self._component, number, "complete")
        try:
            return read_complete(open_box(self._opened, key, self._store.get(key)), number) is None
        except Damaged:
            if not self._anew:
                raise
            return True  # nobody will ever read it, and what it had is written anew

    def _put(self, number: int, name: str, body: object) -> bool:
        key = name_of(self._component, number, name)
        return self._store.put_if_absent(key, seal_json(self._opened, self._keys, key, body))


def _bounds(shard: int, bits: int) -> tuple[bytes, bytes]:
    low = (shard << (32 - bits)).to_bytes(5, "big")[1:]
    high = ((shard + 1) << (32 - bits)).to_bytes(5, "big")
    return low, (high[1:] if high[0] == 0 else b"\xff" * 33)
