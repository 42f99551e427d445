"""How long things take, from what was measured."""

from datetime import timedelta

import pytest

from backstay import estimate, recover
from backstay.estimate import Estimate, Expected, Unknown, of_samples, say
from backstay.history import history
from backstay.plan import Mode, Phase, Restore, Scale, Step, Wait
from backstay.values import ScenarioName, SiteName, StepId
from fix_story import DATABASE, HOUR, LOCAL, MINUTE, POINT, SECOND, SETTINGS, at, plan, point, proof, whole_story

FACTS, POINTS, PROOFS = whole_story()
HISTORY = history(FACTS, {LOCAL: POINTS}, PROOFS)
EMPTY = history([], {})


def spans(*seconds: float) -> list[timedelta]:
    return [timedelta(seconds=one) for one in seconds]


@pytest.mark.parametrize(
    ("samples", "expect", "said"),
    [
        ([22], Estimate(22 * SECOND, 22 * SECOND, 1), "about 22 s (measured once)"),
        ([22, 31, 20], Estimate(22 * SECOND, 31 * SECOND, 3), "about 22 s (31 s at worst, measured 3 times)"),
        ([20, 30], Estimate(25 * SECOND, 30 * SECOND, 2), "about 25 s (30 s at worst, measured 2 times)"),
        ([5, 5], Estimate(5 * SECOND, 5 * SECOND, 2), "about 5 s (measured 2 times)"),
        ([100] * 30 + [10] * 20, Estimate(10 * SECOND, 10 * SECOND, 20), "about 10 s (measured 20 times)"),
        ([], Unknown("never done"), "unknown: never done"),
    ],
)
def test_median_worst_and_how_often(samples: list[float], expect: Expected, said: str) -> None:
    found = of_samples(spans(*samples), "never done")
    assert (found, say(found)) == (expect, said)


def test_a_part_that_is_known_is_said() -> None:
    assert say(Unknown("smoke was never measured", 24 * SECOND)) == (
        "at least 24 s; the rest is unknown: smoke was never measured"
    )


def test_what_was_never_done_is_unknown() -> None:
    assert estimate.backup(EMPTY, DATABASE) == Unknown("no point of database was taken yet")
    assert estimate.restore(EMPTY, DATABASE) == Unknown("database was never restored")
    assert estimate.run(EMPTY, ScenarioName("database-loss")) == Unknown(
        "database-loss was never recovered from, nor drilled"
    )
    assert estimate.step(EMPTY, Step(Scale("api", "process", 0))) == Unknown("stop api was never measured")


def test_backups_and_restores_are_learnt_from_everything_that_was_measured() -> None:
    assert estimate.backup(HISTORY, DATABASE) == Estimate(20 * SECOND, 20 * SECOND, 1)
    assert estimate.restore(HISTORY, DATABASE) == Estimate(24 * SECOND, 36 * SECOND, 3)  # a proof, a drill, the day


def test_a_restore_grows_with_the_data_and_never_shrinks() -> None:
    doubled = estimate.restore(HISTORY, DATABASE, POINT.size_bytes * 2)
    assert doubled == Estimate(48 * SECOND, 72 * SECOND, 3)
    assert estimate.restore(HISTORY, DATABASE, 1) == estimate.restore(HISTORY, DATABASE)


def test_the_size_of_today_is_the_newest_points() -> None:
    bigger = point(at("11:00"), size=POINT.size_bytes * 3)
    grown = history(FACTS, {LOCAL: [POINT, bigger]}, [proof(POINT, at("03:01"))])
    found = estimate.restore(grown, DATABASE)
    assert isinstance(found, Estimate)
    assert found.worst == 36 * SECOND * 3


def test_steps_that_do_the_same_work_are_one_sample_each() -> None:
    assert estimate.step(HISTORY, Step(Scale("api", "process", 0))) == Estimate(2.5 * SECOND, 3 * SECOND, 2)
    assert estimate.step(HISTORY, Step(Scale("other", "process", 0))) == Unknown("stop other was never measured")
    assert estimate.step(HISTORY, Step(Wait(MINUTE))) == Estimate(MINUTE, MINUTE, 1)


def test_a_procedure_is_its_longest_chain_phase_after_phase() -> None:
    made = recover.compile(plan(), "database-loss", SiteName("primary"), Mode.LIVE)
    assert not isinstance(made, recover.NoRecovery)
    assert say(estimate.procedure(HISTORY, made)) == "about 35.6 s (48.1 s at worst, measured 2 times)"
    first, long = Step(Wait(MINUTE), id=StepId("first")), Step(Wait(HOUR))
    aside = Step(Wait(2 * MINUTE), needs=(StepId("first"),))
    beside = recover.numbered((Phase("p", (first, long, aside)), Phase("q", (Step(Wait(MINUTE)),))))
    assert estimate.procedure(EMPTY, beside) == Estimate(HOUR + 2 * MINUTE, HOUR + 2 * MINUTE, 1)


def test_a_procedure_with_an_unknown_step_is_unknown_and_says_what_it_knows() -> None:
    steps = (Step(Restore(DATABASE)), Step(Restore(SETTINGS)), Step(Scale("worker", "process", 0)))
    assert say(estimate.procedure(HISTORY, recover.numbered((Phase("p", steps),)))) == (
        "at least 24 s; the rest is unknown: settings-db was never restored, nor 1 other step"
    )


def test_whole_runs_are_measured_to_the_last_smoke_check() -> None:
    assert say(estimate.run(HISTORY, ScenarioName("database-loss"))) == (
        "about 41.6 s (48.1 s at worst, measured 2 times)"
    )
