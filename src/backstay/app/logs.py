"""How the write-ahead log of components stands in their vaults, and saying that a gap is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backstay.app.home import Home
from backstay.app.leading import log_of
from backstay.engine.routine import component_stream
from backstay.errors import BackstayError, JournalConflict, LogMissing, UnknownName
from backstay.facts import GapAcknowledged, LogKept
from backstay.history import History
from backstay.lsn import lsn
from backstay.plan import Component, PostgresSource
from backstay.reach import Base, Gap, Log, Standing, base_of, name_gap, standing
from backstay.values import ComponentName, PersonName, VaultName, listed


@dataclass(frozen=True, slots=True)
class Logs:
    """Of one component: what each vault has, or why it cannot be told."""

    component: ComponentName
    standings: tuple[Standing, ...]
    away: tuple[tuple[VaultName, BackstayError], ...] = ()
    promised: bool = False
    """The plan says `wal: continuous`."""

    @property
    def nothing(self) -> str:
        """What to say of a component without any log; empty where there is some, or nobody can tell."""
        if self.standings or self.away:
            return ""
        if self.promised:
            return "the plan says `wal: continuous`, and no log is kept: `backstay serve`, or `backstay wal receive`"
        return "no log is kept (`wal: continuous` under `protect`)"

    @property
    def code(self) -> int:
        """0, E84 for a gap that alarms, or the first vault's own trouble."""
        if any(one.alarms for one in self.standings):
            return LogMissing.code
        return self.away[0][1].code if self.away else 0


def with_log(home: Home, names: Sequence[str] = ()) -> list[Component]:
    """The components that were named, or all that may have log. Raises UnknownName."""
    chosen = [home.plan.component(name) for name in dict.fromkeys(names)] or list(home.plan.components.values())
    return [one for one in chosen if isinstance(one.source, PostgresSource)]


def logs_of(home: Home, component: Component, history: History) -> Logs:
    """By listing; of each unbroken part of the log, the heads at its ends are read."""
    bases = _bases(history, component.name)
    strangers = {
        base.system
        for other in home.plan.components.values()
        if other.name != component.name
        for base in _bases(history, other.name)
    } - {base.system for base in bases}
    found = dict[VaultName, dict[int, Log]]()
    away = list[tuple[VaultName, BackstayError]]()
    for vault in home.plan.vaults_of(component):
        try:
            shelf = home.vault(vault).wal
            logs = {system: log_of(shelf, system) for system in shelf.systems() if system not in strangers}
            found[vault] = {system: log for system, log in logs.items() if log is not None}
        except BackstayError as error:
            away.append((vault, error))
    known = [fact for _, name, fact in history.gaps if name == component.name]
    rested = [one.fact for one in home.journal.read(component_stream(component.name)) if isinstance(one.fact, LogKept)]
    standings = [
        _rested(standing(vault, log, bases, known, _elsewhere(found, vault, system)), log, rested)
        for vault, logs in found.items()
        for system, log in logs.items()
    ]
    return Logs(component.name, tuple(standings), tuple(away), component.protect.wal)


def _rested(seen: Standing, log: Log, rested: Iterable[LogKept]) -> Standing:
    """With what the receiver wrote down while the server had nothing new."""
    ends = {timeline: runs[-1].end for timeline, runs in log.runs.items()}
    moments = [
        fact.until
        for fact in rested
        if fact.system == str(log.system) and seen.vault in fact.vaults and lsn(fact.end) <= ends.get(fact.timeline, 0)
    ]
    return replace(seen, newest=max([*moments, *([seen.newest] if seen.newest else [])], default=None))


def _bases(history: History, component: ComponentName) -> list[Base]:
    return [base for point in history.points_of(component) if (base := base_of(point)) is not None]


def _elsewhere(found: dict[VaultName, dict[int, Log]], vault: VaultName, system: int) -> dict[VaultName, Log]:
    return {other: logs[system] for other, logs in found.items() if other != vault and system in logs}


def sentences(home: Home, history: History) -> tuple[list[str], bool]:
    """For the status screen: what is missing and matters; whether it alarms. A vault that is away is told elsewhere."""
    said, alarms = list[str](), False
    for component in with_log(home):
        found = logs_of(home, component, history)
        said += [f"{component.name}: {sentence}" for one in found.standings for sentence in one.says]
        if found.promised and found.nothing:
            said.append(f"{component.name}: {found.nothing}")
        alarms = alarms or any(one.alarms for one in found.standings)
        for vault, error in found.away:
            if vault not in home.closed:
                said.append(f"{component.name}: what {vault} has of the log is not known: {error.message}")
                alarms = True
    return said, alarms


# ── a gap that is known ──────────────────────────────────────────────────────────────────────────


def acknowledge(home: Home, component: Component, name: str, by: PersonName, reason: str) -> GapAcknowledged:
    """Write down that somebody knows of the gap that `wal status` calls `name`. Raises UnknownName for one that is not
    there: what has not happened yet cannot be known."""
    home.refuse_if_overtaken()
    standings = logs_of(home, component, home.history(component.name)).standings
    gaps = list(_named(standings))
    found = next(((system, gap) for system, gap in gaps if name_gap(gap) == name.strip()), None)
    if found is None:
        raise UnknownName(
            f"no vault of {component.name} has a gap {name!r}",
            detail=f"gaps: {listed(dict.fromkeys(name_gap(gap) for _, gap in gaps)) or 'none'}",
            hint="name it as `backstay wal status` does",
        )
    system, gap = found
    fact = GapAcknowledged(system, gap.timeline, gap.start, gap.end, by, reason)
    stream = component_stream(component.name)
    while True:
        recorded = home.journal.read(stream)
        try:
            home.journal.append(stream, [fact], expected=recorded[-1].seq if recorded else 0)
        except JournalConflict:
            continue  # a backup wrote its fact meanwhile
        break
    home.seal()
    return fact


def _named(standings: Iterable[Standing]) -> Iterable[tuple[int, Gap]]:
    for one in standings:
        yield from ((one.system, seen.gap) for seen in one.gaps)
        if one.unjoined is not None:
            yield one.system, one.unjoined
