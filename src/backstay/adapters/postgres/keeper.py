"""The Keeper of a PostgreSQL component: which way, and then straight to the module that knows it."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from backstay.adapters.postgres import logical_recovery, recovery
from backstay.adapters.postgres.answers import PostgresAnswers
from backstay.adapters.postgres.checks import Checking, Source, Tier
from backstay.adapters.postgres.existing import DumpPoint, PgBackRestPoint, existing_sandbox
from backstay.adapters.postgres.local import Taking
from backstay.adapters.postgres.logical import Dumping
from backstay.adapters.postgres.logical_recovery import LogicalRecovery
from backstay.adapters.postgres.logical_room import logical_sandbox
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.replay import Onward
from backstay.adapters.postgres.sandbox import sandbox
from backstay.adapters.postgres.session import connect, defaults, parse, rows, session, where
from backstay.adapters.postgres.site import Site, running_on
from backstay.adapters.postgres.source import choose_way
from backstay.adapters.postgres.starting import SANDBOX
from backstay.adapters.postgres.stream import Streaming
from backstay.durable import write_durably
from backstay.errors import AccessDenied, BackstayError, SourceDown, SourceUnsuitable, TargetAlive
from backstay.facts import CheckResult, DidNot, Happened, Outcome, Sight, Succeeded
from backstay.plan import PostgresWay, Target
from backstay.ports import (
    Acting,
    Alive,
    Answers,
    Clock,
    NotAlive,
    PointReader,
    PointWriter,
    Progress,
    Taken,
    WalShelf,
    refuse_target,
    unwatched,
)
from backstay.values import digest_of, say_span


class PostgresKeeper:
    """Takes, proves and restores one PostgreSQL component. `full`: every byte is read again, also where the server
    could tell what changed. `reached` is told of each durable step of a recovery."""

    kind = "postgres"

    def __init__(
        self,
        place: PostgresPlace,
        clock: Clock,
        *,
        full: bool = True,
        reached: Callable[[str], None] = recovery.nobody,
    ) -> None:
        self._place, self._clock, self._full, self._reached = place, clock, full, reached

    # ── taking and proving ──

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        with session(self._place.dsn) as db:
            way, why = choose_way(self._place, db)
        if way is PostgresWay.LOCAL:
            self._remember(self._site().data)
            return Taking(self._place, self._clock, into, progress, [why]).take()
        if way is PostgresWay.STREAM:
            return Streaming(self._place, self._clock, into, progress, [why], self._full).take()
        return Dumping(self._place, self._clock, into, progress, [why]).take()

    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> AbstractContextManager[Answers]:
        if isinstance(point, PgBackRestPoint | DumpPoint):
            refuse_target("what another program holds", target)
            return existing_sandbox(self._place, self._clock, point, folder, progress)
        if point.point.way == "logical":
            refuse_target("a dump of PostgreSQL", target)
            return logical_sandbox(self._place, self._clock, point, folder, progress)
        return sandbox(self._place, self._clock, point, folder, progress, _onward(target, log))

    # ── the live one ──

    def alive(self) -> Alive | NotAlive:
        began = self._clock.elapsed()
        try:
            connect(self._place.dsn, within_s=2).close()
        except AccessDenied as error:
            return Alive(f"{error.message}: {error.detail}")
        except BackstayError as error:
            return self._somebody_there() or NotAlive(error.detail or error.message)
        return Alive(f"{where(self._place.dsn)} answered in {say_span(self._clock.elapsed() - began)}")

    def _somebody_there(self) -> Alive | None:
        if self._place.data is None or not (running := running_on(Site.of(self._place.data).data)):
            return None
        return Alive(f"process {running[0]} runs on {self._place.data}, and does not answer")

    @contextmanager
    def live(self) -> Generator[Answers]:
        connect(self._place.dsn).close()

        def inspect(tier: Tier) -> list[CheckResult]:
            with session(self._place.dsn) as db:
                found = Checking(self._clock).catalogue(db, Source({}), "sample")
            return [check for check in found if check.code != "S01"]

        yield PostgresAnswers(where(self._place.dsn), lambda: connect(self._place.dsn), inspect, self._place.patience)

    # ── recovery ──

    def preserve(self, acting: Acting) -> Outcome:
        if self._way() is PostgresWay.LOGICAL:
            return logical_recovery.preserve(self._place, self._clock, acting, self._database())
        return recovery.preserve(self._site(), self._place, self._clock, acting)

    def look_preserved(self, acting: Acting) -> Sight:
        if self._way() is PostgresWay.LOGICAL:
            return logical_recovery.look_preserved(self._place, acting, self._database())
        return recovery.look_preserved(self._site(), acting)

    def restore(
        self,
        point: PointReader,
        acting: Acting,
        *,
        beside: bool = True,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Outcome:
        if point.point.way in ("logical", "pg_dump"):
            refuse_target("a dump of PostgreSQL", target)
            return LogicalRecovery(self._place, self._clock, point, acting, beside, self._reached).run()
        try:
            site = self._site()
        except SourceUnsuitable:
            # Where it was taken is production: never a place for a drill.
            if self._place.site == SANDBOX or not (told := point.point.about.get("data", "")):
                raise
            site = Site.of(Path(told))
            self._remember(site.data)
        if isinstance(point, PgBackRestPoint):
            refuse_target("what pgBackRest holds", target)
        outcome = recovery.Recovery(
            site, self._place, self._clock, point, acting, beside, self._reached, _onward(target, log)
        ).run()
        if isinstance(point, PgBackRestPoint) and isinstance(outcome, Succeeded):
            return replace(outcome, saw="; ".join((outcome.saw, *point.told)))
        return outcome

    def look_restored(self, acting: Acting) -> Sight:
        """Of either kind: which one it was is told by the point, and that is not in our hands here."""
        seen: Sight = DidNot(f"run {acting.run} has restored nothing here")
        with suppress(SourceUnsuitable, TargetAlive):
            seen = recovery.look_restored(self._site(), acting)
        if isinstance(seen, DidNot) and self._place.way is not PostgresWay.LOCAL:
            with suppress(SourceDown):
                beside = logical_recovery.look_restored(self._place, acting, self._database())
                seen = beside if isinstance(beside, Happened) else seen
        return seen

    def _way(self) -> PostgresWay:
        """How this component is kept: by its files where its points were taken from them, which we remember. A server
        that does not answer can only be kept by its files."""
        if self._place.way is not PostgresWay.AUTO:
            return self._place.way
        if self._remembered() is not None:
            return PostgresWay.LOCAL
        try:
            with session(self._place.dsn) as db:
                return choose_way(self._place, db)[0]
        except (SourceDown, AccessDenied):
            return PostgresWay.LOCAL

    def _database(self) -> str:
        words = defaults() | parse(self._place.dsn)
        return words.get("dbname") or words.get("user", "")

    def _site(self) -> Site:
        """By the plan, by the server, or by what the server said the last time. Raises SourceUnsuitable when nobody
        knows where the data directory is: a dead server cannot be asked."""
        if self._place.data is not None:
            return Site.of(self._place.data)
        try:
            with session(self._place.dsn) as db:
                found = rows(db, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
        except BackstayError as error:
            if (remembered := self._remembered()) is not None:
                return Site.of(remembered)
            raise SourceUnsuitable(
                "nobody knows where the data directory of this server is",
                detail=f"the plan does not say, and the server does not answer: {error.detail}",
                hint="write `data: /path/of/the/data/directory` into the component",
            ) from None
        if not found:
            raise AccessDenied("the role may not ask where the data directory is", hint="grant it pg_read_all_settings")
        data = Path(str(found[0][0]))
        if not (data / "PG_VERSION").exists():
            # What stands at that path here, or could be laid down there, is not what answers.
            raise TargetAlive(
                f"the server on {where(self._place.dsn)} runs on another machine",
                detail=f"it answers, and its data directory {data} is not here; nothing was touched",
                hint="recover on that machine; or stop it for good, and write `data:` for the machine that takes over",
            )
        return Site.of(data)

    def _memory(self) -> Path:
        words = defaults() | parse(self._place.dsn)
        address = "\n".join(words.get(key, "") for key in ("host", "hostaddr", "port"))
        return self._place.scratch / f"postgres-data-{digest_of(address.encode()).removeprefix('sha256:')[:16]}"

    def _remember(self, data: Path) -> None:
        """Where points were taken from, so that a server that is dead, or whose directory was renamed, can be found
        again. Only a hint: everything is looked at before it is touched."""
        with suppress(OSError):
            write_durably(self._memory(), str(data).encode())

    def _remembered(self) -> Path | None:
        if self._place.site == SANDBOX:
            return None  # points are taken in production: what is remembered is not the sandbox's
        try:
            return Path(self._memory().read_text())
        except (OSError, UnicodeDecodeError):
            return None


def _onward(target: Target | None, log: WalShelf | None) -> Onward | None:
    return None if target is None else Onward(target, log)
