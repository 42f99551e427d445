"""Drift: what is gone, changed and new, and which of them speaks against a point."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.facts import Verdict
from backstay.verify import Reference, drift, judge_structure, sampled
from backstay.verify.structure import MOST_SHOWN
from fix_story import at

USERS = "table public.users: owner shop"
NAME = "column public.users.name: text"
STRICT = "column public.users.name: text not null"


def of_a_proof(*lines: str) -> Reference:
    return Reference(lines, "20261122T020000Z-7f3a9c1d", "proof", at("03:00"))


def of_a_file(*lines: str) -> Reference:
    return Reference(lines, "schema.txt", "file")


@pytest.mark.parametrize(
    ("now", "reference", "verdict", "said"),
    [
        ([USERS], None, Verdict.PASSED, "1 object; there is no earlier structure to compare with"),
        ([USERS], of_a_proof(USERS), Verdict.PASSED, "1 object, as in the proof of 2026-11-22 03:00:00 UTC"),
        (
            [USERS, NAME], of_a_proof(USERS), Verdict.PASSED,
            f"1 new since the proof of 2026-11-22 03:00:00 UTC: + {NAME}",
        ),
        (
            [USERS, STRICT], of_a_proof(USERS, NAME), Verdict.PASSED,
            f"1 changed since the proof of 2026-11-22 03:00:00 UTC: - {NAME}; + {STRICT}",
        ),
        (
            [USERS], of_a_proof(USERS, NAME), Verdict.FAILED,
            f"1 gone since the proof of 2026-11-22 03:00:00 UTC: - {NAME}",
        ),
        ([USERS], of_a_file("# ours", "", USERS), Verdict.PASSED, "1 object, exactly those of schema.txt"),
        ([USERS, NAME], of_a_file(USERS), Verdict.FAILED, f"1 new against schema.txt: + {NAME}"),
    ],
)  # fmt: skip
def test_what_drift_means(now: list[str], reference: Reference | None, verdict: Verdict, said: str) -> None:
    assert judge_structure(now, reference) == (verdict, said)


def test_a_diff_has_an_end() -> None:
    lines = [f"table public.t{n}: owner {'x' * 500}" for n in range(1000)]
    verdict, said = judge_structure([], of_a_file(*lines))
    assert verdict is Verdict.FAILED
    assert said.endswith(f"; and {1000 - MOST_SHOWN} more lines")
    assert len(said) < 3000


names = st.lists(st.from_regex(r"[a-c] [a-e]: [x-z]", fullmatch=True), unique_by=lambda line: line.partition(": ")[0])


@given(names, names)
def test_a_diff_leads_from_one_to_the_other(before: list[str], now: list[str]) -> None:
    found = list(drift(before, now).diff())
    gone = [line[2:] for line in found if line.startswith("- ")]
    come = [line[2:] for line in found if line.startswith("+ ")]
    assert {*before} - {*gone} | {*come} == {*now}
    assert not drift(now, now)


@given(st.lists(st.text(min_size=1), unique=True), st.text())
def test_a_sample_is_the_same_for_the_same_point(tables: list[str], seed: str) -> None:
    found = sampled(tables, seed, 3)
    assert found == sampled(reversed(tables), seed, 3)
    assert len(found) == min(3, len(tables))
    assert set(found) <= set(tables)
