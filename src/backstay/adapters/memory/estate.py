"""A whole system in memory: components, an application, smoke checks, a vault. Scenarios run on it from end to end.

    world = MemoryEstate(plan, clock)
    world.component("database").write("tenants", clock.now())
    ...take, prove...
    world.component("database").drop("tenants")            # the disaster: the smoke checks turn red

The application works when it runs and every component that it stands on answers and has all the tables that it had when
the estate was last called `healthy`. `breathe` is told of every effect anywhere: a law counts them, or dies there.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from backstay.adapters.memory.keeper import MemoryKeeper, Work
from backstay.adapters.memory.tables import Breathe, MemoryComponent, State, breathe_easy
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.memory.workloads import Colour, MemoryNotifier, MemoryProber, MemorySecrets, MemoryWorkloads
from backstay.errors import UnknownName
from backstay.plan import PRIMARY, Plan, Scale, Verb
from backstay.ports import Clock
from backstay.values import ComponentName, LineageId, SiteName, VaultName


class MemoryEstate:
    """Every component of `plan` with a few tables, every workload that the plan names running once, every vault."""

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        *,
        site: SiteName = PRIMARY,
        breathe: Breathe = breathe_easy,
        takes: Mapping[Work, timedelta] | None = None,
    ) -> None:
        self.plan, self.clock, self.site = plan, clock, site
        self.components = {
            name: MemoryComponent(name, State({}, LineageId(f"inc-{name}")), breathe=self._breathe)
            for name in plan.components
        }
        self.work = MemoryWorkloads(clock, dict.fromkeys(_workloads(plan, site), 1), breathe=self._breathe)
        self.vaults = {name: MemoryVault(name, self._breathe) for name in plan.vaults}
        self.secrets = MemorySecrets({})
        self.notifier = MemoryNotifier()
        self.prober = MemoryProber(clock, self.colour)
        self.breathe, self._takes = breathe, takes or {}
        self._healthy: dict[ComponentName, frozenset[str]] = {}

    def _breathe(self, what: str) -> None:
        self.breathe(what)

    # ── ports ──

    def keeper(self, name: ComponentName) -> MemoryKeeper:
        return MemoryKeeper(self.component(name), self.clock, self._takes)

    def vault(self, name: VaultName) -> MemoryVault:
        return self.vaults[name]

    def workloads(self, kind: Literal["process", "deployment"]) -> MemoryWorkloads:
        return self.work

    def colour(self, check: str) -> tuple[Colour, str]:
        """Green when the application works. It does not say which check is asked: all of them see the same world."""
        for workload, running in self.work.counts.items():
            if running == 0:
                return "red", f"{workload} does not run"
        for name, component in self.components.items():
            if component.state is None or not component.running or component.state.broken:
                return "red", f"{name} does not answer"
            if missing := self._healthy.get(name, frozenset()) - component.state.tables.keys():
                return "red", f"{name} has no table {min(missing)}"
        return "green", "works"

    # ── life ──

    def component(self, name: str) -> MemoryComponent:
        try:
            return self.components[ComponentName(name)]
        except KeyError:
            raise UnknownName(f"there is no component {name!r} in memory") from None

    def populate(self, rows: int = 5) -> None:
        """Tenants, each with users and lattices, in every component."""
        for component in self.components.values():
            for _ in range(rows):
                tenant = component.write("tenants", self.clock.now())
                component.write("users", self.clock.now(), ref=tenant.id)
                component.write("lattices", self.clock.now(), ref=tenant.id)
        self.healthy()

    def healthy(self) -> None:
        """From now on, the application needs the tables that are there."""
        for name, component in self.components.items():
            self._healthy[name] = frozenset(component.state.tables) if component.state else frozenset()

    def seen(self) -> Mapping[str, object]:
        """The world as somebody from outside sees it, to be compared with another: without names that carry a run."""
        return {
            "components": {
                name: (component.running, component.state.tables if component.state else None, component.beside)
                for name, component in self.components.items()
            },
            "kept": {name: list(component.kept.values()) for name, component in self.components.items()},
            "workloads": dict(self.work.counts),
        }

    def effects(self) -> dict[str, list[str]]:
        """What was done to each part of the world, in order."""
        return {name: list(component.effects) for name, component in self.components.items()} | {
            "workloads": list(self.work.effects)
        }


def _workloads(plan: Plan, site: SiteName) -> list[str]:
    """Every workload that the site or a procedure of the plan names."""
    named = [step.verb for scenario in plan.scenarios.values() for phase in scenario.procedure for step in phase.steps]
    processes = set(plan.sites[site].processes) if site in plan.sites else set[str]()
    return sorted(processes | _scaled(named))


def _scaled(verbs: list[Verb]) -> set[str]:
    return {verb.workload for verb in verbs if isinstance(verb, Scale)}
