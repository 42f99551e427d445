"""Whether a bucket keeps versions or locks, asked without boto3: signed as it signs, believed only when plain."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from backstay.adapters.objectstore import Address, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.adapters.objectstore.guarding import is_plain
from backstay.adapters.objectstore.signing import Signer
from fix_buckets import LOCKER, PLAIN, SeaweedFS

Answers = dict[str, tuple[int, str]]

NEITHER: Answers = {
    "versioning": (200, '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'),
    "object-lock": (404, "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"),
}


@pytest.mark.parametrize("token", [None, "of a/session+="])
@pytest.mark.parametrize("origin", ["https://s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000/s3/"])
def test_a_question_is_signed_as_boto3_signs_it(origin: str, token: str | None) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    who = {"access_key_id": "AKIA", "secret_access_key": "a secret/+", "token": token}
    address, headers = Signer("eu-west-1", lambda: who).question(origin, "a.bucket-1", "versioning", datetime.now(UTC))
    request: Any = AWSRequest("GET", address, headers={"host": headers["host"]})
    request.context = {"timestamp": headers["x-amz-date"], "payload_signing_enabled": True}
    auth: Any = S3SigV4Auth(Credentials("AKIA", "a secret/+", token), "s3", "eu-west-1")
    if token:
        request.headers["X-Amz-Security-Token"] = token
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
    said = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert headers["authorization"].endswith(f"Signature={said}")


def test_a_real_server_takes_the_signature(buckets: SeaweedFS) -> None:
    assert is_plain(BucketStore(Address("s3", "tests", "here"), buckets.reach(LOCKER)))
    stranger = {"access_key_id": "locker", "secret_access_key": "wrong"}
    assert not is_plain(BucketStore(Address("s3", "tests", "here"), buckets.reach(stranger)))


class Answering(BaseHTTPRequestHandler):
    def __init__(self, answers: Answers, *args: object) -> None:
        self.answers = answers
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        status, text = self.answers[urlsplit(self.path).query]
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answers() -> Answers:
    return dict(NEITHER)


@pytest.fixture
def bucket(answers: Answers) -> Iterator[BucketStore]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Answering, answers))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield BucketStore(Address("s3", "bucket", "pre"), Reach(endpoint=url, region="us-east-1", credentials=PLAIN))
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_bucket_that_says_it_has_neither_is_plain(bucket: BucketStore) -> None:
    assert is_plain(bucket)


@pytest.mark.parametrize(
    ("question", "status", "text"),
    [
        ("versioning", 200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
        ("versioning", 200, "<html>Welcome to the hotel's network</html>"),
        ("versioning", 200, ""),
        ("versioning", 403, "<Error><Code>AccessDenied</Code></Error>"),
        ("versioning", 404, "<Error><Code>NoSuchBucket</Code></Error>"),
        ("object-lock", 200, "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"),
        ("object-lock", 403, "<Error><Code>AccessDenied</Code></Error>"),
        ("object-lock", 404, "<Error><Code>NoSuchBucket</Code></Error>"),
        ("object-lock", 503, "<Error><Code>SlowDown</Code></Error>"),
    ],
)
def test_of_anything_else_nothing_is_concluded(
    bucket: BucketStore, answers: Answers, question: str, status: int, text: str
) -> None:
    answers[question] = status, text
    assert not is_plain(bucket)
