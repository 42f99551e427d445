"""The first try: one physical backup and one restore, against what PostgreSQL itself brings.

The same running server, the same data, one after the other, warm: `pg_basebackup` (plain, with its WAL, fsynced) and
`pg_dump -Fc` with `pg_restore` against `backstay backup` and `backstay restore`, each as the whole command that a
person would type, the start of Python included. Ours compresses, encrypts and hashes; `pg_basebackup` copies. All sides
fsync. A restore stands against both ways to lay a data directory down again: another `pg_basebackup`, where there is
still a server to take it from, and `cp -a` with a sync of the base backup, which checks and decrypts nothing and is the
floor.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from database import command, fill
from rows import Duel, Row, say, show, stored_mb

from backstay.values import size as bytes_of
from fix_postgres import Server, making

PLAN = """\
backstay: 1
system: {{name: bench, title: Bench}}
objectives: {{rto: 1h, rpo: 24h}}
sites: {{primary: {{}}}}
vaults: {{local: {{url: ./vault, keep: 30d}}}}
components:
  physical: {{postgres: {{url: "${{env:DATABASE_URL}}", way: local, data: {data}}}, protect: {{full: "02:00"}}}}
  logical: {{postgres: {{url: "${{env:DATABASE_URL}}", way: logical}}, protect: {{full: "02:00"}}}}
scenarios: {{database-loss: {{uses: {{database: physical}}}}}}
people: {{me: {{name: Me, email: me@example.com}}}}
declaration: {{authority: {{alone: [me]}}}}
"""

ROUNDS = 3


def run(size: str, as_json: bool, _words: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name, making(Path(name)) as make:
        folder = Path(name)
        server = make(conf={"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"})
        fill(server, bytes_of(size))
        title = f"First try, {size} of data, PostgreSQL {server.major}"
        rows = [*physical(server, folder), *logical(server, folder)]
    show(title, rows, as_json)


def backstay(server: Server, home: Path, *words: str) -> None:
    environment = {**os.environ, "DATABASE_URL": server.dsn(), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("backstay")), *words, "--json"],
        cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"backstay {words[0]} failed: {done.stdout.strip()[-800:]}")


def at_home(server: Server, folder: Path, name: str) -> Path:
    """A folder with a plan, a key and an empty vault."""
    home = folder / name
    home.mkdir()
    (home / "backstay.yaml").write_text(PLAN.format(data=server.data))
    backstay(server, home, "init")
    backstay(server, home, "points")  # the first start of all compiles Python's bytecode
    return home


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    subprocess.run(["sync", "-f", str(target)], check=True)


def physical(server: Server, folder: Path) -> list[Row]:
    """Rounds in turn, ours and the peer's, the best of each: a shared machine has slow moments, and no fast ones."""
    backups, again, restores = Duel(), Duel(), Duel()
    base_mb = vault_mb = again_mb = restored_mb = 0.0
    for number in range(ROUNDS):
        home = at_home(server, folder, f"physical-{number}")
        base, copied, restored = (folder / f"{name}-{number}" for name in ("base", "copied", "restored"))
        say(f"round {number + 1} of {ROUNDS}: pg_basebackup, backstay backup, backstay backup again")
        words = ("-D", str(base), "-c", "fast", "-d", server.dsn())
        backups.peer(lambda words=words: command(server, "pg_basebackup", *words))
        backups.ours(lambda home=home: backstay(server, home, "backup", "physical"))
        base_mb, vault_mb = stored_mb(base), stored_mb(home / "vault")
        again.peer_s = backups.peer_s
        again.ours(lambda home=home: backstay(server, home, "backup", "physical"))
        again_mb = stored_mb(home / "vault") - vault_mb
        say(f"round {number + 1} of {ROUNDS}: cp of the base backup, backstay restore")
        restores.peer(lambda base=base, copied=copied: copy(base, copied))
        to = str(restored)
        restores.ours(lambda home=home, to=to: backstay(server, home, "restore", "physical", "--to", to))
        restored_mb = stored_mb(restored)
        for used in (base, copied, restored, home):
            shutil.rmtree(used)
    return [
        backups.row("physical backup", "pg_basebackup", vault_mb, base_mb),
        again.row("the same again", "pg_basebackup", again_mb, base_mb),
        Row("physical restore", "pg_basebackup", restores.ours_s, backups.peer_s, restored_mb, base_mb),
        restores.row("physical restore", "cp -a", restored_mb, base_mb),
    ]


def logical(server: Server, folder: Path) -> list[Row]:
    """The rate of the physical way against the logical tools that many people use, and our own logical way."""
    backups, dumps, restores = Duel(), Duel(), Duel()
    dump, restored = folder / "dump.custom", folder / "restored"
    home = at_home(server, folder, "logical")
    say("pg_dump -Fc, backstay backup of both ways")
    backups.peer(lambda: command(server, "pg_dump", "-Fc", "-f", str(dump), server.dsn()))
    backups.ours(lambda: backstay(server, home, "backup", "physical"))
    vault_mb, dump_mb = stored_mb(home / "vault"), dump.stat().st_size / 1e6
    dumps.peer_s = backups.peer_s
    dumps.ours(lambda: backstay(server, home, "backup", "logical"))
    logical_mb = stored_mb(home / "vault") - vault_mb
    say("pg_restore -j2, backstay restore")
    name = server.make_database()
    restores.peer(lambda: command(server, "pg_restore", "-j2", "-d", server.dsn(name), str(dump)))
    restores.ours(lambda: backstay(server, home, "restore", "physical", "--to", str(restored)))
    return [
        backups.row("physical backup", "pg_dump -Fc", vault_mb, dump_mb),
        dumps.row("logical backup", "pg_dump -Fc", logical_mb, dump_mb),
        restores.row("physical restore", "pg_restore -j2", stored_mb(restored), dump_mb),
    ]
