"""A document as one HTML file that needs nothing else: no script, no font, no picture, no network.

The page forbids itself everything but its own style (Content-Security-Policy), so that even a mistake in escaping could
not run anything. Tables have captions and header cells, marks have words, and it prints on paper as it reads on a
screen, by day and by night.
"""

from collections.abc import Iterator
from html import escape
from typing import assert_never

from backstay.review.style import STYLE
from backstay.review.tree import (
    Block,
    Bullets,
    Card,
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

_SIGNS = {"pass": "✓", "warn": "!", "fail": "✕", "none": "–"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(document: Document) -> str:
    """The whole file."""
    document = anchored(document)
    loose = tuple(block for block in document.blocks if not isinstance(block, Section))
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{_plain(document.title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#content">Skip to the content</a>',
        "<header>",
        f"<h1>{_plain(document.title)}</h1>",
        f'<p class="subtitle">{_plain(document.subtitle)}</p>' if document.subtitle else "",
        _pairs(document.facts, "facts"),
        "</header>",
        '<main id="content">',
        *_blocks(loose, 2),
        *_contents(document),
        *_blocks(tuple(sections(document.blocks)), 2),
        "</main>",
        f"<footer>{_pairs(document.footer, 'facts')}</footer>" if document.footer else "",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _contents(document: Document) -> Iterator[str]:
    if not document.contents:
        return
    yield '<nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ol>'
    for one in sections(document.blocks):
        inner = "".join(
            f'<li><a href="#{_plain(part.anchor)}">{_plain(part.title)}</a></li>' for part in sections(one.blocks)
        )
        yield (
            f'<li><a href="#{_plain(one.anchor)}">{_plain(one.title)}</a>'
            + (f"<ul>{inner}</ul>" if inner else "")
            + "</li>"
        )
    yield "</ol></nav>"


def _blocks(blocks: tuple[Block, ...], level: int) -> Iterator[str]:
    for block in blocks:
        yield _block(block, level)


def _block(block: Block, level: int) -> str:
    match block:
        case Section(title, inner, anchor):
            name = f"h{min(level, 6)}"
            body = "\n".join(_blocks(inner, level + 1))
            return f'<section id="{_plain(anchor)}">\n<{name}>{_plain(title)}</{name}>\n{body}\n</section>'
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"
        case Numbered(items):
            return "<ol>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ol>"
        case Table():
            return _table(block)
        case Listing(text):
            return f'<pre tabindex="0">{_plain(text)}</pre>'
        case Notice(mark, text):
            return f'<p class="notice {mark.sign}">{_inline(mark)} {_text(text)}</p>'
        case Pairs(items):
            return _pairs(items, "pairs")
        case Cards(caption, cards):
            return (
                f'<ul class="cards" aria-label="{_plain(caption)}">' + "".join(_card(card) for card in cards) + "</ul>"
            )
        case _:
            assert_never(block)


def _card(card: Card) -> str:
    return (
        f'<li class="card {card.mark.sign}"><span class="name">{_plain(card.name)}</span>'
        f'<span class="value">{_plain(card.value)}</span>{_inline(card.mark)}'
        f'<span class="sentence">{_plain(card.sentence)}</span></li>'
    )


def _table(table: Table) -> str:
    if not table.rows:
        return f'<p class="empty"><strong>{_plain(table.caption)}.</strong> {_plain(table.empty)}</p>'
    head = "".join(f'<th scope="col">{_plain(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{_text(row[0])}</th>' + "".join(f"<td>{_text(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{_plain(table.caption)}"><table>'
        f"<caption>{_plain(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _pairs(items: tuple[tuple[str, Text], ...], kind: str) -> str:
    if not items:
        return ""
    inner = "".join(f"<div><dt>{_plain(name)}</dt><dd>{_text(text)}</dd></div>" for name, text in items)
    return f'<dl class="{kind}">{inner}</dl>'


def _text(text: Text) -> str:
    return "".join(_inline(one) for one in inlines(text))


def _inline(one: Inline) -> str:
    match one:
        case str():
            return _plain(one)
        case Strong(text):
            return f"<strong>{_plain(text)}</strong>"
        case Code(text):
            return f"<code>{_plain(text)}</code>"
        case Mark(sign, words):
            return f'<span class="mark {sign}"><span aria-hidden="true">{_SIGNS[sign]}</span>{_plain(words)}</span>'
        case Link(text, anchor):
            return f'<a href="#{_plain(anchor)}">{_plain(text)}</a>'
        case _:
            assert_never(one)


def _plain(text: str) -> str:
    """Escaped, for text and for quoted attributes alike."""
    return escape(visible(text))
