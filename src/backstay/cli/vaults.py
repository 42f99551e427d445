"""What is done with a vault as a whole."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from backstay.cli import copies, locks, mending
from backstay.cli.options import HERE, Common, VaultAddress

if TYPE_CHECKING:
    from backstay.app.checking import Finding
    from backstay.values import VaultName

vault_app = App(
    name="vault",
    help="Look at a whole vault, and mend it.\n\nExample: `backstay vault check`",
)


def register(app: App) -> None:
    vault_app.command(copies.copy)
    vault_app.command(mending.repair)
    vault_app.command(locks.uncover)
    app.command(vault_app)


@vault_app.command
def check(
    *vaults: str,
    read_data: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    head: Annotated[list[str] | None, Parameter(negative="")] = None,
    rebuild_index: Annotated[bool, Parameter(negative="")] = False,
    vault: VaultAddress = None,
    trials: locks.Trials = locks.NO_TRIALS,
    common: Common = HERE,
) -> None:
    """Look at everything in a vault: every signed statement, box, tree and end of a pack; with --read-data also bytes.
    Says for each point whether it can still be restored, and if not, which files are lost.

    Exits with 77 when something that a point needs is damaged or missing, when somebody hid or overwrote anything, or
    when the vault shows an older state than the journal remembers; 35 when something could not be looked at.

    Example: `backstay vault check --read-data 5%`

    Parameters
    ----------
    vaults
        Names of vaults of the plan. Default: all of them.
    read_data
        Read the packs' bytes too: all, or a share such as 5%, those first that were not read for the longest time.
    head
        What the vault must have: a point, or a newer one of its component (`database/20261122T204437Z-7f3a9c1d`, as
        each check prints it at its end), or a head of the journal, as the grab bag has it. May be given several times.
    rebuild_index
        Write an index of everything that the ends of the packs say: for the day when index and maps are lost.
    vault
        A vault by its address, without a plan: a folder, s3://…, gs://… or az://….
    """
    from backstay.app import checking
    from backstay.cli.mending import say_checked_vault, say_finding, told_vault
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen

    page = Page(common, vault)
    home = page.home()
    if trials.immutability:
        locks.try_locks(page, vaults, everything=trials.all)
        return
    share, named = _share(read_data)
    wanted = checking.Wanted((*vaults, *named), share, [checking.read_head(text) for text in head or ()], rebuild_index)
    told: list[tuple[VaultName, Finding]] = []

    def tell(name: "VaultName", finding: "Finding") -> None:
        told.append((name, finding))
        say_finding(page, finding)

    came = checking.check(home, wanted, lambda title: work_screen(page, home.clock.elapsed, title), tell)
    for one in came:
        say_checked_vault(page, one, reading=bool(share))
    page.done({"vaults": [told_vault(one, [f for name, f in told if name == one.vault]) for one in came]})
    if codes := [one.code for one in came if one.code]:
        raise Failed(77 if 77 in codes else codes[0])


@vault_app.command
def probe(*vaults: str, common: Common = HERE) -> None:
    """Try what a vault needs of its store, on small objects that are taken away again: does put-if-absent have one
    winner, can a part of an object be read, is it listed at once, does deletion delete, what time is it there. What is
    seen is kept in the vault, and believed by whoever opens it.

    Exits with 71 when the store is no place for a vault. `backstay init` does the same.

    Example: `backstay vault probe offsite`

    Parameters
    ----------
    vaults
        Names of vaults of the plan. Default: all of them.
    """
    from backstay.app import probing
    from backstay.cli.printing import Failed, Page
    from backstay.errors import StoreUnsuitable

    page = Page(common)
    came = probing.probe(page.home(), vaults)
    for one in came:
        page.say(f"{one.vault}: {one.seen.store if one.seen else one.error}", "" if one.seen else "bold red")
        for sentence in one.sentences:
            page.say(f"  {sentence}")
    page.done({"vaults": came})
    if codes := [one.code for one in came if one.code]:
        raise Failed(StoreUnsuitable.code if StoreUnsuitable.code in codes else codes[0])


@vault_app.command
def tidy(*vaults: str, common: Common = HERE) -> None:
    """Take away what killed processes left in a bucket and no listing shows: uploads that were begun more than a day
    ago and never finished, and objects of a probe. No recovery point is touched.

    Example: `backstay vault tidy offsite`

    Parameters
    ----------
    vaults
        Names of vaults of the plan. Default: all of them.
    """
    from backstay.app import probing
    from backstay.cli.printing import Page

    page = Page(common)
    came = list(probing.tidy(page.home(), vaults))
    for one in came:
        page.say(f"{one.vault}: {one.said}")
    page.done({"vaults": came})


def _share(read_data: list[str] | None) -> tuple[float, list[str]]:
    """`--read-data` takes a percentage or nothing: what follows it and is none, is the name of a vault."""
    from backstay.app.checking import read_percent

    if read_data is None:
        return 0, []
    shares = [word for word in read_data if word[:1].isdigit()]
    return (read_percent(shares[0]) if shares else 100), [word for word in read_data if word not in shares]
