"""Who drives: a name that tells this process from every other, and what ends together with it."""

import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from backstay import engine, processes
from backstay.app.home import Home
from backstay.app.people import signature_holds
from backstay.errors import AccessDenied
from backstay.facts import Recorded
from backstay.ports import Progress, unwatched
from backstay.values import RunId, StepId

Watch = Callable[[Recorded], None]
LONGEST_MEMORY = timedelta(days=30)


def _unseen(recorded: Recorded) -> None:
    pass


def new_run(kind: str, now: datetime) -> RunId:
    """Sorts by time; two in one second differ. Short enough to be typed: `recovery-20261122t204437z-7f3a`."""
    return RunId(f"{kind}-{now:%Y%m%dt%H%M%S}z-{secrets.token_hex(2)}")


# ── evidence that a driver has ended ─────────────────────────────────────────────────────────────


class Roll:
    """Who drives from one state folder. Every process holds the lock of a file of its own there for as long as it lives
    (flock(2)): the kernel frees it when the process is gone, for whatever reason, also by a reboot or when a container
    ends. No number of a process, no name of a host has to be believed."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "drivers"
        self._name = ""

    def sign_on(self) -> str:
        """A name for one drive; people read the host and the process in it. Raises AccessDenied, DiskFull."""
        if not self._name:
            self._name = self._enter()
        return f"{self._name}/{secrets.token_hex(2)}"

    def _enter(self) -> str:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._forget_old()
            token = secrets.token_hex(8)
            # Never closed: the lock ends with the process. Children do not inherit it.
            held = os.open(self._folder / token, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AccessDenied(f"cannot write in {self._folder}", detail=error.strerror or "") from error
        # A copy of the folder has other files: what is free there is no evidence about us.
        return f"{socket.gethostname()}/{os.getpid()}/{token}.{os.fstat(held).st_ino}"

    def has_ended(self, name: str) -> bool:
        """Evidence that the driver of that name has ended, with everything that it started: what it started was killed
        by wardens at that moment, or holds the lock of its target until it ends. False: not known."""
        return self._is_held(name) is False

    def is_here(self, name: str) -> bool:
        """Whether the process of that name lives, and writes into this very folder. For what never leaves the folder:
        who is not here has ended, however long ago, or is of a folder that this one is a copy of."""
        return self._is_held(name) is True

    def _is_held(self, name: str) -> bool | None:
        """None: there is no such file, or it is not the one that was meant."""
        token, _, inode = [*name.split("/"), "", "", ""][2].partition(".")
        if not re.fullmatch("[0-9a-f]{16}", token):
            return None
        try:
            handle = os.open(self._folder / token, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            return _is_locked(handle) if str(os.fstat(handle).st_ino) == inode else None
        finally:
            os.close(handle)

    def _forget_old(self) -> None:
        """No lease lasts as long as that; but a service does, and its file stays."""
        for path in self._folder.iterdir():
            if time.time() - path.stat().st_mtime > LONGEST_MEMORY.total_seconds():
                try:
                    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                except OSError:
                    continue  # somebody else forgot it, or it is none of ours
                try:
                    if not _is_locked(handle):
                        path.unlink(missing_ok=True)
                finally:
                    os.close(handle)


def _is_locked(handle: int) -> bool:
    """By somebody else's handle."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def driver(
    home: Home, *, watch: Watch = _unseen, progress: Progress = unwatched, stop: Callable[[], bool] | None = None
) -> engine.Driver:
    """This process as a driver, its eyes and hands bound to `home`."""

    def of_step(step: StepId) -> Progress:
        return progress

    roll = Roll(home.state)
    return engine.Driver(
        journal=home.journal,
        clock=home.clock,
        name=roll.sign_on(),
        signed=signature_holds(home.plan),
        kill_children=processes.kill_all,
        gone=roll.has_ended,
        stop=stop or home.clock.stop.is_set,
        watch=watch,
        progress=of_step,
        aside=home.seal_when_due,
    )
