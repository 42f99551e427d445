"""A vault in memory: twin of the repository, without its format.

It keeps the promises of the port: a point is there when it is sealed and not before, what was read from it is what was
written, an unchanged mark takes the content from the point before. It seals nothing and has no keys: who wants the
format itself in memory puts the real vault on a store in memory.
"""

import io
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from backstay.adapters.memory.tables import Breathe, breathe_easy
from backstay.errors import Damaged, Lapsed, NoSuchPoint, TargetNotEmpty
from backstay.facts import Hold, Point, Proof
from backstay.ports import Entry, Kind, Progress, Sealing, Stored, Vanished, unwatched
from backstay.values import ComponentName, Digest, PointId


@dataclass(frozen=True, slots=True)
class _File:
    stored: Stored
    data: bytes = field(repr=False)
    mark: bytes = b""


@dataclass(slots=True)
class _Sealed:
    point: Point
    files: dict[str, _File]


class MemoryVault:
    """Lives as long as the object. `damage` makes a file of a point unreadable."""

    def __init__(self, name: str = "local", breathe: Breathe = breathe_easy) -> None:
        self.name, self.breathe = name, breathe
        self._reserved: dict[PointId, ComponentName] = {}
        self._sealed: dict[PointId, _Sealed] = {}
        self._expired: set[PointId] = set()
        self._proofs: list[Proof] = []
        self._holds: list[Hold] = []
        self._notes: dict[str, bytes] = {}
        self._damaged: set[tuple[PointId, str]] = set()
        self._lock = threading.Lock()

    # ── writing ──

    def begin(self, component: ComponentName, *, plan: Digest, now: datetime) -> "MemoryPointWriter":
        id = PointId(f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        with self._lock:
            self._reserved[id] = component
        return MemoryPointWriter(self, id, component, plan)

    def expire(self, id: PointId) -> None:
        """As a pruner does with a reservation that was left open."""
        self._expired.add(id)

    def damage(self, id: PointId, path: str) -> None:
        """As a flipped bit does."""
        assert path in self._sealed[id].files
        self._damaged.add((id, path))

    def previous(self, component: ComponentName) -> _Sealed | None:
        own = [id for id, sealed in self._sealed.items() if sealed.point.component == component]
        return self._sealed[max(own)] if own else None

    def seal(self, sealed: _Sealed) -> None:
        with self._lock:
            if sealed.point.id in self._expired:
                raise Lapsed(f"the reservation of {sealed.point.id} was expired by somebody else")
            self.breathe(f"seal {sealed.point.component}")
            self._sealed[sealed.point.id] = sealed
            self.breathe(f"seal {sealed.point.component}, done")

    # ── reading ──

    def points(self, component: ComponentName | None = None) -> list[Point]:
        found = [sealed.point for _, sealed in sorted(self._sealed.items())]
        return [point for point in found if component in (None, point.component)]

    def reserved(self, component: ComponentName) -> Iterator[tuple[PointId, bool]]:
        for id, owner in sorted(self._reserved.items()):
            if owner == component:
                yield id, id in self._sealed

    def open(self, point: PointId) -> "MemoryPointReader":
        if point not in self._sealed:
            raise NoSuchPoint(f"the vault {self.name} has no point {point}")
        sealed = self._sealed[point]
        return MemoryPointReader(sealed.point, sealed.files, {path for id, path in self._damaged if id == point})

    # ── beside the points ──

    def keep_proof(self, proof: Proof) -> None:
        self._proofs.append(proof)

    def proofs(self, point: PointId | None = None) -> list[Proof]:
        return [proof for proof in self._proofs if point in (None, proof.point)]

    def keep_hold(self, hold: Hold) -> None:
        self._holds.append(hold)

    def holds(self) -> list[Hold]:
        return list(self._holds)

    def keep_note(self, name: str, data: bytes) -> bool:
        with self._lock:
            if name in self._notes:
                return False
            self._notes[name] = data
            return True

    def note(self, name: str) -> bytes | None:
        return self._notes.get(name)

    def notes(self, prefix: str) -> list[str]:
        return sorted(name for name in self._notes if name.startswith(prefix))


class MemoryPointWriter:
    def __init__(self, vault: MemoryVault, id: PointId, component: ComponentName, plan: Digest) -> None:
        self.id, self._vault, self._component, self._plan = id, vault, component, plan
        self._files: dict[str, _File] = {}
        self._previous = vault.previous(component)
        self._new_bytes = 0

    def __enter__(self) -> "MemoryPointWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        for entry in entries:
            assert entry.path not in self._files, f"{entry.path} came twice"
            try:
                data = self._content(entry)
            except Vanished:
                continue
            stored = Stored(entry.path, entry.kind, entry.mode, entry.modified, len(data), entry.target)
            self._files[entry.path] = _File(stored, data, entry.mark)
            progress(sum(len(file.data) for file in self._files.values()), None, entry.path)

    def _content(self, entry: Entry) -> bytes:
        if entry.open is None:
            return b""
        before = self._previous.files.get(entry.path) if self._previous and entry.mark else None
        if before is not None and before.mark == entry.mark:
            return before.data
        with entry.open() as source:
            data = source.read()
        self._new_bytes += len(data)
        return data

    def seal(self, sealing: Sealing) -> Point:
        point = Point(
            id=self.id,
            component=self._component,
            lineage=sealing.lineage,
            parent=self._previous.point.id if self._previous else None,
            way=sealing.way,
            began=sealing.began,
            ended=sealing.ended,
            newest=sealing.newest,
            newest_source=sealing.newest_source,
            size_bytes=sum(len(file.data) for file in self._files.values()),
            stored_bytes=self._new_bytes,
            files=sum(file.stored.kind is Kind.FILE for file in self._files.values()),
            plan=self._plan,
            writer="memory",
            about=dict(sealing.about),
        )
        self._vault.seal(_Sealed(point, self._files))
        return point


class MemoryPointReader:
    def __init__(self, point: Point, files: dict[str, _File], damaged: set[str]) -> None:
        self.point, self._files, self._damaged = point, files, damaged

    def entries(self, under: str = "") -> Iterator[Stored]:
        for path in sorted(self._files, key=lambda path: path.split("/")):
            if under in ("", path) or path.startswith(under + "/"):
                yield self._files[path].stored

    def entry(self, path: str) -> Stored | None:
        found = self._files.get(path)
        return found.stored if found else None

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if path not in self._files or path in self._damaged:
            self._cannot_read(path)
        data = self._files[path].data
        piece = io.BytesIO(data[start : len(data) if length is None else start + length])
        while part := piece.read(1 << 20):
            yield part

    def _cannot_read(self, path: str) -> NoReturn:
        raise Damaged(f"{path} of the point {self.point.id} cannot be read", detail="a chunk is not what was written")

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
    ) -> None:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        folders: list[tuple[Path, Stored]] = []
        for stored in self.entries(under):
            where = to / stored.path if place is None else place(stored)
            if where is None:
                continue
            where.parent.mkdir(parents=True, exist_ok=True)
            if stored.kind is Kind.FOLDER:
                where.mkdir(exist_ok=True)
                folders.append((where, stored))
            elif where.is_symlink() or where.exists():
                raise TargetNotEmpty(f"{where} is already there")
            elif stored.kind is Kind.LINK:
                where.symlink_to(stored.target)
            else:
                where.write_bytes(b"".join(self.read(stored.path)))
                _dress(where, stored)
            progress(stored.size_bytes, None, stored.path)
        for where, stored in reversed(folders):
            _dress(where, stored)


def _dress(where: Path, stored: Stored) -> None:
    where.chmod(stored.mode)
    moment_ns = int(stored.modified.timestamp()) * 10**9 + stored.modified.microsecond * 1000
    os.utime(where, ns=(moment_ns, moment_ns))
