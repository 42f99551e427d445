"""Moving what is used of some packs into new ones, so that the old may go.

Whoever writes packs reserves first: so does a mover, or a pruner beside it would take its new packs for those of a
dead writer. Then: find out what is used (a walk of every live point, each node once), write it into new packs as it
lies, write a generation of the index that says where, and end the reservation. Only from then on can anybody delete an
old pack. Who dies before leaves new packs that nobody asks for, and nothing else.

Memory does not grow with the vault: what was walked and what is used is in a file without a name.
"""

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import zstandard
from blake3 import blake3

from backstay.errors import BackstayError, Damaged, Lapsed, ObjectLocked, ObjectMissing, WrongKey
from backstay.values import ComponentName, Digest, PointId, utc
from backstay.vault import names
from backstay.vault.boxes import seal_json
from backstay.vault.fetching import runs
from backstay.vault.frames import FrameKind, What, cipher, inflated
from backstay.vault.generations import Change, write_index
from backstay.vault.index import ROW, newest
from backstay.vault.living import Moves, Present, Seen, key_of
from backstay.vault.nodes import Chunks, Ref
from backstay.vault.packs import BUFFER_SIZE, Contents, PackBuilder, Piece, Place, read_contents
from backstay.vault.repository import Repository
from backstay.vault.shelf import Shelf
from backstay.vault.walking import references

