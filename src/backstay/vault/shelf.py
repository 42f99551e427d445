"""Reading frames and nodes of one component: by location hint first, by index where a hint is stale.

Every chunk and node is verified against its keyed id after it was opened, whoever said where it is: a wrong hint, a
swapped pack or a forged index can make reading fail, and never give other bytes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import zstandard
from blake3 import blake3

from backstay.errors import AccessDenied, BackstayError, Damaged, ObjectMissing, StoreUnreachable
from backstay.ports import Key, Store, versioned
from backstay.values import ComponentName
from backstay.vault import names
from backstay.vault.frames import (
    LARGEST_SEALED,
    Cipher,
    FrameKind,
    Head,
    What,
    cipher,
    head_size,
    inflated,
    inflated_into,
    read_head,
)
from backstay.vault.index import Index
from backstay.vault.keys import Opened
from backstay.vault.nodes import (
    Branch,
    Chunk,
    Chunks,
    Item,
    Named,
    Ref,
    read_branch,
    read_folder_branch,
    read_leaf,
    read_page,
)
from backstay.vault.packs import Place
from backstay.vault.uses import read_pack_list

T = TypeVar("T")
_ROOM = 1 << 20
"""Most frames are shorter, once they are compressed."""


class Recent:
    """The last few things that were asked for. For several threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._held: OrderedDict[bytes, object] = OrderedDict()

    def get(self, key: bytes, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]  # type: ignore[return-value]
        value = make()
        with self._lock:
            self._held[key] = value
            while len(self._held) > self._limit:
                self._held.popitem(last=False)
        return value

    def forget(self) -> None:
        with self._lock:
            self._held.clear()


ELSEWHERE = (Damaged, ObjectMissing, StoreUnreachable, AccessDenied)
"""What one vault can meet, and another one of its family need not."""

Noticed = Callable[[BackstayError], None]


