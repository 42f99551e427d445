"""The receiver of one component: which server and slot, which vaults, and what is known of it from outside.

What is kept, the vaults say. Beside it a small file in the state folder says how the receiver stood when it last knew
something (for people and gauges: we never read it), and a fact is written when there was nothing to keep for a while: a
server that rests writes no log, and its newest data would seem to grow old.
"""

import json
import os
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TypeVar

from backstay.adapters.postgres.receiving import Closing, Connected, Event, Kept, Receiver, Resting
from backstay.adapters.postgres.shelving import Taker, Trouble
from backstay.app.estate import address_of
from backstay.app.home import Home
from backstay.durable import write_durably
from backstay.engine.routine import component_stream
from backstay.errors import BackstayError, JournalConflict, JournalReadOnly, NotSupported, StoreUnreachable, Usage
from backstay.facts import LogKept
from backstay.lsn import say_lsn
from backstay.plan import PRIMARY, Component, PostgresSource
from backstay.ports import Piece, WalShelf
from backstay.processes import holding
from backstay.reach import Stretch
from backstay.values import VaultName, listed, stamp

T = TypeVar("T")

LONGEST_PIECE = 60 << 20
"""Below what one object of a vault may hold, for what comes while it is closed."""
FRESH = timedelta(minutes=10)
"""A vault that was opened longer ago is opened anew; and whether another machine took over is asked again."""
FACT_EVERY = timedelta(minutes=10)
"""While a server rests, the journal hears of it so often; more often where a shorter RPO was promised."""


@dataclass(frozen=True, slots=True)
class Wanted:
    slot: str | None = None
    closing: Closing = field(default_factory=Closing)
    once: bool = False


def followed(home: Home, name: str | None) -> Component:
    """The component that was named, or the only one whose log is to be kept. Raises Usage, NotSupported."""
    if name is not None:
        found = home.plan.component(name)
        if not isinstance(found.source, PostgresSource):
            raise NotSupported(f"{name} is no PostgreSQL database: it has no log that could be kept")
        return found
    wanted = [one for one in home.plan.components.values() if one.protect.wal]
    if len(wanted) == 1:
        return wanted[0]
    known = listed([str(one.name) for one in wanted])
    raise Usage(
        "name the component whose log is to be kept",
        detail=f"the plan has `wal: continuous` for {known}" if wanted else "the plan has `wal: continuous` for none",
        hint="one receiver follows one server: run one for each" if wanted else "add it under `protect`",
    )


def slot_of(component: Component) -> str:
    """Names of slots have small letters, digits and underscores, at most 63 (ReplicationSlotValidateName)."""
    return f"backstay_{component.name}".replace("-", "_")[:63]


def state_file(home: Home, component: Component) -> Path:
    return home.state / f"wal-{component.name}.json"


def receive(home: Home, component: Component, wanted: Wanted, told: Callable[[Event], None]) -> None:
    """Until somebody asks us to stop (SIGTERM, Ctrl-C); what was received by then is durable and confirmed. Raises
    RunBusy where another receiver of this component runs here, and what `Receiver.run` raises."""
    home.adopt("backstay")
    with holding(home.state / f"wal-{component.name}.lock", wait=timedelta(seconds=2)):
        telling = Telling(home, component, told)
        receiver = Receiver(
            address_of(home, component, PRIMARY),
            wanted.slot or slot_of(component),
            _shelves(home, component, telling),
            home.clock,
            telling,
            wanted.closing,
        )
        with _stopping(receiver.stop):
            receiver.run(once=wanted.once)
        telling.rest()
    home.seal()


def _shelves(home: Home, component: Component, told: Callable[[Event], None]) -> dict[VaultName, Taker]:
    """One that cannot be opened now is tried again later. Raises why, when none can: a wrong key does not get right by
    waiting."""
    names, troubles = home.plan.vaults_of(component), list[BackstayError]()
    for name in names:
        try:
            home.vault(name)
        except BackstayError as error:
            troubles.append(error)
            told(Trouble(f"{name} cannot be opened, and gets no log before it can: {error.message}"))
    if len(troubles) == len(names):
        raise troubles[0]
    return {name: Fresh(home, name) for name in names}


