"""A vault in memory: the repository itself, on a store in memory, with keys that nobody else has.

Nothing of the repository is imitated, so nothing can be imitated wrongly: paths, marks, the order of things and every
refusal are those of a vault on a disk. Added is what only a test asks of one: it breathes when a point becomes real,
and a file in it can be damaged. That moment is the only one at which the world changes: what was stored before it is
nobody's.
"""

import secrets
from collections.abc import Iterator

from backstay.adapters.memory.store import MemoryStore
from backstay.adapters.memory.tables import Breathe, breathe_easy
from backstay.ports import Key
from backstay.values import PointId
from backstay.vault import Keyring, Repository, age, create, names
from backstay.vault.fetching import Fetching, Located
from backstay.vault.nodes import Item
from backstay.vault.opening import unlock
from backstay.vault.reader import Reading


class MemoryVault(Repository):
    """Lives as long as the object."""

    def __init__(self, name: str = "local", breathe: Breathe = breathe_easy) -> None:
        store, keys = _Breathing(name, breathe), Keyring(age.new_identity()[0], secrets.token_bytes(32))
        create(store, plan_name="memory", keys=keys, now=store.now())
        super().__init__(store, name, keys, unlock(store, keys))
        self._damaged: set[tuple[PointId, str]] = set()

    def damage(self, id: PointId, path: str) -> None:
        """As flipped bits do: no byte of this file can be read from now on, and every other file can. (On a disk, small
        files share what is sealed at once, and flipped bits may take several; the laws of damage see to that.)"""
        found = self.open(id).entry(path)
        assert found is not None, f"there is no {path} to damage"
        assert found.size_bytes, f"{path} holds nothing to damage"
        self._damaged.add((id, path))

    def open(self, point: PointId) -> Reading:
        reading = super().open(point)
        if paths := {path for id, path in self._damaged if id == point}:
            reading.fetching = _Damaged(reading.fetching, paths)
        return reading


class _Breathing(MemoryStore):
    """Tells of each point that it becomes real."""

    def __init__(self, name: str, breathe: Breathe) -> None:
        super().__init__(name)
        self._breathe = breathe

    def put_if_absent(self, key: Key, data: bytes) -> bool:
        if not key.startswith(names.points(None)):
            return super().put_if_absent(key, data)
        component, _ = names.read_point(key)
        self._breathe(f"seal {component}")
        if put := super().put_if_absent(key, data):
            self._breathe(f"seal {component}, done")
        return put


class _Damaged(Fetching):
    """Looks for other chunks in some files than were written there, so what it finds fails its check."""

    def __init__(self, sound: Fetching, paths: set[str]) -> None:
        super().__init__(sound.shelf, sound.point, sound.tree.root)
        self._damaged = [self.find(path) for path in paths]

    def located(self, item: Item, start: int, end: int) -> Iterator[Located]:
        for located in super().located(item, start, end):
            chunk = located.chunk
            yield located._replace(chunk=chunk._replace(id=bytes(len(chunk.id)))) if item in self._damaged else located
