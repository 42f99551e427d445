"""Timers of the system for this plan."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common


def register(app: App) -> None:
    app.command(schedule)


def schedule(
    *,
    cron: Annotated[bool, Parameter(negative="")] = False,
    systemd: Annotated[bool, Parameter(negative="")] = False,
    to: Path | None = None,
    common: Common = HERE,
) -> None:
    """Print what cron or systemd has to do for this plan: take what is due, prove at the plan's times, prove a random
    older point each week, end what is no longer kept.

    Example: `backstay schedule --systemd --to ./units`

    Parameters
    ----------
    cron
        Lines for a crontab.
    systemd
        Services and timers.
    to
        Write the files into this folder, which is made; for systemd: then copy them to /etc/systemd/system.
    """
    from backstay.app import scheduling
    from backstay.cli.printing import Page
    from backstay.errors import Usage
    from backstay.plan import Space
    from backstay.values import count, listed

    if cron == systemd:
        raise Usage(
            "say which: --cron or --systemd",
            detail="nothing was printed",
            hint="--systemd also restarts the receiver of the log",
        )
    page = Page(common)
    home = page.home()
    files = scheduling.files(home, "cron" if cron else "systemd")
    if to is not None:
        for path in scheduling.write(files, to):
            page.say(f"✔ {path}")
        if systemd:
            # What has this section is begun by itself: the timers, and the receiver of the log.
            timers = " ".join(sorted(name for name, text in files.items() if "[Install]" in text))
            page.say(f"next: systemd-analyze verify {to}/*.timer, copy them to /etc/systemd/system, and", "dim")
            page.say(f"  systemctl daemon-reload && systemctl enable --now {timers}", "dim")
    else:
        for name, text in files.items():
            page.say(f"# {name}\n{text}" if systemd else text)
    if unset := [str(ref) for ref in home.plan.secrets() if ref.space is Space.ENV]:
        page.note(
            f"{'cron' if cron else 'systemd'} has no {listed(unset)} of your shell: `${{file:…}}` in the plan works"
        )
    page.note(f"{count(len(files), 'file')} for {home.plan_path}")
    page.done({"files": dict(files)})
