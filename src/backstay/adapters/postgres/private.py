"""A server that only we can reach: for proofs, and for the recovery that ends before anybody is let in.

It listens on a Unix socket in a folder of ours (0700) and nowhere else. Whatever configuration the data directory
brings is overruled on the command line, the strongest place there is (manual, "Setting Parameters"): no archive, no
subscriptions, no standby's connection, no preloaded library (schedulers live there), no earlier recovery target, no
delay (of a standby: it holds for a replay to a target too), nothing that passes over damage, a name of its own. In a
sandbox it has no network either (a network namespace), where the kernel lets us.

Recovery. All WAL that the point needs is in its own `pg_wal`; there is no archive. `restore_command = false` says so
truthfully: exit status 1 is "proved absent" (see pitfalls 24 and 26 in docs/explanation/postgres.md), so the server
takes each segment from `pg_wal` and ends at the last. If one is missing before the end of the backup, the server itself
refuses ("WAL ends before end of online backup"). `hot_standby = off`: nobody gets in before recovery has ended.
"""

import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg

from backstay.adapters.postgres.litter import registered
from backstay.adapters.postgres.programs import Owner, Programs, hand_over
from backstay.adapters.postgres.session import Connection, first_line, settle
from backstay.errors import (
    BackstayError,
    Cancelled,
    DiskFull,
    NotSupported,
    PointRefuted,
    SourceDown,
    TimedOut,
    ToolMissing,
)
from backstay.ports import Clock
from backstay.processes import Command, Limits, Running, cut_off, run, start
from backstay.values import say_span

LONGEST_SOCKET_PATH = 107
"""Bytes of the address of a Unix socket (unix(7)), without the zero at the end."""

_GLANCE = timedelta(milliseconds=25)
_STOP = timedelta(minutes=10)
_ASK = timedelta(seconds=30)

ISOLATED: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "archive_command": "",
    "max_logical_replication_workers": "0",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "restore_command": "false",
    "recovery_end_command": "",
    "archive_cleanup_command": "",
    "recovery_target": "",
    "recovery_target_name": "",
    "recovery_target_time": "",
    "recovery_target_lsn": "",
    "recovery_target_xid": "",
    "recovery_min_apply_delay": "0",
    "hot_standby": "off",
    "wal_level": "replica",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "lc_messages": "C",
    "external_pid_file": "",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "ignore_invalid_pages": "off",
    "autovacuum": "off",
    "restart_after_crash": "off",
    "huge_pages": "off",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "work_mem": "16MB",
    "jit": "off",
}
"""What stands above every setting that comes with the data."""

_AT_LEAST = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
"""Settings that must not be smaller than on the source, and what pg_controldata calls them."""

_BAD = re.compile(r"^(?:\S+ )*?(PANIC|FATAL|ERROR|WARNING):\s+(.*)$")
_EXPECTED = ("the database system is ", 'enabling "trust" authentication')
_NO_ROOM = re.compile(r"No space left on device|could not extend file|Disk quota exceeded")
_OUR_MACHINE = re.compile(
    r"could not create (?:shared memory|semaphores|any Unix-domain|lock file)|could not map anonymous shared memory"
    r"|could not bind|cannot be run as root|lock file .* already exists|Operation not permitted"
)


