"""Chapter six: beginning on a machine that has nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common


def register(app: App) -> None:
    app.command(bootstrap)
    app.command(grab_bag)


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
    from backstay.cli.printing import Failed, Page, plain
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
    found = [
        {"vaults": plain(row.vaults), "proof": row.proof, "why": row.why, "point": plain(row.point)} for row in rows
    ]
    page.done(bootstrapping.told(arrived) | {"said": page.said, "points": found})
    if arrived.codes:
        raise Failed(min(arrived.codes))


def grab_bag(
    *,
    to: Path | None = None,
    check: Path | None = None,
    with_key: Path | None = None,
    common: Common = HERE,
) -> None:
    """Put together one folder for the safe, from which a stranger can begin without a network; or check one.

    Instructions to print, contacts, plan, heads of the vaults, Backstay and what it stands on, all of it signed. No
    secret is in it. Exits with 24 when a bag was changed, 35 when nobody here knows its signer.

    Example: `backstay grab-bag --to /mnt/usb/grab-bag`

    Parameters
    ----------
    to
        A new folder.
    check
        Compare this bag with what was signed.
    with_key
        Put this key file into the bag as well: then the bag opens every backup.
    """
    from backstay.app import grabbing
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen
    from backstay.errors import PlanMissing, Usage, WrongKey
    from backstay.values import count, say_size

    page = Page(common)
    home = page.home()
    if (to is None) == (check is None):
        raise Usage("say --to FOLDER to make a grab bag, or --check FOLDER to check one")
    if check is not None:
        try:
            keys = home.keys
        except (PlanMissing, WrongKey):
            keys = None
        checked = grabbing.check(check, keys)
        for line in checked.lines:
            page.say(line)
        page.done({"signer": checked.signer, "wrong": list(checked.wrong), "code": checked.code})
        if checked.code:
            raise Failed(checked.code)
        return
    assert to is not None, "one of the two was said"
    with work_screen(page, home.clock.elapsed, "packing"):
        grabbed = grabbing.grab(home, to, with_key)
    page.say(f"✔ {grabbed.folder}: {count(grabbed.files, 'file')}, {say_size(grabbed.size_bytes)}, signed")
    for missing in grabbed.missing:
        page.say(f"? not in it: {missing}")
    page.say("next: print index.html, fill in its lines by hand, and lay both into the safe")
    page.done(grabbing.told(grabbed))
