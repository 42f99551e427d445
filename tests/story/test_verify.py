"""What proves a point: answers, rows, the clock, and which point a recovery may start from."""

import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from backstay.errors import BackstayError, Damaged, DiskFull, ObjectMissing, ToolFailed, ToolMissing
from backstay.facts import LineageBegan, NotVerified, PointTaken, Proof, Proven, Refuted, Rung, Verdict
from backstay.history import Line, Segment, history
from backstay.plan import Compare, Expectation, Objectives, OneOf, Prove, Within
from backstay.values import Between, LineageId, PointId, RunId, VaultName, span
from backstay.verify import (
    Answer,
    Candidates,
    Chosen,
    Fresh,
    NoneGood,
    Stale,
    Tried,
    Unanswered,
    age,
    candidates,
    choose,
    content,
    evaluate,
    exact,
    judge,
    last_known_good,
    of_bytes,
    stale,
    stopped,
    volume,
)
from backstay.verify.checks import Tolerance
from fix_story import (
    DATABASE,
    HOUR,
    LINE,
    LOCAL,
    MINUTE,
    NOW,
    PLAN,
    SECOND,
    at,
    check,
    database,
    hold,
    in_order,
    point,
    proof,
    recorded,
)

# ── answers ─────────────────────────────────────────────────────────────────────────────────────────

CASES = cast(
    "list[dict[str, str]]", tomllib.loads((Path(__file__).parent / "answers.toml").read_text(encoding="utf-8"))["case"]
)


def expected(text: str) -> Expectation:
    word, _, rest = text.partition(" ")
    if word == "in":
        return OneOf(tuple(rest.strip("{}").split(", ")))
    if word == "within":
        return Within(span(rest))
    number = rest.replace(".", "").isdigit()
    return Compare(cast("Any", word), Decimal(rest) if number else rest)


def answered(text: str) -> Answer:
    kind, _, rest = text.partition(" ")
    readers: dict[str, Any] = {
        "int": int,
        "decimal": Decimal,
        "text": str,
        "bool": lambda said: said == "true",  # pyright: ignore[reportUnknownLambdaType]
        "moment": datetime.fromisoformat,
        "null": lambda _: None,  # pyright: ignore[reportUnknownLambdaType]
    }
    return readers[kind](rest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['expect']} against {case['answer'][:30]!r}")
def test_an_answer_means_what_the_table_says(case: dict[str, str]) -> None:
    assert evaluate(expected(case["expect"]), answered(case["answer"]), NOW) == (
        Verdict(case["verdict"]),
        case["said"],
    )


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (24 * HOUR, "24 h"),
        (24 * HOUR + SECOND, "24 h 0 min 1 s"),
        (timedelta(days=30), "30 d"),
        (30 * MINUTE, "30 min"),
        (90 * MINUTE, "1 h 30 min"),
        (61 * SECOND, "1 min 1 s"),
        (timedelta(seconds=0.4), "400 ms"),
        (timedelta(seconds=9.34), "9.3 s"),
        (timedelta(seconds=59.99), "59 s"),
        (timedelta(seconds=60.9), "1 min"),
        (timedelta(), "0 s"),
        (-HOUR, "-1 h"),
    ],
)
def test_limits_are_said_to_the_second(length: timedelta, said: str) -> None:
    assert exact(length) == said


# ── the rungs ───────────────────────────────────────────────────────────────────────────────────────

LAST = {"public.tenants": 12, "public.lattices": 40_000, "public.jobs": 3}


