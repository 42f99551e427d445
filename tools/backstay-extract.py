#!/usr/bin/env python3
"""List the recovery points of a Backstay vault in a folder, and lay one down. One file, without Backstay.

    python3 backstay-extract.py list    VAULT KEY
    python3 backstay-extract.py extract VAULT KEY POINT TO [--under PATH]
    python3 backstay-extract.py packs   VAULT KEY POINT
    python3 backstay-extract.py log     VAULT KEY TO

VAULT is the vault's folder (from a bucket: copy the bucket into one), KEY a key file, or `-` to be asked for a
passphrase. Needs Python 3.11 and four packages: pip install zstandard cryptography blake3 pyrage

It follows docs/reference/vault-format.md and shares no code with Backstay: that both give the same bytes is the
proof of that document. It verifies every signature, seal and hash, keeps little in memory, and is not made for speed.
"""

# Paths are bytes here, because names of files are: pathlib has no such thing.
# ruff: noqa: PTH101, PTH103, PTH114, PTH116, PTH120, PTH211, T201

import argparse
import getpass
import hashlib
import json
import os
import re
import stat
import struct
import sys
from pathlib import Path

import pyrage
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DATA, NODES, BOX, LOG = 1, 2, 3, 5
LIMITS = {1: 4 << 20, 2: 16 << 20, 3: 256 << 20, 4: 256 << 20}
MAKERS, OTHERS = ("owner", "writer"), ("prover", "recoverer")
"""Who may sign points and log, and who may sign other things, which are not read here."""
HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Refused(Exception):
    """Said to the user as it is."""


