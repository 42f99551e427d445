"""Who is measured: Backstay and its peers, each set up in a folder of its own, asked to do the same work.

Every one compresses with zstd (but for pgBackRest's defaults, which are gzip) and encrypts, and what it has written is
on disk when its time ends: pgBackRest and we fsync by ourselves, the restores of restic and borg, cp and zstd are
followed by `sync -f`. The WAL that lies in `pg_wal` is copied by nobody; what a backup needs of it, pgBackRest archives
and we read.
"""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rows import Spent, spend, stored_mb

from fix_postgres import Server

PLAN = """\
backstay: 1
system: {{name: bench, title: Bench}}
objectives: {{rto: 1h, rpo: 24h}}
sites: {{primary: {{}}}}
vaults: {{local: {{url: "{url}", keep: 30d{reach}}}}}
components:
  database: {{postgres: {{url: "${{env:DATABASE_URL}}", way: {way}, data: {data}}}, protect: {{full: "02:00"}}}}
people: {{me: {{name: Me, email: me@example.com}}}}
declaration: {{authority: {{alone: [me]}}}}
"""

PGBACKREST = """\
[global]
{repo}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
repo1-retention-full=9
log-level-file=off
log-level-console=warn
lock-path={folder}/lock
spool-path={folder}/spool
start-fast=y
{tuning}
[bench]
pg1-path={data}
pg1-port={port}
pg1-socket-path={sockets}
pg1-user=postgres
"""
TUNED = "compress-type=zst\ncompress-level=1\nprocess-max=2\nrepo1-bundle=y\n"


class Hand(Protocol):
    """One who makes backups. `first` makes its repository anew, and is not timed for that."""

    name: str

    def begin(self) -> None: ...

    def backup(self) -> Spent: ...

    def restore(self, to: Path) -> Spent: ...

    def stored_mb(self) -> float: ...


@dataclass
class Backstay:
    server: Server
    folder: Path
    url: str = "./vault"
    reach: str = ""
    name: str = "backstay"
    way: str = "local"

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        plan = PLAN.format(url=self.url, reach=self.reach, data=self.server.data, way=self.way)
        (self.folder / "backstay.yaml").write_text(plan)
        self.run("init")
        self.run("points")  # the first start of all compiles Python's bytecode

    def run(self, *words: str) -> Spent:
        environment = {"DATABASE_URL": self.server.dsn(), "PYTHONDONTWRITEBYTECODE": ""}
        argv = [Path(sys.executable).with_name("backstay"), *words, "--json"]
        return spend(argv, environment=environment, cwd=self.folder)

    def backup(self) -> Spent:
        return self.run("backup", "database")

    def increment(self) -> Spent:
        """Only what changed since, where the source can tell."""
        return self.run("backup", "database", "--incremental")

    def restore(self, to: Path, *more: str) -> Spent:
        return self.run("restore", "database", "--to", str(to), *more)

    def stored_mb(self) -> float:
        return stored_mb(self.folder / "vault")


@dataclass
class PgBackRest:
    server: Server
    folder: Path
    name: str = "pgbackrest tuned"
    tuning: str = TUNED
    repo: str = ""
    kind: str = "full"

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("repo", "lock", "spool"):
            (self.folder / part).mkdir(parents=True)
        repo = self.repo or f"repo1-path={self.folder}/repo"
        text = PGBACKREST.format(
            repo=repo, folder=self.folder, tuning=self.tuning, data=self.server.data, port=self.server.port,
            sockets=self.server.sockets,
        )  # fmt: skip
        (self.folder / "pgbackrest.conf").write_text(text)
        self.kind = "full"
        self.run("stanza-create")

    def run(self, *words: str) -> Spent:
        return spend(["pgbackrest", f"--config={self.folder}/pgbackrest.conf", "--stanza=bench", *words])

    def backup(self) -> Spent:
        """The server archives its WAL to whoever takes a backup now."""
        archive = self.server.data.parent / "archive"
        archive.write_text(f"{self.folder}/pgbackrest.conf")
        try:
            spent = self.run(f"--type={self.kind}", "backup")
        finally:
            archive.unlink()
        self.kind = "incr"
        return spent

    def restore(self, to: Path, *more: str) -> Spent:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.run(f"--pg1-path={to}", *more, "restore")

    def stored_mb(self) -> float:
        return stored_mb(self.folder / "repo")

    def first_label(self) -> str:
        """Of the oldest backup."""
        argv = ["pgbackrest", f"--config={self.folder}/pgbackrest.conf", "--stanza=bench", "info"]
        said = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
        return next(line.split()[-1] for line in said.splitlines() if "full backup:" in line)


