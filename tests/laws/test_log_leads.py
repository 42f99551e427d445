"""How far kept log leads from a point: to its last byte, or to when its server was seen to rest; over no gap."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.vault import MemoryVault
from backstay.app.leading import leads, log_of
from backstay.errors import Damaged
from backstay.facts import LogKept, Point
from backstay.lsn import say_lsn
from backstay.values import VaultName
from backstay.vault import names
from fix_story import NOW, point
from fix_vault import new_vault
from fix_wal import SYSTEM, piece

STOP = 0x100_2000


def a_point(stop: int = STOP) -> Point:
    return point(
        NOW - timedelta(hours=1), system=str(SYSTEM), timeline="1", start_lsn="0/1000028", stop_lsn=say_lsn(stop),
        wal_segment_bytes=str(1 << 20),
    )  # fmt: skip


def keep(vault: MemoryVault, start: int, size: int, until: datetime | None) -> None:
    vault.wal.keep(replace(piece(start, size), since=until, until=until))


def rested(end: int, until: datetime, timeline: int = 1, system: int = SYSTEM) -> LogKept:
    return LogKept((VaultName("local"),), str(system), timeline, say_lsn(end), until)


def at(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_log_leads_to_the_moment_of_its_last_byte() -> None:
    vault, one = MemoryVault(), a_point()
    assert leads(vault.wal, [one], []) == {}
    keep(vault, 0x100_0000, 0x2000, at(1))  # it holds that itself
    assert leads(vault.wal, [one], []) == {}
    keep(vault, STOP, 100, at(2))
    keep(vault, STOP + 100, 100, at(3))
    assert leads(vault.wal, [one], []) == {one.id: at(3)}


def test_no_log_leads_over_a_gap() -> None:
    vault, one = MemoryVault(), a_point()
    keep(vault, STOP, 100, at(2))
    keep(vault, STOP + 101, 100, at(9))
    assert leads(vault.wal, [one], [rested(STOP + 201, at(99))]) == {one.id: at(2)}


def test_a_server_that_rested_had_no_younger_data() -> None:
    vault, one = MemoryVault(), a_point()
    keep(vault, STOP, 100, at(2))
    assert leads(vault.wal, [one], [rested(STOP + 100, at(50))]) == {one.id: at(50)}
    for other in (rested(STOP + 101, at(50)), rested(STOP + 100, at(50), timeline=2), rested(STOP, at(50), system=9)):
        assert leads(vault.wal, [one], [other]) == {one.id: at(2)}


def test_what_was_written_on_a_timeline_that_was_given_up_is_not_what_there_is_now() -> None:
    vault, one = MemoryVault(), a_point()
    keep(vault, STOP, 200, at(9))
    vault.wal.keep_history(SYSTEM, 2, b"1\t0/1002064\tbefore 2026-11-22 12:00:04+00\n")
    vault.wal.keep(replace(piece(STOP + 100, 50, timeline=2), since=at(20), until=at(20)))
    assert leads(vault.wal, [one], []) == {one.id: at(20)}
    later = a_point(STOP + 150)
    assert leads(vault.wal, [later], []) == {later.id: at(9)}, "a point behind the fork leads nowhere else"


def test_log_that_says_no_moment_counts_from_when_it_was_kept() -> None:
    vault, one = MemoryVault(), a_point()
    keep(vault, STOP, 100, None)
    (stretch,) = vault.wal.stretches(SYSTEM)
    assert leads(vault.wal, [one], []) == {one.id: stretch.kept}


def test_a_point_of_another_kind_has_no_log() -> None:
    vault = MemoryVault()
    keep(vault, STOP, 100, at(2))
    assert leads(vault.wal, [point(NOW)], []) == {}


def test_a_damaged_history_is_no_reason_to_know_nothing_of_anything_else() -> None:
    vault, one = new_vault(MemoryStore()), a_point()
    vault.wal.keep(piece(STOP, 100))
    vault.wal.keep_history(SYSTEM, 2, b"1\t0/1002064\tno recovery target specified\n")
    assert set(leads(vault.wal, [one], [])) == {one.id}
    assert isinstance(vault.store, MemoryStore)
    objects, key = vault.store.objects, names.history(SYSTEM, 2)
    objects[key] = objects[key][:-1] + bytes([objects[key][-1] ^ 1])
    assert leads(vault.wal, [one], []) == {}
    with pytest.raises(Damaged, match="history"):
        log_of(vault.wal, SYSTEM)
