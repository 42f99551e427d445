"""A screen that nobody looks at any more stops nothing."""

import io

from rich.text import Text

from backstay.cli.screen import SteadyConsole, consoles


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
