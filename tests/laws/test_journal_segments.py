"""Laws of what the vaults hold of a journal: they hold all of it, and what was changed, is missing or moved is seen."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.adapters.journal import (
    OpenJournal,
    SqliteJournal,
    find_history,
    lay_history,
    open_journal,
    seal_spine,
    take_over,
    verify_journal,
)
from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError, EpochTaken, JournalDamaged, JournalReadOnly
from backstay.facts import Noted, write_fact
from backstay.facts.audit import Flaw, Row, next_row
from backstay.facts.segments import (
    BLOCK,
    Ancestor,
    Range,
    Segment,
    covered,
    pieces,
    read_name,
    read_segment,
    segment_name,
    write_segment,
)
from backstay.ports import Key, Store
from backstay.values import StreamName
from backstay.vault import Repository, names
from fix_vault import Crash, Mortal, copy_of, keyring, new_vault

SECOND = timedelta(seconds=1)
A, B = StreamName("run/a"), StreamName("component/b")


def chain(length: int, stream: StreamName = A) -> list[Row]:
    rows: list[Row] = []
    for number in range(length):
        at = BEGINNING + number * SECOND
        rows.append(next_row(stream, rows[-1] if rows else None, at, write_fact(Noted("ann", f"{number}"))))
    return rows


class Journals:
    """Journals in folders of their own, closed at the end."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock, self.opened = root, MemoryClock(), list[OpenJournal]()

    def open(self, name: str, *vaults: Repository) -> OpenJournal:
        witness = vaults[0] if vaults else None
        self.opened.append(open_journal(self.root / name, witness=witness, clock=self.clock, others=lambda: vaults[1:]))
        return self.opened[-1]


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    found = Journals(tmp_path)
    yield found
    for journal in found.opened:
        journal.close()


def write(journal: OpenJournal, stream: StreamName = A, times: int = 1, text: str = "x") -> None:
    journal.append(stream, [Noted("ann", text)] * times, expected=len(journal.read(stream)))


def stored(journal: OpenJournal) -> list[Row]:
    return journal.kept.rows(1, 1 << 40)


def seal(journal: OpenJournal, *vaults: Repository) -> None:
    assert seal_spine(journal, vaults, BEGINNING) is not None


# ── the form ─────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 5), st.integers(1, 10**6), st.booleans())
def test_a_segment_is_read_as_it_was_written(length: int, first: int, heir: bool) -> None:
    after = (Ancestor("ab" * 8, first - 1, "cd" * 32),) if heir else ()
    segment = Segment("12" * 8, first, tuple(chain(length)), after)
    assert read_segment(write_segment(segment)) == segment
    assert read_name(segment_name(segment.journal, Range(first, segment.last))) == (
        segment.journal, Range(first, segment.last),
    )  # fmt: skip


SOUND = write_segment(Segment("12" * 8, 7, tuple(chain(4)), (Ancestor("ab" * 8, 6, "cd" * 32),)))


@given(st.integers(0, len(SOUND) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_whatever_is_changed_in_a_segment_is_refused(at: int, put: bytes, cut: int) -> None:
    data = SOUND[:at] + put + SOUND[at + cut :]
    try:
        read = read_segment(data)
    except JournalDamaged:
        return
    # What stands in the first line is vouched for by the box alone; the facts by their own digests.
    assert write_segment(read) == data
    assert read.rows == tuple(chain(4))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n{}\n",
        b"[]\n[]\n",
        b"\xff\n\xff\n",
        b"[" * 100_000,
        SOUND + b"\n",
        SOUND.replace(b":7,", b":8,"),
    ],
    ids=range(8),
)
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(JournalDamaged):
        read_segment(data)


@given(st.lists(st.integers(1, 3 * BLOCK), max_size=6))
def test_every_fact_is_in_a_piece_and_a_finished_thousand_in_one(steps: list[int]) -> None:
    done, ranges = 0, list[Range]()
    for step in steps:
        ranges += pieces(done, done + step)
        done += step
    assert covered(ranges) == done
    assert all(read_name(segment_name("12" * 8, one)) for one in ranges)
    blocks = {one for one in ranges if one.last % BLOCK == 0}
    assert blocks == {Range(end - BLOCK + 1, end) for end in range(BLOCK, done + 1, BLOCK)}
    assert len(ranges) <= len(steps) + done // BLOCK


