"""How the log of one cluster stands in one vault: what is kept, what is missing, and what that costs.

A gap alarms when a point lies before it and nobody has said that it is known. One that no point lies before is still
named: it costs nothing. That nothing new was kept for a while may mean that nothing was written: only the server knows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backstay.facts import GapAcknowledged
from backstay.lsn import Lsn, say_lsn
from backstay.reach.gaps import Dark, dark, gaps, unjoined
from backstay.reach.ways import Reach, reaches
from backstay.reach.words import Base, Gap, Log
from backstay.values import VaultName, listed, say_moment, say_size, say_span


@dataclass(frozen=True, slots=True)
class GapSeen:
    """A gap, what it costs, and what can be done."""

    gap: Gap
    costs: tuple[Dark, ...]
    """Empty: nothing, as no point lies before it."""
    known: GapAcknowledged | None
    elsewhere: tuple[VaultName, ...] = ()
    """Vaults that have all of it."""

    @property
    def alarms(self) -> bool:
        return bool(self.costs) and self.known is None

    @property
    def name(self) -> str:
        return name_gap(self.gap)


def name_gap(gap: Gap) -> str:
    """`1:0/4000000-0/5000000`: timeline, beginning and end, as it is named on a command line."""
    return f"{gap.timeline}:{say_lsn(gap.start)}-{say_lsn(gap.end)}"


@dataclass(frozen=True, slots=True)
class TimelineSeen:
    timeline: int
    parent: int | None
    left_at: Lsn | None
    """Where its parent was left for it."""
    reason: str
    start: Lsn | None
    """The first and the last that is kept; None where nothing is."""
    end: Lsn | None
    stretches: int
    stored_bytes: int
    history: str
    """Empty when it is there, or none is needed; else what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The log of one cluster in one vault."""

    vault: VaultName
    system: int
    timelines: tuple[TimelineSeen, ...]
    gaps: tuple[GapSeen, ...]
    unjoined: Gap | None
    """Between the newest point and the first log that is kept after it."""
    unjoined_known: GapAcknowledged | None
    orphans: tuple[int, ...]
    """Timelines whose history is missing or makes no sense, while points lie on older ones and none on themselves."""
    newest: datetime | None
    """When the newest log was sent, or else was durable. None: there is none."""
    leads: Reach | None
    """How far the newest point leads, on the newest of its timelines."""
    says: tuple[str, ...]
    """A sentence for everything that is missing and matters."""

    @property
    def alarms(self) -> bool:
        joined = self.unjoined is None or self.unjoined_known is not None
        return any(seen.alarms for seen in self.gaps) or bool(self.orphans) or not joined


def standing(
    vault: VaultName,
    log: Log,
    bases: Iterable[Base],
    known: Iterable[GapAcknowledged] = (),
    others: Mapping[VaultName, Log] | None = None,
) -> Standing:
    """`bases`: physical points of the component that any vault has. `others`: the same cluster's log elsewhere."""
    own = [base for base in bases if base.system == log.system]
    told = [one for one in known if one.system == log.system]
    found = tuple(
        GapSeen(gap, dark(log, own, gap), _known(told, gap), _elsewhere(gap, others or {})) for gap in gaps(log)
    )
    joint = unjoined(log, own)
    newest_base = max(own, key=lambda base: (base.moment, base.point), default=None)
    leads = reaches(log, newest_base) if newest_base is not None else []
    timelines = tuple(_timeline(log, timeline) for timeline in log.timelines())
    on = {base.timeline for base in own}
    seen = Standing(
        vault=vault,
        system=log.system,
        timelines=timelines,
        gaps=found,
        unjoined=joint,
        unjoined_known=_known(told, joint) if joint is not None else None,
        orphans=tuple(
            one.timeline
            for one in timelines
            if one.history and on and min(on) < one.timeline and one.timeline not in on
        ),
        newest=_newest(log),
        leads=max(leads, key=lambda one: (one.to > one.base.stop, one.timeline), default=None),
        says=(),
    )
    return replace(seen, says=tuple(_sentences(seen)))


def age(seen: Standing, now: datetime) -> timedelta | None:
    """Of the newest log that is kept. A moment that lies in the future is none: clocks differ a little."""
    return None if seen.newest is None else max(now - seen.newest, timedelta())


