"""The archive service of one component: which cluster is expected, which vault takes its log, and what is said."""

import os
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres import archive_push
from backstay.adapters.postgres.archive_service import Service
from backstay.adapters.postgres.archiving import Archive, Cluster
from backstay.adapters.postgres.control import whole_control
from backstay.app.home import Home
from backstay.errors import BackstayError, NotSupported, SourceUnsuitable, WalConflict
from backstay.history import History
from backstay.plan import PRIMARY, Component, PostgresSource
from backstay.processes import holding
from backstay.reach import base_of
from backstay.values import VaultName, count, say_size, say_span

FRESH = timedelta(minutes=10)
"""A vault that was opened longer ago is opened anew: its keys may have changed, and who may write."""

Tell = Callable[[str], None]


def socket_path(home: Home, component: Component) -> Path:
    return home.state / f"archive-{component.name}.sock"


def command_for(socket: Path) -> str:
    """What `archive_command` has to be. The interpreter itself, and not the link to it in a virtual environment: it
    starts a little faster, and needs no environment."""
    program = getattr(sys, "_base_executable", None) or sys.executable
    words = [program, "-I", "-S", archive_push.__file__, str(socket)]
    # In a shell, a percent sign would be PostgreSQL's.
    quoted = " ".join(shlex.quote(word) for word in words).replace("%", "%%")
    return f"{quoted} %p || exit 1"


# ── which cluster ────────────────────────────────────────────────────────────────────────────────


def expected(home: Home, component: Component) -> Cluster:
    """Asked of the server; where it does not answer, as the newest physical point has it. Raises what the server's
    answer was where there is no such point."""
    if not isinstance(component.source, PostgresSource):
        raise NotSupported(
            f"{component.name} is no PostgreSQL database: it has no log that could be archived",
            hint="name a component of the kind postgres",
        )
    try:
        return _asked(home, component)
    except BackstayError:
        points = sorted(home.history(component.name).points_of(component.name), key=lambda point: point.began)
        for point in reversed(points):
            if (base := base_of(point)) is not None:
                major = int(point.about.get("server_version_num", "0")) // 10000
                data = _seen(Path(point.about.get("data", "")), base.system)
                return Cluster(base.system, base.segment_bytes, major, data)
        raise


def _asked(home: Home, component: Component) -> Cluster:
    from backstay.adapters.postgres.session import session
    from backstay.adapters.postgres.source import examine

    assert isinstance(component.source, PostgresSource), "asked before"
    url = component.source.url.on(PRIMARY)
    if url is None:
        raise NotSupported(f"the plan does not say where {component.name} is on the site {PRIMARY}")
    with session(url.render(home.secrets.value)) as db:
        source = examine(db)
    named = component.source.data.on(PRIMARY) if component.source.data else None
    data = home.path(named) if named else source.data
    return Cluster(source.system, source.segment_bytes, source.major, _seen(data, source.system))


def _seen(data: Path, system: int) -> Path | None:
    """The data directory, if this machine sees it, and it is this cluster's."""
    if not data.is_absolute():
        return None
    try:
        found = whole_control(data / "global" / "pg_control")
    except SourceUnsuitable:
        return None
    return data.resolve() if found.system & 0xFFFFFFFFFFFFFFFF == system else None


def waiting_of(history: History, component: Component) -> tuple[int, int] | None:
    """How many files the server of the newest physical point has ready, and the bytes of a segment; without asking it.
    None where its data directory is not seen from here."""
    for point in reversed(history.points_of(component.name)):
        if (base := base_of(point)) is not None:
            data = _seen(Path(point.about.get("data", "")), base.system)
            waiting = Cluster(base.system, base.segment_bytes, 0, data).waiting()
            return None if waiting is None else (waiting, base.segment_bytes)
    return None


# ── which vault ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Shelves:
    """The vaults of a component, in the plan's order: the first that takes a file has it. The others get it by
    `backstay vault copy`, as they get points."""

    home: Home
    component: Component
    cluster: Cluster
    opened: dict[VaultName, tuple[timedelta, Archive]] = field(
        default_factory=dict[VaultName, tuple[timedelta, Archive]]
    )
    took: VaultName | None = None

    def keep(self, name: str, file: int) -> str:
        """Raises WalConflict, which no other vault mends; else the first vault's reason. A history may be in another
        one alone, and with it how much of a `.partial` is valid."""
        first: BackstayError | None = None
        for vault in self.home.plan.vaults_of(self.component):
            try:
                said = self._archive(vault).keep(name, file)
            except WalConflict:
                raise
            except BackstayError as error:
                self.opened.pop(vault, None)
                first = first or error
            else:
                self.took = vault
                return said
        assert first is not None, "a plan has a vault"
        raise first

    def _archive(self, vault: VaultName) -> Archive:
        now = self.home.clock.elapsed()
        opened = self.opened.get(vault)
        if opened is None or now - opened[0] > FRESH:
            self.home.refuse_if_overtaken()
            opened = (now, Archive(self.cluster, self.home.open_vault(vault).wal))
            self.opened[vault] = opened
        return opened[1]


# ── serving ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Teller:
    """Says what an operator has to know, and no more: what is refused, each new reason once a minute; and when it goes
    on again."""

    home: Home
    cluster: Cluster
    say: Tell
    refused: int = 0
    since: timedelta = timedelta()
    reason: str = ""
    said_at: timedelta = timedelta()

    def __call__(self, name: str, came: str | BackstayError) -> None:
        now = self.home.clock.elapsed()
        if not isinstance(came, BackstayError):
            if self.refused:
                self.say(f"{name} is kept: it goes on after {say_span(now - self.since)}{self._queue()}")
            self.refused, self.reason = 0, ""
            return
        reason = f"E{came.code:02d} {came.message}"
        self.since = self.since if self.refused else now
        self.refused += 1
        if reason != self.reason or now - self.said_at >= timedelta(minutes=1):
            self.reason, self.said_at = reason, now
            detail = f": {came.detail}" if came.detail else ""
            self.say(f"{name} is NOT kept: {reason}{detail}{self._queue()}")

    def _queue(self) -> str:
        waiting = self.cluster.waiting()
        if waiting is None:
            return ""
        size = say_size(waiting * self.cluster.segment_bytes)
        return f"; {count(waiting, 'file')} ({size}) wait in pg_wal"


@contextmanager
def archive_service(home: Home, component: Component, socket: Path | None, say: Tell) -> Generator[Service]:
    """A service that listens; call its `serve`. Raises RunBusy where another one does already."""
    home.refuse_if_overtaken()
    cluster = expected(home, component)
    address = (socket or socket_path(home, component)).absolute()
    owner = cluster.data.stat().st_uid if cluster.data is not None else os.geteuid()
    with holding(address.with_name(f"{address.name}.lock"), wait=timedelta(seconds=2)):
        service = Service(address, owner, Shelves(home, component, cluster).keep, Teller(home, cluster, say))
        service.listen()
        if waiting := cluster.waiting():
            say(f"{count(waiting, 'file')} wait in pg_wal: the server sends them when its archive_command finds us")
        try:
            yield service
        finally:
            service.close()
