"""Opening the store of a vault: a folder, or a bucket with patience and a limit around it."""

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from backstay.adapters.around import Patient, first_answer, paced
from backstay.adapters.objectstore import Address, FolderStore, Reach
from backstay.adapters.secrets import EnvironmentAndFiles
from backstay.errors import SecretMissing, ToolMissing
from backstay.plan import BucketReach, Template, VaultPlace
from backstay.ports import Clock, Lock, Store

PATIENCE = timedelta(minutes=2)
"""Of one operation on a bucket: when its last try may begin."""

_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
_CERTIFICATES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of certificates; AWS's own counts for S3 only."""


def of_vault(place: VaultPlace, base: Path, secrets: EnvironmentAndFiles, clock: Clock) -> Store:
    """`base`: where relative paths of the plan begin. Raises Usage, ToolMissing, AccessDenied, SecretMissing."""
    url = place.url.render(secrets.value)
    if "://" not in url:
        store: Store = FolderStore(base / url)
        return paced(store, clock, place.bandwidth) if place.bandwidth else store
    reach = _reach(place.reach or BucketReach(), place.region, base, secrets)
    lock = None if place.lock is None else Lock(place.lock, place.lock_mode)
    return _bucket(Address.parse(url), reach, clock, place.bandwidth, lock)


def at(address: str, here: Path, clock: Clock) -> Store:
    """By its address alone: who we are, and where a bucket is, the environment says. Raises like `of_vault`."""
    if "://" not in address:
        return FolderStore((here / address).absolute())
    return _bucket(Address.parse(address), Reach(), clock, None)


def abort_uploads(
    place: VaultPlace, base: Path, secrets: EnvironmentAndFiles, begun_before: datetime
) -> tuple[list[str], str]:
    """The keys of uploads in parts that were never finished, taken back; and what cannot be looked for."""
    url = place.url.render(secrets.value)
    if "://" not in url:
        return [], ""
    address = Address.parse(url)
    if address.scheme == "az":
        return [], "Azure forgets unfinished uploads by itself, after a week"
    if address.scheme == "gs":
        return [], "unfinished uploads are the affair of a rule of the bucket: AbortIncompleteMultipartUpload"
    from backstay.adapters.objectstore.leftovers import abort_uploads

    reach = _trusting(address, _reach(place.reach or BucketReach(), place.region, base, secrets))
    return [str(key) for key in abort_uploads(address, reach, begun_before=begun_before)], ""


def _bucket(address: Address, reach: Reach, clock: Clock, bandwidth: int | None, lock: Lock | None = None) -> Store:
    try:
        from backstay.adapters.objectstore.bucket import BucketStore
        from backstay.adapters.objectstore.guarding import guarded

        plain = BucketStore(address, _trusting(address, reach))
        bucket = first_answer(plain, clock, lambda: guarded(plain, lock))
    except ModuleNotFoundError as error:
        raise ToolMissing(
            f"a vault at {address.scheme}:// needs the Python package {error.name!r}, which is not installed here",
            hint=f"in Backstay's clone: pip install '.[{_EXTRAS[address.scheme]}]'",
        ) from None
    # The limit is inside: what is tried again goes through the line again.
    return Patient(paced(bucket, clock, bandwidth) if bandwidth else bucket, clock, total=PATIENCE)


def _reach(said: BucketReach, region: str | None, base: Path, secrets: EnvironmentAndFiles) -> Reach:
    def rendered(template: Template | None) -> str | None:
        return None if template is None else template.render(secrets.value)

    ca = rendered(said.ca)
    return Reach(
        endpoint=rendered(said.endpoint),
        region=region,
        account=rendered(said.account),
        credentials={name: template.render(secrets.value) for name, template in said.credentials.items()},
        proxy=rendered(said.proxy),
        ca=None if ca is None else _certificates(base / ca, "the vault's `ca`"),
    )


def _trusting(address: Address, reach: Reach) -> Reach:
    """With the certificates that the environment names, where the plan names none."""
    names = _CERTIFICATES if address.scheme == "s3" else _CERTIFICATES[1:]
    named = next((name for name in names if os.environ.get(name)), None)
    if reach.ca is not None or named is None:
        return reach
    return replace(reach, ca=_certificates(Path(os.environ[named]), named))


def _certificates(path: Path, named: str) -> bytes:
    try:
        found = path.read_bytes()
    except OSError as error:
        raise SecretMissing(f"the certificates at {path} cannot be read: {error.strerror}", detail=named) from None
    if b"-----BEGIN CERTIFICATE-----" not in found:
        raise SecretMissing(f"there are no certificates in {path}", detail=f"{named} names a file in PEM")
    return found
