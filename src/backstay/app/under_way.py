"""Runs that have not ended: where each stands, who drives it, whom it waits for, and how it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backstay import engine
from backstay.app.driving import Roll
from backstay.app.home import Home
from backstay.machine import RunState, State
from backstay.plan import Mode
from backstay.values import count, listed, say_moment, say_span, stamp


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One open run. `lines`: what happened, what holds it up, what to type."""

    live: bool
    lines: tuple[str, ...]
    plain: Mapping[str, Any]


def under_way(home: Home, now: datetime) -> list[UnderWay]:
    """Every open run, oldest first."""
    return [_told(run, now, Roll(home.state)) for run in engine.open_runs(home.journal)]


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
        f"(`backstay run answer {started.run} {step.step.id} yes --by PERSON`)"
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
