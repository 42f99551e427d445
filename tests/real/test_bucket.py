"""A vault in a bucket, through the command line; with a server that dies, and one that says no."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fix_buckets import BUCKET, OWNER, PLAIN, READER, SeaweedFS, free_port
from fix_estate import Done, program
from fix_vault import noise
from fix_waiting import until

EXTRACTOR = Path(__file__).resolve().parents[2] / "tools" / "backstay-extract.py"
PLAN = """\
backstay: 1
system: {name: shop}
vaults:
  off: {url: "s3://%(bucket)s/%(prefix)s", endpoint: "%(endpoint)s"%(more)s,
        credentials: {access_key_id: "${env:BUCKET_ID}", secret_access_key: "${file:./secret}"}}
components:
  papers: {files: {path: ./papers}}
  photos: {files: {path: ./photos}}
"""


class Shop:
    """Two folders to be protected, and a plan whose only vault is a bucket."""

    def __init__(self, folder: Path, endpoint: str, *, bucket: str = BUCKET, more: str = "") -> None:
        self.folder, self.prefix = folder, folder.name
        for name, files in (("papers", 3), ("photos", 12)):
            (folder / name).mkdir(parents=True)
            for number in range(files):
                (folder / name / f"{number}").write_bytes(noise(2_000_000 + number, number))
        values = {"bucket": bucket, "prefix": self.prefix, "endpoint": endpoint, "more": more}
        (folder / "backstay.yaml").write_text(PLAN % values)
        self.be(PLAIN)

    def be(self, who: dict[str, str]) -> None:
        self.id = who["access_key_id"]
        (self.folder / "secret").write_text(who["secret_access_key"])
        (self.folder / "secret").chmod(0o600)

    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTAY_")}
        return kept | {"BUCKET_ID": self.id, "NO_COLOR": "1"}

    def run(self, *words: str, **more: str) -> Done:
        ended = subprocess.run(
            [*program(), *words], cwd=self.folder, env=self.env() | more, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=180,
        )  # fmt: skip
        return Done(words, ended.returncode, ended.stdout, ended.stderr)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*program(), *words], cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def points(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run("points", "--json").good().json["points"]
        return found

    def is_laid_down(self, component: str, point: str) -> bool:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        self.run("restore", component, "--point", point, "--to", "out").good()
        return contents(self.folder / "out") == contents(self.folder / component)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shop(weed: SeaweedFS, tmp_path: Path) -> Shop:
    return Shop(tmp_path / f"shop-{os.getpid()}-{tmp_path.name}", weed.url)


@pytest.fixture
def ready(shop: Shop) -> Shop:
    shop.run("init").good()
    return shop


def test_a_point_goes_into_a_bucket_and_comes_back_proven(weed: SeaweedFS, ready: Shop, tmp_path: Path) -> None:
    ready.run("backup").good()
    ready.run("verify").good()
    points = ready.points()
    assert [(point["component"], point["proof"]) for point in points] == [("papers", "proven"), ("photos", "proven")]
    assert all(ready.is_laid_down(point["component"], point["id"]) for point in points)

    # On another machine, with the key and the provider's own variables alone.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy2(ready.folder / "backstay.key", elsewhere / "key")
    argv = [*program(), "restore", "papers", "--to", "out", "--vault", f"s3://{BUCKET}/{ready.prefix}", "--key", "key"]
    env = {
        "PATH": os.defpath, "AWS_ACCESS_KEY_ID": READER["access_key_id"], "AWS_ENDPOINT_URL": weed.url,
        "AWS_SECRET_ACCESS_KEY": READER["secret_access_key"],
    }  # fmt: skip
    subprocess.run(argv, cwd=elsewhere, env=env, check=True, capture_output=True, timeout=120)
    assert contents(elsewhere / "out") == contents(ready.folder / "papers")

    # And without Backstay: the bucket copied to a folder, the extractor, the key.
    client = weed.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{ready.prefix}/"):
        for one in page["Contents"]:
            path = elsewhere / "copy" / one["Key"].removeprefix(f"{ready.prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, one["Key"], str(path))
    for point in points:
        argv = [sys.executable, "-I", str(EXTRACTOR), "extract", "copy", "key", point["id"], f"by-{point['component']}"]
        subprocess.run(argv, cwd=elsewhere, check=True, capture_output=True, timeout=120)
        assert contents(elsewhere / f"by-{point['component']}") == contents(ready.folder / point["component"])


def test_two_hosts_back_up_at_once(ready: Shop) -> None:
    running = [ready.start("backup", "papers"), ready.start("backup", "photos", "--state", "other-state")]
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    codes = [code for _, code in ended]
    assert codes[0] == 0 or codes[1] == 0, ended
    for name, code in zip(("papers", "photos"), codes):
        if code:  # a second journal takes over from the first, which then writes no more: that is said, not lost
            assert code == 51, ended
            ready.run("backup", name, "--state", "other-state").good()
    points = ready.run("points", "--json", "--state", "other-state").good().json["points"]
    assert {point["component"] for point in points} == {"papers", "photos"}
    for point in points:
        assert ready.is_laid_down(point["component"], point["id"])


def test_two_backups_of_one_host_run_side_by_side(ready: Shop) -> None:
    running = [ready.start("backup", name) for name in ("papers", "photos")]
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    assert all(ready.is_laid_down(point["component"], point["id"]) for point in ready.points())


# ── a server that dies ──


@pytest.fixture
def own_weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One that may be killed."""
    server = SeaweedFS(tmp_path_factory.mktemp("own-weed"))
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        server.end()