# ── reading bytes ────────────────────────────────────────────────────────────────────────────────


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Refused("something is cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def get(self, shape):
        return struct.unpack("<" + shape, self.take(struct.calcsize("<" + shape)))

    def one(self, shape):
        return self.get(shape)[0]

    def text(self):
        return self.take(self.one("H"))

    def end(self):
        if self.at != len(self.data):
            raise Refused("something is longer than it should be")


def canonical(data):
    value = json.loads(data)
    if json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() != data:
        raise Refused("JSON that is not in canonical form")
    return value


def from_hex(text, size=None):
    if not re.fullmatch(r"([0-9a-f]{2})*", text) or (size is not None and len(text) != 2 * size):
        raise Refused("hexadecimal digits that are none")
    return bytes.fromhex(text)


def signed(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def statement(kind, data):
    body = canonical(data)
    signature = from_hex(body.pop("signature"), 64)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    if not signed(from_hex(body["by"], 32), signature, f"backstay 1 {kind}\n".encode() + text):
        raise Refused(f"the signature of a {kind} statement is wrong")
    return body


def fingerprint(data):
    return hashlib.sha256(data).hexdigest()[:16]


# ── the vault ────────────────────────────────────────────────────────────────────────────────────


class Vault:
    def __init__(self, folder, key_file):
        self.folder = Path(folder)
        self.identity, self.words, self.trusted = read_key(key_file)
        self.inflate = zstandard.ZstdDecompressor()
        self.ciphers = {}
        self.open_header()
        self.open_signers()
        self.open_used()
        self.open_words()
        self.open_epochs()

    def object(self, key, start=0, length=None):
        try:
            with (self.folder / key).open("rb") as file:
                file.seek(start)
                return file.read() if length is None else file.read(length)
        except FileNotFoundError:
            raise Refused(f"{key} is missing") from None

    def keys_below(self, prefix):
        base = self.folder / prefix
        return sorted(str(path.relative_to(self.folder)) for path in base.rglob("*") if path.is_file())

    def open_header(self):
        data = self.object("vault")
        found = re.fullmatch(rb"Backstay vault, format (\d{1,6})\n(.*)\nsha256 ([0-9a-f]{64})\n", data, re.DOTALL)
        if not found or hashlib.sha256(data[:-72]).hexdigest().encode() != found[3]:
            raise Refused("the vault's header is damaged")
        if int(found[1]) != 1:
            raise Refused(f"this reads format 1, and the vault has format {int(found[1])}")
        body = statement("vault", found[2])
        self.root, self.family = from_hex(body["by"], 32), from_hex(body["family"], 16)
        self.plan = body["plan"]
        if self.trusted and self.root not in self.trusted:
            raise Refused("the vault was made by somebody whom this key does not trust")

    def statements(self, prefix, kind):
        """Key, bytes and body of each statement below `prefix` that is well made; anybody may have put others there."""
        for key in self.keys_below(prefix):
            try:
                if (self.folder / key).stat().st_size > 262_144:
                    raise Refused("too long for a statement")
                data = self.object(key)
                body = statement(kind, data)
                if body["family"] == self.family.hex():
                    yield key, data, body
            except (Refused, ValueError, KeyError, TypeError, AttributeError):
                yield from ()

    def open_signers(self):
        """Who may sign: `roles`, and `retired` with the digests of what is still believed of them."""
        self.retired, self.roles = {}, {self.root: "owner"}
        enrolled = list(self.statements("writers", "writer"))
        ended = list(self.statements("retired", "retire"))
        for _key, _data, body in ended:
            if body["by"] == self.root.hex() != body["writer"]:
                self.retire(body)
        grew = True
        while grew:
            grew = False
            for key, data, body in enrolled:
                writer = from_hex(body["writer"], 32)
                right = key == "writers/" + fingerprint(self.family + writer) and body["role"] in MAKERS + OTHERS
                if writer not in self.roles and right and self.owned(key, data, body):
                    self.roles[writer] = body["role"]
                    grew = True
        for key, data, body in ended:
            writer = from_hex(body["writer"], 32)
            if self.roles.get(writer, "owner") != "owner" and self.owned(key, data, body):
                self.retire(body)

    def retire(self, body):
        writer, digest = from_hex(body["writer"], 32), body["boxes"]
        try:
            seen = self.object(f"retired/{fingerprint(self.family + writer)}/{digest[:32]}")
        except Refused:
            seen = b""
        if hashlib.sha256(seen).hexdigest() != digest:
            print(f"the list of a retired signer is missing or changed: {writer.hex()}", file=sys.stderr)
            seen = b""
        believed = {seen[at : at + 16] for at in range(0, len(seen), 16)}
        self.retired.setdefault(writer, set()).update(believed)

    def believed(self, signer, key, data):
        """Whether a signer, who may be retired, still counts for this very object."""
        seen = hashlib.sha256(b"backstay 1 seen\n" + key.encode() + b"\n" + data).digest()[:16]
        return signer in self.roles and (signer not in self.retired or seen in self.retired[signer])

    def owned(self, key, data, body):
        by = from_hex(body["by"], 32)
        return self.roles.get(by) == "owner" and self.believed(by, key, data)

    def open_words(self):
        """The identity that stands behind a passphrase."""
        for key, data, body in self.statements("words", "words") if self.words else ():
            if self.owned(key, data, body):
                try:
                    secret = pyrage.passphrase.decrypt(from_hex(body["age"]), self.words)
                    self.identity = pyrage.x25519.Identity.from_str(identity_of(secret))
                except pyrage.DecryptError:
                    continue

    def open_epochs(self):
        self.epochs, readers, id_key = {}, [], None
        for key, data, body in self.statements("keys", "wrap"):
            who = f"{body['number']:06d}-{body['epoch']}/{body['role']}-{fingerprint(body['for'].encode())}"
            if body["role"] != "reader" or key != "keys/" + who or not self.owned(key, data, body):
                continue
            readers.append(body["for"])
            secret = self.unwrapped(body["for"], from_hex(body["age"]))
            if secret is None:
                continue
            inside = canonical(secret)
            if any(inside[name] != body[name] for name in ("epoch", "family", "number")):
                raise Refused(f"{key} holds other keys than it says")
            self.epochs[from_hex(body["epoch"], 8)] = (from_hex(inside["metadata_key"], 32), inside["private"])
            id_key = from_hex(inside["id_key"], 32)
        if id_key is None:
            raise Refused("this key does not open the vault; it opens for " + ", ".join(readers))
        self.chunk_key, self.node_key = (
            blake3(id_key, derive_key_context=f"backstay 2026-11 {what} ids v1").digest() for what in ("chunk", "node")
        )

    def open_used(self):
        """An epoch names who was retired before it was taken into use: it shows when that statement was removed."""
        for key, data, body in self.statements("keys", "epoch"):
            name = f"keys/{body['number']:06d}-{body['epoch']}/used"
            for public in body["retired"] if key == name and self.owned(key, data, body) else ():
                if public != self.root.hex():
                    self.retired.setdefault(from_hex(public, 32), set())

    def unwrapped(self, who, sealed):
        if self.identity is None or who != str(self.identity.to_public()):
            return None
        try:
            return pyrage.decrypt(sealed, [self.identity])
        except pyrage.DecryptError:
            return None

    # ── frames ──

    def epoch(self, id):
        if id not in self.epochs:
            raise Refused(f"sealed in key epoch {id.hex()}, which this key does not open")
        return self.epochs[id]

    def address(self, what, epoch, id, place):
        head = b"BACKSTAY" + struct.pack("<BB", 1, what) + epoch + self.family + id
        return head + struct.pack("<H", len(place.encode())) + place.encode()

    def derived(self, epoch, id, address):
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=id, info=b"backstay 1 frames" + address)
        return AESGCM(derive.derive(self.epoch(epoch)[0]))

    def frame(self, cipher, address, kind, data):
        if len(data) < 32:
            raise Refused("a frame is cut short")
        found, zero, zeros, ordinal, plain_size, sealed_size = struct.unpack("<BBHIII", data[:16])
        if found != kind or zero or zeros or sealed_size != len(data) - 16 or plain_size > LIMITS[kind]:
            raise Refused("no frame is where one should be")
        try:
            packed = cipher.decrypt(ordinal.to_bytes(12, "big"), data[16:], address + data[:16])
        except InvalidTag:
            raise Refused("the seal of a frame is broken") from None
        if zstandard.frame_content_size(packed) != plain_size:
            raise Refused("a frame has another length than it says")
        return self.inflate.decompress(packed, max_output_size=plain_size, allow_extra_data=False)

    def box(self, key):
        whole = self.object(key)
        data = Bytes(whole)
        magic, version, what, epoch, family, id = data.get("8sBB8s16s16s")
        place, slot = data.text(), data.text()
        if (magic, version, what, family, place, slot) != (b"BACKSTAY", 1, BOX, self.family, key.encode(), b""):
            raise Refused(f"{key} belongs elsewhere, or is damaged")
        address = self.address(BOX, epoch, id, key)
        plain = self.frame(self.derived(epoch, id, address), address, 4, data.data[data.at :])
        signer, signature, body = plain[:32], plain[32:96], plain[96:]
        if self.roles.get(signer) not in MAKERS or not self.believed(signer, key, whole):
            raise Refused(f"{key} is not signed by anybody who may")
        if not signed(signer, signature, b"backstay 1 box\n" + address + body):
            raise Refused(f"the signature of {key} is wrong")
        return signer, body

    def node(self, component, ref):
        id, pack, epoch, offset, length = ref
        address = self.address(NODES, epoch, pack, component)
        data = self.object(f"nodes/{component}/{pack.hex()}", offset, length)
        plain = self.frame(self.derived(epoch, pack, address), address, 2, data)
        if blake3(plain, key=self.node_key).digest() != id:
            raise Refused("a node is another one than it should be")
        return Bytes(plain)

    def data_cipher(self, component, pack, epoch):
        if pack not in self.ciphers:
            place = component.encode()
            head = Bytes(self.object(f"packs/{component}/{pack.hex()}", 0, 54 + len(place) + 80))
            address = self.address(DATA, epoch, pack, component)
            if head.take(len(address)) != address or len(slot := head.text()) != 80:
                raise Refused(f"the head of pack {pack.hex()} is damaged")
            private = X25519PrivateKey.from_private_bytes(from_hex(self.epoch(epoch)[1], 32))
            try:
                self.ciphers[pack] = AESGCM(HPKE.decrypt(slot, private, info=address)), address
            except InvalidTag:
                raise Refused(f"the key of pack {pack.hex()} is damaged") from None
        return self.ciphers[pack]

    def data(self, component, place):
        pack, epoch, offset, length = place
        cipher, address = self.data_cipher(component, pack, epoch)
        return self.frame(cipher, address, 1, self.object(f"packs/{component}/{pack.hex()}", offset, length))

    # ── the write-ahead log ──

    def stretch(self, key):
        """The size of the segments, and the log in a stretch: position and bytes of each frame."""
        start, end = (int(text, 16) for text in key.rpartition("/")[2].split("-"))
        whole = self.object(key)
        data = Bytes(whole)
        magic, version, what, epoch, family, id = data.get("8sBB8s16s16s")
        place, slot = data.text(), data.text()
        if (magic, version, what, family, place) != (b"BACKSTAY", 1, LOG, self.family, key.encode()):
            raise Refused(f"{key} belongs elsewhere, or is damaged")
        address, head = self.address(LOG, epoch, id, key), whole[: data.at]
        size = 16 + struct.unpack("<I", whole[data.at + 12 : data.at + 16])[0]
        plain = self.frame(self.derived(epoch, id, address), address, 4, data.take(size))
        signer, signature, body = plain[:32], plain[32:96], plain[96:]
        if self.roles.get(signer) not in MAKERS or not self.believed(signer, key, whole[: data.at]):
            raise Refused(f"{key} is not signed by anybody who may")
        if not signed(signer, signature, b"backstay 1 log\n" + head + body):
            raise Refused(f"the signature of {key} is wrong")
        said = canonical(body)
        return said["segment"], self.log_frames(data, said["frames"], (epoch, address, slot), start, end)

    def log_frames(self, data, frames, sealed, start, end):
        epoch, address, slot = sealed
        private = X25519PrivateKey.from_private_bytes(from_hex(self.epoch(epoch)[1], 32))
        try:
            cipher = AESGCM(HPKE.decrypt(slot, private, info=address))
        except InvalidTag:
            raise Refused("the key of a stretch of log is damaged") from None
        for frame in frames:
            size = min(end - start, (1 << 20) - start % (1 << 20))
            plain = self.frame(cipher, address, 1, data.take(frame["length"]))
            if len(plain) != size or size == 0:
                raise Refused("a stretch of log has another length than its name says")
            yield start, self.verify(from_hex(frame["id"], 32), plain)
            start += size
        if start != end:
            raise Refused("a stretch of log is shorter than its name says")

    # ── points ──

    def points(self):
        for key in self.keys_below("points"):
            if not re.fullmatch(r"points/[a-z0-9-]+/\d{8}t\d{6}z-[0-9a-f]{8}", key):
                continue  # a stranger's
            try:
                signer, body = self.box(key)
                body = canonical(body)
                if "expired" in body:
                    continue
                point = body["point"]
                name = f"points/{point['component']}/{point['id'].lower()}"
                if key != name or point["writer"] != fingerprint(signer):
                    raise Refused(f"{key} is the point of another name")
            except Refused as refused:
                print(f"passed over: {refused}", file=sys.stderr)
                continue
            yield point, Bytes(from_hex(body["root"])), body.get("packs")

    def find(self, id):
        for point, root, lists in self.points():
            if point["id"] == id:
                return point, root, lists
        raise Refused(f"there is no point {id}")

    def packs(self, id):
        """The packs that a point needs, and at most how many bytes of each."""
        point, _, lists = self.find(id)
        if lists is None:
            raise Refused(f"{id} is from before points listed their packs")
        found = {}
        refs = [Bytes(from_hex(text, 64)).get("32s16s8sII") for text in lists]
        for ref in refs:
            node = self.node(point["component"], ref)
            kind, what, n = node.get("BBI")
            if kind != 5 or what not in (DATA, NODES) or n == 0:
                raise Refused("a list of packs that is none")
            ids = [node.take(16) for _ in range(n)]
            found.update(zip(ids, node.get(f"{n}I")))
            node.end()
        for _, pack, _, _, length in refs:
            found[pack] = found.get(pack, 0) + length
        return found

    def entries(self, component, content, path=b""):
        """Everything below a folder: path, kind, mode, modified, size, content."""
        for item in self.folder_items(component, content):
            here = path + b"/" + item[0] if path else item[0]
            yield here, *item[1:]
            if item[1] == 1:
                yield from self.entries(component, Bytes(item[5]), here)

    def folder_items(self, component, content):
        kind = content.one("B")
        if kind == 3:
            level = content.one("B")
            yield from self.pages(component, level, content.get("32s16s8sII"))
        elif kind != 0:
            raise Refused("a folder that is none")

    def pages(self, component, level, ref):
        node = self.node(component, ref)
        if level > 8:
            raise Refused("a folder that is too deep")
        if level > 0:
            if node.get("BB") != (4, level):
                raise Refused("a branch that is none")
            for _ in range(node.one("I")):
                node.text()
                yield from self.pages(component, level - 1, node.get("32s16s8sII"))
            node.end()
            return
        if node.one("B") != 3:
            raise Refused("a page that is none")
        for _ in range(node.one("I")):
            name = node.text()
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
                raise Refused("a name that would lead out of the folder")
            kind, _implied, mode, modified, size, mark = node.get("BBHqQB")
            node.take(mark)
            node.text()
            start = node.at
            self.skip_content(node)
            yield name, kind, mode & 0o7777, modified, size, node.data[start : node.at]
        node.end()

    @staticmethod
    def skip_content(node):
        sizes = {0: 0, 1: 72, 2: 66, 3: 65}
        kind = node.one("B")
        if kind == 4:
            node.text()
        elif kind in sizes:
            node.take(sizes[kind])
        else:
            raise Refused("an entry of an unknown kind")

    def chunks(self, component, content, size):
        """The chunks of a file in order: their bytes, or how many zeros."""
        content = Bytes(content)
        kind = content.one("B")
        if kind == 1:
            id, *place, at, length = content.get("32s16s8sIIII")
            yield self.chunk(component, id, place, at, length)
        elif kind == 2:
            _cutter, level = content.get("BB")
            yield from self.stream(component, level, content.get("32s16s8sII"))
        elif kind != 0 or size:
            raise Refused("a file that is none")

    def stream(self, component, level, ref):
        node = self.node(component, ref)
        if level > 0:
            if node.get("BB") != (2, level) or level > 8:
                raise Refused("a branch that is none")
            n = node.one("I")
            children = [node.get("32s16s8sII") for _ in range(n)]
            node.get(f"{n}Q")
            node.end()
            for child in children:
                yield from self.stream(component, level - 1, child)
            return
        kind, n, count = node.get("BIH")
        if kind != 1:
            raise Refused("a leaf that is none")
        packs = [node.get("16s8s") for _ in range(count)]
        ids = [node.take(32) for _ in range(n)]
        sizes, numbers, offsets, lengths, ats = (node.get(f"{n}{code}") for code in "IHIII")
        node.end()
        held, plain = None, b""
        for id, size, number, offset, length, at in zip(ids, sizes, numbers, offsets, lengths, ats):
            if number == 0xFFFF:
                self.verify(id, bytes(size))
                yield size
                continue
            if number >= count:
                raise Refused("a leaf that points to no pack")
            place = (*packs[number], offset, length)
            if place != held:
                held, plain = place, self.data(component, place)
            yield self.verify(id, plain[at : at + size])

    def chunk(self, component, id, place, at, length):
        return self.verify(id, self.data(component, place)[at : at + length])

    def verify(self, id, data):
        if blake3(data, key=self.chunk_key).digest() != id:
            raise Refused("a chunk is another one than it should be")
        return data


def identity_of(secret):
    """The age identity that follows from 32 bytes, in Bech32."""
    derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"backstay 1 key from a secret: identity")
    number = int.from_bytes(derive.derive(secret), "big") << 4
    prefix, letters = "age-secret-key-", "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    words = [number >> 5 * i & 31 for i in reversed(range(52))]
    check = 1
    for word in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *words, *[0] * 6]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ word
        for i, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= part * (top >> i & 1)
    words += [(check ^ 1) >> 5 * (5 - i) & 31 for i in range(6)]
    return (prefix + "1" + "".join(letters[word] for word in words)).upper()