@pytest.mark.parametrize(
    ("counts", "verdict", "said"),
    [
        (LAST, "passed", "40,015 rows in 3 tables, compared with the proof of 2026-11-21 03:00:00 UTC"),
        (
            LAST | {"public.jobs": 0, "public.new": 1},
            "passed",
            "40,013 rows in 4 tables, compared with the proof of 2026-11-21 03:00:00 UTC",
        ),
        (
            LAST | {"public.tenants": 0},
            "failed",
            "public.tenants is empty (it had 12 rows); compared with the proof of 2026-11-21 03:00:00 UTC",
        ),
        (
            LAST | {"public.lattices": 19_999},
            "failed",
            "public.lattices has 19,999 rows (it had 40,000); compared with the proof of 2026-11-21 03:00:00 UTC",
        ),
        (
            LAST | {"public.lattices": 20_000},
            "passed",
            "20,015 rows in 3 tables, compared with the proof of 2026-11-21 03:00:00 UTC",
        ),
        (
            {"public.jobs": 3},
            "failed",
            ("public.lattices is missing (it had 40,000 rows) and public.tenants is missing (it had 12 rows); "
            "compared with the proof of 2026-11-21 03:00:00 UTC"),
        ),
        (Unanswered("the server went away"), "not-verified", "the rows could not be counted: the server went away"),
    ],
)  # fmt: skip
def test_rows_are_compared_with_the_last_proof(counts: Any, verdict: str, said: str) -> None:
    last = proof(point(at("2026-11-21 02:00")), at("2026-11-21 03:00"), counts=LAST)
    found = volume(counts, last, Tolerance())
    assert (found.verdict.value, found.said) == (verdict, said)


def test_the_first_proof_says_that_it_compares_with_nothing() -> None:
    found = volume({"t": 1}, None, Tolerance())
    assert found.said == "1 row in 1 table; there is no earlier proof to compare with"


def test_files_are_no_rows() -> None:
    last = proof(point(at("02:00")), at("03:00"), counts={"a": 60, "b": 50})
    found = volume({".": 1, "a": 60}, last, Tolerance(), ("file", "folder"))
    assert (found.name, found.said) == (
        "files",
        "b is missing (it had 50 files); compared with the proof of 2026-11-22 03:00:00 UTC",
    )
    assert volume({".": 1, "a": 60}, None, Tolerance(), ("file", "folder")).said.startswith("61 files in 2 folders; ")


def test_many_lost_tables_are_counted_not_listed() -> None:
    last = proof(point(at("02:00")), at("03:00"), counts={f"t{n}": 50 for n in range(9)})
    assert volume({}, last, Tolerance()).said == (
        "t0 is missing (it had 50 rows), t1 is missing (it had 50 rows), t2 is missing (it had 50 rows), "
        "t3 is missing (it had 50 rows) and t4 is missing (it had 50 rows), and 4 more tables; "
        "compared with the proof of 2026-11-22 03:00:00 UTC"
    )


@pytest.mark.parametrize(
    ("old", "rpo", "max_age", "verdict", "said"),
    [
        (24 * HOUR, 24 * HOUR, None, "passed", "24 h old, within 24 h (the RPO)"),
        (24 * HOUR + SECOND, 24 * HOUR, None, "failed", "24 h 0 min 1 s old; the RPO allows 24 h"),
        (24 * HOUR + timedelta(milliseconds=999), 24 * HOUR, None, "passed", "24 h old, within 24 h (the RPO)"),
        (24 * HOUR + SECOND, None, 24 * HOUR, "failed", "24 h 0 min 1 s old; the plan's `max_age` allows 24 h"),
        (2 * HOUR, 24 * HOUR, HOUR, "failed", "2 h old; the plan's `max_age` allows 1 h"),
        (2 * HOUR, None, None, "passed", "2 h old; the plan sets no limit"),
        (-30 * SECOND, HOUR, None, "passed", "0 s old, within 1 h (the RPO)"),
        (-2 * HOUR, HOUR, None, "not-verified",
         "its newest data is of 2026-11-22 14:00:00 UTC, 2 h in the future: clocks differ"),
    ],
)  # fmt: skip
def test_age_is_judged_to_the_second(
    old: timedelta, rpo: timedelta | None, max_age: timedelta | None, verdict: str, said: str
) -> None:
    component = database(prove=Prove(max_age=max_age))
    found = age(point(NOW - old), component, Objectives(rpo=rpo), NOW)
    assert (found.verdict.value, found.said) == (verdict, said)


