"""The ladder of proof, proven itself: for each check a broken backup that every restore tool is happy with, and a
healthy one on which it stays silent. The last test prints the table; a law sees to it that no code is missing.

A few servers and restores serve all: what is broken in a database can be looked at by many checks at once. A backup
that is *worse than its source* is made by taking two: the broken one gets the notes of the source from the sound one.
"""

import json
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import SQL

from backstay.adapters.clock import SystemClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres import PostgresKeeper, PostgresPlace
from backstay.adapters.postgres.checks import CODES as POSTGRES
from backstay.adapters.postgres.checks import Tier
from backstay.adapters.postgres.layout import bytes_entry
from backstay.adapters.postgres.prior import MANIFEST
from backstay.adapters.postgres.sandbox import Room
from backstay.adapters.sqlite import SqliteKeeper
from backstay.adapters.sqlite.answers import CODES as SQLITE
from backstay.errors import BackstayError, DiskFull, SourceDown
from backstay.facts import CheckResult, Point, Verdict
from backstay.plan import (
    Canary,
    CommandCheck,
    Compare,
    Component,
    Objectives,
    PerSite,
    PostgresWay,
    Prove,
    Question,
    SandboxLimits,
    SqliteSource,
    Template,
)
from backstay.ports import CATALOGUE, Answers, Clock, Entry, Keeper, Kind, PointReader, Sealing
from backstay.values import RunId
from backstay.verbs import Routine, prove_point, take_point
from backstay.verify import CODES as COMMON
from backstay.verify import SEVERITIES, severity
from backstay.verify.checks import stopped
from fix_points import Change, Tampered, empty, take
from fix_postgres import Server, making, run
from fix_story import DATABASE, PLAN
from fix_vault import new_vault

ELSEWHERE = {"B04"}
"""Of backups that another program holds: broken and healthy ones are in `test_existing.py`."""
EVERY = sorted({*COMMON, *POSTGRES, *SQLITE})

Checks = Mapping[str, CheckResult]


def by_code(checks: Sequence[CheckResult]) -> dict[str, CheckResult]:
    return {check.code: check for check in checks}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    code: str
    broken: str
    """How the backup was broken."""
    group: str
    """Which restores show it: a key of `seen`."""
    caught: Verdict = Verdict.FAILED


NOT_VERIFIED = Verdict.NOT_VERIFIED
ROWS = (
    Row("B01", "one bit of one pack in the vault is flipped", "vault"),
    Row("B02", "one bit of one page of a table was flipped before it was read", "page"),
    Row("B03", "a file that no checksum of a page covers is not what the server sent", "manifest"),
    Row("R01", "a small file of the cluster is torn: the copying went well, the server does not come up", "torn"),
    Row("R02", "recovery ended before the end of the backup (by hand: a server refuses that itself)", "by-hand"),
    Row("R03", "the server went on under the timeline of the backup (by hand: ours always leaves it)", "by-hand"),
    Row("R04", "the roles are not in the backup; pg_restore goes on without them", "dump"),
    Row("R05", "half of the rows of one table are cut off at the end of a line; pg_restore ends with 0", "dump"),
    Row("S01", "an index of the source is not there", "database"),
    Row("S02", "a table is gone since the last proof", "sqlite"),
    Row("V01", "most rows of a table are gone since the last proof", "sqlite"),
    Row("V05", "a table lost more than a tenth of its rows: a person has to say", "sqlite", NOT_VERIFIED),
    Row("I01", "an index does not have the rows of its table; every page is well formed", "database"),
    Row("I02", "CREATE INDEX CONCURRENTLY broke off", "database"),
    Row("I03", "a constraint came back NOT VALID", "database"),
    Row("I04", "a sequence starts again at 1", "database"),
    Row("I05", "a materialized view has no rows yet", "database"),
    Row("I06", "an index was built with another version of its collation", "database", NOT_VERIFIED),
    Row("I07", "a prepared transaction holds its locks", "database"),
    Row("I08", "an index of SQLite has another key than its row", "sqlite-file"),
    Row("I09", "a row of SQLite refers to one that is not there", "sqlite-file"),
    Row("I10", "rows of PostgreSQL refer to one that is not there", "database"),
    Row("M01", "the question of the plan has another answer", "sqlite"),
    Row("M02", "the restored database died while it was asked", "died", NOT_VERIFIED),
    Row("M03", "the application's own check does not work on it", "sqlite"),
    Row("M05", "the number of a canary went down", "sqlite", NOT_VERIFIED),
    Row("C01", "the point is a second older than the plan allows", "late"),
    Row("C02", "restoring it takes longer than the plan allows", "late"),
)


