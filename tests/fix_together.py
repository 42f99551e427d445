"""Several processes on one store, step by step: between any two calls of one, any call of another.

Each actor runs in a thread with a store of its own, at whose every call it waits until it is let go. So a test decides
the order of all calls, and who is killed at which.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from backstay.errors import BackstayError
from backstay.ports import Key, Listed, Store, StoreTraits
from fix_vault import Crash

T = TypeVar("T")


class Actor:
    """`outcome` when it has ended: what it gave, what it raised, or that it was killed."""

    def __init__(self, name: str, store: Store, act: Callable[["Gated"], object], ahead: timedelta) -> None:
        self.name = name
        self.outcome: object = None
        self.ended = self.killed = False
        self.changed = threading.Condition()
        self.waiting = self.allowed = 0
        self._act, self._gated = act, Gated(store, self, ahead)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._act(self._gated)
        except (BackstayError, Crash) as error:
            self.outcome = error
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.outcome = error
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def settle(self) -> None:
        """Until it waits at a call, or has ended."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended or self.waiting > self.allowed, timeout=60), self.name

    def step(self) -> None:
        """Let it make one call, and come to the next."""
        self.settle()
        with self.changed:
            if self.ended:
                return
            self.allowed += 1
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.allowed == 0, timeout=60), self.name
        self.settle()

    def kill(self) -> None:
        """At the call at which it waits, and for good."""
        with self.changed:
            self.killed = True
            self.changed.notify_all()
        self._thread.join(60)
        assert self.ended, self.name

    def finish(self) -> None:
        while not self.ended:
            self.step()
        self._thread.join(60)

    def turn(self, call: Callable[[], T]) -> T:
        with self.changed:
            self.waiting += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.allowed > 0 or self.killed)
            self.waiting -= 1
            if self.killed:
                raise Crash
            try:
                return call()
            finally:
                self.allowed -= 1
                self.changed.notify_all()


class Gated:
    """A Store whose every call is a turn of its actor, and whose clock is wrong by as much as that of the actor."""

    def __init__(self, within: Store, actor: Actor, ahead: timedelta) -> None:
        self.traits: StoreTraits = within.traits
        self._within, self._actor, self.ahead = within, actor, ahead

    def describe(self) -> str:
        return self._within.describe()

    def now(self) -> datetime:
        return self._within.now() + self.ahead

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        self._actor.turn(lambda: self._within.put(key, parts))

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        return self._actor.turn(lambda: self._within.put_if_absent(key, data))

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return self._actor.turn(lambda: self._within.get(key, start, length))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return iter(self._actor.turn(lambda: list(self._within.list(prefix))))

    def delete(self, key: Key) -> None:
        self._actor.turn(lambda: self._within.delete(key))
