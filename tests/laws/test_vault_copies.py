"""Laws of copying: the same point under the same id, wherever it stops, whatever a pruner does at the same time."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import (
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    Lapsed,
    NoSuchPoint,
    NotSupported,
    ObjectMissing,
    StoreUnreachable,
    VaultExists,
    WrongKey,
)
from backstay.facts import CheckResult, Hold, Point, Proof, Rung, Verdict
from backstay.ports import Cutter, Key, Store
from backstay.values import ComponentName, VaultName
from backstay.vault import Backed, Repository, carrying, check, join, open_vault, refuse_strangers
from backstay.vault.boxes import seal_json
from backstay.vault.copying import copy_beside, copy_point
from backstay.vault.epochs import Bundle, open_epochs, wrapped
from backstay.vault.family import spread_statements
from backstay.vault.roles import Role
from backstay.vault.signers import enrolment, read_signers
from fix_vault import (
    DB,
    NOW,
    SMALL,
    Crash,
    File,
    Mortal,
    Things,
    back_up,
    copy_of,
    expected,
    held,
    keyring,
    laid_down,
    later,
    new_vault,
    noise,
)

OWNER, HOST, STRANGER = keyring(0), keyring(1), keyring(2)
LOCAL, OFF_SITE = VaultName("local"), VaultName("off-site")


def sibling(member: Repository, store: Store | None = None, name: str = "off-site") -> Repository:
    store = store or MemoryStore(name)
    join(store, member, keys=OWNER, now=NOW)
    return open_vault(store, name, OWNER)


def both() -> tuple[Repository, Repository, Point]:
    """A vault with a point, and an empty one of its family."""
    local = new_vault(MemoryStore("local"))
    point = back_up(local, SMALL)
    return local, sibling(local), point


def stored(vault: Repository) -> MemoryStore:
    assert isinstance(vault.store, MemoryStore)
    return vault.store


# ── families ─────────────────────────────────────────────────────────────────────────────────────


def test_a_vault_that_joins_has_the_familys_keys_and_an_id_of_its_own() -> None:
    local, off_site, _ = both()
    assert off_site.opened.family == local.opened.family
    assert off_site.opened.epochs == local.opened.epochs
    assert off_site.opened.vault != local.opened.vault
    refuse_strangers(local, off_site)


def test_whoever_reads_and_writes_in_one_vault_does_so_in_the_one_that_joins() -> None:
    assert HOST.recipient
    assert HOST.writer
    store = MemoryStore()
    local = new_vault(store)
    key, data = enrolment(HOST.writer, Role.WRITER, OWNER, family=local.opened.family, now=NOW)
    store.put_if_absent(key, data)
    off_site = sibling(open_vault(store, "local", OWNER))
    assert off_site.opened.writers == open_vault(store, "local", OWNER).opened.writers


def test_a_reader_who_is_named_for_the_second_vault_alone_reads_there() -> None:
    assert HOST.recipient
    local = new_vault(MemoryStore())
    point = back_up(local, SMALL)
    store = MemoryStore()
    join(store, local, keys=OWNER, recipients=[HOST.recipient], now=NOW)
    copy_point(local, open_vault(store, "off-site", OWNER), point)
    assert held(open_vault(store, "off-site", HOST).open(point.id)) == expected(SMALL)
    with pytest.raises(WrongKey):
        open_vault(local.store, "local", HOST)


def test_only_the_root_makes_another_vault_of_its_family() -> None:
    local = new_vault(MemoryStore())
    with pytest.raises(WrongKey, match="another vault beside local"):
        join(MemoryStore(), local, keys=HOST, now=NOW)


def test_a_place_that_has_a_vault_is_not_made_into_another() -> None:
    with pytest.raises(VaultExists):
        join(new_vault(MemoryStore()).store, new_vault(MemoryStore()), keys=OWNER, now=NOW)


@pytest.mark.parametrize("after", [False, True])
def test_dying_while_a_vault_joins_leaves_none_or_a_whole_one(after: bool) -> None:
    local = new_vault(MemoryStore())
    point = back_up(local, SMALL)
    for breaths in range(1, 100):
        store = MemoryStore()
        try:
            join(Mortal(store, breaths, after=after), local, keys=OWNER, now=NOW)
        except Crash:
            with suppress(VaultExists):
                join(store, local, keys=OWNER, now=NOW)
            off_site = open_vault(store, "off-site", OWNER)
            copy_point(local, off_site, point)
            assert held(off_site.open(point.id)) == expected(SMALL)
        else:
            return
    pytest.fail("it never came to an end")


def test_vaults_of_two_families_are_refused_with_the_way_out() -> None:
    local = new_vault(MemoryStore())
    point = back_up(local, SMALL)
    with pytest.raises(NotSupported, match="two families") as caught:
        copy_point(local, new_vault(MemoryStore(), OWNER), point)
    assert "backstay init" in caught.value.hint


def test_one_vault_under_two_names_is_no_second_copy() -> None:
    local = new_vault(MemoryStore())
    point = back_up(local, SMALL)
    with pytest.raises(NotSupported, match="one and the same"):
        copy_point(local, open_vault(local.store, "off-site", OWNER), point)


def test_a_new_writer_follows_with_the_next_copy() -> None:
    assert HOST.writer
    local, off_site, point = both()
    key, data = enrolment(HOST.writer, Role.WRITER, OWNER, family=local.opened.family, now=NOW)
    local.store.put_if_absent(key, data)
    copy_point(local, off_site, point)
    assert HOST.writer in open_vault(off_site.store, "off-site", OWNER).opened.writers


def test_a_statement_that_is_damaged_or_a_strangers_stays_where_it_is() -> None:
    assert HOST.writer
    local, off_site, _ = both()
    key, data = enrolment(HOST.writer, Role.WRITER, OWNER, family=b"\1" * 16, now=NOW)
    local.store.put_if_absent(key, data)
    local.store.put_if_absent(Key("writers/0000"), b"{}")
    before = dict(stored(off_site).objects)
    spread_statements(local.store, off_site.store, local.opened)
    assert stored(off_site).objects == before


# ── a copy ───────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_is_the_same_point_and_gives_the_same_back() -> None:
    local, off_site, point = both()
    done = copy_point(local, off_site, point)
    assert (done.point, done.packs > 0, done.moved_bytes > 0) == (point.id, True, True)
    assert off_site.points() == [point]
    assert held(off_site.open(point.id)) == expected(SMALL)
    assert dict(off_site.reserved(DB)) == {point.id: True}
    assert list(check(off_site, read_data=True)) == []


def test_what_both_points_use_is_moved_once_and_a_copy_that_is_there_costs_nothing() -> None:
    local, off_site, point = both()
    first = copy_point(local, off_site, point)
    assert copy_point(local, off_site, point).moved_bytes == 0
    edited: Things = {**SMALL, "new": File(noise(9000))}
    second = copy_point(local, off_site, back_up(local, edited, now=later(1)))
    assert 0 < second.moved_bytes < first.moved_bytes / 2
    assert held(off_site.open(second.point)) == expected(edited)


def test_a_copy_of_a_copy_reads_as_well_and_the_first_vault_may_be_gone() -> None:
    local, off_site, point = both()
    third = sibling(off_site, name="third")
    copy_point(local, off_site, point)
    stored(local).objects.clear()
    copy_point(off_site, third, point)
    assert held(third.open(point.id)) == expected(SMALL)
    assert list(check(third, read_data=True)) == []


def test_a_backup_goes_on_from_a_point_that_was_copied() -> None:
    local, off_site, point = both()
    copy_point(local, off_site, point)
    again = back_up(off_site, SMALL, now=later(1))
    assert (again.parent, again.stored_bytes) == (point.id, 0)
    copy_point(off_site, local, again)
    assert held(local.open(again.id)) == expected(SMALL)


def test_proofs_and_holds_follow_their_point_and_say_where_they_were_given() -> None:
    local, off_site, point = both()
    proof = Proof(point.id, DB, LOCAL, "full", later(1), later(2), None, (_check(Verdict.PASSED),))
    local.keep_proof(proof)
    copy_point(local, off_site, point)
    hold = Hold("h1", point.id, DB, "forensic", "evidence", "ann", later(3))
    local.keep_hold(hold)
    local.keep_note("plan/1", b"the plan")
    assert copy_beside(local, off_site, DB) == 2
    assert off_site.proofs() == [proof]
    assert off_site.holds() == [hold]
    assert off_site.note("plan/1") == b"the plan"
    assert copy_beside(local, off_site, DB) == 0


def test_a_proof_of_a_point_that_is_not_there_is_not_copied() -> None:
    local, off_site, point = both()
    local.keep_proof(Proof(point.id, DB, LOCAL, "full", later(1), later(2), None, (_check(Verdict.PASSED),)))
    assert copy_beside(local, off_site, DB) == 0


def test_bytes_that_were_refuted_in_one_vault_do_not_spoil_the_next_backup_into_another() -> None:
    local, off_site, point = both()
    off_site.keep_proof(Proof(point.id, DB, OFF_SITE, "full", later(1), later(2), None, (_check(Verdict.FAILED),)))
    copy_point(local, off_site, point)
    copy_beside(off_site, local, DB)
    assert len(local.proofs(point.id)) == 1
    assert back_up(local, SMALL, now=later(3)).stored_bytes == 0


def _check(verdict: Verdict) -> CheckResult:
    return CheckResult("B01", Rung.BYTES, "bytes", verdict, "read")


def test_components_are_copied_apart() -> None:
    local, off_site, _ = both()
    other = back_up(local, {"x": File(noise(5000, 9))}, component=ComponentName("settings"))
    copy_point(local, off_site, other)
    assert off_site.points() == [other]
    assert not [key for key in stored(off_site).objects if key.startswith(("packs/database", "nodes/database"))]


def test_a_host_that_only_writes_copies_what_it_cannot_read_and_is_told_so_when_it_should_verify() -> None:
    assert HOST.recipient
    assert HOST.writer
    store = MemoryStore()
    local = new_vault(store)
    point = back_up(local, SMALL)
    opened = local.opened
    found = open_epochs(store, OWNER, opened.family, read_signers(store, opened.family, opened.root))
    (epoch,) = found.opened.values()
    for key, data in (
        enrolment(HOST.writer, Role.WRITER, OWNER, family=opened.family, now=NOW),
        wrapped(Bundle(opened.family, found.id_key, epoch), "writer", HOST.recipient, OWNER, now=NOW),
    ):
        store.put_if_absent(key, data)
    off_site = sibling(open_vault(store, "local", OWNER))
    from_host, to_host = open_vault(store, "local", HOST), open_vault(off_site.store, "off-site", HOST)
    with pytest.raises(WrongKey, match="cannot read data back"):
        copy_point(from_host, to_host, point, verify=True)
    assert off_site.points() == []
    copy_point(from_host, to_host, point)
    assert held(open_vault(off_site.store, "off-site", OWNER).open(point.id)) == expected(SMALL)


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


def _keys(vault: Repository, prefix: str) -> list[Key]:
    return [listed.key for listed in vault.store.list(prefix)]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-1],
    "flipped head": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"x",
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("prefix", ["packs/", "nodes/"])
def test_a_pack_that_is_not_whole_is_not_copied_and_makes_no_point(prefix: str, how: str) -> None:
    local, off_site, point = both()
    key = _keys(local, prefix)[0]
    stored(local).objects[key] = SPOILT[how](stored(local).objects[key])
    with pytest.raises((Damaged, ObjectMissing)):
        copy_point(local, off_site, point)
    assert off_site.points() == []
    assert key not in stored(off_site).objects


@pytest.mark.parametrize("prefix", ["packs/", "nodes/"])
def test_with_verify_no_flipped_bit_of_a_frame_is_copied(prefix: str) -> None:
    for tenth in range(2, 10):
        local, off_site, point = both()
        key = _keys(local, prefix)[0]
        data = stored(local).objects[key]
        at = len(data) * tenth // 10
        stored(local).objects[key] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Damaged):
            copy_point(local, off_site, point, verify=True)
        assert off_site.points() == []


def test_what_is_missing_in_the_source_is_named() -> None:
    local, off_site, point = both()
    local.store.delete(_keys(local, "packs/")[0])
    with pytest.raises(ObjectMissing, match="missing in the vault local"):
        copy_point(local, off_site, point)
    assert off_site.points() == []


def test_a_point_that_is_none_any_more_is_said_to_be_none() -> None:
    local, off_site, point = both()
    local.store.delete(_keys(local, "points/")[0])
    with pytest.raises(NoSuchPoint):
        copy_point(local, off_site, point)


def test_a_long_pack_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "HELD_BYTES", 1000)
    monkeypatch.setattr(carrying, "PIECE_BYTES", 999)
    local, off_site, point = both()
    copy_point(local, off_site, point, verify=True)
    assert held(off_site.open(point.id)) == expected(SMALL)
    assert list(check(off_site, read_data=True)) == []


def test_progress_counts_the_bytes_that_are_moved() -> None:
    local, off_site, point = both()
    seen: list[tuple[int, int | None]] = []

    def see(done_bytes: int, total_bytes: int | None, what: str) -> None:
        seen.append((done_bytes, total_bytes))

    done = copy_point(local, off_site, point, progress=see)
    assert seen[-1] == (done.moved_bytes, done.moved_bytes)


def test_a_copy_that_is_told_to_stop_leaves_no_point() -> None:
    local, off_site, point = both()
    with pytest.raises(Cancelled):
        copy_point(local, off_site, point, stop=lambda: True)
    assert off_site.points() == []


# ── death, in source and target ──────────────────────────────────────────────────────────────────

LARGER: Things = {**SMALL, "large": File(noise(400_000, 5), cutter=Cutter.FIXED_64K)}


def _prepared() -> tuple[MemoryStore, MemoryStore, Point]:
    """Stores of two vaults, the first with two points, the older of which the second has."""
    local = new_vault(MemoryStore("local"))
    off_site = sibling(local)
    copy_point(local, off_site, back_up(local, SMALL))
    point = back_up(local, LARGER, now=later(1))
    local.keep_proof(Proof(point.id, DB, LOCAL, "full", later(1), later(2), None, (_check(Verdict.PASSED),)))
    return stored(local), stored(off_site), point


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", ["source", "target"])
def test_dying_at_any_call_leaves_no_half_point_and_copying_again_goes_on(where: str, after: bool) -> None:
    clean_source, clean_target, point = _prepared()
    for breaths in range(1, 200):
        source, target = copy_of(clean_source), copy_of(clean_target)
        mortal = Mortal(source if where == "source" else target, breaths, after=after)
        try:
            local = open_vault(mortal if where == "source" else source, "local", OWNER)
            off_site = open_vault(mortal if where == "target" else target, "off-site", OWNER)
            copy_point(local, off_site, point)
        except Crash:
            pass
        else:
            if mortal.calls < breaths:
                break
        off_site = open_vault(target, "off-site", OWNER)
        for one in off_site.points():
            assert held(off_site.open(one.id)) == expected(LARGER if one == point else SMALL), breaths
        copy_point(open_vault(source, "local", OWNER), off_site, point)
        assert held(off_site.open(point.id)) == expected(LARGER), breaths
        assert len(off_site.proofs()) == 1, breaths
    else:
        pytest.fail("it never came to an end")
    assert breaths > 20


@pytest.mark.parametrize("error", [StoreUnreachable("away"), DiskFull("full")])
def test_an_error_at_any_call_reaches_the_caller_and_makes_no_half_point(error: Exception) -> None:
    clean_source, clean_target, point = _prepared()
    for breaths in range(1, 200):
        target = copy_of(clean_target)
        away = Mortal(target, breaths, dies=error)
        try:
            copy_point(open_vault(clean_source, "local", OWNER), open_vault(away, "off-site", OWNER), point)
        except type(error):
            off_site = open_vault(target, "off-site", OWNER)
            for one in off_site.points():
                assert held(off_site.open(one.id)) == expected(LARGER if one == point else SMALL), breaths
        else:
            return
    pytest.fail("it never came to an end")


# ── pruners at the same time ─────────────────────────────────────────────────────────────────────


def test_a_reservation_that_a_pruner_expired_is_no_point_and_is_said() -> None:
    local, off_site, point = both()

    def expire(done_bytes: int, total_bytes: int | None, what: str) -> None:
        with suppress(Lapsed):
            off_site.expire(DB, point.id, now=later(60), why="open for more than an hour")

    with pytest.raises(Lapsed, match="ended the copy"):
        copy_point(local, off_site, point, progress=expire)
    assert off_site.points() == []
    with pytest.raises(Lapsed, match="ended the copy"):
        copy_point(local, off_site, point)


def test_packs_that_a_pruner_has_marked_are_not_built_upon() -> None:
    local, off_site, point = both()
    copy_point(local, off_site, point)
    marked = [key.rpartition("/")[2] for key in _keys(off_site, "packs/")]
    stored(off_site).delete(_keys(off_site, "points/")[0])  # it was expired there: its packs are dead
    key = Key("marks/database/1")
    off_site.store.put_if_absent(key, seal_json(off_site.opened, OWNER, key, {"packs": marked}))
    again = open_vault(off_site.store, "off-site", OWNER)
    with pytest.raises(Lapsed, match="about to delete"):
        copy_point(local, again, point)
    assert again.points() == []
    for pack in _keys(off_site, "packs/"):
        off_site.store.delete(pack)
    off_site.store.delete(key)
    copy_point(local, again, point)
    assert held(again.open(point.id)) == expected(SMALL)


def test_packs_that_a_pruner_took_while_we_copied_are_copied_again() -> None:
    local, off_site, point = both()
    taken: list[str] = []

    def take_one(done_bytes: int, total_bytes: int | None, what: str) -> None:
        if not taken:
            off_site.store.delete(Key(what))
            taken.append(what)

    copy_point(local, off_site, point, progress=take_one)
    assert taken
    assert held(off_site.open(point.id)) == expected(SMALL)


def test_a_pruner_that_takes_everything_every_time_is_not_fought_for_ever() -> None:
    local, off_site, point = both()

    def take(done_bytes: int, total_bytes: int | None, what: str) -> None:
        off_site.store.delete(Key(what))

    with pytest.raises(Lapsed, match="takes away"):
        copy_point(local, off_site, point, progress=take)
    assert off_site.points() == []


def test_a_point_that_the_source_ends_under_our_hands_is_no_point_anywhere() -> None:
    local, off_site, point = both()

    def end_it(done_bytes: int, total_bytes: int | None, what: str) -> None:
        for prefix in ("points/", "packs/", "nodes/"):
            for key in _keys(local, prefix):
                local.store.delete(key)
                off_site.store.delete(key)

    with pytest.raises((NoSuchPoint, Lapsed, ObjectMissing)):
        copy_point(local, off_site, point, progress=end_it)
    assert off_site.points() == []


# ── reading from all of them ─────────────────────────────────────────────────────────────────────


def _copied() -> tuple[MemoryStore, MemoryStore, Point]:
    """Two vaults that have the same point."""
    local, off_site, _ = both()
    point = back_up(local, LARGER, now=later(1))
    copy_point(local, off_site, point)
    return stored(local), stored(off_site), point


def backed(near: Store, far: Store, noticed: list[str]) -> Backed:
    def notice(where: Repository, point: Point, error: BackstayError) -> None:
        noticed.append(f"{where.name}: {type(error).__name__}")

    return Backed(open_vault(near, "local", OWNER), [open_vault(far, "off-site", OWNER)], notice)


def test_a_sound_vault_is_read_alone() -> None:
    near, far, point = _copied()
    noticed: list[str] = []
    vault = backed(near, far, noticed)
    far.objects.clear()
    assert held(vault.open(point.id)) == expected(LARGER)
    assert noticed == []


@pytest.mark.parametrize("how", [*SPOILT, "flipped", "gone"])
@pytest.mark.parametrize("prefix", ["packs/", "nodes/", "points/"])
def test_what_is_damaged_or_missing_in_the_nearest_vault_is_read_from_the_next(prefix: str, how: str) -> None:
    clean, far, point = _copied()
    for key in [key for key in clean.objects if key.startswith(prefix)]:
        near = copy_of(clean)
        data = near.objects[key]
        if how == "gone":
            near.delete(key)
        elif how == "flipped":
            near.objects[key] = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        else:
            near.objects[key] = SPOILT[how](data)
        noticed: list[str] = []
        assert held(backed(near, far, noticed).open(point.id)) == expected(LARGER)
        assert len(noticed) <= 1
        assert all(one.startswith("local: ") for one in noticed)


def test_two_vaults_with_different_damage_give_the_whole_together() -> None:
    near, far, point = _copied()
    packs = sorted(key for key in near.objects if key.startswith("packs/"))
    assert len(packs) > 1, "the law needs two"
    near.delete(packs[0])
    far.objects[packs[1]] = far.objects[packs[1]][:300]
    noticed: list[str] = []
    assert held(backed(near, far, noticed).open(point.id)) == expected(LARGER)
    far.delete(packs[0])
    with pytest.raises(ObjectMissing):
        held(backed(near, far, noticed).open(point.id))


def test_a_vault_that_goes_away_at_any_call_is_replaced_by_the_next(tmp_path: Path) -> None:
    near, far, point = _copied()
    for breaths in range(8, 200):
        away = Mortal(near, breaths, dies=StoreUnreachable("gone"))
        noticed: list[str] = []
        try:
            vault = backed(away, far, noticed)
        except StoreUnreachable:
            continue  # it never opened
        vault.open(point.id).extract(tmp_path / str(breaths))
        assert laid_down(tmp_path / str(breaths)) == expected(LARGER), breaths
        if away.calls < breaths:
            return
        assert noticed in ([], ["local: StoreUnreachable"])
    pytest.fail("it never came to an end")


def test_a_stranger_beside_a_vault_is_not_asked() -> None:
    near, _, point = _copied()
    near.delete(next(key for key in near.objects if key.startswith("packs/")))
    stranger = new_vault(MemoryStore())
    back_up(stranger, LARGER)
    with pytest.raises(ObjectMissing):
        held(backed(near, stranger.store, []).open(point.id))
