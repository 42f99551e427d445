"""A dry run: every step says what it would do, with real names and numbers, and nothing is changed.

What only reads is really done: the point is chosen, and the plan's names are looked up, so that a dry run finds a
missing secret or an unproven database on a quiet day. What writes is described. A step that cannot be described,
because something it needs is missing, is impossible, as it would be on the day.
"""

from collections.abc import Callable, Mapping

from backstay.facts import DidNot, Outcome, Sight, Succeeded
from backstay.plan import CallHttp, Choose, Restore, RunCommand, Scale, Space, Step, Template
from backstay.ports import Acting, Alive, World
from backstay.recover import blast_radius, say
from backstay.values import say_size
from backstay.verbs.component import chosen
from backstay.verbs.estate import Estate, Scene
from backstay.verbs.outcomes import attempted
from backstay.verbs.words import clean_outcome


class Dry:
    """A World that changes nothing. `within` does what only reads; `say` gets one line a step."""

    def __init__(self, within: World, estate: Estate, say: Callable[[str], None]) -> None:
        self._within, self._estate, self._say = within, estate, say

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        if isinstance(step.verb, Choose):
            outcome = self._within.do(acting, step, given)
        else:
            scene = Scene(self._estate, acting, step, given, self._estate.words(acting, given))
            outcome = clean_outcome(attempted(f"the step {step.id}", lambda: would(scene)), scene.words)
        self._say(f"{step.id}  {_sentence(outcome)}")
        return outcome

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        return DidNot("a dry run changes nothing")


def _sentence(outcome: Outcome) -> str:
    match outcome:
        case Succeeded(saw):
            return saw
        case _:
            return f"could not be done: {getattr(outcome, 'why', '') or getattr(outcome, 'asked', '')}"


def would(scene: Scene) -> Succeeded:
    """What this step would do. Raises what would be in the way, as far as reading shows it."""
    said, values = f"would {say(scene.step.verb)}", dict[str, str]()
    match scene.step.verb:
        case Scale(workload, kind, to):
            running = scene.estate.workloads(kind).running(workload)
            said += f" (now: {running})"
            values = {"workload": workload, "found": str(running), "running": str(running if to is None else to)}
        case Restore() as verb:
            said += _there(scene, verb)
        case RunCommand(argv=argv, env=env):
            _have_secrets(scene, *argv, *env.values())
        case CallHttp(request):
            _have_secrets(scene, request.url, *request.headers.values(), *([request.bearer] if request.bearer else []))
        case _:
            pass
    if harm := blast_radius(scene.step):
        said += f". {harm}"
    return Succeeded(said, values)


def _have_secrets(scene: Scene, *templates: Template) -> None:
    for template in templates:
        for ref in template.refs():
            if ref.space in (Space.ENV, Space.FILE, Space.SITE):
                scene.words(ref)


def _there(scene: Scene, verb: Restore) -> str:
    """What is there now, and what would take its place."""
    point, vault = chosen(scene.given, verb.component)
    found = scene.estate.vault(vault).open(point).point
    placed = scene.estate.keeper(verb.component)
    alive = placed.keeper.alive()
    there = alive.what if isinstance(alive, Alive) else f"not running ({alive.why})"
    return f" on {placed.site}, from {point} ({say_size(found.size_bytes)} in {vault}). There now: {there}"
