"""`preserve` and `restore`: what is done to one component, by its keeper.

How long preserving may take, and that a run goes on without it where the plan allows, is the machine's business
(`machine.run`): a keeper only has to stop when it is told to.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from backstay.errors import BackstayError, Damaged, NoProvenPoint, ObjectMissing
from backstay.facts import DidNot, Happened, Outcome, Point, Sight, Succeeded, Verdict
from backstay.plan import Preserve, Restore
from backstay.ports import Keeper, Vault
from backstay.values import ComponentName, PointId, VaultName
from backstay.verbs.estate import Scene
from backstay.verify import of_bytes, stopped

# ── preserve ─────────────────────────────────────────────────────────────────────────────────────


def preserve(scene: Scene) -> Outcome:
    return _keeper(scene, _preserve(scene).component).preserve(scene.acting)


def look_preserved(scene: Scene) -> Sight:
    return _keeper(scene, _preserve(scene).component).look_preserved(scene.acting)


def _preserve(scene: Scene) -> Preserve:
    assert isinstance(scene.step.verb, Preserve)
    return scene.step.verb


# ── restore ──────────────────────────────────────────────────────────────────────────────────────


def restore(scene: Scene) -> Outcome:
    verb = _restore(scene)
    point, vault = chosen(scene.given, verb.component)
    opened = scene.estate.holder(verb.component, vault)
    reader = opened.open(point)
    began = scene.estate.clock.now()
    try:
        log = opened.wal if verb.target is not None else None
        outcome = _keeper(scene, verb.component).restore(
            reader, scene.acting, beside=verb.beside, target=verb.target, log=log
        )
    except (Damaged, ObjectMissing) as error:
        refute(opened, reader.point, error, (began, scene.estate.clock.now()))
        raise
    if isinstance(outcome, Succeeded):
        return replace(outcome, values=_named(scene, outcome.values))
    return outcome


def refute(vault: Vault, point: Point, error: BackstayError, during: tuple[datetime, datetime]) -> bool:
    """Write beside the point that its bytes are damaged: whoever chooses next must not meet it by surprise. Gives
    whether that could be written. It raises nothing: the damage itself is what people have to hear of."""
    said = stopped(error).said
    try:
        vault.keep_proof(of_bytes(point, VaultName(vault.name), during, Verdict.FAILED, said))
    except BackstayError:
        return False
    return True


def look_restored(scene: Scene) -> Sight:
    sight = _keeper(scene, _restore(scene).component).look_restored(scene.acting)
    return replace(sight, values=_named(scene, sight.values)) if isinstance(sight, Happened) else sight


def _named(scene: Scene, values: Mapping[str, str]) -> dict[str, str]:
    """What was restored, beside what the keeper says about it: the review reads both."""
    component = _restore(scene).component
    point, vault = chosen(scene.given, component)
    return {**values, "restored": component, "point": point, "vault": vault}


def chosen(given: Mapping[str, str], component: ComponentName) -> tuple[PointId, VaultName]:
    """The point that an earlier step chose for this component, the last of them. Raises NoProvenPoint."""
    found: tuple[PointId, VaultName] | None = None
    for key, value in given.items():
        step, _, name = key.rpartition(".")
        if name == "chosen" and value == component:
            point, vault = given.get(f"{step}.point"), given.get(f"{step}.vault")
            if point and vault:
                found = PointId(point), VaultName(vault)
    if found is None:
        raise NoProvenPoint(
            f"no earlier step of this run chose a point of {component}", hint="put a `choose` step before the restore"
        )
    return found


def _restore(scene: Scene) -> Restore:
    assert isinstance(scene.step.verb, Restore)
    return scene.step.verb


def _keeper(scene: Scene, component: ComponentName) -> Keeper:
    return scene.estate.keeper(component).keeper


def repeatable(scene: Scene) -> Sight:
    """The look of a verb that changes nothing."""
    return DidNot(f"{scene.step.verb_name} changes nothing, so it is simply done again")
