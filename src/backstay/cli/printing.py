"""One page of answer: sentences and tables for a person, or one JSON value for a script."""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from backstay.app.home import Asked, Home
from backstay.cli.options import Common
from backstay.cli.options import Failed as Failed
from backstay.cli.screen import consoles, forget_stdout
from backstay.review import Document
from backstay.values import stamp

STATE_STYLE = {"kept": "green", "proven": "green", "broken": "bold red", "refuted": "bold red", "unproven": "yellow"}


class Page:
    """What one command prints. Sentences go out as they come; JSON once, by `done`."""

    def __init__(self, common: Common, vault: str | None = None) -> None:
        self.common = common
        self.vault = vault
        self.out, self.err = consoles(common.json)
        self.said: list[str] = []

    def home(self) -> Home:
        common = self.common
        return Home(Asked(common.plan, common.key, common.state, self.vault), Path.cwd())

    def say(self, sentence: str, style: str = "") -> None:
        self.said.append(sentence)
        if not self.common.json:
            self.out.print(Text(sentence, style), soft_wrap=True)

    def note(self, sentence: str) -> None:
        """Beside the answer, where progress goes."""
        self.err.print(Text(sentence), soft_wrap=True)

    def table(self, title: str, columns: Mapping[str, str], rows: Iterable[Iterable[str]]) -> None:
        """`columns`: heading to `left` or `right`. A cell that is a known state is coloured, and stays a word."""
        if self.common.json:
            return
        table = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim", box=None)
        for number, (heading, side) in enumerate(columns.items()):
            justify = "right" if side == "right" else "left"
            # The first column is a name that people copy: it is never broken.
            table.add_column(heading, justify=justify, overflow="fold", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(Text(cell, STATE_STYLE.get(cell, "")) for cell in row))
        self.out.print(table)

    def document(self, document: Document, only: Collection[str] = ()) -> None:
        """A document, or just some of its sections; left out where one JSON value is wanted."""
        if not self.common.json:
            from backstay.cli.paper import show

            show(self.out, document, only)

    def done(self, answer: Any = None) -> None:
        """The one JSON value; what was said, where there is nothing more to it."""
        if self.common.json:
            try:
                print(json.dumps(plain(answer if answer is not None else {"said": self.said}), indent=2), flush=True)
            except BrokenPipeError:
                forget_stdout()


def plain(value: Any) -> Any:
    """JSON for any value of ours: moments as RFC 3339, spans as seconds, enums by value, dataclasses by field."""
    match value:
        case datetime():
            return stamp(value)
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case str() | int() | float() | bool() | None:
            return value
        case _ if hasattr(value, "__dataclass_fields__"):
            return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        case Iterable():
            return [plain(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return str(value)


def local(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
