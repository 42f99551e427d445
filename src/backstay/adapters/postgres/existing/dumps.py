"""What pg_dump and pg_dumpall wrote: which format it is, whether it is whole, and how it becomes a database.

The format is told by the content, never by the name: `PGDMP` begins a custom dump and the `toc.dat` of a directory, a
tar has `ustar` in its first header, everything else must call itself a dump in its first lines. A dump has no checksums
of its own. That it is whole is shown by reading it: archives through pg_restore into nothing, which unpacks every
block; the files of an uncompressed directory each by their last line too, for a table that was cut between two rows
restores without a word; plain SQL by its last line. A file `<dump>.sha256` beside it is compared.
"""

import glob
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

from backstay.adapters.postgres.existing.scripts import Playing, Script, examine
from backstay.adapters.postgres.programs import Programs, newest_here
from backstay.adapters.postgres.rebuild import Rebuild
from backstay.adapters.postgres.said import Said, failed, passed
from backstay.adapters.postgres.words import Line, shown
from backstay.errors import (
    AccessDenied,
    Damaged,
    NoSuchPoint,
    NotSupported,
    ToolFailed,
    ToolMissing,
)
from backstay.facts import Point
from backstay.plan import PgDump
from backstay.ports import Clock, Progress, Stored
from backstay.processes import Command, run
from backstay.values import ComponentName, Digest, LineageId, PointId, say_size

_LIST = timedelta(minutes=10)
_READ = timedelta(minutes=10)
_SLOWEST_BYTES = 1 << 20
"""A second."""
_LARGEST_LIST = 256 << 20
_MOST_ROLES = 16 << 20
_HEAD = re.compile(r";\s+(?P<key>[A-Za-z_ ]+): (?P<value>\S.*)\Z")
_ENTRY = re.compile(
    r"\d+; \d+ \d+ (TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|FOREIGN TABLE) (?!DATA |ATTACH |OWNED BY |SET )\S"
)
_KINDS = {"TABLE": "tables", "VIEW": "views", "MATERIALIZED VIEW": "materialized views", "SEQUENCE": "sequences",
          "FOREIGN TABLE": "foreign tables"}  # fmt: skip
_MADE = re.compile(r"CREATE DATABASE .* WITH TEMPLATE = template0(?P<rest>.*);")
_SETTING = re.compile(r"(ENCODING|LOCALE|LC_COLLATE|LC_CTYPE|LOCALE_PROVIDER|ICU_LOCALE|BUILTIN_LOCALE) = '?([^' ]+)'?")


class Format(Enum):
    CUSTOM = "custom"
    DIRECTORY = "directory"
    TAR = "tar"
    PLAIN = "plain SQL"


def format_of(path: Path) -> Format:
    """By its content. Raises Damaged for what is no dump, AccessDenied."""
    try:
        if path.is_dir():
            with (path / "toc.dat").open("rb") as file:
                if file.read(5) == b"PGDMP":
                    return Format.DIRECTORY
            raise Damaged(f"{path.name} is no dump", detail="its toc.dat does not begin like one")
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is no dump", detail="the folder has no toc.dat, pg_dump's last file") from None
    except OSError as error:
        raise AccessDenied(f"{path} cannot be read", detail=error.strerror or "") from None
    if not head:
        raise Damaged(f"{path.name} is empty", detail="a redirected pg_dump that failed leaves such a file")
    if head.startswith(b"PGDMP"):
        return Format.CUSTOM
    if head[257:262] == b"ustar":
        return Format.TAR
    return Format.PLAIN


