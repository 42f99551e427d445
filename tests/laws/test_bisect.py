"""Laws of the search for the last known good: the boundary is exact, the price is a logarithm, nothing is made up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backstay.facts import Verdict
from backstay.verify.bisect import (
    MOST_DARK,
    Ask,
    Ended,
    Found,
    Moments,
    NeverRight,
    NothingAsked,
    StillRight,
    following,
    middle,
    most,
    turned,
)

RIGHT, WRONG, DARK = Verdict.PASSED, Verdict.FAILED, Verdict.NOT_VERIFIED


def searched(truth: Sequence[Verdict], known: Sequence[Verdict | None] = ()) -> tuple[Ended, list[Verdict | None], int]:
    """The result, every answer that is known at the end, and how many were asked for."""
    given: list[Verdict | None] = list(known) or [None] * len(truth)
    asked = 0
    while isinstance(step := following(given), Ask):
        assert given[step.place] is None, "nothing is asked twice"
        given[step.place] = truth[step.place]
        asked += 1
        assert asked <= len(truth)
    return step, given, asked


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_history_that_changed_once_gives_the_exact_boundary(right: int, wrong: int) -> None:
    truth = [RIGHT] * right + [WRONG] * wrong
    found, _, asked = searched(truth)
    assert asked <= most(len(truth))
    if right and wrong:
        assert found == Found(right - 1, right)
    elif right:
        assert found == StillRight(right - 1)
    elif wrong:
        assert found == NeverRight(0, wrong - 1)
    else:
        assert found == NothingAsked()


def test_the_price_is_a_logarithm() -> None:
    assert [most(n) for n in (0, 1, 2, 3, 4, 8, 30, 32, 33, 1000)] == [0, 1, 2, 3, 4, 5, 7, 7, 8, 12]
    for right in range(1, 30):
        found, _, asked = searched([RIGHT] * right + [WRONG] * (30 - right))
        assert found == Found(right - 1, right)
        assert asked <= 7


@given(st.integers(0, 40), st.integers(0, 40), st.data())
def test_what_gives_no_answer_is_stepped_beside(right: int, wrong: int, data: st.DataObject) -> None:
    truth = [RIGHT] * right + [WRONG] * wrong
    dark = data.draw(st.sets(st.integers(0, max(0, len(truth) - 1)), max_size=len(truth)))
    truth = [DARK if place in dark else verdict for place, verdict in enumerate(truth)]
    found, given, asked = searched(truth)
    assert asked <= most(len(truth)) + given.count(DARK)
    match found:
        case Found(good, bad, between, turned):
            assert (truth[good], truth[bad]) == (RIGHT, WRONG)
            assert {truth[place] for place in between} <= {DARK}
            assert between == tuple(range(good + 1, bad))
            assert turned == ()
        case StillRight(good, newer, _):
            assert truth[good] is RIGHT
            assert not newer or truth[good + 1] is DARK
            assert WRONG not in given
        case NeverRight(oldest, newest):
            assert truth[oldest] is truth[newest] is WRONG
            assert RIGHT not in truth, "a history that changed once, and whose oldest answer is wrong"
        case NothingAsked():
            assert set(truth) <= {DARK}


def test_a_newest_half_that_does_not_come_up_costs_no_restore_for_each_point_of_it() -> None:
    found, _, asked = searched([RIGHT] * 50 + [DARK] * 50)
    assert found == StillRight(49, tuple(range(50, 100)))
    assert asked <= 2 * most(100)


verdicts = st.lists(st.sampled_from([RIGHT, WRONG, DARK]), max_size=40)


@given(verdicts)
def test_whatever_the_history_what_is_said_was_seen(truth: list[Verdict]) -> None:
    found, given, asked = searched(truth)
    assert asked <= 2 * most(len(truth)) + given.count(DARK)
    match found:
        case Found(good, bad, between, turns):
            assert (given[good], given[bad]) == (RIGHT, WRONG)
            assert all(given[place] is DARK for place in between)
            assert RIGHT not in given[good + 1 :], "the newest right answer that is known"
            assert turns == turned(given)
        case StillRight(good, _, turns):
            assert given[good] is RIGHT
            assert turns == turned(given)
            assert not {RIGHT, WRONG} & set(given[good + 1 :])
        case NeverRight(oldest, newest):
            assert given[oldest] is given[newest] is WRONG
            assert RIGHT not in given
        case NothingAsked():
            assert set(given) <= {DARK}


@given(verdicts, st.data())
def test_it_goes_on_from_whatever_is_known_already(truth: list[Verdict], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))
    known = [verdict if keep else None for verdict, keep in zip(truth, kept)]
    found, given, _ = searched(truth, known)
    if isinstance(found, Found):
        assert (truth[found.good], truth[found.bad]) == (RIGHT, WRONG)
    if RIGHT in truth and all(kept):
        assert found == following(given)
        assert not isinstance(found, NeverRight | NothingAsked)


def test_answers_that_changed_more_than_once_are_said() -> None:
    assert turned([WRONG, RIGHT, None, DARK, WRONG, DARK, RIGHT, RIGHT]) == ((0, 1), (4, 6))
    found = following([WRONG, RIGHT, RIGHT, WRONG])
    assert found == Found(2, 3, (), ((0, 1),))
    assert following([WRONG, RIGHT]) == StillRight(1, (), ((0, 1),))


# ── moments ──────────────────────────────────────────────────────────────────────────────────────

BEGINNING = datetime(2026, 11, 22, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.sets(st.integers(0, 20), max_size=6))
def test_a_moment_is_found_to_the_resolution_or_the_log_is_dark(length: int, broke: int, dark: set[int]) -> None:
    """`dark`: which of the moments that are asked cannot be reached."""
    start, end = BEGINNING, BEGINNING + length * SECOND
    truth = BEGINNING + (broke % length) * SECOND
    answers: dict[datetime, Verdict] = {}
    while not isinstance(step := middle(Moments(start, end), answers, SECOND), Moments):
        assert step not in answers
        answers[step] = DARK if len(answers) in dark else RIGHT if step <= truth else WRONG
        assert len(answers) <= (MOST_DARK + 1) * (length.bit_length() + 1)
    assert step.good <= truth < step.bad
    seen_dark = [at for at, verdict in answers.items() if verdict is DARK and step.good < at < step.bad]
    assert step.bad - step.good <= SECOND * (len(seen_dark) + 1) or len(seen_dark) >= MOST_DARK
    assert dark or len(answers) <= length.bit_length() + 1, "where all can be reached, a logarithm"
