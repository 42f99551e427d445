"""The run's stream as its driver sees it: folded, kept up to date, and written to only while the lease is ours."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta

from backstay.engine.driver import Driver
from backstay.errors import JournalConflict, NoSuchRun, StoreUnreachable
from backstay.facts import Driving, Recorded, RunFact
from backstay.machine import RunState, evolve, fold, refusal
from backstay.values import RunId, StreamName

_TRY_AGAIN = timedelta(milliseconds=500)


def stream_of(run: RunId) -> StreamName:
    return StreamName(f"run/{run}")


class LeaseLost(Exception):
    """Another driver has taken over, or our own lease ran out: we may neither act nor write."""


class Desk:
    """One run, for one driver. Safe to use from several threads."""

    def __init__(self, driver: Driver, run: RunId) -> None:
        self._driver = driver
        self.stream = stream_of(run)
        facts = driver.journal.read(self.stream)
        if not facts:
            raise NoSuchRun(f"the journal has no run {run}", hint="`backstay status` lists them")
        self.run: RunState = fold(facts)
        self._lock = driver.crew.lock()
        self._unseen: deque[Recorded] = deque()
        self.epoch = 0
        """Under which we drive; 0: we do not."""

    def catch_up(self) -> None:
        """Read what others wrote."""
        with self._lock:
            self._catch_up()

    def take(self, fact: Driving) -> bool:
        """Take the lease, if nothing was written since we looked."""
        with self._lock:
            if self._append([fact]) is not None:
                return False
            self.epoch = fact.epoch
            return True

    def write(self, facts: Sequence[RunFact], holds: Callable[[], bool]) -> bool:
        """Append all of `facts` under our lease. False, and nothing is written, when they may not follow any more
        (a person skipped the step meanwhile). Raises LeaseLost. While the journal does not answer it is asked again,
        for as long as our lease `holds`."""
        unheard = False
        with self._lock:
            while True:
                if not self.ours():
                    raise LeaseLost
                if refusal(self.run, facts, self.run.at) is not None:
                    return False
                try:
                    others = self._append(facts)
                except StoreUnreachable:
                    if not holds():
                        raise
                    unheard = True
                    self._driver.crew.wait(_TRY_AGAIN, lambda: not holds())
                    continue
                if others is None:
                    return True
                # Asked, and never heard back: what we now find in our place may be our own.
                if unheard and [one.fact for one in others[: len(facts)]] == list(facts):
                    return True

    def ours(self) -> bool:
        lease = self.run.lease
        return lease is not None and (lease.driver, lease.epoch) == (self._driver.name, self.epoch)

    def unseen(self) -> list[Recorded]:
        """What was recorded since the last call."""
        found: list[Recorded] = []
        while self._unseen:
            found.append(self._unseen.popleft())
        return found

    def _append(self, facts: Sequence[RunFact]) -> list[Recorded] | None:
        """None: it is written. Else what somebody wrote first, and we have read now."""
        try:
            self._take_in(self._driver.journal.append(self.stream, facts, expected=self.run.seq))
        except JournalConflict:
            return self._catch_up()
        return None

    def _catch_up(self) -> list[Recorded]:
        recorded = self._driver.journal.read(self.stream, after=self.run.seq)
        self._take_in(recorded)
        return recorded

    def _take_in(self, recorded: Sequence[Recorded]) -> None:
        for one in recorded:
            self.run = evolve(self.run, one)
            self._unseen.append(one)
