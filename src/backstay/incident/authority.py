"""Who may declare a disaster, and which criteria are met: the plan's words against what was read.

A criterion without a measure is for a person to judge. One whose reading is missing is unknown, and an unknown
criterion is neither a reason to declare nor a reason not to.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, assert_never

from backstay.estimate import Estimate, Expected, Unknown
from backstay.estimate import say as say_expected
from backstay.facts import CheckSeen
from backstay.plan import Criterion, Plan
from backstay.values import PersonName, RoleName, listed, say_moment, span
from backstay.verify import exact

# ── authority ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Alone:
    """This person may declare without asking anybody."""


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """`needed` of these people must agree. The one who declares is not among them."""

    role: RoleName
    of: tuple[PersonName, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class MayNot:
    why: str


Authorised = Alone | NeedsApproval | MayNot


def may_declare(plan: Plan, person: str) -> Authorised:
    """What the plan's `declaration.authority` gives this person."""
    name, authority = PersonName(person), plan.authority
    if name not in plan.people:
        return MayNot(f"the plan knows nobody called {person!r}")
    # A plan that says nothing about declaring leaves it to whoever holds the plan.
    if name in authority.alone or (not authority.alone and authority.with_approval is None):
        return Alone()
    role = plan.roles.get(authority.with_approval) if authority.with_approval else None
    if role is not None and name in (role.primary, role.backup):
        return NeedsApproval(role.name, tuple(one for one in authority.approvers if one != name), authority.needed)
    names = [plan.people[one].name for one in authority.alone if one in plan.people]
    if not names:
        return MayNot("the plan gives nobody the authority to declare a disaster alone")
    return MayNot(f"only {listed(names, 'or')} may declare a disaster alone")


def say_authority(found: Authorised) -> str:
    match found:
        case Alone():
            return "may declare alone"
        case NeedsApproval(role, of, needed):
            return f"may declare as {role}, with {needed} of {listed(of, 'or')} agreeing"
        case MayNot(why):
            return f"may not declare: {why}"
        case _:
            assert_never(found)


# ── criteria ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SmokeRed:
    """`smoke all red for 10m`, `smoke any red for 5m`, `smoke health red for 2m`."""

    which: str
    length: timedelta


@dataclass(frozen=True, slots=True)
class RowsRefuted:
    """`rows refuted > 50%`: the share of rows in tables that did not pass their checks."""

    op: Literal[">", ">="]
    percent: Decimal


@dataclass(frozen=True, slots=True)
class ForecastOver:
    """`forecast > 2h`: how long recovering is expected to take."""

    op: Literal[">", ">="]
    length: timedelta


@dataclass(frozen=True, slots=True)
class ForAPerson:
    """No measure: somebody looks, and says."""


Measure = SmokeRed | RowsRefuted | ForecastOver | ForAPerson

_SMOKE = re.compile(r"smoke\s+([a-z][a-z0-9-]*)\s+red\s+for\s+(.+)\Z")
_ROWS = re.compile(r"rows\s+refuted\s*(>=?)\s*(\d{1,3}(?:\.\d{1,4})?)\s*%\Z")
_FORECAST = re.compile(r"forecast\s*(>=?)\s*(.+)\Z")


def measure(when: str | None) -> Measure:
    """The measure of a criterion. Raises ValueError with the forms that are known."""
    if when is None:
        return ForAPerson()
    text = when.strip()
    if found := _SMOKE.match(text):
        return SmokeRed(found[1], span(found[2]))
    if (found := _ROWS.match(text)) and Decimal(found[2]) <= 100:
        return RowsRefuted(_op(found[1]), Decimal(found[2]))
    if found := _FORECAST.match(text):
        return ForecastOver(_op(found[1]), span(found[2]))
    raise ValueError(
        f"{when!r} is no criterion that can be measured: write it like `smoke all red for 10m`, "
        "`rows refuted > 50%` or `forecast > 2h`"
    )


