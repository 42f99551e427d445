"""The kinds of component: what each one's source says."""

from collections.abc import Callable
from typing import Any, TypeVar

from backstay.config.forms import SECRETS, Choice, Either, Form, ListOf, Made, Worded
from backstay.config.nodes import Entries, Node
from backstay.config.reading import At, Bad
from backstay.config.sections.places import per_site
from backstay.config.sections.words import TEXT, argv
from backstay.config.spelling import nearest
from backstay.config.tables import Fields, Key, OneOf, Table, default, optional, required
from backstay.plan import (
    CommandSource,
    FilesSource,
    GitSource,
    GrafanaSource,
    ImageSource,
    KubernetesSource,
    PerSite,
    PostgresSource,
    PostgresWay,
    PrometheusSource,
    Source,
    SqliteSource,
    Template,
)

S = TypeVar("S")
T = TypeVar("T")

DATABASES = frozenset({"postgres", "sqlite"})


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


def _postgres_address(address: Template) -> str | None:
    first = address.parts[0]
    if not isinstance(first, str) or first.startswith(("postgres://", "postgresql://")):
        return None
    return (
        "is not the address of a PostgreSQL database: write it like postgresql://app@db.example.com/app, "
        "or a reference like ${env:DATABASE_URL}"
    )


POSTGRES_ADDRESS = Worded("the address of a database, like ${env:DATABASE_URL}", check=_postgres_address)
POSTGRES_URL = per_site(POSTGRES_ADDRESS, "the address of a database")

RDS = required("rds", TEXT, "the name of an instance of Amazon RDS", "shop-prod")
CLOUDSQL = required("cloudsql", TEXT, "the name of an instance of Google Cloud SQL", "shop-prod")
AZURE = required("azure", TEXT, "the name of a server of Azure Database for PostgreSQL", "shop-prod")
LOGIN = optional(
    "login", POSTGRES_ADDRESS, "the address, for the logical point that we hold", "${file:/run/secrets/db-url}"
)


def _managed(fields: Fields) -> dict[str, Template]:
    made = {key.name: Template((fields[key],)) for key in (RDS, CLOUDSQL, AZURE) if fields.given(key)}
    login = fields[LOGIN]
    return made if login is None else {**made, "login": login}


MANAGED = Table(
    "managed",
    "a managed database",
    "A database that a provider runs: its own snapshots and point-in-time window, beside a logical point that we hold.",
    (LOGIN,),
    _managed,
    one_of=OneOf("which instance", (RDS, CLOUDSQL, AZURE)),
)

URL = optional("url", POSTGRES_URL, "the address; needed unless `managed` has a `login`", "${env:DATABASE_URL}")
WAY = default(
    "way",
    Choice({way.value: way for way in PostgresWay}),
    PostgresWay.AUTO,
    "how points are taken",
    "local",
    "`auto`: what the server allows, with the reason shown",
)
DATA = optional(
    "data",
    per_site(Worded("a path"), "a path"),
    "the data directory, so that a dead server can be replaced",
    "/var/lib/postgresql/17/main",
    "asked of the server",
)
BIN = optional(
    "bin", Worded("a path"), "the folder with pg_ctl and postgres", "/usr/lib/postgresql/17/bin", "looked for"
)
MANAGED_KEY = optional("managed", MANAGED, "the provider's instance", "{rds: shop-prod}", "run by ourselves")


def _postgres(fields: Fields) -> PostgresSource:
    managed, url, way = fields[MANAGED_KEY] or {}, fields[URL], fields[WAY]
    if url is None and "login" in managed:
        url = PerSite(managed["login"])
    if url is None and not fields.given(URL):
        fields.at.wrong("`url` is missing: the address of the database, like ${env:DATABASE_URL}")
    if fields.given(MANAGED_KEY) and way in (PostgresWay.LOCAL, PostgresWay.STREAM):
        fields.spot(WAY).wrong(f"`{way.value}` needs the server's own files: a managed database gives logical points")
    if way is PostgresWay.MANAGED and not fields.given(MANAGED_KEY):
        fields.spot(WAY).wrong("`managed` needs to know the instance: add `managed: {rds: NAME}`")
    return PostgresSource(
        url=url or PerSite(None),
        way=PostgresWay.MANAGED if managed and way is PostgresWay.AUTO else way,
        data=fields[DATA],
        binaries=fields[BIN],
        managed=managed,
    )


POSTGRES_TABLE = Table(
    "postgres",
    "a PostgreSQL database",
    "A PostgreSQL database, 13 to 18. A text alone is its `url`; so is a mapping from site to address.",
    (URL, WAY, DATA, BIN, MANAGED_KEY),
    _postgres,
)


class _Postgres(Form[PostgresSource]):
    """A text, options, or an address for each site: told apart by the keys."""

    says = "the address of a database, or its settings"
    _short = Made(POSTGRES_URL, lambda _, url: PostgresSource(url))

    def read(self, at: At) -> PostgresSource | Bad:
        return (POSTGRES_TABLE if self._has_options(at.node) else self._short).read(at)

    @staticmethod
    def _has_options(node: Node) -> bool:
        options = [key.name for key in POSTGRES_TABLE.keys]
        if not isinstance(node, Entries) or not node.entries:
            return False
        return any(name in options or nearest(name, options) for name in node.entries)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [POSTGRES_TABLE.schema(), POSTGRES_URL.schema()]}

    def inner(self) -> Any:
        return iter((POSTGRES_TABLE, POSTGRES_URL))


