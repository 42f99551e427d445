"""What is checked on a restored database. `docs/reference/checks.md` explains each code.

A check that could not run says so and is not verified; one whose finding was there at the source already has passed,
and says that too: the point brought back what was there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from backstay.adapters.postgres import catalogue
from backstay.adapters.postgres.programs import Programs
from backstay.adapters.postgres.session import Connection, spoken
from backstay.errors import BackstayError, Cancelled, ToolFailed, ToolMissing
from backstay.facts import CheckResult, Rung, Verdict
from backstay.ports import Clock
from backstay.processes import Command, run
from backstay.values import count, listed

Tier = Literal["bytes", "sample", "full"]
Said = tuple[Verdict, str]

CODES: Mapping[str, tuple[Rung, str]] = {
    "B02": (Rung.BYTES, "page checksums"),
    "R01": (Rung.RESTORE, "recovery ended"),
    "R02": (Rung.RESTORE, "end of the backup reached"),
    "R03": (Rung.RESTORE, "right timeline"),
    "R04": (Rung.RESTORE, "nothing odd was said"),
    "S01": (Rung.STRUCTURE, "objects"),
    "I01": (Rung.INTEGRITY, "tables and indexes (amcheck)"),
    "I02": (Rung.INTEGRITY, "invalid indexes"),
    "I03": (Rung.INTEGRITY, "constraints not validated"),
    "I04": (Rung.INTEGRITY, "sequences behind their columns"),
    "I05": (Rung.INTEGRITY, "unpopulated materialized views"),
    "I06": (Rung.INTEGRITY, "collation versions"),
    "I07": (Rung.INTEGRITY, "prepared transactions left"),
}
"""Every code of this keeper, its rung and its name. B01 is the vault's."""

_FOUND: Mapping[str, str] = {
    "I02": "invalid index",
    "I03": "constraint that is not validated",
    "I04": "sequence behind its column",
    "I05": "unpopulated materialized view",
    "I06": "collation of another version than its indexes were built with",
    "I07": "prepared transaction",
}
_AMCHECK = timedelta(hours=12)
_NOT_OURS = re.compile(r"could not (?:access|load|open) (?:file|library|extension)|is not available|does not exist")


def passed(said: str) -> Said:
    return Verdict.PASSED, said


def failed(said: str) -> Said:
    return Verdict.FAILED, said


def unknown(said: str) -> Said:
    return Verdict.NOT_VERIFIED, said


@dataclass(frozen=True, slots=True)
class Checking:
    """Runs checks, times them, and turns what stops one into *not verified*."""

    clock: Clock

    def check(self, code: str, look: Callable[[], Said]) -> CheckResult:
        rung, name = CODES[code]
        began = self.clock.elapsed()
        try:
            with spoken():
                verdict, said = look()
        except Cancelled:
            raise
        except BackstayError as error:
            verdict, said = unknown(f"{error.message}: {error.detail}" if error.detail else error.message)
        return CheckResult(code, rung, name, verdict, said, self.clock.elapsed() - began)

    def catalogue(self, connection: Connection, about: Mapping[str, str]) -> list[CheckResult]:
        """S01 and I02 to I07, against what the source said when the point was taken."""
        known = catalogue.read_findings(about)
        found = [self.check("S01", lambda: objects(connection, about))]
        for code in catalogue.CODES:
            found.append(self.check(code, lambda code=code: finding(connection, code, known.get(code, frozenset()))))
        return found

    def amcheck(self, programs: Programs, address: Mapping[str, str], dbname: str, *, full: bool) -> CheckResult:
        return self.check("I01", lambda: amcheck(programs, address, dbname, full=full))


def objects(connection: Connection, about: Mapping[str, str]) -> Said:
    expected, here = catalogue.read_objects(about), catalogue.objects_of(connection)
    total = count(sum(here.values()), "object")
    if expected is None:
        return unknown(f"{total}, but the source's were not counted when the point was taken")
    wrong: list[str] = []
    for kind in sorted({*expected, *here}):
        least, most = (expected.get(kind) or [0, 0])[0], (expected.get(kind) or [0, 0])[-1]
        if not least <= here.get(kind, 0) <= most:
            meant = f"{least}" if least == most else f"{least} to {most}"
            wrong.append(f"{_so_many(here.get(kind, 0), kind)} instead of {meant}")
    if wrong:
        return failed(f"{listed(wrong)}")
    shown = listed(_so_many(number, kind) for kind, number in sorted(here.items()))
    return passed(f"{total}, as at the source: {shown}" if here else "no objects, as at the source")


_ONE = {"indexes": "index", "policies": "policy"}


def _so_many(number: int, kind: str) -> str:
    """`1 extension`, `12 indexes`: the catalogue counts kinds by their plural."""
    return f"{number:,} {_ONE.get(kind, kind.removesuffix('s')) if number == 1 else kind}"


def finding(connection: Connection, code: str, known: frozenset[str]) -> Said:
    found = catalogue.finding(connection, code)
    what = _FOUND[code]
    fresh = [name for name in found if name not in known]
    if fresh:
        said = f"{count(len(fresh), what)}: {listed(fresh[:5])}{' and others' if len(fresh) > 5 else ''}"
        # The libraries of *this* machine sort differently: that says nothing about the point.
        return unknown(f"{said}; this machine sorts otherwise than the source") if code == "I06" else failed(said)
    if found:
        return passed(f"{count(len(found), what)}, as at the source: {listed(found[:5])}")
    return passed(f"no {what}")


def amcheck(programs: Programs, address: Mapping[str, str], dbname: str, *, full: bool) -> Said:
    """pg_amcheck on every table and B-tree of every database; with `full`, each row is looked for in its indexes."""
    if not programs.has("pg_amcheck"):
        raise ToolMissing(f"there is no pg_amcheck in {programs.folder}")
    argv = [programs.path("pg_amcheck"), "--all", f"--maintenance-db={dbname}", "--install-missing", "--jobs=2"]
    argv += ["--heapallindexed"] if full else []
    lines = Lines()
    try:
        done = run(Command((*argv,), _AMCHECK, env=address, accept=frozenset({0, 2})), stdout=lines.add)
    except ToolFailed as error:
        return unknown(f"pg_amcheck could not run: {error.detail.splitlines()[-1] if error.detail else error.message}")
    if done.status == 0:
        how = "every row is in its indexes" if full else "rows were not looked for in their indexes"
        return passed(f"pg_amcheck found nothing in any database; {how}")
    complaints = [line for line in lines.kept if "ERROR" in line or line.startswith(" ")] or lines.kept
    if complaints and all(_NOT_OURS.search(line) for line in complaints):
        return unknown(f"pg_amcheck needs what is not installed here: {complaints[0].strip()[:200]}")
    return failed(f"pg_amcheck: {' '.join(line.strip() for line in lines.kept[:2])[:300]}")


class Lines:
    """The first lines of an output."""

    def __init__(self, most: int = 40) -> None:
        self.kept: list[str] = []
        self._rest, self._most = b"", most

    def add(self, part: bytes) -> None:
        *whole, self._rest = (self._rest + part).split(b"\n")
        self._rest = self._rest[-4096:]
        for line in whole:
            if len(self.kept) < self._most and line.strip():
                self.kept.append("".join(c for c in line.decode("utf-8", "replace") if c.isprintable()))

    def all(self) -> list[str]:
        """With a last line that has no end."""
        if self._rest:
            self.add(b"\n")
        return self.kept
