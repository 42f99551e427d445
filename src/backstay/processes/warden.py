"""The warden: one small process between us and each program that we start, so that nothing outlives us.

Theory of operation. Backstay may be killed at any moment with a signal that nobody can catch, and what it started must
not go on writing into a database that its successor is about to restore. Linux offers `PR_SET_PDEATHSIG`, but that
fires when the *thread* that forked ends, does not reach grandchildren, and leaves a session-leading daemon alone
(prctl(2)). So the kernel is asked for something simpler: a socket, whose other end only the driver holds, reports its
end when the driver's process is gone, for whatever reason. The warden waits for that, and as a child subreaper
(`PR_SET_CHILD_SUBREAPER`) it inherits every descendant whose own parent ends, daemons in sessions of their own
included. So it can kill them all, and does, until it has no child left.

    driver ──socket──▶ warden ──fork──▶ program ──▶ its children, and whatever they leave behind

The warden also keeps the deadline: a driver that is stopped or swapped out could not. It lives in a session of its own,
so that Ctrl-C reaches the driver alone, which decides. The program has PDEATHSIG set against the warden, its
single-threaded parent: if somebody kills just the warden, the program still dies, and the driver kills its process
group. Only where warden and driver are killed in the same instant may a grandchild stay.

This module is imported alone, by `python -I -S`, and imports as little as it can: it is on the way of every command,
and `socket`, `contextlib` or `typing` would double the time to start. It speaks a private protocol with `launching`
and `following`: in come the order (eight bytes of length, then `marshal`), then single bytes (`S` stop, `K` kill,
`L` let go); out go lines: `started PID`, `failed PART ERRNO`, `ended STATUS WHY`.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

STOP, KILL, LET_GO = b"S", b"K", b"L"
"""What a driver may ask for."""


def main() -> None:
    control = int(sys.argv[1])
    os.set_inheritable(control, False)  # the program must not hold the line that its own life hangs on
    order = _receive(control)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for caught in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(caught, _wake)
    program = _start(order, control)
    _say(control, f"started {program}")
    _look_away()
    Watch(order, control, wake, program).until_the_end()


def _wake(number: int, frame: object) -> None:
    """Nothing: what wakes us is the byte that Python writes to the wakeup fd. A polite signal from elsewhere changes
    nothing either; the driver decides."""


def _receive(control: int) -> dict[str, Any]:
    """The order comes from our own parent, which runs this same Python: `marshal` is quick and meets no stranger."""
    length = int.from_bytes(_exactly(control, 8), "big")
    order: dict[str, Any] = marshal.loads(_exactly(control, length))  # noqa: S302
    return order


def _exactly(control: int, length: int) -> bytes:
    got = b""
    while len(got) < length:
        part = os.read(control, length - len(got))
        if not part:
            sys.exit(0)  # the driver was gone before it had told us anything
        got += part
    return got


def _say(control: int, line: str) -> None:
    try:
        os.write(control, line.encode() + b"\n")
    except OSError:
        pass  # nobody listens any more; we find that out in a moment, and act on it


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _look_away() -> None:
    """The program's pipes are its own: while we hold a copy, no reader would see their end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


# ── the program ──────────────────────────────────────────────────────────────────────────────────


def _start(order: dict[str, Any], control: int) -> int:
    """Fork and exec. Does not return where that fails: the driver is told which part, and why."""
    warden = os.getpid()
    told, tell = os.pipe()  # closes by itself when the exec succeeds
    child = os.fork()
    if child == 0:
        _become(order, warden, tell)
    os.close(tell)
    words = b""
    while part := os.read(told, 100):
        words += part
    os.close(told)
    if words:
        os.waitpid(child, 0)
        _say(control, f"failed {words.decode()}")
        sys.exit(0)
    return child


