"""What a server says of itself before a point is taken, and whether a sound point can be taken at all."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import assert_never

import psycopg

from backstay.adapters.postgres.layout import Tablespace
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.session import Connection, one, rows, spoken
from backstay.errors import BackstayError, SourceUnsuitable
from backstay.plan import PostgresWay

STREAM_SINCE = 15
"""Since then one COPY carries everything, with the kind of each message in its first byte."""

_DATABASE = """
SELECT d.datname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, pg_get_userbyid(d.datdba), to_jsonb(d)
FROM pg_database d WHERE d.datname = current_database()
"""

_SETTINGS = (
    "server_version",
    "server_version_num",
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "full_page_writes",
    "fsync",
    "wal_level",
    "data_checksums",
    "port",
    "max_replication_slots",
    "shared_preload_libraries",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
    "summarize_wal",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One answer of a server about itself."""

    settings: Mapping[str, str]
    system: int
    standby: bool
    database: str
    superuser: str
    block_bytes: int
    segment_bytes: int
    locale: Mapping[str, str]
    tablespaces: tuple[Tablespace, ...]

    @property
    def data(self) -> Path:
        return Path(self.settings["data_directory"])

    @property
    def major(self) -> int:
        return int(self.settings["server_version_num"]) // 10000

    def holds(self, path: str) -> bool:
        """Whether a path of the server's lies in its data directory, by its name alone: it may be another machine."""
        return PurePosixPath(path).is_relative_to(PurePosixPath(self.settings["data_directory"]))

    def about(self) -> dict[str, str]:
        """Notes for the point."""
        kept = ("server_version", "server_version_num", "port", "config_file", "hba_file", "ident_file",
                "shared_preload_libraries")  # fmt: skip
        return {
            **{key: self.settings.get(key, "") for key in kept},
            "system": str(self.system),
            "data": self.settings.get("data_directory", ""),
            "checksums": self.settings.get("data_checksums", ""),
            "max_replication_slots": self.settings.get("max_replication_slots", "10"),
            "superuser": self.superuser,
            "database": self.database,
            "block_bytes": str(self.block_bytes),
            "wal_segment_bytes": str(self.segment_bytes),
            **self.locale,
        }


def examine(connection: Connection) -> Source:
    """Ask. What a role without rights may not see is left empty."""
    found = {str(name): str(value) for name, value in rows(
        connection, "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", list(_SETTINGS)
    )}  # fmt: skip
    name, encoding, collate, ctype, owner, record = one(connection, _DATABASE)
    row: dict[str, object] = record
    locale = {
        "encoding": str(encoding),
        "collate": str(collate),
        "ctype": str(ctype),
        "database_owner": str(owner),
        "locale_provider": str(row.get("datlocprovider") or "c"),
        "locale": str(row.get("datlocale") or row.get("daticulocale") or ""),
        "collation_version": str(row.get("datcollversion") or ""),
    }
    block, segment = one(connection, "SELECT database_block_size, bytes_per_wal_segment FROM pg_control_init()")
    (system,) = one(connection, "SELECT system_identifier FROM pg_control_system()")
    (superuser,) = one(connection, "SELECT rolname FROM pg_roles WHERE oid = 10")
    (standby,) = one(connection, "SELECT pg_is_in_recovery()")
    return Source(
        settings=found,
        system=int(system) & 0xFFFFFFFFFFFFFFFF,
        standby=bool(standby),
        database=str(name),
        superuser=str(superuser),
        block_bytes=int(block),
        segment_bytes=int(segment),
        locale=locale,
        tablespaces=tablespaces(connection),
    )


def tablespaces(connection: Connection) -> tuple[Tablespace, ...]:
    """All but the two that are folders of the data directory."""
    found = rows(
        connection,
        "SELECT oid::bigint, pg_tablespace_location(oid), pg_tablespace_size(oid) FROM pg_tablespace"
        " WHERE oid NOT IN (1663, 1664) ORDER BY 1",
    )
    return tuple(Tablespace(int(oid), str(location), int(size or 0)) for oid, location, size in found)


# ── which way ────────────────────────────────────────────────────────────────────────────────────


def choose_way(place: PostgresPlace, connection: Connection) -> tuple[PostgresWay, str]:
    """`local` where the files are here, `stream` where the server sends them, else `logical`; with the reason, in one
    sentence."""
    match place.way:
        case PostgresWay.LOCAL | PostgresWay.LOGICAL:
            return place.way, f"the plan says `way: {place.way.value}`"
        case PostgresWay.STREAM:
            if (reason := why_not_stream(place, connection)) is not None:
                raise SourceUnsuitable(
                    "the server does not give a base backup", detail=reason, hint="use `way: auto`, local or logical"
                )
            return place.way, "the plan says `way: stream`"
        case PostgresWay.MANAGED:
            raise SourceUnsuitable(
                f"`way: {place.way.value}` is not there yet in this version",
                hint="use local, stream, logical or auto",
            )
        case PostgresWay.AUTO:
            reason = why_not_local(place, connection)
            if reason is None:
                return PostgresWay.LOCAL, "taken by reading the data directory: it is on this machine, and we may"
            nor = why_not_stream(place, connection)
            if nor is None:
                return PostgresWay.STREAM, f"taken by replication, because {reason}"
            both = reason if reason == nor else f"{reason}, and {nor}"
            return PostgresWay.LOGICAL, f"taken as a logical dump of one database, because {both}"
        case _:
            assert_never(place.way)


def _why_no_files(connection: Connection) -> str | None:
    """What makes every copy of the files unsound, whoever makes it."""
    if one(connection, "SELECT current_setting('wal_level')")[0] == "minimal":
        return "the server has wal_level = minimal"
    if one(connection, "SELECT current_setting('fsync')")[0] == "off":
        return "the server has fsync = off"
    return None


