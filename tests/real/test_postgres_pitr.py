"""A PostgreSQL server comes back at a moment that was asked for, row by row as an independent log of commits has it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres import PostgresKeeper
from backstay.adapters.postgres.private import PrivateServer, control_data
from backstay.adapters.postgres.programs import find, ourselves
from backstay.adapters.postgres.site import Site, stop_server
from backstay.app.laying import Further, lay_down
from backstay.errors import PointRefuted, SourceUnsuitable, StoreUnreachable, Unreachable
from backstay.facts import DidNot, Point, Succeeded
from backstay.lsn import Lsn, lsn
from backstay.plan import AtLsn, AtRestorePoint, AtTime, AtXid, Latest, Target, spell
from backstay.ports import Vault, WalShelf, unwatched
from backstay.values import RunId, stamp
from backstay.vault import new_key
from fix_memory import acting
from fix_pitr import CONF, Written, random_moments
from fix_points import empty
from fix_postgres import MakePostgres
from fix_vault import new_vault

ROOT = Path(__file__).resolve().parents[2]
SEGMENT = 16 << 20
ON_BOTH = pytest.mark.parametrize("written", [15, 17], indirect=True)


@pytest.fixture
def written(request: pytest.FixtureRequest, make_postgres: MakePostgres, tmp_path: Path) -> Iterator[Written]:
    server = make_postgres(getattr(request, "param", None), conf=CONF)
    made = Written(server, tmp_path)
    made.create()
    yield made
    stop_server(server.data, timedelta(seconds=10), SystemClock(), lambda: False)


def test_a_sandbox_shows_every_kind_of_target(written: Written, tmp_path: Path) -> None:
    vault = MemoryVault()
    written.write(5)
    point = written.take(vault)
    written.write(20)
    with written.server.connect() as db:
        db.execute("SELECT pg_create_restore_point('before deploy')")
    written.write(5)
    written.keep_log(vault)
    at = written.commits
    for target, rows in (
        (Target(AtTime(at[9].at)), 10),
        (Target(AtTime(at[9].at, inclusive=False)), 9),
        (Target(AtXid(at[14].xid)), 15),
        (Target(AtXid(at[14].xid, inclusive=False)), 14),
        (Target(AtLsn(at[19].after, inclusive=False)), 20),
        (Target(AtRestorePoint("before deploy")), 25),
        (Target(Latest()), 30),
    ):
        folder = empty(tmp_path / "sandbox")
        with written.keeper().sandbox(vault.open(point.id), folder, target=target, log=vault.wal) as there:
            assert there.ask("SELECT count(*) FROM beat") == rows, target
        assert list(folder.iterdir()) == []
        folder.rmdir()


def test_what_a_server_brings_neither_delays_a_replay_nor_hides_damage(written: Written, tmp_path: Path) -> None:
    """A standby that lags on purpose would let a recovery wait as long; PostgreSQL applies that to any archive
    recovery."""
    vault, passes = MemoryVault(), ("zero_damaged_pages", "ignore_checksum_failure", "ignore_invalid_pages")
    with (written.server.data / "postgresql.conf").open("a") as file:
        file.write("\nrecovery_min_apply_delay = '1h'\n" + "".join(f"{name} = on\n" for name in passes))
    point = written.take(vault)
    written.write(5)
    written.keep_log(vault)
    target = Target(AtTime(written.commits[3].at))
    place = replace(written.place(), start_within=timedelta(minutes=1))
    made = PostgresKeeper(place, SystemClock()).sandbox(
        vault.open(point.id), empty(tmp_path / "sandbox"), target=target, log=vault.wal
    )
    with made as there:
        assert there.ask("SELECT count(*) FROM beat") == 4
        assert [there.ask(f"SELECT current_setting('{name}')") for name in passes] == ["off"] * 3


def recover(written: Written, vault: MemoryVault, point: Point, target: Target, run: str) -> Succeeded:
    """As a run does. The server is at its own place again afterwards."""
    keeper, by = written.keeper(), acting(run=RunId(run))
    assert isinstance(keeper.preserve(by), Succeeded)
    done = keeper.restore(vault.open(point.id), by, target=target, log=vault.wal)
    assert isinstance(done, Succeeded)
    return done


def rows_of(written: Written) -> list[tuple[int, str]]:
    with written.server.connect() as db:
        return [(row[0], row[1]) for row in db.execute("SELECT n, text FROM beat ORDER BY n").fetchall()]


@ON_BOTH
def test_back_and_forth_over_timelines(written: Written) -> None:
    """To 10, forward again to 15 on the history that was given up, then on from there: as on a night when the first
    answer was too early."""
    vault = MemoryVault()
    written.write(5)
    point = written.take(vault)
    written.write(15)
    written.keep_log(vault)
    at = list(written.commits)
    done = recover(written, vault, point, Target(AtTime(at[9].at)), "run-1")
    assert rows_of(written) == written.rows(10)
    assert done.values["newest"] == stamp(at[9].at)
    assert done.values["timeline"] == "2"
    assert "commit of transaction" in done.values["stopped"]
    assert (written.server.data / "pg_wal/archive_status/00000002.history.ready").exists()
    # Life goes on, on timeline 2.
    written.commits[10:] = []
    written.write(3)
    written.keep_log(vault)
    onward = list(written.commits)
    # What was written between 10 and 20 is on timeline 1; the moment tells that.
    recover(written, vault, point, Target(AtTime(at[14].at)), "run-2")
    assert rows_of(written) == [(one.n, one.text) for one in at[:15]]
    with written.server.connect() as db:
        assert db.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone() == (3,), "2 is taken"
    written.commits[:] = at[:15]
    written.write(2)
    written.keep_log(vault)
    # And the middle one still can be had, by its name.
    recover(written, vault, point, Target(Latest(), 2), "run-3")
    assert rows_of(written) == [(one.n, one.text) for one in onward]


def test_what_cannot_be_reached_is_refused_before_anything_is_touched(written: Written, tmp_path: Path) -> None:
    vault = MemoryVault()
    written.write(5)
    point = written.take(vault)
    written.write(5)
    written.keep_log(vault)
    late, early = SystemClock().now() + timedelta(hours=1), written.commits[0].at
    for target in (
        Target(AtTime(late)),
        Target(AtTime(early)),
        Target(AtLsn(lsn("0/100"))),
        Target(AtLsn(lsn("F/0"))),
        Target(Latest(), 7),
    ):
        with (
            pytest.raises(Unreachable) as refused,
            written.keeper().sandbox(
                vault.open(point.id), tmp_path / "not even looked at", target=target, log=vault.wal
            ),
        ):
            pass
        assert "on timeline 1: " in refused.value.detail, target
    kept = written.keeper().preserve(acting())
    assert isinstance(kept, Succeeded)
    with pytest.raises(Unreachable, match="no log"):
        written.keeper().restore(vault.open(point.id), acting(), target=Target(Latest()))
    assert not list(written.server.data.parent.glob("*beside*"))
    assert Path(kept.values["kept"]).is_dir()
    # What only replaying can tell: a transaction that never was. Nothing is promoted in its place.
    for target in (Target(AtXid(1 << 30)), Target(AtRestorePoint("never made"))):
        with (
            pytest.raises(Unreachable, match="not in the log that is kept"),
            written.keeper().sandbox(vault.open(point.id), empty(tmp_path / "sandbox"), target=target, log=vault.wal),
        ):
            pass
        (tmp_path / "sandbox").rmdir()


def test_a_moment_after_the_last_commit_is_reached_where_the_log_goes_past_it(written: Written, tmp_path: Path) -> None:
    vault = MemoryVault()
    point = written.take(vault)
    written.write(4)
    with written.server.connect() as db:
        quiet = db.execute("SELECT clock_timestamp()").fetchone()
        db.execute("SELECT pg_switch_wal()")
    assert quiet is not None
    end = written.keep_log(vault)
    for target in (Target(AtTime(quiet[0])), Target(AtLsn(end)), Target(AtLsn(written.commits[-1].after))):
        folder = empty(tmp_path / "sandbox")
        with written.keeper().sandbox(vault.open(point.id), folder, target=target, log=vault.wal) as there:
            assert there.ask("SELECT count(*) FROM beat") == 4, target
        folder.rmdir()


class Cut:
    """A shelf that goes away when so many segments' worth of log was read."""

    def __init__(self, within: WalShelf, after_bytes: int, end: Callable[[], None] | None = None) -> None:
        self._within, self._left, self._end = within, after_bytes, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def read(self, system: int, timeline: int, start: Lsn, end: Lsn) -> Iterator[bytes]:
        for piece in self._within.read(system, timeline, start, end):
            self._left -= len(piece)
            if self._left < 0:
                if self._end is not None:
                    self._end()
                raise StoreUnreachable("the vault does not answer", detail="it was cut off")
            yield piece


