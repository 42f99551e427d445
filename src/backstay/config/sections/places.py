"""Where: sites, their clusters and processes, DNS, and the vaults."""

from datetime import timedelta
from typing import Literal

from backstay.config import grammar
from backstay.config.forms import ON_SITE, Choice, Either, Form, ListOf, Made, MapOf, Word, Worded
from backstay.config.reading import At, Named
from backstay.config.sections.buckets import (
    ACCOUNT,
    BANDWIDTH,
    CA,
    CREDENTIALS,
    ENDPOINT,
    PROXY,
    SCHEMES,
    bucket_reach,
)
from backstay.config.sections.keeping import KEEP_FORM
from backstay.config.sections.prices import PRICES
from backstay.config.sections.words import SOME_SPAN, TEXT, a_word, argv, environment
from backstay.config.spelling import nearest, quoted
from backstay.config.tables import Fields, OneOf, Table, default, optional, others_of, required
from backstay.plan import Cluster, Dns, Keep, LockMode, PerSite, ProcessSpec, Site, Template, VaultPlace
from backstay.values import Period, SiteName, VaultName


def per_site(form: Form[Template], what: str) -> Either[PerSite]:
    """One value for every site, or a mapping from site to value."""
    at_sites = MapOf(form, f"{what} for each site", names=Named.SITE, at_least=1)
    return Either(
        f"{what}, or one for each site",
        text=Made(form, lambda _, value: PerSite(value)),
        entries=Made(at_sites, lambda _, at: PerSite(None, {SiteName(name): value for name, value in at.items()})),
    )


# ── processes ────────────────────────────────────────────────────────────────────────────────────

START = required("start", argv(ON_SITE), "the program and its arguments", "[python, -m, shop, serve]")
PID_FILE = optional(
    "pid_file", Worded("a path"), "where the id of the running process is kept", "./run/api.pid", "`./run/NAME.pid`"
)
CWD = optional("cwd", Worded("a path"), "the folder in which it runs", "./app", "the folder of the plan file")
PROCESS_ENV = default("env", environment(ON_SITE), {}, "variables it gets beside ours", '{PORT: "8400"}', "none")
LOG = optional("log", Worded("a path"), "the file that gets what it prints", "./run/api.log", "nowhere")
STOP_WITHIN = default(
    "stop_within", SOME_SPAN, timedelta(seconds=20), "how long it may take to end before it is killed", "20s", "20 s"
)


def _process(fields: Fields) -> ProcessSpec:
    return ProcessSpec(
        start=fields[START],
        pid_file=fields[PID_FILE] or Template((f"./run/{fields.name}.pid",)),
        cwd=fields[CWD],
        env=fields[PROCESS_ENV],
        log=fields[LOG],
        stop_within=fields[STOP_WITHIN],
    )


PROCESS = Table(
    "process",
    "a process",
    "A program that Backstay stops and starts itself, where no cluster does. `scale: {process: NAME, to: 0}` stops it.",
    (START, PID_FILE, CWD, PROCESS_ENV, LOG, STOP_WITHIN),
    _process,
)

# ── sites ────────────────────────────────────────────────────────────────────────────────────────

CONTEXT = required("context", TEXT, "a context of the kubeconfig", "production")
EKS = required("eks", TEXT, "the name of a cluster of Amazon EKS", "shop-recovery")
GKE = required("gke", TEXT, "the name of a cluster of Google GKE", "shop-recovery")
AKS = required("aks", TEXT, "the name of a cluster of Azure AKS", "shop-recovery")
CREATE = default(
    "create",
    MapOf(TEXT, "settings", key=a_word, pattern=""),
    {},
    "how to make the cluster where it does not exist",
    "{nodes: 3, node_type: t3.xlarge}",
    "never made",
)


def _cluster(fields: Fields) -> Cluster:
    if fields.given(CONTEXT):
        if fields.given(CREATE):
            fields.spot(CREATE).wrong("a context is a cluster that exists: `create` goes with eks, gke or aks")
        return Cluster(context=fields[CONTEXT])
    provider: Literal["eks", "gke", "aks"] = "eks" if fields.given(EKS) else "gke" if fields.given(GKE) else "aks"
    return Cluster(None, provider, fields[{"eks": EKS, "gke": GKE, "aks": AKS}[provider]], fields[CREATE])


CLUSTER = Table(
    "cluster",
    "a cluster",
    "The Kubernetes cluster of a site: one that exists, or one that a provider makes when it is needed.",
    (CREATE,),
    _cluster,
    one_of=OneOf("which cluster", (CONTEXT, EKS, GKE, AKS)),
)

API = optional("api", Worded("an address"), "the address of the application", "https://api.example.com")
REGION = optional("region", TEXT, "the region of the provider", "us-east-1")
SITE_CLUSTER = optional("cluster", CLUSTER, "the Kubernetes cluster of this site", "{context: production}")
PROCESSES = default(
    "processes",
    MapOf(PROCESS, "processes by name", declares=Named.PROCESS),
    {},
    "programs that Backstay stops and starts itself",
    "{api: {start: [python, -m, shop, serve]}}",
    "none",
)