@pytest.mark.parametrize(
    ("error", "restored", "code", "verdict", "said"),
    [
        (Damaged("a chunk of base/1/1259 was changed"), False, "B01", "failed", "a chunk of base/1/1259 was changed"),
        (Damaged("a chunk was changed"), True, "B01", "failed", "a chunk was changed"),
        (ObjectMissing("a pack is gone", detail="pack 1f"), False, "B01", "failed", "a pack is gone (pack 1f)"),
        (ToolFailed("postgres did not start"), False, "R01", "failed", "postgres did not start"),
        (ToolMissing("no pg_ctl here"), False, "R01", "not-verified", "could not be restored: no pg_ctl here"),
        (DiskFull("no room"), False, "R01", "not-verified", "could not be restored: no room"),
        (DiskFull("no room"), True, "M02", "not-verified", "stopped after the restore: no room"),
    ],
)
def test_damage_refutes_and_what_is_missing_here_does_not(
    error: BackstayError, restored: bool, code: str, verdict: str, said: str
) -> None:
    found = stopped(error, restored=restored)
    assert (found.code, found.verdict.value, found.said) == (code, verdict, said)


def tried(**changes: Any) -> Tried:
    given: dict[str, Any] = {
        "point": point(at("02:00")),
        "vault": LOCAL,
        "tier": "full",
        "began": at("03:00"),
        "ended": at("03:01"),
        "restore_took": 22 * SECOND,
        "counts": {"public.tenants": 12},
        "answers": {"tenants": 12, "orphaned lattices": 0},
        "plan": PLAN,
    }
    return Tried(**(given | changes))


LIMITS = Objectives(rto=30 * MINUTE, rpo=24 * HOUR)


def test_a_proof_is_made_of_everything_that_was_tried() -> None:
    made = judge(tried(), database(), LIMITS, None)
    assert made.result() == Proven()
    assert [(check.code, check.said) for check in made.checks] == [
        ("R01", "restored and started in 22 s"),
        ("V01", "12 rows in 1 table; there is no earlier proof to compare with"),
        ("M01", "tenants: 12, as expected (>= 1)"),
        ("M01", "orphaned lattices: 0, as expected (= 0)"),
        ("C01", "1 h 1 min old, within 24 h (the RPO)"),
        ("C02", "restored and asked in 1 min, within 30 min (the RTO)"),
    ]


def test_a_question_that_was_not_answered_is_not_verified() -> None:
    made = judge(tried(answers={"tenants": Unanswered("the server went away")}), database(), LIMITS, None)
    assert made.result() == NotVerified(
        "M01 tenants: no answer: the server went away; M01 orphaned lattices: no answer: it was not asked"
    )


def test_a_wrong_answer_refutes() -> None:
    made = judge(tried(answers={"tenants": 0, "orphaned lattices": 0}), database(), LIMITS, None)
    assert made.result() == Refuted("M01 tenants: 0; expected >= 1")


def test_nothing_tried_proves_nothing() -> None:
    made = judge(tried(restore_took=None, error=DiskFull("no room")), database(), LIMITS, None)
    assert made.result() == NotVerified("R01 could not be restored: no room; C02 the restore did not come to its end")


def test_reading_the_bytes_is_not_a_restore() -> None:
    bytes_only = tried(tier="bytes", restore_took=None, inspected=(check(rung=Rung.BYTES, code="B01"),))
    assert judge(bytes_only, database(), LIMITS, None).result() == NotVerified("it was not restored")


