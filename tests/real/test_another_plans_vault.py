"""Points of a vault that is not in the plan: read and sealed anew where it is of another family, else copied as they
are."""

import json
import shutil
from pathlib import Path

from backstay.app import protecting
from backstay.facts import Point, PointTaken
from backstay.values import VaultName
from backstay.vault.resealing import COPIED
from fix_vaults import Shop, make_shop, screen, typed

LOCAL, OFF_SITE = VaultName("local"), VaultName("off-site")


def take(shop: Shop) -> Point:
    (came,) = protecting.backup(shop.home(), (), screen)
    assert isinstance(came.result, PointTaken), came.result
    return came.result.point


def test_points_of_another_plans_vault_are_read_and_sealed_anew_once(tmp_path: Path) -> None:
    theirs = make_shop(tmp_path / "theirs")
    theirs.init()
    first = take(theirs)
    (theirs.papers / "more").write_bytes(b"more" * 5000)
    second = take(theirs)
    ours = make_shop(tmp_path / "ours")
    ours.init()
    shutil.copy(theirs.folder / "backstay.key", ours.folder / "their.key")
    words = ("vault", "copy", "--from", "../theirs/local")
    refused = typed(ours, *words)
    assert refused.returncode == 23, "our key does not open it"
    done = typed(ours, *words, "--from-key", "their.key", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["copies"]) == 2
    made = ours.home().vault(LOCAL).points()
    assert [point.about[COPIED] for point in made] == [first.id, second.id]
    for old, new in zip((first, second), made):
        assert new.id != old.id
        assert (new.lineage, new.way, new.began, new.ended, new.newest) == (
            old.lineage, old.way, old.began, old.ended, old.newest,
        )  # fmt: skip
        assert (new.size_bytes, new.files) == (old.size_bytes, old.files)
    assert made[1].stored_bytes < made[0].stored_bytes, "what they share is stored once"
    assert "nothing is lacking" in typed(ours, *words, "--from-key", "their.key").stdout
    shutil.rmtree(theirs.folder)
    assert typed(ours, "restore", "papers", "--to", "out").returncode == 0
    assert (ours.folder / "out" / "more").read_bytes() == b"more" * 5000
    assert typed(ours, "vault", "copy").returncode == 0, "and the other vault of the plan gets them"
    assert len(ours.home().vault(OFF_SITE).points()) == 2


def test_a_vault_of_the_same_family_that_is_not_in_the_plan_is_copied_from_as_it_is(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    shop.init()
    point = take(shop)
    shutil.copytree(shop.folder / "local", tmp_path / "copied-by-hand")
    shutil.rmtree(shop.folder / "local" / "points")
    done = typed(shop, "vault", "copy", "--from", "./copied-by-hand", "--to", "off-site", "--json")
    assert done.returncode == 0, done.stderr
    assert shop.home().vault(OFF_SITE).points() == [point]
