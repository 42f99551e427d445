"""What counts as evidence that a driver has ended, and what is none."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backstay.app.driving import LONGEST_MEMORY, Roll

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


def test_a_service_that_lives_for_months_is_not_forgotten_and_one_that_died_long_ago_is_not_here(
    tmp_path: Path,
) -> None:
    argv = [sys.executable, "-c", SIGN_ON, str(tmp_path)]
    long_ago = time.time() - 2 * LONGEST_MEMORY.total_seconds()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        (file,) = (tmp_path / "drivers").iterdir()
        os.utime(file, (long_ago, long_ago))
        Roll(tmp_path).sign_on()
        assert Roll(tmp_path).is_here(name)
        process.kill()
    assert Roll(tmp_path).has_ended(name)
    assert not Roll(tmp_path).is_here(name)
    Roll(tmp_path).sign_on()
    assert not file.exists()
    assert not Roll(tmp_path).is_here(name), "what it left in a queue of this folder is free, however long it was"


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
    assert not Roll(tmp_path / "copy").is_here(name)


@pytest.mark.parametrize("name", ["", "host", "host/1/ab/cd", "host/1/../../etc/passwd", f"host/1/{'0' * 16}.7/ab"])
def test_what_is_not_known_has_not_ended(tmp_path: Path, name: str) -> None:
    assert not Roll(tmp_path).has_ended(name)
