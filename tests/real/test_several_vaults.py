"""A plan with several vaults: they are one family, whenever each was made, and one that is away stops nobody."""

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backstay import engine, objectives, spread
from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore import FolderStore
from backstay.app import copying, protecting, reading
from backstay.app.copying import Moved, Wanted
from backstay.app.home import Home
from backstay.app.protecting import Came
from backstay.errors import (
    BackstayError,
    DiskFull,
    NoSuchPoint,
    NotSupported,
    RunBusy,
    SourceUnsuitable,
    StoreUnreachable,
    UnknownName,
    Usage,
    VaultMissing,
    WrongKey,
)
from backstay.facts import Point, PointCopied, PointTaken, Proof, Refuted, RoutineBegan, RoutineFailed, Verdict
from backstay.ports import Key, unwatched
from backstay.values import ComponentName, PointId, RunId, VaultName
from backstay.vault import new_key, refuse_strangers
from backstay.verify import Chosen, NoneGood, candidates, choose
from fix_estate import program
from fix_vault import noise
from fix_vaults import VAULTS, Opens, Shop, make_shop, screen, typed
from fix_waiting import until

LOCAL, OFF_SITE, PAPERS = VaultName("local"), VaultName("off-site"), ComponentName("papers")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path)


@pytest.fixture
def ready(shop: Shop) -> Shop:
    shop.init()
    return shop


def back_up(shop: Shop, *, copy: bool = True, only_due: bool = False) -> tuple[list[Came], list[Moved]]:
    """As the verb does it."""
    home = shop.home()
    read = protecting.Read.DUE if only_due else protecting.Read.EVERYTHING
    came = protecting.backup(home, (), screen, read)
    return came, catch_up(home) if copy else []


def catch_up(home: Home, **wanted: Any) -> list[Moved]:
    return copying.copy(home, protecting.chosen(home, ()), Wanted(**wanted), screen)


def taken(came: list[Came]) -> Point:
    (one,) = came
    assert isinstance(one.result, PointTaken), one.result
    return one.result.point


def points(shop: Shop) -> dict[str, list[PointId]]:
    home = shop.home()
    return {name: [point.id for point in vault.points()] for name, vault in home.vaults.items()}


def edit(shop: Shop, text: str = "more") -> None:
    (shop.papers / text).write_text(text * 5000)


def restored(shop: Shop, to: str, **asked: Any) -> dict[str, bytes]:
    protecting.restore_to(shop.home(), "papers", shop.folder / to, protecting.Which(asked.get("point")), unwatched)
    return {path.name: path.read_bytes() for path in sorted((shop.folder / to).rglob("*")) if path.is_file()}


def papers(shop: Shop) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(shop.papers.iterdir())}


# ── making them ──────────────────────────────────────────────────────────────────────────────────


def test_init_makes_all_vaults_of_one_family(shop: Shop) -> None:
    said = shop.init()
    assert any("of the family of local" in line for line in said)
    home = shop.home()
    refuse_strangers(home.vault(LOCAL), home.vault(OFF_SITE))
    assert [line for line in shop.init() if "the vault" in line] == [
        f"✔ the vault local is there: {shop.folder}/local",
        f"✔ the vault off-site is there: {shop.folder}/off-site",
    ]


@pytest.mark.parametrize("later_first", [False, True])
def test_a_vault_that_is_added_to_the_plan_later_joins_at_the_next_init(tmp_path: Path, later_first: bool) -> None:
    shop = make_shop(tmp_path, {"local": VAULTS["local"]})
    shop.init()
    shop.write_plan(dict(reversed(VAULTS.items())) if later_first else VAULTS)
    assert any("made the vault off-site" in line and "family of local" in line for line in shop.init())
    refuse_strangers(shop.home().vault(LOCAL), shop.home().vault(OFF_SITE))


def test_init_says_where_a_vault_was_that_it_makes_anew(ready: Shop) -> None:
    assert typed(ready, "backup").returncode == 0
    (ready.folder / "off-site").rename(ready.folder / "not-mounted")
    made = ready.init()
    assert any("made the vault off-site" in line for line in made)
    assert "! the journal knows 1 point in the vault off-site, and none is there: is its disk mounted?" in made
    assert typed(ready, "vault", "copy").returncode == 0
    assert not any(line.startswith("!") for line in ready.init())


