"""Plain SQL of pg_dump and pg_dumpall: read to its end, and run by a psql that may run nothing else.

A script is a stranger's. Whatever psql itself could do with it (`\\!` runs a program, `\\o` writes a file) is forbidden
by psql's own `\\restrict`, under a key that the script cannot know (CVE-2025-8714 is why it exists); the few commands
that pg_dump writes (`\\connect`, `\\restrict`, `\\unrestrict`) are taken out here, and `\\connect` becomes a new psql
with the database that we choose. What SQL can do to a server, it can still do: hence the sandbox.

A script that breaks off is run by psql without a word, even in the middle of a table, and psql exits 0. So it is read
to its end first: pg_dump's last line says that it is complete.
"""

import gzip
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from backstay.adapters.postgres.programs import Programs
from backstay.adapters.postgres.restricted import ITS_OWN, need_restricted, restriction
from backstay.adapters.postgres.tools import Lines
from backstay.adapters.postgres.words import Line, Meaning, classified, reason
from backstay.errors import Cancelled, ToolFailed
from backstay.ports import Progress
from backstay.processes import Command, start
from backstay.values import count

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 20
_COPY = re.compile(rb"COPY .* FROM stdin;\s*\Z")
_CONNECT = re.compile(
    rb"""\\connect\s+(?:-reuse-previous=on\s+"dbname='(?P<words>(?:[^'\\]|\\.)*)'"|"(?P<quoted>(?:[^"]|"")+)"|(?P<bare>\S+))"""
)
_DROP = re.compile(rb"DROP |ALTER .* DROP ")
_VERSION = re.compile(rb"-- Dumped (?P<what>from database|by pg_dump) version (?P<major>\d+)")
_MADE = re.compile(rb"CREATE (?:UNLOGGED )?(TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|FOREIGN TABLE) ")
_KINDS = {b"TABLE": "tables", b"VIEW": "views", b"MATERIALIZED VIEW": "materialized views", b"SEQUENCE": "sequences",
          b"FOREIGN TABLE": "foreign tables"}  # fmt: skip
_AT_LINE = re.compile(r"psql:<stdin>:(\d+): ERROR: .*does not exist")
_MOST_LINES = 2000


def opened(path: Path) -> IO[bytes]:
    """The script, unpacked. What is no whole archive of gzip or zstd raises while it is read."""
    with path.open("rb") as file:
        start_of_it = file.read(4)
    if start_of_it.startswith(GZIP):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if start_of_it == ZSTD:
        import zstandard

        source = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
        return io.BufferedReader(cast("io.RawIOBase", source), _PIECE)
    return path.open("rb")


@dataclass
class Script:
    """What one reading to the end has told."""

    majors: dict[str, int] = field(default_factory=dict[str, int])
    """`from database` and `by pg_dump`: the highest that is named."""
    databases: list[str] = field(default_factory=list[str])
    """Those that it connects to, in order."""
    listed: dict[str, int] = field(default_factory=dict[str, int])
    """How many of each kind it makes."""
    everything: bool = False
    """Of pg_dumpall: roles, and several databases."""
    broken: str = ""
    """Why it is not whole; empty: it says itself that it is."""


def examine(path: Path, progress: Progress) -> Script:
    """Read all of it. Raises OSError, EOFError and others for an archive that breaks off."""
    found, copying, began, complete, done = Script(), b"", 0, 0, 0
    with opened(path) as file:
        for line, whole in lines(file):
            done += len(line)
            if done % (64 << 20) < len(line):
                progress(done, None, "reading the dump")
            if not whole:
                continue
            if copying:
                copying = b"" if line.rstrip(b"\r\n") == b"\\." else copying
            elif line.startswith(b"COPY ") and _COPY.match(line):
                copying = line
            elif line.startswith(b"-- "):
                began += line.startswith((b"-- PostgreSQL database dump\n", b"-- PostgreSQL database cluster dump\n"))
                complete += line.startswith(
                    (b"-- PostgreSQL database dump complete", b"-- PostgreSQL database cluster dump complete")
                )
                found.everything |= line.startswith(b"-- PostgreSQL database cluster dump")
                if version := _VERSION.match(line):
                    what, major = version["what"].decode(), int(version["major"][:4])
                    found.majors[what] = max(found.majors.get(what, 0), major)
            elif line.startswith(b"CREATE ") and (made := _MADE.match(line)):
                kind = _KINDS[made[1]]
                found.listed[kind] = found.listed.get(kind, 0) + 1
            elif line.startswith(b"\\connect") and (name := connected(line)) is not None:
                found.databases.append(name)
    if copying:
        table = copying.decode("utf-8", "replace").split()[1][:80]
        found.broken = f"it breaks off among the rows of {table}"
    elif not began:
        found.broken = "nothing in it says that pg_dump wrote it"
    elif complete < began:
        found.broken = "it breaks off: its last line (“PostgreSQL database dump complete”) is not there"
    return found


