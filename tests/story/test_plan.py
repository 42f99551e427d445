"""The plan as a value."""

from datetime import timedelta

from backstay.plan import Objectives

HOUR = timedelta(hours=1)


def test_a_promise_of_losing_nothing_is_a_promise() -> None:
    wider = Objectives(rto=HOUR, rpo=24 * HOUR)
    assert Objectives(rpo=timedelta()).over(wider) == Objectives(rto=HOUR, rpo=timedelta())


def test_what_is_not_promised_is_taken_from_the_whole() -> None:
    assert Objectives(rto=HOUR).over(Objectives(rpo=24 * HOUR)) == Objectives(rto=HOUR, rpo=24 * HOUR)
