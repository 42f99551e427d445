"""A program that minds its own children: a command of Backstay's, started by a service of Backstay's.

A warden would be wrong here. It ends everything below it, and a recovery leaves a database server running on purpose.
So the command stands in a session of its own, with its own wardens below it. When it is to stop it is asked, as a
person would ask it: a recovery writes down where it stands and gives its lease back. When we die, however that comes
about, it is asked by the kernel (prctl(2), PR_SET_PDEATHSIG; the thread that started it waits here until its end, so
that the signal means us). One that does not hear goes on under its own lease: nobody does its work twice.
"""

import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO

from backstay.errors import ToolFailed

_GLANCE_S = 0.2
_LONGEST_LINE = 4096
"""Bytes; what is longer comes as several."""


def apart(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    grace: timedelta,
) -> int:
    """Run it to its end; its exit status, negative for a signal. `say` gets each line that it prints, `stop` is asked
    five times a second: then it gets SIGTERM, and after `grace` SIGKILL. Raises ToolFailed when it cannot start."""
    # setpriv(1) is of util-linux; without it only the kernel's word to the command is missing.
    mortal = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    try:
        process = subprocess.Popen(
            [*mortal, *argv], env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ToolFailed(f"{Path(argv[0]).name} could not be started", detail=error.strerror or "") from None
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, say), name="reads a job", daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            if stop():
                _end(process, grace)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GLANCE_S)
    except BaseException:
        _end(process, grace)
        raise
    reader.join(_GLANCE_S * 10)  # a server that it left behind may hold the pipe
    return process.returncode


def _end(process: "subprocess.Popen[bytes]", grace: timedelta) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(grace.total_seconds())
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(pipe: IO[bytes], say: Callable[[str], None]) -> None:
    """To the end, whatever becomes of what is said: once the pipe is full, its writer would stand still."""
    with suppress(OSError, ValueError), pipe:
        while line := pipe.readline(_LONGEST_LINE):
            text = "".join(c for c in line.decode("utf-8", "replace") if c.isprintable()).strip()
            with suppress(OSError, ValueError):  # nobody reads it any more, or its encoding has no such letter
                if text:
                    say(text)
