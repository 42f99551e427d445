"""Leases: who may act, and why two drivers never act at once.

The journal's compare-and-append lets only one driver *record*. A lease lets only one *act*:

- A driver reads its own `elapsed` clock, then the journal's clock, then appends `Driving(driver, epoch, until)` with
  `until` one lease length after the journal's clock. It may act until `guard` before the lease length has passed on its
  own `elapsed` clock, counted from that first reading. What it reads first only shortens its time.
- It renews from a thread of its own. Another thread, which never touches the journal and so cannot hang in it, ends
  everything when the time is over: acts are told to stop, child processes are killed, nothing more is written.
- A taker needs one of three reasons (`still_held`): evidence that the driver has ended with all that it started; the
  lease seen unchanged for its whole length and a margin on the taker's own `elapsed` clock, which is right whatever
  any wall clock says; or the journal's clock past `until` and a margin, and the lease seen unchanged for longer than a
  living driver would have left it. The last is quick after a crash, and a jump of the clock alone cannot fool it.
- A taker takes epoch + 1 by compare-and-append, so of two takers one wins. Then it looks at every step that was left
  intended without an end.

A machine that stops for longer than its lease in the very middle of an act wakes up acting: only a target that keeps
the epoch can refuse it, so every act carries its epoch (`Acting.epoch`).
"""

from datetime import datetime, timedelta

from backstay.engine.desk import Desk, LeaseLost
from backstay.engine.driver import Driver, Terms
from backstay.errors import BackstayError, RunBusy
from backstay.facts import Driving
from backstay.machine import Lease
from backstay.values import say_moment


def still_held(lease: Lease, unchanged_for: timedelta, now: datetime, terms: Terms) -> timedelta:
    """How much longer a taker has to wait, without evidence. Zero: the lease may be taken.

    `unchanged_for`: how long the taker itself has seen this very lease, by its `elapsed` clock."""
    length = max(terms.length, lease.until - lease.said)
    by_elapsed = length + terms.margin - unchanged_for
    by_clock = max(lease.until + terms.margin - now, terms.renew + terms.margin - unchanged_for)
    return max(timedelta(), min(by_elapsed, by_clock))


class Tenure:
    """One holding of the lease: from taking it to giving it back, or losing it."""

    def __init__(self, driver: Driver, desk: Desk) -> None:
        self._driver, self._desk = driver, desk
        self._deadline = timedelta()
        self._until = driver.clock.now()
        self._over = self._expired = False
        self.lost = False
        self.why: BackstayError | None = None
        """What kept us from renewing."""

    def take(self) -> bool:
        """Take the lease, waiting for another's to run out. False: the run has ended. Raises RunBusy when its driver
        is alive, Cancelled."""
        clock, terms = self._driver.clock, self._driver.terms
        seen, since = self._desk.run.lease, clock.elapsed()
        while self._desk.run.ended is None:
            lease = self._desk.run.lease
            if lease is not None and seen is not None and lease.epoch == seen.epoch and lease != seen:
                raise RunBusy(
                    f"run {self._desk.run.started.run} is being driven by {lease.driver}",
                    detail=f"it renewed its lease while we looked, until {say_moment(lease.until)}",
                    hint="watch it with `backstay status`, or stop that driver first",
                )
            if lease is not None and lease != seen:
                seen, since = lease, clock.elapsed()
            if lease is None or self._driver.gone(lease.driver):
                left = timedelta()
            else:
                left = still_held(lease, clock.elapsed() - since, self._driver.journal.now(), terms)
            if not left:
                if self._say(self._desk.run.epoch + 1):
                    return True
            else:
                clock.wait(min(left, terms.renew / 4))
                self._desk.catch_up()
        return False

    def _say(self, epoch: int) -> bool:
        begun = self._driver.clock.elapsed()
        until = self._driver.journal.now() + self._driver.terms.length
        if not self._desk.take(Driving(self._driver.name, epoch, until)):
            return False
        self._set(begun, until)
        return True

    def _set(self, begun: timedelta, until: datetime) -> None:
        terms = self._driver.terms
        self._deadline, self._until = begun + terms.length - terms.guard, until - terms.guard

    def start(self) -> None:
        """Begin to renew, and to guard."""
        self._driver.crew.begin("renews the lease", self._renew_on)
        self._driver.crew.begin("guards the lease", self._guard)

    def end(self) -> None:
        """Stop renewing and guarding. Nothing acts any more."""
        self._over = True
        self._driver.crew.ring()

    def holds(self) -> bool:
        """May we act now? By our own clock only: asking it costs nothing, and cannot hang. Once it said no it never
        says yes again: an act may have ended because of the no, and its outcome then tells nothing."""
        if self._driver.clock.elapsed() >= self._deadline:
            self._expired = True
        return not self._over and not self.lost and not self._expired

    def sure(self) -> bool:
        """May we begin something now? When the journal's clock says that our time is over (it jumped, or this machine
        slept), the journal is asked: a renewal that goes through shows that nobody took over."""
        if self.holds() and self._driver.journal.now() >= self._until:
            self.renew()
        return self.holds()

    def renew(self) -> None:
        """Raises LeaseLost, or what the journal raises."""
        begun = self._driver.clock.elapsed()
        until = self._driver.journal.now() + self._driver.terms.length
        if self._desk.write([Driving(self._driver.name, self._desk.epoch, until)], self.holds):
            self._set(begun, until)

    def _renew_on(self) -> None:
        wait = self._driver.terms.renew
        while True:
            self._driver.crew.wait(wait, lambda: self._over or self.lost)
            if self._over or self.lost:
                return
            try:
                self.renew()
                wait, self.why = self._driver.terms.renew, None
            except LeaseLost:
                self._lose()
            except BackstayError as error:
                # The guard ends it when this lasts too long; until then the journal may come back.
                wait, self.why = self._driver.terms.renew / 4, error

    def _guard(self) -> None:
        while not self._over and not self.lost:
            if not self.holds():
                self._lose()
                return
            self._driver.crew.wait(self._driver.terms.tick, lambda: self._over or self.lost)

    def _lose(self) -> None:
        if self._over:
            return
        self.lost = True
        self._driver.kill_children()
        self._driver.crew.ring()
