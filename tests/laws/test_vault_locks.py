"""Laws of locked vaults: what is promised stays locked, whoever dies meanwhile, and an intruder with the store's own
credentials takes nothing away."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from backstay.adapters.around import Called, Fault, faulty, recorded
from backstay.adapters.memory.bucket import MemoryBucket
from backstay.adapters.memory.clock import MemoryClock
from backstay.adapters.memory.store import MemoryStore
from backstay.errors import AccessDenied
from backstay.facts import Point, Verdict
from backstay.ports import PASSING, Attack, Cover, Cutter, Key, Lock, LockMode, Store
from backstay.values import stamp
from backstay.vault import Repository, check, join, names, open_vault
from backstay.vault.boxes import seal_json
from backstay.vault.copying import copy_point
from backstay.vault.covers import covered, uncover
from backstay.vault.generations import Change, write_index
from backstay.vault.immutability import trials
from backstay.vault.locks import LOCKED, Locker, needed, standing
from backstay.vault.pruning import prune
from fix_vault import (
    DB,
    NOW,
    SMALL,
    Crash,
    File,
    Mortal,
    Things,
    back_up,
    entries,
    expected,
    held,
    keyring,
    new_vault,
    noise,
    sealing,
)  # fmt: skip

T = TypeVar("T")
DAY = timedelta(days=1)
LOCK = Lock(30 * DAY)
TINY: Things = {"PG_VERSION": File(b"15\n"), "base": File(noise(20_000, 1))}


@dataclass
class Locked:
    """A vault in a locked bucket, and its clock."""

    clock: MemoryClock = field(default_factory=MemoryClock)
    lock: Lock = LOCK

    def __post_init__(self) -> None:
        self.bucket = MemoryBucket(lock=self.lock, now=self.clock.now)
        self.vault = new_vault(self.bucket)
        self.calls = list[Called]()

    def back_up(self, things: Things = TINY, store: MemoryBucket | None = None) -> Point:
        vault = open_vault(recorded(store or self.bucket, self.calls), "bucket", keyring())
        return back_up(vault, things, now=self.clock.now())

    def extended(self) -> list[str]:
        """The keys whose locks were made longer since this was last asked."""
        found = [call.args[0] for call in self.calls if call.method == "extend_lock"]
        self.calls.clear()
        return sorted(found)

    def shortest(self, point: Point) -> datetime:
        """Until when everything that a point needs is locked, asking the store itself."""
        packs = set(self.vault.packs_of(point.id))
        keys = [one.key for one in (*needed(self.bucket, DB, packs), *standing(self.bucket))]
        assert not packs
        keys.append(Key(f"points/database/{point.id.lower()}"))
        return min(
            self.bucket.locked_until(key) or datetime.min.replace(tzinfo=self.clock.now().tzinfo) for key in keys
        )


@pytest.fixture
def locked() -> Locked:
    return Locked()


# ── what is promised ─────────────────────────────────────────────────────────────────────────────


def test_every_backup_leaves_everything_locked_for_as_long_as_promised(locked: Locked) -> None:
    for days in (0, 1, 29, 1, 1, 7, 22, 1, 30, 59, 61, 3, 90, 10, 20, 1):
        locked.clock.advance(days * DAY)
        point = locked.back_up({**TINY, "changes": File(b"%d" % days)})
        assert locked.shortest(point) >= locked.clock.now() + LOCK.span
        assert point.about[LOCKED].startswith("locked until")


def test_nothing_is_asked_for_while_more_than_the_promise_is_left(locked: Locked) -> None:
    locked.back_up()
    locked.extended()
    for _ in range(4):
        locked.clock.advance(7 * DAY)
        locked.back_up()
        assert locked.extended() == []
    locked.clock.advance(3 * DAY)
    locked.back_up()
    first = locked.extended()
    assert "vault" in first
    assert any(key.startswith("packs/") for key in first)
    locked.back_up()
    assert locked.extended() == [], "the ledger knows"


def test_a_ledger_that_is_lost_costs_calls_and_nothing_else(locked: Locked) -> None:
    locked.back_up()
    locked.clock.advance(31 * DAY)
    locked.back_up()
    locked.extended()
    for key in [one.key for one in locked.bucket.list("locks/")]:
        locked.bucket.delete(key)
    point = locked.back_up()
    assert locked.extended() != []
    assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_a_ledger_that_somebody_else_wrote_is_no_ledger(locked: Locked) -> None:
    locked.back_up()
    locked.clock.advance(31 * DAY)
    for one in list(locked.bucket.list("locks/")):
        locked.bucket.piles[one.key].versions[0].data = b"everything is locked, do not look"
    point = locked.back_up()
    assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_a_thief_cannot_say_that_everything_is_locked_already(locked: Locked) -> None:
    """With the key of a host he may write ledgers; nobody can have locked for longer than a lock is."""
    locked.back_up()
    locked.clock.advance(31 * DAY)
    opened = open_vault(locked.bucket, "bucket", keyring()).opened
    for component in (DB, None):
        keys = [one.key for one in locked.bucket.list()]
        for days in (30, 36_500):
            key = names.ledger(component, locked.clock.now() + 36_500 * DAY, f"{days:08x}")
            body = {
                "keys": keys, "lock_s": days * 86_400, "mode": LOCK.mode.value, "since": stamp(locked.clock.now()),
                "until": stamp(locked.clock.now() + 36_500 * DAY),
            }  # fmt: skip
            locked.bucket.put_if_absent(key, seal_json(opened, keyring(), key, body))
    point = locked.back_up()
    assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_ledgers_do_not_pile_up(locked: Locked) -> None:
    for _ in range(12):
        locked.back_up()
        locked.clock.advance(16 * DAY)
    assert len(list(locked.bucket.list("locks/"))) <= 6


def test_what_was_written_before_there_was_a_lock_is_locked_by_the_next_backup(locked: Locked) -> None:
    clock, bucket = locked.clock, MemoryBucket(now=locked.clock.now)
    before = back_up(new_vault(bucket), TINY, now=clock.now())
    assert LOCKED not in before.about
    clock.advance(DAY)
    now_locked = MemoryBucket(lock=LOCK, now=clock.now)
    now_locked.piles = bucket.piles
    point = back_up(open_vault(now_locked, "bucket", keyring()), TINY, now=clock.now())
    locked.bucket, locked.vault = now_locked, open_vault(now_locked, "bucket", keyring())
    assert locked.shortest(point) >= clock.now() + LOCK.span


def test_a_plan_that_asks_for_a_longer_lock_gets_it_with_the_next_backup(locked: Locked) -> None:
    locked.back_up()
    longer = MemoryBucket(lock=Lock(90 * DAY), now=locked.clock.now)
    longer.piles = locked.bucket.piles
    locked.clock.advance(DAY)
    point = locked.back_up(store=longer)
    assert locked.shortest(point) >= locked.clock.now() + 90 * DAY
    locked.extended()
    locked.clock.advance(29 * DAY)
    locked.back_up(store=longer)
    assert locked.extended() == []


def test_what_is_meant_to_go_is_not_locked(locked: Locked) -> None:
    locked.back_up()
    free = {one.key.split("/")[0] for one in locked.bucket.list() if locked.bucket.locked_until(one.key) is None}
    assert free == {"reserved", "locks"}
    assert {prefix.rstrip("/") for prefix in PASSING} >= free


def test_a_copy_is_locked_for_as_long_as_a_point_that_is_sealed_there(locked: Locked) -> None:
    near = new_vault(MemoryStore())
    join(bucket := MemoryBucket(lock=LOCK, now=locked.clock.now), near, keys=keyring(), now=locked.clock.now())
    locked.bucket, locked.vault = bucket, open_vault(bucket, "bucket", keyring())
    for days in (0, 10, 25, 40, 59, 61):
        locked.clock.advance(days * DAY)
        point = back_up(near, {**TINY, "changes": File(b"%d" % days)}, now=locked.clock.now())
        copied = copy_point(near, locked.vault, point)
        assert copied.locked.startswith("locked until")
        assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_what_was_moved_is_locked_where_it_is_now(locked: Locked) -> None:
    point = locked.back_up()
    old = next(iter(locked.bucket.list("packs/"))).key
    new = Key(f"packs/{DB}/{'ab' * 16}")
    moves = {bytes.fromhex(old.rpartition("/")[2]): (bytes.fromhex("ab" * 16),)}
    locked.bucket.put(new, [b"as a pruner would fill it"])
    write_index(locked.bucket, locked.vault.opened, keyring(), DB, [], Change(moves=moves))
    locked.bucket.piles.pop(old)
    locked.clock.advance(31 * DAY)
    packs = set(locked.vault.packs_of(point.id))
    kept = Locker(locked.bucket, locked.vault.opened, keyring(), began=locked.clock.now()).keep(DB, packs)
    assert kept.short == {}
    assert (locked.bucket.locked_until(new) or locked.clock.now()) >= locked.clock.now() + LOCK.span


# ── what cannot be kept is said ──────────────────────────────────────────────────────────────────


def test_a_lock_that_cannot_be_made_longer_is_said_in_the_point_which_is_sealed_all_the_same(locked: Locked) -> None:
    locked.back_up()
    locked.clock.advance(31 * DAY)
    refusing = faulty(locked.bucket, Fault(1, method="extend_lock", times=999, error=AccessDenied("no right to lock")))
    point = back_up(open_vault(refusing, "bucket", keyring()), TINY, now=locked.clock.now())
    assert point.about[LOCKED].startswith("NOT locked as promised: ")
    assert "no right to lock" in point.about[LOCKED]
    assert locked.vault.points()[-1].about == point.about
    point = locked.back_up()
    assert point.about[LOCKED].startswith("locked until"), "what failed was not written down as done"
    assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_a_pack_that_is_gone_is_not_said_to_be_locked(locked: Locked) -> None:
    things: Things = {"marked": File(noise(400_000, 4), mark=b"same")}
    locked.back_up(things)
    pack = next(iter(locked.bucket.list("packs/")))
    vault = open_vault(locked.bucket, "bucket", keyring())
    with vault.begin(DB, plan=vault.points()[0].plan, now=locked.clock.now()) as writer:
        writer.add(entries(things))
        locked.bucket.piles.pop(pack.key)
        point = writer.seal(sealing(locked.clock.now()))
    assert "it is missing" in point.about[LOCKED]


# ── dying ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dying_anywhere_while_locks_are_made_longer_leaves_the_next_backup_to_finish(after: bool) -> None:
    breaths = 0
    while True:
        breaths += 1
        locked = Locked()
        locked.back_up()
        locked.clock.advance(31 * DAY)
        mortal = Dying(locked.bucket, breaths, after=after)
        try:
            locked.back_up(TINY, store=mortal)  # pyright: ignore[reportArgumentType]
        except Crash:
            point = locked.back_up(TINY)
            assert locked.shortest(point) >= locked.clock.now() + LOCK.span
            assert list(check(locked.vault)) == []
        else:
            break
    assert breaths > 10


class Dying(Mortal):
    """Of a locked bucket; counts from the first lock that is made longer."""

    def __init__(self, within: MemoryBucket, breaths: int, *, after: bool) -> None:
        super().__init__(within, breaths, after=after)
        self.bucket, self.lock, self.armed = within, within.lock, False

    def _breathe(self, act: Callable[[], T]) -> T:
        return super()._breathe(act) if self.armed or self.dead else act()

    def extend_lock(self, key: Key, until: datetime) -> None:
        self.armed = True
        self._breathe(lambda: self.bucket.extend_lock(key, until))

    def pin(self, key: Key) -> bool:
        return self.bucket.pin(key)


# ── an intruder ──────────────────────────────────────────────────────────────────────────────────


def wreck(bucket: MemoryBucket) -> None:
    """Hide every point, overwrite everything else, and try to destroy it all."""
    for key in sorted(bucket.piles):
        if key.startswith("points/"):
            bucket.lay_marker(key)
        else:
            bucket.lay_version(key, b"pay us")
        if bucket.locked_until(key) is not None:
            assert not bucket.attack(key, Attack.DESTROY)


def test_whatever_is_hidden_or_overwritten_restores_is_named_and_is_put_right(locked: Locked) -> None:
    points = [locked.back_up(SMALL)]
    locked.clock.advance(DAY)
    points.append(locked.back_up())
    keys = sorted(locked.bucket.piles)
    wreck(locked.bucket)
    opened = open_vault(locked.bucket, "bucket", keyring())
    assert [point.id for point in opened.points()] == [point.id for point in points]
    assert held(opened.open(points[0].id)) == expected(SMALL)
    assert held(opened.open(points[1].id)) == expected(TINY)
    found = list(covered(opened))
    assert [one.key for one in found] == keys
    assert {one.by for one in found if one.key.startswith("points/")} == {Cover.DELETED}
    packs = [one for one in found if one.key.startswith("packs/")]
    assert packs
    assert all(one.component == DB and one.points for one in packs)
    assert [one.left for one in uncover(opened)] == [None] * len(keys)
    assert list(covered(opened)) == []
    assert list(check(open_vault(locked.bucket, "bucket", keyring()), read_data=True)) == []


def test_a_backup_after_such_a_night_is_sound(locked: Locked) -> None:
    locked.back_up()
    wreck(locked.bucket)
    point = locked.back_up({**TINY, "new": File(b"x")})
    assert held(open_vault(locked.bucket, "bucket", keyring()).open(point.id)) == expected({**TINY, "new": File(b"x")})
    assert locked.shortest(point) >= locked.clock.now() + LOCK.span


def test_a_header_of_somebody_else_that_is_laid_over_ours_is_not_believed(locked: Locked) -> None:
    locked.back_up()
    theirs = MemoryBucket()
    new_vault(theirs, keyring(7))
    locked.bucket.lay_version(names.HEADER, theirs.get(names.HEADER))
    assert open_vault(locked.bucket, "bucket", keyring()).opened.root == locked.vault.opened.root


# ── proving that the lock holds ──────────────────────────────────────────────────────────────────


def verdicts(vault: Repository, **how: bool) -> dict[str, Verdict]:
    return {one.what: one.verdict for one in trials(vault, **how)}


def test_a_lock_that_holds_passes_every_trial_and_leaves_one_canary(locked: Locked) -> None:
    locked.back_up()
    for _ in range(3):
        assert set(verdicts(locked.vault).values()) == {Verdict.PASSED}
        assert list(covered(locked.vault)) == []
        locked.clock.advance(timedelta(minutes=6))
    assert len(list(locked.bucket.list("canary/"))) == 1
    assert set(verdicts(locked.vault, everything=True)) == {
        "lock", "delete", "overwrite", "shorten", "destroy", "bypass", "vault", "database",
    }  # fmt: skip


def test_credentials_that_may_bypass_governance_fail() -> None:
    locked = Locked(lock=Lock(30 * DAY, LockMode.GOVERNANCE))
    locked.back_up()
    assert verdicts(locked.vault)["bypass"] is Verdict.PASSED
    locked.bucket.bypass = True
    found = {one.what: one for one in trials(locked.vault)}
    assert found["bypass"].verdict is Verdict.FAILED
    assert "should not" in found["bypass"].said
    assert found["destroy"].verdict is Verdict.PASSED


@pytest.mark.parametrize("bucket", [MemoryStore(), MemoryBucket()], ids=["nothing", "versions"])
def test_a_store_without_locks_is_not_verified_and_never_passed(bucket: Store) -> None:
    vault = new_vault(bucket)
    back_up(vault, TINY)
    (only,) = trials(vault)
    assert only.verdict is Verdict.NOT_VERIFIED
    assert "nothing is locked" in only.said


def test_an_object_with_a_shorter_lock_than_promised_is_named_with_its_point(locked: Locked) -> None:
    point = locked.back_up()
    pack = next(iter(locked.bucket.list("packs/"))).key
    locked.bucket.piles[pack].versions[0].until = locked.clock.now() + 29 * DAY
    found = {one.what: one for one in trials(locked.vault, everything=True)}
    assert found["database"].verdict is Verdict.FAILED
    assert pack in found["database"].said
    assert point.id in found["database"].said
    assert found["vault"].verdict is Verdict.PASSED
    locked.bucket.piles[names.HEADER].versions[0].until = None
    assert verdicts(locked.vault)["vault"] is Verdict.FAILED


def test_what_cannot_be_tried_is_not_verified(locked: Locked) -> None:
    locked.back_up()
    for method, what in (("attack", "destroy"), ("extend_lock", "lock"), ("locked_until", "database")):
        broken = faulty(locked.bucket, Fault(1, method=method, times=999, error=AccessDenied("no right")))
        assert verdicts(open_vault(broken, "bucket", keyring()))[what] is Verdict.NOT_VERIFIED
    assert verdicts(new_vault(MemoryBucket(lock=LOCK)))["objects"] is Verdict.NOT_VERIFIED


def test_what_is_copied_into_a_locked_vault_is_locked_as_promised_and_so_is_what_was_there_before() -> None:
    clock, lock = MemoryClock(), LOCK
    local = new_vault(MemoryStore())
    bucket = MemoryBucket(lock=lock, now=clock.now)
    join(bucket, local, keys=keyring(), now=clock.now())
    for days in (0, 29, 40, 61, 1):
        clock.advance(days * DAY)
        things = {**SMALL, "changes": File(b"%d" % days)}
        point = back_up(local, things, now=clock.now())
        off_site = open_vault(bucket, "off-site", keyring())
        done = copy_point(local, off_site, point)
        assert done.locked.startswith("locked until")
        packs = set(off_site.packs_of(point.id))
        keys = [listed.key for listed in needed(bucket, DB, packs)]
        assert not packs
        until = [bucket.locked_until(key) for key in (*keys, Key(f"points/database/{point.id.lower()}"))]
        assert all(one is not None and one >= clock.now() + lock.span for one in until)
        assert held(off_site.open(point.id)) == expected(things)


def test_a_pack_that_is_locked_is_not_moved_again_and_again() -> None:
    """It cannot go, so moving it only takes room; it is moved when its lock is over."""
    now = [NOW]
    store = MemoryBucket(lock=Lock(timedelta(days=7)), now=lambda: now[0])
    vault = new_vault(store)
    kept = noise(65_536, 1)
    first = back_up(vault, {"t": File(kept + noise(400_000, 2), cutter=Cutter.FIXED_64K)})
    now[0] += timedelta(days=38)
    back_up(vault, {"t": File(kept + noise(65_536, 3), cutter=Cutter.FIXED_64K)}, now=now[0])
    vault.end(first)
    for _ in range(3):
        done = prune(open_vault(store, "local", keyring()), DB, lambda: False)
        assert (done.moved, bool(done.locked)) == (0, True)
        now[0] += timedelta(days=3)
    now[0] += timedelta(days=60)
    done = prune(open_vault(store, "local", keyring()), DB, lambda: False)
    assert (done.moved, done.locked) == (1, 0)
    assert done.present_bytes < 150_000
