"""A document as Markdown (CommonMark with tables, as GitHub and GitLab read it)."""

import re
from collections.abc import Iterator
from typing import assert_never

from backstay.review.tree import (
    Block,
    Bullets,
    Cards,
    Code,
    Document,
    Inline,
    Link,
    Listing,
    Mark,
    Notice,
    Numbered,
    Pairs,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    anchored,
    inlines,
    sections,
    visible,
)

_SIGNS = {"pass": "✅", "warn": "⚠️", "fail": "❌", "none": "·"}
_SPECIAL = re.compile(r"[\\`*\[\]<|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
_AT_START = re.compile(r"^(\s*)(\d{1,9}(?=[.)](?:\s|$)))?(>|[#\-+=.)](?=[\s#=-]|$))")


def markdown(document: Document) -> str:
    """The whole document, ending with a newline."""
    document = anchored(document)
    return "\n\n".join(part for part in _document(document) if part) + "\n"


def _document(document: Document) -> Iterator[str]:
    yield f"# {escape(document.title)}"
    if document.subtitle:
        yield f"**{escape(document.subtitle)}**"
    yield _pairs(document.facts)
    yield from _blocks(tuple(block for block in document.blocks if not isinstance(block, Section)), 2)
    if document.contents:
        yield "## Contents"
        yield "\n".join(f"1. [{escape(one.title)}](#{one.anchor})" for one in sections(document.blocks))
    yield from _blocks(tuple(sections(document.blocks)), 2)
    if document.footer:
        yield "---"
        yield _pairs(document.footer)


def _blocks(blocks: tuple[Block, ...], level: int) -> Iterator[str]:
    for block in blocks:
        yield from _block(block, level)


def _block(block: Block, level: int) -> Iterator[str]:
    match block:
        case Section(title, inner, anchor):
            # Only what the contents link to needs an anchor of its own: hosts differ in the ones they make.
            yield f'<a id="{anchor}"></a>' if level == 2 else ""
            yield f"{'#' * min(level, 6)} {escape(title)}"
            yield from _blocks(inner, level + 1)
        case Paragraph(text):
            yield _text(text, start=True)
        case Bullets(items):
            yield "\n".join(f"- {_text(item, start=True)}" for item in items)
        case Numbered(items):
            yield "\n".join(f"{number}. {_text(item, start=True)}" for number, item in enumerate(items, 1))
        case Table():
            yield _table(block)
        case Listing(text):
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
            yield f"{fence}text\n{text}\n{fence}"
        case Notice(mark, text):
            yield f"> {_inline(mark)}: {_text(text)}"
        case Pairs(items):
            yield _pairs(items)
        case Cards(caption, cards):
            rows = tuple((card.name, card.value, card.mark, card.sentence) for card in cards)
            yield _table(Table(caption, ("What", "Value", "Status", "In words"), rows))
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    caption = f"*{escape(table.caption)}*\n\n" if table.caption else ""
    if not table.rows:
        return f"{caption}{escape(table.empty, start=True)}"
    lines = [_row(table.columns), "|" + " --- |" * len(table.columns)]
    return caption + "\n".join([*lines, *(_row(row) for row in table.rows)])


def _row(cells: tuple[Text, ...]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _pairs(items: tuple[tuple[str, Text], ...]) -> str:
    return "\n".join(f"- **{escape(name)}**: {_text(text)}" for name, text in items)


def _text(text: Text, *, start: bool = False) -> str:
    """`start`: it begins a block, where a `#` or `1.` would be markup."""
    return "".join(_inline(one, start=start and number == 0) for number, one in enumerate(inlines(text)))


def _inline(one: Inline, *, start: bool = False) -> str:
    match one:
        case str():
            return escape(one, start=start)
        case Strong(text):
            return f"**{escape(text.strip())}**" if text.strip() else ""
        case Code(text):
            return _code(text)
        case Mark(sign, words):
            return f"{_SIGNS[sign]} {escape(words)}"
        case Link(text, anchor):
            return f"[{escape(text)}](#{anchor})"
        case _:
            assert_never(one)


def _code(text: str) -> str:
    """A code span. In a table a `|` ends the cell even there, and a backslash takes it back."""
    words = " ".join(visible(text).split()).replace("|", "\\|")
    if not words:
        return ""
    if "\\" in words:  # what stands in a code span cannot be escaped: plain text can
        return escape(text)
    fence = "`" * (max((len(run) for run in re.findall(r"`+", words)), default=0) + 1)
    gap = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{gap}{words}{gap}{fence}"


def escape(text: str, *, start: bool = False) -> str:
    """Text on one line that no reader of Markdown takes for markup."""
    line = _SPECIAL.sub(lambda found: "\\" + found[0], re.sub(r"\s+", " ", visible(text)))
    return _AT_START.sub(lambda found: f"{found[1]}{found[2] or ''}\\{found[3]}", line) if start else line
