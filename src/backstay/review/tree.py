"""A document as a tree of small values: what is said, and nothing of how it looks.

Every document that Backstay writes is one of these trees. `markdown` and `html` render it; both escape everything, so
a text from a plan, a database or an error can never become markup. A mark is never a sign alone: it always has words,
for whoever cannot see colours, and for whoever prints it in black and white.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal
from unicodedata import bidirectional, category

# ── in a line ───────────────────────────────────────────────────────────────────────────────────────

Sign = Literal["pass", "warn", "fail", "none"]


@dataclass(frozen=True, slots=True)
class Strong:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign with its words: ✅ kept, ⚠️ not verified, ❌ broken."""

    sign: Sign
    words: str

    def __post_init__(self) -> None:
        assert self.words.strip(), "a sign alone says nothing to whoever cannot see it"


@dataclass(frozen=True, slots=True)
class Link:
    """To a section of the same document."""

    text: str
    anchor: str


Inline = str | Strong | Code | Mark | Link
Text = Inline | tuple[Inline, ...]

# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Text


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Numbered:
    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The first cell of a row is its name."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    empty: str = "Nothing yet."
    """What is said where there are no rows."""

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), f"{self.caption}: {len(row)} cells, {len(self.columns)} columns"


@dataclass(frozen=True, slots=True)
class Listing:
    """Text as it is, line by line: a message, a program."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that nobody should overlook."""

    mark: Mark
    text: Text


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and values, one below the other."""

    items: tuple[tuple[str, Text], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One promise at a glance."""

    name: str
    value: str
    mark: Mark
    sentence: str


@dataclass(frozen=True, slots=True)
class Cards:
    caption: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: "tuple[Block, ...]"
    anchor: str = ""
    """Given by `anchored`; empty before."""


Block = Paragraph | Bullets | Numbered | Table | Listing | Notice | Pairs | Cards | Section


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    subtitle: str
    facts: tuple[tuple[str, Text], ...]
    """Below the title."""
    blocks: tuple[Block, ...]
    footer: tuple[tuple[str, Text], ...] = ()
    contents: bool = True
    """Does it have a table of contents?"""


def inlines(text: Text) -> tuple[Inline, ...]:
    return text if isinstance(text, tuple) else (text,)


def plain(text: Text) -> str:
    """The words alone."""
    return "".join(
        one if isinstance(one, str) else one.words if isinstance(one, Mark) else one.text for one in inlines(text)
    )


def visible(text: str) -> str:
    """Without what would change how the rest is read: control characters, and those that turn the direction of text
    around (a name could read as another one)."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _hidden(one) else one for one in text)


def _hidden(letter: str) -> bool:
    return (category(letter) in ("Cc", "Cs") and letter not in "\n\t") or bidirectional(letter) in _TURNS


_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def joined(texts: Iterable[Text], between: str = " ") -> Text:
    """Texts in a row."""
    found: list[Inline] = []
    for text in texts:
        found += ([between] if found else []) + list(inlines(text))
    return tuple(found)


# ── anchors ─────────────────────────────────────────────────────────────────────────────────────────


def slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def anchored(document: Document) -> Document:
    """The same document, every section with an anchor of its own."""
    taken: set[str] = set()

    def name(title: str) -> str:
        wanted, number = slug(title), 2
        free = wanted
        while free in taken:
            free, number = f"{wanted}-{number}", number + 1
        taken.add(free)
        return free

    def walk(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        return tuple(
            replace(block, anchor=block.anchor or name(block.title), blocks=walk(block.blocks))
            if isinstance(block, Section)
            else block
            for block in blocks
        )

    return replace(document, blocks=walk(document.blocks))


def sections(blocks: Iterable[Block]) -> Iterator[Section]:
    """The sections directly below, in order."""
    return (block for block in blocks if isinstance(block, Section))
