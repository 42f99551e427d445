"""Laws of the journal on disk: what it promises when it is killed, cut, forged, filled up, or shared."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.adapters.journal import SqliteJournal, open_journal, verify_journal
from backstay.adapters.journal.sqlite import FILE
from backstay.adapters.memory.clock import MemoryClock
from backstay.errors import AccessDenied, DiskFull, JournalDamaged, JournalNewer, StoreUnreachable, Usage
from backstay.facts import Noted, write_fact
from backstay.facts.audit import Flaw
from backstay.values import StreamName

A, B = StreamName("run/a"), StreamName("component/b")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    kept = SqliteJournal(tmp_path / "state", MemoryClock())
    yield kept
    kept.close()


def fill(journal: SqliteJournal, stream: StreamName = A, facts: int = 5) -> None:
    journal.append(stream, [Noted("ann", str(number)) for number in range(1, facts + 1)], expected=0)


# ── on disk ──────────────────────────────────────────────────────────────────────────────────────


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = open_journal(tmp_path / "new" / "state", witness=None, clock=MemoryClock())
        journal.append(A, [Noted("ann", "1")], expected=0)
        folder = tmp_path / "new" / "state"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert set(modes.values()) == {0o600}
        assert set(modes) == {FILE, f"{FILE}-wal", f"{FILE}-shm", "journal.key"}
        journal.close()
        (folder / FILE).chmod(0o644)
        SqliteJournal(folder, MemoryClock()).close()
        assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_it_is_written_through_to_the_disk(journal: SqliteJournal) -> None:
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # pyright: ignore[reportPrivateUsage]
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)  # pyright: ignore[reportPrivateUsage]


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    one = SqliteJournal(tmp_path, MemoryClock())
    fill(one)
    told = one.read(A)
    one.close()
    again = SqliteJournal(tmp_path, MemoryClock())
    assert again.read(A) == told
    assert again.about("journal") == one_id(tmp_path)
    again.close()


def one_id(folder: Path) -> str:
    db = sqlite3.connect(folder / FILE)
    found = db.execute("SELECT value FROM about WHERE name = 'journal'").fetchone()[0]
    db.close()
    return str(found)


# ── tampering, with plain SQL ────────────────────────────────────────────────────────────────────

FORGED = write_fact(Noted("mallory", "it never happened")).replace("'", "''")

SWAPPED = """
    UPDATE facts SET seq = -seq WHERE stream = 'run/a' AND seq IN (2, 3);
    UPDATE facts SET seq = 5 + seq WHERE stream = 'run/a' AND seq < 0;
"""
MOVED = """
    DELETE FROM facts WHERE stream = 'component/b' AND seq = 5;
    UPDATE facts SET stream = 'component/b' WHERE stream = 'run/a' AND seq = 5;
