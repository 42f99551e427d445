"""Chapter: ready. Could it be recovered, if the disaster came now?"""

from cyclopts import App

from backstay.cli.options import HERE, Common


def register(app: App) -> None:
    app.command(ready)


def ready(scenario: str | None = None, *, common: Common = HERE) -> None:
    """Look whether a recovery would work now: keys, secrets, points, proofs, people, room, programs. Changes nothing.

    Exits with the number of the first check that failed, 35 when one could not be made.

    Example: `backstay ready`

    Parameters
    ----------
    scenario
        Only what this scenario restores. Default: every component.
    """
    from backstay.app import readying
    from backstay.cli.printing import Failed, Page
    from backstay.readiness import State
    from backstay.values import count

    page = Page(common)
    lines = readying.look(page.home(), scenario)
    signs = {State.PASSED: ("✔", ""), State.FAILED: ("✘", "bold red"), State.NOT_VERIFIED: ("?", "yellow")}
    for line in lines:
        sign, style = signs[line.state]
        page.say(f"{sign} {line.code}  {line.said}", style)
        if line.fix and line.state is not State.PASSED:
            page.say(f"       try: {line.fix}")
    failed = [line for line in lines if line.state is State.FAILED]
    unsure = [line for line in lines if line.state is State.NOT_VERIFIED]
    if failed or unsure:
        page.say(f"not ready: {count(len(failed), 'check')} failed, {len(unsure)} not verified, of {len(lines)}")
    else:
        page.say(f"✔ ready: {count(len(lines), 'check')} passed")
    told = [
        {"code": line.code, "state": line.state.value, "said": line.said, "fix": line.fix, "exits": line.exits}
        for line in lines
    ]
    page.done({"ready": not (failed or unsure), "checks": told})
    if failed or unsure:
        raise Failed((failed or unsure)[0].exits)
