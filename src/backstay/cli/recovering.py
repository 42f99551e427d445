"""Chapter three: the day itself, and rehearsing it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from backstay.cli.options import HERE, OWN_END, Common, Until

if TYPE_CHECKING:
    from backstay.app.home import Home
    from backstay.app.recovering import Prepared, Wanted
    from backstay.cli.printing import Page
    from backstay.ports import Seen

run_app = App(
    name="run",
    help="Look at a run, answer its questions, skip or retry a step, cancel it.\n\nExample: `backstay run show`",
)


def register(app: App) -> None:
    for verb in (smoke, recover, resume, drill):
        app.command(verb)
    app.command(run_app)


def smoke(*checks: str, site: str = "primary", common: Common = HERE) -> None:
    """Does it work? Run the smoke checks once, and write down what they saw: it dates a disaster later.

    Exits with 64 when a check is red, 35 when one could not run.

    Example: `backstay smoke health`

    Parameters
    ----------
    checks
        Names of checks of the plan. Default: all of them.
    site
        The site whose endpoints are asked.
    """
    from backstay.app import watching
    from backstay.cli.printing import Failed, Page
    from backstay.values import say_span

    page = Page(common)
    signs = {"green": ("✔", "green"), "red": ("✘", "bold red"), "unknown": ("?", "bold yellow")}

    def tell(name: str, one: "Seen") -> None:
        sign, style = signs[one.colour]
        page.say(f"{sign} {name} is {one.colour} ({say_span(one.took)}): {one.why}", style)

    seen = watching.look(page.home(), checks, site, tell)
    page.done(
        {name: {"colour": one.colour, "why": one.why, "took_s": one.took.total_seconds()} for name, one in seen.items()}
    )
    colours = {one.colour for one in seen.values()}
    if colours - {"green"}:
        raise Failed(64 if "red" in colours else 35)


@Parameter(name="*")
@dataclass(frozen=True)
class Declaring:
    """How a disaster is declared."""

    by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None
    """Who declares: a person of the plan."""

    reason: str = ""
    """Why, in one sentence, for everybody who will read it later."""

    mode: Literal["live", "dry"] = "live"
    """`dry` prints every step with its targets, and changes nothing."""

    point: str | None = None
    """COMPONENT=POINT: restore this point, instead of the last known good."""

    disaster: str | None = None
    """When it happened, where the smoke checks did not see it: a moment, or two with `..` between."""

    site: str = "primary"
    """The site to recover."""

    confirm: str | None = None
    """The scenario's name, typed beforehand."""

    break_glass: Annotated[bool, Parameter(negative="")] = False
    """Declare without the approval that the plan asks for. Needs a reason; it stays in every report."""


def recover(
    scenario: str, *, how: Declaring = Declaring(), until: Until = OWN_END, common: Common = HERE
) -> None:  # fmt: skip
    """Declare a disaster and recover from it, step by step, with a stopwatch.

    Shows first what will be stopped and replaced, and wants the scenario's name typed. Stop it at any moment
    (Ctrl-C, a crash, a power cut): `backstay resume` looks what has happened, and goes on.

    With --at, --lsn, --xid, --restore-point or --latest, databases go on from their point over the log that was kept.
    Whether that leads there is looked at first, and what cannot be reached is refused with what can.

    Example: `backstay recover database-loss --by devops-lead --reason "tables are gone"`

    Parameters
    ----------
    scenario
        A scenario of the plan; `backstay plan show` lists them.
    """
    from backstay.app.recovering import Wanted
    from backstay.cli.asking import moment_range, named_point
    from backstay.cli.printing import Page
    from backstay.plan import Mode
    from backstay.values import SiteName

    wanted = Wanted(
        scenario=scenario,
        by=how.by,
        mode=Mode(how.mode),
        site=SiteName(how.site),
        reason=how.reason,
        disaster=moment_range(how.disaster, how.by),
        point=named_point(how.point),
        break_glass=how.break_glass,
        target=until.target(),
    )
    _run(Page(common), wanted, how.confirm)


