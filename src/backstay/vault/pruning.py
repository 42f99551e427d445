"""Deleting what no point needs, beside backups that run on other hosts, and without a lock.

    1. move what is used of packs that are mostly dead into new ones; from then on an index says where it is
    2. mark what is going to be deleted
    3. list the reservations that are open, write them down, and wait until each is sealed or expired
    4. look again: list the points, and delete what was marked and is still dead
    5. leave a mark of what was deleted until nobody can have listed the vault as it was before

No clock decides what is deleted: only how long somebody is waited for. Who dies anywhere leaves marks that the next
one takes up where they stand, and packs that nobody asks for. `docs/reference/vault-format.md` has the argument why no
chunk of a live point can be lost; `tests/laws/test_prune_together.py` tries to.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from backstay.errors import Damaged, Lapsed, NotPruned, ObjectLocked, ObjectMissing, WrongKey
from backstay.ports import Key, locking
from backstay.values import ComponentName, PointId, count, say_span
from backstay.vault import names
from backstay.vault.generations import Change, is_any_unfinished, sweep_index, write_index
from backstay.vault.living import Seen, key_of, look
from backstay.vault.marks import Mark, marks, put_mark, put_waits, remove_mark, sweep_waits
from backstay.vault.moving import Moved, move, reserving
from backstay.vault.opening import refuse_unless_writer
from backstay.vault.replacing import being_replaced
from backstay.vault.repository import Repository

_UNREADABLE = (Damaged, ObjectMissing, WrongKey)
_SLACK = timedelta(minutes=5)
_MOST_MOVES = 250_000
"""One box names them all, and is 64 MiB at most. 4 TB of packs; they are forgotten when no point asks for them."""
_MOST_MARKED = 1_000_000
"""By one mark, for the same reason. What is left is the next one's."""


@dataclass(frozen=True, slots=True)
class Rules:
    least: float = 0.5
    """A pack of which less than this share is alive is written anew."""
    expire_after: timedelta = timedelta(hours=48)
    """A reservation that is open for longer, by the store's clock, is that of a dead writer."""
    single_writer: bool = False
    """Somebody promises that nothing else writes: needed where a store cannot say who was first."""


@dataclass(slots=True)
class Pruned:
    """What was done in one component."""

    component: ComponentName
    deleted: int = 0
    deleted_bytes: int = 0
    moved: int = 0
    moved_bytes: int = 0
    waits: tuple[PointId, ...] = ()
    """Reservations that are open: what is marked is deleted by a later run, when they have ended."""
    expired: tuple[PointId, ...] = ()
    marked: int = 0
    """Packs that are marked, and not deleted yet."""
    locked: int = 0
    """Objects that nobody may delete yet."""
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Packs that could not be moved, and why."""
    present_bytes: int = 0
    """What is left of the component's packs."""


def prune(vault: Repository, component: ComponentName, pause: Callable[[], bool], rules: Rules = Rules()) -> Pruned:
    """`pause` waits a moment; False when it is no longer worth waiting: the marks stay for the next run.

    Raises NotPruned, Lapsed (somebody else prunes, and was faster), WrongKey."""
    refuse_unless_writer(vault.opened, vault.keys)
    if not vault.store.traits.put_if_absent and not rules.single_writer:
        raise NotPruned(
            f"{vault.store.describe()} cannot say who of two was first, so a backup could run unseen",
            detail="its put-if-absent does not work",
            hint="stop every backup into this vault, and prune with --single-writer",
        )
    return _Run(vault, component, pause, rules).run()


