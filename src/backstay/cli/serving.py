"""The service: everything that is due, by itself."""

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.app.serving import Event
    from backstay.cli.printing import Page


def register(app: App) -> None:
    for verb in (serve, worker):
        app.command(verb)


AtOnce = Annotated[int, Parameter(name="--at-once")]


def serve(*, at_once: AtOnce = 2, common: Common = HERE) -> None:
    """Do by itself what the plan says: take points, prove them, copy them, drill, end old points, and go on with
    recoveries whose driver has died.

    Looks every minute what is due, and at once when somebody answers a run. Each job is a process of its own, the same
    command that you would type. Ctrl-C, SIGTERM, a crash and kill -9 lose nothing: start it again. A service manager
    should restart it. Beside it every other command may be used.

    Example: `backstay serve`

    Parameters
    ----------
    at_once
        How many jobs may run at once. Those of one component never do.
    """
    _serve(common, at_once, tends=True)


def worker(*, at_once: AtOnce = 2, common: Common = HERE) -> None:
    """Do what a `backstay serve` of the same state folder puts into the queue, and look for nothing by itself.

    Example: `backstay worker --at-once 4`

    Parameters
    ----------
    at_once
        How many jobs may run at once.
    """
    _serve(common, at_once, tends=False)


def _serve(common: Common, at_once: int, *, tends: bool) -> None:
    import threading
    from pathlib import Path

    from backstay.app.home import Asked
    from backstay.app.serving import Service
    from backstay.cli.printing import Page
    from backstay.errors import Cancelled, Usage

    if not 1 <= at_once <= 64:
        raise Usage("--at-once takes a number from 1 to 64", detail="nothing was started")
    page = Page(common)
    home = page.home()
    asked = Asked(common.plan, common.key, common.state)
    speaking = threading.Lock()

    def tell(event: "Event") -> None:
        with speaking:  # jobs run side by side, and a line stays a line
            print(_line(page, event), flush=True)

    service = Service(asked, Path.cwd(), home.clock, tell)
    try:
        service.serve(at_once=at_once, tends=tends)
    except (KeyboardInterrupt, Cancelled):
        return  # that is how a service is ended


def _line(page: "Page", event: "Event") -> str:
    """One line an event: for a log, whoever reads it."""
    if page.common.json:
        return json.dumps(event.told())
    from backstay.cli.printing import local

    said = event.said if event.exit is None else _ended(event)
    what = {"says": "  "}.get(event.what, f"{event.what}: " if said else event.what)
    return f"{local(event.at)} {event.job or 'service'}: {what}{said}".rstrip()


def _ended(event: "Event") -> str:
    status = "done" if event.exit == 0 else f"exit code {event.exit}"
    return f"{status}; {event.said}" if event.said else status
