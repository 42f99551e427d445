"""Laws of the grab bag: what was changed in it is found, and its page tells a stranger what to type, and no secret."""

import json
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest

from backstay import config, review
from backstay.app import grabbing, wheels
from backstay.errors import Damaged, ToolMissing
from backstay.history import History
from backstay.review import Bag, BaggedKey, BaggedVault
from backstay.values import ComponentName
from backstay.vault import Keyring
from fix_vault import keyring

PLAN = """\
backstay: 1
system: {name: shop, title: The <Shop>}
objectives: {rto: 1h, rpo: 24h}
sites: {primary: {}}
vaults:
  local: {url: ./vault, keep: 30d}
components:
  orders: {sqlite: orders.db, protect: {full: "02:00"}}
people:
  ann: {name: Ann, email: ann@example.com, phone: "+1 555 0100"}
  bob: {name: Bob, phone: "${env:PHONE_OF_BOB}"}
declaration: {authority: {alone: [ann]}}
"""


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A signed folder, without the wheels."""
    folder = tmp_path / "bag"
    (folder / "plan").mkdir(parents=True)
    (folder / "index.html").write_text("<p>call Ann</p>")
    (folder / "plan" / "backstay.yaml").write_text(PLAN)
    grabbing._sign(folder, keyring())  # pyright: ignore[reportPrivateUsage]
    return folder


def test_a_bag_is_what_was_signed(bag: Path) -> None:
    checked = grabbing.check(bag, keyring())
    assert (checked.code, checked.wrong) == (0, ())
    assert "2 files" in checked.lines[0]


def test_a_stranger_s_signature_is_never_shown_as_verified(bag: Path) -> None:
    for keys in (None, keyring(1)):
        checked = grabbing.check(bag, keys)
        assert checked.code == 35
        assert "compare that with the printed page" in checked.lines[-1]
    trusting = Keyring(keyring(1).identity, keyring(1).seed, frozenset({keyring().writer or b""}))
    assert grabbing.check(bag, trusting).code == 0


@pytest.mark.parametrize("what", ["changed", "missing", "added", "a link", "a folder", "hidden"])
def test_what_is_not_as_it_was_is_named(what: str, bag: Path) -> None:
    page = bag / "index.html"
    if what == "changed":
        page.write_text("<p>call Mallory</p>")
    elif what == "added":
        (bag / "plan" / "more").write_text("")
    elif what == "hidden":
        (bag / ".hidden").write_text("")
    else:
        page.rename(bag.parent / "elsewhere.html")
        if what == "a link":
            page.symlink_to(bag.parent / "elsewhere.html")
        elif what == "a folder":
            page.mkdir()
    checked = grabbing.check(bag, keyring())
    assert checked.code == Damaged.code
    assert len(checked.wrong) == 1, checked.wrong


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"by": 1, "signature": 2}', '{"by": "zz", "signature": ""}', "\x00", "9" * 5000]
)
def test_a_signature_that_is_none_is_refused(text: str, bag: Path) -> None:
    (bag / "SHA256SUMS.sig").write_text(text)
    with pytest.raises(Damaged):
        grabbing.check(bag, keyring())


def test_a_list_that_was_written_anew_needs_a_signature_too(bag: Path) -> None:
    (bag / "index.html").write_text("<p>call Mallory</p>")
    said = json.loads((bag / "SHA256SUMS.sig").read_text())
    grabbing._sign(bag, keyring(1))  # pyright: ignore[reportPrivateUsage]
    forged = json.loads((bag / "SHA256SUMS.sig").read_text())
    (bag / "SHA256SUMS.sig").write_text(json.dumps(forged | {"by": said["by"]}))
    with pytest.raises(Damaged, match="not what was signed"):
        grabbing.check(bag, keyring())


@pytest.mark.parametrize("sums", [b"\xff\xfe  \x1b[2J\n", b"no list\n\n", b"0  ../../etc/passwd\n"])
def test_a_bag_of_an_attacker_is_his_whatever_he_signed(sums: bytes, bag: Path) -> None:
    (bag / "SHA256SUMS").write_bytes(sums)
    thief = keyring(1)
    said = {"by": (thief.writer or b"").hex(), "signature": thief.sign(b"backstay 1 grab-bag\n" + sums).hex()}
    (bag / "SHA256SUMS.sig").write_text(json.dumps(said))
    assert grabbing.check(bag, keyring()).code == 24


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="is no grab bag"):
        grabbing.check(tmp_path, None)


def test_the_page_installs_no_extra_whose_wheels_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = wheels.distribution

    def lacking(name: str) -> Distribution:
        if name == "shamir-mnemonic":
            raise PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(wheels, "distribution", lacking)
    assert wheels.whole(("postgres", "keys")) == ("postgres",)
    monkeypatch.undo()
    assert wheels.whole(("postgres", "keys")) == ("postgres", "keys")


def test_the_page_tells_a_stranger_everything_and_needs_nothing() -> None:
    plan = config.parse(PLAN, "backstay.yaml")
    head = "3/214:9f86d081884c7d65"
    page = review.html(
        review.grab_bag(
            plan,
            History(),
            Bag(
                made=datetime(2026, 11, 28, tzinfo=UTC), version="1",
                platform="Python 3.11 on Linux x86_64, glibc 2.36",
                extras=("s3",), installer="pip-1-py3-none-any.whl",
                vaults=(
                    BaggedVault("local", "s3://safe/here", "ab" * 8, head, "today, over 9 facts", (
                        (ComponentName("orders"), "20261122T204437Z-7f3a9c1d", "yesterday"),
                    )),
                ),
                keys=(BaggedKey("age1xyz", "read everything back"),), missing=("pip, to install the wheels with",),
                files=(("index.html", 10),), key_inside=True, signer="cd" * 16,
            ),
        )
    )  # fmt: skip
    for said in (
        "The &lt;Shop&gt;", "Python 3.11 on Linux", head, "s3://safe/here", "backstay bootstrap --vault s3://safe/here",
        "+1 555 0100", "sha256sum --quiet -c SHA256SUMS", "backstay recover database-loss --by ann", "age1xyz",
        "Share 5", "The key is inside", "Not in this bag", "pip-1-py3-none-any.whl/pip", "20261122T204437Z-7f3a9c1d",
        "cd" * 16,
    ):  # fmt: skip
        assert said in page, said
    assert "PHONE_OF_BOB" not in page
    for outside in ("<script", "http://", "https://", "<img", "<link", "@import", "url("):
        assert outside not in page, outside
