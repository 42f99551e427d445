"""What a person sees while something long happens: a live screen on a terminal, plain lines elsewhere.

The run screen is a fold over the same facts that the journal holds, so what is shown is what was written. State is said
in words and signs, never in colour alone; a terminal of 80 columns is enough.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from backstay.facts import (
    CannotTell,
    Ended,
    Happened,
    Impossible,
    Intended,
    Looked,
    Lost,
    PersonAsked,
    Recorded,
    RunEnded,
    RunStarted,
    StepSkipped,
    Succeeded,
    TryLater,
)
from backstay.plan import Mode, Step
from backstay.review.tree import visible
from backstay.values import say_size, say_span

WAITING, DOING, DONE, FAILED, ASKING, SKIPPED = "·", "▶", "✔", "✘", "?", "-"
STYLE = {WAITING: "dim", DOING: "bold cyan", DONE: "green", FAILED: "bold red", ASKING: "bold yellow", SKIPPED: "dim"}
MODE_STYLE = {Mode.LIVE: "bold white on red", Mode.DRILL: "bold white on blue", Mode.TABLETOP: "bold white on magenta"}


class SteadyConsole(Console):
    """A console whose reader may go away (`| head`, a closed session). Rich would end the program, and a recovery with
    it; here it falls silent, and the exit code still says how it went.

    What it is given may have come from anywhere: names of files, the words of a server, who else wrote into a vault. So
    no text reaches the terminal as a command to it; colours and movements are rich's own, and are no text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if not self.stderr:
            forget_stdout()


def forget_stdout() -> None:
    """Nobody reads our output any more: what is still buffered goes nowhere, also when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def consoles(json: bool) -> tuple[Console, Console]:
    """Where results go (stdout), and where progress and errors go (stderr)."""
    return SteadyConsole(highlight=False), SteadyConsole(stderr=True, highlight=False, quiet=json)


@dataclass(slots=True)
class Meter:
    """Bytes done of bytes expected, and the rate: fed from any thread."""

    now: Callable[[], timedelta]
    began: timedelta | None = None
    done: int = 0
    total: int | None = None
    what: str = ""

    def __call__(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        if self.began is None or done_bytes < self.done:
            self.began = self.now()
        self.done, self.total, self.what = done_bytes, total_bytes, what

    def clear(self) -> None:
        self.began, self.done, self.total, self.what = None, 0, None, ""

    def bar(self, width: int = 20) -> str:
        """`▕████░░░░▏ 148 MB of 212 MB, 61 MB/s`; nothing before the first byte."""
        if self.began is None or not (self.done or self.total):
            return ""  # a step that moves no bytes has no rate
        seconds = (self.now() - self.began).total_seconds()
        rate = f", {say_size(self.done / seconds)}/s" if seconds > 0.2 else ""
        if not self.total:
            return f"{say_size(self.done)}{rate}"
        full = min(width, width * self.done // self.total)
        return f"▕{'█' * full}{'░' * (width - full)}▏ {say_size(self.done)} of {say_size(self.total)}{rate}"


@dataclass(slots=True)
class _Line:
    step: Step
    sign: str = WAITING
    began: datetime | None = None
    took: timedelta | None = None
    said: str = ""


@dataclass(slots=True)
class _Phase:
    name: str
    target: timedelta | None
    lines: list[_Line]

    def span(self, now: datetime) -> timedelta | None:
        """From its first step's begin to its last end, or to now."""
        began = [line.began for line in self.lines if line.began]
        if not began:
            return None
        ends = [line.began + line.took for line in self.lines if line.began and line.took is not None]
        running = any(line.sign in (DOING, ASKING) for line in self.lines)
        return (now if running or not ends else max(ends)) - min(began)


