"""Where vault and journal disagree: the vault decides whether a point exists, the journal what was done."""

from collections.abc import Collection, Iterable

from backstay.engine.routine import component_stream
from backstay.errors import JournalConflict
from backstay.facts import PointCopied, PointEnded, PointMissing, PointTaken, Recorded
from backstay.ports import Journal, Vault
from backstay.values import ComponentName, PointId, VaultName


def missing_points(
    facts: Iterable[Recorded], vault: VaultName, listed: Collection[PointId]
) -> list[tuple[ComponentName, PointMissing]]:
    """Points that the journal saw sealed into `vault`, or copied there, that are not in its listing, and of which
    nobody was told yet; but for those that `keep` let go. The facts have to be read before the vault is listed: a point
    that is sealed in between is then no alarm."""
    taken: dict[PointId, ComponentName] = {}
    told = set[PointId]()
    for recorded in facts:
        match recorded.fact:
            case PointTaken(vault=where, point=point) if where == vault:
                taken[point.id] = point.component
            case PointCopied(to=where, point=id) if where == vault:
                taken[id] = ComponentName(recorded.stream.partition("/")[2])
            case PointMissing(vault=where, point=point) | PointEnded(vault=where, point=point) if where == vault:
                told.add(point)
            case _:
                pass
    gone = taken.keys() - set(listed) - told
    return [(taken[point], PointMissing(vault, point)) for point in sorted(gone)]


def reconcile(journal: Journal, vault: Vault) -> list[tuple[ComponentName, PointMissing]]:
    """Record, once, every point that the journal speaks of and the vault lacks. Raises what the vault raises."""
    facts = list(journal.everything())
    listed = {point.id for point in vault.points()}
    alarms = missing_points(facts, VaultName(vault.name), listed)
    for component, alarm in alarms:
        stream = component_stream(component)
        while True:
            newest = journal.read(stream)
            if any(recorded.fact == alarm for recorded in newest):
                break
            try:
                journal.append(stream, [alarm], expected=newest[-1].seq if newest else 0)
            except JournalConflict:
                continue
            break
    return alarms
