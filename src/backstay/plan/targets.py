"""How far a recovery goes: the one type in which steps, commands, sandboxes and searches say it.

PostgreSQL stops at a moment, a place in the log, a transaction, a named restore point, or where the log ends (manual,
20.5.6, "Recovery Target"). Without any target a recovery ends where the backup ended: in code that is None, everywhere.

As text, one line: `latest`, `2026-11-28T02:00:00Z`, `0/3000028`, `xid 731`, `restore-point before-deploy`. `before` in
front means that what lies exactly there is left out (`recovery_target_inclusive = off`); ` on timeline 3` at the end
names the history that is followed. Without it, that is the history which the servers of this cluster lived last.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from backstay.lsn import Lsn, lsn, say_lsn
from backstay.values import say_moment, utc

LONGEST_RESTORE_POINT = 63
"""Bytes of a name of `pg_create_restore_point` (MAXFNAMELEN - 1, xlog_internal.h)."""
LARGEST_XID = (1 << 64) - 1
FIRST_XID = 3
"""FirstNormalTransactionId (transam.h)."""
_TIMELINE = re.compile(r"(.+?)\s+on\s+timeline\s+([0-9]{1,10})\Z", re.DOTALL | re.ASCII)
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}\Z")
_DAY_FIRST = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Latest:
    """Everything that is kept."""


@dataclass(frozen=True, slots=True)
class AtTime:
    """Every transaction that committed up to a moment, by the clock of the server that it was committed on."""

    moment: datetime
    inclusive: bool = True

    def __post_init__(self) -> None:
        assert self.moment.tzinfo is not None, "a moment without a zone"


@dataclass(frozen=True, slots=True)
class AtLsn:
    place: Lsn
    inclusive: bool = True


@dataclass(frozen=True, slots=True)
class AtXid:
    """Transactions end in another order than they begin: exactly those that had committed when this one ended."""

    xid: int
    inclusive: bool = True


@dataclass(frozen=True, slots=True)
class AtRestorePoint:
    """Where `pg_create_restore_point` wrote this name; the first such place after the backup."""

    name: str


Until = Latest | AtTime | AtLsn | AtXid | AtRestorePoint


@dataclass(frozen=True, slots=True)
class Target:
    """Where a recovery ends."""

    until: Until
    timeline: int | None = None
    """Whose history is followed. None: the newest one that the log knows of."""


def spell(target: Target) -> str:
    """The text that `parse_target` reads back as the same target."""
    before = "before " if getattr(target.until, "inclusive", True) is False else ""
    after = "" if target.timeline is None else f" on timeline {target.timeline}"
    return f"{before}{_spell(target.until)}{after}"


def _spell(until: Until) -> str:
    match until:
        case Latest():
            return "latest"
        case AtTime(moment):
            return utc(moment).isoformat().replace("+00:00", "Z")
        case AtLsn(place):
            return say_lsn(place)
        case AtXid(xid):
            return f"xid {xid}"
        case AtRestorePoint(name):
            return f"restore-point {name}"
        case _:
            assert_never(until)


def parse_target(text: str) -> Target:
    """Raises ValueError with what is wrong, as one clause."""
    said, timeline = text.strip(), None
    if (found := _TIMELINE.match(said)) is not None:
        said, timeline = found[1], _timeline(int(found[2]))
    word, _, rest = said.partition(" ")
    before = word == "before"
    return Target(_until(rest.strip() if before else said, inclusive=not before), timeline)


def _timeline(number: int) -> int:
    if not 1 <= number <= 0xFFFFFFFF:
        raise ValueError(f"there is no timeline {number}")
    return number


def _until(said: str, *, inclusive: bool) -> Until:
    word, _, rest = said.partition(" ")
    if word in ("latest", "restore-point") and not inclusive:
        raise ValueError(f"nothing comes before {said!r}: `before` goes with a moment, a place in the log, or an xid")
    if said == "latest":
        return Latest()
    if word == "restore-point":
        return AtRestorePoint(restore_point(rest))
    if word == "xid":
        return AtXid(_xid(rest), inclusive)
    if _LSN.match(said):
        return AtLsn(lsn(said), inclusive)
    if _DAY_FIRST.match(said):
        return AtTime(_moment(said), inclusive)
    raise ValueError(
        f"{said!r} names no moment: write `latest`, a time like 2026-11-28T02:00:00Z, an LSN like 0/3000028, "
        "`xid 731`, or `restore-point NAME`"
    )


def _moment(said: str) -> datetime:
    """Without a zone it is UTC, like everything that Backstay prints."""
    try:
        found = datetime.fromisoformat(said.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(f"{said!r} is no moment: write it like 2026-11-28T02:00:00Z") from None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else utc(found)
    except OverflowError:
        raise ValueError(f"{said!r} is outside of every calendar") from None


def _xid(said: str) -> int:
    if not (said.isascii() and said.isdigit()) or not FIRST_XID <= int(said[:25]) <= LARGEST_XID:
        raise ValueError(f"{said!r} is no transaction: write its number, as `pg_current_xact_id()` gives it")
    return int(said)


def restore_point(name: str) -> str:
    """The name, if it can be one. Raises ValueError."""
    if not name or len(name.encode("utf-8", "replace")) > LONGEST_RESTORE_POINT:
        raise ValueError(f"a restore point has a name of 1 to {LONGEST_RESTORE_POINT} bytes")
    if not name.isprintable() or name != name.strip() or _TIMELINE.match(name):
        raise ValueError(f"{name!r} is no name of a restore point")
    return name


def say_target(target: Target | None) -> str:
    """In a sentence, after "to": `the transaction 731, that one left out`."""
    if target is None:
        return "the end of the point itself"
    out = "" if getattr(target.until, "inclusive", True) else ", what lies exactly there left out"
    on = "" if target.timeline is None else f", on timeline {target.timeline}"
    match target.until:
        case Latest():
            said = "the end of the log that is kept"
        case AtTime(moment):
            said = _exactly(moment)
        case AtLsn(place):
            said = f"the place {say_lsn(place)} in the log"
        case AtXid(xid):
            said = f"the transaction {xid}"
        case AtRestorePoint(name):
            said = f"the restore point {name!r}"
        case _:
            assert_never(target.until)
    return said + out + on


def _exactly(moment: datetime) -> str:
    """To the second as people read it, to the microsecond where that was asked for."""
    return say_moment(moment) if not moment.microsecond else f"{utc(moment):%Y-%m-%d %H:%M:%S.%f} UTC"
