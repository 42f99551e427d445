"""Law: what is written past the page cache is what would have been written through it, on any file system and disk."""

import errno
import fcntl
import itertools
import os
from pathlib import Path

import pytest
import zstandard

from backstay.adapters.memory.store import MemoryStore
from backstay.ports import Cutter
from backstay.vault.fetching import Located
from backstay.vault.frames import inflated_into
from backstay.vault.nodes import Chunk
from backstay.vault.packs import Place
from backstay.vault.side import SIDE_BYTES, Side
from backstay.vault.straight import LEAST, SLOW, Straight
from fix_vault import File, Things, back_up, expected, laid_down, new_vault, noise

PAGE = 65_536
NOISE = noise(3 << 20)
LONG: Things = {
    name: File(data, cutter=Cutter.FIXED_64K, mode=mode)
    for name, data, mode in (
        ("least", NOISE[:LEAST], 0o600),
        ("below", NOISE[: LEAST - 1], 0o600),
        ("pages", NOISE[: LEAST + 3 * PAGE + 8192], 0o400),
        ("odd", NOISE[: LEAST + PAGE + 5001], 0o640),
        ("begins with a hole", bytes(2 * PAGE) + NOISE[:LEAST], 0o600),
        ("has a hole", NOISE[: LEAST - PAGE] + bytes(SIDE_BYTES + PAGE) + NOISE[LEAST:-1], 0o600),
        ("ends with a hole", NOISE[:LEAST] + bytes(5 * PAGE + 17), 0o600),
        ("is a hole", bytes(2 * LEAST + 3), 0o600),
    )
}
OTHERS: Things = {**LONG, "dump": File(NOISE + b"end", cutter=Cutter.CDC_V1), "short": File(b"short")}


class Watched:
    """Notes which handles are turned, and what each call writes through such a one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, no_way: bool = False, wants: int = 1) -> None:
        self.straight, self.through, self.turned = 0, 0, 0
        control, write = fcntl.fcntl, os.pwrite

        def fcntl_(handle: int, command: int, flags: int = 0) -> int:
            if command == fcntl.F_SETFL and flags & os.O_DIRECT:
                self.turned += 1
                if no_way:
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return control(handle, command, flags)

        def pwrite(handle: int, data: memoryview, at: int) -> int:
            is_straight = bool(control(handle, fcntl.F_GETFL) & os.O_DIRECT)
            if is_straight and at % wants:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            n = write(handle, data, at)
            self.straight += n * is_straight
            self.through += n * (not is_straight)
            return n

        monkeypatch.setattr("fcntl.fcntl", fcntl_)
        monkeypatch.setattr("os.pwrite", pwrite)


def has_way(folder: Path) -> bool:
    """Whether this file system has a way past the cache."""
    handle = os.open(folder / "canary", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        return Straight().turn(handle)
    finally:
        os.close(handle)
        (folder / "canary").unlink()


def restored(to: Path) -> None:
    vault = new_vault(MemoryStore())
    reader = vault.open(back_up(vault, OTHERS).id)
    reader.extract(to)
    assert laid_down(to) == expected(OTHERS)
    for stored in reader.entries():
        assert (to / stored.path).stat().st_mtime == pytest.approx(stored.modified.timestamp())


def test_long_page_files_go_straight_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_way(tmp_path):
        pytest.skip("this file system has no way past its cache")
    monkeypatch.setattr("backstay.vault.straight.SLOW", 0)  # this machine may be busy
    watched = Watched(monkeypatch)
    restored(tmp_path / "to")
    assert watched.turned == len(LONG) - 1
    stored = sum(len(thing.data) for name, thing in LONG.items() if isinstance(thing, File) and name != "below")
    assert 3 * LEAST < watched.straight < stored - SIDE_BYTES, "all of them, but for the holes"
    assert watched.through < len(NOISE) + LEAST + 100, "the dump, and the short ones"
    holes = (tmp_path / "to" / "is a hole").stat().st_blocks * 512
    assert holes < LEAST


def test_a_file_system_without_such_a_way_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, no_way=True)
    monkeypatch.setattr("backstay.vault.extract.MOST_THREADS", 1)
    restored(tmp_path / "to")
    assert watched.straight == 0
    assert watched.turned == 1


def test_a_disk_that_wants_larger_blocks_gets_nothing_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses what begins within one of its blocks, also in the middle of a file."""
    if not has_way(tmp_path):
        pytest.skip("this file system has no way past its cache")
    Watched(monkeypatch, wants=2 * PAGE)
    restored(tmp_path / "to")


