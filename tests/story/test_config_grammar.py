"""The small languages: the page that defines them, and the edges that a page does not show."""

import random
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backstay import values
from backstay.config import grammar, times
from backstay.config.forms import a_name
from backstay.config.sections.words import a_word
from backstay.plan import Compare, OneOf, Ref, Space, Template, Within
from backstay.values import Period
from fix_grammar import Grammar

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/grammars.md").read_text()
PARSERS: dict[str, Callable[[str], Any]] = {
    "name": a_name,
    "word": a_word,
    "duration": grammar.duration,
    "exact-duration": grammar.exact_span,
    "size": values.size,
    "rate": grammar.rate,
    "time": values.time_of_day,
    "schedule": times.schedule,
    "cron": times.cron,
    "percent": grammar.percent,
    "expectation": grammar.expectation,
    "template": grammar.template,
    "json-path": grammar.json_path,
    "criterion": grammar.criterion,
    "status": grammar.statuses,
    "due": grammar.due_time,
}
LIMITS = (
    "longer than 100 years",
    "more often than once a minute",
    "no time at all",
    "is not between 0%",
    "is not a name",
    "lets nothing through",
)
"""What the page says in words, and EBNF cannot."""

SAID_IN_WORDS: dict[str, Callable[[random.Random], str]] = {
    "five fields": lambda chance: f"{chance.randint(0, 59)} {chance.randint(0, 23)} * * {chance.randint(0, 6)}",
    'any text without "${"': lambda chance: chance.choice(["", "a", " ", "é{}", "$ ", "https://"]),
    'any text without "$"': lambda chance: chance.choice(["/run/secrets/x", "a b", "./é"]),
}


def blocks(kind: str) -> list[Any]:
    found = re.findall(rf"^```{kind} ([\w-]+)\n(.*?)^```", PAGE, re.M | re.S)
    return [pytest.param(name, line, id=f"{name}: {line}") for name, text in found for line in text.splitlines()]


@pytest.mark.parametrize(("name", "text"), blocks("examples"))
def test_an_example_of_the_page_is_read(name: str, text: str) -> None:
    PARSERS[name](text)


@pytest.mark.parametrize(("name", "text"), blocks("refused"))
def test_what_the_page_calls_refused_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError):
        PARSERS[name](text)


@pytest.mark.parametrize("name", PARSERS)
def test_what_the_grammar_allows_is_read(name: str) -> None:
    made, chance = Grammar(PAGE, SAID_IN_WORDS), random.Random(name)
    refusals = {text: why for _ in range(300) if (why := refusal(name, text := made.make(name, chance)))}
    assert {text: why for text, why in refusals.items() if not any(limit in why for limit in LIMITS)} == {}
    assert len(refusals) < 150


def refusal(name: str, text: str) -> str:
    try:
        PARSERS[name](text)
    except ValueError as error:
        return str(error)
    return ""


def test_every_grammar_of_the_page_has_its_parser() -> None:
    parts = {"letter", "digit", "digits", "part", "unit", "exact", "calendar", "size-unit", "hour", "sixty", "number",
             "comparison", "order", "equal", "signed", "membership", "member", "recency", "exact-part", "text", "bare",
             "literal", "escape", "reference", "secret", "variable", "path", "value", "key"}  # fmt: skip
    assert set(Grammar(PAGE, SAID_IN_WORDS).names()) == set(PARSERS) | parts


# ── values ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">= 1", Compare(">=", Decimal(1))),
        (">=1", Compare(">=", Decimal(1))),
        ("= 0", Compare("=", Decimal(0))),
        ("42", Compare("=", Decimal(42))),
        ("-1.5", Compare("=", Decimal("-1.5"))),
        ("= active", Compare("=", "active")),
        ("= '1'", Compare("=", "1")),
        ("!= two words", Compare("!=", "two words")),
        ("in {a, b}", OneOf(("a", "b"))),
        ("in {1}", OneOf(("1",))),
        ("within 1h 30m", Within(timedelta(minutes=90))),
    ],
)
def test_an_expectation(text: str, expected: object) -> None:
    assert grammar.expectation(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("${env:A}", (Ref(Space.ENV, "A"),)),
        ("a${env:A}b${file:/x y}c", ("a", Ref(Space.ENV, "A"), "b", Ref(Space.FILE, "/x y"), "c")),
        ("$${env:A}", ("${env:A}",)),
        ("$ 5 and $x", ("$ 5 and $x",)),
        ("${steps.a-b.c.d}", (Ref(Space.STEPS, "a-b.c.d"),)),
    ],
)
def test_a_template(text: str, parts: tuple[object, ...]) -> None:
    assert grammar.template(text) == Template(parts)  # type: ignore[arg-type]


def test_a_short_name_is_a_saved_one_in_a_flow_only() -> None:
    assert grammar.template("${token}", in_flow=True) == Template((Ref(Space.SAVED, "token"),))
    with pytest.raises(ValueError, match=r"did you mean `\$\{env:token\}`"):
        grammar.template("${token}")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5 mins", "did you mean `m`"),
        ("1 yr", "did you mean `year`"),
        ("3 monts", "did you mean `months`"),
        ("60", "write it like `60m`"),
        ("", "is not a duration"),
        ("1h30", "is not a duration"),
        ("99999999999999h", "longer than 100 years"),
    ],
)
def test_a_duration_that_is_none_says_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        grammar.duration(text)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("02:00", timedelta(days=1)),
        ("night", timedelta(days=1)),
        ("6h", timedelta(hours=6)),
        ("1 month", timedelta(days=31)),
        ("1 year", timedelta(days=366)),
        ("0 2 * * *", timedelta(days=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 */6 * * *", timedelta(hours=6)),
        ("0 8-18 * * *", timedelta(hours=14)),
        ("30 1 * * 1-5", timedelta(days=3)),
        ("0 0 1 * *", timedelta(days=31)),
        ("0 2,14 * * 0", timedelta(days=6, hours=12)),
        ("0 0 29 2 *", timedelta(days=4 * 365 + 1)),
    ],
)
def test_the_longest_gap_of_a_schedule(text: str, gap: timedelta) -> None:
    assert times.longest_gap(times.schedule(text)) == gap


def test_how_long_a_period_can_be() -> None:
    assert (times.shortest(Period(1)), times.longest(Period(1))) == (timedelta(days=28), timedelta(days=31))
    assert times.shortest(Period(12)) == timedelta(days=365)


@pytest.mark.parametrize(
    "line", ["@daily", "0 0 2 * * *", "0 2 * *", "0 24 * * *", "a b c d e", "* * 31 2 *", "0 0 0 * *"]
)
def test_a_cron_line_that_cannot_be(line: str) -> None:
    with pytest.raises(ValueError):
        times.schedule(line)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_recipient_is_checked_to_the_letter() -> None:
    real = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    assert grammar.recipient(real) == real
    for wrong in (real[:-1] + "q", real[:-1], real.upper(), real.replace("ql", "lq", 1), "age1"):
        with pytest.raises(ValueError, match="age recipient"):
            grammar.recipient(wrong)
