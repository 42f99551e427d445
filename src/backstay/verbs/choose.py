"""`choose`: which point a recovery starts from. The story decides (`verify.choose`); this verb brings it what is known.

Choosing changes nothing, so after a crash it is simply done again, and may then choose a newer point: nothing has been
done with the first. Every newer point that was passed over is in the sentence, with its reason.
"""

from typing import assert_never

from backstay.errors import NoProvenPoint
from backstay.facts import Outcome, Point, Succeeded
from backstay.plan import Choose
from backstay.ports import refuse_target
from backstay.values import VaultName, count, stamp
from backstay.verbs.estate import Scene
from backstay.verbs.leading import lead
from backstay.verify import Chosen, NoneGood, PassedOver, candidates, choose, choose_held, held_kind

MOST_REASONS = 5
"""How many passed-over points are spelled out."""


def do(scene: Scene) -> Outcome:
    """Gives `point`, `vault`, `moment` and `because`; with a target `timeline` and `log_bytes`. Raises NoProvenPoint,
    Unreachable, StoreUnreachable."""
    verb = scene.step.verb
    assert isinstance(verb, Choose)
    estate = scene.estate
    history = estate.history(verb.component)
    among, led = candidates(history, verb.component), None
    if (kind := held_kind(verb.origin)) is not None:
        refuse_target(f"what {kind} holds", verb.target)
        return _among_held(scene, verb, kind)
    if verb.target is not None:
        led = lead(among, verb.target, estate.vault)
        among = led.among(among)
        if not among.points:
            raise led.unreachable(verb.component)
    found = choose(verb.origin, among, estate.clock.now(), estate.disaster)
    match found:
        case NoneGood(why, reasons):
            reasons = (*reasons, *led.passed_over()) if led is not None else reasons
            raise NoProvenPoint(
                f"{verb.component} has no point to recover from: {why}",
                detail=_spelled(reasons),
                hint="prove one with `backstay verify`, or name a point in the step (`from: POINT`)",
            )
        case Chosen(point, because, passed_over, proven_in):
            held = history.vaults_of(point.id) if led is None else among.held.get(point.id, ())
            vault = proven_in if proven_in in held else next(iter(held), None)
            if vault is None:
                raise NoProvenPoint(f"no vault that answers holds the point {point.id} of {verb.component}")
            more = f". Passed over: {_spelled(passed_over)}" if passed_over else ""
            values = _values(verb, point, vault, because)
            on = led.route(point.id, vault) if led is not None else None
            if on is not None:
                values |= {"timeline": str(on.timeline), "log_bytes": str(on.log_bytes)}
            gone_on = f", and on {on.say()}" if on is not None else ""
            return Succeeded(f"{point.id} from {vault}: {because}{gone_on}{more}", values)
        case _:
            assert_never(found)


def _values(verb: Choose, point: Point, vault: VaultName, because: str) -> dict[str, str]:
    return {
        "chosen": verb.component,
        "point": point.id,
        "vault": vault,
        "moment": stamp(point.moment),
        "because": because,
    }


def _among_held(scene: Scene, verb: Choose, kind: str) -> Outcome:
    """Points that another program holds. Where a vault's name would be, theirs is: `pgbackrest:main`."""
    estate = scene.estate
    holder = estate.held(verb.component, kind)
    name = VaultName(holder.name)
    history = estate.history(verb.component)
    found = choose_held(verb.origin, holder.points(), history, estate.clock.now(), name)
    if isinstance(found, NoneGood):
        raise NoProvenPoint(
            f"{name} has no point of {verb.component} to recover from: {found.why}",
            detail=_spelled(found.reasons),
            hint=f"prove one with `backstay verify {verb.component} --from {kind}`, or name it (`from: ID`)",
        )
    more = f". Passed over: {_spelled(found.passed_over)}" if found.passed_over else ""
    said = f"{found.point.id}, held by {name}: {found.because}{more}"
    return Succeeded(said, _values(verb, found.point, name, found.because))


def _spelled(reasons: tuple[PassedOver, ...]) -> str:
    said = [f"{passed.point} {passed.why}" for passed in reasons[:MOST_REASONS]]
    if len(reasons) > MOST_REASONS:
        said.append(f"and {count(len(reasons) - MOST_REASONS, 'older point')}")
    return "; ".join(said)
