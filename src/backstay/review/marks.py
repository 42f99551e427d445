"""How what was judged is marked in a document: a sign, always with its words."""

from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from backstay.drill import DrillResult, Failed, Passed, Stated
from backstay.facts import NotVerified, Proven, Refuted, Result, Verdict
from backstay.history import Loss
from backstay.objectives import Judged, Standing
from backstay.plan import Keep
from backstay.review.tree import Mark, Sign, Text
from backstay.values import Period, say_span
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


def unknown(why: str) -> Text:
    """Not verified, with the reason."""
    return Mark("warn", "not verified"), f": {why}"


def drilled(of: DrillResult) -> Text:
    match of:
        case Passed():
            return Mark("pass", "Pass")
        case Failed(why):
            return Mark("fail", "Fail"), f": {why}"
        case NotVerified(why):
            return unknown(why)
        case Stated(passed):
            return Mark("warn", "Pass" if passed else "Fail"), " (stated, not demonstrated)"
        case _:
            assert_never(of)


def proved(of: Result | None) -> Text:
    match of:
        case None:
            return unknown("it was never proved")
        case Proven():
            return Mark("pass", "proven")
        case Refuted(why):
            return Mark("fail", "refuted"), f": {why}"
        case NotVerified(why):
            return unknown(why)
        case _:
            assert_never(of)


def limit(length: timedelta | None) -> str:
    """A target, or that there is none."""
    return exact(length) if length is not None else "not promised"


def duration(length: timedelta | NotVerified) -> Text:
    return unknown(length.why) if isinstance(length, NotVerified) else say_span(length)


def period(of: Period) -> str:
    """`24 h`, `7 d`, `1 month`."""
    return str(of) if of.months else exact(of.span)


def kept(of: Keep) -> str:
    """`30 d`; `30 d, 14 daily`."""
    within = [period(of.within)] if of.within else []
    return ", ".join((*within, *filter(None, (str(replace(of, within=None)),))))


def short(loss: Loss | NotVerified) -> str:
    """A loss in few words: `7 h 59 min to 8 h`."""
    if isinstance(loss, NotVerified):
        return "not verified"
    least, most = say_span(loss.least), say_span(loss.most)
    if loss.most == timedelta():
        return "nothing"
    if loss.least == timedelta():
        return f"up to {most}"
    return most if least == most else f"{least} to {most}"