def test_a_slow_restore_breaks_the_promise_and_not_the_point() -> None:
    slow = judge(tried(ended=at("03:31")), database(), LIMITS, None)
    assert slow.result() == Refuted("C02 restored and asked in 31 min; the RTO allows 30 min")
    assert content(slow) == Proven()


# ── the last known good ─────────────────────────────────────────────────────────────────────────────

OLD, MIDDLE, NEW = point(at("2026-11-20 02:00")), point(at("2026-11-21 02:00")), point(at("02:00"))
POINTS = [OLD, MIDDLE, NEW]
WRONG = check(Verdict.FAILED, Rung.MEANING, "M01", "tenants: 0; expected >= 1")
UNSURE = check(Verdict.NOT_VERIFIED, Rung.MEANING, "M01", "tenants: no answer: it was not asked")
LATE = check(Verdict.FAILED, Rung.CLOCK, "C02", "restored and asked in 31 min; the RTO allows 30 min")
GOOD_OLD, GOOD_MIDDLE, GOOD_NEW = (proof(of, of.began + HOUR) for of in POINTS)

CHOICES: list[tuple[str, Candidates, str, list[str]]] = [
    ("the newest proven one is taken",
     Candidates(tuple(POINTS), (GOOD_OLD, GOOD_MIDDLE, GOOD_NEW)),
     "20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC", []),
    ("one that was never proved is passed over",
     Candidates(tuple(POINTS), (GOOD_OLD, GOOD_MIDDLE)),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     ["20261122T020000Z it was never proved"]),
    ("a refuted one is passed over",
     Candidates(tuple(POINTS), (GOOD_MIDDLE, proof(NEW, at("03:00"), check(), WRONG))),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     ["20261122T020000Z refuted at 2026-11-22 03:00:00 UTC: M01 tenants: 0; expected >= 1"]),
    ("a later yes takes back an earlier no",
     Candidates((NEW,), (proof(NEW, at("03:00"), check(), WRONG), proof(NEW, at("04:00")))),
     "20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 04:00:00 UTC", []),
    ("a later no takes back an earlier yes",
     Candidates((MIDDLE, NEW), (GOOD_MIDDLE, GOOD_NEW, proof(NEW, at("04:00"), check(), WRONG))),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     ["20261122T020000Z refuted at 2026-11-22 04:00:00 UTC: M01 tenants: 0; expected >= 1"]),
    ("a proof that could not tell takes nothing back",
     Candidates((NEW,), (GOOD_NEW, proof(NEW, at("04:00"), check(), UNSURE))),
     "20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC", []),
    ("a point that is only late is still good, and it is said",
     Candidates((NEW,), (proof(NEW, at("03:00"), check(), LATE),)),
     ("20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC; sound, but not in time: "
     "restored and asked in 31 min; the RTO allows 30 min"), []),
    ("a suspicious one is passed over",
     Candidates((MIDDLE, NEW), (GOOD_MIDDLE, GOOD_NEW), (hold(NEW, "suspicious", at("04:00")),)),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     ["20261122T020000Z marked suspicious by dba-lead: rows look wrong"]),
    ("waiting makes nothing clean",
     Candidates((MIDDLE, NEW), (GOOD_MIDDLE, GOOD_NEW), (hold(NEW, "forensic", at("04:00"), until=at("05:00")),)),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     ["20261122T020000Z kept for forensics by dba-lead: rows look wrong"]),
    ("a hold that was released bars nothing",
     Candidates((NEW,), (GOOD_NEW,), (hold(NEW, "suspicious", at("04:00")), hold(NEW, "released", at("05:00")))),
     "20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC", []),
    ("a keep is no bar",
     Candidates((NEW,), (GOOD_NEW,), (hold(NEW, "keep", at("04:00")),)),
     "20261122T020000Z the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC", []),
    ("a point of a line that was given up is passed over",
     Candidates((MIDDLE, NEW), (GOOD_MIDDLE, GOOD_NEW),
                line=Line((Segment(LineageId("pg-7300000000000000001-2")), Segment(LINE, until=MIDDLE.id)))),
     "20261121T020000Z the newest proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC",
     [("20261122T020000Z it belongs to another line of history (pg-7300000000000000001-1, the current one is "
      "pg-7300000000000000001-2)")]),
]  # fmt: skip


