"""When it happened, and what is due when: the moment of the disaster, and the clocks that run from its declaration.

The moment of a disaster is a range: between the last look that found everything well and the first that did not. It
is never made narrower than what was seen. A person may know better, and then the range says who.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from backstay.facts import CheckSeen, NotVerified
from backstay.history import History, IncidentSeen
from backstay.plan import PRIMARY, Audience, Mode, Plan, Smoke
from backstay.values import Between, Period, say_moment, say_span
from backstay.verify import exact

# ── the moment of the disaster ──────────────────────────────────────────────────────────────────────


def moment(checks: Iterable[CheckSeen]) -> Between | NotVerified:
    """From the last green to the first red look, of the check that turned red first in the outage that goes on."""
    by_check: dict[str, list[CheckSeen]] = {}
    for fact in checks:
        by_check.setdefault(fact.check, []).append(fact)
    turns: list[Between] = []
    why: list[str] = []
    for name, seen in by_check.items():
        match _turn(name, seen):
            case Between() as turn:
                turns.append(turn)
            case NotVerified(reason):
                why.append(reason)
            case None:
                pass
    if turns:
        return min(turns, key=lambda turn: turn.latest)
    if why:
        return NotVerified(why[0])
    return NotVerified("no smoke check is red" if by_check else "no smoke check was ever looked at")


def looks(history: History) -> tuple[CheckSeen, ...]:
    """What `moment` goes by: the looks since the last recovery of production, and its own smoke checks. What
    was red before it was the disaster that it ended, and dates no other one."""
    over = [
        run
        for run in history.runs
        if run.started.mode is Mode.LIVE
        and run.started.site == PRIMARY
        and run.ended is not None
        and run.ended.result == "recovered"
    ]
    if not over:
        return history.checks
    last = over[-1]
    smoke = [seen for seen in last.steps if isinstance(seen.step.verb, Smoke) and seen.done and seen.began]
    since = max((seen.began for seen in smoke if seen.began), default=last.ended_at or last.at)
    green = [
        CheckSeen(name.removeprefix("smoke."), "green", seen.began, None, f"run {last.id}")
        for seen in smoke
        for name, colour in seen.values.items()
        if name.startswith("smoke.") and colour == "green" and seen.began
    ]
    return (*green, *(fact for fact in history.checks if fact.at >= since))


def _turn(name: str, seen: list[CheckSeen]) -> Between | NotVerified | None:
    """None: the check is not red now. A fact is written when the colour changes, so the look before the first fact
    that is not green (its `last`) was green."""
    greens = [number for number, fact in enumerate(seen) if fact.colour == "green"]
    after = seen[greens[-1] + 1 :] if greens else seen
    red = next((fact for fact in after if fact.colour == "red"), None)
    if red is None:
        return None
    if not greens:
        return NotVerified(f"{name} was never seen green before it was red")
    green = max(seen[greens[-1]].at, after[0].last or seen[greens[-1]].at)
    return Between(min(green, red.at), red.at, f"smoke check {name}: last green, then red")


def said(earliest: datetime, latest: datetime, by: str) -> Between:
    """A person's word."""
    return Between(earliest, latest, f"said by {by}")


def say_between(range: Between | None) -> str:
    """`between … and … (smoke check health: last green, then red)`."""
    if range is None:
        return "not verified: nobody knows when it happened"
    if range.earliest == range.latest:
        return f"{say_moment(range.latest)} ({range.source})"
    return f"between {say_moment(range.earliest)} and {say_moment(range.latest)} ({range.source})"


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Clock:
    """Something that is due at a moment: a message, a report, a follow-up."""

    what: str
    audience: str
    due: datetime
    because: str
    state: Literal["due", "overdue", "done", "failed"]
    """`failed`: it was tried and did not get out; somebody has to call."""

    def left(self, now: datetime) -> timedelta:
        return self.due - now


def clocks(plan: Plan, incident: IncidentSeen, now: datetime) -> tuple[Clock, ...]:
    """Who must be told what, and when: the most urgent first, what is done last."""
    found = [clock for audience in plan.audiences.values() for clock in _of_audience(audience, incident, now)]
    if incident.recovered_at is not None:
        found += [
            _follow_up(f"follow-up, {one.name}", one.within.after(incident.recovered_at), now, one.within)
            for one in plan.after
        ]
        found += [
            _follow_up(f"post-mortem, {name}", within.after(incident.recovered_at), now, within)
            for name, within in plan.postmortem.items()
        ]
    return tuple(sorted(found, key=lambda clock: (clock.state == "done", clock.due)))


def next_internal(plan: Plan, incident: IncidentSeen, now: datetime) -> Clock | None:
    """The next internal update. None: the plan promises none, or it is over."""
    return next((c for c in clocks(plan, incident, now) if c.audience == "internal" and c.state != "done"), None)


def _of_audience(audience: Audience, incident: IncidentSeen, now: datetime) -> Iterable[Clock]:
    own = [(at, fact) for at, fact in incident.messages if fact.audience == audience.name]
    sent = [at for at, fact in own if fact.sent]
    if audience.within is not None:
        due = incident.at + audience.within
        because = f"within {exact(audience.within)} of the declaration" if audience.within else "at the declaration"
        first = "first notice"
        if sent:
            yield Clock(first, audience.name, due, f"sent at {say_moment(sent[0])}, {because}", "done")
        elif own:
            yield Clock(first, audience.name, due, f"not sent: {own[-1][1].why or 'no reason was given'}", "failed")
        else:
            yield Clock(first, audience.name, due, because, "overdue" if now > due else "due")
    if audience.every is not None and incident.recovered_at is None:
        due = (sent[-1] if sent else incident.at) + audience.every
        because = f"every {exact(audience.every)}"
        yield Clock("update", audience.name, due, because, "overdue" if now > due else "due")


def _follow_up(what: str, due: datetime, now: datetime, within: Period) -> Clock:
    because = f"within {within if within.months else exact(within.span)} of the recovery"
    return Clock(what.replace("_", " "), "team", due, because, "overdue" if now > due else "due")


def say_clock(clock: Clock, now: datetime) -> str:
    """`customers: first notice in 12 min (within 30 min of the declaration)`."""
    left, who = clock.left(now), clock.audience.replace("_", " ")
    match clock.state:
        case "done":
            return f"{who}: {clock.what} done ({clock.because})"
        case "failed":
            return f"{who}: {clock.what} did not get out ({clock.because})"
        case _ if left < timedelta():
            return f"{who}: {clock.what} overdue by {say_span(-left)} ({clock.because})"
        case _ if left == timedelta():
            return f"{who}: {clock.what} now ({clock.because})"
        case _:
            return f"{who}: {clock.what} in {say_span(left)} ({clock.because})"