def _site(fields: Fields) -> Site:
    endpoints: dict[str, Template] = dict(others_of(fields))
    region, api = fields[REGION], fields[API]
    endpoints |= {"api": api} if api is not None else {}
    endpoints |= {"region": Template((region,))} if region is not None else {}
    for key in (API, REGION):
        if fields.given(key):
            fields.at.reading.declare(Named.ENDPOINT, key.name)
    return Site(SiteName(fields.name), endpoints, fields[SITE_CLUSTER], fields[PROCESSES])


SITE = Table(
    "site",
    "a site",
    "Where components can live. `primary` is where the system normally runs; a plan without `sites:` has that one "
    "only. Further texts are endpoints of your own.",
    (API, REGION, SITE_CLUSTER, PROCESSES),
    _site,
    others=Worded("an address"),
    others_named=a_word,
    others_about="an endpoint: what `${site.NAME}` stands for on this site",
    others_declare=Named.ENDPOINT,
)


# ── DNS ──────────────────────────────────────────────────────────────────────────────────────────

ZONE = required("zone", TEXT, "the zone that is changed", "example.com")
RECORD = required("record", TEXT, "the name in the zone that points to the site", "api")
TTL = default("ttl", SOME_SPAN, timedelta(seconds=60), "how long resolvers may remember it", "60s", "60 s")
PROVIDER = required("provider", TEXT, "who serves the zone", "route53")

DNS = Table(
    "dns",
    "the DNS record",
    "The record that leads users to a site; repointed when the system moves.",
    (ZONE, RECORD, TTL, PROVIDER),
    lambda fields: Dns(fields[ZONE], fields[RECORD], fields[TTL], fields[PROVIDER]),
)


# ── vaults ───────────────────────────────────────────────────────────────────────────────────────

KEEP_ALWAYS = Keep(within=Period(span=timedelta(days=30)))


def _vault_address(address: Template) -> str | None:
    first = address.parts[0]
    if not isinstance(first, str) or "://" not in first:
        return None
    scheme = first.split("://", 1)[0]
    if scheme in SCHEMES:
        return None
    near = nearest(scheme, (*SCHEMES, "azure", "gcs"))
    meant = {"azure": "az", "gcs": "gs"}.get(near or "", near)
    end = f"; did you mean `{meant}://`?" if meant else ": a vault is a folder, s3://…, gs://… or az://…"
    return f"no vault can be kept at {quoted(scheme + '://')}{end}"


ADDRESS = Worded("a folder, s3://…, gs://… or az://…", check=_vault_address)
URL = required("url", ADDRESS, "the folder, `s3://…`, `gs://…` or `az://…`", "./vault")
KEEP = default("keep", KEEP_FORM, KEEP_ALWAYS, "how long points are kept", "90d", "30 days")
LOCK = optional("lock", SOME_SPAN, "how long nobody can delete a point, not even we", "30d", "not locked")
LOCK_MODE = default(
    "lock_mode",
    Choice({mode.value: mode for mode in LockMode}),
    LockMode.COMPLIANCE,
    "who may lift a lock early: with `compliance` nobody, the owner of the account included; with `governance` whoever "
    "has the right to bypass it",
    "governance",
    "`compliance`",
)
VAULT_REGION = optional("region", TEXT, "the region of the bucket", "us-west-2", "`AWS_REGION`, or us-east-1")
READERS = default(
    "readers",
    ListOf(Word("an age recipient, age1…", grammar.recipient)),
    (),
    "age recipients that may read the points",
    "[age1…]",
    "the key that `backstay init` makes",
)

VAULT_PRICES = optional(
    "prices",
    PRICES,
    "what the store costs, for `backstay cost`",
    "{storage: 0.012, put: 0.005, get: 0.0004, egress: 0.01}",
    "list prices of the cloud",
)


def _lock_mode(fields: Fields) -> LockMode:
    if fields.given(LOCK_MODE) and not fields.given(LOCK):
        fields.spot(LOCK_MODE).wrong("says how something is locked, and there is no `lock`: say for how long")
    return fields[LOCK_MODE]


def _vault(fields: Fields) -> VaultPlace:
    return VaultPlace(
        name=VaultName(fields.name),
        url=fields[URL],
        keep=fields[KEEP],
        lock=fields[LOCK],
        lock_mode=_lock_mode(fields),
        region=fields[VAULT_REGION],
        readers=fields[READERS],
        reach=bucket_reach(fields, fields[URL], VAULT_REGION),
        bandwidth=fields[BANDWIDTH],
        prices=fields[VAULT_PRICES],
    )


VAULT_TABLE = Table(
    "vault",
    "a vault",
    "A place that keeps recovery points. A text alone is its `url`. A component's own `keep` goes before the vault's; "
    "a `lock` goes before both, so a lock longer than what is kept is a problem.",
    (
        URL,
        KEEP,
        LOCK,
        LOCK_MODE,
        VAULT_REGION,
        READERS,
        ENDPOINT,
        ACCOUNT,
        CREDENTIALS,
        BANDWIDTH,
        PROXY,
        CA,
        VAULT_PRICES,
    ),
    _vault,
)  # fmt: skip


def _plain_vault(at: At, address: Template) -> VaultPlace:
    return VaultPlace(VaultName(str(at.path[-1])), address, KEEP_ALWAYS)


VAULT = Either("a folder or the settings of a vault", text=Made(ADDRESS, _plain_vault), entries=VAULT_TABLE)
