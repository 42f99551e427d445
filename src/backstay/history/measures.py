"""What a run cost: RTO actual and RPO actual, as DESIGN.md defines them. `docs/explanation/objectives.md` says why.

Everything that is not known is a NotVerified with its reason, never a zero and never a pass.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.facts import NotVerified
from backstay.history.runs import RunSeen, StepSeen
from backstay.machine import State
from backstay.plan import Ask, Choose, Mode, Preserve, Restore, Smoke
from backstay.values import Between, ComponentName, from_stamp, say_moment

REAL = (Mode.LIVE, Mode.DRILL)
"""The modes in which something is restored and measured."""


@dataclass(frozen=True, slots=True)
class Loss:
    """RPO actual: the time between the moment of the disaster and the newest data that came back, as a range."""

    least: timedelta
    most: timedelta
    newest: datetime
    source: str
    """How the newest data is known."""
    disaster: Between
    clamped: bool
    """The data is newer than the earliest moment of the disaster: less than nothing cannot be lost."""


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One phase: when it began and ended. None: not known, or not yet."""

    name: str
    target: timedelta | None
    began: datetime | None
    ended: datetime | None

    @property
    def took(self) -> timedelta | None:
        return self.ended - self.began if self.began and self.ended else None


def components_restored(run: RunSeen) -> tuple[ComponentName, ...]:
    """What the procedure of this run restores, whether it came to it or not."""
    found = (seen.step.verb.component for seen in run.steps if isinstance(seen.step.verb, Restore))
    return tuple(dict.fromkeys(found))


def rto_actual(run: RunSeen) -> timedelta | NotVerified:
    """From the declaration to the end of the last smoke step."""
    if run.started.mode not in REAL:
        return NotVerified(f"nothing was restored: a {run.started.mode.value} run")
    smoke = [seen for seen in run.steps if isinstance(seen.step.verb, Smoke)]
    if not smoke:
        return NotVerified("the procedure has no smoke step, so nobody looked whether it works")
    last = smoke[-1]
    if last.state is State.SKIPPED:
        return NotVerified(f"the last smoke step was skipped ({last.said})")
    if not last.done or last.ended is None:
        why = "did not pass" if run.ended or last.state is State.FAILED else "has not passed yet"
        return NotVerified(f"the last smoke step {why}")
    return _since_declared(run, max(seen.ended for seen in smoke if seen.done and seen.ended))


def component_rto(run: RunSeen, component: ComponentName) -> timedelta | NotVerified:
    """RTO actual of one component. Where the run restored nothing else, it is the run's own. Else it ends with the last
    step that worked on the component, and counts only if the whole passed its smoke checks in the end."""
    whole = rto_actual(run)
    restored = run.restored(component)
    if restored is None:
        return NotVerified(f"the run did not restore {component}")
    if isinstance(whole, NotVerified) or components_restored(run) == (component,):
        return whole
    ends = [seen.ended for seen in run.steps if _works_on(seen, component) and seen.done and seen.ended]
    return _since_declared(run, max(ends))


def rpo_actual(run: RunSeen, component: ComponentName) -> Loss | NotVerified:
    """Between the moment of the disaster and the newest data that came back."""
    if run.started.mode not in REAL:
        return NotVerified(f"nothing was restored: a {run.started.mode.value} run")
    if run.restored(component) is None:
        return NotVerified(f"the run did not restore {component}")
    disaster = run.started.disaster
    if disaster is None and run.started.mode is Mode.DRILL:
        disaster = Between(
            run.started.declared, run.started.declared, "the drill's declaration, as if it had struck then"
        )
    if disaster is None:
        return NotVerified("the moment of the disaster is not known")
    found = newest_back(run, component, disaster.latest)
    if found is None:
        return NotVerified("how new the data is that came back is not known")
    newest, source = found
    none = timedelta()
    return Loss(
        max(disaster.earliest - newest, none),
        max(disaster.latest - newest, none),
        newest,
        source,
        disaster,
        newest > disaster.earliest,
    )


def newest_back(run: RunSeen, component: ComponentName, disaster: datetime) -> tuple[datetime, str] | None:
    """The newest data that came back, and how it is known. The component's own answer comes first, unless it is newer
    than the disaster: then the application was writing again when it was asked, and the answer says nothing of what
    was saved."""
    wanted = (
        (Ask, "newest", "the component's own question, after the restore"),
        (Restore, "newest", "the last that was replayed by the restore"),
        (Choose, "moment", "the recovery point"),
    )
    for verb, name, source in wanted:
        for seen in reversed(run.steps):
            if not isinstance(seen.step.verb, verb) or seen.step.verb.component != component or not seen.done:
                continue
            moment = _moment(seen.values.get(name, ""))
            if moment is not None and not (verb is Ask and moment > disaster):
                return moment, source
    return None


def phase_times(run: RunSeen) -> tuple[PhaseTime, ...]:
    times: list[PhaseTime] = []
    for number, phase in enumerate(run.started.phases):
        steps = run.of_phase(number)
        begins = [seen.began for seen in steps if seen.began]
        ends = [seen.ended for seen in steps if seen.ended]
        over = bool(steps) and all(seen.state in (State.DONE, State.SKIPPED) for seen in steps)
        times.append(
            PhaseTime(phase.name, phase.target, min(begins, default=None), max(ends, default=None) if over else None)
        )
    return tuple(times)


def _since_declared(run: RunSeen, end: datetime) -> timedelta | NotVerified:
    took = end - run.started.declared
    if took < timedelta():
        declared = say_moment(run.started.declared)
        return NotVerified(f"it ended at {say_moment(end)}, before the declaration at {declared}: clocks differ")
    return took


def _works_on(seen: StepSeen, component: ComponentName) -> bool:
    return isinstance(seen.step.verb, Preserve | Choose | Restore | Ask) and seen.step.verb.component == component


def _moment(text: str) -> datetime | None:
    try:
        return from_stamp(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
