"""Taking a point and proving it, on a system in memory: what goes wrong is said, and nothing half remains."""

import io
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from backstay.adapters.around import Fault, faulty
from backstay.adapters.memory.clock import BEGINNING
from backstay.adapters.memory.keeper import MemoryKeeper
from backstay.adapters.memory.vault import MemoryVault
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    DiskFull,
    Lapsed,
    SourceDown,
    StoreUnreachable,
    ToolFailed,
    ToolMissing,
)
from backstay.facts import CheckResult, NotVerified, PointTaken, Proven, Refuted, RoutineBegan, RoutineFailed, Verdict
from backstay.plan import SandboxLimits, Target
from backstay.ports import (
    Answer,
    Cutter,
    Entry,
    Kind,
    PointReader,
    PointWriter,
    Progress,
    Sealing,
    Stored,
    Taken,
    WalShelf,
    unwatched,
)
from backstay.values import LineageId, PointId, RunId
from backstay.verbs import Routine, prove_point, take_point
from backstay.verbs.routine import last_proof, look_taken
from fix_memory import System, memory_system
from fix_story import DATABASE, LOCAL, PLAN


@pytest.fixture
def system() -> System:
    return memory_system()


def vault_of(routine: Routine) -> MemoryVault:
    assert isinstance(routine.vault, MemoryVault)
    return routine.vault


# ── taking ───────────────────────────────────────────────────────────────────────────────────────


def test_the_reserved_id_is_told_before_anything_is_read_and_is_the_point_that_is_sealed(system: System) -> None:
    told = list[PointId]()
    taken = take_point(system.routine(), told.append)
    assert told == [taken.point.id]
    assert taken.took == timedelta(seconds=20)
    assert taken.point.newest_source == "newest row"
    assert system.routine().vault.points() == [taken.point]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SourceDown("gone"), SourceDown),
        (DiskFull("full"), DiskFull),
        (OSError(28, "No space left on device"), DiskFull),
        (PermissionError(13, "Permission denied", "/data/x"), AccessDenied),
        (OSError(5, "Input/output error"), SourceDown),
    ],
)
def test_a_backup_that_fails_leaves_no_point(system: System, error: Exception, expected: type[BackstayError]) -> None:
    routine = system.routine()
    with pytest.raises(expected):
        take_point(replace(routine, keeper=faulty(routine.keeper, Fault(1, method="take", error=error))))
    assert routine.vault.points() == []


def test_a_reservation_that_was_expired_meanwhile_makes_no_point(system: System) -> None:
    routine = system.routine()

    def expire(id: PointId) -> None:
        vault_of(routine).expire(DATABASE, id, now=system.clock.now(), why="open for too long")

    with pytest.raises(Lapsed):
        take_point(routine, expire)
    assert routine.vault.points() == []


def test_a_backup_that_is_told_to_stop_seals_nothing(system: System) -> None:
    routine = replace(system.routine(), stop=lambda: True)
    with pytest.raises(Cancelled):
        take_point(routine)
    assert routine.vault.points() == []


def test_a_dead_drivers_backup_counts_when_its_point_was_sealed(system: System) -> None:
    routine = system.routine()
    taken = take_point(routine)
    until = routine.clock.now()
    began = RoutineBegan(RunId("run-9"), "backup", LOCAL, PLAN, "host:1", until, taken.point.id)
    seen = look_taken(routine, began)
    assert isinstance(seen, PointTaken)
    assert (seen.run, seen.point) == ("run-9", taken.point)
    assert isinstance(look_taken(routine, replace(began, point=PointId("20200101T000000Z-00000000"))), RoutineFailed)


# ── proving ──────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_point_is_proven_and_the_proof_is_kept_beside_it(system: System, tmp_path: Path) -> None:
    taken = system.backup()
    proof = system.prove(taken, tmp_path)
    assert proof.result() == Proven()
    assert proof.restore_took == timedelta(seconds=25)
    assert proof.counts == {"tenants": 5, "users": 5, "lattices": 5}
    assert proof.newest == taken.point.newest
    assert [check.code for check in proof.checks] == ["B01", "R01", "V01", "M01", "M01", "C01", "C02"]
    assert system.routine().vault.proofs(taken.point.id) == [proof]
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_refutes_the_point(system: System, tmp_path: Path) -> None:
    taken = system.backup()
    vault_of(system.routine()).damage(taken.point.id, "tables/users.jsonl")
    proof = system.prove(taken, tmp_path)
    assert isinstance(proof.result(), Refuted)
    assert "tables/users.jsonl" in proof.checks[0].said
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_refute_the_point(system: System, tmp_path: Path) -> None:
    for _ in range(120):
        system.world.component("database").write("users", system.clock.now(), ref=1)
    system.prove(system.backup(), tmp_path)
    system.world.component("database").lose("users", keep=3)
    result = system.prove(system.backup(), tmp_path).result()
    assert isinstance(result, Refuted)
    assert "users has 3 rows (it had 125)" in result.why


def test_a_wrong_answer_refutes_the_point(system: System, tmp_path: Path) -> None:
    system.world.component("database").write("lattices", system.clock.now(), ref=99)
    result = system.prove(system.backup(), tmp_path).result()
    assert isinstance(result, Refuted)
    assert "orphaned lattices: 1; expected = 0" in result.why


