"""Behaviour by wrapping: the same port with patience, a record of its calls, its writes taken out, or faults put in.

A wrapper has the port that it wraps as its type, so whoever uses the port cannot tell. Three of them work for any port
and only look at calls (`recorded`, `dry`, `faulty`): what is called is a method name, and the contract of a port is the
contract of each of its methods. Patience has to know what may be asked twice, so it is written for a store.

    store = faulty(store, Fault(at=3, what="unheard"))      # the third call acts, and is never heard back from
    store = Patient(store, clock, total=timedelta(minutes=2))
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, cast

from backstay.errors import ObjectMissing, StoreUnreachable
from backstay.ports import Attack, Clock, Hidden, Key, Listed, Lock, Locking, Store, StoreTraits, Versioned

P = TypeVar("P")
T = TypeVar("T")
L = TypeVar("L", Listed, Hidden)

# ── any port ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a port's method."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        shown = [_short(arg) for arg in self.args] + [f"{name}={_short(arg)}" for name, arg in self.kwargs.items()]
        return f"{self.method}({', '.join(shown)})"


class _Through:
    """Stands where a port stands: methods go through `between`, everything else is handed on."""

    def __init__(self, within: object, between: Callable[[Called, Callable[..., Any]], Any]) -> None:
        self._within, self._between = within, between

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._within, name)
        if not callable(found):
            return found

        def through(*args: Any, **kwargs: Any) -> Any:
            return self._between(Called(name, args, kwargs), found)

        return through


def through(port: P, between: Callable[[Called, Callable[..., Any]], Any]) -> P:
    """`port`, with every call given to `between(called, method)`, whose answer the caller gets."""
    return cast(P, _Through(port, between))


def recorded(port: P, calls: list[Called]) -> P:
    """The same port; every call is added to `calls` before it is made."""

    def between(called: Called, method: Callable[..., Any]) -> Any:
        calls.append(called)
        return method(*called.args, **called.kwargs)

    return through(port, between)


def dry(port: P, writes: dict[str, Any], would: Callable[[str], None]) -> P:
    """The same port with its writes taken out: a method in `writes` says what it would do to `would`, and answers with
    the value given for it. All other methods are taken to be reads, and work."""

    def between(called: Called, method: Callable[..., Any]) -> Any:
        if called.method in writes:
            would(str(called))
            return writes[called.method]
        return method(*called.args, **called.kwargs)

    return through(port, between)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when.

    `refused`: the error is raised and nothing is done. `unheard`: it is done, then the error is raised: the answer was
    lost. `torn`: half of the bytes are given or taken; a torn write raises afterwards, a torn read does not.
    """

    at: int
    """The n-th call that counts, from 1."""
    what: Literal["refused", "unheard", "torn"] = "refused"
    method: str = ""
    """Only calls of this method count. Empty: every call."""
    times: int = 1
    """How many calls in a row."""
    error: BaseException | None = None
    """What is raised. None: StoreUnreachable."""


def faulty(port: P, *faults: Fault) -> P:
    """The same port, with `faults` in it. Counts calls over all threads; each fault counts for itself."""
    counts = [0] * len(faults)
    lock = threading.Lock()

    def strikes(called: Called) -> Fault | None:
        struck: Fault | None = None
        with lock:
            for number, fault in enumerate(faults):
                if fault.method in ("", called.method):
                    counts[number] += 1
                    if fault.at <= counts[number] < fault.at + fault.times:
                        struck = fault
        return struck

    def between(called: Called, method: Callable[..., Any]) -> Any:
        fault = strikes(called)
        if fault is None:
            return method(*called.args, **called.kwargs)
        error = fault.error or StoreUnreachable(
            f"the store did not answer to {called.method}", detail=f"a fault put in on purpose: {fault.what}"
        )
        match fault.what:
            case "refused":
                raise error
            case "unheard":
                method(*called.args, **called.kwargs)
                raise error
            case "torn":
                return _torn(called, method, error)

    return through(port, between)


