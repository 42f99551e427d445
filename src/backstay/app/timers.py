"""What a timer of the system has to do for a plan: as lines for cron, and as units for systemd.

Backstay decides itself what is due (`backup --due`), so its timer may come by often. A proof has no such memory: its
timer comes when the plan says. Both kinds of timer are made from one list of jobs, so they cannot disagree.

Pure: `Place` says how the program is called here. Sources: crontab(5); systemd.time(7), "Calendar events";
systemd.service(5) and systemd.unit(5), "Specifiers" (a percent sign is doubled there).
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from typing import assert_never

from backstay.plan import Component, Cron, DailyAt, Every, Plan, Schedule
from backstay.protect import say_schedule
from backstay.values import Period

LOOK_EVERY = Every(Period(span=timedelta(minutes=15)))
"""How often it is looked whether a point is due."""
ROT_AT = Cron("0 5 * * 0")
ROT_DAYS = 30
"""Once a week a random point of the last thirty days is proven: testing only the newest hides rot."""
RETAIN_AT = DailyAt(time(4, 30))
FALLBACK = DailyAt(time(3, 0))
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Place:
    """How the program is called on this machine."""

    program: tuple[str, ...]
    """`/home/me/venv/bin/backstay`, or Python and `-m backstay`."""
    options: tuple[str, ...]
    """`--plan /home/me/shop/backstay.yaml`, and what else was said about places."""
    folder: str
    user: str


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done by the clock; without a schedule, all the time."""

    name: str
    """`verify-database`: a part of the unit's name."""
    title: str
    words: tuple[str, ...]
    when: Schedule | None


def jobs(plan: Plan) -> list[Job]:
    """What this plan needs, in the order in which people read it."""
    found: list[Job] = []
    if any(component.protect.full or component.protect.incremental for component in plan.components.values()):
        found.append(Job("backup", "Take the recovery points that are due", ("backup", "--due"), LOOK_EVERY))
    for component in plan.components.values():
        if component.protect.wal:
            words, title = ("wal", "receive", component.name), f"Follow the log of {component.name}"
            found.append(Job(f"wal-{component.name}", title, words, None))
    found += _proofs(plan)
    found.append(Job("retain", "End the points that the plan no longer keeps", ("retain", "--yes"), RETAIN_AT))
    if plan.watch is not None:
        every = Every(Period(span=max(plan.watch.every, timedelta(minutes=1))))
        found.append(Job("smoke", "Look whether it works", ("smoke",), every))
    return found


def _proofs(plan: Plan) -> Iterator[Job]:
    """One job for all components that are proven at the same time."""
    by_time: dict[Schedule, list[Component]] = {}
    for component in plan.components.values():
        if component.prove.at is not None:
            by_time.setdefault(component.prove.at, []).append(component)
    for when, components in by_time.items():
        names = tuple(str(component.name) for component in components)
        whole = len(components) == len(plan.components)
        yield Job(
            "verify" if whole else f"verify-{names[0]}", f"Prove the newest points of {', '.join(names)}",
            ("verify", *(() if whole else names)), when,
        )  # fmt: skip
    if by_time:
        words = ("verify", "--random", str(ROT_DAYS), "--tier", "sample")
        yield Job("verify-random", f"Prove random points of the last {ROT_DAYS} days", words, ROT_AT)


# ── cron ─────────────────────────────────────────────────────────────────────────────────────────


def crontab(plan: Plan, place: Place) -> str:
    """Lines for `crontab -e`."""
    lines = [
        f"# Backstay, for {place.folder}. Made by `backstay schedule --cron`; make it anew when the plan changes.",
        f"# Times are in {plan.timezone}. cronie heeds CRON_TZ; Debian's cron goes by the clock of the machine.",
        f"CRON_TZ={plan.timezone}",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "",
    ]
    for job in jobs(plan):
        lines.append(f"# {job.title}")
        if job.when is None:
            lines.append("# cron keeps nothing running: use a supervisor, or `backstay schedule --systemd`, for")
            lines.append(f"#   {_for_cron(place, job)}")
            continue
        fields, exact = cron_fields(job.when)
        if not exact:
            lines.append(f"# cron cannot say `{say_schedule(job.when)}`; this comes nearest")
        lines.append(f"{fields}  {_for_cron(place, job)}")
    return "\n".join(lines) + "\n"


def _for_cron(place: Place, job: Job) -> str:
    words = shlex.join([*place.program, *job.words, *place.options])
    # cron ends the command at a percent sign.
    return f"cd {shlex.quote(place.folder)} && {words}".replace("%", "\\%")


def cron_fields(when: Schedule) -> tuple[str, bool]:
    """Five fields, and whether they say exactly what the schedule does."""
    match when:
        case Cron(line):
            return line, True
        case DailyAt(at):
            return f"{at.minute} {at.hour} * * *", at.second == 0
        case Every(period):
            return _every(period)
        case _:
            assert_never(when)


