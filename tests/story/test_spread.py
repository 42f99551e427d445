"""Which points each vault lacks, and how it is said that one is behind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from backstay import spread
from backstay.facts import Point, PointCopied, Proof, RoutineFailed, Verdict
from backstay.history import History, history
from backstay.objectives import status
from backstay.plan import Keep, VaultPlace
from backstay.review import markdown, plan_document
from backstay.values import Period, RunId, VaultName
from fix_story import DATABASE, HOUR, LOCAL, NOW, Rung, at, check, hold, plan, point, proof, words

OFF_SITE = VaultName("off-site")
ANCIENT, OLD, YESTERDAY, NEW = (
    point(at(f"{day} 02:00")) for day in ("2026-08-01", "2026-10-01", "2026-11-21", "2026-11-22")
)
TWO = plan(
    vaults={
        LOCAL: VaultPlace(LOCAL, words("./vault"), Keep(Period(span=timedelta(days=30)))),
        OFF_SITE: VaultPlace(OFF_SITE, words("./off-site"), Keep(Period(span=timedelta(days=90)))),
    }
)
COMPONENT = TWO.components[DATABASE]
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")


def known(local: list[Point] | None, off_site: list[Point] | None, *proofs: Proof) -> History:
    """None: that vault does not answer."""
    held = {LOCAL: local, OFF_SITE: off_site}
    return history((), {name: points for name, points in held.items() if points is not None}, proofs)


def lacking(vault: VaultName, seen: History) -> list[Point]:
    return list(spread.lacking(TWO, COMPONENT, vault, seen, NOW))


def said(seen: History) -> list[str]:
    standings = spread.standings(TWO, COMPONENT, seen, NOW)
    return [text for one in standings if (text := spread.say(one, NOW, 24 * HOUR))]


def test_each_vault_lacks_what_its_own_retention_would_keep_newest_first() -> None:
    seen = known([OLD, YESTERDAY, NEW], [ANCIENT])
    assert lacking(OFF_SITE, seen) == [NEW, YESTERDAY, OLD]
    assert lacking(LOCAL, seen) == [], "30 days there"
    assert lacking(LOCAL, known([], [ANCIENT, OLD, YESTERDAY, NEW])) == [NEW, YESTERDAY]


def test_the_newest_point_is_lacking_whatever_its_age() -> None:
    assert lacking(LOCAL, known([], [ANCIENT])) == [ANCIENT]


def test_a_point_that_is_held_is_lacking_however_old_it_is() -> None:
    seen = history((), {LOCAL: [NEW], OFF_SITE: [ANCIENT, NEW]}, (), [hold(ANCIENT, "forensic", NOW)])
    assert lacking(LOCAL, seen) == [ANCIENT]


def test_bytes_that_one_vault_has_lost_are_said_though_every_promise_is_kept() -> None:
    lost = proof(NEW, at("03:00"), check(Verdict.FAILED, Rung.BYTES, "B01", "a pack is gone"))
    mend = f"local has lost bytes of {NEW.id}, and another vault has them: `backstay vault repair local`"
    row = status(TWO, known([NEW], [NEW], lost), NOW).components[0]
    assert mend in row.says
    assert mend in row.behind
    alone = status(TWO, known([NEW], [], lost), NOW).components[0]
    assert not any("has lost bytes" in said for said in alone.says), "then the point itself is refuted"


def test_a_point_that_was_refuted_is_copied_to_nobody_but_bytes_lost_in_one_vault_refute_nothing() -> None:
    wrong = proof(NEW, at("03:00"), check(), WRONG)
    assert lacking(OFF_SITE, known([NEW], [YESTERDAY], wrong)) == []
    lost = proof(NEW, at("03:00"), check(Verdict.FAILED, Rung.BYTES, "B01", "a pack is gone"))
    third = VaultName("third")
    three = replace(TWO, vaults={**TWO.vaults, third: replace(TWO.vaults[OFF_SITE], name=third)})
    seen = history((), {LOCAL: [NEW], OFF_SITE: [NEW], third: []}, [lost])
    assert list(spread.lacking(three, COMPONENT, third, seen, NOW)) == [NEW]


@pytest.mark.parametrize(
    ("local", "off_site", "sentences"),
    [
        ([YESTERDAY, NEW], [YESTERDAY, NEW], []),
        ([YESTERDAY, NEW], [YESTERDAY],
         ["off-site is 24 h behind: it lacks 1 point; its newest is 34 h old, and the RPO allows 24 h"]),
        ([YESTERDAY, NEW], [NEW],
         ["off-site has the newest point, and not all: it lacks 1 point; its newest is 10 h old"]),
        ([YESTERDAY, NEW], [], ["off-site has no point yet: it lacks 2 points"]),
        ([YESTERDAY, NEW], None, []),
        ([], [], []),
    ],
)  # fmt: skip
def test_what_is_behind_is_said(local: list[Point], off_site: list[Point] | None, sentences: list[str]) -> None:
    assert said(known(local, off_site)) == sentences


def test_a_copy_may_be_on_its_way_for_an_hour() -> None:
    fresh = point(NOW - timedelta(minutes=30))
    assert said(known([NEW, fresh], [NEW])) == []
    assert lacking(OFF_SITE, known([NEW, fresh], [NEW])) == [fresh]


def test_a_vault_whose_copy_was_never_read_is_not_said_to_be_proven() -> None:
    local, off_site = spread.standings(TWO, COMPONENT, known([NEW], [NEW], given := proof(NEW, at("03:00"))), NOW)
    assert (local.read, off_site.read) == (given, None)
    assert (off_site.points, off_site.newest, off_site.behind) == (1, NEW, None)


def test_a_vault_that_does_not_answer_is_not_known() -> None:
    _, off_site = spread.standings(TWO, COMPONENT, known([NEW], None), NOW)
    assert (off_site.answered, off_site.lacks) == (False, ())


def test_a_copy_that_failed_is_said_until_one_has_worked() -> None:
    failed = (at("10:00"), DATABASE, RoutineFailed(RunId("c1"), 26, "no room left in off-site"))
    seen = replace(known([NEW], [NEW], proof(NEW, at("03:00"))), failed=(failed,))
    component = next(row for row in status(TWO, seen, NOW).components if row.name == DATABASE)
    assert any("no room left in off-site" in said for said in component.says)
    worked = (at("11:00"), PointCopied(RunId("c2"), LOCAL, OFF_SITE, NEW.id, 5, HOUR))
    component = next(
        row for row in status(TWO, replace(seen, copied=(worked,)), NOW).components if row.name == DATABASE
    )
    assert not any("no room left" in said for said in component.says)


def test_the_document_says_what_each_vault_has() -> None:
    seen = known([YESTERDAY, NEW], [YESTERDAY], proof(NEW, at("03:00")))
    page = markdown(plan_document(TWO, seen, NOW))
    assert (
        "| database | off-site | ❌ lacks 1 point | 2026-11-21 02:00:00 UTC | never: what is there was copied |" in page
    )
    assert "| database | local | ✅ all |" in page


def test_status_says_it_beside_the_promises() -> None:
    found = status(TWO, known([YESTERDAY, NEW], [YESTERDAY], proof(NEW, at("03:00"))), NOW)
    row = next(row for row in found.components if row.name == DATABASE)
    assert row.behind == ("off-site is 24 h behind: it lacks 1 point; its newest is 34 h old, and the RPO allows 24 h",)
    assert row.behind[0] in row.says
    assert "; off-site is behind" in found.sentence
    kept = status(plan(), known([YESTERDAY, NEW], None, proof(NEW, at("03:00"))), NOW)
    assert "behind" not in kept.sentence
