"""How the log stands, for people and for scripts."""

from datetime import datetime, timedelta

from backstay.app.logs import Logs
from backstay.cli.printing import Page, plain
from backstay.lsn import say_lsn
from backstay.reach import GapSeen, Standing, age, name_gap, say_age, say_cost, tree
from backstay.values import listed, say_moment, say_size


def say_logs(page: Page, found: Logs, now: datetime, rpo: timedelta | None) -> None:
    for vault, error in found.away:
        page.say(f"? {found.component} in {vault}: {error.message}", "bold red")
    if found.nothing:
        page.say(f"{found.component}: {found.nothing}", "bold yellow" if found.promised else "")
    for one in found.standings:
        _say_standing(page, found.component, one, now, rpo)


def _say_standing(page: Page, component: str, seen: Standing, now: datetime, rpo: timedelta | None) -> None:
    page.say(f"{component} in {seen.vault} (system {seen.system}): {say_age(seen, now, rpo)}", "bold")
    for line in tree(seen.timelines):
        page.say(f"  {line}")
    if (leads := seen.leads) is not None:
        until = leads.surely or leads.at_most
        when = f", {say_moment(until)}{'' if leads.surely else ' at most'}" if until else ""
        where = f"leads to {say_lsn(leads.to)} on timeline {leads.timeline}{when}"
        page.say(
            f"  the newest point {leads.base.point} {where if leads.log_bytes else 'leads no further than itself'}"
        )
    for one in seen.gaps:
        _say_gap(page, one)
    if (gap := seen.unjoined) is not None:
        page.say(f"  {'○' if seen.unjoined_known else '✘'} {name_gap(gap)}: the newest point and the log do not join")
    for one in seen.timelines:
        if one.history:
            page.say(f"  ✘ {one.history}: no older point leads to timeline {one.timeline}")
    if not seen.gaps and seen.unjoined is None:
        page.say("  ✔ no gap")


def _say_gap(page: Page, one: GapSeen) -> None:
    gap = one.gap
    since = f", lost after {say_moment(gap.since)}" if gap.since else ""
    page.say(
        f"  {'✘' if one.alarms else '○'} {one.name} is missing ({say_size(gap.end - gap.start)}){since}",
        "bold red" if one.alarms else "",
    )
    for cost in one.costs:
        page.say(f"    on timeline {cost.timeline}: {say_cost(cost)}")
    if not one.costs:
        page.say("    it costs nothing: no point lies before it")
    if one.elsewhere:
        page.say(f"    {listed(one.elsewhere)} has it: `backstay vault copy`")
    if one.known is not None:
        page.say(f"    known to {one.known.by}: {one.known.reason}")


def told_logs(found: Logs, now: datetime) -> dict[str, object]:
    away = [{"vault": vault, "error": error.message, "code": error.code} for vault, error in found.away]
    vaults = [_told_standing(one, now) for one in found.standings]
    return {"component": found.component, "vaults": plain(vaults), "away": away, "code": found.code}


def _told_standing(seen: Standing, now: datetime) -> dict[str, object]:
    """Places as PostgreSQL writes them."""
    leads = seen.leads
    return {
        "vault": seen.vault,
        "system": str(seen.system),
        "newest": seen.newest,
        "age": age(seen, now),
        "alarms": seen.alarms,
        "says": seen.says,
        "timelines": [
            {
                "timeline": one.timeline,
                "parent": one.parent,
                "left_at": None if one.left_at is None else say_lsn(one.left_at),
                "reason": one.reason,
                "start": None if one.start is None else say_lsn(one.start),
                "end": None if one.end is None else say_lsn(one.end),
                "stretches": one.stretches,
                "stored_bytes": one.stored_bytes,
                "wrong": one.history or None,
            }
            for one in seen.timelines
        ],
        "leads": None
        if leads is None
        else {
            "point": leads.base.point,
            "timeline": leads.timeline,
            "to": say_lsn(leads.to),
            "log_bytes": leads.log_bytes,
            "surely": leads.surely,
            "at_most": leads.at_most,
        },
        "gaps": [_told_gap(one) for one in seen.gaps],
        "unjoined": None if seen.unjoined is None else name_gap(seen.unjoined),
    }


def _told_gap(one: GapSeen) -> dict[str, object]:
    return {
        "gap": one.name,
        "bytes": one.gap.end - one.gap.start,
        "since": one.gap.since,
        "until": one.gap.until,
        "alarms": one.alarms,
        "elsewhere": one.elsewhere,
        "costs": [
            {
                "timeline": cost.timeline,
                "points": cost.cut,
                "since": cost.since,
                "until": cost.until,
                "next_point": cost.next,
            }
            for cost in one.costs
        ],
        "known": None if one.known is None else {"by": one.known.by, "reason": one.known.reason},
    }
