"""Laws of epochs and spines: a journal that was left behind writes no more, and what was cut off is seen."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.journal import (
    NotVerified,
    OpenJournal,
    Overtaken,
    Verified,
    open_journal,
    seal_spine,
    seal_when_due,
    spine_due,
    take_over,
    verify_journal,
)
from backstay.adapters.journal.opened import newest_epoch
from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.vault import MemoryVault
from backstay.errors import Damaged, JournalReadOnly, StoreUnreachable
from backstay.facts import JournalOpened, Noted, read_spine, write_spine
from backstay.facts.audit import Flaw
from backstay.ports import Key, Vault
from backstay.values import StreamName, VaultName
from backstay.vault.frames import Head, What
from fix_vault import new_vault

SECOND = timedelta(seconds=1)
A = StreamName("run/a")


class Away(MemoryVault):
    """A vault that may be out of reach."""

    away = True

    def notes(self, prefix: str) -> list[str]:
        self._reach()
        return super().notes(prefix)

    def note(self, name: str) -> bytes | None:
        self._reach()
        return super().note(name)

    def keep_note(self, name: str, data: bytes) -> bool:
        self._reach()
        return super().keep_note(name, data)

    def _reach(self) -> None:
        if self.away:
            raise StoreUnreachable("the vault does not answer")


class Places:
    """State folders, clocks and journals, closed at the end."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, MemoryClock()
        self.opened: list[OpenJournal] = []

    def journal(self, name: str, witness: Vault | None) -> OpenJournal:
        self.opened.append(open_journal(self.root / name, witness=witness, clock=self.clock))
        return self.opened[-1]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    found = Places(tmp_path)
    yield found
    for journal in found.opened:
        journal.close()


def write(journal: OpenJournal, text: str = "x", times: int = 1) -> None:
    for _ in range(times):
        journal.append(A, [Noted("ann", text)], expected=len(journal.read(A)))


# ── epochs ───────────────────────────────────────────────────────────────────────────────────────


def test_reading_takes_no_epoch_and_the_first_append_does(places: Places) -> None:
    witness = MemoryVault("cellar")
    journal = places.journal("a", witness)
    assert journal.read(A) == []
    assert list(journal.everything()) == []
    assert witness.notes("journal/") == []
    write(journal)
    assert witness.notes("journal/") == ["journal/1"]
    assert journal.standing == Verified(1, VaultName("cellar"))
    (opened,) = [one.fact for one in journal.everything() if isinstance(one.fact, JournalOpened)]
    assert (opened.epoch, opened.journal, opened.witness) == (1, journal.id, "cellar")
    write(journal)
    assert len(list(journal.everything())) == 3


def test_a_journal_opened_elsewhere_takes_the_next_epoch_and_the_old_one_writes_no_more(places: Places) -> None:
    witness = MemoryVault()
    old = places.journal("primary", witness)
    write(old)
    new = places.journal("dr", witness)
    write(new)
    assert new.standing == Verified(2, VaultName("local"))
    # The old one had looked when it was opened. Revived, it looks again.
    revived = places.journal("primary", witness)
    with pytest.raises(JournalReadOnly) as caught:
        write(revived)
    assert "epoch 2, taken by" in caught.value.detail
    assert "2026-11-22" in caught.value.detail
    assert len(revived.read(A)) == 1
    # It remembers, also when the witness is away.
    again = places.journal("primary", None)
    assert isinstance(again.standing, Overtaken)
    with pytest.raises(JournalReadOnly):
        write(again)


def test_one_that_runs_on_finds_out_when_it_seals(places: Places) -> None:
    witness = MemoryVault()
    old = places.journal("primary", witness)
    write(old)
    write(places.journal("dr", witness))
    with pytest.raises(JournalReadOnly):
        seal_spine(old, [witness], places.clock.now())
    with pytest.raises(JournalReadOnly):
        write(old)


def test_of_two_that_take_an_epoch_at_once_each_gets_its_own(places: Places) -> None:
    class Raced(MemoryVault):
        """Somebody else takes the epoch between our look and our taking."""

        raced = False

        def keep_note(self, name: str, data: bytes) -> bool:
            if not self.raced:
                self.raced = True
                super().keep_note(name, json.dumps({"journal": "another", "host": "dr", "at": "today"}).encode())
            return super().keep_note(name, data)

    witness = Raced()
    journal = places.journal("a", witness)
    write(journal)
    assert journal.standing == Verified(2, VaultName("local"))


def test_a_crash_between_taking_an_epoch_and_noting_it_takes_no_second_one(places: Places) -> None:
    witness = MemoryVault()
    journal = places.journal("a", witness)
    taken = {"journal": journal.id, "host": "here", "at": "now"}
    witness.keep_note("journal/1", json.dumps(taken).encode())
    write(journal)
    assert witness.notes("journal/") == ["journal/1"]
    assert journal.standing == Verified(1, VaultName("local"))


