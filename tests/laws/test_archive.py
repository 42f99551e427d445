"""Whatever the store does while a segment is archived: no answer before it is durable, and the next try keeps it."""

import os
import tempfile
from pathlib import Path

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.postgres.archiving import Archive
from backstay.errors import BackstayError, StoreUnreachable
from backstay.lsn import Lsn, segment_name
from backstay.ports import Store
from backstay.vault import open_vault
from fix_archive import CLUSTER
from fix_vault import Crash, Mortal, keyring, new_vault
from fix_wal import LEAST_SEGMENT, SYSTEM, log_of

FILES = {
    "00000002.history": b"1\t0/380000\tno recovery target specified\n",
    segment_name(1, 3, LEAST_SEGMENT) + ".partial": log_of(SYSTEM, 1, 3 * LEAST_SEGMENT, LEAST_SEGMENT),
    segment_name(2, 3, LEAST_SEGMENT): log_of(SYSTEM, 2, 3 * LEAST_SEGMENT, LEAST_SEGMENT),
}
"""A promotion, as the server sends it."""


def archive_all(store: Store) -> list[str]:
    """The files that were answered for; ends at the first that was not, as a server does."""
    answered = list[str]()
    archive = Archive(CLUSTER, open_vault(store, "local", keyring()).wal)
    for name, content in FILES.items():
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            archive.keep(name, file.fileno())
        answered.append(name)
    return answered


def kept(store: Store) -> dict[str, bytes]:
    shelf = open_vault(store, "local", keyring()).wal
    found = {f"{timeline:08X}.history": text for timeline, text in shelf.histories(SYSTEM).items()}
    for one in shelf.stretches(SYSTEM):
        content = b"".join(shelf.read(SYSTEM, one.timeline, one.start, one.end))
        assert one.start == Lsn(3 * LEAST_SEGMENT)
        partial = ".partial" if one.timeline == 1 else ""
        found[segment_name(one.timeline, 3, LEAST_SEGMENT) + partial] = content
    return found


@pytest.mark.parametrize("dies", [StoreUnreachable("away"), Crash()], ids=["refused", "killed"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "unheard"])
def test_whatever_fails_what_was_answered_is_kept_and_the_next_try_keeps_all(
    after: bool, dies: BaseException, tmp_path: Path
) -> None:
    counted = Mortal(_fresh(), 10**9)
    archive_all(counted)
    for n in range(1, counted.calls + 1):
        store = _fresh()
        answered = list[str]()
        try:
            answered = archive_all(Mortal(store, n, after=after, dies=dies))
        except (BackstayError, Crash):
            pass
        else:
            assert n == counted.calls
            assert after
        there = kept(store)
        for name in answered:
            assert name in there
        archive_all(store)
        whole = kept(store)
        assert set(whole) == set(FILES)
        assert whole[segment_name(2, 3, LEAST_SEGMENT)] == FILES[segment_name(2, 3, LEAST_SEGMENT)]
        assert len(whole[segment_name(1, 3, LEAST_SEGMENT) + ".partial"]) == 0x380000 - 3 * LEAST_SEGMENT
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - nothing of it touches a disk of ours


def _fresh() -> MemoryStore:
    store = MemoryStore("local")
    new_vault(store)
    return store
