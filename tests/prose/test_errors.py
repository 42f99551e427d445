"""Every error has a page that says what happened and what to do, and every page has its error."""

import inspect
import re
from itertools import pairwise
from pathlib import Path

from backstay import errors
from backstay.errors import BackstayError

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/errors.md"
HEADING = re.compile(r"^## E(\d{2,3}) (\w+)$", re.M)


def classes() -> dict[str, int]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BackstayError)]
    return {kind.__name__: kind.code for kind in found}


def undone(page: str, wanted: dict[str, int]) -> list[str]:
    """What a page owes to its readers."""
    headings = list(HEADING.finditer(page))
    written = {match[2]: int(match[1]) for match in headings}
    missing = [f"{name} ({code}) has no section" for name, code in wanted.items() if name not in written]
    extra = [f"{name} ({code}) is no error" for name, code in written.items() if wanted.get(name) != code]
    ends = [match.start() for match in headings[1:]] + [len(page)]
    empty = [
        f"{match[2]} does not say {part.lower()}"
        for match, end in zip(headings, ends)
        for part in ("What happened", "What to do")
        if len(_said(page[match.end() : end], part).split()) < 8
    ]
    return missing + extra + empty


def _said(section: str, part: str) -> str:
    found = re.search(rf"^\*\*{part}\.\*\* (.*?)(?=\n\n\*\*|\n# |\Z)", section, re.M | re.S)
    return found[1] if found else ""


def test_every_error_says_what_happened_and_what_to_do() -> None:
    assert undone(PAGE.read_text(), classes()) == []


def test_sections_stand_in_the_order_of_their_codes() -> None:
    codes = [int(match[1]) for match in HEADING.finditer(PAGE.read_text())]
    assert all(before < after for before, after in pairwise(codes))


def test_a_code_means_one_thing() -> None:
    codes = list(classes().values())
    assert sorted(set(codes)) == sorted(codes)
    assert all(0 < code < 256 for code in codes)
    assert not any(126 <= code <= 128 for code in codes), "the shell's own"


def test_what_a_page_owes_is_found() -> None:
    page = "## E31 TargetAlive\n\n**What happened.** It runs.\n\n## E99 Ghost\n"
    assert undone(page, {"TargetAlive": 31, "NoProvenPoint": 32}) == [
        "NoProvenPoint (32) has no section",
        "Ghost (99) is no error",
        "TargetAlive does not say what happened",
        "TargetAlive does not say what to do",
        "Ghost does not say what happened",
        "Ghost does not say what to do",
    ]


def test_three_parts_and_a_number_each_line_below_its_own() -> None:
    error = errors.ToolFailed("pg_dump ended with status 1", detail="one\ntwo", hint="try it by hand")
    assert str(error).splitlines() == [
        "E44  pg_dump ended with status 1",
        "  known: one",
        "         two",
        "  try:   try it by hand",
    ]
