"""A folder beside the data, and a bucket of a real S3 server: points go there and come back, as they are."""

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.vault import check, join, open_vault
from backstay.vault.copying import copy_point
from fix_buckets import BUCKET, PLAIN, SeaweedFS
from fix_estate import program
from fix_vault import NOW, SMALL, File, back_up, expected, held, keyring, later, new_vault, noise

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 24h}
sites:
  primary: {}
vaults:
  local: {url: ./local, keep: 30d}
  off-site:
    url: "s3://%(bucket)s/%(below)s"
    endpoint: %(endpoint)s
    region: us-east-1
    credentials: {access_key_id: "${env:KEY_ID}", secret_access_key: "${env:KEY}"}
    keep: 90d
components:
  papers: {files: ./papers, protect: {full: "02:00"}}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""


def test_a_point_goes_through_a_bucket_and_back_and_is_the_same(weed: SeaweedFS, tmp_path: Path) -> None:
    local = new_vault(FolderStore(tmp_path / "local"))
    off_site, back = weed.store(), MemoryStore()
    for store in (off_site, back):
        join(store, local, keys=keyring(), now=NOW)
    things = {**SMALL, "large": File(noise(40 << 20, 7))}
    points = [back_up(local, SMALL), back_up(local, things, now=later(1))]
    there, home = open_vault(off_site, "off-site", keyring()), open_vault(back, "back", keyring())
    for point in reversed(points):
        copy_point(local, there, point, verify=True)
    assert copy_point(local, there, points[1]).moved_bytes == 0
    shutil.rmtree(tmp_path / "local")
    for point in points:
        copy_point(there, home, point)
    assert there.points() == home.points() == points
    assert held(home.open(points[1].id)) == expected(things)
    assert list(check(there, read_data=True)) == []


def test_typed_backup_fills_the_bucket_and_a_restore_needs_nothing_else(weed: SeaweedFS, tmp_path: Path) -> None:
    below = secrets.token_hex(8)
    (tmp_path / "backstay.yaml").write_text(PLAN % {"bucket": BUCKET, "below": below, "endpoint": weed.url})
    (tmp_path / "papers").mkdir()
    for number in range(3):
        (tmp_path / "papers" / f"scan-{number}").write_bytes(noise(3 << 20, number))
    env = {**os.environ, "KEY_ID": PLAIN["access_key_id"], "KEY": PLAIN["secret_access_key"], "COLUMNS": "200"}

    def good(*words: str) -> str:
        done = subprocess.run(
            [*program(), *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    good("init")
    told = json.loads(good("backup", "--json"))
    assert [(one["from"], one["to"]) for one in told["copies"]] == [("local", "off-site")]
    (point,) = json.loads(good("points", "--json"))["points"]
    assert list(point["vaults"]) == ["local", "off-site"]
    shutil.rmtree(tmp_path / "local")
    good("restore", "papers", "--to", "out")
    for path in (tmp_path / "papers").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    proof = json.loads(good("verify", "--vault", "off-site", "--json"))["proofs"][0]
    assert (proof["vault"], proof["result"]) == ("off-site", "proven")
