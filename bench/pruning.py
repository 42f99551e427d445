"""What is kept for one point when 29 others are gone, each of 1% random pages: stored bytes over live bytes.

    python bench/pruning.py [MIB]

Three answers: nothing pruned; only wholly dead packs deleted; packs rewritten that are less than half alive (`retain`).
"""

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO

from backstay.adapters.memory.store import MemoryStore
from backstay.ports import Cutter, Entry, Kind, Sealing
from backstay.values import ComponentName, Digest, LineageId
from backstay.vault import Keyring, Repository, age, create, open_vault
from backstay.vault.pruning import Rules, prune

PAGE, POINTS, FILES = 65_536, 30, 8
DB, NOW = ComponentName("database"), datetime(2026, 11, 28, tzinfo=UTC)


def _take(vault: Repository, files: list[bytearray], number: int) -> None:
    now = NOW + timedelta(hours=number)
    with vault.begin(DB, plan=Digest("sha256:" + "0" * 64), now=now) as writer:
        writer.add([
            Entry(f"base/{n}", Kind.FILE, 0o600, now, len(data), lambda data=data: BytesIO(data), Cutter.FIXED_64K)
            for n, data in enumerate(files)
        ])  # fmt: skip
        writer.seal(Sealing(LineageId("one"), "local", now, now, now, "bench"))


def _vault(size: int) -> tuple[MemoryStore, Keyring]:
    chance, store = random.Random(1), MemoryStore()
    keys = Keyring(age.new_identity()[0], chance.randbytes(32))
    create(store, plan_name="bench", keys=keys, now=NOW)
    vault = open_vault(store, "bench", keys)
    files = [bytearray(chance.randbytes(size // FILES)) for _ in range(FILES)]
    pages = [(file, at) for file in files for at in range(0, len(file), PAGE)]
    for number in range(POINTS):
        for file, at in chance.sample(pages, len(pages) // 100) if number else []:
            file[at : at + 8192] = chance.randbytes(8192)
        _take(vault, files, number)
    for point in vault.points(DB)[:-1]:
        vault.end(point)
    return store, keys


def _stored(store: MemoryStore) -> int:
    return sum(len(data) for key, data in store.objects.items() if key.startswith(("packs/", "nodes/")))


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else "256") << 20
    store, keys = _vault(size)
    for name, least in (("nothing", None), ("wholly dead packs", 0.0), ("less than half alive", 0.5)):
        began = time.perf_counter()
        if least is not None:
            prune(open_vault(store, "bench", keys), DB, lambda: False, Rules(least))
        took = time.perf_counter() - began
        print(f"{name:<22} {_stored(store) / size:5.2f} times the live data  {took:6.2f} s")


if __name__ == "__main__":
    main()