def _become(order: dict[str, Any], warden: int, tell: int) -> NoReturn:
    """In the fork: turn into the program. There is one thread, so ordinary Python is safe here."""
    part = "start"
    try:
        os.setsid()
        if not order["lasting"]:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != warden:  # it ended in between
                os._exit(127)
        for fd in order["inherit"]:
            # What lasts must not take our locks along; the warden holds them for as long as the work takes.
            os.set_inheritable(fd, not order["lasting"])
        signal.set_wakeup_fd(-1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and exec would keep it so
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.umask(0o077)
        part = "limits"
        for limit, most in order["limits"]:
            hard = resource.getrlimit(limit)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (most, most))
        os.nice(order["nice"])
        part = "cwd"
        if order["cwd"]:
            os.chdir(order["cwd"])
        part = "exec"
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - an argv, never a shell
    except (OSError, ValueError) as error:
        os.write(tell, f"{part} {getattr(error, 'errno', None) or 22}".encode())
    finally:
        os._exit(127)


# ── the watch ────────────────────────────────────────────────────────────────────────────────────


class Watch:
    """Waits for the first of: the program's end, the driver's end, the driver's word, the deadline."""

    def __init__(self, order: dict[str, Any], control: int, wake: int, program: int) -> None:
        self.order, self.control, self.wake, self.program = order, control, wake, program
        self.status: int | None = None
        self.why = "itself"
        self.kill_at: float | None = None
        deadline: float | None = order["deadline"]
        self.deadline = None if deadline is None else time.monotonic() + deadline

    def until_the_end(self) -> None:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            self._reap()
            if self.status is not None and self._is_over():
                break
            for fd, _ in poll.poll(self._patience_ms()):
                if fd == self.wake:
                    os.read(self.wake, 4096)
                else:
                    self._hear()
            self._keep_time()
        _say(self.control, f"ended {self.status} {self.why}")

    def _is_over(self) -> bool:
        """The program has ended; what about those whom it left behind?"""
        if self.order["lasting"] and self.why == "itself" and self.status in self.order["accept"]:
            return True  # a daemon, which was the purpose
        if self.kill_at is None:
            slay()
            return True
        return not any(descendants(os.getpid()))  # asked to stop: they have until kill_at, too

    def _patience_ms(self) -> float | None:
        moments = [m for m in (self.kill_at, self.deadline) if m is not None]
        return max(0.0, min(moments) - time.monotonic()) * 1000 + 1 if moments else None

    def _hear(self) -> None:
        try:
            word = os.read(self.control, 1)
        except OSError:
            word = b""
        if word == STOP:
            self._stop("asked")
        elif word == KILL:
            self._kill("asked")
        elif word == LET_GO:
            sys.exit(0)
        else:
            self._kill("orphaned")
            sys.exit(0)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self.kill_at is not None and now >= self.kill_at:
            self._kill(self.why)
        elif self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._stop("deadline")

    def _stop(self, why: str) -> None:
        if self.kill_at is None and self.status is None:
            self.why, self.deadline = why, None
            self.kill_at = time.monotonic() + self.order["grace"]
            try:
                os.killpg(self.program, self.order["stop"])
                os.killpg(self.program, signal.SIGCONT)  # a stopped process hears nothing
            except ProcessLookupError:
                pass

    def _kill(self, why: str) -> None:
        self.why, self.deadline, self.kill_at = why, None, None
        status = slay(self.program)
        self.status = status if self.status is None else self.status

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.program:
                self.status = os.waitstatus_to_exitcode(status)


def slay(program: int = 0) -> int:
    """Kill every descendant, and whatever those started meanwhile, until none is left. The exit code of `program`.

    A killed process whose parent lives becomes that parent's to reap; one whose parent dies becomes ours.
    """
    found = -signal.SIGKILL
    while True:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # gone already; or no longer ours to kill (setuid): then it is waited for
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return found
        if pid == program:
            found = os.waitstatus_to_exitcode(status)


def descendants(ancestor: int) -> Iterator[int]:
    """Children, grandchildren and so on, from /proc (proc(5): the fourth field of `stat`)."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The second field is the name in brackets, and may hold anything, brackets too.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            below.setdefault(parent, []).append(int(name))
    waiting = [ancestor]
    while waiting:
        for child in below.get(waiting.pop(), ()):
            yield child
            waiting.append(child)
