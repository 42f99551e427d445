"""The day itself: declare, run, resume; and the same steps in a sealed room."""

import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from backstay import config, engine, estimate, incident, recover
from backstay.app import reading
from backstay.app.driving import Watch, driver, new_run
from backstay.app.estate import SANDBOX, estate
from backstay.app.home import PLAN_STREAM, Home
from backstay.app.people import somebody
from backstay.app.reading import readable
from backstay.app.rooms import make_ready, refuse_shared_places, tear_down
from backstay.app.walls import refuse_swallowed
from backstay.errors import NoProvenPoint, NoSuchRun, NotAuthorised, NotSupported, PlanInvalid, PlanMissing, Usage
from backstay.facts import (
    CommandTaken,
    DisasterDeclared,
    Fact,
    PlanAdopted,
    RecoveryDeclared,
    RunAttached,
    RunStarted,
)
from backstay.machine import RunState, fold
from backstay.plan import (
    PRIMARY,
    Choose,
    Mode,
    Phase,
    Plan,
    PostgresSource,
    Restore,
    Scenario,
    Target,
    say_target,
)
from backstay.ports import Progress, World, refuse_target, unwatched
from backstay.recover import NoRecovery
from backstay.values import (
    Between,
    ComponentName,
    Digest,
    IncidentId,
    PersonName,
    PointId,
    RunId,
    SiteName,
    StreamName,
    VaultName,
    count,
    listed,
)
from backstay.verbs.dry import Dry
from backstay.verbs.guard import Guarded
from backstay.verbs.leading import lead
from backstay.verbs.world import PortWorld
from backstay.verify import Chosen, NoneGood, candidates, choose, choose_held, held_kind


@dataclass(frozen=True, slots=True)
class Eyes:
    """Who watches a run: every fact of it, and the bytes of its long work."""

    watch: Watch
    progress: Progress = unwatched


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for."""

    scenario: str
    by: str | None
    mode: Mode = Mode.LIVE
    site: SiteName = PRIMARY
    reason: str = ""
    disaster: Between | None = None
    point: tuple[ComponentName, str] | None = None
    """Use this point, and do not choose."""
    break_glass: bool = False
    """Declare without the approval that the plan asks for: it stays in every report."""
    target: Target | None = None
    """How far the log is replayed, whatever the plan says. None: as the plan says."""


# ── before anything is touched ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that could be started now."""

    wanted: Wanted
    person: PersonName
    standing: str
    title: str
    phases: tuple[Phase, ...]
    explained: tuple[str, ...]
    """What a person must know first: each step, how long it usually takes, what it stops or replaces."""
    disaster: Between | None


def prepare(home: Home, wanted: Wanted) -> Prepared:
    """What can be refused is refused here. Raises UnknownName, NotAuthorised, NoProvenPoint, PlanInvalid,
    NotSupported."""
    plan = home.plan
    person = somebody(plan, wanted.by)
    standing = "drill" if wanted.mode is not Mode.LIVE else _standing(plan, person, wanted)
    site = SANDBOX if wanted.mode is Mode.DRILL else wanted.site
    if wanted.mode is Mode.DRILL:
        refuse_shared_places(home)
    scenario = plan.scenario(wanted.scenario)
    if wanted.point is not None:
        named = recover.with_point(scenario, wanted.point[0], PointId(wanted.point[1]))
        plan = replace(plan, scenarios={**plan.scenarios, scenario.name: named})
    if wanted.target is not None:
        turned = _turned(plan, plan.scenario(wanted.scenario), wanted.target)
        plan = replace(plan, scenarios={**plan.scenarios, scenario.name: turned})
    history = home.history()
    seen = incident.moment(incident.looks(history))
    disaster = wanted.disaster or (seen if isinstance(seen, Between) else None)
    good = _good(home, plan, wanted.scenario, disaster)
    phases = recover.compile(plan, wanted.scenario, site, wanted.mode, good)
    if isinstance(phases, NoRecovery):
        if phases.points is None:
            raise PlanInvalid(phases.why, detail="nothing was started", hint=phases.hint)
        raise NoProvenPoint(phases.why, detail=phases.points, hint=phases.hint)
    if wanted.mode is Mode.LIVE:
        for name in recover.components_of(phases):
            refuse_swallowed(home, plan.component(name))
    explained = recover.explain(phases, history, good, scenario.objectives.over(plan.objectives).rto)
    return Prepared(wanted, person, standing, scenario.title, phases, explained, disaster)


_BREAK_GLASS = "let one of them declare it, or break the glass: --break-glass with --reason; it stays in every report"


