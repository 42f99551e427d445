"""What every verb understands, declared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from backstay.plan import Target


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where things are, and how the answer is printed."""

    plan: Annotated[Path | None, Parameter(env_var="BACKSTAY_PLAN")] = None
    """The plan file. Default: backstay.yaml here or in a folder above."""

    key: Annotated[Path | None, Parameter(env_var="BACKSTAY_KEY")] = None
    """The key file. Default: backstay.key beside the plan."""

    state: Annotated[Path | None, Parameter(env_var="BACKSTAY_STATE")] = None
    """The folder of the journal. Default: .backstay beside the plan."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON on standard output, errors as JSON on standard error."""


HERE = Common()

VaultAddress = Annotated[str | None, Parameter(name="--vault")]
"""One vault by its address, without a plan."""


class Failed(Exception):
    """Everything was said already; only the exit code is left."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@Parameter(name="*")
@dataclass(frozen=True)
class Until:
    """How far a recovery goes on from its point. Nothing given: to the end of the point itself."""

    at: str | None = None
    """Recover to this moment, like 2026-11-28T02:00:00Z: every transaction that had committed by then."""

    lsn: str | None = None
    """Recover to this place in the log, like 0/3000028."""

    restore_point: str | None = None
    """Recover to a named restore point, as `pg_create_restore_point` made it."""

    xid: str | None = None
    """Recover to the end of this transaction."""

    latest: Annotated[bool, Parameter(negative="")] = False
    """Recover to the end of the log that is kept."""

    before: Annotated[bool, Parameter(negative="")] = False
    """Leave out what lies exactly at --at, --lsn or --xid."""

    timeline: int | None = None
    """Follow this timeline. Default: for --at the one that was lived then, else the newest that the log knows of."""

    def target(self) -> "Target | None":
        """Raises Usage."""
        from backstay.errors import Usage
        from backstay.plan import parse_target

        given = {
            "--at": self.at,
            "--lsn": self.lsn,
            "--restore-point": None if self.restore_point is None else f"restore-point {self.restore_point}",
            "--xid": None if self.xid is None else f"xid {self.xid}",
            "--latest": "latest" if self.latest else None,
        }
        said = {flag: text for flag, text in given.items() if text is not None}
        if len(said) > 1:
            raise Usage(f"{' and '.join(said)} name two targets", detail="nothing was started", hint="keep one of them")
        if not said:
            if self.before or self.timeline is not None:
                raise Usage("--before and --timeline go with a target", hint="add --at, --lsn, --xid or --latest")
            return None
        before = "before " if self.before else ""
        on = "" if self.timeline is None else f" on timeline {self.timeline}"
        try:
            target = parse_target(f"{before}{next(iter(said.values()))}{on}")
        except ValueError as error:
            raise Usage(str(error), detail="nothing was started") from None
        flag, text = next(iter(said.items()))
        if type(target.until).__name__ != _KINDS[flag] or target.timeline != self.timeline:
            raise Usage(f"{text!r} is nothing for {flag}", detail="nothing was started")
        return target


@Parameter(name="*")
@dataclass(frozen=True)
class Which(Until):
    """Which state of a component."""

    point: str | None = None
    """Start from this point. Default: the newest; with a target the newest that leads there."""


_KINDS = {
    "--at": "AtTime",
    "--lsn": "AtLsn",
    "--restore-point": "AtRestorePoint",
    "--xid": "AtXid",
    "--latest": "Latest",
}
OWN_END = Until()
NEWEST = Which()
