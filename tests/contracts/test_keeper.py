"""The contract of Keeper, on SQLite, on a whole PostgreSQL server, and on one database of it."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.adapters.postgres.site import stop_server
from backstay.adapters.sqlite import SqliteKeeper
from backstay.errors import Damaged, TargetAlive
from backstay.facts import DidNot, Succeeded
from backstay.plan import PostgresWay
from backstay.ports import Keeper
from fix_keeper import KeeperContract, KeptSite, unheard
from fix_memory import acting
from fix_postgres import MakePostgres, Server

# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────


class InSqlite:
    def __init__(self, base: Path, journal: str) -> None:
        self.path, self.base = base / "srv" / "app.db", base
        self.path.parent.mkdir()
        with sqlite3.connect(self.path) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT)")
            connection.executemany("INSERT INTO settings VALUES (?, ?)", [(f"k{n}", "v" * n) for n in range(500)])
        connection.close()

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        return SqliteKeeper(self.path, SystemClock(), scratch=self.base / "scratch", reached=reached)

    def change(self) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute("INSERT INTO settings VALUES (hex(randomblob(8)), 'new')")
        connection.close()

    def destroy(self) -> None:
        with self.path.open("r+b") as file:
            file.write(b"garbage " * 512)

    def clear(self) -> None:
        for path in self.path.parent.glob("app.db*"):
            path.unlink()

    def content(self) -> Mapping[str, str]:
        with self.keeper(unheard).live() as live:
            return live.digests()


class TestSqliteInWalMode(KeeperContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> KeptSite:
        return InSqlite(tmp_path, "wal")


class TestSqliteWithAJournal(KeeperContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> KeptSite:
        return InSqlite(tmp_path, "delete")


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


class AServer:
    """A whole server, kept by its files."""

    def __init__(self, server: Server, base: Path) -> None:
        self.server, self.base = server, base
        with server.connect() as connection:
            connection.execute("CREATE TABLE rows (n int PRIMARY KEY, filler text)")
            connection.execute("INSERT INTO rows SELECT n, repeat('x', n % 90) FROM generate_series(1, 2000) n")

    def place(self) -> PostgresPlace:
        return PostgresPlace(
            self.server.dsn(), data=self.server.data, way=PostgresWay.LOCAL, scratch=self.base / "scratch"
        )

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        return PostgresKeeper(self.place(), SystemClock(), reached=reached)

    def change(self) -> None:
        with self.server.connect() as connection:
            connection.execute("INSERT INTO rows SELECT max(n) + 1, 'new' FROM rows")

    def destroy(self) -> None:
        for name in ("global/pg_control", "global/pg_filenode.map", "PG_VERSION"):
            (self.server.data / name).write_bytes(b"")

    def clear(self) -> None:
        self.stop()
        shutil.rmtree(self.server.data)

    def content(self) -> Mapping[str, str]:
        with self.keeper(unheard).live() as live:
            return live.digests()

    def stop(self) -> None:
        stop_server(self.server.data, timedelta(seconds=10), SystemClock(), lambda: False)


class TestPostgresLocal(KeeperContract):
    has_log = True

    @pytest.fixture
    def site(self, tmp_path: Path, make_postgres: MakePostgres) -> Iterator[KeptSite]:
        (tmp_path / "scratch").mkdir()
        site = AServer(make_postgres(conf={"fsync": "on", "full_page_writes": "on"}), tmp_path)
        yield site
        site.stop()

    def test_a_damaged_point_takes_nothing_away(self, site: KeptSite, vault: MemoryVault) -> None:
        """A server that is up is not restored over, so here the old one is preserved first, and stays whole."""
        assert isinstance(site, AServer)
        before, point = site.content(), self.take(site, vault)
        keeper = site.keeper(unheard)
        with pytest.raises(TargetAlive):
            keeper.restore(vault.open(point.id), acting())
        kept = keeper.preserve(acting())
        assert isinstance(kept, Succeeded)
        vault.damage(point.id, max(stored.path for stored in vault.open(point.id).entries() if stored.size_bytes))
        with pytest.raises(Damaged):
            keeper.restore(vault.open(point.id), acting())
        assert isinstance(keeper.look_restored(acting()), DidNot)
        Path(kept.values["kept"]).rename(site.server.data)
        assert site.server.process is not None
        site.server.process.wait()
        site.server.start()
        assert site.content() == before


class ADatabase:
    """One database of a server that goes on, kept by dumps."""

    def __init__(self, server: Server, base: Path) -> None:
        self.server, self.base, self.name = server, base, server.make_database()
        with server.connect(self.name) as connection:
            connection.execute("CREATE TABLE rows (n serial PRIMARY KEY, filler text)")
            connection.execute("INSERT INTO rows (filler) SELECT repeat('x', n % 90) FROM generate_series(1, 2000) n")
            connection.execute("CREATE VIEW few AS SELECT * FROM rows WHERE n < 10")

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        place = PostgresPlace(self.server.dsn(self.name), way=PostgresWay.LOGICAL, scratch=self.base / "scratch")
        return PostgresKeeper(place, SystemClock(), reached=reached)

    def change(self) -> None:
        with self.server.connect(self.name) as connection:
            connection.execute("INSERT INTO rows (filler) VALUES ('new')")

    def destroy(self) -> None:
        with self.server.connect(self.name) as connection:
            connection.execute("DROP TABLE rows CASCADE")

    def clear(self) -> None:
        self.server.drop_database(self.name)

    def content(self) -> Mapping[str, str]:
        with self.keeper(unheard).live() as live:
            return live.digests()

    def tidy(self) -> None:
        with self.server.connect() as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (self.name,)
            ).fetchall():
                connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


class TestPostgresLogical(KeeperContract):
    @pytest.fixture
    def site(self, tmp_path: Path, postgres: Server) -> Iterator[KeptSite]:
        site = ADatabase(postgres, tmp_path)
        yield site
        site.tidy()
