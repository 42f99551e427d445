"""Ids, digests, sizes, moments and spans of time: the smallest words.

Everything here is pure. A name is a type of its own, so that a component cannot be handed over where a
site is meant; a moment is always aware and in UTC; a period of the calendar (`1 month`) is not a span
(`30d`), because what a month lasts depends on where it begins.
"""

import calendar
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NewType

ComponentName = NewType("ComponentName", str)
SiteName = NewType("SiteName", str)
VaultName = NewType("VaultName", str)
ScenarioName = NewType("ScenarioName", str)
PersonName = NewType("PersonName", str)
RoleName = NewType("RoleName", str)

RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
"""Unique in its run, stable over resumes: `2.1-restore` is the first step of the second phase."""
PointId = NewType("PointId", str)
"""Sorts by the moment of reservation: `20261122T204437Z-7f3a9c1d`."""
IncidentId = NewType("IncidentId", str)
LineageId = NewType("LineageId", str)
"""`pg-<system identifier>-<timeline>` for PostgreSQL; else a random incarnation, `inc-…`."""
StreamName = NewType("StreamName", str)
"""`run/<id>`, `component/<name>`, `incident/<id>`, `plan`, `claims`, `journal` or `watch`."""
Digest = NewType("Digest", str)
"""`sha256:` and 64 hexadecimal digits."""

NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
"""What every name in a plan looks like: small letters, digits, single hyphens."""

LONGEST_NAME = 63


def is_name(text: str) -> bool:
    return len(text) <= LONGEST_NAME and NAME.match(text) is not None


def digest_of(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


# ── moments ──────────────────────────────────────────────────────────────────────────────────────


def utc(moment: datetime) -> datetime:
    """The same moment in UTC. A naive one is refused: it would be a guess."""
    if moment.tzinfo is None:
        raise ValueError(f"a moment without a time zone: {moment}")
    return moment.astimezone(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 with microseconds and `Z`: fixed width, so that it sorts as text."""
    return utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_stamp(text: str) -> datetime:
    """The inverse of `stamp`. Raises ValueError for any other shape."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def say_moment(moment: datetime) -> str:
    """For people, to the second: `2026-11-22 20:44:37 UTC`."""
    return utc(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class Between:
    """A moment that is only known to lie in a range, and how we know (`smoke probes`, `said by dba`)."""

    earliest: datetime
    latest: datetime
    source: str

    def __post_init__(self) -> None:
        assert self.earliest <= self.latest, f"range runs backwards: {self.earliest} > {self.latest}"


# ── spans and periods ────────────────────────────────────────────────────────────────────────────

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1), "second": timedelta(seconds=1), "seconds": timedelta(seconds=1),
    "m": timedelta(minutes=1), "min": timedelta(minutes=1),
    "minute": timedelta(minutes=1), "minutes": timedelta(minutes=1),
    "h": timedelta(hours=1), "hour": timedelta(hours=1), "hours": timedelta(hours=1),
    "d": timedelta(days=1), "day": timedelta(days=1), "days": timedelta(days=1),
    "w": timedelta(weeks=1), "week": timedelta(weeks=1), "weeks": timedelta(weeks=1),
}  # fmt: skip
_MONTHS = {"month": 1, "months": 1, "quarter": 3, "quarters": 3, "year": 12, "years": 12}
_PART = re.compile(r"\s*(\d+)\s*([a-z]+)")

LONGEST_SPAN = timedelta(days=36_525)
"""A hundred years: longer is a typing mistake, and would overflow the calendar."""


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time by the calendar: whole months, then an exact span."""

    months: int = 0
    span: timedelta = timedelta()

    def after(self, moment: datetime) -> datetime:
        """`moment` plus this period; the 31st plus one month is the last day of that month."""
        month0 = moment.year * 12 + moment.month - 1 + self.months
        year, month = month0 // 12, month0 % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return moment.replace(year=year, month=month, day=day) + self.span

    def __str__(self) -> str:
        parts = [count(self.months, "month")] if self.months else []
        parts += [say_span(self.span)] if self.span or not parts else []
        return " ".join(parts)


def period(text: str) -> Period:
    """`1h`, `90 s`, `1h 30m`, `1 month`, `2 weeks`. Raises ValueError with the reason."""
    months, span, at = 0, timedelta(), 0
    lowered = text.strip().lower()
    while at < len(lowered):
        part = _PART.match(lowered, at)
        if part is None:
            raise ValueError(f"{text!r} is not a duration: write a number and a unit, like 30m, 24h or 1 month")
        number, unit = part.groups()
        if len(number) > 12:
            raise ValueError(f"{text!r} is longer than 100 years")
        if unit in _MONTHS:
            months += int(number) * _MONTHS[unit]
        elif unit in _UNITS:
            span += min(int(number) * _UNITS[unit].total_seconds(), 1e12) * timedelta(seconds=1)
        else:
            raise ValueError(f"{text!r}: {unit!r} is no unit of time (ms, s, m, h, d, w, month, year)")
        at = part.end()
    if at == 0:
        raise ValueError("an empty duration: write a number and a unit, like 30m, 24h or 1 month")
    if months > 1200 or span > LONGEST_SPAN:
        raise ValueError(f"{text!r} is longer than 100 years")
    return Period(months, span)


def span(text: str) -> timedelta:
    """A duration that does not depend on the calendar. Raises ValueError; `1 month` is refused."""
    if not (found := period(text)).months:
        return found.span
    raise ValueError(f"{text!r} depends on the calendar; write days, like 30d")


def time_of_day(text: str) -> time:
    """`02:00` or `02:00:30`. Raises ValueError."""
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?", text) is None:
        raise ValueError(f"{text!r} is not a time of day: write it like 02:00")
    return time.fromisoformat(text)


def say_span(length: timedelta) -> str:
    """For people, two units at the most: `58 min`, `1 h 4 min`, `22.4 s`, `3 d 2 h`."""
    seconds = length.total_seconds()
    if seconds < 0:
        return "-" + say_span(-length)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, name, below_size, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


# ── sizes and counts ─────────────────────────────────────────────────────────────────────────────

_SIZES = {
    "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip


def size(text: str) -> int:
    """Bytes: `512 MiB`, `1G` (1024s), `10 GB` (1000s). Raises ValueError."""
    found = re.fullmatch(r"\s*(\d{1,15})\s*([a-z]*)\s*", text.lower())
    unit = "" if found is None else found.group(2)
    if found is None or (unit and unit not in _SIZES):
        raise ValueError(f"{text!r} is not a size: write it like 512 MiB or 10 GB")
    return int(found.group(1)) * _SIZES.get(unit, 1)


def say_size(size_bytes: float) -> str:
    """For people: `512 B`, `1.4 MB`, `212 MB` (powers of 1000, as disks are sold and filled)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size_bytes) < 999.5 or unit == "TB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" or abs(size_bytes) >= 99.95 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError("unreachable")


def count(number: int, thing: str) -> str:
    """`1 point`, `2 points`, `1,204 rows`, `2 queries`."""
    if number == 1:
        return f"1 {thing}"
    plural = thing[:-1] + "ies" if thing.endswith("y") and thing[-2:-1] not in "aeiou" else thing + "s"
    return f"{number:,} {plural}"


def listed(things: Iterable[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(things)
    return f"{', '.join(items[:-1])} {word} {items[-1]}" if len(items) > 1 else "".join(items)