@dataclass
class Restic:
    server: Server
    folder: Path
    url: str = ""
    ca: str = ""
    name: str = "restic"

    @property
    def _repository(self) -> str:
        return self.url or str(self.folder / "repo")

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.run("init", "--repository-version", "2")

    def run(self, *words: str, after: str = "") -> Spent:
        environment = {"RESTIC_REPOSITORY": self._repository, "RESTIC_PASSWORD": "bench"}
        environment["RESTIC_CACHE_DIR"] = str(self.folder / "cache")
        ca = ["--cacert", self.ca] if self.ca else []
        return spend(then(["restic", "--quiet", *ca, *words], after), environment=environment)

    def backup(self) -> Spent:
        return self.run("backup", "--exclude", f"{self.server.data}/pg_wal/*", str(self.server.data))

    def restore(self, to: Path) -> Spent:
        return self.run("restore", "latest", "--target", str(to), after=f"sync -f {to}")

    def stored_mb(self) -> float:
        return stored_mb(self.folder / "repo")


@dataclass
class Borg:
    server: Server
    folder: Path
    name: str = "borg"
    number: int = 0

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.number = 0
        self.run("init", "--encryption=repokey-blake2")

    def run(self, *words: str, cwd: Path | None = None, after: str = "") -> Spent:
        environment = {"BORG_REPO": str(self.folder / "repo"), "BORG_PASSPHRASE": "bench"}
        environment["BORG_BASE_DIR"] = str(self.folder)
        return spend(then(["borg", *words], after), environment=environment, cwd=cwd)

    def backup(self) -> Spent:
        self.number += 1
        without = ("--exclude", f"{self.server.data}/pg_wal/*")
        return self.run("create", "--compression", "zstd,1", *without, f"::{self.number}", str(self.server.data))

    def restore(self, to: Path) -> Spent:
        to.mkdir()
        return self.run("extract", f"::{self.number}", cwd=to, after="sync -f .")

    def stored_mb(self) -> float:
        return stored_mb(self.folder / "repo")


def copied(source: Path, to: Path) -> Spent:
    """The physical limit of a restore, and of a backup that only copies."""
    there, here = shlex.quote(str(to)), shlex.quote(str(source))
    copy = f"find {here} -mindepth 1 -maxdepth 1 ! -name pg_wal -exec cp -a -t {there} {{}} +"
    return spend(["sh", "-c", f"mkdir {there} && {copy} && sync -f {there}"])


def compressed(source: Path, to: Path) -> Spent:
    """The limit of what only compresses: the same bytes through zstd, level 1, on all cores."""
    here, there = shlex.quote(str(source)), shlex.quote(str(to))
    words = f"tar -C {here} --exclude=./pg_wal -cf - . | zstd -q -1 -T{os.cpu_count()} -o {there}"
    return spend(["sh", "-c", f"{words} && sync -f {there}"])


def then(argv: list[str], after: str) -> list[str]:
    """One command, and what makes its writing durable."""
    return ["sh", "-c", f"{shlex.join(argv)} && {after}"] if after else argv


def archive_command(folder: Path) -> str:
    """For the server: hands its WAL to the pgBackRest that takes a backup now, to nobody else."""
    script = folder / "pgbackrest.sh"
    script.write_text(
        f'#!/bin/sh\n[ -f {folder}/archive ] || exit 0\nexec pgbackrest "--config=$(cat {folder}/archive)" '
        '--stanza=bench archive-push "$1"\n'
    )
    script.chmod(0o755)
    return f"{script} %p"
