"""A prover that is killed leaves somebody's data in the clear: the next one erases it."""

from datetime import timedelta
from pathlib import Path

from backstay.processes import holding
from backstay.verbs import routine
from fix_story import at, point


def left_behind(scratch: Path, name: str) -> tuple[Path, Path]:
    folder, lock = scratch / name, scratch / f"{name}.lock"
    folder.mkdir()
    (folder / "customers").write_text("in the clear")
    lock.touch()
    return folder, lock


def test_what_a_killed_prover_left_is_erased_by_the_next(tmp_path: Path) -> None:
    folder, lock = left_behind(tmp_path, "prove-dead")
    with routine.throw_away(tmp_path, point(at("02:00"))) as fresh:
        assert not folder.exists()
        assert not lock.exists()
        assert list(fresh.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_prover_uses_is_left_alone(tmp_path: Path) -> None:
    folder, lock = left_behind(tmp_path, "prove-alive")
    with holding(lock, wait=timedelta()), routine.throw_away(tmp_path, point(at("02:00"))):
        assert folder.exists()