def lines(file: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Lines, a very long one in pieces; and whether it is a line from its beginning to its end."""
    whole = True
    while line := file.readline(_PIECE):
        ends = line.endswith(b"\n")
        yield line, whole and (ends or len(line) < _PIECE)
        whole = ends


def connected(line: bytes) -> str | None:
    found = _CONNECT.match(line)
    if found is None:
        return None
    if found["quoted"] is not None:
        return found["quoted"].decode("utf-8", "replace").replace('""', '"')
    if found["words"] is not None:
        return re.sub(r"\\(.)", r"\1", found["words"].decode("utf-8", "replace"))
    return found["bare"].decode("utf-8", "replace")


# ── running ──────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Playing:
    """One script on one server."""

    programs: Programs
    path: Path
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    stop: Callable[[], bool] = lambda: False
    only: str | None = None
    """Of what follows a `\\connect`, only what belongs to this database, and nothing before it."""
    instead: str | None = None
    """The database that stands for `only`."""
    _expected: set[int] = field(default_factory=set[int])
    _next: str | None = None

    def run(self, dbname: str) -> list[Line]:
        """All of it, from `dbname` on. Every line of errors, with its meaning. Raises ToolFailed, Cancelled."""
        need_restricted(self.programs)
        found: list[Line] = []
        self._next = dbname
        with opened(self.path) as file:
            reading, begun = lines(file), False
            while (name := self._next) is not None:
                self._next, self._expected = None, set()
                if self.only is not None and not (begun and name == self.only):
                    begun = True
                    for _ in self._part(reading):
                        pass
                    continue
                begun = True
                found += self._phase(self.instead if name == self.only and self.instead else name, reading)
        return found

    def _phase(self, dbname: str, reading: Iterator[tuple[bytes, bool]]) -> list[Line]:
        said = Lines(_MOST_LINES)
        argv = (self.programs.path("psql"), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=0", "-o", "/dev/null", "-f", "-")
        # 2: the connection was refused or lost; which it was, its lines say.
        command = Command(
            argv, None, env={**self.env, "PGDATABASE": dbname}, secrets=self.secrets, accept=frozenset({0, 2})
        )
        part = self._part(reading)
        with start(command, stdin="pipe", stderr=said.add, stop=self.stop) as running:
            running.feed(part)
            for _ in part:  # psql gave up before the end of its part: the rest is nobody else's
                pass
            try:
                running.wait()
            except ToolFailed as error:
                raise reason(error, "psql") from None
        kept = [line for line in said.all() if not self._is_expected(line)]
        return [line for line in classified(kept) if line.meaning is not Meaning.HARMLESS]

    def _part(self, reading: Iterator[tuple[bytes, bool]]) -> Iterator[bytes]:
        yield restriction()
        number, copying = 1, False
        for line, whole in reading:
            if self.stop():
                raise Cancelled("stopped while a dump was being restored")
            if whole and not copying and line.startswith(b"\\"):
                if (name := connected(line)) is not None:
                    self._next = name
                    return
                line = b"\n" if ITS_OWN.match(line) else line
            elif whole and copying:
                copying = line.rstrip(b"\r\n") != b"\\."
            elif whole and line.startswith(b"COPY "):
                copying = _COPY.match(line) is not None
            number += line.endswith(b"\n")
            if whole and _DROP.match(line):
                self._expected.add(number)
            yield line

    def _is_expected(self, line: str) -> bool:
        """`--clean` drops what a new database does not have yet."""
        found = _AT_LINE.match(line)
        return found is not None and int(found[1]) in self._expected


def missing(listed: Mapping[str, int], here: Mapping[str, int]) -> list[str]:
    """What a dump makes more of than there is."""
    return [
        f"{count(here.get(kind, 0), kind.removesuffix('s'))} of {number}"
        for kind, number in sorted(listed.items())
        if here.get(kind, 0) < number
    ]