# ── there and back ───────────────────────────────────────────────────────────────────────────────


@settings(max_examples=8)
@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 40), st.booleans(), st.booleans()), max_size=6))
def test_each_vault_holds_the_whole_journal_also_one_that_was_away(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[StreamName, int, bool, bool]]
) -> None:
    journals = Journals(tmp_path_factory.mktemp("journals"))
    near, far = new_vault(MemoryStore("near")), new_vault(MemoryStore("far"))
    old = journals.open("old", near, far)
    write(old)
    for stream, times, sealed, away in story:
        write(old, stream, times)
        if sealed:
            seal(old, *((near,) if away else (near, far)))
    write(old)
    seal(old, near, far)
    for vault in (near, far):
        found = find_history([vault])
        assert found is not None
        assert list(found.rows) == stored(old)
        assert (found.findings, found.beyond) == ((), 0)
        assert all("is not in the vault" in said for said in found.troubles), found.troubles
    for journal in journals.opened:
        journal.close()


def test_a_thousand_facts_are_read_in_one_piece(journals: Journals) -> None:
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    for times in (1, *[600] * 4):
        write(old, times=times)
        seal(old, vault)
    sealed = [found[1] for name in vault.notes("facts/") if (found := read_name(name))]
    expected = [(1, 2), (1, 1000), (3, 602), (1001, 1202), (1001, 2000), (1203, 1802), (2001, 2402)]
    assert [(one.first, one.last) for one in sorted(sealed)] == expected
    gets = Counting(vault.store)
    found = find_history([Repository(gets, "local", keyring(), vault.opened)])
    assert found is not None
    assert len(found.rows) == 2402
    assert sum("facts/" in key for key in gets.got) == 3, "two thousands and the rest"


class Counting(Mortal):
    def __init__(self, within: Store) -> None:
        super().__init__(within, 0)
        self.got: list[str] = []

    def get(self, key: Key, start: int = 0, length: int | None = None) -> bytes:
        self.got.append(key)
        return super().get(key, start, length)


def test_what_a_command_adds_is_two_small_objects(journals: Journals) -> None:
    """The facts and the spine, however many streams there are."""
    store = MemoryStore()
    vault = new_vault(store)
    old = journals.open("old", vault)
    for number in range(300):
        write(old, StreamName(f"run/{number}"))
    seal(old, vault)
    seal_more = set(store.objects)
    write(old, B, 2)
    seal(old, vault)
    added = {key: len(store.objects[key]) for key in store.objects.keys() - seal_more}
    assert len(added) == 2
    assert max(added.values()) < 1000


# ── death ────────────────────────────────────────────────────────────────────────────────────────


def mortal(vault: Repository, breaths: int, *, after: bool = False) -> tuple[Repository, Mortal]:
    store = Mortal(vault.store, breaths, after=after)
    return Repository(store, vault.name, keyring(), vault.opened), store


@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_call_while_sealing_loses_nothing(journals: Journals, after: bool) -> None:
    breaths = 0
    while True:
        breaths += 1
        near, far = new_vault(MemoryStore("near")), new_vault(MemoryStore("far"))
        old = journals.open(f"old-{after}-{breaths}", near)
        write(old, times=3)
        seal(old, near)
        write(old, B, 3)
        dying, store = mortal(far, breaths, after=after)
        with suppress(Crash):
            seal_spine(old, [near, dying], BEGINNING)
        write(old, B)
        seal(old, near, far)
        for vault in (near, far):
            found = find_history([vault])
            assert found is not None
            assert list(found.rows) == stored(old)
            assert not found.findings
        assert not verify_journal(old, [near, far]).findings
        if store.calls < breaths:
            break
    assert breaths > 4