"""
TAMPERING: dict[str, tuple[str, list[tuple[str, int, Flaw]]]] = {
    "a body changed": (
        f"UPDATE facts SET body = '{FORGED}' WHERE stream = 'run/a' AND seq = 3",
        [(A, 3, Flaw.CHANGED)],
    ),
    "one letter changed": (
        "UPDATE facts SET body = replace(body, 'ann', 'amn') WHERE stream = 'run/a' AND seq = 2",
        [(A, 2, Flaw.CHANGED)],
    ),
    "a moment changed": (
        "UPDATE facts SET at = '2020-01-01T00:00:00.000000Z' WHERE stream = 'run/a' AND seq = 1",
        [(A, 1, Flaw.CHANGED)],
    ),
    "a moment that is none": (
        "UPDATE facts SET at = 'soon' WHERE stream = 'run/a' AND seq = 1",
        [(A, 1, Flaw.CHANGED)],
    ),
    "another type": ("UPDATE facts SET body = x'00ff' WHERE stream = 'run/a' AND seq = 4", [(A, 4, Flaw.CHANGED)]),
    "a fact removed": ("DELETE FROM facts WHERE stream = 'run/a' AND seq = 3", [(A, 3, Flaw.REMOVED)]),
    "two facts removed": ("DELETE FROM facts WHERE stream = 'run/a' AND seq IN (2, 3)", [(A, 2, Flaw.REMOVED)]),
    "the first removed": ("DELETE FROM facts WHERE stream = 'run/a' AND seq = 1", [(A, 1, Flaw.REMOVED)]),
    "the end removed": ("DELETE FROM facts WHERE stream = 'run/a' AND seq > 3", [(A, 4, Flaw.MISSING)]),
    "a stream removed": ("DELETE FROM facts WHERE stream = 'component/b'", [(B, 1, Flaw.MISSING)]),
    "two facts swapped": (
        SWAPPED,
        [(A, 2, Flaw.REORDERED), (A, 3, Flaw.REORDERED)],
    ),
    "a fact moved to another stream": (
        MOVED,
        [(B, 5, Flaw.CHANGED), (A, 5, Flaw.MISSING)],
    ),
    "the note of the end changed": ("UPDATE heads SET seq = 2 WHERE stream = 'run/a'", [(A, 5, Flaw.CHANGED)]),
}


def tamper(folder: Path, sql: str) -> None:
    db = sqlite3.connect(folder / FILE)
    db.executescript(sql)
    db.close()


@pytest.mark.parametrize("story", TAMPERING)
def test_tampering_is_found_and_named(story: str, journal: SqliteJournal) -> None:
    sql, expected = TAMPERING[story]
    fill(journal)
    fill(journal, B)
    assert not [found for found in journal.verify([]) if found.damage]
    tamper(journal.path.parent, sql)
    found = [(one.stream, one.seq, one.flaw) for one in journal.verify([]) if one.damage]
    assert set(expected) <= set(found), found
    assert {seq for _, seq, _ in found} <= {seq + more for _, seq, _ in expected for more in (0, 1)}, found


@pytest.mark.parametrize("story", TAMPERING)
def test_a_fact_that_was_tampered_with_is_not_believed(story: str, journal: SqliteJournal) -> None:
    sql, expected = TAMPERING[story]
    fill(journal)
    fill(journal, B)
    tamper(journal.path.parent, sql)
    stream = StreamName(expected[0][0])
    if expected[0][2] is Flaw.MISSING or "the note" in story:
        # What is left of a stream is true. Nothing is appended behind the gap, so that it stays in sight.
        left = journal.read(stream)[-1:] if "a stream" not in story else []
        with pytest.raises(JournalDamaged, match=stream):
            journal.append(stream, [Noted("ann", "more")], expected=left[0].seq if left else 0)
    else:
        with pytest.raises(JournalDamaged, match=stream):
            journal.read(stream)


@pytest.mark.parametrize("story", sorted(TAMPERING.keys() - {"the note of the end changed"}))
def test_nothing_is_folded_from_a_journal_with_a_gap(story: str, journal: SqliteJournal) -> None:
    """What status and the choice of a point go by: a hold or a refutation that is gone must not go unnoticed."""
    fill(journal)
    fill(journal, B)
    assert len(list(journal.everything())) == 10
    tamper(journal.path.parent, TAMPERING[story][0])
    with pytest.raises(JournalDamaged):
        list(journal.everything())


# ── files that are damaged, foreign, newer, locked, full ─────────────────────────────────────────


def test_a_damaged_file_says_what_can_still_be_read(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path, MemoryClock())
    for number in range(400):
        journal.append(A, [Noted("ann", "x" * 200)], expected=number)
    journal.close()
    path = tmp_path / FILE
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    with pytest.raises(JournalDamaged) as caught:
        again = SqliteJournal(tmp_path, MemoryClock())
        try:
            list(again.everything())
            again.verify([])
        finally:
            again.close()
    assert "the journal's file is damaged" in caught.value.message or "was changed" in caught.value.message


@pytest.mark.parametrize(
    ("content", "error"), [(b"not a database, by far" * 100, JournalDamaged), (b"", JournalDamaged)]
)
def test_a_file_that_is_no_journal_is_refused(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(error):
        SqliteJournal(tmp_path, MemoryClock())
    assert (tmp_path / FILE).read_bytes() == content, "what was there is not touched"


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteJournal(tmp_path, MemoryClock()).close()
    tamper(tmp_path, "PRAGMA user_version = 2")
    with pytest.raises(JournalNewer):
        SqliteJournal(tmp_path, MemoryClock())


def test_a_full_disk_writes_nothing_of_an_append(journal: SqliteJournal) -> None:
    fill(journal)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]  # pyright: ignore[reportPrivateUsage]
    journal._db.execute(f"PRAGMA max_page_count = {pages + 2}")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(DiskFull, match="no room"):
        journal.append(A, [Noted("ann", "x" * 5000) for _ in range(20)], expected=5)
    journal._db.execute("PRAGMA max_page_count = 4294967294")  # pyright: ignore[reportPrivateUsage]
    assert [one.seq for one in journal.read(A)] == [1, 2, 3, 4, 5]
    assert not [found for found in journal.verify([]) if found.damage]
    journal.append(A, [Noted("ann", "room again")], expected=5)


def test_a_file_that_another_process_holds_is_unreachable_for_a_while(journal: SqliteJournal) -> None:
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal._db.execute("PRAGMA busy_timeout = 50")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StoreUnreachable):
        fill(journal)
    other.execute("ROLLBACK")
    other.close()
    fill(journal)


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessDenied):
        SqliteJournal(tmp_path / "file" / "state", MemoryClock())


def test_a_fact_that_is_too_large_is_refused(journal: SqliteJournal) -> None:
    with pytest.raises(Usage, match="too large"):
        journal.append(A, [Noted("ann", "x" * (17 << 20))], expected=0)


# ── several processes, and death ─────────────────────────────────────────────────────────────────

WRITER = """
import sys
from pathlib import Path
from backstay.adapters.clock import SystemClock
from backstay.adapters.journal import SqliteJournal
from backstay.errors import JournalConflict
from backstay.facts import Noted
from backstay.values import StreamName

