"""Copying a point from one vault of a family to another, as it is: the same id, the same sealed bytes.

    1. enrolments and wrapped keys that the target lacks     whoever reads there must be able to
    2. a claim there: a reservation under an id of its own   a pruner there waits for it, and spares what is carried
    3. the packs that the target lacks                       looked at on their way, several at once
       locks there, made longer where there are any          as before a point is sealed
       the reservation of the point, and 3 again             from here on it is sealed first, or a pruner expires it
    4. marks there, then the listing there, once more        a pruner may have been at work before 2
    5. the point's record, put if absent                     the last write: only now is it a point there
    6. proofs and holds                                      they follow at any time

What is missing is found by listing: there is nothing to remember, and a copy that was killed goes on where it stopped.
A pruner in the target that was at work before our reservations may be about to delete a pack that we found there. Then
its mark is there (4, first half), or the pack is gone already (second half). One that begins after them waits.
A pruner in the source may end the point under our hands: a pack is missing then, and so is the point.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from backstay.errors import BackstayError, Damaged, Lapsed, NoSuchPoint, ObjectMissing, WrongKey
from backstay.facts import Point
from backstay.ports import Key, Listed, Progress, locking, unwatched
from backstay.values import ComponentName, PointId, count
from backstay.vault import names
from backstay.vault.boxes import open_box, seal_json
from backstay.vault.carrying import Carrier, never
from backstay.vault.family import refuse_strangers, spread_statements
from backstay.vault.index import newest
from backstay.vault.living import Moves
from backstay.vault.locks import Locker
from backstay.vault.marks import condemned
from backstay.vault.moving import adopt
from backstay.vault.packreading import look_at
from backstay.vault.packs import parse_key
from backstay.vault.repository import Repository
from backstay.vault.stock import CHOSEN, Pack

ROUNDS = 3
"""How often a pruner may take away what we brought, or move what we read, before we give up."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of it. `packs` and `moved_bytes` are of what had to be moved: none where all was there."""

    point: PointId
    packs: int
    moved_bytes: int
    locked: str = ""
    """Until when all of it is locked in the target, or that it is not; empty where nothing is."""


def copy_point(
    source: Repository,
    target: Repository,
    point: Point,
    *,
    verify: bool = False,
    progress: Progress = unwatched,
    stop: Callable[[], bool] = never,
) -> Copied:
    """Make `point` of `source` a point of `target` too. `verify` opens every frame of data on its way, which needs the
    key of a reader. Done again, it does what is left.

    Raises NotSupported for vaults of two families, NoSuchPoint when it is no point of `source` (any more), Lapsed when
    a pruner of `target` came first, Damaged for what cannot be copied because it is not whole, Cancelled, and what the
    two stores raise.
    """
    return _Copy(source, target, point, verify, progress, stop).run()


