"""What a bucket can do, asked once when it is opened."""

from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.s3 import S3, Refused, reached
from backstay.adapters.objectstore.versions import VersionedBucket
from backstay.ports import Lock, Store

_NO_LOCKS = ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented")


def guarded(within: BucketStore, lock: Lock | None = None) -> Store:
    """`within`, with its versions read and its locks set, as far as the bucket has them.

    Where the bucket keeps no versions it is `within` itself. A lock that the bucket cannot set is left out of the
    traits rather than refused: a backup that is not locked is better than none, and `backstay vault check
    --immutability` says that it is not. Credentials that may not ask are taken to be for a bucket as the plan says.
    """
    if within.address.scheme != "s3":
        return within
    s3 = reached(within.address, within.reach)
    locks = _locks(s3, told=lock is not None)
    if not locks and not _versions(s3):
        return within
    return VersionedBucket(within, s3, lock if locks else None)


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
