"""The small pure parts of the PostgreSQL adapter: WAL arithmetic, what stays out of a backup, what tools mean."""

import itertools
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.adapters.postgres.control import crc32c, poisoned, read_control, whole_control
from backstay.adapters.postgres.layout import LiveFile, left_out
from backstay.adapters.postgres.logical_recovery import Names
from backstay.adapters.postgres.rebuild import missing_roles
from backstay.adapters.postgres.session import environment, parse
from backstay.adapters.postgres.source import options_of, read_words, stored_words
from backstay.adapters.postgres.words import Meaning, classified, of_an_error, reason
from backstay.errors import (
    AccessDenied,
    Damaged,
    DiskFull,
    NotSupported,
    PlanInvalid,
    SourceDown,
    SourceUnsuitable,
    ToolFailed,
)
from backstay.lsn import Lsn, lsn, say_lsn, segment_name, segments, wrong_with_segment
from backstay.processes import Command

MIB = 1 << 20

# ── WAL ──────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**64 - 1))
def test_a_position_reads_as_it_is_written(position: int) -> None:
    assert lsn(say_lsn(position)) == position


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "x/1", "123456789/0", "0/123456789"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        lsn(text)


@pytest.mark.parametrize(
    ("position", "segment_bytes", "name"),
    [
        ("0/2000028", 16 * MIB, "000000010000000000000002"),
        ("0/FF000000", 16 * MIB, "0000000100000000000000FF"),
        ("1/0", 16 * MIB, "000000010000000100000000"),
        ("1/0", 64 * MIB, "000000010000000100000000"),
        ("0/FF000000", 64 * MIB, "00000001000000000000003F"),
        ("0/FF000000", 1 * MIB, "000000010000000000000FF0"),
    ],
)
def test_the_name_of_a_segment_depends_on_its_size(position: str, segment_bytes: int, name: str) -> None:
    assert segment_name(1, lsn(position) // segment_bytes, segment_bytes) == name


def test_a_backup_that_ends_on_a_boundary_does_not_need_the_segment_after_it() -> None:
    found = [name for name, _ in segments(3, lsn("0/2000028"), lsn("0/4000000"), 16 * MIB)]
    assert found == ["000000030000000000000002", "000000030000000000000003"]


@given(st.integers(0, 2**40), st.integers(1, 2**30), st.sampled_from([1, 16, 64, 1024]))
def test_segments_cover_the_range_without_a_gap(start: int, length: int, mib: int) -> None:
    size = mib * MIB
    found = list(segments(1, Lsn(start), Lsn(start + length), size)) if length // size < 2000 else []
    for (_, before), (_, after) in itertools.pairwise(found):
        assert after == before + size
    if found:
        assert found[0][1] <= start < found[0][1] + size
        assert found[-1][1] < start + length <= found[-1][1] + size


def head(**changed: int) -> bytes:
    words = {"magic": 0xD110, "info": 2, "timeline": 1, "address": 16 * MIB, "rest": 0, "system": 42, "size": 16 * MIB}
    words |= changed
    return struct.pack("<HHIQIxxxxQII", *words.values(), 8192)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"magic": 0}, "header"),
        ({"info": 0}, "header"),
        ({"system": 43}, "another cluster"),
        ({"size": 64 * MIB}, "made for segments"),
        ({"address": 32 * MIB}, "holds the WAL from"),
        ({"timeline": 2}, "of timeline 2"),
        ({"timeline": 0}, None),
    ],
)
def test_a_segment_is_known_by_its_head(changed: dict[str, int], words: str | None) -> None:
    wrong = wrong_with_segment(head(**changed), system=42, position=16 * MIB, segment_bytes=16 * MIB, timeline=1)
    assert (wrong is None) if words is None else (wrong is not None and words in wrong)


def test_a_segment_cut_short_is_known() -> None:
    assert wrong_with_segment(b"", system=1, position=0, segment_bytes=MIB, timeline=1) == "it has only 0 bytes"


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_pg_control_is_read_until_its_checksum_fits(tmp_path: Path) -> None:
    """The server writes it while we read: half of the old and half of the new is seen on some file systems."""
    front = struct.pack("<QIIiIqQ", 42, 1300, 1, 6, 0, 0, 0x2000028).ljust(288, b"\1")
    whole = (front + struct.pack("<I", crc32c(front))).ljust(8192, b"\0")
    path = tmp_path / "pg_control"
    path.write_bytes(whole[:100] + b"torn" + whole[104:])
    looks: list[int] = []

    def meanwhile() -> None:
        looks.append(1)
        if len(looks) == 3:
            path.write_bytes(whole)

    found = whole_control(path, pause=meanwhile)
    assert (found.system, found.state, found.checkpoint) == (42, "in production", 0x2000028)
    assert len(looks) == 3
    changed = read_control(poisoned(whole))
    assert changed is not None
    assert changed.checkpoint == 0xDEAD
    path.write_bytes(b"garbage" * 2000)
    with pytest.raises(SourceUnsuitable):
        whole_control(path)
    with pytest.raises(Damaged):
        poisoned(b"garbage" * 2000)


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "top", "out"),
    [
        ("postmaster.pid", True, True),
        ("postmaster.opts", True, True),
        ("postgresql.auto.conf.tmp", True, True),
        ("postgresql.auto.conf", True, False),
        ("backup_label", True, True),
        ("backup_label.old", True, True),
        ("tablespace_map.old", True, True),
        ("recovery.signal", True, True),
        ("standby.signal", True, True),
        ("backup_manifest", True, True),
        ("backstay.restored.json", True, True),
        ("pg_internal.init", False, True),
        ("pg_internal.init.4711", False, True),
        ("pgsql_tmp", False, True),
        ("pgsql_tmp4711.0", False, True),
        ("t3_16384", False, True),
        ("t3_16384_fsm", False, True),
        ("t12_16384.1", False, True),
        ("16384", False, False),
        ("16384_init", False, False),
        ("16384.1", False, False),
        ("pg_filenode.map", False, False),
        ("PG_VERSION", True, False),
        ("t3", False, False),
    ],
)
def test_what_stays_out_of_a_backup(name: str, top: bool, out: bool) -> None:
    assert left_out(name, top=top) == out