@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_call_while_arriving_and_again(journals: Journals, after: bool) -> None:
    breaths = 0
    while True:
        breaths += 1
        vault = new_vault(MemoryStore("near"))
        old = journals.open(f"old-{after}-{breaths}", vault)
        write(old, times=3)
        seal(old, vault)
        kept = stored(old)
        dying, store = mortal(vault, breaths, after=after)
        new = journals.open(f"new-{after}-{breaths}", vault)
        try:
            arrive(new, dying)
        except Crash:
            new = journals.open(f"new-{after}-{breaths}", vault)
            arrive(new, vault)
        assert stored(new)[: len(kept)] == kept
        assert new.epoch == 2
        assert vault.notes("journal/") == ["journal/1", "journal/2"]
        write(new)
        seal(new, vault)
        assert not verify_journal(new, [vault]).findings
        with pytest.raises(JournalReadOnly, match="another one took over"):
            write(journals.open(f"old-{after}-{breaths}", vault))
        if store.calls < breaths:
            break
    assert breaths > 4


def arrive(journal: OpenJournal, *vaults: Repository) -> None:
    """As bootstrap does it: also when it was killed, and is typed again."""
    found = find_history(vaults)
    assert found is not None
    if found.journal != journal.id:
        lay_history(journal, found)
    take_over(journal, vaults, found.epoch)


# ── several at once, and those left behind ───────────────────────────────────────────────────────


def test_of_two_that_arrive_at_once_one_has_the_epoch_and_the_other_knows_who(journals: Journals) -> None:
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    write(old)
    seal(old, vault)
    one, two = journals.open("one", vault), journals.open("two", vault)
    seen = find_history([vault])
    assert seen is not None
    for journal in (one, two):
        lay_history(journal, seen)
    assert take_over(one, [vault], seen.epoch).epoch == 2
    with pytest.raises(EpochTaken, match="at this moment"):
        take_over(two, [vault], seen.epoch)
    write(one)
    with pytest.raises(JournalReadOnly):
        write(two)
    again = journals.open("two", vault)
    with pytest.raises(JournalReadOnly) as caught:
        write(again)
    assert "epoch 2, taken by" in caught.value.detail
    with pytest.raises(EpochTaken):
        arrive(again, vault)


def test_one_that_was_taken_over_while_its_witness_was_gone_finds_out_in_another_vault(journals: Journals) -> None:
    own, offsite = new_vault(MemoryStore("own")), new_vault(MemoryStore("offsite"))
    old = journals.open("old", own, offsite)
    write(old)
    seal(old, own, offsite)
    new = journals.open("new", own)
    arrive(new, offsite)  # the machine is gone, and its own vault with it
    with pytest.raises(JournalReadOnly, match="another one took over"):
        write(journals.open("old", own, offsite))
    # What is left of the old machine's vault comes back: the new journal has its place there too.
    write(journals.open("new", own, offsite))
    assert own.notes("journal/") == ["journal/1", "journal/2"]


def test_a_third_goes_on_from_the_second(journals: Journals) -> None:
    vault = new_vault(MemoryStore())
    journal = journals.open("0", vault)
    write(journal, times=5)
    seal(journal, vault)
    for number in range(1, 4):
        heir = journals.open(str(number), vault)
        arrive(heir, vault)
        assert heir.read(A) == journal.read(A)
        write(heir, A if number % 2 else B, 2)
        seal(heir, vault)
        assert not verify_journal(heir, [vault]).findings
        journal = heir
    found = find_history([vault])
    assert found is not None
    assert list(found.rows) == stored(journal)
    assert [one.facts for one in found.line] == [6, 9, 12, 15]
    assert not found.findings


# ── changed, missing, moved ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def sealed(journals: Journals) -> tuple[OpenJournal, Repository]:
    """Four segments in a vault."""
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    for stream in (A, B, A, B):
        write(old, stream, 3)
        seal(old, vault)
    return old, vault


def again(vault: Repository, store: MemoryStore) -> Repository:
    return Repository(store, "local", keyring(), vault.opened)


def segment_keys(store: MemoryStore) -> list[Key]:
    found = [key for key in store.objects if key.startswith("notes/facts/")]
    return sorted(found, key=lambda key: int(key.rpartition("/")[2].partition("-")[0]))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("what", ["changed", "missing", "another", "rewritten"])
