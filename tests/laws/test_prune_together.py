"""No live chunk is ever lost: writers, copiers and pruners on one vault, interleaved at every call of the store, killed
anywhere, with clocks that differ; and somebody who ends points under their hands.

A model knows what each point was made of. Whatever happened, each point that the vault lists restores byte for byte;
and when everybody is gone, two prunings leave nothing that no point needs.
"""

import os
import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backstay.adapters.memory.store import MemoryStore
from backstay.errors import BackstayError
from backstay.facts import Point
from backstay.ports import Cutter
from backstay.values import PointId
from backstay.vault import join, open_vault
from backstay.vault.copying import copy_point
from backstay.vault.living import look
from backstay.vault.pruning import Rules, prune
from fix_together import Actor, Gated
from fix_vault import DB, PLAN, Crash, File, Things, back_up, entries, expected, held, keyring, later, new_vault, noise
from fix_vault import sealing as sealing_of

PAGE = 65_536
MOST = 4
LONG = bool(os.environ.get("BACKSTAY_LONG_TOGETHER"))
DEAD = Rules(expire_after=timedelta(0))
PATIENT = Rules(expire_after=timedelta(days=1000))


def _things(seeds: list[int], marked: bool) -> Things:
    pages = File(b"".join(noise(PAGE, seed) for seed in seeds), 0o600, Cutter.FIXED_64K)
    still = File(noise(PAGE, 99) + noise(PAGE, seeds[0]), 0o600, Cutter.FIXED_64K, b"%d" % seeds[0] if marked else b"")
    return {"base/pages": pages, "base/still": still, "short": File(noise(900, seeds[-1]))}


