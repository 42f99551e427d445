"""Scenarios: what can happen, and the procedure for it. Also the drills that rehearse them.

A plan's scenario of the same name as a built-in one was laid over it before anything is read here (`fragments`): what
the plan does not say, the built-in one says. `procedure` replaces every phase; `phases` changes or adds single ones.

Then `the database` and `the application` get the names of this plan. Where the plan has exactly one database or
workload there is nothing to say; where it has several, the scenario says which it `uses`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from backstay.config.forms import Choice, Either, Form, ListOf, Made, NameOf, Placed, Schema, WithPlace
from backstay.config.fragments import built_in_names
from backstay.config.nodes import Entries, Text
from backstay.config.reading import BAD, BUILT_IN, At, Bad, Named
from backstay.config.sections.people import PEOPLE, named
from backstay.config.sections.verbs import STEP, THE_APPLICATION, THE_DATABASE
from backstay.config.sections.words import OBJECTIVES, SCHEDULE, SOME_SPAN, TEXT
from backstay.config.spelling import MOST_NEARBY, nearest, quoted
from backstay.config.tables import Fields, OneOf, Table, default, optional, required
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    DrillRule,
    Level,
    Mode,
    Objectives,
    Phase,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Scenario,
    Smoke,
    Space,
    Step,
    Tell,
    Verb,
    Wait,
)
from backstay.values import ComponentName, ScenarioName, listed

# ── phases ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Written:
    """A phase as it was written. `steps` None: those of the phase that it changes."""

    phase: Phase
    steps: tuple[Placed[Step | Bad], ...] | None
    has_target: bool
    after: str | None
    before: str | None


STEPS_FORM = ListOf(WithPlace(STEP), at_least=1)
PHASE_NAME = required("phase", TEXT, "what the phase is called", "Stop and preserve")
PHASE_TARGET = optional("target", SOME_SPAN, "how long it should take", "5m", "not said")
STEPS = required("steps", STEPS_FORM, "what is done, one after the other", "[{ask: database}, smoke]")
PHASE = Table(
    "phase",
    "a phase",
    "A part of a procedure, with a target time.",
    (PHASE_NAME, PHASE_TARGET, STEPS),
    lambda fields: _Written(
        Phase(fields[PHASE_NAME], (), fields[PHASE_TARGET]), fields[STEPS], fields.given(PHASE_TARGET), None, None
    ),
)

CHANGED_STEPS = optional("steps", STEPS_FORM, "what is done instead", "[{ask: database}, smoke]", "the same steps")
CHANGED_TARGET = optional("target", SOME_SPAN, "how long it should take", "5m", "the same target")
AFTER = optional("after", TEXT, "for a new phase: the phase that it follows", "Restore")
BEFORE = optional("before", TEXT, "for a new phase: the phase that follows it", "Restore")


def _changed(fields: Fields) -> _Written:
    if fields.given(AFTER) and fields.given(BEFORE):
        fields.at.wrong("says both `after` and `before`: keep one")
    target = fields[CHANGED_TARGET]
    phase = Phase(fields[PHASE_NAME], (), target)
    return _Written(phase, fields[CHANGED_STEPS], fields.given(CHANGED_TARGET), fields[AFTER], fields[BEFORE])


CHANGED_PHASE = Table(
    "changed-phase",
    "a changed phase",
    "A phase of the built-in scenario with other steps or another target, or a new one with its place.",
    (PHASE_NAME, CHANGED_TARGET, CHANGED_STEPS, AFTER, BEFORE),
    _changed,
)

# ── what a scenario uses ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Workload:
    kind: str
    name: str


USES_PROCESS = required("process", NameOf(Named.PROCESS), "a process of the site", "api")
USES_DEPLOYMENT = required("deployment", TEXT, "a deployment of the site's cluster", "shop-api")


def _workload(fields: Fields) -> Workload:
    if fields.given(USES_PROCESS):
        return Workload("process", fields[USES_PROCESS])
    return Workload("deployment", fields[USES_DEPLOYMENT])


WORKLOAD_TABLE = Table(
    "workload",
    "a workload",
    "A process or a deployment. A text alone is a process.",
    (),
    _workload,
    one_of=OneOf("which", (USES_PROCESS, USES_DEPLOYMENT)),
)
WORKLOAD = Either(
    "a process or a deployment",
    text=Made(NameOf(Named.PROCESS), lambda _, name: Workload("process", name)),
    entries=WORKLOAD_TABLE,
)
USES_DATABASE = optional(
    "database", NameOf(Named.COMPONENT), "the component that `the database` stands for", "orders", "the only one"
)
USES_APPLICATION = default(
    "application",
    ListOf(WORKLOAD, at_least=1, or_one=True),
    (),
    "what `the application` stands for",
    "[api, worker]",
    "the only process",
)
USES = Table(
    "uses",
    "what a scenario uses",
    "Which of the plan's things `the database` and `the application` stand for, where there are several.",
    (USES_DATABASE, USES_APPLICATION),
    lambda fields: (fields[USES_DATABASE], fields[USES_APPLICATION]),
)

# ── scenario ─────────────────────────────────────────────────────────────────────────────────────

LEVEL = Choice({level.value: level for level in Level})
TITLE = required("title", TEXT, "what people call it", "Database corruption or loss")
PROBABILITY = required("probability", LEVEL, "how likely it is", "medium")
IMPACT = required("impact", LEVEL, "how bad it is", "critical")
SCENARIO_OBJECTIVES = default(
    "objectives", OBJECTIVES, Objectives(), "what was promised for it", "{rto: 30m, rpo: 24h}", "the system's"
)
STRATEGY = default("strategy", TEXT, "", "what is done, in a few words", "Restore from backup", "nothing")
USES_KEY = optional("uses", USES, "which database and application it is about", "{database: orders}", "the only ones")
PROCEDURE = default(
    "procedure",
    ListOf(WithPlace(PHASE)),
    (),
    "the phases of the recovery",
    "[{phase: Restore, steps: [{choose: database}, {restore: database}]}]",
    "none yet",
)
PHASES = default(
    "phases",
    ListOf(WithPlace(CHANGED_PHASE)),
    (),
    "changes to single phases",
    "[{phase: Restore, target: 10m}]",
    "none",
)


@dataclass(slots=True)
class _Open:
    """A phase whose steps may still change."""

    name: str
    phase: Phase
    steps: tuple[Placed[Step | Bad], ...]


def _scenario(fields: Fields) -> Scenario:
    written = [(w.value, w.at) for w in fields[PROCEDURE] if not isinstance(w.value, Bad)]
    changes = [(w.value, w.at) for w in fields[PHASES] if not isinstance(w.value, Bad)]
    phases = [_Open(w.phase.name, w.phase, w.steps or ()) for w, _ in written]
    _refuse_twins(written)
    for change, at in changes:
        _change(phases, change, at)
    if len(written) == len(fields[PROCEDURE]) and len(changes) == len(fields[PHASES]):
        _check_steps([step for phase in phases for step in phase.steps])
    cast = _Cast(fields)
    made = [replace(p.phase, steps=tuple(cast.played(p.steps))) for p in phases]
    return Scenario(
        name=ScenarioName(fields.name),
        title=fields[TITLE],
        probability=fields[PROBABILITY],
        impact=fields[IMPACT],
        objectives=fields[SCENARIO_OBJECTIVES],
        strategy=fields[STRATEGY],
        procedure=() if cast.impossible else tuple(phase for phase in made if phase.steps),
    )


def _refuse_twins(phases: list[tuple[_Written, At]]) -> None:
    seen: set[str] = set()
    for written, at in phases:
        name = written.phase.name
        if name in seen:
            at.wrong(f"there is a phase {quoted(name)} above: phases have different names")
        seen.add(name)


def _change(phases: list[_Open], wish: _Written, at: At) -> None:
    """Lay one changed phase over the phases, or put a new one in its place."""
    names = [phase.name for phase in phases]
    if wish.phase.name in names:
        old = phases[names.index(wish.phase.name)]
        old.phase = replace(old.phase, target=wish.phase.target if wish.has_target else old.phase.target)
        old.steps = old.steps if wish.steps is None else wish.steps
        return
    neighbour = wish.after or wish.before
    if neighbour is None or wish.steps is None:
        near = nearest(wish.phase.name, names)
        end = f"; did you mean `{near}`?" if near else ": a new one has `steps`, and `after` or `before` a phase"
        at.wrong(f"there is no phase {quoted(wish.phase.name)}{end}")
    elif neighbour not in names:
        near = nearest(neighbour, names)
        end = f"; did you mean `{near}`?" if near else f"; phases: {', '.join(names) or 'none'}"
        at.wrong(f"there is no phase {quoted(neighbour)} to stand beside{end}")
    else:
        index = names.index(neighbour) + (1 if wish.after else 0)
        phases.insert(index, _Open(wish.phase.name, wish.phase, wish.steps))


def _check_steps(steps: list[Placed[Step | Bad]]) -> None:
    """Names are unique; `needs`, `${steps.…}` and `recorded` go back to an earlier step."""
    earlier: dict[str, None] = {}
    every = {name for step in steps if (name := _step_name(step))}
    for step in steps:
        needs = () if isinstance(step.value, Bad) else step.value.needs
        for needed in needs:
            if needed not in earlier:
                step.at.wrong(_no_step(needed, earlier, every))
        for seen in step.at.reading.refs_under(step.at.path):
            if seen.ref.space is Space.STEPS and (wanted := seen.ref.path.split(".", 1)[0]) not in earlier:
                step.at.reading.problem(seen.place, seen.path, _no_step(wanted, earlier, every))
        name = _step_name(step)
        if name in earlier:
            step.at.wrong(f"there is a step {quoted(name)} above: step names are unique in a scenario")
        elif name:
            earlier[name] = None
    if not any(isinstance(step.value, Bad) for step in steps):
        _check_recorded(steps)


def _step_name(step: Placed[Step | Bad]) -> str:
    """A step's name; of one with problems, as it is written."""
    if not isinstance(step.value, Bad):
        return step.value.name
    entry = step.at.node.entries.get("name") if isinstance(step.at.node, Entries) else None
    return entry[1].text if entry is not None and isinstance(entry[1], Text) else ""


