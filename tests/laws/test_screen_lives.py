"""A screen that nobody looks at any more stops nothing."""

import io
import re
from datetime import timedelta

from rich.table import Table
from rich.text import Text

from backstay.cli.screen import Meter, SteadyConsole, consoles


class _Gone(io.StringIO):
    def write(self, text: str, /) -> int:
        raise BrokenPipeError


def test_a_console_whose_reader_went_away_falls_silent_and_ends_nothing() -> None:
    console = SteadyConsole(file=_Gone(), stderr=True)
    console.print(Text("what happens"))
    assert console.quiet
    console.print(Text("goes on"))


def test_no_text_reaches_the_terminal_as_a_command_to_it() -> None:
    """Names of files, a server's words and other hosts' are shown; none of them sets a title or turns a line around."""
    seen = io.StringIO()
    console = SteadyConsole(file=seen, force_terminal=True)
    table = Table(title="\x1b[2J")
    table.add_column("\x9b2J")
    table.add_row(Text("name\x1b]0;title\x1b\\"))
    for each in (Text("said\x1b[1A\x07\u202e, and more\nbelow", "bold red"), "\x1b[8m[bold]marked[/bold]", table):
        console.print(each)
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen.getvalue().replace("\x1b[8m", "!"))
    assert not set("\x1b\x07\x9b\u202e!") & set(text)
    assert "below" in text


def test_both_consoles_of_the_doors_are_such() -> None:
    assert all(isinstance(console, SteadyConsole) for console in consoles(json=False))


def test_a_step_that_moves_no_bytes_shows_no_rate() -> None:
    clock = iter(timedelta(seconds=second) for second in range(100))
    meter = Meter(lambda: next(clock))
    meter(0, None, "smoke")
    assert meter.bar() == ""
    meter(0, 200, "database")
    assert meter.bar(4) == "▕░░░░▏ 0 B of 200 B, 0 B/s"
    meter(100, 200, "database")
    assert meter.bar(4).startswith("▕██░░▏ 100 B of 200 B, ")