def _op(text: str) -> Literal[">", ">="]:
    return ">" if text == ">" else ">="


@dataclass(frozen=True, slots=True)
class Colour:
    """What a smoke check shows, and since when."""

    colour: Literal["green", "red", "unknown"]
    since: datetime


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known at one moment. What is not in here is unknown."""

    at: datetime
    smoke: Mapping[str, Colour] = field(default_factory=dict[str, Colour])
    """The checks of the plan; one that is missing was never looked at."""
    rows_refuted: Decimal | None = None
    """Percent."""
    forecast: Expected = Unknown("no forecast was made")


@dataclass(frozen=True, slots=True)
class Met:
    said: str


@dataclass(frozen=True, slots=True)
class NotMet:
    said: str


@dataclass(frozen=True, slots=True)
class CannotSay:
    why: str


Evaluated = Met | NotMet | CannotSay


def readings(checks: tuple[CheckSeen, ...], names: tuple[str, ...], now: datetime) -> Readings:
    """The colour of every check, and since when it has it, from what the watch saw."""
    smoke: dict[str, Colour] = {}
    for name in names:
        seen = [fact for fact in checks if fact.check == name]
        if not seen:
            continue
        since = seen[-1].at
        for fact in reversed(seen):
            if fact.colour != seen[-1].colour:
                break
            since = fact.at
        smoke[name] = Colour(seen[-1].colour, since)
    return Readings(now, smoke)


def evaluate(criterion: Criterion, read: Readings, known: tuple[str, ...] = ()) -> Evaluated:
    """Is the criterion met? `known` are the plan's smoke checks: `all` means every one of them."""
    found = measure(criterion.when)
    match found:
        case ForAPerson():
            return CannotSay("a person has to judge this")
        case SmokeRed():
            return _smoke(found, read, known or tuple(read.smoke))
        case RowsRefuted(op, percent):
            if read.rows_refuted is None:
                return CannotSay("not verified: nobody counted the rows")
            met = read.rows_refuted > percent or (op == ">=" and read.rows_refuted == percent)
            said = f"{read.rows_refuted.normalize():f}% of the rows are refuted; the criterion is {op} {percent}%"
            return Met(said) if met else NotMet(said)
        case ForecastOver(op, length):
            return _forecast(op, length, read.forecast)
        case _:
            assert_never(found)


def _smoke(wanted: SmokeRed, read: Readings, known: tuple[str, ...]) -> Evaluated:
    names = known if wanted.which in ("all", "any") else (wanted.which,)
    every = wanted.which != "any"
    red: list[str] = []
    unsure: list[str] = []
    for name in names:
        colour = read.smoke.get(name)
        if colour is None or colour.colour == "unknown":
            unsure.append(name)
        elif colour.colour == "red" and read.at - colour.since >= wanted.length:
            red.append(name)
    if names and (len(red) == len(names) if every else bool(red)):
        since = max(read.smoke[name].since for name in red)
        return Met(f"{listed(red)} red since {say_moment(since)}, for {exact(read.at - since)}")
    settled = len(names) - len(unsure) > len(red)  # some check is surely not red for so long
    if unsure and not (every and settled):
        return CannotSay(f"not verified: {listed(unsure)} could not be looked at")
    rest = [
        f"{name} {colour.colour} for {exact(read.at - colour.since)}"
        for name, colour in read.smoke.items()
        if name in names and name not in red
    ]
    return NotMet(f"not red for {exact(wanted.length)}: {listed(rest)}" if rest else "there are no smoke checks")


def _forecast(op: str, length: timedelta, forecast: Expected) -> Evaluated:
    said = f"recovery is expected to take {say_expected(forecast)}; the criterion is {op} {exact(length)}"
    if isinstance(forecast, Estimate):
        met = forecast.median > length or (op == ">=" and forecast.median == length)
        return Met(said) if met else NotMet(said)
    if forecast.at_least is not None and forecast.at_least > length:
        return Met(said)
    return CannotSay(f"not verified: {forecast.why}")
