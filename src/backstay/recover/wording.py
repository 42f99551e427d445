"""What a step is, in words: what it will do, what it destroys. Nothing here resolves a reference or a secret."""

from typing import assert_never

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
    Target,
    Tell,
    Verb,
    Wait,
    say_target,
)
from backstay.values import count, listed
from backstay.verify import exact


def say(verb: Verb) -> str:
    """What the verb does, in the imperative: `stop catalytic-saas-api`."""
    match verb:
        case Scale(workload, _, 0):
            return f"stop {workload}"
        case Scale(workload, _, None):
            return f"start {workload} again, as many as ran before"
        case Scale(workload, _, to):
            return f"run {to} of {workload}"
        case Preserve(component, within, required):
            rest = "" if required else "; go on without it if that cannot be done"
            return f"move the damaged state of {component} aside, within {exact(within)}{rest}"
        case Choose(component, "proven", target):
            return f"choose the newest proven recovery point of {component}{_leading(target)}"
        case Choose(component, "newest", target):
            return f"choose the newest recovery point of {component}, proven or not{_leading(target, ',')}"
        case Choose(component, "clean", target):
            return f"choose the newest proven recovery point of {component} from before the disaster{_leading(target)}"
        case Choose(component, origin):
            return f"use the recovery point {origin} of {component}"
        case Restore(component, True, target):
            return f"restore {component} beside the old one{_replaying(target)}, then swap them by rename"
        case Restore(component, _, target):
            return f"restore {component} in the place of the old one{_replaying(target)}"
        case Ask(component):
            return f"ask {component} the plan's questions"
        case Smoke(()):
            return "run every smoke check"
        case Smoke(checks):
            return f"run the smoke {'check' if len(checks) == 1 else 'checks'} {listed(checks)}"
        case _:
            return _say_other(verb)


def _leading(target: Target | None, comma: str = "") -> str:
    return "" if target is None else f"{comma} that leads to {say_target(target)}"


def _replaying(target: Target | None) -> str:
    return "" if target is None else f", replay its log to {say_target(target)}"


_Other = RunCommand | CallHttp | Approve | AskPerson | Tell | Wait


def _say_other(verb: _Other) -> str:
    match verb:
        case RunCommand(argv):
            return f"run `{' '.join(str(word) for word in argv)}`"
        case CallHttp(request):
            return f"send {request.method} {request.url}"
        case Approve(question, by, needed):
            return f"wait until {needed} of {listed(by, 'or')} {'approves' if needed == 1 else 'approve'}: {question}"
        case AskPerson(question, who):
            return f"ask {listed(who, 'or')}: {question}"
        case Tell(audience, message):
            return f"tell {audience}: {message}"
        case Wait(length):
            return f"wait {exact(length)}"
        case _:
            assert_never(verb)


def blast_radius(step: Step) -> str | None:
    """What this step stops, replaces or may change, in one sentence. None: it changes nothing that matters."""
    match step.verb:
        case Scale(workload, _, 0):
            return f"{workload} stops: nobody can use it until it is started again."
        case Preserve(component):
            return f"{component} stops, and its data is renamed aside. Nothing is deleted."
        case Restore(component, beside=True):
            return f"{component} is replaced by the recovery point. What is there now is kept aside."
        case Restore(component):
            return f"What {component} holds now is overwritten, and cannot be had back."
        case RunCommand(argv):
            return f"A program of the plan runs: {argv[0] if argv else 'none'}. Backstay does not know what it changes."
        case CallHttp(request) if request.method not in ("GET", "HEAD"):
            return f"{request.method} is sent to {request.url}. Backstay does not know what it changes."
        case Scale() | Choose() | Ask() | Smoke() | CallHttp() | Approve() | AskPerson() | Tell() | Wait():
            return None
        case _:
            assert_never(step.verb)


def target_of(step: Step) -> str | None:
    """The name that a person must type before a destructive step is done. None: it destroys nothing."""
    if blast_radius(step) is None:
        return None
    match step.verb:
        case Scale(workload=workload):
            return workload
        case Preserve(component=component) | Restore(component=component):
            return component
        case _:
            return str(step.id)


def say_retries(step: Step) -> str:
    return "" if not step.retries else f"tried again up to {count(step.retries, 'time')}"
