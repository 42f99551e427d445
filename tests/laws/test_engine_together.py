"""Laws of two drivers at once: whatever the order, and however long one of them stops, they never act together."""

import os
from collections.abc import Callable

import pytest

from backstay.facts import Driving, Ended, Intended
from fix_engine import Play, Process, Stage, Way, run_of, step

SEEDS = int(os.environ.get("BACKSTAY_SEEDS", "15"))
STARTED = run_of(
    [step("1.1-stop"), step("1.2-keep", needs=["1.1-stop"]), step("1.3-choose", needs=["1.1-stop"])],
    [step("2.1-restore")],
    [step("3.1-start"), step("3.2-smoke")],
)
WAYS = {
    "1.1-stop": Way(takes_s=0),
    "1.2-keep": Way(takes_s=20, deaf=True),
    "2.1-restore": Way(("later",), takes_s=40, deaf=True),
    "3.1-start": Way(("unheard",)),
}


def acting(stage: Stage) -> Callable[[Process], bool]:
    """May this process be frozen now? Not in the very middle of an act: there only a target that keeps the epoch can
    help (`test_a_target_that_keeps_the_epoch…`)."""
    return lambda process: (
        not any(task.process is process and not task.over and ": act" in task.name for task in stage.tasks)
    )


def played(seed: int, *, freezing: float = 0.0, cutting: float = 0.0, guarded: bool = False) -> Play:
    stage = Stage(seed, freezing=freezing, drift_s=0.2)
    if not guarded:
        stage.may_freeze = acting(stage)
    play = Play(stage, STARTED, WAYS, guarded=guarded)
    play.cut(cutting)
    for name in ("a", "b"):
        play.enter(Process(name))
    stage.play()
    return play


def check(play: Play) -> None:
    facts = [recorded.fact for recorded in play.journal.read(play.journal.streams("run/")[0])]
    assert sorted(play.world.effects) == sorted(one.id for phase in STARTED.phases for one in phase.steps)
    assert play.world.unintended == 0
    epochs = [fact.epoch for fact in facts if isinstance(fact, Intended | Driving)]
    assert epochs == sorted(epochs), "an older driver wrote after a newer one"
    assert sum(isinstance(fact, Ended) for fact in facts) <= sum(isinstance(fact, Intended) for fact in facts)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_two_drivers_with_pauses_longer_than_the_lease_never_act_together(seed: int) -> None:
    play = played(seed, freezing=0.01)
    check(play)
    assert play.world.overlaps == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_driver_cut_off_from_the_journal_has_stopped_acting_before_another_begins(seed: int) -> None:
    play = played(seed, cutting=0.01)
    check(play)
    assert play.world.overlaps == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_target_that_keeps_the_epoch_refuses_a_driver_that_slept_in_the_middle_of_an_act(seed: int) -> None:
    check(played(seed, freezing=0.01, cutting=0.005, guarded=True))