def test_every_check_has_its_row_and_its_weight() -> None:
    assert sorted([*(row.code for row in ROWS), *ELSEWHERE]) == EVERY
    assert sorted(SEVERITIES) == EVERY


# ── PostgreSQL: files ────────────────────────────────────────────────────────────────────────────


class Recorded(Tampered):
    """A point with the notes of another one's source: what was backed up is not what was there."""

    def __init__(self, within: PointReader, source: PointReader, changes: Mapping[str, Change | None] = {}) -> None:
        about = {name: source.point.about[name] for name in ("objects", "findings")}
        super().__init__(within, changes, about)
        self._source = source

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return (self._source if path == CATALOGUE else self.within).read(path, start, length)


SOUND = """
    CREATE TABLE tenants (id serial PRIMARY KEY, name text NOT NULL, made timestamptz DEFAULT now());
    INSERT INTO tenants (name) SELECT md5(n::text) FROM generate_series(1, 3000) n;
    CREATE TABLE orders (id serial PRIMARY KEY, tenant int NOT NULL REFERENCES tenants, what text);
    INSERT INTO orders (tenant, what) SELECT n % 3000 + 1, md5(n::text) FROM generate_series(1, 9000) n;
    CREATE INDEX orders_what ON orders (what);
    CREATE FUNCTION lower_name(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
    CREATE INDEX tenants_lower ON tenants (lower_name(name));
    CREATE MATERIALIZED VIEW per_tenant AS SELECT tenant, count(*) FROM orders GROUP BY 1;
    CREATE VIEW names AS SELECT name FROM tenants WHERE name IN ('a', 'b');
    ALTER TABLE orders ADD CONSTRAINT kind CHECK (what IS DISTINCT FROM 'x' AND length(what) < 100);
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE COLLATION sorted (provider = icu, locale = 'de');
    CREATE TABLE words (w text COLLATE sorted PRIMARY KEY)
"""
BROKEN = """
    DROP INDEX orders_what;
    CREATE OR REPLACE FUNCTION lower_name(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT upper($1) || ''!''';
    SET allow_system_table_mods = on;
    UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'words_pkey'::regclass;
    ALTER TABLE tenants ADD CONSTRAINT late CHECK (id > 0) NOT VALID;
    ALTER SEQUENCE orders_id_seq RESTART;
    REFRESH MATERIALIZED VIEW per_tenant WITH NO DATA;
    UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'sorted';
    SET session_replication_role = replica;
    DELETE FROM tenants WHERE id = 7
"""


def local(server: Server, scratch: Path, name: str = "shop") -> PostgresKeeper:
    place = PostgresPlace(server.dsn(name), way=PostgresWay.LOCAL, scratch=scratch)
    return PostgresKeeper(place, SystemClock())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with making(tmp_path_factory.mktemp("ladder")) as make:
        made = make(conf={"fsync": "on", "max_prepared_transactions": "5", "shared_buffers": "16MB"})
        with made.connect() as db:
            db.execute("CREATE ROLE owner_of_orders LOGIN")
            db.execute("CREATE DATABASE shop TEMPLATE template0")
        with made.connect("shop") as db:
            for statement in SOUND.split(";\n"):
                db.execute(SQL(statement))
            db.execute("ALTER TABLE orders OWNER TO owner_of_orders")
            db.execute("CHECKPOINT")
        yield made


@dataclass
class Files:
    """One server, twice: as it was, and broken in many ways."""

    keeper: PostgresKeeper
    sound: PointReader
    broken: PointReader
    heap: str
    """The path of a table's file."""
    base: Path
    """A base backup with its manifest, of before."""


