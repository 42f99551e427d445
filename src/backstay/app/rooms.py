"""The sealed room of a drill: the plan's site `sandbox`, with places of its own; and how it is left."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from backstay import engine
from backstay.app.driving import new_run
from backstay.app.estate import SANDBOX, keeper_of, supported, workloads_of
from backstay.app.home import Home
from backstay.app.walls import places
from backstay.app.walls import refuse_shared_places as refuse_shared_places
from backstay.errors import BackstayError, RunBusy, StepFailed
from backstay.facts import Succeeded
from backstay.machine import RunState
from backstay.plan import Component, Mode, Plan
from backstay.ports import Acting
from backstay.values import ComponentName, RunId, StepId
from backstay.verify import NoneGood, candidates, choose


def make_ready(home: Home, plan: Plan, restored: Collection[ComponentName], say: Callable[[str], None]) -> None:
    """A clean room with everything that the application needs: what an earlier drill left is taken away, and what the
    procedure does not restore is laid down from its last known good point. In production those parts live on, so none
    of this is on the drill's clock. Says what the room lacks. Raises RunBusy while another drill is open, and whatever
    restoring raises."""
    if open_drill := next((run for run in engine.open_runs(home.journal) if run.started.mode is Mode.DRILL), None):
        id = open_drill.started.run
        raise RunBusy(
            f"the sandbox is in use: {id} has not ended",
            hint=f"go on with it by `backstay resume {id}`, or end it: `backstay run cancel {id}`, then resume",
        )
    refuse_shared_places(home, plan)
    acting = Acting(new_run("room", home.clock.now()), StepId("make-ready"), 1, 1)
    for line in _clear(home, plan, acting):
        say(line)
    for component in _lodgers(plan):
        if component.name in restored:
            continue
        found = choose("proven", candidates(home.history(component.name), component.name), home.clock.now())
        if isinstance(found, NoneGood) or found.vault is None:
            say(f"the sandbox has no {component.name}: {found.why if isinstance(found, NoneGood) else found.because}")
            continue
        point = home.vault(found.vault).open(found.point.id)
        outcome = keeper_of(home, component, SANDBOX).restore(point, acting)
        if not isinstance(outcome, Succeeded):
            raise StepFailed(f"the sandbox could not be given {component.name}", detail=str(outcome))


def tear_down(home: Home, plan: Plan, run: RunState) -> list[str]:
    """Stop what runs in the room, and erase what was restored there. What could not be is said, and fails nothing: the
    drill is over, and its result stands."""
    try:
        # Again: a link or a name may lead elsewhere by now, and what is erased does not come back.
        refuse_shared_places(home, plan)
    except BackstayError as error:
        return [f"nothing was taken out of the sandbox: {error.message} ({error.detail})"]
    return _clear(home, plan, Acting(RunId(f"{run.started.run}-end"), StepId("tear-down"), 1, run.epoch + 1))


def _lodgers(plan: Plan) -> list[Component]:
    """Components that we can restore, and that have a place in the room."""
    return [
        component
        for component in plan.components.values()
        if supported(component) and all(place.on(SANDBOX) is not None for place in places(component))
    ]


def _clear(home: Home, plan: Plan, acting: Acting) -> list[str]:
    left: list[str] = []
    site = plan.sites[SANDBOX]
    for workload in site.processes:
        try:
            workloads_of(home, site, "process").scale(workload, 0, acting)
        except BackstayError as error:
            left.append(f"{workload} still runs: {error.message}")
    for component in _lodgers(plan):
        try:
            outcome = keeper_of(home, component, SANDBOX).preserve(acting)
            if isinstance(outcome, Succeeded) and (kept := outcome.values.get("kept")):
                for part in Path(kept).parent.glob(f"{Path(kept).name}*"):  # a database in one file has a WAL beside it
                    _erase(part)
        except BackstayError as error:
            left.append(f"{component.name} was left in the sandbox: {error.message}")
    return left


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
