"""Looking at a whole vault: is everything there, and is every byte what was written?

What is found is named by point, component and file, because that is what people can act on; the object's name stands
beside it. In the end each point has a standing: whole, damaged, or not verified, with what is left of it. Signed
statements, boxes and the ends of packs are always looked at, and every tree is walked to its last chunk; of the packs'
bytes as much is read as was asked for.

Memory grows by 21 bytes for each pack and by a line for each point (see `stock`); by default at most twenty lines are
said about one point, and the rest is counted.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import partial

from backstay.errors import BackstayError, WrongKey
from backstay.ports import Key, Listed, Progress, unwatched
from backstay.values import ComponentName, PointId
from backstay.vault import names
from backstay.vault.covers import covered
from backstay.vault.epochs import examine
from backstay.vault.frames import What
from backstay.vault.index import newest
from backstay.vault.ledger import Ledger, Readings
from backstay.vault.logs import look_at_log
from backstay.vault.opening import read_header
from backstay.vault.packreading import PackSeen, look_at
from backstay.vault.repository import Repository, Sealed
from backstay.vault.several import each, pool
from backstay.vault.soundness import TROUBLE, Hurt, Known, Lost, Walk, unminded
from backstay.vault.stock import CHOSEN, GOOD, UNLISTED, Stock

BOXES = ("reserved/", "points/", "proofs/", "holds/", "notes/", "marks/", "index/", "secrets/")
MOST_LINES = 20


class Weight(Enum):
    DAMAGED = "damaged"
    UNKNOWN = "not verified"
    """It could not be looked at."""
    COVERED = "covered"
    """Somebody hid or overwrote it, and the first version is read all the same."""
    NOTE = "noted"
    """A stranger's, or damage to what no point needs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `point` and `path` are empty for an object that no point needs."""

    key: str
    said: str
    component: ComponentName | None = None
    point: PointId | None = None
    path: str = ""
    weight: Weight = Weight.DAMAGED


@dataclass(frozen=True, slots=True)
class PointSeen:
    """What can still be had of one point."""

    point: PointId
    component: ComponentName
    standing: Weight | None
    """None: whole, as far as was looked."""
    damaged_files: int
    """Files that cannot be read to their end."""
    lost_folders: int
    """Folders whose list of files cannot be read: how many files are in them is not known."""
    why: str = ""
    """Of one that is not whole: the first reason."""
    used_bytes: int | None = None
    """In the packs, at least. None: not known."""
    unread_bytes: int | None = None
    """Of those, in packs that were never read to their end and found good."""

    @property
    def is_whole(self) -> bool:
        return self.standing is None


@dataclass(frozen=True, slots=True)
class Asked:
    """How closely to look."""

    percent: float = 0
    """How much of the packs' bytes is read, of those that were not read for the longest time. 100: all. Those that were
    not as written when they were last read are read in any case."""
    lines: int = MOST_LINES
    """At most so many findings for each point."""


