"""`scale`: how many of a workload run, and how many ran before.

`to: recorded` brings back what this run found. That number is in the outcome of the run's first scale; where a crash
took that outcome, it is where the workload lives (`Workloads.found`). A recovery never ends with an application that is
off: a workload that was found dead, because the disaster killed it, comes back as one.
"""

from backstay.facts import DidNot, Happened, Outcome, Sight, Succeeded
from backstay.plan import Scale
from backstay.values import count
from backstay.verbs.estate import Scene


def do(scene: Scene) -> Outcome:
    verb = _verb(scene)
    workloads = scene.estate.workloads(verb.kind)
    to, why = _wanted(scene)
    workloads.scale(verb.workload, to, scene.acting)
    return Succeeded(f"{_said(verb, to)}{why}", _values(scene, to))


def look(scene: Scene) -> Sight:
    verb = _verb(scene)
    to, why = _wanted(scene)
    running = scene.estate.workloads(verb.kind).running(verb.workload)
    if running == to:
        return Happened(f"{_said(verb, to)}{why}", _values(scene, to))
    return DidNot(f"{verb.workload}: {running} running, {to} wanted")


def _verb(scene: Scene) -> Scale:
    assert isinstance(scene.step.verb, Scale)
    return scene.step.verb


def _said(verb: Scale, to: int) -> str:
    return (
        f"{verb.workload} is stopped"
        if to == 0
        else f"{count(to, 'instance')} of {verb.workload} {'runs' if to == 1 else 'run'}"
    )


def _wanted(scene: Scene) -> tuple[int, str]:
    verb = _verb(scene)
    if verb.to is not None:
        return verb.to, ""
    found = _found(scene)
    if found is None:
        return 1, " (this run did not record how many there were)"
    return (found, ", as before") if found > 0 else (1, " (none ran when this run began)")


def _found(scene: Scene) -> int | None:
    """What the first scale of this workload in this run found; None: there was none."""
    workload = _verb(scene).workload
    for key, value in scene.given.items():
        step, _, name = key.rpartition(".")
        if name == "workload" and value == workload and (found := scene.given.get(f"{step}.found", "")).isdecimal():
            return int(found)
    return scene.estate.workloads(_verb(scene).kind).found(workload, scene.acting.run)


def _values(scene: Scene, to: int) -> dict[str, str]:
    found = _found(scene)
    return {
        "workload": _verb(scene).workload,
        "found": str(to if found is None else found),  # never noted: it was so already, and nobody changed it
        "running": str(to),
    }
