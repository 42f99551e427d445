"""The first try: one physical backup and one restore, against what PostgreSQL itself brings.

The same running server, the same data, one after the other, warm: `pg_basebackup` (plain, with its WAL, fsynced) and
`pg_dump -Fc` with `pg_restore` against `backstay backup` and `backstay restore`, each as the whole command that a
person would type, the start of Python included. Ours compresses, encrypts and hashes; `pg_basebackup` copies. All sides
fsync. Restoring a `pg_basebackup` is a copy: `cp -a`, and a sync of that file system.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import Row, say, show, stored_mb, timed

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

ROWS = """
CREATE TABLE orders (id bigserial PRIMARY KEY, ref uuid NOT NULL, at timestamptz NOT NULL, email text NOT NULL,
                     amount numeric(12, 2) NOT NULL, body jsonb NOT NULL);
INSERT INTO orders (ref, at, email, amount, body)
SELECT gen_random_uuid(), now() - n * interval '1 second', 'customer' || (n * 7919 % 100003) || '@example.com',
       (n * 31 % 100000) / 100.0, jsonb_build_object('n', n, 'items', n % 7, 'note', md5(n::text), 'city', n % 3)
FROM generate_series(1::bigint, {rows}) n;
CREATE INDEX ON orders (at);
CREATE INDEX ON orders (ref);
"""
BYTES_PER_ORDER = 335
BYTES_PER_SCALE = 15_600_000


def run(size: str, as_json: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as name, making(Path(name)) as make:
        folder = Path(name)
        server = make(conf={"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"})
        fill(server, bytes_of(size))
        title = f"First try, {size} of data, PostgreSQL {server.major}"
        rows = [*physical(server, folder), *logical(server, folder)]
    show(title, rows, as_json)


def fill(server: Server, size_bytes: int) -> None:
    """Half pgbench, half realistic rows."""
    say(f"filling a database with {size_bytes / 1e9:.1f} GB")
    scale = max(1, size_bytes // 2 // BYTES_PER_SCALE)
    command(server, "pgbench", "-i", "-q", "-I", "dtGvp", "-s", str(scale), server.dsn())
    with server.connect() as connection:
        connection.execute(ROWS.format(rows=size_bytes // 2 // BYTES_PER_ORDER))  # pyright: ignore[reportArgumentType, reportCallIssue]
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def command(server: Server, program: str, *words: str) -> None:
    """One of PostgreSQL's own programs, of the server's version."""
    done = subprocess.run(
        [str(server.bin_dir / program), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{program} failed: {done.stderr.strip()[-500:]}")


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
    home = at_home(server, folder, "physical")
    say("backup: pg_basebackup, then backstay")
    peer_s = timed(
        lambda: command(server, "pg_basebackup", "-D", str(folder / "base"), "-c", "fast", "-d", server.dsn())
    )
    ours_s = timed(lambda: backstay(server, home, "backup", "physical"))
    base_mb, vault_mb = stored_mb(folder / "base"), stored_mb(home / "vault")
    say("restore: cp of the base backup, then backstay")
    peer_restore_s = timed(lambda: copy(folder / "base", folder / "copied"))
    ours_restore_s = timed(lambda: backstay(server, home, "restore", "physical", "--to", str(folder / "restored")))
    say("second backup, nothing changed but a checkpoint")
    again_s = timed(lambda: backstay(server, home, "backup", "physical"))
    again_mb = stored_mb(home / "vault") - vault_mb
    return [
        Row("physical backup", "pg_basebackup", ours_s, peer_s, vault_mb, base_mb),
        Row("physical backup, again", "pg_basebackup", again_s, peer_s, again_mb, base_mb),
        Row("physical restore", "cp -a", ours_restore_s, peer_restore_s, stored_mb(folder / "restored"), base_mb),
    ]


def logical(server: Server, folder: Path) -> list[Row]:
    """The rate of the physical way against the logical tools that many people use, and our own logical way."""
    home = at_home(server, folder, "logical")
    say("dump: pg_dump -Fc, then backstay, physical and logical")
    dump = folder / "dump.custom"
    peer_s = timed(lambda: command(server, "pg_dump", "-Fc", "-f", str(dump), server.dsn()))
    ours_s = timed(lambda: backstay(server, home, "backup", "physical"))
    vault_mb = stored_mb(home / "vault")
    logical_s = timed(lambda: backstay(server, home, "backup", "logical"))
    logical_mb = stored_mb(home / "vault") - vault_mb
    say("restore: pg_restore -j2, then backstay, physical")
    name = server.make_database()
    peer_restore_s = timed(lambda: command(server, "pg_restore", "-j2", "-d", server.dsn(name), str(dump)))
    ours_restore_s = timed(lambda: backstay(server, home, "restore", "physical", "--to", str(folder / "restored2")))
    dump_mb, restored_mb = dump.stat().st_size / 1e6, stored_mb(folder / "restored2")
    return [
        Row("physical backup", "pg_dump -Fc", ours_s, peer_s, vault_mb, dump_mb),
        Row("logical backup", "pg_dump -Fc", logical_s, peer_s, logical_mb, dump_mb),
        Row(
            "physical restore",
            "pg_restore -j2",
            ours_restore_s,
            peer_restore_s,
            restored_mb,
            dump_mb,
        ),
    ]
