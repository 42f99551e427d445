"""`backstay vault uncover`, and what `backstay vault check --immutability` says."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backstay.cli.printing import Page
    from backstay.vault.covers import Uncovered


def uncover(name: str, *, common: Common = HERE) -> None:
    """Remove the delete markers and later versions that somebody laid over the objects of a vault in a bucket. What was
    written first stays, and is what was read all along. `backstay vault check` shows what there is.

    Needs credentials that may delete versions, which those of a backup host should not. Exits with 72 when something
    is still covered: later versions can be locked, too.

    Example: `backstay vault uncover off-site`

    Parameters
    ----------
    name
        The name of the vault in the plan.
    """
    from backstay.app import locking
    from backstay.cli.printing import Failed, Page
    from backstay.errors import ObjectLocked
    from backstay.values import count

    page = Page(common)
    told: list[dict[str, str]] = []

    def tell(one: "Uncovered") -> None:
        why = "" if one.left is None else one.left.message
        told.append({"object": one.key, "still_covered_because": why})
        page.say(f"✘ {one.key} is still covered: {why}" if why else f"✔ {one.key}", "bold red" if why else "")

    done, left = locking.take_off(page.home(), name, tell)
    if not told:
        page.say(f"nothing lies on any object of {name}")
    else:
        page.say(f"{count(done, 'object')} as written again" + (f", {left} still covered" if left else ""))
    page.done({"vault": name, "objects": told})
    if left:
        raise Failed(ObjectLocked.code)


@Parameter(name="*")
@dataclass(frozen=True)
class Trials:
    """Options of `backstay vault check`."""

    immutability: Annotated[bool, Parameter(negative="")] = False
    """Instead of all that, try to delete, overwrite and unlock a canary with the credentials of this machine, and ask a
    sample of the objects how long they are locked. Exits with 65 when a lock does not hold, 35 when there is none."""

    all: Annotated[bool, Parameter(negative="")] = False
    """With --immutability: ask every object, not a sample."""


NO_TRIALS = Trials()


def try_locks(page: "Page", vaults: "Sequence[str]", *, everything: bool) -> None:
    """Each attempt on a line. Raises Failed."""
    from backstay.app import locking
    from backstay.cli.printing import Failed, plain
    from backstay.facts import Verdict

    signs = {Verdict.PASSED: ("✔", "passed", ""), Verdict.FAILED: ("✘", "failed", "bold red")}
    last: list[str] = []

    def tell(name: str, one: "locking.Tried") -> None:
        if last != [name]:
            last[:] = [name]
            page.say(f"{name}:", "bold")
        sign, word, style = signs.get(one.verdict, ("?", "not verified", "yellow"))
        page.say(f"  {sign} {one.what:<10} {word}: {one.said}", style)

    tested = locking.immutability(page.home(), vaults, tell, everything=everything)
    page.done({"vaults": [{"vault": one.vault, "code": one.code, "tried": plain(one.tried)} for one in tested]})
    if codes := [one.code for one in tested if one.code]:
        raise Failed(max(codes))
