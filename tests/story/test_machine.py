"""The state machine of a run, told as short stories: what was recorded, and what comes next."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backstay.adapters.memory.clock import BEGINNING
from backstay.errors import JournalDamaged, NoSuchRun
from backstay.facts import (
    CannotTell,
    DidNot,
    Driving,
    Ended,
    Happened,
    Impossible,
    Intended,
    Looked,
    Lost,
    Noted,
    Outcome,
    PersonAnswered,
    PersonAsked,
    Recorded,
    Released,
    RunCancelled,
    RunEnded,
    RunFact,
    RunStarted,
    Sight,
    StepRetried,
    StepSkipped,
    Succeeded,
    TryLater,
)
from backstay.machine import (
    TABLE,
    Act,
    BeginPause,
    Busy,
    Do,
    EndPause,
    Event,
    Finish,
    Judge,
    Look,
    Over,
    Put,
    RunState,
    State,
    WaitForPeople,
    WaitUntil,
    approval_words,
    decide,
    diagram,
    evolve,
    fold,
    listing,
    refusal,
    time_limit,
    unsound,
)
from backstay.plan import Approve, AskPerson, Mode, Preserve, Wait
from backstay.values import ComponentName, Digest, PersonName, StepId, StreamName
from fix_engine import run_of, step

SECOND = timedelta(seconds=1)
LEASE = Driving("a", 1, BEGINNING + 30 * SECOND)
ANN, BOB, CEM, STARTER = (PersonName(name) for name in ("ann", "bob", "cem", "starter"))
ROOT = Path(__file__).resolve().parents[2]


def told(*facts: RunFact, every: timedelta = SECOND) -> list[Recorded]:
    """Facts as the journal holds them, one a second."""
    none = Digest("")
    return [
        Recorded(StreamName("run/x"), seq, BEGINNING + (seq - 1) * every, fact, none, none)
        for seq, fact in enumerate(facts, 1)
    ]


def state_of(run: RunState, id: str) -> State:
    return run.steps[StepId(id)].state


def intended(id: str, attempt: int = 1, epoch: int = 1) -> Intended:
    return Intended(StepId(id), attempt, epoch)


def ended(id: str, outcome: Outcome, attempt: int = 1) -> Ended:
    return Ended(StepId(id), attempt, outcome, SECOND)


def looked(id: str, sight: Sight, attempt: int = 1) -> Looked:
    return Looked(StepId(id), attempt, sight)


def done(id: str) -> list[RunFact]:
    return [intended(id), ended(id, Succeeded("done"))]


def soon(run: RunState) -> datetime:
    return run.at + SECOND / 2


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def page() -> str:
    head, _, _ = (ROOT / PAGE).read_text().partition("<!-- drawn -->")
    return f"{head}<!-- drawn -->\n\n```mermaid\n{diagram()}\n```\n\n{listing()}\n"


PAGE = "docs/reference/run-states.md"


def test_the_page_shows_the_table_as_it_is() -> None:
    if os.environ.get("BACKSTAY_DRAW"):
        (ROOT / PAGE).write_text(page())
    assert (ROOT / PAGE).read_text() == page(), f"draw it anew: BACKSTAY_DRAW=1 pytest {Path(__file__).name}"


def test_every_state_and_every_event_is_used() -> None:
    assert {old for old, _ in TABLE} | set(TABLE.values()) == set(State)
    assert {event for _, event in TABLE} == set(Event)


def test_a_step_that_is_done_stays_done() -> None:
    assert not [old for old, _ in TABLE if old in (State.DONE, State.SKIPPED)]


def test_from_every_state_a_step_can_still_be_settled() -> None:
    reach = {State.DONE}
    while more := {old for (old, _), new in TABLE.items() if new in reach} - reach:
        reach |= more
    assert reach == set(State) - {State.SKIPPED}


# ── what comes next ──────────────────────────────────────────────────────────────────────────────

TWO = run_of([step("1.1-a")], [step("2.1-b")])
SIDE = run_of([step("1.1-a"), step("1.2-b", needs=["1.1-a"]), step("1.3-c", needs=["1.1-a"])], [step("2.1-d")])


def test_phases_are_in_order_and_steps_without_needs_follow_each_other() -> None:
    started = run_of([step("1.1-a"), step("1.2-b")], [step("2.1-c")])
    run = fold(told(started, LEASE))
    for id in ("1.1-a", "1.2-b", "2.1-c"):
        assert decide(run, soon(run)) == Do((Act(run.steps[StepId(id)].step, 1),))
        seq = run.seq
        for fact in done(id):
            seq += 1
            run = evolve(run, Recorded(StreamName("run/x"), seq, run.at, fact, Digest(""), Digest("")))
    assert decide(run, soon(run)) == Finish("recovered", "3 steps done")


def test_steps_whose_needs_are_met_go_side_by_side() -> None:
    run = fold(told(SIDE, LEASE, *done("1.1-a")))
    match decide(run, soon(run)):
        case Do(moves):
            assert [move.step.id for move in moves if isinstance(move, Act)] == ["1.2-b", "1.3-c"]
        case other:
            pytest.fail(f"{other}")


def test_the_next_phase_waits_for_every_step_of_this_one() -> None:
    run = fold(told(SIDE, LEASE, *done("1.1-a"), *done("1.2-b"), intended("1.3-c")))
    assert decide(run, soon(run)) == Busy(None)


def test_a_failed_step_stops_the_run_after_its_running_siblings_have_ended() -> None:
    facts = [SIDE, LEASE, *done("1.1-a"), intended("1.2-b"), intended("1.3-c"), ended("1.2-b", Impossible("no", 31))]
    run = fold(told(*facts))
    assert decide(run, soon(run)) == Busy(None)
    run = fold(told(*facts, ended("1.3-c", Succeeded("done"))))
    assert decide(run, soon(run)) == Finish("failed", "1.2-b: no")
    assert run.steps[StepId("1.2-b")].code == 31


def test_try_later_rests_twice_as_long_each_time_and_then_fails() -> None:
    facts: list[RunFact] = [run_of([step("1.1-a", retries=3)]), LEASE]
    rests: list[timedelta] = []
    for attempt in (1, 2, 3):
        facts += [intended("1.1-a", attempt), ended("1.1-a", TryLater(4 * SECOND, "busy"), attempt)]
        run = fold(told(*facts))
        match decide(run, run.at):
            case WaitUntil(until):
                rests.append(until - run.at)
                assert decide(run, until) == Do((Act(run.steps[StepId("1.1-a")].step, attempt + 1),))
            case other:
                pytest.fail(f"{other}")
    assert rests == [4 * SECOND, 8 * SECOND, 16 * SECOND]
    run = fold(told(*facts, intended("1.1-a", 4), ended("1.1-a", TryLater(4 * SECOND, "busy"), 4)))
    assert decide(run, run.at) == Finish("failed", "1.1-a: busy")


def test_a_rest_is_never_shorter_than_asked_for_and_grows_to_five_minutes() -> None:
    started = run_of([step("1.1-a", retries=20)])
    facts: list[RunFact] = [started, LEASE]
    for attempt in range(1, 15):
        facts += [intended("1.1-a", attempt), ended("1.1-a", TryLater(SECOND, "busy"), attempt)]
    run = fold(told(*facts))
    assert decide(run, run.at) == WaitUntil(run.at + timedelta(minutes=5))
    run = fold(told(*facts, intended("1.1-a", 15), ended("1.1-a", TryLater(timedelta(hours=1), "quota"), 15)))
    assert decide(run, run.at) == WaitUntil(run.at + timedelta(hours=1))


# ── what is unsure ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [Driving("b", 2, BEGINNING + 90 * SECOND), Released("a", 1)])
def test_what_a_driver_left_is_looked_at_before_anything_else(left: RunFact) -> None:
    run = fold(told(SIDE, LEASE, *done("1.1-a"), intended("1.2-b"), left))
    assert decide(run, soon(run)) == Do((Look(run.steps[StepId("1.2-b")].step, 1),))


@pytest.mark.parametrize(
    ("sight", "state"),
    [
        (Happened("there", {"port": "5432"}), State.DONE),
        (DidNot("not there"), State.WAITING),
        (CannotTell("no answer"), State.IN_DOUBT),
    ],
)
def test_a_look_after_a_crash(sight: Sight, state: State) -> None:
    run = fold(
        told(TWO, LEASE, intended("1.1-a"), Released("a", 1), Driving("b", 2, BEGINNING), looked("1.1-a", sight))
    )
    assert state_of(run, "1.1-a") is state
    assert run.steps[StepId("1.1-a")].tries == 0, "a driver that died is not the step's fault"


def test_a_repeatable_step_that_cannot_be_looked_at_is_done_again() -> None:
    started = run_of([step("1.1-a", repeatable=True)])
    run = fold(told(started, LEASE, intended("1.1-a"), Released("a", 1), LEASE2, looked("1.1-a", CannotTell("blind"))))
    assert decide(run, soon(run)) == Do((Act(run.steps[StepId("1.1-a")].step, 2),))


LEASE2 = Driving("b", 2, BEGINNING + 90 * SECOND)


def test_being_lost_over_and_over_comes_to_an_end() -> None:
    facts: list[RunFact] = [run_of([step("1.1-a", retries=1)]), LEASE]
    for attempt in (1, 2):
        facts += [intended("1.1-a", attempt), ended("1.1-a", Lost("no answer"), attempt)]
        facts += [looked("1.1-a", DidNot("not there"), attempt)]
    assert state_of(fold(told(*facts[:-3])), "1.1-a") is State.RESTING
    assert state_of(fold(told(*facts)), "1.1-a") is State.FAILED


def test_what_cannot_be_looked_at_becomes_a_question_to_a_person() -> None:
    facts = [TWO, LEASE, intended("1.1-a"), ended("1.1-a", Lost("x")), looked("1.1-a", CannotTell("blind"))]
    run = fold(told(*facts))
    match decide(run, soon(run)):
        case Do((Put(step=step, who=who, question=question),)):
            assert (step, who) == ("1.1-a", (STARTER,))
            assert "blind" in question
        case other:
            pytest.fail(f"{other}")
    asked = PersonAsked(StepId("1.1-a"), (STARTER,), "Did it happen?", "n1")
    run = fold(told(*facts, asked))
    assert decide(run, soon(run)) == WaitForPeople((asked,))
    for answer, state in (("happened", State.DONE), ("did-not", State.WAITING), ("perhaps", State.IN_DOUBT)):
        said = PersonAnswered(StepId("1.1-a"), BOB, answer, "claimed")
        assert state_of(fold(told(*facts, asked, said)), "1.1-a") is state


def test_the_damaged_state_is_never_kept_at_the_price_of_the_recovery() -> None:
    started = run_of([step("1.1-keep", Preserve(ComponentName("database")), retries=0)], [step("2.1-b")])
    for end in (Impossible("no room"), TryLater(SECOND, "busy")):
        run = fold(told(started, LEASE, intended("1.1-keep"), ended("1.1-keep", end)))
        assert state_of(run, "1.1-keep") is State.SKIPPED
        assert decide(run, soon(run)) == Do((Act(run.steps[StepId("2.1-b")].step, 1),))
    required = run_of([step("1.1-keep", Preserve(ComponentName("database"), required=True))])
    run = fold(told(required, LEASE, intended("1.1-keep"), ended("1.1-keep", Impossible("no room"))))
    assert state_of(run, "1.1-keep") is State.FAILED
    assert time_limit(required.phases[0].steps[0]) == timedelta(minutes=3)


# ── people ───────────────────────────────────────────────────────────────────────────────────────

GATED = run_of([step("1.1-gate", Approve("Go on?", (ANN, BOB, CEM, STARTER), needed=2))], [step("2.1-b")])
ASKED = PersonAsked(StepId("1.1-gate"), (ANN, BOB, CEM, STARTER), "Go on?", "nonce", 2)


def said(who: PersonName, answer: str = "yes", standing: str = "signed", reason: str = "") -> PersonAnswered:
    return PersonAnswered(StepId("1.1-gate"), who, answer, standing, reason, f"signed by {who}")  # pyright: ignore[reportArgumentType]


def signs(words: bytes, answered: PersonAnswered) -> bool:
    """Everybody but Cem can sign."""
    assert words == approval_words(GATED, ASKED, answered.answer)
    return answered.who != CEM and answered.signature == f"signed by {answered.who}"


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([said(ANN)], None),
        ([said(ANN), said(BOB)], "yes"),
        ([said(ANN), said(ANN)], None),
        ([said(ANN), said(STARTER)], None),
        ([said(ANN), said(PersonName("mallory"))], None),
        ([said(ANN), said(CEM)], None),
        ([said(ANN), said(BOB, standing="claimed")], None),
        ([said(ANN), said(BOB, standing="break-glass")], None),
        ([said(ANN), said(BOB, standing="break-glass", reason="nobody else is awake")], "yes"),
        ([said(ANN), said(STARTER, standing="break-glass", reason="alone")], None),
        ([said(ANN), said(ANN, "no")], "no"),
        ([said(BOB, "no", standing="claimed")], None),
        ([said(ANN, "maybe"), said(ANN), said(BOB)], "yes"),
    ],
)
def test_an_approval_needs_enough_distinct_people_who_count(
    answers: Sequence[PersonAnswered], verdict: str | None
) -> None:
    run = fold(told(GATED, LEASE, ASKED, *answers))
    assert state_of(run, "1.1-gate") is State.ASKING
    match decide(run, soon(run), signs):
        case Do((Judge("1.1-gate", 1, Succeeded()),)):
            assert verdict == "yes"
        case Do((Judge("1.1-gate", 1, Impossible(code=63)),)):
            assert verdict == "no"
        case other:
            assert (other, verdict) == (WaitForPeople((ASKED,)), None)


def test_without_somebody_to_check_them_no_signature_holds() -> None:
    run = fold(told(GATED, LEASE, ASKED, said(ANN), said(BOB)))
    assert decide(run, soon(run)) == WaitForPeople((ASKED,))


def test_what_was_judged_stays_so_whatever_becomes_of_the_keys() -> None:
    yes = Succeeded("ann said yes", {"answer": "yes"})
    run = fold(told(GATED, LEASE, ASKED, said(ANN), said(BOB), ended("1.1-gate", yes)))
    assert state_of(run, "1.1-gate") is State.DONE
    assert decide(run, soon(run)) == Do((Act(run.steps[StepId("2.1-b")].step, 1),))


def test_an_answer_is_a_value_for_later_steps() -> None:
    started = run_of([step("1.1-ask", AskPerson("How many rows?", (ANN,)))])
    asked = PersonAsked(StepId("1.1-ask"), (ANN,), "How many rows?", "n")
    run = fold(told(started, LEASE, asked, PersonAnswered(StepId("1.1-ask"), BOB, "3", "claimed")))
    assert decide(run, soon(run)) == WaitForPeople((asked,))
    run = fold(told(started, LEASE, asked, PersonAnswered(StepId("1.1-ask"), ANN, "4", "claimed")))
    values = {"answer": "4", "by": "ann"}
    assert decide(run, soon(run)) == Do(
        (Judge(StepId("1.1-ask"), 1, Succeeded("ann said 4 (claimed)", values), BEGINNING + 2 * SECOND),)
    )


def test_in_a_dry_run_nobody_is_asked_and_nothing_is_waited_for() -> None:
    started = run_of([step("1.1-gate", Approve("Go on?", (ANN,)))], [step("2.1-w", Wait(3600 * SECOND))], mode=Mode.DRY)
    run = fold(told(started, LEASE))
    assert decide(run, soon(run)) == Do((Act(started.phases[0].steps[0], 1),))
    run = fold(told(started, LEASE, *done("1.1-gate")))
    assert decide(run, soon(run)) == Do((Act(started.phases[1].steps[0], 1),))


def test_a_refusal_can_be_asked_again() -> None:
    facts = [GATED, LEASE, ASKED, said(ANN, "no"), ended("1.1-gate", Impossible("refused: ann said no", 63))]
    run = fold(told(*facts))
    assert decide(run, soon(run)) == Finish("failed", "1.1-gate: refused: ann said no")
    run = fold(told(*facts, StepRetried(StepId("1.1-gate"), BOB, "she changed her mind")))
    assert decide(run, soon(run)) == Do((Put(StepId("1.1-gate"), ASKED.who, "Go on?", 2),))


# ── waiting, skipping, retrying, cancelling ──────────────────────────────────────────────────────


def test_a_wait_lets_time_pass_whoever_drives() -> None:
    started = run_of([step("1.1-w", Wait(60 * SECOND))])
    run = fold(told(started, LEASE))
    assert decide(run, soon(run)) == Do((BeginPause(StepId("1.1-w"), 1),))
    run = fold(told(started, LEASE, intended("1.1-w"), Released("a", 1), LEASE2))
    began = BEGINNING + 2 * SECOND
    assert decide(run, run.at) == WaitUntil(began + 60 * SECOND)
    assert decide(run, began + 60 * SECOND) == Do((EndPause(StepId("1.1-w"), 1, began),))


def test_a_person_may_skip_what_failed_or_waits_but_not_what_is_acting() -> None:
    skip = StepSkipped(StepId("1.1-a"), ANN, "done by hand")
    for facts in ([], [intended("1.1-a"), ended("1.1-a", Impossible("no"))]):
        run = fold(told(TWO, LEASE, *facts, skip))
        assert decide(run, soon(run)) == Do((Act(run.steps[StepId("2.1-b")].step, 1),))
    run = fold(told(TWO, LEASE, intended("1.1-a")))
    assert refusal(run, [skip], run.at) == "a step that is acting cannot be 'skipped by a person' (1.1-a)"


def test_a_failed_run_goes_on_when_a_person_has_its_step_retried() -> None:
    facts = [TWO, LEASE, intended("1.1-a"), ended("1.1-a", Impossible("no")), RunEnded("failed", "1.1-a: no")]
    assert decide(fold(told(*facts)), BEGINNING) == Over()
    run = fold(told(*facts, Released("a", 1), StepRetried(StepId("1.1-a"), ANN, "made room")))
    assert run.ended is None
    assert decide(run, soon(run)) == Do((Act(run.steps[StepId("1.1-a")].step, 2),))
    run = fold(told(*facts))
    assert refusal(run, [StepRetried(StepId("2.1-b"), ANN, "why not")], run.at) is not None


def test_a_cancelled_run_looks_at_what_is_unsure_and_ends() -> None:
    stop = RunCancelled(ANN, "a false alarm")
    run = fold(told(TWO, LEASE, intended("1.1-a"), stop))
    assert decide(run, soon(run)) == Busy(None)
    run = fold(told(TWO, LEASE, intended("1.1-a"), stop, ended("1.1-a", Lost("stopped"))))
    assert isinstance(decide(run, soon(run)), Do)
    for sight in (DidNot("no"), CannotTell("blind"), Happened("yes")):
        run = fold(told(TWO, LEASE, intended("1.1-a"), stop, ended("1.1-a", Lost("s")), looked("1.1-a", sight)))
        assert decide(run, soon(run)) == Finish("cancelled", "ann: a false alarm")


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────

DAMAGE: dict[str, list[RunFact]] = {
    "it does not begin": [LEASE],
    "it begins twice": [TWO, TWO],
    "nobody drives": [TWO, intended("1.1-a")],
    "another epoch": [TWO, LEASE, intended("1.1-a", epoch=2)],
    "an attempt left out": [TWO, LEASE, intended("1.1-a", attempt=2)],
    "an end without an intent": [TWO, LEASE, ended("1.1-a", Succeeded("done"))],
    "two ends": [TWO, LEASE, *done("1.1-a"), ended("1.1-a", Succeeded("done"))],
    "a step of another run": [TWO, LEASE, intended("9.9-z")],
    "an epoch left out": [TWO, LEASE, Driving("b", 3, BEGINNING)],
    "an epoch that two have": [TWO, LEASE, Driving("b", 1, BEGINNING)],
    "a lease given back by another": [TWO, LEASE, Released("b", 1)],
    "recovered too soon": [TWO, LEASE, *done("1.1-a"), RunEnded("recovered", "")],
    "ended while acting": [TWO, LEASE, intended("1.1-a"), RunCancelled(ANN, ""), RunEnded("cancelled", "")],
    "failed without a failure": [TWO, LEASE, RunEnded("failed", "")],
    "cancelled by nobody": [TWO, LEASE, RunEnded("cancelled", "")],
    "going on after the end": [run_of([step("1.1-a")]), LEASE, *done("1.1-a"), RunEnded("recovered", ""), LEASE],
    "an answer that nobody asked for": [GATED, LEASE, said(ANN)],
    "asked twice": [GATED, LEASE, ASKED, ASKED],
    "cancelled twice": [TWO, RunCancelled(ANN, ""), RunCancelled(BOB, "")],
}


@pytest.mark.parametrize("story", DAMAGE)
def test_a_fact_that_cannot_follow_is_damage(story: str) -> None:
    facts = told(*DAMAGE[story])
    with pytest.raises(JournalDamaged, match=f"fact {len(facts)} of run/x cannot follow"):
        fold(facts)


def test_a_fact_that_is_no_fact_of_a_run_or_is_missing_is_damage() -> None:
    stranger = told(TWO)[0]
    with pytest.raises(JournalDamaged):
        fold([*told(TWO), Recorded(stranger.stream, 2, BEGINNING, Noted("x", "y"), Digest(""), Digest(""))])
    with pytest.raises(JournalDamaged, match="fact 3"):
        fold([*told(TWO), told(TWO, LEASE, LEASE)[2]])
    with pytest.raises(NoSuchRun):
        fold([])


UNSOUND: dict[str, RunStarted] = {
    "two steps of one id": run_of([step("1.1-a"), step("1.1-a")]),
    "a step without an id": run_of([step("")]),
    "an unknown need": run_of([step("1.1-a", needs=["1.9-z"])]),
    "a need of a later phase": run_of([step("1.1-a", needs=["2.1-b"])], [step("2.1-b")]),
    "a circle": run_of([step("1.1-a", needs=["1.2-b"]), step("1.2-b", needs=["1.1-a"])]),
}


@pytest.mark.parametrize("story", UNSOUND)
def test_steps_that_can_never_all_be_reached_are_no_run(story: str) -> None:
    assert unsound(UNSOUND[story]) is not None


def test_a_need_may_stand_later_in_its_phase() -> None:
    assert unsound(run_of([step("1.1-a"), step("1.2-b", needs=["1.3-c"]), step("1.3-c", needs=["1.1-a"])])) is None
