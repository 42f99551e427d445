"""Law: a full disk, during a backup or a restore, is said for what it is, and costs nothing that was there.

On a real file system without room: a small tmpfs in a mount namespace of its own.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = ["unshare", "--user", "--map-root-user", "--mount"]

BACKUP = """
import os
from fix_vault import *
from backstay.adapters.objectstore import FolderStore
from backstay.errors import DiskFull

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one lane: others would share the file, and the room
store = FolderStore(Path("small/vault"))
vault = new_vault(store)
point = back_up(vault, SMALL)
before = {listed.key for listed in store.list()}
try:
    back_up(vault, {**SMALL, "more": File(noise(4 << 20))}, now=later(1))
except DiskFull as error:
    assert error.detail.startswith("needed 4.") and ", free 1." in error.detail, error.detail
    assert "no room left in small/vault" in error.message, error.message
else:
    raise AssertionError("it fitted")
assert list(Path("small/vault/+incoming").iterdir()) == []
left = {listed.key for listed in store.list()} - before
assert all(key.startswith("reserved/") for key in left), left
vault = open_vault(store, "local", keyring())
assert vault.points() == [point]
assert held(vault.open(point.id)) == expected(SMALL)
again = back_up(vault, {**SMALL, "little": File(b"fits")}, now=later(2))
assert held(vault.open(again.id)) == expected({**SMALL, "little": File(b"fits")})
"""

RESTORE = """
from fix_vault import *
from backstay.adapters.objectstore import FolderStore
from backstay.errors import DiskFull

vault = new_vault(FolderStore(Path("vault")))
point = back_up(vault, {**SMALL, "more": File(noise(4 << 20))})
try:
    vault.open(point.id).extract(Path("small/to"))
except DiskFull as error:
    assert error.detail.startswith("needed 4.7 MB, free 2.1 MB; nothing was written"), error.detail
else:
    raise AssertionError("it fitted")
assert list(Path("small/to").iterdir()) == []

def place(stored):
    return Path("small/elsewhere" if stored.path == "more" else "to", stored.path)

try:
    vault.open(point.id).extract(Path("to"), place=place)
except DiskFull as error:
    assert "the point itself is untouched" in error.detail, error.detail
else:
    raise AssertionError("it fitted")
vault.open(point.id).extract(Path("large"))
assert laid_down(Path("large")) == expected({**SMALL, "more": File(noise(4 << 20))})
"""


@pytest.mark.parametrize("what", [BACKUP, RESTORE], ids=["backup", "restore"])
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path: Path, what: str) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here: a small file system cannot be mounted")
    (tmp_path / "small").mkdir()
    (tmp_path / "it.py").write_text(what)
    paths = ":".join(str(Path(__file__).parents[1 + up] / name) for up, name in ((0, "."), (1, "src")))
    done = subprocess.run(
        [*ALONE, "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs small && exec "$0" -W error it.py', sys.executable],
        cwd=tmp_path, env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
