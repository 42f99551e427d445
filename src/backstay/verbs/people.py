"""`tell`, `wait`, and the two verbs that the engine answers itself.

Recovery never depends on a message: one that could not be delivered is said in the timeline, and the run goes on. After
a crash a message is sent again: told twice is better than not told.
"""

from backstay.errors import BackstayError, Cancelled
from backstay.facts import CannotTell, DidNot, Outcome, Sight, Succeeded
from backstay.plan import Tell, Wait
from backstay.values import say_span
from backstay.verbs.estate import Scene


def tell(scene: Scene) -> Outcome:
    verb = scene.step.verb
    assert isinstance(verb, Tell)
    try:
        scene.estate.notifier.tell(verb.audience, verb.message)
    except Cancelled:
        raise
    except BackstayError as error:
        return Succeeded(f"{verb.audience} could not be told, and the run goes on. {error}", {"told": "no"})
    return Succeeded(f"told {verb.audience}", {"told": "yes"})


def look_told(scene: Scene) -> Sight:
    return DidNot("nobody knows whether the message arrived, so it is sent again")


def wait(scene: Scene) -> Outcome:
    verb = scene.step.verb
    assert isinstance(verb, Wait)
    scene.rest(verb.length)
    return Succeeded(f"waited {say_span(verb.length)}")


def look_waited(scene: Scene) -> Sight:
    return DidNot("the wait begins anew")


def engines_own(scene: Scene) -> Outcome:
    raise AssertionError(f"{scene.step.verb_name} is answered by a person, through the engine")


def look_engines_own(scene: Scene) -> Sight:
    return CannotTell("only the person who was asked can tell")
