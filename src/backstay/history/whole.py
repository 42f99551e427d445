"""The folded view of journal and vaults, and how it is made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backstay.facts import (
    CheckSeen,
    DisasterDeclared,
    GapAcknowledged,
    Hold,
    HoldPlaced,
    LineageBegan,
    PlanAdopted,
    Point,
    PointCopied,
    PointEnded,
    PointMissing,
    PointTaken,
    Proof,
    ProofGiven,
    Recorded,
    RoutineFailed,
    RunFact,
    held_elsewhere,
)
from backstay.history.incidents import IncidentSeen, incident_after
from backstay.history.lines import Line, line_of, taken_order
from backstay.history.runs import RunFold, RunSeen
from backstay.plan import Mode
from backstay.values import ComponentName, IncidentId, PointId, RunId, VaultName


@dataclass(frozen=True, slots=True)
class InVault:
    """A point, and a vault that has it."""

    vault: VaultName
    point: Point


@dataclass(frozen=True, slots=True)
class History:
    """The folded view of journal and vaults. Every tuple is in the order in which things happened."""

    points: tuple[InVault, ...] = ()
    """What the vaults have."""
    vaults: tuple[VaultName, ...] = ()
    """Those that answered, in the plan's order. What another one has is not known."""
    proofs: tuple[Proof, ...] = ()
    held: tuple[Proof, ...] = ()
    """Proofs of points that no vault holds (pgBackRest's, a dump's): they say nothing about ours."""
    holds: tuple[Hold, ...] = ()
    """Placed and released ones: `active_holds` says which are in force."""
    runs: tuple[RunSeen, ...] = ()
    incidents: tuple[IncidentSeen, ...] = ()
    taken: tuple[tuple[datetime, PointTaken], ...] = ()
    copied: tuple[tuple[datetime, PointCopied], ...] = ()
    failed: tuple[tuple[datetime, ComponentName, RoutineFailed], ...] = ()
    """Backups, proofs and copies that came to nothing."""
    missing: tuple[PointMissing, ...] = ()
    ended: tuple[PointEnded, ...] = ()
    """Points that the plan's `keep` let go, by vault."""
    lineages: tuple[tuple[datetime, LineageBegan], ...] = ()
    gaps: tuple[tuple[datetime, ComponentName, GapAcknowledged], ...] = ()
    """Log that somebody knows to be missing."""
    checks: tuple[CheckSeen, ...] = ()
    plans: tuple[tuple[datetime, PlanAdopted], ...] = ()
    leads: Mapping[PointId, datetime] = field(default_factory=dict[PointId, datetime])
    """Where kept log goes on from a point without a gap: the newest moment that it leads to, by the server's clock."""

    def newest_from(self, point: Point) -> datetime:
        """The newest moment in what a recovery from this point can bring back."""
        return max(point.moment, self.leads.get(point.id, point.moment))

    def points_of(
        self, component: ComponentName, vault: VaultName | None = None, *, evidence: bool = False
    ) -> tuple[Point, ...]:
        """Oldest first; a point that several vaults have comes once. What was captured as evidence protects nothing: it
        is left out, unless it is asked for."""
        found = {
            held.point.id: held.point
            for held in self.points
            if held.point.component == component
            and (vault is None or held.vault == vault)
            and (evidence or not held.point.is_evidence)
        }
        return tuple(sorted(found.values(), key=taken_order))

    def vaults_of(self, point: PointId) -> tuple[VaultName, ...]:
        return tuple(held.vault for held in self.points if held.point.id == point)

    def point(self, id: PointId) -> Point | None:
        """Also one that has expired since, where the journal remembers it."""
        for held in self.points:
            if held.point.id == id:
                return held.point
        return next((fact.point for _, fact in self.taken if fact.point.id == id), None)

    def proofs_of(self, component: ComponentName) -> tuple[Proof, ...]:
        return tuple(proof for proof in self.proofs if proof.component == component)

    def line(self, component: ComponentName) -> Line:
        own = [(at, fact) for at, fact in self.lineages if fact.component == component]
        points = {
            fact.point.id: fact.point
            for _, fact in self.taken
            if fact.point.component == component and not fact.point.is_evidence
        }
        points |= {point.id: point for point in self.points_of(component)}
        return line_of(points.values(), own)

    def run(self, id: RunId) -> RunSeen | None:
        return next((run for run in self.runs if run.id == id), None)

    def incident(self, id: IncidentId) -> IncidentSeen | None:
        return next((incident for incident in self.incidents if incident.id == id), None)


def newest_held(history: History, component: ComponentName) -> tuple[Proof, ...]:
    """The newest proof of each place outside the vaults that holds points of the component."""
    newest = {proof.vault: proof for proof in history.held if proof.component == component}
    return tuple(newest.values())


def active_holds(holds: Iterable[Hold]) -> tuple[Hold, ...]:
    """The holds that were not released. One whose `until` has passed is still among them: it may expire then, but a
    point marked suspicious does not become clean by waiting."""
    latest: dict[str, Hold] = {}
    for hold in sorted(holds, key=lambda hold: hold.at):
        latest[hold.id] = hold
    return tuple(hold for hold in latest.values() if hold.kind != "released")


