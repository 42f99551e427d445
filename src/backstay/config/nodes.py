"""A document as nodes with places: what the plan file says, before anybody asks what it means.

Three kinds of node: a text, a list, a mapping. Nothing is resolved or constructed: `24h`, `0`, `true` and a date are
all texts, and the form that reads one decides what it is. A text knows whether it was quoted, because `"1"` and `1`
differ in the body of a request.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in the plan: `("components", "database", "ask", 0)`."""


def say_path(path: Path) -> str:
    """`$.components.database.ask[0]`; a key that is no plain word is quoted."""
    parts = ["$"]
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif part and all(c.isalnum() or c in "_-" for c in part):
            parts.append(f".{part}")
        else:
            parts.append(f"[{clipped(part)!r}]")
    return "".join(parts)


def clipped(text: str, longest: int = 40) -> str:
    """The beginning of a text that somebody wrote, fit for one line of a message."""
    flat = "".join(c if c.isprintable() else "?" for c in text)
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a plan, where, and what to write instead."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    place: Place
    text: str
    plain: bool
    """Not quoted: may be a number, true, false, or nothing."""

    @property
    def is_empty(self) -> bool:
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    place: Place
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    place: Place
    entries: Mapping[str, tuple[Text, "Node"]]
    """Key to the node of the key and the node of the value, in the order of the file."""


Node = Text | Items | Entries
