"""Following a program until its end: its words, its input, our wish to stop, and the warden's last report.

One thread per program, one selector: no pipe can fill up while we look at another, and no reader hangs on a pipe that
somebody else still holds.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, Literal

from backstay.processes.launching import Launched
from backstay.processes.warden import KILL, STOP

PIECE_BYTES = 1 << 20
"""What is read at once."""
_GLANCE_S = 0.1
"""How often `stop` is asked."""
_ECHO_S = 1.0
"""How long we listen after the end to a pipe that is still open: only a stranger can hold it by then."""

Sink = Callable[[bytes], object]
Why = Literal["itself", "asked", "deadline", "lost", "let go"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a program's streams go. `"pipe"`: the caller's business, not ours."""

    stdin: bytes | Literal["pipe"]
    stdout: Sink | Literal["pipe"] | None
    stderr: Sink | None
    stop: Callable[[], bool] | None


@dataclass(frozen=True, slots=True)
class Ending:
    status: int
    why: Why
    took: timedelta
    trouble: BaseException | None = None
    """What a sink, or `stop`, raised."""
    unread: bool = False
    """It ended before it had read all of its input."""


class Tail:
    """The end of a stream."""

    def __init__(self, keep_bytes: int) -> None:
        self._keep, self._held, self.total = keep_bytes, bytearray(), 0

    def add(self, part: bytes) -> None:
        self.total += len(part)
        if self._keep:
            self._held += part[-self._keep :]
        if len(self._held) > 2 * self._keep:  # seldom, so that adding stays cheap
            del self._held[: -self._keep]

    def __bytes__(self) -> bytes:
        return bytes(self._held[-self._keep :]) if self._keep else b""


@dataclass(slots=True)
class _Listener:
    tail: Tail
    sink: Sink | None


@dataclass
class Follower:
    launched: Launched
    wiring: Wiring
    output: Tail = field(init=False)
    errors: Tail = field(init=False)
    releasing: bool = False
    """Set before the warden is told to let go: its going is then no accident."""

    def __post_init__(self) -> None:
        keep = self.launched.command.keep_bytes
        self.output, self.errors = Tail(keep), Tail(keep)
        self._began = time.monotonic()
        self._report = b""
        self._to_write = memoryview(b"" if self.wiring.stdin == "pipe" else self.wiring.stdin)
        self._trouble: BaseException | None = None
        self._asked_to_stop = False
        self._ended: tuple[int, Why] | None = None

    def tell(self, word: bytes) -> None:
        """Ask something of the warden; it may have gone already."""
        with suppress(OSError):
            self.launched.control.sendall(word)

    def follow(self) -> Ending:
        """Until the end. Raises nothing: trouble is part of the ending."""
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            while self._ended is None or len(selector.get_map()) > 0:
                ready = selector.select(self._patience_s())
                if not ready and self._ended is not None:
                    break
                for key, _ in ready:
                    self._serve(selector, key)
                self._ask_whether_to_stop()
        status, why = self._ended
        return Ending(
            status, why, timedelta(seconds=time.monotonic() - self._began), self._trouble, len(self._to_write) > 0
        )

    def _register(self, selector: selectors.BaseSelector) -> None:
        process = self.launched.warden
        selector.register(self.launched.control, selectors.EVENT_READ, None)
        heard: list[tuple[IO[bytes] | None, _Listener]] = [(process.stderr, _Listener(self.errors, self.wiring.stderr))]
        if self.wiring.stdout != "pipe":
            heard.append((process.stdout, _Listener(self.output, self.wiring.stdout)))
        for pipe, listener in heard:
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, listener)
        if process.stdin is not None and self.wiring.stdin != "pipe":
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)

    def _patience_s(self) -> float | None:
        if self._ended is not None:
            return 0 if self.launched.command.lasting else _ECHO_S
        return None if self.wiring.stop is None else _GLANCE_S

    def _serve(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        if key.fileobj is self.launched.control:
            if self._hear_warden():
                selector.unregister(key.fileobj)
        elif isinstance(key.data, _Listener):
            if self._hear(key.fd, key.data):
                selector.unregister(key.fileobj)
        elif self._write(key.fd):
            selector.unregister(key.fileobj)
            assert self.launched.warden.stdin is not None
            self.launched.warden.stdin.close()

    def _hear(self, fd: int, listener: _Listener) -> bool:
        """One piece of what the program says. True at the end of the stream."""
        try:
            part = os.read(fd, PIECE_BYTES)
        except BlockingIOError:
            return False
        listener.tail.add(part)
        if part and listener.sink is not None:
            try:
                listener.sink(part)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits, by `Running.wait`
                listener.sink = None
                self._stumble(error)
        return not part

    def _write(self, fd: int) -> bool:
        """One piece of its input. True when there is no more to write, or nobody to read it."""
        try:
            self._to_write = self._to_write[os.write(fd, self._to_write[:PIECE_BYTES]) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._to_write

    def _hear_warden(self) -> bool:
        """True at its end."""
        try:
            part = self.launched.control.recv(4096)
        except OSError:
            part = b""
        self._report += part
        match self._report.decode().split():
            case ["ended", status, ("itself" | "asked" | "deadline") as why] if self._report.endswith(b"\n"):
                self._ended = (int(status), why)
            case _ if not part and self.releasing:
                self._ended = (0, "let go")
            case _ if not part:
                with suppress(ProcessLookupError):  # the program has died with its warden; its children may not have
                    os.killpg(self.launched.pid, signal.SIGKILL)
                self._ended = (-signal.SIGKILL, "lost")
            case _:
                pass
        return self._ended is not None

    def _ask_whether_to_stop(self) -> None:
        if self.wiring.stop is None or self._asked_to_stop or self._ended is not None:
            return
        try:
            self._asked_to_stop = self.wiring.stop()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits, by `Running.wait`
            self._asked_to_stop = True
            self._stumble(error)
        if self._asked_to_stop:
            self.tell(STOP)

    def _stumble(self, error: BaseException) -> None:
        self._trouble = self._trouble or error
        self.tell(KILL)