@dataclass(frozen=True, slots=True)
class Dumps:
    """What the plan's `pg_dump` names."""

    settings: PgDump

    @property
    def name(self) -> str:
        return f"pg_dump:{Path(self.settings.where).name}"

    def points(self, component: ComponentName) -> list[Point]:
        """Each file or folder that fits, oldest first; nothing of them is read yet. Raises NoSuchPoint."""
        found = [Path(name) for name in glob.glob(self.settings.where)]  # noqa: PTH207 - an absolute pattern
        if not found:
            raise NoSuchPoint(f"there is no dump at {self.settings.where}", hint="name a file, a folder, or a pattern")
        return sorted((_point(path, component) for path in found if not path.name.endswith(".sha256")),
                      key=lambda point: (point.began, point.id))  # fmt: skip

    def open(self, point: Point, database: str, progress: Progress) -> "DumpPoint":
        """Look into it. Raises Damaged, ToolMissing, AccessDenied."""
        path = Path(point.about["path"])
        kind = format_of(path)
        script = _read(path, progress) if kind is Format.PLAIN else None
        about = _of_script(script, database) if script is not None else _of_archive(path)
        about |= {"format": kind.value, "path": str(path)}
        roles = Path(self.settings.roles) if self.settings.roles else None
        return DumpPoint(_described(point, about), path, kind, script, roles)


def _point(path: Path, component: ComponentName) -> Point:
    """Its identity is what the file system says of it: a dump that was written anew is another point."""
    try:
        seen = path / "toc.dat" if path.is_dir() else path
        found = seen.stat() if seen.exists() else path.stat()
        size = sum(one.stat().st_size for one in path.iterdir() if one.is_file()) if path.is_dir() else found.st_size
    except OSError as error:
        raise AccessDenied(f"{path} cannot be looked at", detail=error.strerror or "") from None
    moment = datetime.fromtimestamp(found.st_mtime, UTC)
    mark = hashlib.sha256(f"{path.resolve()}\n{size}\n{found.st_mtime_ns}".encode()).hexdigest()[:8]
    return Point(
        id=PointId(f"pg_dump-{moment:%Y%m%dT%H%M%SZ}-{mark}"),
        component=component,
        lineage=LineageId("pg_dump"),
        parent=None,
        way="pg_dump",
        began=moment,
        ended=moment,
        newest=None,
        newest_source="when the dump was written",
        size_bytes=size,
        stored_bytes=size,
        files=1,
        plan=Digest(""),
        writer="pg_dump",
        about={"path": str(path)},
    )


def _described(point: Point, about: Mapping[str, str]) -> Point:
    began = point.began
    with suppress(ValueError, KeyError):
        began = min(began, datetime.fromisoformat(about["created"]).replace(tzinfo=UTC))
    return replace(point, about=dict(about), began=began, writer=f"pg_dump {about.get('dumped_by', '')}".strip())


# ── looking into it ──────────────────────────────────────────────────────────────────────────────


def _read(path: Path, progress: Progress) -> Script:
    try:
        return examine(path, progress)
    except (OSError, EOFError) as error:
        if isinstance(error, PermissionError):
            raise AccessDenied(f"{path} cannot be read", detail=error.strerror or "") from None
        return Script(broken=f"it cannot be unpacked to its end: {error}"[:200])
    except Exception as error:  # noqa: BLE001 - zlib.error, zstandard.ZstdError: an archive that breaks off
        return Script(broken=f"it cannot be unpacked to its end: {type(error).__name__}")


def _of_script(script: Script, database: str) -> dict[str, str]:
    from_database = script.majors.get("from database", 0) or newest_here(None).major
    named = [name for name in script.databases if name not in ("postgres", "template1")]
    if database in script.databases or not named:
        chosen = database
    else:
        chosen = named[0]
    return {
        "database": chosen or "restored",
        "server_version_num": f"{from_database}0000",
        "dumped_by": str(script.majors.get("by pg_dump", from_database)),
        "listed": json.dumps(script.listed),
        "makes": "yes" if chosen in script.databases else "",
    }