def _standing(plan: Plan, person: PersonName, wanted: Wanted) -> str:
    match incident.may_declare(plan, person):
        case incident.Alone():
            return "alone"
        case incident.NeedsApproval(role, of, needed) if not wanted.break_glass:
            raise NotAuthorised(
                f"{person} may declare a disaster only with the approval of {count(needed, 'other person')}",
                detail=f"as {role}; who may approve: {', '.join(of)}",
                hint=_BREAK_GLASS,
            )
        case incident.MayNot(why) if not wanted.break_glass:
            raise NotAuthorised(f"{person} may not declare a disaster", detail=why, hint=_BREAK_GLASS)
        case _:
            if not wanted.reason.strip():
                raise Usage(
                    "breaking the glass needs a written reason", detail="nothing was started", hint="add --reason"
                )
            return "break-glass"


def _good(home: Home, plan: Plan, scenario: str, disaster: Between | None) -> Mapping[ComponentName, Chosen | NoneGood]:
    """What there is to restore from, for every component that the procedure restores: as its `choose` step will ask."""
    verbs = [step.verb for phase in plan.scenario(scenario).procedure for step in phase.steps]
    origins = {verb.component: verb.origin for verb in verbs if isinstance(verb, Choose)}
    found: dict[ComponentName, Chosen | NoneGood] = {}
    for verb in verbs:
        if isinstance(verb, Restore):
            origin = origins.get(verb.component, "proven")
            held = held_kind(origin)
            found[verb.component] = (
                _chosen(home, verb, origin, disaster) if held is None else _held(home, plan, verb, origin, held)
            )
    return found


def _chosen(home: Home, verb: Restore, origin: str, disaster: Between | None) -> Chosen | NoneGood:
    """Raises Unreachable when no point leads to the target: before anything is stopped."""
    history = home.history(verb.component)
    among, now = candidates(history, verb.component), home.clock.now()
    if verb.target is None:
        return choose(origin, among, now, disaster)
    led = lead(among, verb.target, partial(readable, home))
    if not led.routes and among.points:
        raise led.unreachable(verb.component)
    chosen = choose(origin, led.among(among), now, disaster)
    if isinstance(chosen, NoneGood):
        return replace(chosen, reasons=(*chosen.reasons, *led.passed_over()))
    on = led.route(chosen.point.id, chosen.vault)
    if on is None:
        return chosen
    took = estimate.say(estimate.replay(history, verb.component, on.log_bytes))
    return replace(chosen, because=f"{chosen.because}; from there on {on.say()}, which takes {took}")


def _turned(plan: Plan, scenario: Scenario, target: Target) -> Scenario:
    """Towards the target goes what has a log. Raises NotSupported when nothing in the scenario has one."""
    verbs = [step.verb for phase in scenario.procedure for step in phase.steps]
    restored = [verb.component for verb in verbs if isinstance(verb, Restore)]
    able = [name for name in restored if isinstance(plan.component(name).source, PostgresSource)]
    if not able:
        raise NotSupported(
            f"nothing that {scenario.name} restores can go to {say_target(target)}",
            detail=f"only PostgreSQL has a log; it restores {listed(restored) or 'nothing'}",
            hint="leave the target out, or name a point with --point",
        )
    return recover.toward(scenario, able, target)


def _held(home: Home, plan: Plan, verb: Restore, origin: str, kind: str) -> Chosen | NoneGood:
    """Among what another program holds. Raises NotSupported for a target."""
    from backstay.app.existing import planned_shelf

    refuse_target(f"what {kind} holds", verb.target)
    holder = planned_shelf(home, plan.component(verb.component), kind, site=PRIMARY)
    now, name = home.clock.now(), VaultName(holder.name)
    return choose_held(origin, holder.points(), home.history(verb.component), now, name)


# ── running ──────────────────────────────────────────────────────────────────────────────────────


def refuse_if_busy(home: Home, prepared: Prepared) -> None:
    """Before a person is asked to confirm what cannot begin. Raises RunBusy when an open run has a component of it."""
    engine.refuse_if_busy(home.journal, _started(home, prepared))


def _started(home: Home, prepared: Prepared) -> RunStarted:
    """The run as it would be started now."""
    wanted, now = prepared.wanted, home.clock.now()
    scenario, live = home.plan.scenario(wanted.scenario), wanted.mode is Mode.LIVE
    kind = {Mode.LIVE: "recovery", Mode.DRILL: "drill", Mode.DRY: "dry", Mode.TABLETOP: "tabletop"}[wanted.mode]
    return RunStarted(
        run=new_run(kind, now),
        scenario=scenario.name,
        title=scenario.title,
        mode=wanted.mode,
        plan=home.plan.digest,
        site=SANDBOX if wanted.mode is Mode.DRILL else wanted.site,
        by=prepared.person,
        incident=IncidentId(f"incident-{now:%Y%m%dt%H%M%S}z-{secrets.token_hex(2)}") if live else None,
        declared=now,
        # A drill pretends that the disaster is now.
        disaster=prepared.disaster if live else Between(now, now, "the start of the drill"),
        objectives=scenario.objectives.over(home.plan.objectives),
        phases=prepared.phases,
        components=recover.components_of(prepared.phases),
    )


