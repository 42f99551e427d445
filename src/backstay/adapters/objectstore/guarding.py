"""What a bucket can do, asked once when it is opened."""

import re
from datetime import UTC, datetime

import httpx2

from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.s3 import S3, Refused, reached
from backstay.adapters.objectstore.versions import VersionedBucket
from backstay.ports import Lock, Store

_NO_LOCKS = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented")

_CODE = re.compile("<Code>(?:" + "|".join(_NO_LOCKS) + ")</Code>")


def guarded(within: BucketStore, lock: Lock | None = None) -> Store:
    """`within`, with its versions read and its locks set, as far as the bucket has them.

    Where the bucket keeps no versions it is `within` itself. A lock that the bucket cannot set is left out of the
    traits rather than refused: a backup that is not locked is better than none, and `backstay vault check
    --immutability` says that it is not. Credentials that may not ask are taken to be for a bucket as the plan says.
    """
    if within.address.scheme != "s3" or is_plain(within):
        return within
    s3 = reached(within.address, within.reach)
    locks = _locks(s3, told=lock is not None)
    if not locks and not _versions(s3):
        return within
    return VersionedBucket(within, s3, lock if locks else None)


def is_plain(within: BucketStore) -> bool:
    """Whether the bucket says in so many words that it has neither versions nor locks, as most do. Where anything else
    comes of it boto3 asks again, which knows all the ways to be refused: it is a quarter of a second of start-up."""
    signer, origin = within.clients.signer, within.clients.origin
    if signer is None:
        return False
    said: list[httpx2.Response] = []
    try:
        with within.browser() as browser:
            for name in ("versioning", "object-lock"):
                address, headers = signer.question(origin, within.address.bucket, name, datetime.now(UTC))
                said.append(browser.get(address, headers=headers))
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    versions, locks = said
    has_no_versions = "<VersioningConfiguration" in versions.text and "Enabled" not in versions.text
    has_no_locks = locks.status_code in (400, 404, 501) and _CODE.search(locks.text) is not None
    return versions.status_code == 200 and has_no_versions and has_no_locks


def _locks(s3: S3, *, told: bool) -> bool:
    try:
        found = s3.ask("get_object_lock_configuration")
    except Refused as refused:
        if refused.code in _NO_LOCKS or refused.status in (400, 404, 405, 501):
            return False
        if refused.status == 403:
            return told
        raise refused.in_words(s3.bucket) from None
    return found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"


def _versions(s3: S3) -> bool:
    try:
        return s3.ask("get_bucket_versioning").get("Status") == "Enabled"
    except Refused as refused:
        if refused.status in (400, 403, 404, 405, 501) and refused.code != "NoSuchBucket":
            return False
        raise refused.in_words(s3.bucket) from None
