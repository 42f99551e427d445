"""`bench/run NAME [options]`: one module a benchmark."""

import argparse
import sys
from importlib import import_module

NAMES = ("archive", "first", "pitr", "postgres", "scale", "sqlite", "vault", "wal-loss")


def main() -> int:
    parser = argparse.ArgumentParser("bench/run", description="Ours and the peer's, on the same work in one run.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--size", default="1G", help="how large the database is made, like 1G (default) or 4G")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument(
        "--rounds", type=int, default=2, help="vault, postgres: how often each has its turn; the best counts"
    )
    parser.add_argument("--only", action="append", default=[], help="vault: only main, delta, chain or s3; repeat")
    parser.add_argument("--chain", type=int, default=120, help="vault: how many incremental backups before a restore")
    parser.add_argument("--crashes", type=int, default=20, help="wal-loss: how often the server is killed")
    parser.add_argument("--moments", type=int, default=10, help="pitr: how many moments on each version")
    words = parser.parse_args()
    import_module(words.name.replace("-", "_")).run(words.size, words.json, words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
