"""The format is what the document says: vectors made again, a vault of version 1 that must always open, and a reader
that shares no code with us.

After a change that is meant (there should be none): `BACKSTAY_WRITE_VECTORS=1 pytest tests/laws/test_vault_format.py`.
"""

import hashlib
import importlib
import json
import os
import random
import runpy
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.objectstore import FolderStore
from backstay.errors import Damaged, WrongKey
from backstay.lsn import Lsn, segment_name
from backstay.ports import Cutter, Key, Kind, Label, Piece
from backstay.vault import Keyring, check, create, new_key, open_vault
from backstay.vault.boxes import open_box, seal_box
from backstay.vault.codec import Cursor, pack_json
from backstay.vault.cutters import LEAST, MIDDLE, MOST, ContentCuts
from backstay.vault.epochs import new_epoch, taken_into_use
from backstay.vault.frames import Cipher, FrameKind, Head, What, cipher, index_cipher
from backstay.vault.keyring import fresh
from backstay.vault.keys import Epoch, Opened, derived, fingerprint, read_statement, seen, sign_statement
from backstay.vault.nodes import (
    Branch,
    Chunk,
    Chunks,
    Item,
    Named,
    Nothing,
    Ref,
    Small,
    Stream,
    Subtree,
    Target,
    read_branch,
    read_content,
    read_folder_branch,
    read_leaf,
    read_page,
    write_branch,
    write_content,
    write_folder_branch,
    write_item,
    write_leaf,
    write_page,
)
from backstay.vault.opening import write_header
from backstay.vault.packs import Place, trailer
from backstay.vault.roles import Role
from backstay.vault.signers import enrolment, retirement
from backstay.vault.stretches import front_size, ids_of, key_of, open_frame, read_front, seal_stretch
from backstay.vault.uses import Uses, read_pack_list, write_pack_lists
from fix_vault import NOW, File, Folder, Link, Things, back_up, expected, held, laid_down, later
from fix_wal import LEAST_SEGMENT, SYSTEM, log_of

HERE = Path(__file__).parent / "vectors"
TOOL = Path(__file__).parents[2] / "tools" / "backstay-extract.py"
WRITE = bool(os.environ.get("BACKSTAY_WRITE_VECTORS"))


def _bytes(name: str, size: int) -> bytes:
    """The bytes that a vector calls by this name: BLAKE3 of the name, drawn out."""
    return blake3(name.encode()).digest(size)


PLACE = Place(_bytes("pack", 16), _bytes("epoch", 8), 0x01020304, 0x0A0B)
OTHER = Place(_bytes("other pack", 16), _bytes("epoch", 8), 77, 99)
MODIFIED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def _opened() -> Opened:
    private = _bytes("epoch private", 32)
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    epoch = Epoch(hashlib.sha256(public).digest()[:8], 1, public, _bytes("metadata key", 32), private)
    id_key = _bytes("id key", 32)
    chunks, nodes, names = (derived(id_key, purpose) for purpose in ("chunk ids", "node ids", "object names"))
    writer, family = KEYS.writer or b"", _bytes("family", 16)
    return Opened(
        family, _bytes("vault", 16), "p", writer, True, {writer: "owner"}, {epoch.id: epoch}, chunks, nodes, names
    )


KEYS = Keyring(seed=_bytes("writer", 32))


def _nodes() -> dict[str, bytes]:
    chunks = Chunks()
    for number, place in enumerate((PLACE, None, OTHER, PLACE)):
        chunks.add(_bytes(f"chunk {number}", 32), 65_536 - number, place, 0 if place is None else number * 7)
    ref = Ref(_bytes("node", 32), PLACE)
    small = Small(Chunk(_bytes("chunk", 32), 3, PLACE, 17))
    items = [
        Item(b"base", Kind.FOLDER, False, 0o700, MODIFIED, 9, b"", Subtree(1, ref)),
        Item(b"current", Kind.LINK, False, 0o777, MODIFIED, 0, b"", Target(b"../base")),
        Item(b"empty", Kind.FILE, False, 0o600, MODIFIED, 0, b"", Nothing()),
        Item(b"large", Kind.FILE, False, 0o640, MODIFIED, 1 << 40, b"mark", Stream(Cutter.FIXED_64K, 2, ref)),
        Item("ü\udcff".encode("utf-8", "surrogateescape"), Kind.FILE, False, 0o4755, MODIFIED, 3, b"m" * 64, small),
        Item(b"\xff", Kind.FOLDER, True, 0o700, datetime(1969, 12, 31, tzinfo=UTC), 0, b"", Nothing()),
    ]
    return {
        "leaf": write_leaf(chunks),
        "branch": write_branch(Branch(1, (ref, Ref(_bytes("node 2", 32), OTHER)), (64 << 20, 5))),
        "page": write_page([write_item(item) for item in items]),
        "folder branch": write_folder_branch(1, [Named(b"base", ref), Named(b"z", ref)]),
        "content": write_content(Subtree(0, ref)),
        "pack list": next(write_pack_lists(Uses({PLACE.pack: 4_711, OTHER.pack: 1 << 40}))),
    }


