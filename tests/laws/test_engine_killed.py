"""The law of death for real: a process with a journal on disk is killed, and another one goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.journal import SqliteJournal
from backstay.engine import Done, Driver, Terms, drive, start, stream_of
from backstay.facts import DidNot, Driving, Happened, Outcome, Sight, Succeeded
from backstay.plan import Step
from backstay.ports import Acting
from fix_engine import RUN, run_of, step

MS = timedelta(milliseconds=1)
SHORT = Terms(length=1500 * MS, renew=300 * MS, guard=300 * MS, margin=300 * MS, tick=20 * MS)
STARTED = run_of([step("1.1-stop")], [step("2.1-restore"), step("2.2-side", needs=["1.1-stop"])], [step("3.1-start")])
STEPS = ["1.1-stop", "2.1-restore", "2.2-side", "3.1-start"]

KILLED = """
import sys
from pathlib import Path
from test_engine_killed import Files, SHORT, driven
driven(Path(sys.argv[1]), "killed", lambda name: False, slow=True)
"""


def told(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Files:
    """A world of files: a step has happened when its name is in the folder."""

    def __init__(self, folder: Path, *, slow: bool) -> None:
        self._folder, self._slow = folder, slow

    def do(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Outcome:
        told(f"begins {step.id}")
        if self._slow and step.id == "2.1-restore":
            sys.stdin.read()  # until we are killed
        with (self._folder / step.id).open("x") as file:
            file.write(f"{acting.epoch}")
        told(f"did {step.id}")
        return Succeeded("done")

    def look(self, acting: Acting, step: Step, given: Mapping[str, str]) -> Sight:
        return Happened("there") if (self._folder / step.id).exists() else DidNot("not there")


def driven(root: Path, name: str, gone: Callable[[str], bool], *, slow: bool = False) -> Done:
    clock = SystemClock()
    journal = SqliteJournal(root / "state", clock)
    ending = drive(Driver(journal, clock, name, SHORT, gone=gone), Files(root / "world", slow=slow), RUN)
    assert isinstance(ending, Done)
    journal.close()
    return ending


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "world").mkdir()
    journal = SqliteJournal(tmp_path / "state", SystemClock())
    start(journal, STARTED)
    journal.close()
    return tmp_path


def kill_after(root: Path, line: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.mark.parametrize("line", ["begins 1.1-stop", "did 1.1-stop", "begins 2.1-restore", "did 2.2-side"])
def test_killed_anywhere_another_process_goes_on(line: str, root: Path) -> None:
    kill_after(root, line)
    ending = driven(root, "next", lambda name: name == "killed")
    assert ending.run.ended is not None
    assert ending.run.ended.result == "recovered"
    assert sorted(path.name for path in (root / "world").iterdir()) == STEPS


def test_without_evidence_the_lease_is_waited_out(root: Path) -> None:
    kill_after(root, "begins 2.1-restore")
    driven(root, "next", lambda name: False)
    journal = SqliteJournal(root / "state", SystemClock())
    leases = [one.fact for one in journal.read(stream_of(RUN)) if isinstance(one.fact, Driving)]
    taken = next(one for one in journal.read(stream_of(RUN)) if one.fact == next(f for f in leases if f.epoch == 2))
    last = [lease for lease in leases if lease.epoch == 1][-1]
    assert taken.at >= last.until + SHORT.margin
    assert not [found for found in journal.verify([]) if found.damage]
    journal.close()