@dataclass(slots=True)
class RunScreen:
    """Watches one run. Use as a context manager around `drive`."""

    console: Console
    now: Callable[[], datetime]
    elapsed: Callable[[], timedelta]
    meter: Meter = field(init=False)
    started: RunStarted | None = None
    phases: list[_Phase] = field(default_factory=list[_Phase])
    lines: dict[str, _Line] = field(default_factory=dict[str, _Line])
    ended: RunEnded | None = None
    live: Live | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.meter = Meter(self.elapsed)

    def __enter__(self) -> "RunScreen":
        if self.console.is_terminal and not self.console.quiet:
            self.live = Live(get_renderable=self.render, console=self.console, refresh_per_second=8)
            self.live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live is not None:
            self.live.stop()

    def progress(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        self.meter(done_bytes, total_bytes, what)

    def watch(self, recorded: Recorded) -> None:
        """One fact was written."""
        with self.lock:
            before = {id: line.sign for id, line in self.lines.items()}
            self._fold(recorded)
            if self.live is None and not self.console.quiet:
                self._say(recorded, before)

    def _fold(self, recorded: Recorded) -> None:
        fact, at = recorded.fact, recorded.at
        match fact:
            case RunStarted():
                self.started = fact
                self.phases = [_Phase(p.name, p.target, [_Line(s) for s in p.steps]) for p in fact.phases]
                self.lines = {line.step.id: line for phase in self.phases for line in phase.lines}
            case Intended(step):
                line = self.lines[step]
                line.sign, line.began, line.took, line.said = DOING, line.began or at, None, ""
                self.meter.clear()
            case Ended(step, _, outcome):
                self._close(self.lines[step], at, outcome)
            case Looked(step, _, sight):
                self._looked(self.lines[step], at, sight)
            case PersonAsked(step, who, question):
                line = self.lines[step]
                line.sign, line.began, line.said = ASKING, line.began or at, f"{question} ({', '.join(who)})"
            case StepSkipped(step, by, reason):
                line = self.lines[step]
                line.sign, line.took, line.said = SKIPPED, timedelta(), f"skipped by {by}: {reason}"
            case RunEnded():
                self.ended = fact
            case _:
                pass

    def _close(self, line: _Line, at: datetime, outcome: Any) -> None:
        line.took = at - (line.began or at)
        match outcome:
            case Succeeded(saw):
                line.sign, line.said = DONE, saw
            case TryLater(after, why):
                line.sign, line.said, line.took = WAITING, f"trying again in {say_span(after)}: {why}", None
            case Impossible(why):
                line.sign, line.said = FAILED, why
            case Lost(asked):
                line.sign, line.said, line.took = ASKING, f"never heard back: {asked}", None
            case _:
                pass

    def _looked(self, line: _Line, at: datetime, sight: Any) -> None:
        match sight:
            case Happened(saw):
                line.sign, line.said, line.took = DONE, f"looked: {saw}", at - (line.began or at)
            case CannotTell(why):
                line.sign, line.said = ASKING, f"cannot tell whether it happened: {why}"
            case _:
                line.sign, line.said, line.took = WAITING, f"looked: {sight.saw}", None

    # ── on a terminal ──

    def render(self) -> Group:
        with self.lock:
            now = self.now()
            return Group(*self._head(now), self._table(now), Text())

    def _head(self, now: datetime) -> list[Text]:
        if self.started is None:
            return []
        run = self.started
        first = Text.assemble(
            (f" {run.mode.value.upper()} ", MODE_STYLE.get(run.mode, "bold reverse")),
            f"  {run.title}  ",
            (f"{run.run}, declared {run.declared:%H:%M:%S} UTC by {run.by}", "dim"),
        )
        spent = now - run.declared
        rto = run.objectives.rto
        clock = Text(f"{say_span(spent)} since the declaration")
        if rto is not None:
            late = spent > rto
            clock.append(f", RTO {say_span(rto)}" + (" is over" if late else ""), "bold red" if late else "")
        return [first, clock, Text()]

    def _table(self, now: datetime) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(width=1)
        table.add_column(min_width=22, no_wrap=True)
        table.add_column(justify="right", width=9, no_wrap=True)
        table.add_column(ratio=1)
        for number, phase in enumerate(self.phases, 1):
            span = phase.span(now)
            target = "" if phase.target is None else f"target {say_span(phase.target)}"
            late = span is not None and phase.target is not None and span > phase.target
            table.add_row(
                Text(str(number), "bold"),
                "",
                Text(phase.name, "bold"),
                Text("" if span is None else say_span(span), "bold red" if late else "bold"),
                Text(target + (", late" if late else ""), "bold red" if late else "dim"),
            )
            for line in phase.lines:
                table.add_row(*self._row(line, now))
        return table

    def _row(self, line: _Line, now: datetime) -> tuple[Text, ...]:
        took = line.took if line.took is not None else (now - line.began if line.began and line.sign == DOING else None)
        said = self.meter.bar() if line.sign == DOING else line.said.splitlines()[0] if line.said else ""
        style = STYLE[line.sign]
        return (
            Text(),
            Text(line.sign, style),
            Text(line.step.name or str(line.step.id), "" if line.sign != WAITING else "dim"),
            Text("" if took is None else say_span(took)),
            Text(said, "dim" if line.sign == DONE else style, overflow="ellipsis", no_wrap=line.sign != FAILED),
        )

    # ── elsewhere ──

    def _say(self, recorded: Recorded, before: dict[str, str]) -> None:
        stamp = f"{recorded.at:%H:%M:%S}"
        match recorded.fact:
            case RunStarted() as run:
                self.console.print(f"{stamp}  {run.mode.value.upper()}  {escape(run.title)}  ({run.run})")
            case RunEnded(result, why):
                # The step that failed has said all of it.
                self.console.print(f"{stamp}  {result}: {escape(why.partition(chr(10))[0])}", soft_wrap=True)
            case _:
                for id, line in self.lines.items():
                    if line.sign != before.get(id, WAITING):
                        took = f" in {say_span(line.took)}" if line.took is not None and line.sign == DONE else ""
                        said = f": {line.said}" if line.said else ""
                        name = line.step.name or id
                        self.console.print(f"{stamp}  {line.sign} {escape(name)}{took}{escape(said)}", soft_wrap=True)


class WorkScreen:
    """One line with a bar, for long work outside a run: a backup, a proof, a restore."""

    def __init__(self, console: Console, elapsed: Callable[[], timedelta], title: str) -> None:
        self.console, self.title = console, title
        self.meter = Meter(elapsed)
        self.elapsed, self.began = elapsed, elapsed()
        self.live: Live | None = None

    def __enter__(self) -> "WorkScreen":
        if self.console.is_terminal and not self.console.quiet:
            self.live = Live(get_renderable=self.render, console=self.console, refresh_per_second=8, transient=True)
            self.live.start()
        elif not self.console.quiet:
            self.console.print(f"{self.title} …", markup=False)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live is not None:
            self.live.stop()

    def progress(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        self.meter(done_bytes, total_bytes, what)

    def render(self) -> Text:
        text = Text.assemble((DOING, STYLE[DOING]), f" {self.title}  {say_span(self.elapsed() - self.began)}  ")
        text.no_wrap, text.overflow = True, "ellipsis"
        text.append(self.meter.bar(), "dim")
        return text


def print_error(console: Console, error: BaseException) -> None:
    """The three parts of an error, the first in bold red, nothing interpreted."""
    first, _, rest = str(error).partition("\n")
    console.print(Text(first, "bold red"), soft_wrap=True)
    if rest:
        console.print(Text(rest), soft_wrap=True)


def is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