def _constructions() -> dict[str, Any]:
    """Everything that follows from fixed keys alone."""
    opened = _opened()
    head = Head(What.NODES, opened.newest.id, opened.family, _bytes("object", 16), "database")
    compressed = bytes.fromhex(_stored()["frame"]["compressed"]) if not WRITE else _compressed()
    frame = bytearray(16 + len(compressed) + 16)
    Cipher(_bytes("frame key", 32), head.address).seal_into(memoryview(frame), 0, 2, 258, 300, compressed)
    return {
        "keys": {
            "id key": _bytes("id key", 32).hex(),
            "for chunk ids": opened.chunk_key.hex(),
            "for node ids": opened.node_key.hex(),
            "for object names": opened.name_key.hex(),
            "chunk id of 'hello'": opened.chunk_id(b"hello").hex(),
            "epoch public": opened.newest.public.hex(),
            "epoch id": opened.newest.id.hex(),
            "writer public": (KEYS.writer or b"").hex(),
            "writer fingerprint": fingerprint(KEYS.writer or b""),
        },
        "head": {"address": head.address.hex(), "written": head.written().hex()},
        "frame": {
            "key": _bytes("frame key", 32).hex(),
            "plain": _bytes("plain", 100).hex() * 3,
            "compressed": compressed.hex(),
            "sealed": bytes(frame).hex(),
        },
        "derived keys": {
            "frames": opened.metadata_key(head.epoch, head.id, b"backstay 1 frames" + head.address).hex(),
            "index": opened.metadata_key(head.epoch, head.id, b"backstay 1 index" + head.address).hex(),
        },
        "trailer": trailer(_bytes("pack", 16), 0x0102030405, 678, 9).hex(),
        "nodes": {name: data.hex() for name, data in _nodes().items()},
        "statement": sign_statement("writer", {"role": "owner", "writer": "00"}, KEYS).decode(),
        "seen": seen("points/database/x", _bytes("object", 40)).hex(),
        "key from a secret": _from_secret(_bytes("secret", 32)),
        "header": write_header(sign_statement("vault", {"plan": "ü"}, KEYS)).decode(),
        "cuts": _cuts(),
    }


def _from_secret(secret: bytes) -> dict[str, str]:
    keys = Keyring.of(secret)
    return {"secret": secret.hex(), "identity": keys.identity or "", "signer": (keys.seed or b"").hex()}


def _compressed() -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(_bytes("plain", 100) * 3)


def _cuts() -> dict[str, Any]:
    data = _bytes("cut me", 3 << 20)
    gear = struct.pack("<256Q", *_gear())
    return {"stream": "BLAKE3('cut me'), 3 MiB", "gear table": blake3(gear).hexdigest(), "ends": _all_cuts(data)}


def _all_cuts(data: bytes) -> list[int]:
    cuts, rest = ContentCuts().cuts(memoryview(data), last=True)
    assert rest == len(data)
    return [end for _, end in cuts]


@cache
def _stored() -> dict[str, Any]:
    return json.loads((HERE / "format-1.json").read_text())


