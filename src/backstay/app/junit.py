"""Proofs as JUnit XML, for a CI server: one suite a proof, one test case a check.

A check that failed is a `failure`. One that could not run is an `error`, and not `skipped`: CI servers show what was
skipped in green, and what could not be checked must not look as if it had passed. The exit code says the same (34, 35).
The form is the one that is common to readers (the schema of Jenkins' xUnit plugin): `testsuites`, `testsuite`,
`properties`, `testcase`, `failure`, `error`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from backstay.errors import BackstayError
from backstay.facts import CheckResult, NotVerified, Proof, Proven, Refuted, Verdict
from backstay.values import ComponentName, VaultName, utc
from backstay.verify import severity

RESULTS = {Proven: "proven", Refuted: "refuted", NotVerified: "not verified"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of one component: a proof, or why there is none."""

    component: ComponentName
    vault: VaultName | None
    result: Proof | BackstayError


def junit(shown: Sequence[Shown]) -> str:
    """The whole file, in UTF-8, with a line break at its end."""
    suites = [_suite(one) for one in shown]
    top = Element("testsuites", {"name": "backstay verify", **_sums(suites)})
    top.extend(suites)
    indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(top, encoding="unicode") + "\n"


def _suite(shown: Shown) -> Element:
    match shown.result:
        case Proof() as proof:
            suite = Element(
                "testsuite", {"name": clean(shown.component), "timestamp": f"{utc(proof.began):%Y-%m-%dT%H:%M:%S}"}
            )
            properties = SubElement(suite, "properties")
            told = {
                "point": proof.point, "vault": proof.vault, "tier": proof.tier,
                "result": RESULTS[type(proof.result())], "plan": proof.plan,
            }  # fmt: skip
            for name, value in told.items():
                SubElement(properties, "property", {"name": name, "value": clean(value)})
            for check in proof.checks:
                _case(suite, shown.component, check)
            took = proof.ended - proof.began
        case error:
            suite = Element("testsuite", {"name": clean(shown.component)})
            case = SubElement(
                suite, "testcase", {"name": "proof", "classname": _class(shown.component, "proof"), "time": "0"}
            )
            _complaint(case, "error", f"E{error.code}", error.message, str(error))
            took = timedelta()
    for name, value in _counted(suite).items():
        suite.set(name, value)
    suite.set("time", _seconds(took))
    return suite


def _case(suite: Element, component: ComponentName, check: CheckResult) -> None:
    named = {
        "name": clean(f"{check.code} {check.name}"),
        "classname": _class(component, check.rung.value),
        "time": _seconds(check.took),
    }
    case = SubElement(suite, "testcase", named)
    match check.verdict:
        case Verdict.FAILED:
            _complaint(case, "failure", severity(check.code).value, check.said, check.said)
        case Verdict.NOT_VERIFIED:
            _complaint(case, "error", "not verified", f"not verified: {check.said}", check.said)
        case Verdict.PASSED:
            SubElement(case, "system-out").text = clean(check.said)


def _complaint(case: Element, tag: str, kind: str, message: str, text: str) -> None:
    SubElement(case, tag, {"type": kind, "message": clean(message)}).text = clean(text)


def _class(component: str, rung: str) -> str:
    return clean(f"backstay.{component}.{rung}")


def _counted(suite: Element) -> dict[str, str]:
    cases = suite.findall("testcase")
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": "0",
    }


def _sums(suites: Sequence[Element]) -> dict[str, str]:
    names = ("tests", "failures", "errors", "skipped")
    found = {name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in names}
    return {**found, "time": f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}"}


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.3f}"


def clean(text: str) -> str:
    """Only letters that XML 1.0 can hold (its production 2, Char): anything else would make the whole file unreadable,
    however it is escaped. On one line, as a name or a sentence is."""
    return "".join(letter if _fits(ord(letter)) else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def _fits(code: int) -> bool:
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
