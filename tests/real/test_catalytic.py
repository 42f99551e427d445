"""The protected service itself, on real PostgreSQL and SQLite: it has to be trusted before a recovery of it can be."""

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import uuid4

import httpx2
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from catalytic import lattice, passwords
from catalytic.wreck import ALWAYS_ONE_OF, MARKER, PERHAPS, victims
from fix_catalytic import PASSWORD, Catalytic, MakeCatalytic
from fix_postgres import READY_SECONDS, MakePostgres, Server, installed, run
from fix_waiting import until


def address() -> str:
    return f"user-{uuid4().hex[:8]}@example.com"


def rows(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table))).fetchone()
    assert found is not None
    return found[0]


@pytest.fixture
def client(catalytic: Catalytic) -> Iterator[httpx2.Client]:
    """Somebody at the door of the running service."""
    catalytic.start()
    with catalytic.client() as client:
        yield client


def logged_in(client: httpx2.Client, email: str) -> dict[str, str]:
    assert client.post("/register", json={"email": email, "password": PASSWORD}).status_code == 201
    answer = client.post("/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200
    return {"Authorization": f"Bearer {answer.json()['token']}"}


# ── the service ──────────────────────────────────────────────────────────────────────────────────


def test_a_user_registers_makes_lattices_and_leaves_nothing_behind(catalytic: Catalytic, client: httpx2.Client) -> None:
    tables = ("tenants", "users", "lattices")
    before = [rows(catalytic.dsn, table) for table in tables]
    bearer = logged_in(client, address())
    made = client.post("/lattices", json={"dimensions": 4, "size": 5}, headers=bearer)
    assert made.status_code == 201
    assert made.json()["nodes"] == 625
    assert made.json()["result"] == {"nodes": 625, "edges": 2000, "diameter": 16, "widest_level": 85}
    assert client.get("/lattices", headers=bearer).json() == [made.json()]
    assert client.delete("/me", headers=bearer).status_code == 204
    assert [rows(catalytic.dsn, table) for table in tables] == before
    assert client.get("/lattices", headers=bearer).status_code == 401


def test_nobody_sees_the_lattices_of_another_tenant(client: httpx2.Client) -> None:
    one, other = logged_in(client, address()), logged_in(client, address())
    assert client.post("/lattices", json={"dimensions": 2, "size": 3}, headers=one).status_code == 201
    assert client.get("/lattices", headers=other).json() == []


def test_wrong_requests_get_the_right_refusal_and_never_repeat_the_password(client: httpx2.Client) -> None:
    email = address()
    bearer = logged_in(client, email)
    taken = {"email": email.upper(), "password": PASSWORD}
    tenant = {"email": address(), "password": PASSWORD, "tenant": email}
    forged = {"Authorization": bearer["Authorization"][:-4] + "AAAA"}
    grid = {"dimensions": 4, "size": 5}
    answers = {
        "taken e-mail": (client.post("/register", json=taken), 409),
        "taken tenant": (client.post("/register", json=tenant), 409),
        "no e-mail": (client.post("/register", json={"email": "nobody", "password": PASSWORD}), 422),
        "short password": (client.post("/register", json={"email": address(), "password": "short"}), 422),
        "NUL": (client.post("/register", json={**tenant, "tenant": "a\0b"}), 422),
        "half a surrogate": (client.post("/login", content=b'{"email": "a@b.c", "password": "\\ud800"}'), 422),
        "wrong password": (client.post("/login", json={"email": email, "password": "wrong horse"}), 401),
        "nobody": (client.post("/login", json={"email": address(), "password": PASSWORD}), 401),
        "no token": (client.post("/lattices", json=grid), 401),
        "forged token": (client.post("/lattices", json=grid, headers=forged), 401),
        "no token at all": (client.post("/lattices", json=grid, headers={"Authorization": "Bearer ..."}), 401),
        "no dimensions": (client.post("/lattices", json={"dimensions": 0, "size": 5}, headers=bearer), 422),
        "too many nodes": (client.post("/lattices", json={"dimensions": 9, "size": 100}, headers=bearer), 422),
        "too long": (client.post("/login", content=b" " * 70_000), 413),
        "no route": (client.get("/nothing"), 404),
    }
    assert {what: answer.status_code for what, (answer, _) in answers.items()} == {
        what: status for what, (_, status) in answers.items()
    }
    assert not [what for what, (answer, _) in answers.items() if PASSWORD in answer.text or '"short"' in answer.text]


def test_metrics_count_rows_and_requests(catalytic: Catalytic, client: httpx2.Client) -> None:
    client.get("/nothing")
    lines = client.get("/metrics").text.splitlines()
    for table in ("tenants", "users", "lattices"):
        assert f"catalytic_{table} {rows(catalytic.dsn, table)}.0" in lines
    assert "catalytic_database_up 1.0" in lines
    assert 'catalytic_requests_total{method="GET",route="(none)",status="404"} 1.0' in lines


def test_the_settings_rule_registration_and_are_written(catalytic: Catalytic, client: httpx2.Client) -> None:
    logged_in(client, address())
    settings = sqlite3.connect(catalytic.sqlite)
    try:
        assert settings.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert dict(settings.execute("SELECT what, times FROM usage").fetchall()) == {"login": 1, "register": 1}
        with settings:
            settings.execute("UPDATE settings SET value = 'closed' WHERE key = 'registration'")
    finally:
        settings.close()
    assert client.post("/register", json={"email": address(), "password": PASSWORD}).status_code == 403


def test_settings_that_are_gone_make_health_red_and_are_not_made_anew(
    catalytic: Catalytic, client: httpx2.Client
) -> None:
    bearer = logged_in(client, address())
    aside = catalytic.sqlite.rename(catalytic.folder / "aside.db")
    assert client.get("/health").json()["settings"] == "settings.db: No such file or directory"
    assert client.get("/lattices", headers=bearer).status_code == 503
    assert not catalytic.sqlite.exists()
    aside.rename(catalytic.sqlite)
    assert client.get("/lattices", headers=bearer).status_code == 200


def test_it_starts_without_a_database_survives_its_loss_and_stops_on_sigterm(
    make_postgres: MakePostgres, make_catalytic: MakeCatalytic
) -> None:
    server = make_postgres()
    service = make_catalytic(server)
    server.stop()
    service.start(healthy=False)
    with service.client() as client:
        assert client.get("/health").status_code == 503
        assert client.post("/login", json={"email": address(), "password": PASSWORD}).status_code == 503
        assert "catalytic_database_up 0.0" in client.get("/metrics").text
    server.start()
    assert service.smoke(address()) == [201, 200, 201, 204]
    server.kill9()
    assert service.health() == 503
    server.start()
    assert service.smoke(address()) == [201, 200, 201, 204]
    assert service.stop() == 0


# ── lattices and passwords ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dimensions", "size"), [(1, 1), (1, 7), (2, 3), (3, 4), (9, 2), (4, 5)])
def test_the_levels_of_a_lattice_hold_every_node_once(dimensions: int, size: int) -> None:
    levels = lattice.levels(dimensions, size)
    assert sum(levels) == size**dimensions
    assert len(levels) == lattice.study(dimensions, size)["diameter"] + 1
    assert levels == levels[::-1]


def test_a_password_matches_its_own_hash_only_and_a_token_ends() -> None:
    kept = passwords.hashed(PASSWORD)
    assert passwords.matches(PASSWORD, kept)
    assert not passwords.matches(PASSWORD + " ", kept)
    assert not passwords.matches(PASSWORD, "!")
    assert not passwords.matches(PASSWORD, "scrypt$a$b$c$d$e")
    token = passwords.signed("aa" * 32, 17, now=1000.0)
    ends = 1000.0 + passwords.TOKEN_LASTS_SECONDS
    assert passwords.holder("aa" * 32, token, now=ends - 1) == 17
    assert passwords.holder("aa" * 32, token, now=ends) is None
    assert passwords.holder("bb" * 32, token, now=1000.0) is None


# ── seed ─────────────────────────────────────────────────────────────────────────────────────────

FINGERPRINT = """
SELECT md5(string_agg(md5(x::text), '' ORDER BY md5(x::text))) FROM
(SELECT t::text FROM tenants t UNION ALL SELECT u::text FROM users u UNION ALL SELECT l::text FROM lattices l
 UNION ALL SELECT e::text FROM events e) x
"""


@pytest.mark.parametrize("major", installed())
def test_the_same_seed_gives_the_same_sound_rows_in_every_version(major: int, make_postgres: MakePostgres) -> None:
    server = make_postgres(major)
    found: list[object] = []
    for seed in ("7", "7", "8"):
        folder = server.data.parent / f"{seed}-{len(found)}"
        folder.mkdir()
        dbname = server.make_database()
        Catalytic(server.dsn(dbname), folder).seed("--size", "20M", "--seed", seed, "--tenants", "6")
        with server.connect(dbname) as connection:
            found.append(connection.execute(FINGERPRINT).fetchone())
            sizes = connection.execute("SELECT pg_database_size(current_database()), current_setting('block_size')")
            size, _ = sizes.fetchone() or (0, 0)
            assert 20 << 20 <= size < 26 << 20
            behind = "SELECT last_value = (SELECT max(id) FROM lattices) FROM lattices_id_seq"
            assert connection.execute(behind).fetchone() == (True,)
    assert found[0] == found[1]
    assert found[0] != found[2]
    where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-d", dbname]
    assert run([server.bin_dir / "pg_amcheck", *where, "--install-missing", "--heapallindexed"]) == ""


def test_a_database_that_is_not_empty_is_left_as_it_is(catalytic: Catalytic) -> None:
    kept = catalytic.sqlite.rename(catalytic.folder / "aside.db")
    before = rows(catalytic.dsn, "users")
    done = catalytic.run("seed", "--size", "1M")
    assert (done.returncode, done.stderr) == (1, "seed: this database has tables already; give an empty one\n")
    assert not catalytic.sqlite.exists()
    kept.rename(catalytic.sqlite)
    assert catalytic.run("seed", "--size", "1M").returncode == 1
    assert rows(catalytic.dsn, "users") == before


def test_a_password_on_the_command_line_is_refused_and_not_repeated(catalytic: Catalytic) -> None:
    done = catalytic.run("seed", "--dsn", "postgresql://u:hunter22@127.0.0.1/x")
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "hunter22" not in done.stderr + done.stdout


# ── write, lost ──────────────────────────────────────────────────────────────────────────────────


def test_every_logged_row_is_in_the_database_also_after_a_crash(
    make_postgres: MakePostgres, make_catalytic: MakeCatalytic
) -> None:
    server = make_postgres()
    service = make_catalytic(server)
    service.start_writer()
    until(lambda: len(service.beats()) > 50, "fifty rows", seconds=READY_SECONDS)
    server.kill9()
    before = len(service.beats())
    server.start()
    until(lambda: len(service.beats()) > before + 50, "fifty more rows after the crash", seconds=READY_SECONDS)
    assert service.stop_writer() == 0
    beats = service.beats()
    with server.connect("catalytic") as connection:
        stored = {
            (n, f"{at:%Y-%m-%dT%H:%M:%S.%fZ}") for n, at in connection.execute("SELECT n, at FROM heartbeat").fetchall()
        }
    assert {(beat.n, beat.at) for beat in beats} <= stored
    told = json.loads(service.run("lost", "--log", service.beats_log).stdout)
    assert told == {"noted": len(beats), "lost": 0, "first": None, "last": None, "newest_kept": beats[-1].at}
    assert service.said("write").count("database is back") == 1


def test_what_is_lost_is_counted_to_the_row_even_where_a_number_came_again(catalytic: Catalytic) -> None:
    catalytic.start_writer()
    until(lambda: len(catalytic.beats()) > 60, "sixty rows", seconds=READY_SECONDS)
    catalytic.stop_writer()
    beats = catalytic.beats()
    with psycopg.connect(catalytic.dsn) as connection:
        # As after a restore: the last ten are gone, and the sequence gives their numbers to others.
        connection.execute("DELETE FROM heartbeat WHERE n >= %s", (beats[-10].n,))
        connection.execute("SELECT setval('heartbeat_n_seq', %s)", (beats[-11].n,))
    catalytic.start_writer()
    until(lambda: catalytic.beats()[-1].n > beats[-1].n, "the numbers came again", seconds=READY_SECONDS)
    catalytic.stop_writer()
    told = json.loads(catalytic.run("lost", "--log", catalytic.beats_log).stdout)
    assert (told["lost"], told["first"], told["last"]) == (10, beats[-10].at, beats[-1].at)
    assert told["newest_kept"] == catalytic.beats()[-1].at


def test_the_writer_adds_lattices_and_touches_the_settings(catalytic: Catalytic) -> None:
    before = rows(catalytic.dsn, "lattices")
    catalytic.start_writer()
    until(lambda: catalytic.beats()[-1].n > 45, "forty-five rows", seconds=READY_SECONDS)
    catalytic.stop_writer()
    assert rows(catalytic.dsn, "lattices") >= before + 4
    settings = sqlite3.connect(catalytic.sqlite)
    try:
        kept = settings.execute("SELECT n, at FROM beats ORDER BY n").fetchall()
    finally:
        settings.close()
    noted = [(beat.n, beat.at) for beat in catalytic.beats() if beat.n % 20 == 0]
    assert kept == noted[: len(kept)]
    assert len(kept) >= 2


# ── wreck ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def doomed(make_postgres: MakePostgres, make_catalytic: MakeCatalytic) -> tuple[Server, Catalytic]:
    server = make_postgres()
    return server, make_catalytic(server)


def names(server: Server) -> set[str]:
    with server.connect("catalytic") as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"
        ).fetchall()
    return {name for (name,) in found}


