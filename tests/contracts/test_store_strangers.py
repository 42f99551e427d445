"""Objects that somebody else put into our bucket, with names that a client's library does not read."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from backstay.adapters.objectstore import Address, FolderStore, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.errors import ObjectMissing, StoreUnsuitable
from backstay.ports import Key
from fix_buckets import PLAIN

OURS = ["pre/points/db/1", "pre/points/db/2", "pre/points/e/1"]
STRANGE = ["pre/points//x", "pre/points/db/../x", "pre/points/./x", "pre/points/db/1//", "pre//points/x"]


class Listing(BaseHTTPRequestHandler):
    """As AWS lists, which takes any name; SeaweedFS and Azurite refuse or mend such ones. Two objects a page."""

    def __init__(self, keys: list[str], *args: object) -> None:
        self.keys = keys
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        wanted = [key for key in sorted(self.keys) if key.startswith(query.get("prefix", [""])[0])]
        start = int(query.get("continuation-token", ["0"])[0])
        more = start + 2 < len(wanted)
        shown = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag>"
            "<LastModified>2026-11-22T20:44:37.000Z</LastModified></Contents>"
            for key in wanted[start : start + 2]
        )
        token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        data = f"<ListBucketResult>{truncated}{token}{shown}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def keys() -> list[str]:
    return list(OURS)


@pytest.fixture
def url(keys: list[str]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Listing, keys))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strangers_object_hides_none_of_ours(keys: list[str], url: str, strange: str) -> None:
    keys.append(strange)
    store = BucketStore(Address("s3", "bucket", "pre"), Reach(endpoint=url, region="us-east-1", credentials=PLAIN))
    assert [listed.key for listed in store.list()] == [key.removeprefix("pre/") for key in OURS]
    assert [listed.key for listed in store.list("points/db/")] == ["points/db/1", "points/db/2"]


def test_where_it_cannot_be_passed_over_it_is_said(keys: list[str], url: str) -> None:
    keys.append(STRANGE[0])
    account = f'{{"gcs_base_url":"{url}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}'
    store = BucketStore(Address("gs", "bucket", "pre"), Reach(credentials={"service_account": account}))
    with pytest.raises(StoreUnsuitable, match="a name that cannot be read"):
        list(store.list())


def test_pipes_and_links_in_a_folder_hold_nobody_up(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "vault")
    store.put(Key("points/db/1"), [b"ours"])
    points = tmp_path / "vault" / "points"
    os.mkfifo(points / "db" / "2")
    (points / "db" / "3").symlink_to("/etc/hostname")
    for name in ("up", "again"):
        (points / name).symlink_to("..")
    assert [listed.key for listed in store.list()] == ["points/db/1"]
    for key in ("points/db/2", "points/db/3", "points/db"):
        with pytest.raises(ObjectMissing):
            store.get(Key(key))
    assert store.get(Key("points/db/1")) == b"ours"
