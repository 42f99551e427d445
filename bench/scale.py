"""What grows with the data and what does not: objects and requests for a TB, peak memory of ten times as much.

There is no peer here, so the lines have a shape of their own. Requests are counted at a store in memory, on data that
compresses two to one; from there it is multiplication, because the vault does the same for each 64 MiB of a file and
for each thousand files. Peak memory is that of a process of its own, which keeps its vault in a folder.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from rows import say, spend

from backstay.adapters.objectstore import FolderStore
from backstay.ports import Cutter, Entry, Kind
from backstay.values import say_size
from backstay.vault import Keyring, Repository, create, new_key, open_vault
from backstay.vault.stock import _RECORD  # pyright: ignore[reportPrivateUsage] - its size is what is told
from fix_counting import CountingStore
from fix_vault import DB, PLAN, new_vault, noise, sealing

NOW = datetime(2026, 11, 22, 20, 44, 37, tzinfo=UTC)
MIB = 1 << 20
HALF = noise(32_768)


class Pages:
    """A page file of so many 64 KiB: half noise, half zeros, no page like another."""

    def __init__(self, number: int, pages: int) -> None:
        self._number, self._pages, self._at = number, pages, 0

    def close(self) -> None:
        """There is nothing to close."""

    def read(self, size: int) -> bytes:
        assert size >= 65_536
        if self._at == self._pages:
            return b""
        self._at += 1
        return b"%016d%016d" % (self._number, self._at) + HALF[32:] + bytes(32_768)


def entries(files: int, mib: int) -> Iterator[Entry]:
    """Page files of 64 MiB, and many short ones."""
    for number in range(files):
        data = b"%d" % number

        def small(data: bytes = data) -> BinaryIO:
            return io.BytesIO(data)

        yield Entry(f"files/{number // 1000}/{number}", Kind.FILE, 0o600, NOW, len(data), small)
    for number in range(mib // 64):

        def long(number: int = number) -> BinaryIO:
            return cast(BinaryIO, Pages(number, 1024))

        yield Entry(f"base/{number}", Kind.FILE, 0o600, NOW, 64 * MIB, long, Cutter.FIXED_64K)


def take(vault: Repository, files: int, mib: int) -> int:
    """Bytes stored by one backup."""
    with vault.begin(DB, plan=PLAN, now=datetime.now(UTC)) as writer:
        writer.add(entries(files, mib))
        return writer.seal(sealing(datetime.now(UTC))).stored_bytes


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    del size, words
    lines = list(memory())  # first: a process begins with the peak of the one that started it
    lines += [*counted("a TB in page files", 0, 512, 1e12 / (512 * MIB)), *counted("a million files", 20_000, 0, 50)]
    for line in lines:
        told = {name: round(value) if isinstance(value, float) else value for name, value in line.items()}
        print(json.dumps(told) if as_json else "   ".join(f"{name} {value}" for name, value in told.items()))


def counted(what: str, files: int, mib: int, times: float) -> Iterator[dict[str, float | str]]:
    say(f"counting requests: {what}")
    store = CountingStore()
    vault = new_vault(store)
    store.forget()
    stored = take(vault, files, mib)
    objects = sum(1 for key in store.objects if key.startswith(("packs/", "nodes/")))
    yield _line(
        f"first backup of {what}", store, times, {"objects": objects * times, "stored_gb": stored * times / 1e9}
    )
    store.forget()
    take(vault, files, mib)
    yield _line(f"second backup of {what}, nothing changed", store, times, {})
    store.forget()
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
        vault.open(vault.points(DB)[-1].id).extract(Path(folder) / "to")
    yield _line(f"restore of {what}", store, times, {"read_gb": store.read_bytes * times / 1e9})


def _line(work: str, store: CountingStore, times: float, more: dict[str, float]) -> dict[str, float | str]:
    requests = {
        "writes": sum(store.writes.values()) * times,
        "reads": sum(store.reads.values()) * times,
        "listings": sum(store.lists.values()) * times,
    }
    return {"work": work, **requests, **more}


def memory() -> Iterator[dict[str, float | str]]:
    yield {"work": "memory for the list of packs of 10 TB", "mb": 10e12 / (16 * MIB) * _RECORD.size / 1e6}
    for files, mib in ((2_000, 128), (20_000, 1280)):
        say(f"peak memory: {files} files, {mib} MiB")
        with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
            for work in ("first", "second"):
                spent = spend([sys.executable, __file__, folder, str(files), str(mib)])
                what = f"{work} backup of {files:,} files and {say_size(mib * MIB)}"
                yield {"work": f"peak memory, {what}", "mb": spent.peak_mb}


def _child(folder: Path, files: int, mib: int) -> None:
    store, key = FolderStore(folder / "vault"), folder / "key"
    if key.exists():
        keys = Keyring.load(key)
    else:
        keys = new_key(key)
        create(store, plan_name="bench", keys=keys, now=NOW)
    take(open_vault(store, "local", keys), files, mib)


if __name__ == "__main__":
    _child(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
