"""What a bucket is called, and how it is reached.

`s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`: an address says where a vault is, and nothing else.
Who we are, through which proxy we go and how long we wait is its `Reach`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from backstay.errors import Usage

Scheme = Literal["s3", "gs", "az"]
SCHEMES: tuple[Scheme, ...] = ("s3", "gs", "az")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket, and the part of its keys that is ours."""

    scheme: Scheme
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises Usage. What it says never repeats the text: it may hold a password."""
        scheme, _, rest = text.partition("://")
        bucket, _, prefix = rest.partition("/")
        prefix = prefix.rstrip("/")
        if scheme not in SCHEMES:
            raise Usage(
                "a vault is a folder, or an address that begins with s3://, gs:// or az://",
                hint="write it like s3://bucket/prefix",
            )
        if "@" in bucket:
            raise Usage(
                f"the address of a vault at {scheme}:// holds something before an @: a password has no place there",
                hint="give credentials in the environment, or as references under the vault's `credentials`",
            )
        if not _BUCKET.match(bucket):
            raise Usage(
                f"the address of a vault at {scheme}:// does not name a bucket",
                detail="names of buckets have small letters, digits, dots and hyphens, and at least three signs",
                hint=f"write it like {scheme}://bucket/prefix",
            )
        if prefix and (not _PREFIX.match(prefix) or not all(part.strip(".") for part in prefix.split("/"))):
            raise Usage(
                f"what follows the bucket in {scheme}://{bucket} cannot begin the names of objects",
                detail="letters, digits, dots, underscores and hyphens, in parts joined by /",
            )
        return cls(scheme, bucket, prefix)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take, in seconds. An operation has a deadline beside: `around.Patient`."""

    connect_s: float = 10
    silence_s: float = 30
    """Without a single byte of the answer. A request that sends much is silent until it has sent it."""
    request_s: float = 600
    """In all. A pack of 18 MiB needs 32 kB/s to get through."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a bucket is reached. What is not said, the environment says, as the provider's own tools read it."""

    endpoint: str | None = field(default=None, repr=False)
    """Of a store that speaks the same protocol: `https://minio.example.com:9000`."""
    region: str | None = None
    account: str | None = None
    """Of Azure: who owns the container."""
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """By the names of the plan file. Empty: the provider's standard chain."""
    proxy: str | None = field(default=None, repr=False)
    """Not shown: it may hold a password."""
    ca: bytes | None = field(default=None, repr=False)
    """Certificates in PEM that are believed beside the system's own."""
    patience: Patience = Patience()

    @property
    def host(self) -> str:
        """For people: the endpoint without anything that could be secret. Empty: the provider's own."""
        if self.endpoint is None:
            return ""
        found = urlsplit(self.endpoint)
        return found.hostname + (f":{found.port}" if found.port else "") if found.hostname else ""
