"""The receiver against real servers: what it confirms is in the vault, whatever dies."""

import json
import random
import re
import shutil
import subprocess
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres.receiving import Connected, Event, Kept, Resting
from backstay.app import planning
from backstay.app.home import Asked, Home
from backstay.app.leading import log_of
from backstay.app.receiving import Telling
from backstay.errors import ObjectMissing, SourceUnsuitable, StoreUnreachable, WalConflict
from backstay.facts import LogKept
from backstay.lsn import Lsn, lsn
from backstay.ports import Key
from backstay.reach import base_of, reaches, read_history
from backstay.values import VaultName
from backstay.vault import Repository, names
from fix_estate import program
from fix_postgres import MakePostgres, Server
from fix_receiving import Crashes, following
from fix_vault import NOW, new_vault
from fix_waiting import until

LOCAL, OTHER = VaultName("local"), VaultName("other")
SAFE = {"fsync": "on", "max_slot_wal_keep_size": "1GB"}


def vault(name: str = "local") -> Repository:
    found = new_vault(MemoryStore())
    found.name = name
    return found


def written(server: Server) -> Lsn:
    with server.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS n")
        connection.execute("INSERT INTO t SELECT generate_series(1, 1000)")
        return position(connection)


def position(connection: psycopg.Connection) -> Lsn:
    row = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
    assert row is not None
    return lsn(str(row[0]))


def system_of(server: Server) -> int:
    with server.connect() as connection:
        row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert row is not None
    return int(row[0])


def in_order(found: Repository, system: int, timeline: int = 1) -> tuple[Lsn, Lsn]:
    """The log of a timeline, without a gap, and equal to what is read."""
    stretches = found.wal.stretches(system, timeline)
    end = stretches[0].start
    for one in stretches:
        assert one.start <= end
        end = max(end, one.end)
    read = b"".join(found.wal.read(system, timeline, stretches[0].start, end))
    assert len(read) == end - stretches[0].start
    return stretches[0].start, end


@pytest.mark.parametrize("major", [15, 18])
def test_what_is_confirmed_is_in_the_vault_and_nothing_else_is(make_postgres: MakePostgres, major: int) -> None:
    server, kept = make_postgres(major, conf=SAFE), vault()
    with following(server, kept) as found:
        for _ in range(3):
            found.has(written(server))
        with server.connect() as connection:
            connection.execute("SELECT pg_switch_wal()")
            written(server)
            confirmed = connection.execute(
                "SELECT flush_lsn, replay_lsn FROM pg_stat_replication WHERE application_name = 'backstay'"
            ).fetchone()
            assert confirmed is not None
            assert lsn(str(confirmed[0])) <= found.durable
            assert confirmed[1] is None, "nothing is ever said to be applied"
        found.has(written(server))
    start, end = in_order(kept, system_of(server))
    assert start % (16 << 20) == 0
    data = server.data / "pg_wal" / "000000010000000000000001"
    if start <= 1 << 24 and data.exists():
        assert b"".join(kept.wal.read(system_of(server), 1, Lsn(1 << 24), Lsn(2 << 24))) == data.read_bytes()
    first = kept.wal.stretches(system_of(server))[-1]
    label = kept.wal.label(first)
    assert (label.major, label.segment_bytes) == (major, 16 << 20)
    assert label.since is not None
    assert label.until is not None
    assert label.since <= label.until
    assert end == found.durable


def test_after_a_crash_of_the_server_it_goes_on_where_it_was(make_postgres: MakePostgres) -> None:
    server, kept = make_postgres(15, conf=SAFE), vault()
    with following(server, kept) as found:
        found.has(written(server))
        before = written(server)
        server.kill9()
        server.start()
        found.has(written(server))
        assert found.durable > before
    in_order(kept, system_of(server))
    assert [one.start for one in found.heard if isinstance(one, Connected)][1] <= found.durable
    assert "the connection to the database was lost" in found.troubles or "does not answer" in found.troubles


def test_a_receiver_that_died_left_nothing_that_the_next_one_needs(make_postgres: MakePostgres) -> None:
    """It is stopped anywhere, also while a piece is on its way: the vaults alone say where to go on."""
    server, store = make_postgres(17, conf=SAFE), MemoryStore()
    kept = new_vault(store)
    ends: list[Lsn] = []
    for _ in range(4):
        with following(server, kept) as found:
            found.has(written(server))
            ends.append(found.durable)
    stretches = kept.wal.stretches(system_of(server))
    assert all(before.end == after.start for before, after in pairwise(stretches)), "nothing twice, and no gap"
    assert stretches[-1].end >= ends[-1]
    in_order(kept, system_of(server))