def _no_step(wanted: str, earlier: Mapping[str, None], every: Collection[str]) -> str:
    if wanted in every:
        return f"the step {quoted(wanted)} is not done before this one"
    near = nearest(wanted, list(earlier)[-MOST_NEARBY:])
    return f"there is no earlier step {quoted(wanted)}" + (f"; did you mean `{near}`?" if near else "")


def _check_recorded(steps: list[Placed[Step | Bad]]) -> None:
    scaled: set[tuple[str, str]] = set()
    for step in steps:
        if isinstance(step.value, Bad) or not isinstance(verb := step.value.verb, Scale):
            continue
        if verb.to is None and (verb.kind, verb.workload) not in scaled:
            step.at.wrong(f"nothing is `recorded` of {quoted(verb.workload)}: no earlier step scales it")
        scaled.add((verb.kind, verb.workload))


# ── who plays the database and the application ───────────────────────────────────────────────────


class _Cast:
    """The plan's own names for `the database` and `the application`, found when the first step asks."""

    def __init__(self, fields: Fields) -> None:
        self._at, self._reading = fields.at, fields.at.reading
        self._name = fields.name
        self._database, self._application = fields[USES_KEY] or (None, ())
        self._asked: dict[str, str | None] = {}
        self._workloads: tuple[Workload, ...] | None = None
        self.impossible = False
        """There is no database, so this recovery cannot be: the scenario has no procedure."""

    def played(self, steps: tuple[Placed[Step | Bad], ...]) -> Iterator[Step]:
        """The steps with the plan's own names. One without anybody to play its part is left out."""
        for step in (placed.value for placed in steps):
            if not isinstance(step, Bad):
                yield from (replace(step, verb=verb) for verb in self._verbs(step.verb))

    def _verbs(self, verb: Verb) -> Iterator[Verb]:
        match verb:
            case Scale(workload=name) if name == THE_APPLICATION:
                for load in self._the_application():
                    yield Scale(load.name, "deployment" if load.kind == "deployment" else "process", verb.to)
            case Preserve() | Choose() | Restore() | Ask():
                component = self._the_database() if verb.component == THE_DATABASE else verb.component
                if component is not None:
                    yield replace(verb, component=component)
            case Scale() | Smoke() | RunCommand() | CallHttp() | Approve() | AskPerson() | Tell() | Wait():
                yield verb
            case _:
                assert_never(verb)

    def _the_database(self) -> ComponentName | None:
        if self._database is not None:
            return ComponentName(self._database)
        if THE_DATABASE not in self._asked:
            sorts = self._reading.known(Named.COMPONENT)
            found = [n for n, s in sorts.items() if s == "postgres"] or [n for n, s in sorts.items() if s == "sqlite"]
            self._asked[THE_DATABASE] = found[0] if found else None
            self.impossible = not found
            if len(found) > 1:
                self._say_which(THE_DATABASE, found, f"{{database: {found[0]}}}")
        name = self._asked[THE_DATABASE]
        return None if name is None else ComponentName(name)

    def _the_application(self) -> tuple[Workload, ...]:
        if self._application:
            return self._application
        if self._workloads is None:
            found = list(self._reading.known(Named.PROCESS))
            self._workloads = tuple(Workload("process", name) for name in found)
            if len(found) > 1:
                self._say_which(THE_APPLICATION, found, f"{{application: [{', '.join(found)}]}}")
        return self._workloads

    def _say_which(self, what: str, found: list[str], example: str) -> None:
        built_in = "the built-in scenario " if self._at.node.place.file.startswith(BUILT_IN) else ""
        self._at.wrong(
            f"{built_in}{quoted(self._name)} is about `{what}`, and the plan has {len(found)}: {listed(found)}; "
            f"say which: `scenarios: {{{self._name}: {{uses: {example}}}}}`"
        )


