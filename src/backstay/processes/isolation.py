"""Programs without any network: what a sandbox starts must not reach the world that its data came from."""

import os
from datetime import timedelta
from functools import cache

from backstay.errors import BackstayError
from backstay.processes.command import Command
from backstay.processes.running import run

_ASK = timedelta(seconds=30)


@cache
def cut_off() -> tuple[str, ...] | None:
    """What to put before a program so that it has no network at all, but for Unix sockets; None where the kernel does
    not let us (unshare(1), network_namespaces(7))."""
    who = ("--map-user=65534", "--map-group=65534") if os.geteuid() == 0 else ("--map-current-user",)
    prefix = ("unshare", "--user", "--net", *who, "--")
    try:
        run(Command((*prefix, "true"), _ASK))
    except BackstayError:
        return None
    return prefix