def many_segments(written: Written, vault: Vault) -> Point:
    written.write(2)
    point = written.take(vault)
    for _ in range(6):
        written.write(2)
        with written.server.connect() as db:
            db.execute("SELECT pg_switch_wal()")
    written.write(2)
    written.keep_log(vault)
    return point


def test_a_vault_that_is_cut_off_meanwhile_promotes_nothing(written: Written) -> None:
    vault = MemoryVault()
    point = many_segments(written, vault)
    keeper, by, target = written.keeper(), acting(), Target(AtXid(written.commits[-2].xid))
    programs = find(written.server.major, named=written.server.bin_dir)
    keeper.preserve(by)
    cut = cast(WalShelf, Cut(vault.wal, 4 * SEGMENT))
    with pytest.raises(StoreUnreachable):
        keeper.restore(vault.open(point.id), by, target=target, log=cut)
    beside = Site.of(written.server.data).beside(by.run)
    assert (beside / "recovery.signal").exists(), "recovery has not ended"
    told = control_data(programs, beside)
    assert told["Latest checkpoint's TimeLineID"] == "1"
    assert isinstance(keeper.look_restored(by), DidNot)
    # The vault is back: it goes on, and ends where it had to.
    assert isinstance(keeper.restore(vault.open(point.id), by, target=target, log=vault.wal), Succeeded)
    assert rows_of(written) == written.rows(15)
    assert not list(written.server.data.parent.glob("*.spool"))


