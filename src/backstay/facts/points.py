"""Recovery points, proofs and holds: what the vault keeps, and the journal speaks of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from backstay.values import ComponentName, Digest, LineageId, PersonName, PointId, VaultName

FORENSIC = "forensic"
"""The way of a point that was captured from a preserved, damaged state."""


@dataclass(frozen=True, slots=True)
class Point:
    """One restorable state of one component, as its sealed record says it. Sizes in bytes."""

    id: PointId
    component: ComponentName
    lineage: LineageId
    parent: PointId | None
    """The point that was there before it: what is shared with it was not stored again."""
    way: str
    """`local`, `stream`, `logical`, `online`, `copy`, `command` or `forensic`."""
    began: datetime
    ended: datetime
    newest: datetime | None
    """The newest moment in the data. None: not known."""
    newest_source: str
    """Where `newest` comes from: `last commit`, `snapshot time`, `the component's own question`."""
    size_bytes: int
    stored_bytes: int
    """What this point added to the vault."""
    files: int
    plan: Digest
    writer: str
    """The enrolled writer that signed it."""
    about: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_evidence(self) -> bool:
        """Nothing is ever recovered from it, whoever names it."""
        return self.way == FORENSIC

    @property
    def moment(self) -> datetime:
        """What this point brings back: the newest moment in its data; else when it began, which is never too late."""
        return self.newest or self.began


def held_elsewhere(vault: str) -> bool:
    """Whether this stands where a vault's name does, and is none: `pgbackrest:main`. No vault is called so (`NAME`);
    the way of such a point is a key of `plan.EXISTING`."""
    return ":" in vault


class Rung(Enum):
    """The ladder of proof, bottom to top."""

    BYTES = "bytes"
    RESTORE = "restore"
    STRUCTURE = "structure"
    VOLUME = "volume"
    INTEGRITY = "integrity"
    MEANING = "meaning"
    CLOCK = "clock"


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_VERIFIED = "not-verified"
    """The check could not run. Never shown as passed."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    code: str
    """Stable: `B01`, `R02`…; `docs/reference/checks.md` explains each."""
    rung: Rung
    name: str
    verdict: Verdict
    said: str
    """One sentence: what was seen, or why it could not be looked at. Never a row's contents."""
    took: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Proven:
    pass


@dataclass(frozen=True, slots=True)
class Refuted:
    why: str


@dataclass(frozen=True, slots=True)
class NotVerified:
    why: str


Result = Proven | Refuted | NotVerified


@dataclass(frozen=True, slots=True)
class Proof:
    """What was seen when a point was restored and asked. Its result follows from the checks, and is not stored."""

    point: PointId
    component: ComponentName
    vault: VaultName
    tier: Literal["bytes", "sample", "full"]
    began: datetime
    ended: datetime
    restore_took: timedelta | None
    """How long the restore alone took: the forecast learns from it."""
    checks: tuple[CheckResult, ...]
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows per table."""
    newest: datetime | None = None
    plan: Digest = Digest("")
    canaries: Mapping[str, int] = field(default_factory=dict[str, int])
    """The plan's numbers that must not go down, by name."""

    def result(self) -> Result:
        """Refuted by any failed check; else not verified by any that could not run, or by none at all."""
        if failed := [check for check in self.checks if check.verdict is Verdict.FAILED]:
            return Refuted("; ".join(f"{check.code} {check.said}" for check in failed))
        if unsure := [check for check in self.checks if check.verdict is Verdict.NOT_VERIFIED]:
            return NotVerified("; ".join(f"{check.code} {check.said}" for check in unsure))
        if not any(check.rung is Rung.RESTORE for check in self.checks):
            return NotVerified("it was not restored")
        return Proven()


@dataclass(frozen=True, slots=True)
class Hold:
    """A point that may not expire, or may not be chosen (`suspicious`, `forensic`)."""

    id: str
    point: PointId
    component: ComponentName
    kind: Literal["keep", "suspicious", "forensic", "released"]
    """`released` takes back the hold of the same id."""
    reason: str
    by: PersonName | str
    at: datetime
    until: datetime | None = None
