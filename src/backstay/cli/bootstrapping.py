"""Chapter six: beginning on a machine that has nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter


def register(app: App) -> None:
    app.command(bootstrap)


@Parameter(name="*")
@dataclass(frozen=True)
class Choosing:
    """What is taken from the vault."""

    plan: str | None = None
    """The first digits of another revision of the plan than the one adopted last."""

    head: str | None = None
    """What was sealed when the grab bag was made: EPOCH/NUMBER:DIGEST, or its file. An older vault is refused."""

    look: Annotated[bool, Parameter(negative="")] = False
    """Only look: take nothing over from the machine that has the journal. For a rehearsal while it lives."""


def bootstrap(
    *,
    vault: str,
    key: Annotated[Path, Parameter(env_var="BACKSTAY_KEY")] = Path("backstay.key"),
    to: Path = Path(),
    choosing: Choosing = Choosing(),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Begin on an empty machine, from one vault and a key: plan, journal, secrets and points come back, and
    `backstay recover` works.

    The machine that had the journal before writes no more as soon as it looks. Stopped half way, type it again.
    Exits with 50 or 55 when the journal could not be verified whole; everything is there all the same.

    Example: `backstay bootstrap --vault /mnt/usb/vault --key /mnt/usb/backstay.key --to ~/recovery`

    Parameters
    ----------
    vault
        The address of any vault of the plan: a folder, s3://…, gs://… or az://….
    key
        The key file. It is copied beside the plan.
    to
        An empty folder, made if it is not there. Default: this one.
    json
        Print JSON on standard output, errors as JSON on standard error.
    """
    from backstay.app import bootstrapping, telling
    from backstay.cli.options import Common, Failed
    from backstay.cli.printing import Page, plain
    from backstay.cli.protecting import say_points

    page = Page(Common(json=json))
    wanted = bootstrapping.Wanted(vault, key, to, choosing.plan, choosing.head, choosing.look)
    arrived = bootstrapping.bootstrap(wanted, Path.cwd(), page.say)
    rows = telling.points(arrived.home, ())
    say_points(page, arrived.home, rows)
    here = f"cd {arrived.home.base} && " if arrived.home.base != Path.cwd() else ""
    page.say("next:")
    for step in arrived.next_steps:
        page.say(f"  {here}{step}")
    found = [{"vault": row.vault, "proof": row.proof, "why": row.why, "point": plain(row.point)} for row in rows]
    page.done(bootstrapping.told(arrived) | {"said": page.said, "points": found})
    if arrived.codes:
        raise Failed(min(arrived.codes))
