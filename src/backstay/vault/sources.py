"""Where a lost chunk or node may still be: under another name in the same vault, in another pack of it, or in another
vault of the family. Whatever is found is hashed before it counts, so no source has to be trusted.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Key, Listed, Store, StoreTraits
from backstay.values import ComponentName
from backstay.vault.frames import What, head_size, read_head
from backstay.vault.keys import Opened
from backstay.vault.nodes import Chunk
from backstay.vault.packs import Place, parse_key, read_contents
from backstay.vault.shelf import Shelf
from backstay.vault.soundness import Lost

_ABSENT = (Damaged, ObjectMissing, WrongKey, ValueError)


class Renamed:
    """As much of a store as reading packs needs, with some of its objects under other names."""

    def __init__(self, within: Store, names: Mapping[Key, Key]) -> None:
        self._within, self._names = within, names
        self.traits = StoreTraits(put_if_absent=False, object_lock=False, versions=False)

    def describe(self) -> str:
        return self._within.describe()

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return self._within.get(self._names.get(key, key), start, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._within.list(prefix)


def misnamed(store: Store, opened: Opened, component: ComponentName) -> dict[Key, Key]:
    """Packs of ours that lie under another name than their own: true key to the name they lie under. Every object
    below the packs of a component is looked at, also one that is named like no pack. One read of 200 bytes each."""
    found: dict[Key, Key] = {}
    for prefix, what in (("packs", What.DATA), ("nodes", What.NODES)):
        for listed in store.list(f"{prefix}/{component}/"):
            with suppress(*_ABSENT):
                head, _ = read_head(
                    store.get(listed.key, 0, head_size(component, what)), what, opened.family, component
                )  # fmt: skip
                true = Key(f"{prefix}/{component}/{head.id.hex()}")
                if true != listed.key:
                    found[true] = listed.key
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """One place to look. `keys` are what we may not know by the maps: where the ends of packs say that an id lies."""

    name: str
    store: Store
    shelf: Shelf
    strays: Mapping[Key, Key] = field(default_factory=dict[Key, Key])

    def at(self, lost: Lost, place: Place, at: int) -> bytes | None:
        """The piece, if it lies at `place`."""
        with suppress(*_ABSENT):
            if lost.what is What.NODES:
                return self.shelf.node_at(lost.id, place)
            return self.shelf.read_chunk(Chunk(lost.id, lost.size, place, at), place, at)
        return None

    def find(self, lost: Lost) -> bytes | None:
        """By its place as the map has it, then by the index."""
        if (found := self.at(lost, lost.place, lost.at)) is not None:
            return found
        with suppress(*_ABSENT):
            if (known := self.shelf.index.known(lost.id, lost.place, lost.what)) is not None:
                return self.at(lost, *known)
        return None

    def packs(self, component: ComponentName) -> Iterator[tuple[Key, int]]:
        """True names and lengths of all packs, those under wrong names too."""
        lies = {name: true for true, name in self.strays.items()}
        for prefix in ("packs", "nodes"):
            for listed in self.store.list(f"{prefix}/{component}/"):
                yield lies.get(listed.key, listed.key), listed.size_bytes


class Wanted:
    """What is lost, in a private SQLite file without a name: it may be much. For one thread."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(
            "CREATE TABLE lost (component TEXT, what INT, id BLOB, pack BLOB, epoch BLOB, start INT, length INT, "
            "at INT, size INT, PRIMARY KEY (component, what, id)) WITHOUT ROWID"
        )

    def close(self) -> None:
        self._rows.close()

    def add(self, component: ComponentName, lost: Lost) -> bool:
        """False when it was known already."""
        row = (component, lost.what.value, lost.id, *lost.place, lost.at, lost.size)
        return self._rows.execute("INSERT OR IGNORE INTO lost VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount > 0

    def take(self, component: ComponentName, what: What, id: bytes) -> Lost | None:
        """It is not wanted any more."""
        row = self._rows.execute(
            "DELETE FROM lost WHERE component = ? AND what = ? AND id = ? "
            "RETURNING pack, epoch, start, length, at, size",
            (component, what.value, id),
        ).fetchone()
        return None if row is None else Lost(what, id, Place(*row[:4]), *row[4:])

    def all(self, component: ComponentName) -> Iterator[Lost]:
        """What is wanted, pack by pack, trees first; some rows at a time. It may change while it is gone through: what
        is added behind us comes with the next time."""
        last: tuple[int, bytes, int, bytes] = (-9, b"", 0, b"")
        while True:
            rows = self._rows.execute(
                "SELECT what, id, pack, epoch, start, length, at, size FROM lost WHERE component = ? AND "
                "(-what, pack, start, id) > (?, ?, ?, ?) ORDER BY -what, pack, start, id LIMIT 4096",
                (component, *last),
            ).fetchall()
            if not rows:
                return
            for what, id, pack, epoch, start, length, at, size in rows:
                yield Lost(What(what), id, Place(pack, epoch, start, length), at, size)
            last = (-rows[-1][0], rows[-1][2], rows[-1][4], rows[-1][1])

    def packs(self, component: ComponentName) -> list[tuple[What, bytes]]:
        """Where what is wanted ought to be."""
        rows = self._rows.execute("SELECT DISTINCT what, pack FROM lost WHERE component = ?", (component,))
        return [(What(what), pack) for what, pack in rows]

    def forget(self, component: ComponentName, what: What, pack: bytes) -> None:
        """All that is in a pack."""
        self._rows.execute("DELETE FROM lost WHERE component = ? AND what = ? AND pack = ?", (component, what, pack))

    def components(self) -> list[ComponentName]:
        return [ComponentName(name) for (name,) in self._rows.execute("SELECT DISTINCT component FROM lost")]

    def __len__(self) -> int:
        return int(self._rows.execute("SELECT count(*) FROM lost").fetchone()[0])


Found = Callable[[Lost, bytes, Source], None]


def search(wanted: Wanted, component: ComponentName, sources: Sequence[Source], opened: Opened, found: Found) -> None:
    """Look for everything that is wanted of a component: first where the maps say, then wherever the end of a pack
    names it. `found` gets each piece once; what it adds to `wanted` meanwhile is looked for as well."""
    again = True
    while again:
        again = False
        for lost in wanted.all(component):
            for source in sources:
                if (data := source.find(lost)) is not None:
                    wanted.take(component, lost.what, lost.id)
                    found(lost, data, source)
                    again = True
                    break
    for source in sources:
        if len(wanted):
            _by_ends(wanted, component, source, opened, found)


def _by_ends(wanted: Wanted, component: ComponentName, source: Source, opened: Opened, found: Found) -> None:
    """A newer full backup may have stored it anew, in a pack that no map of the lost point names."""
    for key, size in source.packs(component):
        with suppress(*_ABSENT):
            what, _, _ = parse_key(key)
            for piece in read_contents(source.store, opened, key, size).pieces:
                lost = wanted.take(component, what, piece.id)
                if lost is None:
                    continue
                data = source.at(lost._replace(size=piece.size), piece.place, piece.at)
                if data is None:
                    wanted.add(component, lost)
                else:
                    found(lost, data, source)
