"""Chapter: secrets. The values behind the plan's references, sealed into the vaults for those who recover."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common, VaultAddress

secrets_app = App(
    name="secrets",
    help="Seal the plan's secrets into its vaults, and get them back on the day.\n\nExample: `backstay secrets list`",
)


def register(app: App) -> None:
    app.command(secrets_app)


@secrets_app.command
def seal(*, again: Annotated[bool, Parameter(negative="")] = False, common: Common = HERE) -> None:
    """Keep the value of every secret reference of the plan in each vault, for readers only.

    Run it where every value is, and again when one changes: `backstay ready` notices. A host that only writes can seal,
    and cannot open what it sealed.

    Example: `backstay secrets seal`

    Parameters
    ----------
    again
        Also where the same values are sealed already.
    """
    from backstay.app import sealing
    from backstay.cli.printing import Page

    page = Page(common)
    for line in sealing.seal(page.home(), again=again):
        page.say(line)
    page.done()


@secrets_app.command(name="list")
def list_(*, vault: VaultAddress = None, common: Common = HERE) -> None:
    """Show which references are sealed, when, by whom and for whom. Never a value.

    Example: `backstay secrets list`

    Parameters
    ----------
    vault
        A vault by its address, without a plan.
    """
    from backstay.app import sealing
    from backstay.cli.printing import Page, local

    page = Page(common, vault)
    found = sealing.kept(page.home())
    rows = (
        (local(one.sealed.at), str(one.vault), "this" if one.of_this_plan else one.sealed.plan[:23], one.sealed.by,
         one.readers, ", ".join(sorted(one.sealed.digests)))
        for one in found
    )  # fmt: skip
    columns: dict[str, str] = dict.fromkeys(("sealed", "vault", "plan", "by", "for", "references"), "left")
    if found:
        page.table("", columns, rows)
    else:
        page.say("no secrets are sealed yet: backstay secrets seal")
    told = [
        {"vault": one.vault, "plan": one.sealed.plan, "at": one.sealed.at, "by": one.sealed.by, "for": one.readers,
         "references": sorted(one.sealed.digests)}
        for one in found
    ]  # fmt: skip
    page.done({"sealed": told})


@secrets_app.command(name="open")
def open_(
    *,
    to: Path | None = None,
    env: Annotated[bool, Parameter(negative="")] = False,
    show: Annotated[bool, Parameter(negative="")] = False,
    vault: VaultAddress = None,
    common: Common = HERE,
) -> None:
    """Get the sealed values back, with the key of a reader, as lines for a shell. `backstay recover` needs no such
    thing: it takes what the environment lacks by itself.

    Example: `backstay secrets open --to ./environment`

    Parameters
    ----------
    to
        A new file, for its owner only: `. ./environment` in a shell sets them.
    env
        Print the lines, for `eval "$(backstay secrets open --env)"`.
    show
        With --env: also when standard output is a terminal, where whoever looks over your shoulder reads them.
    vault
        A vault by its address, without a plan.
    """
    import sys

    from backstay.app import sealing
    from backstay.cli.printing import Page
    from backstay.errors import Usage
    from backstay.vault.keyring import write_private

    page = Page(common, vault)
    if (to is None) == (not env):
        raise Usage("say where to: --to FILE, or --env", detail="nothing was opened")
    if env and sys.stdout.isatty() and not show:
        raise Usage(
            "the secrets would stand on this screen",
            detail="nothing was opened",
            hint="--to FILE writes them to a file of yours; --env --show prints them all the same",
        )
    text, references = sealing.exports(page.home())
    if to is not None:
        write_private(to, text, what="file of secrets")
        page.say(f"✔ wrote the values to {to}, for its owner only; remove it when you are done")
        page.done({"file": str(to), "references": references})
        return
    page.note("careful: what follows are secrets; a terminal keeps what it shows, and a log what it is given")
    if common.json:
        page.done({"lines": text.splitlines()})
    else:
        print(text, end="", flush=True)
