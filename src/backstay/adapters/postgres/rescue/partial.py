"""As much of a point as one of its databases, or a few of its tables, needs.

Physical. A cluster starts without the relation files of databases that nobody opens. What replay needs of them it makes
anew: the first change of a page after the checkpoint that the backup began with is logged as a whole page
(`full_page_writes` is on while a backup runs, whatever the setting says: manual, "Making a Base Backup"), and replay
extends a file that is too short (XLogReadBufferExtended in xlogutils.c). pgBackRest's `--db-include` rests on the same.
So every file is laid down that is no relation of another database: catalogs, maps, transaction logs, WAL. Databases
that initdb makes are small, and stay whole.

Which folder a database is in is told by pg_database, of which the pages are read before any server runs: every version
of a row that is in them counts, also a dead one. One that is not found (made while the backup ran) makes everything be
laid down.

Logical. A dump has one file for each table. Of tables that are not asked for, an empty one takes its place: the
structure is restored whole, so that types, functions and owners are there.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.programs import newest_here
from backstay.facts import Point
from backstay.ports import Kind, PointReader, Progress, Stored, unwatched
from backstay.processes import Command, run

FIRST_OF_USERS = 16384
"""FirstNormalObjectId (transam.h): what initdb makes has smaller numbers."""
_PG_DATABASE = 1262
_PAGE = 8192
_RELATION = re.compile(
    r"(?:data/base|tablespaces/\d+/PG_[^/]+)/(?P<database>\d+)/(?:t\d+_)?\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?\Z"
)
_TABLE_DATA = re.compile(r"(\d+); \d+ \d+ TABLE DATA (.*)\Z")
_EMPTY = b"\\.\n\n\n"
_LIST = timedelta(minutes=10)


@dataclass(slots=True)
class Partial:
    """The same point; what is not needed is neither read nor laid down."""

    within: PointReader
    needed: Callable[[str], bool]
    point: Point

    def entries(self, under: str = "") -> Iterator[Stored]:
        return (stored for stored in self.within.entries(under) if self.needed(stored.path))

    def entry(self, path: str) -> Stored | None:
        return self.within.entry(path)

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self.within.read(path, start, length)

    def extract(
        self,
        to: Path,
        *,
        under: str = "",
        place: Callable[[Stored], Path | None] | None = None,
        progress: Progress = unwatched,
        over: bool = False,
    ) -> None:
        empty: list[Path] = []

        def chosen(stored: Stored) -> Path | None:
            where = to / stored.path if place is None else place(stored)
            if stored.kind is not Kind.FILE or self.needed(stored.path):
                return where
            if where is not None and stored.path.startswith("dump/"):
                empty.append(where)
            return None

        self.within.extract(to, under=under, place=chosen, progress=progress, over=over)
        for path in empty:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(_EMPTY)

    def size_bytes(self) -> int:
        return sum(stored.size_bytes for stored in self.entries())


def part_of(point: PointReader, database: str, tables: Sequence[str], scratch: Path) -> PointReader:
    """What is needed of it for one database, or for these tables (empty: all). A point that cannot be divided comes
    back as it is. `scratch`: an empty folder."""
    if point.point.way in ("local", "stream"):
        found = databases(point).get(database)
        if not found:
            return point

        def needed(path: str) -> bool:
            relation = _RELATION.match(path)
            number = int(relation["database"]) if relation else 0
            return number < FIRST_OF_USERS or number in found

        return Partial(point, needed, point.point)
    if point.point.way == "logical" and tables:
        rows = _files_of(point, tables, scratch)
        return Partial(point, lambda path: not re.match(r"dump/\d+\.dat", path) or path in rows, point.point)
    return point


def of_database(point: PointReader, database: str) -> PointReader:
    """The same point, of which this database is the one that is asked."""
    told = replace(point.point, about={**point.point.about, "database": database})
    if isinstance(point, Partial):
        return replace(point, point=told)
    return Partial(point, lambda path: True, told)


def tables_in_toc(tables: Sequence[str]) -> tuple[str, ...]:
    """`public.tenants` and `"Sales"."Order"` as the table of contents spells them: schema and name, without quotes. A
    name without a schema is of `public`."""
    found: list[str] = []
    for table in tables:
        parts = [
            quoted.replace('""', '"') if quoted else bare.lower()
            for quoted, bare in re.findall(r'"((?:[^"]|"")+)"|([^".]+)', table)
        ]
        found.append(" ".join(parts if len(parts) > 1 else ["public", *parts]))
    return tuple(found)


def databases(point: PointReader) -> Mapping[str, set[int]]:
    """By name: the numbers of every row of pg_database that its pages hold."""
    found: dict[str, set[int]] = {}
    try:
        mapping = b"".join(point.read("data/global/pg_filenode.map"))
        file = f"data/global/{_mapped(mapping, _PG_DATABASE)}"
        if point.entry(file) is None:
            return {}
        pages = b"".join(point.read(file))
    except (KeyError, struct.error, ValueError):
        return {}
    for start in range(0, len(pages) - _PAGE + 1, _PAGE):
        for number, name in _rows(pages[start : start + _PAGE]):
            found.setdefault(name, set()).add(number)
    return found


def _mapped(content: bytes, relation: int) -> int:
    """relmapper.c: magic, how many, then pairs of relation and file."""
    _, many = struct.unpack_from("<ii", content, 0)
    pairs = dict(struct.unpack_from("<II", content, 8 + 8 * number) for number in range(min(many, 64)))
    return int(pairs[relation])


def _rows(page: bytes) -> Iterator[tuple[int, str]]:
    """bufpage.h and htup_details.h: line pointers of used rows; oid and datname are the first two columns since 12."""
    lower = struct.unpack_from("<H", page, 12)[0]
    for at in range(24, min(lower, _PAGE), 4):
        pointer = struct.unpack_from("<I", page, at)[0]
        start, used, length = pointer & 0x7FFF, pointer >> 15 & 3, pointer >> 17
        if used != 1 or length < 24 + 68 or start + length > _PAGE:
            continue
        header = page[start + 22]
        number = struct.unpack_from("<I", page, start + header)[0]
        name = page[start + header + 4 : start + header + 68].split(b"\0")[0]
        yield number, name.decode("utf-8", "replace")


def _files_of(point: PointReader, tables: Sequence[str], scratch: Path) -> set[str]:
    """Paths of the rows of these tables. `tables`: as the table of contents has them, `schema name`."""
    toc = scratch / "toc.dat"
    toc.write_bytes(b"".join(point.read("dump/toc.dat")))
    try:
        said = run(Command((newest_here(None).path("pg_restore"), "--list", str(scratch)), _LIST, keep_bytes=1 << 28))
    finally:
        toc.unlink()
    found: set[str] = set()
    for line in said.text.splitlines():
        entry = _TABLE_DATA.match(line)
        if entry and any(entry[2].startswith(f"{table} ") for table in tables):
            found.add(f"dump/{entry[1]}.dat")
    return found
