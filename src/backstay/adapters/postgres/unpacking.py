"""What BASE_BACKUP sends (PostgreSQL 15 and newer), taken apart: archives in tar format, their members, the manifest.

Theory of operation. One COPY carries everything; the first byte of each message says what it is (manual, "Streaming
Replication Protocol"): `n` a new archive (one for each tablespace, the data directory last), `d` bytes of it, `m` the
manifest begins, `p` progress. The server pushes; the vault pulls, from several threads. They meet like this: a short
member is held in memory and can be read whenever; a long one is read straight from the connection, by whoever asks
next, and the member behind it does not come before. So memory is bounded, and nothing passes over a disk.

Heads of members are read by the standard library (`tarfile.TarInfo`, which checks their sums). Its reader of streams is
not used: it remembers every member, and copies every byte three times. Where a member goes is for whoever asks; a path
that leads out of the point is refused by the vault.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstay.errors import Damaged

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 512
_ARCHIVE, _DATA, _MANIFEST, _PROGRESS = b"ndmp"


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of one archive. `body` is to be read to its end before the next member is asked for."""

    archive: str
    """`base.tar`, or `<oid>.tar` for a tablespace."""
    head: tarfile.TarInfo
    body: "Body"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that comes after its beginning. Its length is not told ahead."""

    body: "Rest"


class Unpacking:
    """One COPY. For one thread at a time; members and their bodies are read in turn."""

    def __init__(self, messages: Iterator[memoryview]) -> None:
        self._messages, self._held = messages, memoryview(b"")
        self._waiting: memoryview | None = None
        """A message that is no data, and ends what came before it."""

    def members(self) -> Iterator[Member | Manifest]:
        """Raises Damaged for what no server sends."""
        while (message := self._take()) is not None:
            kind = message[0]
            if kind == _ARCHIVE:
                yield from self._archive(bytes(message[1:]).partition(b"\0")[0].decode("utf-8", "replace"))
            elif kind == _MANIFEST:
                yield Manifest(Rest(self))
                self.skip_rest()
            else:
                raise _odd(f"a message of the kind {bytes(message[:1])!r} where an archive ought to begin")

    def _archive(self, name: str) -> Iterator[Member]:
        while True:
            if (block := self._exactly(BLOCK)) is None:
                raise _odd(f"{name} ends without its end")
            if not any(block):
                self.skip_rest()
                return
            try:
                head = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise _odd(f"a head in {name} that is none: {error}") from None
            if head.size < 0 or (head.size and not head.isreg()):
                raise _odd(f"a member of {name} of an impossible length")
            body = Body(self, head.size)
            yield Member(name, head, body)
            if body.left:
                raise AssertionError(f"{head.name} was not read to its end")
            self._exactly(-head.size % BLOCK)

    # ── bytes ──

    def read_into(self, view: memoryview) -> int:
        """What is at hand, at most as much as there is room for; 0: the archive, or the manifest, is at its end."""
        if not self._held and not self._more():
            return 0
        got = min(len(view), len(self._held))
        view[:got] = self._held[:got]
        self._held = self._held[got:]
        return got

    def skip_rest(self) -> None:
        while self._held or self._more():
            self._held = memoryview(b"")

    def _exactly(self, size: int) -> bytes | None:
        """None at the end; Damaged when there is something, and not enough."""
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            if not (got := self.read_into(view[at:])):
                if at:
                    raise _odd("an archive that ends within a block")
                return None
            at += got
        return bytes(data)

    def _more(self) -> bool:
        while not self._held:
            self._waiting = self._take()
            if self._waiting is None or self._waiting[0] != _DATA:
                return False
            self._held, self._waiting = self._waiting[1:], None
        return True

    def _take(self) -> memoryview | None:
        """The next message but for progress; None: there are no more."""
        if (found := self._waiting) is not None:
            self._waiting = None
            return found
        for message in self._messages:
            if not message:
                raise _odd("an empty message")
            if message[0] != _PROGRESS:
                return message
        return None


class Body(io.RawIOBase):
    """The bytes of one member, straight from the connection."""

    def __init__(self, of: Unpacking, size_bytes: int) -> None:
        self._of, self.left = of, size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")[: self.left]
        if not view:
            return 0
        if not (got := self._of.read_into(view)):
            raise _odd("an archive that ends within a file")
        self.left -= got
        return got

    def exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            if not (got := self.readinto(view[at:])):
                raise _odd("a file that is shorter than it says")
            at += got
        return bytes(data)

    def skip(self) -> None:
        room = bytearray(1 << 20)
        while self.readinto(room):
            pass


class Rest(io.RawIOBase):
    """Everything up to the next archive, or the end."""

    def __init__(self, of: Unpacking) -> None:
        self._of = of

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        return self._of.read_into(memoryview(buffer).cast("B"))


def _odd(what: str) -> Damaged:
    return Damaged("the server sent a base backup that cannot be read", detail=what)
