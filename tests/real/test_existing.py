"""Backups that other programs took, proved and brought back: pgBackRest's sets, and dumps of every format."""

import gzip
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from backstay.errors import Damaged, NoSuchPoint, StoreUnreachable, ToolMissing
from backstay.facts import Succeeded, Verdict
from backstay.plan import PgBackRest, PgDump
from backstay.ports import HeldReader, unwatched
from backstay.values import PointId, RunId
from fix_existing import Repository, dump, dump_all, keeper_of, make_repository, pgbackrest, said_by, shelf
from fix_memory import acting
from fix_points import empty, not_passed, verdicts
from fix_postgres import MakePostgres, Server, installed

# ── pgBackRest ───────────────────────────────────────────────────────────────────────────────────


def test_a_set_is_restored_by_its_own_program_and_climbs_the_same_ladder(
    repository: Repository, tmp_path: Path
) -> None:
    held = shelf(repository.settings, tmp_path)
    (point,) = held.points()
    assert (point.id, point.way) == (f"pgbackrest-main-{repository.label}", "pgbackrest")
    reader = held.open(point.id)
    assert isinstance(reader, HeldReader)
    assert reader.check_bytes(unwatched)[0] is Verdict.PASSED
    keeper = keeper_of(repository.server.dsn(), tmp_path)
    with keeper.sandbox(reader, empty(tmp_path / "room")) as restored:
        found = restored.inspect("full")
        assert not_passed(found) == []
        assert {"B02", "R01", "R02", "R03", "R04", "S01", "I01"} <= verdicts(found).keys()
        assert restored.counts()["public.tenants"] == 1000, "to the end of the backup, and no further"
    assert not any((tmp_path / "room").iterdir())


def test_all_log_that_the_archive_has_is_replayed_when_that_is_wanted(repository: Repository, tmp_path: Path) -> None:
    held = shelf(repository.settings, tmp_path, latest=True)
    reader = held.open(held.points()[0].id)
    keeper = keeper_of(repository.server.dsn(), tmp_path)
    with keeper.sandbox(reader, empty(tmp_path / "room")) as restored:
        assert restored.ask("SELECT name FROM tenants WHERE id = 2000") == "after the backup"


def test_a_set_that_was_taken_after_a_promotion_is_no_worse(make_postgres: MakePostgres, tmp_path: Path) -> None:
    repository = make_repository(make_postgres, empty(tmp_path / "there"), promoted=True)
    held = shelf(repository.settings, tmp_path)
    (point,) = held.points()
    assert point.about["timeline"] == "2"
    keeper = keeper_of(repository.server.dsn(), tmp_path)
    with keeper.sandbox(held.open(point.id), empty(tmp_path / "room")) as restored:
        assert not_passed(restored.inspect("sample")) == []
        assert restored.counts()["public.tenants"] == 1000


def test_a_configuration_that_points_at_the_live_server_leads_no_restore_there(
    repository: Repository, tmp_path: Path
) -> None:
    live = repository.server.data
    conf = tmp_path / "pgbackrest.conf"
    conf.write_text(
        f"[global]\nrepo1-path={repository.folder}\n[global:restore]\ndelta=y\ntablespace-map-all={tmp_path}\n"
        f"recovery-option=archive_mode=on\n[main]\npg1-path={live}\npg1-host=nobody.invalid\n"
    )
    before = {path: path.stat().st_mtime_ns for path in live.rglob("*.conf")}
    held = shelf(PgBackRest("main", str(conf)), tmp_path)
    with keeper_of(repository.server.dsn(), tmp_path).sandbox(
        held.open(held.points()[0].id), empty(tmp_path / "room")
    ) as restored:
        assert restored.counts()["public.tenants"] == 1000
    assert {path: path.stat().st_mtime_ns for path in live.rglob("*.conf")} == before
    with repository.server.connect() as db:
        assert db.execute("SELECT count(*) FROM tenants").fetchone() == (1001,)


def test_wal_that_is_gone_refutes_a_set_that_pgbackrest_restores_without_a_word(
    repository: Repository, tmp_path: Path
) -> None:
    held = shelf(repository.settings, tmp_path)
    point = held.points()[0]
    for path in (repository.folder / "archive" / "main").rglob(f"{point.about['first']}*"):
        path.unlink()
    words = ["--no-config", "--stanza=main", f"--repo1-path={repository.folder}", "--log-level-file=off"]
    there = [f"--pg1-path={empty(tmp_path / 'theirs')}", f"--lock-path={tmp_path / 'locks'}", "--type=none"]
    there += [f"--spool-path={tmp_path / 'spool'}"]
    restored, _ = said_by([pgbackrest(), *words, *there, "restore"])
    verified, said = said_by([pgbackrest(), *words, "--output=text", "--verbose", "verify"])
    assert (restored, verified) == (0, 0)
    assert "status: valid" in said
    with (
        pytest.raises(Damaged, match="lacks WAL"),
        keeper_of(repository.server.dsn(), tmp_path).sandbox(held.open(point.id), empty(tmp_path / "room")),
    ):
        pass


