"""Starting a restored server at its site: as the owner of its data, with its own configuration and its old options."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.laying import Physical
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.programs import Owner, Programs, ourselves, owner_of
from backstay.adapters.postgres.session import defaults, parse
from backstay.adapters.postgres.site import Site
from backstay.adapters.postgres.source import options_of, read_words, started_with
from backstay.durable import write_durably
from backstay.errors import ToolFailed
from backstay.ports import Kind, PointReader, Stored
from backstay.processes import Command, run

_WITHIN = timedelta(minutes=10)
_LARGEST_CONFIGURATION = 1 << 20

SANDBOX = "sandbox"
"""The site of drills: whatever runs there must not act on the world that it was copied from."""

SEALED = {
    "archive_mode": "off",
    "archive_command": "",
    "max_logical_replication_workers": "0",
    "primary_conninfo": "",
    "synchronous_standby_names": "",
}
"""What stands above the configuration that came with the data, in a drill."""

_HERE = ("localhost", "127.0.0.1", "::1")

SCHEDULERS = frozenset(
    {"pg_cron", "pg_partman_bgw", "pg_timetable", "pgagent", "pg_squeeze", "pglogical", "bdr", "pgq"}
)
"""Preloaded libraries that do things by themselves."""

_MINIMAL = "# Made by Backstay: the configuration of this cluster lived outside its data directory.\n"


@dataclass(frozen=True, slots=True)
class Starting:
    site: Site
    run: str
    physical: Physical
    place: PostgresPlace

    @property
    def at_home(self) -> bool:
        """The data comes back where it was taken. Elsewhere (a drill, another host) the options of the old server, its
        port first of all, belong to somebody else."""
        return str(self.site.data) == self.physical.about.get("data", "")

    def words(self) -> list[str]:
        """How the server of this place was started, its program first: as its own folder says, else as the point does,
        where it was taken here."""
        for folder in (self.site.damaged(self.run), self.site.data):
            if found := started_with(folder):
                return list(found)
        return read_words(self.physical.about.get("options", "")) if self.at_home else []

    def near(self) -> Path | None:
        """The folder of the program that the old server was."""
        words = self.words()
        return Path(words[0]).parent if words and words[0].startswith("/") else None

    def owner(self) -> Owner:
        """Of the old data, else as the point says, else of the folder around it."""
        for path in (self.site.damaged(self.run), self.site.data):
            if path.exists():
                return owner_of(path)
        if ourselves().uid != 0:
            return ourselves()
        uid, _, gid = self.physical.about.get("owner", "").partition(":") if self.at_home else ("", "", "")
        return Owner(int(uid), int(gid)) if uid.isdigit() and gid.isdigit() else owner_of(self.site.data.parent)

    def options(self, programs: Programs) -> list[str]:
        """What the server is started with."""
        words = self.words()
        found = options_of(words) if words else self._address()
        if self.place.site != SANDBOX:
            return found
        libraries = ",".join(libraries_to_keep(self.physical.about, programs))
        settings = {**SEALED, "shared_preload_libraries": libraries, "cluster_name": f"backstay-{self.run}"[:60]}
        # Last, so above all: whatever the copied configuration says, it is reached here and nowhere else.
        return [*found, *_spelled(settings), *self._address(sealed=True)]

    def _address(self, *, sealed: bool = False) -> list[str]:
        """Where the plan says that it is reached. A name is for whoever manages names: then only the port is ours, but
        in a sealed room it is this machine."""
        words = defaults() | parse(self.place.dsn)
        host = words.get("host", "")
        settings = {"port": words.get("port", "5432")}
        if host.startswith("/"):
            settings |= {"unix_socket_directories": host, "listen_addresses": ""}
        elif host in _HERE or sealed:
            # The folder for sockets is one of the original machine.
            settings |= {"listen_addresses": host if host in _HERE else "127.0.0.1", "unix_socket_directories": ""}
        return _spelled(settings)

    def start(self, programs: Programs, point: PointReader, stop: Callable[[], bool]) -> None:
        """Come back when it takes connections. It outlives us. Raises ToolFailed with the server's own words."""
        owner = self.owner()
        self._give_configuration_back(point, owner)
        data = self.site.data
        log = data.with_name(f"{data.name}.start.log")
        log.touch(mode=0o600)
        _hand_over_file(log, owner)
        argv = [programs.path("pg_ctl"), "start", "-D", str(data), "-l", str(log), "-w"]
        argv += ["-t", str(int(_WITHIN.total_seconds()))]
        # pg_ctl hands the options to a shell.
        argv += ["-o", shlex.join(options)] if (options := self.options(programs)) else []
        wrapped, unprivileged = owner.wrap(*argv)
        command = Command(
            wrapped, _WITHIN + timedelta(minutes=1), unprivileged=unprivileged, lasting=True, cwd=Path("/")
        )
        try:
            run(command, stop=stop)
        except ToolFailed as error:
            raise ToolFailed(
                f"the restored server does not start at {data}",
                detail=_last_lines(log) or error.detail,
                hint="its data is complete and was up on a private socket: look at its configuration, then resume",
            ) from None

    def _give_configuration_back(self, point: PointReader, owner: Owner) -> None:
        """Configuration files that lived elsewhere and are gone now. What is there is left alone; keys and anything
        outside the folders of the configuration are for a person to decide on."""
        named = [self.physical.about.get(key, "") for key in ("config_file", "hba_file", "ident_file")]
        folders = {Path(name).parent for name in named if name.startswith("/")}
        if not self.at_home:
            self._lay_configuration_inside(point, owner)
            return
        for entry in _configuration(point):
            target = Path(entry.path.removeprefix("config"))
            if target.suffix == ".conf" and target.parent in folders and not target.exists():
                with suppress(OSError):
                    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                    write_durably(target, b"".join(point.read(entry.path)))
                    _hand_over_file(target, owner)

    def _lay_configuration_inside(self, point: PointReader, owner: Owner) -> None:
        """Elsewhere the files of the original host mean nothing, but who may come in is still the question."""
        texts = {"postgresql.conf": _MINIMAL.encode(), "pg_hba.conf": b"", "pg_ident.conf": b""}
        named = {"hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
        for setting, name in named.items():
            path = f"config{self.physical.about.get(setting, '')}"
            if (entry := point.entry(path)) is not None and entry.kind is Kind.FILE:
                texts[name] = b"".join(point.read(path))
        for name, text in texts.items():
            target = self.site.data / name
            if not target.exists():
                write_durably(target, text or _MINIMAL.encode())
                _hand_over_file(target, owner)


def _spelled(settings: Mapping[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]


def libraries_to_keep(about: Mapping[str, str], programs: Programs) -> list[str]:
    """The preloaded libraries of the source without schedulers, as far as they are installed here."""
    named = [name.strip().strip('"') for name in about.get("shared_preload_libraries", "").split(",")]
    folders = [programs.folder.parent / "lib", programs.folder.parent / "lib" / "postgresql"]
    return [
        name
        for name in named
        if name and name not in SCHEDULERS and any((folder / f"{name}.so").exists() for folder in folders)
    ]


def _configuration(point: PointReader) -> Iterator[Stored]:
    if point.entry("config") is not None:
        for entry in point.entries("config"):
            if entry.kind is Kind.FILE and entry.size_bytes <= _LARGEST_CONFIGURATION:
                yield entry


def _hand_over_file(path: Path, owner: Owner) -> None:
    if os.geteuid() == 0 and owner.uid != 0:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _last_lines(log: Path) -> str:
    with suppress(OSError):
        lines = log.read_text("utf-8", "replace")[-4000:].splitlines()
        # A hint of the server advises to delete backup_label in some cases: never repeated.
        return "; ".join(line for line in lines[-5:] if "HINT" not in line)[:800]
    return ""
