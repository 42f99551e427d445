"""Log as PostgreSQL writes it, as far as a vault looks at it; and the contract of a WalShelf."""

import random
import struct
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from backstay.errors import ObjectMissing, WalConflict
from backstay.lsn import Lsn
from backstay.ports import Label, Piece, Vault

SYSTEM = 0x6B1C_5A7E_0123_4567
LEAST_SEGMENT = 1 << 20
SINCE = datetime(2026, 11, 22, 20, 44, 37, 123456, tzinfo=UTC)
UNTIL = SINCE + timedelta(seconds=5)


def log_of(system: int, timeline: int, start: int, size: int, segment: int = LEAST_SEGMENT, seed: int = 0) -> bytes:
    """`size` bytes of log from `start`: noise that depends on the place and on `seed`, and the right header wherever a
    segment begins. The same place always holds the same bytes, however it is cut."""
    first = start // segment * segment
    found = bytearray()
    for at in range(first, start + size, segment):
        header = struct.pack("<HHIQIxxxxQII", 0xD113, 0x0002, timeline, at, 0, system, segment, 8192)
        found += header + random.Random(f"{system} {timeline} {at} {seed}").randbytes(
            min(segment, 65_536) - len(header)
        )
        found += bytes(segment - min(segment, 65_536))
    return bytes(found[start - first :][:size])


def piece(start: int, size: int, *, timeline: int = 1, system: int = SYSTEM, seed: int = 0) -> Piece:
    data = log_of(system, timeline, start, size, seed=seed)
    return Piece(system, timeline, Lsn(start), data, LEAST_SEGMENT, 17, SINCE, UNTIL)


