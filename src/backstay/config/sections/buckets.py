"""How a vault in a bucket is reached: its endpoint, who we are there, and the way through a company's network."""

from collections.abc import Mapping

from backstay.config import grammar
from backstay.config.forms import Word, Worded
from backstay.config.tables import Fields, Key, Likeliest, OneOf, Table, optional, required
from backstay.plan import BucketReach, Ref, Template

SCHEMES = ("s3", "gs", "az")


def _only_a_reference(value: Template) -> str | None:
    if len(value.parts) == 1 and isinstance(value.parts[0], Ref):
        return None
    return "a secret is never written in a plan: write a reference like ${env:NAME} or ${file:PATH}"


def _http(value: Template) -> str | None:
    first = value.parts[0]
    if isinstance(first, str) and not first.startswith(("http://", "https://")):
        return "is no address of a server: it begins with http:// or https://"
    return None


_SECRET = Worded("a reference", check=_only_a_reference)
_SERVER = Worded("an address, like https://host:9000", check=_http)

# ── credentials ──────────────────────────────────────────────────────────────────────────────────

ACCESS_KEY_ID = required("access_key_id", _SECRET, "the id of an access key", "${env:BACKUP_KEY_ID}")
SECRET_ACCESS_KEY = required("secret_access_key", _SECRET, "its secret half", "${file:/run/secrets/backup-key}")
SESSION_TOKEN = optional("session_token", _SECRET, "of keys that last for a while only", "${env:BACKUP_TOKEN}", "none")
SERVICE_ACCOUNT = required(
    "service_account", _SECRET, "the key of a service account, in JSON", "${file:/run/secrets/gcs.json}"
)
ACCOUNT_KEY = required("account_key", _SECRET, "a key of the storage account", "${file:/run/secrets/azure-key}")
SAS_TOKEN = required("sas_token", _SECRET, "a shared access signature of the container", "${env:BACKUP_SAS}")


def _given(fields: Fields) -> Mapping[str, Template]:
    return {name: value for name, value in fields.values.items() if name and isinstance(value, Template)}


_S3 = Table(
    "s3-credentials",
    "an access key",
    "Who we are in S3 and in stores that speak like it. Without it, everything that AWS's own tools look at is looked "
    "at: the environment, `~/.aws`, the role of the machine.",
    (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN),
    _given,
)
_GCS = Table(
    "gcs-credentials",
    "a service account",
    "Who we are in Google Cloud Storage. Without it: `GOOGLE_APPLICATION_CREDENTIALS`, what `gcloud` keeps, the "
    "machine's own account.",
    (SERVICE_ACCOUNT,),
    _given,
)
_AZURE = Table(
    "azure-credentials",
    "a key or a signature",
    "Who we are in Azure Blob. Without it: `AZURE_STORAGE_ACCOUNT_KEY` and its like, a workload's or the machine's "
    "identity.",
    (),
    _given,
    one_of=OneOf("who we are", (ACCOUNT_KEY, SAS_TOKEN)),
)
_KEYS: dict[str, frozenset[str]] = {
    "s3": frozenset(key.name for key in _S3.all_keys()),
    "gs": frozenset(key.name for key in _GCS.all_keys()),
    "az": frozenset(key.name for key in _AZURE.all_keys()),
}

# ── the way there ────────────────────────────────────────────────────────────────────────────────

CREDENTIALS = optional(
    "credentials",
    Likeliest("an access key, a service account, or a key of Azure", (_S3, _GCS, _AZURE)),
    "who we are in the store; always references",
    '{access_key_id: "${env:ID}", secret_access_key: "${env:KEY}"}',
    "what the provider's own tools use",
)
ENDPOINT = optional(
    "endpoint", _SERVER, "a store that speaks like S3, or stands in for another", "https://minio.example.com:9000",
    "the provider's own",
)  # fmt: skip
ACCOUNT = optional(
    "account", Worded("a name"), "the storage account of an Azure container", "shopbackups",
    "`AZURE_STORAGE_ACCOUNT_NAME`",
)  # fmt: skip
PROXY = optional(
    "proxy", _SERVER, "the proxy on the way to a bucket", "http://proxy.example.com:3128", "`HTTPS_PROXY`, `NO_PROXY`"
)
CA = optional(
    "ca", Worded("a path"), "a file with certificates (PEM) that are believed beside the system's own", "./company.pem",
    "`AWS_CA_BUNDLE` or `SSL_CERT_FILE`",
)  # fmt: skip
BANDWIDTH = optional(
    "bandwidth", Word("a rate, like 20MB/s", grammar.rate), "how much goes to and from this vault at most, in all",
    "20MB/s", "no limit",
)  # fmt: skip

BUCKET_KEYS: tuple[Key[Template | None] | Key[Mapping[str, Template] | None], ...] = (
    ENDPOINT, ACCOUNT, CREDENTIALS, PROXY, CA,
)  # fmt: skip


def bucket_reach(fields: Fields, url: Template, *others: Key[str | None]) -> BucketReach | None:
    """What a vault says of its bucket. Notes what means nothing for its kind of address."""
    given = [key for key in (*BUCKET_KEYS, *others) if fields.given(key)]
    first = url.parts[0]
    if isinstance(first, str):  # else nobody knows before it is used
        scheme = first.partition("://")[0] if "://" in first else ""
        for key in given:
            if scheme not in SCHEMES:
                fields.spot(key).wrong(f"means nothing for a folder: `{key.name}` is of a bucket")
            elif key is ACCOUNT and scheme != "az":
                fields.spot(key).wrong("is of Azure: buckets of others have no account")
        if scheme in SCHEMES and not _KEYS[scheme] >= (names := (fields[CREDENTIALS] or {}).keys()):
            kinds = {"s3": _S3, "gs": _GCS, "az": _AZURE}
            theirs = next(kinds[s].says for s in SCHEMES if names <= _KEYS[s])
            fields.spot(CREDENTIALS).wrong(f"is {theirs}; {scheme}:// wants {kinds[scheme].says}")
    if not any(fields.given(key) for key in BUCKET_KEYS):
        return None
    return BucketReach(fields[ENDPOINT], fields[ACCOUNT], fields[CREDENTIALS] or {}, fields[PROXY], fields[CA])
