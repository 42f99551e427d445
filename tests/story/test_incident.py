"""Declaring: who may, which criteria are met, when it struck, whom to tell, and in which words."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay import incident
from backstay.estimate import Estimate, Expected, Unknown
from backstay.facts import CheckSeen, DisasterDeclared, Fact, MessageSent, NotVerified, RecoveryDeclared
from backstay.history import IncidentSeen, history
from backstay.incident import (
    Alone,
    Authorised,
    Blanks,
    CannotSay,
    Colour,
    Evaluated,
    MayNot,
    Met,
    NeedsApproval,
    NotMet,
    Readings,
    Situation,
    clocks,
    evaluate,
    may_declare,
    measure,
    next_internal,
    readings,
    say_authority,
    say_between,
    say_clock,
)
from backstay.incident.authority import ForAPerson, ForecastOver, RowsRefuted, SmokeRed
from backstay.plan import Authority, Criterion
from backstay.values import Between, IncidentId, PersonName, RoleName, ScenarioName
from fix_story import DISASTER, HOUR, LOCAL, MINUTE, NOW, PLAN, at, in_order, plan, recorded, whole_story

COMMANDER = RoleName("incident-commander")
CTO, DEVOPS, DBA, ENGINEERING = (PersonName(name) for name in ("cto", "devops-lead", "dba-lead", "engineering-lead"))

# ── authority ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("person", "alone", "expect", "said"),
    [
        ("cto", (CTO,), Alone(), "may declare alone"),
        ("devops-lead", (CTO,), NeedsApproval(COMMANDER, (CTO, ENGINEERING), 1),
         "may declare as incident-commander, with 1 of cto or engineering-lead agreeing"),
        ("engineering-lead", (CTO,), NeedsApproval(COMMANDER, (CTO, DEVOPS), 1),
         "may declare as incident-commander, with 1 of cto or devops-lead agreeing"),
        ("dba-lead", (CTO,), MayNot("only CTO may declare a disaster alone"),
         "may not declare: only CTO may declare a disaster alone"),
        ("dba-lead", (CTO, DEVOPS), MayNot("only CTO or DevOps Lead may declare a disaster alone"),
         "may not declare: only CTO or DevOps Lead may declare a disaster alone"),
        ("dba-lead", (), MayNot("the plan gives nobody the authority to declare a disaster alone"),
         "may not declare: the plan gives nobody the authority to declare a disaster alone"),
        ("mallory", (CTO,), MayNot("the plan knows nobody called 'mallory'"),
         "may not declare: the plan knows nobody called 'mallory'"),
    ],
)  # fmt: skip
def test_who_may_declare(person: str, alone: tuple[PersonName, ...], expect: Authorised, said: str) -> None:
    authority = Authority(alone, COMMANDER, (CTO, ENGINEERING, DEVOPS))
    found = may_declare(plan(authority=authority), person)
    assert (found, say_authority(found)) == (expect, said)


# ── criteria ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("when", "expect"),
    [
        (None, ForAPerson()),
        ("smoke all red for 10m", SmokeRed("all", 10 * MINUTE)),
        ("smoke any red for 90 s", SmokeRed("any", timedelta(seconds=90))),
        ("smoke health red for 1h 30m", SmokeRed("health", 90 * MINUTE)),
        ("rows refuted > 50%", RowsRefuted(">", Decimal(50))),
        ("rows refuted >= 0.5 %", RowsRefuted(">=", Decimal("0.5"))),
        ("forecast > 2h", ForecastOver(">", 2 * HOUR)),
        ("forecast>=30m", ForecastOver(">=", 30 * MINUTE)),
    ],
)
def test_a_criterion_is_measured(when: str | None, expect: object) -> None:
    assert measure(when) == expect


@pytest.mark.parametrize(
    "when", ["", "smoke", "smoke all green for 10m", "smoke all red", "rows refuted > 101%", "rows > 5%", "it is bad"]
)
def test_what_cannot_be_measured_says_how_to_write_it(when: str) -> None:
    with pytest.raises(ValueError, match=r"is no criterion that can be measured: write it like `smoke all red"):
        measure(when)


def test_a_length_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is no unit of time"):
        measure("forecast > 2 fortnights")


@given(st.text(max_size=40))
def test_no_text_breaks_the_measure(text: str) -> None:
    with suppress(ValueError):
        assert measure(text)


def smoke(**colours: tuple[Literal["green", "red", "unknown"], str]) -> Readings:
    return Readings(NOW, {name: Colour(colour, at(since)) for name, (colour, since) in colours.items()})


ALL_RED = smoke(health=("red", "11:40"), metrics=("red", "11:50"), user=("red", "11:45"))
EVALUATED: list[tuple[str, Readings, Evaluated]] = [
    ("smoke all red for 10m", ALL_RED,
     Met("health, metrics and user red since 2026-11-22 11:50:00 UTC, for 10 min")),
    ("smoke all red for 11m", ALL_RED,
     NotMet("not red for 11 min: metrics red for 10 min")),
    ("smoke all red for 10m", smoke(health=("red", "11:40"), metrics=("green", "09:00"), user=("red", "11:45")),
     NotMet("not red for 10 min: metrics green for 3 h")),
    ("smoke all red for 10m", smoke(health=("red", "11:40"), metrics=("red", "11:40")),
     CannotSay("not verified: user could not be looked at")),
    ("smoke all red for 10m", smoke(health=("green", "11:40"), metrics=("unknown", "11:40")),
     NotMet("not red for 10 min: health green for 20 min and metrics unknown for 20 min")),
    ("smoke any red for 10m", smoke(health=("red", "11:40")),
     Met("health red since 2026-11-22 11:40:00 UTC, for 20 min")),
    ("smoke any red for 10m", smoke(health=("green", "09:00")),
     CannotSay("not verified: metrics and user could not be looked at")),
    ("smoke health red for 20m", ALL_RED, Met("health red since 2026-11-22 11:40:00 UTC, for 20 min")),
    ("smoke health red for 10m", Readings(NOW), CannotSay("not verified: health could not be looked at")),
    ("rows refuted > 50%", Readings(NOW, rows_refuted=Decimal("50.1")),
     Met("50.1% of the rows are refuted; the criterion is > 50%")),
    ("rows refuted > 50%", Readings(NOW, rows_refuted=Decimal(50)),
     NotMet("50% of the rows are refuted; the criterion is > 50%")),
    ("rows refuted >= 50%", Readings(NOW, rows_refuted=Decimal("50.0")),
     Met("50% of the rows are refuted; the criterion is >= 50%")),
    ("rows refuted > 50%", Readings(NOW), CannotSay("not verified: nobody counted the rows")),
    ("forecast > 2h", Readings(NOW, forecast=Estimate(3 * HOUR, 4 * HOUR, 2)),
     Met("recovery is expected to take about 3 h (4 h at worst, measured 2 times); the criterion is > 2 h")),
    ("forecast > 2h", Readings(NOW, forecast=Estimate(HOUR, HOUR, 1)),
     NotMet("recovery is expected to take about 1 h (measured once); the criterion is > 2 h")),
    ("forecast > 2h", Readings(NOW, forecast=Unknown("smoke was never measured", 3 * HOUR)),
     Met("recovery is expected to take at least 3 h; the rest is unknown: smoke was never measured; "
         "the criterion is > 2 h")),
    ("forecast > 2h", Readings(NOW, forecast=Unknown("smoke was never measured", HOUR)),
     CannotSay("not verified: smoke was never measured")),
    ("forecast > 2h", Readings(NOW), CannotSay("not verified: no forecast was made")),
]  # fmt: skip


@pytest.mark.parametrize(("when", "read", "expect"), EVALUATED)
def test_criteria_against_readings(when: str, read: Readings, expect: Evaluated) -> None:
    assert evaluate(Criterion("it is bad", when), read, ("health", "metrics", "user")) == expect


def test_what_has_no_measure_is_for_a_person() -> None:
    assert evaluate(Criterion("unrecoverable application failure"), ALL_RED) == CannotSay("a person has to judge this")


# ── when it struck ──────────────────────────────────────────────────────────────────────────────────


def saw(*looks: str) -> tuple[CheckSeen, ...]:
    """`health red 10:01 10:00`: the colour, when, and the look before."""
    made: list[CheckSeen] = []
    for look in looks:
        check, colour, when, *last = look.split()
        kind: Any = colour
        made.append(CheckSeen(check, kind, at(when), at(last[0]) if last else None))
    return tuple(made)


STRUCK: list[tuple[str, tuple[CheckSeen, ...], str]] = [
    ("green, then red", saw("health green 08:00", "health red 10:01 10:00"),
     "between 2026-11-22 10:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("an unknown in between widens it",
     saw("health green 08:00", "health unknown 09:01 09:00", "health red 10:01 10:00"),
     "between 2026-11-22 09:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("red again after a gap is the same outage",
     saw("health green 08:00", "health red 10:01 10:00", "health red 11:00 10:02"),
     "between 2026-11-22 10:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("unknown now, and red before: it goes on",
     saw("health green 08:00", "health red 10:01 10:00", "health unknown 11:00 10:59"),
     "between 2026-11-22 10:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("an outage that is over is not this one",
     saw("health green 07:00", "health red 08:01 08:00", "health green 08:30 08:29", "health red 10:01 10:00"),
     "between 2026-11-22 10:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("the first to turn red counts",
     saw("health green 08:00", "user green 08:00", "health red 10:05 10:04", "user red 10:02 10:01"),
     "between 2026-11-22 10:01:00 UTC and 2026-11-22 10:02:00 UTC (smoke check user: last green, then red)"),
    ("without a look before it, the green fact itself", saw("health green 08:00", "health red 10:01"),
     "between 2026-11-22 08:00:00 UTC and 2026-11-22 10:01:00 UTC (smoke check health: last green, then red)"),
    ("never green", saw("health red 10:01 10:00"), "health was never seen green before it was red"),
    ("all green", saw("health green 08:00"), "no smoke check is red"),
    ("only unknown", saw("health green 08:00", "health unknown 10:00 09:59"), "no smoke check is red"),
    ("never looked", (), "no smoke check was ever looked at"),
]  # fmt: skip


@pytest.mark.parametrize(("looks", "said"), [row[1:] for row in STRUCK], ids=[row[0] for row in STRUCK])
def test_the_moment_of_the_disaster(looks: tuple[CheckSeen, ...], said: str) -> None:
    found = incident.moment(looks)
    assert (found.why if isinstance(found, NotVerified) else say_between(found)) == said


def test_a_person_may_know_better() -> None:
    assert say_between(incident.said(at("09:58"), at("09:58"), "dba-lead")) == (
        "2026-11-22 09:58:00 UTC (said by dba-lead)"
    )
    assert say_between(None) == "not verified: nobody knows when it happened"


def test_what_the_watch_saw_becomes_readings() -> None:
    found = readings(
        saw("health green 08:00", "health red 10:01 10:00", "health red 10:30 10:29", "user green 08:00"),
        ("health", "metrics", "user"), NOW,
    )  # fmt: skip
    assert found.smoke == {"health": Colour("red", at("10:01")), "user": Colour("green", at("08:00"))}


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────

DECLARED = DisasterDeclared(IncidentId("i"), ScenarioName("database-loss"), CTO, "alone", (), {}, DISASTER)


def after(*facts: tuple[str, Fact]) -> IncidentSeen:
    whole = recorded("incident/i", (at("10:00"), DECLARED), *((at(when), fact) for when, fact in facts))
    return history(in_order(whole), {}).incidents[0]


def told(audience: str, *, sent: bool = True, why: str = "") -> MessageSent:
    return MessageSent(audience, "initial", PLAN, sent, why)


RUNNING: list[tuple[str, IncidentSeen, str, list[str]]] = [
    ("just declared", after(), "10:00", [
        "status page: first notice now (at the declaration)",
        "internal: update in 15 min (every 15 min)",
        "customers: first notice in 30 min (within 30 min of the declaration)",
    ]),
    ("nobody told anybody", after(), "10:31", [
        "status page: first notice overdue by 31 min (at the declaration)",
        "internal: update overdue by 16 min (every 15 min)",
        "customers: first notice overdue by 1 min (within 30 min of the declaration)",
    ]),
    ("told in time", after(("10:01", told("status_page")), ("10:10", told("customers")), ("10:12", told("internal"))),
     "10:13", [
        "internal: update in 14 min (every 15 min)",
        "status page: first notice done (sent at 2026-11-22 10:01:00 UTC, at the declaration)",
        "customers: first notice done (sent at 2026-11-22 10:10:00 UTC, within 30 min of the declaration)",
    ]),
    ("did not get out", after(("10:01", told("status_page", sent=False, why="the provider is down"))), "10:02", [
        "status page: first notice did not get out (not sent: the provider is down)",
        "internal: update in 13 min (every 15 min)",
        "customers: first notice in 28 min (within 30 min of the declaration)",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("of", "now", "expect"), [row[1:] for row in RUNNING], ids=[row[0] for row in RUNNING])
def test_who_must_be_told_when(of: IncidentSeen, now: str, expect: list[str]) -> None:
    assert [say_clock(clock, at(now)) for clock in clocks(plan(), of, at(now))] == expect


def test_after_the_recovery_updates_end_and_follow_ups_begin() -> None:
    done = after(("10:01", told("status_page")), ("10:02", told("customers")), ("11:00", RecoveryDeclared(CTO)))
    assert next_internal(plan(), done, at("12:00")) is None
    assert [say_clock(clock, at("12:00")) for clock in clocks(plan(), done, at("12:00"))][:5] == [
        "team: follow-up, immediate in 23 h (within 24 h of the recovery)",
        "team: post-mortem, published in 1 d 23 h (within 2 d of the recovery)",
        "team: follow-up, short term in 6 d 23 h (within 7 d of the recovery)",
        "team: post-mortem, internal in 6 d 23 h (within 7 d of the recovery)",
        "team: follow-up, long term in 29 d 23 h (within 1 month of the recovery)",
    ]


def test_the_next_internal_update() -> None:
    found = next_internal(plan(), after(("10:12", told("internal"))), at("10:13"))
    assert found is not None
    assert found.due == at("10:27")


# ── messages ────────────────────────────────────────────────────────────────────────────────────────

SITUATION = Situation(
    "Catalytic Computing", "all of the platform", at("10:03"), Estimate(22 * MINUTE, 28 * MINUTE, 3), at("10:18"),
    "Database corruption or loss", "devops-lead",
)  # fmt: skip


def test_the_first_word_to_customers() -> None:
    assert str(incident.initial(SITUATION)) == (
        "Subject: [URGENT] Service Disruption - Disaster Recovery in Progress\n"
        "\n"
        "We are currently experiencing a service disruption affecting all of the platform.\n"
        "\n"
        "Status: Disaster recovery procedures initiated\n"
        "Estimated Recovery: about 22 min from the declaration, by 2026-11-22 10:31:00 UTC at worst\n"
        "Next Update: 2026-11-22 10:18:00 UTC\n"
        "\n"
        "Our team is working to restore service as quickly as possible. We apologize for the inconvenience.\n"
        "\n"
        "- Catalytic Computing Operations Team"
    )


@pytest.mark.parametrize("expected", [Unknown("never done"), Unknown("the rest", HOUR)])
def test_what_is_not_known_is_not_promised(expected: Expected) -> None:
    text = str(incident.initial(replace(SITUATION, expected=expected, next_update=None)))
    assert "Estimated Recovery: not known yet\nNext Update: as soon as we know more\n" in text


def test_the_first_word_to_the_team() -> None:
    assert str(incident.emergency(replace(SITUATION, commander=""))) == (
        "Subject: DISASTER DECLARED\n"
        "\n"
        "DISASTER RECOVERY INITIATED\n"
        "\n"
        "Scenario: Database corruption or loss\n"
        "Declared: 2026-11-22 10:03:00 UTC\n"
        "Estimated Recovery: about 22 min from the declaration, by 2026-11-22 10:31:00 UTC at worst\n"
        "Incident Commander: nobody has taken command yet\n"
        "\n"
        "All hands on deck."
    )


def test_an_update_says_what_was_done_and_what_is_being_done() -> None:
    text = str(incident.update(SITUATION, at("10:18"), ("the application is stopped",), "restoring the database"))
    assert text == (
        "Subject: [UPDATE] Service Disruption - Disaster Recovery in Progress\n"
        "\n"
        "The disruption affecting all of the platform goes on; recovery began 15 min ago.\n"
        "\n"
        "Done so far:\n"
        "- the application is stopped\n"
        "\n"
        "Now: restoring the database\n"
        "Estimated Recovery: about 22 min from the declaration, by 2026-11-22 10:31:00 UTC at worst\n"
        "Next Update: 2026-11-22 10:18:00 UTC\n"
        "\n"
        "- Catalytic Computing Operations Team"
    )


def test_the_closing_message_says_what_was_lost_or_that_nobody_knows() -> None:
    blanks = incident.restored(SITUATION, at("10:25"), "a failed disk", "restored from backup", "about 8 h of changes")
    text = str(incident.resolved(blanks))
    assert "Service has been fully restored as of 2026-11-22 10:25:00 UTC.\n" in text
    assert (
        "Incident Summary:\n"
        "- Duration: 22 min\n"
        "- Cause: a failed disk\n"
        "- Resolution: restored from backup\n"
        "- Data lost: about 8 h of changes\n"
    ) in text
    unknown = str(incident.resolved(incident.restored(SITUATION, at("10:25"), "", "", "")))
    assert "- Cause: not known yet\n- Resolution: not written down yet\n- Data lost: not verified\n" in unknown


def test_a_template_is_the_message_with_its_blanks() -> None:
    text = str(incident.resolved(Blanks()))
    assert "[time]" in text
    assert "A detailed post-mortem will be published within 48 hours." in text
    assert "affecting [describe impact]." in str(incident.initial(Blanks()))
    assert str(incident.update(Blanks(), None)).count("[time]") == 2


def test_the_story_is_one_incident() -> None:
    facts, points, proofs = whole_story()
    found = history(facts, {LOCAL: points}, proofs)
    assert incident.moment(found.checks) == Between(
        DISASTER.earliest, DISASTER.latest, "smoke check health: last green, then red"
    )


def test_what_was_red_before_the_last_recovery_dates_no_other_disaster() -> None:
    facts, points, proofs = whole_story()
    found = history(facts, {LOCAL: points}, proofs)
    assert incident.moment(incident.looks(found)) == NotVerified("no smoke check is red")
    smoke = next(run for run in found.runs if run.id == "r2").steps[-1]
    assert smoke.began is not None
    later = replace(found, checks=(*found.checks, *saw("health red 11:00 10:00:30", "user red 11:01")))
    assert incident.moment(incident.looks(later)) == Between(
        smoke.began, at("11:00"), "smoke check health: last green, then red"
    )


def test_a_plan_that_says_nothing_about_declaring_leaves_it_to_its_people() -> None:
    silent = plan(authority=Authority())
    assert may_declare(silent, "cto") == Alone()
    assert isinstance(may_declare(silent, "a-stranger"), MayNot)
