"""The contract of Workloads, on its twin in memory and on real processes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.workloads import MemorySecrets, MemoryWorkloads
from backstay.adapters.process import ProcessWorkloads
from backstay.errors import Cancelled, UnknownName
from backstay.plan import ProcessSpec, Site, Template
from backstay.ports import Workloads
from backstay.values import RunId, SiteName
from fix_memory import acting

Make = Callable[[], Workloads]


def text(part: str) -> Template:
    return Template((part,))


def process_workloads(base: Path) -> ProcessWorkloads:
    spec = ProcessSpec(tuple(map(text, ("/bin/sleep", "300"))), text("run/api.pid"), stop_within=timedelta(seconds=5))
    site = Site(SiteName("primary"), processes={"api": spec})
    return ProcessWorkloads(site, MemorySecrets({}), base, SystemClock(), settles=timedelta(milliseconds=50))


@pytest.fixture(params=["memory", "process"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the port anew over the same world, as after a crash. Nothing is left running."""
    counts, notes = {"api": 0}, dict[tuple[str, RunId], int]()

    def make() -> Workloads:
        if request.param == "memory":
            return MemoryWorkloads(MemoryClock(), counts, notes=notes)
        return process_workloads(tmp_path)

    yield make
    make().scale("api", 0, acting())


@pytest.fixture
def workloads(again: Make) -> Workloads:
    return again()


def test_what_was_scaled_to_one_runs_and_to_none_does_not(workloads: Workloads) -> None:
    assert workloads.running("api") == 0
    workloads.scale("api", 1, acting())
    assert workloads.running("api") == 1
    workloads.scale("api", 0, acting())
    assert workloads.running("api") == 0


def test_scaling_twice_is_scaling_once(workloads: Workloads) -> None:
    for to in (1, 1, 0, 0):
        workloads.scale("api", to, acting())
        assert workloads.running("api") == to


def test_whoever_comes_after_us_sees_the_same(again: Make) -> None:
    again().scale("api", 1, acting())
    assert again().running("api") == 1


def test_a_run_remembers_what_it_found_when_it_scaled_first(again: Make) -> None:
    first, second = RunId("run-1"), RunId("run-2")
    assert again().found("api", first) is None
    again().scale("api", 1, acting(run=first))
    assert again().found("api", first) == 0
    again().scale("api", 0, acting(run=second))
    assert again().found("api", second) == 1
    again().scale("api", 1, acting(run=second))
    assert again().found("api", second) == 1, "the first time counts"


def test_an_unknown_workload_is_named_with_those_there_are(workloads: Workloads) -> None:
    for ask in (lambda: workloads.running("web"), lambda: workloads.scale("web", 0, acting())):
        with pytest.raises(UnknownName) as caught:
            ask()
        assert "'web'" in caught.value.message
        assert "api" in caught.value.detail


def test_being_told_to_stop_ends_a_scaling(workloads: Workloads) -> None:
    workloads.scale("api", 1, acting())
    stopped = replace(acting(), stop=lambda: True)
    with pytest.raises(Cancelled):
        workloads.scale("api", 0, stopped)
