"""Marks: what a pruner is about to delete. Writers look at them before they seal.

A pruner marks packs, waits until every reservation that it then finds is sealed or expired, lists the points again, and
deletes what is still dead. A writer takes over chunks only from a point that it listed *after* it had reserved, so what
it uses was alive then. What is left is a point that ended in between: its packs are marked, and the writer sees it.

A mark names also packs that were *moved*, and whose old object may go. Somebody who builds on a point that was looked
at for the move has all of it in the new packs, and need not give up.

What a stranger puts among the marks is passed over: it must neither stop a backup, nor a pruner. Who may delete a true
mark can harm us anyway, so to pass over what he spoilt instead gives him nothing.
"""

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import Key, Store
from backstay.values import ComponentName, PointId
from backstay.vault import firsts, names
from backstay.vault.boxes import Box, open_box, seal_json
from backstay.vault.codec import unhex
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened
from backstay.vault.register import read_register
from backstay.vault.signers import learn_signers

_WAITS = "-waits"


@dataclass(frozen=True, slots=True)
class Mark:
    """`key` is empty for one that is not stored yet."""

    packs: frozenset[bytes]
    """Everything that is going to be deleted."""
    moved: frozenset[bytes] = frozenset()
    """Those of them whose content is in other packs."""
    points: frozenset[PointId] = frozenset()
    """The points that were looked at for the move: all that they use was moved."""
    done: bool = False
    """All of it was deleted. The mark stands for those who may have listed an older state of the vault."""
    key: Key = Key("")
    waits: frozenset[PointId] | None = field(default=None, compare=False)
    """The reservations that were open after the mark was there. None: not known, its pruner died before it wrote them
    down."""

    def counts_for(self, own: PointId) -> bool:
        """Whether the writer of that point may have listed the vault before what is marked was gone. Who reserved later
        found none of it in his listing, nor a point that asks for it."""
        return not self.done or self.waits is None or own in self.waits

    def against(self, ancestors: Collection[PointId]) -> frozenset[bytes]:
        """What a writer must not build on whose point before is the first of these, and so on: what it takes over has
        come down from each of them."""
        return self.packs if self.points.isdisjoint(ancestors) else self.packs - self.moved


def condemned(store: Store, opened: Opened, component: ComponentName, own: PointId) -> set[bytes]:
    """The packs of a component that are marked now: what nobody may rely on who brings the point `own` from
    elsewhere."""
    return {pack for mark in marks(store, opened, component) if mark.counts_for(own) for pack in mark.packs}


def marks(store: Store, opened: Opened, component: ComponentName) -> list[Mark]:
    """All that stand now. Raises Damaged for one that was signed and says nothing, WrongKey where our keys are behind
    those of a pruner."""
    boxes = {box.key: box for box in _boxes(store, opened, component)}
    found: list[Mark] = []
    for key, box in boxes.items():
        try:
            if key.endswith(_WAITS):
                _ids(box.json(), "waits")
                continue
            body, waits = box.json(), boxes.get(Key(key + _WAITS))
            found.append(
                Mark(
                    _packs(body, "packs"), _packs(body, "moved"), _ids(body, "points"), bool(body.get("done")), key,
                    _ids(waits.json(), "waits") if waits else None,
                )
            )  # fmt: skip
        except ValueError as error:
            raise Damaged(f"{key} does not say what it should: {error}") from None
    return found


def _boxes(store: Store, opened: Opened, component: ComponentName) -> Iterator[Box]:
    learned = False
    for listed in store.list(names.marks(component)):
        if (box := _box(store, opened, listed.key)) is None and not learned:
            # Its pruner may have been let in after we opened the vault: to pass over that mark would cost a point.
            learn_signers(store, opened)
            learned, box = True, _box(store, opened, listed.key)
        if box is not None:
            yield box


def _box(store: Store, opened: Opened, key: Key) -> Box | None:
    """None for what is nobody's, or gone: its pruner was done with it while we looked. Raises WrongKey."""
    try:
        return firsts.read(store, key, partial(open_box, opened, key))
    except (ObjectMissing, Damaged):
        return None
    except WrongKey:
        # Anybody can write the name of an epoch on a file. Where a newer one is in use, it may be a pruner's.
        if read_register(store, opened.family, opened.root).current[0] > opened.newest.number:
            raise
        return None


def put_mark(store: Store, opened: Opened, keys: Keyring, component: ComponentName, mark: Mark) -> Mark:
    body: dict[str, Any] = {"packs": sorted(pack.hex() for pack in mark.packs)}
    if mark.moved:
        body |= {"moved": sorted(pack.hex() for pack in mark.moved), "points": sorted(mark.points)}
    if mark.done:
        body["done"] = True
    while True:
        key = Key(names.marks(component) + secrets.token_hex(8))
        if store.put_if_absent(key, seal_json(opened, keys, key, body)):
            return Mark(mark.packs, mark.moved, mark.points, mark.done, key)


def put_waits(
    store: Store, opened: Opened, keys: Keyring, mark: Mark, waits: Collection[PointId]
) -> frozenset[PointId]:
    """Which reservations to wait for, where nobody wrote that down yet; what is written."""
    key = Key(mark.key + _WAITS)
    body: dict[str, Any] = {"packs": [], "waits": sorted(waits)}
    while not store.put_if_absent(key, seal_json(opened, keys, key, body)):
        if (box := _box(store, opened, key)) is not None:
            return _ids(box.json(), "waits")
        store.delete(key)  # somebody took the name, so that nothing is ever deleted
    return frozenset(waits)


def remove_mark(store: Store, mark: Mark) -> None:
    """The mark first: its waits mean nothing without it."""
    store.delete(mark.key)
    store.delete(Key(mark.key + _WAITS))


def sweep_waits(store: Store, component: ComponentName) -> None:
    """Delete those whose mark is gone: somebody died between the two."""
    keys = [listed.key for listed in store.list(names.marks(component))]
    for key in keys:
        if key.endswith(_WAITS) and key.removesuffix(_WAITS) not in keys:
            store.delete(key)


def _packs(body: dict[str, Any], name: str) -> frozenset[bytes]:
    return frozenset(unhex(text, 16) for text in _texts(body, name))


def _ids(body: dict[str, Any], name: str) -> frozenset[PointId]:
    return frozenset(PointId(text) for text in _texts(body, name))


def _texts(body: dict[str, Any], name: str) -> list[str]:
    found = body.get(name, None if name == "packs" else [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError(f"{name}: a list of texts expected")
    return found  # pyright: ignore[reportUnknownVariableType]