def _of_archive(path: Path) -> dict[str, str]:
    """What pg_restore lists. Raises Damaged, ToolMissing for one that a newer pg_dump wrote."""
    programs = newest_here(None)
    program = programs.path("pg_restore")
    text = _asked(program, programs.major, "--list", str(path))
    head = dict[str, str]()
    listed = dict[str, int]()
    entries: list[str] = []
    for line in text.splitlines():
        if found := _HEAD.match(line):
            head.setdefault(found["key"], found["value"])
        elif found := _ENTRY.match(line):
            listed[_KINDS[found[1]]] = listed.get(_KINDS[found[1]], 0) + 1
        if " DATABASE - " in line:
            entries.append(line)
    try:
        major = int(re.split(r"\D", head["Dumped from database version"])[0])
        by = int(re.split(r"\D", head["Dumped by pg_dump version"])[0])
    except (KeyError, ValueError):
        raise Damaged(f"{path.name} does not say which version it is of") from None
    created = re.search(r"; Archive created at (\S+ \S+)(?: (\S+))?", text)
    return {
        "database": head.get("dbname", "restored"),
        "server_version_num": f"{major}0000",
        "dumped_by": str(by),
        "listed": json.dumps(listed),
        # Written in the zone of whoever wrote it; only UTC is sure.
        "created": created[1] if created and created[2] in ("UTC", "GMT") else "",
        **_locale(program, programs.major, path),
    }


def _locale(program: str, major: int, path: Path) -> dict[str, str]:
    text = _asked(program, major, "--create", "--schema-only", "--schema=no such schema", "--file=-", str(path))
    found = _MADE.search(text)
    told = dict(_SETTING.findall(found["rest"])) if found else {}
    provider = {"libc": "c", "icu": "i", "builtin": "b"}.get(told.get("LOCALE_PROVIDER", "libc"), "c")
    both = told.get("LOCALE", "C")
    return {
        "encoding": told.get("ENCODING", "UTF8"),
        "collate": told.get("LC_COLLATE", both),
        "ctype": told.get("LC_CTYPE", both),
        "locale_provider": provider,
        "locale": told.get("ICU_LOCALE") or told.get("BUILTIN_LOCALE") or "",
    }


def _asked(program: str, major: int, *words: str) -> str:
    try:
        return run(Command((program, *words), _LIST, keep_bytes=_LARGEST_LIST)).text
    except ToolFailed as error:
        if "unsupported version" in error.detail:
            raise ToolMissing(
                f"a newer pg_dump wrote this dump than the pg_restore of PostgreSQL {major}, the newest here, can read",
                detail=shown(error.detail),
                hint="install the programs of its version",
            ) from None
        raise Damaged("pg_restore cannot read this dump", detail=shown(error.detail.splitlines()[0])) from None


