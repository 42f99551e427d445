"""Looks for bytes that make a parser fail in another way than it says. See `bench/fuzz`."""

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from fix_parsers import Parser, cases, parsers, refused

ROUND = 200


def by_chance(chosen: Sequence[Parser], seconds: float) -> int:
    """How many ways to fail were found. Each is printed once, with the bytes."""
    end, seed, tried, found = time.monotonic() + seconds, int(time.time()), 0, set[tuple[str, str, int]]()
    while time.monotonic() < end:
        seed += 1
        for parser in chosen:
            for data in cases(parser, ROUND, seed):
                tried += 1
                try:
                    refused(parser, data)
                except Exception as error:  # noqa: BLE001 - this is what we look for
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    if (where := (parser.name, last.filename, last.lineno or 0)) not in found:
                        found.add(where)
                        print(f"{parser.name}: {type(error).__name__} at {where[1]}:{where[2]}: {data!r}", flush=True)
    print(f"{tried:,} cases on {len(chosen)} parsers: {len(found)} ways to fail that nobody said")
    return len(found)


def by_coverage(chosen: Sequence[Parser], seconds: float) -> None:
    """Never returns: atheris ends the program. It is no requirement of ours, so it is looked for only here."""
    atheris: Any = importlib.import_module("atheris")
    if len(chosen) != 1:
        raise SystemExit("--coverage looks at one parser: name it with --only")
    parser = chosen[0]
    atheris.instrument_all()

    def one(data: bytes) -> None:
        refused(parser, data)

    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], one)
    atheris.Fuzz()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=float, default=600)
    words.add_argument("--only", help="one parser, by its name")
    words.add_argument("--coverage", action="store_true")
    asked = words.parse_args()
    chosen = [parser for parser in parsers() if asked.only in (None, parser.name)]
    if not chosen:
        raise SystemExit(f"no such parser; there are {', '.join(parser.name for parser in parsers())}")
    if asked.coverage:
        by_coverage(chosen, asked.seconds)
    raise SystemExit(1 if by_chance(chosen, asked.seconds) else 0)


if __name__ == "__main__":
    main()
