"""Which points lead to a target: over the log of which vault, and why the others do not.

A point and the log after it may lie in several vaults, and not every vault has all of the log. A point is read from a
vault whose own log leads on from it. Which line of history is followed is decided by the target and by the log, so a
point of a timeline that was given up may be the right one: going back on a recovery is a recovery.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from backstay.errors import BackstayError, Damaged, ObjectMissing, Unreachable
from backstay.facts import Point
from backstay.history import Line
from backstay.plan import Target, say_target
from backstay.ports import Vault, log_of
from backstay.reach import Base, Log, NoWay, Route, base_of, route, settled, within
from backstay.values import ComponentName, PointId, VaultName, listed
from backstay.verify import Candidates, PassedOver


@dataclass(slots=True)
class Led:
    """What leads to a target, among the points of one component."""

    target: Target
    routes: dict[PointId, dict[VaultName, Route]] = field(default_factory=dict[PointId, "dict[VaultName, Route]"])
    why_not: dict[PointId, str] = field(default_factory=dict[PointId, str])
    reachable: dict[VaultName, tuple[str, ...]] = field(default_factory=dict[VaultName, "tuple[str, ...]"])
    """By vault: what could be reached instead, a line for each timeline."""

    def among(self, every: Candidates) -> Candidates:
        """Only what leads there."""
        points = tuple(point for point in every.points if point.id in self.routes)
        held = {id: tuple(vaults) for id, vaults in self.routes.items()}
        return replace(every, points=points, held=held, line=Line())

    def passed_over(self) -> tuple[PassedOver, ...]:
        """Newest first."""
        return tuple(PassedOver(id, self.why_not[id]) for id in sorted(self.why_not, reverse=True))

    def route(self, point: PointId, vault: VaultName | None) -> Route | None:
        found = self.routes.get(point, {})
        return found.get(vault) if vault is not None else next(iter(found.values()), None)

    def unreachable(self, component: ComponentName) -> Unreachable:
        """When there is none."""
        there = [f"in {vault}, {line}" for vault, lines in self.reachable.items() for line in lines]
        why = next((one.why for one in self.passed_over()), "it has no point that log could be replayed over")
        said = f"; what can be reached: {listed(there)}" if there else "; only the ends of its points can be reached"
        return Unreachable(
            f"{component} cannot be brought to {say_target(self.target)}",
            detail=f"of the newest point: {why}{said}; nothing was touched",
            hint="choose a moment in there; `backstay wal status` names the gaps, --timeline follows another history",
        )


def lead(every: Candidates, target: Target, vault: Callable[[VaultName], Vault]) -> Led:
    """Read what the vaults have of the log. One that does not answer leads nowhere, and that is said."""
    found = Led(target)
    for name in dict.fromkeys(vault for vaults in every.held.values() for vault in vaults):
        points = [point for point in every.points if name in every.held.get(point.id, ())]
        try:
            _look(found, name, points, vault(name))
        except (Damaged, ObjectMissing) as error:
            _missed(found, points, f"the log in {name} is damaged: {error.message}")
        except BackstayError as error:
            _missed(found, points, f"the log in {name} cannot be read: {error.message}")
    for id in found.routes:
        found.why_not.pop(id, None)
    return found


def _missed(found: Led, points: Iterable[Point], why: str) -> None:
    found.why_not.update({point.id: why for point in points})


def _look(found: Led, name: VaultName, points: Iterable[Point], opened: Vault) -> None:
    logs = dict[int, Log]()
    bases = list[tuple[Base, Point]]()
    for point in points:
        base = base_of(point)
        if base is None:
            found.why_not[point.id] = "no log can be replayed over it: it is a dump"
            continue
        bases.append((base, point))
        if base.system not in logs:
            logs[base.system] = log_of(opened.wal, base.system)
        way = route(logs[base.system], base, found.target, settled(point))
        if isinstance(way, NoWay):
            found.why_not[point.id] = way.why
        else:
            found.routes.setdefault(point.id, {})[name] = way
    found.reachable[name] = tuple(_ranges(logs, bases))


def _ranges(logs: Mapping[int, Log], bases: list[tuple[Base, Point]]) -> Iterable[str]:
    for system, log in logs.items():
        own = [(base, settled(point)) for base, point in bases if base.system == system]
        yield from (str(one) for one in within(log, own))
