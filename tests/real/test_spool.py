"""What a recovering server is told when it asks for log: that it is there, that it is proved absent, or nothing."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

from backstay.adapters.postgres.programs import ourselves
from backstay.adapters.postgres.spool import Spool
from backstay.errors import StoreUnreachable
from fix_waiting import until

SEGMENT = 1 << 20
NAMES = [f"0000000100000000000000{n:02X}" for n in range(2, 12)]


@dataclass
class Log:
    """A source of ten segments, and one more for who looks again."""

    held: list[str] = field(default_factory=lambda: list(NAMES))
    more: list[str] = field(default_factory=list[str])
    breaks_at: str = ""
    looked: int = 0
    segment_bytes: int = SEGMENT

    def names(self) -> list[str]:
        return list(self.held)

    def further(self) -> bool:
        self.looked += 1
        self.held, self.more = [*self.held, *self.more], []
        return len(self.held) > len(NAMES) and self.looked == 1

    def pieces(self, name: str) -> Iterator[bytes]:
        yield name.encode()
        if name == self.breaks_at:
            raise StoreUnreachable("the vault is away")
        yield b"x" * 1000

    def history(self, timeline: int) -> bytes | None:
        return b"1\t0/3000000\tno recovery target specified\n" if timeline == 2 else None

    def wrong(self, path: Path, name: str) -> None:
        assert path.stat().st_size == SEGMENT


def fetch(spool: Path, name: str, to: Path, **more: str) -> int:
    """As PostgreSQL calls it, through a shell (RestoreArchivedFile, xlogarchive.c)."""
    command = f"exec sh '{spool / 'fetch'}' {name} {to}"
    return subprocess.run(["/bin/sh", "-c", command], env={**os.environ, **more}, check=False, timeout=30).returncode


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "pg_wal"
    folder.mkdir()
    return folder / "RECOVERYXLOG"


def test_every_segment_is_delivered_whole_and_the_next_is_proved_absent(tmp_path: Path, there: Path) -> None:
    log = Log(more=["00000001000000000000000C"])
    with Spool(tmp_path / "spool", log, ourselves(), budget_bytes=3 * SEGMENT) as spool:
        for name in [*NAMES, "00000001000000000000000C"]:
            assert fetch(spool.folder, name, there) == 0
            assert there.stat().st_size == SEGMENT
            assert there.read_bytes().startswith(name.encode())
            assert len(list((spool.folder / "ready").iterdir())) <= 3, "bounded"
        assert fetch(spool.folder, "00000001000000000000000D", there) == 1
        assert log.looked == 2, "proved by looking"
        # Begun again further back, as after a crash; and what the point itself holds is not on the shelf.
        assert fetch(spool.folder, NAMES[1], there) == 0
        assert fetch(spool.folder, NAMES[2], there) == 0
        assert fetch(spool.folder, "000000010000000000000001", there) == 1
        assert fetch(spool.folder, "00000002.history", there) == 0
        assert b"0/3000000" in there.read_bytes()
        assert fetch(spool.folder, "00000003.history", there) == 1
        assert spool.error is None
    assert not (tmp_path / "spool").exists()


def test_a_vault_that_goes_away_is_no_end_of_the_log(tmp_path: Path, there: Path) -> None:
    log = Log(breaks_at=NAMES[3])
    with Spool(tmp_path / "spool", log, ourselves()) as spool:
        codes = [fetch(spool.folder, name, there) for name in NAMES[:5]]
        assert codes[3:] == [126, 126]
        assert set(codes[:3]) <= {0, 126}
        assert isinstance(spool.error, StoreUnreachable)


def test_what_nobody_answers_is_no_end_of_the_log(tmp_path: Path, there: Path) -> None:
    """Nobody holds the lock: the filler is dead. A name that is none; a folder that is gone; a program that is not
    here; a full disk that the shell itself gives up on: never 1."""
    with Spool(tmp_path / "spool", Log(), ourselves()) as spool:
        script = (spool.folder / "fetch").read_bytes()
        assert fetch(spool.folder, "'..'", there) == 126
        assert fetch(spool.folder, "../alive", there) == 126
        assert fetch(spool.folder, "''", there) == 126
        until(lambda: len(spool.ready()) == len(NAMES), "everything is there")
        assert fetch(spool.folder, NAMES[0], tmp_path / "gone" / "x") == 126
        assert fetch(spool.folder, NAMES[0], there, PATH="/nowhere") >= 126
    dead = tmp_path / "dead"
    dead.mkdir()
    (dead / "fetch").write_bytes(script)
    assert fetch(dead, NAMES[0], there) == 126, "there is no folder to ask in"
    (dead / "ask").mkdir()
    assert fetch(dead, NAMES[0], there) == 126, "nobody has ever held the lock"
    with (dead / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        waiting = subprocess.Popen(["/bin/sh", str(dead / "fetch"), NAMES[0], str(there)])
        until((dead / "ask" / NAMES[0]).exists, "it asks")
        assert waiting.poll() is None, "somebody lives, so it waits"
    assert waiting.wait(10) == 126


def test_a_filler_that_is_killed_is_no_end_of_the_log(tmp_path: Path, there: Path) -> None:
    program = tmp_path / "filler.py"
    program.write_text(
        dedent("""
        import sys, threading
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from backstay.adapters.postgres.programs import ourselves
        from backstay.adapters.postgres.spool import Spool
        from test_spool import Log, NAMES
        class Slow(Log):
            def pieces(self, name):
                if name == NAMES[2]:
                    threading.Event().wait()
                yield name.encode()
        with Spool(Path(sys.argv[1]), Slow(), ourselves()):
            print("ready", flush=True)
            sys.stdin.read()
        """)
    )
    argv = [sys.executable, str(program), str(tmp_path / "spool"), str(Path(__file__).parent)]
    here = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    filler = subprocess.Popen(argv, env=here, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert filler.stdout is not None
    assert filler.stdin is not None
    with closing(filler.stdout), closing(filler.stdin):
        assert filler.stdout.readline() == b"ready\n"
        assert fetch(tmp_path / "spool", NAMES[0], there) == 0
        code = list[int]()
        asking = threading.Thread(target=lambda: code.append(fetch(tmp_path / "spool", NAMES[2], there)))
        asking.start()
        until((tmp_path / "spool" / "ask" / NAMES[2]).exists, "the server waits")
        filler.kill()
        filler.wait()
        asking.join()
    assert code == [126]
