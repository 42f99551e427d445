"""The edge to boto3, which has no types: one way to ask, what is answered, and its errors in our words."""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from backstay.adapters.objectstore.addresses import Address, Reach
from backstay.errors import (
    AccessDenied,
    BackstayError,
    BucketMissing,
    ObjectMissing,
    StoreUnreachable,
    StoreUnsuitable,
    Usage,
)
from backstay.ports import Key

Answer = dict[str, Any]

_MISSING = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
_CODE = re.compile(r"[A-Za-z0-9]{1,60}\Z")
_AGAIN = {"SlowDown", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "InternalError"}


class Refused(Exception):
    """S3 said no. `code` is its word for why; its sentences are not repeated, for a server that is not S3 could say
    back in them what we sent, and a session's token is sent as it is."""

    def __init__(self, code: str, status: int) -> None:
        self.code, self.status = code if _CODE.match(code) else "", status
        super().__init__(self.code)

    def in_words(self, bucket: str, key: str = "") -> BackstayError:
        """Ours."""
        at = f"at {key}" if key else ""
        said = f"it answered {self.status} {self.code}".rstrip()
        if self.code == "NoSuchBucket":
            return BucketMissing(
                f"there is no bucket {bucket!r}", detail=at, hint="compare the address with the plan, and the region"
            )
        if self.code in _MISSING or (self.status == 404 and key):
            return ObjectMissing(f"{key} is not in {bucket}")
        if self.code in _AGAIN or self.status >= 500 or self.status in (409, 429):
            return StoreUnreachable(f"the bucket {bucket} does not answer: {said}", detail=at)
        if self.status in (401, 403):
            return AccessDenied(f"the bucket {bucket} refuses us: {said}", detail=at)
        return StoreUnsuitable(f"the bucket {bucket} cannot do what a vault needs: {said}", detail=at)


@dataclass(frozen=True, slots=True)
class Entry:
    """A version, or a delete marker."""

    key: Key
    version: str
    modified: datetime
    latest: bool
    size_bytes: int
    marker: bool


