"""The application's own check, run against a restored database.

A program of the plan's `smoke:` gets the address of the sandbox in its environment, in place of the live one, and has
no network where the kernel lets us take it away: a socket of the sandbox is a file, so the database is reached all the
same. What would lead it to something live (`${site.…}`, a secret) is refused by the plan's check, and again here.
Its output is thrown away, because it may hold rows; its exit status is the answer.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from backstay.errors import AccessDenied, BackstayError, Cancelled, NotSupported, TimedOut, ToolFailed, ToolMissing
from backstay.facts import Verdict
from backstay.plan import SANDBOX_ADDRESS, Check, CommandCheck, Ref, Space
from backstay.processes import Command, cut_off, run
from backstay.values import RunId, say_span


def flow(
    check: Check | None, address: Mapping[str, str], base: Path, run_id: RunId, stop: Callable[[], bool]
) -> tuple[Verdict, str]:
    """Passed, failed, or not verified with the reason. Raises Cancelled."""

    def look_up(ref: Ref) -> str:
        if ref.space is Space.RUN:
            return {"id": str(run_id), "mode": "drill"}.get(ref.path, "")
        raise NotSupported(f"{ref} would lead it to something live")

    if not isinstance(check, CommandCheck):
        return Verdict.NOT_VERIFIED, "only a command can be run against a restored database"
    prefix = cut_off() or ()
    try:
        given = {name: value.render(look_up) for name, value in check.env.items() if name not in SANDBOX_ADDRESS}
        argv = tuple(part.render(look_up) for part in check.argv)
        done = run(Command((*prefix, *argv), check.timeout, env={**given, **address}, cwd=base), stop=stop)
    except Cancelled:
        raise
    except TimedOut:
        return Verdict.FAILED, f"it did not end within {say_span(check.timeout)}"
    except ToolFailed as error:
        return Verdict.FAILED, f"it ended badly: {error.message.rpartition(': ')[2]}"
    except (ToolMissing, AccessDenied, NotSupported) as error:
        return Verdict.NOT_VERIFIED, f"it could not be run: {error.message}"
    except BackstayError as error:
        return Verdict.NOT_VERIFIED, error.message
    how = "" if prefix else "; with a network, which this machine does not let us take away"
    return Verdict.PASSED, f"ended well in {say_span(done.took)}{how}"
