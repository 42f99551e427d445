"""What the vaults cost: from what was measured, and what is not known is not counted as nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from backstay.bill import LIST, Held, Kept, ListPrices, bill, points_in_a_month, requests_of_restore
from backstay.plan import Prices, Protect
from fix_story import DATABASE, database, point

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PRICES = ListPrices(Prices(storage=0.02, put=5.0, get=1.0, egress=0.1), "the prices of the plan")


def test_what_lies_there_and_what_is_added_and_what_leaves() -> None:
    points = tuple(point(NOW - n * DAY, size=1_000_000_000) for n in range(10, -1, -1))
    made = bill(Held(100_000_000_000, 6000), [Kept(database(), points, 400_000_000)], PRICES, NOW, "UTC")
    held, growth, backups, proof = made.lines
    assert held.amount == pytest.approx(2.0)
    # Ten points of 250 MB in ten days are 7.5 GB in a month, which lie there for half of it.
    assert growth.amount == pytest.approx(0.075)
    assert "7.5 GB a month" in growth.says
    assert backups.says.startswith("150 points a month"), "30 full, 120 incremental"
    assert backups.amount is not None
    assert proof.amount == pytest.approx(0.04 + requests_of_restore(400_000_000, points[-1]) / 1000)
    assert made.once[0].what == f"one restore of {DATABASE}"
    assert made.is_whole
    assert made.total == pytest.approx(sum(line.amount or 0 for line in made.lines))


def test_what_is_not_known_is_said_and_the_bill_is_not_whole() -> None:
    young = bill(Held(0, 0), [Kept(database(), (), None)], PRICES, NOW, "UTC")
    assert not young.is_whole
    assert [line.amount for line in young.lines] == [0, None, None, None]
    assert all("not known" in line.says for line in young.lines[1:])
    one = Kept(database(protect=Protect()), (point(NOW),), None)
    assert "no schedule" in bill(Held(1, 1), [one], PRICES, NOW, "UTC").lines[2].says


def test_a_component_without_a_schedule_has_no_number_of_points() -> None:
    assert points_in_a_month(database(protect=Protect()), NOW, "UTC") is None
    assert points_in_a_month(database(), NOW, "Europe/Berlin") == 30 + 120


@pytest.mark.parametrize("scheme", LIST)
def test_list_prices_say_whose_they_are_and_of_when(scheme: str) -> None:
    prices = LIST[scheme]
    assert "list prices of 20" in prices.source
    assert 0 < prices.of.get < prices.of.put < prices.of.storage < prices.of.egress
