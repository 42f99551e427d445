"""A question about a bucket of S3, signed as AWS wants it (Signature Version 4).

For the two things that are asked whenever a bucket is opened. boto3 asks them too, and costs a quarter of a second of
processor time and 40 MB before its first request.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

_NOTHING = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    region: str
    credentials: Callable[[], Mapping[str, Any]] = field(repr=False)
    """`access_key_id`, `secret_access_key`, and `token` (or None). They may change."""

    def question(self, origin: str, bucket: str, name: str, now: datetime) -> tuple[str, dict[str, str]]:
        """Address and headers of a GET for `name` of the bucket, like `versioning`. Good for a quarter of an hour."""
        who, base = self.credentials(), urlsplit(origin)
        moment = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        host, path = base.netloc.rpartition("@")[2], f"{base.path.rstrip('/')}/{quote(bucket)}"
        headers = {"host": host, "x-amz-content-sha256": _NOTHING, "x-amz-date": moment}
        if token := who.get("token"):
            headers["x-amz-security-token"] = token
        names = ";".join(sorted(headers))
        lines = [f"{header}:{headers[header]}" for header in sorted(headers)]
        request = "\n".join(("GET", path, f"{name}=", *lines, "", names, _NOTHING))
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{who['secret_access_key']}".encode()
        for part in (*scope.split("/"), "\n".join(("AWS4-HMAC-SHA256", moment, scope, digest))):
            key = hmac.digest(key, part.encode(), "sha256")
        credential = f"AWS4-HMAC-SHA256 Credential={who['access_key_id']}/{scope}"
        headers["authorization"] = f"{credential}, SignedHeaders={names}, Signature={key.hex()}"
        return f"{base.scheme}://{host}{path}?{name}", headers
