"""Looking at one pack: is its end in order, and (reading all of it) is every frame what was written?"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import zstandard
from blake3 import blake3

from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Store
from backstay.vault.fetching import runs
from backstay.vault.frames import FrameKind, What, cipher
from backstay.vault.keys import Opened
from backstay.vault.packs import Contents, Piece, read_contents
from backstay.vault.stock import CHOSEN, Pack


@dataclass(slots=True)
class PackSeen:
    """What was found out about a pack."""

    unlisted: str = ""
    """Why its own list of contents cannot be read."""
    bad: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Where each frame begins that is not what was written, and why."""
    blind: str = ""
    """Why its bytes could not be looked at."""
    read_bytes: int = 0


def look_at(store: Store, opened: Opened, pack: Pack) -> tuple[Pack, PackSeen]:
    """One that is CHOSEN is read to its last byte: head, frames, index and trailer tile it without a gap. Raises
    StoreUnreachable, AccessDenied."""
    seen = PackSeen()
    try:
        contents = read_contents(store, opened, pack.key, pack.size_bytes)
    except ValueError as error:
        seen.unlisted = str(error)
        return pack, seen
    except (Damaged, ObjectMissing) as error:
        seen.unlisted = error.message
        return pack, seen
    except WrongKey as error:
        seen.blind = _said(error)
        return pack, seen
    if pack.flags & CHOSEN:
        try:
            seen.bad += _bad_frames(store, opened, pack, contents, seen)
        except WrongKey as error:
            seen.blind = _said(error)
        except ValueError as error:
            seen.bad += [(place.offset, str(error)) for place in contents.frames]
    return pack, seen


def _said(error: BackstayError) -> str:
    return f"{error.message}: {error.detail}" if error.detail else error.message


def _bad_frames(
    store: Store, opened: Opened, pack: Pack, contents: Contents, seen: PackSeen
) -> Iterator[tuple[int, str]]:
    """A run of frames at a time, so that a pack of any length needs the same memory."""
    opener, inflate = cipher(opened, contents.head), zstandard.ZstdDecompressor()
    kind, key = (
        (FrameKind.NODE, opened.node_key) if pack.what is What.NODES else (FrameKind.DATA, opened.chunk_key)
    )  # fmt: skip
    pieces: dict[int, list[Piece]] = {}
    for piece in contents.pieces:
        pieces.setdefault(piece.place.offset, []).append(piece)
    for run in runs(list(contents.frames)):
        start = run[0].offset
        data = memoryview(store.get(pack.key, start, run[-1].offset + run[-1].length - start))
        seen.read_bytes += len(data)
        for place in run:
            at = place.offset - start
            try:
                plain = opener.open(kind, data[at : at + place.length], inflate)
            except ValueError as error:
                yield place.offset, str(error)
                continue
            for piece in pieces.get(place.offset, ()):
                if blake3(plain[piece.at : piece.at + piece.size], key=key).digest() != piece.id:
                    yield place.offset, "it holds another chunk than its index says"
                    break
