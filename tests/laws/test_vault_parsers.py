"""Law: no bytes make a parser of stored bytes fail in another way than it says, take more memory than a bound, or never
end; and every parser is in the table."""

import ast
import re
import time
import tracemalloc
from pathlib import Path

import pytest

from fix_parsers import Parser, cases, parsers, refused

SOURCE = Path(__file__).resolve().parents[2] / "src" / "backstay"
CASES = 20
MOST_BYTES = 48 << 20
MOST_S = 5.0

PARSES = re.compile(r"_?(read|parse|unpack|unhex)(_|$)|(inflated|places_in|open_box|_parsed)$")
NO_BYTES = {
    "epochs.open_epochs": "goes through read_wrap and read_used",
    "firsts.read": "hands on to the parser that it is given",
    "keyring._read_private": "a file of our own, not of a store",
    "letters._read": "of a list that was opened as a box; as `point`",
    "register.read_register": "goes through read_signers, read_words, read_wrap and read_used",
    "uses.read_pack_lists": "goes through read_pack_list",
}
"""Functions that are named like parsers and are none of a store's bytes, or that only lead to others."""


NOTHING_TO_READ = {"spine", "segment"}
"""Parsers whose seeds only look like what they read."""


def named_like_parsers() -> set[str]:
    found: set[str] = set()
    files = [*(SOURCE / "vault").glob("*.py"), SOURCE / "facts" / "chain.py", SOURCE / "facts" / "segments.py"]
    for path in files:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and PARSES.match(node.name):
                found.add(f"{path.stem}.{node.name}")
    return found


def test_every_parser_of_stored_bytes_is_in_the_table() -> None:
    covered = {name for parser in parsers() for name in parser.covers}
    assert named_like_parsers() - covered - NO_BYTES.keys() == set()
    assert named_like_parsers() & covered, "the names are those of today"


@pytest.mark.parametrize("parser", parsers(), ids=lambda parser: parser.name)
def test_a_parser_says_no_within_its_bounds(parser: Parser) -> None:
    taken = sum(refused(parser, seed) is None for seed in parser.seeds)
    assert taken or parser.name in NOTHING_TO_READ, "no seed is read at all"
    began = time.monotonic()
    tracemalloc.start()
    try:
        for data in cases(parser, CASES, 0):
            refused(parser, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES
    assert time.monotonic() - began < MOST_S
