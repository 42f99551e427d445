"""`command`, and the look program that any author may write beside it.

A program, never a shell string; its secrets come by environment. Exit 0: done. Exit 75 (EX_TEMPFAIL, sysexits(3)): try
later. Any other: impossible, with its last lines. Past its deadline it was stopped with all its children, and nobody
knows how far it came: lost.

The look program answers whether the step has happened: exit 0 yes, 1 no, anything else: nobody can tell.
"""

from collections.abc import Mapping
from datetime import timedelta

from backstay.errors import BackstayError, Cancelled, Usage
from backstay.facts import CannotTell, DidNot, Happened, Outcome, Sight, Succeeded, TryLater
from backstay.plan import RunCommand, Template
from backstay.processes import Command, Finished, run
from backstay.values import say_span
from backstay.verbs.estate import Scene

TEMPFAIL = 75
LATER = timedelta(seconds=10)
LOOK_WITHIN = timedelta(minutes=1)


def do(scene: Scene) -> Outcome:
    """Raises ToolMissing, ToolFailed, TimedOut, Cancelled, SecretMissing."""
    verb = scene.step.verb
    assert isinstance(verb, RunCommand)
    # A tenth of the step's time is left for stopping it and for writing that down.
    found = _run(scene, verb.argv, verb.env, scene.step.timeout * 0.9, frozenset({0, TEMPFAIL}))
    if found.status == TEMPFAIL:
        return TryLater(LATER, f"{found.command.name} asked to be tried later (exit {TEMPFAIL})")
    return Succeeded(f"{found.command.name} ended well after {say_span(found.took)}")


def look(scene: Scene) -> Sight:
    if not scene.step.look:
        return CannotTell("the step has no `look:` program")
    verb = scene.step.verb
    env: Mapping[str, Template] = verb.env if isinstance(verb, RunCommand) else {}
    try:
        found = _run(scene, scene.step.look, env, LOOK_WITHIN, frozenset({0, 1}))
    except Cancelled:
        raise
    except BackstayError as error:
        return CannotTell(str(error))
    said = f"{found.command.name} says that it has {'' if found.status == 0 else 'not '}happened"
    return Happened(said) if found.status == 0 else DidNot(said)


def _run(
    scene: Scene, argv: tuple[Template, ...], env: Mapping[str, Template], within: timedelta, accept: frozenset[int]
) -> Finished:
    words = scene.words
    spelled = tuple(words.text(part) for part in argv)
    if any(words.holds_secret(part) for part in spelled):
        raise Usage(
            f"a secret would stand among the arguments of {argv[0]}, where every user of this machine can read it",
            hint="hand it over under `env:`",
        )
    values = {name: words.text(value) for name, value in env.items()}
    secret = {name: value for name, value in values.items() if words.holds_secret(value)}
    command = Command(
        spelled,
        deadline=within,
        env={name: value for name, value in values.items() if name not in secret},
        secrets=secret,
        cwd=scene.estate.base,
        accept=accept,
    )
    return run(command, stop=scene.acting.stop)