def say_cost(one: Dark) -> str:
    """What cannot be reached because of a gap."""
    since = f"after {say_moment(one.since)}" if one.since else f"behind {say_lsn(one.start)}"
    if one.next is None or one.until is None:
        return f"nothing {since} can be reached until a point is taken"
    return f"nothing {since} and before {say_moment(one.until)} (the point {one.next}) can be reached"


def _sentences(seen: Standing) -> Iterator[str]:
    for one in seen.gaps:
        if not one.alarms:
            continue
        has = f"; {listed(one.elsewhere)} has it: `backstay vault copy`" if one.elsewhere else ""
        yield f"the log from {one.gap} is missing in {seen.vault}: {say_cost(one.costs[-1])}{has}"
    if seen.unjoined is not None and seen.unjoined_known is None:
        yield f"the newest point and the log in {seen.vault} do not join: {seen.unjoined} is missing; take a point"
    for one in seen.timelines:
        if one.timeline in seen.orphans:
            yield f"{one.history} in {seen.vault}: no point leads to timeline {one.timeline}"


def _known(told: Iterable[GapAcknowledged], gap: Gap) -> GapAcknowledged | None:
    return next((one for one in told if one.covers(gap.timeline, gap.start, gap.end)), None)


def _elsewhere(gap: Gap, others: Mapping[VaultName, Log]) -> tuple[VaultName, ...]:
    return tuple(
        name
        for name, log in others.items()
        if any(run.start <= gap.start and gap.end <= run.end for run in log.runs.get(gap.timeline, ()))
    )


def _newest(log: Log) -> datetime | None:
    moments = [
        log.moments.get(last, (None, None))[1] or last.kept
        for runs in log.runs.values()
        for last in (next(runs[-1].up_to(runs[-1].end)),)
    ]
    return max(moments, default=None)


def _timeline(log: Log, timeline: int) -> TimelineSeen:
    runs = log.runs.get(timeline, ())
    parts = [one for run in runs for one in run.parts]
    last = log.histories[timeline][-1] if log.histories.get(timeline) else None
    wrong = ""
    if timeline in log.unreadable:
        wrong = f"the history of timeline {timeline} cannot be read ({log.unreadable[timeline]})"
    elif timeline > 1 and last is None and runs:
        wrong = f"the history of timeline {timeline} is missing"
    return TimelineSeen(
        timeline=timeline,
        parent=last.timeline if last else None,
        left_at=last.at if last else None,
        reason=last.reason if last else "",
        start=runs[0].start if runs else None,
        end=runs[-1].end if runs else None,
        stretches=len(parts),
        stored_bytes=sum(one.size_bytes for one in parts),
        history=wrong,
    )


def tree(seen: Iterable[TimelineSeen]) -> list[str]:
    """A line for each timeline, each below and to the right of the one it came from."""
    every = {one.timeline: one for one in seen}
    children = dict[int | None, list[int]]()
    for one in every.values():
        children.setdefault(one.parent if one.parent in every else None, []).append(one.timeline)
    lines = list[str]()
    waiting = [(timeline, 0) for timeline in sorted(children.get(None, ()), reverse=True)]
    while waiting:
        timeline, depth = waiting.pop()
        lines.append("  " * depth + _say_timeline(every[timeline]))
        waiting += [(child, depth + 1) for child in sorted(children.get(timeline, ()), reverse=True)]
    return lines


def _say_timeline(one: TimelineSeen) -> str:
    kept = (
        f"{say_lsn(one.start)} to {say_lsn(one.end)}, {say_size(one.stored_bytes)}"
        if one.start is not None and one.end is not None
        else "no log"
    )
    began = f", left timeline {one.parent} at {say_lsn(one.left_at)}" if one.left_at is not None else ""
    reason = f" ({one.reason})" if one.reason else ""
    return f"timeline {one.timeline}: {kept}{began}{reason}"


def say_age(seen: Standing, now: datetime, rpo: timedelta | None) -> str:
    """`the newest log is 40 s old, within 5 min`."""
    old = age(seen, now)
    if old is None:
        return "no log is kept"
    said = f"the newest log is {say_span(old)} old"
    if rpo is None:
        return said
    if old <= rpo:
        return f"{said}, within {say_span(rpo)}"
    return f"{said}, and the RPO allows {say_span(rpo)}: nothing was written since, or nobody keeps it"
