"""The write-ahead log of PostgreSQL components: kept as it is written, and what of it is missing."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from backstay.cli.options import HERE, Common

if TYPE_CHECKING:
    from collections.abc import Callable

    from backstay.adapters.postgres.archive_service import Service
    from backstay.adapters.postgres.receiving import Event, Kept
    from backstay.cli.printing import Page

By = Annotated[str | None, Parameter(env_var="BACKSTAY_PERSON")]

wal_app = App(
    name="wal",
    help="Keep the write-ahead log of PostgreSQL, and see what of it is missing.\n\nExample: `backstay wal status`",
)


def register(app: App) -> None:
    app.command(wal_app)


@wal_app.command
def receive(
    component: str | None = None,
    *,
    slot: str | None = None,
    every: str = "5s",
    size: str = "16MiB",
    once: Annotated[bool, Parameter(negative="")] = False,
    common: Common = HERE,
) -> None:
    """Follow the log of a server as it is written, and keep it in every vault of the component: seconds after a commit
    it is there. The server forgets what a vault has, and nothing else.

    Runs until it is stopped; run it under a supervisor. Stopped in order (SIGTERM) it keeps what it has; killed, it
    goes on where the vaults end. It needs a role with REPLICATION, and makes a replication slot on the server.

    Example: `backstay wal receive database`

    Parameters
    ----------
    component
        A component of the plan, of the kind postgres. Default: the one with `wal: continuous`.
    slot
        The name of the replication slot. Default: backstay_COMPONENT.
    every
        At the latest so long after it came, log is on its way to the vaults: what a disaster may cost.
    size
        At the latest when there is so much of it; at most 60 MiB.
    once
        Stop when everything is kept that the server had written when we began.
    """
    from backstay.adapters.postgres.receiving import Closing
    from backstay.app import receiving
    from backstay.cli.asking import amount, span
    from backstay.cli.printing import Page

    page = Page(common)
    home = page.home()
    wanted = receiving.Wanted(slot, Closing(span(every), amount(size, receiving.LONGEST_PIECE)), once)
    teller = _Teller(page, home.clock.elapsed)
    receiving.receive(home, receiving.followed(home, component), wanted, teller)
    teller.say("everything is kept that the server had written" if once else "stopped; the server keeps what follows")


class _Teller:
    """Says what happens: one line that is written over on a terminal, a line a minute elsewhere, and with --json each
    event as an object on a line of its own. What it said it forgets: it runs for months."""

    def __init__(self, page: "Page", elapsed: "Callable[[], timedelta]") -> None:
        self._page, self._elapsed = page, elapsed
        self._said: timedelta | None = None
        self._open = False
        """Whether the line may be written over."""

    def __call__(self, event: "Event") -> None:
        from backstay.adapters.postgres.receiving import Connected, Kept
        from backstay.adapters.postgres.shelving import Trouble
        from backstay.lsn import say_lsn
        from backstay.values import say_span

        match event:
            case Connected(system, timeline, start):
                self.say(f"following cluster {system} on timeline {timeline}, from {say_lsn(start)} on")
                self._object("connected", system=str(system), timeline=timeline, start=say_lsn(start))
            case Kept(_, timeline, start, end, until, server_end, vaults, lacking):
                self._kept(event)
                self._object("kept", timeline=timeline, start=say_lsn(start), end=say_lsn(end), until=until,
                             lag_bytes=max(0, server_end - end), vaults=vaults, lacking=lacking)  # fmt: skip
            case Trouble(said, again):
                self.say(f"{said}; trying again in {say_span(again)}" if again else said, "yellow")
                self._object("trouble", said=said, again_s=again)
            case _:
                pass

    def _kept(self, kept: "Kept") -> None:
        from backstay.lsn import say_lsn
        from backstay.values import listed, say_size

        now, terminal = self._elapsed(), self._page.out.is_terminal
        if terminal or self._said is None or now - self._said >= timedelta(minutes=1):
            self._said = now
            lag = kept.server_end - kept.end
            behind = f"; {say_size(lag)} to come" if lag > 0 else ""
            self.say(f"kept up to {say_lsn(kept.end)} in {listed(map(str, kept.vaults))}{behind}", over=terminal)

    def say(self, sentence: str, style: str = "", *, over: bool = False) -> None:
        from rich.text import Text

        if self._page.common.json:
            return
        width = self._page.out.width - 1
        start = "" if over or not self._open else "\n"
        text = sentence[:width].ljust(width) if over else start + sentence
        self._page.out.print(Text(text, style), end="\r" if over else "\n", soft_wrap=True)
        self._open = over

    def _object(self, event: str, **what: object) -> None:
        from backstay.cli.printing import plain

        if self._page.common.json:
            print(json.dumps(plain({"event": event, **what})), flush=True)


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


@wal_app.command
def status(*components: str, common: Common = HERE) -> None:
    """What is kept of the log, in each vault: every gap, since when, and what can no longer be reached because of it;
    the timelines as a tree; the newest log, and its age against the RPO.

    Exits with 84 when log is missing that a point needs to lead on, and nobody has acknowledged that.

    Example: `backstay wal status`

    Parameters
    ----------
    components
        Components of the kind postgres. Default: all of them.
    """
    from backstay.app import archiving, logs
    from backstay.cli.logs import say_logs, told_logs
    from backstay.cli.printing import Failed, Page
    from backstay.values import count, say_size

    page = Page(common)
    home = page.home()
    history, now = home.history(), home.clock.now()
    found = [logs.logs_of(home, one, history) for one in logs.with_log(home, components)]
    for one in found:
        rpo = home.plan.objectives_of(home.plan.component(one.component)).rpo
        say_logs(page, one, now, rpo)
        waiting = archiving.waiting_of(history, home.plan.component(one.component))
        if waiting is not None and waiting[0]:
            page.say(
                f"  {count(waiting[0], 'file')} ({say_size(waiting[0] * waiting[1])}) wait in pg_wal to be archived"
            )
    page.done({"at": now, "components": [told_logs(one, now) for one in found]})
    if code := next((one.code for one in found if one.code), 0):
        raise Failed(code)


@wal_app.command
def acknowledge(component: str, gap: str, *, reason: str, by: By = None, common: Common = HERE) -> None:
    """Say that a gap in the log is known, and why it is there: it is no alarm any more. It stays a gap, and
    `backstay wal status` goes on to show it.

    Example: `backstay wal acknowledge database 1:0/4000000-0/5000000 --reason "the disk was full" --by anna`

    Parameters
    ----------
    component
        Whose log it is.
    gap
        As `backstay wal status` names it.
    reason
        Why it is there; people will ask.
    by
        Who says so: a person of the plan.
    """
    from backstay.app import logs
    from backstay.app.people import somebody
    from backstay.cli.printing import Page

    page = Page(common)
    home = page.home()
    known = logs.acknowledge(home, home.plan.component(component), gap, somebody(home.plan, by), reason)
    page.say(f"{gap} of {component} is known to be missing: {reason}")
    page.done({"acknowledged": known})
