"""From a `Command` to a program that runs under its warden, or to the reason why it does not."""

import errno
import marshal
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from backstay.errors import AccessDenied, BackstayError, DiskFull, TimedOut, ToolFailed
from backstay.processes import warden
from backstay.processes.command import Command, missing

_BEGIN = "import sys; sys.path.append(sys.argv[2]); import warden; warden.main()"
_START_S = 30.0
"""A warden that has not begun by then will not."""


@dataclass(frozen=True, slots=True)
class Launched:
    command: Command
    pid: int
    """The program's own, and its process group's."""
    warden: subprocess.Popen[bytes]
    """Its pipes are the program's."""
    control: socket.socket
    """The line that the program's life hangs on."""
    log_begins: int
    """Where in `command.log` the program's words begin."""

    def abandon(self) -> None:
        abandon(self.warden, self.control)


def launch(command: Command, *, fed: bool) -> Launched:
    """Start `command`, with a pipe for its input where it is `fed`, and come back when it runs.

    Raises ToolMissing, AccessDenied, DiskFull (the log), TimedOut or ToolFailed.
    """
    order = _order(command)
    log = None if command.log is None else _open_log(command.log)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = _start_warden(command, theirs, log, fed)
    except OSError as error:
        ours.close()
        raise ToolFailed(
            f"{command.name} could not be started",
            detail=f"this machine gives us no new process: {error.strerror}",
            hint="look at the limits of this user (ulimit -a) and at the free memory",
        ) from error
    finally:
        log_begins = 0 if log is None else os.fstat(log).st_size
        if log is not None:
            os.close(log)
    try:
        return Launched(command, _introduce(command, order, process, ours), process, ours, log_begins)
    except BaseException:
        abandon(process, ours)
        raise


def abandon(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Close the line, which ends the warden and whatever it has started."""
    control.close()
    process.wait()
    close_pipes(process)


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _open_log(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else AccessDenied
        raise kind(f"cannot write the log {path}", detail=error.strerror or str(error)) from error


def _order(command: Command) -> bytes:
    """What the warden has to know. Not in its argv: the environment holds secrets."""
    order = marshal.dumps(
        {
            "argv": command.exact(),
            "env": command.environment(),
            "cwd": str(command.cwd) if command.cwd else "",
            "limits": command.limits.spelled(),
            "nice": command.limits.nice,
            "deadline": None if command.deadline is None else command.deadline.total_seconds(),
            "grace": command.grace.total_seconds(),
            "stop": int(command.stop),
            "accept": sorted(command.accept),
            "lasting": command.lasting,
            "inherit": list(command.inherit),
        }
    )
    return len(order).to_bytes(8, "big") + order


def _start_warden(command: Command, theirs: socket.socket, log: int | None, fed: bool) -> subprocess.Popen[bytes]:
    # Isolated and without site-packages: nothing in our environment steers it, and it starts in a third of the time.
    # As a module, because Python keeps no bytecode of scripts.
    folder = str(Path(warden.__file__).parent)
    program = [sys.executable, "-I", "-S", "-c", _BEGIN, str(theirs.fileno()), folder, command.name]
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    said = subprocess.PIPE if log is None else log
    return subprocess.Popen(
        program,
        stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        bufsize=0,
        env=environment,
        cwd="/",
        pass_fds=(theirs.fileno(), *command.inherit),
        start_new_session=True,
    )


def _introduce(command: Command, order: bytes, process: subprocess.Popen[bytes], control: socket.socket) -> int:
    """Hand over the order, hear the answer: the program's pid."""
    control.settimeout(_START_S)
    line = b""
    try:
        control.sendall(order)
        while not line.endswith(b"\n") and (byte := control.recv(1)):
            line += byte
    except TimeoutError as error:
        process.kill()
        raise TimedOut(f"{command.name} did not start within {_START_S:.0f} s") from error
    except OSError:
        line = b""  # the warden died at once; it may have said why
    control.settimeout(None)
    match line.decode().split():
        case ["started", pid]:
            return int(pid)
        case ["failed", part, number]:
            raise _not_started(command, part, int(number))
        case _:
            said = b"" if process.stderr is None else process.stderr.read()
            detail = command.last_words(said) or "the process that should have started it ended"
            raise ToolFailed(f"{command.name} could not be started", detail=detail)


def _not_started(command: Command, part: str, number: int) -> BackstayError:
    reason = os.strerror(number)
    match part:
        case "exec" if number == errno.ENOENT:
            return missing(command.argv[0])
        case "exec" if number == errno.EACCES:
            return AccessDenied(f"may not execute {command.argv[0]}", detail=reason)
        case "cwd":
            return ToolFailed(f"{command.name} could not be started in {command.cwd}", detail=reason)
        case _:
            return ToolFailed(f"{command.name} could not be started", detail=f"{part}: {reason}")
