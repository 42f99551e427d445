"""The last known good, by a question: which point, or which moment, was the last that still answered right?

The newest is asked first (nothing may be wrong at all), then the oldest (the question may never have been answered
right), then the middle of what lies between the last right and the first wrong answer, until nothing does. Of n points
at most ceil(log2 n) + 2 are asked, and one more for each that gives no answer: such a point (damaged, or no server
comes up from it) is neither right nor wrong, and one beside it is asked instead; from the newest on in growing steps,
because what spoilt it has often spoilt many.

Halving takes for granted that the answer changed once. Nothing can show that without asking every point; but where the
answers that were given contradict it, that is part of the result, and the boundary is that of the *newest* right
answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from backstay.facts import Verdict


@dataclass(frozen=True, slots=True)
class Ask:
    """The answer of this one is needed next."""

    place: int


@dataclass(frozen=True, slots=True)
class Found:
    """`good` answered right, `bad` wrong, and nothing between them gave an answer."""

    good: int
    bad: int
    between: tuple[int, ...] = ()
    """What lies between them, and could not be asked: the last known good may be newer than `good` by these."""
    turned: tuple[tuple[int, int], ...] = ()
    """Wrong answers that a right one came after: the answer changed more than once."""


@dataclass(frozen=True, slots=True)
class StillRight:
    """The newest that can be asked answers right: nothing is known to have to be gone back for."""

    good: int
    newer: tuple[int, ...] = ()
    """Newer ones, which could not be asked, or lie between some that could not."""
    turned: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NeverRight:
    """The oldest and the newest are wrong: in between nobody looked, because halving would not find it."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class NothingAsked:
    """No point could be asked, or there is none."""


Ended = Found | StillRight | NeverRight | NothingAsked


def following(verdicts: Sequence[Verdict | None]) -> Ask | Ended:
    """What to do next. `verdicts`: one for each point, oldest first; None: not asked yet."""
    right = _places(verdicts, Verdict.PASSED)
    wrong = _places(verdicts, Verdict.FAILED)
    if not right and not wrong:
        return _first(verdicts)
    if right and (not wrong or right[-1] > wrong[-1]):
        return _above(verdicts, right[-1])
    if not right:
        oldest = next(place for place, verdict in enumerate(verdicts) if verdict is not Verdict.NOT_VERIFIED)
        return Ask(oldest) if verdicts[oldest] is None else NeverRight(oldest, wrong[-1])
    good = right[-1]
    bad = next(place for place in wrong if place > good)
    if unasked := [place for place in range(good + 1, bad) if verdicts[place] is None]:
        return Ask(unasked[len(unasked) // 2])
    return Found(good, bad, tuple(range(good + 1, bad)), turned(verdicts))


def _places(verdicts: Sequence[Verdict | None], wanted: Verdict | None) -> list[int]:
    return [place for place, verdict in enumerate(verdicts) if verdict is wanted]


def _first(verdicts: Sequence[Verdict | None]) -> Ask | NothingAsked:
    """The newest; as long as nothing gives an answer, 1, 3, 7, 15 and so on before it."""
    unasked = _places(verdicts, None)
    if not unasked:
        return NothingAsked()
    back = len(verdicts) - 2 ** (len(verdicts) - len(unasked))
    return Ask(max((place for place in unasked if place <= back), default=unasked[-1]))


def _above(verdicts: Sequence[Verdict | None], good: int) -> Ask | StillRight:
    """The newest answer is right. Above it may be points that give none: where they begin is halved out, too."""
    dark = next((place for place in _places(verdicts, Verdict.NOT_VERIFIED) if place > good), None)
    unasked = [place for place in _places(verdicts, None) if good < place < (len(verdicts) if dark is None else dark)]
    if unasked:
        return Ask(unasked[-1] if dark is None else unasked[len(unasked) // 2])
    return StillRight(good, tuple(range(good + 1, len(verdicts))), turned(verdicts))


def most(points: int) -> int:
    """How many are asked at most, when each gives an answer: ceil(log2 n) + 2, or all of a few."""
    return min(points, (points - 1).bit_length() + 2) if points else 0


def turned(verdicts: Sequence[Verdict | None]) -> tuple[tuple[int, int], ...]:
    """Each wrong answer, and the right one that was given next after it."""
    given = [(place, verdict) for place, verdict in enumerate(verdicts) if verdict in (Verdict.PASSED, Verdict.FAILED)]
    return tuple(
        (one, other) for (one, was), (other, now) in pairwise(given) if (was, now) == (Verdict.FAILED, Verdict.PASSED)
    )


# ── moments ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Moments:
    """Between a moment at which the answer was right and one at which it was wrong."""

    good: datetime
    bad: datetime


def middle(range_: Moments, answers: Mapping[datetime, Verdict], resolution: timedelta) -> datetime | Moments:
    """The moment to ask next, or the range as narrow as it was wanted (or as it can be had). A moment that could not
    be reached is stepped beside: the widest piece that is left is halved."""
    good = max([range_.good, *_given(answers, Verdict.PASSED, range_)])
    bad = min([range_.bad, *(at for at in _given(answers, Verdict.FAILED, range_) if at > good)])
    dark = sorted(at for at in _given(answers, Verdict.NOT_VERIFIED, range_) if good < at < bad)
    if bad - good <= resolution or len(dark) >= MOST_DARK:
        return Moments(good, bad)
    start, end = max(pairwise([good, *dark, bad]), key=lambda piece: piece[1] - piece[0])
    if end - start <= resolution:
        return Moments(good, bad)
    # In whole units: a moment that people read, and type again.
    return start + (end - start) // 2


MOST_DARK = 4
"""After so many moments that could not be reached, the log is not what it should be; a person has to look."""


def _given(answers: Mapping[datetime, Verdict], verdict: Verdict, range_: Moments) -> Iterable[datetime]:
    return (at for at, one in answers.items() if one is verdict and range_.good < at < range_.bad)