def history(
    facts: Iterable[Recorded],
    points: Mapping[VaultName, Iterable[Point]],
    proofs: Iterable[Proof] = (),
    holds: Iterable[Hold] = (),
    leads: Mapping[PointId, datetime] | None = None,
) -> History:
    """Fold the journal (in the order of appending) and the lists of the vaults.

    Proofs and holds are in the journal, and sealed in the vault; each is taken once, from whichever has it."""
    runs: dict[str, RunFold] = {}
    incidents: dict[str, IncidentSeen] = {}
    lists = _Lists()
    for recorded in facts:
        stream, fact, at = recorded.stream, recorded.fact, recorded.at
        if isinstance(fact, RunFact):
            runs.setdefault(stream, RunFold()).add(recorded)
        elif isinstance(fact, DisasterDeclared):
            incidents[stream] = IncidentSeen(fact, at)
        elif stream in incidents:
            incidents[stream] = incident_after(incidents[stream], fact, at)
        else:
            lists.add(recorded)
    seen = sorted((run for fold in runs.values() if (run := fold.seen())), key=lambda run: run.at)
    lineages = sorted([*lists.lineages, *_begun(seen)], key=lambda one: one[0])
    all_proofs = {(proof.point, proof.vault, proof.began, proof.tier): proof for proof in (*proofs, *lists.proofs)}
    all_holds = {(hold.id, hold.kind, hold.at): hold for hold in (*holds, *lists.holds)}
    in_order = sorted(all_proofs.values(), key=lambda proof: (proof.ended, proof.began))
    return History(
        points=tuple(InVault(vault, point) for vault, listed in points.items() for point in listed),
        vaults=tuple(points),
        proofs=tuple(proof for proof in in_order if not held_elsewhere(proof.vault)),
        held=tuple(proof for proof in in_order if held_elsewhere(proof.vault)),
        holds=tuple(sorted(all_holds.values(), key=lambda hold: hold.at)),
        runs=tuple(seen),
        incidents=tuple(sorted(incidents.values(), key=lambda incident: incident.at)),
        taken=tuple(lists.taken),
        copied=tuple(lists.copied),
        failed=tuple(lists.failed),
        missing=tuple(lists.missing),
        ended=tuple(lists.ended),
        lineages=tuple(lineages),
        gaps=tuple(lists.gaps),
        checks=tuple(lists.checks),
        plans=tuple(lists.plans),
        leads=leads or {},
    )


def _begun(runs: Iterable[RunSeen]) -> Iterator[tuple[datetime, LineageBegan]]:
    """Every live restore begins a new lineage, at the moment at which it was swapped in: the run's own stream says so,
    also when its driver died right afterwards."""
    for run in runs:
        for component in run.started.components if run.started.mode is Mode.LIVE else ():
            restored = run.restored(component)
            if restored is None or restored.ended is None:
                continue
            lineage, origin = restored.values.get("lineage"), restored.values.get("point")
            if lineage and origin:
                yield restored.ended, LineageBegan(component, run.id, PointId(origin), lineage)


class _Lists:
    """What the fold gathers by kind; lives only inside `history`."""

    def __init__(self) -> None:
        self.taken: list[tuple[datetime, PointTaken]] = []
        self.copied: list[tuple[datetime, PointCopied]] = []
        self.proofs: list[Proof] = []
        self.holds: list[Hold] = []
        self.failed: list[tuple[datetime, ComponentName, RoutineFailed]] = []
        self.missing: list[PointMissing] = []
        self.ended: list[PointEnded] = []
        self.lineages: list[tuple[datetime, LineageBegan]] = []
        self.gaps: list[tuple[datetime, ComponentName, GapAcknowledged]] = []
        self.checks: list[CheckSeen] = []
        self.plans: list[tuple[datetime, PlanAdopted]] = []

    def add(self, recorded: Recorded) -> None:
        at = recorded.at
        match recorded.fact:
            case PointTaken() as fact:
                self.taken.append((at, fact))
            case PointCopied() as fact:
                self.copied.append((at, fact))
            case ProofGiven(proof=proof):
                self.proofs.append(proof)
            case PointEnded() as fact:
                self.ended.append(fact)
            case HoldPlaced(hold=hold):
                self.holds.append(hold)
            case RoutineFailed() as fact:
                self.failed.append((at, ComponentName(recorded.stream.partition("/")[2]), fact))
            case PointMissing() as fact:
                self.missing.append(fact)
            case LineageBegan() as fact:
                self.lineages.append((at, fact))
            case GapAcknowledged() as fact:
                self.gaps.append((at, ComponentName(recorded.stream.partition("/")[2]), fact))
            case CheckSeen() as fact:
                self.checks.append(fact)
            case PlanAdopted() as fact:
                self.plans.append((at, fact))
            case _:  # what only the timeline tells
                pass
