"""Carrying packs from one store to another, as they are: several at once, and no more than a piece of each in memory.

A pack is looked at before it is stored again: its head, its end, and its index, which together say that it is this
pack, whole, and where each frame lies. What is in the frames of a node pack is verified as well, for whoever copies
holds that key; the frames of data open for readers only, and cost as much as a restore: that is done where it is asked
for.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import zstandard
from blake3 import blake3

from backstay.errors import Cancelled, Damaged, StoreUnreachable
from backstay.ports import Key, Listed, Progress, Store
from backstay.vault.frames import FrameKind, What, cipher
from backstay.vault.keys import Opened
from backstay.vault.packs import Contents, parse_key, read_contents

CARRIERS = 4
HELD_BYTES = 32 << 20
"""A pack up to this length is read in one go, and held. Writers close theirs at 16 MiB."""
PIECE_BYTES = 8 << 20


def never() -> bool:
    return False


class Carrier:
    """From `source`, opened as `opened`, to `target`. `stop` is asked before each pack: then Cancelled is raised."""

    def __init__(self, source: Store, opened: Opened, target: Store, *, verify: bool, stop: Callable[[], bool]) -> None:
        self._source, self._opened, self._target, self._verify, self._stop = source, opened, target, verify, stop
        self._lock = threading.Lock()
        self._done, self._failed = 0, list[BaseException]()

    def carry(self, packs: Iterable[Listed], total: int, progress: Progress) -> int:
        """Until all of `packs` are durable in the target. Gives the bytes that were moved. Raises the first thing that
        went wrong: Damaged, ObjectMissing, WrongKey, Cancelled, and what the stores raise. What was carried stays."""
        waiting = iter(packs)
        threads = [
            threading.Thread(target=self._work, args=(waiting, total, progress), name="backstay-carry")
            for _ in range(CARRIERS)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # Ctrl-C while we wait: what is under way ends, then it goes on its way
            self._failed.append(error)
            for thread in threads:
                thread.join()
            raise
        if self._failed:
            raise self._failed[0]
        return self._done

    def _work(self, waiting: Iterator[Listed], total: int, progress: Progress) -> None:
        try:
            while (listed := self._next(waiting)) is not None:
                moved = self._carry(listed)
                with self._lock:
                    self._done += moved
                    done = self._done
                progress(done, total, listed.key)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: `carry` raises it
            self._failed.append(error)

    def _next(self, waiting: Iterator[Listed]) -> Listed | None:
        with self._lock:
            if self._failed:
                return None
            if self._stop():
                raise Cancelled("stopped while packs were copied", hint="copy again: it goes on where it stopped")
            return next(waiting, None)

    def _carry(self, listed: Listed) -> int:
        """The bytes that were moved: none when somebody else brought it meanwhile."""
        key, size = listed.key, listed.size_bytes
        if size > HELD_BYTES:
            contents = self._looked_at(self._source, listed)
            return self._stream(listed, contents)
        data = self._source.get(key)
        self._looked_at(cast(Store, Held(key, data)), listed)
        return size if self._target.put_if_absent(key, data) else 0

    def _stream(self, listed: Listed, contents: Contents) -> int:
        del contents
        try:
            self._target.put(listed.key, Streamed(self._source, listed))
        except StoreUnreachable:
            if all(there.size_bytes != listed.size_bytes for there in self._target.list(listed.key)):
                raise
            return 0  # another copy of the same point was faster
        return listed.size_bytes

    def _looked_at(self, store: Store, listed: Listed) -> Contents:
        """Raises Damaged for a pack that is not whole, or another than its name says; ObjectMissing, WrongKey."""
        try:
            contents = read_contents(store, self._opened, listed.key, listed.size_bytes)
            if self._verify or contents.head.what is What.NODES:
                self._open_all(store, listed.key, contents)
        except ValueError as error:
            raise Damaged(
                f"a pack of {parse_key(listed.key)[1]} is damaged, and was not copied: {error}",
                detail=f"object {listed.key} in {self._source.describe()}",
                hint="`backstay vault check` names the points that it hurts; copy them from another vault",
            ) from None
        return contents

    def _open_all(self, store: Store, key: Key, contents: Contents) -> None:
        """Every frame, and every chunk in it. Raises ValueError."""
        inflate, opener = zstandard.ZstdDecompressor(), cipher(self._opened, contents.head)
        nodes = contents.head.what is What.NODES
        kind, id_key = (FrameKind.NODE, self._opened.node_key) if nodes else (FrameKind.DATA, self._opened.chunk_key)
        pieces = iter(contents.pieces)
        piece = next(pieces, None)
        for place in contents.frames:
            plain = opener.open(kind, store.get(key, place.offset, place.length), inflate)
            while piece is not None and piece.place.offset == place.offset:
                if blake3(plain[piece.at : piece.at + piece.size], key=id_key).digest() != piece.id:
                    raise ValueError(f"the frame at byte {place.offset} holds another chunk than it should")
                piece = next(pieces, None)
        if piece is not None:
            raise ValueError("its index is not in the order of its frames")


class Held:
    """As much of a store as reading one pack needs: the object is here already."""

    def __init__(self, key: Key, data: bytes) -> None:
        self._key, self._data = key, data

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        assert key == self._key, "one object is held"
        return self._data[start:] if length is None else self._data[start : start + length]


class Streamed:
    """The bytes of a long pack, a piece at a time. They can be gone through again, for another try."""

    def __init__(self, store: Store, listed: Listed) -> None:
        self._store, self._listed = store, listed
        self.size_bytes = listed.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size_bytes, PIECE_BYTES):
            length = min(PIECE_BYTES, self.size_bytes - start)
            piece = self._store.get(self._listed.key, start, length)
            if len(piece) != length:
                raise Damaged(f"{self._listed.key} became shorter while it was copied", detail=self._store.describe())
            yield piece
