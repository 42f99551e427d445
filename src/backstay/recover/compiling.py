"""From a scenario to the phases of a run: every step with its id, its needs and its time.

The ids of steps
----------------
`<phase>.<step>-<slug>`, both numbers from 1: `2.1-choose-database`, `2.2-restore-database`. The slug is the name that
the plan gives the step, else the verb and what it works on (`stop-api` for a Scale to 0). The numbers make ids unique
and put them in order; the slug is what `${steps.…}` and `needs` of a plan go by. Where a slug comes twice, it means
the nearest step before the one that speaks of it.

Needs
-----
A step needs the step before it. The first step of a phase needs everything that was left loose so far, so that
phases follow one another. A step that names its needs waits for these only, and may run beside others.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    Choose,
    Mode,
    Phase,
    Plan,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Scenario,
    Smoke,
    Step,
    Target,
    Tell,
    Verb,
    Wait,
)
from backstay.values import LONGEST_NAME, ComponentName, PointId, SiteName, StepId
from backstay.verify import Chosen, NoneGood

USUAL_TIMEOUT = timedelta(hours=1)
"""What a step has when the plan says nothing: `plan.Step.timeout`."""
FOR_A_PERSON = timedelta(hours=24)
SPARE = timedelta(minutes=1)
"""What a step may take longer than the work that it was given a time for."""


@dataclass(frozen=True, slots=True)
class NoRecovery:
    """There is no recovery to run. `why` is one sentence, `hint` what to do about it."""

    why: str
    hint: str = ""
    points: str | None = None
    """Not the plan is the reason, but the points: each newer one and why it was left out, a line each. None: the plan
    is."""


Good = Mapping[ComponentName, Chosen | NoneGood]
"""What `verify.choose` found for each component that the procedure restores."""


def compile(
    plan: Plan, scenario: str, site: SiteName, mode: Mode, good: Good | None = None
) -> tuple[Phase, ...] | NoRecovery:
    """The phases of a run, or why there are none. Raises UnknownName for a scenario that the plan does not have.

    `good` None, or a mode in which nothing is restored: whether there is a point is not looked at."""
    found = plan.scenario(scenario)
    if not any(phase.steps for phase in found.procedure):
        return NoRecovery(
            f"the plan has no procedure for “{found.title}”", f"write scenarios.{found.name}.procedure in the plan"
        )
    if mode is not Mode.DRILL and site not in plan.sites:
        return NoRecovery(f"the plan has no site {site!r}", "choose one of: " + ", ".join(plan.sites))
    phases = tuple(_with_choices(found.procedure))
    if (why := _unknown(plan, phases)) is not None:
        return why
    if good is not None and mode in (Mode.LIVE, Mode.DRILL) and (why := _no_point(phases, good)) is not None:
        return why
    return numbered(phases)


def components_of(phases: tuple[Phase, ...]) -> tuple[ComponentName, ...]:
    """What a run of these phases may touch, in the order in which it does."""
    touched = (step.verb.component for phase in phases for step in phase.steps if isinstance(step.verb, _ON_COMPONENT))
    return tuple(dict.fromkeys(touched))


def with_point(scenario: Scenario, component: ComponentName, point: PointId) -> Scenario:
    """The same scenario, with the point for one component named by a person."""

    def named(step: Step) -> Step:
        if isinstance(step.verb, Choose) and step.verb.component == component:
            return replace(step, verb=replace(step.verb, origin=point))
        return step

    phases = _with_choices(scenario.procedure)
    return replace(
        scenario,
        procedure=tuple(replace(phase, steps=tuple(named(step) for step in phase.steps)) for phase in phases),
    )


def toward(scenario: Scenario, components: Collection[ComponentName], target: Target) -> Scenario:
    """The same scenario, with these components restored to `target`, whatever the plan says."""

    def turned(step: Step) -> Step:
        if isinstance(step.verb, Restore) and step.verb.component in components:
            return replace(step, verb=replace(step.verb, target=target))
        return step

    return replace(
        scenario,
        procedure=tuple(
            replace(phase, steps=tuple(turned(step) for step in phase.steps)) for phase in scenario.procedure
        ),
    )


# ── names ───────────────────────────────────────────────────────────────────────────────────────────

_ON_COMPONENT = (Preserve, Choose, Restore, Ask)


def slug(step: Step) -> str:
    """The name of a step without its number."""
    if step.id:
        return re.sub(r"^\d+\.\d+-", "", step.id)
    return _plain(_own_words(step.verb)) or step.verb_name


def slug_of(id: StepId) -> str:
    """`2.1-restore-database` to `restore-database`: what `${steps.…}` names."""
    return re.sub(r"^\d+\.\d+-", "", id)


def _own_words(verb: Verb) -> str:
    match verb:
        case Scale(workload, _, 0):
            return f"stop-{workload}"
        case Scale(workload, _, None):
            return f"start-{workload}"
        case Scale(workload):
            return f"scale-{workload}"
        case Preserve(component) | Choose(component) | Restore(component) | Ask(component):
            return f"{type(verb).__name__.lower()}-{component}"
        case Smoke(checks):
            return "-".join(("smoke", *checks))
        case RunCommand(argv):
            return "run-" + (str(argv[0]).rpartition("/")[2] if argv else "")
        case Tell(audience):
            return f"tell-{audience}"
        case _:
            return ""


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST_NAME].strip("-")


# ── order ───────────────────────────────────────────────────────────────────────────────────────────


def numbered(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Every step with its id, its needs as ids, and its timeout."""
    made: list[Phase] = []
    by_slug: dict[str, StepId] = {}
    loose: dict[StepId, None] = {}
    for number, phase in enumerate(phases, 1):
        steps: list[Step] = []
        for place, step in enumerate(phase.steps, 1):
            id = StepId(f"{number}.{place}-{slug(step)}")
            if step.needs:
                needs = tuple(dict.fromkeys(by_slug[slug_of(need)] for need in step.needs))
            else:
                needs = (steps[-1].id,) if steps else tuple(loose)
            for need in needs:
                loose.pop(need, None)
            loose[id] = None
            by_slug[slug(step)] = id
            steps.append(replace(step, id=id, needs=needs, timeout=timeout_of(step)))
        made.append(replace(phase, steps=tuple(steps)))
    return tuple(made)


