"""How what was judged is marked in a document: a sign, always with its words."""

from datetime import timedelta
from typing import assert_never

from backstay.drill import DrillResult, say_result
from backstay.facts import NotVerified, Proven, Refuted, Result, Verdict
from backstay.objectives import Judged, Standing
from backstay.review.tree import Mark, Sign, Text
from backstay.verify import exact

_STANDING: dict[Standing, tuple[Sign, str]] = {
    Standing.KEPT: ("pass", "kept"),
    Standing.BROKEN: ("fail", "broken"),
    Standing.UNPROVEN: ("warn", "unproven"),
    Standing.UNKNOWN: ("warn", "not verified"),
    Standing.NOT_PROMISED: ("none", "not promised"),
}
_VERDICT: dict[Verdict, tuple[Sign, str]] = {
    Verdict.PASSED: ("pass", "passed"),
    Verdict.FAILED: ("fail", "failed"),
    Verdict.NOT_VERIFIED: ("warn", "not verified"),
}


def standing(of: Standing) -> Mark:
    return Mark(*_STANDING[of])


def judged(of: Judged) -> Text:
    """The mark, then the sentence."""
    sentence = of.sentence.removeprefix("not verified: ")
    return (standing(of.standing), f": {sentence}")


def verdict(of: Verdict) -> Mark:
    return Mark(*_VERDICT[of])


def drilled(of: DrillResult) -> Mark:
    sign, words = say_result(of)
    return Mark("warn" if sign == "unknown" else sign, words)


def proved(of: Result | None) -> Mark:
    match of:
        case None:
            return Mark("warn", "not verified: never proved")
        case Proven():
            return Mark("pass", "proven")
        case Refuted(why):
            return Mark("fail", f"refuted: {why}")
        case NotVerified(why):
            return Mark("warn", f"not verified: {why}")
        case _:
            assert_never(of)


def limit(length: timedelta | None) -> str:
    """A target, or that there is none."""
    return exact(length) if length is not None else "not promised"


def duration(length: timedelta | NotVerified) -> Text:
    if isinstance(length, NotVerified):
        return Mark("warn", f"not verified: {length.why}")
    return exact(length)
