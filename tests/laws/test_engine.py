"""Laws of the engine: die at every point, resume, and the world is as if nothing had happened."""

from collections.abc import Mapping

import pytest

from backstay.facts import RunStarted
from backstay.plan import Approve, Ask, Choose, Preserve, Restore, Scale, Smoke, Wait
from backstay.values import ComponentName, PersonName
from fix_engine import RUN, SECOND, Play, Process, Stage, Way, run_of, step

DATABASE = ComponentName("database")
APPROVER = PersonName("approver")

PROCEDURES: Mapping[str, tuple[RunStarted, Mapping[str, Way]]] = {
    "one step": (run_of([step("1.1-only")]), {"1.1-only": Way(takes_s=0)}),
    "side by side": (
        run_of(
            [step("1.1-a"), step("1.2-b", needs=["1.1-a"]), step("1.3-c", needs=["1.1-a"])],
            [step("2.1-d"), step("2.2-e", needs=["1.3-c"])],
        ),
        {"1.2-b": Way(takes_s=5), "1.3-c": Way(takes_s=1)},
    ),
    "every fumble": (
        run_of([
            step("1.1-later"), step("1.2-lost"), step("1.3-unheard"), step("1.4-raises"),
            step("1.5-side", needs=["1.1-later"]),
        ]),
        {
            "1.1-later": Way(("later", "later")),
            "1.2-lost": Way(("lost",)),
            "1.3-unheard": Way(("unheard",)),
            "1.4-raises": Way(("raises",)),
        },
    ),
    "people": (
        run_of(
            [step("1.1-approve", Approve("Go on?", (APPROVER,)))],
            [step("2.1-blind"), step("2.2-after")],
        ),
        {"2.1-blind": Way(blind=True)},
    ),
    "a database is lost": (
        run_of(
            [step("1.1-stop", Scale("app", "process", 0)), step("1.2-preserve", Preserve(DATABASE))],
            [step("2.1-choose", Choose(DATABASE)), step("2.2-restore", Restore(DATABASE))],
            [step("3.1-ask", Ask(DATABASE))],
            [step("4.1-start", Scale("app", "process", None)), step("4.2-wait", Wait(20 * SECOND))],
            [step("5.1-smoke", Smoke())],
        ),
        {"2.2-restore": Way(("later",), takes_s=12)},
    ),
}  # fmt: skip


def effects_of(started: RunStarted) -> list[str]:
    passive = (Approve, Wait)
    return sorted(one.id for phase in started.phases for one in phase.steps if not isinstance(one.verb, passive))


def played(name: str, dies_at: Mapping[int, str]) -> tuple[Play, Stage]:
    started, ways = PROCEDURES[name]
    stage = Stage()
    play = Play(stage, started, ways)
    a, b, c = Process("a"), Process("b"), Process("c")
    stage.dies_at = {breath: {"a": a, "b": b}[who] for breath, who in dies_at.items()}
    play.enter(a)
    if dies_at:
        play.enter(b, after=a)
        play.enter(c, after=b)
    stage.play()
    return play, stage


def breaths_of(name: str) -> int:
    return played(name, {})[1].breaths


def check(play: Play, name: str) -> None:
    started, _ = PROCEDURES[name]
    assert sorted(play.world.effects) == effects_of(started)
    assert play.world.overlaps == 0
    assert play.world.unintended == 0
    ending = play.endings[-1]
    assert ending.ended is not None
    assert ending.ended.result == "recovered"
    assert not ending.lease


@pytest.mark.parametrize("name", PROCEDURES)
def test_dying_anywhere_then_resuming_does_each_step_exactly_once(name: str) -> None:
    for breath in range(1, breaths_of(name) + 1):
        play, _ = played(name, {breath: "a"})
        check(play, name)


@pytest.mark.parametrize("name", PROCEDURES)
def test_dying_again_while_resuming_changes_nothing(name: str) -> None:
    last = breaths_of(name)
    for breath in range(1, last + 1, 7):
        for later in range(1, 12, 5):
            play, _ = played(name, {breath: "a", breath + later: "b"})
            check(play, name)


def test_the_uninterrupted_run_is_what_the_others_are_compared_with() -> None:
    for name in PROCEDURES:
        play, _ = played(name, {})
        check(play, name)
        assert play.started.run == RUN
