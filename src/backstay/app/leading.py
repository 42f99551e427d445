"""How far the log that is kept leads from each point: what a recovery could bring back beyond the point itself."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.facts import LogKept, Point
from backstay.lsn import lsn
from backstay.ports import WalShelf
from backstay.reach import Base, Log, base_of, reaches, read_histories
from backstay.values import PointId


def leads(shelf: WalShelf, points: Iterable[Point], rested: Iterable[LogKept]) -> Mapping[PointId, datetime]:
    """For each physical point from which log leads on without a gap: the moment of the newest data, by the server's
    clock. A point that no log follows is not in it.

    A listing for each cluster, and the head of one object for each stretch without a gap. Where a history of a cluster
    is damaged, its log leads nowhere: `wal status` and `vault check` name it, and everything else goes on without.
    Raises StoreUnreachable, AccessDenied.
    """
    found: dict[PointId, datetime] = {}
    by_system: dict[int, list[Base]] = {}
    for point in points:
        if (base := base_of(point)) is not None:
            by_system.setdefault(base.system, []).append(base)
    for system, bases in by_system.items():
        try:
            log = log_of(shelf, system)
        except (Damaged, ObjectMissing, WrongKey):
            continue
        if log is None:
            continue
        for base in bases:
            if moments := list(_moments(log, base, rested)):
                found[base.point] = max(moments)
    return found


def log_of(shelf: WalShelf, system: int) -> Log | None:
    """All that is kept of a cluster; of the moments, those at the ends. None: nothing."""
    stretches = tuple(shelf.stretches(system))
    if not stretches:
        return None
    histories, unreadable = read_histories(shelf.histories(system))
    log, moments = Log(system, stretches, histories, unreadable), {}
    for run in (run for runs in log.runs.values() for run in runs):
        with suppress(Damaged, ObjectMissing, WrongKey):  # then when it was kept is what is known
            last = max(run.parts, key=lambda one: one.end)
            label = shelf.label(last)
            moments[last] = (label.since, label.until)
    return replace(log, moments=moments)


def _moments(log: Log, base: Base, rested: Iterable[LogKept]) -> Iterator[datetime]:
    # What was written on a timeline that was given up since is not what the component has now.
    for one in reaches(log, base)[-1:]:
        if one.to == base.stop or one.at_most is None:
            continue
        yield one.at_most
        for fact in rested:
            # The server had written nothing more by then: the same data was still the newest.
            if fact.system == str(log.system) and fact.timeline == one.timeline and lsn(fact.end) <= one.to:
                yield fact.until
