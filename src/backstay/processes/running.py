"""Starting a `Command`, talking to it, and learning how it ended. The package's docstring has the theory."""

import fcntl
import io
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from backstay.errors import BackstayError, Cancelled, TimedOut, ToolFailed
from backstay.processes.command import Command
from backstay.processes.following import PIECE_BYTES, Ending, Follower, Sink, Wiring
from backstay.processes.launching import Launched, close_pipes, launch
from backstay.processes.warden import KILL, LET_GO, STOP
from backstay.values import say_size, say_span

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ALIVE: "weakref.WeakSet[Running]" = weakref.WeakSet()
_AFTERWARDS_S = 10.0
"""How long we wait for the kernel to end what was killed. Longer: it hangs inside the kernel, on a dead disk or NFS."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended, and the end of what it said."""

    command: Command
    status: int
    """Its exit status; the negative number of the signal that killed it."""
    output: bytes
    """The last `keep_bytes` of it; empty where it went to a pipe or a log."""
    errors: bytes
    """The last `keep_bytes` of them, or of the log."""
    output_bytes: int
    """How many there were in all."""
    took: timedelta

    @property
    def text(self) -> str:
        """All of its output, without the end of the last line. Raises ToolFailed when not all was kept: half an answer
        is no answer."""
        if self.output_bytes > len(self.output):
            raise ToolFailed(
                f"{self.command.name} said more than was expected",
                detail=f"{say_size(self.output_bytes)}, of which the last {say_size(len(self.output))} were kept",
            )
        return self.output.decode("utf-8", "replace").rstrip("\n")


# ── starting ─────────────────────────────────────────────────────────────────────────────────────


def run(
    command: Command,
    *,
    stdin: bytes = b"",
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    stop: Callable[[], bool] | None = None,
) -> Finished:
    """Start `command`, give it `stdin`, wait for its end.

    `stdout` and `stderr` are called with every piece, from another thread; what they raise ends the program and is
    raised here. `stop` is asked ten times a second, from there too. Raises ToolMissing, ToolFailed (a status that is
    not accepted), TimedOut (its deadline), Cancelled (`stop`). Whatever is raised, KeyboardInterrupt too: nothing is
    left running.
    """
    with start(command, stdin=stdin, stdout=stdout, stderr=stderr, stop=stop) as running:
        return running.wait()


def reading(command: Command, *, stop: Callable[[], bool] | None = None) -> BinaryIO:
    """Start `command`; its output, as a file to be read once. The last read, the one that would give nothing, raises
    what `run` would raise: a dump that ends early is no dump. Closing it ends the program, if that still runs."""
    return start(command, stdout="pipe", stop=stop).output


def start(
    command: Command,
    *,
    stdin: bytes | Literal["pipe"] = b"",
    stdout: Sink | Literal["pipe"] | None = None,
    stderr: Sink | None = None,
    stop: Callable[[], bool] | None = None,
) -> "Running":
    """Start `command` and come back as soon as it runs. A context manager: leaving it ends the program.

    With `"pipe"` its input is `Running.feed`, its output `Running.output`. Raises ToolMissing, AccessDenied or
    ToolFailed where it cannot be started.
    """
    assert command.log is None or stdout is stderr is None, "a program with a log says nothing to us"
    launched = launch(command, fed=bool(stdin))
    try:
        return Running(launched, Wiring(stdin, stdout, stderr, stop))
    except BaseException:  # no more threads, no more memory
        launched.abandon()
        raise


def kill_all() -> None:
    """Kill every program that this process started and has not let go, with all that they started. Does not wait long:
    for a lease that runs out."""
    for running in list(_ALIVE):
        with suppress(BackstayError):
            running.kill()