class _Copy:
    def __init__(
        self, source: Repository, target: Repository, point: Point, verify: bool, progress: Progress,
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._source, self._target, self._point = source, target, point
        self._verify, self._progress, self._stop = verify, progress, stop
        self._key = names.sealed(point.component, point.id)
        self._packs, self._moved, self._locked = 0, 0, ""
        locks = locking(target.store)
        self._locker = Locker(locks, target.opened, target.keys, began=locks.now()) if locks else None

    def run(self) -> Copied:
        source, target, component = self._source, self._target, self._point.component
        refuse_strangers(source, target)
        spread_statements(source.store, target.store, source.opened)
        record = self._record()
        if not self._is_there():
            if (claim := self._claim()) is not None:
                self._bring()
            self._reserve()
            self._bring()
            self._seal(record)
            if claim is not None:
                with suppress(BackstayError):  # else a pruner ends it: all it costs is that it waits
                    target.store.delete(claim)
        copy_beside(source, target, component)
        return Copied(self._point.id, self._packs, self._moved, self._locked)

    def _record(self) -> bytes:
        """The sealed point in the source, verified. Raises NoSuchPoint."""
        try:
            self._source.reopen(self._key)
            if self._source.sealed_at(self._key) is not None:
                return _sealed_bytes(self._source, self._key)
        except ObjectMissing:
            pass
        raise NoSuchPoint(
            f"the vault {self._source.name} has no point {self._point.id} (any more)",
            detail="it was expired there, or never sealed",
            hint="`backstay points` shows which vault has which point",
        )

    def _is_there(self) -> bool:
        """Whether the target has the point. Raises Lapsed when it was expired there, Damaged when it is spoilt."""
        try:
            self._target.reopen(self._key)
        except ObjectMissing:
            return False
        if not is_there(self._target, self._point.component, self._point.id):
            raise self._lapsed()
        return True

    def _lapsed(self) -> Lapsed:
        return Lapsed(
            f"a pruner of the vault {self._target.name} ended the copy of {self._point.id} before it was done",
            detail="its last step was interrupted for longer than a pruner waits, and a name that was expired stays so",
            hint="that vault has to do without this point; every other one is copied",
        )

    def _claim(self) -> Key | None:
        """The point's own name is not reserved while its packs are carried: that may take days, a reservation that is
        open for so long is expired, and a name that was expired can never be sealed. None: we cannot sign there, and
        the point's own reservation, which was signed in the source, has to do."""
        target, component = self._target, self._point.component
        id = PointId(f"{target.store.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        key = names.reserved(component, id)
        body = {"component": component, "plan": self._point.plan, "point": id}
        try:
            target.store.put_if_absent(key, seal_json(target.opened, target.keys, key, body))
        except WrongKey:
            return None
        return key

    def _reserve(self) -> None:
        """As it was reserved in the source; by our own hand where that is gone."""
        source, target = self._source, self._target
        key = names.reserved(self._point.component, self._point.id)
        try:
            data = _sealed_bytes(source, key)
        except ObjectMissing:
            body = {"component": self._point.component, "plan": self._point.plan, "point": self._point.id}
            data = seal_json(target.opened, target.keys, key, body)
        target.store.put_if_absent(key, data)

    # ── packs ──

    def _bring(self) -> None:
        """Until the target has every pack that the point needs, and no pruner there is about to take one."""
        for attempt in range(ROUNDS):
            try:
                needed, moved = self._needed()
                self._carry(self._lacking(needed))
                if self._locker is not None:  # also of what was there already: it may be older than the lock
                    self._locked = str(self._locker.keep(self._point.component, needed))
            except ObjectMissing:
                self._record()  # it was ended in the source meanwhile: that is said, and nothing else
                if attempt + 1 == ROUNDS:
                    raise
                continue
            # First the marks: what was marked before them and is unmarked again is missing in the listing after them.
            where = (self._target.store, self._target.opened)
            if marked := condemned(*where, self._point.component, self._point.id) & needed:
                raise Lapsed(
                    f"a pruner of the vault {self._target.name} is about to delete what {self._point.id} needs there",
                    detail=f"{count(len(marked), 'pack')} marked",
                    hint="copy again when it is done: they are copied anew",
                )
            if not self._lacking(needed):
                adopt(self._target, self._point.component, moved)
                return
        raise Lapsed(
            f"a pruner of the vault {self._target.name} takes away what is copied there",
            detail=f"the packs of {self._point.id} were missing again, {ROUNDS} times",
            hint="copy again when it is done",
        )

    def _needed(self) -> tuple[set[bytes], Moves]:
        """The packs to have in the target; and what of the point's list was moved in the source, and is nowhere any
        more, or damaged and healed there: then the target is told where its content is."""
        listed, component = set(self._source.packs_of(self._point.id)), self._point.component
        here = packs_in(self._source, component, listed)
        lacking = listed - packs_in(self._target, component, listed).keys()
        index = newest(self._source.store, self._source.opened, component) if lacking else None
        moves: Moves = index.moves if index else {}
        moved = {old: moves[old] for old in lacking & moves.keys() if old not in here or self._is_spoilt(here[old])}
        return (listed - moved.keys()) | {new for targets in moved.values() for new in targets}, moved

    def _is_spoilt(self, listed: Listed) -> bool:
        """Whether a pack that was moved is not worth carrying: repair leaves damaged ones where they lie."""
        what, component, id = parse_key(listed.key)
        pack = Pack(what, component, id, listed.size_bytes, CHOSEN)
        _, seen = look_at(self._source.store, self._source.opened, pack)
        return bool(seen.unlisted or seen.bad)

    def _lacking(self, needed: set[bytes]) -> list[Listed]:
        """Packs of the source that the target does not have. Raises ObjectMissing for one that neither has; Damaged for
        one that is there with another length: its name is taken, so it cannot be copied over."""
        component = self._point.component
        there = packs_in(self._target, component, needed)
        here = packs_in(self._source, component, needed - there.keys())
        if gone := needed - there.keys() - here.keys():
            raise ObjectMissing(
                f"packs of {self._point.id} are missing in the vault {self._source.name}",
                detail=f"{count(len(gone), 'pack')}, the first is {min(gone).hex()}",
                hint="copy from another vault that has the point; `backstay vault check` says what is hurt",
            )
        return sorted(here.values(), key=lambda listed: listed.key)

    def _carry(self, packs: list[Listed]) -> None:
        total = sum(listed.size_bytes for listed in packs)
        before = self._moved
        carrier = Carrier(
            self._source.store, self._source.opened, self._target.store, verify=self._verify, stop=self._stop
        )
        self._moved = before + carrier.carry(packs, total, self._progress)
        self._packs += len(packs)

    # ── the last write ──

    def _seal(self, record: bytes) -> None:
        if not self._target.store.put_if_absent(self._key, record) and self._target.store.get(self._key) != record:
            raise self._lapsed()


def is_there(vault: Repository, component: ComponentName, point: PointId) -> bool:
    """Whether it is a point of the vault now. Raises Damaged, WrongKey, and what the store raises."""
    key = names.sealed(component, point)
    try:
        vault.reopen(key)
    except ObjectMissing:
        return False
    return vault.sealed_at(key) is not None


def packs_in(vault: Repository, component: ComponentName, among: set[bytes]) -> dict[bytes, Listed]:
    """Those packs of `among` that the vault's listing has."""
    found: dict[bytes, Listed] = {}
    for prefix in (f"packs/{component}/", f"nodes/{component}/") if among else ():
        for listed in vault.store.list(prefix):
            with suppress(ValueError):  # a stranger's file; `check` names it
                if (id := parse_key(listed.key)[2]) in among:
                    found[id] = listed
    return found


def copy_beside(source: Repository, target: Repository, component: ComponentName) -> int:
    """Proofs and holds of the component that `target` lacks, and the plan's revisions; how many. A proof follows its
    point: it says in which vault its bytes were read. What does not open stays where it is. Raises NotSupported."""
    refuse_strangers(source, target)
    have = {names.read_point(listed.key)[1] for listed in _keys(target, names.points(component))}
    brought = 0
    for prefix in (f"proofs/{component}/", f"holds/{component}/", names.notes("plan/")):
        there = {listed.key for listed in target.store.list(prefix)}
        for listed in source.store.list(prefix):
            if listed.key in there or (prefix.startswith("proofs/") and _point_of(listed.key) not in have):
                continue
            with suppress(Damaged, ObjectMissing, WrongKey):
                brought += target.store.put_if_absent(listed.key, _sealed_bytes(source, listed.key))
    return brought


def _keys(vault: Repository, prefix: str) -> list[Listed]:
    return [listed for listed in vault.store.list(prefix) if names.is_point(listed.key)]


def _point_of(proof: Key) -> PointId | None:
    parts = proof.split("/")
    try:
        return names.read_point(Key(f"points/{parts[1]}/{parts[2]}"))[1]
    except (ValueError, IndexError):
        return None


def _sealed_bytes(vault: Repository, key: Key) -> bytes:
    """A box as it lies in the store, seen to be what somebody enrolled sealed under this name. Raises ObjectMissing,
    Damaged, WrongKey."""
    vault.reopen(key)
    data = vault.store.get(key)
    open_box(vault.opened, key, data)
    return data
