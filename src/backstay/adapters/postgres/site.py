"""A data directory at a site: who runs on it, who may act on it, how far an interrupted recovery came.

Beside the data directory `<data>` stand at most: `<data>.backstay.lock`, held by whoever acts and by everything it
starts; `<data>.backstay.json`, which says how far a recovery is; `<data>.beside-<run>`, what is being restored;
`<data>.damaged-<run>`, what was there before; `<data>.tablespaces-<run>`, in a drill. All changes of state are renames,
so a look by names tells the truth.
"""

import json
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.layout import MARK
from backstay.durable import write_durably
from backstay.errors import AccessDenied, Cancelled, Damaged, RunBusy, TimedOut
from backstay.ports import Acting, Clock
from backstay.processes import holding
from backstay.values import say_span

LOCK_WAIT = timedelta(seconds=30)
"""How long an orphan of a killed driver may take to end. The warden kills it at once; the kernel may take a moment."""

_GLANCE = timedelta(milliseconds=50)
_AFTER_SIGNAL = timedelta(seconds=5)

STAGES = ("none", "preserved", "laying", "laid", "replayed", "recovered", "swapped", "started")
"""In their order."""


@dataclass(frozen=True, slots=True)
class Marker:
    """How far which run is. Written durably after each step: a step may be repeated, and none is forgotten."""

    run: str
    epoch: int
    stage: str
    point: str = ""
    values: dict[str, str] = field(default_factory=dict[str, str])

    def reached(self, stage: str) -> bool:
        return STAGES.index(self.stage) >= STAGES.index(stage)


@dataclass(frozen=True, slots=True)
class Site:
    """The names around one data directory. `data` is resolved: a link to it stays as it is."""

    data: Path

    @classmethod
    def of(cls, data: Path) -> "Site":
        return cls(data.resolve())

    def damaged(self, run: str) -> Path:
        return self.data.with_name(f"{self.data.name}.damaged-{run}")

    def beside(self, run: str) -> Path:
        return self.data.with_name(f"{self.data.name}.beside-{run}")

    def tablespaces(self, run: str) -> Path:
        """Where tablespaces go that did not have their places here."""
        return self.data.with_name(f"{self.data.name}.tablespaces-{run}")

    @property
    def marker_path(self) -> Path:
        return self.data.with_name(f"{self.data.name}.backstay.json")

    def marker(self) -> Marker | None:
        """Raises Damaged for one that cannot be read: then nobody knows what happened here."""
        try:
            text = self.marker_path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AccessDenied(f"may not read {self.marker_path}", detail=error.strerror or "") from None
        try:
            stored = json.loads(text)
            found = Marker(**stored)
            if found.stage not in STAGES or not isinstance(found.epoch, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ValueError(found.stage)
        except (ValueError, TypeError):
            raise Damaged(
                f"{self.marker_path} is damaged: it says how far a recovery came",
                hint="look at the folders beside it; remove it when no recovery is under way",
            ) from None
        return found

    def write(self, marker: Marker) -> None:
        write_durably(self.marker_path, json.dumps(asdict(marker), indent=1).encode())

    def restored_by(self) -> str | None:
        """The run whose restore lies at `data`; None: another cluster, or nothing."""
        try:
            return str(json.loads((self.data / MARK).read_text())["run"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def acting(self, acting: Acting) -> Generator["tuple[int, Marker | None]"]:
        """Nobody else acts here meanwhile; gives the lock to be inherited, and the marker.

        Raises RunBusy while somebody else does, or when a later driver of this run has acted already.
        """
        lock = self.data.with_name(f"{self.data.name}.backstay.lock")
        with holding(lock, wait=LOCK_WAIT, stop=acting.stop) as number:
            marker = self.marker()
            if marker is not None and marker.run == acting.run and marker.epoch > acting.epoch:
                raise RunBusy(
                    f"another driver of run {acting.run} has taken over at {self.data}",
                    detail=f"it acts under epoch {marker.epoch}, and we under {acting.epoch}",
                    hint="let it go on",
                )
            yield number, marker


# ── who runs there ───────────────────────────────────────────────────────────────────────────────


def running_on(data: Path) -> list[int]:
    """Processes of a server on this data directory, the postmaster first, whatever its pid file says: a server whose
    directory was removed or renamed under it has none any more, and still holds its port."""
    found = _servers(data)
    with suppress(OSError, ValueError, IndexError):
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        # Of another user we cannot see the working directory; then the pid file has to do.
        if pid > 0 and pid not in found and _is_server(pid) and _cwd(pid) is None:
            found.append(pid)
    return found


def _servers(data: Path) -> list[int]:
    """Every process of a server there, the parents first: PostgreSQL works in its data directory."""
    wanted = {str(data), f"{data} (deleted)"}
    every = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    here = [pid for pid in every if _cwd(pid) in wanted and _is_server(pid)]
    return sorted(here, key=lambda pid: (_parent(pid) in here, pid))


def _cwd(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
    except OSError:
        return None


def _is_server(pid: int) -> bool:
    """By its name; one that has ended, and that nobody has taken note of, is none any more."""
    name, status = _stat(pid)
    return name in ("postgres", "postmaster") and status[0] not in "ZX"


def _parent(pid: int) -> int:
    return int(_stat(pid)[1][1])


def _stat(pid: int) -> tuple[str, list[str]]:
    """The name of a process and what stands behind it in proc(5): its state, its parent and more."""
    try:
        whole = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return "", ["X", "0"]
    before, _, after = whole.rpartition(")")
    return before.partition("(")[2], after.split()


def stop_server(data: Path, within: timedelta, clock: Clock, stop: Callable[[], bool]) -> str:
    """End the server on `data`: in order, then at once, then by force; says which it took. Takes at most `within` and
    two short waits more, whatever state the server is in.

    Raises AccessDenied, TimedOut, Cancelled.
    """
    if not running_on(data):
        return "it was not running"
    began = clock.elapsed()
    for number, patience, how in (
        (signal.SIGINT, within, "stopped in order"),
        (signal.SIGQUIT, _AFTER_SIGNAL, "stopped at once: it did not stop in order in time"),
        (signal.SIGKILL, _AFTER_SIGNAL, "killed: it did not stop otherwise"),
    ):
        running = running_on(data)
        for pid in running if number is signal.SIGKILL else running[:1]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            except PermissionError:
                raise AccessDenied(
                    f"may not stop the server on {data}",
                    detail=f"process {pid} belongs to another user",
                    hint="run backstay as root, or as the owner of the server",
                ) from None
        until = clock.elapsed() + patience
        while running_on(data) and clock.elapsed() < until:
            if stop():
                raise Cancelled("stopped while a server was being stopped")
            clock.wait(_GLANCE)
        if not running_on(data):
            return f"{how}, within {say_span(clock.elapsed() - began)}"
    raise TimedOut(f"the server on {data} cannot be ended", detail=f"processes {running_on(data)} hang in the kernel")
