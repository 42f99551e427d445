"""Forms that several sections share."""

import re
from datetime import date

from backstay.config import grammar, times
from backstay.config.forms import ENDPOINT_NAME, ListOf, MapOf, Word, Worded
from backstay.config.spelling import quoted
from backstay.config.tables import Fields, Table, optional
from backstay.plan import Objectives, Space, Template


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is an empty text")
    if "${" in text:
        raise ValueError("`${…}` means nothing here: this text is taken as it is written")
    return text.strip()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a date: write it like 2026-11-22") from None


TEXT = Word("a text", _text, types=("string", "number"))
DATE = Word("a date", _date, pattern=r"^\d{4}-\d\d-\d\d$")
SPAN = Word("a duration, like 30m or 24h", grammar.exact_span)
SOME_SPAN = Word("a duration, like 30m or 24h", grammar.exact_span_not_zero)
PERIOD = Word("a duration, like 30d or 3 months", grammar.duration_not_zero)
SCHEDULE = Word('a schedule, like "02:00", 6h or 1 month', times.schedule)
PERCENT = Word("a percentage, like 99.9%", grammar.percent, types=("string", "number"))
SQL = Word("a question in SQL", grammar.sql)


def argv(spaces: frozenset[Space]) -> ListOf[Template]:
    """A program and its arguments: never one string for a shell."""
    return ListOf(Worded(spaces=spaces), at_least=1, as_="a program and its arguments, like [python, -m, app]")


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError(f"{quoted(text)} cannot be the name of an environment variable")
    return text


def environment(spaces: frozenset[Space]) -> MapOf[Template]:
    says = "variables and their values"
    return MapOf(Worded(spaces=spaces), says, key=_variable, pattern="^[A-Za-z_][A-Za-z0-9_]*$")


def a_word(text: str) -> str:
    """What `${site.…}` and `${saved.…}` can name."""
    if not re.fullmatch(ENDPOINT_NAME, text):
        raise ValueError(f"{quoted(text)} is not a word: small letters, digits and underscores")
    return text


WORD_PATTERN = f"^{ENDPOINT_NAME}$"

RTO = optional("rto", SPAN, "within which it works again, counted from the declaration", "1h", "not promised")
RPO = optional("rpo", SPAN, "how much of the newest data may be lost", "24h", "not promised")
AVAILABILITY = optional("availability", PERCENT, "the share of time in which it works", "99.9%", "not promised")


def _objectives(fields: Fields) -> Objectives:
    return Objectives(fields[RTO], fields[RPO], fields[AVAILABILITY])


OBJECTIVES = Table(
    "objectives",
    "objectives",
    "What was promised. A component or a scenario that promises less or more says so itself; what it does not say, "
    "the objectives of the whole system say.",
    (RTO, RPO, AVAILABILITY),
    _objectives,
)