@pytest.mark.parametrize(("among", "because", "passed"), [case[1:] for case in CHOICES], ids=[c[0] for c in CHOICES])
def test_the_last_known_good(among: Candidates, because: str, passed: list[str]) -> None:
    found = last_known_good(among.points, among.proofs, among.holds, among.line, NOW)
    assert isinstance(found, Chosen)
    assert f"{found.point.id[:16]} {found.because}" == because
    assert [f"{over.point[:16]} {over.why}" for over in found.passed_over] == passed


def test_a_sample_does_not_take_back_what_a_full_proof_refuted() -> None:
    point_ = point(at("01:00"))
    wrong = proof(point_, at("02:00"), check(verdict=Verdict.FAILED))
    sample = proof(point_, at("03:00"), tier="sample")
    again = proof(point_, at("04:00"))
    assert isinstance(choose("proven", Candidates((point_,), (wrong, sample)), NOW), NoneGood)
    assert isinstance(choose("proven", Candidates((point_,), (wrong, sample, again)), NOW), Chosen)
    assert isinstance(choose("proven", Candidates((point_,), (sample,)), NOW), Chosen)


def test_bytes_that_were_healed_take_back_what_was_said_of_them_and_of_nothing_else() -> None:
    """A check of the vault found damage, a repair mended it: what was proven before was proven of these very bytes."""
    vault, later = VaultName("local"), (at("05:00"), at("05:00"))
    damaged = of_bytes(NEW, vault, (at("04:00"), at("04:00")), Verdict.FAILED, "1 file cannot be read")
    healed = of_bytes(NEW, vault, later, Verdict.PASSED, "every byte was read")
    elsewhere = of_bytes(NEW, VaultName("offsite"), later, Verdict.PASSED, "every byte was read")
    wrong = proof(NEW, at("03:30"), check(), WRONG)

    def chosen(*proofs: Proof) -> bool:
        return isinstance(choose("proven", Candidates((NEW,), proofs), NOW), Chosen)

    assert not chosen(GOOD_NEW, damaged)
    assert chosen(GOOD_NEW, damaged, healed)
    assert not chosen(GOOD_NEW, damaged, elsewhere)
    assert not chosen(damaged, healed), "to read every byte is not to restore it"
    assert not chosen(GOOD_NEW, wrong, damaged, healed), "a wrong answer is not taken back by bytes"
    assert not chosen(GOOD_NEW, healed, of_bytes(NEW, vault, (at("06:00"), at("06:00")), Verdict.FAILED, "again"))


HERE_AND_THERE = {NEW.id: (LOCAL, VaultName("off-site"))}


def _bytes(vault: str, verdict: Verdict, when: str = "04:00") -> Proof:
    return of_bytes(NEW, VaultName(vault), (at(when), at(when)), verdict, "1 file cannot be read")


def test_bytes_that_one_vault_has_lost_do_not_speak_against_the_point_while_another_has_them() -> None:
    among = Candidates((NEW,), (GOOD_NEW, _bytes("local", Verdict.FAILED)), held=HERE_AND_THERE)
    found = choose("proven", among, NOW)
    assert isinstance(found, Chosen)
    assert (found.point, found.vault) == (NEW, "off-site")
    assert found.because == "the newest proven point, 10 h old, proven at 2026-11-22 03:00:00 UTC from local"
    alone = replace(among, held={NEW.id: (LOCAL,)})
    assert isinstance(choose("proven", alone, NOW), NoneGood)
    both = replace(among, proofs=(*among.proofs, _bytes("off-site", Verdict.FAILED, "05:00")))
    assert isinstance(choose("proven", both, NOW), NoneGood)
    healed = replace(both, proofs=(*both.proofs, _bytes("local", Verdict.PASSED, "06:00")))
    assert isinstance(again := choose("proven", healed, NOW), Chosen)
    assert again.vault == LOCAL


