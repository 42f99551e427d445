"""What counts as evidence that a driver has ended, and what is none."""

import os
import subprocess
import sys

import pytest

from backstay.app import driving


def test_a_process_that_runs_has_not_ended() -> None:
    assert not driving.has_ended(driving.driver_name())


def test_a_process_that_is_gone_has_ended_and_one_of_another_machine_is_not_known() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    machine = driving.driver_name().partition("/")[0]
    assert driving.has_ended(f"{machine}/{process.pid}/12345/ab")
    assert not driving.has_ended(f"elsewhere/{process.pid}/12345/ab")


def test_a_process_whose_number_another_has_now_has_ended() -> None:
    machine, pid, start, token = driving.driver_name().split("/")
    assert driving.has_ended(f"{machine}/{pid}/{int(start) - 1}/{token}")


def test_what_cannot_be_seen_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    name = driving.driver_name()

    def no_more_files(*words: object, **more: object) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(driving.Path, "read_text", no_more_files)
    assert not driving.has_ended(name)


def test_what_proc_hides_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    name = driving.driver_name()

    def hidden(*words: object, **more: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(driving.Path, "read_text", hidden)
    assert os.getpid() == int(name.split("/")[1])
    assert not driving.has_ended(name)
