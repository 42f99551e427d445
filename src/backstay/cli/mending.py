"""`backstay vault repair`, and what a look at a vault shows, before and after it."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.app.checking import Checked, Closed, Finding
    from backstay.cli.printing import Page


def repair(
    name: str,
    *,
    source: Annotated[list[str] | None, Parameter(name="--from", negative="")] = None,
    read_data: Annotated[bool, Parameter(negative="")] = False,
    common: Common = HERE,
) -> None:
    """Mend a vault from what still has the lost pieces: packs under wrong names, newer packs of the vault itself, the
    other vaults of the plan. What is found is stored anew and looked at again; nothing that is stored is changed, but
    for small objects that are damaged and that another vault has whole.

    Stopped anywhere, it can be run again. Exits with 77 when something is left that nobody has.

    Example: `backstay vault repair local --from off-site`

    Parameters
    ----------
    name
        The vault of the plan that is to be mended.
    source
        A vault of the plan, or the address of one of its family (a folder, s3://…, gs://… or az://…), to take lost
        pieces from. May be given several times. Default: every other vault of the plan.
    read_data
        Read every byte of the vault first. Default: what is missing, and what a check has found damaged before.
    """
    from backstay.app import repairing
    from backstay.cli.printing import Failed, Page
    from backstay.cli.protecting import work_screen

    page = Page(common)
    home = page.home()
    came = repairing.repair(
        home, name, source or (), lambda title: work_screen(page, home.clock.elapsed, title), read_data=read_data
    )
    for line in came.lines:
        page.say(line)
    for finding in came.findings:
        say_finding(page, finding)
    say_checked_vault(page, came.checked, reading=read_data)
    page.done({"repaired": list(came.lines), **told_vault(came.checked, list(came.findings))})
    if came.checked.code:
        raise Failed(came.checked.code)


def say_finding(page: "Page", finding: "Finding") -> None:
    sign, style = {
        "damaged": ("✘", "bold red"),
        "not verified": ("?", "yellow"),
        "covered": ("!", "yellow"),
        "noted": ("·", "dim"),
    }[finding.weight.value]
    where = f"{finding.component} {finding.point}: " if finding.point else ""
    what = f"{finding.path!r}: " if finding.path else ""
    page.say(f"{sign} {where}{what}{finding.said}" + ("" if finding.point else f"  [{finding.key}]"), style)


def say_checked_vault(page: "Page", one: "Checked | Closed", *, reading: bool) -> None:
    from backstay.app.checking import Closed, say_checked

    if isinstance(one, Closed):
        page.say(f"✘ the vault {one.vault} could not be looked at: {one.error}", "bold red")
        return
    told = say_checked(one, page.home().clock.now(), reading=reading)
    page.table(told.title, dict.fromkeys(("point", "component", "standing", "bytes read"), "left"), told.rows)
    for sentence in told.lines:
        page.say(sentence)


def told_vault(one: "Checked | Closed", findings: "list[Finding]") -> dict[str, object]:
    from backstay.app.checking import Closed, standing
    from backstay.cli.printing import plain

    if isinstance(one, Closed):
        error = one.error
        return {"vault": one.vault, "code": error.code, "error": error.message, "known": error.detail}
    return {
        "vault": one.vault,
        "code": one.code,
        "points": [{**plain(point), "standing": standing(point)} for point in one.points],
        "findings": plain(findings),
        "objects": one.objects,
        "read_bytes": one.read_bytes,
        "readings": plain(one.readings),
        "freshness": {"is": type(one.freshness).__name__, **plain(one.freshness)},
        "heads": [f"{component}/{point}" for component, point in one.heads],
        "said": list(one.said),
    }
