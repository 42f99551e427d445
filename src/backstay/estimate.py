"""How long things take here: from what was measured, and from nothing else.

An estimate is a median and a worst case of real samples. Where nothing was measured it is Unknown, with the reason:
a guess would be read as a promise. Restores grow with the data, so an older, smaller restore is scaled up to the size
of today (never down: starting a server takes as long as ever).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.facts import NotVerified
from backstay.history import History, rto_actual
from backstay.history.measures import REAL
from backstay.plan import (
    Approve,
    Ask,
    AskPerson,
    CallHttp,
    Choose,
    Phase,
    Preserve,
    Restore,
    RunCommand,
    Scale,
    Smoke,
    Step,
    Tell,
    Wait,
)
from backstay.values import ComponentName, ScenarioName, StepId, count, say_span

NEWEST_SAMPLES = 20
"""Older ones tell of another system."""


@dataclass(frozen=True, slots=True)
class Estimate:
    median: timedelta
    worst: timedelta
    samples: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing was measured. `at_least`: what is known of a part of it."""

    why: str
    at_least: timedelta | None = None


Expected = Estimate | Unknown


def of_samples(samples: Iterable[timedelta], never: str) -> Expected:
    """The estimate of `samples`, oldest first; Unknown(`never`) when there are none."""
    found = list(samples)[-NEWEST_SAMPLES:]
    if not found:
        return Unknown(never)
    ordered = sorted(found)
    return Estimate((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2, ordered[-1], len(ordered))


def say(expected: Expected) -> str:
    """`about 22 s (31 s at worst, measured 4 times)`."""
    if isinstance(expected, Estimate):
        worst = f"{say_span(expected.worst)} at worst, " if expected.worst != expected.median else ""
        times = "once" if expected.samples == 1 else f"{expected.samples} times"
        return f"about {say_span(expected.median)} ({worst}measured {times})"
    if expected.at_least is None:
        return f"unknown: {expected.why}"
    return f"at least {say_span(expected.at_least)}; the rest is unknown: {expected.why}"


def backup(history: History, component: ComponentName) -> Expected:
    """How long taking a point lasts."""
    samples = [
        fact.took for _, fact in history.taken if fact.point.component == component and not fact.point.is_evidence
    ]
    return of_samples(samples, f"no point of {component} was taken yet")


def restore(history: History, component: ComponentName, size_bytes: int | None = None) -> Expected:
    """How long restoring lasts, from proofs, drills and recoveries. `size_bytes`: of what would be restored; None: of
    the newest point."""
    points = history.points_of(component)
    size = size_bytes if size_bytes is not None else (points[-1].size_bytes if points else None)
    samples: list[tuple[datetime, timedelta]] = []
    for proof in history.proofs_of(component):
        if proof.restore_took is not None:
            then = history.point(proof.point)
            samples.append((proof.ended, _scaled(proof.restore_took, then.size_bytes if then else None, size)))
    for run in history.runs:
        seen = run.restored(component)
        if seen is not None and seen.took is not None and seen.ended is not None and run.started.mode in REAL:
            id = seen.values.get("point", "")
            then = next((held.point for held in history.points if held.point.id == id), None)
            samples.append((seen.ended, _scaled(seen.took, then.size_bytes if then else None, size)))
    ordered = [took for _, took in sorted(samples)]
    return of_samples(ordered, f"{component} was never restored")


def replay(history: History, component: ComponentName, log_bytes: int) -> Expected:
    """How long replaying so much log lasts, after the point itself is restored: from recoveries and drills that did.
    Scaled up with the log, and never down."""
    samples = list[timedelta]()
    for run in history.runs:
        seen = run.restored(component) if run.started.mode in REAL else None
        if seen is None:
            continue
        then, took = seen.values.get("replayed_bytes", ""), seen.values.get("replay_ms", "")
        if then.isdigit() and took.isdigit():
            samples.append(timedelta(milliseconds=int(took)) * max(1.0, log_bytes / max(1, int(then))))
    return of_samples(samples, f"no log of {component} was replayed yet")


def step(history: History, of: Step) -> Expected:
    """How long one step lasts, from steps that did the same."""
    match of.verb:
        case Wait(length):
            return Estimate(length, length, 1)
        case Restore(component):
            return restore(history, component)
        case _:
            key = same_work(of)
            samples = [
                seen.took
                for run in history.runs
                if run.started.mode in REAL
                for seen in run.steps
                if seen.took is not None and same_work(seen.step) == key
            ]
            return of_samples(samples, f"{' '.join(word for word in key if word)} was never measured")


def same_work(step: Step) -> tuple[str, str]:
    """Steps with the same of this do the same work: the verb, and what it works on."""
    match step.verb:
        case Scale(workload, _, to):
            return ("stop" if to == 0 else "start", workload)
        case Preserve(component) | Choose(component) | Restore(component) | Ask(component):
            return step.verb_name, component
        case Smoke(checks):
            return step.verb_name, " ".join(checks)
        case RunCommand(argv):
            return step.verb_name, " ".join(str(word) for word in argv)
        case CallHttp(request):
            return step.verb_name, f"{request.method} {request.url}"
        case Tell(audience):
            return step.verb_name, audience
        case Approve(question) | AskPerson(question):
            return step.verb_name, question
        case Wait(length):
            return step.verb_name, say_span(length)


def procedure(history: History, phases: Iterable[Phase]) -> Expected:
    """How long the whole takes: phase after phase, in each the longest chain of steps that need one another."""
    known = Estimate(timedelta(), timedelta(), 0)
    never: list[str] = []
    fewest: list[int] = []
    for phase in phases:
        chain: dict[StepId, tuple[timedelta, timedelta]] = {}
        for one in phase.steps:
            expected = step(history, one)
            if isinstance(expected, Unknown):
                never.append(expected.why)
                expected = Estimate(timedelta(), timedelta(), 0)
            else:
                fewest.append(expected.samples)
            before = [chain[need] for need in one.needs if need in chain]
            chain[one.id] = (
                max((middle for middle, _ in before), default=timedelta()) + expected.median,
                max((worst for _, worst in before), default=timedelta()) + expected.worst,
            )
        longest = max((middle for middle, _ in chain.values()), default=timedelta())
        worst = max((worst for _, worst in chain.values()), default=timedelta())
        known = Estimate(known.median + longest, known.worst + worst, 0)
    if never:
        more = f", nor {count(len(never) - 1, 'other step')}" if len(never) > 1 else ""
        return Unknown(never[0] + more, known.median or None)
    if not fewest:
        return Unknown("there are no steps")
    return Estimate(known.median, known.worst, min(fewest))


def run(history: History, scenario: ScenarioName) -> Expected:
    """How long recoveries and drills of this scenario took, from the declaration to the last smoke check."""
    measured = (rto_actual(seen) for seen in history.runs if seen.started.scenario == scenario)
    samples = [took for took in measured if not isinstance(took, NotVerified)]
    return of_samples(samples, f"{scenario} was never recovered from, nor drilled")


def _scaled(took: timedelta, then_bytes: int | None, now_bytes: int | None) -> timedelta:
    if not then_bytes or not now_bytes or now_bytes <= then_bytes:
        return took
    return took * (now_bytes / then_bytes)
