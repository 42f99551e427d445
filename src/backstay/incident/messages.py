"""What is said to people: the reference document's own words, with the facts filled in.

A message has a subject and a body, in plain text. What is not known is said so: a customer forgives a long outage
sooner than a wrong promise.
"""

from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Blanks:
    """What a message has in its blanks. As it stands: the template that a document prints."""

    company: str = "[Your Company]"
    impact: str = "[describe impact]"
    scenario: str = "[disaster type]"
    commander: str = "[name]"
    declared: str = "[time]"
    expected: str = "[time]"
    next_update: str = "[time]"
    restored: str = "[time]"
    duration: str = "[how long]"
    cause: str = "[brief description]"
    resolution: str = "[what was done]"
    lost: str = "[what was lost, or that nothing was]"
    published: str = "48 hours"


def filled(of: Situation) -> Blanks:
    return Blanks(
        company=of.company,
        impact=of.impact,
        scenario=of.scenario or "not named",
        commander=of.commander or "nobody has taken command yet",
        declared=say_moment(of.declared),
        expected=expected_at(of),
        next_update=say_moment(of.next_update) if of.next_update else "as soon as we know more",
    )


def emergency(of: Situation | Blanks) -> Message:
    """The first word to the team: all hands."""
    has = of if isinstance(of, Blanks) else filled(of)
    return Message(
        "DISASTER DECLARED",
        "DISASTER RECOVERY INITIATED\n\n"
        f"Scenario: {has.scenario}\n"
        f"Declared: {has.declared}\n"
        f"Estimated Recovery: {has.expected}\n"
        f"Incident Commander: {has.commander}\n\n"
        "All hands on deck.",
    )


def initial(of: Situation | Blanks) -> Message:
    """Within minutes of the declaration."""
    has = of if isinstance(of, Blanks) else filled(of)
    return Message(
        "[URGENT] Service Disruption - Disaster Recovery in Progress",
        f"We are currently experiencing a service disruption affecting {has.impact}.\n\n"
        "Status: Disaster recovery procedures initiated\n"
        f"Estimated Recovery: {has.expected}\n"
        f"Next Update: {has.next_update}\n\n"
        "Our team is working to restore service as quickly as possible. We apologize for the inconvenience.\n\n"
        f"- {has.company} Operations Team",
    )


def update(of: Situation | Blanks, now: datetime | None, done: tuple[str, ...] = (), doing: str = "") -> Message:
    """While it goes on: what was done, what is being done, when the next word comes."""
    has = of if isinstance(of, Blanks) else filled(of)
    since = ""
    if isinstance(of, Situation) and now is not None:
        since = f"; recovery began {say_span(max(now - of.declared, timedelta()))} ago"
    lines = "".join(f"- {one}\n" for one in done)
    return Message(
        "[UPDATE] Service Disruption - Disaster Recovery in Progress",
        f"The disruption affecting {has.impact} goes on{since}.\n\n"
        + (f"Done so far:\n{lines}\n" if lines else "")
        + (f"Now: {doing}\n" if doing else "")
        + f"Estimated Recovery: {has.expected}\n"
        f"Next Update: {has.next_update}\n\n"
        f"- {has.company} Operations Team",
    )


def restored(of: Situation, at: datetime, cause: str, resolution: str, lost: str) -> Blanks:
    """The blanks of the closing message. What is not known is said so."""
    return replace(
        filled(of),
        restored=say_moment(at),
        duration=say_span(max(at - of.declared, timedelta())),
        cause=cause or "not known yet",
        resolution=resolution or "not written down yet",
        lost=lost or "not verified",
    )


def resolved(has: Blanks) -> Message:
    """When it is over. What was lost is said, always: a closing note that leaves it out is read as a lie later."""
    return Message(
        "[RESOLVED] Service Restored",
        f"Service has been fully restored as of {has.restored}.\n\n"
        "All systems are operational and functioning normally. We have verified functionality through comprehensive "
        "testing.\n\n"
        "Incident Summary:\n"
        f"- Duration: {has.duration}\n"
        f"- Cause: {has.cause}\n"
        f"- Resolution: {has.resolution}\n"
        f"- Data lost: {has.lost}\n\n"
        "We apologize for the disruption and appreciate your patience.\n\n"
        f"A detailed post-mortem will be published within {has.published}.\n\n"
        f"- {has.company} Operations Team",
    )


def expected_at(situation: Situation) -> str:
    """`about 22 min from the declaration, by 2026-11-22 12:31:00 UTC at worst`; never a guess."""
    if isinstance(situation.expected, Estimate):
        by = say_moment(situation.declared + situation.expected.worst)
        return f"about {say_span(situation.expected.median)} from the declaration, by {by} at worst"
    return "not known yet"
