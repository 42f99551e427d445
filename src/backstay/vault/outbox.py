"""Packs on their way to the store. Their buffers are few and used again: what bounds the memory of a backup.

A lane fills a pack and hands it over; threads of the outbox index it, store it and give the buffer back. When the
store is slower than the source, the lanes wait for a buffer.
"""

import mmap
import queue
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import zstandard
from blake3 import blake3

from backstay.errors import BackstayError
from backstay.ports import Store
from backstay.values import ComponentName
from backstay.vault.frames import What
from backstay.vault.growing import GrowingPack, new_buffer
from backstay.vault.keys import Opened
from backstay.vault.nodes import Ref
from backstay.vault.packs import PackBuilder, pack_key
from backstay.vault.uses import Tally

_SENDERS = 3
_LEVEL_OF_NODES = 3


class Outbox:
    def __init__(self, store: Store, opened: Opened, component: ComponentName, lanes: int) -> None:
        self._store, self._opened, self._component = store, opened, component
        self._unmade = lanes + 2
        """Buffers that were not needed yet: a small backup makes one or two."""
        self._buffers: queue.SimpleQueue[bytearray | mmap.mmap] = queue.SimpleQueue()
        self._lock = threading.Lock()
        # One for each pack, where they are stored while they are filled: none waits for another.
        senders = lanes + 2 if store.traits.takes_as_made else _SENDERS
        self._senders = ThreadPoolExecutor(senders, thread_name_prefix="backstay-send")
        self._growing: dict[bytes, GrowingPack] = {}
        self._sent: list[Future[int]] = []
        self._ids: dict[What, bytearray] = {What.DATA: bytearray(), What.NODES: bytearray()}
        """Of what may have been stored: 16 bytes each, ten megabytes for ten terabytes."""
        self.stored_bytes = 0

    def open_pack(self, what: What) -> PackBuilder:
        """Waits for a buffer. Raises what a pack that was sent before met."""
        self._raise_failed()
        with self._lock:
            make = self._buffers.empty() and self._unmade > 0
            self._unmade -= make
        buffer = new_buffer() if make else self._buffers.get()
        pack = PackBuilder(self._opened, what, self._component, buffer)
        if self._store.traits.takes_as_made:
            pack.watch = lambda end: self._grew(pack, end)
        return pack

    def _grew(self, pack: PackBuilder, end: int) -> None:
        """It has another full part. Raises what a pack that was sent before met."""
        self._raise_failed()
        with self._lock:
            if (growing := self._growing.get(pack.id)) is None:
                growing = self._growing[pack.id] = GrowingPack(pack)
                self._sent.append(self._senders.submit(self._store_pack, pack, growing))
        growing.grew(end)

    def send(self, pack: PackBuilder) -> None:
        """Store `pack`, in time. An empty one is thrown away."""
        if pack.is_empty:
            self._buffers.put(pack.buffer)
            return
        with self._lock:
            growing = self._growing.pop(pack.id, None)
            if growing is None:
                self._sent.append(self._senders.submit(self._store_pack, pack))
        if growing is not None:
            growing.close()

    def drain(self) -> None:
        """Until everything that was sent is durable. Raises what one of them met."""
        with self._lock:
            sent, self._sent = self._sent, []
        self.stored_bytes += sum(future.result() for future in sent)

    def close(self) -> None:
        """Send nothing more, and wait for what is under way. When nobody fills a pack any more."""
        for growing in self._growing.values():
            growing.abandon()
        self._senders.shutdown(wait=True, cancel_futures=True)

    def discard(self) -> None:
        """Take back what was stored, for a backup that will never be a point: a full disk should not stay full.
        Only a courtesy: what cannot be deleted (the store is away, or forbids it) is left to the pruner."""
        with suppress(BackstayError):
            for what, ids in self._ids.items():
                for at in range(0, len(ids), 16):
                    self._store.delete(pack_key(what, self._component, bytes(ids[at : at + 16])))

    def packs(self) -> set[bytes]:
        """Those that were stored."""
        with self._lock:
            return {bytes(ids[at : at + 16]) for ids in self._ids.values() for at in range(0, len(ids), 16)}

    def _store_pack(self, pack: PackBuilder, growing: GrowingPack | None = None) -> int:
        try:
            parts = growing or pack.finish()
            with self._lock:
                self._ids[pack.what] += pack.id
            self._store.put(pack.key, parts)
            return parts.size_bytes
        finally:
            # It failed early: its lane may still be filling it, and somebody may wait for a buffer.
            is_free = growing is None or growing.is_closed
            self._buffers.put(pack.buffer if is_free else new_buffer())

    def _raise_failed(self) -> None:
        with self._lock:
            done = [future for future in self._sent if future.done()]
            self._sent = [future for future in self._sent if future not in done]
        self.stored_bytes += sum(future.result() for future in done)


class Nodes:
    """Keeps nodes: those that the point before had are taken from there, others go into node packs."""

    def __init__(self, outbox: Outbox, opened: Opened, known: dict[bytes, Ref], tally: Tally) -> None:
        self._outbox, self._key, self.known, self._tally = outbox, opened.node_key, known, tally
        self._compress = zstandard.ZstdCompressor(level=_LEVEL_OF_NODES)
        self._pack: PackBuilder | None = None
        self._lock = threading.Lock()

    def write(self, plain: bytes, also: Iterable[Ref | None] = ()) -> Ref:
        """A node of a stream map. `also`: nodes of the point before that this one may equal."""
        ref = self.keep(plain, also)
        self._tally.node(ref)
        return ref

    def write_page(self, plain: bytes) -> Ref:
        """A node of the tree."""
        ref = self.keep(plain)
        self._tally.page(ref)
        return ref

    def keep(self, plain: bytes, also: Iterable[Ref | None] = ()) -> Ref:
        """One that is not counted: it is of the list that says what was counted."""
        id = blake3(plain, key=self._key).digest()
        if (found := self.known.get(id)) is not None:
            return found
        for ref in also:
            if ref is not None and ref.id == id:
                return ref
        with self._lock:
            compressed = self._compress.compress(plain)
            if self._pack is not None and not self._pack.has_room(len(compressed), 1):
                self._outbox.send(self._pack)
                self._pack = None
            if self._pack is None:
                self._pack = self._outbox.open_pack(What.NODES)
            return Ref(id, self._pack.add(compressed, len(plain), id, [0], [len(plain)]))

    def close(self) -> None:
        with self._lock:
            if self._pack is not None:
                self._outbox.send(self._pack)
                self._pack = None