def read_key(path):
    """Identity, passphrase, and the roots that are believed."""
    if path == "-":
        return None, getpass.getpass("passphrase: "), set()
    found = os.stat(path)
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Refused(f"{path} can be read by others: chmod 600 {path}")
    identity, writer, trusted = None, None, set()
    for line in Path(path).read_text().splitlines():
        if line.startswith("AGE-SECRET-KEY-1"):
            identity = pyrage.x25519.Identity.from_str(line)
        elif line.startswith("BACKSTAY-WRITER-KEY-1 "):
            seed = from_hex(line.split(" ")[1], 32)
            writer = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        elif line.startswith("BACKSTAY-TRUST-1 "):
            trusted.add(from_hex(line.split(" ")[1], 32))
    if identity is None:
        raise Refused(f"{path} holds no age identity")
    return identity, None, trusted | {writer} if trusted else set()


# ── laying down ──────────────────────────────────────────────────────────────────────────────────


def extract(vault, id, to, under):
    point, root, _ = vault.find(id)
    component, later = point["component"], []
    to, under = os.fsencode(to), os.fsencode(under)
    os.makedirs(to, mode=0o700, exist_ok=True)
    for path, kind, mode, modified, size, content in vault.entries(component, root):
        inside = not under or path == under or path.startswith(under + b"/")
        if not inside:
            continue
        target = to + b"/" + path
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        if kind == 1:
            if os.path.islink(target):
                raise Refused(f"{os.fsdecode(target)} is a link already")
            os.makedirs(target, mode=0o700, exist_ok=True)
            later.append((target, mode, modified, None))
        elif kind == 2:
            lay_file(vault, component, target, (mode, modified, size), content)
        else:
            later.append((target, mode, modified, Bytes(content[1:]).text()))
    for target, _mode, modified, link in later:
        if link is not None:
            os.symlink(link, target)
            os.utime(target, ns=(modified * 1000,) * 2, follow_symlinks=False)
    for target, mode, modified, link in reversed(later):
        if link is None:
            os.chmod(target, mode)
            os.utime(target, ns=(modified * 1000,) * 2)
            sync(target)
    sync(to)