# ── running ──────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A program that runs. Made by `start`; may be used from several threads."""

    def __init__(self, launched: Launched, wiring: Wiring) -> None:
        self.command, self.pid = launched.command, launched.pid
        self._launched, self._follower = launched, Follower(launched, wiring)
        self._over = threading.Event()
        self._ending: Ending | None = None
        self._fed, self._broken_off = wiring.stdin != "pipe", False
        self._output: BinaryIO | None = None
        if wiring.stdout == "pipe" and (pipe := launched.warden.stdout) is not None:
            with suppress(OSError):  # a larger pipe is a wish (F_SETPIPE_SZ): fewer turns for a dump
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIECE_BYTES)
            self._output = cast(BinaryIO, io.BufferedReader(_Truthful(self, cast(io.FileIO, pipe)), PIECE_BYTES))
        self._thread = threading.Thread(target=self._follow, name=f"{self.command.name}-{self.pid}", daemon=True)
        _ALIVE.add(self)
        self._thread.start()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *exc: object) -> None:
        """End the program, if it has not ended, and everything that it started. Does not judge how it ended."""
        try:
            if not self._over.is_set():
                self.end()
        finally:
            if self._output is not None and not self._output.closed:
                self._output.close()
            close_pipes(self._launched.warden)

    @property
    def alive(self) -> bool:
        return not self._over.is_set()

    @property
    def output(self) -> BinaryIO:
        """Its output (`stdout="pipe"`). Reading to the end raises what `wait` would raise."""
        assert self._output is not None, 'start it with stdout="pipe"'
        return self._output

    def feed(self, parts: Iterable[bytes]) -> None:
        """Write all of `parts` to its input (`stdin="pipe"`) and close that.

        What `parts` raises is raised here after the program was killed: a program whose input just ends takes it for
        complete. A program that stops reading raises nothing here, but in `wait`.
        """
        pipe = self._launched.warden.stdin
        assert pipe is not None, 'start it with stdin="pipe"'
        assert not self._fed, "it has been fed already"
        self._fed = True
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[pipe.write(left) :]
        except BrokenPipeError:
            self._broken_off = True
        except BaseException:
            self.kill()
            raise
        finally:
            with suppress(BrokenPipeError):
                pipe.close()

    def last_words(self) -> str:
        """The end of what it has said so far, fit to be shown."""
        return self.command.last_words(self._errors() or bytes(self._follower.output))

    def wait(self) -> Finished:
        """Wait for its end. Raises ToolFailed, TimedOut or Cancelled; see `run`."""
        self._over.wait()
        assert self._ending is not None
        error = self._ending.trouble or self._failure(self._ending)
        if error is not None:
            raise error
        return self._finished()

    def end(self) -> Finished:
        """Ask it to end, kill it after the grace; wait for that. Does not judge its status. Raises TimedOut when even
        SIGKILL does not end it."""
        return self._ask(STOP, self.command.grace.total_seconds() + _AFTERWARDS_S)

    def kill(self) -> Finished:
        """End it and all that it started, now."""
        return self._ask(KILL, _AFTERWARDS_S)

    def let_go(self) -> None:
        """From here on it may outlive us (`lasting`). Raises ToolFailed when it has ended already."""
        assert self.command.lasting, "only a lasting program can be let go"
        assert self.command.log is not None, "our pipes end with us: what is let go needs a log"
        self._follower.releasing = True
        self._follower.tell(LET_GO)
        self._over.wait()
        if self._ending is not None and self._ending.why != "let go":
            raise self._failure(self._ending) or ToolFailed(f"{self.command.name} ended before it was let go")

    # ── within ──

    def _follow(self) -> None:
        process = self._launched.warden
        try:
            self._ending = self._follower.follow()
        except BaseException as error:  # noqa: BLE001 - a defect of ours, raised in the thread that waits
            self._ending = Ending(-signal.SIGKILL, "lost", timedelta(), error)
        self._launched.control.close()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
        if self._output is None and process.stdout is not None:
            process.stdout.close()
        _ALIVE.discard(self)
        self._over.set()

    def _ask(self, word: bytes, patience_s: float) -> Finished:
        self._follower.tell(word)
        if not self._over.wait(patience_s):
            raise TimedOut(
                f"{self.command.name} cannot be ended",
                detail=f"process {self.pid} does not die of SIGKILL: it hangs inside the kernel, or has other rights",
                hint=f"look at /proc/{self.pid}/stack; a dead disk or network file system is the usual cause",
            )
        return self._finished()

    def _finished(self) -> Finished:
        assert self._ending is not None
        output = self._follower.output
        return Finished(
            self.command, self._ending.status, bytes(output), self._errors(), output.total, self._ending.took
        )

    def _errors(self) -> bytes:
        if self.command.log is None:
            return bytes(self._follower.errors)
        try:
            with self.command.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._launched.log_begins, end - self.command.keep_bytes))
                return file.read(self.command.keep_bytes)
        except OSError:
            return b""  # somebody took the log away; there are no last words then

    def _failure(self, ending: Ending) -> BackstayError | None:
        name, said = self.command.name, self.last_words()
        if ending.why == "asked":
            return Cancelled(f"{name} was stopped", detail=said)
        if ending.why == "deadline":
            assert self.command.deadline is not None
            return TimedOut(
                f"{name} did not end within {say_span(self.command.deadline)}, and was stopped",
                detail=said,
                hint="if the work just takes that long, raise the timeout in the plan",
            )
        if ending.why == "lost":
            return ToolFailed(f"{name} was killed together with the process that watched it", detail=said)
        if ending.status not in self.command.accept:
            return ToolFailed(f"{name} {_how(ending.status)}", detail=said, hint=self._advice(ending.status, said))
        if ending.unread or self._broken_off:
            return ToolFailed(f"{name} ended before it had read all that we had for it", detail=said)
        return None

    def _advice(self, status: int, said: str) -> str:
        if status == -signal.SIGKILL:
            return "if nobody killed it, the machine ran out of memory: see `dmesg`"
        if self.command.unprivileged and said.startswith("unshare:"):
            return "this machine lets root make no user namespace: run backstay as a user that is not root"
        spelled = self.command.spelled()
        return f"see for yourself: {spelled if len(spelled) <= 300 else spelled[:299] + '…'}"


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class _Truthful(io.RawIOBase):
    """What a program writes, as a file whose end can be trusted."""

    def __init__(self, running: Running, pipe: io.FileIO) -> None:
        self._running, self._pipe = running, pipe

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = self._pipe.readinto(buffer)
        if count == 0 and len(memoryview(buffer)) > 0:
            self._running.wait()
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._running.alive:
                self._running.end()
            self._pipe.close()
