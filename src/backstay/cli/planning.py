"""Chapter one: the plan, and the place where everything will be kept."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common

plan_app = App(name="plan", help="Check, show and describe the plan file.\n\nExample: `backstay plan check`")


def register(app: App) -> None:
    app.command(init)
    app.command(plan_app)


def init(*, common: Common = HERE) -> None:
    """Make the key, the vaults and the journal that the plan names; write a first plan where there is none.

    Nothing that exists is overwritten: a second call says what is there.

    Example: `backstay init`
    """
    from backstay.app import planning
    from backstay.cli.printing import Page

    page = Page(common)
    for line in planning.init(page.home()):
        page.say(line)
    page.done()


@plan_app.command
def check(*, common: Common = HERE) -> None:
    """Read the plan and report every problem at once, each with its file, line and column.

    Example: `backstay plan check --plan ../backstay.yaml`
    """
    from backstay.app import planning
    from backstay.cli.printing import Page

    page = Page(common)
    checked = planning.check(page.home())
    for remark in checked.remarks:
        page.say(f"remark: {remark}")
    page.say(checked.sentence)
    page.done({"plan": str(checked.path), "digest": checked.digest, "remarks": list(checked.remarks)})


@plan_app.command
def show(*, common: Common = HERE) -> None:
    """Print the plan as a person reads it: what is protected, what was promised, what is done in a disaster.

    Example: `backstay plan show`
    """
    from backstay import review
    from backstay.app import documents
    from backstay.cli.printing import Page

    page = Page(common)
    document = documents.plan_document(page.home())
    page.document(document)
    page.done({"title": document.title, "markdown": review.markdown(document)})


@plan_app.command
def schema(*, to: Annotated[Path | None, Parameter()] = None, common: Common = HERE) -> None:
    """Print the JSON Schema of the plan file, for editors.

    Example: `backstay plan schema > backstay.schema.json`

    Parameters
    ----------
    to
        Write it to this file instead.
    """
    import json

    from backstay import config

    del common  # the schema is always JSON, and needs no plan
    text = json.dumps(config.schema(), indent=2)
    if to is None:
        print(text)
    else:
        to.write_text(text + "\n")
