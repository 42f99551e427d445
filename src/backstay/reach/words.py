"""What is said about a log: its stretches and gaps, the line of its timelines, and the points that it goes on from."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backstay.facts import Point
from backstay.lsn import Lsn, lsn, say_lsn
from backstay.values import ComponentName, PointId


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unbroken piece of the log of one timeline, as one object of a vault: the bytes from `start` up to, and not
    including, `end`. Objects may overlap (a sender died and began again): equal places hold equal bytes."""

    system: int
    """The cluster's system identifier."""
    timeline: int
    start: Lsn
    end: Lsn
    kept: datetime
    """When it was durable in the vault, by the store's clock: no byte in it is younger."""
    size_bytes: int = 0
    """As stored."""

    def __post_init__(self) -> None:
        assert self.start < self.end, f"a stretch runs backwards: {self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class Left:
    """One line of a timeline's history: `timeline` was left at `at` (`00000003.history`, the manual's 27.3.5)."""

    timeline: int
    at: Lsn
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Stretches of one timeline that join or overlap: from `start` up to `end` nothing is missing. There may be a
    hundred thousand stretches (one each second), and as many runs as there are gaps."""

    timeline: int
    start: Lsn
    end: Lsn
    parts: tuple[Stretch, ...]
    """By start."""

    def up_to(self, place: Lsn) -> Iterator[Stretch]:
        """Those that begin before `place`, the last first."""
        for n in range(bisect_left(self.parts, place, key=lambda one: one.start) - 1, -1, -1):
            yield self.parts[n]


def runs_of(stretches: Iterable[Stretch]) -> dict[int, tuple[Run, ...]]:
    """By timeline and start."""
    found = dict[int, list[list[Stretch]]]()
    end = Lsn(0)
    for one in sorted(stretches, key=lambda one: (one.timeline, one.start, one.end)):
        runs = found.setdefault(one.timeline, [])
        if runs and one.start <= end:
            runs[-1].append(one)
            end = max(end, one.end)
        else:
            runs.append([one])
            end = one.end
    return {
        timeline: tuple(Run(timeline, run[0].start, max(one.end for one in run), tuple(run)) for run in runs)
        for timeline, runs in found.items()
    }


Moments = Mapping[Stretch, tuple[datetime | None, datetime | None]]
"""By the server's clock: when the first and the last byte of a stretch were sent, where somebody said so."""


@dataclass(frozen=True, slots=True)
class Log:
    """All that one vault has of the log of one cluster."""

    system: int
    stretches: tuple[Stretch, ...]
    histories: Mapping[int, tuple[Left, ...]] = field(default_factory=dict[int, tuple[Left, ...]])
    """By timeline: every timeline before it, the oldest first, and where each was left."""
    unreadable: Mapping[int, str] = field(default_factory=dict[int, str])
    """Histories that are kept and make no sense, and why."""
    moments: Moments = field(default_factory=dict[Stretch, tuple[datetime | None, datetime | None]])
    runs: Mapping[int, tuple[Run, ...]] = field(init=False, repr=False, compare=False)
    """Of each timeline with log, by start."""

    def __post_init__(self) -> None:
        assert all(one.system == self.system for one in self.stretches), "log of two clusters"
        object.__setattr__(self, "runs", runs_of(self.stretches))

    def timelines(self) -> list[int]:
        """Every one that is spoken of: with log, with a history, or as somebody's past."""
        past = {left.timeline for history in self.histories.values() for left in history}
        return sorted({*self.runs, *self.histories, *self.unreadable, *past})


@dataclass(frozen=True, slots=True)
class Base:
    """A physical point, as the log sees it. It holds the log from `start` to `stop`; replay of what the vault keeps
    goes on at `stop`, before which the point is in no state that could be used."""

    point: PointId
    component: ComponentName
    system: int
    timeline: int
    start: Lsn
    stop: Lsn
    segment_bytes: int
    moment: datetime
    """What it brings back without any log of the vault."""


def base_of(point: Point) -> Base | None:
    """None for a point that no log can be replayed over: a dump, or another kind of component."""
    about = point.about
    try:
        found = Base(
            point.id,
            point.component,
            int(about["system"]),
            int(about["timeline"]),
            lsn(about["start_lsn"]),
            lsn(about["stop_lsn"]),
            int(about["wal_segment_bytes"]),
            point.moment,
        )
    except (KeyError, ValueError):
        return None
    # What initdb lets somebody choose: a power of two, 1 MiB to 1 GiB.
    size = found.segment_bytes
    sound = found.timeline > 0 and found.start <= found.stop and 1 << 20 <= size <= 1 << 30 and size.bit_count() == 1
    return found if sound else None


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes to read from the log of one timeline: from `start` up to, and not including, `end`."""

    timeline: int
    start: Lsn
    end: Lsn


@dataclass(frozen=True, slots=True)
class Gap:
    """Log that was written and is not kept. What lies behind it is reached only from a point that was taken later."""

    timeline: int
    start: Lsn
    end: Lsn
    since: datetime | None
    """When the last that is kept before it was sent, or else was durable: what is lost is younger. None: nothing is
    kept before it."""
    until: datetime
    """Kept goes on with log that was durable then."""

    def __str__(self) -> str:
        return f"{say_lsn(self.start)} to {say_lsn(self.end)} on timeline {self.timeline}"
