"""Reading what a person typed: names, moments, points."""

import sys
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.text import Text

from backstay import values
from backstay.errors import Cancelled, Usage
from backstay.values import Between, ComponentName, utc


def typed_name(console: Console, name: str, given: str | None) -> None:
    """A verb that destroys wants the target's name. Raises Usage for another one, Cancelled for none."""
    if given is None:
        if not sys.stdin.isatty():
            raise Usage(
                "this needs a confirmation, and there is no terminal to ask at",
                detail="nothing was started",
                hint=f"read what it would stop and replace, then add --confirm {name}",
            )
        console.print(Text(f"Type {name} to go on: ", "bold"), end="")
        given = sys.stdin.readline().strip()
        if not given:
            raise Cancelled("nothing was typed, so nothing was done")
    if given != name:
        raise Usage(
            f"{given!r} is not {name!r}", detail="nothing was done", hint=f"to go on, type {name} letter by letter"
        )


def unseen(console: Console, prompt: str) -> str:
    """A line that is typed and not shown: words of a key. What a pipe gives is read too. Raises Cancelled for the end
    of input. The line is in no history: no shell has seen it."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
    else:
        import termios

        console.print(Text(prompt, "bold"), end="")
        before = termios.tcgetattr(sys.stdin)
        silent = termios.tcgetattr(sys.stdin)
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, silent)
            line = sys.stdin.readline()
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)
            console.print()
    if not line:
        raise Cancelled("nothing was typed, so nothing was done")
    return line.rstrip("\r\n")


def agreed(console: Console, question: str, flag: str) -> None:
    """A yes or no. Raises Cancelled for anything but a yes, Usage where nobody can be asked."""
    if not sys.stdin.isatty():
        raise Usage(
            "this needs a yes, and there is no terminal to ask at",
            detail="nothing was done",
            hint=f"read what it would do with --dry-run, then add {flag}",
        )
    console.print(Text(f"{question} [y/N] ", "bold"), end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled("nobody said yes, so nothing was done")


def span(text: str) -> timedelta:
    """`30m`, `48h`. Raises Usage."""
    try:
        return values.span(text)
    except ValueError as error:
        raise Usage(f"{error}", detail="nothing was started", hint="write it like 30m or 48h") from None


def amount(text: str, most: int) -> int:
    """`16MiB`, in bytes. Raises Usage; also for nothing, and for more than `most` bytes."""
    try:
        found = values.size(text)
    except ValueError as error:
        raise Usage(f"{error}", detail="nothing was started") from None
    if not 0 < found <= most:
        raise Usage(f"{text} is no size for this", detail=f"1 byte to {most >> 20} MiB; nothing was started")
    return found


def moment(text: str) -> datetime:
    """An RFC 3339 moment; without a zone it is UTC, as everything that Backstay prints. Raises Usage."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Usage(
            f"{text!r} is not a moment", detail="nothing was started", hint="write it like 2026-11-22T20:44:37Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else utc(found)


def moment_range(text: str | None, by: str | None) -> Between | None:
    """`MOMENT` or `MOMENT..MOMENT`, as somebody's word. Raises Usage."""
    if text is None:
        return None
    first, _, last = text.partition("..")
    earliest = moment(first)
    latest = moment(last) if last else earliest
    if latest < earliest:
        raise Usage(f"{text!r} runs backwards", detail="nothing was started", hint="write the earlier moment first")
    return Between(earliest, latest, f"said by {by or 'the operator'}")


def named_point(text: str | None) -> tuple[ComponentName, str] | None:
    """`COMPONENT=POINT`. Raises Usage."""
    if text is None:
        return None
    component, equals, point = text.partition("=")
    if not (component and equals and point):
        raise Usage(
            f"{text!r} does not name a point",
            detail="nothing was started",
            hint="write it like --point database=20261122T204437Z-7f3a9c1d, copied from `backstay points`",
        )
    return ComponentName(component), point
