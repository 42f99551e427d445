"""PostgreSQL's own judges of a restored server: pg_amcheck, pg_checksums, pg_verifybackup.

Each is judged by its exit status *and* by what it wrote: pg_amcheck ends well after a warning that it left out a
database. None of what they write holds a row: they name relations, blocks and files.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.layout import MARK
from backstay.adapters.postgres.programs import Programs
from backstay.adapters.postgres.said import Said, failed, passed, unknown
from backstay.adapters.postgres.words import classified, worst
from backstay.errors import ToolFailed, ToolMissing
from backstay.processes import Command, run
from backstay.values import count, listed

_LONG = timedelta(hours=12)
_MOST_SHOWN = 300
_NOT_OURS = re.compile(r"could not (?:access|load|open) (?:file|library|extension)|is not available|does not exist")


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
                self.kept.append("".join(c for c in line.decode("utf-8", "replace") if c.isprintable() or c == "\t"))

    def all(self) -> list[str]:
        """With a last line that has no end."""
        if self._rest:
            self.add(b"\n")
        return self.kept


def amcheck(
    programs: Programs, address: Mapping[str, str], dbname: str, *, full: bool, tables: Sequence[str] | None = None
) -> Said:
    """pg_amcheck on every table and B-tree of every database; with `full`, each row is looked for in its indexes.
    `tables`: only on these of the one database (quoted names), with their indexes."""
    if not programs.has("pg_amcheck"):
        raise ToolMissing(f"there is no pg_amcheck in {programs.folder}")
    if tables is not None and not tables:
        return passed("there is no table to look at")
    argv = [programs.path("pg_amcheck"), f"--maintenance-db={dbname}", "--install-missing", "--jobs=2"]
    argv += ["--heapallindexed"] if full else []
    argv += ["--all"] if tables is None else [f"--database={_exactly(dbname)}", *(f"--table={name}" for name in tables)]
    out, said = Lines(), Lines()
    try:
        done = run(Command((*argv,), _LONG, env=address, accept=frozenset({0, 2})), stdout=out.add, stderr=said.add)
    except ToolFailed as error:
        return unknown(f"pg_amcheck could not run: {error.detail.splitlines()[-1] if error.detail else error.message}")
    if done.status == 0:
        # What it leaves out, it says on its errors, and ends well all the same.
        if (odd := worst(classified(said.all()))) is not None:
            return unknown(f"pg_amcheck left something out: {_shown([line.text for line in odd[1]])}")
        how = "every row is in its indexes" if full else "rows were not looked for in their indexes"
        where = (
            "in any database" if tables is None else f"in {count(len(tables), 'table')} (a sample) and their indexes"
        )
        return passed(f"pg_amcheck found nothing {where}; {how}")
    lines = out.all() or said.all()
    # It names the relation on one line, and what is wrong with it on the next, which is set in.
    complaints = [line for line in lines if "ERROR" in line or line[:1].isspace()] or lines
    if all(_NOT_OURS.search(line) for line in complaints):
        return unknown(f"pg_amcheck needs what is not installed here: {complaints[0].strip()[:200]}")
    return failed(f"pg_amcheck: {_shown([line.strip() for line in lines[:2]], ' ')}")


def _exactly(name: str) -> str:
    """As a pattern that means this name and no other (psql's patterns)."""
    return '"' + name.replace('"', '""') + '"'


def checksums(programs: Programs, data: Path) -> Said:
    """pg_checksums on a server that was stopped in order: before recovery, torn pages are no defect."""
    said = Lines()
    command = Command((programs.path("pg_checksums"), "--check", "-D", str(data)), _LONG, keep_bytes=1 << 20)
    try:
        done = run(command, stderr=said.add)
    except ToolFailed as error:
        return failed(f"pg_checksums: {_shown(said.all() or error.detail.splitlines())}")
    if (odd := worst(classified(said.all()))) is not None:
        return unknown(f"pg_checksums: {_shown([line.text for line in odd[1]])}")
    scanned = [line.rpartition(":")[2].strip() for line in done.text.splitlines() if line.startswith("Blocks scanned")]
    pages = count(int(scanned[0]), "page") if scanned and scanned[0].isdigit() else "pages not counted"
    return passed(f"every page has the checksum that it should have ({pages})")


def verifybackup(programs: Programs, data: Path, manifest: Path) -> Said:
    """pg_verifybackup: every file of the server's own manifest is there, has its size and its checksum. Before recovery
    begins; WAL is not its matter here (`--no-parse-wal`), because it is replayed next."""
    said = Lines()
    # What laying down replaces or makes; WAL, which pg_verifybackup would look for where it is not; and what a server
    # that was restored, or was a standby, sends of its past, and no point holds.
    not_there = ("pg_wal", "recovery.signal", "postgresql.auto.conf", "global/pg_control", "tablespace_map",
                 "standby.signal", "backup_label.old", "tablespace_map.old", MARK)  # fmt: skip
    ignored = (f"--ignore={name}" for name in not_there)
    argv = (
        programs.path("pg_verifybackup"), "--no-parse-wal", "--quiet", f"--manifest-path={manifest}", *ignored,
        str(data),
    )  # fmt: skip
    try:
        run(Command(argv, _LONG), stderr=said.add)
    except ToolFailed as error:
        return failed(f"pg_verifybackup: {_shown(said.all() or error.detail.splitlines())}")
    if (odd := worst(classified(said.all()))) is not None:
        return unknown(f"pg_verifybackup: {_shown([line.text for line in odd[1]])}")
    return passed("every file of the server's manifest is there, with its size and its checksum")


def _shown(lines: Sequence[str], between: str = "; ") -> str:
    return between.join(" ".join(line.split()) for line in lines[:3])[:_MOST_SHOWN] or "it said nothing"


def quoted(names: Sequence[tuple[str, str]]) -> list[str]:
    """Schema and table, as patterns for pg_amcheck."""
    return [f"{_exactly(schema)}.{_exactly(table)}" for schema, table in names]


def named(names: Sequence[str], most: int = 5) -> str:
    """`a, b and others`."""
    return f"{listed(names[:most])}{' and others' if len(names) > most else ''}"
