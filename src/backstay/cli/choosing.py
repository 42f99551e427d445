"""Which point to go back to: the last one at which a question was still answered right. And the damage, as evidence."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.app.choosing import Sought
    from backstay.cli.printing import Page
    from backstay.facts import AnswerGiven, Verdict
    from backstay.ports import Progress

By = Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")]


def register(app: App) -> None:
    for verb in (choose, capture):
        app.command(verb)


@Parameter(name="*")
@dataclass(frozen=True)
class Range:
    """Which points are asked."""

    from_: Annotated[str | None, Parameter(name="--from")] = None
    """Only points with data from this moment on: one at which it was right."""

    until: str | None = None
    """Only points with data up to this moment: one at which it was wrong."""

    precision: str = "1m"
    """Where the log between the two was kept: go on until right and wrong are so close."""

    points_only: Annotated[bool, Parameter(negative="")] = False
    """Leave the log alone."""


ALL = Range()


def choose(
    component: str,
    *,
    when: str,
    expect: str,
    among: Range = ALL,
    by: By = None,
    common: Common = HERE,
) -> None:
    """Find the last known good: the last point at which a question was still answered right, and the first at which it
    was not; over the log, where it was kept, the moments between the two as well. Of n points at most log2 n + 2 are
    restored, each into a throw-away place; nothing live is touched.

    The answers are kept in the journal: typed again, a search that was interrupted goes on where it was.

    Exits with 89 when no point that was asked gives the right answer.

    Example: `backstay choose database --when "SELECT count(*) FROM tenants" --expect ">= 1"`

    Parameters
    ----------
    component
        A component of the plan: a database.
    when
        The question: SQL that gives one row with one column. Only that one value is ever shown.
    expect
        The right answers, as in the plan: `>= 1`, `= active`, `in {a, b}`, `within 24h`.
    by
        Who looks: a person of the plan.
    """
    from backstay.app.choosing import Wanted, seek
    from backstay.cli.asking import moment, span
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen
    from backstay.errors import NoLastGood

    page = Page(common)
    home = page.home()

    def screen(title: str) -> "AbstractContextManager[Progress]":
        return work_screen(page, home.clock.elapsed, title)

    earliest, latest = (moment(said) if said else None for said in (among.from_, among.until))
    precision = None if among.points_only else span(among.precision)
    wanted = Wanted(component, when, expect, earliest, latest, by, precision)
    sought = seek(home, wanted, screen)
    _say(page, sought)
    page.done(_told(sought))
    if sought.good is None:
        raise Failed(NoLastGood.code)


def capture(
    component: str,
    *,
    reason: str,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    vault: str | None = None,
    by: By = None,
    common: Common = HERE,
) -> None:
    """Capture a damaged state that a recovery moved aside, as it is, into a point that is evidence. No recovery takes
    such a point, it does not expire while it is held, and nothing of the preserved state is changed or deleted.

    Example: `backstay capture database --reason "how did the tables go?" --by devops-lead`

    Parameters
    ----------
    component
        The component that it is a state of.
    reason
        Why it is kept; people will ask.
    from_
        A data directory, a database file, or a folder. Default: what the newest recovery moved aside.
    vault
        Into this vault of the plan. Default: the first of the component.
    by
        Who captures it: a person of the plan.
    """
    from backstay.app.capturing import Wanted
    from backstay.app.capturing import capture as read
    from backstay.cli.printing import Page
    from backstay.cli.protecting import work_screen
    from backstay.values import count, say_size, say_span

    page = Page(common)
    home = page.home()
    wanted = Wanted(component, from_, reason, by, vault)
    done = read(home, wanted, lambda title: work_screen(page, home.clock.elapsed, title))
    point, took = done.taken.point, say_span(done.taken.took)
    size = f"{count(point.files, 'file')}, {say_size(point.size_bytes)}, {say_size(point.stored_bytes)} stored"
    page.say(f"✔ {component}: {point.id} in {done.taken.vault} is {done.path} as it was: {size}, in {took}")
    page.say("  it is forensic: no recovery takes it, and it is held until somebody releases it")
    for line in done.taken.said:
        page.say(f"  {line}", "dim")
    page.say(f"  look into it: backstay restore {component} --point {point.id} --to FOLDER", "dim")
    page.say(f"  {done.path} is still there; whether it may go is for you to say", "dim")
    page.done(
        {"point": point, "vault": done.taken.vault, "hold": done.hold, "path": done.path, "said": done.taken.said}
    )


def _say(page: "Page", sought: "Sought") -> None:
    from backstay.cli.printing import local
    from backstay.values import count, say_span
    from backstay.verify.bisect import StillRight

    rows: list[tuple[str, ...]] = []
    for point in sought.points:
        if (given := sought.answers.get(point.id)) is not None:
            rows.append((point.id, local(point.moment), word(given.verdict), given.said))
    rows += [(one.point.id, local(one.point.moment), "not asked", one.why) for one in sought.left_out]
    for at, moment_given in (sought.over.answers if sought.over else {}).items():
        rows.append((moment_given.point, f"{local(at)} (log)", word(moment_given.verdict), moment_given.said))
    columns: dict[str, str] = dict.fromkeys(("point", "data until", "answer", "seen"), "left")
    page.table(f"{sought.component.name}: {sought.began.question}", columns, sorted(rows))
    asked = f"{count(sought.restores, 'restore')} of {count(len(sought.points), 'point')} in {say_span(sought.took)}"
    if sought.known_before:
        asked += f"; {count(sought.known_before, 'answer')} were known from before"
    page.say(asked, "dim")
    sign, style = ("✘", "bold red") if sought.good is None else ("✔", "bold green")
    page.say(f"{sign} {sought.said[0]}", style)
    for line in sought.said[1:]:
        page.say(f"? {line}", "bold yellow")
    if isinstance(sought.ended, StillRight) and not sought.ended.newer:
        page.say(
            "  what was written after it was not asked: if that is wrong, `backstay backup "
            f"{sought.component.name}`, and choose again: the log between the two is asked then"
        )
    if sought.usable:
        page.say(f"  {sought.usable}")
    for line in sought.commands:
        page.say(f"  {line}", "dim")


def word(verdict: "Verdict") -> str:
    from backstay.facts import Verdict

    return {Verdict.PASSED: "right", Verdict.FAILED: "wrong", Verdict.NOT_VERIFIED: "not verified"}[verdict]


def _told(sought: "Sought") -> dict[str, object]:
    def answer(given: "AnswerGiven") -> dict[str, object]:
        return {"answer": word(given.verdict), "said": given.said, "vault": given.vault, "took": given.took}

    asked = [
        {"point": point.id, "moment": point.moment, **answer(sought.answers[point.id])}
        for point in sought.points
        if point.id in sought.answers
    ]
    return {
        "search": sought.began.search,
        "component": sought.component.name,
        "result": type(sought.ended).__name__,
        "said": list(sought.said),
        "good": sought.good,
        "bad": sought.bad,
        "monotone": not getattr(sought.ended, "turned", ()),
        "points": len(sought.points),
        "restores": sought.restores,
        "known_before": sought.known_before,
        "took": sought.took,
        "answers": asked,
        "moments": sought.moments,
        "over_log": [{"at": at, **answer(one)} for at, one in (sought.over.answers if sought.over else {}).items()],
        "left_out": [{"point": one.point.id, "why": one.why} for one in sought.left_out],
        "usable": sought.usable,
        "next": list(sought.commands),
    }
