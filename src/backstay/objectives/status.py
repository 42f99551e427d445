"""The status screen: every component on a row, every promise with a plain sentence where it does not hold.

A function of plan, history and the time, and stored nowhere.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay import drill, estimate, protect, spread
from backstay.facts import NotVerified, Point, Proof, Proven, Refuted, Result
from backstay.history import History, newest_held, rpo_actual, rto_actual
from backstay.objectives.promises import (
    Judged,
    Rpo,
    Rto,
    Standing,
    last_of_everything,
    over,
    rpo,
    rto,
    say_mode,
    worst,
)
from backstay.plan import Component, Plan
from backstay.values import ComponentName, PointId, VaultName, count, listed, say_moment
from backstay.verify import (
    Candidates,
    Chosen,
    Fresh,
    NoneGood,
    Stale,
    candidates,
    choose,
    content,
    decisive,
    exact,
    spoilt_in,
    stale,
)

CAN = frozenset({"postgres", "sqlite", "files", "command"})
"""The kinds of component that this version can back up. The doors pass their own list."""

GRACE = timedelta(hours=1)
"""How late a scheduled point or proof may be before it is said."""


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    name: ComponentName
    kind: str
    supported: bool
    newest: Point | None
    """The newest point, whatever is known about it."""
    age: timedelta | None
    proof: Proof | None
    """The newest one of any point that is still there."""
    proof_age: timedelta | None
    proof_result: Result | None
    """What it says of the data, whatever the clock says."""
    good: Chosen | NoneGood
    """The last known good."""
    rpo: Rpo
    rto: Rto
    says: tuple[str, ...]
    """A sentence for everything that is broken, unproven, unknown or overdue; empty when all is well."""
    vaults: tuple[spread.Standing, ...]
    """How each of its vaults stands with it, in the plan's order."""
    behind: tuple[str, ...]
    """A sentence for each vault that does not have what it should have, or not whole. They are among `says`."""

    @property
    def standing(self) -> Standing:
        return worst((self.rpo.judged.standing, self.rto.judged.standing))


@dataclass(frozen=True, slots=True)
class Status:
    at: datetime
    components: tuple[ComponentStatus, ...]
    rto: Rto
    """Of the whole."""
    rpo: Rpo
    says: tuple[str, ...]
    """About the whole: drills that are due, points that are missing."""
    standing: Standing
    sentence: str


def status(plan: Plan, history: History, now: datetime, can: Collection[str] = CAN) -> Status:
    """Everything that the status screen shows."""
    rows = tuple(component_status(plan, component, history, now, can) for component in plan.components.values())
    whole_rto, whole_rpo = _whole_rto(plan, history), _whole_rpo(plan, history, rows)
    says = [
        f"the journal speaks of the point {missing.point}, and the vault {missing.vault} does not have it"
        for missing in history.missing
        if (missing.vault, missing.point) not in {(held.vault, held.point.id) for held in history.points}
    ]
    says += [drill.say_due(late) for late in drill.due(plan, history, now)]
    standing = worst([row.standing for row in rows] + [whole_rto.judged.standing])
    sentence = _sentence(rows, whole_rto) + _behind(rows) + _gaps(plan)
    return Status(now, rows, whole_rto, whole_rpo, tuple(says), standing, sentence)


def component_status(
    plan: Plan, component: Component, history: History, now: datetime, can: Collection[str] = CAN
) -> ComponentStatus:
    """The row of one component."""
    name, among, promised = component.name, candidates(history, component.name), plan.objectives_of(component)
    recoverable = [point for point in among.points if not point.is_evidence]
    newest = recoverable[-1] if recoverable else None
    usable, good = choose("newest", among, now), choose("proven", among, now)
    held = {point.id for point in recoverable}
    proof = next((proof for proof in reversed(among.proofs) if proof.point in held), None)
    supported = component.kind in can
    data = rpo(name, promised.rpo, usable, good, history, now)
    time = rto(name, promised.rto, history, usable.point if isinstance(usable, Chosen) else newest)
    if not supported and newest is None:
        cannot = Judged(Standing.UNKNOWN, f"this version cannot back up {component.kind}: nothing of it is protected")
        data = Rpo(data.target, data.actual, data.forecast, cannot)
        time = Rto(time.target, time.actual, time.run, time.forecast, cannot)
    vaults = spread.standings(plan, component, history, now)
    behind = (*(said for one in vaults if (said := spread.say(one, now, promised.rpo))), *_spoilt(among, history))
    says = [*_promises(data, time), *_passed_over(usable), *behind]
    if supported:
        says += _care(plan, component, history, now)
    says += [_held(proof) for proof in newest_held(history, name)]
    return ComponentStatus(
        name=name,
        kind=component.kind,
        supported=supported,
        newest=newest,
        age=max(now - history.newest_from(newest), timedelta()) if newest else None,
        proof=proof,
        proof_age=now - proof.ended if proof else None,
        proof_result=content(proof) if proof else None,
        good=good,
        rpo=data,
        rto=time,
        says=tuple(dict.fromkeys(says)),
        vaults=vaults,
        behind=behind,
    )


