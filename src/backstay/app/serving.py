"""The service: looks every minute what is due, and has it done by processes of the command line.

A job is a process of its own, `backstay backup database --due`: what dies, dies alone, and what a person types does the
very same. Each holds its own lease and has its own children, which end with it; each ends with the service. What the
service knows is never asked for: it can be killed at any moment, and whoever comes next reads plan and journal again.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from backstay import engine
from backstay.agenda import REST, Job, Seen, Work, agenda
from backstay.app.driving import Roll
from backstay.app.estate import supported
from backstay.app.home import Asked, Home
from backstay.app.people import signature_holds
from backstay.errors import BackstayError, Cancelled
from backstay.machine import RunState
from backstay.plan import Plan
from backstay.ports import Clock
from backstay.processes import apart
from backstay.values import ComponentName, PersonName, RoleName, stamp
from backstay.worker import STOPPED, JobQueue

QUEUE_FILE = "queue.sqlite"
LOOK_EVERY = timedelta(minutes=1)
_GLANCE = timedelta(seconds=1)
"""How often we look whether the journal has something new: a person's answer wakes a run."""
_GRACE = timedelta(seconds=30)
"""A recovery that is told to stop writes down where it stands, and gives its lease back."""

_WORDS: Mapping[Work, tuple[str, ...]] = {
    Work.RESUME: ("resume",),
    Work.BACKUP: ("backup", "--due"),
    Work.VERIFY: ("verify",),
    Work.DRILL: ("drill",),
    Work.RETAIN: ("retain", "--yes"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the service's log."""

    at: datetime
    job: str
    """Empty: about the service itself."""
    what: str
    """`queued`, `begins`, `says`, `ended`, `trouble`, `left`."""
    said: str
    exit: int | None = None

    def told(self) -> dict[str, str | int | None]:
        return {"at": stamp(self.at), "job": self.job, "what": self.what, "said": self.said, "exit": self.exit}


Tell = Callable[[Event], None]


class Service:
    """One service over one plan. `serve` does not come back before somebody asks it to."""

    def __init__(self, asked: Asked, here: Path, clock: Clock, tell: Tell) -> None:
        self._asked, self._here, self._clock, self._tell = asked, here, clock, tell
        self._stopping = threading.Event()
        self._troubles: set[str] = set()
        home = self._home()
        self._state, self._plan_file = home.state, home.plan_path
        self._roll = Roll(home.state)
        self._following: dict[ComponentName, threading.Thread] = {}

    def serve(self, *, at_once: int, tends: bool = True) -> None:
        """Do what is due, and what others put into the queue, until `stop`, Ctrl-C or SIGTERM. `tends` False: only what
        is in the queue. Raises PlanInvalid and others, when it cannot begin."""
        worker = self._roll.sign_on()
        try:
            with JobQueue(self._state / QUEUE_FILE, worker, self.perform, at_once) as queue:
                self._say("", "begins", f"{worker} serves {self._plan_file}")
                try:
                    self._go_on(queue, tends)
                finally:
                    self._stopping.set()  # each job is told to stop, and the queue waits for them
                    for thread in self._following.values():
                        thread.join(2 * _GRACE.total_seconds())
        finally:
            self._say("", "ended", "the service, and everything that it had begun")

    def _go_on(self, queue: JobQueue, tends: bool) -> None:
        journal, looked, heads = self._home().journal, timedelta(days=-1), None
        while not self._stopping.is_set():
            now, seen = self._clock.elapsed(), journal.heads()
            if now - looked >= LOOK_EVERY or seen != heads:
                looked, heads = now, seen
                self._look(queue, tends)
            self._clock.wait(_GLANCE)

    # ── what is due ──────────────────────────────────────────────────────────────────────────────

    def _look(self, queue: JobQueue, tends: bool) -> None:
        """Trouble with one look is told once, and the next one comes: a vault that is away comes back."""
        now = self._clock.now()
        queue.forget(now)
        for name in queue.release(lambda worker: not self._roll.is_here(worker)):
            self._say(name, "left", "the process that did it has ended; it is offered again")
        try:
            jobs = self.due(now) if tends else []
        except Cancelled:
            raise
        except BackstayError as error:
            self._trouble(error)
            return
        self._troubles.clear()
        for job in queue.offer(jobs, now):
            self._say(job.name, "queued", job.because)

    def due(self, now: datetime) -> list[Job]:
        """Read anew each time: the plan may have been edited."""
        home = self._home()
        home.refuse_if_overtaken()
        self._follow(home.plan)
        plan, signed = home.plan, signature_holds(home.plan)
        able = frozenset(name for name, component in plan.components.items() if supported(component))
        seen = Seen(tuple(engine.open_runs(home.journal)), able, lambda run: self._driven(run, now), signed)
        try:
            return agenda(plan, home.history(), seen, now)
        finally:
            home.journal.close()

    def _follow(self, plan: Plan) -> None:
        """The log of every component with `wal: continuous` is followed by a process that lasts."""
        for name, component in plan.components.items():
            known = self._following.get(name)
            if component.protect.wal and (known is None or not known.is_alive()):
                thread = threading.Thread(target=self._keep_following, args=(name,), name=f"follows {name}")
                self._following[name] = thread
                thread.start()

    def _keep_following(self, component: ComponentName) -> None:
        """Begun anew whenever it ends, which it does not do by itself: at once, when it had lasted for an hour."""
        words, failed = ["wal", "receive", component], 0
        while not self._stopping.is_set():
            began = self._clock.elapsed()
            self._run(f"follow {component}", words)
            lasted = self._clock.elapsed() - began
            failed = 0 if lasted > REST[-1] else failed + 1
            self._stopping.wait(REST[min(failed, len(REST)) - 1].total_seconds() if failed else 0)

    def _driven(self, run: RunState, now: datetime) -> bool:
        """Whoever takes a run waits out its lease; here nobody is sent before it is over, or its driver is known to
        have ended."""
        lease = run.lease
        return (
            lease is not None and not self._roll.has_ended(lease.driver) and lease.until + engine.Terms().margin > now
        )

    # ── doing it ─────────────────────────────────────────────────────────────────────────────────

    def perform(self, verb: str, subject: str, name: str) -> int:
        """One job in a process of its own; gives its exit status."""
        if self._stopping.is_set():
            return STOPPED
        return self._run(name, self._words(Work(verb), subject))

    def _run(self, name: str, words: list[str]) -> int:
        self._say(name, "begins", " ".join(["backstay", *words]))
        try:
            status = apart(
                # -P: a folder of that name, where we happen to stand, is not us.
                [sys.executable, "-P", "-m", "backstay", *words, *self._places()], env=os.environ, cwd=self._here,
                say=lambda line: self._say(name, "says", line), stop=self._stopping.is_set, grace=_GRACE,
            )  # fmt: skip
        except BackstayError as error:
            return self._end(name, error.code, error.message)
        return self._end(name, status, "stopped with the service" if status == STOPPED else "")

    def _end(self, name: str, status: int, said: str) -> int:
        self._tell(Event(self._clock.now(), name, "ended", said, status))
        return status

    def _words(self, work: Work, subject: str) -> list[str]:
        first, *more = _WORDS[work]
        if work is Work.DRILL:
            more = ["--by", _leader(self._home().plan)]
        return [first, *([subject] if subject else []), *more]

    def _places(self) -> list[str]:
        asked = self._asked
        words = ["--plan", str(self._plan_file)]
        words += ["--key", str(asked.key.absolute())] if asked.key else []
        return words + (["--state", str(asked.state.absolute())] if asked.state else [])

    # ── parts ────────────────────────────────────────────────────────────────────────────────────

    def _home(self) -> Home:
        return Home(self._asked, self._here)

    def _say(self, job: str, what: str, said: str) -> None:
        self._tell(Event(self._clock.now(), job, what, said))

    def _trouble(self, error: BackstayError) -> None:
        said = f"E{error.code:02d} {error.message}" + (f" ({error.detail})" if error.detail else "")
        if said not in self._troubles:
            self._troubles.add(said)
            self._say("", "trouble", said)


def _leader(plan: Plan) -> str:
    """Who leads a drill that begins by itself: the incident commander, else whom the plan names first."""
    commander = plan.roles.get(RoleName("incident-commander"))
    return commander.primary if commander is not None else next(iter(plan.people), PersonName(""))