@pytest.mark.parametrize("pieces", [1, 1000, 8192, 1 << 20])
def test_a_file_that_shrinks_while_it_is_read_is_filled_up_to_a_page(tmp_path: Path, pieces: int) -> None:
    path = tmp_path / "16384"
    path.write_bytes(b"a" * 3 * 8192)
    with LiveFile(str(path), 3 * 8192, 8192, None) as file:
        found = file.read(8192)
        while len(found) < 8192:
            found += file.read(8192 - len(found))
        path.write_bytes(b"a" * (8192 + 100))
        while part := file.read(pieces):
            found += part
    assert found == b"a" * (8192 + 100) + bytes(8092)
    with LiveFile(str(path), 3 * 8192, 8192, None) as file:
        assert len(file.read()) == 2 * 8192
    with LiveFile(str(path), 3 * 8192, 8192, None) as file:
        buffer = bytearray(pieces)
        total = 0
        while count := file.readinto(buffer):
            total += count
        assert total == 2 * 8192


def test_a_file_that_grows_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "16384"
    path.write_bytes(b"a" * 8192)
    with LiveFile(str(path), 8192, 8192, None) as file, path.open("ab") as more:
        more.write(b"b" * 8192)
        more.flush()
        assert file.read() == b"a" * 8192


# ── words ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ('pg_restore: error: could not execute query: ERROR:  role "bob" does not exist', Meaning.DEFECT),
        ('pg_restore: error: could not execute query: ERROR:  extension "postgis" is not available', Meaning.SANDBOX),
        ('ERROR:  could not open extension control file "/x.control": No such file', Meaning.SANDBOX),
        ('pg_restore: error: could not execute query: ERROR:  could not access file "$libdir/x"', Meaning.SANDBOX),
        ('ERROR:  unrecognized configuration parameter "transaction_timeout"', Meaning.HARMLESS),
        ("pg_restore: warning: errors ignored on restore: 2", Meaning.HARMLESS),
        ("pg_restore: while PROCESSING TOC:", Meaning.HARMLESS),
        ("pg_restore: error: unexpected end of file", Meaning.DEFECT),
        ("pg_restore: error: unsupported version (1.16) in file header", Meaning.SANDBOX),
        ("pg_restore: error: aborting because of server version mismatch", Meaning.SANDBOX),
        ('psql:-:3: ERROR:  syntax error at or near "ann@example.com"', Meaning.DEFECT),
        ('WARNING:  database "shop" has a collation version mismatch', Meaning.SANDBOX),
        ("ann@example.com was here", Meaning.UNKNOWN),
        ("NOTICE:  extension is there already, skipping", Meaning.HARMLESS),
        ("pg_restore: warning: something that nobody has seen before", Meaning.DEFECT),
        ('ERROR:  invalid locale name: "de_DE.utf8"', Meaning.SANDBOX),
    ],
)
def test_every_line_of_a_restore_has_a_meaning(line: str, meaning: Meaning) -> None:
    assert [found.meaning for found in classified([line])] == [meaning]


def test_a_statement_that_a_tool_repeats_is_no_line_of_its_own() -> None:
    said = """pg_restore: error: could not execute query: ERROR:  role "ann" does not exist
Command was: CREATE FUNCTION f() RETURNS int AS $$
begin
raise exception 'ERROR in the middle of a line';
$$ LANGUAGE plpgsql;

pg_restore: warning: errors ignored on restore: 1"""
    found = classified(said.splitlines())
    assert [(line.meaning, line.what) for line in found] == [(Meaning.DEFECT, "missing role"), (Meaning.HARMLESS, "")]


@pytest.mark.parametrize(
    ("message", "state", "shown"),
    [
        (
            'invalid input syntax for type integer: "ann@example.com"',
            "22P02",
            "invalid input syntax for type integer (22P02)",
        ),
        ("ann@example.com may not", "P0001", "a function of the database raised an error (P0001)"),
        ('relation "no_such" does not exist', "42P01", 'relation "no_such" does not exist'),
        ("division by zero", "22012", "division by zero (22012)"),
    ],
)
def test_an_error_of_the_server_shows_no_row(message: str, state: str, shown: str) -> None:
    assert of_an_error(message, state) == shown
    assert "ann@example.com" not in of_an_error(message, "45000", raised=True)


