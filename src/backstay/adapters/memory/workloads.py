"""The application in memory: workloads that scale, smoke checks whose colour follows from the world, messages."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from backstay.adapters.memory.tables import Breathe, breathe_easy
from backstay.errors import Cancelled, SecretMissing, StoreUnreachable, UnknownName
from backstay.plan import Check, CommandCheck, HttpCheck, Ref, Space, Template
from backstay.ports import Acting, Clock, Seen
from backstay.values import RunId

Colour = Literal["green", "red", "unknown"]


@dataclass(slots=True)
class MemoryWorkloads:
    """How many of each workload run. `takes`: how long one scaling lasts."""

    clock: Clock
    counts: dict[str, int]
    takes: timedelta = timedelta()
    notes: dict[tuple[str, RunId], int] = field(default_factory=dict[tuple[str, RunId], int])
    effects: list[str] = field(default_factory=list[str])
    breathe: Breathe = breathe_easy

    def running(self, workload: str) -> int:
        if workload not in self.counts:
            known = ", ".join(sorted(self.counts)) or "none"
            raise UnknownName(f"there is no workload {workload!r}", detail=f"workloads here: {known}")
        return self.counts[workload]

    def found(self, workload: str, run: RunId) -> int | None:
        return self.notes.get((workload, run))

    def scale(self, workload: str, to: int, acting: Acting) -> None:
        now = self.running(workload)
        if (workload, acting.run) not in self.notes:
            self._effect(f"note {workload} at {now}", lambda: self.notes.setdefault((workload, acting.run), now))
        if acting.stop():
            raise Cancelled(f"stopped before {workload} was scaled")
        if self.counts[workload] != to:
            self.clock.wait(self.takes)
            self._effect(f"scale {workload} to {to}", lambda: self.counts.update({workload: to}))

    def _effect(self, what: str, change: Callable[[], object]) -> None:
        self.breathe(what)
        change()
        self.effects.append(what)
        self.breathe(f"{what}, done")


@dataclass(slots=True)
class MemoryProber:
    """Smoke checks in memory: `judge` says the colour of a check and why. Every reference is looked up, as a real check
    would: one that cannot be makes the check unknown."""

    clock: Clock
    judge: Callable[[str], tuple[Colour, str]]
    takes: timedelta = timedelta(milliseconds=12)
    probed: list[str] = field(default_factory=list[str])

    def probe(self, check: Check, look_up: Callable[[Ref], str]) -> Seen:
        self.probed.append(check.name)
        self.clock.wait(self.takes)
        try:
            for template in _templates(check):
                for ref in template.refs():
                    if ref.space is not Space.SAVED:
                        look_up(ref)
        except (SecretMissing, UnknownName) as error:
            return Seen("unknown", error.message, self.takes, heard="not-sent")
        colour, why = self.judge(check.name)
        return Seen(colour, f"{check.name}: {why}", self.takes, status=200 if colour == "green" else 503)


def _templates(check: Check) -> Iterator[Template]:
    match check:
        case HttpCheck(flow=flow, cleanup=cleanup):
            for request in (*flow, *cleanup):
                yield request.url
        case CommandCheck(argv=argv, env=env):
            yield from argv
            yield from env.values()


@dataclass(frozen=True, slots=True)
class MemorySecrets:
    """By reference as the plan writes it: `${env:NAME}` to its value."""

    values: Mapping[str, str]

    def value(self, ref: Ref) -> str:
        try:
            return self.values[str(ref)]
        except KeyError:
            raise SecretMissing(f"{ref} has no value here") from None


@dataclass(slots=True)
class MemoryNotifier:
    """Keeps what it was told to send. `broken`: nothing gets through."""

    sent: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    broken: bool = False

    def tell(self, audience: str, message: str) -> None:
        if self.broken:
            raise StoreUnreachable("the chat service does not answer")
        self.sent.append((audience, message))
