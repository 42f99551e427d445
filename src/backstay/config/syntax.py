"""YAML text to nodes. The text is hostile: it may be anything.

ruamel.yaml gives events with marks; nothing of YAML beyond them is used, so no tag constructs anything. Nodes are put
together here, with bounds: the size of the text, how deep it nests, and how many nodes it has once every alias is
followed (an alias costs as much as what it stands for, so that a few lines cannot mean a billion nodes).

A key that comes twice is a problem with both places, and reading goes on. Where the text is no YAML at all there is
one problem, since what follows it cannot be understood.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

from backstay.config.nodes import Entries, Items, Node, Path, Place, Problem, Text, say_path
from backstay.config.spelling import quoted

LONGEST_TEXT_BYTES = 1 << 20
LONGEST_VALUE = 20_000
DEEPEST = 40
MOST_NODES = 100_000
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class Unreadable(Exception):
    """The text cannot be taken apart: the one problem says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def decoded(data: bytes, file: str) -> str:
    """The bytes of a plan file as text. Raises Unreadable for what is too long or is not UTF-8."""
    if len(data) > LONGEST_TEXT_BYTES:
        raise _unreadable(file, 1, 1, f"is longer than {LONGEST_TEXT_BYTES >> 20} MiB: this is no plan")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise _unreadable(file, line, column, f"byte 0x{data[error.start]:02x} is not UTF-8: save as UTF-8") from None


def compose(text: str, file: str, problems: list[Problem]) -> Node:
    """The one document in `text`. Raises Unreadable; duplicate keys are added to `problems`."""
    if len(text) > LONGEST_TEXT_BYTES:
        raise _unreadable(file, 1, 1, f"is longer than {LONGEST_TEXT_BYTES >> 20} MiB: this is no plan")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    _refuse_control_characters(text, file)
    composer = _Composer(_events(text, file), file, problems)
    return composer.document()


def _unreadable(file: str, line: int, column: int, message: str, path: Path = ()) -> Unreadable:
    return Unreadable(Problem(file, line, column, say_path(path), message))


def _refuse_control_characters(text: str, file: str) -> None:
    """Neither those that YAML forbids, nor those that some programs take for the end of a line and others do not."""
    found = _CONTROL.search(text)
    if found is not None:
        before = text[: found.start()]
        line, column = before.count("\n") + 1, found.start() - (before.rfind("\n") + 1) + 1
        raise _unreadable(file, line, column, f"character U+{ord(found.group()):04X} cannot stand in a plan")


# ── events ───────────────────────────────────────────────────────────────────────────────────────