def test_every_construction_is_as_the_vectors_have_it() -> None:
    made = _constructions()
    if WRITE:
        opened, head = _opened(), Head(What.DATA, _opened().newest.id, _bytes("family", 16), _bytes("object", 16), "db")
        made["slot"] = {
            "address": head.address.hex(),
            "key": _bytes("pack key", 32).hex(),
            "sealed": opened.seal_key(opened.newest, _bytes("pack key", 32), head.address).hex(),
        }
        sealed = seal_stretch(opened, KEYS, LOG, ids_of(opened, LOG))
        made["log"] = {"key": key_of(LOG), "object": sealed.hex(), "log": blake3(LOG.data).hexdigest()}
        HERE.mkdir(exist_ok=True)
        (HERE / "format-1.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        _stored.cache_clear()
    for name, vector in made.items():
        assert vector == _stored()[name], name


_AT = 0x0100_0000 - 700
LOG = Piece(SYSTEM, 2, Lsn(_AT), log_of(SYSTEM, 2, _AT, 2_000), LEAST_SEGMENT, 17, MODIFIED)
"""Across the border of a segment and of a frame."""


def test_a_stretch_of_log_of_the_vectors_opens() -> None:
    vector, opened = _stored()["log"], _opened()
    key, object = Key(vector["key"]), bytes.fromhex(vector["object"])
    assert key == key_of(LOG)
    front = read_front(opened, key, object[: front_size(key, object)])
    assert (front.label, front.signer) == (Label(LEAST_SEGMENT, 17, MODIFIED, None), KEYS.writer)
    assert (front.size_bytes, len(front.frames)) == (len(object), 2)
    frames = [
        open_frame(opened, front, one, cipher(opened, front.head), object[one.offset :][: one.length])
        for one in front.frames
    ]
    assert b"".join(frames) == LOG.data
    assert blake3(LOG.data).hexdigest() == vector["log"]


def test_a_sealed_key_of_the_vectors_opens() -> None:
    vector, opened = _stored()["slot"], _opened()
    key = opened.open_key(opened.newest.id, bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["address"]))
    assert key.hex() == vector["key"]


def test_the_nodes_of_the_vectors_are_read_as_they_were_written() -> None:
    stored = {name: bytes.fromhex(text) for name, text in _stored()["nodes"].items()}
    assert write_leaf(read_leaf(stored["leaf"])) == stored["leaf"]
    assert write_branch(read_branch(stored["branch"], 1)) == stored["branch"]
    assert write_page([write_item(item) for item in read_page(stored["page"]).values()]) == stored["page"]
    assert write_folder_branch(1, read_folder_branch(stored["folder branch"], 1)) == stored["folder branch"]
    assert write_content(read_content(Cursor(stored["content"]))) == stored["content"]
    what, packs = read_pack_list(stored["pack list"])
    assert (what, packs) == (What.DATA, {PLACE.pack: 4_711, OTHER.pack: (1 << 32) - 1})


def test_a_statement_of_the_vectors_is_believed() -> None:
    assert read_statement("writer", _stored()["statement"].encode())["role"] == "owner"


def test_the_frames_of_an_object_and_its_index_never_share_a_key() -> None:
    opened = _opened()
    head = Head(What.NODES, opened.newest.id, opened.family, _bytes("object", 16), "database")
    frame = cipher(opened, head).seal(FrameKind.INDEX, 0, b"x")
    with pytest.raises(ValueError, match="seal is broken"):
        index_cipher(opened, head).open(FrameKind.INDEX, frame, zstandard.ZstdDecompressor())


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────


@cache
def _gear() -> tuple[int, ...]:
    """From the library's own table in Python: the vectors hold its digest."""
    return tuple(importlib.import_module("pyfastcdc.py.constants").GEAR)


