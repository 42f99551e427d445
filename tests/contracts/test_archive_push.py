"""What `archive_command` answers PostgreSQL: 0 only for what is durable, and never more than 1."""

import array
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backstay.adapters.postgres import archive_push
from backstay.adapters.postgres.archive_service import GREETING, MOST_AT_ONCE, Service
from backstay.adapters.postgres.archiving import MAGIC, Archive
from backstay.errors import AccessDenied, StoreUnreachable, Usage, WalConflict
from backstay.lsn import Lsn, segment_name, segment_place
from fix_archive import CLUSTER, Archiving, archiving
from fix_waiting import until
from fix_wal import LEAST_SEGMENT, SYSTEM, log_of

M = LEAST_SEGMENT


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archiving]:
    with archiving(tmp_path) as made:
        yield made


# ── segments ─────────────────────────────────────────────────────────────────────────────────────


def test_a_segment_is_durable_when_the_answer_is_0(archive: Archiving) -> None:
    assert archive.push(archive.segment(3)) == (0, "")
    assert archive.kept(1, 3 * M, 4 * M) == log_of(SYSTEM, 1, 3 * M, M)


def test_the_same_again_is_0_and_kept_once(archive: Archiving) -> None:
    for _ in range(2):
        assert archive.push(archive.segment(3)) == (0, "")
    assert len(archive.vault.wal.stretches(SYSTEM)) == 1


def test_other_content_for_the_same_place_is_refused_and_named(archive: Archiving) -> None:
    archive.push(archive.segment(3))
    code, said = archive.push(archive.segment(3, seed=1))
    assert code == 1
    assert "000000010000000000000003 is not archived: E80" in said
    assert archive.kept(1, 3 * M, 4 * M) == log_of(SYSTEM, 1, 3 * M, M)
    assert isinstance(archive.heard[-1][1], WalConflict)


def test_when_the_log_was_written_is_said_by_the_file(archive: Archiving) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for number in (3, 4, 6):
        path = archive.segment(number)
        moment = (noon + timedelta(minutes=number)).timestamp()
        os.utime(archive.folder / path, (moment, moment))
        archive.push(path)
    spans = [(since, until) for _, since, until in archive.vault.wal.spans(SYSTEM, 1)]
    minute = {number: noon + timedelta(minutes=number) for number in (3, 4, 6)}
    assert spans == [(None, minute[3]), (minute[3], minute[4]), (None, minute[6])]


@pytest.mark.parametrize("megabytes", [1, 2, 64])
def test_segments_have_any_size(tmp_path: Path, megabytes: int) -> None:
    size = megabytes << 20
    with archiving(tmp_path, replace(CLUSTER, segment_bytes=size)) as archive:
        assert archive.push(archive.segment(70, size=size)) == (0, "")
        assert archive.kept(1, 70 * size, 71 * size) == log_of(SYSTEM, 1, 70 * size, size, size)


WRONG = [
    (log_of(9, 1, 3 * M, M), "it belongs to another cluster"),
    (log_of(SYSTEM, 1, 2 * M, M), "it holds the WAL from 0/200000, not from 0/300000"),  # recycled
    (log_of(SYSTEM, 2, 3 * M, M), "it is of timeline 2, not 1"),
    (log_of(SYSTEM, 1, 4 * M, 2 * M, 2 * M)[:M], "it is made for segments of 2097152 bytes"),
    (log_of(SYSTEM, 1, 3 * M, M)[:-1], "it has 1048575 bytes, not 1048576"),
    (log_of(SYSTEM, 1, 3 * M, M) + b"x", "it has 1048577 bytes"),
    (b"\x10\xd1" + log_of(SYSTEM, 1, 3 * M, M)[2:], "it is of another version of PostgreSQL than 16 (magic D110)"),
    (bytes(M), "it does not begin with the header of a segment"),
    (b"", "it has only 0 bytes"),
]


@pytest.mark.parametrize(("content", "why"), WRONG, ids=[why for _, why in WRONG])
def test_what_is_not_what_its_name_says_is_refused(archive: Archiving, content: bytes, why: str) -> None:
    code, said = archive.push(archive.write(segment_name(1, 3, M), content))
    assert (code, why in said) == (1, True), said
    assert archive.vault.wal.stretches(SYSTEM) == []


@pytest.mark.parametrize(
    "name", ["x", "000000010000000000000003.part", "00000001000000000000000", "0" * 24, "000000010000000000001000",
             "00000001000000000000000g", "../000000010000000000000003", "é" * 50, "0" * 300],
)  # fmt: skip
def test_what_postgresql_does_not_archive_is_refused(archive: Archiving, name: str) -> None:
    path = archive.folder / "any"
    path.write_bytes(b"x")
    link = archive.folder / "pg_wal" / name[:200].replace("/", "_")
    link.symlink_to(path)
    assert archive.push(str(link))[0] == 1
    assert archive.vault.wal.systems() == []


# ── the other kinds of file ──────────────────────────────────────────────────────────────────────