SCENARIO = Table(
    "scenario",
    "a scenario",
    "A kind of disaster and what is done about it. Five come built in; a plan changes them by name, or adds its own. "
    "In a procedure `the database` is the only PostgreSQL component (or the only SQLite one), `the application` the "
    "only process; a plan with several says which the scenario `uses`.",
    (TITLE, PROBABILITY, IMPACT, SCENARIO_OBJECTIVES, STRATEGY, USES_KEY, PROCEDURE, PHASES),
    _scenario,
)


class _OwnOrBuiltIn(Form[Scenario]):
    """A scenario. One that looks like a misspelled built-in one is told so, once."""

    says = SCENARIO.says

    def read(self, at: At) -> Scenario | Bad:
        name, built_in = str(at.path[-1]), built_in_names()
        if name not in built_in and isinstance(at.node, Entries) and TITLE.name not in at.node.entries:
            near = nearest(name, built_in)
            if near is not None:
                at.wrong(f"{quoted(name)} is not built in; did you mean `{near}`? One of your own has a `title`")
                return BAD
        return SCENARIO.read(at)

    def schema(self) -> Schema:
        return SCENARIO.schema()

    def inner(self) -> Iterator[Form[Any]]:
        yield SCENARIO


SCENARIO_FORM = _OwnOrBuiltIn()

# ── drills ───────────────────────────────────────────────────────────────────────────────────────


DRILL_SCENARIO = required("scenario", NameOf(Named.SCENARIO), "what is rehearsed", "database-loss")
DRILL_EVERY = required("every", SCHEDULE, "how often", "3 months")
_MODES = {mode.value: mode for mode in (Mode.DRILL, Mode.TABLETOP, Mode.DRY)}
DRILL_MODE = default(
    "mode", Choice(_MODES), Mode.DRILL, "in a sandbox, at a table, or printed only", "drill", "`drill`"
)
PARTICIPANTS = default("participants", PEOPLE, (), "who takes part", "[devops-lead, dba-lead]", "nobody")
TAKES = optional("takes", SOME_SPAN, "how long people should keep free", "3h", "not said")
DRILL = Table(
    "drill",
    "a drill",
    "A rehearsal, and how often it is held.",
    (DRILL_SCENARIO, DRILL_EVERY, DRILL_MODE, PARTICIPANTS, TAKES),
    lambda fields: DrillRule(
        ScenarioName(fields[DRILL_SCENARIO]),
        fields[DRILL_EVERY],
        fields[DRILL_MODE],
        named(fields[PARTICIPANTS]),
        fields[TAKES],
    ),
)
