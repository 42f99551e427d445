"""How long points are kept: what expires and why, ending it, and holding what somebody needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from backstay.app.retaining import Done, Shelf
    from backstay.cli.printing import Page
    from backstay.ports import Progress

By = Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")]


def register(app: App) -> None:
    for verb in (retain, hold, release):
        app.command(verb)


@Parameter(name="*")
@dataclass(frozen=True)
class How:
    """How points are let go."""

    dry_run: Annotated[bool, Parameter(negative="")] = False
    """Show the table, and do nothing."""

    yes: Annotated[bool, Parameter(negative="")] = False
    """Do not ask."""

    wait: str = "1m"
    """How long to wait for backups that were under way. What they hold up is deleted by the next run."""

    expire_after: str = "48h"
    """A backup that was begun so long ago, by the store's clock, and has no end, is taken for dead."""

    single_writer: Annotated[bool, Parameter(negative="")] = False
    """For a store that cannot say who of two was first: you promise that no backup runs."""


USUAL = How()


def retain(*components: str, how: How = USUAL, common: Common = HERE) -> None:
    """End the points that the plan no longer keeps, and delete what no point needs. Shows first what is kept, what
    expires, and why; then asks.

    Backups may run meanwhile, on any host. Exits with 73 when it cannot be told for certain what may go.

    Example: `backstay retain --dry-run`

    Parameters
    ----------
    components
        Names of components of the plan. Default: all of them.
    """
    from backstay.app import retaining
    from backstay.cli.printing import Failed, Page

    page = Page(common)
    shelves = retaining.decide_all(page.home(), components)
    for shelf in shelves:
        _show(page, shelf)
    done = [] if how.dry_run else _let_go(page, shelves, how)
    for one in done:
        _say_done(page, one)
    page.done({"shelves": [_told(shelf) for shelf in shelves], "done": [_told_done(one) for one in done]})
    errors = [shelf.error for shelf in shelves if shelf.error] + [one.error for one in done if one.error]
    if errors:
        raise Failed(errors[0].code)


def _let_go(page: "Page", shelves: "list[Shelf]", how: How) -> "list[Done]":
    from backstay import values
    from backstay.app import retaining
    from backstay.cli.asking import agreed, span
    from backstay.cli.protecting import work_screen
    from backstay.vault.pruning import Rules

    home, patience = page.home(), span(how.wait)
    rules = Rules(expire_after=span(how.expire_after), single_writer=how.single_writer)
    expiring = sum(len(shelf.expiring) for shelf in shelves)
    if expiring and not how.yes:
        agreed(page.err, f"End {values.count(expiring, 'point')}?", "--yes")
    until = home.clock.elapsed() + patience

    def pause() -> bool:
        if home.clock.elapsed() >= until:
            return False
        home.clock.wait(values.span("1s"))
        return True

    def screen(title: str) -> "AbstractContextManager[Progress]":
        return work_screen(page, home.clock.elapsed, title)

    return retaining.carry_out(home, shelves, "backstay retain", screen, pause, rules)


def hold(
    point: str,
    *,
    reason: str,
    until: str | None = None,
    kind: Literal["keep", "suspicious", "forensic"] = "keep",
    by: By = None,
    common: Common = HERE,
) -> None:
    """Hold a point in every vault: it does not expire. One that is suspicious or kept for forensics is not chosen for a
    recovery either.

    Example: `backstay hold 20261122T204437Z-7f3a9c1d --reason "before the migration" --by anna`

    Parameters
    ----------
    point
        The point, as `backstay points` names it.
    reason
        Why; people will ask.
    until
        From this moment on it may expire. A point marked suspicious does not become clean by waiting.
    kind
        `keep`: it does not expire. `suspicious`: nor is it chosen. `forensic`: nor that, it is evidence.
    by
        Who holds it: a person of the plan.
    """
    import secrets

    from backstay.app import retaining
    from backstay.app.people import somebody
    from backstay.app.protecting import find_point
    from backstay.cli.asking import moment
    from backstay.cli.printing import Page
    from backstay.facts import Hold
    from backstay.values import PointId, listed

    page = Page(common)
    home = page.home()
    who = somebody(home.plan, by)
    _, found = find_point(home, PointId(point))
    end = moment(until) if until else None
    placed = Hold(f"h-{secrets.token_hex(4)}", found.id, found.component, kind, reason, who, home.clock.now(), end)
    held = retaining.place_hold(home, placed)
    page.say(f"{found.id} of {found.component} is held ({kind}) in {listed(held.vaults)}")
    page.say(f"let it go again with `backstay release {found.id}`")
    page.done({"hold": placed, "vaults": held.vaults})


