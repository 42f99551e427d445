"""A system in memory, with everything that a run needs to act on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.estate import MemoryEstate
from backstay.adapters.memory.keeper import Work
from backstay.facts import PointTaken, Proof
from backstay.history import History, history
from backstay.plan import Component, Mode, Plan
from backstay.ports import Acting, Clock
from backstay.values import ComponentName, RunId, StepId
from backstay.verbs import Estate, Placed, Routine, prove_point, take_point
from fix_story import DATABASE, PRIMARY, plan

HOUR = timedelta(hours=1)
RUN = RunId("run-1")
TAKES: Mapping[Work, timedelta] = {
    "take": timedelta(seconds=20),
    "sandbox": timedelta(seconds=25),
    "preserve": timedelta(seconds=1),
    "restore": timedelta(minutes=4),
}


@dataclass
class System:
    """The memory estate, the clock, and the estate that verbs act through."""

    world: MemoryEstate
    clock: Clock
    estate: Estate

    def routine(self, name: ComponentName = DATABASE, run: str = "run-0") -> Routine:
        component: Component = self.world.plan.components[name]
        vault = next(iter(self.world.vaults))
        return Routine(
            RunId(run),
            component,
            self.world.plan.objectives_of(component),
            self.world.plan.digest,
            self.world.keeper(name),
            self.world.vault(vault),
            self.clock,
        )

    def backup(self, name: ComponentName = DATABASE) -> PointTaken:
        return take_point(self.routine(name))

    def prove(self, taken: PointTaken, scratch: Path) -> Proof:
        return prove_point(self.routine(taken.point.component), taken.point.id, scratch)

    def history(self, _: ComponentName) -> History:
        vaults = self.world.vaults
        return history(
            (),
            {name: vault.points() for name, vault in vaults.items()},
            [proof for vault in vaults.values() for proof in vault.proofs()],
            [hold for vault in vaults.values() for hold in vault.holds()],
        )


def memory_plan() -> Plan:
    """The plan of the story, with questions that tables in memory can answer."""
    made = plan()
    database = made.components[DATABASE]
    ask = (
        replace(database.prove.ask[0], sql="SELECT count(*) FROM tenants"),
        replace(
            database.prove.ask[1], sql="SELECT count(*) FROM lattices WHERE tenant_id NOT IN (SELECT id FROM tenants)"
        ),
    )
    database = replace(database, prove=replace(database.prove, ask=ask), newest="SELECT max(created_at) FROM lattices")
    return replace(made, components={**made.components, DATABASE: database})


def memory_system(made: Plan | None = None, clock: Clock | None = None, mode: Mode = Mode.LIVE) -> System:
    made, clock = made or memory_plan(), clock or MemoryClock()
    world = MemoryEstate(made, clock, takes=TAKES)
    world.populate()
    system: System

    def known(name: ComponentName) -> History:
        return system.history(name)

    estate = Estate(
        plan=made,
        site=PRIMARY,
        mode=mode,
        clock=clock,
        secrets=world.secrets,
        keeper=lambda name: Placed(PRIMARY, world.keeper(name)),
        vault=world.vault,
        history=known,
        workloads=world.workloads,
        prober=world.prober,
        notifier=world.notifier,
        base=Path("/"),
    )
    system = System(world, clock, estate)
    return system


def acting(
    step: str = "1.1-step", *, run: RunId = RUN, epoch: int = 1, stop: Callable[[], bool] | None = None
) -> Acting:
    made = Acting(run, StepId(step), attempt=1, epoch=epoch)
    return made if stop is None else replace(made, stop=stop)
