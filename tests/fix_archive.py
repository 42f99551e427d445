"""An archive service in this process, and files for it as a server would have them."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import archive_push
from backstay.adapters.postgres.archive_service import Keep, Service
from backstay.adapters.postgres.archiving import Archive, Cluster
from backstay.errors import BackstayError
from backstay.lsn import Lsn, segment_name
from fix_wal import LEAST_SEGMENT, SYSTEM, log_of

CLUSTER = Cluster(SYSTEM, LEAST_SEGMENT, 16)


@dataclass
class Archiving:
    """`folder` is the data directory of a server that was never started."""

    folder: Path
    socket: Path
    vault: MemoryVault
    heard: list[tuple[str, str | BackstayError]] = field(default_factory=list[tuple[str, "str | BackstayError"]])

    def write(self, name: str, content: bytes) -> str:
        """A file in pg_wal, named as `%p` names it."""
        (self.folder / "pg_wal" / name).write_bytes(content)
        return f"pg_wal/{name}"

    def segment(
        self, number: int, timeline: int = 1, *, size: int = LEAST_SEGMENT, seed: int = 0, end: str = ""
    ) -> str:
        content = log_of(SYSTEM, timeline, number * size, size, size, seed)
        return self.write(segment_name(timeline, number, size) + end, content)

    def push(self, path: str, *, socket: Path | None = None) -> tuple[int, str]:
        """As PostgreSQL runs it: exit code, and what it said."""
        argv = [sys.executable, "-I", "-S", archive_push.__file__, str(socket or self.socket), path]
        ended = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    def kept(self, timeline: int, start: int, end: int) -> bytes:
        return b"".join(self.vault.wal.read(SYSTEM, timeline, Lsn(start), Lsn(end)))


@contextmanager
def archiving(folder: Path, cluster: Cluster = CLUSTER, keep: Keep | None = None) -> Generator[Archiving]:
    """`keep`: instead of the archive in a vault in memory."""
    (folder / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)
    vault = MemoryVault()
    with tempfile.TemporaryDirectory(prefix="backstay-") as short:  # the address of a socket has at most 107 bytes
        made = Archiving(folder, Path(short) / "archive.sock", vault)
        owner = folder.stat().st_uid
        archive = keep or Archive(cluster, vault.wal).keep
        service = Service(made.socket, owner, archive, lambda name, came: made.heard.append((name, came)))
        service.listen()
        thread = threading.Thread(target=service.serve)
        thread.start()
        try:
            yield made
        finally:
            service.close()
            thread.join()