def test_a_wrong_answer_speaks_against_the_point_in_every_vault() -> None:
    among = Candidates((NEW,), (GOOD_NEW, proof(NEW, at("04:00"), check(), WRONG)), held=HERE_AND_THERE)
    assert isinstance(choose("proven", among, NOW), NoneGood)


def test_the_nearest_vault_that_has_the_point_is_read_wherever_it_was_proven() -> None:
    there = replace(GOOD_NEW, vault=VaultName("off-site"))
    found = choose("proven", Candidates((NEW,), (there,), held=HERE_AND_THERE), NOW)
    assert isinstance(found, Chosen)
    assert found.vault == LOCAL
    assert found.because.endswith("from off-site"), "whose bytes were read is said"


def test_a_point_whose_clock_was_ahead_is_not_the_newest() -> None:
    """Taken long ago on a machine whose clock ran ahead: chosen as the newest, it would bring stale data back."""
    stray = point(NOW + timedelta(days=400))
    among = Candidates((stray, NEW), (proof(stray, NOW), GOOD_NEW))
    found = choose("proven", among, NOW)
    assert isinstance(found, Chosen)
    assert found.point == NEW
    assert "a clock was wrong" in found.passed_over[0].why
    alone = choose("proven", Candidates((stray,), (proof(stray, NOW),)), NOW)
    assert isinstance(alone, Chosen), "ours may be the wrong clock: better than nothing, and said"
    assert "a clock was wrong" in alone.because


def test_where_none_is_good_every_point_has_its_reason() -> None:
    among = Candidates(tuple(POINTS), (proof(NEW, at("03:00"), check(), UNSURE),), (hold(OLD, "suspicious", NOW),))
    found = last_known_good(among.points, among.proofs, among.holds, among.line, NOW)
    assert isinstance(found, NoneGood)
    assert found.why == "no recovery point is proven"
    assert [f"{over.point[:16]} {over.why}" for over in found.reasons] == [
        "20261122T020000Z not verified: M01 tenants: no answer: it was not asked",
        "20261121T020000Z it was never proved",
        "20261120T020000Z marked suspicious by dba-lead: rows look wrong",
    ]
    assert last_known_good((), (), (), Line(), NOW) == NoneGood("there is no recovery point")


DISASTER = Between(at("02:00:20"), at("02:05"), "smoke probes")


@pytest.mark.parametrize(
    ("origin", "disaster", "said"),
    [
        ("newest", None, "20261122T020000Z the newest point, 10 h old; it was never proved"),
        ("clean", DISASTER,
         "20261121T020000Z the newest clean and proven point, 34 h old, proven at 2026-11-21 03:00:00 UTC"),
        ("clean", None, "the moment of the disaster is not known, so no point can be called clean"),
        (OLD.id, None, "20261120T020000Z named by a person, 58 h old; it was never proved"),
        ("20200101T000000Z-00000000", None, "there is no recovery point 20200101T000000Z-00000000"),
    ],
)  # fmt: skip
def test_what_a_plan_may_choose(origin: str, disaster: Between | None, said: str) -> None:
    found = choose(origin, Candidates(tuple(POINTS), (GOOD_MIDDLE,)), NOW, disaster)
    shown = found.why if isinstance(found, NoneGood) else f"{found.point.id[:16]} {found.because}"
    assert shown == said


