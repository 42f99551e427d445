"""Starting a restored server at its site: as the owner of its data, with its own configuration and its old options."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from backstay.adapters.postgres.laying import Physical, write_durably
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.programs import Owner, Programs, ourselves, owner_of
from backstay.adapters.postgres.site import Site
from backstay.adapters.postgres.source import options_of, read_words, started_with
from backstay.errors import ToolFailed
from backstay.ports import Kind, PointReader, Stored
from backstay.processes import Command, run

SANDBOX = "sandbox"
SEALED = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "archive_mode": "off",
    "max_logical_replication_workers": "0",
    "primary_conninfo": "",
    "cluster_name": "backstay drill",
}
_WITHIN = timedelta(minutes=10)
_LARGEST_CONFIGURATION = 1 << 20


@dataclass(frozen=True, slots=True)
class Starting:
    site: Site
    run: str
    physical: Physical
    place: PostgresPlace

    def words(self) -> list[str]:
        """How the old server was started, its program first: as its own folder says, else as the point does."""
        for folder in (self.site.damaged(self.run), self.site.data):
            if found := started_with(folder):
                return list(found)
        return read_words(self.physical.about.get("options", ""))

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
        uid, _, gid = self.physical.about.get("owner", "").partition(":")
        return Owner(int(uid), int(gid)) if uid.isdigit() and gid.isdigit() else owner_of(self.site.data.parent)

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
        options = [*options_of(self.words()), *self._of_this_place()]
        argv += ["-o", shlex.join(options)] if options else []
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

    def _of_this_place(self) -> list[str]:
        """What a server must not inherit from where its data was taken: the port of another server, and, in a sealed
        room, every way out (pitfall 31: a drill that archives or subscribes poisons production)."""
        if self.physical.about.get("data") == str(self.site.data):
            return []
        told = conninfo_to_dict(self.place.dsn)
        settings = {"port": str(told.get("port") or 5432)}
        if self.place.site == SANDBOX:
            settings |= SEALED
        return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    def _give_configuration_back(self, point: PointReader, owner: Owner) -> None:
        """Configuration files that lived elsewhere and are gone now. What is there is left alone; keys and anything
        outside the folders of the configuration are for a person to decide on."""
        named = [self.physical.about.get(key, "") for key in ("config_file", "hba_file", "ident_file")]
        folders = {Path(name).parent for name in named if name.startswith("/")}
        for entry in _configuration(point):
            target = Path(entry.path.removeprefix("config"))
            if target.suffix == ".conf" and target.parent in folders and not target.exists():
                with suppress(OSError):
                    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                    write_durably(target, b"".join(point.read(entry.path)))
                    _hand_over_file(target, owner)


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
