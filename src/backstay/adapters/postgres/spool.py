"""Where a recovering server gets its log from: a folder that is filled ahead of the replay, and a tiny program.

PostgreSQL calls `restore_command` once for each file, and takes an exit status of 1 to 125 as "there is no such file":
it then ends the recovery and begins a new timeline, whatever the reason was (manual, 26.3.4; pitfall 24). So the
program says 1 for one thing only: a file that whoever fills the folder has *proved* absent, by a listing that
succeeded. Delivered and whole is 0. Everything else, the death of the filler first of all, is 126, at which the server
stops and promotes nothing.

The program is a script for sh(1), and a file is delivered by rename. Measured for each segment: 4 ms, where a Python
program that asks over a socket took 35, and a server replays a segment in about 40. There is no connection whose other
end could die: the filler holds a lock (flock(2)) on `alive` for as long as it lives.

    ready/NAME    whole, checked, durable: may be taken
    ask/NAME      the server waits for it
    absent/NAME   proved absent
    failed        the filler has given up; why, it tells to whom it belongs

At most `budget_bytes` lie there at once, and never less than two segments.
"""

import fcntl
import os
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backstay.adapters.postgres.programs import Owner
from backstay.durable import sync, write_durably
from backstay.errors import BackstayError, Damaged, DiskFull, ToolMissing

BUDGET_BYTES = 256 << 20
_AT_ONCE = 3
"""Segments that are read at once: a vault may be far away."""
_GLANCE_S = 0.02

_PROGRAM = """\
#!/bin/sh
# Made by Backstay: `restore_command` of a recovery that is under way. NAME and where to put it.
# 0: delivered, whole. 1: proved absent. Anything else is no answer: 126, and the server ends no recovery by mistake.
# Also where this shell itself gives up (no more processes, a full disk): the trap sees to that.
code=126
trap 'exit $code' EXIT
spool=${0%/*}
case $1 in ''|.*|*[!0-9A-Za-z.]*) exit ;; esac
while :; do
    if test -f "$spool/ready/$1"; then
        mv -f -T -- "$spool/ready/$1" "$2" && code=0
        exit
    fi
    if test -f "$spool/absent/$1"; then code=1; exit; fi
    test -f "$spool/failed" && exit
    test -f "$spool/ask/$1" || touch -- "$spool/ask/$1" || exit
    flock -n -s "$spool/alive" true
    # 1: somebody holds it. He who could be locked out is dead, and any other answer is none.
    test $? -eq 1 || exit
    sleep 0.02 || exit
done
"""

_HISTORY = re.compile(r"([0-9A-F]{8})\.history\Z")
_SEGMENT = re.compile(r"[0-9A-F]{24}\Z")
_BESIDE = re.compile(r"[0-9A-F]{24}\.(?:partial|[0-9A-F]{8}\.backup)\Z")
"""What an archive may have beside the log. The shelf of a vault never has."""


class Source(Protocol):
    """What the folder is filled from."""

    @property
    def segment_bytes(self) -> int: ...

    def names(self) -> list[str]:
        """The segments that will be asked for, in order, as far as is known now."""
        ...

    def further(self) -> bool:
        """Look again: is there more than `names` gave? By a listing that succeeds, or raises."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """One segment of `names`, whole; what the log does not have yet at its end is zeros."""
        ...

    def history(self, timeline: int) -> bytes | None:
        """None: proved absent."""
        ...

    def wrong(self, path: Path, name: str) -> None:
        """Raises what speaks against replaying this segment; it lies at `path`, and comes after the one before."""
        ...


@dataclass
class Spool:
    """One folder, filled for as long as the context lasts. `folder` lies on the disk of the data: a rename delivers."""

    folder: Path
    source: Source
    owner: Owner
    durable: bool = True
    """False: for what is thrown away after a power cut anyway."""
    budget_bytes: int = BUDGET_BYTES
    stop_asked: Callable[[], bool] = lambda: False
    error: BaseException | None = None
    """Why the filler gave up."""
    delivered: set[str] = field(default_factory=set[str])
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _lock: int = -1

    # ── the world's side ──

    def __enter__(self) -> "Spool":
        for program in ("sh", "mv", "flock", "touch", "sleep"):
            if shutil.which(program) is None:
                raise ToolMissing(f"there is no program {program} here", detail="a recovering server needs it")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        for name in ("ready", "ask", "absent", "making"):
            (self.folder / name).mkdir(mode=0o700)
        write_durably(self.folder / "fetch", _PROGRAM.encode())
        self._lock = os.open(self.folder / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for path in (self.folder, *self.folder.iterdir()):
            self._give(path)
        self._thread = threading.Thread(target=self._fill, name="backstay-spool", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()
        os.close(self._lock)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def command(self) -> str:
        """For `restore_command`. A per cent sign is the server's."""
        return f"exec sh {shlex.quote(str(self.folder / 'fetch')).replace('%', '%%')} %f %p"

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0 and self.owner.uid != 0:
            os.chown(path, self.owner.uid, self.owner.gid, follow_symlinks=False)

    # ── the filler ──

    def _fill(self) -> None:
        try:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="backstay-spool") as threads:
                try:
                    _Filling(self, threads).run(self._end)
                finally:
                    self._end.set()
                    threads.shutdown(cancel_futures=True)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the server
            self.error = error
            with suppress(OSError):
                (self.folder / "failed").touch()

    def make(self, name: str) -> Path:
        """Read one segment; gives where it lies, whole. Raises what reading raises, DiskFull."""
        path = self.folder / "making" / name
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        size = 0
        try:
            for piece in self.source.pieces(name):
                view = memoryview(piece)
                size += len(view)
                while view:
                    view = view[os.write(handle, view) :]
                if self._end.is_set():
                    break
            assert size <= self.source.segment_bytes, "more than a segment"
            os.ftruncate(handle, self.source.segment_bytes)
            if self.durable:
                os.fsync(handle)
        except OSError as error:
            raise _no_room(self.folder, error) from error
        finally:
            os.close(handle)
        self._give(path)
        return path

    def put(self, name: str, data: bytes) -> None:
        path = self.folder / "making" / name
        try:
            write_durably(path, data)
            self._give(path)
            self.publish(path)
        except OSError as error:
            raise _no_room(self.folder, error) from error

    def publish(self, path: Path) -> None:
        path.rename(self.folder / "ready" / path.name)
        if self.durable:
            sync(self.folder / "ready")
        self.delivered.add(path.name)
        self.answered(path.name)

    def answered(self, name: str) -> None:
        (self.folder / "ask" / name).unlink(missing_ok=True)

    def absent(self, name: str) -> None:
        (self.folder / "absent" / name).touch(0o600)
        self._give(self.folder / "absent" / name)
        self.answered(name)

    def asked(self) -> list[str]:
        return sorted(os.listdir(self.folder / "ask"))  # noqa: PTH208

    def ready(self) -> set[str]:
        return set(os.listdir(self.folder / "ready"))  # noqa: PTH208


