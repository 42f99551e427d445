"""Replacing small sealed objects that are damaged by what another vault of the family has under the same name.

A box is the same in every vault of a family, to the byte. A name is never written twice, so a damaged object has to go
before the good one can take its place, and between the two a killed process would leave nothing. Hence the good one is
sealed into the same vault first, as a note: whoever comes after finishes with it.

What says where things lie in *this* vault (indexes, marks) is not taken from another one.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backstay.errors import AccessDenied, Damaged, ObjectLocked, ObjectMissing, WrongKey
from backstay.ports import Key, Store, locking
from backstay.values import say_moment
from backstay.vault import names
from backstay.vault.boxes import open_box
from backstay.vault.codec import hex_of, pack_json, text_of, unpack_json
from backstay.vault.keys import Opened
from backstay.vault.logs import sound_log
from backstay.vault.repository import Repository

SAME = ("points/", "proofs/", "holds/", "notes/", "reserved/", names.WAL)
_INTENT = "repair/"
_SPOILT = (Damaged, ObjectMissing, WrongKey, ValueError)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What became of one damaged object. `source`: whose copy it is now; else `why` it is as it was."""

    key: Key
    source: str = ""
    why: str = ""


def replace(vault: Repository, others: Sequence[Repository], damaged: Iterable[Key]) -> Iterator[Replaced]:
    """Each of `damaged` that some other vault has, sound. Raises StoreUnreachable, AccessDenied."""
    for key in damaged:
        if not key.startswith(SAME):
            continue
        if names.is_stretch(key):
            yield _replace_log(vault, others, key)
            continue
        source = next((one for one in others if _good(vault.opened, one.store, key) is not None), None)
        if source is None:
            yield Replaced(key, why="no other vault at hand has it")
            continue
        data = _good(vault.opened, source.store, key)
        assert data is not None, "it was there a moment ago"
        if _good(vault.opened, vault.store, key) is not None:
            continue  # sound after all: somebody was faster
        yield _replace(vault, key, data, source.name)


def _good(opened: Opened, store: Store, key: Key) -> bytes | None:
    """The box, if it is what it should be."""
    try:
        data = store.get(key)
        open_box(opened, key, data)
    except _SPOILT:
        return None
    return data


def _replace(vault: Repository, key: Key, data: bytes, source: str) -> Replaced:
    intent = _INTENT + hashlib.sha256(key.encode()).hexdigest()[:32]
    locks = locking(vault.store)
    if locks is not None and (until := locks.locked_until(key)) is not None:
        return Replaced(key, why=f"it is locked until {say_moment(until)}, and cannot be replaced before")
    vault.keep_note(intent, pack_json({"data": data.hex(), "key": key}))
    try:
        vault.store.delete(key)
    except (ObjectLocked, AccessDenied) as error:
        _drop(vault, intent)
        return Replaced(key, why=f"the store does not let it be replaced: {error.message}")
    vault.store.put_if_absent(key, data)
    _drop(vault, intent)
    vault.forget(key)
    return Replaced(key, source)


def _replace_log(vault: Repository, others: Sequence[Repository], key: Key) -> Replaced:
    """No note is laid by: should we be stopped between the two, the stretch is missing, and copying brings it."""
    found = ((one, data) for one in others if (data := sound_log(one, key)) is not None)
    source, data = next(found, (None, b""))
    if source is None:
        return Replaced(key, why="no other vault at hand has it")
    locks = locking(vault.store)
    if locks is not None and (until := locks.locked_until(key)) is not None:
        return Replaced(key, why=f"it is locked until {say_moment(until)}, and cannot be replaced before")
    try:
        vault.store.delete(key)
    except (ObjectLocked, AccessDenied) as error:
        return Replaced(key, why=f"the store does not let it be replaced: {error.message}")
    vault.store.put_if_absent(key, data)
    return Replaced(key, source.name)


def _drop(vault: Repository, intent: str) -> None:
    with suppress(ObjectLocked):  # a lock as any other's: it goes when that ends
        vault.store.delete(names.note(intent))


def being_replaced(vault: Repository) -> set[Key]:
    """Objects that may be missing for a moment, or because somebody was stopped there: `finish` puts them back."""
    return {key for _, key, _ in _intents(vault)}


def _intents(vault: Repository) -> Iterator[tuple[str, Key, bytes]]:
    """Who stole a writer's key can leave such notes too, for whoever may delete: so none counts but for a box, and only
    with a sound one in it."""
    for name in vault.notes(_INTENT):
        try:
            body = unpack_json(vault.note(name) or b"")
            key, data = Key(text_of(body, "key")), hex_of(body, "data")
            open_box(vault.opened, key, data)
        except _SPOILT:
            continue  # it is named by the look
        if key.startswith(SAME):
            yield name, key, data


def _was_ended(vault: Repository, key: Key) -> bool:
    """Whether it was a point that somebody has ended since: its reservation goes with it, and before it. A note that
    is locked stands for longer than the point."""
    if not key.startswith("points/") or not names.is_point(key):
        return False
    reserved = names.reserved(*names.read_point(key))
    return all(listed.key != reserved for listed in vault.store.list(reserved))


def finish(vault: Repository) -> list[Replaced]:
    """What somebody began to replace and was stopped at."""
    done: list[Replaced] = []
    for name, key, data in list(_intents(vault)):
        if _good(vault.opened, vault.store, key) is None and not _was_ended(vault, key):
            vault.store.delete(key)
            vault.store.put_if_absent(key, data)
            vault.forget(key)
            done.append(Replaced(key, "what was put by here"))
        _drop(vault, name)
    return done
