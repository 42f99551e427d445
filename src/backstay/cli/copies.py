"""`backstay vault copy`, and what `backstay backup` says of the copies that follow it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.app.copying import LogMoved, Moved
    from backstay.cli.printing import Page
    from backstay.ports import Progress


def copy(
    *components: str,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    point: str | None = None,
    verify: Annotated[bool, Parameter(negative="")] = False,
    from_key: Path | None = None,
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
        Copy from this vault of the plan only. Default: from the first that has the point. Or the address of a vault
        that is not in the plan (a folder, s3://…, gs://… or az://…): its points are read, and sealed anew.
    to
        Copy into this vault only. Default: into every vault that lacks something.
    point
        Copy this point, also one that the vault would not keep for its age.
    verify
        Open every frame and hash every chunk on its way: costs as much as a restore, and needs the key of a reader.
    from_key
        The key file that opens the vault of that address. Default: the plan's own.
    """
    from backstay.app import bringing, copying, protecting
    from backstay.cli.printing import Page
    from backstay.cli.protecting import work_screen
    from backstay.values import PointId, VaultName

    page = Page(common)
    home = page.home()
    outside = source if source and source not in home.plan.vaults and "/" in source else None
    wanted = copying.Wanted(
        source=VaultName(source) if source and not outside else None,
        to=VaultName(to) if to else None,
        point=PointId(point) if point else None,
        verify=verify,
    )
    chosen = protecting.chosen(home, components)

    def screen(title: str) -> "AbstractContextManager[Progress]":
        return work_screen(page, home.clock.elapsed, title)

    log: list[LogMoved] = []
    if outside:
        moved = bringing.bring(home, chosen, bringing.Outside(outside, from_key), wanted, screen)
    else:
        moved, log = copying.copy(home, chosen, wanted, screen), copying.copy_log(home, chosen, wanted)
    home.seal()
    _done(page, moved, log, alone=len(home.plan.vaults) < 2 and not outside)


def _done(page: "Page", moved: "Sequence[Moved]", log: "Sequence[LogMoved]", *, alone: bool) -> None:
    from backstay.cli.printing import Failed

    say_copies(page, moved)
    say_log(page, log)
    if not moved and not log:
        page.say("the plan has one vault: there is no other" if alone else "nothing is lacking")
    page.done({"copies": [told(one) for one in moved], "log": [told_log(one) for one in log]})
    if codes := [one.error.code for one in (*moved, *log) if one.error is not None]:
        raise Failed(codes[0])


def say_log(page: "Page", moved: "Sequence[LogMoved]") -> None:
    from backstay.errors import BackstayError
    from backstay.values import count, say_size

    for one in moved:
        if isinstance(one.result, BackstayError):
            page.say(f"✘ {one.component}: no log could be copied into {one.to}: {one.result}", "bold red")
            continue
        done = f"{count(one.result.objects, 'object')} of log ({say_size(one.result.moved_bytes)})"
        page.say(f"✔ {one.component}: {done} copied from {one.source} to {one.to}")


def told_log(one: "LogMoved") -> dict[str, object]:
    from backstay.errors import BackstayError

    found: dict[str, object] = {"component": one.component, "from": one.source, "to": one.to}
    if isinstance(one.result, BackstayError):
        return found | {"code": one.result.code, "error": one.result.message}
    return found | {"objects": one.result.objects, "bytes": one.result.moved_bytes}


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
