"""What is said to people: the reference document's own words, with the facts filled in.

A message has a subject and a body, in plain text. What is not known is said so: a customer forgives a long outage
sooner than a wrong promise.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.estimate import Estimate, Expected
from backstay.values import say_moment, say_span


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    body: str

    def __str__(self) -> str:
        return f"Subject: {self.subject}\n\n{self.body}"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the messages speak of."""

    company: str
    impact: str
    """What the people who are written to cannot do now."""
    declared: datetime
    expected: Expected
    """How long the recovery is expected to take, from the declaration."""
    next_update: datetime | None = None
    scenario: str = ""
    commander: str = ""


def emergency(situation: Situation) -> Message:
    """The first word to the team: all hands."""
    return Message(
        "DISASTER DECLARED",
        "DISASTER RECOVERY INITIATED\n\n"
        f"Scenario: {situation.scenario or 'not named'}\n"
        f"Declared: {say_moment(situation.declared)}\n"
        f"Estimated Recovery: {expected_at(situation)}\n"
        f"Incident Commander: {situation.commander or 'nobody has taken command yet'}\n\n"
        "All hands on deck.",
    )


def initial(situation: Situation) -> Message:
    """Within minutes of the declaration."""
    return Message(
        "[URGENT] Service Disruption - Disaster Recovery in Progress",
        f"We are currently experiencing a service disruption affecting {situation.impact}.\n\n"
        "Status: Disaster recovery procedures initiated\n"
        f"Estimated Recovery: {expected_at(situation)}\n"
        f"Next Update: {_next(situation)}\n\n"
        "Our team is working to restore service as quickly as possible. We apologize for the inconvenience.\n\n"
        f"- {situation.company} Operations Team",
    )


def update(situation: Situation, now: datetime, done: tuple[str, ...] = (), doing: str = "") -> Message:
    """While it goes on: what was done, what is being done, when the next word comes."""
    since = say_span(max(now - situation.declared, timedelta()))
    lines = "".join(f"- {one}\n" for one in done)
    return Message(
        "[UPDATE] Service Disruption - Disaster Recovery in Progress",
        f"The disruption affecting {situation.impact} goes on; recovery began {since} ago.\n\n"
        + (f"Done so far:\n{lines}\n" if lines else "")
        + (f"Now: {doing}\n" if doing else "")
        + f"Estimated Recovery: {expected_at(situation)}\n"
        f"Next Update: {_next(situation)}\n\n"
        f"- {situation.company} Operations Team",
    )


def resolved(
    situation: Situation, restored: datetime, cause: str, resolution: str, lost: str, postmortem: str = "48 hours"
) -> Message:
    """When it is over. What was lost is said, always: a closing note that leaves it out is read as a lie later."""
    return Message(
        "[RESOLVED] Service Restored",
        f"Service has been fully restored as of {say_moment(restored)}.\n\n"
        "All systems are operational and functioning normally. We have verified functionality through comprehensive "
        "testing.\n\n"
        "Incident Summary:\n"
        f"- Duration: {say_span(max(restored - situation.declared, timedelta()))}\n"
        f"- Cause: {cause or 'not known yet'}\n"
        f"- Resolution: {resolution}\n"
        f"- Data: {lost}\n\n"
        "We apologize for the disruption and appreciate your patience.\n\n"
        f"A detailed post-mortem will be published within {postmortem}.\n\n"
        f"- {situation.company} Operations Team",
    )


def expected_at(situation: Situation) -> str:
    """`about 22 min after the declaration, by 2026-11-22 12:22:00 UTC`; never a guess."""
    if isinstance(situation.expected, Estimate):
        by = say_moment(situation.declared + situation.expected.worst)
        return f"about {say_span(situation.expected.median)} from the declaration, by {by} at the latest seen so far"
    return "not known yet"


def _next(situation: Situation) -> str:
    return say_moment(situation.next_update) if situation.next_update else "as soon as we know more"
