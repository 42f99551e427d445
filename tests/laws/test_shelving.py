"""Log into several vaults: what one of them meets is no reason to end for all."""

from collections.abc import Mapping

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres.shelving import Shelves, Taker, Trouble
from backstay.errors import WrongKey
from backstay.ports import Piece
from backstay.reach import Stretch
from backstay.values import VaultName
from fix_wal import SYSTEM, piece

A, B = VaultName("a"), VaultName("b")


class Revoked:
    """A vault in which this host may not sign any more."""

    def keep(self, piece: Piece) -> Stretch:
        raise WrongKey("this key may not sign here any more")

    def keep_history(self, system: int, timeline: int, text: bytes) -> None:
        raise WrongKey("this key may not sign here any more")

    def histories(self, system: int) -> Mapping[int, bytes]:
        return {}

    def stretches(self, system: int, timeline: int | None = None) -> list[Stretch]:
        return []


def shelves(heard: list[Trouble], of: Mapping[VaultName, Taker]) -> Shelves:
    return Shelves(of, SystemClock(), heard.append, lambda: False, lambda length: None)


def test_a_vault_that_does_not_believe_this_host_is_left_behind_and_named() -> None:
    heard, vault = list[Trouble](), MemoryVault()
    both = shelves(heard, {A: Revoked(), B: vault.wal})
    both.keep_histories(SYSTEM, range(2, 3), lambda number: b"1\t0/1000000\tno\n")
    taken = both.keep(piece(0x100_0000, 1000))
    assert (taken.vaults, dict(taken.lacking)) == ((B,), {A: "this key may not sign here any more"})
    assert [one.said for one in heard] == [
        "a takes no log: this key may not sign here any more; tried again each 1 min"
    ]
    assert [one.end for one in vault.wal.stretches(SYSTEM)] == [0x100_0000 + 1000]
    assert set(vault.wal.histories(SYSTEM)) == {2}


def test_when_no_vault_believes_it_waiting_does_not_help() -> None:
    with pytest.raises(WrongKey):
        shelves([], {A: Revoked(), B: Revoked()}).keep(piece(0x100_0000, 1000))
