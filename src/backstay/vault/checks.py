"""Looking at a whole vault: is everything there, and (reading all of it) is every byte what was written?

What is found is named by point, component and file, because that is what people can act on; the object's name stands
beside it. Each leaf of a stream is looked at once, however many points share it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import zstandard
from blake3 import blake3

from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Kind, Listed, Store
from backstay.values import ComponentName, PointId
from backstay.vault import names
from backstay.vault.fetching import Fetching
from backstay.vault.frames import FrameKind, What, cipher
from backstay.vault.keys import read_statement
from backstay.vault.nodes import Content, Item, Small, Stream
from backstay.vault.opening import read_header
from backstay.vault.packs import Contents, Place, parse_key, read_contents
from backstay.vault.repository import Repository
from backstay.vault.shelf import Shelf, damaged
from backstay.vault.streams import StreamMap

_TROUBLE = (Damaged, ObjectMissing, WrongKey)
_BOXES = ("reserved/", "points/", "proofs/", "holds/", "notes/", "marks/", "index/")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `point` and `path` are empty for an object that no point needs."""

    key: str
    said: str
    component: ComponentName | None = None
    point: PointId | None = None
    path: str = ""


def check(vault: Repository, *, read_data: bool = False) -> Iterator[Finding]:
    """Everything that is wrong, as it is found. `read_data` reads and verifies every byte of every pack, which needs
    the key of a reader."""
    yield from _signed(vault)
    yield from _boxes(vault)
    packs = _Packs(vault, read_data=read_data)
    yield from packs.look()
    yield from _points(vault, packs)


def _signed(vault: Repository) -> Iterator[Finding]:
    store = vault.store
    try:
        read_header(store.get(names.HEADER), store.describe())
    except BackstayError as error:
        yield Finding(names.HEADER, error.message)
    for prefix, kind in ((names.WRITERS, "writer"), (names.KEYS, "wrap")):
        for listed in store.list(prefix):
            try:
                read_statement(kind, store.get(listed.key))
            except ValueError as error:
                yield Finding(listed.key, f"a signed statement is damaged: {error}")
            except _TROUBLE as error:
                yield Finding(listed.key, error.message)


def _boxes(vault: Repository) -> Iterator[Finding]:
    for prefix in _BOXES:
        for listed in vault.store.list(prefix):
            try:
                vault.reopen(listed.key)
            except _TROUBLE as error:
                yield Finding(listed.key, error.message)


class _Packs:
    """What is known about the packs: their lengths, and which frames do not open."""

    def __init__(self, vault: Repository, *, read_data: bool) -> None:
        self._store, self._opened, self._read_data = vault.store, vault.opened, read_data
        self._lengths: dict[bytes, int] = {}
        self._bad: dict[tuple[bytes, int], str] = {}

    def look(self) -> Iterator[Finding]:
        for prefix in ("packs/", "nodes/"):
            for listed in self._store.list(prefix):
                yield from self._pack(listed)

    def _pack(self, listed: Listed) -> Iterator[Finding]:
        try:
            _, component, pack = parse_key(listed.key)
        except ValueError:
            yield Finding(listed.key, "this is no name of a pack")
            return
        self._lengths[pack] = listed.size_bytes
        try:
            contents = read_contents(self._store, self._opened, listed.key, listed.size_bytes)
            if self._read_data:
                for place, why in _bad_frames(self._store, self, listed, contents):
                    self._bad[place.pack, place.offset] = why
                    yield Finding(listed.key, f"the frame at byte {place.offset} is damaged: {why}", component)
        except ValueError as error:
            yield Finding(listed.key, f"a pack of {component} is damaged: {error}", component)
        except _TROUBLE as error:
            yield Finding(listed.key, error.message, component)

    def trouble(self, place: Place | None) -> str:
        """What is wrong with a frame, or nothing."""
        if place is None:
            return ""
        length = self._lengths.get(place.pack)
        if length is None:
            return f"its pack {place.pack.hex()} is missing"
        if place.offset + place.length > length:
            return f"its pack {place.pack.hex()} is cut short"
        return self._bad.get((place.pack, place.offset), "")

    def open_all(self, contents: Contents, data: bytes) -> Iterator[tuple[Place, str]]:
        """The frames that do not open, or hold something else than the index says."""
        inflate, opener = zstandard.ZstdDecompressor(), cipher(self._opened, contents.head)
        node = contents.head.what is What.NODES
        kind, key = (FrameKind.NODE, self._opened.node_key) if node else (FrameKind.DATA, self._opened.chunk_key)
        plains: dict[int, bytes] = {}
        for place in contents.frames:
            try:
                plains[place.offset] = opener.open(kind, data[place.offset : place.offset + place.length], inflate)
            except ValueError as error:
                yield place, str(error)
        for piece in contents.pieces:
            plain = plains.get(piece.place.offset)
            if plain is not None and blake3(plain[piece.at : piece.at + piece.size], key=key).digest() != piece.id:
                yield piece.place, "it holds another chunk than its index says"


def _bad_frames(store: Store, packs: _Packs, listed: Listed, contents: Contents) -> Iterator[tuple[Place, str]]:
    # Head, frames, index and trailer tile the pack without a gap (read_contents saw to it): no byte goes unread.
    data = store.get(listed.key)
    if len(data) != listed.size_bytes:
        raise damaged(listed.key, parse_key(listed.key)[1], "it is cut short")
    yield from packs.open_all(contents, data)


def _points(vault: Repository, packs: _Packs) -> Iterator[Finding]:
    shelves: dict[ComponentName, Shelf] = {}
    seen: dict[bytes, str] = {}
    for listed in vault.store.list("points/"):
        try:
            if (found := vault.sealed_at(listed.key)) is None:
                continue
        except _TROUBLE:
            continue  # named already, as a box
        point, root = found.point, found.root
        shelf = shelves.setdefault(point.component, Shelf(vault.store, vault.opened, point.component))
        try:
            vault.uses_of(found)
        except _TROUBLE as error:
            said = f"its list of packs cannot be read: {error.message}"
            yield Finding(listed.key, said, point.component, point.id)
        fetching, path = Fetching(shelf, point, root), ""
        try:
            for path, item in fetching.items(""):
                if item.kind is Kind.FILE and (why := _file(shelf, item, packs, seen)):
                    yield Finding(listed.key, why, point.component, point.id, path)
        except _TROUBLE as error:
            said = f"the tree cannot be read on: {error.message}"
            yield Finding(listed.key, said, point.component, point.id, path)


def _file(shelf: Shelf, item: Item, packs: _Packs, seen: dict[bytes, str]) -> str:
    content: Content = item.content
    match content:
        case Small(chunk):
            return packs.trouble(chunk.place)
        case Stream():
            map = StreamMap(shelf, content, item.size_bytes)
            try:
                for leaf in map.leaves(0, item.size_bytes):
                    if leaf.ref.id not in seen:
                        places = map.chunks(leaf).places
                        seen[leaf.ref.id] = next(filter(None, (packs.trouble(place) for place in places)), "")
                    if seen[leaf.ref.id]:
                        return seen[leaf.ref.id]
            except _TROUBLE as error:
                return error.message
            return ""
        case _:
            return ""
