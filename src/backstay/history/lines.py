"""Which points belong to the history that a component stands on."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backstay.facts import (
    LineageBegan,
    Point,
)
from backstay.values import LineageId, PointId


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one lineage: what was taken from `since` on, up to and including the point `until`."""

    lineage: LineageId
    since: datetime | None = None
    until: PointId | None = None

    def has(self, point: Point) -> bool:
        return (
            point.lineage == self.lineage
            and (self.since is None or point.began >= self.since)
            and (self.until is None or point.id <= self.until)
        )


@dataclass(frozen=True, slots=True)
class Line:
    """The history that a component stands on: its current lineage, and what that one grew out of.

    A failover restores a point and begins a new lineage there. Points of the old lineage up to that point are part of
    the history; what the old lineage went on to write afterwards is not: it was given up, or it was the disaster.
    """

    segments: tuple[Segment, ...] = ()
    """The current one first. Empty: nothing is known, and every point is on the line."""

    @property
    def current(self) -> LineageId | None:
        return self.segments[0].lineage if self.segments else None

    def has(self, point: Point) -> bool:
        return not self.segments or any(segment.has(point) for segment in self.segments)


def line_of(points: Iterable[Point], began: Iterable[tuple[datetime, LineageBegan]]) -> Line:
    """The line of one component, from its points and from every failover that the journal knows, oldest first.

    Without a failover the newest point names the lineage."""
    known = {point.id: point for point in points}
    failovers = list(began)
    if not failovers:
        newest = max(known.values(), key=taken_order, default=None)
        return Line((Segment(newest.lineage),)) if newest else Line()
    segments: list[Segment] = []
    until: PointId | None = None
    lineage: LineageId | None = LineageId(failovers[-1][1].lineage)
    while lineage is not None:
        births = [at for at, fact in failovers if fact.lineage == lineage]
        # PostgreSQL may give the same timeline number twice: then only what came after the last birth counts.
        segments.append(Segment(lineage, births[-1] if len(births) > 1 and until is None else None, until))
        birth = next((fact for _, fact in reversed(failovers) if fact.lineage == lineage), None)
        origin = known.get(birth.origin) if birth else None
        seen = {segment.lineage for segment in segments}
        until = origin.id if origin else None
        lineage = origin.lineage if origin and origin.lineage not in seen else None
    return Line(tuple(segments))


def taken_order(point: Point) -> tuple[datetime, PointId]:
    """Sorts points by when they were taken. Not by the newest moment in their data: a wrong clock in the data must not
    decide which point is the newest."""
    return point.began, point.id
