"""The points that somebody else holds, offered as a vault offers its own: listed, opened, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import assert_never

from backstay.adapters.postgres.existing.dumps import DumpPoint, Dumps
from backstay.adapters.postgres.existing.pgbackrest import PgBackRestPoint, Repository
from backstay.errors import NoSuchPoint, NotSupported
from backstay.facts import Hold, Point, Proof
from backstay.plan import Existing, PgBackRest, PgDump
from backstay.ports import PointWriter, Progress, WalShelf, unwatched
from backstay.values import ComponentName, Digest, PointId


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose points, and how they are read."""

    component: ComponentName
    database: str
    """The one that is asked questions: the name in the component's address."""
    scratch: Path
    latest: bool = False
    """Restored with all log that is there, not only to the end of the backup."""


@dataclass(slots=True)
class ExistingShelf:
    """A Vault that is read only. Its name is no name of a vault: `pgbackrest:main`."""

    settings: Existing
    wanted: Wanted
    given: tuple[Proof, ...] = ()
    """What the journal has of its proofs: there is nowhere else to keep them."""
    progress: Progress = unwatched
    name: str = field(init=False)
    _source: Repository | Dumps = field(init=False)

    def __post_init__(self) -> None:
        match self.settings:
            case PgBackRest():
                self._source = Repository(self.settings, self.wanted.scratch)
            case PgDump():
                self._source = Dumps(self.settings)
            case _:
                assert_never(self.settings)
        self.name = self._source.name

    @property
    def id(self) -> str:
        return self.name

    def points(self, component: ComponentName | None = None) -> list[Point]:
        """Oldest first. Raises ToolMissing, StoreUnreachable, NoSuchPoint, AccessDenied, Damaged."""
        if component not in (None, self.wanted.component):
            return []
        if isinstance(self._source, Dumps):
            return self._source.points(self.wanted.component)
        return self._source.sets(self.wanted.component, self.wanted.database)

    def named(self, name: str) -> Point:
        """By its id, or by what its own program calls it. Raises NoSuchPoint."""
        found = [point for point in self.points() if name in (point.id, point.about.get("label"))]
        if not found:
            known = ", ".join(point.id for point in self.points()[-3:])
            raise NoSuchPoint(f"{self.name} has no point {name}", detail=f"its newest: {known}" if known else "")
        return found[-1]

    def open(self, point: PointId) -> PgBackRestPoint | DumpPoint:
        found = self.named(point)
        if isinstance(self._source, Dumps):
            return self._source.open(found, self.wanted.database, self.progress)
        return self._source.open(found, latest=self.wanted.latest)

    def proofs(self, point: PointId | None = None) -> list[Proof]:
        return [proof for proof in self.given if proof.vault == self.name and point in (None, proof.point)]

    def keep_proof(self, proof: Proof) -> None:
        """The journal keeps it: nothing is ever written beside a point that is not ours."""

    # ── what only a vault of ours can do ──

    @property
    def wal(self) -> WalShelf:
        raise self._read_only()

    def begin(self, component: ComponentName, *, plan: Digest, now: datetime) -> PointWriter:
        raise self._read_only()

    def reserved(self, component: ComponentName) -> Iterator[tuple[PointId, bool]]:
        return iter(())

    def keep_hold(self, hold: Hold) -> None:
        raise self._read_only()

    def holds(self) -> list[Hold]:
        return []

    def keep_note(self, name: str, data: bytes) -> bool:
        raise self._read_only()

    def note(self, name: str) -> bytes | None:
        return None

    def notes(self, prefix: str) -> list[str]:
        return []

    def _read_only(self) -> NotSupported:
        return NotSupported(f"{self.name} is held by another program, and is only read")
