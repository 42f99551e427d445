"""Chapter four: how things stand, the document, the journal."""

from pathlib import Path

from cyclopts import App

from backstay.cli.options import HERE, Common

journal_app = App(
    name="journal",
    help="Read the journal, and prove that nothing in it was changed.\n\nExample: `backstay journal verify`",
)


def register(app: App) -> None:
    app.command(status)
    app.command(document)
    app.command(journal_app)


def status(*, common: Common = HERE) -> None:
    """Each component on one screen: newest point and its age against the RPO, newest proof, RTO promised and last
    measured, and a plain sentence where a promise is broken, unproven or unknown.

    Runs that have not ended stand above it: who drives them, whom they wait for, how to go on.
    With several vaults, a second table says what each of them has, how far it is behind, and when its own bytes were
    last read by a proof.

    Exits with 65 when a promise is broken or cannot be shown to be kept, when a vault is behind, and while a recovery
    is open.

    Example: `backstay status --json`
    """
    from backstay.app import telling
    from backstay.cli.printing import Failed, Page

    page = Page(common)
    told = telling.status(page.home())
    for run in told.under_way:
        first, *rest = run.lines
        page.say(first, "bold red" if run.live else "bold")
        for line in rest:
            page.say(f"  {line}")
    page.table(told.title, told.columns, told.rows)
    if told.vaults:
        columns = ("component", "vault", "points", "newest data", "behind", "read there")
        page.table("What each vault has", dict.fromkeys(columns, "left"), told.vaults)
    for sentence in told.sentences:
        page.say(sentence)
    page.done(told.plain)
    if not told.all_kept:
        raise Failed(65)


def document(*, to: Path = Path("document"), common: Common = HERE) -> None:
    """Write the plan document from what really happened: Markdown, and one self-contained HTML file.

    Example: `backstay document --to ./document`

    Parameters
    ----------
    to
        The folder to write into.
    """
    from backstay.app import documents
    from backstay.cli.printing import Page

    page = Page(common)
    written = documents.write_document(page.home(), to)
    for path in written:
        page.say(f"✔ {path}")
    page.done({"written": [str(path) for path in written]})


@journal_app.command
def verify(*, common: Common = HERE) -> None:
    """Check every link of the journal's hash chains, and compare its end with what was sealed into the vaults.

    Exits with 50 when a fact was changed, removed or reordered, 55 when the end could not be compared.

    Example: `backstay journal verify`
    """
    from backstay.app import telling
    from backstay.cli.printing import Failed, Page

    page = Page(common)
    checked = telling.verify_journal(page.home())
    for line in checked.lines:
        page.say(line)
    page.done(checked.plain)
    if checked.code:
        raise Failed(checked.code)


@journal_app.command
def show(stream: str | None = None, *, last: int = 50, common: Common = HERE) -> None:
    """Print facts, oldest first: of one stream, or the newest of all.

    Example: `backstay journal show component/database --last 10`

    Parameters
    ----------
    stream
        `run/ID`, `component/NAME`, `incident/ID`, `plan` or `watch`.
    last
        How many, from the end.
    """
    from backstay.app import telling
    from backstay.cli.printing import Page

    page = Page(common)
    facts = telling.facts(page.home(), stream, last)
    for line in facts.lines:
        page.say(line)
    page.done({"facts": facts.plain})