def test_a_flipped_byte_is_found_by_reading_and_by_restoring(repository: Repository, tmp_path: Path) -> None:
    largest = max((repository.folder / "backup").rglob("base/*/*"), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    held = shelf(repository.settings, tmp_path)
    reader = held.open(held.points()[0].id)
    assert isinstance(reader, HeldReader)
    assert reader.check_bytes(unwatched)[0] is Verdict.FAILED
    with (
        pytest.raises(Damaged, match="checksum"),
        keeper_of(repository.server.dsn(), tmp_path).sandbox(reader, empty(tmp_path / "room")),
    ):
        pass


def test_what_cannot_be_looked_at_is_not_held_against_a_set(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="nothing of the stanza"):
        shelf(PgBackRest("other", str(repository.folder)), tmp_path).points()
    with pytest.raises(NoSuchPoint):
        shelf(repository.settings, tmp_path).open(PointId("pgbackrest-main-20200101-000000F"))


# ── dumps ────────────────────────────────────────────────────────────────────────────────────────


def fill(server: Server) -> str:
    name = server.make_database()
    with server.connect(name) as db:
        db.execute("CREATE TABLE tenants (id int PRIMARY KEY, name text)")
        db.execute("INSERT INTO tenants SELECT n, md5(n::text) FROM generate_series(1, 2000) n")
        db.execute("CREATE TABLE orders (id serial PRIMARY KEY, tenant int REFERENCES tenants, what text)")
        rows = "SELECT 1 + n % 2000, E'\\\\restrict x' FROM generate_series(1, 4000) n"
        db.execute(f"INSERT INTO orders (tenant, what) {rows}")
        db.execute("CREATE VIEW both_of_them AS SELECT name, what FROM orders JOIN tenants ON tenants.id = tenant")
        db.execute("SELECT lo_from_bytea(0, 'large'::bytea)")
    return name


@pytest.fixture(scope="module")
def shop(postgres: Server) -> Iterator[str]:
    name = fill(postgres)
    yield name
    postgres.drop_database(name)


FORMATS: dict[str, tuple[str, ...]] = {
    "plain": ("-Fp",),
    "custom": ("-Fc",),
    "directory": ("-Fd", "-Z0"),
    "tar": ("-Ft",),
    "created": ("-Fp", "-C", "--clean"),
    "inserts": ("-Fd", "-Z0", "--inserts"),
}


def proved(server: Server, name: str, path: Path, folder: Path, roles: Path | None = None) -> dict[str, str]:
    """What a proof finds, by code: `passed`, or what was said."""
    held = shelf(PgDump(str(path), str(roles) if roles else None), folder, name)
    reader = held.open(held.points()[-1].id)
    assert isinstance(reader, HeldReader)
    verdict, said = reader.check_bytes(unwatched)
    found = {"B04": "passed" if verdict is Verdict.PASSED else f"{verdict.value}: {said}"}
    if verdict is Verdict.FAILED:
        return found
    with keeper_of(server.dsn(name), folder).sandbox(reader, empty(folder / "room")) as restored:
        for check in restored.inspect("full"):
            word = check.verdict.value
            found[check.code] = word if check.verdict is Verdict.PASSED else f"{word}: {check.said}"
        found["rows"] = str(restored.counts().get("public.orders"))
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_a_dump_of_every_format_is_told_by_its_content_and_proved(
    form: str, postgres: Server, shop: str, tmp_path: Path
) -> None:
    path = dump(postgres, shop, tmp_path / "backup.tgz", *FORMATS[form])
    found = proved(postgres, shop, path, tmp_path)
    assert {code: said for code, said in found.items() if said not in ("passed", "4000")} == {}
    assert {"B04", "R04", "S01", "I01"} <= found.keys()


@pytest.mark.parametrize("major", [major for major in installed() if major > 15] or [None])
def test_a_dump_of_each_version_is_proved_by_its_own_server(
    major: int | None, make_postgres: MakePostgres, tmp_path: Path
) -> None:
    if major is None:
        pytest.skip("only one version is installed here")
    server = make_postgres(major)
    name = fill(server)
    path = dump(server, name, tmp_path / "dump", *FORMATS["plain" if major % 2 else "custom"])
    found = proved(server, name, path, empty(tmp_path / "of"))
    assert {code: said for code, said in found.items() if said not in ("passed", "4000")} == {}


def test_a_script_of_pg_dumpall_brings_its_roles_and_databases(make_postgres: MakePostgres, tmp_path: Path) -> None:
    server = make_postgres()
    name = fill(server)
    with server.connect() as db:
        db.execute("CREATE ROLE shopkeeper")
    with server.connect(name) as db:
        db.execute("ALTER TABLE orders OWNER TO shopkeeper")
    path = dump_all(server, tmp_path / "all.sql")
    with gzip.open(tmp_path / "all.sql.gz", "wb") as packed, path.open("rb") as plain:
        shutil.copyfileobj(plain, packed)
    found = proved(server, name, tmp_path / "all.sql.gz", tmp_path)
    assert found["R04"] == found["S01"] == "passed"
    assert found["rows"] == "4000"


# ── broken ───────────────────────────────────────────────────────────────────────────────────────


def cut_text(path: Path) -> Path:
    """Between two rows: psql loads what is there, and exits with 0."""
    text = path.read_bytes()
    middle = text.index(b"\n", text.index(b"COPY public.orders") + 2000) + 1
    path.write_bytes(text[:middle])
    return path


def cut_half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def cut_table(path: Path) -> Path:
    largest = max(path.glob("*.dat*"), key=lambda one: one.stat().st_size if one.name != "toc.dat" else 0)
    content = largest.read_bytes()
    if largest.suffix == ".dat":
        content = content[: content.index(b"\n", len(content) // 2) + 1]
    else:
        content = content[: len(content) // 2]
    largest.write_bytes(content)
    return path


def emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def without_toc(path: Path) -> Path:
    (path / "toc.dat").unlink()
    return path


BROKEN: dict[str, tuple[tuple[str, ...], Callable[[Path], Path], str]] = {
    "plain, cut between two rows": (("-Fp",), cut_text, "among the rows of public.orders"),
    "plain, without its end": (("-Fp", "--schema-only"), cut_half, "breaks off"),
    "custom, cut": (("-Fc",), cut_half, "cannot read it to its end"),
    "tar, cut": (("-Ft",), cut_half, "tar breaks off"),
    "directory, a table cut between two rows": (("-Fd", "-Z0"), cut_table, "the rows of one table break off"),
    "directory, a packed table cut": (("-Fd",), cut_table, "rows|cannot read"),
    "directory, its list gone": (("-Fd",), without_toc, "no dump"),
    "empty": (("-Fp",), emptied, "empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dump_is_refuted(name: str, postgres: Server, shop: str, tmp_path: Path) -> None:
    words, breaks, reason = BROKEN[name]
    path = breaks(dump(postgres, shop, tmp_path / "dump", *words))
    try:
        said = proved(postgres, shop, path, tmp_path)["B04"]
    except Damaged as error:  # judged as a failed check: verify.stopped
        said = f"failed: {error.message} {error.detail}"
    assert said.startswith("failed: ")
    assert re.search(reason, said), said


def test_the_cut_dumps_are_ones_that_the_tools_are_happy_with(postgres: Server, shop: str, tmp_path: Path) -> None:
    """What makes them worth a check: each of these ends with 0, and with rows that are missing."""
    plain = cut_text(dump(postgres, shop, tmp_path / "plain", "-Fp"))
    folder = cut_table(dump(postgres, shop, tmp_path / "folder", "-Fd", "-Z0"))
    address = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres"]
    for argv in (["psql", "-q", "-f", str(plain)], ["pg_restore", str(folder)]):
        name = postgres.make_database()
        status, said = said_by([str(postgres.bin_dir / argv[0]), *address, "-d", name, *argv[1:]])
        assert status == 0, said
        with postgres.connect(name) as db:
            found = db.execute("SELECT count(*) FROM orders").fetchone()
            assert found is not None
            assert 0 < found[0] < 4000
        postgres.drop_database(name)


def test_a_script_can_run_no_program(postgres: Server, shop: str, tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    path = dump(postgres, shop, tmp_path / "dump.sql", "-Fp")
    text = path.read_text()
    hostile = ("unrestrict guessed", f"! touch {mark}", f"o {mark}", f"copy (SELECT 1) TO '{mark}'")
    lines = "".join(f"\\{word}\n" for word in hostile) + f"SELECT 1 \\g |touch {mark}\n"
    path.write_text(lines + text)
    found = proved(postgres, shop, path, tmp_path)
    assert not mark.exists()
    assert found["R04"].startswith("failed: ")


def test_a_file_of_roles_can_run_no_program(postgres: Server, shop: str, tmp_path: Path) -> None:
    """Its own commands, which a new pg_dumpall writes, are taken out; of others psql gets none."""
    mark = tmp_path / "owned"
    path = dump(postgres, shop, tmp_path / "dump", "-Fc")
    roles = tmp_path / "roles.sql"
    hostile = f"SELECT 1 \\g |touch {mark}\n\\! touch {mark}\n\\unrestrict key\n\\o {mark}\n"
    roles.write_text(f"\\restrict key\n{hostile}CREATE ROLE somebody;\n\\unrestrict key\n\\! touch {mark}\n")
    found = proved(postgres, shop, path, empty(tmp_path / "a"), roles)
    assert not mark.exists()
    assert found["R04"].startswith("failed: ")


def test_missing_roles_and_extensions_and_versions_are_told_apart(postgres: Server, shop: str, tmp_path: Path) -> None:
    with postgres.connect(shop) as db:
        db.execute("CREATE ROLE owner_of_orders")
        db.execute("ALTER TABLE orders OWNER TO owner_of_orders")
    try:
        path = dump(postgres, shop, tmp_path / "dump", "-Fc")
        found = proved(postgres, shop, path, empty(tmp_path / "a"))
        assert 'role "owner_of_orders" does not exist' in found["R04"]
        assert found["R04"].startswith("failed: ")
        roles = dump_all(postgres, tmp_path / "roles.sql", "--roles-only", "--no-role-passwords")
        assert proved(postgres, shop, path, empty(tmp_path / "b"), roles)["R04"] == "passed"
    finally:
        with postgres.connect(shop) as db:
            db.execute("ALTER TABLE orders OWNER TO postgres")
            db.execute("DROP ROLE owner_of_orders")
    path = dump(postgres, shop, tmp_path / "dump.sql", "-Fp")
    path.write_text(path.read_text().replace("CREATE TABLE", "CREATE EXTENSION no_such_thing;\nCREATE TABLE", 1))
    assert proved(postgres, shop, path, empty(tmp_path / "c"))["R04"].startswith("not-verified: ")
    newer = tmp_path / "newer"
    newer.write_bytes(b"PGDMP\x01\x63\x00" + dump(postgres, shop, tmp_path / "d", "-Fc").read_bytes()[8:])
    with pytest.raises(ToolMissing, match="newer pg_dump"):
        proved(postgres, shop, newer, empty(tmp_path / "e"))


def test_a_checksum_beside_a_dump_is_compared(postgres: Server, shop: str, tmp_path: Path) -> None:
    path = dump(postgres, shop, tmp_path / "dump", "-Fc")
    (tmp_path / "dump.sha256").write_text(f"{'0' * 64}  dump\n")
    assert "not those that dump.sha256" in proved(postgres, shop, path, tmp_path)["B04"]


def test_the_newest_that_fits_a_pattern_is_taken(postgres: Server, shop: str, tmp_path: Path) -> None:
    first = dump(postgres, shop, tmp_path / "shop-1.dump", "-Fc")
    os.utime(first, (1_000_000_000, 1_000_000_000))
    shutil.copy(first, tmp_path / "shop-2.dump")
    found = shelf(PgDump(str(tmp_path / "shop-*.dump")), tmp_path, shop).points()
    assert [Path(point.about["path"]).name for point in found] == ["shop-1.dump", "shop-2.dump"]
    with pytest.raises(NoSuchPoint):
        shelf(PgDump(str(tmp_path / "other-*")), tmp_path, shop).points()


def test_hostile_bytes_are_no_dump(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(__file__, "../../toc.dat")
    for name, content in {"garbage": os.urandom(9000), "half": b"PGDMP", "gz": b"\x1f\x8b" + os.urandom(99)}.items():
        (tmp_path / name).write_bytes(content)
    for name in ("a.tar", "garbage", "half", "gz"):
        held = shelf(PgDump(str(tmp_path / name)), tmp_path, "shop")
        try:
            reader = held.open(held.points()[0].id)
        except Damaged:
            continue
        assert isinstance(reader, HeldReader)
        assert reader.check_bytes(unwatched)[0] is Verdict.FAILED, name


def test_a_live_database_comes_back_from_a_dump_of_each_kind(postgres: Server, tmp_path: Path) -> None:
    for number, form in enumerate(("plain", "created", "custom")):
        name = fill(postgres)
        path = dump(postgres, name, tmp_path / form, *FORMATS[form])
        with postgres.connect(name) as db:
            db.execute("DELETE FROM orders")
        held = shelf(PgDump(str(path)), tmp_path, name)
        keeper = keeper_of(postgres.dsn(name), tmp_path)
        outcome = keeper.restore(held.open(held.points()[0].id), acting(RunId(f"run-{number}")))
        assert isinstance(outcome, Succeeded), outcome
        with postgres.connect(name) as db:
            assert db.execute("SELECT count(*) FROM orders").fetchone() == (4000,)
        with postgres.connect() as db:
            left = db.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,)).fetchall()
            for (one,) in left:
                db.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(one)))