@dataclass
class PrivateServer:
    """One server on one data directory. A context manager: leaving it stops the server."""

    programs: Programs
    data: Path
    owner: Owner
    log: Path
    clock: Clock
    name: str
    """Its `cluster_name`: every session is checked against it, so that none can be with another server."""
    superuser: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    alone: bool = False
    """Without any network, where the kernel lets us."""
    inherit: tuple[int, ...] = ()
    limits: Limits = Limits()
    """Of each of its processes."""
    stop_asked: Callable[[], bool] = lambda: False
    _sockets: Path | None = None
    _ends: ExitStack = field(default_factory=ExitStack)
    _running: Running | None = None

    def __enter__(self) -> "PrivateServer":
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.kill() if exc[0] is not None else self.stop()
        finally:
            self._ends.close()

    # ── starting ──

    def start(self, within: timedelta) -> None:
        """Start it, and come back when recovery has ended and it lets us in.

        Raises PointRefuted with the server's own words when the data is the reason that it does not come up, DiskFull,
        TimedOut, Cancelled, or NotSupported when this machine is the reason.
        """
        if self._sockets is None:
            # Not below the data: a deep path would not fit into the address of a socket.
            self._sockets = Path(tempfile.mkdtemp(prefix="bs-pg-"))
            self._ends.callback(shutil.rmtree, self._sockets, ignore_errors=True)
            self._ends.enter_context(registered(self._sockets))
        self._running = start(self._command())
        until = self.clock.elapsed() + within
        while not self._ready():
            if not self._running.alive:
                raise self._failure()
            if self.stop_asked():
                self.kill()
                raise Cancelled("stopped while a server was replaying WAL")
            if self.clock.elapsed() > until:
                self.kill()
                raise TimedOut(f"the restored server did not come up within {say_span(within)}", detail=self._words())
            self.clock.wait(_GLANCE)

    def _command(self) -> Command:
        assert self._sockets is not None
        hba, ident = self._sockets / "pg_hba.conf", self._sockets / "pg_ident.conf"
        hba.write_text("local all all trust\n")
        ident.write_text("")
        hand_over(self._sockets, self.owner)
        settings = {
            **ISOLATED,
            **self._at_least(),
            "unix_socket_directories": str(self._sockets),
            "hba_file": str(hba),
            "ident_file": str(ident),
            "cluster_name": self.name,
        }
        # Last: naming another recovery target after one, even as nothing, is refused (xlogrecovery.c,
        # assign_recovery_target_name and its like).
        settings = {key: value for key, value in settings.items() if key not in self.settings} | {**self.settings}
        if self.programs.major >= 17:
            settings |= {"event_triggers": "off", "summarize_wal": "off", "sync_replication_slots": "off"}
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        argv = (self.programs.path("postgres"), "-D", str(self.data), *words)
        prefix = cut_off() if self.alone else None
        wrapped, unprivileged = (prefix + argv, False) if prefix else self.owner.wrap(*argv)
        return Command(
            wrapped,
            None,
            stop=signal.SIGINT,
            grace=_STOP,
            unprivileged=unprivileged,
            inherit=self.inherit,
            limits=self.limits,
            log=self.log,
        )

    def _at_least(self) -> dict[str, str]:
        told = control_data(self.programs, self.data)
        found = {setting: told[words] for setting, words in _AT_LEAST.items() if told.get(words, "").isdigit()}
        return {**found, "max_wal_senders": str(max(1, int(found.get("max_wal_senders", "1"))))}

    def _ready(self) -> bool:
        """The server writes its state into the eighth line of postmaster.pid (pidfile.h). A file that an earlier server
        left behind has another number in its first line."""
        assert self._running is not None
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._running.pid) and lines[7].strip() == "ready"

    def _failure(self) -> BackstayError:
        said = self.text()
        if _NO_ROOM.search(said):
            return DiskFull(
                "no room left while the restored server was replaying WAL",
                detail=self._words(),
                hint="make room on the disk of the restore, and try again",
            )
        if _OUR_MACHINE.search(said) or "unshare" in said:
            return NotSupported("this machine does not let us start a server", detail=self._words())
        return PointRefuted(
            "the restored server did not come up",
            detail=self._words(),
            hint="restore an earlier point; never delete backup_label: a server that starts without it is corrupt",
        )

    # ── talking ──

    def connect(self, dbname: str = "postgres", *, user: str | None = None) -> Connection:
        """A session, surely with this server. Raises SourceDown."""
        assert self._sockets is not None, "start it first"
        try:
            connection = psycopg.connect(
                host=str(self._sockets),
                hostaddr="",
                port=5432,
                user=user or self.superuser,
                dbname=dbname,
                password="",
                options="",
                sslmode="disable",
                gssencmode="disable",
                channel_binding="disable",
                target_session_attrs="any",
                connect_timeout=10,
                client_encoding="UTF8",
                application_name="backstay",
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            raise SourceDown("the restored server does not let us in", detail=first_line(error)) from None
        try:
            settle(connection)
            row = connection.execute("SELECT current_setting('cluster_name')").fetchone()
            if row is None or row[0] != self.name:
                raise SourceDown("another server answers where ours should", detail="nothing was asked of it")
        except BaseException:
            connection.close()
            raise
        return connection

    def address(self) -> dict[str, str]:
        """The same for a program, as environment."""
        return {
            "PGHOST": str(self._sockets),
            "PGPORT": "5432",
            "PGUSER": self.superuser,
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": "10",
        }

    def address_of(self, dbname: str) -> dict[str, str]:
        """For any program, also one that knows only a `DATABASE_URL`."""
        user, name, folder = (quote(text, safe="") for text in (self.superuser, dbname, str(self._sockets)))
        return {**self.address(), "PGDATABASE": dbname, "DATABASE_URL": f"postgresql://{user}@/{name}?host={folder}"}

    # ── its words ──

    def text(self) -> str:
        """The end of its log."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - (256 << 10)))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def complaints(self) -> list[str]:
        """Every warning and error that it wrote."""
        found = (_BAD.match(line) for line in self.text().splitlines())
        return [f"{m[1]}: {m[2]}" for m in found if m is not None and not m[2].startswith(_EXPECTED)]

    def _words(self) -> str:
        # Hints of the server stay out: one of them advises to delete backup_label, which corrupts silently.
        said = self.complaints() or [line for line in self.text().splitlines() if "HINT" not in line]
        return "; ".join(said[-3:])[:600] or "it said nothing"

    # ── ending ──

    def stop(self) -> None:
        """In order: with a checkpoint, so that its files are whole. Does nothing when it does not run."""
        if self._running is not None:
            self._running.end()
            self._running.__exit__()
            self._running = None

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.__exit__()
            self._running = None


def control_data(programs: Programs, data: Path) -> dict[str, str]:
    """What pg_controldata tells, by its own words. Raises ToolMissing, ToolFailed."""
    said = run(Command((programs.path("pg_controldata"), "-D", str(data)), _ASK)).text
    pairs = (line.partition(":") for line in said.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def socket_fits(folder: Path) -> bool:
    return len(bytes(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH


def need_server(programs: Programs) -> None:
    """Raises ToolMissing before anything is restored that could not be started."""
    for name in ("postgres", "pg_controldata"):
        programs.path(name)
    if not socket_fits(Path(tempfile.gettempdir()) / "bs-pg-xxxxxxxx"):
        raise ToolMissing(
            f"the folder for temporary files has too long a name for a socket: {tempfile.gettempdir()}",
            hint="set TMPDIR to a short path, like /tmp",
        )
