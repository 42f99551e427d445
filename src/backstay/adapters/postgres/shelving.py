"""Log on its way into several vaults: durable as soon as one of them has it.

A vault that does not take a piece is left alone for a while; it gets what it lacks by copying, from one that has it.
Where none takes it, the same piece is tried again and again: the server keeps the log until then.
"""

import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from backstay.errors import (
    AccessDenied,
    BackstayError,
    Damaged,
    DiskFull,
    StoreUnreachable,
    TimedOut,
    VaultMissing,
    WrongKey,
)
from backstay.lsn import Lsn
from backstay.ports import Clock, Piece
from backstay.reach import Left, Stretch
from backstay.values import VaultName, say_span

ASIDE = timedelta(seconds=60)
"""So long a vault that did not take a piece is left alone, while another one takes them."""
_LONGEST_PAUSE_S = 15.0
AWAY = (AccessDenied, Damaged, DiskFull, StoreUnreachable, TimedOut, VaultMissing, WrongKey)
"""What a vault can meet, and be well again later."""


class Taker(Protocol):
    """What of a WalShelf takes log, and says where to go on."""

    def keep(self, piece: Piece) -> Stretch: ...
    def keep_history(self, system: int, timeline: int, text: bytes) -> None: ...
    def histories(self, system: int) -> Mapping[int, bytes]: ...
    def stretches(self, system: int, timeline: int | None = None) -> list[Stretch]: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that people should know; following goes on, or is tried again after `again`."""

    said: str
    again: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A piece is durable: `vaults` have it, and each of `lacking` does not, for that reason."""

    piece: Piece
    vaults: tuple[VaultName, ...]
    lacking: Mapping[VaultName, str]


@dataclass(slots=True)
class Shelves:
    """The log of one component in each of its vaults, in the plan's order."""

    shelves: Mapping[VaultName, Taker]
    clock: Clock
    told: Callable[[Trouble], None]
    """May be called from several threads."""
    stopped: Callable[[], bool]
    wait: Callable[[timedelta], object]
    """Comes back early when we are stopped."""
    _aside: dict[VaultName, tuple[timedelta, str]] = field(default_factory=dict[VaultName, tuple[timedelta, str]])

    def keep(self, piece: Piece) -> Taken:
        """Until one vault has it. Raises WalConflict; WrongKey, where none believes us, for waiting mends nothing; and
        what the first vault met, when we were stopped and none took it."""
        tries = 0
        while True:
            taken, errors = self._try(piece)
            if taken:
                lacking = {name: why for name, (_, why) in self._aside.items()}
                return Taken(piece, tuple(name for name in self.shelves if name in taken), lacking)
            hopeless = len(errors) == len(self.shelves) and all(isinstance(one, WrongKey) for one in errors)
            if hopeless or self.stopped():
                raise errors[0]
            tries += 1
            length = timedelta(seconds=min(_LONGEST_PAUSE_S, 2.0**tries) * random.uniform(0.5, 1.0))
            self.told(Trouble(f"no vault takes the log: {errors[0].message}", again=length))
            self.wait(length)

    def _try(self, piece: Piece) -> tuple[set[VaultName], list[BackstayError]]:
        now = self.clock.elapsed()
        due = [name for name in self.shelves if self._aside.get(name, (now, ""))[0] <= now] or list(self.shelves)
        taken, errors = set[VaultName](), list[BackstayError]()
        with ThreadPoolExecutor(len(due), thread_name_prefix="backstay-wal") as threads:
            begun = {name: threads.submit(self.shelves[name].keep, piece) for name in due}
            for name, future in begun.items():
                try:
                    future.result()
                except AWAY as error:
                    errors.append(error)
                    self._set_aside(name, error)
                else:
                    taken.add(name)
                    if self._aside.pop(name, None) is not None:
                        self.told(Trouble(f"{name} takes log again; `backstay vault copy` brings what it lacks"))
        return taken, errors

    def _set_aside(self, name: VaultName, error: BackstayError) -> None:
        if name not in self._aside and len(self.shelves) > 1:
            self.told(Trouble(f"{name} takes no log: {error.message}; tried again each {say_span(ASIDE)}"))
        self._aside[name] = (self.clock.elapsed() + ASIDE * random.uniform(0.8, 1.2), error.message)

    # ── what is there ──

    def keep_histories(self, system: int, timelines: range, read: Callable[[int], bytes | None]) -> None:
        """Of these timelines, those that a vault lacks. `read` gives None for one that the server does not have.
        Raises WalConflict."""
        for name, shelf in self.shelves.items():
            try:
                there = shelf.histories(system)
                for number in timelines:
                    if number not in there and (text := read(number)) is not None:
                        shelf.keep_history(system, number, text)
            except AWAY as error:
                self._set_aside(name, error)

    def end(self, system: int, timeline: int, history: tuple[Left, ...]) -> tuple[int, Lsn] | None:
        """Where what is kept of the server's line ends, in the vault that has most of it: the log goes on there. None:
        nothing is kept of it. Raises StoreUnreachable where no vault can say."""
        found: list[tuple[int, Lsn]] = []
        answered, last = False, StoreUnreachable("no vault of the component can be asked what it has")
        for name, shelf in self.shelves.items():
            try:
                ends: dict[int, Lsn] = {}
                for one in shelf.stretches(system):
                    ends[one.timeline] = max(one.end, ends.get(one.timeline, Lsn(0)))
            except AWAY as error:
                self._set_aside(name, error)
                last = StoreUnreachable(error.message, detail=error.detail)
                continue
            answered = True
            if (there := _on_line(ends, timeline, history)) is not None:
                found.append(there)
        if not answered:
            raise last
        return max(found, default=None)


def _on_line(ends: Mapping[int, Lsn], timeline: int, history: tuple[Left, ...]) -> tuple[int, Lsn] | None:
    if timeline in ends:
        return timeline, ends[timeline]
    followers = [*[left.timeline for left in history], timeline][1:]
    for left, following in reversed(list(zip(history, followers, strict=True))):
        if left.timeline in ends:
            # What lies beyond the place where it was left belongs to another line.
            whole = ends[left.timeline] >= left.at
            return (following, left.at) if whole else (left.timeline, ends[left.timeline])
    return None


def timeline_of(place: Lsn, timeline: int, history: tuple[Left, ...]) -> int:
    """On which timeline of the server's line the byte at `place` is."""
    return next((left.timeline for left in history if place < left.at), timeline)