def timeout_of(step: Step) -> timedelta:
    """The plan's own, unless that is only what every step has and cannot be meant here: people sleep, a wait lasts as
    long as it says, and preserving never costs more than its `within`."""
    match step.verb:
        case Preserve(within=within):
            return min(step.timeout, within + SPARE)
        case Approve() | AskPerson() if step.timeout == USUAL_TIMEOUT:
            return FOR_A_PERSON
        case Wait(length):
            return max(step.timeout, length + SPARE)
        case _:
            return step.timeout


def _with_choices(phases: tuple[Phase, ...]) -> Iterator[Phase]:
    """A restore without a choice before it gets one: the last known good. What is chosen must lead to where the restore
    goes: a choice knows the target of the first restore after it."""
    phases = tuple(_with_targets(phases))
    chosen: set[ComponentName] = set()
    for phase in phases:
        steps: list[Step] = []
        for step in phase.steps:
            if isinstance(step.verb, Choose):
                chosen.add(step.verb.component)
            elif isinstance(step.verb, Restore) and step.verb.component not in chosen:
                chosen.add(step.verb.component)
                steps.append(Step(Choose(step.verb.component, target=step.verb.target), needs=step.needs))
                step = replace(step, needs=())
            steps.append(step)
        yield replace(phase, steps=tuple(steps))


def _with_targets(phases: tuple[Phase, ...]) -> Iterator[Phase]:
    targets: dict[ComponentName, Target | None] = {}
    turned: list[Phase] = []
    for phase in reversed(phases):
        steps: list[Step] = []
        for step in reversed(phase.steps):
            if isinstance(step.verb, Restore):
                targets[step.verb.component] = step.verb.target
            elif isinstance(step.verb, Choose):
                target = targets.get(step.verb.component, step.verb.target)
                step = replace(step, verb=replace(step.verb, target=target))
            steps.append(step)
        turned.append(replace(phase, steps=tuple(reversed(steps))))
    return reversed(turned)


# ── reasons why not ─────────────────────────────────────────────────────────────────────────────────


def _unknown(plan: Plan, phases: tuple[Phase, ...]) -> NoRecovery | None:
    """The first thing that the procedure names and the plan does not have. (`config` finds these too, all at once;
    a scenario may also come from elsewhere.)"""
    before: set[str] = set()
    for phase in phases:
        for step in phase.steps:
            where = f"the step “{slug(step)}” of the phase “{phase.name}”"
            if isinstance(step.verb, _ON_COMPONENT) and step.verb.component not in plan.components:
                return NoRecovery(
                    f"{where} works on {step.verb.component!r}, which is no component of the plan",
                    f"components of the plan: {', '.join(plan.components) or 'none'}",
                )
            if isinstance(step.verb, Smoke) and not plan.smoke:
                return NoRecovery(
                    f"{where} runs the plan's smoke checks, and it has none: nobody could say that it works again",
                    'say under `smoke:` what “it works” means, like `health: {get: "${site.api}/health"}`',
                )
            if isinstance(step.verb, Smoke) and (strange := sorted(set(step.verb.checks) - plan.smoke.keys())):
                return NoRecovery(
                    f"{where} runs {strange[0]!r}, which is no smoke check of the plan",
                    f"smoke checks of the plan: {', '.join(plan.smoke) or 'none'}",
                )
            for need in step.needs:
                if slug_of(need) not in before:
                    return NoRecovery(f"{where} needs {need!r}, and no step before it has that name")
            before.add(slug(step))
    return None


def _no_point(phases: tuple[Phase, ...], good: Good) -> NoRecovery | None:
    for phase in phases:
        for step in phase.steps:
            if not isinstance(step.verb, Choose):
                continue
            found = good.get(step.verb.component)
            if not isinstance(found, Chosen):
                return _none_good(step.verb.component, found or NoneGood("nobody looked for one"))
    return None


_MOST_REASONS = 5


def _none_good(component: ComponentName, found: NoneGood) -> NoRecovery:
    lines = [f"{over.point}: {over.why}" for over in found.reasons[:_MOST_REASONS]]
    if len(found.reasons) > _MOST_REASONS:
        lines.append(f"and {len(found.reasons) - _MOST_REASONS} older ones: `backstay points {component}`")
    if not lines:
        return NoRecovery(
            f"{component} cannot be restored: {found.why}",
            f"see what the vaults hold with `backstay points`; take a point with `backstay backup {component}`",
            f"no vault of the plan has a point of {component}",
        )
    return NoRecovery(
        f"{component} cannot be restored: {found.why}",
        f"prove one with `backstay verify {component} --point ID`; or use one as it is, with --point {component}=ID: "
        "it is written down that you did",
        "\n".join(lines),
    )
