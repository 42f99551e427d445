"""The newest moment that is surely in a point: asked while it is taken, believed when its end is known.

Each answer goes with the place in the log right *after* it: what was committed before the question was asked is in the
log before that place. When the end of the point is known, the last answer whose place is not beyond it counts. On a
standby the clock says nothing about the data; the commit that was replayed last does.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backstay.adapters.postgres.answers import ask_within
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.session import Connection, one
from backstay.errors import BackstayError
from backstay.lsn import Lsn, lsn
from backstay.ports import Clock

_EVERY = timedelta(seconds=1)
_SHARE = 20
"""A question that takes long is asked the more seldom: at most a twentieth of the time goes into asking."""
QUESTION = "the component's own question"
CLOCK = "the server's clock right before the backup ended"
REPLAYED = "the last commit that the standby had replayed"


@dataclass(frozen=True, slots=True)
class Answer:
    moment: datetime
    source: str
    place: Lsn


@dataclass(slots=True)
class Newest:
    db: Connection
    place: PostgresPlace
    clock: Clock
    standby: bool
    said: list[str] = field(default_factory=list[str])
    _answers: list[Answer] = field(default_factory=list[Answer])
    _next: timedelta = timedelta(0)

    def ask_sometimes(self) -> None:
        if self.clock.elapsed() >= self._next:
            self.ask()

    def ask(self) -> None:
        """Raises what the question raises when the connection is gone."""
        began = self.clock.elapsed()
        # The server's clock first: whatever was committed before this moment is before the place that follows.
        now = "pg_last_xact_replay_timestamp()" if self.standby else "clock_timestamp()"
        moment, source = one(self.db, f"SELECT {now}")[0], REPLAYED if self.standby else CLOCK
        if (told := self._question()) is not None:
            moment, source = told, QUESTION
        here = "pg_last_wal_replay_lsn()" if self.standby else "pg_current_wal_insert_lsn()"
        (place,) = one(self.db, f"SELECT {here}::text")
        if isinstance(moment, datetime):
            self._answers.append(Answer(moment, source, lsn(str(place))))
        ended = self.clock.elapsed()
        self._next = ended + max(_EVERY, (ended - began) * _SHARE)

    def until(self, stop: Lsn) -> tuple[datetime | None, str]:
        """The last answer that is in a point that ends there."""
        found = [answer for answer in self._answers if answer.place <= stop]
        return (
            (found[-1].moment, found[-1].source) if found else (None, "not known: the point ends before it was asked")
        )

    def last_place(self) -> Lsn:
        """Of the last answer; 0 without one."""
        return self._answers[-1].place if self._answers else Lsn(0)

    def _question(self) -> datetime | None:
        if self.place.newest is None or self.said:
            return None
        try:
            answer = ask_within(self.db, self.place.newest, self.place.patience)
        except BackstayError as error:
            if self.db.closed:
                raise
            said = f"{error.message}: {error.detail}" if error.detail else error.message
            self.said.append(f"the component's question for its newest moment failed: {said}")
            return None
        return answer if isinstance(answer, datetime) else None