# ── one dump ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class DumpPoint:
    """One dump, as a PointReader that pg_restore or psql reads where it lies."""

    point: Point
    path: Path
    kind: Format
    script: Script | None
    roles: Path | None

    def entries(self, under: str = "") -> Iterator[Stored]:
        return iter(())

    def entry(self, path: str) -> Stored | None:
        return None

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        raise _by_itself(self.point)

    def extract(self, to: Path, **_: object) -> None:
        raise _by_itself(self.point)

    def check_bytes(self, progress: Progress) -> Said:
        beside = self.path.with_name(f"{self.path.name}.sha256")
        wrong = self._broken(progress)
        if wrong:
            return failed(wrong)
        said = f"{self.kind.value} dump, {say_size(self.point.size_bytes)}, read to its end; it says that it is whole"
        if not self.path.is_dir() and beside.is_file():
            if (why := _differs(self.path, beside, progress)) is not None:
                return failed(why)
            return passed(f"{said}; its bytes are those of {beside.name}")
        return passed(f"{said}; a dump has no checksums to compare with")

    def refuse_broken(self) -> None:
        """What would be restored without a word, or never end. Raises Damaged."""
        if wrong := self._cut():
            raise Damaged(f"{self.path.name} is not whole", detail=wrong, hint="choose another dump")

    def _cut(self) -> str:
        """As far as a look at the ends tells."""
        if self.script is not None:
            return self.script.broken
        if self.kind is Format.TAR:
            return _cut_tar(self.path)
        return _cut_table(self.path) if self.kind is Format.DIRECTORY else ""

    def _broken(self, progress: Progress) -> str:
        if (wrong := self._cut()) or self.script is not None:
            return wrong
        progress(0, None, "reading the dump")
        longest = _READ + timedelta(seconds=self.point.size_bytes / _SLOWEST_BYTES)
        try:
            program = newest_here(None).path("pg_restore")
            run(Command((program, "--file=/dev/null", str(self.path)), longest))
        except ToolFailed as error:
            return f"pg_restore cannot read it to its end: {shown(error.detail.partition(chr(10))[0])}"
        return ""

    def sql_of_roles(self) -> bytes:
        if self.roles is None:
            return b""
        try:
            with self.roles.open("rb") as file:
                sql = file.read(_MOST_ROLES + 1)
        except OSError as error:
            raise AccessDenied(f"the file of roles {self.roles} cannot be read", detail=error.strerror or "") from None
        if len(sql) > _MOST_ROLES:
            raise NotSupported(f"the file of roles {self.roles.name} is larger than {say_size(_MOST_ROLES)}")
        return sql

    def roles_for_a_new_server(self) -> bytes:
        """Every cluster has its first superuser, mostly `postgres`, and no dump of one database makes it."""
        sql = self.sql_of_roles()
        if sql or (self.script is not None and self.script.everything):
            return sql
        return b"CREATE ROLE postgres SUPERUSER LOGIN;\n"

    def rebuilding(
        self, tools: Programs, clock: Clock, reached: tuple[Mapping[str, str], Mapping[str, str]],
        scratch: Path, stop: Callable[[], bool] = lambda: False,
    ) -> "Rebuild":  # fmt: skip
        """`reached`: environment and secret environment that lead to the server."""
        env, secret = reached
        if self.script is None:
            jobs = 1 if self.kind is Format.TAR else 2
            return Rebuild(tools, clock, self.path, env, secret, stop, scratch=scratch, jobs=jobs)
        return _Script(tools, clock, self.path, env, secret, stop, scratch=scratch, point=self)


@dataclass(slots=True)
class _Script(Rebuild):
    """Plain SQL, where pg_restore reads the others."""

    point: DumpPoint | None = None

    def restore(self, dbname: str) -> list[Line]:
        assert self.point is not None
        about = self.point.point.about
        playing = Playing(self.programs, self.dump, self.env, self.secrets, self.stop)
        # In a sandbox all of it is played, from the database for administration on.
        if about["makes"] and dbname != "postgres":
            playing.only, playing.instead = about["database"], dbname
        return playing.run(dbname)

    def of_the_database(self) -> list[str]:
        return []


def _by_itself(point: Point) -> NotSupported:
    return NotSupported(
        f"{point.id} is a dump that lies where it was written: {point.about.get('path', '')}",
        hint="copy it, or use pg_restore or psql; `backstay recover` and `backstay verify` use them",
    )


def _differs(path: Path, beside: Path, progress: Progress) -> str | None:
    words = beside.read_text("utf-8", "replace")[:200].split()
    expected = words[0].lower() if words else ""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while part := file.read(4 << 20):
            digest.update(part)
            done += len(part)
            progress(done, path.stat().st_size, "comparing with its checksum")
    return None if digest.hexdigest() == expected else f"its bytes are not those that {beside.name} is of"


def _cut_tar(path: Path) -> str:
    """pg_restore lists such a tar, and then looks for its end for ever (seen with 15 and 18)."""
    try:
        with tarfile.open(path, "r:") as tar:
            names = [member.name for member in tar]
    except (tarfile.TarError, OSError) as error:
        return f"its tar breaks off: {str(error)[:100]}"
    return "" if "toc.dat" in names else "its tar has no toc.dat"


def _cut_table(folder: Path) -> str:
    """An uncompressed table that ends between two rows restores without a word. Ends of rows: `\\.` of COPY, `;` of
    INSERT."""
    for path in sorted(folder.glob("[0-9]*.dat")):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64))
            end = file.read()
        if not size or (end.strip() and not end.rstrip().endswith((b"\\.", b";"))):
            return f"the rows of one table break off: {path.name} does not end as pg_dump ends it"
    return ""
