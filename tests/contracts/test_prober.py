"""The contract of Prober, on its twin in memory and on the real one: three colours, and nothing raised."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.http import HttpProber
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.workloads import Colour, MemoryProber
from backstay.errors import SecretMissing
from backstay.plan import Check, CommandCheck, HttpCheck, Ref, Request, Space, Template
from backstay.ports import Prober
from fix_http import Site

SECRET = Ref(Space.ENV, "SMOKE_PASSWORD")


class World(Protocol):
    @property
    def prober(self) -> Prober: ...

    def check(self, name: str, bearer: Template | None = None) -> Check: ...

    def turn(self, colour: Colour) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.colour: Colour = "green"
        self.prober = MemoryProber(MemoryClock(), lambda name: (self.colour, "as it was told"))

    def check(self, name: str, bearer: Template | None = None) -> Check:
        url = Template(("http://api/health", *((bearer.parts) if bearer else ())))
        return HttpCheck(name, (Request("GET", url, (200,)),))

    def turn(self, colour: Colour) -> None:
        self.colour = colour


class OverHttp:
    def __init__(self, site: Site, base: Path) -> None:
        self.site = site
        self.prober = HttpProber(base, SystemClock())
        self.turn("green")

    def check(self, name: str, bearer: Template | None = None) -> Check:
        url = Template((f"{self.site.address}/health",))
        return HttpCheck(name, (Request("GET", url, (200,), bearer=bearer),), timeout=timedelta(seconds=5))

    def turn(self, colour: Colour) -> None:
        self.site.says("GET /health", 200 if colour == "green" else 503)


class ByCommand:
    def __init__(self, base: Path) -> None:
        self.lamp = base / "green"
        self.prober = HttpProber(base, SystemClock())
        self.turn("green")

    def check(self, name: str, bearer: Template | None = None) -> Check:
        argv = tuple(Template((part,)) for part in ("test", "-e", "green"))
        return CommandCheck(name, argv, {"TOKEN": bearer} if bearer else {}, timeout=timedelta(seconds=5))

    def turn(self, colour: Colour) -> None:
        if colour == "green":
            self.lamp.touch()
        else:
            self.lamp.unlink(missing_ok=True)


Make = Callable[[], World]


@pytest.fixture(params=["memory", "http", "command"])
def world(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> World:
    makes: dict[str, Make] = {
        "memory": InMemory,
        "http": lambda: OverHttp(site, tmp_path),
        "command": lambda: ByCommand(tmp_path),
    }
    return makes[request.param]()


def knows(ref: Ref) -> str:
    return "hunter2-hunter2"


def knows_nothing(ref: Ref) -> str:
    raise SecretMissing(f"{ref} has no value here")


def test_what_works_is_green(world: World) -> None:
    seen = world.prober.probe(world.check("health"), knows)
    assert seen.colour == "green"
    assert seen.heard == "answered"
    assert seen.took > timedelta()


def test_what_does_not_is_red_and_says_what_was_seen(world: World) -> None:
    world.turn("red")
    seen = world.prober.probe(world.check("health"), knows)
    assert seen.colour == "red"
    assert seen.why


def test_red_turns_green_again(world: World) -> None:
    world.turn("red")
    world.prober.probe(world.check("health"), knows)
    world.turn("green")
    assert world.prober.probe(world.check("health"), knows).colour == "green"


def test_what_could_not_be_asked_is_unknown_and_nothing_was_sent(world: World) -> None:
    seen = world.prober.probe(world.check("health", Template((SECRET,))), knows_nothing)
    assert (seen.colour, seen.heard) == ("unknown", "not-sent")
    assert "${env:SMOKE_PASSWORD}" in seen.why


def test_a_secret_is_never_shown(world: World) -> None:
    for colour in ("green", "red"):
        world.turn(colour)
        seen = world.prober.probe(world.check("health", Template((SECRET,))), knows)
        assert seen.colour == colour
        assert "hunter2" not in repr(seen)