_UNREADABLE = (Damaged, ObjectMissing, WrongKey)
_LEVEL = 1
DONE = "moved"
"""Why a mover's own reservation ended: nobody waits for that, and it may be swept."""
_KIND = {What.DATA: FrameKind.DATA, What.NODES: FrameKind.NODE}


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of it."""

    moves: Moves = field(default_factory=dict[bytes, tuple[bytes, ...]])
    points: frozenset[PointId] = frozenset()
    """Those that were looked at: all that they use of the old packs is in the new ones."""
    moved_bytes: int = 0
    """What the new packs have."""
    left: Mapping[bytes, str] = field(default_factory=dict[bytes, str])
    """Packs that could not be moved, and why."""


def move(
    vault: Repository, component: ComponentName, seen: Seen, packs: Sequence[bytes], least: float, now: datetime
) -> Moved:
    """Move those of `packs` of which, by the walk, less than the share `least` is used. Raises Lapsed when somebody
    took us for dead; Damaged, ObjectMissing or WrongKey for a point that cannot be walked: what it uses is not known,
    so nothing was moved."""
    claim = vault.reserve(component, now, Digest(""), "moving")
    try:
        moved = _move(vault, component, seen, packs, least)
    except Exception:
        with suppress(BackstayError):
            _finish(vault, component, claim, now)  # nobody need wait for us
        raise
    # Expired, it may be that our new packs were deleted before the generation was there: then the old ones must stay.
    if not _finish(vault, component, claim, now):
        raise Lapsed(
            f"moving packs of {component} took longer than another pruner waited",
            detail="nothing was deleted by this one",
            hint="prune with one pruner at a time, or let them wait longer",
        )
    return moved


def _move(vault: Repository, component: ComponentName, seen: Seen, packs: Sequence[bytes], least: float) -> Moved:
    with closing(_Found()) as found:
        _walk(vault.shelf(component), seen, set(packs), found)
        rewriting = _Rewriting(vault, component, found)
        for pack in packs:
            rewriting.rewrite(pack, seen.present[pack], least)
        rewriting.finish()
        if rewriting.moves:
            gone = {new for targets in seen.moves.values() for new in targets} - seen.present.keys()
            change = Change(rewriting.moves, gone=gone)
            write_index(vault.store, vault.opened, vault.keys, component, found.pieces(), change)
    return Moved(rewriting.moves, frozenset(seen.points), rewriting.moved_bytes, rewriting.left)


def adopt(vault: Repository, component: ComponentName, moves: Moves) -> None:
    """Tell a vault of packs that were moved in another from which they are copied: the new ones are here already. For
    whoever holds a reservation. Raises Damaged, ObjectMissing, Lapsed."""
    index = newest(vault.store, vault.opened, component) if moves else None
    known: Moves = index.moves if index else {}
    new = {old: packs for old, packs in moves.items() if not set(packs) <= set(known.get(old, ())) or old not in known}
    if not new:
        return
    names_of, pieces = {pack.hex() for packs in new.values() for pack in packs}, list[Piece]()
    for prefix in (f"packs/{component}/", f"nodes/{component}/"):
        for listed in vault.store.list(prefix):
            if listed.key[-32:] not in names_of:
                continue
            try:
                pieces += read_contents(vault.store, vault.opened, listed.key, listed.size_bytes).pieces
            except ValueError as error:
                raise Damaged(f"a pack of {component} is damaged: {error}", detail=f"object {listed.key}") from None
    write_index(vault.store, vault.opened, vault.keys, component, pieces, Change(new))


@contextmanager
def reserving(vault: Repository, component: ComponentName, work: str) -> Generator[None]:
    """A reservation for as long as something is written that is no point, and may be as old as that."""
    now = vault.store.now()
    claim = vault.reserve(component, now, Digest(""), work)
    try:
        yield
    finally:
        with suppress(BackstayError):  # else a pruner ends it
            _finish(vault, component, claim, now)


def _finish(vault: Repository, component: ComponentName, claim: PointId, now: datetime) -> bool:
    """Whether we ended our reservation ourselves. Nothing is left of it then; where we lost, its expiry stays."""
    end = names.sealed(component, claim)
    body = {"at": utc(now).isoformat(), "expired": DONE, "point": claim}
    if not vault.store.put_if_absent(end, sealed := seal_json(vault.opened, vault.keys, end, body)):
        return vault.store.get(end) == sealed
    vault.store.delete(names.reserved(component, claim))
    with suppress(ObjectLocked):
        vault.store.delete(end)
    return True


# ── what is used ─────────────────────────────────────────────────────────────────────────────────


class _Found:
    """What was walked, what is used, and where it is now. On disk when it grows."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        for table in (
            "node (id BLOB PRIMARY KEY)",
            "used (id BLOB PRIMARY KEY)",
            "piece (id BLOB PRIMARY KEY, row BLOB)",
        ):
            self._rows.execute(f"CREATE TABLE {table} WITHOUT ROWID")

    def is_new(self, node: Ref) -> bool:
        """Whether this node was not come by yet; from now on it was."""
        return self._rows.execute("INSERT OR IGNORE INTO node VALUES (?)", (node.id,)).rowcount == 1

    def use(self, ids: Iterable[bytes]) -> None:
        self._rows.executemany("INSERT OR IGNORE INTO used VALUES (?)", ((id,) for id in ids))

    def is_used(self, id: bytes) -> bool:
        return self._rows.execute("SELECT 1 FROM used WHERE id = ?", (id,)).fetchone() is not None

    def put(self, pieces: Iterable[Piece]) -> None:
        rows = ((piece.id, ROW.pack(piece.id, *piece.place, piece.at, piece.size)) for piece in pieces)
        self._rows.executemany("INSERT OR REPLACE INTO piece VALUES (?, ?)", rows)

    def pieces(self) -> Iterator[Piece]:
        for (row,) in self._rows.execute("SELECT row FROM piece"):
            id, pack, epoch, offset, length, at, size = ROW.unpack(row)
            yield Piece(id, Place(pack, epoch, offset, length), at, size)

    def close(self) -> None:
        self._rows.close()


def _walk(shelf: Shelf, seen: Seen, packs: set[bytes], found: _Found) -> None:
    """Note every chunk and node that a live point has in one of `packs`: by its hint, or because it was moved there."""
    hints = packs | {old for old, targets in seen.moves.items() if not packs.isdisjoint(targets)}

    def skip(node: Ref) -> bool:
        # The same node may lie in two packs, and be named in both: one is walked, each is used.
        if node.place.pack in hints:
            found.use((node.id,))
        return not found.is_new(node)

    for sealed in seen.points.values():
        lists = sealed.packs or ()
        found.use(ref.id for ref in lists if ref.place.pack in hints)
        for _, chunks in references(shelf, sealed.root, skip):
            found.use(_hinted(chunks, hints))


def _hinted(chunks: Chunks, hints: set[bytes]) -> Iterator[bytes]:
    for i, place in enumerate(chunks.places):
        if place is not None and place.pack in hints:
            yield bytes(chunks.ids[32 * i : 32 * i + 32])


# ── writing it anew ──────────────────────────────────────────────────────────────────────────────


def _alive(contents: Contents, used: Mapping[Place, list[Piece]]) -> float:
    """How many bytes of a pack are used: of a frame with several short files, the share of those that are."""
    plain_sizes = dict(zip(contents.frames, contents.plain_sizes))
    return sum(place.length * sum(one.size for one in some) / plain_sizes[place] for place, some in used.items())


