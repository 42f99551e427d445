"""What can have happened outside a run: to the plan, to a component, in an incident, to the smoke checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from backstay.facts.points import Hold, Point, Proof, Verdict
from backstay.lsn import Lsn
from backstay.values import (
    Between,
    ComponentName,
    Digest,
    IncidentId,
    PersonName,
    PointId,
    RunId,
    ScenarioName,
    SiteName,
    VaultName,
)

# ── the streams `plan` and `journal` ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PlanAdopted:
    """This revision is the plan from now on. Its text is kept: a run resumes under the plan it froze."""

    digest: Digest
    text: str
    by: PersonName | str
    base: str = ""
    """The folder that relative paths of the plan start from."""


@dataclass(frozen=True, slots=True)
class JournalOpened:
    """This journal took an epoch at the witness, by put-if-absent."""

    epoch: int
    journal: str
    """A random id: two journals with one epoch cannot be mistaken for each other."""
    host: str
    witness: VaultName | None
    """None: no vault could be asked; the epoch is a claim."""


# ── the stream `claims` ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ComponentsClaimed:
    """An open run takes components of a site for itself. All claims are in one stream, so that of two runs only one
    can come first. The claim ends by itself with the first end of the run after fact `after` of the run's stream."""

    run: RunId
    site: SiteName
    components: tuple[ComponentName, ...]
    after: int


# ── the stream of a component ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RoutineBegan:
    """The first of the two facts of a routine backup, proof or copy: run, lease and intent in one."""

    run: RunId
    what: Literal["backup", "proof", "copy", "question", "capture"]
    vault: VaultName
    """Where the point is written to; of a proof or a question, where it is read from."""
    plan: Digest
    driver: str
    until: datetime
    point: PointId | None = None
    """The point that is written (reserved already), proved, or copied."""


@dataclass(frozen=True, slots=True)
class PointTaken:
    """The second fact of a backup that worked."""

    run: RunId
    vault: VaultName
    point: Point
    took: timedelta
    said: tuple[str, ...] = ()
    """What the operator should know: why this way was taken, pages that failed their checksum."""


@dataclass(frozen=True, slots=True)
class ProofGiven:
    """The second fact of a proof, whatever its result."""

    run: RunId
    proof: Proof


@dataclass(frozen=True, slots=True)
class PointCopied:
    """The second fact of a copy that worked: the vault `to` has the point, under the same id, as `source` has it."""

    run: RunId
    source: VaultName
    to: VaultName
    point: PointId
    moved_bytes: int
    """What had to be moved: packs that `to` had already were not."""
    took: timedelta


@dataclass(frozen=True, slots=True)
class LogKept:
    """Everything that the server had written by `until` was durable. Said while a server rests: of one that writes, the
    vaults say it themselves."""

    vaults: tuple[VaultName, ...]
    system: str
    """The cluster's system identifier, a number of 64 bits."""
    timeline: int
    end: str
    """Where its log ended then, as an LSN."""
    until: datetime
    """By the server's clock."""


@dataclass(frozen=True, slots=True)
class RoutineFailed:
    """The second fact of a backup, proof or copy that came to nothing."""

    run: RunId
    code: int
    why: str


@dataclass(frozen=True, slots=True)
class PointMissing:
    """The journal speaks of a point that the vault does not have: an alarm."""

    vault: VaultName
    point: PointId


@dataclass(frozen=True, slots=True)
class PointEnded:
    """The plan's `keep` let go of a point: it is deleted from this vault. Written before it is done, so that a point
    which is missing then is no alarm."""

    vault: VaultName
    point: PointId
    why: str
    by: PersonName | str


@dataclass(frozen=True, slots=True)
class HoldPlaced:
    vault: VaultName
    hold: Hold


@dataclass(frozen=True, slots=True)
class GapAcknowledged:
    """Somebody knows that this log is missing, and what that costs: it is no alarm any more. In whatever vault it is
    missing; should it ever be found, nothing here stands in its way."""

    system: int
    timeline: int
    start: Lsn
    end: Lsn
    by: PersonName | str
    reason: str

    def covers(self, timeline: int, start: int, end: int) -> bool:
        """Whether all of it was meant."""
        return timeline == self.timeline and self.start <= start and end <= self.end


@dataclass(frozen=True, slots=True)
class LineageBegan:
    """The component was restored or failed over: its history goes on from a point, on a new line."""

    component: ComponentName
    run: RunId
    origin: PointId
    lineage: str


@dataclass(frozen=True, slots=True)
class SearchBegan:
    """Somebody looks for the last known good: one question, asked of one recovery point after another."""

    search: RunId
    question: str
    expect: str
    """As it was typed: `>= 1`."""
    earliest: datetime | None
    latest: datetime | None
    """Only points with data until then are asked."""
    by: PersonName | str


@dataclass(frozen=True, slots=True)
class AnswerGiven:
    """The second fact of a question that a point was asked. Points do not change: no answer is asked for twice."""

    run: RunId
    search: RunId
    vault: VaultName
    point: PointId
    at: datetime | None
    """The moment that the log was replayed to, on top of the point. None: the point's own end."""
    verdict: Verdict
    """Passed: right. Failed: wrong. Not verified: nothing was found out."""
    said: str
    """The one value that came back and what was expected, or why there is none."""
    took: timedelta


@dataclass(frozen=True, slots=True)
class SearchEnded:
    """What a search found. Without a `good` point: nothing that was asked gave the right answer."""

    search: RunId
    good: PointId | None
    bad: PointId | None
    said: str


# ── the stream `watch` ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CheckSeen:
    """A smoke check changed colour, or was looked at for the first time in a while. `last` is the moment of the
    look before this one, whatever its colour: between the two, nothing is known."""

    check: str
    colour: Literal["green", "red", "unknown"]
    at: datetime
    last: datetime | None
    why: str = ""


# ── the stream of an incident ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DisasterDeclared:
    incident: IncidentId
    scenario: ScenarioName
    by: PersonName | str
    standing: Literal["alone", "approved", "break-glass", "drill"]
    criteria: tuple[str, ...]
    readings: Mapping[str, str] = field(default_factory=dict[str, str])
    disaster: Between | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CommandTaken:
    by: PersonName | str
    before: PersonName | str | None = None


@dataclass(frozen=True, slots=True)
class RunAttached:
    run: RunId


@dataclass(frozen=True, slots=True)
class MessageSent:
    audience: str
    template: str
    text_digest: Digest
    sent: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    by: PersonName | str
    text: str


@dataclass(frozen=True, slots=True)
class RecoveryDeclared:
    """Complete: everything that was promised to be checked was checked."""

    by: PersonName | str
    summary: str = ""


OtherFact = (
    PlanAdopted
    | JournalOpened
    | ComponentsClaimed
    | RoutineBegan
    | PointTaken
    | ProofGiven
    | PointCopied
    | LogKept
    | RoutineFailed
    | PointMissing
    | PointEnded
    | HoldPlaced
    | GapAcknowledged
    | LineageBegan
    | SearchBegan
    | AnswerGiven
    | SearchEnded
    | CheckSeen
    | DisasterDeclared
    | CommandTaken
    | RunAttached
    | MessageSent
    | Noted
    | RecoveryDeclared
)