def test_a_segment_that_is_not_as_it_was_is_found(
    sealed: tuple[OpenJournal, Repository], place: int, what: str
) -> None:
    old, vault = sealed
    assert isinstance(vault.store, MemoryStore)
    store = copy_of(vault.store)
    keys = segment_keys(store)
    key = keys[place]
    data = store.objects.pop(key)
    if what == "changed":
        store.objects[key] = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    elif what == "another":
        store.objects[key] = store.objects[keys[(place + 1) % 4]]
    elif what == "rewritten":
        # By somebody who holds a writer's key: facts of his own, that follow each other.
        forged = read_segment(vault.note(names.read_note(key)) or b"")
        rows = [replace(row, body=write_fact(Noted("mallory", "never"))) for row in forged.rows]
        rows = [
            next_row(row.stream, replace(row, seq=row.seq - 1, digest=row.before), row.at, row.body) for row in rows
        ]
        again(vault, store).keep_note(names.read_note(key), write_segment(replace(forged, rows=tuple(rows))))
    found = find_history([again(vault, store)])
    assert found is not None
    first = read_name(names.read_note(key))
    assert first is not None
    assert found.damage
    assert list(found.rows) == stored(old)[: len(found.rows)] or what == "rewritten"
    assert len(found.rows) <= first[1].last
    assert found.beyond >= 13 - first[1].last
    if what != "missing":
        assert any(names.read_note(key).split("/")[-1] in said for said in found.troubles) or what == "rewritten"
    # Another vault has it: nothing is lost, and what was wrong is said.
    both = find_history([again(vault, store), vault]) if what != "rewritten" else find_history([vault])
    assert both is not None
    assert list(both.rows) == stored(old)
    assert not both.damage


def test_facts_in_another_order_are_found(journals: Journals, tmp_path: Path) -> None:
    """Each stream's own chain holds: only the running digest of the spines knows which fact came first."""
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    write(old)
    write(old, B)
    write(old)
    seal(old, vault)
    rows = stored(old)
    moved = [rows[0], rows[2], rows[1], rows[3]]
    kept = SqliteJournal(tmp_path / "moved", journals.clock)
    kept.lay(moved, {})
    spine = verify_journal(old, [vault])
    assert not spine.findings
    shutil.copy(tmp_path / "old" / "journal.key", tmp_path / "moved" / "journal.key")
    about = {"journal": old.id, "epoch": "1"}
    kept.note(about, unless=lambda about: False)
    kept.close()
    found = [one for one in verify_journal(journals.open("moved", vault), [vault]).findings if one.damage]
    assert [one.flaw for one in found] == [Flaw.CHANGED]
    assert "not in their order" in found[0].said


def test_a_stream_that_no_late_spine_names_is_verified_all_the_same(journals: Journals, tmp_path: Path) -> None:
    """Most spines name only what changed. A chain computed anew in a quiet stream is found by the running digest."""
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    for number in range(40):
        write(old, StreamName(f"run/{number}"))
    seal(old, vault)
    for _ in range(3):
        write(old, B)
        seal(old, vault)
    store = vault.store
    assert isinstance(store, MemoryStore)
    for key in [key for key in store.objects if key.startswith("notes/spine/1/1")]:
        del store.objects[key]  # the one that named them all
    assert not [one for one in verify_journal(old, [again(vault, store)]).findings if one.damage]
    body = write_fact(Noted("mallory", "never")).replace("'", "''")
    quiet = old.read(StreamName("run/7"))[0]
    forged = next_row(quiet.stream, None, quiet.at, write_fact(Noted("mallory", "never")))
    sql = f"""
        UPDATE facts SET body = '{body}', digest = '{forged.digest}' WHERE stream = 'run/7';
        UPDATE heads SET digest = '{forged.digest}' WHERE stream = 'run/7';
    """
    old.kept._db.executescript(sql)  # pyright: ignore[reportPrivateUsage]
    found = [one for one in verify_journal(old, [again(vault, store)]).findings if one.damage]
    assert [one.flaw for one in found] == [Flaw.CHANGED]


def test_a_journal_with_a_gap_seals_no_facts(journals: Journals) -> None:
    vault = new_vault(MemoryStore())
    old = journals.open("old", vault)
    write(old, times=5)
    old.kept._db.executescript("DELETE FROM facts WHERE stream = 'run/a' AND seq = 3")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(BackstayError, match="no vault took"):
        seal_spine(old, [vault], BEGINNING)
    assert vault.notes("facts/") == []
