"""The command line: one verb per chapter, and nothing that could not be asked another way.

Each verb turns words into a call of `app` and prints what came back. Only this package exits, with a code from the
table in `errors`. Verbs import what they need when they run: `backstay --help` must not wait for a database driver.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App

from backstay import __version__
from backstay.cli import options, planning, protecting, recovering, telling
from backstay.cli.options import Failed
from backstay.errors import BackstayError, Cancelled

__all__ = ["app", "main", "options"]

app = App(
    name="backstay",
    version=__version__,
    help="Disaster recovery as code: take backups, prove them by restoring, recover on the day.\n\n"
    "Begin with `backstay init`, then `backstay backup`, `backstay verify` and `backstay status`.\n"
    "On the day: `backstay recover SCENARIO`.",
    help_epilogue="Exit codes: 0 done, 2 wrong usage, others are the number of the error (E31 exits with 31): "
    "docs/reference/errors.md.",
)
for chapter in (planning, protecting, recovering, telling):
    chapter.register(app)


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point. Exits with 0, or the code of the error."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Asking to stop must look the same from a terminal, a service manager and a closed connection.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(words, exit_on_error=True)
    except BackstayError as error:
        sys.exit(_fail(error, "--json" in words))
    except Failed as failed:
        sys.exit(failed.code)
    except KeyboardInterrupt:
        sys.exit(_fail(Cancelled("stopped", hint="see what is open with `backstay status`"), "--json" in words))
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(error: BackstayError, as_json: bool) -> int:
    if as_json:
        told = {"code": error.code, "error": error.message, "known": error.detail, "try": error.hint}
        print(json.dumps(told), file=sys.stderr)
    else:
        from rich.console import Console

        from backstay.cli.screen import print_error

        print_error(Console(stderr=True, highlight=False), error)
    return error.code