HISTORY = b"1\t0/380000\tno recovery target specified\n"


def test_a_history_is_kept_and_another_one_refused(archive: Archiving) -> None:
    for _ in range(2):
        assert archive.push(archive.write("00000002.history", HISTORY)) == (0, "")
    assert archive.vault.wal.histories(SYSTEM) == {2: HISTORY}
    code, said = archive.push(archive.write("00000002.history", HISTORY.replace(b"38", b"39")))
    assert (code, "another history of timeline 2" in said) == (1, True)
    code, said = archive.push(archive.write("00000003.history", b"nonsense"))
    assert (code, "makes no sense" in said) == (1, True)


def test_a_partial_segment_is_kept_up_to_where_its_timeline_was_left(archive: Archiving) -> None:
    partial = archive.segment(3, end=".partial")
    code, said = archive.push(partial)
    assert (code, "nobody knows how much" in said) == (1, True)
    archive.push(archive.write("00000002.history", HISTORY))
    assert archive.push(partial) == (0, "")
    assert [(one.start, one.end) for one in archive.vault.wal.stretches(SYSTEM, 1)] == [(3 * M, 0x380000)]
    # The old server lived on, and archives the whole: the beginning is the same.
    assert archive.push(archive.segment(3)) == (0, "")
    assert archive.push(archive.segment(3, 2)) == (0, "")


def test_the_label_of_a_base_backup_is_nothing_that_a_recovery_reads(archive: Archiving) -> None:
    assert archive.push(archive.write("000000010000000000000003.00000028.backup", b"START WAL LOCATION")) == (0, "")
    assert archive.vault.wal.systems() == []


# ── the service is away, dies, or is lied to ─────────────────────────────────────────────────────


def test_without_a_service_it_is_1_and_the_queue_is_said(archive: Archiving) -> None:
    path = archive.segment(3)
    for number in range(3):
        (archive.folder / "pg_wal" / "archive_status" / f"{number}.ready").touch()
    code, said = archive.push(path, socket=archive.folder / "nobody")
    assert code == 1
    assert "the archive service does not answer" in said
    assert "3 files wait in pg_wal" in said


def test_a_service_that_dies_before_it_answers_is_1(tmp_path: Path) -> None:
    def dies(name: str, file: int) -> str:
        raise SystemExit(0)  # its thread ends, and the line is closed

    with archiving(tmp_path, keep=dies) as archive:
        code, said = archive.push(archive.segment(3))
    assert (code, "it went away before it had answered" in said) == (1, True)


def test_a_defect_of_the_service_is_1_and_told(tmp_path: Path) -> None:
    with archiving(tmp_path, keep=lambda name, file: str(1 // 0)) as archive:
        code, said = archive.push(archive.segment(3))
        assert (code, "ZeroDivisionError in the archive service" in said) == (1, True)
        assert "a defect in Backstay" in str(archive.heard[0][1])


def test_an_error_of_the_store_is_1_and_the_next_try_keeps_it(tmp_path: Path) -> None:
    away = [StoreUnreachable("the bucket is away", detail="a line\nand another")]
    with archiving(tmp_path) as archive:
        real = Archive(CLUSTER, archive.vault.wal)

        def keep(name: str, file: int) -> str:
            if away:
                raise away.pop()
            return real.keep(name, file)

        with archiving(tmp_path, keep=keep) as second:
            path = second.segment(3)
            code, said = second.push(path)
            assert (code, "E27 the bucket is away: a line and another" in said) == (1, True)
            assert second.push(path) == (0, "")
        assert archive.kept(1, 3 * M, 4 * M)


@pytest.mark.parametrize("words", [[], ["one"], ["a", "b", "c"], ["/nowhere", "pg_wal/none"], ["\0", "x"]])
def test_a_wrong_command_line_is_1_and_no_traceback(tmp_path: Path, words: list[str]) -> None:
    if "\0" in words:
        words = ["x" * 200, "y"]
    argv = [sys.executable, "-I", "-S", archive_push.__file__, *words]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("backstay: ")


def test_closed_streams_are_no_reason_to_end_otherwise(tmp_path: Path) -> None:
    line = f"{sys.executable} -I -S {archive_push.__file__} /nowhere x <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False, timeout=60).returncode == 1


def test_the_client_imports_next_to_nothing() -> None:
    program = (
        f"import sys; sys.argv = ['x']; import runpy\ntry: runpy.run_path({archive_push.__file__!r})\nfinally: pass"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
    listed = "import sys; before = set(sys.modules); import _socket, posix; print(*sorted(set(sys.modules) - before))"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", listed], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) <= {"_socket"}
    source = Path(archive_push.__file__).read_text()
    assert [line for line in source.splitlines() if line.startswith(("import", "from"))] == [
        "import _socket", "import posix", "import sys"
    ]  # fmt: skip


# ── who asks, and what ───────────────────────────────────────────────────────────────────────────


def test_the_socket_is_its_owners_alone_and_goes_with_the_service(tmp_path: Path) -> None:
    with archiving(tmp_path) as archive:
        assert stat.S_IMODE(archive.socket.stat().st_mode) == 0o600
        address = archive.socket
    assert not address.exists()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _ask(address: Path, message: bytes, files: list[int]) -> bytes:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(address))
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())] if files else []
        line.sendmsg([message], beside)
        line.shutdown(socket.SHUT_WR)
        return line.recv(4096)


