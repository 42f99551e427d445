"""Chapter: keys. Who can read, write, prove and recover; for hosts, for people, for the safe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common, VaultAddress

if TYPE_CHECKING:
    from backstay.app.keys import Listing
    from backstay.cli.printing import Page

Kind = Literal["reader", "writer", "prover", "recoverer", "owner"]

key_app = App(
    name="key",
    help="Who can read, write, prove and recover: people, hosts, and sheets in a safe.\n\nExample: `backstay key list`",
)


def register(app: App) -> None:
    app.command(key_app)


@key_app.command(name="list")
def list_(*, vault: VaultAddress = None, common: Common = HERE) -> None:
    """Show who can do what in each vault, which epoch of keys is in use, and what differs between vaults.

    Exits with 24 when something about keys counts for nothing, or vaults differ.

    Example: `backstay key list`

    Parameters
    ----------
    vault
        A vault by its address, without a plan.
    """
    from backstay.app import keys
    from backstay.app.keys import Listing
    from backstay.cli.printing import Failed, Page
    from backstay.errors import Damaged

    page = Page(common, vault)
    found, odd = keys.listing(page.home())
    alike: dict[tuple[object, ...], list[Listing]] = {}
    for one in found:
        alike.setdefault((one.register.root, one.register.current, *one.holders), []).append(one)
    for same in alike.values():
        _say_vaults(page, same)
    for line in odd:
        page.say(f"✘ {line}", "bold red")
    page.done({"vaults": [_told(one) for one in found], "troubles": odd})
    if odd:
        raise Failed(Damaged.code)


def _say_vaults(page: "Page", same: "list[Listing]") -> None:
    from backstay.app.keys import what
    from backstay.values import listed
    from backstay.vault.keys import fingerprint

    one = same[0]
    number, _ = one.register.current
    page.say(f"{listed(str(each.vault) for each in same)}: epoch {number} is in use; root {one.register.root.hex()}")
    rows = (
        (who.short, "retired" if who.retired else who.role.value if who.role else "reader", what(who),
         fingerprint(who.signer) if who.signer else "")
        for who in one.holders
    )  # fmt: skip
    page.table("", {"who": "left", "role": "left", "can": "left", "signs as": "left"}, rows)


def _told(one: "Listing") -> dict[str, object]:
    from backstay.app.keys import what

    number, epoch = one.register.current
    return {
        "vault": one.vault,
        "root": one.register.root.hex(),
        "epoch": number,
        "epoch_id": epoch.hex(),
        "holders": [
            {
                "name": who.name, "role": who.role.value if who.role else "reader", "can": what(who),
                "reads": who.reads, "writes": who.writes, "by_words": who.by_words, "retired": who.retired,
                "address": who.address, "signer": who.signer.hex() if who.signer else None,
            }
            for who in one.holders
        ],
    }  # fmt: skip


@key_app.command
def new(
    file: Path,
    *,
    for_: Annotated[Kind, Parameter(name="--for")] = "reader",
    name: str | None = None,
    trust: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    common: Common = HERE,
) -> None:
    """Make a key file for another person or host, on the machine where it will stay. Prints its public half.

    The printed word is handed to an owner of the vault, who lets the key in with `backstay key add`.

    Example: `backstay key new ./prover.key --for prover`

    Parameters
    ----------
    file
        The file to make, for its owner only. Nothing is overwritten.
    for_
        What it is meant for. What it may do, the owner decides.
    name
        What people call its holder. Default: the file's name.
    trust
        The root of a vault, as `backstay key list` prints it: the key then writes to vaults of that root alone.
    """
    from backstay.app import keys
    from backstay.cli.printing import Page

    page = Page(common)
    made = keys.new_file(file, name, keys.role_of(for_), trust)
    page.say(made.line)
    page.note(f"made {file} for its owner only; hand the line over, and compare by telephone: {made.digits}")
    page.done({"line": made.line, "digits": made.digits, "file": str(file), "name": made.public.name})


@key_app.command
def add(
    line: str | None = None,
    *,
    role: Kind | None = None,
    name: str | None = None,
    passphrase: Annotated[bool, Parameter(negative="")] = False,
    passphrase_from: str | None = None,
    common: Common = HERE,
) -> None:
    """Let a key in, in all vaults of the plan: the word that `key new` printed, an age address, or a passphrase.

    A passphrase is asked for twice, and is never shown. Doing it again finishes what was left half done.

    Example: `backstay key add age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p --name anna`

    Parameters
    ----------
    line
        The public half: of `backstay key new`, or an address that begins with age1.
    role
        What the key may do. A writer makes points and cannot read back; the others read. Default: reader.
    name
        What people call its holder. Default: what the line says.
    passphrase
        Ask for words instead: whoever knows them gets the key with `backstay key unlock`.
    passphrase_from
        Where the words are: a file, as `${file:PATH}`, or the number of an open file descriptor.
    """
    from backstay.app import keys
    from backstay.cli.printing import Page
    from backstay.errors import Usage

    page = Page(common)
    words = passphrase or passphrase_from is not None
    if (line is None) == (not words):
        raise Usage("name one key: a LINE, or --passphrase", hint="`backstay key add --help`")
    wanted = keys.role_of(role or "reader")
    home = page.home()
    if words:
        typed = _words(page, passphrase_from, twice=True)
        said = keys.admit_words(home, typed, name, wanted)
    else:
        handed = keys.read_line(line or "", name)
        if role is None and handed.wish is not None:
            page.note(f"it was made to be a {handed.wish.value}; without --role it becomes a reader")
        said = keys.admit(home, handed, wanted)
    for sentence in said:
        page.say(sentence)
    page.done()


@key_app.command
def remove(
    who: str,
    *,
    until: str | None = None,
    confirm: str | None = None,
    vault: VaultAddress = None,
    common: Common = HERE,
) -> None:
    """Take a key away, in all vaults of the plan: it signs nothing more that counts, and reads nothing that comes.

    This protects what is sealed from now on. What its holder could read, they may have kept.

    Example: `backstay key remove anna`

    Parameters
    ----------
    who
        A name of `backstay key list`, an address, or the sixteen digits of a signer.
    until
        The key may be a thief's since then: of what it signed, only what the vaults had by that moment is believed.
    confirm
        The same name again, where there is no terminal to ask at.
    vault
        A vault by its address, without a plan.
    """
    from backstay.app import keys
    from backstay.cli.asking import moment, typed_name
    from backstay.cli.printing import Page
    from backstay.cli.protecting import work_screen

    page = Page(common, vault)
    home = page.home()
    since = moment(until) if until else None
    family, said, going = keys.find(home, who)
    for one in going:
        page.note(f"{one.short} {keys.what(one)}")
    typed_name(page.err, who, confirm)
    for sentence in said:
        page.say(sentence)
    with work_screen(page, home.clock.elapsed, f"taking {who} out") as progress:
        done = list(keys.remove(home, family, going, since, progress))
    for sentence in done:
        page.say(sentence)
    page.done()


@key_app.command
def epoch(*, vault: VaultAddress = None, common: Common = HERE) -> None:
    """Begin a new epoch of keys for everybody who is in. Readers who were taken out do not get it.

    Example: `backstay key epoch`

    Parameters
    ----------
    vault
        A vault by its address, without a plan.
    """
    from backstay.app import keys
    from backstay.cli.printing import Page

    page = Page(common, vault)
    for sentence in keys.turn(page.home()):
        page.say(sentence)
    page.done()


@key_app.command
def split(
    *,
    shares: int = 5,
    needed: int = 3,
    to: Path | None = None,
    name: str = "safe",
    role: Kind = "owner",
    common: Common = HERE,
) -> None:
    """Make a key that exists only as words on sheets of paper, one for each person: any few of them give it back.

    Print the sheets or copy them by hand, give each to another person, and remove the files. Try it, before you rely
    on it: `backstay key join`.

    Example: `backstay key split --shares 5 --needed 3 --to ./sheets`

    Parameters
    ----------
    shares
        How many sheets, at most 16.
    needed
        How many of them give the key back, at least 2.
    to
        A folder for the sheets, one file each, for its owner only. Default: this terminal, one after another.
    name
        What the key is called.
    role
        What the people may do together. The owner can let a new machine in when all others are lost.
    """
    from backstay.app import keys
    from backstay.cli.printing import Page

    page = Page(common)
    home, wanted = page.home(), keys.role_of(role)
    _refuse_to_leak(page, to)
    secret, sheets = keys.split(home, shares, needed, name, wanted)
    if to is not None:
        for path in keys.write_sheets(to, sheets):
            page.say(f"✔ wrote {path}")
    else:
        for sheet in sheets:
            page.say(sheet.text)
            _wait(page, f"sheet {sheet.number} of {shares}: copy it, press Enter, and clear the screen")
    for sentence in keys.enrol_shared(home, secret, name, wanted):
        page.say(sentence)
    page.say("  give each sheet to another person, and try it once: backstay key join FILE")
    page.done()


def _refuse_to_leak(page: "Page", to: Path | None) -> None:
    import sys

    from backstay.errors import Usage

    if to is None and (page.common.json or not (sys.stdout.isatty() and sys.stdin.isatty())):
        raise Usage(
            "the sheets would end in a file or a log that others can read",
            detail="this is no terminal; nothing was done",
            hint="name a folder for them: --to ./sheets",
        )


def _wait(page: "Page", prompt: str) -> None:
    from backstay.cli.asking import unseen

    unseen(page.err, prompt)


@key_app.command
def join(
    file: Path,
    *,
    from_: Annotated[tuple[Path, ...], Parameter(name="--from", negative="")] = (),
    trust: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    common: Common = HERE,
) -> None:
    """Make the key file from the words of enough sheets. They are asked for, and not shown; no vault is needed.

    Example: `backstay key join ./safe.key`

    Parameters
    ----------
    file
        The key file to make, for its owner only. Nothing is overwritten.
    from_
        Files with the words of one sheet each, instead of asking.
    trust
        The root that the sheets print: the key then writes to vaults of that root alone.
    """
    from backstay.app import keys
    from backstay.cli.asking import unseen
    from backstay.cli.printing import Page
    from backstay.errors import WrongShares
    from backstay.vault import shares

    page = Page(common)
    words: list[str] = []
    for path in from_:
        try:
            words.append(keys.words_of_sheet(path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise WrongShares(f"the sheet {path} cannot be read", detail=str(error)) from None
    needed = 2
    while not from_ and len(words) < needed:
        try:
            typed = keys.words_of_sheet(unseen(page.err, f"words of sheet {len(words) + 1}, not shown: "))
            needed, _ = shares.needed_by(typed, len(words) + 1)
            words.append(typed)
        except WrongShares as error:
            if page.common.json or not _at_terminal():
                raise
            page.note(str(error))  # a person tries again
    made = keys.join(file, words, trust)
    page.say(f"✔ wrote {file}: it reads as {made.recipient}")
    if not trust:
        page.say("  to write with it, add the line BACKSTAY-TRUST-1 of the sheets to it")
    page.done({"file": str(file), "address": made.recipient})


def _at_terminal() -> bool:
    import sys

    return sys.stdin.isatty()


@key_app.command
def unlock(
    file: Path, *, passphrase_from: str | None = None, vault: VaultAddress = None, common: Common = HERE
) -> None:
    """Make the key file that stands behind a passphrase in the vaults. The words are asked for, and not shown.

    Example: `backstay key unlock ./safe.key --vault ./vault`

    Parameters
    ----------
    file
        The key file to make, for its owner only. Nothing is overwritten.
    passphrase_from
        Where the words are: a file, as `${file:PATH}`, or the number of an open file descriptor.
    vault
        A vault by its address, without a plan.
    """
    from backstay.app import keys
    from backstay.cli.printing import Page

    page = Page(common, vault)
    made = keys.unlock(page.home(), file, _words(page, passphrase_from, twice=False))
    page.say(f"✔ wrote {file}: it reads as {made.recipient}")
    page.done({"file": str(file), "address": made.recipient})


def _words(page: "Page", source: str | None, *, twice: bool) -> str:
    """A passphrase: from a file or a descriptor, or typed. Never from the command line, where everybody sees it."""
    import os
    import re
    from pathlib import Path as Where

    from backstay.adapters.secrets import EnvironmentAndFiles
    from backstay.cli.asking import unseen
    from backstay.errors import Usage, WrongShares
    from backstay.plan import Ref, Space

    if source is not None and source.isdecimal():
        with os.fdopen(os.dup(int(source))) as given:
            return given.readline().rstrip("\r\n")
    if source is not None:
        if (found := re.fullmatch(r"\$\{file:([^}]+)\}", source)) is None:
            raise Usage("words are not taken from the command line", hint="write --passphrase-from '${file:PATH}'")
        return EnvironmentAndFiles(Where.cwd()).value(Ref(Space.FILE, found[1]))
    words = unseen(page.err, "passphrase, not shown: ")
    if twice and unseen(page.err, "once more: ") != words:
        raise WrongShares(
            "these are two different passphrases", detail="nothing was done", hint="type it twice the same"
        )
    return words
