"""Where one PostgreSQL component is, and how it may be reached: everything the keeper is told by the plan."""

import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from backstay.plan import PostgresWay, SandboxLimits


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """One PostgreSQL database, or the server around it, at one site."""

    dsn: str = field(repr=False)
    """A connection string of libpq, as URI or words. A secret: it is shown nowhere, and no program gets it in argv."""
    data: Path | None = None
    """The data directory, where the plan names it. None: the server is asked."""
    bin: Path | None = None
    """The folder with `postgres` and `pg_ctl`. None: looked for by the version."""
    way: PostgresWay = PostgresWay.AUTO
    newest: str | None = None
    """The component's question for the newest moment in its data."""
    site: str = "primary"
    """For messages."""
    scratch: Path = field(default_factory=_temporary)
    """A folder on a disk with room: a logical dump passes through it."""
    patience: timedelta = timedelta(minutes=5)
    """How long one question may take."""
    stop_within: timedelta = timedelta(seconds=20)
    """How long the server may take to stop in order (a checkpoint) before it is stopped at once."""
    start_within: timedelta = timedelta(hours=12)
    """How long a server may take to come up: it replays WAL meanwhile."""
    limits: SandboxLimits = SandboxLimits()
    """What a sandbox may use of this machine."""
