"""Facts as lines of a timeline: one sentence each, and whether a machine or a person wrote it.

Leases and routine beginnings are left out: they say who drives, not what happened. Everything else is said, in the
order in which it was recorded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from backstay.facts import (
    AnswerGiven,
    CannotTell,
    CheckSeen,
    CommandTaken,
    ComponentsClaimed,
    DidNot,
    DisasterDeclared,
    Driving,
    Ended,
    Fact,
    GapAcknowledged,
    Happened,
    HoldPlaced,
    Impossible,
    Intended,
    JournalOpened,
    LineageBegan,
    LogKept,
    Looked,
    Lost,
    MessageSent,
    Noted,
    NotVerified,
    PersonAnswered,
    PersonAsked,
    PlanAdopted,
    PointCopied,
    PointEnded,
    PointMissing,
    PointTaken,
    ProofGiven,
    Proven,
    Recorded,
    RecoveryDeclared,
    Refuted,
    Released,
    RoutineBegan,
    RoutineFailed,
    RunAttached,
    RunCancelled,
    RunEnded,
    RunFact,
    RunStarted,
    SearchBegan,
    SearchEnded,
    StepRetried,
    StepSkipped,
    Succeeded,
    TryLater,
    Verdict,
)
from backstay.incident import say_between
from backstay.lsn import say_lsn
from backstay.review.tree import Table
from backstay.values import count, listed, say_moment, say_size, say_span
from backstay.verify import content, late, mending


@dataclass(frozen=True, slots=True)
class Entry:
    at: datetime
    what: str
    by: str
    """A person, or `Backstay`."""


MACHINE = "Backstay"


def timeline(facts: Iterable[Recorded]) -> tuple[Entry, ...]:
    """One entry for every fact that tells something, in order."""
    entries: list[Entry] = []
    for recorded in facts:
        told = entry(recorded.fact)
        if told is not None:
            entries.append(Entry(recorded.at, *told))
    return tuple(entries)


def table(entries: Iterable[Entry], caption: str = "Timeline, times in UTC") -> Table:
    rows = tuple((say_moment(one.at).removesuffix(" UTC"), one.what, one.by) for one in entries)
    return Table(caption, ("When", "What", "By"), rows, "Nothing was recorded.")


def entry(fact: Fact) -> tuple[str, str] | None:
    """What happened, and who says so. None: it tells nothing."""
    if isinstance(fact, RunFact):
        return _of_a_run(fact)
    match fact:
        case PlanAdopted(digest, by=by):
            return f"The plan {digest[:19]}… was adopted", str(by)
        case JournalOpened(epoch, host=host, witness=witness):
            seen = f"witnessed by {witness}" if witness else "no vault could witness it"
            return f"The journal was opened on {host} as epoch {epoch}; {seen}", MACHINE
        case RoutineBegan() | RunAttached() | ComponentsClaimed():
            return None
        case PointTaken(point=point, took=took, vault=vault):
            stored = f"{say_size(point.size_bytes)}, {say_size(point.stored_bytes)} stored in {vault}"
            return f"Recovery point {point.id} of {point.component} taken in {say_span(took)} ({stored})", MACHINE
        case ProofGiven():
            return _proof(fact), MACHINE
        case PointCopied(source=source, to=to, point=id, moved_bytes=moved, took=took):
            moved_said = f"{say_size(moved)} in {say_span(took)}"
            return f"Recovery point {id} copied from {source} to {to} ({moved_said})", MACHINE
        case RoutineFailed(why=why):
            return f"A backup, proof or copy came to nothing: {_first(why)}", MACHINE
        case SearchBegan(question=question, expect=expect, by=by):
            return f"The last known good is looked for: {_first(question)} should be {expect}", str(by)
        case AnswerGiven(point=point, at=at, verdict=verdict, said=said):
            word = {Verdict.PASSED: "right", Verdict.FAILED: "wrong"}.get(verdict, "not verified")
            until = f" at {say_moment(at)}" if at else ""
            return f"Recovery point {point}{until} was asked: {word}, {_first(said)}", MACHINE
        case SearchEnded(said=said):
            return f"The search has ended: {_first(said)}", MACHINE
        case PointMissing(vault, point):
            return f"ALARM: the vault {vault} does not have the recovery point {point}", MACHINE
        case LogKept(vaults, _, _, end, until):
            where = f" in {listed(map(str, vaults))}" if vaults else ""
            return f"The log is kept{where} up to {end}: all that was written by {say_moment(until)}", MACHINE
        case PointEnded(vault, point, why, by):
            return f"Recovery point {point} ended in {vault}: {_first(why)}", str(by)
        case HoldPlaced(hold=hold):
            what = "released" if hold.kind == "released" else f"marked {hold.kind}"
            return f"Recovery point {hold.point} {what}: {hold.reason}", str(hold.by)
        case GapAcknowledged(timeline=timeline, start=start, end=end, by=by, reason=reason):
            missing = f"{say_lsn(start)} to {say_lsn(end)} on timeline {timeline}"
            return f"It is known that log is missing, {missing}: {_first(reason)}", str(by)
        case LineageBegan(component, origin=origin):
            return f"The history of {component} goes on from the point {origin}, on a new line", MACHINE
        case CheckSeen(check, colour, why=why):
            return f"Smoke check {check} is {colour}" + (f": {_first(why)}" if why else ""), MACHINE
        case _:
            return _of_an_incident(fact)


_OfAnIncident = DisasterDeclared | CommandTaken | MessageSent | Noted | RecoveryDeclared


def _of_an_incident(fact: _OfAnIncident) -> tuple[str, str]:
    match fact:
        case DisasterDeclared(scenario=scenario, by=by, standing=standing, criteria=criteria, disaster=disaster):
            met = f"; criteria: {listed(criteria)}" if criteria else ""
            reason = f"; reason: {fact.reason}" if fact.reason else ""
            struck = f"; it struck {say_between(disaster)}" if disaster else ""
            return f"Disaster declared: {scenario} ({standing}){met}{reason}{struck}", str(by)
        case CommandTaken(by, before):
            return f"{by} took command" + (f" from {before}" if before else ""), str(by)
        case MessageSent(audience, template, sent=sent, why=why):
            if sent:
                return f"Message to {audience}: {template}", MACHINE
            return f"Message to {audience} ({template}) did not get out: {why}", MACHINE
        case Noted(by, text):
            return text, str(by)
        case RecoveryDeclared(by, summary):
            return "Recovery declared complete" + (f": {summary}" if summary else ""), str(by)
        case _:
            assert_never(fact)


def _of_a_run(fact: RunFact) -> tuple[str, str] | None:
    match fact:
        case RunStarted(title=title, mode=mode, by=by, run=run):
            return f"Run {run} started: {title} ({mode.value})", str(by)
        case Driving() | Released():
            return None
        case Intended(step, attempt):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"{step}: began{again}", MACHINE
        case Ended():
            return _ended(fact), MACHINE
        case Looked(step, sight=sight):
            match sight:
                case Happened(saw):
                    return f"{step}: looked, and it had happened: {saw}", MACHINE
                case DidNot(saw):
                    return f"{step}: looked, and it had not happened: {saw}", MACHINE
                case CannotTell(why):
                    return f"{step}: looked, and could not tell: {why}", MACHINE
                case _:
                    assert_never(sight)
        case RunEnded(result, why):
            return f"Run ended: {result}" + (f" ({_first(why)})" if why else ""), MACHINE
        case _:
            return _by_people(fact)


def _by_people(
    fact: PersonAsked | PersonAnswered | StepSkipped | StepRetried | RunCancelled,
) -> tuple[str, str]:
    match fact:
        case PersonAsked(step, who, question):
            return f"{step}: asked {listed(who, 'or')}: {question}", MACHINE
        case PersonAnswered(step, who, answer, standing, reason):
            why = f"; reason: {reason}" if reason else ""
            return f"{step}: answered {answer!r} ({standing}){why}", str(who)
        case StepSkipped(step, by, reason):
            return f"{step}: skipped: {reason}", str(by)
        case StepRetried(step, by, reason):
            return f"{step}: to be tried again: {reason}", str(by)
        case RunCancelled(by, reason):
            return f"Run cancelled: {reason}", str(by)
        case _:
            assert_never(fact)


def _ended(fact: Ended) -> str:
    match fact.outcome:
        case Succeeded(saw):
            return f"{fact.step}: done in {say_span(fact.took)}: {saw}"
        case TryLater(after, why):
            return f"{fact.step}: to be tried again after {say_span(after)}: {_first(why)}"
        case Impossible(why):
            return f"{fact.step}: failed: {_first(why)}"
        case Lost(asked):
            return f"{fact.step}: asked, and never heard back: {asked}"
        case _:
            assert_never(fact.outcome)


def _proof(fact: ProofGiven) -> str:
    proof = fact.proof
    checks = count(len(proof.checks), "check")
    match content(proof):
        case Proven():
            said = f"proven ({checks})" + (f", but not in time: {'; '.join(late(proof))}" if late(proof) else "")
            said += f", and to be looked at: {'; '.join(mending(proof))}" if mending(proof) else ""
        case Refuted(why):
            said = f"REFUTED: {why}"
        case NotVerified(why):
            said = f"not verified: {why}"
    return f"Recovery point {proof.point} of {proof.component} {said}"


def _first(text: str) -> str:
    """The first line of an error: the rest is in the run's report."""
    return text.splitlines()[0] if text else "no reason was given"
