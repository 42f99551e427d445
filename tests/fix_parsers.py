"""Every parser of bytes that come from a store, with bytes that it reads: one table for the short run and the long one.

What is sealed gets no further than its seal, so the plaintexts are given to the parsers as an enrolled writer could
seal them: whoever stole such a key must not be able to do more than to make reading fail.
`tests/laws/test_vault_parsers.py` mutates them for a second, `bench/fuzz` for as long as somebody waits.
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import zstandard

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import (
    BackstayError,
    Damaged,
    JournalDamaged,
    JournalNewer,
    ObjectMissing,
    PathEscapes,
    VaultNewer,
    WrongKey,
)
from backstay.facts import Hold, Verdict, write_fact
from backstay.facts.chain import read_spine
from backstay.facts.others import Noted
from backstay.facts.segments import read_name, read_segment
from backstay.facts.stored import read_fact
from backstay.ports import Key
from backstay.values import VaultName
from backstay.vault import Repository, names
from backstay.vault.boxes import open_box, seal_box
from backstay.vault.codec import Cursor, pack_json, unhex, unpack_json
from backstay.vault.epochs import examine
from backstay.vault.frames import What, inflated, read_head
from backstay.vault.generations import write_index
from backstay.vault.index import newest, read_shard
from backstay.vault.keys import read_statement
from backstay.vault.locks import _parsed  # pyright: ignore[reportPrivateUsage]
from backstay.vault.marks import marks
from backstay.vault.nodes import (
    Branch,
    Ref,
    places_in,
    read_branch,
    read_content,
    read_folder_branch,
    read_item,
    read_leaf,
    read_page,
    read_ref,
    write_branch,
)
from backstay.vault.opening import read_header, unlock
from backstay.vault.packs import (
    Contents,
    Place,
    _read_index,  # pyright: ignore[reportPrivateUsage]
    parse_key,
    read_contents,
)
from backstay.vault.stretches import read_said
from backstay.vault.uses import read_pack_list
from backstay.verify import of_bytes
from fix_vault import DB, NOW, SMALL, File, back_up, keyring, later, new_vault
from fix_wal import SYSTEM, piece

ALLOWED = (ValueError, Damaged, ObjectMissing, WrongKey, VaultNewer, JournalDamaged, JournalNewer, PathEscapes)
"""What a parser may raise."""
MOMENT = b"2026-11-22T20:44:37.000000Z"
Run = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Parser:
    """`covers`: the functions that it goes through, as `module.function`."""

    name: str
    covers: tuple[str, ...]
    run: Run
    seeds: tuple[bytes, ...]


@cache
def _vault() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    vault = new_vault(store)
    point = back_up(vault, {**SMALL, **{f"many/{n}": File(b"%d" % n) for n in range(300)}})
    back_up(vault, {**SMALL, "new": File(b"new")}, now=later(1))
    vault.keep_hold(Hold("h1", point.id, DB, "keep", "incident", "cto", NOW))
    vault.keep_proof(of_bytes(point, VaultName("local"), (NOW, NOW), Verdict.PASSED, "read"))
    vault.keep_note("plan/sha256:00", b"backstay: 1")
    vault.wal.keep(piece(0xFF_FF00, 1_000))
    vault.wal.keep_history(SYSTEM, 2, b"1\t0/1000000\tno reason\n")
    pieces = [one for key in _keys(store, "packs/", "nodes/") for one in _contents(store, vault, key).pieces]
    write_index(store, vault.opened, keyring(), DB, pieces)
    return store, vault


def _keys(store: MemoryStore, *prefixes: str) -> list[Key]:
    return [key for key in sorted(store.objects) if key.startswith(prefixes)]


def _contents(store: MemoryStore, vault: Repository, key: Key) -> Contents:
    return read_contents(store, vault.opened, key, len(store.objects[key]))


def _nodes() -> tuple[bytes, ...]:
    store, vault = _vault()
    shelf = vault.shelf(DB)
    return tuple(
        shelf.node_at(piece.id, piece.place)
        for key in _keys(store, "nodes/")
        for piece in _contents(store, vault, key).pieces
    )


def _in_place(key: Key, read: Callable[[Repository], object]) -> Run:
    """The object under `key` is what is given; then the vault is opened and read."""

    def run(data: bytes) -> object:
        store, _ = _vault()
        changed = MemoryStore()
        changed.objects = {**store.objects, key: data}
        changed._times = store._times | {key: NOW}  # pyright: ignore[reportPrivateUsage]
        return read(Repository(changed, "local", keyring(), unlock(changed, keyring())))

    return run


def _sealed(key: Key, read: Callable[[Repository], object]) -> Run:
    """The body of the box under `key` is what is given, sealed by an enrolled writer."""
    place = _in_place(key, read)

    def run(body: bytes) -> object:
        _, vault = _vault()
        return place(seal_box(vault.opened, keyring(), key, body))

    return run


def _body(key: Key) -> bytes:
    _, vault = _vault()
    return vault.reopen(key).body


def _head(data: bytes) -> object:
    _, vault = _vault()
    return read_head(data, What.DATA, vault.opened.family, DB)


def _box(data: bytes) -> object:
    store, vault = _vault()
    return open_box(vault.opened, _keys(store, "points/")[0], data)


def _inflated(data: bytes) -> object:
    return inflated(data, 4096, zstandard.ZstdDecompressor())


def _index_of_pack(data: bytes) -> object:
    store, vault = _vault()
    key = _keys(store, "packs/")[0]
    head, start = read_head(store.objects[key], What.DATA, vault.opened.family, DB)
    return _read_index(data, head, start, 1 << 32)


def _plain_index() -> bytes:
    store, vault = _vault()
    contents = _contents(store, vault, _keys(store, "packs/")[0])
    frames = [place.offset for place in contents.frames]
    columns = (
        [place.length for place in contents.frames], contents.plain_sizes,
        [frames.index(piece.place.offset) for piece in contents.pieces], [piece.at for piece in contents.pieces],
        [piece.size for piece in contents.pieces],
    )  # fmt: skip
    packed = [struct.pack(f"<{len(column)}I", *column) for column in columns]
    ids = b"".join(piece.id for piece in contents.pieces)
    return struct.pack("<II", len(contents.frames), len(contents.pieces)) + b"".join((*packed[:2], ids, *packed[2:]))


def _text(read: Callable[[str], object]) -> Run:
    return lambda data: read(data.decode("latin-1"))


def _names(data: bytes) -> object:
    key, found = Key(data.decode("latin-1")), list[object]()
    for read in (names.read_point, names.read_note, parse_key, names.read_wrap, names.read_secrets, names.is_box,
                 names.read_stretch, names.read_history):  # fmt: skip
        try:
            found.append(read(key))
        except ValueError:
            continue
    return [*found, read_name(key)]


def _header(data: bytes) -> object:
    return read_header(data, "here")


def _level(read: Callable[[bytes, int], object]) -> Run:
    return lambda data: read(data, data[1] if len(data) > 1 else 1)


def _content_with(read: Callable[[Cursor], object]) -> Run:
    return lambda data: read(Cursor(data))


@cache
def parsers() -> tuple[Parser, ...]:
    """Made once: a small vault has to be sealed for it."""
    store, vault = _vault()
    points, proofs, holds, wraps = (_keys(store, prefix) for prefix in ("points/", "proofs/", "holds/", "keys/"))
    index = {key.rpartition("/")[2]: key for key in _keys(store, "index/")}
    number = newest(store, vault.opened, DB)
    assert number is not None
    wrap = (store.objects[wraps[0]],)
    every = tuple(key.encode() for key in sorted(store.objects))

    def statements(key: Key) -> Run:
        return _in_place(key, lambda v: examine(v.store, v.opened.family, v.opened.root))

    def said(key: Key, read: Callable[[Repository], object], *covers: str) -> Parser:
        return Parser(f"body of {key.split('/')[0]}", covers, _sealed(key, read), (_body(key),))

    mark, lock = Key(f"marks/{DB}/1"), Key("locks/1")
    return (
        *_of_nodes(),
        *_of_log(),
        *_of_packs(),
        Parser("box", ("boxes.open_box",), _box, tuple(store.objects[key] for key in points)),
        Parser("header", ("opening.read_header",), _header, (store.objects[Key("vault")],)),
        Parser("JSON", ("codec.unpack_json",), unpack_json, (*wrap, b'{"a":1}')),
        Parser("hexadecimal", ("codec.unhex",), _text(unhex), (b"00ff",)),
        Parser("statement", ("keys.read_statement",), lambda data: read_statement("wrap", data), wrap),
        Parser("wraps", ("epochs.read_wrap", "epochs._read_secret", "keys.read_small"), statements(wraps[0]), wrap),
        Parser("words", ("epochs.read_words",), statements(Key(names.WORDS + "0" * 16)), wrap),
        Parser("used", ("epochs.read_used",), statements(Key(wraps[0].rpartition("/")[0] + "/used")), wrap),
        Parser("enrolments", ("signers.read_signers", "signers._read_list"),
               _in_place(Key(names.WRITERS + "0" * 16), lambda v: v.opened), wrap),
        said(points[0], lambda v: v.sealed_at(points[0]), "repository._read_lists"),
        said(proofs[0], lambda v: v.proofs()),
        said(holds[0], lambda v: v.holds()),
        Parser("marks", ("marks.marks",), _sealed(mark, lambda v: marks(v.store, v.opened, DB)),
               (b'{"packs":["' + b"00" * 16 + b'"]}',)),
        Parser("locks", ("locks._parsed",), _sealed(lock, lambda v: _parsed(v.opened, lock, v.store.get(lock))),
               (LOCKS,)),
        Parser("generation", ("index.read_complete",),
               _sealed(index["complete"], lambda v: newest(v.store, v.opened, DB)), (_body(index["complete"]),)),
        Parser("shard", ("index.read_shard",),
               _sealed(index["0"], lambda v: list(read_shard(v.store, v.opened, DB, number, 0))),
               (_body(index["0"]),)),
        Parser("names", ("names.read_point", "names.read_note", "names.read_wrap", "names.read_secrets",
                         "packs.parse_key", "segments.read_name", "names.read_stretch", "names.read_history"),
               _names, every),
        Parser("fact", ("stored.read_fact",), _text(read_fact), (write_fact(Noted("cto", "x")).encode(),)),
        Parser("spine", ("chain.read_spine",), read_spine, (b"{}", b'{"epoch":1,"heads":{}}')),
        Parser("segment", ("segments.read_segment", "segments._read"), read_segment, (b'{"first":1}\n', b"\n")),
    )  # fmt: skip


def _of_nodes() -> tuple[Parser, ...]:
    nodes = _nodes()
    items = tuple(bytes(node[5:]) for node in nodes if node[:1] == b"\x03")
    somewhere = Ref(bytes(32), Place(bytes(16), bytes(8), 58, 100))
    branch = write_branch(Branch(1, (somewhere, somewhere), (5, 7)))
    contents = (b"\0", b"\2\1\0" + bytes(64))
    return (
        Parser("leaf", ("nodes.read_leaf",), read_leaf, nodes),
        Parser("branch", ("nodes.read_branch",), _level(read_branch), (*nodes, branch)),
        Parser("page", ("nodes.read_page", "nodes.read_item"), read_page, nodes),
        Parser("entry", ("nodes.read_item",), _content_with(read_item), items),
        Parser("content", ("nodes.read_content",), _content_with(read_content), contents),
        Parser("reference", ("nodes.read_ref",), _content_with(read_ref), (bytes(64),)),
        Parser("branch of a folder", ("nodes.read_folder_branch",), _level(read_folder_branch), nodes),
        Parser("any node", ("nodes.places_in",), lambda data: list(places_in(data)), nodes),
        Parser("list of packs", ("uses.read_pack_list",), read_pack_list, nodes),
    )


def _of_log() -> tuple[Parser, ...]:
    store, vault = _vault()
    key = next(key for key in _keys(store, names.WAL) if names.is_stretch(key))
    frames = [{"id": one.id.hex(), "length": one.length} for one in vault.wal.front(key).frames]
    said = {"frames": frames, "major": 17, "segment": 1 << 20, "since": None, "until": MOMENT.decode()}
    _, _, start, end = names.read_stretch(key)
    return (
        Parser("stretch of log", ("stretches.read_front",), _in_place(key, lambda v: v.wal.front(key)),
               (store.objects[key],)),
        Parser("statement of log", ("stretches.read_said",), lambda data: read_said(data, start, end, 999),
               (pack_json(said),)),
    )  # fmt: skip


def _of_packs() -> tuple[Parser, ...]:
    store, _ = _vault()
    pack = _keys(store, "packs/")[0]
    whole, zeros = store.objects[pack], (zstandard.compress(bytes(4096)), zstandard.compress(b"x"))

    def ends(vault: Repository) -> object:
        return read_contents(vault.store, vault.opened, pack, len(vault.store.get(pack)))

    return (
        Parser("head", ("frames.read_head",), _head, (whole[:200],)),
        Parser("compressed", ("frames.inflated",), _inflated, zeros),
        Parser("index of a pack", ("packs._read_index",), _index_of_pack, (_plain_index(),)),
        Parser("pack", ("packs.read_contents",), _in_place(pack, ends), (whole,)),
    )


LOCKS = b'{"keys":["a"],"lock_s":60,"mode":"compliance","since":"%s","until":"%s"}' % (MOMENT, MOMENT)
NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
EXTREMES = [struct.pack("<I", n) for n in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)] + [
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff\xff",
]


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes flipped, put in, taken out, doubled, cut off, or replaced by an extreme number."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 24) + 1)
        length = rng.randrange(9)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = rng.randbytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + 4 * length]
            case 4:
                extreme = rng.choice(EXTREMES)
                data[at : at + len(extreme)] = extreme
            case _:
                if rng.random() < 0.3:
                    del data[at:]
    return bytes(data)


def refused(parser: Parser, data: bytes) -> BackstayError | ValueError | None:
    """What the parser says against these bytes; nothing where it takes them. Anything else that it raises passes."""
    try:
        parser.run(data)
    except ALLOWED as error:
        return error
    return None


def cases(parser: Parser, count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(f"{parser.name} {seed}")
    for _ in range(count):
        yield mutated(rng.choice(parser.seeds), rng)
