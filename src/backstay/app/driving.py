"""Who drives: a name that tells this process from every other, and what ends together with it."""

import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path

from backstay import engine, processes
from backstay.app.home import Home
from backstay.app.people import signature_holds
from backstay.facts import Recorded
from backstay.ports import Progress, unwatched
from backstay.values import RunId, StepId

Watch = Callable[[Recorded], None]


def _unseen(recorded: Recorded) -> None:
    pass


def new_run(kind: str, now: datetime) -> RunId:
    """Sorts by time; two in one second differ. Short enough to be typed: `recovery-20261122t204437z-7f3a`."""
    return RunId(f"{kind}-{now:%Y%m%dt%H%M%S}z-{secrets.token_hex(2)}")


@cache
def _machine() -> str:
    """This boot of this machine, and this PID namespace: where a process id means what it means to us."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    return f"{socket.gethostname()}.{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def _start_of(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (proc(5)). None: no such process, or one that has ended and was not collected. Empty:
    it cannot be seen, because there are no files to be opened any more, or /proc hides it (`hidepid`) or belongs to
    another PID namespace: that is no evidence of anything."""
    try:
        if Path("/proc/self").readlink() != Path(str(os.getpid())):
            return ""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        return None if _nobody(pid) else ""
    except OSError:
        return ""


def _nobody(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def driver_name() -> str:
    """Unique to this process and this drive; people read the host in it."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_start_of(pid)}/{secrets.token_hex(2)}"


def has_ended(name: str) -> bool:
    """Evidence that the driver of that name has ended, with everything that it started: it ran on this machine, and its
    process is gone (what it started is killed by wardens at that moment, or holds the lock of its target until it
    ends). False: not known."""
    machine, _, rest = name.partition("/")
    pid, _, rest = rest.partition("/")
    start, _, _ = rest.partition("/")
    return machine == _machine() and pid.isdigit() and start.isdigit() and _start_of(int(pid)) not in (start, "")


def driver(
    home: Home, *, watch: Watch = _unseen, progress: Progress = unwatched, stop: Callable[[], bool] | None = None
) -> engine.Driver:
    """This process as a driver, its eyes and hands bound to `home`."""

    def of_step(step: StepId) -> Progress:
        return progress

    return engine.Driver(
        journal=home.journal,
        clock=home.clock,
        name=driver_name(),
        signed=signature_holds(home.plan),
        kill_children=processes.kill_all,
        gone=has_ended,
        stop=stop or home.clock.stop.is_set,
        watch=watch,
        progress=of_step,
        aside=home.seal_when_due,
    )
