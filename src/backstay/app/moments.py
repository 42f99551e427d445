"""Between the last good point and the first bad one: the last moment at which the answer was still right, over the log.

Where log was kept that leads on from the good point, each moment between the two can be asked as well: the point is
restored, the log is replayed up to the moment, and the question is asked again. Half of what is left is cut away each
time, until it is as narrow as was wanted.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.app.home import Home
from backstay.app.reading import readable
from backstay.facts import AnswerGiven, Point, Verdict
from backstay.plan import AtTime, Target
from backstay.ports import Progress
from backstay.values import PointId, VaultName, say_moment, say_span
from backstay.verbs.leading import lead
from backstay.verify import Candidates
from backstay.verify.bisect import Moments, middle

Screen = Callable[[str], AbstractContextManager[Progress]]
Ask = Callable[[Point, VaultName, datetime, Progress], AnswerGiven]
"""Restores the point from that vault, replays to the moment, asks, and writes the answer down."""


@dataclass
class OverLog:
    """One search over the log of one point."""

    home: Home
    good: Point
    bad: Point
    among: Candidates
    newest: datetime
    """The newest moment to which log leads on from the good point."""
    resolution: timedelta
    answers: dict[datetime, AnswerGiven] = field(default_factory=dict[datetime, AnswerGiven])
    """What is known already, and what is asked."""
    unreached: dict[datetime, str] = field(default_factory=dict[datetime, str])
    """Moments that the log does not lead to, and why: nothing was restored for them."""
    restores: int = 0

    def leads_anywhere(self) -> bool:
        """Whether log goes on from the good point at all."""
        return self.newest > self.good.moment and self.bad.moment - self.good.moment > self.resolution

    def run(self, ask: Ask, screen: Screen) -> Moments:
        whole = Moments(self.good.moment, self.bad.moment)
        while isinstance(at := middle(whole, self._verdicts(), self.resolution), datetime):
            vault = self._vault(at)
            if vault is None:
                continue
            with screen(f"asking {self.good.id} and its log, at {say_moment(at)}") as progress:
                self.answers[at] = ask(self.good, vault, at, progress)
            self.restores += 1
        return at

    def _verdicts(self) -> dict[datetime, Verdict]:
        return {at: given.verdict for at, given in self.answers.items()} | dict.fromkeys(
            self.unreached, Verdict.NOT_VERIFIED
        )

    def _vault(self, at: datetime) -> VaultName | None:
        """The nearest whose log leads from the good point to this moment."""
        led = lead(self._only(), Target(AtTime(at)), lambda name: readable(self.home, name))
        vaults = list(led.routes.get(self.good.id, {}))
        if not vaults:
            self.unreached[at] = led.why_not.get(self.good.id, "no log leads there")
            return None
        return vaults[0]

    def _only(self) -> Candidates:
        held: dict[PointId, tuple[VaultName, ...]] = {self.good.id: self.among.held.get(self.good.id, ())}
        return Candidates((self.good,), held=held, line=self.among.line)


def say(found: Moments, over: OverLog) -> list[str]:
    """In sentences."""
    wide = say_span(found.bad - found.good)
    said = [
        f"over its log it was still right at {exactly(found.good)}, and wrong at {exactly(found.bad)} ({wide} apart)"
    ]
    dark = [at for at in over.unreached if found.good < at < found.bad]
    if dark:
        said.append(f"not verified: between them {exactly(dark[0])} cannot be reached: {over.unreached[dark[0]]}")
    return said


def exactly(moment: datetime) -> str:
    """As it can be typed again: a moment of the log is told to the microsecond."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".") + "Z"