@pytest.mark.parametrize("error", [ToolMissing("no postgres here"), DiskFull("full"), StoreUnreachable("gone")])
def test_what_keeps_us_from_looking_is_not_verified(system: System, tmp_path: Path, error: BackstayError) -> None:
    routine = system.routine()
    taken = take_point(routine)
    hindered = replace(routine, keeper=faulty(routine.keeper, Fault(1, method="sandbox", error=error)))
    proof = prove_point(hindered, taken.point.id, tmp_path)
    assert isinstance(proof.result(), NotVerified)
    assert error.message in str(proof.result())
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_on_it_refutes_the_point(system: System, tmp_path: Path) -> None:
    routine = system.routine()
    taken = take_point(routine)
    keeper = faulty(routine.keeper, Fault(1, method="sandbox", error=ToolFailed("postgres ended")))
    assert isinstance(prove_point(replace(routine, keeper=keeper), taken.point.id, tmp_path).result(), Refuted)


def test_without_room_nothing_is_restored(system: System, tmp_path: Path) -> None:
    taken = system.backup()
    routine = system.routine()
    keeper = OneFile(b"x")
    huge = replace(taken.point, size_bytes=1 << 60)

    class Huge(MemoryVault):
        def open(self, point: PointId) -> Any:
            reader = vault_of(routine).open(point)
            reader.point = huge
            return reader

    proof = prove_point(replace(routine, vault=Huge(), keeper=keeper), taken.point.id, tmp_path)
    assert isinstance(proof.result(), NotVerified)
    assert "no room" in proof.checks[0].said
    assert not keeper.entered


def test_cancelling_gives_no_proof_and_leaves_no_sandbox(system: System, tmp_path: Path) -> None:
    taken = system.backup()
    routine = replace(system.routine(), stop=lambda: True)
    with pytest.raises(Cancelled):
        prove_point(routine, taken.point.id, tmp_path)
    assert routine.vault.proofs() == []
    assert list(tmp_path.iterdir()) == []


class OneFile:
    """A keeper that restores nothing of a point but one file of two."""

    kind = "one-file"

    def __init__(self, data: bytes) -> None:
        self.data, self.entered = data, False

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        now = BEGINNING
        for name in ("a", "b"):
            into.add([Entry(name, Kind.FILE, 0o600, now, 1, lambda: io.BytesIO(self.data), Cutter.WHOLE)])
        return Taken(Sealing(LineageId("inc-1"), "copy", now, now, None, "not known"))

    @contextmanager
    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Generator["OneFile"]:
        self.entered = True

        def place(stored: Stored) -> Path | None:
            return folder / "a" if stored.path == "a" else None

        point.extract(folder, place=place)
        yield self

    where = "here"

    def ask(self, question: str) -> Answer:
        return 1 if "tenants" in question and "lattices" not in question else 0

    def counts(self) -> Mapping[str, int]:
        return {"t": 1}

    def digests(self) -> Mapping[str, str]:
        return {}

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        return []


@pytest.mark.parametrize("tier", ["bytes", "full"])
def test_bytes_that_the_restore_left_out_are_read_all_the_same(system: System, tmp_path: Path, tier: Any) -> None:
    routine: Routine = replace(system.routine(), keeper=OneFile(b"x"))
    taken = take_point(routine)
    good = prove_point(routine, taken.point.id, tmp_path, tier)
    assert all(check.verdict is Verdict.PASSED for check in good.checks), good.checks
    vault_of(routine).damage(taken.point.id, "b")
    assert isinstance(prove_point(routine, taken.point.id, tmp_path, tier).result(), Refuted)


def test_rows_are_compared_with_an_older_point_that_was_not_refuted(system: System, tmp_path: Path) -> None:
    first = system.backup()
    good = system.prove(first, tmp_path)
    system.clock.wait(timedelta(hours=1))
    second = system.backup()
    newer = system.prove(second, tmp_path)
    refuted = replace(newer, checks=(replace(newer.checks[0], verdict=Verdict.FAILED),))
    assert last_proof([good, newer], second.point) == newer
    assert last_proof([good, newer], first.point) == good
    assert last_proof([good, refuted], second.point) == good
    assert last_proof([good, newer], second.point, {second.point.id}) == good, "what was lost in it would not be missed"
    assert last_proof([], first.point) is None


def test_the_twin_takes_and_restores_the_same_rows(system: System, tmp_path: Path) -> None:
    taken = system.backup()
    keeper = MemoryKeeper(system.world.component("database"), system.clock)
    with keeper.sandbox(system.routine().vault.open(taken.point.id), tmp_path) as restored, keeper.live() as live:
        assert restored.digests() == live.digests()
    assert taken.point.component == DATABASE


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def limited(system: System, limits: SandboxLimits) -> Routine:
    routine = system.routine()
    component = routine.component
    return replace(routine, component=replace(component, prove=replace(component.prove, limits=limits)))


def test_a_proof_that_takes_too_long_is_ended_and_says_so(system: System, tmp_path: Path) -> None:
    taken = take_point(system.routine())
    proof = prove_point(limited(system, SandboxLimits(time=timedelta(seconds=1))), taken.point.id, tmp_path)
    assert isinstance(proof.result(), NotVerified)
    assert "the proof was ended after 1 s (the plan's limit" in str(proof.result())
    assert list(tmp_path.iterdir()) == []
    assert (
        prove_point(limited(system, SandboxLimits(time=timedelta(hours=1))), taken.point.id, tmp_path).result()
        == Proven()
    )


def test_a_point_that_is_larger_than_its_sandbox_may_be_is_not_restored(system: System, tmp_path: Path) -> None:
    taken = take_point(system.routine())
    proof = prove_point(limited(system, SandboxLimits(disk_bytes=1)), taken.point.id, tmp_path)
    assert isinstance(proof.result(), NotVerified)
    assert "is larger than its sandbox may be" in str(proof.result())
    assert proof.restore_took is None
