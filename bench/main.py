"""`bench/run NAME [options]`: one module a benchmark."""

import argparse
import sys
from importlib import import_module

NAMES = ("first",)


def main() -> int:
    parser = argparse.ArgumentParser("bench/run", description="Ours and the peer's, on the same work in one run.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--size", default="1G", help="how large the database is made, like 1G (default) or 4G")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    words = parser.parse_args()
    import_module(words.name).run(words.size, words.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
