"""What pg_dump, pg_restore and psql say, line by line: every line of their errors has a meaning, or is a defect.

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


TABLE: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"errors ignored on restore: \d+", Meaning.HARMLESS),
        (r"while PROCESSING TOC|while INITIALIZING|while FINALIZING|from TOC entry", Meaning.HARMLESS),
        # A newer pg_dump sets what an older server does not know (transaction_timeout, for one).
        (r"unrecognized configuration parameter", Meaning.HARMLESS),
        (r"there are circular foreign-key constraints", Meaning.HARMLESS),
        (r"extension \"[^\"]*\" is not available|could not open extension control file", Meaning.SANDBOX),
        (r"could not access file \"|could not load library", Meaning.SANDBOX),
        (r"must be loaded via \"?shared_preload_libraries|can only be created by loading", Meaning.SANDBOX),
        (
            r"invalid locale name|could not create locale|collation \"[^\"]*\" for encoding .* does not exist",
            Meaning.SANDBOX,
        ),
        (r"invalid LC_(?:COLLATE|CTYPE)|locale .* is not supported", Meaning.SANDBOX),
        (r"(?:error|ERROR|fatal|FATAL|PANIC):", Meaning.DEFECT),
        (r"(?:warning|WARNING):", Meaning.DEFECT),
    )
)
"""The first that fits decides. What fits nothing is a part of the line before it (DETAIL, HINT, Command)."""

_QUOTED = re.compile(r"\"[^\"]*\"")
_SHOWS_DATA = re.compile(r"COPY failed|invalid input|invalid byte sequence|out of range|value too long|violates")


@dataclass(frozen=True, slots=True)
class Line:
    meaning: Meaning
    text: str


def classified(lines: Iterable[str]) -> list[Line]:
    """Every line that begins something; continuations are left out."""
    found: list[Line] = []
    for line in lines:
        for pattern, meaning in TABLE:
            if pattern.search(line):
                found.append(Line(meaning, shown(line)))
                break
    return found


def shown(line: str) -> str:
    """Fit to be shown: what is quoted may come from a row, so it goes where it might."""
    line = " ".join(line.split())
    line = line.removeprefix("pg_restore: error: could not execute query: ").removeprefix("pg_restore: ")
    if _SHOWS_DATA.search(line):
        line = _QUOTED.sub('"…"', line)
    return line[:200]


_REASONS: tuple[tuple[str, type[BackstayError], str], ...] = (
    (r"No space left on device|Disk quota exceeded", DiskFull, "make room on the disk of the scratch folder"),
    (r"server version mismatch", ToolMissing, "install the programs of the server's version"),
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
