"""What every benchmark prints: rows of one shape, as a table or as JSON lines."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
    for name in ("work", "peer", "ours", "peer's", "ratio", "our MB", "peer's MB"):
        words = name in ("work", "peer")
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    for r in rows:
        ratio = r.peer_s / r.ours_s
        cells = f"{r.ours_s:.2f} s", f"{r.peer_s:.2f} s", f"{ratio:.2f}", f"{r.ours_mb:,.0f}", f"{r.peer_mb:,.0f}"
        table.add_row(r.work, r.peer, *cells, style="" if ratio >= 1 else "yellow")
    Console().print(table)
