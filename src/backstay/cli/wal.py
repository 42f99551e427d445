"""The write-ahead log of PostgreSQL components: kept as it is written, and what of it is missing."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from backstay.adapters.postgres.archive_service import Service
    from backstay.cli.printing import Page

wal_app = App(
    name="wal",
    help="Keep the write-ahead log of PostgreSQL, and see what of it is missing.\n\nExample: `backstay wal status`",
)


def register(app: App) -> None:
    app.command(wal_app)


@wal_app.command
def archive(component: str, *, socket: Path | None = None, common: Common = HERE) -> None:
    """Take the segments that a server on this machine archives, and put each into a vault of the component: the service
    that `archive_command` talks to. It answers a segment only when it is durable there; until then the server keeps it.

    Prints the `archive_command` to set, then runs until it is stopped. Run it under a supervisor, as the user of the
    server (or as root): nobody else may talk to it. `backstay wal receive` loses less; this is for sites that may not
    have a replication slot.

    Example: `backstay wal archive database`

    Parameters
    ----------
    component
        A component of the plan, of the kind postgres.
    socket
        Where it listens. Default: archive-COMPONENT.sock in the state folder.
    """
    from backstay.app import archiving
    from backstay.cli.printing import Page

    page = Page(common)
    home = page.home()
    try:
        with archiving.archive_service(home, home.plan.component(component), socket, page.say) as service:
            _say_command(page, service)
            service.serve()
    except KeyboardInterrupt:
        page.say("stopped; the server keeps what was not taken")


def _say_command(page: "Page", service: "Service") -> None:
    from backstay.app import archiving

    # A single quote is doubled in postgresql.conf.
    command = archiving.command_for(service.address).replace("'", "''")
    page.say(f"listening at {service.address}; the server's settings:")
    page.say("  archive_mode = on")
    page.say(f"  archive_command = '{command}'")
    page.say("  archive_timeout = 60")
