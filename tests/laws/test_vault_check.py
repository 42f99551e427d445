"""Laws of looking at a whole vault: nothing damaged is missed, all of it comes round, and no point is called what it is
not."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import StoreUnreachable
from backstay.ports import Cutter, Key
from backstay.vault import Keyring, Repository, check, open_vault
from backstay.vault.checks import Asked, Examination, Finding, Weight
from backstay.vault.epochs import Bundle, open_epochs, wrapped
from backstay.vault.ledger import Ledger, Readings
from backstay.vault.roles import Role
from backstay.vault.signers import enrolment, read_signers
from backstay.vault.soundness import Known
from fix_vault import NOW, SMALL, File, Mortal, Things, back_up, expected, held, keyring, later, new_vault, noise

Looked = tuple[Examination, list[Finding]]
LARGE: Things = {**SMALL, **{f"more/{n}": File(noise(70_000, n), cutter=Cutter.FIXED_64K) for n in range(40)}}


def look(vault: Repository, ledger: Ledger | None = None, percent: float = 100, lines: int = 20) -> Looked:
    looked = Examination(vault, Ledger(None) if ledger is None else ledger, NOW, Asked(percent, lines))
    return looked, list(looked.findings())


def reopened(store: MemoryStore, keys: Keyring | None = None) -> Repository:
    return open_vault(store, "local", keys or keyring())


def two_points() -> tuple[MemoryStore, Repository]:
    store = MemoryStore()
    vault = new_vault(store)
    back_up(vault, LARGE)
    back_up(vault, {**LARGE, "new": File(noise(1000))}, now=later(1))
    return store, vault


# ── what is said of a point ──────────────────────────────────────────────────────────────────────


def test_a_point_is_called_whole_only_when_all_its_bytes_were_read(tmp_path: Path) -> None:
    _, vault = two_points()
    looked, found = look(vault, percent=0)
    assert found == []
    assert all(point.is_whole and point.unread_bytes == point.used_bytes for point in looked.points)
    looked, _ = look(vault)
    assert [(point.is_whole, point.unread_bytes) for point in looked.points] == [(True, 0), (True, 0)]


def test_of_a_point_with_much_damage_some_is_named_and_the_rest_is_counted() -> None:
    store, _ = two_points()
    for listed in list(store.list("packs/")):
        store.delete(listed.key)
    looked, found = look(reopened(store), lines=5)
    lost = len([thing for thing in LARGE.values() if isinstance(thing, File) and thing.data])
    # Zeros are stored nowhere, so a file of zeros outlives its pack; here none is all zeros.
    assert [point.damaged_files for point in looked.points] == [lost, lost + 1]
    for point in looked.points:
        lines = [finding for finding in found if finding.point == point.point]
        assert len(lines) == 6
        assert lines[-1].said == f"and {point.damaged_files - 5:,} more"


def test_a_lost_tree_says_that_what_was_in_it_is_not_known() -> None:
    store, _ = two_points()
    for listed in list(store.list("nodes/")):
        store.delete(listed.key)
    looked, _ = look(reopened(store))
    assert [(point.lost_folders, point.standing) for point in looked.points] == [(1, Weight.DAMAGED)] * 2


def test_a_damaged_pack_that_no_point_needs_is_noted_and_hurts_nobody() -> None:
    store, vault = two_points()
    with vault.begin(vault.points()[0].component, plan=vault.points()[0].plan, now=later(2)) as writer:
        writer.add([])
    other = new_vault(MemoryStore())
    back_up(other, {"x": File(noise(5000))})
    (stray,) = other.store.list("packs/")
    store.put(Key("packs/database/" + "00" * 16), [other.store.get(stray.key)])
    looked, found = look(vault)
    assert all(point.is_whole for point in looked.points)
    assert {finding.weight for finding in found} == {Weight.NOTE}


def test_a_pack_whose_end_is_lost_still_gives_its_frames() -> None:
    """A reader goes by the maps and not by the end of a pack; so does the check."""
    store, vault = two_points()
    key = max(store.list("packs/"), key=lambda listed: listed.size_bytes).key
    store.objects[key] = store.objects[key][:-1] + bytes([store.objects[key][-1] ^ 1])
    assert held(reopened(store).open(vault.points()[1].id)) == expected({**LARGE, "new": File(noise(1000))})
    looked, found = look(reopened(store))
    assert all(point.is_whole for point in looked.points)
    assert [(finding.key, finding.weight) for finding in found] == [(key, Weight.DAMAGED)]
    whole, at = store.objects[key], len(store.objects[key]) // 3
    store.objects[key] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    looked, found = look(reopened(store), percent=0)
    assert not any(point.is_whole for point in looked.points)
    assert all(finding.path for finding in found if finding.point)


def test_who_may_only_write_is_told_what_could_not_be_read() -> None:
    store, vault = two_points()
    host = Keyring(keyring(3).identity, keyring(3).seed, frozenset([vault.opened.root]))
    assert host.writer is not None
    assert host.recipient is not None
    (epoch,) = vault.opened.epochs.values()
    signers = read_signers(store, vault.opened.family, vault.opened.root)
    secret = Bundle(vault.opened.family, open_epochs(store, keyring(), vault.opened.family, signers).id_key, epoch)
    for key, data in (
        enrolment(host.writer, Role.WRITER, keyring(), family=vault.opened.family, now=NOW),
        wrapped(secret, "writer", host.recipient, keyring(), now=NOW),
    ):
        store.put_if_absent(key, data)
    looked, found = look(reopened(store, host))
    assert all(point.is_whole and point.unread_bytes for point in looked.points)
    assert [finding.weight for finding in found] == [Weight.UNKNOWN]


# ── strangers ────────────────────────────────────────────────────────────────────────────────────


def test_strangers_are_named_and_not_fatal() -> None:
    store, vault = two_points()
    for key in ("points/database/readme", "packs/database/x", "nodes/x", "holds/x", "notes/_", "index/database/new"):
        store.put(Key(key), [b"hello"])
    looked, found = look(vault)
    assert len(found) == 6
    assert {finding.weight for finding in found} == {Weight.NOTE}
    assert all(point.is_whole for point in looked.points)


def test_a_forged_point_is_damage_and_the_sound_ones_stay_sound() -> None:
    store, vault = two_points()
    store.put(Key("points/database/20270101t000000z-00000000"), [noise(500)])
    looked, found = look(vault)
    assert [finding.weight for finding in found] == [Weight.DAMAGED]
    assert sorted(point.is_whole for point in looked.points) == [False, True, True]


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────


def many_packs(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryStore, Repository]:
    monkeypatch.setattr("backstay.vault.packs.TARGET_SIZE", 100_000)
    return two_points()


def test_twenty_runs_of_a_twentieth_read_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, vault = many_packs(monkeypatch)
    total = sum(listed.size_bytes for prefix in ("packs/", "nodes/") for listed in store.list(prefix))
    assert len(store.objects) > 30
    read, once, seen = 0, 0, list[Readings]()
    for run in range(20):
        with Ledger(tmp_path / "ledger.db") as ledger:
            looked = Examination(vault, ledger, NOW + timedelta(days=run), Asked(5))
            assert list(looked.findings()) == []
            assert looked.read_bytes < total / 4
            read += looked.read_bytes
            seen.append(looked.readings)
        if seen[-1].never == 0 and not once:
            once = read
    assert seen[0].oldest is None
    assert seen[-1].never == 0
    assert seen[-1].oldest is not None
    assert seen[-1].oldest <= NOW + timedelta(days=19)
    assert once <= total * 1.1  # nothing is read twice before everything was read once


def test_what_was_bad_is_read_again_until_it_is_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, vault = many_packs(monkeypatch)
    key = next(iter(store.list("packs/"))).key
    whole = store.objects[key]
    store.objects[key] = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert any(finding.key == key for finding in look(vault, ledger)[1])
    with Ledger(tmp_path / "ledger.db") as ledger:
        looked, found = look(vault, ledger, percent=0)
        assert any(finding.key == key for finding in found)
        assert looked.readings.bad == 1
    store.objects[key] = whole
    with Ledger(tmp_path / "ledger.db") as ledger:
        looked, found = look(vault, ledger, percent=0)
        assert found == []
        assert looked.readings.bad == 0


@pytest.mark.parametrize("rubbish", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_ledger_that_is_lost_or_rubbish_only_begins_anew(tmp_path: Path, rubbish: bytes) -> None:
    _, vault = two_points()
    with Ledger(tmp_path / "ledger.db") as ledger:
        look(vault, ledger)
    (tmp_path / "ledger.db").write_bytes(rubbish)
    with Ledger(tmp_path / "ledger.db") as ledger:
        looked, found = look(vault, ledger, percent=0)
        assert found == []
        assert looked.readings.never == looked.readings.packs


def test_what_is_gone_from_the_vault_is_gone_from_the_ledger(tmp_path: Path) -> None:
    store, vault = two_points()
    with Ledger(tmp_path / "ledger.db") as ledger:
        before = look(vault, ledger)[0].readings.packs
    store.delete(next(iter(store.list("packs/"))).key)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert look(vault, ledger, percent=0)[0].readings.packs == before - 1


# ── what the store does ──────────────────────────────────────────────────────────────────────────


def _calls(store: MemoryStore, work: Callable[[Mortal], object]) -> Iterator[int]:
    whole = Mortal(store, 0)
    work(whole)
    yield from range(1, whole.calls + 1)


def test_a_store_that_fails_at_any_call_stops_the_check_and_condemns_nothing() -> None:
    """What could not be looked at is neither sound nor damaged: a check that was cut short finds nothing."""
    store = MemoryStore()
    back_up(new_vault(store), SMALL)

    def work(mortal: Mortal) -> list[Finding]:
        return list(check(open_vault(mortal, "local", keyring()), read_data=True))

    for breaths in _calls(store, work):
        away = Mortal(store, breaths, dies=StoreUnreachable("the store does not answer"))
        with pytest.raises(StoreUnreachable):
            work(away)


def test_of_a_store_that_keeps_versions_the_first_is_what_is_checked() -> None:
    bucket = MemoryBucket()
    vault = new_vault(bucket)
    point = back_up(vault, SMALL)
    for prefix in ("packs/", "nodes/"):
        for listed in list(bucket.list(prefix)):
            bucket.lay_version(listed.key, noise(listed.size_bytes))
    fresh = open_vault(bucket, "local", keyring())
    assert held(fresh.open(point.id)) == expected(SMALL)
    seen = list(check(open_vault(bucket, "local", keyring()), read_data=True))
    assert {finding.weight for finding in seen} == {Weight.COVERED}
    assert {finding.point for finding in seen} == {point.id}


def test_what_is_known_to_be_whole_is_kept_on_disk() -> None:
    with closing(Known()) as known:
        known.add(b"x")
        assert known.has(b"x")
        assert not known.has(b"y")
