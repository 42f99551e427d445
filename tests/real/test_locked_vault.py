"""A vault in a bucket with Object Lock, on a real S3 server, against somebody who has the host's own credentials."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fix_buckets import LOCKED, LOCKER, OWNER, PLAIN, VERSIONED, SeaweedFS
from fix_estate import program
from fix_vault import noise

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
  off-site:
    url: "s3://%(bucket)s/%(below)s"
    endpoint: %(endpoint)s
    region: us-east-1
    credentials: {access_key_id: "${env:KEY_ID}", secret_access_key: "${env:KEY}"}
    keep: 90d
    %(lock)s
components:
  papers: {files: ./papers, protect: {full: "02:00"}}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""
Done = subprocess.CompletedProcess[str]


@dataclass
class Host:
    """The host that takes backups, and what is in the bucket."""

    folder: Path
    weed: SeaweedFS
    bucket: str
    below: str

    def backstay(self, *words: str, who: dict[str, str] = LOCKER) -> Done:
        env = {**os.environ, "KEY_ID": who["access_key_id"], "KEY": who["secret_access_key"], "COLUMNS": "200"}
        return subprocess.run(
            [*program(), *words], cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def good(self, *words: str, who: dict[str, str] = LOCKER) -> str:
        done = self.backstay(*words, who=who)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def versions(self) -> Iterator[dict[str, Any]]:
        """Every version and marker of the vault, by other eyes than ours."""
        pages = self.weed.client().get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.below + "/"):
            yield from page.get("Versions", ())
            yield from page.get("DeleteMarkers", ())


@pytest.fixture
def host(buckets: SeaweedFS, tmp_path: Path) -> Host:
    return made(buckets, tmp_path, LOCKED, "lock: 30d")


def made(weed: SeaweedFS, folder: Path, bucket: str, lock: str) -> Host:
    below = secrets.token_hex(8)
    said = {"bucket": bucket, "below": below, "endpoint": weed.url, "lock": lock}
    (folder / "backstay.yaml").write_text(PLAN % said)
    papers = folder / "papers"
    papers.mkdir()
    (papers / "contract").write_bytes(b"signed" * 1000)
    (papers / "scan").write_bytes(noise(300_000, 1))
    return Host(folder, weed, bucket, below)


def test_whoever_has_the_hosts_credentials_can_take_nothing_away(host: Host) -> None:
    host.good("init")
    said = host.good("backup")
    assert "locked until" in said
    thief, refused, was = host.weed.client(LOCKER), 0, [one["Key"] for one in host.versions()]
    for one in list(host.versions()):
        at = {"Bucket": host.bucket, "Key": one["Key"]}
        try:  # a versioned DELETE
            thief.delete_object(**at, VersionId=one["VersionId"])
        except thief.exceptions.ClientError as error:
            refused += "AccessDenied" in str(error)
        if "/points/" in one["Key"]:
            thief.delete_object(**at)  # a plain DELETE
        else:
            thief.put_object(**at, Body=b"pay us")
    free = ("reserved/", "locks/")
    assert refused == len([key for key in was if not key.removeprefix(host.below + "/").startswith(free)]) > 5

    assert "papers" in host.good("points")
    host.good("restore", "papers", "--to", "back")
    for name in ("contract", "scan"):
        assert (host.folder / "back" / name).read_bytes() == (host.folder / "papers" / name).read_bytes()
    seen = host.backstay("vault", "check", "--json")
    assert seen.returncode == 77
    findings = [one for one in json.loads(seen.stdout)["vaults"][0]["findings"] if one["weight"] == "covered"]
    named = {one["key"].split("/")[0]: one for one in findings}
    assert {"vault", "keys", "points", "packs", "nodes", "notes"} <= set(named)
    assert "a delete marker hides it" in named["points"]["said"]
    assert named["packs"]["point"] is not None
    assert "overwritten" in named["packs"]["said"]

    host.good("backup")  # goes on, and what it builds on is sound
    host.good("vault", "uncover", "off-site")
    seen = host.backstay("vault", "check", "--read-data", "--json")
    (vault,) = json.loads(seen.stdout)["vaults"]
    assert {one["key"].split("/")[0] for one in vault["findings"]} <= {"reserved"}, "it is meant to go, and not locked"
    assert [point["standing"] for point in vault["points"]] == ["whole", "whole"]
    by_key: dict[str, int] = {}
    for one in host.versions():
        by_key[one["Key"]] = by_key.get(one["Key"], 0) + 1
    assert set(by_key.values()) == {1}


def test_the_lock_is_proved_by_trying_and_a_missing_one_is_not_passed(
    host: Host, buckets: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host.good("init")
    host.good("backup")
    said = host.good("vault", "check", "--immutability", "--all", "off-site")
    for what in ("lock", "delete", "overwrite", "shorten", "destroy", "bypass", "vault", "papers"):
        assert f"✔ {what:<10} passed:" in said, said
    told = json.loads(host.good("vault", "check", "--immutability", "--json"))
    assert {one["verdict"] for one in told["vaults"][0]["tried"]} == {"passed"}

    other = made(buckets, tmp_path_factory.mktemp("other"), VERSIONED, "lock: 30d")
    other.good("init")
    said = other.good("backup")
    assert "locked until" not in said
    assert "NOT locked: the plan promises `lock: 30 d`" in said
    done = other.backstay("vault", "check", "--immutability")
    assert done.returncode == 35
    assert "✔" not in done.stdout
    assert "not verified: the plan promises `lock: 30 d`" in done.stdout
    assert "it keeps versions, so what is deleted there can still be brought back" in done.stdout


def test_a_governance_lock_that_our_own_credentials_can_lift_fails(buckets: SeaweedFS, tmp_path: Path) -> None:
    host = made(buckets, tmp_path, LOCKED, "lock: 1d\n    lock_mode: governance")
    host.good("init")
    host.good("backup")
    assert host.backstay("vault", "check", "--immutability").returncode == 0
    done = host.backstay("vault", "check", "--immutability", who=OWNER)
    assert done.returncode == 65
    assert "bypass     failed: to bypass its lock worked: these credentials have the right" in done.stdout


def test_credentials_that_may_not_lock_are_told_before_anything_is_believed(buckets: SeaweedFS, tmp_path: Path) -> None:
    host = made(buckets, tmp_path, LOCKED, "lock: 1d")
    done = host.backstay("init", who=PLAIN)
    assert done.returncode == 41
    assert "AccessDenied" in done.stderr
    assert list(host.versions()) == []