def drill(
    scenario: str,
    *,
    by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None,
    point: str | None = None,
    until: Until = OWN_END,
    common: Common = HERE,
) -> None:
    """Rehearse a recovery in the plan's sandbox: the same steps, and nothing live is touched.

    Example: `backstay drill database-loss --by devops-lead`

    Parameters
    ----------
    scenario
        A scenario of the plan.
    by
        Who leads the drill: a person of the plan.
    point
        COMPONENT=POINT: use this point, instead of the last known good.
    """
    from backstay.app.recovering import Wanted
    from backstay.cli.asking import named_point
    from backstay.cli.printing import Page
    from backstay.plan import Mode

    wanted = Wanted(scenario, by, Mode.DRILL, point=named_point(point), target=until.target())
    _run(Page(common), wanted, scenario)


def resume(run: str | None = None, *, common: Common = HERE) -> None:
    """Go on with a run that was stopped, or whose driver died: first look what has happened, then do the rest.

    Example: `backstay resume`

    Parameters
    ----------
    run
        The run. Default: the only open one.
    """
    from backstay.app import recovering
    from backstay.cli.printing import Page

    page = Page(common)
    home = page.home()
    _drive(page, home, recovering.open_run(home, run))


def _run(page: "Page", wanted: "Wanted", confirm: str | None) -> None:
    from backstay.app import recovering
    from backstay.cli.asking import typed_name
    from backstay.plan import Mode

    home = page.home()
    if wanted.mode is not Mode.DRY:
        home.refuse_if_overtaken()
    prepared = recovering.prepare(home, wanted)
    recovering.refuse_if_busy(home, prepared)
    if trouble := home.clock_trouble():
        # Said, and gone on: on the day of the disaster a recovery does not wait for a clock.
        page.note(f"! {trouble}")
    if wanted.mode is Mode.LIVE:
        _explain(page, prepared)
        typed_name(page.err, wanted.scenario, confirm)
    _drive(page, home, recovering.begin(home, prepared, page.note))


def _explain(page: "Page", prepared: "Prepared") -> None:
    """Every step, how long it usually takes, and what it stops or replaces: before anything is asked or done."""
    from rich.padding import Padding
    from rich.text import Text

    page.err.print(Text(prepared.title, "bold"))
    for line in prepared.explained:
        words = line.lstrip(" ")
        page.err.print(Padding(Text(words), (0, 0, 0, 2 + len(line) - len(words)), expand=False))


def _drive(page: "Page", home: "Home", run: str) -> None:
    from rich.console import Console

    from backstay.app import documents, recovering
    from backstay.app.under_way import answers_to, ways_on
    from backstay.cli.printing import Failed
    from backstay.cli.screen import RunScreen
    from backstay.engine import Done, Waiting, WaitingFor
    from backstay.errors import WaitingForPerson
    from backstay.machine import State
    from backstay.plan import Mode
    from backstay.values import RunId

    id = RunId(run)
    dry = recovering.state_of(home, id).started.mode is Mode.DRY
    # A dry run says its own lines, and has nothing to watch.
    console = Console(quiet=True) if dry else page.err
    with RunScreen(console, home.clock.now, home.clock.elapsed) as screen:
        while True:
            ending = recovering.drive(
                home, id, recovering.Eyes(screen.watch, screen.progress), page.say if dry else page.note
            )
            match ending:
                case Waiting(_, until):
                    home.clock.wait(max(until - home.clock.now(), home.clock.elapsed() * 0))
                case WaitingFor(_, questions):
                    asked = questions[0]
                    answers = answers_to(ending.run, asked.step)
                    raise WaitingForPerson(
                        f"run {run} waits for {' or '.join(asked.who) or 'somebody'}: {asked.question}",
                        detail="nothing goes on before the answer; the clock of the recovery does",
                        hint=f"`backstay run answer {run} {asked.step} {answers} --by PERSON`, then `backstay resume`",
                    )
                case Done():
                    break
    report = documents.run_report(home, id)
    if not dry:
        page.document(report.document, only=("Phases", "What Was Lost", "What This Does Not Prove"))
        page.say(f"the whole report: backstay run show {id}", "dim")
    page.done(report.told)
    if ending.run.ended is not None and ending.run.ended.result != "recovered":
        for failed in ending.run.in_state(State.FAILED) if ending.run.ended.result == "failed" else ():
            for line in ways_on(ending.run.started, [failed.step.id]):
                page.note(line)
    if report.code:
        raise Failed(report.code)


