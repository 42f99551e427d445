"""What is checked on a restored database. `docs/reference/checks.md` explains each code.

A check that could not run says so and is not verified; one whose finding was there at the source already has passed,
and says that too: the point brought back what was there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backstay.adapters.postgres import catalogue, tools
from backstay.adapters.postgres.programs import Programs
from backstay.adapters.postgres.said import Said, failed, passed, unknown
from backstay.adapters.postgres.session import Connection, spoken
from backstay.adapters.postgres.structure import after_a_dump, structure
from backstay.adapters.postgres.tools import named
from backstay.adapters.postgres.words import Line, Meaning, worst
from backstay.errors import BackstayError, Cancelled
from backstay.facts import CheckResult, Rung
from backstay.ports import Clock
from backstay.values import count, listed

Tier = Literal["bytes", "sample", "full"]

CODES: Mapping[str, tuple[Rung, str]] = {
    "B02": (Rung.BYTES, "page checksums"),
    "B03": (Rung.BYTES, "the server's manifest"),
    "R01": (Rung.RESTORE, "recovery ended"),
    "R02": (Rung.RESTORE, "end of the backup reached"),
    "R03": (Rung.RESTORE, "right timeline"),
    "R04": (Rung.RESTORE, "nothing odd was said"),
    "R05": (Rung.RESTORE, "every table's dump has its end"),
    "S01": (Rung.STRUCTURE, "objects"),
    "I01": (Rung.INTEGRITY, "tables and indexes (amcheck)"),
    "I02": (Rung.INTEGRITY, "invalid indexes"),
    "I03": (Rung.INTEGRITY, "constraints not validated"),
    "I04": (Rung.INTEGRITY, "sequences behind their columns"),
    "I05": (Rung.INTEGRITY, "unpopulated materialized views"),
    "I06": (Rung.INTEGRITY, "collation versions"),
    "I07": (Rung.INTEGRITY, "prepared transactions left"),
    "I10": (Rung.INTEGRITY, "foreign keys"),
}
"""Every code of this keeper, its rung and its name. B01 is the vault's."""

_FOUND: Mapping[str, str] = {
    "I02": "invalid index",
    "I03": "constraint that is not validated",
    "I04": "sequence behind its column",
    "I05": "unpopulated materialized view",
    "I06": "collation of another version than its indexes were built with",
    "I07": "prepared transaction",
    "I10": "foreign key with rows that refer to nothing",
}
_PLURAL: Mapping[str, str] = {
    "I02": "invalid indexes",
    "I03": "constraints that are not validated",
    "I04": "sequences behind their columns",
    "I06": "collations of another version than their indexes were built with",
    "I10": "foreign keys with rows that refer to nothing",
}