class _Run:
    def __init__(self, vault: Repository, component: ComponentName, pause: Callable[[], bool], rules: Rules) -> None:
        self._vault, self._component, self._pause, self._rules = vault, component, pause, rules
        self._store, self._opened, self._keys = vault.store, vault.opened, vault.keys
        self._did = Pruned(component)

    def run(self) -> Pruned:
        self._expire(self._open())
        self._mark(*self._move(self._look()))
        self._wait()
        self._delete()
        self._sweep()
        return self._did

    # ── the steps ──

    def _look(self) -> Seen:
        """What is dead is known only while nothing is missing: see `Seen.lost`."""
        before = set[bytes]()
        while True:
            seen = self._look_once()
            if not (lost := seen.lost()):
                return seen
            # Once may be a point that was sealed, or a pack that was moved, between the listings of one look.
            if lost & before:
                raise NotPruned(
                    f"nothing of {self._component} was deleted: packs that points need are missing",
                    detail=f"{count(len(lost), 'pack')}, the first is {min(lost).hex()}; what was in them could lie "
                    "in packs that nobody seems to need",
                    hint="bring it back with `backstay vault repair`; what nobody has any more goes when the points "
                    "that it hurts are ended",
                )
            before = lost

    def _look_once(self) -> Seen:
        try:
            return look(self._vault, self._component)
        except _UNREADABLE as error:
            raise NotPruned(
                f"nothing of {self._component} was deleted: a point there cannot be opened",
                detail=f"{error.message}; it could need anything",
                hint="look with `backstay vault check`, and heal it or end it",
            ) from error

    def _move(self, seen: Seen) -> tuple[Seen, Moved]:
        pending = {pack for mark in self._marks() if not mark.done for pack in mark.moved}
        sparse = [pack for pack in seen.sparse(self._rules.least) if pack not in pending]
        room = max(0, _MOST_MOVES - len(seen.moves))
        packs = list(islice((pack for pack in sparse if not self._is_locked(pack, seen)), room))
        if not packs:
            return seen, Moved()
        try:
            moved = move(self._vault, self._component, seen, packs, self._rules.least, self._store.now())
        except _UNREADABLE as error:
            self._did.left = {pack.hex(): error.message for pack in packs}
            return seen, Moved()
        self._did.moved, self._did.moved_bytes = len(moved.moves), moved.moved_bytes
        self._did.left = {pack.hex(): why for pack, why in moved.left.items()}
        return self._look(), moved

    def _is_locked(self, pack: bytes, seen: Seen) -> bool:
        """Then moving it gives nothing back: it stays where it is, and what was moved would be there twice."""
        if (locks := locking(self._store)) is None:
            return False
        with suppress(ObjectMissing):
            if locks.locked_until(key_of(self._component, pack, seen.present[pack].what)) is not None:
                self._did.locked += 1
                return True
        return False

    def _mark(self, seen: Seen, moved: Moved) -> None:
        """What is dead, and what was moved; not the packs of a backup that is under way, as far as clocks tell: they
        would only have to be spared later, and whoever builds on them then would have to wait for that."""
        fresh = min(seen.open.values(), default=None)
        marked = {pack for mark in self._marks() if not mark.done for pack in mark.packs}
        dead = {
            pack for pack in seen.dead() - marked
            if fresh is None or pack not in seen.present or seen.present[pack].modified < fresh - _SLACK
        }  # fmt: skip
        if dead or moved.moves:
            dead = set(islice(dead, _MOST_MARKED))
            mark = Mark(frozenset(dead | moved.moves.keys()), frozenset(moved.moves), moved.points)
            put_mark(self._store, self._opened, self._keys, self._component, mark)

    def _wait(self) -> None:
        """Until whoever had reserved before a mark was there has sealed or is expired."""
        while True:
            standing = self._marks()
            still = self._expire(self._open())
            for mark in standing:
                if mark.waits is None:
                    put_waits(self._store, self._opened, self._keys, mark, still)
            waits = {id for mark in self._marks() for id in (mark.waits or ()) if not mark.done} & still.keys()
            self._did.waits = tuple(sorted(waits))
            if not waits or not self._pause():
                return

    def _expire(self, open_ones: Mapping[PointId, datetime]) -> dict[PointId, datetime]:
        """Those that are still open then."""
        now, still = self._store.now(), dict(open_ones)
        late = [id for id, since in open_ones.items() if now - since > self._rules.expire_after]
        # A point whose damaged record is being replaced looks like one that was never sealed.
        mending = being_replaced(self._vault) if late else set[Key]()
        for id in late:
            if names.sealed(self._component, id) in mending:
                continue
            try:
                why = f"it was open for more than {say_span(self._rules.expire_after)}"
                self._vault.expire(self._component, id, now=now, why=why)
            except Lapsed:
                pass  # it was sealed at this moment: a point, as any other
            else:
                self._did.expired += (id,)
            del still[id]
        return still

    def _delete(self) -> None:
        """What was marked, is waited for, and is still dead."""
        still = self._open()
        ripe = [mark for mark in self._marks() if mark.waits is not None and not mark.waits & still.keys()]
        self._did.marked = sum(len(mark.packs) for mark in self._marks() if mark not in ripe and not mark.done)
        if not ripe:
            return
        seen = self._look()
        dead, forget = seen.dead(), set[bytes]()
        for mark in ripe:
            if mark.done:
                remove_mark(self._store, mark)
                continue
            condemned = (mark.packs & dead) | self._covered(mark, seen)
            gone = {pack for pack in condemned & seen.present.keys() if self._delete_pack(pack, seen)}
            # Whoever builds on a point that was looked at for the move may still come to list a moved pack.
            forget |= {pack for pack in (mark.packs & dead) - mark.moved if pack in seen.moves}
            self._replace(mark, frozenset(condemned - (seen.present.keys() - gone)))
        if forget:
            missing = {new for targets in seen.moves.values() for new in targets} - seen.present.keys()
            change = Change(forget=forget, gone=missing)
            self._write(change)

    def _write(self, change: Change) -> None:
        with reserving(self._vault, self._component, "an index"):
            write_index(self._store, self._opened, self._keys, self._component, (), change)

    def _covered(self, mark: Mark, seen: Seen) -> set[bytes]:
        """Moved packs of which nobody needs the old object: every live point that lists one was looked at, or has all
        it uses of it from one that was."""
        moved = {
            pack for pack in mark.moved
            if pack in seen.moves and all(new in seen.present for new in seen.moves[pack])
        }  # fmt: skip
        covered = set(mark.points)
        for id in sorted(seen.points):
            sealed = seen.points[id]
            if id in covered or sealed.point.parent in covered:
                covered.add(id)
            elif moved:
                moved -= self._vault.uses_of(sealed).all().keys()
        return moved

    def _delete_pack(self, pack: bytes, seen: Seen) -> bool:
        what, size_bytes, _ = seen.present[pack]
        if not self._delete_object(key_of(self._component, pack, what)):
            return False
        self._did.deleted += 1
        self._did.deleted_bytes += size_bytes
        return True

    def _delete_object(self, key: Key) -> bool:
        try:
            self._store.delete(key)
        except ObjectLocked:
            self._did.locked += 1
            return False
        return True

    def _replace(self, mark: Mark, gone: frozenset[bytes]) -> None:
        """What turned out to be alive is marked no longer, and what is gone stays marked while somebody may have
        listed the vault as it was."""
        if gone and self._open():
            done = Mark(gone, mark.moved & gone, mark.points, done=True)
            stands = put_mark(self._store, self._opened, self._keys, self._component, done)
            put_waits(self._store, self._opened, self._keys, stands, self._open())
        remove_mark(self._store, mark)

    # ── what is left over ──

    def _sweep(self) -> None:
        if not self._open() and is_any_unfinished(self._store, self._opened, self._component):
            self._write(Change())  # one above them closes them, also to those who wake up
        for key in sweep_index(self._store, self._opened, self._component):
            self._delete_object(key)
        sweep_waits(self._store, self._component)
        sealed = {listed.key for listed in self._store.list(names.points(self._component))}
        for listed in list(self._store.list(names.reserved(self._component))):
            if names.is_point(listed.key):
                end = names.sealed(*names.read_point(listed.key))
                if end in sealed and self._vault.sealed_at(end) is None:
                    self._store.delete(listed.key)  # its expiry stays: a writer that wakes up must find it
        present = (f"packs/{self._component}/", f"nodes/{self._component}/")
        self._did.present_bytes = sum(listed.size_bytes for prefix in present for listed in self._store.list(prefix))

    # ── what is there ──

    def _marks(self) -> list[Mark]:
        return marks(self._store, self._opened, self._component)

    def _open(self) -> dict[PointId, datetime]:
        """Reservations that are neither sealed nor expired, and since when, by the store's clock."""
        # Reservations first: one whose end is put in between is then seen as ended, never the other way round.
        found = {
            names.read_point(listed.key)[1]: listed.modified
            for listed in self._store.list(names.reserved(self._component))
            if names.is_point(listed.key)
        }
        for listed in self._store.list(names.points(self._component)):
            if names.is_point(listed.key):
                found.pop(names.read_point(listed.key)[1], None)
        return found