def test_vaults_that_were_made_apart_are_said_to_be_strangers_with_the_way_out(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {"off-site": VAULTS["off-site"]})
    shop.init()
    shop.write_plan({"local": VAULTS["local"]})
    shop.init()
    shop.write_plan()
    (line,) = [line for line in shop.init() if line.startswith("✘")]
    assert "two families" in line
    assert "name an empty place for off-site" in line


def test_while_a_vault_is_away_none_is_made_that_could_be_of_another_family(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(shop.home()).open_vault

    def away(self: object, name: VaultName) -> object:
        if name == LOCAL:
            raise StoreUnreachable("local does not answer")
        return real(self, name)  # type: ignore[arg-type]

    new_key(shop.folder / "backstay.key")
    with monkeypatch.context() as patched:
        patched.setattr(type(shop.home()), "open_vault", away)
        with pytest.raises(StoreUnreachable):
            shop.init()
    assert not (shop.folder / "off-site").exists()


def test_a_key_that_did_not_make_the_first_vault_makes_no_second_one(shop: Shop) -> None:
    shop.write_plan({"local": VAULTS["local"]})
    shop.init()
    (shop.folder / "backstay.key").unlink()
    new_key(shop.folder / "backstay.key")
    shop.write_plan()
    with pytest.raises(BackstayError) as caught:
        shop.init()
    assert isinstance(caught.value, WrongKey)
    assert not (shop.folder / "off-site").exists()


# ── one point, several vaults ────────────────────────────────────────────────────────────────────


def test_a_backup_reads_the_source_once_and_every_vault_has_the_same_point(ready: Shop) -> None:
    with Opens.of(ready.papers / "ledger") as opens:
        came, moved = back_up(ready)
    assert opens.count == 1
    point = taken(came)
    assert came[0].vault == LOCAL
    (one,) = moved
    assert isinstance(one.result, PointCopied)
    assert (one.result.source, one.result.to, one.result.point) == (LOCAL, OFF_SITE, point.id)
    assert one.result.moved_bytes > 0
    assert points(ready) == {"local": [point.id], "off-site": [point.id]}
    facts = ready.home().journal.read(engine.component_stream(PAPERS))
    assert [type(recorded.fact) for recorded in facts] == [RoutineBegan, PointTaken, RoutineBegan, PointCopied]


def test_what_a_vault_has_is_not_copied_again_and_only_what_is_new_moves(ready: Shop) -> None:
    _, (first,) = back_up(ready)
    assert catch_up(ready.home()) == []
    edit(ready)
    _, (second,) = back_up(ready)
    assert isinstance(first.result, PointCopied)
    assert isinstance(second.result, PointCopied)
    assert 0 < second.result.moved_bytes < first.result.moved_bytes


def test_the_point_comes_back_from_the_copy_when_the_first_vault_is_gone(ready: Shop) -> None:
    back_up(ready)
    shutil.rmtree(ready.folder / "local")
    assert restored(ready, "out") == papers(ready)


def test_copies_that_were_left_out_are_made_by_the_next_backup_newest_first(ready: Shop) -> None:
    first = taken(back_up(ready, copy=False)[0])
    edit(ready)
    came, moved = back_up(ready)
    assert [one.point.id for one in moved if one.point] == [taken(came).id, first.id]
    assert points(ready)["off-site"] == points(ready)["local"]


def test_a_third_vault_is_filled_from_the_second_when_the_first_is_gone(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    shop.init()
    point = taken(back_up(shop)[0])
    shop.write_plan({**VAULTS, "third": "{url: ./third, keep: 1 year}"})
    shop.init()
    shutil.rmtree(shop.folder / "local")
    (away, done) = catch_up(shop.home())
    assert isinstance(away.error, VaultMissing)
    assert isinstance(done.result, PointCopied)
    assert (done.result.source, done.result.to, done.result.point) == (OFF_SITE, "third", point.id)
    shutil.rmtree(shop.folder / "off-site")
    assert restored(shop, "out") == papers(shop)


# ── a vault that is away, or full ────────────────────────────────────────────────────────────────


def test_the_next_vault_takes_the_point_when_the_first_is_away_and_the_first_catches_up(ready: Shop) -> None:
    shutil.move(ready.folder / "local", ready.folder / "unplugged")
    with Opens.of(ready.papers / "ledger") as opens:
        came, moved = back_up(ready)
    assert opens.count == 1
    point = taken(came)
    assert came[0].vault == OFF_SITE
    ((passed, why),) = came[0].passed_over
    assert (passed, type(why)) == (LOCAL, VaultMissing)
    assert [(one.to, type(one.error)) for one in moved] == [(LOCAL, VaultMissing)]
    shutil.move(ready.folder / "unplugged", ready.folder / "local")
    (one,) = catch_up(ready.home())
    assert isinstance(one.result, PointCopied)
    assert (one.result.source, one.result.to) == (OFF_SITE, LOCAL)
    assert points(ready) == {"local": [point.id], "off-site": [point.id]}


def test_a_point_that_another_vault_has_is_not_due(ready: Shop) -> None:
    shutil.move(ready.folder / "local", ready.folder / "unplugged")
    back_up(ready)
    shutil.move(ready.folder / "unplugged", ready.folder / "local")
    came, moved = back_up(ready, only_due=True)
    assert came == []
    assert [one.to for one in moved] == [LOCAL]


def test_only_what_changed_is_read_when_that_is_asked_for(ready: Shop) -> None:
    for read in ("full", "incremental", "full"):
        words = ["backup", "--no-copy", *(["--incremental"] if read == "incremental" else [])]
        assert typed(ready, *words).returncode == 0
        assert ready.home().vault(LOCAL).points(PAPERS)[-1].about["read"] == read
    assert typed(ready, "backup", "--incremental", "--due").returncode != 0, "each says for itself what is read"


Put = Callable[..., Any]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: BackstayError, after: int) -> list[str]:
    """From the n-th object that is stored in the vault of that folder on, the store raises `error`."""
    stored: list[str] = []

    def breaking(real: Put) -> Put:
        def put(self: FolderStore, key: Key, data: Any) -> Any:
            if Path(self.describe()).name == name:
                stored.append(key)
                if len(stored) > after:
                    raise error
            return real(self, key, data)

        return put

    for method in ("put", "put_if_absent"):
        monkeypatch.setattr(FolderStore, method, breaking(getattr(FolderStore, method)))
    return stored


@pytest.mark.parametrize("error", [StoreUnreachable("away"), DiskFull("full")])
def test_a_vault_that_fails_in_the_middle_of_a_backup_hands_it_to_the_next(
    ready: Shop, monkeypatch: pytest.MonkeyPatch, error: BackstayError
) -> None:
    edit(ready)
    ready.home().journal  # noqa: B018 - its epoch is taken at the witness, which is the first vault
    with monkeypatch.context() as patched:
        failing(patched, "local", error, after=2)
        came, moved = back_up(ready)
    assert taken(came).id in points(ready)["off-site"]
    assert came[0].vault == OFF_SITE
    assert [type(why) for _, why in came[0].passed_over] == [type(error)]
    assert [type(one.error) for one in moved] == [type(error)]
    (one,) = catch_up(ready.home())
    assert isinstance(one.result, PointCopied)
    assert points(ready)["local"] == points(ready)["off-site"]
    assert restored(ready, "out") == papers(ready)


def test_a_target_that_is_full_leaves_the_backup_standing_and_later_points_wait(
    ready: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(ready, copy=False)
    edit(ready)
    with monkeypatch.context() as patched:
        failing(patched, "off-site", DiskFull("no room left in off-site"), after=0)
        came, moved = back_up(ready)
    assert taken(came).id in points(ready)["local"]
    assert [(one.to, type(one.error)) for one in moved] == [(OFF_SITE, DiskFull)], "the older point was not tried"
    assert points(ready)["off-site"] == []
    assert len(catch_up(ready.home())) == 2
    assert points(ready)["off-site"] == points(ready)["local"]


def test_a_source_that_is_wrong_is_not_tried_again_into_the_next_vault(ready: Shop) -> None:
    shutil.rmtree(ready.papers)
    came, _ = back_up(ready)
    (one,) = came
    assert isinstance(one.error, BackstayError)
    assert (one.vault, one.passed_over) == (LOCAL, ())
    facts = ready.home().journal.read(engine.component_stream(PAPERS))
    assert sum(isinstance(recorded.fact, RoutineFailed) for recorded in facts) <= 1


def test_a_vault_in_what_it_protects_is_refused_before_any_other_is_tried(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {"local": "{url: ./papers/vault, keep: 30d}", "off-site": VAULTS["off-site"]})
    shop.init()
    (one,), _ = back_up(shop, copy=False)
    assert isinstance(one.error, SourceUnsuitable)


def test_when_no_vault_can_be_opened_nothing_is_begun_and_the_reason_is_said(ready: Shop) -> None:
    home = ready.home()
    assert home.journal.epoch
    shutil.rmtree(ready.folder / "local")
    (ready.folder / "off-site" / "vault").write_bytes(b"spoilt")
    home.reopen()
    with pytest.raises(VaultMissing):
        protecting.backup(home, (), screen)  # its plan can be adopted nowhere


# ── asked for one thing ──────────────────────────────────────────────────────────────────────────


def test_from_and_to_and_one_point(ready: Shop) -> None:
    first = taken(back_up(ready, copy=False)[0])
    edit(ready)
    second = taken(back_up(ready, copy=False)[0])
    home = ready.home()
    assert catch_up(home, to=LOCAL) == []
    assert catch_up(home, source=OFF_SITE) == []
    (one,) = catch_up(home, point=first.id, verify=True)
    assert one.point == first
    assert points(ready)["off-site"] == [first.id]
    assert catch_up(ready.home(), point=first.id) == []
    (one,) = catch_up(ready.home(), source=LOCAL, to=OFF_SITE)
    assert one.point == second


def test_what_makes_no_sense_is_refused_before_anything_is_copied(ready: Shop) -> None:
    back_up(ready, copy=False)
    with pytest.raises(UnknownName):
        catch_up(ready.home(), to=VaultName("nowhere"))
    with pytest.raises(Usage, match="into itself"):
        catch_up(ready.home(), source=LOCAL, to=LOCAL)
    with pytest.raises(NoSuchPoint):
        catch_up(ready.home(), point=PointId("20200101T000000Z-00000000"))
    assert points(ready)["off-site"] == []


class Later(SystemClock):
    """An hour from now."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


def test_a_point_is_copied_by_name_though_the_vault_would_not_keep_it(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {"local": VAULTS["local"], "off-site": "{url: ./off-site, keep: 5min}"})
    shop.init()
    old = taken(back_up(shop, copy=False)[0])
    edit(shop)
    new = taken(back_up(shop, copy=False)[0])
    assert [one.point for one in catch_up(shop.home(Later()))] == [new], "the newest is kept whatever its age"
    (one,) = catch_up(shop.home(Later()), point=old.id)
    assert isinstance(one.result, PointCopied)


def test_vaults_of_two_families_are_not_copied_and_the_way_out_is_said(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, {"off-site": VAULTS["off-site"]})
    shop.init()
    shop.write_plan({"local": VAULTS["local"]})
    shop.init()
    shop.write_plan()
    came, moved = back_up(shop)
    taken(came)
    assert [type(one.error) for one in moved] == [NotSupported]


# ── one at a time, and after a death ─────────────────────────────────────────────────────────────


def _left_open(shop: Shop, point: PointId, driver: str) -> None:
    home = shop.home()
    stream = engine.component_stream(PAPERS)
    facts = home.journal.read(stream)
    until = home.journal.now() + copying.LONGEST
    began = RoutineBegan(RunId("copy-9"), "copy", OFF_SITE, home.plan.digest, driver, until, point)
    home.journal.append(stream, [began], expected=facts[-1].seq)


def _ends(shop: Shop, run: str = "copy-9") -> list[PointCopied | RoutineFailed]:
    facts = [recorded.fact for recorded in shop.home().journal.read(engine.component_stream(PAPERS))]
    return [fact for fact in facts if isinstance(fact, PointCopied | RoutineFailed) and fact.run == run]


def test_a_copy_that_is_under_way_elsewhere_is_not_begun_twice(ready: Shop) -> None:
    point = taken(back_up(ready, copy=False)[0])
    _left_open(ready, point.id, "another-host/1/0123456789abcdef.1")
    (one,) = catch_up(ready.home())
    assert isinstance(one.error, RunBusy)
    assert points(ready)["off-site"] == []


@pytest.mark.parametrize("sealed", [False, True])
def test_a_dead_drivers_copy_is_looked_at_before_the_next_one(ready: Shop, sealed: bool) -> None:
    first = taken(back_up(ready, copy=sealed)[0])
    lock = ready.home().state / "drivers" / "0123456789abcdef"  # nobody holds it any more
    lock.touch()
    _left_open(ready, first.id, f"this-host/1/{lock.name}.{lock.stat().st_ino}")
    edit(ready)
    back_up(ready)
    (end,) = _ends(ready)
    assert isinstance(end, PointCopied if sealed else RoutineFailed)
    assert points(ready)["off-site"] == points(ready)["local"]


# ── reading back ─────────────────────────────────────────────────────────────────────────────────


def _spoil(folder: Path, pattern: str) -> Path:
    """Flip a byte in the middle of the first object that fits."""
    path = sorted(folder.glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_what_one_vault_has_lost_is_read_from_the_other_and_said_and_written_down(ready: Shop) -> None:
    point = taken(back_up(ready)[0])
    _spoil(ready.folder / "local", "packs/papers/*")
    home = ready.home()
    protecting.restore_to(home, "papers", ready.folder / "out", protecting.Which(), unwatched)
    assert (ready.folder / "out" / "ledger").read_bytes() == (ready.papers / "ledger").read_bytes()
    (said,) = reading.said(home)
    assert "local could not give all" in said
    (told,) = ready.home().vault(LOCAL).proofs(point.id)
    assert (told.vault, told.checks[0].code, told.checks[0].verdict) == (LOCAL, "B01", Verdict.FAILED)
    row = next(iter(objectives.status(home.plan, ready.home().history(), home.clock.now()).components))
    assert isinstance(row.good, NoneGood), "it was never proved"
    assert [one.vault for one in row.vaults] == [LOCAL, OFF_SITE]
    # The next backup into that vault stores it anew, and it is sound again.
    edit(ready)
    came, _ = back_up(ready)
    assert "damaged" in taken(came).about["vault"]
    assert taken(came).id in points(ready)["off-site"]


def test_a_proof_is_given_from_the_nearest_vault_and_follows_the_point_and_another_vault_is_read_when_it_is_named(
    ready: Shop,
) -> None:
    point = taken(back_up(ready)[0])
    (one,) = protecting.prove(ready.home(), (), screen)
    assert isinstance(one.result, Proof)
    assert one.vault == LOCAL
    home = ready.home()
    assert home.vault(OFF_SITE).proofs(point.id) == [one.result], "it is kept there, and says where it was given"
    local, off_site = spread.standings(home.plan, home.plan.component("papers"), home.history(), home.clock.now())
    assert local.read == one.result
    assert off_site.read is None
    (two,) = protecting.prove(ready.home(), (), screen, vault="off-site")
    assert isinstance(two.result, Proof)
    assert (two.vault, two.result.vault) == (OFF_SITE, OFF_SITE)
    assert len(ready.home().vault(LOCAL).proofs(point.id)) == 2
    with pytest.raises(UnknownName):
        protecting.prove(ready.home(), (), screen, vault="nowhere")


def test_a_proof_never_leans_on_another_vault(ready: Shop) -> None:
    back_up(ready)
    _spoil(ready.folder / "off-site", "packs/papers/*")
    (one,) = protecting.prove(ready.home(), (), screen, vault="off-site", tier="bytes")
    assert isinstance(one.result, Proof)
    assert isinstance(one.result.result(), Refuted)
    (near,) = protecting.prove(ready.home(), (), screen)
    assert isinstance(near.result, Proof)
    history = ready.home().history()
    found = choose("proven", candidates(history, PAPERS), ready.home().clock.now())
    assert isinstance(found, Chosen)
    assert found.vault == LOCAL, "the damage is in the other one"


def test_the_newest_point_is_proved_from_the_vault_that_has_it(ready: Shop) -> None:
    back_up(ready)
    shutil.move(ready.folder / "local", ready.folder / "unplugged")
    edit(ready)
    newest = taken(back_up(ready)[0])
    shutil.move(ready.folder / "unplugged", ready.folder / "local")
    (one,) = protecting.prove(ready.home(), (), screen)
    assert isinstance(one.result, Proof)
    assert (one.result.point, one.vault) == (newest.id, OFF_SITE)


def test_a_recovery_that_chose_a_vault_goes_on_when_that_vault_is_gone(ready: Shop) -> None:
    point = taken(back_up(ready)[0])
    home = ready.home()
    vault = reading.readable(home, LOCAL)
    shutil.rmtree(ready.folder / "local")
    assert {stored.path for stored in vault.open(point.id).entries()} == {"contract", "ledger"}
    again = reading.readable(ready.home(), LOCAL)
    assert again.open(point.id).point == point


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def test_typed_backup_copy_points_and_status_say_which_vault_has_what(ready: Shop) -> None:
    first = typed(ready, "backup", "--no-copy")
    assert first.returncode == 0, first.stderr
    behind = json.loads(typed(ready, "status", "--json").stdout)
    assert [one["lacks"] != [] for one in behind["components"][0]["vaults"]] == [False, True]
    second = typed(ready, "vault", "copy", "--to", "off-site")
    assert second.returncode == 0, second.stderr
    assert "copied from local to off-site" in second.stdout
    listed = typed(ready, "points")
    assert "local, off-site" in listed.stdout
    (point,) = json.loads(typed(ready, "points", "--json").stdout)["points"]
    assert point["vaults"] == {"local": "unproven", "off-site": "unproven"}
    assert "nothing is lacking" in typed(ready, "vault", "copy").stdout
    again = typed(ready, "vault", "copy", "--to", "off-site", "--json")
    assert json.loads(again.stdout) == {"copies": [], "log": []}


def test_typed_backup_with_a_vault_away_takes_the_point_and_exits_with_74(ready: Shop) -> None:
    shutil.move(ready.folder / "off-site", ready.folder / "unplugged")
    done = typed(ready, "backup", "--json")
    assert done.returncode == 74, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["backups"][0]["vault"] == "local"
    assert [(one["to"], one["code"]) for one in told["copies"]] == [("off-site", 20)]
    alone = typed(ready, "vault", "copy")
    assert alone.returncode == 20
    assert "off-site" in alone.stdout
    shutil.move(ready.folder / "unplugged", ready.folder / "off-site")
    assert typed(ready, "backup", "--due", "--json").returncode == 0
    assert points(ready)["off-site"] == points(ready)["local"]


def test_a_copy_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    for number in range(8):
        (shop.papers / f"scan-{number}").write_bytes(noise(12 << 20, number))
    shop.init()
    back_up(shop, copy=False)
    packs = tmp_path / "off-site" / "packs" / "papers"
    begun = subprocess.Popen(
        [*program(), "vault", "copy"], cwd=shop.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: packs.is_dir() and len(list(packs.iterdir())) > 0, "the first pack is copied")
    finally:
        begun.kill()
        begun.wait()
    moved_before = {path.name: path.stat().st_ino for path in packs.iterdir()}
    if points(shop)["off-site"] == []:
        (one,) = catch_up(shop.home())
        assert isinstance(one.result, PointCopied)
    after = {path.name: path.stat().st_ino for path in packs.iterdir()}
    assert moved_before.items() <= after.items(), "what was copied stayed as it was"
    assert points(shop)["off-site"] == points(shop)["local"]
    shutil.rmtree(tmp_path / "local")
    assert restored(shop, "out") == papers(shop)
