"""The command line: one verb per chapter, and nothing that could not be asked another way.

Each verb turns words into a call of `app` and prints what came back. Only this package exits, with a code from the
table in `errors`. Verbs import what they need when they run: `backstay --help` must not wait for a database driver.
"""

import atexit
import gc
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from backstay import __version__
from backstay.cli import (
    bootstrapping,
    choosing,
    costing,
    keys,
    options,
    planning,
    protecting,
    readying,
    recovering,
    retaining,
    scheduling,
    secrets,
    serving,
    telling,
    vaults,
    wal,
)
from backstay.cli.options import Failed
from backstay.errors import BackstayError, Cancelled, ToolMissing, Usage

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["app", "main", "options"]

app = App(
    name="backstay",
    version=__version__,
    suppress_keyboard_interrupt=False,  # it is ours to say what was stopped, with a code of the table
    help="Disaster recovery as code: take backups, prove them by restoring, recover on the day.\n\n"
    "Begin with `backstay init`, then `backstay backup`, `backstay verify` and `backstay status`.\n"
    "On the day: `backstay recover SCENARIO`.\n\n"
    "Example: `backstay status`",
    help_epilogue="Exit codes: 0 done, 2 wrong usage, others are the number of the error (E31 exits with 31): "
    "docs/reference/errors.md.",
)
CHAPTERS = (
    planning, protecting, recovering, choosing, retaining, telling, costing, vaults, keys, bootstrapping, secrets,
    readying, wal, serving, scheduling,
)  # fmt: skip
for chapter in CHAPTERS:
    chapter.register(app)


_EXTRAS = {"dbos": "serve", "shamir_mnemonic": "keys", "boto3": "s3", "botocore": "s3", "obstore": "s3"}
"""Which extra of ours brings a package; `postgres` brings what is not here."""


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point. Exits with 0, or the code of the error."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What is imported stays, and what a command makes is mostly freed by count: to look for circles after every 700
    # objects costs a tenth of the start, and finds none.
    gc.set_threshold(50_000, 20, 50)
    atexit.register(gc.freeze)  # nor at the end, when Python would look through everything once more
    as_json = "--json" in words
    # Asking to stop must look the same from a terminal, a service manager and a closed connection.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A terminal that has no sign for "done" gets a question mark, and no error after the work was done.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it may be closed, or a test's
            stream.reconfigure(errors="replace")
    try:
        app(words, exit_on_error=False, print_error=False, console=_console(words))
    except BackstayError as error:
        sys.exit(_fail(error, as_json))
    except CycloptsError as error:
        sys.exit(_fail(_usage(error), as_json))
    except Failed as failed:
        sys.exit(failed.code)
    except KeyboardInterrupt:
        sys.exit(_fail(Cancelled("stopped", hint="see what is open with `backstay status`"), as_json))
    except ImportError as error:
        # An extra that is not installed is the operator's matter; a module of our own that is missing is a defect.
        if error.name is None or error.name.partition(".")[0] == "backstay":
            sys.exit(_fail(_defect(error), as_json))
        extra = _EXTRAS.get(error.name.partition(".")[0], "postgres")
        hint = f"install Backstay with the extra that this needs: in its clone, pip install '.[{extra}]'"
        sys.exit(_fail(ToolMissing(f"the Python package {error.name!r} is not installed here", hint=hint), as_json))
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - a defect of ours, and said so: at 3 a.m. people need to know that
        sys.exit(_fail(_defect(error), as_json))


def _console(words: Sequence[str]) -> "Console | None":
    """For a help page, one whose reader may go away (`| head`)."""
    if words and not {"--help", "-h"} & set(words):
        return None
    from backstay.cli.screen import consoles

    return consoles(False)[0]


def _usage(error: CycloptsError) -> Usage:
    """In our three parts, like every other error: scripts read them with --json, people know where to look."""
    said, _, known = " ".join(str(error).split()).partition(" Available commands: ")
    said, _, meant = said.partition(" Did you mean ")
    help_page = f"`{' '.join(('backstay', *(error.command_chain or ())))} --help`"
    hint = f"did you mean {meant.rstrip('?')}? " if meant else ""
    detail = f"commands: {known}" if known else "nothing was started"
    return Usage(said.rstrip("."), detail=detail, hint=f"{hint}see {help_page}")


def _defect(error: Exception) -> BackstayError:
    """Raises it again where somebody wants to see all of it."""
    if os.environ.get("BACKSTAY_DEBUG"):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return BackstayError(
        "a defect in Backstay itself",
        detail=f"{type(error).__name__} at {where}; what was done so far is in the journal",
        hint="try again with BACKSTAY_DEBUG=1 in the environment, and report what it prints",
    )


def _fail(error: BackstayError, as_json: bool) -> int:
    if as_json:
        told = {"code": error.code, "error": error.message, "known": error.detail, "try": error.hint}
        print(json.dumps(told), file=sys.stderr)
    else:
        from backstay.cli.screen import SteadyConsole, print_error

        print_error(SteadyConsole(stderr=True, highlight=False), error)
    return error.code
