"""An index from nothing: a new generation with everything that the ends of the packs say.

For the day when maps and index disagree with what is there. Every pack says itself what is in it; what is damaged is
left out, and where several packs have the same piece, one that was read and found good is taken.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.values import ComponentName
from backstay.vault.generations import Change, write_index
from backstay.vault.moving import reserving
from backstay.vault.opening import refuse_unless_writer
from backstay.vault.packs import Contents, Piece, read_contents
from backstay.vault.repository import Repository
from backstay.vault.several import each, pool
from backstay.vault.sources import misnamed
from backstay.vault.stock import GOOD, Pack, Stock


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found of one component."""

    component: ComponentName
    generation: int
    packs: int
    pieces: int
    damaged: int
    """Packs that do not say what is in them."""
    misnamed: int
    """Packs that lie under another name than their own: nothing can point there before they are back."""


def rebuild(vault: Repository, stock: Stock, only: Collection[ComponentName] = ()) -> Iterator[Rebuilt]:
    """Each component that has packs, or `only` these. `stock` is what a look has found. Raises WrongKey, Lapsed, and
    what the store raises."""
    refuse_unless_writer(vault.opened, vault.keys)
    with pool("backstay-rebuild") as threads:
        for component in only or stock.components():
            yield _Rebuilding(vault, stock, component).run(threads)


class _Rebuilding:
    def __init__(self, vault: Repository, stock: Stock, component: ComponentName) -> None:
        self._vault, self._stock, self._component = vault, stock, component
        self._packs, self._count, self._damaged = 0, 0, 0
        self._bad = dict[bytes, bytes]()
        """Pieces in frames that do not open, and their pack."""
        self._moves = dict[bytes, tuple[bytes, ...]]()
        """Those packs, and where the same pieces are whole: there they are needed from now on, and no pruner may take
        them, whoever else lets them go."""

    def run(self, threads: ThreadPoolExecutor) -> Rebuilt:
        vault = self._vault
        pieces = self._pieces(threads)
        change = Change(self._moves, anew=True)
        with reserving(vault, self._component, "an index"):
            generation = write_index(vault.store, vault.opened, vault.keys, self._component, pieces, change)
        strays = len(misnamed(vault.store, vault.opened, self._component))
        return Rebuilt(self._component, generation, self._packs, self._count, self._damaged - strays, strays)

    def _find_bad(self, threads: ThreadPoolExecutor) -> None:
        spoilt = (p for p in self._stock if p.component == self._component and self._stock.is_spoilt(p))
        for pack, contents in each(threads, self._read, spoilt):
            for piece in contents.pieces if contents else ():
                if self._stock.trouble(pack.what, self._component, piece.place):
                    self._bad[piece.id] = pack.id

    def _note(self, piece: Piece) -> None:
        if (old := self._bad.get(piece.id)) is not None:
            self._moves[old] = tuple(dict.fromkeys((*self._moves.get(old, ()), piece.place.pack)))

    def _pieces(self, threads: ThreadPoolExecutor) -> Iterator[Piece]:
        """Those of packs that are known to be good come last: of two with one id, the last one stays."""
        self._find_bad(threads)
        for good in (False, True):
            packs = (p for p in self._stock if p.component == self._component and bool(p.flags & GOOD) is good)
            for pack, contents in each(threads, self._read, packs):
                if contents is None:
                    self._damaged += 1
                    continue
                self._packs += 1
                for piece in contents.pieces:
                    if not self._stock.trouble(pack.what, self._component, piece.place):
                        self._count += 1
                        self._note(piece)
                        yield piece

    def _read(self, pack: Pack) -> tuple[Pack, Contents | None]:
        try:
            return pack, read_contents(self._vault.store, self._vault.opened, pack.key, pack.size_bytes)
        except (ValueError, Damaged, ObjectMissing, WrongKey):
            return pack, None