@dataclass(slots=True)
class Examination:
    """One look at a vault. `findings` does the work and says what is wrong as it is found; the rest is known then."""

    vault: Repository
    ledger: Ledger
    now: datetime
    asked: Asked = Asked()
    progress: Progress = unwatched
    losing: Callable[[ComponentName, Lost], None] | None = None
    """Hears of each chunk and node that is lost, by component."""
    points: list[PointSeen] = field(default_factory=list[PointSeen])
    objects: int = 0
    read_bytes: int = 0
    stock: Stock = field(default_factory=Stock)
    _spoilt: dict[Key, str] = field(default_factory=dict[Key, str])

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong, as it is found; damaged packs last, for only then it is known who needs them."""
        with pool("backstay-check") as threads:
            yield from self._covers()
            yield from self._statements()
            yield from self._boxes(threads)
            yield from self._log(threads)
            yield from self._packs(threads)
            needed: set[Key] = set()
            with closing(Known()) as known:
                yield from self._points(Walks(self, known, threads), needed)
            for key, said in self._spoilt.items():
                component = ComponentName(key.split("/")[1])
                weight = Weight.DAMAGED if key in needed else Weight.NOTE
                beside = "" if key in needed else "; no point needs what is wrong in it"
                yield Finding(key, said + beside, component, weight=weight)

    @property
    def readings(self) -> Readings:
        return self.ledger.readings()

    # ── what lies on objects ──

    def _covers(self) -> Iterator[Finding]:
        """All of a vault may be covered: so many are named of each kind and component, and the rest is counted."""
        seen: dict[str, int] = {}
        for one in covered(self.vault):
            where = one.key.rpartition("/")[0]
            seen[where] = seen.get(where, 0) + 1
            if seen[where] <= self.asked.lines:
                newest = one.points[-1] if one.points else None
                yield Finding(one.key, one.said, one.component, newest, weight=Weight.COVERED)
        for where, number in seen.items():
            if number > self.asked.lines:
                said = f"{number - self.asked.lines} more below {where}/ are hidden or overwritten"
                yield Finding(f"{where}/", said, weight=Weight.COVERED)

    # ── statements and boxes ──

    def _statements(self) -> Iterator[Finding]:
        store = self.vault.store
        try:
            read_header(store.get(names.HEADER), store.describe())
        except BackstayError as error:
            yield Finding(names.HEADER, error.message)
        for one in examine(store, self.vault.opened.family, self.vault.opened.root):
            self.objects += 1
            yield Finding(one.key, f"it counts for nothing: {one.why}")

    def _boxes(self, threads: ThreadPoolExecutor) -> Iterator[Finding]:
        for prefix in BOXES:
            for key, error in each(threads, self._box, self.vault.store.list(prefix)):
                self.objects += 1
                if error is None:
                    continue
                if not names.is_box(key):
                    yield Finding(key, "a stranger's file: nothing of ours has such a name", weight=Weight.NOTE)
                elif key.startswith("index/") and self._is_overtaken(key):
                    yield Finding(key, f"{error.message}; a newer index counts", weight=Weight.NOTE)
                else:
                    yield Finding(key, error.message, weight=weight_of(error))

    def _is_overtaken(self, key: Key) -> bool:
        """Whether a newer generation of the index is complete, so that nobody asks this one."""
        _, component, number, _ = key.split("/")
        with suppress(*TROUBLE):
            found = newest(self.vault.store, self.vault.opened, ComponentName(component))
            return found is not None and found.number > int(number)
        return False

    def _box(self, listed: Listed) -> tuple[Key, BackstayError | None]:
        try:
            self.vault.reopen(listed.key)
        except TROUBLE as error:
            if isinstance(error, WrongKey) and names.is_letter(listed.key):
                return listed.key, None  # letters are for readers: whether it is sound, one of them can tell
            return listed.key, error
        return listed.key, None

    def _log(self, threads: ThreadPoolExecutor) -> Iterator[Finding]:
        """Of the log every front is looked at; all of it is read where every byte was asked for. What is missing is no
        damage: `wal status` names gaps."""
        blind = dict[str, int]()
        for one in look_at_log(self.vault, threads, self.asked.percent >= 100):
            self.objects += 1
            self.read_bytes += one.read_bytes
            if one.stranger:
                yield Finding(one.key, "a stranger's file: nothing of ours has such a name", weight=Weight.NOTE)
            elif isinstance(one.error, WrongKey):
                blind[one.error.message] = blind.get(one.error.message, 0) + 1
            elif one.error is not None:
                yield Finding(one.key, one.error.message)
        for why, number in blind.items():
            yield Finding(names.WAL, f"{why} ({number} objects)", weight=Weight.UNKNOWN)

    # ── packs ──

    def _packs(self, threads: ThreadPoolExecutor) -> Iterator[Finding]:
        yield from self._take_stock()
        reading, done, blind = self.asked.percent > 0, 0, dict[str, int]()
        total = sum(pack.size_bytes for pack in self.stock if not reading or pack.flags & CHOSEN)
        for pack, seen in each(threads, partial(look_at, self.vault.store, self.vault.opened), self.stock):
            self.objects += 1
            self.read_bytes += seen.read_bytes
            chosen = bool(pack.flags & CHOSEN)
            done += 0 if reading and not chosen else pack.size_bytes
            self.progress(done, total, "reading packs" if reading else "looking at packs")
            self._note(seen, pack.key)
            if seen.unlisted:
                self.stock.mark(pack, UNLISTED)
            for offset, why in seen.bad:
                self.stock.condemn(pack, offset, why)
            if seen.blind:
                blind[seen.blind] = blind.get(seen.blind, 0) + 1
            elif chosen:
                self.ledger.was_read(pack.key, self.now, good=not (seen.bad or seen.unlisted))
        for key in self.ledger.good():
            if (pack := self.stock.of(key)) is not None:
                self.stock.mark(pack, GOOD)
        for why, count in blind.items():
            yield Finding("packs/", f"{why} ({count} packs)", weight=Weight.UNKNOWN)

    def _take_stock(self) -> Iterator[Finding]:
        strangers: list[Finding] = []

        def ours() -> Iterator[Listed]:
            for prefix in ("packs/", "nodes/"):
                for listed in self.vault.store.list(prefix):
                    try:
                        self.stock.add(listed)
                    except ValueError as error:
                        strangers.append(Finding(listed.key, str(error), weight=Weight.NOTE))
                        continue
                    yield listed

        self.ledger.meet(ours())
        yield from strangers
        for key in self.ledger.choose(self.asked.percent):
            if (pack := self.stock.of(key)) is not None:
                self.stock.mark(pack, CHOSEN)

    def _note(self, seen: PackSeen, key: Key) -> None:
        if seen.unlisted:
            self._spoilt[key] = f"a pack is damaged: {seen.unlisted}"
        elif seen.bad:
            offset, why = seen.bad[0]
            more = f", and {len(seen.bad) - 1} more" if len(seen.bad) > 1 else ""
            self._spoilt[key] = f"a pack is damaged: {why} (frame at byte {offset}{more})"

    # ── points ──

    def _points(self, walks: "Walks", needed: set[Key]) -> Iterator[Finding]:
        for listed in self.vault.store.list("points/"):
            if not names.is_point(listed.key):
                continue
            component, id = names.read_point(listed.key)
            try:
                if (found := self.vault.sealed_at(listed.key)) is None:
                    continue  # a reservation that expired
            except TROUBLE as error:  # named already, as a box
                why = f"its own record cannot be read: {error.message}"
                self.points.append(PointSeen(id, component, weight_of(error), 0, 0, why))
                continue
            self.progress(0, None, f"walking {id}")
            seen = PointSeen(id, component, None, 0, 0)
            for said in self._point(listed.key, seen, walks.of(component).look(found.root)):
                if isinstance(said, Finding):
                    yield said
                else:
                    seen = said
            try:
                seen = self._coverage(seen, found, walks.of(component))
            except TROUBLE as error:
                said = f"its list of packs cannot be read: {error.message}"
                yield Finding(listed.key, said, component, id, weight=weight_of(error))
            self.points.append(seen)
        needed |= walks.needed()

    def _point(self, key: Key, seen: PointSeen, hurts: Iterator[Hurt]) -> Iterator[Finding | PointSeen]:
        """What is wrong with it, and last what can still be had."""
        files, folders, unknown, last, why = 0, 0, 0, None, ""
        for hurt in hurts:
            unknown += hurt.unknown
            if hurt.path == last and not hurt.folder:
                continue
            last, why = hurt.path, why or f"{hurt.path or 'the list of files'}: {hurt.why}"
            folders += hurt.folder
            files += not hurt.folder
            if files + folders <= self.asked.lines:
                weight = Weight.UNKNOWN if hurt.unknown else Weight.DAMAGED
                yield Finding(key, hurt.why, seen.component, seen.point, hurt.path, weight)
        lost = files + folders
        if lost > self.asked.lines:
            yield Finding(key, f"and {lost - self.asked.lines:,} more", seen.component, seen.point)
        standing = None if not lost else Weight.UNKNOWN if unknown >= lost else Weight.DAMAGED
        yield PointSeen(seen.point, seen.component, standing, files, folders, why)

    def _coverage(self, seen: PointSeen, sealed: Sealed, walk: Walk) -> PointSeen:
        """How much of what the point uses was read: by its own list, a part of it at a time."""
        if sealed.packs is None:
            return seen
        used, unread = 0, 0
        moves: Mapping[bytes, tuple[bytes, ...]] = {}
        with suppress(*TROUBLE):  # a damaged index is named as a box
            moves = generation.moves if (generation := walk.shelf.index.generation()) else {}
        for ref in sealed.packs:
            walk.look_at_list(ref)
            what, packs = walk.shelf.pack_list(ref)
            for id, size in packs.items():
                used += size
                # What was moved out of it is read where it is now.
                packs_now = moves.get(id, (id,)) if seen.is_whole else (id,)
                unread += 0 if all(self._is_good(what, seen.component, now) for now in packs_now) else size
        return replace(seen, used_bytes=used, unread_bytes=unread)

    def _is_good(self, what: What, component: ComponentName, id: bytes) -> bool:
        pack = self.stock.find(what, component, id)
        return pack is not None and bool(pack.flags & GOOD)


class Walks:
    """A walk for each component that is met."""

    def __init__(self, of: Examination, known: Known, threads: ThreadPoolExecutor) -> None:
        self._of, self._known, self._threads = of, known, threads
        self._walks: dict[ComponentName, Walk] = {}

    def of(self, component: ComponentName) -> Walk:
        if component not in self._walks:
            losing = partial(self._of.losing, component) if self._of.losing else unminded
            shelf = self._of.vault.shelf(component)
            self._walks[component] = Walk(shelf, self._of.stock, self._known, self._threads, losing)
        return self._walks[component]

    def needed(self) -> set[Key]:
        """The spoilt packs that points need, by their keys."""
        found: set[Key] = set()
        for component, walk in self._walks.items():
            for what, id in walk.needed:
                found.add((names.data_pack if what is What.DATA else names.node_pack)(component, id))
        return found


def weight_of(error: BackstayError) -> Weight:
    return Weight.UNKNOWN if isinstance(error, WrongKey) else Weight.DAMAGED


def check(vault: Repository, *, read_data: bool = False) -> Iterator[Finding]:
    """Everything that is wrong, as it is found. `read_data` reads and verifies every byte of every pack, which needs
    the key of a reader. Remembers nothing."""
    with Ledger(None) as ledger:
        yield from Examination(vault, ledger, vault.store.now(), Asked(100 if read_data else 0)).findings()