class Torn:
    """A shelf whose log is zeros from `torn` on, up to the end of that segment."""

    def __init__(self, within: WalShelf, torn: Lsn) -> None:
        self._within, self._from, self._to = within, torn, Lsn(-(-torn // SEGMENT) * SEGMENT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def read(self, system: int, timeline: int, start: Lsn, end: Lsn) -> Iterator[bytes]:
        at = start
        for piece in self._within.read(system, timeline, start, end):
            first, last = (min(max(place - at, 0), len(piece)) for place in (self._from, self._to))
            yield piece[:first] + bytes(last - first) + piece[last:]
            at = Lsn(at + len(piece))


def test_a_replay_that_ended_too_early_is_refuted_again_when_it_is_tried_again(written: Written) -> None:
    """The server has ended its recovery by then, and comes up without another word."""
    vault = MemoryVault()
    point = many_segments(written, vault)
    keeper, target = written.keeper(), Target(Latest())
    keeper.preserve(acting())
    torn = cast(WalShelf, Torn(vault.wal, Lsn(written.commits[4].after)))
    for epoch in (1, 2):
        with pytest.raises(PointRefuted, match="replay ended at"):
            keeper.restore(vault.open(point.id), acting(epoch=epoch), target=target, log=torn)
    assert isinstance(keeper.restore(vault.open(point.id), acting(epoch=3), target=target, log=vault.wal), Succeeded)
    assert rows_of(written) == written.rows(len(written.commits))


def test_a_folder_that_ended_at_the_wrong_place_is_no_cluster(written: Written, tmp_path: Path) -> None:
    vault, there = MemoryVault(), tmp_path / "there"
    point = many_segments(written, vault)
    further = Further(Target(Latest()), cast(WalShelf, Torn(vault.wal, Lsn(written.commits[4].after))), SystemClock())
    with pytest.raises(PointRefuted, match="replay ended at"):
        lay_down(vault.open(point.id), there, unwatched, further=further)
    assert not (there / "data/global/pg_control").exists()


class Gone:
    """A shelf that has nothing to give from a place on."""

    def __init__(self, within: WalShelf, place: Lsn) -> None:
        self._within, self._place = within, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    def read(self, system: int, timeline: int, start: Lsn, end: Lsn) -> Iterator[bytes]:
        if end > self._place:
            raise StoreUnreachable("the vault does not answer", detail="it was cut off")
        return self._within.read(system, timeline, start, end)


def test_what_is_amiss_behind_the_target_does_not_end_a_recovery(written: Written, tmp_path: Path) -> None:
    """The log is read ahead, and the server asks for histories after it has reached the target."""
    vault = MemoryVault()
    with (written.server.data / "postgresql.conf").open("a") as file:
        file.write("\nrecovery_prefetch = off\n")  # the segments of this test are nearly empty
    point = many_segments(written, vault)
    target, folder = Target(AtXid(written.commits[5].xid)), empty(tmp_path / "sandbox")
    cut = cast(WalShelf, Gone(vault.wal, Lsn(-(-written.commits[5].after // SEGMENT) * SEGMENT)))
    with written.keeper().sandbox(vault.open(point.id), folder, target=target, log=cut) as there:
        assert there.ask("SELECT count(*) FROM beat") == 6


_DRIVER = """
    import os, signal, sys
    from pathlib import Path
    from backstay.adapters.clock import SystemClock
    from backstay.adapters.objectstore import FolderStore
    from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
    from backstay.plan import PostgresWay, parse_target
    from backstay.ports import Acting
    from backstay.vault import Keyring, open_vault
    from test_postgres_pitr import Cut

    vault, point, dsn, data, binaries, target, after = sys.argv[1:]
    place = PostgresPlace(dsn, data=Path(data), way=PostgresWay.LOCAL, bin=Path(binaries), scratch=Path(vault).parent)
    keeper = PostgresKeeper(place, SystemClock())
    opened = open_vault(FolderStore(Path(vault)), "local", Keyring.load(Path(vault + ".key")))
    acting = Acting("run-1", "1.1-restore", 1, 1)
    keeper.preserve(acting)
    cut = Cut(opened.wal, int(after), lambda: os.kill(os.getpid(), signal.SIGKILL))
    keeper.restore(opened.open(point), acting, target=parse_target(target), log=cut)
"""


def test_a_driver_that_is_killed_in_mid_replay_promotes_nothing_and_the_next_goes_on(
    written: Written, tmp_path: Path
) -> None:
    keys = new_key(tmp_path / "vault.key")
    vault = new_vault(FolderStore(tmp_path / "vault"), keys)
    point = many_segments(written, vault)
    target = Target(AtTime(written.commits[11].at))
    program = tmp_path / "driver.py"
    program.write_text(dedent(_DRIVER))
    here = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}:{ROOT / 'tests/real'}"}
    server = written.server
    said = [str(tmp_path / "vault"), point.id, server.dsn(), str(server.data), str(server.bin_dir), spell(target)]
    killed = subprocess.run(
        [sys.executable, str(program), *said, str(4 * SEGMENT)], env=here, capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    by = acting(run=RunId("run-1"), epoch=2)
    beside = Site.of(server.data).beside(by.run)
    assert (beside / "recovery.signal").exists(), "recovery has not ended"
    keeper = written.keeper()
    assert isinstance(keeper.look_restored(by), DidNot)
    done = keeper.restore(vault.open(point.id), by, target=target, log=vault.wal)
    assert isinstance(done, Succeeded)
    assert rows_of(written) == written.rows(12)
    assert done.values["newest"] == stamp(written.commits[11].at)


@ON_BOTH
def test_random_moments_have_exactly_the_rows_of_the_log_of_commits(written: Written, tmp_path: Path) -> None:
    """Three here, ten on each version in `bench/run pitr`."""
    vault = MemoryVault()
    written.write(3)
    point = written.take(vault)
    written.write(200)
    written.keep_log(vault)
    for seen in random_moments(written, vault, point, tmp_path, 3):
        assert seen.there == seen.wanted, seen.target


def test_a_tablespace_that_was_made_meanwhile_is_never_made_again(written: Written, tmp_path: Path) -> None:
    """Replaying `CREATE TABLESPACE` empties the folder that it had: on this very machine, the living server's."""
    vault, spot = MemoryVault(), tmp_path / "space"
    spot.mkdir(mode=0o700)
    written.write(2)
    point = written.take(vault)
    written.write(3)
    with written.server.connect() as db:
        db.execute(f"CREATE TABLESPACE big LOCATION '{spot}'")  # pyright: ignore[reportCallIssue, reportArgumentType]
        db.execute("CREATE TABLE there TABLESPACE big AS SELECT generate_series(1, 1000) n")
    written.write(3)
    written.keep_log(vault)
    before = sorted(str(path) for path in spot.rglob("*"))

    def rows_at(target: Target) -> object:
        folder = empty(tmp_path / "sandbox")
        try:
            with written.keeper().sandbox(vault.open(point.id), folder, target=target, log=vault.wal) as there:
                return there.ask("SELECT count(*) FROM beat")
        finally:
            folder.rmdir()

    assert rows_at(Target(AtTime(written.commits[3].at))) == 4, "before it, a moment can be had"
    for target in (Target(Latest()), Target(AtTime(written.commits[6].at))):
        with pytest.raises(SourceUnsuitable, match="a tablespace was made at"):
            rows_at(target)
    assert sorted(str(path) for path in spot.rglob("*")) == before
    with written.server.connect() as db:
        assert db.execute("SELECT count(*) FROM there").fetchone() == (1000,)


def test_a_target_on_the_boundary_of_a_segment(written: Written, tmp_path: Path) -> None:
    vault = MemoryVault()
    point = written.take(vault)
    written.write(2)
    with written.server.connect() as db:
        db.execute("SELECT pg_switch_wal()")
    written.write(2)
    written.keep_log(vault)
    boundary = Lsn(-(-written.commits[1].after // SEGMENT) * SEGMENT)
    for target, rows in ((AtLsn(boundary, inclusive=False), 2), (AtLsn(Lsn(boundary - 8), inclusive=False), 2)):
        folder = empty(tmp_path / "sandbox")
        made = written.keeper().sandbox(vault.open(point.id), folder, target=Target(target), log=vault.wal)
        with made as there:
            assert there.ask("SELECT count(*) FROM beat") == rows, target
        folder.rmdir()


def test_a_folder_gets_a_server_that_is_at_the_target(written: Written, tmp_path: Path) -> None:
    vault = MemoryVault()
    written.write(2)
    point = written.take(vault)
    written.write(6)
    written.keep_log(vault)
    target = Target(AtTime(written.commits[4].at))
    further = Further(target, vault.wal, SystemClock())
    with pytest.raises(Unreachable):
        late = Target(AtTime(SystemClock().now() + timedelta(hours=1)))
        lay_down(vault.open(point.id), tmp_path / "late", unwatched, None, replace(further, target=late))
    assert not (tmp_path / "late").exists()
    steps = lay_down(vault.open(point.id), tmp_path / "there", unwatched, None, further)
    assert "on timeline 2" in steps[0]
    data = tmp_path / "there" / "data"
    assert not (data / "recovery.signal").exists(), "it has ended its recovery"
    assert not (tmp_path / "there" / "spool").exists()
    programs = find(int((data / "PG_VERSION").read_text()), named=written.server.bin_dir)
    server = PrivateServer(programs, data, ourselves(), tmp_path / "log", SystemClock(), "backstay-test", "postgres")
    with server:
        server.start(timedelta(minutes=1))
        with server.connect() as db:
            assert db.execute("SELECT count(*) FROM beat").fetchone() == (5,)