class WalContract:
    """Every WalShelf passes these. `vault` is empty."""

    @pytest.fixture
    def vault(self) -> Vault:
        raise NotImplementedError

    def test_what_was_kept_is_listed_and_read(self, vault: Vault) -> None:
        kept = vault.wal.keep(piece(0x100_0000, 3_000_000))
        assert (kept.system, kept.timeline, kept.start, kept.end) == (SYSTEM, 1, 0x100_0000, 0x100_0000 + 3_000_000)
        (listed,) = vault.wal.stretches(SYSTEM)
        assert (listed.start, listed.end, listed.size_bytes) == (kept.start, kept.end, kept.size_bytes)
        assert listed.kept - kept.kept < timedelta(minutes=1)
        assert vault.wal.systems() == [SYSTEM]
        assert read(vault, kept.start, kept.end) == piece(0x100_0000, 3_000_000).data
        assert vault.wal.label(listed) == Label(LEAST_SEGMENT, 17, SINCE, UNTIL)
        assert list(vault.wal.spans(SYSTEM, 1)) == [(listed, SINCE, UNTIL)]

    def test_an_empty_shelf_has_nothing(self, vault: Vault) -> None:
        assert vault.wal.systems() == []
        assert vault.wal.stretches(SYSTEM) == []
        assert vault.wal.histories(SYSTEM) == {}
        assert list(vault.wal.spans(SYSTEM, 1)) == []

    def test_exactly_the_bytes_that_are_asked_for(self, vault: Vault) -> None:
        ends = [0x100_0000, 0x100_0001, 0x120_0000, 0x120_0064, 0x150_0007, 0x160_0000]
        for start, end in pairwise(ends):
            vault.wal.keep(piece(start, end - start))
        whole = piece(ends[0], ends[-1] - ends[0]).data
        for start, end in (
            (ends[0], ends[-1]),
            (0x11F_FFFF, 0x120_0065),
            (0x120_0000, 0x120_0001),
            (0x150_0006, 0x15F_FFFF),
        ):
            assert read(vault, start, end) == whole[start - ends[0] : end - ends[0]]

    def test_stretches_are_in_the_order_of_the_log_and_by_timeline(self, vault: Vault) -> None:
        for start, timeline in ((0x1_0000_0000, 1), (0xFF00_0000, 1), (0x200_0000, 11), (0x300_0000, 2)):
            vault.wal.keep(piece(start, 4096, timeline=timeline))
        vault.wal.keep(piece(0x100_0000, 10, system=7))
        found = [(one.timeline, one.start) for one in vault.wal.stretches(SYSTEM)]
        assert found == [(1, 0xFF00_0000), (1, 0x1_0000_0000), (2, 0x300_0000), (11, 0x200_0000)]
        assert [one.start for one in vault.wal.stretches(SYSTEM, 11)] == [0x200_0000]
        assert vault.wal.systems() == [7, SYSTEM]

    def test_a_gap_is_named(self, vault: Vault) -> None:
        vault.wal.keep(piece(0x100_0000, 4096))
        vault.wal.keep(piece(0x100_2000, 4096))
        with pytest.raises(ObjectMissing, match="timeline 1, is not kept from 0/1001000 on") as gap:
            read(vault, 0x100_0000, 0x100_3000)
        assert "goes on at 0/1002000" in (gap.value.detail or "")
        with pytest.raises(ObjectMissing, match="0/1003000"):
            read(vault, 0x100_2000, 0x100_3001)
        with pytest.raises(ObjectMissing, match="timeline 2"):
            list(vault.wal.read(SYSTEM, 2, Lsn(0x100_0000), Lsn(0x100_0001)))

    def test_the_same_again_is_no_error_and_is_kept_once(self, vault: Vault) -> None:
        first = vault.wal.keep(piece(0x100_0000, 2_000_000))
        again = vault.wal.keep(piece(0x100_0000, 2_000_000))
        assert (again.start, again.end) == (first.start, first.end)
        assert len(vault.wal.stretches(SYSTEM)) == 1

    def test_stretches_may_overlap(self, vault: Vault) -> None:
        for start, size in ((0x100_0000, 2 << 20), (0x110_0000, 3 << 20), (0x100_0000, 8 << 20), (0x117_0000, 99)):
            vault.wal.keep(piece(start, size))
        assert read(vault, 0x100_0000, 0x180_0000) == piece(0x100_0000, 8 << 20).data

    @pytest.mark.parametrize(("start", "size"), [(0x100_0000, 3 << 20), (0x110_0000, 1 << 20), (0xF0_0000, 4 << 20)])
    def test_other_bytes_for_the_same_place_are_refused(self, vault: Vault, start: int, size: int) -> None:
        vault.wal.keep(piece(0x100_0000, 3 << 20))
        with pytest.raises(WalConflict, match=f"system {SYSTEM}"):
            vault.wal.keep(piece(start, size, seed=1))
        assert [one.start for one in vault.wal.stretches(SYSTEM)] == [0x100_0000]

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            (log_of(9, 1, 0x100_0000, 8192), "another cluster"),
            (log_of(SYSTEM, 2, 0x100_0000, 8192), "timeline 2"),
            (log_of(SYSTEM, 1, 0x110_0000, 8192), "holds the WAL from 0/1100000"),
            (log_of(SYSTEM, 1, 0x100_0000, 8192, 2 << 20), "segments of 2097152 bytes"),
            (bytes(8192), "does not begin with the header"),
        ],
    )
    def test_log_that_belongs_elsewhere_is_refused(self, vault: Vault, wrong: bytes, why: str) -> None:
        right = piece(0xFF_F000, 4096)
        foreign = Piece(SYSTEM, 1, Lsn(0xFF_F000), right.data + wrong, LEAST_SEGMENT, 17)
        with pytest.raises(WalConflict) as refused:
            vault.wal.keep(foreign)
        assert why in (refused.value.detail or "")
        assert vault.wal.stretches(SYSTEM) == []

    def test_a_segment_may_begin_with_an_older_timeline(self, vault: Vault) -> None:
        """It was copied at a switch."""
        vault.wal.keep(Piece(SYSTEM, 3, Lsn(0x100_0000), log_of(SYSTEM, 2, 0x100_0000, 8192), LEAST_SEGMENT, 17))
        assert [one.timeline for one in vault.wal.stretches(SYSTEM)] == [3]

    def test_a_very_long_piece_becomes_several_stretches(self, vault: Vault) -> None:
        long = piece(0x3F0_0000, 66 << 20)
        kept = vault.wal.keep(long)
        assert (kept.start, kept.end) == (long.start, long.end)
        assert vault.wal.keep(long).end == long.end
        found = vault.wal.stretches(SYSTEM)
        assert [(one.start, one.end) for one in found] == [
            (0x3F0_0000, 0x400_0000), (0x400_0000, 0x800_0000), (0x800_0000, long.end)
        ]  # fmt: skip
        assert read(vault, 0x3FF_FFFF, 0x800_0001) == long.data[0xF_FFFF:0x410_0001]

    def test_histories_come_back_and_are_written_once(self, vault: Vault) -> None:
        vault.wal.keep_history(SYSTEM, 2, b"1\t0/3000060\tno recovery target specified\n")
        vault.wal.keep_history(SYSTEM, 2, b"1\t0/3000060\tno recovery target specified\n")
        vault.wal.keep_history(SYSTEM, 17, b"")
        with pytest.raises(WalConflict, match="another history of timeline 2"):
            vault.wal.keep_history(SYSTEM, 2, b"1\t0/4000060\tno recovery target specified\n")
        assert vault.wal.histories(SYSTEM) == {2: b"1\t0/3000060\tno recovery target specified\n", 17: b""}
        assert vault.wal.stretches(SYSTEM) == []


def read(vault: Vault, start: int, end: int) -> bytes:
    return b"".join(vault.wal.read(SYSTEM, 1, Lsn(start), Lsn(end)))