# ── the others ───────────────────────────────────────────────────────────────────────────────────

PATH = Worded("a path")


def _one_key(title: str, says: str, about: str, key: Key[S], make: Callable[[S], T]) -> Table[T]:
    return Table(title, says, about, (key,), lambda fields: make(fields[key]))


def _or_text(table: Table[T], form: Form[Template], make: Callable[[Template], T]) -> Either[T]:
    short = Made(form, lambda _, value: make(value))
    return Either(f"{form.says}, or the settings of {table.says}", text=short, entries=table)


SQLITE_PATH = required("path", per_site(PATH, "a path"), "the database file", "/var/lib/shop/settings.db")
SQLITE = _one_key("sqlite", "a SQLite database", "A SQLite database.", SQLITE_PATH, SqliteSource)
FILES_PATH = required("path", per_site(PATH, "a path"), "the folder", "./infrastructure")
FILES = _one_key("files", "a folder of files", "A folder of files.", FILES_PATH, FilesSource)

NAMESPACES = required(
    "namespaces", ListOf(TEXT, at_least=1, or_one=True), "the namespaces, with everything in them", "[shop]"
)
KUBERNETES = _one_key(
    "kubernetes",
    "Kubernetes namespaces",
    "Every resource of some namespaces: ConfigMaps, Secrets (sealed) and volumes included.",
    NAMESPACES,
    KubernetesSource,
)

GIT_URL = required("url", Worded("an address"), "the repository", "https://github.com/example/shop.git")
MIRRORS = default(
    "mirrors", ListOf(Worded("an address")), (), "other remotes of it", "[https://gitlab.com/example/shop.git]", "none"
)
GIT = Table(
    "git",
    "a git repository",
    "A git repository with all its refs. A text alone is its `url`.",
    (GIT_URL, MIRRORS),
    lambda fields: GitSource(fields[GIT_URL], fields[MIRRORS]),
)

IMAGE_REF = required("ref", Worded("an image"), "the image, without a tag", "registry.example.com/shop-api")
TAGS = default("tags", ListOf(TEXT, or_one=True), (), "which tags; `*` stands for anything", '["1.*"]', "the newest")
IMAGE = Table(
    "image",
    "a container image",
    "A container image in a registry. A text alone is its `ref`.",
    (IMAGE_REF, TAGS),
    lambda fields: ImageSource(fields[IMAGE_REF], fields[TAGS]),
)

PROMETHEUS_URL = required("url", Worded("an address"), "the server", "http://prometheus:9090")
PROMETHEUS = _one_key(
    "prometheus",
    "a Prometheus server",
    "The time series of a Prometheus server. A text alone is its `url`.",
    PROMETHEUS_URL,
    PrometheusSource,
)

GRAFANA_URL = required("url", Worded("an address"), "the server", "https://grafana.example.com")
TOKEN = optional("token", Worded("a reference"), "a service account's token", "${env:GRAFANA_TOKEN}", "anonymous")
GRAFANA = Table(
    "grafana",
    "a Grafana server",
    "The dashboards of a Grafana server.",
    (GRAFANA_URL, TOKEN),
    lambda fields: GrafanaSource(fields[GRAFANA_URL], fields[TOKEN]),
)

TAKE = required("take", argv(SECRETS), "a program that writes the point to its standard output", "[ldap-dump]")
RESTORE = required("restore", argv(SECRETS), "a program that reads the point from its standard input", "[ldap-load]")
COMMAND = Table(
    "command-source",
    "a command that takes and restores",
    "Anything else, through two programs.",
    (TAKE, RESTORE),
    lambda fields: CommandSource(fields[TAKE], fields[RESTORE]),
)


def _source(name: str, form: Form[Any], help: str, example: str) -> Key[Source]:
    return required(name, form, help, example)


SOURCES: tuple[Key[Source], ...] = (
    _source("postgres", _Postgres(), "a PostgreSQL database", "${env:DATABASE_URL}"),
    _source(
        "sqlite",
        _or_text(SQLITE, PATH, lambda path: SqliteSource(PerSite(path))),
        "a SQLite database",
        "{path: /var/lib/shop/settings.db}",
    ),
    _source(
        "files",
        _or_text(FILES, PATH, lambda path: FilesSource(PerSite(path))),
        "a folder of files",
        "{path: ./infrastructure}",
    ),
    _source("kubernetes", KUBERNETES, "Kubernetes namespaces", "{namespaces: [shop]}"),
    _source(
        "git",
        _or_text(GIT, Worded("an address"), GitSource),
        "a git repository",
        "{url: https://github.com/example/shop.git}",
    ),
    _source(
        "image",
        _or_text(IMAGE, Worded("an image"), ImageSource),
        "a container image",
        "{ref: registry.example.com/shop-api}",
    ),
    _source(
        "prometheus",
        _or_text(PROMETHEUS, Worded("an address"), PrometheusSource),
        "a Prometheus server",
        "http://prometheus:9090",
    ),
    _source("grafana", GRAFANA, "a Grafana server", '{url: https://grafana, token: "${env:GRAFANA_TOKEN}"}'),
    _source("command", COMMAND, "anything, through a command", "{take: [ldap-dump], restore: [ldap-load]}"),
)


def sort_of(node: Node) -> str:
    """The kind of component that a node describes, told from its keys alone."""
    names = [key.name for key in SOURCES]
    if not isinstance(node, Entries):
        return ""
    written = next((name for name in node.entries if name in names), None)
    return written or next((near for name in node.entries if (near := nearest(name, names))), "")
