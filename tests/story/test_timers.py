"""What cron and systemd are told: the plan's times, in the words of each."""

import shlex
from datetime import time, timedelta
from pathlib import Path

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from backstay import config
from backstay.adapters.memory.clock import BEGINNING
from backstay.app.timers import Place, calendar, cron_fields, crontab, jobs, units
from backstay.plan import Cron, DailyAt, Every, Plan
from backstay.values import Period

PLAN = """
backstay: 1
timezone: Europe/Berlin
system: {name: shop, title: Shop}
vaults: {local: {url: ./vault, keep: 30d}}
components:
  orders:
    postgres: {url: "postgresql://db/orders", way: local}
    protect: {full: "02:00", wal: continuous}
    prove: {at: "03:00"}
  settings:
    sqlite: ./settings.db
    prove: {at: "0 4 * * 1-5"}
"""
PLACE = Place(("/opt/my tools/backstay",), ("--plan", "/srv/50% shop/backstay.yaml"), "/srv/50% shop", "backup")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return config.parse(PLAN, "backstay.yaml")


def test_every_time_of_the_plan_has_its_job(plan: Plan) -> None:
    assert [(job.name, job.words) for job in jobs(plan)] == [
        ("backup", ("backup", "--due")),
        ("wal-orders", ("wal", "receive", "orders")),
        ("verify-orders", ("verify", "orders")),
        ("verify-settings", ("verify", "settings")),
        ("verify-random", ("verify", "--random", "30", "--tier", "sample")),
        ("retain", ("retain", "--yes")),
    ]


def test_cron_gets_a_line_for_each_and_is_not_told_to_keep_anything_running(plan: Plan) -> None:
    lines = [line for line in crontab(plan, PLACE).splitlines() if line and not line.startswith(("#", "CRON", "PATH"))]
    assert [line.split("  ")[0] for line in lines] == [
        "*/15 * * * *",
        "0 3 * * *",
        "0 4 * * 1-5",
        "0 5 * * 0",
        "30 4 * * *",
    ]
    for line in lines:
        command = line.split("  ", 1)[1]
        assert "%" not in command.replace("\\%", ""), "cron ends the command there"
        words = shlex.split(command.replace("\\%", "%"))
        assert words[:3] == ["cd", "/srv/50% shop", "&&"]
        assert words[3] == "/opt/my tools/backstay"
        assert words[-1] == "/srv/50% shop/backstay.yaml"


def test_systemd_gets_a_service_for_each_and_a_timer_for_all_but_the_receiver(plan: Plan) -> None:
    found = units(plan, PLACE)
    assert {Path(name).stem for name in found if name.endswith(".service")} == {
        f"backstay-{job.name}" for job in jobs(plan)
    }
    assert "backstay-wal-orders.timer" not in found
    assert "Restart=always" in found["backstay-wal-orders.service"]
    assert "OnCalendar=*-*-* 03:00:00 Europe/Berlin" in found["backstay-verify-orders.timer"]
    assert "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 04:00:00 Europe/Berlin" in found["backstay-verify-settings.timer"]
    assert (
        '"/opt/my tools/backstay" verify orders --plan "/srv/50%% shop/backstay.yaml"'
        in found["backstay-verify-orders.service"]
    )


@pytest.mark.parametrize(
    ("when", "fields", "exact"),
    [
        (DailyAt(time(2, 5)), "5 2 * * *", True),
        (DailyAt(time(2, 5, 30)), "5 2 * * *", False),
        (Every(Period(span=timedelta(hours=6))), "0 */6 * * *", True),
        (Every(Period(span=timedelta(hours=5))), "0 */5 * * *", False),
        (Every(Period(span=timedelta(minutes=90))), "0 */1 * * *", False),
        (Every(Period(span=timedelta(days=1))), "0 3 * * *", True),
        (Every(Period(span=timedelta(weeks=1))), "0 3 * * 0", True),
        (Every(Period(months=3)), "0 3 1 */3 *", True),
        (Every(Period(span=timedelta(seconds=90))), "0 3 * * *", False),
        (Cron("*/7 3 * * *"), "*/7 3 * * *", True),
    ],
)
def test_what_cron_can_say(when: DailyAt | Every | Cron, fields: str, exact: bool) -> None:
    assert cron_fields(when) == (fields, exact)
    assert CronSim(fields, BEGINNING), "cron's own grammar"


def test_a_day_of_the_month_and_one_of_the_week_are_two_events_for_systemd() -> None:
    assert calendar(Cron("0 4 1,15 */6 SUN"), "UTC") == [
        "OnCalendar=*-01,07-01,15 04:00:00 UTC",
        "OnCalendar=Sun *-01,07-* 04:00:00 UTC",
    ]


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), number.map(str), span, st.integers(1, most).map(lambda step: f"*/{step}"))


@given(st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 7)))
def test_every_line_of_cron_has_its_events(fields: tuple[str, ...]) -> None:
    for line in calendar(Cron(" ".join(fields)), "UTC"):
        assert line.startswith("OnCalendar=")
        assert line.endswith(":00 UTC")
        assert "," * 2 not in line
