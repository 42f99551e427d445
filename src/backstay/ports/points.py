"""Recovery points: how a source gives them to a vault, and gets them back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from backstay.facts import Hold, Point, Proof, Verdict
from backstay.ports.clock import Progress, unwatched
from backstay.ports.wal import WalShelf
from backstay.values import ComponentName, Digest, LineageId, PointId

CATALOGUE = "catalogue.txt"
"""What the structure of a database is called in its point, where the keeper can tell it: one line per object."""


class Cutter(Enum):
    """How a stream is cut into chunks; recorded per stream (`docs/reference/vault-format.md`)."""

    FIXED_64K = "fixed-64k"
    """Page files."""
    CDC_V1 = "cdc-v1"
    """Logical dumps, text: content-defined."""
    WHOLE = "whole"
    """Small files."""


class Kind(Enum):
    FOLDER = "folder"
    FILE = "file"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Replaced:
    """A file that is told by how it differs from the one at the same path in the point before (`PointWriter.before`).

    Block `n` is the next one that `open` gives, where `n` is in `blocks`; else it is as it was, where it lies within
    the first `kept_bytes` of the old file; else it is zeros. What did not change is neither asked of the source nor
    read.
    """

    block_bytes: int
    """A power of two, at most 64 KiB."""
    blocks: Sequence[int]
    """Ascending, each once. `open` gives as many blocks, in this order, and nothing else."""
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a recovery point, as the source offers it to the vault.

    `path` is relative, `/`-separated, without `.`, `..` or empty parts. `open` is called once, in a
    worker thread, and read to its end: what it gives is what the file holds, whatever `size_bytes`
    promised. `open` (or a read) may raise Vanished: then the entry is left out, which is right for a
    file that a running system removed after it was listed.
    """

    path: str
    kind: Kind
    mode: int
    """Permission bits, 0 to 0o7777."""
    modified: datetime
    size_bytes: int = 0
    """Expected; for progress, and to choose how to store it."""
    open: Callable[[], BinaryIO] | None = None
    """None for folders and links."""
    cutter: Cutter = Cutter.WHOLE
    target: str = ""
    """Where a link points."""
    mark: bytes = b""
    """A change mark, at most 64 bytes (size, mtime, inode…). Not empty, and equal to the mark of the same path
    in the previous point: the content is taken from there, unread."""
    replaced: Replaced | None = None
    """Not None: `open` gives only what differs, and the file has exactly `size_bytes`. Raises Damaged, ObjectMissing,
    WrongKey in `add` when the old file is not there, or cannot be read."""
    in_turn: bool = False
    """The source pushes: the entry after this one does not come before `open` was read to its end."""


class Vanished(Exception):
    """The source removed this file after listing it."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the source knows only at the end, written into the point."""

    lineage: LineageId
    way: str
    """`local`, `stream`, `logical`, `online`, `copy`, `command`."""
    began: datetime
    ended: datetime
    newest: datetime | None
    """The newest moment in the data; None: not known."""
    newest_source: str
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    """The component's own notes: server version, LSNs, timeline, database name."""


class PointWriter(Protocol):
    """One recovery point being written, under a key reserved at the start. A context manager: leaving it
    without `seal` abandons it (what was written is garbage for the pruner, never a point)."""

    id: PointId

    @property
    def before(self) -> "PointReader | None":
        """The point that this one is compared with: the newest of the component, if all its packs are there. None: what
        differs from it cannot be told."""
        ...

    def __enter__(self) -> "PointWriter": ...

    def __exit__(self, *exc: object) -> None: ...

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        """Read and store `entries`, several at once, memory bounded. May be called several times; a
        path may come only once in a point, parents need not be named. A defect in one entry
        (an OSError from reading) stops everything and is raised."""
        ...

    def seal(self, sealing: Sealing) -> Point:
        """Make it durable, then make it a point: the last write. Raises Lapsed when the reservation was
        expired by a pruner."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """One thing in a recovery point, as the vault gives it back. Paths were checked against escape."""

    path: str
    kind: Kind
    mode: int
    modified: datetime
    size_bytes: int
    target: str = ""


class PointReader(Protocol):
    """A sealed point, opened: what it holds is read when asked for, in pieces, every chunk verified.

    Raises Damaged, ObjectMissing, WrongKey, naming the path that cannot be read.
    """

    point: Point

    def entries(self, under: str = "") -> Iterator[Stored]:
        """Everything at or below `under`, folders before what is in them, in the order of paths."""
        ...

    def entry(self, path: str) -> Stored | None: ...

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of one file in order, in pieces of up to a few MiB."""
        ...

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
        over: bool = False,
    ) -> None:
        """Write everything at or below `under` into the folder `to`, several files at once, with modes
        and times, all fsynced before this returns. `to` is made (0700) if it is not there; a file already
        there raises TargetNotEmpty. `place` may send an entry elsewhere, or nowhere (None). `over`: what is
        there is compared, and only what differs is written; killed half-way, the same call again makes it whole.
        What the point does not have stays; a folder that stands where the point has a file raises TargetNotEmpty."""
        ...


@runtime_checkable
class HeldReader(PointReader, Protocol):
    """A point that another program holds: its `way` is a key of `plan.EXISTING`. `read` and `extract` raise
    NotSupported. Ask with isinstance."""

    def check_bytes(self, progress: Progress) -> tuple[Verdict, str]:
        """Read all of it, as far as its own format can tell that it is whole. A sentence, without names of rows."""
        ...


class Vault(Protocol):
    """The recovery points of one plan in one store, opened with the keys we hold."""

    name: str

    @property
    def id(self) -> str:
        """Of this vault alone: its copies, and other vaults of the same plan, have others."""
        ...

    @property
    def wal(self) -> WalShelf:
        """The write-ahead log of its clusters."""
        ...

    def begin(self, component: ComponentName, *, plan: Digest, now: datetime) -> PointWriter:
        """Reserve a key and start a point. The newest point of the component is used to find what is new."""
        ...

    def points(self, component: ComponentName | None = None) -> list[Point]:
        """Every sealed point, oldest first, signatures checked. Raises Damaged for one that was altered."""
        ...

    def reserved(self, component: ComponentName) -> Iterator[tuple[PointId, bool]]:
        """Reservations, and whether each is sealed: to look whether an interrupted backup made its point."""
        ...

    def open(self, point: PointId) -> PointReader:
        """Raises NoSuchPoint."""
        ...

    def keep_proof(self, proof: Proof) -> None:
        """Seal a proof beside its point."""
        ...

    def proofs(self, point: PointId | None = None) -> list[Proof]: ...

    def keep_hold(self, hold: Hold) -> None: ...

    def holds(self) -> list[Hold]: ...

    def keep_note(self, name: str, data: bytes) -> bool:
        """Seal a small object by name (`plan/<digest>`, `spine/<epoch>/<n>`, `facts/<journal>/<n>-<n>`,
        `journal/<epoch>`), readable by whoever can read the points; put-if-absent: False when it was there already."""
        ...

    def note(self, name: str) -> bytes | None: ...

    def notes(self, prefix: str) -> list[str]: ...
