"""The command line: `python -m catalytic serve | seed | write | lost | wreck`.

Addresses come from the environment (`DATABASE_URL`, `CATALYTIC_SQLITE`) or from options. A password is taken from the
environment only: everybody on the machine can read a command line.
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

if not __package__:  # started by path: python examples/catalytic
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psycopg
from psycopg.conninfo import conninfo_to_dict

from catalytic import Refused
from catalytic.database import reason

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def size_bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([KMG]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write it like 200M")
    return int(found[1]) * SIZES[found[2]]


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})(ms|s|m)", text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time: write it like 50ms or 2s")
    return int(found[1]) * SPANS[found[2]]


def whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if re.fullmatch(r"\d{1,10}", text) is None or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return number


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "python -m catalytic", description="A small SaaS to protect, fill, keep busy and wreck."
    )
    verbs = p.add_subparsers(dest="verb", required=True)

    def verb(name: str, help_: str, *, sqlite: bool = True) -> argparse.ArgumentParser:
        v = verbs.add_parser(name, help=help_, description=help_)
        v.add_argument("--dsn", help="PostgreSQL, without a password (default: $DATABASE_URL)")
        if sqlite:
            v.add_argument("--sqlite", type=Path, help="the settings file (default: $CATALYTIC_SQLITE)")
        return v

    serve = verb("serve", "Answer HTTP requests until SIGTERM.")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=whole(1, 65535), default=8000)

    seed = verb("seed", "Fill an empty database, and make the settings.")
    seed.add_argument("--size", type=size_bytes, default=200 << 20, help="at least so large on disk (default: 200M)")
    seed.add_argument("--tenants", type=whole(1, 10_000), default=24)
    seed.add_argument("--seed", type=whole(0, 2**31 - 1), default=1, help="the same seed gives the same rows")

    write = verb("write", "Add numbered rows, and log each one after its commit, until SIGTERM.")
    write.add_argument("--every", type=seconds, default=0.05, help="default: 50ms")
    write.add_argument("--log", type=Path, required=True, help="gets a line `n timestamp` for each committed row")

    lost = verb("lost", "Count the logged rows that the database no longer has; JSON.", sqlite=False)
    lost.add_argument("--log", type=Path, required=True)

    wreck = verb("wreck", "Destroy a demo's database: drop tables, then damage files.", sqlite=False)
    wreck.add_argument("--data", type=Path, required=True, help="the data directory; its folder must be marked")
    wreck.add_argument("--seed", type=whole(0, 2**31 - 1), required=True)
    wreck.add_argument("--pages", type=whole(1, 10_000), default=24, help="how many pages to overwrite (default: 24)")
    return p


def address(given: str | None) -> str:
    """Where PostgreSQL is. Raises Refused; the text never repeats the address."""
    dsn = given or os.environ.get("DATABASE_URL", "")
    if not dsn:
        raise Refused("which PostgreSQL? Set DATABASE_URL, or give --dsn")
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise Refused(
            "this is not an address of a PostgreSQL database; write postgresql://user@host:port/name"
        ) from None
    if given and parts.get("password"):
        raise Refused("a password must not stand on a command line; put the address into DATABASE_URL")
    return dsn


def settings_path(given: Path | None) -> Path:
    path = given or Path(os.environ.get("CATALYTIC_SQLITE", ""))
    if path == Path():
        raise Refused("where are the settings? Set CATALYTIC_SQLITE, or give --sqlite")
    return path


def on_stop(act: Callable[[], None]) -> None:
    """What SIGTERM and Ctrl-C do from now on."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def serve(dsn: str, sqlite: Path, host: str, port: int) -> None:
    import uvicorn

    from catalytic.app import create_app
    from catalytic.database import Database
    from catalytic.settings import Settings

    # uvicorn finishes open requests, then raises the signal again for whoever handled it before: that is us.
    on_stop(lambda: None)
    app = create_app(Database(dsn), Settings(sqlite))
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5, lifespan="on"
    )
    server = uvicorn.Server(config)
    print(f"serve  http://{host}:{port}, process {os.getpid()}", file=sys.stderr, flush=True)
    server.run()


def write(dsn: str, sqlite: Path, every_seconds: float, log: Path) -> None:
    from catalytic import writer
    from catalytic.settings import Settings

    stop = threading.Event()
    on_stop(stop.set)
    settings = Settings(sqlite)
    try:
        writer.write(dsn, settings, every_seconds=every_seconds, log=log, stop=stop)
    finally:
        settings.close()


def run(a: argparse.Namespace) -> None:
    dsn = address(a.dsn)
    match a.verb:
        case "serve":
            serve(dsn, settings_path(a.sqlite), a.host, a.port)
        case "seed":
            from catalytic.seed import seed

            seed(dsn, settings_path(a.sqlite), size_bytes=a.size, tenants=a.tenants, number=a.seed)
        case "write":
            write(dsn, settings_path(a.sqlite), a.every, a.log)
        case "lost":
            from catalytic.writer import lost

            print(json.dumps(asdict(lost(dsn, a.log))))
        case "wreck":
            from catalytic.wreck import wreck

            wreck(dsn, a.data, seed=a.seed, pages=a.pages)
        case _:
            raise AssertionError(a.verb)


def main() -> int:
    a = parser().parse_args()
    try:
        run(a)
    except (Refused, OSError) as error:
        print(f"{a.verb}: {error}", file=sys.stderr)
        return 1
    except psycopg.Error as error:
        print(f"{a.verb}: PostgreSQL: {reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