def test_no_row_is_shown() -> None:
    lines = [
        'pg_restore: error: COPY failed for table "t": ERROR:  invalid input syntax for type integer: "secret value"',
        "DETAIL:  Key (email)=(ann@example.com) already exists.",
        'CONTEXT:  COPY t, line 1, column n: "secret value"',
    ]
    shown = " ".join(line.text for line in classified(lines))
    assert "secret value" not in shown
    assert "ann@example.com" not in shown
    failed = reason(ToolFailed("x", detail="\n".join(lines)), "pg_restore")
    assert "secret value" not in str(failed)
    assert "ann@example.com" not in str(failed)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("pg_dump: error: could not write to file: No space left on device", DiskFull),
        ("pg_dump: error: query failed: ERROR:  permission denied for table t", AccessDenied),
        ('pg_dump: error: connection to server at "x", port 1 failed: Connection refused', SourceDown),
        ("pg_dump: error: something else", ToolFailed),
    ],
)
def test_a_tool_that_failed_is_named_by_its_reason(said: str, kind: type[Exception]) -> None:
    assert type(reason(ToolFailed("x", detail=said), "pg_dump")) is kind


# ── connections and starting ─────────────────────────────────────────────────────────────────────


def test_no_program_gets_a_password_in_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPASSWORD", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    plain, secret = environment("postgresql://ann:p%40ss%2Fword@db1:5433/shop?sslmode=require", dbname="other")
    assert plain == {
        "PGHOST": "db1", "PGPORT": "5433", "PGUSER": "ann", "PGDATABASE": "other", "PGSSLMODE": "require",
    }  # fmt: skip
    assert secret == {"PGPASSWORD": "p@ss/word"}
    command = Command(("pg_dump",), None, env=plain, secrets=secret)
    assert "p@ss/word" not in repr(command)


def test_what_our_environment_says_of_the_server_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db9")
    monkeypatch.setenv("PGPASSWORD", "of-the-environment")
    plain, secret = environment("dbname=shop")
    assert plain["PGHOST"] == "db9"
    assert secret == {"PGPASSWORD": "of-the-environment"}
    with pytest.raises(NotSupported):
        environment("dbname=shop sslpassword=x")


def test_a_password_that_breaks_the_address_is_not_taken_for_a_host() -> None:
    with pytest.raises(PlanInvalid) as wrong:
        parse("host='x@real-host' password=abc")
    assert "abc" not in str(wrong.value)


def test_a_server_is_started_again_as_it_was() -> None:
    words = ["/usr/lib/postgresql/15/bin/postgres", "-D", "/data", "-p", "5433", "-c", "config_file=/etc/pg.conf"]
    assert options_of(words) == ["-p", "5433", "-c", "config_file=/etc/pg.conf"]
    assert options_of(["postgres", "-D/data", "--data-directory=/data"]) == []


@pytest.mark.parametrize(
    "words",
    [("-c", "primary_conninfo=password=s3cret"), ("-cprimary_conninfo=password=s3cret",),
     ("--primary-conninfo=password=s3cret",), ("-c", "PRIMARY_CONNINFO = password=s3cret"),
     ("-c", "ssl_passphrase_command=echo s3cret")],
)  # fmt: skip
def test_a_secret_that_a_server_was_started_with_is_not_kept(words: tuple[str, ...]) -> None:
    kept = stored_words(("postgres", "-c", "port=5433", *words, "-c", "fsync=on"))
    assert read_words(kept) == ["postgres", "-c", "port=5433", "-c", "fsync=on"]


@given(st.text(min_size=1, max_size=63), st.text(alphabet="abcdef0123456789-", min_size=1, max_size=60))
def test_names_beside_a_database_fit_and_differ(name: str, run: str) -> None:
    names = Names(name, run)
    assert len({name, names.beside, names.damaged}) == 3
    assert all(len(found.encode()) <= 63 for found in (names.beside, names.damaged))


def test_roles_that_are_there_are_left_as_they_are() -> None:
    class Here:
        """Just enough of a connection."""

        def execute(self, *_: object) -> "Here":
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [("postgres",), ("ann",)]

    sql = (
        "CREATE ROLE ann;\nALTER ROLE ann WITH NOSUPERUSER;\n"
        'CREATE ROLE "Bob ""B""";\nALTER ROLE "Bob ""B""" WITH LOGIN;\n'
        'GRANT readers TO "Bob ""B""" GRANTED BY postgres;\nGRANT readers TO ann;\n'
    )
    assert missing_roles(Here(), sql.encode()) == [  # pyright: ignore[reportArgumentType]
        'CREATE ROLE "Bob ""B""";',
        'ALTER ROLE "Bob ""B""" WITH LOGIN;',
        'GRANT readers TO "Bob ""B""" GRANTED BY postgres;',
    ]
