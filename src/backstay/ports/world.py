"""The world a run acts on: components, workloads, smoke checks, secrets.

Every verb comes as a pair, do and look. `Acting` says who acts: a target that can hold it keeps the run and the epoch
(a lock file, an advisory lock, a resource version), and refuses a lower epoch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from backstay.errors import NotSupported
from backstay.facts import CheckResult, Outcome, Sight
from backstay.plan import Check, Ref, Step, Target, say_target
from backstay.ports.clock import Progress, unwatched
from backstay.ports.points import PointReader, PointWriter, Sealing
from backstay.ports.wal import WalShelf
from backstay.values import RunId, StepId


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts, and under which lease."""

    run: RunId
    step: StepId
    attempt: int
    epoch: int
    stop: Callable[[], bool] = _never
    """True as soon as the act must end: cancelled, or the lease could not be renewed. Asked often by long work."""
    progress: Progress = unwatched


class World(Protocol):
    """What the engine acts through. Neither method raises, but for what ends the driver itself (Cancelled)."""

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        """Act. `given` has what earlier steps gave: `restore-database.port` to text."""
        ...

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        """Did it happen? Changes nothing. CannotTell, and a person is asked, unless the step is repeatable."""
        ...


# ── components ───────────────────────────────────────────────────────────────────────────────────

Answer = str | int | Decimal | datetime | bool | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a keeper knows when everything was added and before the point is sealed."""

    sealing: Sealing
    said: tuple[str, ...] = ()
    """For the operator: why this way was taken, what was odd."""


@dataclass(frozen=True, slots=True)
class Alive:
    what: str
    """`postmaster 4711 answered 2 ms ago`."""


@dataclass(frozen=True, slots=True)
class NotAlive:
    why: str


class Answers(Protocol):
    """A component that can be asked: one restored into a sandbox, or the live one. Read-only."""

    where: str

    def ask(self, question: str) -> Answer:
        """The single value that the question (SQL, for databases) gives. Raises Usage when it is not one row with
        one column, NotSupported when this kind cannot be asked, TimedOut, ToolFailed with the server's words."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Rows per table (`public.tenants`), or files per folder: exact."""
        ...

    def digests(self) -> Mapping[str, str]:
        """A checksum of the content per table or file, equal for equal content whatever its physical order."""
        ...

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        """What this kind can check by itself (restore, structure, integrity), each with a stable code. What could not
        run is in the list, not verified, with its reason."""
        ...


@runtime_checkable
class Structured(Protocol):
    """Answers that can also tell the structure. Ask with isinstance; not every kind has one."""

    def structure(self) -> Sequence[str]:
        """One line per object (`column public.users.name: text not null`), sorted; the same for the same structure."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """Answers of which a part can be counted. Ask with isinstance."""

    def tables(self) -> Sequence[str]:
        """The names that `counts` would give."""
        ...

    def counts_in(self, tables: Sequence[str]) -> Mapping[str, int]:
        """Rows in these tables, exact."""
        ...


@runtime_checkable
class Addressed(Protocol):
    """Answers of something that a program can connect to by itself. Ask with isinstance."""

    def address(self) -> Mapping[str, str]:
        """Variables of the environment that lead a program there: `DATABASE_URL`, `PGHOST` and others."""
        ...


class Keeper(Protocol):
    """Knows how to take, restore and ask one component at one site.

    Every method raises classes of `errors`: SourceDown, AccessDenied, SourceUnsuitable, ToolMissing, DiskFull, TimedOut
    and others.
    """

    kind: str

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        """Add one consistent state to `into`. The caller seals it."""
        ...

    def alive(self) -> Alive | NotAlive:
        """Is something running there now? Quick; never hangs."""
        ...

    def live(self) -> AbstractContextManager[Answers]:
        """The component itself, to be asked."""
        ...

    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> AbstractContextManager[Answers]:
        """Restore `point` below `folder` (empty, 0700, on a disk with room) into a throw-away place: no way out to the
        network, no archive, no jobs. Entering it restores and starts; leaving it stops and erases, whatever happened.
        `target` and `log` as in `restore`.
        """
        ...

    def preserve(self, acting: Acting) -> Outcome:
        """Stop it and move its state aside, in constant time, under a name that carries the run. Gives `kept`."""
        ...

    def look_preserved(self, acting: Acting) -> Sight: ...

    def restore(
        self,
        point: PointReader,
        acting: Acting,
        *,
        beside: bool = True,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Outcome:
        """Bring `point` back at the site, beside the old one (which is kept aside), start it, make sure that it has
        come up with everything replayed, then swap by rename. Refuses TargetAlive, TargetNotEmpty. Gives
        `newest` (an RFC 3339 moment, where it is known), `lineage`, `kept` and what kind it is (`data`, `port`…).

        `target`: how far it goes on from there over `log`; None: the point's own end, and `log` is not read. Raises
        Unreachable before anything is touched when they do not lead there, NotSupported where this kind of point has
        no log to replay."""
        ...

    def look_restored(self, acting: Acting) -> Sight:
        """Happened only when the swap is complete and the component of this very run is in place and up."""
        ...


def refuse_target(kind: str, target: Target | None) -> None:
    """For keepers of what has no log. Raises NotSupported."""
    if target is not None:
        raise NotSupported(
            f"a recovery of the kind {kind} cannot go to {say_target(target)}",
            detail="it has recovery points, and no log between them",
            hint="leave the target out, or name the point that comes nearest to it with --point",
        )


class Workloads(Protocol):
    """What runs the application: processes on a host, deployments in a cluster."""

    def running(self, workload: str) -> int:
        """How many run now. Raises UnknownName."""
        ...

    def found(self, workload: str, run: RunId) -> int | None:
        """How many were wanted when this run scaled the workload for the first time; None: it never did. Kept where
        the workload lives, before the first change, so that it survives a crash between an act and its record."""
        ...

    def scale(self, workload: str, to: int, acting: Acting) -> None:
        """Returns when exactly `to` run (0: when the last has ended). Raises TimedOut, ToolFailed for one that ends
        as soon as it was started."""
        ...


# ── smoke ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Seen:
    """`unknown`: the check itself could not run (a secret is missing, a name does not resolve here)."""

    colour: Literal["green", "red", "unknown"]
    why: str
    took: timedelta
    newest: datetime | None = None
    saved: Mapping[str, str] = field(default_factory=dict[str, str])
    heard: "Heard" = "answered"
    status: int | None = None
    """The last HTTP status or exit status that came back."""


Heard = Literal["answered", "no-answer", "not-sent"]
"""How far the last request came. `no-answer`: it left us, and may have acted; `not-sent`: it surely did not."""


class Prober(Protocol):
    def probe(self, check: Check, look_up: Callable[[Ref], str]) -> Seen:
        """Run one smoke check, its cleanup too, within its timeouts. Never raises; never shows a body or a secret."""
        ...


class Secrets(Protocol):
    def value(self, ref: Ref) -> str:
        """The value of `${env:…}` or `${file:…}`. Raises SecretMissing, naming the reference only."""
        ...


class Notifier(Protocol):
    """Messages to people. Recovery never depends on it: whoever calls it goes on when it fails."""

    def tell(self, audience: str, message: str) -> None:
        """Hand the message to every address of the audience. Raises UnknownName, StoreUnreachable, AccessDenied,
        TimedOut, ToolFailed; never shows an address that is a secret."""
        ...
