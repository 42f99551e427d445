"""Laws of a whole recovery: the built-in steps, the real verbs and the real engine on a system in memory.

A driver dies at every moment at which it touches the journal or the world; another one resumes. Then the world is what
it would have been, and each effect on it took place exactly once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backstay import recover
from backstay.machine import RunState
from backstay.plan import Mode
from backstay.ports import Acting, World
from backstay.verbs import Guarded, PortWorld
from fix_engine import Play, Process, Stage, StageClock, run_of
from fix_memory import System, memory_plan, memory_system
from fix_story import DATABASE, PRIMARY


@dataclass
class Recovery:
    """One recovery of a lost database, played by drivers that may die."""

    stage: Stage
    system: System
    play: Play
    effects: list[str] = field(default_factory=list[str])

    def intended(self, acting: Acting) -> bool:
        return True

    def seen_by(self, process: Process) -> World:
        return Guarded(PortWorld(self.system.estate), self.system.estate)

    @property
    def ended(self) -> RunState:
        return self.play.endings[-1]


def prepared(scratch: Path) -> Recovery:
    """A proven point, rows that came after it, a second point that is not proven, and then the disaster."""
    stage = Stage()
    system = memory_system(clock=StageClock(stage, Process("director")))

    def set_up() -> None:
        system.prove(system.backup(), scratch)
        system.world.component("database").write("lattices", system.clock.now(), ref=1)
        system.backup()
        system.world.component("database").drop("tenants")

    stage.spawn(Process("set up"), "set up", set_up)
    stage.play()
    stage.breaths = 0

    def breathe(what: str) -> None:
        stage.breathe()

    system.world.breathe = breathe
    phases = recover.compile(memory_plan(), "database-loss", PRIMARY, Mode.LIVE)
    assert not isinstance(phases, recover.NoRecovery), phases
    play = Play(stage, run_of(*(phase.steps for phase in phases), components=DATABASE), {})
    recovery = Recovery(stage, system, play)
    play.world = recovery  # pyright: ignore[reportAttributeAccessIssue]
    return recovery


def played(scratch: Path, dies_at: Mapping[int, str]) -> Recovery:
    recovery = prepared(scratch)
    a, b, c = Process("a"), Process("b"), Process("c")
    recovery.stage.dies_at = {breath: {"a": a, "b": b}[who] for breath, who in dies_at.items()}
    recovery.play.enter(a)
    if dies_at:
        recovery.play.enter(b, after=a)
        recovery.play.enter(c, after=b)
    recovery.stage.play()
    return recovery


@pytest.fixture
def whole(tmp_path: Path) -> Recovery:
    """The recovery in which nobody dies."""
    return played(tmp_path, {})


def same(one: Recovery, whole: Recovery) -> None:
    ended = one.ended.ended
    assert ended is not None
    assert ended.result == "recovered", ended.why
    assert one.system.world.seen() == whole.system.world.seen()
    assert one.system.world.effects() == whole.system.world.effects()


def test_nobody_dies_and_the_database_is_back(whole: Recovery) -> None:
    assert whole.system.world.colour("health")[0] == "green"
    assert whole.system.world.effects() == {
        "database": ["stop", "move aside", "restore beside", "swap", "start"],
        "settings-db": [],
        "workloads": ["note api at 1", "scale api to 0", "scale api to 1"],
    }
    values = {name: value for step in whole.ended.steps.values() for name, value in step.values.items()}
    assert values["smoke.health"] == "green"
    assert values["rows.tenants"] == "5"


def test_a_driver_dies_anywhere_and_the_next_ends_in_the_same_world(whole: Recovery, tmp_path: Path) -> None:
    last = whole.stage.breaths
    assert last > 30
    for breath in range(1, last + 1):
        same(played(tmp_path, {breath: "a"}), whole)


def test_a_driver_dies_again_while_it_resumes(whole: Recovery, tmp_path: Path) -> None:
    for breath in range(1, whole.stage.breaths + 1, 6):
        for later in (1, 4, 9):
            same(played(tmp_path, {breath: "a", breath + later: "b"}), whole)