def test_a_server_that_is_killed_in_the_middle_of_a_backup_and_comes_back_loses_nothing(
    own_weed: SeaweedFS, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "killed", own_weed.url, more=', bandwidth: "8MB/s"')
    shop.run("init").good()
    running = shop.start("backup", "photos")
    packs = f"{shop.prefix}/packs/photos/"
    until(lambda: own_weed.client().list_objects_v2(Bucket=BUCKET, Prefix=packs).get("KeyCount"), "a pack is there")
    assert running.poll() is None, "it is in the middle"
    own_weed.kill()
    own_weed.start()
    out, err = running.communicate(timeout=150)
    assert running.returncode == 0, out + err
    (point,) = shop.points()
    assert shop.is_laid_down("photos", point["id"])
    shop.run("verify", "photos").good()


# ── one that says no ──


def test_wrong_credentials_are_said_and_never_shown(shop: Shop) -> None:
    shop.be(PLAIN | {"secret_access_key": "hunter2-hunter2"})
    failed = shop.run("init")
    assert failed.code == 41, failed.said
    assert "SignatureDoesNotMatch" in failed.err
    assert "hunter2" not in failed.said


def test_who_may_only_read_cannot_back_up_and_leaves_no_point(ready: Shop) -> None:
    ready.be(READER)
    failed = ready.run("backup", "papers", "--json")
    assert failed.code == 41, failed.said
    ready.be(PLAIN)
    assert ready.points() == []


def test_a_bucket_that_is_not_there_is_named(weed: SeaweedFS, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "nowhere", weed.url, bucket="not-there")
    failed = shop.run("init", "--json")
    assert failed.code == 70, failed.said
    assert failed.error()["error"].startswith("there is no bucket 'not-there'")


def test_a_store_that_is_away_is_given_up_soon_and_said(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "away", f"http://127.0.0.1:{free_port()}")
    failed = shop.run("init", "--json")
    assert failed.code == 27, failed.said


def test_a_store_is_probed_and_a_young_upload_is_left_to_whoever_makes_it(weed: SeaweedFS, ready: Shop) -> None:
    client = weed.client(OWNER)
    key = f"{ready.prefix}/packs/papers/0"
    client.create_multipart_upload(Bucket=BUCKET, Key=key)
    assert "nothing was left behind" in ready.run("vault", "tidy").good().out
    told = ready.run("vault", "probe", "off", "--json").good().json["vaults"][0]
    assert {one["works"] for one in told["seen"]["tried"]} == {True}
    assert json.dumps(told).count("put-if-absent") >= 2