def _every(period: Period) -> tuple[str, bool]:
    minutes, rest = divmod(int(period.span.total_seconds()), 60)
    if period.months and not period.span:
        return f"0 3 1 */{min(period.months, 12)} *", 12 % period.months == 0
    if period.months or rest:
        return cron_fields(FALLBACK)[0], False
    if minutes < 60:
        return f"*/{max(minutes, 1)} * * * *", minutes > 0 and 60 % minutes == 0
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"0 */{hours} * * *", rest == 0 and 24 % hours == 0
    if period.span == DAY:
        return "0 3 * * *", True
    if period.span == 7 * DAY:
        return "0 3 * * 0", True
    return cron_fields(FALLBACK)[0], False


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────


def units(plan: Plan, place: Place) -> Mapping[str, str]:
    """The name of each file, and what is in it."""
    found: dict[str, str] = {}
    for job in jobs(plan):
        found[f"backstay-{job.name}.service"] = _service(job, place)
        if job.when is not None:
            found[f"backstay-{job.name}.timer"] = _timer(job, job.when, plan.timezone)
    return found


_ENDS_WELL = "62"
"""Another run holds the component: the next timer comes."""


def _service(job: Job, place: Place) -> str:
    command = " ".join(_quoted(word) for word in (*place.program, *job.words, *place.options))
    lasting = job.when is None
    lines = [
        "[Unit]",
        f"Description=Backstay: {_plain(job.title)}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        f"Type={'exec' if lasting else 'oneshot'}",
        f"User={_plain(place.user)}",
        f"WorkingDirectory={_plain(place.folder)}",
        f"ExecStart={command}",
        f"SuccessExitStatus={_ENDS_WELL}",
        "UMask=0077",
        "Nice=10",
        *(["Restart=always", "RestartSec=10"] if lasting else ["TimeoutStartSec=infinity"]),
        *(["", "[Install]", "WantedBy=multi-user.target"] if lasting else []),
    ]
    return "\n".join(lines) + "\n"


def _timer(job: Job, when: Schedule, timezone: str) -> str:
    lines = [
        "[Unit]",
        f"Description=Backstay: {_plain(job.title)}",
        "",
        "[Timer]",
        *calendar(when, timezone),
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    if isinstance(when, Every):
        lines.remove("Persistent=true")  # it counts from the last run, not by the calendar
    return "\n".join(lines) + "\n"


def calendar(when: Schedule, timezone: str) -> list[str]:
    """The lines of a timer that say when."""
    match when:
        case DailyAt(at):
            return [f"OnCalendar=*-*-* {at.isoformat('seconds')} {timezone}"]
        case Every(Period(months=0, span=span)):
            return ["OnActiveSec=2min", f"OnUnitActiveSec={int(span.total_seconds())}s"]
        case Every(period):
            # Months are not all as long; systemd's are 30.44 days.
            seconds = int(period.span.total_seconds())
            more = f" {seconds}s" if seconds else ""
            return ["OnActiveSec=2min", f"OnUnitActiveSec={period.months}month{more}"]
        case Cron(line):
            return [f"OnCalendar={event} {timezone}" for event in _events(line)]
        case _:
            assert_never(when)


_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_WORDS = {day.upper(): number for number, day in enumerate(_DAYS[:7])}
_MONTH_WORDS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1
    )
}


def _events(line: str) -> list[str]:
    """cron's five fields as calendar events. Where both the day of the month and the day of the week are given, cron
    means either, and systemd both: so that is two events."""
    minute, hour, day, month, weekday = line.split()
    clock = f"{_field(hour, 0, 23)}:{_field(minute, 0, 59)}:00"
    months = _field(month, 1, 12, _MONTH_WORDS)
    by_date = f"*-{months}-{_field(day, 1, 31)} {clock}"
    if weekday == "*":
        return [by_date]
    numbers = [number % 7 for number in _numbers(weekday, 0, 7, _DAY_WORDS)]
    by_week = f"{','.join(_DAYS[number] for number in dict.fromkeys(numbers))} *-{months}-* {clock}"
    return [by_week] if day == "*" else [by_date, by_week]


def _field(text: str, least: int, most: int, words: Mapping[str, int] = {}) -> str:
    if text == "*":
        return "*"
    return ",".join(f"{number:02d}" for number in _numbers(text, least, most, words))


def _numbers(text: str, least: int, most: int, words: Mapping[str, int]) -> Sequence[int]:
    """Every number that a field of cron means: lists, ranges, steps, names."""
    found: list[int] = []
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        start = least if span == "*" else _number(first, words)
        end = _number(last, words) if dash else most if span == "*" or step else start
        found += range(start, end + 1, int(step or 1))
    return sorted(dict.fromkeys(number for number in found if least <= number <= most))


def _number(text: str, words: Mapping[str, int]) -> int:
    return words[text.upper()] if text.upper() in words else int(text)


def _quoted(word: str) -> str:
    """One word of a command line (systemd.service(5), "Command lines")."""
    spelled = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{spelled}"' if any(letter in " \t;'\"\\" for letter in word) or not word else spelled


def _plain(text: str) -> str:
    """A value to the end of its line."""
    return " ".join(text.split()).replace("%", "%%")
