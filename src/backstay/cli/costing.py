"""What the vaults cost."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from cyclopts import App

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backstay.app.costing import Billed
    from backstay.bill import Line
    from backstay.cli.printing import Page


def register(app: App) -> None:
    app.command(cost)


def cost(*vaults: str, common: Common = HERE) -> None:
    """The cloud bill of this plan for a month: storage, requests, what leaves the cloud; and one restore on the day.

    From what is measured: the listing of each vault, its points, the schedules. What is not known is said. Prices are
    list prices, unless a vault of the plan has `prices`.

    Example: `backstay cost`

    Parameters
    ----------
    vaults
        Names of vaults of the plan. Default: all of them.
    """
    from backstay.app import costing
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen

    page = Page(common)
    home = page.home()
    with work_screen(page, home.clock.elapsed, "listing the vaults") as progress:
        found = costing.cost(home, vaults, progress)
    for one in found:
        _say(page, one)
    page.done({"vaults": [_told(one) for one in found]})
    if troubles := [one.trouble for one in found if one.trouble is not None]:
        raise Failed(troubles[0].code)


def _say(page: "Page", one: "Billed") -> None:
    from backstay.values import count, say_size

    if one.trouble is not None or one.held is None:
        return page.say(f"✘ {one.vault}: {one.trouble}", "bold red")
    if one.bill is None:
        held = f"{say_size(one.held.stored_bytes)} in {count(one.held.objects, 'object')}"
        return page.say(f"{one.vault}: {held} at {one.url}: a folder, no bill (give the vault `prices` to have one)")
    bill = one.bill
    page.table(f"{one.vault}, a month", {"what": "left", "measured": "left", "costs": "right"}, _rows(bill.lines))
    more = "" if bill.is_whole else " and what is not known"
    page.say(f"{bill.total:,.2f} a month{more}; {bill.source}")
    page.table("On the day", {"what": "left", "measured": "left", "costs": "right"}, _rows(bill.once))
    return None


def _rows(lines: "Iterable[Line]") -> "list[tuple[str, str, str]]":
    return [(line.what, line.says, _amount(line.amount)) for line in lines]


def _amount(amount: float | None) -> str:
    if amount is None:
        return "?"
    return "<0.01" if 0 < amount < 0.005 else f"{amount:,.2f}"


def _told(one: "Billed") -> dict[str, object]:
    told: dict[str, object] = {"vault": one.vault, "url": one.url}
    if one.trouble is not None:
        return told | {"code": one.trouble.code, "error": one.trouble.message, "known": one.trouble.detail}
    told["held"] = asdict(one.held) if one.held else None
    if one.bill is None:
        return told | {"bill": None}
    bill = one.bill
    lines = {"month": [asdict(line) for line in bill.lines], "once": [asdict(line) for line in bill.once]}
    return told | {"bill": {**lines, "total": round(bill.total, 4), "whole": bill.is_whole, "source": bill.source}}