class _Rewriting:
    """The new packs: one of data and one of nodes are open at a time."""

    def __init__(self, vault: Repository, component: ComponentName, found: _Found) -> None:
        self._vault, self._component, self._found = vault, component, found
        self._open: dict[What, PackBuilder] = {}
        self._buffers: dict[What, bytearray] = {}
        self._compress, self._inflate = zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()
        self.moves: dict[bytes, tuple[bytes, ...]] = {}
        self.left: dict[bytes, str] = {}
        self.moved_bytes = 0

    def rewrite(self, pack: bytes, present: Present, least: float) -> None:
        """All that is used of one pack. Where a byte of that is damaged the pack stays, for whoever can heal it."""
        key, pieces = key_of(self._component, pack, present.what), list[Piece]()
        try:
            contents = read_contents(self._vault.store, self._vault.opened, key, present.size_bytes)
            used: dict[Place, list[Piece]] = {}
            for piece in contents.pieces:
                if self._found.is_used(piece.id):
                    used.setdefault(piece.place, []).append(piece)
            if _alive(contents, used) >= sum(place.length for place in contents.frames) * least:
                return  # several points use parts of it that differ
            for run in runs(sorted(used)):
                pieces += self._rewrite_run(contents, run, used)
        except (ValueError, *_UNREADABLE) as error:
            self.left[pack] = error.message if isinstance(error, BackstayError) else f"it is damaged: {error}"
            return
        self._found.put(pieces)
        self.moves[pack] = tuple(dict.fromkeys(piece.place.pack for piece in pieces))

    def _rewrite_run(self, contents: Contents, run: list[Place], used: Mapping[Place, list[Piece]]) -> Iterator[Piece]:
        what, start = contents.head.what, run[0].offset
        key = key_of(self._component, contents.head.id, what)
        data = memoryview(self._vault.store.get(key, start, run[-1].offset + run[-1].length - start))
        opener, kind = cipher(self._vault.opened, contents.head), _KIND[what]
        all_of = Counter(piece.place for piece in contents.pieces)
        for place in run:
            frame = data[place.offset - start : place.offset - start + place.length]
            compressed, plain_size = opener.unseal(kind, frame)
            plain = inflated(compressed, plain_size, self._inflate)
            for piece in used[place]:
                self._verify(piece, plain, what)
            if len(used[place]) == all_of[place]:
                yield from self._add(what, compressed, plain_size, used[place])
            else:
                yield from self._add_some(what, plain, used[place])

    def _verify(self, piece: Piece, plain: bytes, what: What) -> None:
        opened = self._vault.opened
        key = opened.node_key if what is What.NODES else opened.chunk_key
        if blake3(plain[piece.at : piece.at + piece.size], key=key).digest() != piece.id:
            raise ValueError("it holds another chunk than its index says")

    def _add_some(self, what: What, plain: bytes, pieces: list[Piece]) -> Iterator[Piece]:
        """A frame of several short files of which some are used."""
        joined, moved = bytearray(), list[Piece]()
        for piece in pieces:
            moved.append(piece._replace(at=len(joined)))
            joined += plain[piece.at : piece.at + piece.size]
        yield from self._add(what, self._compress.compress(joined), len(joined), moved)

    def _add(self, what: What, compressed: bytes | memoryview, plain_size: int, pieces: list[Piece]) -> Iterator[Piece]:
        builder = self._open.get(what)
        if builder is not None and not builder.has_room(len(compressed), len(pieces)):
            self._store(builder)
            builder = None
        if builder is None:
            buffer = self._buffers.setdefault(what, bytearray(BUFFER_SIZE))
            builder = self._open[what] = PackBuilder(self._vault.opened, what, self._component, buffer)
        ids, ats = b"".join(piece.id for piece in pieces), [piece.at for piece in pieces]
        place = builder.add(compressed, plain_size, ids, ats, [piece.size for piece in pieces])
        for piece in pieces:
            yield piece._replace(place=place)

    def finish(self) -> None:
        """Until everything that was moved is durable."""
        for builder in self._open.values():
            self._store(builder)
        self._open.clear()

    def _store(self, builder: PackBuilder) -> None:
        parts = builder.finish()
        self._vault.store.put(builder.key, parts)
        self.moved_bytes += parts.size_bytes
