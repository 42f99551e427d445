"""Laws of letting points go: decided by the plan, written down before it is done, refused where nobody can tell."""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.app import checking, protecting, retaining
from backstay.errors import BackstayError, NoSuchPoint
from backstay.facts import Hold, PointEnded
from backstay.values import ComponentName, PersonName, PointId, VaultName
from backstay.vault import open_vault
from backstay.vault.pruning import Rules
from backstay.verify.freshness import AsNew
from fix_vault import Crash, Mortal
from fix_vaults import Shop, make_shop, screen

PAPERS, LOCAL = ComponentName("papers"), VaultName("local")
KEEP_ONE = {"local": "{url: ./local, keep: {last: 1}}"}


def _shop(tmp_path: Path, points: int = 3) -> Shop:
    shop = make_shop(tmp_path, KEEP_ONE)
    shop.init()
    for n in range(points):
        (shop.papers / "ledger").write_bytes(os.urandom(300_000 + n))
        (one,) = protecting.backup(shop.home(), [], screen)
        assert one.error is None
    return shop


def _points(shop: Shop) -> list[PointId]:
    return [point.id for point in shop.home().vault(LOCAL).points(PAPERS)]


def _unheard(vault: VaultName, finding: checking.Finding) -> None:
    pass


def _never() -> bool:
    return False


def _retain(shop: Shop) -> retaining.Done:
    home = shop.home()
    (done,) = retaining.carry_out(home, retaining.decide_all(home, []), "a test", screen, _never, Rules())
    return done


def test_what_expires_is_written_down_and_gone_and_missed_by_nobody(tmp_path: Path) -> None:
    shop = _shop(tmp_path)
    first, second, third = _points(shop)
    done = _retain(shop)
    assert (done.error, done.ended) == (None, (first, second))
    assert _points(shop) == [third]
    home = shop.home()
    facts = [recorded.fact for recorded in home.journal.everything() if isinstance(recorded.fact, PointEnded)]
    assert [(fact.point, fact.why) for fact in facts] == [(id, "not one of the newest 1") for id in (first, second)]
    assert list(protecting.engine.reconcile(home.journal, home.vault(LOCAL))) == []
    (checked,) = checking.check(home, checking.Wanted(()), screen, _unheard)
    assert isinstance(checked, checking.Checked)
    assert isinstance(checked.freshness, AsNew)


def test_a_hold_keeps_a_point_until_it_is_released(tmp_path: Path) -> None:
    shop = _shop(tmp_path)
    first = _points(shop)[0]
    home = shop.home()
    hold = Hold("h1", first, PAPERS, "keep", "before the migration", PersonName("me"), home.clock.now())
    assert retaining.place_hold(home, hold).vaults == (LOCAL,)
    _retain(shop)
    assert _points(shop)[0] == first
    retaining.release(shop.home(), first, PAPERS, PersonName("me"), "done")
    _retain(shop)
    assert len(_points(shop)) == 1
    with pytest.raises(NoSuchPoint, match="nobody holds"):
        retaining.release(shop.home(), first, PAPERS, PersonName("me"), "again")


def test_nothing_expires_where_clocks_differ_by_more_than_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = _shop(tmp_path)
    home = shop.home()
    store = home.vault(LOCAL).store
    late = store.now() + timedelta(hours=2)
    monkeypatch.setattr(store, "now", lambda: late)
    (shelf,) = retaining.decide_all(home, [])
    assert shelf.error is not None
    assert shelf.error.code == 73
    (done,) = retaining.carry_out(home, [shelf], "a test", screen, _never, Rules())
    assert done.error is shelf.error
    assert len(_points(shop)) == 3


def test_nothing_expires_while_a_vault_is_away_that_may_hold_it(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {**KEEP_ONE, "off-site": "{url: ./off-site, keep: 90d}"})
    shop.init()
    for n in range(2):
        (shop.papers / "ledger").write_bytes(os.urandom(300_000 + n))
        assert all(one.error is None for one in protecting.backup(shop.home(), [], screen))
    before = _points(shop)
    (tmp_path / "off-site").rename(tmp_path / "away")
    home = shop.home()
    done = retaining.carry_out(home, retaining.decide_all(home, []), "a test", screen, _never, Rules())
    assert all(isinstance(one.error, BackstayError) for one in done)
    assert _points(shop) == before
    (tmp_path / "away").rename(tmp_path / "off-site")
    home = shop.home()
    retaining.carry_out(home, retaining.decide_all(home, []), "a test", screen, _never, Rules())
    assert _points(shop) == before[1:]


def test_whoever_dies_while_points_end_the_next_one_goes_on(tmp_path: Path) -> None:
    shop = _shop(tmp_path)
    breaths = 1
    while len(_points(shop)) > 1:
        home = shop.home()
        vault = home.vault(LOCAL)
        shelves = retaining.decide_all(home, [])
        vault.store = Mortal(vault.store, breaths)
        with suppress(Crash, BackstayError):
            retaining.carry_out(home, shelves, "a test", screen, _never, Rules())
        breaths += 3
    assert _retain(shop).error is None
    home = shop.home()
    ended = [recorded.fact.point for recorded in home.journal.everything() if isinstance(recorded.fact, PointEnded)]
    assert len(ended) == len(set(ended)) == 2
    assert list(protecting.engine.reconcile(home.journal, home.vault(LOCAL))) == []


def test_backups_and_pruning_run_beside_each_other_as_processes(tmp_path: Path) -> None:
    shop = _shop(tmp_path, points=1)
    words = [sys.executable, "-m", "backstay"]
    prunings = subprocess.Popen(
        ["/bin/sh", "-c", 'for n in 1 2 3; do "$@" retain --yes --wait 0s || exit $?; done', "sh", *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    kept: dict[PointId, bytes] = {}
    while prunings.poll() is None:
        (shop.papers / "ledger").write_bytes(data := os.urandom(300_000))
        (one,) = protecting.backup(shop.home(), [], screen)
        assert one.error is None
        kept[_points(shop)[-1]] = data
    said = prunings.communicate()[0]
    assert prunings.returncode == 0, said
    home = shop.home()
    vault = open_vault(home.vault(LOCAL).store, "local", home.keys)
    for point in vault.points(PAPERS):
        if point.id in kept:
            assert b"".join(vault.open(point.id).read("ledger")) == kept[point.id]
    assert kept.keys() & {point.id for point in vault.points(PAPERS)}
