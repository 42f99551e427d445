"""What is protected, where it lives, and how we know that it works."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal

from backstay.plan.wording import Canary, Objectives, Question, Schedule, Template
from backstay.values import (
    ComponentName,
    Period,
    SiteName,
    VaultName,
)

PRIMARY = SiteName("primary")

# ── what is protected ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PerSite:
    """A value that may differ between sites; `anywhere` serves a site that is not named."""

    anywhere: Template | None
    at: Mapping[SiteName, Template] = field(default_factory=dict[SiteName, Template])

    def on(self, site: SiteName) -> Template | None:
        return self.at.get(site, self.anywhere)


class PostgresWay(Enum):
    AUTO = "auto"
    LOCAL = "local"
    STREAM = "stream"
    LOGICAL = "logical"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class PostgresSource:
    url: PerSite
    way: PostgresWay = PostgresWay.AUTO
    data: PerSite | None = None
    """The data directory, for *local*, so that a dead server can be replaced. None: ask the server."""
    binaries: Template | None = None
    """The folder with pg_ctl and postgres. None: looked for."""
    managed: Mapping[str, Template] = field(default_factory=dict[str, Template])


@dataclass(frozen=True, slots=True)
class SqliteSource:
    path: PerSite


@dataclass(frozen=True, slots=True)
class FilesSource:
    path: PerSite


@dataclass(frozen=True, slots=True)
class KubernetesSource:
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GitSource:
    url: Template
    mirrors: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageSource:
    ref: Template
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrometheusSource:
    url: Template


@dataclass(frozen=True, slots=True)
class GrafanaSource:
    url: Template
    token: Template | None = None


@dataclass(frozen=True, slots=True)
class CommandSource:
    """Anything else: `take` writes a stream, `restore` reads it."""

    take: tuple[Template, ...]
    restore: tuple[Template, ...]


Source = (
    PostgresSource
    | SqliteSource
    | FilesSource
    | KubernetesSource
    | GitSource
    | ImageSource
    | PrometheusSource
    | GrafanaSource
    | CommandSource
)

KIND_OF_SOURCE: Mapping[type, str] = {
    PostgresSource: "postgres",
    SqliteSource: "sqlite",
    FilesSource: "files",
    KubernetesSource: "kubernetes",
    GitSource: "git",
    ImageSource: "image",
    PrometheusSource: "prometheus",
    GrafanaSource: "grafana",
    CommandSource: "command",
}


@dataclass(frozen=True, slots=True)
class Protect:
    full: Schedule | None = None
    incremental: Schedule | None = None
    wal: bool = False
    """`wal: continuous`."""
    before: str | None = None
    """`before: deployment`: taken when somebody deploys, by `backstay backup`."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """When fewer rows are a defect. Tables with few rows come and go: they are not judged by their size."""

    few: int = 10
    """A table that had fewer rows than this may be empty."""
    some: int = 100
    """A table that had fewer rows than this may shrink."""
    left: float = 0.5
    """The share of rows that must be left."""
    free: tuple[str, ...] = ()
    """Tables (`public.sessions`) that may lose rows, and may go."""


SANDBOX_ADDRESS = ("DATABASE_URL", "PGDATABASE", "PGHOST", "PGPASSWORD", "PGPORT", "PGUSER")
"""Variables that lead a smoke check of a proof to the restored database, whatever the plan gives them."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a proof may use of the machine that it runs on. None: no limit of its own."""

    memory_bytes: int | None = None
    """Address space of each process of a restored server."""
    disk_bytes: int | None = None
    """Of the restored point and what its server writes beside it."""
    time: timedelta | None = None
    """From the beginning of the proof to its end."""


@dataclass(frozen=True, slots=True)
class Prove:
    at: Schedule | None = None
    max_age: timedelta | None = None
    """A point older than this is stale, to the second."""
    within: timedelta | None = None
    """How long restoring and asking may take."""
    ask: tuple[Question, ...] = ()
    canary: tuple[Canary, ...] = ()
    volume: Tolerance = Tolerance()
    structure: str | None = None
    """A file beside the plan with the structure that the database should have. None: the last proof's."""
    smoke: tuple[str, ...] = ()
    """Smoke checks that are run against the restored database: commands, which get its address."""
    limits: SandboxLimits = SandboxLimits()


@dataclass(frozen=True, slots=True)
class Keep:
    """Which points are kept: every one that is younger than `within`, the `last` few, and the newest of each of the
    newest hours, days, weeks, months and years that have one. A point that any of them keeps is kept."""

    within: Period | None = None
    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def counts(self) -> Mapping[str, int]:
        return {
            "hourly": self.hourly, "daily": self.daily, "weekly": self.weekly, "monthly": self.monthly,
            "yearly": self.yearly,
        }  # fmt: skip

    def __str__(self) -> str:
        """`30 d`; `30 d, 14 daily, 12 monthly`."""
        parts = [str(self.within)] if self.within else []
        parts += [f"the last {self.last}"] if self.last else []
        return ", ".join(parts + [f"{count} {unit}" for unit, count in self.counts().items() if count])


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """A pgBackRest repository, read by pgBackRest itself: its own configuration says where it is, or `where` does."""

    stanza: str
    where: str | None = None
    """A configuration file, or the folder of a repository. None: what `pgbackrest` finds by itself."""
    superuser: str = "postgres"
    """Who may do everything in that cluster."""