class S3:
    """One bucket, below one prefix. Every method raises Refused for a no, and StoreUnreachable or AccessDenied where
    there was no answer at all. For several threads."""

    def __init__(self, client: object, address: Address, *, in_order: bool = True, page: int = 1000) -> None:
        """`in_order`: whether it lists by key; `page`: how much of a listing comes at once."""
        self._client, self._in_order, self._page = client, in_order, page
        self.bucket, self._prefix = address.bucket, f"{address.prefix}/" if address.prefix else ""
        self._ahead: timedelta | None = None
        """How far the clock of S3 is ahead of ours, by its last answer."""

    def ask(self, call: str, key: Key | None = None, **asked: Any) -> Answer:
        """One call of the client, by boto3's name for it."""
        if key is not None:
            asked["Key"] = self._prefix + key
        with _answering():
            answer = cast("Callable[..., Answer]", getattr(self._client, call))(Bucket=self.bucket, **asked)
        self._note_time(answer)
        return answer

    def read(self, key: Key, version: str, start: int, length: int | None) -> bytes:
        """Of one version. Nothing, past its end."""
        if length is not None and length <= 0:
            return b""
        span = f"bytes={start}-" + (f"{start + length - 1}" if length is not None else "")
        try:
            answer = self.ask("get_object", key, VersionId=version, Range=span)
        except Refused as refused:
            if refused.status == 416:
                return b""
            raise
        with _answering():
            return cast(bytes, answer["Body"].read())

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All versions and markers below `prefix`: by key, and for each key the newest version first. Markers of a key
        come after its versions on a page, for S3 lists them apart."""
        if self._in_order:
            return (found for found in self._pages(prefix) if isinstance(found, Entry))
        return iter(sorted(self._walked(prefix), key=lambda entry: entry.key))  # what is equal keeps its order

    def _walked(self, prefix: str) -> Iterator[Entry]:
        """Folder by folder. A server that lists in another order than that of keys, like SeaweedFS, would lose keys
        between two pages: a page begins behind the last key of the one before."""
        folders: list[str] = []
        for found in self._pages(prefix, Delimiter="/"):
            if isinstance(found, Entry):
                yield found
            else:
                folders.append(found)
        for folder in folders:
            yield from self._walked(folder)

    def _pages(self, prefix: str, **asked: Any) -> Iterator[Entry | str]:
        """Entries, and the folders where a delimiter is asked for."""
        asked["MaxKeys"] = self._page
        while True:
            page = self.ask("list_object_versions", Prefix=self._prefix + prefix, **asked)
            found = [self._entry(one, marker=False) for one in page.get("Versions", ())]
            found += [self._entry(one, marker=True) for one in page.get("DeleteMarkers", ())]
            yield from sorted(found, key=lambda entry: entry.key)
            yield from (str(one["Prefix"]).removeprefix(self._prefix) for one in page.get("CommonPrefixes", ()))
            if not page.get("IsTruncated"):
                return
            before = asked.get("KeyMarker"), asked.get("VersionIdMarker")
            after = page.get("NextKeyMarker"), page.get("NextVersionIdMarker") or None
            if after[0] is None or after == before:
                raise StoreUnreachable(f"the listing of the bucket {self.bucket} does not go on, and does not end")
            asked |= {"KeyMarker": after[0], "VersionIdMarker": after[1]}
            if after[1] is None:
                del asked["VersionIdMarker"]

    def _entry(self, one: Answer, *, marker: bool) -> Entry:
        return Entry(
            Key(str(one["Key"]).removeprefix(self._prefix)), str(one["VersionId"]),
            cast(datetime, one["LastModified"]).astimezone(UTC), bool(one["IsLatest"]), int(one.get("Size", 0)), marker,
        )  # fmt: skip

    def now(self) -> datetime:
        """By the clock of S3, as of its last answer: our own, put right by what the two differ."""
        if self._ahead is None:
            self.ask("head_bucket")
        return datetime.now(UTC) + (self._ahead or timedelta())

    def _note_time(self, answer: Answer) -> None:
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        with suppress(TypeError, ValueError):  # what is no time says nothing about the clock
            self._ahead = parsedate_to_datetime(date).replace(tzinfo=UTC) - datetime.now(UTC)


def reached(address: Address, reach: Reach) -> S3:
    """Asks nobody yet. Raises ImportError without boto3, Usage for settings that make no sense to it."""
    import boto3
    from botocore.config import Config

    proxies = {"http": reach.proxy, "https": reach.proxy} if reach.proxy else None
    config = Config(
        retries={"total_max_attempts": 1},  # patience is `adapters.around`'s: two kinds of it would multiply
        s3={"addressing_style": "path" if reach.endpoint else "auto"}, proxies=proxies, max_pool_connections=64,
        connect_timeout=reach.patience.connect_s, read_timeout=reach.patience.silence_s,
    )  # fmt: skip
    given = reach.credentials
    session: Any = cast(Any, boto3).Session()
    region = reach.region or os.environ.get("AWS_REGION") or session.region_name or "us-east-1"
    with _answering():
        client = session.client(
            "s3", region_name=region, endpoint_url=reach.endpoint, config=config, verify=_trusted(reach.ca),
            aws_access_key_id=given.get("access_key_id"), aws_secret_access_key=given.get("secret_access_key"),
            aws_session_token=given.get("session_token"),
        )  # fmt: skip
    # As `bucket` has it: only AWS itself is known to list in the order of keys.
    return S3(client, address, in_order=reach.endpoint is None and not address.bucket.endswith("--x-s3"))


def _trusted(ca: bytes | None) -> str | None:
    """A file with these certificates and the usual ones, which botocore takes from files only. It has no name, and is
    gone with the process."""
    if ca is None:
        return None
    from botocore.httpsession import get_cert_path  # pyright: ignore[reportUnknownVariableType]

    usual = Path(get_cert_path(True)).read_bytes()
    handle = os.memfd_create("backstay-ca")
    os.write(handle, usual + b"\n" + ca)
    return f"/proc/self/fd/{handle}"


@contextmanager
def _answering() -> Generator[None]:
    """What botocore raises, as Refused or in our words."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        said = cast(Answer, error.response)
        status = int(said.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise Refused(str(said.get("Error", {}).get("Code", "")), status) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        raise AccessDenied("there are no credentials for the bucket here", detail=str(error), hint=hint) from None
    except (exceptions.ParamValidationError, exceptions.NoRegionError, ValueError) as error:
        # botocore's own words repeat what it was given: an endpoint, which can hold a password.
        raise Usage("the bucket cannot be asked like this", detail=type(error).__name__) from None
    except exceptions.BotoCoreError as error:
        raise StoreUnreachable("the bucket does not answer", detail=type(error).__name__) from None
