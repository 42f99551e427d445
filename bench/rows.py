"""What every benchmark prints: rows of one shape, as a table or as JSON lines."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    work: str
    peer: str
    ours_s: float
    peer_s: float
    ours_mb: float
    """Stored (a backup) or written (a restore), in millions of bytes."""
    peer_mb: float
    ours_cpu_s: float = 0
    """Processor time, children included: a busy machine changes it less than the seconds. Only in the table."""
    peer_cpu_s: float = 0

    def line(self) -> str:
        told = {
            "work": self.work,
            "peer": self.peer,
            "ours_s": round(self.ours_s, 3),
            "peer_s": round(self.peer_s, 3),
            "ratio": round(self.peer_s / self.ours_s, 3),
            "ours_mb": round(self.ours_mb, 1),
            "peer_mb": round(self.peer_mb, 1),
        }
        return json.dumps(told)


@dataclass(slots=True)
class Duel:
    """The best time of each side."""

    ours_s: float = inf
    peer_s: float = inf

    def ours(self, work: Callable[[], object]) -> None:
        self.ours_s = min(self.ours_s, timed(work))

    def peer(self, work: Callable[[], object]) -> None:
        self.peer_s = min(self.peer_s, timed(work))

    def row(self, work: str, peer: str, ours_mb: float, peer_mb: float) -> Row:
        return Row(work, peer, self.ours_s, self.peer_s, ours_mb, peer_mb)


def timed(work: Callable[[], object]) -> float:
    """Seconds by the monotonic clock, with everything written before it already on disk."""
    os.sync()
    began = time.monotonic()
    work()
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Spent:
    """What one command took."""

    wall_s: float = inf
    cpu_s: float = inf
    peak_mb: float = 0
    """Of its largest process."""


@dataclass(slots=True)
class Best:
    """Rounds of one piece of work by several hands, in turn: the best of each."""

    by: dict[str, Spent] = field(default_factory=dict[str, Spent])
    mb: dict[str, float] = field(default_factory=dict[str, float])
    """Stored, or written: of the last round."""

    def add(self, name: str, spent: Spent, mb: float) -> None:
        self.by[name] = min(self.by.get(name, Spent()), spent, key=lambda one: one.wall_s)
        self.mb[name] = mb

    def rows(self, work: str, ours: str) -> list[Row]:
        mine = self.by[ours]
        return [
            Row(work, name, mine.wall_s, other.wall_s, self.mb[ours], self.mb[name], mine.cpu_s, other.cpu_s)
            for name, other in self.by.items()
            if name != ours
        ]


def spend(
    argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Spent:
    """Run a command to its end, with everything written before it already on disk. Ends the benchmark when it fails."""
    os.sync()
    began = time.monotonic()
    with open(os.devnull, "wb") as nowhere, subprocess.Popen(  # noqa: PTH123 - a device
        [str(word) for word in argv], stdout=nowhere, stderr=subprocess.PIPE, cwd=cwd,
        env={**os.environ, **(environment or {})},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, argv))} failed: {said.strip()[-1200:]}")
    return Spent(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


def stored_mb(folder: Path) -> float:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink()) / 1e6


def say(sentence: str) -> None:
    """What is going on, for whoever waits; never on standard output."""
    print(f"bench: {sentence}", file=sys.stderr)


def show(title: str, rows: Iterable[Row], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print(row.line())
        return
    table = Table(title=title, title_justify="left", box=None)
    for name in ("work", "peer", "ours", "peer's", "ratio", "our MB", "peer's MB", "our CPU", "peer's CPU"):
        words = name in ("work", "peer")
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    for r in rows:
        ratio = r.peer_s / r.ours_s
        cells = f"{r.ours_s:.2f} s", f"{r.peer_s:.2f} s", f"{ratio:.2f}", f"{r.ours_mb:,.0f}", f"{r.peer_mb:,.0f}"
        cells += tuple(f"{cpu:.2f} s" if cpu else "" for cpu in (r.ours_cpu_s, r.peer_cpu_s))
        table.add_row(r.work, r.peer, *cells, style="" if ratio >= 1 else "yellow")
    console = Console()
    console.width = max(console.width, 130)
    console.print(table)