@dataclass(slots=True)
class Fresh:
    """The shelf of one vault, opened anew after a while, and whenever something went wrong: keys are exchanged and
    disks are mounted while a receiver runs for months. Used by one thread at a time."""

    home: Home
    vault: VaultName
    _opened: tuple[timedelta, WalShelf] | None = None

    def keep(self, piece: Piece) -> Stretch:
        return self._asked(lambda shelf: shelf.keep(piece))

    def keep_history(self, system: int, timeline: int, text: bytes) -> None:
        self._asked(lambda shelf: shelf.keep_history(system, timeline, text))

    def histories(self, system: int) -> Mapping[int, bytes]:
        return self._asked(lambda shelf: shelf.histories(system))

    def stretches(self, system: int, timeline: int | None = None) -> list[Stretch]:
        return self._asked(lambda shelf: shelf.stretches(system, timeline))

    def _asked(self, ask: Callable[[WalShelf], T]) -> T:
        now = self.home.clock.elapsed()
        if self._opened is None or now - self._opened[0] > FRESH:
            try:
                self._opened = (now, self.home.open_vault(self.vault).wal)
            except BackstayError as error:
                raise StoreUnreachable(f"it cannot be opened: {error.message}", detail=error.detail) from error
        try:
            return ask(self._opened[1])
        except BackstayError:
            self._opened = None
            raise


@contextmanager
def _stopping(stop: Callable[[], None]) -> Generator[None]:
    """The first signal asks, the second one insists."""

    def asked(number: int, frame: FrameType | None) -> None:
        stop()
        for one, before in was.items():
            signal.signal(one, before)

    was = {one: signal.signal(one, asked) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, before in was.items():
            signal.signal(one, before)


class Telling:
    """Hears every event: writes it down where it is looked for, and passes it on."""

    def __init__(self, home: Home, component: Component, told: Callable[[Event], None]) -> None:
        self._home, self._component, self._told = home, component, told
        rpo = home.plan.objectives_of(component).rpo
        self._every = max(min(FACT_EVERY, rpo / 2 if rpo else FACT_EVERY), timedelta(minutes=1))
        self._asked = home.clock.elapsed()
        self._newest: datetime | None = None
        """Until when vaults and journal know of everything."""
        self._resting: Resting | None = None
        self._vaults: Sequence[VaultName] = ()

    def __call__(self, event: Event) -> None:
        """Raises JournalReadOnly, where another machine has taken over: it receives now."""
        match event:
            case Kept():
                self._newest = event.until or self._newest
                if (now := self._home.clock.elapsed()) - self._asked > FRESH:
                    self._asked = now
                    self._home.refuse_if_overtaken()
                self._resting, self._vaults = None, event.vaults
                self._write(event)
            case Resting():
                self._resting = event
                self.rest(self._every)
                return
            case Connected() | Trouble():
                pass
        self._told(event)

    def rest(self, after: timedelta = timedelta(minutes=1)) -> None:
        """Note until when nothing is missing, if the server has rested for so long since what is known by now: the
        vaults know the last byte. Whoever took over the journal notes for himself."""
        one, home = self._resting, self._home
        if one is None or (self._newest is not None and one.at - self._newest < after):
            return
        fact = LogKept(tuple(self._vaults), str(one.system), one.timeline, say_lsn(one.end), one.at)
        stream = component_stream(self._component.name)
        with suppress(JournalConflict, JournalReadOnly, StoreUnreachable):
            recorded = home.journal.read(stream)
            home.journal.append(stream, [fact], expected=recorded[-1].seq if recorded else 0)
            home.seal_when_due()
            self._newest = one.at

    def _write(self, kept: Kept) -> None:
        said = {
            "pid": os.getpid(),
            "at": stamp(self._home.clock.now()),
            "system": str(kept.system),
            "timeline": kept.timeline,
            "durable": say_lsn(kept.end),
            "until": stamp(kept.until) if kept.until else None,
            "server_end": say_lsn(kept.server_end),
            "lag_bytes": max(0, kept.server_end - kept.end),
            "vaults": list(kept.vaults),
            "lacking": dict(kept.lacking),
        }
        with suppress(OSError):  # it is a convenience: a full disk here must not stop what goes to the vaults
            write_durably(state_file(self._home, self._component), json.dumps(said, indent=1).encode())