class Together(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store, self.off_site = MemoryStore("local"), MemoryStore("off-site")
        self.model: dict[PointId, Things] = {}
        self.actors: list[Actor] = []
        self.count = 0
        self.minutes = 0

    @initialize(seeds=st.lists(st.integers(0, 5), min_size=3, max_size=3))
    def begin(self, seeds: list[int]) -> None:
        vault = new_vault(self.store)
        join(self.off_site, vault, keys=keyring(), now=later(0))
        things = _things(seeds, False)
        self.model[back_up(vault, things).id] = things

    def _name(self, what: str) -> str:
        self.count += 1
        return f"{what} {self.count}"

    def _act(self, what: str, act: Callable[[Gated], object], ahead: int) -> None:
        if len(self.actors) < MOST:
            self.actors.append(Actor(self._name(what), self.store, act, timedelta(minutes=ahead)))

    def _actor(self, who: int) -> Actor | None:
        """No preconditions: whether somebody has ended already depends on which random name comes first."""
        return self.actors[who % len(self.actors)] if self.actors else None

    # ── who comes ──

    @rule(
        changes=st.lists(st.tuples(st.integers(0, 2), st.integers(6, 40)), max_size=3),
        marked=st.booleans(), ahead=st.integers(-150, 150),
    )  # fmt: skip
    def a_backup_begins(self, changes: list[tuple[int, int]], marked: bool, ahead: int) -> None:
        seeds = [1, 2, 3]
        for at, seed in changes:
            seeds[at] = seed
        things = _things(seeds, marked)
        self.minutes += 1
        now = later(self.minutes + ahead)

        def backup(store: Gated) -> Point:
            vault = open_vault(store, "local", keyring())
            with vault.begin(DB, plan=PLAN, now=now) as writer:
                self.model[writer.id] = things
                writer.add(entries(things))
                return writer.seal(sealing_of(now))

        self._act("backup", backup, ahead)

    @rule(
        least=st.sampled_from([0.5, 0.9, 2]), patience=st.integers(0, 3), ahead=st.integers(-150, 150),
        rash=st.booleans(),
    )  # fmt: skip
    def a_pruner_begins(self, least: float, patience: int, ahead: int, rash: bool) -> None:
        """A rash one takes everybody for dead who has a reservation."""
        left, limit = [patience], (DEAD if rash else PATIENT).expire_after

        def pause() -> bool:
            left[0] -= 1
            return left[0] >= 0

        def act(store: Gated) -> object:
            return prune(open_vault(store, "local", keyring()), DB, pause, Rules(least, limit))

        self._act("prune", act, ahead)

    @rule(pick=st.integers(0, 9))
    def a_copy_begins_into_the_vault(self, pick: int) -> None:
        """A point that was copied away, and ended here, comes back."""
        away = open_vault(self.off_site, "off-site", keyring())
        if points := away.points(DB):
            point = points[pick % len(points)]

            def act(store: Gated) -> object:
                return copy_point(away, open_vault(store, "local", keyring()), point)

            self._act("copy", act, 0)

    @rule(pick=st.integers(0, 9))
    def a_point_is_copied_away(self, pick: int) -> None:
        vault = open_vault(self.store, "local", keyring())
        points = vault.points(DB)
        if points:
            copy_point(vault, open_vault(self.off_site, "off-site", keyring()), points[pick % len(points)])

    @rule(pick=st.integers(0, 9))
    def a_point_is_ended(self, pick: int) -> None:
        """Any of them, also one that a backup under way builds upon: the protocol must hold without `retain`."""
        vault = open_vault(self.store, "local", keyring())
        points = vault.points(DB)
        if len(points) > 1:
            vault.end(points[pick % len(points)])

    # ── what happens ──

    @rule(who=st.integers(0, 9), steps=st.integers(1, 25))
    def somebody_goes_on(self, who: int, steps: int) -> None:
        for _ in range(steps):
            if actor := self._actor(who):
                actor.step()
                self._reap()

    @rule(who=st.integers(0, 9))
    def somebody_ends(self, who: int) -> None:
        if actor := self._actor(who):
            actor.finish()
            self._reap()

    @rule(who=st.integers(0, 9))
    def somebody_is_killed(self, who: int) -> None:
        if actor := self._actor(who):
            self.actors.remove(actor)
            actor.kill()

    def _reap(self) -> None:
        for actor in [actor for actor in self.actors if actor.ended]:
            self.actors.remove(actor)
            assert isinstance(actor.outcome, BackstayError | Crash) or not isinstance(actor.outcome, BaseException), (
                actor.name, repr(actor.outcome),
            )  # fmt: skip

    # ── what holds ──

    @invariant()
    def every_point_that_is_listed_restores(self) -> None:
        _restores(self.store, self.model)

    def teardown(self) -> None:
        for actor in self.actors:
            actor.kill()
        if not self.model:
            return
        _restores(self.store, self.model)
        _restores(self.off_site, self.model)
        for _ in range(4):
            prune(open_vault(self.store, "local", keyring()), DB, lambda: False, DEAD)
        _restores(self.store, self.model)
        seen = look(open_vault(self.store, "local", keyring()), DB)
        assert not seen.dead()
        assert not [key for key in self.store.objects if key.startswith("marks/")]


def _restores(store: MemoryStore, model: dict[PointId, Things]) -> None:
    vault = open_vault(store, "local", keyring())
    for point in vault.points(DB):
        assert held(vault.open(point.id)) == expected(model[point.id]), point.id


TestTogether = Together.TestCase
TestTogether.settings = settings(
    max_examples=100 if LONG else 5, stateful_step_count=40, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip


@pytest.mark.parametrize("seed", range(60 if LONG else 4))
def test_by_chance(seed: int) -> None:
    """The same without hypothesis, which prefers what is short: long lives, in which everybody takes turns."""
    chance, machine = random.Random(seed), Together()
    machine.begin([1, 2, 3])
    for _ in range(60):
        ahead = chance.choice([0, 0, -130, 130])
        match chance.choice("bbpccaessssssssssssfk"):
            case "b":
                changes = [(chance.randrange(3), chance.randrange(6, 40)) for _ in range(chance.randrange(3))]
                machine.a_backup_begins(changes, chance.random() < 0.5, ahead)
            case "p":
                machine.a_pruner_begins(chance.choice([0.5, 0.9, 2]), chance.randrange(3), ahead, chance.random() < 0.2)
            case "c":
                machine.a_copy_begins_into_the_vault(chance.randrange(9))
            case "a":
                machine.a_point_is_copied_away(chance.randrange(9))
            case "e":
                machine.a_point_is_ended(chance.randrange(9))
            case "s":
                machine.somebody_goes_on(chance.randrange(9), chance.randrange(1, 12))
            case "f":
                machine.somebody_ends(chance.randrange(9))
            case "k" if chance.random() < 0.3:
                machine.somebody_is_killed(chance.randrange(9))
            case _:
                pass
        machine.every_point_that_is_listed_restores()
    machine.teardown()