def _spoilt(among: Candidates, history: History) -> Iterator[str]:
    """Points that one vault has lost bytes of and another has whole: no proof refutes them, and a copy is gone."""
    lost: dict[VaultName, list[PointId]] = {}
    for point in among.points:
        spoilt = spoilt_in(point.id, among.proofs)
        holders = set(history.vaults_of(point.id))
        if holders - spoilt:
            for vault in spoilt & holders:
                lost.setdefault(vault, []).append(point.id)
    for vault, points in lost.items():
        which = points[0] if len(points) == 1 else f"{len(points):,} points"
        yield f"{vault} has lost bytes of {which}, and another vault has them: `backstay vault repair {vault}`"


def _passed_over(usable: Chosen | NoneGood) -> list[str]:
    """The newest point is not always the one that a recovery would take: then it is said, whatever the promises are."""
    if not isinstance(usable, Chosen) or not usable.passed_over:
        return []
    passed = usable.passed_over
    which = "the newest point" if len(passed) == 1 else f"the {len(passed)} newest points"
    return [f"a recovery would pass over {which} and take {usable.point.id}: {passed[0].why}"]


def _promises(data: Rpo, time: Rto) -> list[str]:
    if data.judged == time.judged:  # the same reason for both, said once
        return [f"{data.judged.standing.value}: {data.judged.sentence}"] if data.judged.standing.alarms else []
    return [
        f"{name} {judged.standing.value}: {judged.sentence}"
        for name, judged in (("RPO", data.judged), ("RTO", time.judged))
        if judged.standing.alarms
    ]


def _care(plan: Plan, component: Component, history: History, now: datetime) -> list[str]:
    """What needs doing: backups and proofs that failed, are overdue, or went stale."""
    says: list[str] = []
    points = history.points_of(component.name)
    newest = points[-1] if points else None
    failed = [(at, fact) for at, name, fact in history.failed if name == component.name]
    if (
        failed
        and (newest is None or failed[-1][0] > newest.ended)
        and not _succeeded_since(history, component, failed[-1][0])
    ):
        says.append(f"the last attempt failed at {say_moment(failed[-1][0])}: {failed[-1][1].why}")
    if newest is not None:
        told = decisive(newest.id, history.proofs, history.vaults_of(newest.id))
        if told is not None and isinstance(told[1], Refuted):
            says.append(f"the newest point was refuted at {say_moment(told[0].ended)}: {told[1].why}")
        match stale(told[0] if told else None, newest, component.prove, now):
            case Stale(why) if told is not None:
                says.append(f"stale: {why}")
            case Stale() | Fresh():
                pass
        says += [
            f"{_one(late.kind)} point is due since {say_moment(late.since)} ({late.because})"
            for late in protect.due(component, points, now, plan.timezone)
            if now - late.since > GRACE
        ]
        says += _proof_due(plan, component, history, now)
    return says


def _held(proof: Proof) -> str:
    """No promise is counted on what we do not hold; but it is there on the worst day."""
    found = {Proven: "proven", Refuted: "refuted", NotVerified: "not verified"}[type(content(proof))]
    return f"held by {proof.vault}, and no part of the figures: {proof.point}, {found} at {say_moment(proof.ended)}"


