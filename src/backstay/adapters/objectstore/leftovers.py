"""Uploads in parts that were begun and never finished: no listing shows them, and somebody pays for them.

obstore takes back the parts of an upload that fails. A process that is killed cannot. boto3 finds what it left, in S3
and in what speaks like it. Azure forgets such blocks by itself after a week; Google Cloud Storage wants a rule of the
bucket for it (`AbortIncompleteMultipartUpload`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from backstay.adapters.objectstore.addresses import Address, Reach
from backstay.adapters.objectstore.s3 import Refused, reached
from backstay.ports import Key


def abort_uploads(address: Address, reach: Reach, *, begun_before: datetime) -> Iterator[Key]:
    """Each is gone when its key comes. S3 only. Raises AccessDenied, BucketMissing, StoreUnreachable."""
    s3, own = reached(address, reach), f"{address.prefix}/" if address.prefix else ""
    asked: dict[str, Any] = {"Prefix": own}
    try:
        while True:
            page = s3.ask("list_multipart_uploads", **asked)
            for upload in cast("list[dict[str, Any]]", page.get("Uploads", [])):
                if cast(datetime, upload["Initiated"]).astimezone(UTC) < begun_before:
                    key = Key(str(upload["Key"]).removeprefix(own))
                    s3.ask("abort_multipart_upload", key, UploadId=upload["UploadId"])
                    yield key
            if not page.get("IsTruncated"):
                return
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    except Refused as refused:
        raise refused.in_words(address.bucket) from None
