"""What PostgreSQL's tools and servers say, line by line: every line has a meaning, or is not verified.

Each tool writes its errors in its own manner (`pg_restore: error: …`, `psql:-:3: ERROR:  …`, `ERROR:  …`), and several
of them end with exit status 0 whatever they said: psql always, pg_restore when a table's file merely ends early. So the
exit status is one half of the answer, and this is the other. What nobody has seen before is no pass: it is *unknown*.

Rows never show: what a tool quotes from the data (DETAIL, CONTEXT, values that do not fit a type) is left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from backstay.errors import AccessDenied, BackstayError, DiskFull, SourceDown, ToolFailed, ToolMissing


class Meaning(Enum):
    HARMLESS = auto()
    """Says nothing about the data."""
    SANDBOX = auto()
    """Something is not installed *here*."""
    DEFECT = auto()
    """The point does not restore."""
    UNKNOWN = auto()
    """Nobody has seen such a line before: not verified."""


TABLE: tuple[tuple[re.Pattern[str], Meaning, str], ...] = tuple(
    (re.compile(pattern), meaning, what)
    for pattern, meaning, what in (
        (r"errors ignored on restore: \d+", Meaning.HARMLESS, ""),
        (r"while PROCESSING TOC|while INITIALIZING|while FINALIZING|from TOC entry", Meaning.HARMLESS, ""),
        # A newer pg_dump sets what an older server does not know (transaction_timeout, for one).
        (r"unrecognized configuration parameter", Meaning.HARMLESS, ""),
        (r"there are circular foreign-key constraints|might not be able to restore the dump", Meaning.HARMLESS, ""),
        (r"extension \"[^\"]*\" (?:is not available|has no installation script)", Meaning.SANDBOX, "missing extension"),
        (r"could not open extension control file", Meaning.SANDBOX, "missing extension"),
        (r"could not access file \"|could not load library", Meaning.SANDBOX, "missing library"),
        (r"must be loaded via \"?shared_preload_libraries", Meaning.SANDBOX, "missing library"),
        (r"can only be created by loading", Meaning.SANDBOX, "missing library"),
        (
            r"invalid locale name|could not create locale|invalid LC_(?:COLLATE|CTYPE)",
            Meaning.SANDBOX,
            "missing locale",
        ),
        (r"locale .* is not supported", Meaning.SANDBOX, "missing locale"),
        (r"collation \"[^\"]*\" for encoding .* does not exist", Meaning.SANDBOX, "missing locale"),
        (r"has (?:a|no actual) collation version|using collation version", Meaning.SANDBOX, "other collation"),
        (r"unsupported version \([0-9.]+\) in file header", Meaning.SANDBOX, "version mismatch"),
        (r"because of server version mismatch", Meaning.SANDBOX, "version mismatch"),
        (r"role \"[^\"]*\" does not exist", Meaning.DEFECT, "missing role"),
        (r"unexpected end of file|could not read from input file|file is too short", Meaning.DEFECT, "truncated dump"),
        (r"could not find block ID|found unexpected block ID|corrupt tar", Meaning.DEFECT, "truncated dump"),
        (r"did not find magic string|could not open input file|invalid command \\N", Meaning.DEFECT, "truncated dump"),
        (r"invalid page in block|could not read blocks?|page verification failed", Meaning.DEFECT, "damaged page"),
        (r"(?:error|ERROR|fatal|FATAL|PANIC):", Meaning.DEFECT, ""),
        (r"(?:warning|WARNING):", Meaning.DEFECT, ""),
        (r"(?:NOTICE|INFO|LOG|DEBUG\d?):|: (?:info|detail): ", Meaning.HARMLESS, ""),
    )
)
"""The first that fits decides. The text says what kind of thing is wrong, where that is known."""

_OF_THE_LINE_BEFORE = re.compile(r"\s|(?:psql:\S+ )?(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|LINE \d+): ?|$")
_COMMAND = re.compile(r"Command was: ")
_BEGINS = re.compile(r"(?:pg_\w+|psql|initdb|postgres)(?::\S*)?:|(?:PANIC|FATAL|ERROR|WARNING|NOTICE|INFO|LOG):")
"""How a line begins that is no part of a statement which a tool repeats."""

_NAMED = re.compile(
    r"(?P<what>\b(?:role|extension|relation|table|view|schema|type|function|procedure|column|constraint|index|sequence|"
    r"database|language|server|parameter|collation|tablespace|trigger|policy|library|file|name|locale|user|"
    r"publication|subscription)s? )?\"(?P<text>[^\"]*)\""
)
_SQLSTATE_OF_DATA = ("22", "23")
_VALUE = re.compile(r"[:\"]")


@dataclass(frozen=True, slots=True)
class Line:
    meaning: Meaning
    text: str
    what: str = ""
    """`missing role`, `truncated dump`…; empty: no kind of its own."""

    def __str__(self) -> str:
        return f"{self.what}: {self.text}" if self.what else self.text


def classified(lines: Iterable[str]) -> list[Line]:
    """Every line that begins something. Continuations are left out: details and hints, and the statement that
    pg_restore repeats after an error, which may go on for many lines."""
    found: list[Line] = []
    repeating = False
    for line in lines:
        if _BEGINS.match(line):
            repeating = False
        elif _COMMAND.search(line):
            repeating = True
        if repeating or _OF_THE_LINE_BEFORE.match(line):
            continue
        found.append(_one(line))
    return found


def _one(line: str) -> Line:
    for pattern, meaning, what in TABLE:
        if pattern.search(line):
            return Line(meaning, shown(line), what)
    # It may be anything, also a row: only its beginning is told, and that it was not understood.
    return Line(Meaning.UNKNOWN, "a line that is not understood", "unknown")


def worst(lines: Iterable[Line]) -> tuple[Meaning, list[Line]] | None:
    """What they say together, and which of them say it; None: nothing is wrong. What is missing *here* comes first:
    what depends on it fails as well, and those lines say nothing about the point."""
    lines = list(lines)
    for meaning in (Meaning.SANDBOX, Meaning.DEFECT, Meaning.UNKNOWN):
        if those := [line for line in lines if line.meaning is meaning]:
            return meaning, those
    return None


def shown(line: str) -> str:
    """Fit to be shown: what is quoted may come from a row, so only names of objects stay."""
    line = " ".join(line.split())
    line = line.removeprefix("pg_restore: error: could not execute query: ").removeprefix("pg_restore: ")
    return _NAMED.sub(lambda found: found[0] if found["what"] else '"…"', line)[:200]


def of_an_error(message: str, sqlstate: str | None, *, raised: bool = False) -> str:
    """What a server's error may be shown as. Of data exceptions (22), violated constraints (23) and what somebody's
    function `raised`, the text may quote a row; elsewhere it names objects (errcodes.txt of PostgreSQL)."""
    first = next(iter(message.strip().splitlines()), "")
    if raised or (sqlstate or "").startswith("P0"):
        return f"a function of the database raised an error ({sqlstate})"
    if sqlstate is None or not sqlstate.startswith(_SQLSTATE_OF_DATA):
        return first
    return f"{_VALUE.split(first)[0].strip()} ({sqlstate})"


_REASONS: tuple[tuple[str, type[BackstayError], str], ...] = (
    (r"No space left on device|Disk quota exceeded", DiskFull, "make room on the disk of the scratch folder"),
    (r"server version mismatch", ToolMissing, "install the programs of the server's version"),
    (r"unsupported version \([0-9.]+\) in file header", ToolMissing, "install programs as new as those that dumped it"),
    (r"authentication failed|no password supplied|permission denied|no pg_hba.conf entry", AccessDenied,
     "the role needs the right to read everything (pg_read_all_data)"),
    (r"connection to server .* failed|server closed the connection|terminating connection", SourceDown,
     "is the server running?"),
)  # fmt: skip


def reason(error: ToolFailed, doing: str) -> BackstayError:
    """A program that failed, as the class of what stopped it."""
    lines = [line for line in error.detail.splitlines() if not line.startswith(("DETAIL", "CONTEXT"))]
    said = "; ".join(shown(line) for line in lines[:3])
    for pattern, kind, hint in _REASONS:
        if re.search(pattern, error.detail):
            return kind(f"{doing} failed", detail=said, hint=hint)
    return ToolFailed(f"{doing} failed", detail=said or error.message)
