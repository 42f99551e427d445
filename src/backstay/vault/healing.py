"""Mending a vault: what is lost in it is taken from where it still is, and stored anew.

    1. look          which chunks and nodes do points need, and which of them lie in nothing sound?
    2. bring back    packs that are missing altogether: from under a wrong name, or as they are from another vault
    3. search        every other piece, in the vault itself and in the others; each is hashed before it counts
    4. store         what was found in new packs, and behind them a generation of the index that says so
    5. look again    a tree that came back may show more that is lost; until nothing more is found

Nothing that is stored is changed or deleted, so no point is ever made worse: a reader goes by the maps first, and asks
the index only where they fail him. Dying anywhere leaves at most packs that nobody needs; done again, it does what is
left. While it lasts it holds a reservation, as a backup does, so that a pruner waits for it.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Listed, Progress, Store, unwatched
from backstay.values import ComponentName
from backstay.vault.carrying import Carrier, never
from backstay.vault.checks import Asked, Examination, Finding, Weight
from backstay.vault.copying import packs_in
from backstay.vault.family import refuse_strangers
from backstay.vault.frames import What
from backstay.vault.ledger import Ledger
from backstay.vault.nodes import places_in
from backstay.vault.opening import refuse_unless_writer
from backstay.vault.packs import parse_key
from backstay.vault.rebuilding import Rebuilt, rebuild
from backstay.vault.repository import Repository
from backstay.vault.restocking import Restocking
from backstay.vault.shelf import Shelf
from backstay.vault.soundness import Lost
from backstay.vault.sources import Renamed, Source, Wanted, misnamed, search
from backstay.vault.stock import Stock

MOST_ROUNDS = 32
_SPOILT = (Damaged, ObjectMissing, WrongKey)


@dataclass(slots=True)
class Healed:
    """What came of it."""

    packs: dict[str, int] = field(default_factory=dict[str, int])
    """Packs that were missing and are there again as they were, by where they came from."""
    pieces: dict[str, int] = field(default_factory=dict[str, int])
    """Chunks and nodes that were stored anew, by where they came from."""
    rebuilt: list[Rebuilt] = field(default_factory=list[Rebuilt])
    """Indexes that were damaged, and are written anew from the ends of the packs."""
    left: int = 0
    """Chunks and nodes that nobody has. What needs them is named by the look afterwards."""

    def any(self) -> bool:
        return bool(self.packs or self.pieces or self.rebuilt)


class Healing:
    """Of one vault, from itself and from `others`, vaults of its family."""

    def __init__(
        self, vault: Repository, others: Sequence[Repository], ledger: Ledger, now: datetime,
        progress: Progress = unwatched,
    ) -> None:  # fmt: skip
        """Raises WrongKey for who may not write, NotSupported for vaults that are no family."""
        refuse_unless_writer(vault.opened, vault.keys)
        for one in others:
            refuse_strangers(one, vault)
        self.vault, self.others, self.progress = vault, others, progress
        self._ledger, self._now = ledger, now
        self.healed = Healed()
        self.findings: list[Finding] = []
        """Of the last look."""

    def run(self, asked: Asked) -> Examination:
        """Heal what can be healed. Gives the last look, which says what is left."""
        looked: Examination | None = None
        for _ in range(MOST_ROUNDS):
            with closing(Wanted()) as wanted:
                looked = self._look(asked, wanted)
                self.healed.left = len(wanted)
                # Before anything is moved: a generation cannot follow one that cannot be read. What only a damaged
                # index knew of has been counted as lost above, and is stored anew with its moves.
                rebuilt = self._mend_indexes(looked.stock)
                # Not any(…): every component has its turn.
                mended = [1 for component in wanted.components() if self._mend(component, looked.stock, wanted)]
                if not mended and not rebuilt:
                    return looked
            asked = Asked(0, asked.lines)  # what was found bad is read again in any case
        assert looked is not None, "there is a first round"
        return looked

    def _look(self, asked: Asked, wanted: Wanted) -> Examination:
        def lose(component: ComponentName, lost: Lost) -> None:
            wanted.add(component, lost)

        looked = Examination(self.vault, self._ledger, self._now, asked, self.progress, lose)
        self.findings = list(looked.findings())
        return looked

    def _mend_indexes(self, stock: Stock) -> bool:
        keys = [one.key for one in self.findings if one.weight is Weight.DAMAGED and one.key.startswith("index/")]
        hurt = {ComponentName(key.split("/")[1]) for key in keys}
        rebuilt = list(rebuild(self.vault, stock, sorted(hurt))) if hurt else []
        self.healed.rebuilt += rebuilt
        return bool(rebuilt)

    def _mend(self, component: ComponentName, stock: Stock, wanted: Wanted) -> bool:
        """Whether anything of the component was mended."""
        strays = misnamed(self.vault.store, self.vault.opened, component)
        renamed = cast(Store, Renamed(self.vault.store, strays))
        own = Source(self.vault.name, renamed, Shelf(renamed, self.vault.opened, component), strays)
        brought = self._bring_back(component, stock, wanted, own)
        with Restocking(self.vault, component, self._now) as restocking:

            def found(lost: Lost, data: bytes, source: Source) -> None:
                restocking.add(lost, data)
                self.healed.pieces[source.name] = self.healed.pieces.get(source.name, 0) + 1
                if lost.what is What.NODES:
                    _want_what_is_below(data, component, stock, wanted)

            others = (Source(one.name, one.store, one.shelf(component)) for one in self.others)
            search(wanted, component, [own, *others], self.vault.opened, found)
            return restocking.finish() or brought

    # ── packs that are missing altogether ──

    def _bring_back(self, component: ComponentName, stock: Stock, wanted: Wanted, own: Source) -> bool:
        """Under its own name, which is free: then every map that names it is right again."""
        missing = {id for what, id in wanted.packs(component) if stock.find(what, component, id) is None}
        brought = set[bytes]()
        sizes = {listed.key: listed.size_bytes for listed in self.vault.store.list()} if own.strays else {}
        at_hand = {
            parse_key(true)[2]: Listed(true, sizes[name], self._now)
            for true, name in own.strays.items()
            if name in sizes and parse_key(true)[2] in missing
        }
        for name, store, there in (
            (self.vault.name, own.store, at_hand),
            *((one.name, one.store, packs_in(one, component, missing)) for one in self.others),
        ):
            for id, listed in there.items():
                if id not in brought and self._carried(store, listed):
                    brought.add(id)
                    self.healed.packs[name] = self.healed.packs.get(name, 0) + 1
        for what, id in wanted.packs(component):
            if id in brought:
                wanted.forget(component, what, id)
        return bool(brought)

    def _carried(self, source: Store, listed: Listed) -> bool:
        """Looked at on its way; one that is not whole there stays there."""
        opened = self.vault.opened
        readable = any(epoch.private is not None for epoch in opened.epochs.values())
        try:
            Carrier(source, opened, self.vault.store, verify=readable, stop=never).carry(
                [listed], listed.size_bytes, self.progress
            )
        except _SPOILT:
            return False
        return True


def _want_what_is_below(data: bytes, component: ComponentName, stock: Stock, wanted: Wanted) -> None:
    """What a node names and is not sound either, so that a lost tree comes back in one go."""
    for id, place, at, size in places_in(data):
        what = What.DATA if size else What.NODES
        if stock.trouble(what, component, place):
            wanted.add(component, Lost(what, id, place, at, size))