def _cut_by_the_document(data: bytes) -> int:
    """`cdc-v1`, written from docs/reference/vault-format.md: where the first chunk of `data` ends."""
    small, large, bits = 0x0000D90703537000, 0x0000D90F03530000, (1 << 64) - 1
    rest = len(data)
    if rest <= LEAST:
        return rest
    rest = min(rest, MOST)
    middle, gear, h = min(MIDDLE, rest), _gear(), 0
    for begin, end, mask in ((LEAST, middle // 2 * 2, small), (middle // 2 * 2, rest // 2 * 2, large)):
        for p in range(begin, end, 2):
            h = ((h << 2) + (gear[data[p]] << 1)) & bits
            if not h & (mask << 1) & bits:
                return p
            h = (h + gear[data[p + 1]]) & bits
            if not h & mask:
                return p + 1
    return rest


@pytest.mark.parametrize("size", [0, 1, LEAST, LEAST + 1, MIDDLE + 3, 400_001])
def test_the_library_cuts_as_the_document_says(size: int) -> None:
    text = b"INSERT INTO tenants VALUES (1, 'x');\n" * (size // 30 + 1)
    for kind in (_bytes("cut me", size), bytes(size), text[:size]):
        ends, at = list[int](), 0
        while at < size:
            at += _cut_by_the_document(kind[at:])
            ends.append(at)
        assert _all_cuts(kind) == ends


@given(st.integers(0, 900_000), st.lists(st.integers(1, 400_000), min_size=1, max_size=5))
@settings(max_examples=25)
def test_cuts_do_not_depend_on_the_pieces_a_stream_comes_in(size: int, pieces: list[int]) -> None:
    data = random.Random(size).randbytes(size)
    cutter, ends, held, at = ContentCuts(), list[int](), b"", 0
    for piece in [*pieces, size]:
        given_now, at = data[at : at + piece], at + piece
        last = at >= size
        held += given_now
        cuts, rest = cutter.cuts(memoryview(held), last=last)
        done = ends[-1] if ends else 0
        ends += [done + end for _, end in cuts]
        held = held[rest:]
        if last:
            break
    assert held == b""
    assert ends == _all_cuts(data)


# ── a vault of version 1, and a stranger who reads it ────────────────────────────────────────────

OLD_VAULT: Things = {
    "PG_VERSION": File(b"15\n", 0o600),
    "base/5/1259": File(_bytes("heap", 65_536) + bytes(65_536 * 2) + b"tail" * 5000, 0o600, Cutter.FIXED_64K, b"mark"),
    "base/5/small": File(b"small", 0o640, Cutter.FIXED_64K),
    "dump/tenants.sql": File(b"INSERT INTO tenants VALUES ('catalytic');\n" * 12_000, 0o644, Cutter.CDC_V1),
    "dump": Folder(0o755),
    "empty": File(),
    "ünï\udcff": Link("base/5"),
    "pg_wal": Folder(0o700),
}
NEWER: Things = {**OLD_VAULT, "PG_VERSION": File(b"17\n", 0o600, mark=b"new")}


HISTORY = b"1\t0/FFF000\tno recovery target specified\n"


def _write_old_vault() -> None:
    shutil.rmtree(HERE / "vault-1", ignore_errors=True)
    (HERE / "vault-1").mkdir(parents=True)
    keys, store = new_key(HERE / "vault-1" / "key"), FolderStore(HERE / "vault-1" / "vault")
    create(store, plan_name="catalytic", keys=keys, now=NOW)
    vault = open_vault(store, "local", keys)
    back_up(vault, OLD_VAULT)
    back_up(vault, NEWER, now=later(1))
    vault.keep_note("plan/sha256:00", b"backstay: 1\n")
    vault.wal.keep_history(LOG.system, LOG.timeline, HISTORY)
    vault.wal.keep(LOG)
    shutil.rmtree(HERE / "vault-1" / "vault" / "+incoming")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the vault and its key alone, as a person would bring them on a stick."""
    if WRITE:
        _write_old_vault()
    stick = tmp_path_factory.mktemp("stick") / "copy"
    shutil.copytree(HERE / "vault-1", stick)
    (stick / "key").chmod(0o600)
    return stick


def test_a_vault_that_was_written_long_ago_opens(old: Path, tmp_path: Path) -> None:
    vault = open_vault(FolderStore(old / "vault"), "old", Keyring.load(old / "key"))
    first, second = vault.points()
    assert held(vault.open(first.id)) == expected(OLD_VAULT)
    vault.open(second.id).extract(tmp_path / "to")
    assert laid_down(tmp_path / "to") == expected(NEWER)
    assert vault.note("plan/sha256:00") == b"backstay: 1\n"
    assert b"".join(vault.wal.read(LOG.system, LOG.timeline, LOG.start, LOG.end)) == LOG.data
    assert vault.wal.histories(LOG.system) == {LOG.timeline: HISTORY}
    assert list(check(vault, read_data=True)) == []


def _stranger(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The extractor, with an empty environment and without our package."""
    return subprocess.run(
        [sys.executable, "-I", TOOL, *words], env={}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_extractor_shares_no_code_with_the_package() -> None:
    code = TOOL.read_text()
    assert "import backstay" not in code
    assert "from backstay" not in code


def test_a_stranger_lists_and_lays_down_the_same_bytes(old: Path, tmp_path: Path) -> None:
    listed = _stranger("list", old / "vault", old / "key")
    assert listed.returncode == 0, listed.stderr
    ids = [line.split()[0] for line in listed.stdout.splitlines()]
    vault = open_vault(FolderStore(old / "vault"), "old", Keyring.load(old / "key"))
    assert ids == [point.id for point in vault.points()]
    for id, things in zip(ids, (OLD_VAULT, NEWER)):
        done = _stranger("extract", old / "vault", old / "key", id, tmp_path / id)
        assert done.returncode == 0, done.stderr
        assert laid_down(tmp_path / id) == expected(things)
        vault.open(vault.points()[0].id)
    assert (tmp_path / ids[0] / "empty").stat().st_mtime_ns == 1767323045678901000


def test_a_stranger_reads_what_is_written_today(tmp_path: Path) -> None:
    keys, store = new_key(tmp_path / "key"), FolderStore(tmp_path / "vault")
    create(store, plan_name="p", keys=keys, now=NOW)
    vault = open_vault(store, "local", keys)
    things = {
        **{f"many/{n:04d}": File(b"%d" % n * (n % 90), 0o600) for n in range(700)},
        "few/a": File(b"a"),
        "few/b": Link("a"),
        "large": File(_bytes("large", 5 << 20), 0o600, Cutter.FIXED_64K),
        "zeros": File(bytes(66 << 20) + b"end", 0o600, Cutter.FIXED_64K),
        "text": File(_bytes("text", 3 << 20), 0o600),
    }
    point = back_up(vault, things)
    done = _stranger("extract", tmp_path / "vault", tmp_path / "key", point.id, tmp_path / "to", "--under", "few")
    assert done.returncode == 0, done.stderr
    assert sorted(laid_down(tmp_path / "to")) == ["few", "few/a", "few/b"]
    done = _stranger("extract", tmp_path / "vault", tmp_path / "key", point.id, tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert laid_down(tmp_path / "all") == expected(things)
    done = _stranger("packs", tmp_path / "vault", tmp_path / "key", point.id)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        pack.hex(): str(size) for pack, size in vault.packs_of(point.id).items()
    }


def test_a_stranger_lays_down_the_same_log(old: Path, tmp_path: Path) -> None:
    done = _stranger("log", old / "vault", old / "key", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "log" / str(LOG.system)
    assert (folder / "00000002.history").read_bytes() == HISTORY
    first, second = (folder / segment_name(2, number, LEAST_SEGMENT) for number in (15, 16))
    assert first.read_bytes() == bytes(LEAST_SEGMENT - 700) + LOG.data[:700]
    assert second.read_bytes() == LOG.data[700:].ljust(LEAST_SEGMENT, b"\0")
    for at in range(0, 2_000, 397):
        shutil.copytree(old / "vault", tmp_path / "copy")
        path = tmp_path / "copy" / key_of(LOG)
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1
        path.write_bytes(data)
        refused = _stranger("log", tmp_path / "copy", old / "key", tmp_path / f"log {at}")
        assert (refused.returncode, "Traceback" in refused.stderr) == (1, False), (at, refused.stderr)
        shutil.rmtree(tmp_path / "copy")


def test_a_stranger_believes_and_refuses_the_same_signers(tmp_path: Path) -> None:
    """Points of a retired writer, of a prover, of a second owner's writer; and rubbish in every place."""
    keys, hosts, store = new_key(tmp_path / "key"), [fresh() for _ in range(3)], FolderStore(tmp_path / "vault")
    readers = [keys.recipient or "", *(host.recipient or "" for host in hosts)]
    create(store, plan_name="p", keys=keys, recipients=readers, now=NOW)
    vault = open_vault(store, "local", keys)
    family, believed = vault.opened.family, list[bytes]()
    for host, role, by in ((hosts[0], Role.OWNER, keys), (hosts[1], Role.WRITER, hosts[0])):
        store.put_if_absent(*enrolment(host.writer or b"", role, by, family=family, now=NOW))
    root = frozenset({keys.writer or b""})
    for minute, host in enumerate(hosts[:2]):
        back_up(open_vault(store, "local", replace(host, trusted=root)), OLD_VAULT, now=later(minute))
    for host in hosts[:2]:
        listed = [one.key for prefix in ("points/", "writers/") for one in store.list(prefix)]
        believed = [seen(key, store.get(key)) for key in listed]
        for key, data in retirement(host.writer or b"", believed, keys, family=family, now=NOW):
            store.put_if_absent(key, data)
    thief = open_vault(FolderStore(tmp_path / "vault"), "local", replace(hosts[1], trusted=root))
    thief.opened.retired.clear()
    thief.opened.writers[hosts[1].writer or b""] = "writer"
    thief.opened.writers[hosts[2].writer or b""] = "prover"
    back_up(thief, NEWER, now=later(5))
    for name in ("points/database/x", "writers/x", "keys/x", "retired/x", "words/x"):
        store.put_if_absent(Key(name), b"rubbish")
    found, damaged = open_vault(store, "local", keys).survey()
    assert (len(found), len(damaged)) == (2, 1)
    listed_by = _stranger("list", tmp_path / "vault", tmp_path / "key")
    assert listed_by.returncode == 0, listed_by.stderr
    assert [line.split()[0] for line in listed_by.stdout.splitlines()] == [point.id for point in found]

    # Somebody removes what retired the thief, to make his key count again; the epoch in use still names him.
    used = taken_into_use(new_epoch(2), family, [], [hosts[1].writer or b""], keys, now=NOW)
    store.put_if_absent(*used)
    for one in list(store.list(f"retired/{fingerprint(family + (hosts[1].writer or b''))}")):
        store.delete(one.key)
    found, damaged = open_vault(store, "local", keys).survey()
    assert (len(found), len(damaged)) == (1, 2)
    listed_by = _stranger("list", tmp_path / "vault", tmp_path / "key")
    assert [line.split()[0] for line in listed_by.stdout.splitlines()] == [point.id for point in found]


def test_a_stranger_opens_with_the_same_words_as_we(tmp_path: Path) -> None:
    """The vectors have the key that follows from a secret; here the extractor makes it."""
    made = runpy.run_path(str(TOOL))["identity_of"](_bytes("secret", 32))
    assert made == _stored()["key from a secret"]["identity"]


def test_a_stranger_refuses_what_was_changed_and_other_keys(old: Path, tmp_path: Path) -> None:
    id = _stranger("list", old / "vault", old / "key").stdout.split()[0]
    new_key(tmp_path / "other")
    wrong = _stranger("list", old / "vault", tmp_path / "other")
    assert (wrong.returncode, "does not open the vault" in wrong.stderr) == (1, True)
    for prefix in ("packs", "nodes", "points", "keys", "vault"):
        shutil.copytree(old / "vault", tmp_path / "copy")
        for path in [tmp_path / "copy" / prefix, *(tmp_path / "copy" / prefix).rglob("*")]:
            if path.is_file():
                data = bytearray(path.read_bytes())
                data[len(data) // 3] ^= 1
                path.write_bytes(data)
        refused = _stranger("extract", tmp_path / "copy", old / "key", id, tmp_path / prefix)
        assert (refused.returncode, "Traceback" in refused.stderr) == (1, False), (prefix, refused.stderr)
        shutil.rmtree(tmp_path / "copy")


def test_what_a_box_says_depends_on_its_name() -> None:
    """The key of a box is part of its associated data and of what is signed."""
    opened = _opened()
    sealed = seal_box(opened, KEYS, Key("notes/a"), pack_json({"a": 1}))
    assert open_box(opened, Key("notes/a"), sealed).json() == {"a": 1}
    with pytest.raises(Damaged):
        open_box(opened, Key("notes/b"), sealed)


def test_a_letter_opens_for_readers_only() -> None:
    opened = _opened()
    letter = seal_box(opened, KEYS, Key("notes/secret"), b"the password", letter=True)
    assert open_box(opened, Key("notes/secret"), letter, letter=True).body == b"the password"
    writer = replace(opened, epochs={id: replace(epoch, private=None) for id, epoch in opened.epochs.items()})
    with pytest.raises(WrongKey):
        open_box(writer, Key("notes/secret"), letter, letter=True)