@dataclass(frozen=True, slots=True)
class PgDump:
    """A dump that pg_dump or pg_dumpall wrote, in any of its formats."""

    where: str
    """A file or folder; with `*`, the newest that fits."""
    roles: str | None = None
    """What `pg_dumpall --roles-only` or `--globals-only` wrote: a dump of one database has no roles."""


Existing = PgBackRest | PgDump
"""Backups that somebody else takes and holds: proved and restored here, never changed."""

EXISTING: Mapping[str, type[Existing]] = {"pgbackrest": PgBackRest, "pg_dump": PgDump}
"""What a plan, a `choose` step and `--from` call them; also the `way` of their points."""


@dataclass(frozen=True, slots=True)
class Component:
    name: ComponentName
    source: Source
    protect: Protect = Protect()
    prove: Prove = Prove()
    objectives: Objectives = Objectives()
    newest: str | None = None
    """A question whose answer is the newest moment in the data: RPO is measured by it."""
    keep: Keep | None = None
    vaults: tuple[VaultName, ...] = ()
    """Empty: every vault of the plan."""
    existing: Mapping[str, Existing] = field(default_factory=dict[str, Existing])
    """By the key of `EXISTING`."""

    @property
    def kind(self) -> str:
        return KIND_OF_SOURCE[type(self.source)]


class LockMode(Enum):
    COMPLIANCE = "compliance"
    """Nobody can shorten or lift the lock, not even the owner of the account."""
    GOVERNANCE = "governance"
    """Whoever has a right of its own (in S3 `s3:BypassGovernanceRetention`) can lift it."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a store, in whatever currency: what a month is said to cost is in it too."""

    storage: float
    """A GB (1000s) for a month."""
    put: float
    """A thousand writes or listings."""
    get: float
    """A thousand reads."""
    egress: float
    """A GB that leaves the cloud."""


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """Where recovery points are kept. `url` is a folder, `s3://…`, `gs://…` or `az://…`."""

    name: VaultName
    url: Template
    keep: Keep
    lock: timedelta | None = None
    lock_mode: LockMode = LockMode.COMPLIANCE
    region: str | None = None
    readers: tuple[str, ...] = ()
    """age recipients that may read."""
    reach: "BucketReach | None" = None
    """Of a bucket, where the plan says more than its address."""
    bandwidth: int | None = None
    """Bytes per second at most, to and from this vault."""
    prices: Prices | None = None
    """What the store costs. None: list prices."""


@dataclass(frozen=True, slots=True)
class BucketReach:
    """How a bucket is reached. What is None, the provider's own environment says."""

    endpoint: Template | None = None
    account: Template | None = None
    credentials: Mapping[str, Template] = field(default_factory=dict[str, Template])
    proxy: Template | None = None
    ca: Template | None = None
    """A file with certificates in PEM."""


# ── where ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A program that Backstay stops and starts itself, where no cluster does."""

    start: tuple[Template, ...]
    pid_file: Template
    cwd: Template | None = None
    env: Mapping[str, Template] = field(default_factory=dict[str, Template])
    log: Template | None = None
    stop_within: timedelta = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes cluster: an existing context, or one that a provider makes."""

    context: str | None = None
    provider: Literal["eks", "gke", "aks"] | None = None
    name: str | None = None
    create: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Site:
    name: SiteName
    endpoints: Mapping[str, Template] = field(default_factory=dict[str, Template])
    """What `${site.…}` can name: `api`, `region` and others."""
    cluster: Cluster | None = None
    processes: Mapping[str, ProcessSpec] = field(default_factory=dict[str, ProcessSpec])


@dataclass(frozen=True, slots=True)
class Dns:
    zone: str
    record: str
    ttl: timedelta
    provider: str


# ── what "it works" means ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Request:
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
    url: Template
    expect: tuple[int, ...]
    """Statuses that count as right."""
    json: "Json | None" = None
    bearer: Template | None = None
    headers: Mapping[str, Template] = field(default_factory=dict[str, Template])
    save: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name to `$.path` in the JSON answer; later requests of the flow use `${saved.name}`."""
    contains: str | None = None


Json = Mapping[str, "Json"] | tuple["Json", ...] | Template | Decimal | bool | None
"""A JSON body whose texts are templates."""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    name: str
    flow: tuple[Request, ...]
    cleanup: tuple[Request, ...] = ()
    timeout: timedelta = timedelta(seconds=10)
    """Per request."""


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """Any program; exit 0 is a pass."""

    name: str
    argv: tuple[Template, ...]
    env: Mapping[str, Template] = field(default_factory=dict[str, Template])
    timeout: timedelta = timedelta(minutes=5)


Check = HttpCheck | CommandCheck


@dataclass(frozen=True, slots=True)
class Watch:
    every: timedelta
    checks: tuple[str, ...]
