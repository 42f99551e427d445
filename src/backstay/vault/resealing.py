"""A point of another plan's vault: what is sealed there does not open here, so it is read and sealed anew.

It becomes a point of its own, with an id of its own and a new signature. Everything that says what it is comes along:
its line of history, the way it was taken, its moments, its notes; and under `COPIED` the id that it had, so that nobody
brings it twice. Every byte is verified on the way, for it is opened.
"""

from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import BinaryIO, cast

from backstay.errors import Cancelled
from backstay.facts import Point
from backstay.ports import Cutter, Entry, Kind, Progress, Sealing, unwatched
from backstay.values import Digest, PointId
from backstay.vault.carrying import never
from backstay.vault.fetching import stored
from backstay.vault.locks import LOCKED
from backstay.vault.nodes import Item, Stream
from backstay.vault.reader import Reading
from backstay.vault.repository import Repository

COPIED = "copied"
"""`Point.about` says under this name the id that the point had in the vault it comes from."""


def reseal_point(
    reading: Reading,
    target: Repository,
    *,
    plan: Digest,
    reserved: Callable[[PointId], None],
    progress: Progress = unwatched,
    stop: Callable[[], bool] = never,
) -> Point:
    """The new point. `reserved` is told its id before anything is read. Raises what reading and writing raise: then
    there is no point."""
    point = reading.point

    def entries() -> Iterator[Entry]:
        for path, item in reading.fetching.items(""):
            if stop():
                raise Cancelled("stopped while a point was sealed anew")
            if not item.implied:
                yield _entry(reading, path, item)

    with target.begin(point.component, plan=plan, now=target.store.now()) as writer:
        reserved(writer.id)
        writer.add(entries(), progress)
        about = {name: said for name, said in point.about.items() if name not in ("vault", LOCKED)}
        return writer.seal(
            Sealing(
                lineage=point.lineage,
                way=point.way,
                began=point.began,
                ended=point.ended,
                newest=point.newest,
                newest_source=point.newest_source,
                about={**about, COPIED: point.id},
            )
        )


def _entry(reading: Reading, path: str, item: Item) -> Entry:
    found = stored(path, item)
    if found.kind is not Kind.FILE:
        return Entry(path, found.kind, found.mode, found.modified, target=found.target)
    cutter = item.content.cutter if isinstance(item.content, Stream) else Cutter.WHOLE

    def opened() -> BinaryIO:
        return cast(BinaryIO, _Pieces(reading.read(path)))

    # The mark too: the next backup of the component may trust it as it would have in its own vault.
    return Entry(path, found.kind, found.mode, found.modified, found.size_bytes, opened, cutter, mark=item.mark)


class _Pieces(RawIOBase):
    """A file whose bytes come in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