def _torn(called: Called, method: Callable[..., Any], error: BaseException) -> Any:
    """Half of the last argument that is bytes, then the error; without one, half of the answer."""
    args = list(called.args)
    for at in reversed(range(len(args))):
        if isinstance(args[at], bytes):
            args[at] = args[at][: len(args[at]) // 2]
        elif at > 0 and isinstance(args[at], Iterable) and not isinstance(args[at], str):
            args[at] = list(_half(cast("Iterable[bytes]", args[at])))
        else:
            continue
        method(*args, **called.kwargs)
        raise error
    answer = method(*args, **called.kwargs)
    return answer[: len(answer) // 2] if isinstance(answer, bytes) else answer


def _half(parts: Iterable[bytes]) -> Iterator[bytes]:
    whole = list(parts)
    left = sum(map(len, whole)) // 2
    for part in whole:
        yield part[:left]
        left = max(0, left - len(part))


def _short(value: object) -> str:
    """Never the content: a call is shown to people, and may carry anything."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, (str, int, float, bool, datetime, timedelta)) or value is None:
        return repr(value) if not isinstance(value, str) or len(value) <= 80 else repr(value[:77] + "...")
    return type(value).__name__


# ── patience ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Patient:
    """A store that is asked again while it is out of reach, until `total` has passed since the call began.

    Waits double from `first` to `longest`, each shortened by up to half at random, so that many writers that were
    thrown off together do not come back together. Only StoreUnreachable is met with patience: every other error is an
    answer. Asking twice is sound because a key is written once, with the same bytes. Two calls need care. `put` is
    tried again only when its parts can be read again (a list or tuple, not a stream). `put_if_absent` whose answer was
    lost may have won: when the key is then there, its content decides, so what is put must be what nobody else would.
    """

    within: Store
    clock: Clock
    total: timedelta = timedelta(minutes=2)
    first: timedelta = timedelta(milliseconds=200)
    longest: timedelta = timedelta(seconds=15)
    chance: Callable[[], float] = field(default=random.random)
    traits: StoreTraits = field(init=False)

    def __post_init__(self) -> None:
        self.traits = self.within.traits

    def describe(self) -> str:
        return self.within.describe()

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        if not isinstance(parts, Sequence):
            self.within.put(key, parts)
            return
        asked = False

        def ask() -> None:
            nonlocal asked
            again, asked = asked, True
            # Some stores refuse a key that is there: after an answer that was lost, it may be there by our own hand.
            if not (again and self._holds(key, b"".join(parts))):
                self.within.put(key, parts)

        self._patiently(ask)

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        asked = False

        def ask() -> bool:
            nonlocal asked
            again, asked = asked, True
            return self.within.put_if_absent(key, data) or (again and self._holds(key, data))

        return self._patiently(ask)

    def _holds(self, key: Key, data: bytes) -> bool:
        try:
            return self.within.get(key, 0, len(data) + 1) == data
        except ObjectMissing:
            return False

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        return self._patiently(lambda: self.within.get(key, start, length))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Begun again after the last key that came, where the listing breaks off."""
        return self._on(lambda: self.within.list(prefix))

    def _on(self, begin: Callable[[], Iterator[L]]) -> Iterator[L]:
        last: str | None = None
        retry = _Retry(self)
        while True:
            try:
                for found in begin():
                    if last is None or found.key > last:
                        last = found.key
                        yield found
                        retry = _Retry(self)  # it moves: patience begins anew
                return
            except StoreUnreachable as error:
                retry.wait(error)

    def delete(self, key: Key) -> None:
        self._patiently(lambda: self.within.delete(key))

    # ── where `within` keeps versions, and locks them: see `versioned` and `locking` ──

    @property
    def lock(self) -> Lock:
        return cast(Locking, self.within).lock

    def hidden(self, prefix: str = "") -> Iterator[Hidden]:
        """Begun again where it breaks off, as `list`."""
        within = cast(Versioned, self.within)
        return self._on(lambda: within.hidden(prefix))

    def uncover(self, key: Key) -> None:
        self._patiently(lambda: cast(Versioned, self.within).uncover(key))

    def pin(self, key: Key) -> bool:
        return self._patiently(lambda: cast(Versioned, self.within).pin(key))

    def locked_until(self, key: Key) -> datetime | None:
        return self._patiently(lambda: cast(Locking, self.within).locked_until(key))

    def extend_lock(self, key: Key, until: datetime) -> None:
        self._patiently(lambda: cast(Locking, self.within).extend_lock(key, until))

    def attack(self, key: Key, attack: Attack) -> bool:
        return self._patiently(lambda: cast(Locking, self.within).attack(key, attack))

    def now(self) -> datetime:
        return self._patiently(self.within.now)

    def _patiently(self, ask: Callable[[], T]) -> T:
        retry = _Retry(self)
        while True:
            try:
                return ask()
            except StoreUnreachable as error:
                retry.wait(error)


class _Retry:
    """The waits of one call."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.until = patient.clock.elapsed() + patient.total
        self.next = patient.first

    def wait(self, error: StoreUnreachable) -> None:
        """Wait a while, or raise `error` when that would go past the deadline. Raises Cancelled."""
        length = self.next * (1 - self.patient.chance() / 2)
        if self.patient.clock.elapsed() + length >= self.until:
            raise error
        self.patient.clock.wait(length)
        self.next = min(self.next * 2, self.patient.longest)
