"""A screen that nobody looks at any more stops nothing."""

import io
from datetime import timedelta

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