@pytest.fixture(scope="module")
def files(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("points")
    keeper, vault = local(server, folder), MemoryVault()
    sound = take(keeper, vault)
    base = folder / "base"
    run([server.bin_dir / "pg_basebackup", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-D", base,
         "-c", "fast", "-X", "fetch"])  # fmt: skip
    with server.connect("shop") as db:
        row = db.execute("SELECT 'data/' || pg_relation_filepath('orders')").fetchone()
        assert row is not None
        for statement in BROKEN.split(";\n"):
            db.execute(SQL(statement))
        db.execute("RESET session_replication_role")
        db.execute("BEGIN")
        db.execute("INSERT INTO words VALUES ('held')")
        db.execute("PREPARE TRANSACTION 'left over'")
    broken = take(keeper, vault)
    with server.connect("shop") as db:
        db.execute("ROLLBACK PREPARED 'left over'")
    return Files(keeper, vault.open(sound.id), vault.open(broken.id), str(row[0]), base)


Look = Callable[[Answers], list[CheckResult]]


def fully(answers: Answers) -> list[CheckResult]:
    return answers.inspect("full")


@contextmanager
def restored(keeper: Keeper, point: PointReader, folder: Path) -> Generator[Answers]:
    with keeper.sandbox(point, empty(folder)) as answers:
        yield answers


def inspected(keeper: Keeper, point: PointReader, folder: Path, look: Look = fully) -> Checks:
    """What the sandbox showed; what stopped it, judged as a proof would."""
    try:
        with restored(keeper, point, folder) as answers:
            return by_code(look(answers))
    except BackstayError as error:
        return by_code([stopped(error)])


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def ended_too_early(answers: Answers) -> list[CheckResult]:
    room = getattr(answers, "_inspect").__self__  # noqa: B009 - a seam that no operator has
    assert isinstance(room, Room)
    room.recovered = replace(room.recovered, timeline=room.physical.timeline, reached=room.physical.start_lsn)
    return room.inspect("bytes")


def base_backup(folder: Path, like: Point, vault: MemoryVault) -> Point:
    """What pg_basebackup wrote, as a point, with the server's own manifest."""
    label = (folder / "backup_label").read_text()
    start = label.partition("START WAL LOCATION: ")[2].split()[0]
    now = SystemClock().now()

    def entries() -> Iterator[Entry]:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_dir():
                yield Entry(f"data/{name}", Kind.FOLDER, 0o700, now)
            else:
                yield bytes_entry(name if name == MANIFEST else f"data/{name}", path.read_bytes(), now)

    with vault.begin(DATABASE, plan=PLAN, now=now) as writer:
        writer.add(list(entries()))
        stop = json.loads((folder / MANIFEST).read_text())["WAL-Ranges"][0]["End-LSN"]
        about = {**like.about, "start_lsn": start, "stop_lsn": stop}
        return writer.seal(Sealing(like.lineage, "local", now, now, now, "a base backup", about))


@pytest.fixture(scope="module")
def seen_in_files(files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checks, Checks]]:
    """By group: what the broken one showed, and the healthy one."""
    top = tmp_path_factory.mktemp("sandboxes")
    keeper, sound, broken = files.keeper, files.sound, files.broken
    with restored(keeper, sound, top / "sound") as answers:
        healthy = by_code(answers.inspect("full"))
        by_hand = by_code(ended_too_early(answers))
    torn = Tampered(sound, {"data/global/pg_filenode.map": lambda path: flip(path, 100)})
    page = Tampered(sound, {files.heap: lambda path: flip(path, 8192 + 4000)})
    base = (vault := MemoryVault()).open(base_backup(files.base, sound.point, vault).id)
    manifest = inspected(keeper, base, top / "base", bytes_only)
    # Where no transaction was yet, so that no row shows it.
    spoilt = Tampered(base, {"data/pg_xact/0000": lambda path: flip(path, 8000)})
    return {
        "database": (inspected(keeper, Recorded(broken, sound), top / "broken"), healthy),
        "page": (inspected(keeper, page, top / "page", bytes_only), healthy),
        "by-hand": (by_hand, healthy),
        "torn": (inspected(keeper, torn, top / "torn"), healthy),
        "manifest": (inspected(keeper, spoilt, top / "spoilt", bytes_only), manifest),
    }


def bytes_only(answers: Answers) -> list[CheckResult]:
    return answers.inspect("bytes")


# ── PostgreSQL: a dump ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def seen_in_dumps(
    server: Server, tmp_path_factory: pytest.TempPathFactory, files: Files
) -> dict[str, tuple[Checks, Checks]]:
    """Of a database of its own; `files` only so that it comes later."""
    top = tmp_path_factory.mktemp("dumps")
    name = server.make_database()
    with server.connect(name) as db:
        for statement in SOUND.split(";\n"):
            db.execute(SQL(statement))
        db.execute("ALTER TABLE orders OWNER TO owner_of_orders")
    place = PostgresPlace(server.dsn(name), way=PostgresWay.LOGICAL, scratch=top / "scratch")
    keeper, vault = PostgresKeeper(place, SystemClock()), MemoryVault()
    point = vault.open(take(keeper, vault).id)
    largest = max(point.entries("dump"), key=lambda stored: stored.size_bytes)

    def cut(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))

    healthy = inspected(keeper, point, top / "sound")
    broken = Tampered(point, {"roles.sql": None, largest.path: cut})
    return {"dump": (inspected(keeper, broken, top / "broken"), healthy)}


