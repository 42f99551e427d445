"""Where chunks and nodes are, by id: asked only when a location hint is stale.

Written by whoever moves frames (see `generations`). An index is a *generation*: shards by the first bits of the id,
and last of all the box `complete`, which says how many bits, and which packs were moved into which. The newest
complete generation counts, and has everything that still matters of those before it.

A stale hint names the pack that is gone, and what lay side by side was moved together: so the ends of the few packs
that it was moved into are read first. Only where those do not know is the shard of the id fetched.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from backstay.errors import Damaged, ObjectMissing
from backstay.ports import Key, Store
from backstay.values import ComponentName
from backstay.vault import names
from backstay.vault.boxes import Box, open_box
from backstay.vault.codec import Cursor, unhex, whole_of
from backstay.vault.frames import What
from backstay.vault.keys import Opened
from backstay.vault.packs import Piece, Place, read_contents

T = TypeVar("T")
Where = dict[bytes, tuple[Place, int]]
"""Id to the place of the frame and the start in its plaintext."""

ROW = struct.Struct("<32s16s8sIIII")
COUNT = struct.Struct("<I")
MOST_BITS = 24
_KEY = re.compile(r"index/[a-z0-9-]+/([0-9]{12})/(?:begun|complete|[0-9a-f]+)\Z")
_HELD = 16
"""Shards, and ends of packs, that are kept for the next question: some MB each."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the box `complete` says."""

    number: int
    bits: int
    pieces: int
    moves: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict[bytes, tuple[bytes, ...]])
    """A pack that was moved, and the packs that have now what was used of it. Those are alive while a live point
    lists the old one."""


def newest(store: Store, opened: Opened, component: ComponentName) -> Generation | None:
    """The newest complete generation. Raises Damaged."""
    for number in sorted(numbers(store, component, "complete"), reverse=True):
        try:
            key = name_of(component, number, "complete")
            found = read_complete(open_box(opened, key, store.get(key)), number)
        except ObjectMissing:
            continue  # swept while we looked: there is a newer one
        if found is not None:
            return found
    return None


def numbers(store: Store, component: ComponentName, name: str = "") -> set[int]:
    """The generations that have an object of that name; or any object."""
    keys = (listed.key for listed in store.list(f"index/{component}/"))
    found = (_KEY.match(key) for key in keys if not name or key.endswith(f"/{name}"))
    return {int(match.group(1)) for match in found if match}


def number_of(key: Key) -> int | None:
    match = _KEY.match(key)
    return int(match.group(1)) if match else None


def read_complete(box: Box, number: int) -> Generation | None:
    """None for one that was given up: its number is used, and it counts for nothing. Raises Damaged."""
    body = box.json()
    try:
        if "given_up" in body:
            return None
        bits = whole_of(body, "bits")
        if bits > MOST_BITS:
            raise ValueError("bits: at most 24")
        return Generation(number, bits, whole_of(body, "pieces"), dict(_moves(body.get("moves", {}))))
    except ValueError as error:
        raise Damaged(f"{box.key} does not say what it should: {error}") from None


def _moves(found: Any) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    if not isinstance(found, dict):
        raise ValueError("moves: packs and lists of packs expected")
    for old, new in cast("dict[str, Any]", found).items():
        if not isinstance(new, list):
            raise ValueError("moves: packs and lists of packs expected")
        yield unhex(old, 16), tuple(unhex(str(pack), 16) for pack in cast("list[Any]", new))


def read_shard(store: Store, opened: Opened, component: ComponentName, of: Generation, shard: int) -> Iterator[Piece]:
    """Raises Damaged, ObjectMissing."""
    key = shard_name(component, of.number, of.bits, shard)
    cursor = Cursor(open_box(opened, key, store.get(key)).body)
    try:
        for _ in range(cursor.unpack(COUNT)[0]):
            id, pack, epoch, offset, length, at, size = cursor.unpack(ROW)
            yield Piece(id, Place(pack, epoch, offset, length), at, size)
        cursor.finish()
    except ValueError as error:
        raise Damaged(f"the index {key} is damaged: {error}") from None


class Index:
    """The newest complete index of one component, read as far as it is needed."""

    def __init__(self, store: Store, opened: Opened, component: ComponentName) -> None:
        self._store, self._opened, self._component = store, opened, component
        self._newest: Generation | None = None
        self._looked = False
        self._held: dict[object, Where] = {}

    def generation(self) -> Generation | None:
        """Looked for once. Raises Damaged."""
        if not self._looked:
            self._newest, self._looked = newest(self._store, self._opened, self._component), True
        return self._newest

    def find(self, id: bytes, hint: Place | None = None, what: What = What.DATA) -> tuple[Place, int] | None:
        """Place of the frame and start in its plaintext; None when no index has it, or none but what `hint` says
        already. Raises Damaged, ObjectMissing."""
        try:
            if (found := self.known(id, hint, what)) is not None and found[0] != hint:
                return found
        except ObjectMissing:
            pass  # a generation that was swept: there is a newer one
        before = self._newest
        self._looked = False  # it may have been moved since we looked: a restore takes hours
        if (now := self.generation()) is None or (before is not None and now.number == before.number):
            return None
        self._held.clear()
        found = self.known(id, hint, what)
        return found if found is not None and found[0] != hint else None

    def known(self, id: bytes, hint: Place | None, what: What) -> tuple[Place, int] | None:
        """As `find`, without looking whether there is a newer generation by now; it may be at `hint`."""
        if (generation := self.generation()) is None:
            return None
        for pack in generation.moves.get(hint.pack, ()) if hint else ():
            if (found := self._get(pack, lambda pack=pack: self._end_of(pack, what)).get(id)) is not None:
                return found
        shard = prefix(id, generation.bits)
        pieces = lambda: read_shard(self._store, self._opened, self._component, generation, shard)  # noqa: E731
        return self._get(shard, lambda: _where(pieces())).get(id)

    def _end_of(self, pack: bytes, what: What) -> Where:
        """What the end of a pack says; nothing where it cannot be read: the shards may know another."""
        key = (names.data_pack if what is What.DATA else names.node_pack)(self._component, pack)
        try:
            for listed in self._store.list(key):
                return _where(read_contents(self._store, self._opened, listed.key, listed.size_bytes).pieces)
        except (ValueError, ObjectMissing):
            pass
        return {}

    def _get(self, name: object, make: Callable[[], Where]) -> Where:
        if (found := self._held.get(name)) is None:
            found = make()
            if len(self._held) >= _HELD:
                self._held.clear()
            self._held[name] = found
        return found


def _where(pieces: Iterable[Piece]) -> Where:
    return {piece.id: (piece.place, piece.at) for piece in pieces}


def prefix(id: bytes, bits: int) -> int:
    """The first `bits` bits of an id."""
    return int.from_bytes(id[:4], "big") >> (32 - bits)


def name_of(component: ComponentName, generation: int, name: str) -> Key:
    return Key(f"index/{component}/{generation:012d}/{name}")


def shard_name(component: ComponentName, generation: int, bits: int, shard: int) -> Key:
    return name_of(component, generation, f"{shard:0{max(1, (bits + 3) // 4)}x}")