def test_only_what_is_marked_as_a_demo_is_destroyed(doomed: tuple[Server, Catalytic], tmp_path: Path) -> None:
    server, service = doomed
    before = names(server)
    done = service.run("wreck", "--data", server.data, "--seed", "1")
    assert done.returncode == 1
    assert "not marked" in done.stderr
    # Marked, but not the data of the server that answers.
    other = tmp_path / "other" / "data"
    other.mkdir(parents=True)
    (other / "PG_VERSION").write_text("15\n")
    (other.parent / MARKER).touch()
    done = service.run("wreck", "--data", other, "--seed", "1")
    assert done.returncode == 1
    assert "nothing was touched" in done.stderr
    assert names(server) == before


def test_a_wreck_turns_health_red_and_damages_the_pages_that_it_names(doomed: tuple[Server, Catalytic]) -> None:
    server, service = doomed
    (server.data.parent / MARKER).touch()
    service.start()
    service.start_writer()
    before = names(server)
    done = service.run("wreck", "--data", server.data, "--seed", "3")
    assert done.returncode == 0, done.stderr
    until(lambda: service.health() == 503, "health is red", seconds=5)
    assert service.smoke(address())[0] == 503
    assert service.stop_writer() == 0
    gone = before - names(server)
    assert gone & {"tenants", "users"}
    assert len(gone) == 2
    assert all(f"dropped table {name}: " in done.stdout for name in gone)
    overwrote = [line.split("overwrote ", 1)[1] for line in done.stdout.splitlines() if "overwrote" in line]
    assert len(overwrote) == 24
    server.stop()
    checks = [server.bin_dir / "pg_checksums", "--check", "-D", server.data]
    found = subprocess.run(checks, capture_output=True, text=True, check=False).stderr
    for line in overwrote:
        named = re.fullmatch(r"\w+ page ([\d,]+) of [\d,]+: (\S+) bytes .*", line)
        assert named is not None
        assert f'{named[2]}", block {named[1].replace(",", "")}:' in found


def test_the_same_seed_does_the_same_and_every_seed_drops_what_matters() -> None:
    for seed in range(50):
        chosen = victims(Random(seed))
        assert chosen == victims(Random(seed))
        assert set(chosen) & set(ALWAYS_ONE_OF)
        assert {"lattices", "events"} - set(chosen)
        assert set(chosen) <= {*ALWAYS_ONE_OF, *PERHAPS}
