"""What is wrong with a plan though every part of it is well formed: promises that its schedules cannot keep.

Pure: it looks at the plan as far as it could be read, and names paths. Who calls it knows the places, and drops what
was concluded from a part that has problems of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from backstay.config import times
from backstay.config.nodes import Path
from backstay.config.sections.sources import DATABASES
from backstay.plan import SANDBOX_ADDRESS, CommandCheck, Component, HttpCheck, Keep, Objectives, Plan, Scenario, Space
from backstay.values import listed, say_span

_MOMENT = timedelta(0)
_WHOLE: Path = ("objectives",)


@dataclass(frozen=True, slots=True)
class Wrong:
    """`because`: the parts of the plan from which this follows."""

    path: Path
    message: str
    because: tuple[Path, ...]


def wrong_promises(plan: Plan) -> Iterator[Wrong]:
    """Every path at which something is promised that the rest of the plan cannot keep."""
    for component in plan.components.values():
        yield from _rpo(plan, component)
        yield from _staleness(component)
        yield from _keeping(plan, component)
        yield from _flows(plan, component)
    for vault in plan.vaults.values():
        if vault.lock is not None and vault.lock > _shortest(vault.keep):
            said = f"is locked for {say_span(vault.lock)}, longer than it is kept ({vault.keep}): {_longer(vault.keep)}"
            yield Wrong(("vaults", vault.name, "lock"), said, (("vaults", vault.name),))
    for scenario in plan.scenarios.values():
        yield from _targets(plan.objectives, scenario)
    yield from _approval(plan)


# ── losing data ──────────────────────────────────────────────────────────────────────────────────


def interval(component: Component) -> timedelta | None:
    """The longest time between two points of a component. None: nothing is scheduled."""
    planned = component.protect
    gaps = [times.longest_gap(schedule) for schedule in (planned.full, planned.incremental) if schedule is not None]
    return min(gaps) if gaps else None


def _rpo(plan: Plan, component: Component) -> Iterator[Wrong]:
    own = component.objectives.rpo
    rpo = plan.objectives_of(component).rpo if own is None else own
    if rpo is None or component.protect.wal:
        return
    whose = f"an RPO of {say_span(rpo)}" + ("" if own is not None else ", which is the system's")
    path: Path = ("components", component.name, "protect")
    because = (path, ("components", component.name, "objectives"), _WHOLE)
    gap = interval(component)
    if gap is None:
        if component.kind in DATABASES or component.protect.before is None:
            yield Wrong(path, f"nothing is scheduled, so it cannot keep {whose}: add `full` or `incremental`", because)
    elif gap > rpo:
        cure = ", or add `wal: continuous`" if component.kind == "postgres" else ""
        said = f"a point every {say_span(gap)} cannot keep {whose}: take points more often{cure}"
        yield Wrong(path, said, because)


def _staleness(component: Component) -> Iterator[Wrong]:
    gap, max_age = interval(component), component.prove.max_age
    if gap is not None and max_age is not None and gap > max_age:
        said = f"a point every {say_span(gap)} is stale after {say_span(max_age)}, before the next one comes"
        here: Path = ("components", component.name)
        yield Wrong((*here, "prove", "max_age"), said, ((*here, "protect"), (*here, "prove")))


def _shortest(keep: Keep) -> timedelta:
    """How long every point is kept, whatever others there are."""
    return times.shortest(keep.within) if keep.within else _MOMENT


def _longer(keep: Keep) -> str:
    return "keep it longer" if keep.within else "say with `within` how long every point is kept"


def _keeping(plan: Plan, component: Component) -> Iterator[Wrong]:
    """A component's own `keep` goes before the vault's; nothing goes before a lock."""
    if component.keep is None:
        return
    for name in plan.vaults_of(component):
        vault = plan.vaults.get(name)
        if vault is not None and vault.lock is not None and vault.lock > _shortest(component.keep):
            locked = f"the vault {name} locks it for {say_span(vault.lock)}"
            said = f"is kept for {component.keep}, and {locked}: {_longer(component.keep)}"
            path: Path = ("components", component.name, "keep")
            yield Wrong(path, said, (path, ("vaults", vault.name)))


def _flows(plan: Plan, component: Component) -> Iterator[Wrong]:
    """What a proof may run: commands that nothing leads to a live system."""
    path: Path = ("components", component.name, "prove", "smoke")
    for name in component.prove.smoke:
        check = plan.smoke.get(name)
        because: tuple[Path, ...] = (path, ("smoke", name))
        if isinstance(check, HttpCheck):
            said = f"`{name}` asks over HTTP, and a restored database has no application around it: name a command"
            yield Wrong(path, said, because)
        elif isinstance(check, CommandCheck):
            given = [value for variable, value in check.env.items() if variable not in SANDBOX_ADDRESS]
            refs = [ref for part in (*check.argv, *given) for ref in part.refs()]
            leads = sorted({str(ref) for ref in refs if ref.space is not Space.RUN})
            if leads:
                said = (
                    f"`{name}` uses {listed(leads)}, which could lead it to a live system: a proof gives it "
                    f"{listed(SANDBOX_ADDRESS[:1])} and the variables of PostgreSQL, and no other reference"
                )
                yield Wrong(path, said, because)


# ── losing time ──────────────────────────────────────────────────────────────────────────────────


def _targets(whole: Objectives, scenario: Scenario) -> Iterator[Wrong]:
    rto = scenario.objectives.rto if scenario.objectives.rto is not None else whole.rto
    total = sum((phase.target or _MOMENT for phase in scenario.procedure), _MOMENT)
    path: Path = ("scenarios", scenario.name)
    if rto is not None and total > rto:
        whose = "the" if scenario.objectives.rto is not None else "the system's"
        said = f"the targets of its phases add up to {say_span(total)}, more than {whose} RTO of {say_span(rto)}"
        place = (*path, "objectives", "rto") if scenario.objectives.rto is not None else path
        yield Wrong(place, said, (path, _WHOLE))
    for phase in scenario.procedure:
        longest = max((step.target or _MOMENT for step in phase.steps), default=_MOMENT)
        if phase.target is not None and longest > phase.target:
            said = (
                f"a step of the phase `{phase.name}` may take {say_span(longest)}, the phase {say_span(phase.target)}"
            )
            yield Wrong((*path, "procedure"), said, (path,))


def _approval(plan: Plan) -> Iterator[Wrong]:
    """Who asks does not count: somebody else has to be left to approve."""
    authority = plan.authority
    role = plan.roles.get(authority.with_approval) if authority.with_approval is not None else None
    if role is None:
        return
    left = len([person for person in authority.approvers if person != role.primary])
    if left < authority.needed <= len(authority.approvers):
        path: Path = ("declaration", "authority", "with_approval", "of")
        said = f"without {role.primary}, who asks, {left} of {authority.needed} are left to approve: name somebody else"
        yield Wrong(path, said, (("declaration",), ("roles",)))
