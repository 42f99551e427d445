"""Real processes of a site: they outlive whoever started them, and nobody else is ever taken for one of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.workloads import MemorySecrets
from backstay.adapters.process import ProcessWorkloads
from backstay.adapters.process.pidfile import read_pid_file
from backstay.errors import AccessDenied, NotSupported, SecretMissing, ToolFailed, ToolMissing, Usage
from backstay.plan import ProcessSpec, Ref, Site, Space, Template
from backstay.values import SiteName
from fix_memory import acting
from fix_waiting import alive, until

SRC = Path(__file__).resolve().parents[2] / "src"
PASSWORD = Template((Ref(Space.ENV, "PASSWORD"),))


def text(part: str) -> Template:
    return Template((part,))


class Host:
    """One workload, `api`, in a folder of its own."""

    def __init__(self, base: Path) -> None:
        self.base, self.pid_file, self.log = base, base / "api.pid", base / "api.pid.log"
        self.settles = timedelta(milliseconds=150)
        self.spec = ProcessSpec((text("sleep"), text("300")), text("api.pid"), stop_within=timedelta(seconds=5))

    def runs(self, script: str, **changes: object) -> ProcessWorkloads:
        self.spec = replace(self.spec, start=tuple(map(text, ("/bin/sh", "-c", script))), **changes)
        return self.workloads()

    def workloads(self) -> ProcessWorkloads:
        site = Site(SiteName("primary"), {"api": text("http://127.0.0.1:1")}, processes={"api": self.spec})
        secrets = MemorySecrets({"${env:PASSWORD}": "hunter2-hunter2"})
        return ProcessWorkloads(site, secrets, self.base, SystemClock(), settles=self.settles)

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text().split()[0])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.workloads().scale("api", 0, acting())


# ── outliving ────────────────────────────────────────────────────────────────────────────────────

DRIVER = """
import sys, threading
from pathlib import Path
from datetime import timedelta
sys.path[:0] = [{src!r}, {tests!r}]
from test_site_processes import Host
from fix_memory import acting
Host(Path({base!r})).workloads().scale("api", 1, acting())
print("started", flush=True)
threading.Event().wait()
"""


def test_the_application_survives_the_one_who_started_it(host: Host) -> None:
    script = DRIVER.format(src=str(SRC), tests=str(Path(__file__).parent), base=str(host.base))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"started\n"
        pid = host.pid
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert alive(pid)
    assert host.workloads().running("api") == 1
    assert os.getsid(pid) == pid, "a session of its own: no terminal and no Ctrl-C reaches it"
    host.workloads().scale("api", 0, acting())
    assert not alive(pid)


def test_nothing_of_ours_is_open_in_the_application(host: Host) -> None:
    with (host.base / "ours").open("w"):
        host.workloads().scale("api", 1, acting())
    opened = {os.readlink(f"/proc/{host.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{host.pid}/fd")}  # noqa: PTH115, PTH208
    assert opened == {"/dev/null", str(host.log)}


# ── starting ─────────────────────────────────────────────────────────────────────────────────────


def test_a_program_that_ends_at_once_is_an_error_with_its_last_lines(host: Host) -> None:
    host.settles = timedelta(seconds=20)
    workloads = host.runs('echo "first"; echo "cannot bind to port 80: $P" >&2; exit 3', env={"P": PASSWORD})
    with pytest.raises(ToolFailed) as caught:
        workloads.scale("api", 1, acting())
    assert caught.value.message == "api ended as soon as it was started"
    assert "cannot bind to port 80: ***" in caught.value.detail
    assert str(host.log) in caught.value.hint
    assert workloads.running("api") == 0
    assert not host.pid_file.exists()


def test_a_program_that_ends_well_at_once_has_not_started_either(host: Host) -> None:
    host.settles = timedelta(seconds=20)
    with pytest.raises(ToolFailed, match="as soon as it was started"):
        host.runs("exit 0").scale("api", 1, acting())


def test_a_daemon_that_writes_its_own_pid_file_is_known_by_it(host: Host) -> None:
    host.settles = timedelta(seconds=20)
    workloads = host.runs("setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $! > api.pid")
    workloads.scale("api", 1, acting())
    assert workloads.running("api") == 1
    pid = host.pid
    workloads.scale("api", 0, acting())
    assert not alive(pid)


def test_a_program_that_is_not_there_is_named(host: Host) -> None:
    host.spec = replace(host.spec, start=(text("no-such-program"),))
    with pytest.raises(ToolMissing):
        host.workloads().scale("api", 1, acting())


def test_secrets_come_by_environment_and_stand_in_no_argument(host: Host) -> None:
    host.runs("exec sleep 300", env={"P": PASSWORD, "API": Template((Ref(Space.SITE, "api"),))}).scale(
        "api", 1, acting()
    )
    environment = Path(f"/proc/{host.pid}/environ").read_bytes().split(b"\0")
    assert b"P=hunter2-hunter2" in environment
    assert b"API=http://127.0.0.1:1" in environment
    assert b"hunter2" not in Path(f"/proc/{host.pid}/cmdline").read_bytes()


def test_a_secret_argument_is_refused(host: Host) -> None:
    host.spec = replace(host.spec, start=(text("sleep"), PASSWORD))
    with pytest.raises(Usage):
        host.workloads().scale("api", 1, acting())


def test_a_missing_secret_is_said_before_anything_is_started(host: Host) -> None:
    host.spec = replace(host.spec, env={"P": Template((Ref(Space.ENV, "OTHER"),))})
    with pytest.raises(SecretMissing):
        host.workloads().scale("api", 1, acting())
    assert not host.log.exists()


def test_a_process_runs_once_or_not_at_all(host: Host) -> None:
    with pytest.raises(NotSupported):
        host.workloads().scale("api", 2, acting())


def test_a_folder_that_may_not_be_written_is_named(host: Host) -> None:
    (host.base / "file").write_text("")
    host.spec = replace(host.spec, pid_file=text("file/api.pid"))
    with pytest.raises((AccessDenied, ToolFailed)):
        host.workloads().scale("api", 1, acting())
    host.spec = replace(host.spec, pid_file=text("api.pid"))


def test_two_who_start_it_at_once_start_it_once(host: Host) -> None:
    workloads = host.runs("echo started; exec sleep 300")
    threads = [threading.Thread(target=workloads.scale, args=("api", 1, acting())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.log.read_text() == "started\n"


# ── whose number is it ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def test_a_stale_pid_file_is_no_process(host: Host) -> None:
    host.workloads().scale("api", 1, acting())
    pid = host.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    assert host.workloads().running("api") == 0
    host.workloads().scale("api", 1, acting())
    assert host.pid != pid


def test_an_application_that_the_disaster_killed_was_wanted(host: Host) -> None:
    host.workloads().scale("api", 1, acting())
    os.kill(host.pid, signal.SIGKILL)
    until(lambda: host.workloads().running("api") == 0)
    later = acting(run="run-2")  # pyright: ignore[reportArgumentType]
    host.workloads().scale("api", 0, later)
    assert host.workloads().found("api", later.run) == 1


def test_a_reused_number_is_somebody_else_and_is_left_alone(host: Host, stranger: subprocess.Popen[bytes]) -> None:
    host.workloads().scale("api", 1, acting())
    ours = host.pid_file.read_text()
    os.kill(host.pid, signal.SIGKILL)
    host.pid_file.write_text(ours.replace(str(host.pid), str(stranger.pid), 1))
    assert host.workloads().running("api") == 0
    host.workloads().scale("api", 0, acting())
    assert stranger.poll() is None


def test_a_number_from_before_the_last_boot_means_nobody(host: Host, stranger: subprocess.Popen[bytes]) -> None:
    found = read_ticks(stranger.pid)
    host.pid_file.write_text(f"{stranger.pid}\n{found} 00000000-0000-0000-0000-000000000000\n")
    assert host.workloads().running("api") == 0


def read_ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_pid_file_of_somebody_elses_making_is_believed_if_it_is_newer_than_the_process(
    host: Host, stranger: subprocess.Popen[bytes]
) -> None:
    host.pid_file.write_text(f"{stranger.pid}\n")
    assert host.workloads().running("api") == 1
    os.utime(host.pid_file, (1_000_000_000, 1_000_000_000))
    assert host.workloads().running("api") == 0, "written before the process was started: the number was reused"


@pytest.mark.parametrize("said", ["1\n", "0", "", "-1", "abc", "99999999999999", "4711 4711", "\x00\xff"])
def test_a_pid_file_that_holds_nonsense_means_nobody(tmp_path: Path, said: str) -> None:
    (tmp_path / "api.pid").write_text(said)
    assert read_pid_file(tmp_path / "api.pid") is None


def test_we_are_nobodys_workload_whatever_a_file_says(tmp_path: Path) -> None:
    for pid in (os.getpid(), os.getppid(), 1):
        (tmp_path / "api.pid").write_text(f"{pid}\n")
        assert read_pid_file(tmp_path / "api.pid") is None


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────


def test_stopping_ends_the_children_too(host: Host) -> None:
    host.runs("sleep 300 & echo $! > child; wait").scale("api", 1, acting())
    child = int(until(lambda: (host.base / "child").exists() and (host.base / "child").read_text()))
    host.workloads().scale("api", 0, acting())
    assert not alive(child)


def test_what_does_not_end_when_asked_is_killed_with_all_its_children(host: Host) -> None:
    script = "trap '' TERM; sh -c \"trap '' TERM; echo up > up; sleep 300\" & wait; wait"
    workloads = host.runs(script, stop_within=timedelta(milliseconds=300))
    workloads.scale("api", 1, acting())
    until((host.base / "up").exists)
    pid = host.pid
    group = [int(name) for name in os.listdir("/proc") if name.isdigit() and in_group(int(name), pid)]  # noqa: PTH208
    assert len(group) >= 3
    workloads.scale("api", 0, acting())
    assert not any(alive(one) for one in group)
    assert not host.pid_file.exists()


def in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False


def test_a_stopped_process_is_woken_to_end(host: Host) -> None:
    workloads = host.runs("exec sleep 300", stop_within=timedelta(seconds=20))
    workloads.scale("api", 1, acting())
    pid = host.pid
    os.kill(pid, signal.SIGSTOP)
    workloads.scale("api", 0, acting())
    assert not alive(pid)