@dataclass
class _Filling:
    """The work of the filler's thread. Segments are read several at once, and published in order."""

    spool: Spool
    threads: ThreadPoolExecutor
    names: list[str] = field(default_factory=list[str])
    places: dict[str, int] = field(default_factory=dict[str, int])
    coming: dict[int, Future[Path]] = field(default_factory=dict[int, "Future[Path]"])
    at: int = 0
    """The next to be published."""
    amiss: Exception | None = None
    """Why it cannot be."""

    def run(self, end: threading.Event) -> None:
        self._learn()
        window = max(2, self.spool.budget_bytes // self.spool.source.segment_bytes)
        while not end.is_set():
            if self.spool.stop_asked():
                return
            for name in self.spool.asked():
                self._answer(name)
            waiting = len(self.spool.ready())
            while len(self.coming) < min(_AT_ONCE, window - waiting) and self._next() < len(self.names):
                number = self._next()
                self.coming[number] = self.threads.submit(self.spool.make, self.names[number])
            if not self._publish():
                end.wait(_GLANCE_S)

    def _next(self) -> int:
        return self.at + len(self.coming)

    def _publish(self) -> bool:
        """The next one, if it is there. Raises what making it raised, as soon as the server asks for it: what is amiss
        behind the target is nobody's trouble, and the server still has to ask for histories when it has got there."""
        if (found := self.coming.get(self.at)) is None or not found.done():
            return False
        if self.amiss is None:
            try:
                path = found.result()
                self.spool.source.wrong(path, path.name)
                self.spool.publish(path)
            except Exception as error:  # noqa: BLE001 - raised below
                self.amiss = error
            else:
                del self.coming[self.at]
                self.at += 1
                return True
        if self.names[self.at] in self.spool.asked():
            raise self.amiss
        return False

    def _learn(self) -> None:
        self.names = self.spool.source.names()
        self.places = {name: number for number, name in enumerate(self.names)}

    def _answer(self, name: str) -> None:
        """What the server waits for. It may ask again for what it had: after a crash it begins further back."""
        spool = self.spool
        if name in spool.ready():
            spool.answered(name)
        elif (history := _HISTORY.match(name)) is not None:
            text = spool.source.history(int(history[1], 16))
            spool.absent(name) if text is None else spool.put(name, text)
        elif (number := self.places.get(name)) is not None:
            if not self.at <= number < self._next():
                self._go_to(number)
        elif _SEGMENT.match(name) and name > max(self.names, default="") and spool.source.further():
            self._learn()
        elif _SEGMENT.match(name) or _BESIDE.match(name):
            spool.absent(name)
        else:
            raise Damaged(f"the recovering server asks for {name[:60]!r}, which no archive has a name for")

    def _go_to(self, number: int) -> None:
        for coming in self.coming.values():
            coming.cancel()
            with suppress(BaseException):
                coming.result()
        self.coming.clear()
        self.at, self.amiss = number, None


def _no_room(folder: Path, error: OSError) -> BackstayError | OSError:
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return DiskFull(
            "no room left while log was fetched", detail=f"{folder} is full", hint="make room, and try again"
        )
    return error
