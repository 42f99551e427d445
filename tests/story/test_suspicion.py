"""What a person has to judge: rows that went, and canaries."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from backstay.facts import Verdict
from backstay.plan import Canary, Compare, Prove
from backstay.verify import Answer, Unanswered, suspect
from fix_story import at, check, point, proof

POINT = point(at("02:00"))
LAST = proof(point(at("01:00")), at("01:30"), check(), counts={"orders": 1000, "jobs": 90, "old": 200})
SEED = Canary("SELECT count(*) FROM tenants WHERE id = 1", "seed", Compare("=", Decimal(1)))
INVOICES = Canary("SELECT count(*) FROM invoices", "invoices")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"orders": 1000, "jobs": 90, "old": 200}, ""),
        ({"orders": 900, "jobs": 0, "old": 180}, ""),  # a tenth may go, and small tables come and go
        ({"orders": 899, "jobs": 90, "old": 200}, "orders has 899 of 1,000 rows of the proof of"),
        ({"orders": 600, "jobs": 90, "old": 101}, "old has 101 of 200 rows and orders has 600 of 1,000 rows"),
        ({"orders": 1000}, ""),  # a table that is gone refutes the point
        (Unanswered("no right"), ""),
    ],
)
def test_a_table_that_lost_more_than_a_tenth(counts: Mapping[str, int] | Unanswered, said: str) -> None:
    found = suspect(POINT, Prove(), counts, {}, LAST)
    assert len(found.reasons) == len(found.checks) == bool(said)
    if said:
        assert said in found.reasons[0]
        assert (found.checks[0].code, found.checks[0].verdict) == ("V05", Verdict.NOT_VERIFIED)


def test_without_an_earlier_proof_nothing_was_lost() -> None:
    assert suspect(POINT, Prove(), {"orders": 1}, {}, None).reasons == ()


@pytest.mark.parametrize(
    ("canary", "answer", "before", "verdict", "reason"),
    [
        (SEED, 1, None, Verdict.PASSED, ""),
        (SEED, 0, None, Verdict.NOT_VERIFIED, "the canary seed: 0; expected = 1"),
        (SEED, None, None, Verdict.NOT_VERIFIED, "the canary seed: there is no value (NULL); expected = 1"),
        (SEED, "one", None, Verdict.NOT_VERIFIED, ""),
        (SEED, Unanswered("no such table"), None, Verdict.NOT_VERIFIED, ""),
        (INVOICES, 7, None, Verdict.PASSED, ""),
        (INVOICES, 7, 7, Verdict.PASSED, ""),
        (INVOICES, 8, 7, Verdict.PASSED, ""),
        (INVOICES, 6, 7, Verdict.NOT_VERIFIED, "the canary invoices: 6, and it was 7: it must never go down"),
        (INVOICES, "many", 7, Verdict.NOT_VERIFIED, ""),
        (INVOICES, True, 7, Verdict.NOT_VERIFIED, ""),
    ],
)
def test_a_canary(
    canary: Canary, answer: Answer | Unanswered, before: int | None, verdict: Verdict, reason: str
) -> None:
    last = replace(proof(POINT, at("02:30"), check()), canaries={} if before is None else {"invoices": before})
    found = suspect(POINT, Prove(canary=(canary,)), {}, {canary.name: answer}, last)
    (one,) = found.checks
    assert (one.code, one.verdict) == ("M05", verdict)
    assert found.reasons == ((reason,) if reason else ())
    number = canary is INVOICES and isinstance(answer, int) and answer is not True
    assert found.canaries == ({"invoices": answer} if number else {})


def test_a_canary_that_nobody_asked_is_not_verified() -> None:
    found = suspect(POINT, Prove(canary=(SEED,), within=timedelta(minutes=1)), {}, {}, None)
    assert [one.verdict for one in found.checks] == [Verdict.NOT_VERIFIED]
    assert found.reasons == ()
