"""A standby as the source: its files by ourselves and over the wire, on a server that only replays."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.errors import BackstayError
from backstay.lsn import lsn
from backstay.plan import PostgresWay
from backstay.ports import Entry, Progress, unwatched
from backstay.protect import READ
from fix_points import Interrupted, empty, not_passed, take_and_hear
from fix_postgres import DURABLE, MakePostgres, Server, run, stock, writing
from fix_story import DATABASE, PLAN
from fix_waiting import until

WAYS = (PostgresWay.LOCAL, PostgresWay.STREAM)
Pair = tuple[Server, Server]


@pytest.fixture
def make_pair(make_postgres: MakePostgres, tmp_path: Path) -> Callable[[int], Pair]:
    """A primary with something in it, and a standby that follows it."""

    def make(major: int) -> Pair:
        conf = {**DURABLE, "summarize_wal": "on"} if major >= 17 else DURABLE
        primary = make_postgres(major, conf=conf)
        stock(primary)
        data = tmp_path / "standby" / "data"
        data.parent.mkdir()
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        run([primary.bin_dir / "pg_basebackup", "-D", data, "-d", source, "-R", "-c", "fast", "--no-sync"])
        standby = make_postgres(major, data=data)
        caught_up(primary, standby)
        return primary, standby

    return make


def caught_up(primary: Server, standby: Server) -> None:
    with primary.connect() as here, standby.connect() as there:
        row = here.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        until(lambda: _replayed(there) >= lsn(row[0]), "the standby has replayed what the primary wrote")


def _replayed(there: psycopg.Connection) -> int:
    row = there.execute("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text").fetchone()
    assert row is not None
    return lsn(row[0])


def keeper_of(server: Server, way: PostgresWay, scratch: Path, *, full: bool = True) -> PostgresKeeper:
    return PostgresKeeper(PostgresPlace(server.dsn(), way=way, scratch=scratch), SystemClock(), full=full)


@pytest.mark.parametrize(("major", "way"), [(15, PostgresWay.LOCAL), (17, PostgresWay.STREAM)])
def test_a_point_of_a_standby_is_whole_while_its_primary_is_written_to(
    make_pair: Callable[[int], Pair], tmp_path: Path, major: int, way: PostgresWay
) -> None:
    primary, standby = make_pair(major)
    keeper, vault = keeper_of(standby, way, tmp_path), MemoryVault()
    with writing(primary):
        caught_up(primary, standby)
        with standby.connect() as db:
            before = db.execute("SELECT max(n) FROM beat").fetchone()
        point, taken = take_and_hear(keeper, vault)
    assert point.way == way.value
    assert point.about["standby"] == "yes"
    assert "a standby" in " ".join(taken.said)
    assert b"BACKUP FROM: standby" in b"".join(vault.open(point.id).read("data/backup_label"))
    with keeper.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("full")) == []
        rows, last = (restored.ask(f"SELECT {what} FROM beat") for what in ("count(*)", "max(n)"))
        assert rows == last, "no row is missing in between"
        newest = restored.ask("SELECT max(at) FROM beat")
    if point.newest is not None:
        assert isinstance(newest, datetime)
        assert point.newest <= newest
    if way is PostgresWay.LOCAL:
        assert before is not None
        assert isinstance(rows, int)
        assert rows >= before[0], "what it had replayed is in the point"
        assert point.newest is not None


@pytest.mark.parametrize("way", WAYS)
def test_a_standby_that_is_promoted_meanwhile_makes_no_point(
    make_pair: Callable[[int], Pair], tmp_path: Path, way: PostgresWay
) -> None:
    _, standby = make_pair(15)
    vault = MemoryVault()

    def promote() -> None:
        with standby.connect() as db:
            db.execute("SELECT pg_promote(true)")

    with vault.begin(DATABASE, plan=PLAN, now=SystemClock().now()) as writer:
        interrupted = Interrupted(writer, promote)
        if way is PostgresWay.STREAM:
            # All of it may be on its way already: promoted before the first byte is taken.
            interrupted = Early(writer, promote)
        with pytest.raises(BackstayError) as error:
            keeper_of(standby, way, tmp_path).take(interrupted)
    assert "promoted" in str(error.value) or "timeline" in str(error.value)
    assert vault.points() == []


class Early(Interrupted):
    """What happens, happens before the first entry is stored."""

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        if self._happens:
            self._happens.pop()()
        self._within.add(entries, progress)


def test_after_a_promotion_everything_is_read_again(make_pair: Callable[[int], Pair], tmp_path: Path) -> None:
    """Of the standby by what changed; then of the primary that it became."""
    primary, standby = make_pair(17)
    vault, some = MemoryVault(), keeper_of(standby, PostgresWay.STREAM, tmp_path, full=False)
    take_and_hear(some, vault)
    with primary.connect() as db:
        db.execute("UPDATE things SET name = 'x' WHERE id % 100 = 0")
        db.execute("CHECKPOINT")
    caught_up(primary, standby)
    with standby.connect() as db:
        db.execute("CHECKPOINT")
    point, said = take_and_hear(some, vault)
    assert point.about[READ] == "incremental", said
    with some.sandbox(vault.open(point.id), empty(tmp_path / "sandbox")) as restored:
        assert not_passed(restored.inspect("sample")) == []
        assert restored.ask("SELECT count(*) FROM things WHERE name = 'x'") != 0
    with standby.connect() as db:
        db.execute("SELECT pg_promote(true)")
        db.execute("CHECKPOINT")
    point, taken = take_and_hear(some, vault)
    assert point.about[READ] == "full"
    assert "timeline changed from 1 to 2" in " ".join(taken.said)
    assert point.lineage.endswith("-2")
    with some.sandbox(vault.open(point.id), empty(tmp_path / "sandbox2")) as restored:
        assert not_passed(restored.inspect("bytes")) == []
