"""The Keeper of a PostgreSQL component: which way, and then straight to the module that knows it."""

from contextlib import AbstractContextManager
from pathlib import Path

from backstay.adapters.postgres.local import Taking
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.sandbox import sandbox
from backstay.adapters.postgres.session import session
from backstay.adapters.postgres.source import choose_way
from backstay.plan import PostgresWay
from backstay.ports import Answers, Clock, PointReader, PointWriter, Progress, Taken, unwatched


class PostgresKeeper:
    kind = "postgres"

    def __init__(self, place: PostgresPlace, clock: Clock) -> None:
        self._place, self._clock = place, clock

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        with session(self._place.dsn) as db:
            way, why = choose_way(self._place, db)
        if way is PostgresWay.LOCAL:
            return Taking(self._place, self._clock, into, progress, [why]).take()
        raise NotImplementedError

    def sandbox(
        self, point: PointReader, folder: Path, progress: Progress = unwatched
    ) -> AbstractContextManager[Answers]:
        return sandbox(self._place, self._clock, point, folder, progress)