def test_a_named_point_is_refused_only_when_it_was_refuted() -> None:
    among = Candidates((NEW,), (proof(NEW, at("03:00"), check(), WRONG),))
    found = choose(NEW.id, among, NOW)
    assert isinstance(found, NoneGood)
    assert found.why == f"the point {NEW.id} was refuted"
    held = choose(NEW.id, Candidates((NEW,), (GOOD_NEW,), (hold(NEW, "suspicious", NOW),)), NOW)
    assert isinstance(held, Chosen)
    assert held.because == (
        "named by a person, 10 h old; proven at 2026-11-22 03:00:00 UTC; marked suspicious by dba-lead: rows look wrong"
    )


# ── lines of history ────────────────────────────────────────────────────────────────────────────────


def began(origin: PointId, lineage: str) -> LineageBegan:
    return LineageBegan(DATABASE, RunId("r1"), origin, lineage)


def test_a_failover_keeps_what_came_before_it_and_gives_up_what_came_after() -> None:
    facts = recorded("component/database", (at("04:00"), began(MIDDLE.id, "pg-7300000000000000001-2")))
    after = point(at("05:00"), lineage="pg-7300000000000000001-2")
    line = history(facts, {LOCAL: [*POINTS, after]}).line(DATABASE)
    assert [line.has(each) for each in (OLD, MIDDLE, NEW, after)] == [True, True, False, True]
    assert line.current == "pg-7300000000000000001-2"


def test_two_failovers_make_a_chain() -> None:
    second = point(at("05:00"), lineage="tl-2")
    given_up = point(at("06:00"), lineage="tl-2")
    facts = recorded(
        "component/database", (at("04:00"), began(MIDDLE.id, "tl-2")), (at("07:00"), began(second.id, "tl-3"))
    )
    line = history(facts, {LOCAL: [*POINTS, second, given_up]}).line(DATABASE)
    assert [line.has(each) for each in (MIDDLE, NEW, second, given_up)] == [True, False, True, False]


def test_a_timeline_number_that_comes_twice_is_told_apart_by_its_birth() -> None:
    """PostgreSQL gives timeline 2 again to a point of timeline 1 that is restored a second time."""
    first_try = point(at("05:00"), lineage="tl-2")
    facts = recorded(
        "component/database", (at("04:00"), began(OLD.id, "tl-2")), (at("06:00"), began(MIDDLE.id, "tl-2"))
    )
    line = history(facts, {LOCAL: [*POINTS, first_try]}).line(DATABASE)
    later = point(at("07:00"), lineage="tl-2")
    assert [line.has(each) for each in (OLD, MIDDLE, NEW, first_try, later)] == [True, True, False, False, True]


def test_the_journal_remembers_the_origin_that_expired_from_the_vault() -> None:
    taken = PointTaken(RunId("r0"), LOCAL, MIDDLE, 20 * SECOND)
    facts = in_order(
        recorded("component/database", (MIDDLE.ended, taken), (at("04:00"), began(MIDDLE.id, "tl-2"))),
    )
    among = candidates(history(facts, {LOCAL: [OLD, NEW]}, [GOOD_OLD, GOOD_NEW]), DATABASE)
    found = choose("proven", among, NOW)
    assert isinstance(found, Chosen)
    assert found.point == OLD


# ── stale ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "old", "expect"),
    [
        (True, 24 * HOUR, Fresh()),
        (True, 24 * HOUR + SECOND, Stale("the point is 24 h 0 min 1 s old; the plan's `max_age` allows 24 h")),
        (False, HOUR, Stale("it was never proved")),
        (True, -2 * HOUR, Stale("its newest data lies 2 h in the future: clocks differ")),
    ],
)
def test_when_a_proof_goes_stale(given: bool, old: timedelta, expect: Stale | Fresh) -> None:
    of = point(NOW - old)
    assert stale(proof(of, NOW) if given else None, of, Prove(max_age=24 * HOUR), NOW) == expect


def test_a_proof_speaks_for_its_own_point_only() -> None:
    assert stale(GOOD_OLD, NEW, Prove(), NOW) == Stale(f"the proof is of another point, {OLD.id}")