@pytest.mark.parametrize(
    ("message", "files"),
    [(b"", 0), (b"\n", 1), (b"GET / HTTP/1.1\r\n\r\n", 0), (GREETING + b"x\n", 0), (GREETING + b"x\n", 2),
     (GREETING + b"x" * 9999, 1), (GREETING + b"\xff\0\n", 1), (GREETING + b"000000010000000000000003\n", 1)],
)  # fmt: skip
def test_nonsense_is_answered_no_and_leaves_nothing_open(archive: Archiving, message: bytes, files: int) -> None:
    if not message:
        return
    before = _open_files()
    given = [os.open("/dev/null", os.O_RDONLY) for _ in range(files)]
    try:
        assert _ask(archive.socket, message, given)[:3] in (b"no ", b"")
    finally:
        for file in given:
            os.close(file)
    assert archive.push(archive.segment(3)) == (0, "")
    assert _open_files() <= before + 1


def test_while_a_vault_hangs_those_who_try_again_and_again_fill_nothing(tmp_path: Path) -> None:
    """A client gives up after a while, and the server begins the next one: for a night, if need be."""
    goes_on, asking = threading.Event(), list[socket.socket]()

    def keep(name: str, file: int) -> str:
        return str(goes_on.wait(60))

    with archiving(tmp_path, keep=keep) as archive, Path("/dev/null").open() as file:
        before = _open_files()
        for _ in range(24):
            asking.append(line := socket.socket(socket.AF_UNIX))
            line.setblocking(False)
            with suppress(BlockingIOError):  # no more may wait
                line.connect(str(archive.socket))
                beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]).tobytes())]
                line.sendmsg([GREETING + b"000000010000000000000003\n"], beside)
        for line in asking:
            line.close()
        until(lambda: _open_files() >= before + 2 * MOST_AT_ONCE, "as many are heard as may be at once")
        assert _open_files() <= before + 2 * MOST_AT_ONCE
        goes_on.set()
        assert archive.push(archive.segment(3)) == (0, "")
        until(lambda: _open_files() <= before, "nothing is left open")


def test_another_user_is_not_listened_to(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can ask as somebody else")
    with archiving(tmp_path) as archive:
        archive.socket.chmod(0o666)
        archive.socket.parent.chmod(0o755)
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:  # a program of its own may not be executable for a stranger
            os.setuid(65534)
            os.write(writing, _ask(archive.socket, GREETING + b"x\n", []))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            assert said.read() == b"no this user is not the server's\n"
        assert os.waitpid(child, 0)[1] == 0


def test_a_file_of_a_copy_of_the_server_is_refused(tmp_path: Path) -> None:
    """A sandbox that somebody forgot to tame has the same system identifier, and the same archive_command."""
    own, copy = tmp_path / "own", tmp_path / "copy"
    with archiving(own, replace(CLUSTER, data=own)) as archive:
        assert archive.push(archive.segment(3)) == (0, "")
        with archiving(copy) as other:
            path = other.segment(4)
            code, said = other.push(path, socket=archive.socket)
        assert (code, "does not lie in pg_wal of the server" in said) == (1, True)
        archive.segment(4)
        assert archive.push(str(copy / path))[0] == 1
        assert archive.push(path) == (0, "")


def test_an_address_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    def service(address: Path) -> Service:
        return Service(address, os.geteuid(), lambda name, file: "", lambda name, came: None)

    with pytest.raises(Usage, match="longer than a socket may have"):
        service(tmp_path / ("x" * 120)).listen()
    with pytest.raises(AccessDenied, match="cannot listen at"):
        service(Path("/proc/backstay.sock")).listen()
    plan = tmp_path / "backstay.yaml"
    plan.write_text("components: {}")
    with pytest.raises(AccessDenied, match="cannot listen at"):
        service(plan).listen()
    assert plan.read_text() == "components: {}", "a slip in --socket deletes nothing"


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1 << 20, 16 << 20, 64 << 20, 1 << 30])
def test_a_name_says_where_its_segment_is(size: int) -> None:
    for number in (0, 1, (1 << 32) // size - 1, (1 << 32) // size, 12_345):
        assert segment_place(segment_name(7, number, size), size) == (7, Lsn(number * size))
    with pytest.raises(ValueError, match="not the name of a segment of"):
        segment_place(f"{1:08X}{0:08X}{(1 << 32) // size:08X}", size)


def test_the_magic_of_every_version_is_known() -> None:
    assert sorted(MAGIC) == list(range(13, 19))