folder, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
journal = SqliteJournal(folder, SystemClock())
print("open", flush=True)
stream, number = StreamName("run/a"), 0
while number < times:
    try:
        journal.append(stream, [Noted(name, f"{number} first"), Noted(name, f"{number} second")],
                       expected=len(journal.read(stream)))
    except JournalConflict:
        continue
    number += 1
    print(number, flush=True)
"""


def writer(folder: Path, name: str, times: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", WRITER, str(folder), name, str(times)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def texts(folder: Path) -> list[tuple[str, str]]:
    journal = SqliteJournal(folder, MemoryClock())
    assert not [found for found in journal.verify([]) if found.damage]
    found = [(one.fact.by, one.fact.text) for one in journal.read(A) if isinstance(one.fact, Noted)]
    journal.close()
    return found


def test_two_processes_append_each_fact_once_and_in_pairs(tmp_path: Path) -> None:
    writers = [writer(tmp_path, name, 25) for name in "xy"]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    told = texts(tmp_path)
    assert sorted(told) == sorted((name, f"{n} {half}") for name in "xy" for n in range(25) for half in PAIR)
    pairs = list(zip(told[::2], told[1::2], strict=True))
    assert all(one[0] == two[0] and one[1].split()[0] == two[1].split()[0] for one, two in pairs)


PAIR = ("first", "second")


@pytest.mark.parametrize("after", [1, 4, 9])
def test_killed_in_the_middle_of_appends_it_is_whole_and_has_all_that_was_promised(after: int, tmp_path: Path) -> None:
    process = writer(tmp_path, "x", 100_000)
    assert process.stdout is not None
    while process.stdout.readline().strip() != str(after):
        pass
    process.send_signal(signal.SIGKILL)
    promised = [int(line) for line in process.communicate(timeout=60)[0].split()]
    told = texts(tmp_path)
    assert len(told) % 2 == 0, "half an append"
    assert len(told) >= 2 * max([after, *promised])
    assert told == [("x", f"{n} {half}") for n in range(len(told) // 2) for half in PAIR]


def test_of_processes_that_make_it_at_once_all_have_the_same_one(tmp_path: Path) -> None:
    writers = [writer(tmp_path / "state", name, 1) for name in "uvwx"]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sorted(texts(tmp_path / "state")) == sorted((name, f"0 {half}") for name in "uvwx" for half in PAIR)
    assert not list((tmp_path / "state").glob(".*")), "something was left over"


def test_power_lost_after_an_append_keeps_it(tmp_path: Path) -> None:
    """As far as it can be seen from here: the files as they are after the append, without closing anything."""
    journal = SqliteJournal(tmp_path / "state", MemoryClock())
    fill(journal)
    shutil.copytree(tmp_path / "state", tmp_path / "disk", ignore=shutil.ignore_patterns("*-shm"))
    again = SqliteJournal(tmp_path / "disk", MemoryClock())
    assert again.read(A) == journal.read(A)
    again.close()
    journal.close()


def test_verifying_without_anything_sealed_says_that_the_tail_is_not_verified(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, witness=None, clock=MemoryClock())
    journal.append(A, [Noted("ann", "1")], expected=0)
    audit = verify_journal(journal, [])
    assert audit.sound
    assert {(found.stream, found.flaw) for found in audit.findings} == {(A, Flaw.TAIL), ("journal", Flaw.TAIL)}
    journal.close()