def test_a_slow_disk_is_left_to_the_cache(tmp_path: Path) -> None:
    ticks = itertools.count()
    slow = Straight(clock=lambda: next(ticks) * 2 * LEAST / SLOW)
    fast = Straight(clock=lambda: next(ticks) * LEAST / SLOW / 2)
    with (tmp_path / "file").open("wb") as target:
        for _ in range(15):
            slow.write(target.fileno(), memoryview(NOISE[:LEAST]), 0)
            fast.write(target.fileno(), memoryview(NOISE[:LEAST]), 0)
        assert slow.is_worth_it, "too early to tell"
        slow.write(target.fileno(), memoryview(NOISE[:LEAST]), 0)
        fast.write(target.fileno(), memoryview(NOISE[:LEAST]), 0)
    assert (slow.is_worth_it, fast.is_worth_it) == (False, True)


# ── side by side ─────────────────────────────────────────────────────────────────────────────────


def located(offset: int, size: int, file: int = 0) -> Located:
    return Located(offset, Chunk(bytes(32), size, Place(bytes(16), bytes(8), 0, size), 0), file)


def test_what_continues_is_written_by_one_call() -> None:
    calls: list[tuple[int, int, bytes]] = []
    side = Side()
    side.begin(lambda number, data, start: calls.append((number, start, bytes(data))))
    large = noise(SIDE_BYTES + 1)
    for number, offset, data in (
        (0, 0, b"one"), (0, 3, b"two"), (0, 7, b"after a gap"), (1, 18, b"another file"), (1, 30, large),
        (1, 30 + len(large), b"."),
    ):  # fmt: skip
        here = located(offset, len(data), number)
        room = side.room(here)
        room[:1] = data[:1]
        side.put(here, memoryview(data))
    side.flush()
    assert calls == [
        (0, 0, b"onetwo"), (0, 7, b"after a gap"), (1, 18, b"another file"), (1, 30, large), (1, 30 + len(large), b".")
    ]  # fmt: skip


def test_what_is_in_its_room_already_is_not_copied() -> None:
    calls: list[bytes] = []
    side = Side()
    side.begin(lambda number, data, start: calls.append(bytes(data)))
    for at in (0, 3):
        room = side.room(located(at, 3))
        room[:5] = b"abcxx"  # whoever fills it may write a little more
        side.put(located(at, 3), room[:3])
    side.flush()
    assert calls == [b"abcabc"]


@pytest.mark.parametrize("behind", [b"x", b"x" * 400, zstandard.ZstdCompressor().compress(b"more")])
def test_a_frame_has_the_length_that_it_says(behind: bytes) -> None:
    plain, inflate = NOISE[:PAGE], zstandard.ZstdDecompressor()
    frame, room = zstandard.ZstdCompressor().compress(plain), memoryview(bytearray(PAGE + 100))
    assert inflated_into(room, memoryview(frame), PAGE, inflate) == plain
    for wrong in (frame + behind, frame[:-1], frame[: len(frame) // 2], b"", behind):
        with pytest.raises(ValueError, match=r"length|decompressed"):
            inflated_into(room, memoryview(wrong), PAGE, inflate)
    with pytest.raises(ValueError, match="length"):
        inflated_into(room, memoryview(frame), PAGE - 1, inflate)