def test_a_witness_that_is_away_does_not_stop_a_recovery(places: Places) -> None:
    witness = Away()
    journal = places.journal("a", witness)
    write(journal)
    assert journal.standing == NotVerified(0, "the witness cannot be asked: the vault does not answer")
    (opened,) = [one.fact for one in journal.everything() if isinstance(one.fact, JournalOpened)]
    assert (opened.epoch, opened.witness) == (0, None)
    witness.away = False
    later = places.journal("a", witness)
    write(later)
    assert later.standing == Verified(1, VaultName("local"))
    witness.away = True
    without = places.journal("a", witness)
    write(without)
    assert without.standing == NotVerified(1, "the witness cannot be asked: the vault does not answer")
    assert sum(isinstance(one.fact, JournalOpened) for one in without.everything()) == 2


def test_a_witness_is_opened_only_when_it_is_needed(places: Places, tmp_path: Path) -> None:
    def broken() -> Vault:
        raise Damaged("the vault's key is not here")

    journal = open_journal(tmp_path / "lazy", witness=broken, clock=places.clock)
    assert journal.read(A) == []
    write(journal)
    assert journal.standing == NotVerified(0, "the witness cannot be asked: the vault's key is not here")
    journal.close()


def test_a_plan_that_names_another_witness_takes_the_epoch_there(places: Places) -> None:
    one, other = MemoryVault("one"), MemoryVault("other")
    write(places.journal("a", one))
    write(places.journal("b", one))
    journal = places.journal("b", other)
    write(journal)
    assert other.notes("journal/") == ["journal/2"]
    assert journal.standing == Verified(2, VaultName("other"))


def test_damaged_words_at_the_witness_are_somebodys(places: Places) -> None:
    witness = MemoryVault()
    write(places.journal("a", witness))
    witness.keep_note("journal/2", b"\xff not JSON")
    witness.keep_note("journal/next", b"no number")
    with pytest.raises(JournalReadOnly) as caught:
        write(places.journal("a", witness))
    assert "epoch 2, taken by somebody" in caught.value.detail


def test_a_stranger_takes_nobodys_epoch_away(places: Places) -> None:
    """Whoever may write to the bucket, and holds no key, can take names."""
    store = MemoryStore()
    witness = new_vault(store)
    unknown = Head(What.BOX, bytes(8), witness.opened.family, bytes(16), "notes/journal/7").written() + bytes(200)
    for epoch, data in ((1, b"nobody's"), (999_999_999, b"nobody's"), (7, unknown)):
        store.put_if_absent(Key(f"notes/journal/{epoch}"), data)
    first = places.journal("a", witness)
    write(first)
    assert first.standing == Verified(2, VaultName(witness.name))
    second = places.journal("b", witness)
    write(second)
    assert second.standing == Verified(3, VaultName(witness.name))
    assert isinstance(first.look(), Overtaken)
    third = places.journal("c", witness)
    for epoch in (4, 5):
        store.put_if_absent(Key(f"notes/journal/{epoch}"), b"nobody's")
    assert take_over(third, [witness], newest_epoch(witness)[0]) == Verified(6, VaultName(witness.name))


# ── spines ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "age", "due"),
    [
        (0, None, False),
        (1, None, True),
        (0, timedelta(days=1), False),
        (1, 0.5 * SECOND, False),
        (1, SECOND, True),
        (999, 0.5 * SECOND, False),
        (1000, timedelta(), True),
    ],
)
def test_when_a_spine_is_due(facts: int, age: timedelta | None, due: bool) -> None:
    assert spine_due(facts, age) is due


def test_what_is_sealed_is_verified_to_the_end(places: Places) -> None:
    one, two = MemoryVault("one"), MemoryVault("two")
    journal = places.journal("a", one)
    write(journal, times=3)
    sealed = seal_when_due(journal, [one, two])
    assert sealed is not None
    assert (sealed.number, sealed.vaults, sealed.away) == (1, ("one", "two"), ())
    assert one.notes("spine/") == ["spine/1/1"]
    assert seal_when_due(journal, [one, two]) is None
    audit = verify_journal(journal, [one, two])
    assert (audit.findings, audit.spines, audit.sound) == ((), 1, True)
    write(journal)
    places.clock.advance(SECOND)
    assert [(f.flaw, f.seq) for f in verify_journal(journal, [one]).findings] == [(Flaw.TAIL, 3)]
    assert seal_when_due(journal, [one, two]) is not None
    assert verify_journal(journal, [one, two]).findings == ()


def test_a_vault_that_is_away_is_said_and_when_all_are_it_is_an_error(places: Places) -> None:
    near, far = MemoryVault("near"), Away("far")
    journal = places.journal("a", near)
    write(journal)
    sealed = seal_spine(journal, [near, far], BEGINNING)
    assert sealed is not None
    assert (sealed.vaults, sealed.away) == (("near",), (("far", "the vault does not answer"),))
    with pytest.raises(StoreUnreachable, match="no vault took"):
        seal_spine(journal, [far], BEGINNING)
    audit = verify_journal(journal, [near, far])
    assert audit.away == (("far", "the vault does not answer"),)
    assert audit.sound


