"""The contract of Keeper. Subclass KeeperContract with a fixture `site`; what passes here, a run may trust."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.vault import MemoryVault
from backstay.errors import BackstayError, Cancelled, Damaged, NotSupported, SourceDown, TargetAlive, TargetNotEmpty
from backstay.facts import DidNot, Happened, Point, Succeeded
from backstay.plan import Latest, Target
from backstay.ports import Acting, Keeper
from backstay.values import RunId, from_stamp
from fix_memory import acting
from fix_story import DATABASE, PLAN


class Crash(BaseException):
    """Not an Exception: no `except Exception` survives its own death."""


class Mortal:
    """Counts durable steps, and dies at one of them."""

    def __init__(self) -> None:
        self.dies_at, self.steps = 0, list[str]()

    def __call__(self, what: str) -> None:
        self.steps.append(what)
        if len(self.steps) == self.dies_at:
            raise Crash(what)


class KeptSite(Protocol):
    """One component at one site."""

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        """Made anew, as after a crash."""
        ...

    def change(self) -> None:
        """The application writes something more."""
        ...

    def destroy(self) -> None:
        """A disaster, which leaves something behind."""
        ...

    def clear(self) -> None:
        """Leaves nothing."""
        ...

    def content(self) -> Mapping[str, str]:
        """What is there now, by name."""
        ...


def unheard(what: str) -> None:
    pass


FIRST, SECOND = RunId("run-1"), RunId("run-2")


class KeeperContract:
    has_log = False
    """Whether points of this kind can go on to a target over a log."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> KeptSite:
        raise NotImplementedError

    @pytest.fixture
    def vault(self) -> MemoryVault:
        return MemoryVault()

    def take(self, site: KeptSite, vault: MemoryVault) -> Point:
        with vault.begin(DATABASE, plan=PLAN, now=MemoryClock().now()) as writer:
            return writer.seal(site.keeper(unheard).take(writer).sealing)

    def recover(
        self, site: KeptSite, vault: MemoryVault, point: Point, by: Acting, reached: Callable[[str], None]
    ) -> None:
        """As a run does: preserve, then restore beside."""
        keeper = site.keeper(reached)
        assert isinstance(keeper.preserve(by), Succeeded)
        assert isinstance(keeper.restore(vault.open(point.id), by), Succeeded)

    # ── taking and asking ──

    def test_what_was_taken_is_what_a_sandbox_shows(self, site: KeptSite, vault: MemoryVault, tmp_path: Path) -> None:
        point = self.take(site, vault)
        keeper = site.keeper(unheard)
        folder = tmp_path / "sandbox"
        folder.mkdir()
        with keeper.sandbox(vault.open(point.id), folder) as restored, keeper.live() as live:
            assert restored.counts() == live.counts()
            assert restored.digests() == live.digests()
            assert restored.digests()
        assert list(folder.iterdir()) == []

    def test_a_sandbox_is_erased_when_something_goes_wrong_in_it(
        self, site: KeptSite, vault: MemoryVault, tmp_path: Path
    ) -> None:
        point = self.take(site, vault)
        folder = tmp_path / "sandbox"
        folder.mkdir()
        with pytest.raises(Crash), site.keeper(unheard).sandbox(vault.open(point.id), folder):
            raise Crash
        assert list(folder.iterdir()) == []

    def test_taking_what_is_not_there_says_that_it_is_down(self, site: KeptSite, vault: MemoryVault) -> None:
        site.clear()
        with pytest.raises(SourceDown):
            self.take(site, vault)

    def test_two_takes_are_of_one_lineage(self, site: KeptSite, vault: MemoryVault) -> None:
        first = self.take(site, vault)
        site.change()
        assert self.take(site, vault).lineage == first.lineage

    # ── recovery ──

    def test_a_destroyed_component_comes_back_as_it_was_taken(self, site: KeptSite, vault: MemoryVault) -> None:
        before, point = site.content(), self.take(site, vault)
        site.change()
        site.destroy()
        self.recover(site, vault, point, acting(), unheard)
        assert site.content() == before

    def test_it_comes_back_where_nothing_is_left(self, site: KeptSite, vault: MemoryVault) -> None:
        before, point = site.content(), self.take(site, vault)
        site.clear()
        self.recover(site, vault, point, acting(), unheard)
        assert site.content() == before

    def test_before_anything_is_done_nothing_has_happened(self, site: KeptSite) -> None:
        keeper = site.keeper(unheard)
        assert isinstance(keeper.look_preserved(acting()), DidNot)
        assert isinstance(keeper.look_restored(acting()), DidNot)

    def test_what_was_done_is_seen_by_whoever_looks_after_us(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        keeper = site.keeper(unheard)
        preserved = keeper.preserve(acting())
        assert isinstance(preserved, Succeeded)
        seen = site.keeper(unheard).look_preserved(acting())
        assert isinstance(seen, Happened)
        assert seen.values == preserved.values
        restored = keeper.restore(vault.open(point.id), acting())
        assert isinstance(restored, Succeeded)
        seen = site.keeper(unheard).look_restored(acting())
        assert isinstance(seen, Happened)
        assert seen.values == restored.values
        assert isinstance(site.keeper(unheard).look_restored(acting(run=SECOND)), DidNot)

    def test_the_values_say_what_came_back_and_where_the_old_state_is(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        keeper = site.keeper(unheard)
        preserved = keeper.preserve(acting())
        restored = keeper.restore(vault.open(point.id), acting())
        assert isinstance(preserved, Succeeded)
        assert isinstance(restored, Succeeded)
        assert restored.values["kept"] == preserved.values["kept"]
        assert restored.values["lineage"] != point.lineage
        if point.newest is not None:
            assert from_stamp(restored.values["newest"]) == point.newest

    def test_doing_it_twice_is_doing_it_once(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        self.recover(site, vault, point, acting(), unheard)
        site.change()
        after, again = site.content(), Mortal()
        self.recover(site, vault, point, acting(), again)
        assert site.content() == after, "what the application wrote since is still there"
        assert again.steps == []

    def test_dying_at_any_step_and_going_on_ends_in_the_same_place(self, site: KeptSite, vault: MemoryVault) -> None:
        before, point = site.content(), self.take(site, vault)
        dies_at = 0
        while True:
            dies_at += 1
            run = RunId(f"run-{dies_at}")
            site.change()
            mortal = Mortal()
            mortal.dies_at = dies_at
            try:
                self.recover(site, vault, point, acting(run=run), mortal)
                break
            except Crash:
                died = mortal.steps[-1]
            later = acting(run=run, epoch=2)
            if isinstance(site.keeper(unheard).look_restored(later), DidNot):
                self.recover(site, vault, point, later, unheard)
            assert isinstance(site.keeper(unheard).look_restored(later), Happened), died
            assert site.content() == before, died
        assert dies_at > 3, "there were steps to die at"

    def test_a_second_recovery_begins_a_line_of_its_own(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        self.recover(site, vault, point, acting(run=FIRST), unheard)
        between = self.take(site, vault)
        self.recover(site, vault, point, acting(run=SECOND), unheard)
        assert len({point.lineage, between.lineage, self.take(site, vault).lineage}) == 3

    def test_being_told_to_stop_leaves_what_was_there(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        site.change()
        before = site.content()
        with pytest.raises(Cancelled):
            site.keeper(unheard).restore(vault.open(point.id), acting(stop=lambda: True))
        assert isinstance(site.keeper(unheard).look_restored(acting()), DidNot)
        assert site.content() == before

    def test_a_damaged_point_takes_nothing_away(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        before = site.content()
        vault.damage(point.id, max(stored.path for stored in vault.open(point.id).entries() if stored.size_bytes))
        with pytest.raises(Damaged):
            site.keeper(unheard).restore(vault.open(point.id), acting())
        assert site.content() == before
        assert isinstance(site.keeper(unheard).look_restored(acting()), DidNot)

    def test_in_place_nothing_is_overwritten(self, site: KeptSite, vault: MemoryVault) -> None:
        point, before = self.take(site, vault), site.content()
        with pytest.raises((TargetAlive, TargetNotEmpty)):
            site.keeper(unheard).restore(vault.open(point.id), acting(), beside=False)
        assert site.content() == before

    def test_what_has_no_log_is_not_taken_to_a_target(self, site: KeptSite, vault: MemoryVault, tmp_path: Path) -> None:
        if self.has_log:
            pytest.skip("this kind has a log to replay")
        point, before, target = self.take(site, vault), site.content(), Target(Latest())
        with pytest.raises(NotSupported):
            site.keeper(unheard).restore(vault.open(point.id), acting(), target=target)
        with (
            pytest.raises(NotSupported),
            site.keeper(unheard).sandbox(vault.open(point.id), tmp_path / "sandbox", target=target),
        ):
            pass
        assert site.content() == before
        assert isinstance(site.keeper(unheard).look_restored(acting()), DidNot)

    def test_an_older_lease_of_the_same_run_is_refused(self, site: KeptSite, vault: MemoryVault) -> None:
        point = self.take(site, vault)
        self.recover(site, vault, point, acting(epoch=3), unheard)
        with pytest.raises(BackstayError):
            site.keeper(unheard).restore(vault.open(point.id), acting(epoch=2))

    def test_alive_is_quick_and_never_raises(self, site: KeptSite) -> None:
        site.keeper(unheard).alive()
        site.destroy()
        site.keeper(unheard).alive()
        site.clear()
        site.keeper(unheard).alive()
