"""Writing one recovery point: reserve, store what is new, lay the tree, seal.

The last write makes it real. Until `points/<component>/<id>` is there, everything that was stored is garbage that a
pruner may take; that one object is put if absent, so the writer who seals and the pruner who expires the same
reservation have one winner.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sized
from contextlib import suppress
from dataclasses import dataclass

from backstay.errors import BackstayError, Lapsed
from backstay.facts import Point
from backstay.facts.stored import point as point_shape
from backstay.ports import Entry, Progress, Sealing, Store, locking, unwatched
from backstay.values import ComponentName, Digest, PointId
from backstay.vault import names
from backstay.vault.base import Base
from backstay.vault.boxes import seal_json
from backstay.vault.cutters import PAGE
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, fingerprint
from backstay.vault.lanes import Bench, Lane, Source
from backstay.vault.locks import LOCKED, Locker
from backstay.vault.marks import marks
from backstay.vault.nodes import Content, Ref, write_content
from backstay.vault.outbox import Nodes, Outbox
from backstay.vault.reader import Reading
from backstay.vault.trees import Spool, TreeBuilder
from backstay.vault.uses import Tally, write_pack_lists

MOST_LANES = 16


@dataclass(frozen=True, slots=True)
class Reservation:
    """The point that is being written, and the one before it."""

    id: PointId
    component: ComponentName
    plan: Digest
    parent: PointId | None
    trouble: str = ""
    """Why a newer point than the parent could not be used, where one is there."""
    ancestors: Callable[[], Iterable[PointId]] = tuple
    """The parent, its parent, and so on."""
    before: Reading | None = None
    """The parent, to be read."""


class Writing:
    """A PointWriter. `base` is None for the first point of a component."""

    def __init__(
        self, store: Store, opened: Opened, keys: Keyring, reservation: Reservation, base: Base | None
    ) -> None:
        self.id = reservation.id
        self._store, self._opened, self._keys = store, opened, keys
        self._reservation, self._base, component = reservation, base, reservation.component
        lanes = min(len(os.sched_getaffinity(0)), MOST_LANES)
        self._outbox = Outbox(store, opened, component, lanes)
        self._tally = Tally()
        self._nodes = Nodes(self._outbox, opened, base.known if base else {}, self._tally)
        self._spool = Spool()
        zero = opened.chunk_id(bytes(PAGE))
        # With a pack missing, part of the point before would not be there to be taken from.
        self._before = reservation.before if base is not None and base.list is not None else None
        before = self._before.fetching if self._before is not None else None
        self._bench = Bench(opened, self._outbox, self._nodes, self._spool, self._tally, base, before, zero)
        self._lanes = [Lane(self._bench) for _ in range(lanes)]
        locks = locking(store)
        self._locker = Locker(locks, opened, keys, began=locks.now()) if locks else None
        self._closed = False
        self._sealing = False
        """From the moment on at which the point may exist, whatever the store answered: nothing is taken back then."""

    @property
    def before(self) -> Reading | None:
        return self._before

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed = True
        self._outbox.close()
        self._spool.close()
        if not self._sealing:
            self._outbox.discard()
            # The reservation last: no pruner need wait two days for a backup that is known to have failed.
            with suppress(BackstayError):
                self._store.delete(names.reserved(self._reservation.component, self.id))

    def add(self, entries: Iterable[Entry], progress: Progress = unwatched) -> None:
        assert not self._closed, "this point is sealed, abandoned, or failed"
        try:
            _Round(self._lanes, entries, progress).run()
        except BaseException:
            self._closed = True  # files may be cut short in the spool: such a point must not be sealed
            raise

    def seal(self, sealing: Sealing) -> Point:
        assert not self._closed, "this point is sealed, abandoned, or failed"
        self._closed, of = True, self._reservation
        for lane in self._lanes:
            lane.finish()
        root, files, size_bytes = TreeBuilder(self._nodes.write_page).build(self._spool.sorted())
        uses = self._base.count(self._tally) if self._base else self._tally.total()
        before = self._base.list.nodes if self._base and self._base.list else ()
        lists = [self._nodes.keep(node, before) for node in write_pack_lists(uses)]
        self._nodes.close()
        self._outbox.drain()
        # From here on everything that the point needs is durable; only now may it become one.
        used = {*uses.all(), *(ref.place.pack for ref in lists)}
        now = self._base.stands_for(used) if self._base else used
        locked = {LOCKED: str(self._locker.keep(of.component, now))} if self._locker else {}
        # Our own packs nobody points to yet: a pruner waits for us before it takes such.
        self._refuse_what_is_condemned(used - self._outbox.packs())
        point = Point(
            id=of.id, component=of.component, lineage=sealing.lineage, parent=of.parent, way=sealing.way,
            began=sealing.began, ended=sealing.ended, newest=sealing.newest, newest_source=sealing.newest_source,
            size_bytes=size_bytes, stored_bytes=self._outbox.stored_bytes, files=files, plan=of.plan,
            writer=fingerprint(self._keys.writer or b""), about={**sealing.about, **self._trouble(), **locked},
        )  # fmt: skip
        self._make_real(point, root, lists)
        return point

    def _trouble(self) -> dict[str, str]:
        """A past that cannot be read must not stop a backup, and must not go unsaid either."""
        met = self._base.trouble if self._base else None
        said = [self._reservation.trouble, met.message if met else ""]
        return {"vault": "; ".join(filter(None, said))} if any(said) else {}

    def _refuse_what_is_condemned(self, used: set[bytes]) -> None:
        if self._base is None:
            return
        component = self._reservation.component
        found = marks(self._store, self._opened, component)
        standing = [mark for mark in found if mark.counts_for(self.id) and mark.packs & used]
        ancestors = set(self._reservation.ancestors()) if standing else set[PointId]()
        if gone := {pack for mark in standing for pack in mark.against(ancestors) & used}:
            raise Lapsed(
                f"a pruner is about to delete what this backup of {component} builds on",
                detail=f"{len(gone)} packs are marked",
                hint="run the backup again: it will store them anew",
            )

    def _make_real(self, point: Point, root: Content, lists: list[Ref]) -> None:
        """The last write."""
        key = names.sealed(point.component, point.id)
        body = {"point": point_shape.write(point), "root": write_content(root).hex()}
        body["packs"] = [ref.written().hex() for ref in lists]
        sealed = seal_json(self._opened, self._keys, key, body)
        self._sealing = True
        # A store that tries again by itself may find its own first try: that is no other winner.
        if not self._store.put_if_absent(key, sealed) and self._store.get(key) != sealed:
            raise Lapsed(
                f"the reservation of {self.id} was expired before the backup was done",
                detail="it took longer than the pruner waits",
                hint="run the backup again",
            )


class _Round:
    """One call of `add`: every lane in a thread."""

    def __init__(self, lanes: list[Lane], entries: Iterable[Entry], progress: Progress) -> None:
        self._lanes, self._entries, self._progress = lanes, iter(entries), progress
        listed = entries if isinstance(entries, Sized) else None
        self._total = sum(entry.size_bytes for entry in entries) if listed is not None else None
        self._done = 0
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._next = threading.Lock()
        """Of its own: entries may take their time to come, and nobody else waits for that."""
        self._flowing: Source | None = None
        """The long file that has to be read to its end before there is a next entry."""
        self._sources: list[Source] = []
        self._feeding = len(lanes)
        self._failed: BaseException | None = None

    def run(self) -> None:
        """Raises the first thing that went wrong in any lane."""
        threads = [threading.Thread(target=self._work, args=(lane,), name="backstay-lane") for lane in self._lanes]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # Ctrl-C while we wait: the lanes stop, then it goes on its way
            self._fail(error)
            for thread in threads:
                thread.join()
            raise
        if self._failed is not None:
            for source in self._sources:
                source.close()
            raise self._failed

    def _work(self, lane: Lane) -> None:
        try:
            try:
                while self._failed is None and self._take_next(lane):
                    pass
            finally:
                with self._changed:
                    self._feeding -= 1
                    self._changed.notify_all()
            while (source := self._somebodys()) is not None:
                self._drain(lane, source)
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: `run` raises it
            self._fail(error)

    def _take_next(self, lane: Lane) -> bool:
        """Store one more entry, or help with the long one that the next is behind. False: there are no more."""
        entry, found = None, None
        with self._next:
            if (flowing := self._flowing) is None or flowing.exhausted:
                if self._failed is not None or (entry := next(self._entries, None)) is None:
                    return False
                if entry.in_turn:
                    found = lane.take(entry)
                self._flowing = found if isinstance(found, Source) else None
        if entry is not None:
            self._finish(lane, entry, lane.take(entry) if found is None else found)
        elif flowing is not None:
            self._drain(lane, flowing)
        return True

    def _finish(self, lane: Lane, entry: Entry, found: "Source | int") -> None:
        if isinstance(found, int):
            self._seen(found, entry.path)
            return
        with self._changed:
            self._sources.append(found)
            self._changed.notify_all()
        self._drain(lane, found)
        with self._changed:
            self._sources.remove(found)

    def _drain(self, lane: Lane, source: Source) -> None:
        lane.drain(source, lambda size: self._seen(size, source.entry.path))

    def _somebodys(self) -> Source | None:
        """A long file of another lane to help with. None when no lane can begin another."""
        with self._changed:
            while self._failed is None:
                if (found := next((source for source in self._sources if not source.exhausted), None)) is not None:
                    return found
                if self._feeding == 0:
                    return None
                self._changed.wait()
        return None

    def _seen(self, size: int, path: str) -> None:
        with self._lock:
            self._done += size
            done = self._done
        self._progress(done, self._total, path)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = self._failed or error
            for source in (*self._sources, *([self._flowing] if self._flowing else [])):
                source.exhausted = True
            self._changed.notify_all()