# ── what people say to a run ─────────────────────────────────────────────────────────────────────


@run_app.command
def show(run: str | None = None, *, common: Common = HERE) -> None:
    """Show one run: its phases and steps, targets against actuals. Default: the newest.

    Example: `backstay run show`

    Parameters
    ----------
    run
        The run.
    """
    from backstay.app import documents
    from backstay.cli.printing import Page

    page = Page(common)
    report = documents.run_report(page.home(), run)
    page.document(report.document)
    page.done(report.told)


@Parameter(name="*")
@dataclass(frozen=True)
class Answering:
    """What stands behind an answer."""

    by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None
    """Who answers: a person of the plan."""

    reason: str = ""
    """Why; required to break the glass."""

    sign_with: Path | None = None
    """An OpenSSH ed25519 private key, without a passphrase, to sign the answer with."""

    break_glass: Annotated[bool, Parameter(negative="")] = False
    """Let an unsigned approval count. Needs a reason; it stays in every report."""


@run_app.command
def answer(
    run: str, step: str, said: str, *, how: Answering = Answering(), common: Common = HERE
) -> None:  # fmt: skip
    """Answer a question of a run: yes or no to an approval, happened or did-not where only a person can tell.

    An approval counts when it is signed with the key that the plan names for the person; without one it is a claim,
    shown as such.

    Example: `backstay run answer recovery-20261122t204437z-7f3a 2.1-approve yes --by cto --sign-with cto-key`

    Parameters
    ----------
    run
        The run.
    step
        The step that asks.
    said
        The answer.
    """
    from backstay.app import answering
    from backstay.cli.printing import Page

    page = Page(common)
    behind = answering.How(how.reason, how.sign_with, how.break_glass)
    told = answering.answer(page.home(), run, step, said, how.by, behind)
    page.say(told)
    page.done({"answer": told})


@run_app.command
def skip(
    run: str, step: str, *, reason: str, by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None,
    common: Common = HERE,
) -> None:  # fmt: skip
    """Leave a step out, with a reason. It stays in every report as skipped.

    Example: `backstay run skip RUN 1.2-preserve-database --by devops-lead --reason "no room for a copy"`

    Parameters
    ----------
    run
        The run.
    step
        The step.
    reason
        Why, in one sentence.
    by
        Who decides: a person of the plan.
    """
    from backstay.app import answering
    from backstay.cli.printing import Page

    page = Page(common)
    page.say(answering.skip(page.home(), run, step, by, reason))
    page.done()


@run_app.command
def retry(
    run: str, step: str, *, reason: str, by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None,
    common: Common = HERE,
) -> None:  # fmt: skip
    """Try a failed step again, when what was in the way is gone; then `backstay resume`.

    Example: `backstay run retry RUN 2.2-restore-database --by devops-lead --reason "made room on the disk"`

    Parameters
    ----------
    run
        The run.
    step
        The step.
    reason
        What has changed, in one sentence.
    by
        Who decides: a person of the plan.
    """
    from backstay.app import answering
    from backstay.cli.printing import Page

    page = Page(common)
    page.say(answering.retry(page.home(), run, step, by, reason))
    page.done()


@run_app.command
def cancel(
    run: str, *, reason: str, by: Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")] = None,
    common: Common = HERE,
) -> None:  # fmt: skip
    """End a run. Nothing is undone: what was done stays, and is in the journal.

    Example: `backstay run cancel RUN --by cto --reason "the old site is back"`

    Parameters
    ----------
    run
        The run.
    reason
        Why, in one sentence.
    by
        Who decides: a person of the plan.
    """
    from backstay.app import answering
    from backstay.cli.printing import Page

    page = Page(common)
    page.say(answering.cancel(page.home(), run, by, reason))
    page.done()