@pytest.mark.parametrize("away", [False, True], ids=["followed", "away meanwhile"])
def test_a_new_timeline_is_followed_and_its_history_comes_first(make_postgres: MakePostgres, away: bool) -> None:
    """Where nobody follows meanwhile, the end of the old timeline is still to come when the new one is there."""
    server, kept = make_postgres(15, conf={**SAFE, "restore_command": "false"}), vault()
    system = system_of(server)
    with following(server, kept) as found:
        found.has(written(server))
        if away:
            found.receiver.stop()
            until(lambda: not _followed(server), "nobody follows")
            written(server)
        server.stop()
        (server.data / "recovery.signal").touch()
        server.start()
        until(lambda: not _recovering(server), "it is promoted")
        if not away:
            found.has(written(server))
    if away:
        with following(server, kept) as found:
            found.has(written(server))
        assert [one.timeline for one in found.heard if isinstance(one, Connected)] == [1, 2]
    assert sorted(kept.wal.histories(system)) == [2]
    left = read_history(2, kept.wal.histories(system)[2])
    assert [(one.timeline, one.at) for one in left] == [(1, in_order(kept, system)[1])]
    start, end = in_order(kept, system, 2)
    assert start == left[0].at
    assert end == found.durable
    times = {one.key: one.modified for one in kept.store.list("wal/")}
    assert times[names.history(system, 2)] <= min(at for key, at in times.items() if "/00000002/0" in key)


def _followed(server: Server) -> bool:
    with server.connect() as connection:
        return connection.execute("SELECT 1 FROM pg_stat_replication").fetchone() is not None


def _recovering(server: Server) -> bool:
    with server.connect() as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    return row is None or bool(row[0])


class _Moody(MemoryStore):
    """A store that is away while `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        if self.away:
            raise StoreUnreachable("no answer")
        return super().put_if_absent(key, data)


def test_a_vault_that_is_away_is_left_behind_and_named(make_postgres: MakePostgres) -> None:
    server, store = make_postgres(15, conf=SAFE), _Moody()
    kept, behind = vault(), new_vault(store)
    behind.name = "other"
    with following(server, behind, kept) as found:
        found.has(written(server))
        store.away = True
        found.has(written(server))
        found.has(written(server))
        last = [one for one in found.heard if isinstance(one, Kept)][-1]
        assert (last.vaults, dict(last.lacking)) == ((LOCAL,), {OTHER: "no answer"})
        assert "other takes no log: no answer" in found.troubles
    system = system_of(server)
    assert behind.wal.stretches(system)[-1].end < kept.wal.stretches(system)[-1].end


def test_while_no_vault_takes_it_nothing_is_confirmed_and_the_server_keeps_it(make_postgres: MakePostgres) -> None:
    server, store = make_postgres(15, conf=SAFE), _Moody()
    kept = new_vault(store)
    with following(server, kept) as found:
        found.has(written(server))
        store.away = True
        place = written(server)
        until(lambda: "no vault takes the log" in found.troubles, "it says that no vault takes it")
        with server.connect() as connection:
            row = connection.execute("SELECT flush_lsn FROM pg_stat_replication").fetchone()
        assert row is not None
        assert lsn(str(row[0])) < place
        store.away = False
        found.has(place)
    in_order(kept, system_of(server))


def test_log_that_the_server_removed_is_a_gap_that_is_said(make_postgres: MakePostgres) -> None:
    small = {**SAFE, "min_wal_size": "32MB", "max_wal_size": "32MB", "max_slot_wal_keep_size": "16MB"}
    server, kept = make_postgres(17, conf=small), vault()
    with following(server, kept) as found:
        found.has(written(server))
    end = found.durable
    with server.connect() as connection:  # nobody follows, and its slot may keep one segment
        for _ in range(6):
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("INSERT INTO t SELECT generate_series(1, 10)")
            connection.execute("CHECKPOINT")
    with following(server, kept) as found:
        found.has(written(server))
    assert "there is a gap" in found.troubles
    system = system_of(server)
    begun = next(one.start for one in kept.wal.stretches(system) if one.start > end)
    assert begun % (16 << 20) == 0
    with pytest.raises(ObjectMissing, match="is not kept from"):
        list(kept.wal.read(system, 1, end, begun))
    assert list(kept.wal.read(system, 1, begun, found.durable))


def test_a_second_receiver_of_the_same_slot_waits_and_says_so(make_postgres: MakePostgres) -> None:
    server, kept, other = make_postgres(15, conf=SAFE), vault(), vault()
    with following(server, kept) as found:
        found.has(written(server))
        with following(server, other) as second:
            until(lambda: "slot is in use" in second.troubles, "the second one hears that the slot is in use")
        found.has(written(server))
    assert second.durable == 0


def test_two_receivers_with_slots_of_their_own_harm_nobody(make_postgres: MakePostgres) -> None:
    server, kept = make_postgres(15, conf=SAFE), vault()
    with following(server, kept) as found, following(server, kept, slot="second") as second:
        for _ in range(3):
            place = written(server)
            found.has(place)
            second.has(place)
    in_order(kept, system_of(server))


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ({"wal_level": "minimal", "max_wal_senders": "0"}, "lets nobody follow.*wal_level = minimal"),
        ({"fsync": "off"}, "fsync = off"),
        ({**SAFE, "max_replication_slots": "0"}, "no replication slot"),
    ],
)
def test_a_server_whose_log_could_not_be_trusted_is_refused(
    make_postgres: MakePostgres, conf: dict[str, str], why: str
) -> None:
    server = make_postgres(15, conf=conf)
    with following(server, vault()) as found:
        until(lambda: bool(found.errors), "it refuses")
    assert isinstance(found.errors[0], SourceUnsuitable)
    assert re.search(why, str(found.errors[0]))


def test_a_server_that_was_set_back_is_not_taken_for_the_same(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server, kept = make_postgres(15, conf=SAFE), vault()
    written(server)
    server.stop()
    shutil.copytree(server.data, tmp_path / "before")
    server.start()
    with following(server, kept) as found:
        found.has(written(server))
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "before", server.data)
    server.start()
    with following(server, kept) as found:
        until(lambda: bool(found.errors), "it refuses")
    assert isinstance(found.errors[0], WalConflict)
    assert "behind the log that is kept" in found.errors[0].message


def test_what_was_confirmed_survives_a_crash_of_the_whole_server(make_postgres: MakePostgres, tmp_path: Path) -> None:
    """Only the vault is left: rows come back up to the last one that was confirmed, at least (`bench/run wal-loss`)."""
    server, kept = make_postgres(15, conf=SAFE), new_vault(FolderStore(tmp_path / "vault"))
    crashes, moments = Crashes(server, kept, tmp_path), random.Random(4)
    point = crashes.take()
    losses = [*crashes.run(point, 1, moments, (0.4, 0.8))]
    server.start()
    losses += crashes.run(point, 1, moments, (0.4, 0.8), both=True)
    for loss in losses:
        assert loss.confirmed <= loss.recovered <= loss.committed + 1
    assert losses[0].confirmed > 0


# ── as it is typed ───────────────────────────────────────────────────────────────────────────────

PLAN = """\
backstay: 1
system: {name: shop, title: Shop}
objectives: {rto: 1h, rpo: 1m}
sites:
  primary: {}
