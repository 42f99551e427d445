"""Could it be recovered, if the disaster came now? Small checks, each with a sentence and something to do.

What was seen comes in as values; what it means is decided here, without a clock, a disk or a network. A check that
could not look says `not verified`: it has not passed. More checks are more functions in the same shape.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from backstay.facts import Point
from backstay.history import History, taken_order
from backstay.plan import Approve, Component, Plan
from backstay.values import ComponentName, VaultName, count, listed, say_size, say_span
from backstay.verify import NoneGood, candidates, choose

CODES = {
    "Y01": "vaults open",
    "Y02": "secrets have values",
    "Y03": "sealed secrets are fresh",
    "Y04": "points are there and fresh",
    "Y05": "points are proven",
    "Y06": "keys are held by more than one",
    "Y07": "readers of the plan read",
    "Y08": "people have keys",
    "Y09": "room for a restore",
    "Y10": "programs are there",
}


class State(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_VERIFIED = "not verified"


@dataclass(frozen=True, slots=True)
class Line:
    """One check of one thing."""

    code: str
    state: State
    said: str
    fix: str = ""
    exits: int = 0
    """The error that it would become on the day."""


def passed(code: str, said: str) -> Line:
    return Line(code, State.PASSED, said)


# ── vaults and keys ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class VaultSeen:
    """`error`: why it does not open, with its number."""

    name: VaultName
    error: tuple[str, int] | None
    root_known: bool = True
    holders: int = 0
    """Keys that can read it, ours among them."""
    lacks: tuple[str, ...] = ()
    """Readers of the plan for whom it is not wrapped."""


def vaults(seen: Sequence[VaultSeen]) -> Iterator[Line]:
    for one in seen:
        if one.error is not None:
            said, code = one.error
            yield Line("Y01", State.FAILED, f"the vault {one.name} does not open: {said}", "make it answer", code)
        elif not one.root_known:
            said = f"the vault {one.name} was made by a key that ours does not know"
            yield Line("Y01", State.NOT_VERIFIED, said, "add its BACKSTAY-TRUST-1 line: `backstay key list`", 35)
        else:
            yield passed("Y01", f"the vault {one.name} opens with this key, and its root is known")
    for one in seen:
        if one.error is not None:
            yield Line("Y06", State.NOT_VERIFIED, f"who else opens {one.name} could not be looked at", "see Y01", 35)
        elif one.holders < 2:
            said = f"only one key reads {one.name}: when it is lost, nobody ever reads it again"
            yield Line("Y06", State.FAILED, said, "`backstay key split` for the safe, or `backstay key add`", 23)
        else:
            yield passed("Y06", f"{count(one.holders, 'key')} read {one.name}")
    lacking = list(dict.fromkeys(reader for one in seen for reader in one.lacks))
    if lacking:
        said = f"{count(len(lacking), 'reader')} of the plan cannot read: {listed(lacking)}"
        yield Line("Y07", State.FAILED, said, "`backstay init` adds them, with an owner's key", 23)


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """One reference. `sealed` None: nobody could look; else the vaults that have it sealed."""

    ref: str
    here: bool
    sealed: tuple[VaultName, ...]
    changed: tuple[VaultName, ...] = ()
    """Vaults in which another value is sealed than the one that is here."""
    older_plan: bool = False
    """It is sealed for another revision of the plan only."""


def secrets(seen: Sequence[SecretSeen]) -> Iterator[Line]:
    fix = "`backstay secrets seal`, where every value is"
    lost = [one.ref for one in seen if not one.here and not one.sealed]
    if lost:
        yield Line("Y02", State.FAILED, f"no value here, and none sealed: {listed(lost)}", fix, 12)
    elif seen:
        yield passed("Y02", f"every secret of the plan has a value here or sealed: {len(seen)}")
    unsealed = [one.ref for one in seen if one.here and not one.sealed]
    changed = [one.ref for one in seen if one.changed]
    older = [one.ref for one in seen if one.sealed and one.older_plan and not one.changed]
    if unsealed:
        said = f"not sealed: an empty machine would not have {listed(unsealed)}"
        yield Line("Y03", State.FAILED, said, fix, 12)
    if changed:
        said = f"changed since it was sealed: {listed(changed)}"
        yield Line("Y03", State.FAILED, said, fix, 12)
    if blind := [one.ref for one in seen if not one.here and one.sealed]:
        said = f"no value here to compare the sealed one with: {listed(blind)}"
        yield Line("Y03", State.NOT_VERIFIED, said, "run this where the values are", 35)
    if older:
        said = f"sealed for an older revision of the plan, with the same value: {listed(older)}"
        yield passed("Y03", said)
    elif seen and not unsealed and not changed and not blind:
        yield passed("Y03", "what is sealed is what is here")


# ── points ───────────────────────────────────────────────────────────────────────────────────────


def points(plan: Plan, history: History, components: Iterable[Component], now: datetime) -> Iterator[Line]:
    for component in components:
        name, allowed = component.name, plan.objectives_of(component).rpo
        for vault in plan.vaults_of(component):
            yield _newest(history.points_of(name, vault), name, vault, allowed, now)
        found = choose("proven", candidates(history, name), now)
        if isinstance(found, NoneGood):
            yield Line("Y05", State.FAILED, f"{name}: {found.why}", f"`backstay verify {name}`", 32)
        else:
            yield passed("Y05", f"{name}: {found.because}")


def _newest(
    found: Sequence[Point], name: ComponentName, vault: VaultName, allowed: timedelta | None, now: datetime
) -> Line:
    take = f"`backstay backup {name}`"
    if not found:
        return Line("Y04", State.FAILED, f"{name} has no recovery point in {vault}", take, 32)
    newest = max(found, key=taken_order)
    age = now - newest.moment
    if allowed is not None and age > allowed:
        said = f"{name} in {vault} is {say_span(age)} old, and {say_span(allowed)} were promised"
        return Line("Y04", State.FAILED, said, take, 36)
    return passed("Y04", f"{name} in {vault} is {say_span(max(age, timedelta()))} old")


# ── people and the machine ───────────────────────────────────────────────────────────────────────


def people(plan: Plan) -> Iterator[Line]:
    asked = set(plan.authority.approvers)
    for scenario in plan.scenarios.values():
        for phase in scenario.procedure:
            asked |= {person for step in phase.steps if isinstance(step.verb, Approve) for person in step.verb.by}
    without = sorted(name for name in asked if name in plan.people and plan.people[name].key is None)
    if without:
        said = f"no key for {listed(without)}: what they approve will be a claim"
        yield Line("Y08", State.FAILED, said, "put their ssh-ed25519 key into the plan: people.*.key", 63)
    elif asked:
        yield passed("Y08", f"those who approve have keys: {listed(sorted(asked))}")


def room(history: History, components: Sequence[Component], free_bytes: int, where: str) -> Iterator[Line]:
    sizes = [found[-1].size_bytes for one in components if (found := history.points_of(one.name))]
    if not sizes:
        return
    needed = sum(sizes)
    if free_bytes < needed:
        said = f"{say_size(free_bytes)} are free in {where}, and all components together need {say_size(needed)}"
        yield Line("Y09", State.FAILED, said, "make room, or recover on a larger machine", 26)
    else:
        yield passed("Y09", f"{say_size(free_bytes)} are free in {where}; all components need {say_size(needed)}")


def programs(found: Mapping[str, str | None]) -> Iterator[Line]:
    """By name: the version of each, or None where it is not there."""
    missing = [name for name, version in found.items() if version is None]
    if missing:
        yield Line("Y10", State.FAILED, f"not installed here: {listed(missing)}", "install it, or PATH lacks it", 43)
    elif found:
        yield passed("Y10", listed(f"{name} {version}" for name, version in found.items()))
