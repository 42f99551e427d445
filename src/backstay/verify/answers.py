"""What an answer means: the plan's expectation against the single value that came back.

Three verdicts, never two. An answer that cannot be compared (a text where a number was expected, a moment without a
time zone) is *not verified*: the question does not measure what the plan wants. No answer at all (NULL) is *failed*:
the question was right, and the data has nothing to say.

A sentence shows a number, a moment, or true and false. A text that came back may be a row's contents: it is shown only
where the plan spells it itself; else its length is.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any, assert_never

from backstay.facts import Verdict
from backstay.plan import Compare, Expectation, OneOf, Within
from backstay.values import count, say_moment, say_span, utc

Answer = str | int | Decimal | datetime | bool | None
"""What a restored component may give back to a question; the same type as in `ports`."""

LONGEST_SHOWN = 60
"""Characters of a text that are shown."""

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, ">=": ge, ">": gt, "<=": le, "<": lt}


def evaluate(expectation: Expectation, answer: Answer, point_moment: datetime) -> tuple[Verdict, str]:
    """Does the answer meet the expectation? With one sentence that says what was seen and what was expected.

    `point_moment` is what the recovery point brings back: moments are measured from there, not from now, because an
    old point that holds what it should hold is sound, and merely old."""
    if answer is None:
        return Verdict.FAILED, f"there is no value (NULL); expected {say_expectation(expectation)}"
    match expectation:
        case Compare():
            return _compare(expectation, answer)
        case OneOf(values):
            shown = _as_text(answer)
            if shown is None:
                return _cannot(answer, f"one of {', '.join(values)}")
            return _verdict(shown in values, answer, expectation)
        case Within(span):
            return _moment(span, answer, point_moment)
        case _:
            assert_never(expectation)


def say_expectation(expectation: Expectation) -> str:
    """As the plan writes it: `>= 1`, `in {a, b}`, `within 24 h`."""
    match expectation:
        case Compare(op, value):
            return f"{op} {value}"
        case OneOf(values):
            return "in {" + ", ".join(values) + "}"
        case Within(span):
            return f"within {exact(span)}"
        case _:
            assert_never(expectation)


def say_answer(answer: Answer) -> str:
    """The value on one line: texts quoted and cut short, moments in UTC."""
    match answer:
        case None:
            return "NULL"
        case bool():
            return "true" if answer else "false"
        case datetime():
            return say_moment(answer) if answer.tzinfo else f"{answer:%Y-%m-%d %H:%M:%S} without a time zone"
        case str():
            plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in answer)
            return f"“{plain}”" if len(plain) <= LONGEST_SHOWN else f"“{plain[:LONGEST_SHOWN]}…”"
        case Decimal():
            return f"{answer:f}" if answer.is_finite() and abs(answer.adjusted()) < LONGEST_SHOWN else str(answer)
        case int():
            return f"{answer:,}"
        case _:
            assert_never(answer)


def _verdict(met: bool, answer: Answer, expectation: Expectation) -> tuple[Verdict, str]:
    shown = say_answer(answer) if not isinstance(answer, str) else _discreet(answer, expectation)
    if met:
        return Verdict.PASSED, f"{shown}, as expected ({say_expectation(expectation)})"
    return Verdict.FAILED, f"{shown}; expected {say_expectation(expectation)}"


def _discreet(text: str, expectation: Expectation) -> str:
    known = (
        expectation.values if isinstance(expectation, OneOf)
        else (expectation.value,) if isinstance(expectation, Compare) else ()
    )  # fmt: skip
    return say_answer(text) if text in known else f"a text of {count(len(text), 'character')}"


def _cannot(answer: Answer, wanted: str) -> tuple[Verdict, str]:
    if isinstance(answer, bool):
        kind = "true or false"
    elif isinstance(answer, int | Decimal):
        kind = "a number"
    else:
        kind = "a text" if isinstance(answer, str) else "a moment"
    return Verdict.NOT_VERIFIED, f"the answer is {kind}, and cannot be compared with {wanted}"


def _compare(expectation: Compare, answer: Answer) -> tuple[Verdict, str]:
    op, value = expectation.op, expectation.value
    if isinstance(value, Decimal):
        if isinstance(answer, bool) or not isinstance(answer, int | Decimal):
            return _cannot(answer, f"a number ({op} {value})")
        if Decimal(answer).is_nan():
            return Verdict.NOT_VERIFIED, f"the answer is {answer}, which is no number"
        return _verdict(_OPERATORS[op](answer, value), answer, expectation)
    shown = _as_text(answer)
    if shown is None or (isinstance(answer, int | Decimal) and not isinstance(answer, bool)):
        return _cannot(answer, f"a text ({op} {value})")
    if op not in ("=", "!="):
        return Verdict.NOT_VERIFIED, f"texts have no order: none can be {op} {value}"
    return _verdict(_OPERATORS[op](shown, value), answer, expectation)


def _as_text(answer: Answer) -> str | None:
    """The answer as a plan would spell it. None: no plan can spell it."""
    match answer:
        case bool():
            return "true" if answer else "false"
        case str():
            return answer
        case int():
            return str(answer)
        case Decimal() if answer.is_finite():
            return f"{answer.normalize():f}"
        case _:
            return None


def _moment(span: timedelta, answer: Answer, point_moment: datetime) -> tuple[Verdict, str]:
    seen = _as_moment(answer)
    if seen is None:
        return _cannot(answer, f"a moment (within {exact(span)})")
    if seen.tzinfo is None:
        return Verdict.NOT_VERIFIED, (
            f"{say_answer(seen)} cannot be compared: make the question give a zone, like timestamptz"
        )
    before = utc(point_moment) - utc(seen)
    if before <= timedelta():
        return Verdict.PASSED, f"{say_moment(seen)}, not before the point's own moment (within {exact(span)})"
    said = f"{say_moment(seen)}, {exact(before)} before the point's own moment"
    if before <= span:
        return Verdict.PASSED, f"{said} (within {exact(span)})"
    return Verdict.FAILED, f"{said}; expected within {exact(span)}"


def _as_moment(answer: Answer) -> datetime | None:
    """SQLite has no type for moments: it gives ISO 8601 as text."""
    if isinstance(answer, datetime):
        return answer
    if isinstance(answer, str) and len(answer) <= LONGEST_SHOWN and "-" in answer:
        try:
            return datetime.fromisoformat(answer.strip())
        except ValueError:
            return None
    return None


def exact(length: timedelta) -> str:
    """To the second, for limits: `24 h 0 min 1 s` is not `24 h`. Whole units are said short: `24 h`, `30 d`; what lasts
    less than a minute with its tenths: `9.3 s`."""
    if length < timedelta():
        return "-" + exact(-length)
    if timedelta() < length < timedelta(seconds=59.95):
        return say_span(length)
    seconds = int(length.total_seconds())
    if seconds % 86400 == 0 and seconds > 86400:
        return f"{seconds // 86400} d"
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    if rest == 0 and minutes == 0 and hours:
        return f"{hours} h"
    if hours:
        return f"{hours} h {minutes} min" + (f" {rest} s" if rest else "")
    if minutes:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{rest} s"
