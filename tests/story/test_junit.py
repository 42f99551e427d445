"""JUnit files: well formed whatever a check says, and what could not be checked is never green."""

from datetime import timedelta
from xml.etree.ElementTree import Element, fromstring

from hypothesis import given
from hypothesis import strategies as st

from backstay.app.junit import Shown, junit
from backstay.errors import NoProvenPoint
from backstay.facts import CheckResult, Rung, Verdict
from backstay.values import ComponentName, VaultName
from fix_story import DATABASE, at, check, point, proof

LOCAL = VaultName("local")
NEW = point(at("02:00"))


def read(*shown: Shown) -> Element:
    return fromstring(junit(shown).encode())


def test_one_suite_a_proof_and_one_case_a_check() -> None:
    checks = (
        check(),
        check(Verdict.FAILED, Rung.INTEGRITY, "I02", "1 invalid index: public.a"),
        check(Verdict.NOT_VERIFIED, Rung.MEANING, "M01", "no answer"),
    )
    top = read(Shown(DATABASE, LOCAL, proof(NEW, NEW.ended, *checks)))
    assert (top.get("tests"), top.get("failures"), top.get("errors"), top.get("skipped")) == ("3", "1", "1", "0")
    [suite] = top.findall("testsuite")
    told = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert told["point"] == NEW.id
    assert told["result"] == "refuted"
    failure, error = next(suite.iter("failure")), next(suite.iter("error"))
    assert (failure.get("type"), failure.get("message")) == ("serious", "1 invalid index: public.a")
    assert (error.get("type"), error.get("message")) == ("not verified", "not verified: no answer")


def test_a_component_without_a_proof_is_an_error() -> None:
    top = read(Shown(DATABASE, None, NoProvenPoint("there is no point", hint="take one")))
    assert (top.get("tests"), top.get("errors")) == ("1", "1")
    assert next(top.iter("error")).get("type") == f"E{NoProvenPoint.code}"


@given(st.text(st.characters(), max_size=60), st.sampled_from(Verdict))
def test_whatever_is_said_the_file_can_be_read_and_is_true(said: str, verdict: Verdict) -> None:
    one = CheckResult("S01", Rung.STRUCTURE, said, verdict, said, timedelta(seconds=1))
    [case] = read(Shown(ComponentName(said), LOCAL, proof(NEW, NEW.ended, one))).iter("testcase")
    green = case.find("failure") is None and case.find("error") is None and case.find("skipped") is None
    assert green == (verdict is Verdict.PASSED)
