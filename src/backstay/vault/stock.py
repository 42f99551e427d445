"""Which packs a vault has, how long each is, and what is known to be wrong with them. For 10 TB this is 13 MB.

A record has 21 bytes and lies in its place in the order of ids, as a listing gives them: 600,000 packs of 16 MiB need
13 MB. Beside it stands what is wrong, four bytes for each frame that does not open; so memory grows with the number of
packs and of damaged frames, and with nothing else.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from backstay.ports import Key, Listed, Store
from backstay.values import ComponentName
from backstay.vault.frames import What
from backstay.vault.names import data_pack, node_pack
from backstay.vault.packs import Place, parse_key

_RECORD = struct.Struct("<16sIB")
_LATELY = 4096
CHOSEN, UNLISTED, GOOD = 1, 2, 4
"""What is known of a pack: its bytes are to be read; its end is damaged, so what is in it shows only frame by frame;
all of it was as written when it was last read."""


class Pack(NamedTuple):
    what: What
    component: ComponentName
    id: bytes
    size_bytes: int
    flags: int

    @property
    def key(self) -> Key:
        return (data_pack if self.what is What.DATA else node_pack)(self.component, self.id)


class _Rows:
    """The packs of one kind and component. Looked up by bisection; a sequence of ids to `bisect`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def __len__(self) -> int:
        return len(self.data) // _RECORD.size

    def __getitem__(self, at: int) -> bytes:
        return bytes(self.data[at * _RECORD.size : at * _RECORD.size + 16])

    def row(self, at: int) -> tuple[bytes, int, int]:
        return _RECORD.unpack_from(self.data, at * _RECORD.size)

    def find(self, id: bytes) -> int | None:
        at = bisect_left(self, id)
        return at if at < len(self) and self[at] == id else None


class Lengths(Mapping[bytes, int]):
    """The packs of one component: id to length, for several threads. As a dictionary, they would need ten times as
    much memory."""

    def __init__(self, store: Store, component: ComponentName) -> None:
        self._kinds: list[_Rows] = []
        for prefix in (f"packs/{component}/", f"nodes/{component}/"):
            self._kinds.append(rows := _Rows())
            for listed in store.list(prefix):
                with suppress(ValueError):  # a stranger's file; `check` names it
                    # No pack is longer than its offsets reach.
                    rows.data += _RECORD.pack(parse_key(listed.key)[2], min(listed.size_bytes, (1 << 32) - 1), 0)
        self._lately: dict[bytes, int] = {}
        """Chunks that follow each other are in one pack, mostly."""

    def __getitem__(self, id: bytes) -> int:
        if (size := self._lately.get(id)) is not None:
            return size
        for rows in self._kinds:
            if (at := rows.find(id)) is not None:
                if len(self._lately) >= _LATELY:
                    self._lately = {}
                size = self._lately[id] = rows.row(at)[1]
                return size
        raise KeyError(id)

    def __iter__(self) -> Iterator[bytes]:
        return (rows[at] for rows in self._kinds for at in range(len(rows)))

    def __len__(self) -> int:
        return sum(map(len, self._kinds))


class Stock:
    """For one thread: the one that gathers what others found."""

    def __init__(self) -> None:
        self._rows: dict[tuple[What, ComponentName], _Rows] = {}
        self._bad: dict[tuple[What, bytes], tuple[array[int], str]] = {}
        """Offsets of frames that do not open, and why the first does not."""
        self.size_bytes = 0

    def add(self, listed: Listed) -> None:
        """In the order of keys. Raises ValueError for what is named like no pack, or is longer than any."""
        what, component, id = parse_key(listed.key)
        if listed.size_bytes >= 1 << 32:
            raise ValueError(f"{listed.key} is longer than any pack")
        self._rows.setdefault((what, component), _Rows()).data += _RECORD.pack(id, listed.size_bytes, 0)
        self.size_bytes += listed.size_bytes

    def __iter__(self) -> Iterator[Pack]:
        for (what, component), rows in self._rows.items():
            for at in range(len(rows)):
                yield Pack(what, component, *rows.row(at))

    def components(self) -> list[ComponentName]:
        return list(dict.fromkeys(component for _, component in self._rows))

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def find(self, what: What, component: ComponentName, id: bytes) -> Pack | None:
        rows = self._rows.get((what, component))
        at = None if rows is None else rows.find(id)
        return None if rows is None or at is None else Pack(what, component, *rows.row(at))

    def of(self, key: Key) -> Pack | None:
        """The pack that is stored under `key`."""
        return self.find(*parse_key(key))

    def mark(self, pack: Pack, flag: int) -> None:
        rows = self._rows[pack.what, pack.component]
        at = rows.find(pack.id)
        assert at is not None, "only packs that are in stock are marked"
        rows.data[at * _RECORD.size + _RECORD.size - 1] |= flag

    def condemn(self, pack: Pack, offset: int, why: str) -> None:
        """A frame that does not open."""
        offsets, _ = self._bad.setdefault((pack.what, pack.id), (array("I"), why))
        offsets.append(offset)

    def trouble(self, what: What, component: ComponentName, place: Place) -> str:
        """What is known against a frame, or nothing. A pack that is UNLISTED has to be asked itself."""
        pack = self.find(what, component, place.pack)
        if pack is None:
            return f"its pack {place.pack.hex()} is missing"
        if place.offset + place.length > pack.size_bytes:
            return f"its pack {place.pack.hex()} is cut short"
        bad = self._bad.get((what, place.pack))
        return bad[1] if bad is not None and place.offset in bad[0] else ""

    def is_spoilt(self, pack: Pack) -> bool:
        """Whether anything is known to be wrong with it."""
        return bool(pack.flags & UNLISTED) or (pack.what, pack.id) in self._bad
