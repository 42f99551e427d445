"""What is left of proofs, by the program itself: a random point, JUnit, the structure; and units for timers."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from backstay.processes import working_folder
from fix_estate import Done, program

PLAN = """
backstay: 1
system: {name: shop, title: Shop}
vaults: {local: {url: ./vault, keep: 30d}}
components:
  orders:
    sqlite: ./orders.db
    prove: {at: "03:00", structure: schema.txt}
"""


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "backstay.yaml").write_text(PLAN)
        self.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)", "INSERT INTO orders (what) VALUES ('x')")
        self.run("init").good()

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "orders.db")) as db, db:
            for statement in statements:
                db.execute(statement)

    def run(self, *words: str) -> Done:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTAY_")}
        ended = subprocess.run(
            [*program(), *words], cwd=self.folder, env=kept | {"NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return Done(words, ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def checks(told: Mapping[str, object]) -> dict[str, str]:
    return {check["code"]: check["verdict"] for check in told["proof"]["checks"]}  # type: ignore[index]


def test_a_structure_that_was_committed_is_held_against_a_random_point(shop: Shop) -> None:
    shop.run("backup").good()
    # Nothing is committed yet: the plan's file is missing, and that is no pass.
    assert shop.run("verify", "--structure", "schema.txt", "--json").code == 35
    assert "table orders: CREATE TABLE orders" in (shop.folder / "schema.txt").read_text()
    assert shop.run("verify", "--random", "7", "--junit", "out.xml").code == 0
    shop.sql("CREATE INDEX by_what ON orders (what)")
    shop.run("backup").good()
    point = json.loads(shop.run("points", "--json").good().out)["points"][-1]["id"]
    # The sandbox of a prover that died: its lock is free, so this one sweeps it.
    with working_folder(shop.folder / ".backstay" / "scratch", "prove-20260101") as dead:
        (dead / "customers").write_text("in the clear")
        shutil.copytree(dead, left := dead.with_name("prove-20260101-dead"))
        left.with_name(f"{left.name}.lock").touch()
        done = shop.run("verify", "--point", point, "--junit", "out.xml", "--json")
        assert dead.exists(), "that one is alive"
    assert not left.exists()
    assert done.code == 34
    [told] = done.json["proofs"]
    assert checks(told)["S02"] == "failed"
    assert {check["code"]: check["severity"] for check in told["proof"]["checks"]}["S02"] == "promise"
    top = fromstring((shop.folder / "out.xml").read_bytes())
    [failure] = top.iter("failure")
    assert failure.get("message") == "1 new against schema.txt: + index by_what: CREATE INDEX by_what ON orders (what)"
    picked = shop.run("verify", "--random", "7", "--json").json["proofs"][0]
    assert picked["picked"] == "picked at random out of 2 points of the last 7 days"
    for odd in (("--random", "0"), ("--random", "3", "--point", point)):
        assert shop.run("verify", *odd).code == 2


def test_systemd_takes_the_units(shop: Shop) -> None:
    (shop.folder / "backstay.yaml").write_text(
        PLAN + 'watch: {every: 1m, checks: [up]}\nsmoke: {up: {run: ["true"]}}\n'
    )
    shop.run("schedule", "--systemd", "--to", "units").good()
    found = sorted(path.name for path in (shop.folder / "units").iterdir())
    assert "backstay-verify.timer" in found
    assert "backstay-verify.service" in found
    assert shop.run("schedule").code == 2
    assert f"backup --due --plan {shop.folder}/backstay.yaml" in shop.run("schedule", "--cron").good().out
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here to judge the units")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(shop.folder / "units" / name) for name in found)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "backstay-" in line]
    assert (done.returncode, complaints) == (0, [])