# ── SQLite, and everything that is judged for every kind ─────────────────────────────────────────

TENANTS = Question("SELECT count(*) FROM tenants", Compare(">=", Decimal(1000)), "tenants")
WORKS = CommandCheck(
    "works", tuple(Template((word,)) for word in ("sh", "-c", 'test -s "${DATABASE_URL#sqlite:///}.ok"'))
)
"""What the application would do. It finds a file beside the database: here a test can break it."""

SCHEMA = """
    CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant INTEGER REFERENCES tenants, what TEXT);
    CREATE TABLE plans (id INTEGER PRIMARY KEY);
    CREATE INDEX by_name ON tenants (name);
"""


def shop(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO tenants (name) VALUES (?)", [(f"tenant {n}",) for n in range(2000)])
        db.executemany("INSERT INTO orders (tenant, what) VALUES (?, ?)", [(n % 2000 + 1, "x") for n in range(4000)])
    return path


class Gone:
    where = "nowhere"

    def __getattr__(self, name: str) -> Any:
        raise SourceDown("the restored database is gone")


class Dying:
    """Its sandbox comes up, and is gone as soon as it is asked."""

    kind = "sqlite"

    def __init__(self, within: SqliteKeeper) -> None:
        self.take, self._within = within.take, within

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    @contextmanager
    def sandbox(self, point: PointReader, folder: Path, *given: Any, **more: Any) -> Generator[Any]:
        with self._within.sandbox(point, folder, *given, **more):
            yield Gone()


class Late(SystemClock):
    """Another clock: `by` later than this machine's."""

    def __init__(self, by: timedelta) -> None:
        super().__init__()
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


class Slow(SystemClock):
    """Ten minutes pass between two looks."""

    looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return super().now() + self.looks * timedelta(minutes=10)


@dataclass
class Proving:
    """One SQLite component in a vault on disk, taken and proved as `backstay backup` and `backstay verify` do."""

    folder: Path

    def __post_init__(self) -> None:
        self.store = FolderStore(self.folder / "vault")
        self.vault = new_vault(self.store)
        self.path = shop(self.folder / "shop.db")
        self.keeper = SqliteKeeper(self.path, SystemClock(), scratch=self.folder)
        prove = Prove(
            max_age=timedelta(hours=24), within=timedelta(minutes=5), ask=(TENANTS,), smoke=("works",),
            canary=(Canary("SELECT max(id) FROM tenants", "newest tenant"),),
        )  # fmt: skip
        self.component = Component(DATABASE, SqliteSource(PerSite(Template((str(self.path),)))), prove=prove)
        self.smoke = WORKS

    def routine(self, keeper: Any = None, clock: Clock | None = None) -> Routine:
        return Routine(
            RunId("proof-1"), self.component, Objectives(), PLAN, keeper or self.keeper, self.vault,
            clock or SystemClock(),
            base=self.folder, smoke={"works": self.smoke},
        )  # fmt: skip

    def take(self) -> Point:
        return take_point(self.routine()).point

    def prove(self, point: Point, tier: Tier = "full", **given: Any) -> Checks:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return by_code(prove_point(self.routine(**given), point.id, scratch, tier).checks)


@pytest.fixture(scope="module")
def seen_in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checks, Checks]]:
    top = tmp_path_factory.mktemp("sqlite")
    proving = Proving(top)
    works = CommandCheck(
        "works", tuple(Template((word,)) for word in ("sh", "-c", 'test -s "${DATABASE_URL#sqlite:///}"'))
    )
    proving.smoke = works
    sound = proving.take()
    healthy = proving.prove(sound)
    died = proving.prove(sound, keeper=Dying(proving.keeper))
    late = proving.prove(sound, clock=Late(sound.moment + timedelta(hours=24, seconds=1) - SystemClock().now()))
    slow = proving.prove(sound, clock=Slow())
    with closing(sqlite3.connect(proving.path)) as db, db:
        db.execute("DELETE FROM tenants WHERE id > 900")
        db.execute("DELETE FROM orders WHERE tenant > 900")
        db.execute("DROP TABLE plans")
    proving.smoke = WORKS
    broken = proving.prove(proving.take())
    pack = max((path for path in (top / "vault").rglob("*") if "packs" in path.parts and path.is_file()), key=_size)
    flip(pack, _size(pack) // 2)
    return {
        "sqlite": (broken, healthy),
        "died": (died, healthy),
        "late": ({"C01": late["C01"], "C02": slow["C02"]}, healthy),
        "sqlite-file": (_broken_file(top), healthy),
        "vault": (proving.prove(sound, "bytes"), healthy),
    }


def _size(path: Path) -> int:
    return path.stat().st_size


def _broken_file(top: Path) -> Checks:
    """Taken from a file whose index and rows had been changed behind SQLite's back."""
    path = shop(top / "other.db")
    keeper, vault = SqliteKeeper(path, SystemClock(), scratch=top), MemoryVault()
    before = take(keeper, vault)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM tenants WHERE id = 7")  # nobody asked SQLite to look after foreign keys

    def swap(laid: Path) -> None:
        data = laid.read_bytes()
        # The key of one row in the index, and not in the table: the first of the two is in the table's page.
        at = data.rindex(b"tenant 1234")
        laid.write_bytes(data[:at] + b"tenant 0000" + data[at + 11 :])

    point = Tampered(
        vault.open(take(keeper, vault).id), {"database.sqlite": swap}, {"orphans": before.about["orphans"]}
    )
    return inspected(keeper, point, top / "other-sandbox")


# ── the table ────────────────────────────────────────────────────────────────────────────────────

Seen = dict[str, tuple[Checks, Checks]]


@pytest.fixture(scope="module")
def seen(seen_in_files: Seen, seen_in_dumps: Seen, seen_in_sqlite: Seen) -> Seen:
    return seen_in_files | seen_in_dumps | seen_in_sqlite


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_broken_backup_is_caught_and_a_healthy_one_is_not(row: Row, seen: Seen) -> None:
    broken, healthy = seen[row.group]
    assert row.code in broken, f"not looked at: {sorted(broken)}"
    assert broken[row.code].verdict is row.caught, broken[row.code].said
    silent = healthy.get(row.code)  # some say something only when something is wrong: M02, V05
    assert silent is None or silent.verdict is Verdict.PASSED, silent.said


def test_a_healthy_backup_is_silent_everywhere(seen: Seen) -> None:
    loud = {
        check.code: check.said
        for _, checks in seen.values()
        for check in checks.values()
        if check.verdict is not Verdict.PASSED
    }
    assert loud == {}


def test_no_sentence_shows_a_row(seen: Seen) -> None:
    said = " ".join(check.said for checks, _ in seen.values() for check in checks.values())
    assert "tenant 1234" not in said
    assert "cfcd208495d5" not in said, "md5 of 0"


def test_the_table(seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    """To be read: `pytest -q tests/real/test_ladder.py -k the_table -s`."""
    lines = ["code  weight    caught        healthy  broken how"]
    for row in ROWS:
        broken, healthy = seen[row.group]
        caught = broken[row.code].verdict.value
        loud = row.code in healthy and healthy[row.code].verdict is not Verdict.PASSED
        silent = healthy[row.code].verdict.value if loud else "silent"
        lines.append(f"{row.code}   {severity(row.code).value:<9} {caught:<13} {silent:<8} {row.broken}")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    assert len(lines) == len(ROWS) + 1


# ── sandboxes ────────────────────────────────────────────────────────────────────────────────────


def test_a_runaway_question_meets_the_limits_of_its_sandbox(files: Files, server: Server, tmp_path: Path) -> None:
    size = files.sound.point.size_bytes
    limits = SandboxLimits(memory_bytes=700 << 20, disk_bytes=size + (1 << 20))
    place = PostgresPlace(server.dsn("shop"), way=PostgresWay.LOCAL, scratch=tmp_path, limits=limits)
    with restored(PostgresKeeper(place, SystemClock()), files.sound, tmp_path / "limited") as answers:
        with pytest.raises(DiskFull, match="ran out of room"):
            answers.ask("SELECT length(repeat('x', 900000000))")
        with pytest.raises(BackstayError, match="refused") as full:
            answers.ask("SELECT count(*) FROM (SELECT n FROM generate_series(1, 3000000) n ORDER BY -n) AS x")
        assert "temp_file_limit" in full.value.detail
        assert answers.ask("SELECT count(*) FROM tenants") == 3000, "it is still up"
