"""Starting a run, and keeping two runs off one component.

What a run may touch it claims, in the one stream `claims`, by compare-and-append: of two runs one comes first, and the
other reads the first one's claim before it can append its own. A claim carries the number of the newest fact of its
run; it ends by itself with the first RunEnded after that number. So nothing has to be given back, a crash leaves no
claim behind, and a run that a person opens again claims anew. Runs that touch nothing (dry, tabletop) claim nothing.
Claims are by site: a drill in its sandbox never stands in the way of a recovery.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from backstay.engine.desk import stream_of
from backstay.errors import JournalConflict, RunBusy, Usage
from backstay.facts import (
    ComponentsClaimed,
    PersonAnswered,
    Recorded,
    RunCancelled,
    RunEnded,
    RunStarted,
    StepRetried,
    StepSkipped,
)
from backstay.machine import RunState, fold, refusal, unsound
from backstay.plan import Mode
from backstay.ports import Journal
from backstay.values import ComponentName, RunId, SiteName, StreamName, listed

CLAIMS = StreamName("claims")

PersonsFact = PersonAnswered | StepSkipped | StepRetried | RunCancelled


def start(journal: Journal, started: RunStarted) -> None:
    """Begin a run: freeze it, and claim its components. Raises RunBusy when an open run has one of them, Usage for a
    run that cannot be run."""
    if problem := unsound(started):
        raise Usage(f"run {started.run} cannot be run", detail=problem)
    refuse_if_busy(journal, started)
    stream = stream_of(started.run)
    try:
        journal.append(stream, [started], expected=0)
    except JournalConflict:
        raise Usage(f"there is a run {started.run} already", hint="`backstay resume` goes on with it") from None
    try:
        claim(journal, started)
    except RunBusy:
        # Somebody else came first, between our look and our claim. Nothing was done yet.
        end = [RunCancelled("backstay", "another run holds its components"), RunEnded("cancelled", "it never began")]
        journal.append(stream, end, expected=1)
        raise


def refuse_if_busy(journal: Journal, started: RunStarted) -> None:
    """Raises RunBusy when another open run has one of this run's components now: nothing is written."""
    if _touches(started):
        _refuse(journal, journal.read(CLAIMS), started)


def claim(journal: Journal, started: RunStarted) -> None:
    """Make sure that this open run holds its components. Raises RunBusy."""
    if not _touches(started):
        return
    while True:
        claims = journal.read(CLAIMS)
        if _holds(journal, claims, started):
            return
        _refuse(journal, claims, started)
        newest = journal.read(stream_of(started.run))[-1].seq
        fact = ComponentsClaimed(started.run, started.site, started.components, newest)
        try:
            journal.append(CLAIMS, [fact], expected=claims[-1].seq if claims else 0)
        except JournalConflict:
            continue
        return


def holder(journal: Journal, component: ComponentName) -> RunStarted | None:
    """The live run that has `component` now, at whatever site."""
    for found, _ in _held(journal, journal.read(CLAIMS)):
        if component in found.components and found.mode is Mode.LIVE:
            return found
    return None


def tell(journal: Journal, run: RunId, fact: PersonsFact) -> Recorded:
    """Record what a person decided about a run, driven or not. Raises Usage when it makes no sense there. Who may
    decide what is the caller's to check."""
    while True:
        facts = journal.read(stream_of(run))
        state = fold(facts)
        if why := refusal(state, [fact], state.at):
            raise Usage(f"that cannot be said of run {run} now", detail=why)
        try:
            return journal.append(stream_of(run), [fact], expected=state.seq)[0]
        except JournalConflict:
            continue


def open_runs(journal: Journal) -> list[RunState]:
    """Every run that has not ended, oldest first."""
    runs = [fold(journal.read(stream)) for stream in journal.streams("run/")]
    return sorted((run for run in runs if run.ended is None), key=lambda run: (run.started.declared, run.started.run))


# ── who holds what ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Claim:
    site: SiteName
    component: ComponentName
    run: RunId
    after: int


def _touches(started: RunStarted) -> bool:
    return bool(started.components) and started.mode in (Mode.LIVE, Mode.DRILL)


def _newest(claims: list[Recorded]) -> dict[tuple[SiteName, ComponentName], _Claim]:
    """The newest claim on each component: whoever made it saw that all earlier ones had ended."""
    newest: dict[tuple[SiteName, ComponentName], _Claim] = {}
    for recorded in claims:
        if isinstance(fact := recorded.fact, ComponentsClaimed):
            for component in fact.components:
                newest[fact.site, component] = _Claim(fact.site, component, fact.run, fact.after)
    return newest


def _ended(journal: Journal, claimed: _Claim) -> bool:
    facts = journal.read(stream_of(claimed.run), after=claimed.after)
    return any(isinstance(recorded.fact, RunEnded) for recorded in facts)


def _held(journal: Journal, claims: list[Recorded]) -> Iterator[tuple[RunStarted, _Claim]]:
    for claimed in _newest(claims).values():
        if not _ended(journal, claimed):
            started = journal.read(stream_of(claimed.run))[0].fact
            assert isinstance(started, RunStarted), "a run is started before it claims"
            yield started, claimed


def _holds(journal: Journal, claims: list[Recorded], started: RunStarted) -> bool:
    newest = _newest(claims)
    mine = [newest.get((started.site, component)) for component in started.components]
    return all(one is not None and one.run == started.run and not _ended(journal, one) for one in mine)


def _refuse(journal: Journal, claims: list[Recorded], started: RunStarted) -> None:
    """Raises RunBusy when another open run has one of this run's components."""
    wanted = set(started.components)
    taken = [
        (other, claimed)
        for other, claimed in _held(journal, claims)
        if claimed.site == started.site and claimed.component in wanted and other.run != started.run
    ]
    if taken:
        other = taken[0][0]
        raise RunBusy(
            f"run {other.run} has {listed(sorted(claimed.component for _, claimed in taken))}",
            detail=f"{other.title!r} was started by {other.by}, and has not ended",
            hint=f"`backstay resume {other.run}` goes on with it; to start another, end it: `backstay run cancel "
            f"{other.run} --by PERSON --reason WHY`, then resume",
        )