def _events(text: str, file: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    lines = text.split("\n")
    try:
        yield from cast("Iterator[Any]", YAML(typ="safe", pure=True).parse(text))  # pyright: ignore[reportUnknownMemberType]
    except MarkedYAMLError as marked:
        error = cast("Any", marked)
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        line = min(line, len(lines))
        raise _unreadable(file, line, column, _in_plain_words(error, lines, line, column)) from None
    except (YAMLError, ValueError, AssertionError, IndexError, TypeError, AttributeError, NotImplementedError):
        # The scanner of ruamel.yaml has corners in which it stumbles instead of complaining.
        raise _unreadable(file, 1, 1, "is not YAML") from None


_PLAIN_WORDS = (
    ("expected a single document", "a plan is one document: take out the line `---` and what follows"),
    ("mapping values are not allowed", "a `:` where none can stand: wrong indentation, or a text that needs quotes"),
    ("could not find expected ':'", "a key without `:` after it, or a line that is indented wrongly"),
    ("found undefined alias", "an alias (`*name`) to an anchor that was not written above it"),
    ("expected ',' or '}'", "a `{` that is not closed, or a text in `{ }` that needs quotes"),
    ("expected ',' or ']'", "a `[` that is not closed, or a text in `[ ]` that needs quotes"),
    ("expected the node content", "something is missing here: a value, or a closing bracket"),
    ("expected alphabetic or numeric", "a text cannot begin with `*` or `&`: put it in quotes"),
    ("found unexpected end of stream", "a quote that is never closed"),
    ("found unknown escape", 'a backslash in "double quotes" that means nothing: use single quotes'),
    ("expected <block end>", "a line that is indented differently from its neighbours"),
    ("did not find expected key", "a line that is indented differently from its neighbours"),
    ("duplicate anchor", "an anchor (`&name`) that is written twice"),
)


def _in_plain_words(error: Any, lines: list[str], line: int, column: int) -> str:
    written = lines[line - 1] if line <= len(lines) else ""
    said = str(error.problem or "")
    indent = written[: len(written) - len(written.lstrip(" \t"))]
    if "\t" in indent or "'\\t'" in said:
        return "a tab in the indentation: YAML wants spaces"
    here = written[column - 1 : column]
    if "cannot start any token" in said:
        return f"a text cannot begin with `{here}`: put it in quotes"
    if "block scalar" in str(error.context or "") or "comment or a line break" in said:
        return "a text cannot begin with `>` or `|`: put it in quotes"
    message = next((plain for part, plain in _PLAIN_WORDS if part in said), "is not YAML here: check quotes and indent")
    if "${" in written and "{ }" in message:
        message += ' (`${…}` in `{ }` always does: "${env:NAME}")'
    return message


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────


class _Composer:
    """Events in, nodes out, with a place for each; how many nodes one costs is counted with its aliases."""

    def __init__(self, events: Iterator[Any], file: str, problems: list[Problem]) -> None:
        self._events, self._file, self._problems = events, file, problems
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self) -> Node:
        found: Node | None = None
        for event in self._events:
            match type(event).__name__:
                case "StreamStartEvent" | "StreamEndEvent" | "DocumentEndEvent":
                    pass
                case "DocumentStartEvent" if found is None:
                    found = self._node(next(self._events), ())
                case _:
                    raise self._wrong(event, (), "a plan is one document: take out the line `---` and what follows")
        return found if found is not None else Text(Place(self._file, 1, 1), "", plain=True)

    def _node(self, event: Any, path: Path) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._followed(event, path)
        if len(path) > DEEPEST:
            raise self._wrong(event, path[:6], f"is nested deeper than {DEEPEST} levels")
        if event.tag is not None and str(event.tag) not in ("!", "tag:yaml.org,2002:str"):
            raise self._wrong(event, path, "tags (`!…`) are not read: a plan is plain text, lists and mappings")
        before = self._count
        self._spend(event, path, 1)
        if kind == "ScalarEvent":
            if len(event.value) > LONGEST_VALUE:
                raise self._wrong(event, path, f"is longer than {LONGEST_VALUE:,} characters")
            node: Node = Text(self._place(event), str(event.value), plain=event.style is None and event.tag is None)
        elif kind == "SequenceStartEvent":
            node = Items(self._place(event), tuple(self._items(path)))
        else:
            node = Entries(self._place(event), self._entries(path))
        if event.anchor is not None:
            self._anchors[str(event.anchor)] = node, self._count - before
        return node

    def _items(self, path: Path) -> Iterator[Node]:
        number = 0
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            yield self._node(event, (*path, number))
            number += 1

    def _entries(self, path: Path) -> dict[str, tuple[Text, Node]]:
        found: dict[str, tuple[Text, Node]] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            if type(event).__name__ not in ("ScalarEvent", "AliasEvent"):
                raise self._wrong(event, path, "a key is one word, not a list or a mapping")
            key = self._node(event, path)
            if not isinstance(key, Text):
                raise self._wrong(event, path, "a key is one word, not what the alias stands for")
            if key.text == "<<":
                raise self._wrong(event, path, "`<<` is not read: use `extends:` to share parts of a plan")
            value = self._node(next(self._events), (*path, key.text))
            if key.text in found:
                first = found[key.text][0].place.line
                where = say_path((*path, key.text))
                message = f"{quoted(key.text)} is written twice: first on line {first}"
                self._problems.append(Problem(self._file, key.place.line, key.place.column, where, message))
            else:
                found[key.text] = key, value
        return found

    def _followed(self, event: Any, path: Path) -> Node:
        known = self._anchors.get(str(event.anchor))
        if known is None:
            raise self._wrong(event, path, f"`*{event.anchor}` names an anchor that was not written above it")
        node, cost = known
        self._spend(event, path, cost)
        if len(path) + _depth(node) > DEEPEST:
            raise self._wrong(event, path[:6], f"is nested deeper than {DEEPEST} levels")
        return node

    def _spend(self, event: Any, path: Path, cost: int) -> None:
        self._count += cost
        if self._count > MOST_NODES:
            raise self._wrong(event, path[:6], f"has more than {MOST_NODES:,} values once its aliases are followed")

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self._file, int(mark.line) + 1, int(mark.column) + 1)

    def _wrong(self, event: Any, path: Path, message: str) -> Unreadable:
        place = self._place(event)
        return _unreadable(self._file, place.line, place.column, message, path)


def _depth(node: Node) -> int:
    """How deep a node nests. Bounded, because no node was ever made deeper than DEEPEST."""
    match node:
        case Text():
            return 0
        case Items():
            return 1 + max((_depth(item) for item in node.items), default=0)
        case Entries():
            return 1 + max((_depth(value) for _, value in node.entries.values()), default=0)
