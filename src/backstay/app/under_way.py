"""Runs that somebody has to do something about: open ones, and recoveries that failed with nothing after them.

Where each stands, who drives it, whom it waits for, and what to type to go on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backstay import engine
from backstay.app.driving import Roll
from backstay.app.home import Home
from backstay.facts import RunStarted
from backstay.history import History, RunSeen
from backstay.machine import RunState, State
from backstay.plan import Approve, Mode
from backstay.values import StepId, count, listed, say_moment, say_span, stamp


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One such run. `lines`: what happened, what holds it up, what to type."""

    live: bool
    lines: tuple[str, ...]
    plain: Mapping[str, Any]


def under_way(home: Home, history: History, now: datetime) -> list[UnderWay]:
    """Failed recoveries first, then open runs, each oldest first."""
    failed = [_failed(run, now) for run in unfinished(history)]
    return failed + [_told(run, now, Roll(home.state)) for run in engine.open_runs(home.journal)]


def unfinished(history: History) -> list[RunSeen]:
    """Recoveries that failed, and that no later one of the same components took up again: what they stopped is still
    stopped."""
    live = [run for run in history.runs if run.started.mode is Mode.LIVE]
    return [
        run
        for number, run in enumerate(live)
        if run.ended is not None
        and run.ended.result == "failed"
        and not any(set(later.started.components) & set(run.started.components) for later in live[number + 1 :])
    ]


def ways_on(started: RunStarted, failed: Iterable[StepId]) -> tuple[str, ...]:
    """What to type after a recovery has failed."""
    lines = [
        f"when what was in its way is gone: `backstay run retry {started.run} {step} --by PERSON --reason WHY`, "
        f"then `backstay resume {started.run}`"
        for step in failed
    ]
    if started.components:
        named = started.components[0]
        lines.append(
            f"or begin anew with another point: `backstay verify {named}` says which are sound, "
            f"`backstay recover {started.scenario} --point {named}=ID` takes one"
        )
    return tuple(lines)


def answers_to(run: RunState, step: StepId) -> str:
    """What may be answered to the question of a step: only an approval takes *yes*."""
    asking = run.steps[step]
    if asking.state is State.IN_DOUBT:
        return "happened|did-not"
    return "yes|no" if isinstance(asking.step.verb, Approve) else "ANSWER"


def _failed(run: RunSeen, now: datetime) -> UnderWay:
    started, ended = run.started, run.ended
    assert ended is not None, "it failed"
    why = ended.why.partition("\n")[0]
    ago = say_span(max(now - (run.ended_at or started.declared), timedelta()))
    steps = [seen.step.id for seen in run.steps if seen.state is State.FAILED]
    return UnderWay(
        True,
        (
            f"{started.run} failed {ago} ago: {started.title}: {why}",
            "what it had stopped is still stopped, and what it had moved aside is kept",
            *ways_on(started, steps),
        ),
        {
            "run": started.run,
            "scenario": started.scenario,
            "mode": started.mode.value,
            "declared": stamp(started.declared),
            "by": started.by,
            "failed": list(steps),
            "why": ended.why,
        },
    )


def _told(run: RunState, now: datetime, roll: Roll) -> UnderWay:
    started = run.started
    done = sum(step.settled for step in run.steps.values())
    asked = [step for step in run.in_state(State.ASKING, State.IN_DOUBT) if step.asked is not None]
    at = next((step for step in run.steps.values() if not step.settled), None)
    driver = run.lease.driver if run.lease is not None and not roll.has_ended(run.lease.driver) else None
    first = (
        f"{started.run} has not ended: {started.title}, {started.mode.value}, declared by {started.by} "
        f"{say_span(max(now - started.declared, timedelta()))} ago; {done} of {count(len(run.steps), 'step')} done"
    )
    lines = [first + (f", at {at.step.id}" if at is not None else "")]
    lines += [
        f"it asks {listed(step.asked.who, 'or') or 'somebody'}: {step.asked.question} "
        f"(`backstay run answer {started.run} {step.step.id} {answers_to(run, step.step.id)} --by PERSON`)"
        for step in asked
        if step.asked is not None
    ]
    if driver is not None and run.lease is not None:
        lines.append(f"driven by {driver}, whose lease lasts until {say_moment(run.lease.until)}")
    elif run.cancelled is not None:
        lines.append(f"cancelled by {run.cancelled.by}; `backstay resume {started.run}` writes its end")
    else:
        lines.append(f"nobody drives it: `backstay resume {started.run}` goes on with it")
    return UnderWay(
        started.mode is Mode.LIVE,
        tuple(lines),
        {
            "run": started.run,
            "scenario": started.scenario,
            "mode": started.mode.value,
            "declared": stamp(started.declared),
            "by": started.by,
            "steps": len(run.steps),
            "done": done,
            "at": None if at is None else at.step.id,
            "driver": driver,
            "asks": [
                {"step": s.step.id, "who": list(s.asked.who), "question": s.asked.question} for s in asked if s.asked
            ],
        },
    )
