"""Vaults on stores that live in memory, trees to put into them, and stores that die."""

import io
import os
import random
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar

from backstay.adapters.memory.store import MemoryStore
from backstay.facts import Point
from backstay.ports import Cutter, Entry, Key, Kind, Listed, PointReader, Sealing, Store, StoreTraits, Vault
from backstay.values import ComponentName, Digest, LineageId
from backstay.vault import Keyring, Repository, age, create, open_vault

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 20, 44, 37, tzinfo=UTC)
DB = ComponentName("database")
PLAN = Digest("sha256:" + "0" * 64)
MODIFIED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def keyring(number: int = 0) -> Keyring:
    """A key that is made once: making one is slower than using it."""
    return _keyring(number)


@cache
def _keyring(number: int) -> Keyring:
    identity, _ = age.new_identity()
    return Keyring(identity, random.Random(number).randbytes(32))


def new_vault(store: Store, keys: Keyring | None = None) -> Repository:
    create(store, plan_name="catalytic", keys=keys or keyring(), now=NOW)
    return open_vault(store, "local", keys or keyring())


@dataclass(frozen=True, slots=True)
class File:
    data: bytes = field(default=b"", repr=False)
    mode: int = 0o640
    cutter: Cutter = Cutter.WHOLE
    mark: bytes = b""
    size: int = field(init=False, compare=False)
    """Shown instead of the data."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.data))


@dataclass(frozen=True, slots=True)
class Folder:
    mode: int = 0o750


@dataclass(frozen=True, slots=True)
class Link:
    target: str


Things = Mapping[str, File | Folder | Link]


def entries(things: Things) -> list[Entry]:
    return [entry(path, thing) for path, thing in things.items()]


def entry(path: str, thing: File | Folder | Link) -> Entry:
    match thing:
        case File(data, mode, cutter, mark):

            def opened() -> BinaryIO:
                return io.BytesIO(data)

            return Entry(path, Kind.FILE, mode, MODIFIED, len(data), opened, cutter, mark=mark)
        case Folder(mode):
            return Entry(path, Kind.FOLDER, mode, MODIFIED)
        case Link(target):
            return Entry(path, Kind.LINK, 0o777, MODIFIED, target=target)


def sealing(ended: datetime = NOW) -> Sealing:
    return Sealing(LineageId("inc-1"), "copy", NOW, ended, ended, "the test's clock", {"server": "none"})


def back_up(vault: Vault, things: Things, *, now: datetime = NOW, component: ComponentName = DB) -> Point:
    with vault.begin(component, plan=PLAN, now=now) as writer:
        writer.add(entries(things))
        return writer.seal(sealing(now))


def held(reader: PointReader) -> dict[str, File | Folder | Link]:
    """What a point gives back, entry by entry."""
    found: dict[str, File | Folder | Link] = {}
    for stored in reader.entries():
        match stored.kind:
            case Kind.FILE:
                found[stored.path] = File(b"".join(reader.read(stored.path)), stored.mode)
            case Kind.FOLDER:
                found[stored.path] = Folder(stored.mode)
            case Kind.LINK:
                found[stored.path] = Link(stored.target)
    return found


def laid_down(folder: Path) -> dict[str, File | Folder | Link]:
    """What is in a folder."""
    found: dict[str, File | Folder | Link] = {}
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(here, name)
            mode = stat.S_IMODE(path.lstat().st_mode)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = Link(str(path.readlink()))
            elif path.is_dir():
                found[key] = Folder(mode)
            else:
                found[key] = File(path.read_bytes(), mode)
    return found


def expected(things: Things) -> dict[str, File | Folder | Link]:
    """What comes back of `things`: files without cutter and mark, and the folders that nobody named."""
    found: dict[str, File | Folder | Link] = {}
    for path, thing in things.items():
        found[path] = File(thing.data, thing.mode) if isinstance(thing, File) else thing
        for parent in list(Path(path).parents)[:-1]:
            if str(parent) not in things:
                found[str(parent)] = Folder(0o700)
    return found


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


SMALL: Things = {
    "PG_VERSION": File(b"15\n"),
    "base/1/1259": File(noise(8192, 1) + bytes(8192) + noise(70_000, 2), 0o600, Cutter.FIXED_64K, b"m1"),
    "base/1/1249": File(bytes(65_536) * 2 + b"end", 0o600, Cutter.FIXED_64K),
    "dump/tenants": File(noise(300_000, 3), cutter=Cutter.CDC_V1),
    "dump": Folder(0o755),
    "pg_wal": Folder(0o700),
    "empty": File(),
    "current": Link("base/1"),
}
"""Something of every kind, small enough to try everything on it."""


class Crash(BaseException):
    """Death: not an Exception, so nobody survives it by catching Exception."""


class Mortal:
    """A store that dies at the n-th call, before or after it was done, and stays dead."""

    def __init__(
        self, within: Store, breaths: int, *, after: bool = False, dies: BaseException | type[BaseException] = Crash
    ) -> None:
        self.traits: StoreTraits = within.traits
        self._within, self._breaths, self._after = within, breaths, after
        self.calls, self.dead, self._dies = 0, False, dies

    def _breathe(self, act: Callable[[], T]) -> T:
        self.calls += 1
        if self.calls == self._breaths and not self._after:
            self.dead = True
        if self.dead:
            raise self._dies
        done = act()
        if self.calls == self._breaths:
            self.dead = True
            raise self._dies
        return done

    def describe(self) -> str:
        return self._within.describe()

    def now(self) -> datetime:
        return self._within.now()

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        self._breathe(lambda: self._within.put(key, parts))

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        return self._breathe(lambda: self._within.put_if_absent(key, data))

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return self._breathe(lambda: self._within.get(key, start, length))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._breathe(lambda: self._within.list(prefix))

    def delete(self, key: Key) -> None:
        self._breathe(lambda: self._within.delete(key))


def copy_of(store: MemoryStore) -> MemoryStore:
    other = MemoryStore()
    for key, data in store.objects.items():
        other.put_if_absent(key, data)
    return other


def later(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)