def _one(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _succeeded_since(history: History, component: Component, moment: datetime) -> bool:
    """A proof, or a copy: whatever kept one of them from being made did not keep the later one."""
    own = {point.id for point in history.points_of(component.name)}
    copied = any(at > moment and fact.point in own for at, fact in history.copied)
    return copied or any(proof.ended > moment for proof in history.proofs_of(component.name))


def _proof_due(plan: Plan, component: Component, history: History, now: datetime) -> list[str]:
    proofs = history.proofs_of(component.name)
    if component.prove.at is None or not proofs:
        return []
    since = protect.next_after(component.prove.at, proofs[-1].began, plan.timezone)
    if since is None or now - since <= GRACE:
        return []
    return [f"a proof is due since {say_moment(since)} (the last was at {say_moment(proofs[-1].ended)})"]


# ── the whole ───────────────────────────────────────────────────────────────────────────────────────


def _whole_rto(plan: Plan, history: History) -> Rto:
    target = plan.objectives.rto
    run = last_of_everything(history, plan.components.values())
    unknown = estimate.Unknown("a forecast of the whole is made for a scenario, not for the system")
    if run is None:
        actual: timedelta | NotVerified = NotVerified("no recovery or drill has restored every component")
    else:
        actual = rto_actual(run)
    if target is None:
        judged = Judged(Standing.NOT_PROMISED, "no RTO was promised for the whole")
    elif isinstance(actual, NotVerified):
        judged = Judged(Standing.UNPROVEN, actual.why)
    else:
        when = f"the last full {say_mode(run)}" if run else ""
        late = over(actual, target)
        said = f"; the RTO allows {exact(target)}" if late else f", within {exact(target)}"
        judged = Judged(Standing.BROKEN if late else Standing.KEPT, f"{when} took {exact(actual)}{said}")
    return Rto(target, actual, run, unknown, judged)


def _whole_rpo(plan: Plan, history: History, rows: tuple[ComponentStatus, ...]) -> Rpo:
    """The whole loses what its worst component loses."""
    run = last_of_everything(history, plan.components.values())
    losses = [rpo_actual(run, row.name) for row in rows] if run else []
    actual = next((loss for loss in losses if isinstance(loss, NotVerified)), None)
    if actual is None:
        known = [loss for loss in losses if not isinstance(loss, NotVerified)]
        never = NotVerified("no recovery or drill has restored every component")
        actual = max(known, key=lambda loss: loss.most) if known else never
    forecasts = [row.rpo.forecast for row in rows]
    forecast = next((one for one in forecasts if isinstance(one, NotVerified)), None)
    if forecast is None:
        ages = [one for one in forecasts if not isinstance(one, NotVerified)]
        forecast = max(ages) if ages else NotVerified("the plan has no components")
    row = min(rows, key=lambda row: list(Standing).index(row.rpo.judged.standing), default=None)
    if row is None:
        judged = Judged(Standing.UNKNOWN, "the plan has no components")
    else:
        judged = Judged(row.rpo.judged.standing, f"{row.name}: {row.rpo.judged.sentence}")
    return Rpo(plan.objectives.rpo, actual, forecast, judged)


def _sentence(rows: tuple[ComponentStatus, ...], whole: Rto) -> str:
    judged = [promise.judged.standing for row in rows for promise in (row.rpo, row.rto)] + [whole.judged.standing]
    parts = [
        f"{number} {standing.value}" for standing in Standing if (number := judged.count(standing)) and standing.alarms
    ]
    kept = judged.count(Standing.KEPT)
    if not parts:
        return "every promise is kept" if kept else "nothing was promised"
    made = sum(1 for standing in judged if standing is not Standing.NOT_PROMISED)
    return f"{kept} of {count(made, 'promise')} kept, {listed(parts)}"


def _behind(rows: tuple[ComponentStatus, ...]) -> str:
    late = dict.fromkeys(one.vault for row in rows for one in row.vaults if row.behind and one.lacks)
    if not late:
        return ""
    return f"; {listed(map(str, late))} {'is' if len(late) == 1 else 'are'} behind"


def _gaps(plan: Plan) -> str:
    """What a component's promise does not cover: a disaster that nobody has written a way out of."""
    missing = sum(1 for scenario in plan.scenarios.values() if not scenario.procedure)
    return f"; {missing} of {count(len(plan.scenarios), 'scenario')} without a procedure" if missing else ""
