"""A store that is asked again while it is out of reach: it has to know what may be asked twice."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar, cast

from backstay.errors import BackstayError, ObjectMissing, StoreUnreachable, StoreUnsuitable
from backstay.ports import Attack, Clock, Hidden, Key, Listed, Lock, Locking, Store, StoreTraits, Versioned

T = TypeVar("T")
L = TypeVar("L", Listed, Hidden)


@dataclass(slots=True)
class Patient:
    """A store that is asked again while it is out of reach, until `total` has passed since the call began.

    Waits double from `first` to `longest`, and each is cut at random anywhere below that, so that many writers that
    were thrown off together do not come back together. Only StoreUnreachable is met with patience: every other error
    is an answer. Asking twice is sound because a key is written once, with the same bytes. Two calls need care. `put`
    is tried again only when its parts can be read again (a list, a pack; not a stream). `put_if_absent` whose answer
    was lost may have won: when the key is then there, its content decides, so what is put must be what nobody else
    would. A store that has never answered is more likely to be named wrongly, or to be away for long: it gets no more
    than `unmet`, so that a recovery does not wait for the vault that burnt down.

    The deadline is when the last try may begin. How long one try takes at most is the store's own affair.
    """

    within: Store
    clock: Clock
    total: timedelta = timedelta(minutes=2)
    first: timedelta = timedelta(milliseconds=200)
    longest: timedelta = timedelta(seconds=15)
    unmet: timedelta = timedelta(seconds=15)
    chance: Callable[[], float] = field(default=random.random)
    traits: StoreTraits = field(init=False)
    met: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.traits = self.within.traits

    def describe(self) -> str:
        return self.within.describe()

    def put(self, key: Key, parts: Iterable[bytes]) -> None:
        if isinstance(parts, Iterator):  # read once, and gone
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
        """Begun again after the last key that came, where the listing breaks off. Raises StoreUnsuitable for one that
        is not in the order of keys."""
        return self._on(lambda: self.within.list(prefix))

    def _on(self, begin: Callable[[], Iterator[L]]) -> Iterator[L]:
        last: str | None = None
        retry = _Retry(self)
        while True:
            before = ""
            try:
                for found in begin():
                    self.met = True
                    if found.key < before:  # what comes late would be taken for what came already, and be missing
                        raise StoreUnsuitable(
                            f"{self.describe()} does not list in the order of keys",
                            detail=f"{found.key} came after {before}",
                            hint="`backstay vault probe` says more; use another store, or reach this one directly",
                        )
                    before = found.key
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
                answer = ask()
            except StoreUnreachable as error:
                retry.wait(error)
            except BackstayError:
                self.met = True  # no is an answer
                raise
            else:
                self.met = True
                return answer


def first_answer(store: Store, clock: Clock, ask: Callable[[], T]) -> T:
    """What `ask` answers about a store that is being opened, with the patience of one that was never met."""
    return Patient(store, clock)._patiently(ask)  # pyright: ignore[reportPrivateUsage]


class _Retry:
    """The waits of one call."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        total = patient.total if patient.met else min(patient.unmet, patient.total)
        self.until = patient.clock.elapsed() + total
        self.next = patient.first

    def wait(self, error: StoreUnreachable) -> None:
        """Wait a while, or raise `error` when that would go past the deadline. Raises Cancelled."""
        length = self.next * self.patient.chance()
        if self.patient.clock.elapsed() + length >= self.until:
            raise error
        self.patient.clock.wait(length)
        self.next = min(self.next * 2, self.patient.longest)