def begin(home: Home, prepared: Prepared, say: Callable[[str], None] = print) -> RunId:
    """Write the declaration and the start of the run; for a drill, make its room ready first. Raises RunBusy."""
    home.adopt(str(prepared.person))
    if prepared.wanted.mode is Mode.DRILL:
        make_ready(home, home.plan, recover.components_of(prepared.phases), say)
    started = _started(home, prepared)
    # Before the declaration: a disaster is not declared for a run that cannot begin.
    engine.refuse_if_busy(home.journal, started)
    if started.incident is not None:
        declared = DisasterDeclared(
            incident=started.incident,
            scenario=started.scenario,
            by=prepared.person,
            standing=prepared.standing,  # pyright: ignore[reportArgumentType]
            criteria=(),
            disaster=prepared.disaster,
            reason=prepared.wanted.reason,
        )
        facts: list[Fact] = [declared, CommandTaken(prepared.person), RunAttached(started.run)]
        home.journal.append(StreamName(f"incident/{started.incident}"), facts, expected=0)
    engine.start(home.journal, started)
    return started.run


def drive(home: Home, run: RunId, eyes: Eyes, say: Callable[[str], None] = print) -> engine.Ending:
    """Drive a run as far as it goes, under the plan that it froze; then write down what follows from its end."""
    started = state_of(home, run).started
    plan = plan_of(home, started.plan)
    home.govern(plan)
    ports = estate(home, plan, started.site, started.mode, started.disaster)
    world: World = Guarded(PortWorld(ports), ports)
    if started.mode is Mode.DRY:
        world = Dry(world, ports, say)
    if started.mode is Mode.TABLETOP:
        raise NotSupported("this version does not read a scenario aloud yet", hint="use --mode dry")
    with _told_from_the_start(home, run, eyes.watch) as watch:
        ending = engine.drive(driver(home, watch=watch, progress=eyes.progress), world, run)
    for line in reading.said(home):
        say(line)
    if isinstance(ending, engine.Done):
        _afterwards(home, ending.run)
        if started.mode is Mode.DRILL:
            for left in tear_down(home, plan, ending.run):
                say(left)
    home.seal()
    return ending


@contextmanager
def _told_from_the_start(home: Home, run: RunId, watch: Watch) -> Generator[Watch]:
    """Who watches a run that is resumed needs to hear what happened before, too: once each, in order."""
    last = 0
    for recorded in home.journal.read(engine.stream_of(run)):
        watch(recorded)
        last = recorded.seq
    yield lambda recorded: watch(recorded) if recorded.seq > last else None


def _afterwards(home: Home, state: RunState) -> None:
    """The end of the incident follows from the end of its run: written once, also when a driver died before it."""
    started = state.started
    assert state.ended is not None, "it has just ended"
    if started.incident is None or state.ended.result != "recovered":
        return
    found = home.history().incident(started.incident)
    if found is not None and found.recovered is None:
        _append(home, f"incident/{started.incident}", RecoveryDeclared(started.by, state.ended.why))


def _append(home: Home, stream: str, fact: Fact) -> None:
    name = StreamName(stream)
    facts = home.journal.read(name)
    home.journal.append(name, [fact], expected=facts[-1].seq if facts else 0)


# ── runs that exist ──────────────────────────────────────────────────────────────────────────────


def state_of(home: Home, run: RunId) -> RunState:
    """Raises NoSuchRun."""
    facts = home.journal.read(engine.stream_of(run))
    if not facts:
        raise NoSuchRun(
            f"the journal has no run {run}",
            detail=f"looked in {home.state}",
            hint="`backstay status` shows the open ones; another journal: --state",
        )
    return fold(facts)


def plan_of(home: Home, digest: Digest) -> Plan:
    """The revision that a run froze: editing the file, or breaking it, never changes a run. Raises PlanMissing."""
    for recorded in reversed(home.journal.read(PLAN_STREAM)):
        if isinstance(recorded.fact, PlanAdopted) and recorded.fact.digest == digest:
            return config.parse(recorded.fact.text, f"plan {digest[:19]}")
    if home.plan.digest == digest:
        return home.plan
    raise PlanMissing(f"the plan {digest[:19]} that this run froze is not in the journal")


def open_run(home: Home, run: str | None) -> RunId:
    """The run that was named, or the only open one; `home` is under the plan that it froze from here on. Raises
    NoSuchRun, Usage where several are open."""
    if run is not None:
        found = [state_of(home, RunId(run))]
    else:
        found = engine.open_runs(home.journal)
    if not found:
        raise NoSuchRun(
            "no run is open",
            detail=f"looked in {home.state}",
            hint="begin one with `backstay recover SCENARIO`; another journal: --state",
        )
    if len(found) > 1:
        raise Usage(
            "several runs are open: say which",
            detail=", ".join(state.started.run for state in found),
            hint="name one: `backstay resume RUN`; `backstay status` shows where each stands",
        )
    started = found[0].started
    home.govern(plan_of(home, started.plan))
    return started.run
