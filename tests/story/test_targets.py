"""How far a recovery goes: one type, one text, one sentence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from backstay import recover
from backstay.cli.options import Until
from backstay.errors import Usage
from backstay.lsn import lsn
from backstay.plan import (
    PRIMARY,
    AtLsn,
    AtRestorePoint,
    AtTime,
    AtXid,
    Choose,
    Latest,
    Mode,
    Phase,
    Plan,
    Restore,
    Step,
    Target,
    parse_target,
    say_target,
    spell,
)
from fix_facts import targets
from fix_story import DATABASE, SETTINGS, database_loss, plan

AT_TWO = datetime(2026, 11, 28, 2, tzinfo=UTC)


def with_steps(*phases: tuple[Step, ...]) -> Plan:
    scenario = replace(database_loss(), procedure=tuple(Phase(f"phase {n}", steps) for n, steps in enumerate(phases)))
    return plan(scenarios={scenario.name: scenario})


@given(targets)
def test_what_is_spelled_is_what_is_read(target: Target) -> None:
    assert parse_target(spell(target)) == target
    assert "\n" not in spell(target)


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("latest", Target(Latest()), "the end of the log that is kept"),
        (" latest on timeline 3 ", Target(Latest(), 3), "the end of the log that is kept, on timeline 3"),
        ("2026-11-28T02:00:00Z", Target(AtTime(AT_TWO)), "2026-11-28 02:00:00 UTC"),
        ("2026-11-28 03:00+01:00", Target(AtTime(AT_TWO)), "2026-11-28 02:00:00 UTC"),
        ("2026-11-28 02:00:00 UTC", Target(AtTime(AT_TWO)), "2026-11-28 02:00:00 UTC"),
        (
            "before 2026-11-28T02:00:00.25Z",
            Target(AtTime(AT_TWO + timedelta(seconds=0.25), False)),
            "2026-11-28 02:00:00.250000 UTC, what lies exactly there left out",
        ),
        ("0/3000028", Target(AtLsn(lsn("0/3000028"))), "the place 0/3000028 in the log"),
        ("before a/B on timeline 2", Target(AtLsn(lsn("A/B"), False), 2),
         "the place A/B in the log, what lies exactly there left out, on timeline 2"),
        ("xid 731", Target(AtXid(731)), "the transaction 731"),
        ("restore-point before deploy", Target(AtRestorePoint("before deploy")), "the restore point 'before deploy'"),
    ],
)  # fmt: skip
def test_a_target_is_one_line(text: str, target: Target, said: str) -> None:
    assert parse_target(text) == target
    assert say_target(target) == said


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "0/", "0x1/2", "+1/2", "xid", "xid -4", "xid 2", "xid ٣", "restore-point", "before latest",
     "before restore-point x", "2026-13-01T00:00:00Z", "latest on timeline 0", "restore-point " + "x" * 64,
     "restore-point a\x00b", "0001-01-01T00:00:00+14:00", "latest, please"],
)  # fmt: skip
def test_what_names_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_target(text)


def test_nothing_is_the_end_of_the_point_itself() -> None:
    assert say_target(None) == "the end of the point itself"
    assert Until().target() is None


def test_a_moment_of_any_zone_is_kept_in_ours() -> None:
    there = datetime(2026, 11, 28, 3, tzinfo=timezone(timedelta(hours=1)))
    assert parse_target(spell(Target(AtTime(there)))) == Target(AtTime(there))


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def test_options_name_one_target() -> None:
    assert Until(at="2026-11-28T02:00Z", before=True).target() == Target(AtTime(AT_TWO, False))
    assert Until(lsn="0/3000028", timeline=4).target() == Target(AtLsn(lsn("0/3000028")), 4)
    assert Until(restore_point="deploy").target() == Target(AtRestorePoint("deploy"))
    assert Until(xid="731").target() == Target(AtXid(731))
    assert Until(latest=True).target() == Target(Latest())


@pytest.mark.parametrize(
    "until",
    [Until(at="latest"), Until(lsn="2026-11-28T02:00Z"), Until(lsn="xid 5"), Until(latest=True, xid="5"),
     Until(timeline=2), Until(before=True), Until(latest=True, before=True), Until(at="soon"),
     Until(lsn="0/1 on timeline 3", timeline=4)],
)  # fmt: skip
def test_options_that_name_none_or_two_are_refused(until: Until) -> None:
    with pytest.raises(Usage):
        until.target()


# ── steps ────────────────────────────────────────────────────────────────────────────────────────


def test_a_choice_knows_where_the_restore_after_it_goes() -> None:
    """A point is good for a target only when it leads there."""
    target = Target(Latest())
    for steps in (
        (Step(Restore(DATABASE, target=target)),),
        (
            Step(Choose(DATABASE)),
            Step(Choose(SETTINGS)),
            Step(Restore(DATABASE, target=target)),
            Step(Restore(SETTINGS)),
        ),
    ):
        phases = recover.compile(with_steps(steps), "database-loss", PRIMARY, Mode.LIVE)
        assert isinstance(phases, tuple)
        chosen = {
            step.verb.component: step.verb.target
            for phase in phases
            for step in phase.steps
            if isinstance(step.verb, Choose)
        }
        assert chosen[DATABASE] == target
        assert chosen.get(SETTINGS) is None


def test_what_a_person_asks_for_on_the_day_stands_above_the_plan() -> None:
    plan = with_steps((Step(Restore(DATABASE, target=Target(Latest()))), Step(Restore(SETTINGS))))
    asked = Target(AtTime(AT_TWO))
    turned = recover.toward(plan.scenario("database-loss"), [DATABASE], asked)
    verbs = [step.verb for phase in turned.procedure for step in phase.steps]
    assert verbs == [Restore(DATABASE, target=asked), Restore(SETTINGS)]
