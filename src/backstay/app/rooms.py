"""The sealed room of a drill: the plan's site `sandbox`, with places of its own; and how it is left."""

import shutil
from pathlib import Path

from backstay.app.estate import SANDBOX, keeper_of, supported, workloads_of
from backstay.app.home import Home
from backstay.errors import BackstayError, NotAuthorised, NotSupported
from backstay.facts import Succeeded
from backstay.machine import RunState
from backstay.plan import PRIMARY, Component, FilesSource, PerSite, Plan, PostgresSource, SqliteSource
from backstay.ports import Acting
from backstay.values import RunId, StepId


def refuse_shared_places(home: Home) -> None:
    """A drill may not touch a place that production uses. Raises NotSupported without a sandbox, NotAuthorised for a
    component whose place in it is production's own."""
    if SANDBOX not in home.plan.sites:
        raise NotSupported(
            "the plan has no site `sandbox`, so there is no room to drill in",
            hint="add one under `sites:`, with its own endpoints and processes, and an address for each component",
        )
    for component in home.plan.components.values():
        for value in _places(component):
            here, there = value.on(SANDBOX), value.on(PRIMARY)
            if not supported(component) or here is None or there is None:
                continue
            if here.render(home.secrets.value) == there.render(home.secrets.value):
                raise NotAuthorised(
                    f"a drill would touch production: {component.name} has one place for both sites",
                    hint=f"give {component.name} a place of its own for the site sandbox",
                )


def _places(component: Component) -> tuple[PerSite, ...]:
    match component.source:
        case PostgresSource(url=url, data=data):
            return (url,) if data is None else (url, data)
        case SqliteSource(path=path) | FilesSource(path=path):
            return (path,)
        case _:
            return ()


def tear_down(home: Home, plan: Plan, run: RunState) -> list[str]:
    """Stop what runs in the room, and erase what was restored there. What could not be is said, and fails nothing: the
    drill is over, and its result stands."""
    left: list[str] = []
    site = plan.sites[SANDBOX]
    acting = Acting(RunId(f"{run.started.run}-end"), StepId("tear-down"), 1, run.epoch + 1)
    for workload in site.processes:
        try:
            workloads_of(home, site, "process").scale(workload, 0, acting)
        except BackstayError as error:
            left.append(f"{workload} still runs: {error.message}")
    for name in run.started.components:
        try:
            outcome = keeper_of(home, plan.components[name], SANDBOX).preserve(acting)
            if isinstance(outcome, Succeeded) and (kept := outcome.values.get("kept")):
                _erase(Path(kept))
        except BackstayError as error:
            left.append(f"{name} was left in the sandbox: {error.message}")
    return left


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