def release(point: str, *, reason: str | None = None, by: By = None, common: Common = HERE) -> None:
    """Take back every hold of a point: the plan's `keep` decides about it again, and a recovery may choose it.

    Example: `backstay release 20261122T204437Z-7f3a9c1d --by anna`

    Parameters
    ----------
    point
        The point that is held.
    reason
        Why it is held no longer. One that is marked suspicious, or kept as evidence, is not released without.
    by
        Who lets it go: a person of the plan.
    """
    from backstay.app import retaining
    from backstay.app.people import somebody
    from backstay.app.protecting import find_point
    from backstay.cli.printing import Page
    from backstay.values import PointId, count

    page = Page(common)
    home = page.home()
    who = somebody(home.plan, by)
    _, found = find_point(home, PointId(point))
    freed = retaining.release(home, found.id, found.component, who, reason)
    page.say(f"{count(len(freed), 'hold')} of {found.id} released")
    page.done({"released": [one.hold for one in freed]})


# ── saying it ────────────────────────────────────────────────────────────────────────────────────


def _show(page: "Page", shelf: "Shelf") -> None:
    from backstay.cli.printing import local
    from backstay.retain import Kept

    if shelf.error is not None:
        page.say(f"✘ {shelf.error.message}", "bold red")
        page.say(f"  known: {shelf.error.detail}")
        return
    columns: dict[str, str] = dict.fromkeys(("point", "taken", "", "because"), "left")
    rows = (
        (one.point.id, local(one.point.began), "kept" if isinstance(one, Kept) else "expires", one.because)
        for one in shelf.decisions
    )
    page.table(f"{shelf.component} in {shelf.vault}", columns, rows)


def _say_done(page: "Page", one: "Done") -> None:
    from backstay.values import count, say_size

    where = f"{one.shelf.component} in {one.shelf.vault}"
    ended = f"{count(len(one.ended), 'point')} ended"
    if one.locked:
        page.say(f"? {where}: {count(len(one.locked), 'point')} cannot be ended before the lock in the store is over")
    if one.error is not None:
        if one.error is not one.shelf.error:
            page.say(f"✘ {where}: {ended}, and then: {one.error}", "bold red")
        return
    did = one.pruned
    assert did is not None
    page.say(
        f"✔ {where}: {ended}; {count(did.deleted, 'pack')} deleted ({say_size(did.deleted_bytes)}), "
        f"{did.moved} moved ({say_size(did.moved_bytes)} written); {say_size(did.present_bytes)} are kept"
    )
    if one.log.objects:
        freed = say_size(one.log.freed_bytes)
        page.say(f"  {count(one.log.objects, 'object')} of log deleted ({freed}): no kept point needs them")
    if one.log.locked:
        page.say(f"  {count(one.log.locked, 'object')} of log left: a lock forbids to delete them yet")
    if did.waits:
        backups = count(len(did.waits), "backup")
        marked = count(did.marked, "pack")
        page.say(f"  {marked} marked: {backups} under way, or killed (--expire-after); the next run deletes them")
    if did.expired:
        page.say(f"  {count(len(did.expired), 'backup')} without an end taken for dead")
    if did.locked:
        page.say(f"  {count(did.locked, 'object')} left: a lock in the store forbids to delete them yet")
    if did.left:
        why = sorted(set(did.left.values()))
        page.say(f"  {count(len(did.left), 'pack')} could not be moved: {why[0]}")


def _told(shelf: "Shelf") -> dict[str, object]:
    from backstay.retain import Kept

    decisions = [
        {"point": one.point.id, "kept": isinstance(one, Kept), "because": one.because} for one in shelf.decisions
    ]
    error = shelf.error.message if shelf.error else None
    return {"component": shelf.component, "vault": shelf.vault, "points": decisions, "error": error}


def _told_done(one: "Done") -> dict[str, object]:
    from backstay.cli.printing import plain

    return {
        "component": one.shelf.component,
        "vault": one.shelf.vault,
        "ended": list(one.ended),
        "locked": list(one.locked),
        "pruned": plain(one.pruned),
        "log": plain(one.log),
        "error": one.error.message if one.error else None,
    }