class Shelf:
    """The packs of one component in one vault."""

    def __init__(self, store: Store, opened: Opened, component: ComponentName) -> None:
        self.store, self.opened, self.component = store, opened, component
        self.others: tuple[Shelf, ...] = ()
        """Of other vaults of the family: what this one cannot give is read there, for it is the same."""
        self.notice: Noticed | None = None
        """Told of the first thing that this one could not give, where there are others."""
        self._away = self._told = False
        self._ciphers, self._nodes = Recent(4096), Recent(64)
        self.index = Index(store, opened, component)
        self._local = threading.local()

    @property
    def inflate(self) -> zstandard.ZstdDecompressor:
        """One per thread: making one is dear."""
        found: zstandard.ZstdDecompressor | None = getattr(self._local, "inflate", None)
        if found is None:
            found = self._local.inflate = zstandard.ZstdDecompressor()
        return found

    @property
    def room(self) -> memoryview:
        """One per thread: the next frame is opened in it."""
        found: memoryview | None = getattr(self._local, "room", None)
        if found is None:
            found = self._local.room = memoryview(bytearray(_ROOM))
        return found

    def data_key(self, place: Place) -> Key:
        return names.data_pack(self.component, place.pack)

    def read(self, place: Place, start: int, length: int) -> bytes:
        """Raw bytes of a data pack, exactly `length`. Raises Damaged when it is too short, ObjectMissing."""
        key = self.data_key(place)
        if place.length > LARGEST_SEALED[FrameKind.DATA]:
            raise damaged(key, self.component, "its frame is longer than any may be", place)
        try:
            data = self.store.get(key, start, length)
        except ObjectMissing:
            raise ObjectMissing(f"a pack of {self.component} is missing", detail=f"object {key}") from None
        if len(data) != length:
            raise damaged(key, self.component, "it is cut short")
        return data

    def data_cipher(self, place: Place) -> Cipher:
        """Of the data pack at `place`: its head is read once. Raises Damaged, ObjectMissing, WrongKey."""
        return self._ciphers.get(place.pack, lambda: self._data_cipher(place))

    def _data_cipher(self, place: Place) -> Cipher:
        key = self.data_key(place)
        try:
            head, _ = read_head(
                self.store.get(key, 0, head_size(self.component, What.DATA)), What.DATA, self.opened.family,
                self.component,
            )  # fmt: skip
            if head.id != place.pack or head.epoch != place.epoch:
                raise ValueError("it is another pack than its name says")
            return cipher(self.opened, head)
        except ValueError as error:
            raise damaged(key, self.component, str(error)) from None

    def open_data(self, place: Place, frame: bytes | memoryview, into: memoryview | None = None) -> memoryview:
        """The plaintext of one frame of data; in `into`, where that is long enough. Its chunks are still to be
        verified. Raises Damaged."""
        try:
            compressed, plain_size = self.data_cipher(place).unseal(FrameKind.DATA, frame, self.room)
            if into is not None and plain_size < len(into):
                return inflated_into(into, compressed, plain_size, self.inflate)
            return memoryview(inflated(compressed, plain_size, self.inflate))
        except ValueError as error:
            raise damaged(self.data_key(place), self.component, str(error), place) from None

    def read_chunk(self, chunk: Chunk, place: Place, at: int) -> bytes:
        """The bytes of one chunk that begins at `at` in a frame, verified. Raises Damaged, ObjectMissing, WrongKey."""
        plain = self.open_data(place, self.read(place, place.offset, place.length))[at : at + chunk.size]
        if len(plain) != chunk.size or self.opened.chunk_id(plain) != chunk.id:
            raise damaged(self.data_key(place), self.component, "it holds another chunk than it should", place)
        return bytes(plain)

    def zeros(self, size: int) -> bytes:
        """The id of so many zeros."""
        return self._nodes.get(b"zeros%d" % size, lambda: self.opened.chunk_id(bytes(size)))

    def elsewhere(
        self, id: bytes, hint: Place, error: Damaged | ObjectMissing, what: What = What.DATA
    ) -> tuple[Place, int]:
        """Where the index says that a chunk or node is, and its start in that frame, when what lies at `hint` is
        missing or damaged: it was repacked, or healed. Raises `error` where no index knows another place: an index that
        cannot be read is one that knows nothing, and what is wrong with the data comes first."""
        try:
            found = self.index.find(id, hint, what)
        except (Damaged, ObjectMissing):
            raise error from None
        if found is None:
            raise error
        return found

    def unveiled(self, key: Key) -> bool:
        """Whether something lay on the object that we wrote, in a store that keeps versions. From now on ours is read:
        then it is worth another try."""
        store = versioned(self.store)
        if store is None or not store.pin(key):
            return False
        self._ciphers.forget()
        return True

    def asked(self) -> "tuple[Shelf, ...]":
        """Whom to ask, the nearest first: not again one that has not answered, unless none has."""
        every = (self, *self.others)
        return tuple(shelf for shelf in every if not shelf._away) or every

    def meet(self, error: BackstayError) -> None:
        """It could not give something, and another one is asked."""
        self._away = self._away or isinstance(error, StoreUnreachable | AccessDenied)
        if not self._told and self.notice is not None:
            self._told = True
            self.notice(error)

    def node(self, ref: Ref) -> bytes:
        """The bytes of a node, verified. Raises Damaged, ObjectMissing: what the nearest met."""
        if not self.others:
            return self._node(ref)
        first: BackstayError | None = None
        for shelf in self.asked():
            try:
                return shelf._node(ref)
            except ELSEWHERE as error:
                shelf.meet(error)
                first = first or error
        assert first is not None, "somebody was asked"
        raise first

    def _node(self, ref: Ref) -> bytes:
        try:
            return self.node_at(ref.id, ref.place)
        except (Damaged, ObjectMissing) as error:
            if self.unveiled(names.node_pack(self.component, ref.place.pack)):
                return self._node(ref)
            return self.node_at(ref.id, self.elsewhere(ref.id, ref.place, error, What.NODES)[0])

    def node_at(self, id: bytes, place: Place) -> bytes:
        key = names.node_pack(self.component, place.pack)
        if place.length > LARGEST_SEALED[FrameKind.NODE]:
            raise damaged(key, self.component, "its frame is longer than any may be", place)
        frame = self.store.get(key, place.offset, place.length)
        # The head of a node pack follows from its name: it need not be read.
        head = Head(What.NODES, place.epoch, self.opened.family, place.pack, self.component)
        try:
            plain = cipher(self.opened, head).open(FrameKind.NODE, frame, self.inflate)
        except ValueError as error:
            raise damaged(key, self.component, str(error), place) from None
        if blake3(plain, key=self.opened.node_key).digest() != id:
            raise damaged(key, self.component, "it holds another node than it should", place)
        return plain

    def leaf(self, ref: Ref) -> Chunks:
        return self._nodes.get(ref.id + b"leaf", lambda: self._parsed(ref, read_leaf))

    def branch(self, ref: Ref, level: int) -> Branch:
        return self._nodes.get(ref.id + b"branch%d" % level, lambda: self._parsed(ref, lambda d: read_branch(d, level)))

    def page(self, ref: Ref) -> dict[bytes, Item]:
        return self._nodes.get(ref.id + b"page", lambda: self._parsed(ref, read_page))

    def folder_branch(self, ref: Ref, level: int) -> list[Named]:
        key = ref.id + b"folder%d" % level
        return self._nodes.get(key, lambda: self._parsed(ref, lambda d: read_folder_branch(d, level)))

    def pack_list(self, ref: Ref) -> tuple[What, dict[bytes, int]]:
        return self._parsed(ref, read_pack_list)

    def _parsed(self, ref: Ref, read: Callable[[bytes], T]) -> T:
        """A node's meaning. Raises Damaged for bytes that no writer of this format makes."""
        try:
            return read(self.node(ref))
        except ValueError as error:
            key = names.node_pack(self.component, ref.place.pack)
            raise damaged(key, self.component, str(error), ref.place) from None


def damaged(key: Key, component: ComponentName, why: str, place: Place | None = None) -> Damaged:
    where = f", frame at byte {place.offset}" if place else ""
    return Damaged(f"a pack of {component} is damaged: {why}", detail=f"object {key}{where}")