def lay_file(vault, component, target, about, content):
    mode, modified, size = about
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        for chunk in vault.chunks(component, content, size):
            if isinstance(chunk, int):
                file.seek(chunk, os.SEEK_CUR)
            else:
                file.write(chunk)
        if file.tell() != size:
            raise Refused(f"{os.fsdecode(target)} came out with another length")
        file.truncate()
        file.flush()
        os.fchmod(handle, mode)
        os.utime(handle, ns=(modified * 1000,) * 2)
        os.fsync(handle)


def lay_log(vault, to):
    """Every stretch into segments, as a server has them in pg_wal, a folder for each cluster; and the histories."""
    for key in vault.keys_below("wal"):
        found = re.fullmatch(r"wal/([0-9a-f]{16})/([0-9a-f]{8})/(history|[0-9a-f]{16}-[0-9a-f]{16})", key)
        if not found:
            continue  # a stranger's
        folder, timeline = Path(to, str(int(found[1], 16))), found[2].upper()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if found[3] == "history":
            (folder / f"{timeline}.history").write_bytes(vault.box(key)[1])
            continue
        size, frames = vault.stretch(key)
        for at, data in frames:
            number, rest = divmod(at, size)
            many = (1 << 32) // size
            handle = os.open(
                folder / f"{timeline}{number // many:08X}{number % many:08X}", os.O_RDWR | os.O_CREAT, 0o600
            )
            with os.fdopen(handle, "r+b") as file:
                file.truncate(size)
                file.seek(rest)
                file.write(data)
        print(found[1], found[2], found[3])


def sync(folder):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("list", "extract", "packs", "log"):
        verb = verbs.add_parser(name)
        verb.add_argument("vault")
        verb.add_argument("key")
        if name in ("extract", "packs"):
            verb.add_argument("point")
        if name in ("extract", "log"):
            verb.add_argument("to")
        if name == "extract":
            verb.add_argument("--under", default="")
    asked = parser.parse_args()
    try:
        vault = Vault(asked.vault, asked.key)
        if asked.verb == "extract":
            extract(vault, asked.point, asked.to, asked.under)
            return 0
        if asked.verb == "log":
            lay_log(vault, asked.to)
            return 0
        if asked.verb == "packs":
            for pack, size in vault.packs(asked.point).items():
                print(pack.hex(), size)
            return 0
        for point, _, _ in sorted(vault.points(), key=lambda found: found[0]["id"]):
            newest = point["newest"] or point["began"]
            print(f"{point['id']}  {point['component']:<20} {point['size']:>16,} bytes  newest data {newest}")
        return 0
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
    except (ValueError, KeyError, TypeError, struct.error, zstandard.ZstdError) as error:
        print(f"refused: something in the vault is damaged: {error!r}", file=sys.stderr)
    except OSError as error:
        print(f"cannot go on: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
