r"""Whether each file of a dump was written to its end. A dump that was cut short restores without a complaint.

In a dump of the directory format the rows of each table are a file of COPY text, and pg_dump ends it with the line
`\.` and two empty ones (dumpTableData_copy in pg_dump.c). pg_restore does not look for that line: at the end of the
file it ends the COPY, and exits with 0. So a file without it lost rows, and nobody else would notice. The same holds
for a plain dump (`-- PostgreSQL database dump complete` is its last comment), which psql runs as far as it goes.
"""

from collections.abc import Iterator
from pathlib import Path

from backstay.adapters.postgres.said import Said, failed, passed, unknown
from backstay.values import count, listed

END = b"\\.\n"
PLAIN_END = b"PostgreSQL database dump complete"
_TAIL = 4096


def dump_ends(folder: Path) -> Said:
    """Of a dump in the directory format, uncompressed. A compressed file is not looked into here: its own checksum is
    looked at by pg_restore, which then ends badly."""
    cut, whole, others = list[str](), 0, 0
    for path in _tables(folder):
        if path.suffix != ".dat":
            others += 1
        elif _tail(path).rstrip(b"\n").endswith(END.rstrip(b"\n")):
            whole += 1
        else:
            cut.append(path.name)
    if cut:
        shown = f"{listed(cut[:3])}{' and others' if len(cut) > 3 else ''}"
        said = f"{count(len(cut), 'table')} cut short ({shown}): rows are missing, and pg_restore does not notice"
        return failed(said)
    if others and not whole:
        return unknown(f"{count(others, 'table')} dumped compressed: only pg_restore itself looked at the ends")
    return passed(
        f"{count(whole + others, 'table')}, each dumped to its end" if whole + others else "no table has rows"
    )


def plain_ends(path: Path) -> Said:
    """Of a plain dump (SQL text)."""
    if PLAIN_END in _tail(path):
        return passed("the dump has its last line")
    return failed("the dump has no last line (PostgreSQL database dump complete): it was cut short")


def _tables(folder: Path) -> Iterator[Path]:
    """Files of table rows: `3364.dat`, `3364.dat.gz`. Large objects (`blob_16400.dat`) are as long as they are."""
    for path in sorted(folder.iterdir()):
        number, _, rest = path.name.partition(".")
        if number.isdigit() and rest.startswith("dat"):
            yield path


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read()