def _so_many_found(number: int, code: str) -> str:
    return f"{number} {_PLURAL[code]}" if number != 1 and code in _PLURAL else count(number, _FOUND[code])


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of the source at the moment of the point."""

    about: Mapping[str, str]
    kept: catalogue.Kept | None = None
    dumped: bool = False
    """It comes back by pg_restore, which spells some things anew."""


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

    def catalogue(self, connection: Connection, source: Source, tier: Tier) -> list[CheckResult]:
        """S01, I02 to I07 and I10, against what the source said when the point was taken."""
        known = catalogue.read_findings(source.about)
        found = [self.check("S01", lambda: objects(connection, source))]
        for code in catalogue.CODES:
            before = known.get(code, frozenset[str]())
            if code == "I10":
                found.append(self.check(code, lambda before=before: foreign_keys(connection, tier, before)))
            else:
                found.append(self.check(code, lambda code=code, before=before: finding(connection, code, before)))
        return found

    def amcheck(
        self, programs: Programs, address: Mapping[str, str], dbname: str, *, full: bool,
        tables: Sequence[str] | None = None,
    ) -> CheckResult:  # fmt: skip
        """`tables`: only these of the one database. None: everything."""
        return self.check("I01", lambda: tools.amcheck(programs, address, dbname, full=full, tables=tables))


def quiet(lines: Iterable[Line], what: str) -> Said:
    """R04: what a tool or a server said, judged. `what`: while it did what."""
    found = worst(lines)
    if found is None:
        return passed(f"no warning and no error while {what}")
    meaning, those = found
    shown = listed(dict.fromkeys(str(line) for line in those[:3]))
    if meaning is Meaning.SANDBOX:
        return unknown(f"this machine lacks what the point needs: {shown}")
    if meaning is Meaning.UNKNOWN:
        return unknown(f"{count(len(those), 'line')} that nobody has seen before while {what}")
    return failed(f"{count(len(those), 'error')} while {what}: {shown}")


def objects(connection: Connection, source: Source) -> Said:
    expected, here = catalogue.read_objects(source.about), catalogue.objects_of(connection)
    total = count(sum(here.values()), "object")
    if expected is None:
        return unknown(f"{total}, but the source's were not counted when the point was taken")
    wrong: list[str] = []
    for kind in sorted({*expected, *here}):
        least, most = (expected.get(kind) or [0, 0])[0], (expected.get(kind) or [0, 0])[-1]
        if not least <= here.get(kind, 0) <= most:
            meant = f"{least}" if least == most else f"{least} to {most}"
            wrong.append(f"{_so_many(here.get(kind, 0), kind)} instead of {meant}")
    wrong += _differences(connection, source)
    if wrong:
        return failed(named(wrong))
    shown = listed(_so_many(number, kind) for kind, number in sorted(here.items()))
    return passed(f"{total}, as at the source: {shown}" if here else "no objects, as at the source")


def _differences(connection: Connection, source: Source) -> list[str]:
    """Line by line: `missing: index public.a`, `changed: …`, `more: …`."""
    if source.kept is None:
        return []
    spelled = after_a_dump if source.dumped else tuple[str, ...]
    surely, here = set(spelled(source.kept.surely)), set(spelled(structure(connection)))
    allowed = surely | set(spelled(source.kept.perhaps))
    gone = {line.partition(": ")[0]: line for line in surely - here}
    more = {line.partition(": ")[0]: line for line in here - allowed}
    found = [f"{'changed' if name in more else 'missing'}: {name}" for name in sorted(gone)]
    return found + [f"more than at the source: {name}" for name in sorted(more) if name not in gone]


_ONE = {"indexes": "index", "policies": "policy"}


def _so_many(number: int, kind: str) -> str:
    """`1 extension`, `12 indexes`: the catalogue counts kinds by their plural."""
    return f"{number:,} {_ONE.get(kind, kind.removesuffix('s')) if number == 1 else kind}"


def finding(connection: Connection, code: str, known: frozenset[str]) -> Said:
    return _judged(code, catalogue.finding(connection, code), known)


def _judged(code: str, found: Sequence[str], known: frozenset[str]) -> Said:
    fresh = [name for name in found if name not in known]
    if fresh:
        said = f"{_so_many_found(len(fresh), code)}: {named(fresh)}"
        # The libraries of *this* machine sort differently: that says nothing about the point.
        return unknown(f"{said}; this machine sorts otherwise than the source") if code == "I06" else failed(said)
    if found:
        return passed(f"{_so_many_found(len(found), code)}, as at the source: {named(found)}")
    return passed(f"no {_FOUND[code]}")


def foreign_keys(connection: Connection, tier: Tier, known: frozenset[str]) -> Said:
    """Every row of every foreign key is looked up; in a sample, of small tables only."""
    every = catalogue.foreign_keys(connection)
    looked_at = [key for key in every if key.small or tier == "full"]
    verdict, said = _judged("I10", [key.name for key in looked_at if catalogue.orphans(connection, key)], known)
    left_out = f"; {len(every) - len(looked_at)} of large tables were not looked at" if looked_at != every else ""
    large = [key for key in looked_at if not key.small and key.name in said]
    unasked = "; the source was not asked about large tables" if large and verdict is failed("")[0] else ""
    return verdict, f"{said} ({count(len(looked_at), 'foreign key')} looked at{left_out}){unasked}"