def test_what_was_cut_off_or_rolled_back_is_seen(places: Places, tmp_path: Path) -> None:
    vault = MemoryVault()
    journal = places.journal("a", vault)
    write(journal, times=2)
    journal.close()
    shutil.copytree(tmp_path / "a", tmp_path / "snapshot")
    journal = places.journal("a", vault)
    write(journal, times=3)
    seal_spine(journal, [vault], BEGINNING)
    journal.close()
    # The machine is set back to its snapshot.
    rolled = places.journal("snapshot", vault)
    (found,) = [one for one in verify_journal(rolled, [vault]).findings if one.damage]
    assert (found.stream, found.seq, found.flaw) == (A, 3, Flaw.MISSING)
    # It wants to go on, and learns from its witness that it has no future.
    with pytest.raises(JournalReadOnly, match="another one took over") as caught:
        write(rolled, "another history")
    assert "a later state of this very journal sealed spine 1" in caught.value.detail


def test_one_that_was_rolled_back_out_of_sight_of_its_witness_finds_out_when_it_seals(
    places: Places, tmp_path: Path
) -> None:
    vault = MemoryVault()
    journal = places.journal("a", vault)
    write(journal, times=2)
    journal.close()
    shutil.copytree(tmp_path / "a", tmp_path / "snapshot")
    journal = places.journal("a", vault)
    write(journal, times=3)
    seal_spine(journal, [vault], BEGINNING)
    rolled = places.journal("snapshot", None)
    write(rolled, "another history")
    with pytest.raises(JournalReadOnly, match="rolled back"):
        seal_spine(rolled, [vault], BEGINNING)
    with pytest.raises(JournalReadOnly):
        write(rolled)


def test_a_crash_between_sealing_and_remembering_makes_no_gap(places: Places, tmp_path: Path) -> None:
    one, two = MemoryVault("one"), MemoryVault("two")
    journal = places.journal("a", one)
    write(journal)
    seal_spine(journal, [one], BEGINNING)
    journal.kept.note({"spine number": "0", "spine digest": ""}, unless=lambda about: False)
    write(journal)
    sealed = seal_spine(journal, [one, two], BEGINNING)
    assert sealed is not None
    assert sealed.number == 2
    assert two.notes("spine/") == ["spine/1/1", "spine/1/2"], "the forgotten one was spread too"
    assert verify_journal(journal, [one, two]).findings == ()


def test_a_spine_that_was_signed_by_somebody_else_or_changed_is_found(places: Places) -> None:
    vault = MemoryVault()
    journal = places.journal("a", vault)
    write(journal)
    seal_spine(journal, [vault], BEGINNING)
    data = vault.note("spine/1/1")
    assert data is not None
    spine = read_spine(data)
    for number, forged in enumerate(
        [data[:-5], write_spine(replace(spine, number=3, at=spine.at + SECOND)), b"{}"], start=2
    ):
        vault.keep_note(f"spine/1/{number}", forged)
    write(places.journal("a", vault), "damage at the witness stops nothing")
    found = [(one.seq, one.flaw) for one in verify_journal(journal, [vault]).findings if one.damage]
    assert found == [(2, Flaw.SPINE), (3, Flaw.SPINE), (4, Flaw.SPINE)]


def test_a_strangers_files_hide_no_spine(places: Places) -> None:
    store = MemoryStore()
    vault = new_vault(store)
    journal = places.journal("a", vault)
    write(journal)
    seal_spine(journal, [vault], places.clock.now())
    for number in range(900, 1020):
        store.put_if_absent(Key(f"notes/spine/1/{number}"), b"nobody's")
    seen = verify_journal(journal, [vault])
    assert (seen.spines, seen.away) == (1, ())
    assert {finding.flaw for finding in seen.findings} == {Flaw.SPINE}


def test_spines_of_journals_without_an_epoch_do_not_get_in_each_others_way(places: Places) -> None:
    vault = MemoryVault()
    one, two = places.journal("a", None), places.journal("b", None)
    for journal in (one, two):
        write(journal)
        sealed = seal_spine(journal, [vault], BEGINNING)
        assert sealed is not None
        assert sealed.vaults == ("local",)
        assert verify_journal(journal, [vault]).findings == ()


def test_another_process_at_it_is_left_alone(places: Places) -> None:
    vault = MemoryVault()
    journal = places.journal("a", vault)
    write(journal)

    class Nested(MemoryVault):
        def keep_note(self, name: str, data: bytes) -> bool:
            assert seal_spine(journal, [vault], BEGINNING) is None
            return super().keep_note(name, data)

    assert seal_spine(journal, [Nested()], BEGINNING) is not None
    assert vault.notes("spine/") == []