vaults:
  local: {url: ./local, keep: 30d}
components:
  database:
    postgres: {url: {primary: "${env:SHOP_DATABASE}"}, way: local, data: {primary: %s}}
    protect: {full: "02:00", wal: continuous}
people:
  me: {name: Me, email: me@example.com}
declaration: {authority: {alone: [me]}}
"""


@pytest.fixture
def shop(tmp_path: Path, make_postgres: MakePostgres, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = make_postgres(15, conf=SAFE)
    monkeypatch.setenv("SHOP_DATABASE", server.dsn())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backstay.yaml").write_text(PLAN % server.data)
    list(planning.init(Home(Asked(), tmp_path)))
    return server


def begun(*words: str) -> subprocess.Popen[str]:
    with Path("receiver.log").open("a") as log:
        return subprocess.Popen(
            [*program(), "wal", "receive", *words], stdout=log, stderr=log, text=True, start_new_session=True
        )


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program(), *words], capture_output=True, text=True, timeout=120, check=False)


def events() -> list[dict[str, Any]]:
    lines = Path("receiver.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def kept_up_to(place: Lsn) -> None:
    def there() -> bool:
        return any(one["event"] == "kept" and lsn(one["end"]) >= place for one in events())

    until(there, f"the log up to {place:x} is kept; {Path('receiver.log').read_text()}", seconds=30)


def test_the_receiver_as_it_is_typed_is_killed_stopped_and_seen_in_status(shop: Server) -> None:
    assert typed("backup", "database").returncode == 0
    running = begun("database", "--every", "200ms", "--json")
    kept_up_to(written(shop))
    refused = typed("wal", "receive", "--json")
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (62, 62)

    running.kill()
    running.wait(30)
    place = written(shop)
    running = begun("--every", "200ms", "--json")
    kept_up_to(place)

    place = written(shop)  # stopped in order, it takes along what has arrived
    kept_up_to(place)
    running.terminate()
    assert running.wait(30) == 0, Path("receiver.log").read_text()

    told = json.loads(typed("status", "--json").stdout)["components"][0]
    assert told["age_s"] < 60
    assert "the log kept after the newest point" in told["rpo"]["why"]
    state = json.loads(Path(".backstay/wal-database.json").read_text())
    assert (state["vaults"], state["lacking"], lsn(state["durable"]) >= place) == (["local"], {}, True)
    assert "postgresql://" not in Path("receiver.log").read_text()

    once = typed("wal", "receive", "--once")
    assert (once.returncode, "everything is kept" in once.stdout) == (0, True), once.stderr
    opened = Home(Asked(), Path.cwd()).vault(LOCAL)
    in_order(opened, system_of(shop))
    point = base_of(opened.points()[0])
    log = log_of(opened.wal, system_of(shop))
    assert point is not None
    assert log is not None
    assert reaches(log, point)[0].to >= place


def test_what_is_no_source_of_log_is_refused_before_anything(shop: Server) -> None:
    wrong = typed("wal", "receive", "nobody")
    assert wrong.returncode == 13
    big = typed("wal", "receive", "--size", "1GiB")
    assert (big.returncode, "1 byte to 60 MiB" in big.stderr) == (2, True)
    assert not Path("local/wal").exists()


def test_log_is_copied_checked_and_repaired_like_points(shop: Server, tmp_path: Path) -> None:
    plan = (tmp_path / "backstay.yaml").read_text()
    plan = plan.replace(
        "  local: {url: ./local, keep: 30d}\n", "  local: {url: ./local, keep: 30d}\n  other: {url: ./other}\n"
    )
    (tmp_path / "backstay.yaml").write_text(plan)
    assert typed("init").returncode == 0
    assert typed("backup", "database").returncode == 0
    written(shop)
    assert typed("wal", "receive", "--once").returncode == 0
    here, there = (
        sorted(one.relative_to(vault) for one in Path(vault).glob("wal/*/*/*")) for vault in ("local", "other")
    )
    assert here == there
    assert here

    for one in there:
        (Path("other") / one).unlink()
    copied = typed("vault", "copy", "--json")
    assert copied.returncode == 0, copied.stderr
    (told,) = json.loads(copied.stdout)["log"]
    assert (told["from"], told["to"], told["objects"]) == ("local", "other", len(here))

    hurt = Path("local") / here[-1]
    sound = hurt.read_bytes()
    hurt.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
    assert str(here[-1]) not in typed("vault", "check", "local").stdout, "its front is whole, and nobody asked for more"
    checked = typed("vault", "check", "local", "--read-data")
    assert (checked.returncode, str(here[-1]) in checked.stdout) == (77, True), checked.stdout
    repaired = typed("vault", "repair", "local", "--read-data")
    assert f"{here[-1]} replaced by the copy of other" in repaired.stdout, repaired.stdout
    assert str(here[-1]) not in typed("vault", "check", "local", "--read-data").stdout
    (Path("local") / here[-1]).unlink()
    repaired = typed("vault", "repair", "local")
    assert "1 missing object of log brought back, from other" in repaired.stdout

    let_go = typed("retain", "--yes", "--json")
    assert let_go.returncode == 0, let_go.stderr
    assert all(one["log"]["objects"] == 0 for one in json.loads(let_go.stdout)["done"])
    assert sorted(one.relative_to("local") for one in Path("local").glob("wal/*/*/*")) == here


def test_that_nothing_is_missing_is_noted_while_a_server_rests_and_not_while_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", "postgresql://nobody@127.0.0.1:1/shop")
    (tmp_path / "backstay.yaml").write_text(PLAN % tmp_path)
    home = Home(Asked(), tmp_path)
    list(planning.init(home))
    heard: list[Event] = []
    telling = Telling(home, home.plan.component("database"), heard.append)

    def noted() -> list[datetime]:
        return [one.fact.until for one in home.journal.everything() if isinstance(one.fact, LogKept)]

    telling(Kept(1, 1, Lsn(1), Lsn(9), NOW, Lsn(9), (LOCAL,), {}))
    for seconds in (10, 50, 70, 80, 129, 140):
        telling(Resting(1, 1, Lsn(9), NOW + timedelta(seconds=seconds)))
    assert noted() == [NOW + timedelta(seconds=70), NOW + timedelta(seconds=140)]
    telling(Kept(1, 1, Lsn(9), Lsn(19), NOW + timedelta(seconds=150), Lsn(19), (LOCAL,), {}))
    telling.rest()
    assert len(noted()) == 2
    assert [type(one) for one in heard] == [Kept, Kept]


def test_a_slot_that_somebody_else_needs_is_never_dropped(make_postgres: MakePostgres) -> None:
    """A logical one, named by a slip in --slot: its subscriber would have to begin anew."""
    server, kept = make_postgres(17, conf={**SAFE, "wal_level": "logical"}), vault()
    with server.connect() as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('orders', 'pgoutput')")
    with following(server, kept, slot="orders") as found:
        until(lambda: bool(found.errors), "it is refused")
    assert isinstance(found.errors[0], SourceUnsuitable)
    assert "orders is no physical one" in found.errors[0].message
    with server.connect() as connection:
        assert connection.execute("SELECT slot_name, slot_type FROM pg_replication_slots").fetchall() == [
            ("orders", "logical")
        ]
