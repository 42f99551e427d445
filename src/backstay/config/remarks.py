"""What is not wrong with a plan, and yet worth a sentence before the day on which it matters.

A pure function of the plan: it repeats nothing that `problems` refuses, and stops nothing.
"""

from collections.abc import Iterator

from backstay.config.grammar import is_placeholder
from backstay.objectives import unheeded
from backstay.plan import (
    Approve,
    CallHttp,
    HttpCheck,
    Plan,
    PostgresSource,
    Restore,
    RunCommand,
    Scale,
    Scenario,
    Space,
    SqliteSource,
    Step,
    Template,
)
from backstay.values import count, listed


def remarks(plan: Plan) -> list[str]:
    """Sentences for the person who checks a plan: gaps that nobody promised to close."""
    return [
        *_about_proof(plan),
        *_about_vaults(plan),
        *_about_scenarios(plan),
        *_about_people(plan),
        *_about_sites(plan),
        *(f"not done by this version: {said}" for said in unheeded(plan)),
    ]


def _about_proof(plan: Plan) -> Iterator[str]:
    for component in plan.components.values():
        if isinstance(component.source, PostgresSource | SqliteSource) and not component.prove.ask:
            yield f"{component.name}: no questions (`prove: {{ask: …}}`): a proof cannot tell whether the data is right"
    if not plan.smoke:
        yield "no smoke checks (`smoke:`): nobody can tell that the system works, and no recovery is ever complete"


def _about_vaults(plan: Plan) -> Iterator[str]:
    addresses = [str(vault.url) for vault in plan.vaults.values()]
    if all("://" not in address and "${" not in address for address in addresses):
        yield "every vault is a folder: whatever takes this machine takes the recovery points with it"
    for vault in plan.vaults.values():
        for reader in vault.readers:
            if is_placeholder(reader):
                yield f"vault {vault.name}: `{reader}` stands for a reader, and is no key yet"


def _about_scenarios(plan: Plan) -> Iterator[str]:
    missing = [scenario.name for scenario in plan.scenarios.values() if not scenario.procedure]
    if missing:
        yield f"no procedure yet for {listed(missing)}"
    for scenario in plan.scenarios.values():
        steps = [step for phase in scenario.procedure for step in phase.steps]
        yield from _about_steps(scenario, steps)
        verbs = [step.verb for step in steps]
        if any(isinstance(verb, Restore) for verb in verbs) and not any(isinstance(verb, Scale) for verb in verbs):
            yield f"{scenario.name}: nothing is stopped while data is restored: no step scales a workload"


def _about_steps(scenario: Scenario, steps: list[Step]) -> Iterator[str]:
    for number, step in enumerate(steps, start=1):
        if isinstance(step.verb, RunCommand | CallHttp) and not step.look and not step.repeatable:
            which = f"step `{step.name}`" if step.name else f"step {number} ({step.verb_name})"
            yield (
                f"{scenario.name}: {which} says neither `look` nor `repeatable: true`: a crash in it becomes a "
                "question to a person"
            )


def _about_people(plan: Plan) -> Iterator[str]:
    authority = plan.authority
    if not authority.alone and authority.with_approval is None:
        yield "nobody is named who may declare a disaster (`declaration: {authority: …}`): anybody may"
    asked = set(authority.approvers)
    for scenario in plan.scenarios.values():
        for phase in scenario.procedure:
            asked |= {person for step in phase.steps if isinstance(step.verb, Approve) for person in step.verb.by}
    without = sorted(name for name in asked if name in plan.people and plan.people[name].key is None)
    if without:
        yield f"no key for {listed(without)}: what they approve is a claim, not a proof"


def _about_sites(plan: Plan) -> Iterator[str]:
    """An endpoint that a smoke check names, and that some sites do not have."""
    named = {ref.path for template in _templates(plan) for ref in template.refs() if ref.space is Space.SITE}
    for endpoint in sorted(named):
        lacking = [site.name for site in plan.sites.values() if endpoint not in site.endpoints]
        if lacking:
            sites = count(len(lacking), "site")
            yield f"`${{site.{endpoint}}}` is not said for {sites}: {listed(lacking)}; smoke checks cannot run there"


def _templates(plan: Plan) -> Iterator[Template]:
    for check in plan.smoke.values():
        if isinstance(check, HttpCheck):
            yield from (request.url for request in (*check.flow, *check.cleanup))
        else:
            yield from (*check.argv, *check.env.values())
