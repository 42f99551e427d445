"""What differs between the clouds: how their clients are made, who we are there, and where their clock is asked.

Each kind of bucket gets two clients of obstore. One *asks*: it gives up when nothing comes for a while. One *sends*: it
hears nothing until all is sent, so only the whole request has an end. Neither tries again by itself: patience is one
wrapper around the store, with one deadline, and not a second one hidden below it.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from obstore.store import AzureStore, GCSStore, S3Store

from backstay.adapters.objectstore.addresses import Address, Reach
from backstay.adapters.objectstore.signing import Signer
from backstay.errors import AccessDenied, Usage

Client = S3Store | GCSStore | AzureStore


@dataclass(frozen=True, slots=True)
class Clients:
    ask: Client
    send: Client
    origin: str
    """Where the service is: any answer from there carries its clock."""
    signer: Signer | None = None
    """Of S3."""


def connect(address: Address, reach: Reach) -> Clients:
    """`reach` is settled. Asks nobody yet. Raises AccessDenied where no credentials are found, Usage for settings that
    contradict."""
    return {"s3": _s3, "gs": _gcs, "az": _azure}[address.scheme](address, reach)


def settled(address: Address, reach: Reach) -> Reach:
    """`reach`, with what it leaves open taken from the provider's own variables: whoever asks whether this is the
    provider's own service must not be misled by an address that only the environment knows."""
    match address.scheme:
        case "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            return replace(reach, endpoint=reach.endpoint or endpoint or None, region=reach.region or region or None)
        case "gs":
            emulated = _emulated(reach.credentials.get("service_account", ""))
            return replace(reach, endpoint=reach.endpoint or emulated or os.environ.get("GOOGLE_BASE_URL") or None)
        case "az":
            account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or os.environ.get("AZURE_STORAGE_ACCOUNT")
            endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT")
            return replace(reach, endpoint=reach.endpoint or endpoint or None, account=reach.account or account or None)


def client_options(reach: Reach, *, sends: bool, secure: bool) -> dict[str, Any]:
    patience = reach.patience
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "timeout": timedelta(seconds=patience.request_s),
        "allow_http": not secure,  # an address that begins with http:// is somebody's decision
    }
    if not sends:
        options["read_timeout"] = timedelta(seconds=patience.silence_s)
    if reach.proxy is not None:
        options["proxy_url"] = reach.proxy
    if reach.ca is not None:
        options["root_certificate"] = reach.ca
    return options


_ONCE = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}


def _both(make: Callable[..., Client], address: Address, reach: Reach, origin: str, **settings: Any) -> Clients:
    def one(*, sends: bool) -> Client:
        options = client_options(reach, sends=sends, secure=origin.startswith("https://"))
        prefix = address.prefix or None
        try:
            return make(address.bucket, prefix=prefix, client_options=options, retry_config=_ONCE, **settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be shown
            # obstore's own words may repeat what it was given: a key, a password of a proxy.
            raise Usage(
                f"{address} cannot be reached with these settings",
                detail=f"{type(error).__name__} from the library that opens buckets",
                hint="look at `endpoint`, `proxy`, `ca` and `credentials` of the vault",
            ) from None

    return Clients(one(sends=False), one(sends=True), origin)


# ── Amazon S3, and what speaks like it ───────────────────────────────────────────────────────────


def _s3(address: Address, reach: Reach) -> Clients:
    endpoint, session = reach.endpoint, None if reach.credentials else _session()
    region = reach.region or (session.region_name if session else None) or "us-east-1"
    provider = _fixed(reach.credentials) if session is None else _from_session(session)
    settings = {"endpoint": endpoint.rstrip("/")} if endpoint else {}
    origin = endpoint or f"https://s3.{region}.amazonaws.com"
    clients = _both(
        S3Store,
        address,
        reach,
        origin,
        region=region,
        credential_provider=provider,
        disable_bulk_delete=True,
        **settings,
    )
    return replace(clients, signer=Signer(region, provider))


def _fixed(credentials: Mapping[str, str]) -> Callable[[], dict[str, Any]]:
    found = {
        "access_key_id": credentials["access_key_id"],
        "secret_access_key": credentials["secret_access_key"],
        "token": credentials.get("session_token"),
        "expires_at": None,
    }
    return lambda: found


def _session() -> Any:
    """boto3's: it knows every place where AWS keeps credentials, which obstore does not."""
    import boto3

    return cast(Any, boto3.Session())


def _from_session(session: Any) -> Callable[[], Any]:
    from obstore.auth.boto3 import Boto3CredentialProvider

    if session.get_credentials() is None:
        raise AccessDenied(
            "no credentials for S3 are found here",
            detail="looked where AWS's own tools look: the environment, ~/.aws, the machine's role",
            hint="export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the vault `credentials` in the plan",
        )
    return cast("Callable[[], Any]", Boto3CredentialProvider(session))


# ── Google Cloud Storage ─────────────────────────────────────────────────────────────────────────


def _gcs(address: Address, reach: Reach) -> Clients:
    config: dict[str, Any] = {}
    if key := reach.credentials.get("service_account"):
        config["service_account_key"] = key
    if reach.endpoint:
        config["base_url"] = reach.endpoint.rstrip("/")
    return _both(GCSStore, address, reach, reach.endpoint or "https://storage.googleapis.com", config=config)


def _emulated(service_account: str) -> str | None:
    """A service account may itself say where its storage is."""
    try:
        found: Any = json.loads(service_account or "{}")
        return str(found["gcs_base_url"])
    except (ValueError, KeyError, TypeError):
        return None


# ── Azure Blob ───────────────────────────────────────────────────────────────────────────────────


def _azure(address: Address, reach: Reach) -> Clients:
    account, endpoint = reach.account, reach.endpoint
    if not account:
        raise Usage(
            f"{address} does not say whose container it is",
            hint="name the storage account: `account:` of the vault, or AZURE_STORAGE_ACCOUNT_NAME",
        )
    config: dict[str, Any] = {"account_name": account}
    if key := reach.credentials.get("account_key"):
        config["account_key"] = key
    if token := reach.credentials.get("sas_token"):
        config["sas_key"] = token.removeprefix("?")
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    return _both(AzureStore, address, reach, endpoint or f"https://{account}.blob.core.windows.net", config=config)