def why_not_local(place: PostgresPlace, connection: Connection) -> str | None:
    """None when nothing is in the way."""
    try:
        with spoken():
            if (reason := _why_no_files(connection)) is not None:
                return reason
            directory = rows(connection, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
            if not directory:
                return "the role may not ask where the data directory is (pg_read_all_settings)"
            start = "pg_backup_start(text,boolean)"
            if connection.info.server_version < 150000:
                start = "pg_start_backup(text,boolean,boolean)"
            if not one(connection, "SELECT has_function_privilege(%s, 'EXECUTE')", start)[0]:
                return f"the role may not call {start.partition('(')[0]}"
    except BackstayError as error:
        return f"the server does not say what is needed: {error.message}"
    data = place.data or Path(str(directory[0][0]))
    if not (data / "PG_VERSION").exists():
        return f"{data} is not on this machine, or may not be read"
    if not os.access(data / "global" / "pg_control", os.R_OK):
        return f"we may not read the files in {data}"
    return None


def why_not_stream(place: PostgresPlace, connection: Connection) -> str | None:
    """None when nothing is in the way: the server was asked, over the protocol itself."""
    from backstay.adapters.postgres.wire import replicating

    major = connection.info.server_version // 10000
    if major < STREAM_SINCE:
        return f"PostgreSQL {major} speaks an older protocol for base backups, which this version does not"
    try:
        with spoken():
            if (reason := _why_no_files(connection)) is not None:
                return reason
            if not one(connection, "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user")[0]:
                return "the role may not replicate (REPLICATION)"
            seen = "pg_has_role('pg_read_all_settings', 'USAGE') AND pg_has_role('pg_read_all_stats', 'USAGE')"
            if not one(connection, f"SELECT {seen}")[0]:
                return "the role may not see settings and sizes (pg_monitor)"
        with replicating(place.dsn) as line:
            line.command("IDENTIFY_SYSTEM")
    except BackstayError as error:
        return f"the server gives no replication connection ({error.detail or error.message})"
    return None


def refuse_unsuitable(source: Source) -> list[str]:
    """Settings with which no physical point is sound raise SourceUnsuitable; what is merely odd is returned."""
    if source.settings.get("wal_level") == "minimal":
        raise SourceUnsuitable(
            "the server writes too little WAL for a backup of its files (wal_level = minimal)",
            hint="set wal_level = replica and restart it, or set `way: logical`",
        )
    if source.settings.get("fsync") == "off":
        raise SourceUnsuitable(
            "the server runs with fsync = off: after a crash its files may be corrupt, and so may every point",
            hint="set fsync = on, or set `way: logical`",
        )
    for space in source.tablespaces:
        if not space.location.startswith("/") or source.holds(space.location):
            raise SourceUnsuitable(
                f"tablespace {space.oid} of this server cannot be backed up as files",
                detail=f"its location {space.location} is inside the data directory",
                hint="move it to a folder of its own outside the data directory, or set `way: logical`",
            )
    if source.settings.get("full_page_writes") == "off":
        return ["full_page_writes is off; PostgreSQL turns it on while a backup runs (manual, Continuous Archiving)"]
    return ["taken of a standby: it has what the primary had sent it"] if source.standby else []


def started_with(data: Path) -> tuple[str, ...]:
    """The words that the server on this data directory was started with, its program first; empty: not known."""
    try:
        line = (data / "postmaster.opts").read_text("utf-8", "replace")
        return tuple(shlex.split(line.strip()))
    except (OSError, ValueError):
        return ()


def options_of(words: tuple[str, ...] | list[str]) -> list[str]:
    """Without the program and without `-D`: what another start needs to be the same."""
    kept: list[str] = []
    following = iter(words[1:])
    for word in following:
        if word == "-D":
            next(following, None)
        elif not word.startswith("-D") and not word.startswith("--data-directory="):
            kept.append(word)
    return kept


_SECRET = re.compile(r"(?:-c\s*|--)?(?:primary[-_]conninfo|ssl[-_]passphrase[-_]command)\s*=", re.IGNORECASE)
"""Settings that may have a password in them. A restored server follows nobody: it misses none of them."""


def stored_words(words: tuple[str, ...]) -> str:
    """As a point and its facts keep them: without what may be a secret."""
    kept: list[str] = []
    for word in words:
        if not _SECRET.match(word):
            kept.append(word)
        elif kept and kept[-1] in ("-c", "--"):
            kept.pop()
    return json.dumps(kept, separators=(",", ":"))


def read_words(text: str) -> list[str]:
    try:
        found: object = json.loads(text or "[]")
    except ValueError:
        return []
    return [str(word) for word in found] if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def named_outside(source: Source, connection: Connection) -> list[Path]:
    """Configuration that lives outside the data directory (Debian's /etc/postgresql), keys and certificates too: as the
    server names it, wherever it runs."""
    named = [source.settings.get(key, "") for key in ("config_file", "hba_file", "ident_file")]
    named += [source.settings.get(key, "") for key in ("ssl_cert_file", "ssl_key_file", "ssl_ca_file")]
    try:
        named += [str(name) for (name,) in rows(connection, "SELECT DISTINCT sourcefile FROM pg_file_settings")]
    except psycopg.Error:  # not every role may ask that; the main files are known by their settings
        if connection.closed:
            raise
    paths = {source.data / name for name in named if name and name != "None"}
    return sorted(path for path in paths if not source.holds(str(path)))


def outside(source: Source, connection: Connection) -> list[Path]:
    """The same on this machine, where links can be followed: what only seems to be outside is not."""
    home = source.data.resolve()
    return [path for path in named_outside(source, connection) if not path.resolve().is_relative_to(home)]
