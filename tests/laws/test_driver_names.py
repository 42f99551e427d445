"""What counts as evidence that a driver has ended, and what is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backstay.app.driving import Roll

SIGN_ON = """
import sys
from pathlib import Path
from backstay.app.driving import Roll
print(Roll(Path(sys.argv[1])).sign_on(), flush=True)
sys.stdin.read()
"""


def test_a_process_that_runs_has_not_ended_and_one_that_was_killed_has(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SIGN_ON, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not Roll(tmp_path).has_ended(name)
        process.kill()
    assert Roll(tmp_path).has_ended(name)


def test_two_drives_of_one_process_have_two_names(tmp_path: Path) -> None:
    roll = Roll(tmp_path)
    first, second = roll.sign_on(), roll.sign_on()
    assert first != second
    assert not roll.has_ended(first)


def test_a_copy_of_the_folder_says_nothing_about_the_living(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    name = Roll(tmp_path / "state").sign_on()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    assert not Roll(tmp_path / "copy").has_ended(name)


@pytest.mark.parametrize("name", ["", "host", "host/1/ab/cd", "host/1/../../etc/passwd", f"host/1/{'0' * 16}.7/ab"])
def test_what_is_not_known_has_not_ended(tmp_path: Path, name: str) -> None:
    assert not Roll(tmp_path).has_ended(name)
