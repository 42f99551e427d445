"""Real servers that keep buckets: one of each kind for a test session, on 127.0.0.1, on ports that were free."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from backstay.adapters.objectstore import Address, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from fix_waiting import until

OWNER = {"access_key_id": "owner", "secret_access_key": "owner-secret"}
"""May do everything. SeaweedFS makes a bucket that such a one writes to."""
PLAIN = {"access_key_id": "plain", "secret_access_key": "plain-secret"}
"""Reads, writes, lists and deletes in buckets that are there."""
LOCKER = {"access_key_id": "locker", "secret_access_key": "locker-secret"}
"""As PLAIN, and locks objects. Lifts no lock."""
READER = {"access_key_id": "reader", "secret_access_key": "reader-secret"}
BUCKET = "tests"
VERSIONED, LOCKED = "keeps-versions", "locks-versions"

_LOCKS = ["GetObjectRetention", "PutObjectRetention", "GetObjectLegalHold", "GetBucketObjectLockConfiguration"]
_IDENTITIES = [(OWNER, ["Admin", "Read", "Write", "List", "Tagging"]), (PLAIN, ["Read", "Write", "List", "Tagging"]),
               (LOCKER, ["Read", "Write", "List", "Tagging", *_LOCKS]), (READER, ["Read", "List"])]  # fmt: skip


def free_port(*, also: int = 0) -> int:
    """A port of 127.0.0.1 that nobody has now, and neither the one so much higher."""
    for _ in range(200):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 20_000 + secrets.randbelow(12_000)))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + also if also else 0))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def _answers(url: str, accept: Callable[[int], bool] = lambda status: status < 500) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return accept(httpx2.get(url, trust_env=False).status_code)
        except httpx2.HTTPError:
            return False

    return ask


class Server:
    """A process that answers at `url`. It ends with `end`, by its own id."""

    def __init__(self, argv: list[str], url: str, log: Path) -> None:
        self.argv, self.url, self.log = argv, url, log
        self.process: subprocess.Popen[bytes] | None = None
        # Servers take their own settings from the environment, and clients of tests theirs: neither are ours.
        self.env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True
            )
        until(self.ready, f"{self.argv[0]} answers at {self.url}; see {self.log}", seconds=90)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.argv[0]} ended: {self.log.read_text()[-2000:]}"
        return _answers(self.url)()

    def kill(self) -> None:
        """As a power cut does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


class SeaweedFS(Server):
    """An S3 server with real signatures, conditional writes, versions and object locks."""

    def __init__(self, folder: Path, *flags: str) -> None:
        s3, master, filer, volume = (free_port(also=10_000) for _ in range(4))
        identities = [
            {"name": who["access_key_id"], "actions": actions,
             "credentials": [{"accessKey": who["access_key_id"], "secretKey": who["secret_access_key"]}]}
            for who, actions in _IDENTITIES
        ]  # fmt: skip
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        data = folder / "data"
        data.mkdir()
        weed = str(Path(sys.executable).with_name("weed"))
        argv = [
            weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-filer.port={filer}",
            f"-master.port={master}", "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", "-volume.max=200",
            "-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", *flags,
        ]  # fmt: skip
        super().__init__(argv, f"http://127.0.0.1:{s3}", folder / "log")
        self.data = data
        self._clients: dict[str, Any] = {}

    def reach(self, who: dict[str, str] = PLAIN, **settings: Any) -> Reach:
        return Reach(endpoint=self.url, region="us-east-1", credentials=who, **settings)

    def store(self, prefix: str = "", **settings: Any) -> BucketStore:
        """Of the bucket for tests: each with a prefix of its own."""
        return BucketStore(Address("s3", BUCKET, prefix or secrets.token_hex(8)), self.reach(**settings))

    def client(self, who: dict[str, str] = OWNER) -> Any:
        """boto3's, to look at the bucket with other eyes."""
        name = who["access_key_id"]
        if name not in self._clients:
            self._clients[name] = self._client(who)
        return self._clients[name]

    def _client(self, who: dict[str, str]) -> Any:
        import boto3
        from botocore.config import Config

        made: Any = boto3
        return made.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=who["access_key_id"],
            aws_secret_access_key=who["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )  # fmt: skip

    def end(self) -> None:
        self.kill()
        for client in self._clients.values():
            client.close()
        shutil.rmtree(self.data, ignore_errors=True)

    def make_bucket(self, name: str = BUCKET, **settings: Any) -> None:
        until(lambda: self._made(name, settings), f"{name} is a bucket", seconds=60)
        # The first object makes volumes, which a master that has just started may not have yet.
        until(lambda: self._kept(name), f"{name} keeps an object", seconds=60)

    def _made(self, name: str, settings: dict[str, Any]) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client().create_bucket(Bucket=name, **settings)
        except ClientError as error:
            return "BucketAlreadyOwnedByYou" in str(error)
        return True

    def _kept(self, name: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client().put_object(Bucket=name, Key="+first", Body=b"x")
            self.client().delete_object(Bucket=name, Key="+first")
        except ClientError:
            return False
        return True


@pytest.fixture(autouse=True, scope="session")
def no_credentials_of_this_machine() -> Iterator[None]:
    """What the person who runs the tests has for his own clouds is not for tests, and nobody asks for a role."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        yield


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    server = SeaweedFS(tmp_path_factory.mktemp("weed"))
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def buckets(weed: SeaweedFS) -> SeaweedFS:
    """With the buckets that keep versions, and lock them."""
    weed.make_bucket(VERSIONED)
    weed.client().put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
    weed.make_bucket(LOCKED, ObjectLockEnabledForBucket=True)
    return weed
