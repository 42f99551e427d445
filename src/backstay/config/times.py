"""Schedules: their grammar, and how far apart two moments of one may be.

The longest gap decides whether a schedule can keep a promise about data loss. It is computed, not guessed: for cron
lines over ten years of days and the minutes of a day, for calendar periods over every month they may begin in.
"""

import re
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

from backstay import values
from backstay.config import grammar
from backstay.config.spelling import nearest, quoted
from backstay.plan import Cron, DailyAt, Every, Schedule
from backstay.values import Period

NIGHT = time(4, 0)
"""What `night` means: after the backups and proofs of the usual hours."""
SHORTEST = timedelta(minutes=1)
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_HABITS = {
    "nightly": "night", "midnight": '"00:00"', "daily": "1 day", "hourly": "1h", "weekly": "1 week",
    "monthly": "1 month", "quarterly": "3 months", "yearly": "1 year", "annually": "1 year",
    "never": "an explicit schedule", "always": "1m", "continuous": "1m",
}  # fmt: skip


def schedule(text: str) -> Schedule:
    """`"02:00"`, `6h`, `1 month`, `night` or a cron line of five fields."""
    said = text.strip()
    if said == "night":
        return DailyAt(NIGHT)
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", said):
        return _daily(said)
    if "*" in said or (len(said.split()) == 5 and re.fullmatch(r"[\d\s,/-]+[\w,/#-]*", said)):
        return cron(said)
    habit = said.lstrip("@").lower()
    if habit in _HABITS or (len(said.split()) == 1 and not said[:1].isdigit()):
        meant = _HABITS.get(habit) or _HABITS.get(nearest(habit, _HABITS) or "", "night")
        raise ValueError(f"{quoted(text)} is not a schedule; did you mean `{meant}`?")
    found = grammar.duration(said)
    if not found.months and found.span < SHORTEST:
        raise ValueError(f"{quoted(text)} is more often than once a minute")
    return Every(found)


def _daily(said: str) -> DailyAt:
    try:
        return DailyAt(values.time_of_day(said))
    except ValueError:
        wish = f"0{said}" if re.fullmatch(r"\d:\d\d", said) else ""
        end = f"; did you mean `{wish}`?" if wish else ": write it like 02:00"
        raise ValueError(f"{quoted(said)} is not a time of day{end}") from None


def cron(line: str) -> Cron:
    """Five fields: minute, hour, day of the month, month, day of the week."""
    from cronsim import CronSim, CronSimError

    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"{quoted(line)}: a cron line has five fields, not {len(fields)}")
    try:
        CronSim(line, _SOME_DAY)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        raise ValueError(f"{quoted(line)}: the {field} of this cron line cannot be") from None
    return Cron(" ".join(fields))


def longest_gap(plan: Schedule) -> timedelta:
    """The longest time between two moments of a schedule. Changes of the clock for summer are not counted."""
    match plan:
        case DailyAt():
            return timedelta(days=1)
        case Every(period):
            return longest(period)
        case Cron(line):
            return _cron_gap(line)


def _cron_gap(line: str) -> timedelta:
    from cronsim import CronSim

    simulated = CronSim(line, _SOME_DAY)
    minutes = sorted(h * 60 + m for h in simulated.hours for m in simulated.minutes)
    within_day = max((b - a for a, b in pairwise(minutes)), default=0)
    days_only = CronSim("0 0 " + " ".join(line.split()[2:]), _SOME_DAY - timedelta(days=1))
    days: list[datetime] = []
    for day in days_only:
        days.append(day)
        if len(days) > 800 or days[-1] > _SOME_DAY + timedelta(days=3660):
            break
    between = max((b - a for a, b in pairwise(days)), default=timedelta(days=3660))
    return max(timedelta(minutes=within_day), between - timedelta(minutes=minutes[-1] - minutes[0]))


_MONTH_STARTS = tuple(datetime(2023 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(48))
"""Four years of months: a leap year among them."""


def longest(period: Period) -> timedelta:
    """The longest that a period of the calendar can last."""
    return max(period.after(start) - start for start in _MONTH_STARTS)


def shortest(period: Period) -> timedelta:
    """The shortest that a period of the calendar can last."""
    return min(period.after(start) - start for start in _MONTH_STARTS)
