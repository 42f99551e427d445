"""`backstay vault copy`, and what `backstay backup` says of the copies that follow it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.app.copying import Moved
    from backstay.app.protecting import Screen
    from backstay.cli.printing import Page

MakeScreen = Callable[["Page"], "Screen"]


def copy(
    *components: str,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    point: str | None = None,
    verify: Annotated[bool, Parameter(negative="")] = False,
    common: Common = HERE,
) -> None:
    """Copy recovery points from vault to vault, until each has what it should have by its own retention. What is there
    already is not moved again, and a copy that was stopped goes on where it stopped. `backstay backup` does the same at
    its end.

    A point is copied as it is, under the same id. Its packs are looked at on their way; with --verify every byte is.

    Example: `backstay vault copy --to off-site`

    Parameters
    ----------
    components
        Names of components of the plan. Default: all of them.
    source
        Copy from this vault only. Default: from the first that has the point.
    to
        Copy into this vault only. Default: into every vault that lacks something.
    point
        Copy this point, also one that the vault would not keep for its age.
    verify
        Open every frame and hash every chunk on its way: costs as much as a restore, and needs the key of a reader.
    """
    from backstay.app import copying, protecting
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen
    from backstay.values import PointId, VaultName

    page = Page(common)
    home = page.home()
    wanted = copying.Wanted(
        source=VaultName(source) if source else None,
        to=VaultName(to) if to else None,
        point=PointId(point) if point else None,
        verify=verify,
    )
    chosen = protecting.chosen(home, components)
    moved = copying.copy(home, chosen, wanted, lambda title: work_screen(page, home.clock.elapsed, title))
    home.seal()
    say_copies(page, moved)
    if not moved:
        page.say("nothing is lacking" if len(home.plan.vaults) > 1 else "the plan has one vault: there is no other")
    page.done({"copies": [told(one) for one in moved]})
    if codes := [one.error.code for one in moved if one.error is not None]:
        raise Failed(codes[0])


def say_copies(page: "Page", moved: "Sequence[Moved]") -> None:
    from backstay.errors import BackstayError
    from backstay.values import say_size, say_span

    for one in moved:
        if isinstance(one.result, BackstayError):
            what = f"{one.point.id} is not in" if one.point else "nothing could be copied into"
            page.say(f"✘ {one.component}: {what} {one.to}: {one.result}", "bold red")
            continue
        done = one.result
        source = f" from {done.source}" if done.source else ""
        seconds = done.took.total_seconds()
        rate = f", {say_size(done.moved_bytes / seconds)}/s" if seconds and done.moved_bytes else ""
        size = f"{say_size(done.moved_bytes)} in {say_span(done.took)}{rate}"
        page.say(f"✔ {one.component}: {done.point} copied{source} to {one.to}, {size}")
        if one.locked:
            page.say(f"  {one.locked}", "yellow" if one.locked.startswith("NOT") else "dim")


def told(one: "Moved") -> dict[str, object]:
    from backstay.errors import BackstayError

    found: dict[str, object] = {
        "component": one.component,
        "to": one.to,
        "point": one.point.id if one.point else None,
    }
    if isinstance(one.result, BackstayError):
        error = one.result
        return found | {"code": error.code, "error": error.message, "known": error.detail, "try": error.hint}
    done = one.result
    told = {"from": done.source or None, "bytes": done.moved_bytes, "took_s": done.took.total_seconds()}
    return found | told | {"locks": one.locked or None}
