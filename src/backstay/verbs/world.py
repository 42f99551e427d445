"""The World: performs steps with real ports, through one table from verb to its pair.

Whatever a verb raises becomes one of the four outcomes here (`outcomes`), and every text that leaves goes through the
same cleaning (`words`): no verb can forget either.
"""

from collections.abc import Mapping

from backstay.facts import Outcome, Sight
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    Step,
    Tell,
    Wait,
)
from backstay.ports import Acting
from backstay.verbs import ask, call, choose, command, component, people, scale, smoke
from backstay.verbs.estate import Estate, Pair, Scene
from backstay.verbs.outcomes import attempted, looked
from backstay.verbs.words import clean_outcome, clean_sight

VERBS: Mapping[type, Pair] = {
    Scale: Pair(scale.do, scale.look),
    Preserve: Pair(component.preserve, component.look_preserved),
    Choose: Pair(choose.do, component.repeatable),
    Restore: Pair(component.restore, component.look_restored),
    Ask: Pair(ask.do, component.repeatable),
    Smoke: Pair(smoke.do, component.repeatable),
    RunCommand: Pair(command.do, command.look),
    CallHttp: Pair(call.do, call.look),
    Tell: Pair(people.tell, people.look_told),
    Wait: Pair(people.wait, people.look_waited),
    Approve: Pair(people.engines_own, people.look_engines_own),
    AskPerson: Pair(people.engines_own, people.look_engines_own),
}


class PortWorld:
    """The World of one run, over an Estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        scene = self._scene(acting, step, given)
        outcome = attempted(_asked(step), lambda: VERBS[type(step.verb)].do(scene))
        return clean_outcome(outcome, scene.words)

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        scene = self._scene(acting, step, given)
        sight = looked(_asked(step), lambda: VERBS[type(step.verb)].look(scene))
        return clean_sight(sight, scene.words)

    def _scene(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Scene:
        return Scene(self._estate, acting, step, given, self._estate.words(acting, given))


def _asked(step: Step) -> str:
    return f"the step {step.id or step.name or step.verb_name}"
