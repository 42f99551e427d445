"""A document on a terminal: the third rendering of the tree, after Markdown and HTML.

Marks keep their words; nothing here depends on colour. What does not fit a terminal (a table of contents, links) is
left out.
"""

from collections.abc import Collection, Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from backstay.review import Document
from backstay.review import tree as paper

SIGNS = {"pass": "✔", "warn": "!", "fail": "✘", "none": ""}
STYLES = {"pass": "green", "warn": "bold yellow", "fail": "bold red", "none": ""}


def show(console: Console, document: Document, only: Collection[str] = ()) -> None:
    """Print a document; `only`: just what stands before the sections, and the sections of these titles."""
    console.print(Text(document.title, "bold"), Text(document.subtitle, "dim"))
    console.print(_pairs(document.facts))
    for block in document.blocks:
        if not (only and isinstance(block, paper.Section) and block.title not in only):
            console.print(_block(block))


def _block(block: paper.Block) -> RenderableType:
    match block:
        case paper.Section(title, blocks):
            return Group(Text(), Text(title, "bold underline"), *(_block(inner) for inner in blocks))
        case paper.Paragraph(text):
            return _text(text)
        case paper.Bullets(items):
            return Group(*(Text.assemble("- ", _text(item)) for item in items))
        case paper.Numbered(items):
            return Group(*(Text.assemble(f"{number}. ", _text(item)) for number, item in enumerate(items, 1)))
        case paper.Table():
            return _table(block)
        case paper.Listing(text):
            return Padding(Text(text), (0, 2))
        case paper.Notice(mark, text):
            return Text.assemble(_text(mark), ": ", _text(text))
        case paper.Pairs(items):
            return _pairs(items)
        case paper.Cards(_, cards):
            return _cards(cards)


def _text(text: paper.Text) -> Text:
    match text:
        case str():
            return Text(text)
        case paper.Strong(words) | paper.Code(words):
            return Text(words, "bold")
        case paper.Link(words, _):
            return Text(words)
        case paper.Mark(sign, words):
            return Text(f"{SIGNS[sign]} {words}".strip(), STYLES[sign])
        case tuple():
            return Text.assemble(*(_text(part) for part in text))


def _table(table: paper.Table) -> RenderableType:
    if not table.rows:
        return Text(table.empty, "dim")
    grid = Grid(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for number, column in enumerate(table.columns):
        grid.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in table.rows:
        grid.add_row(*(_text(cell) for cell in row))
    return grid


def _pairs(items: Iterable[tuple[str, paper.Text]]) -> RenderableType:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in items:
        grid.add_row(name, _text(value))
    return grid


def _cards(cards: Iterable[paper.Card]) -> RenderableType:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    for column in ("name", "value", "mark", "sentence"):
        grid.add_column(column, no_wrap=column != "sentence", overflow="fold")
    for card in cards:
        grid.add_row(Text(card.name, "bold"), Text(card.value), _text(card.mark), Text(card.sentence, "dim"))
    return grid
