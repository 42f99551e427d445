"""The log in a vault beside everything else that is done to one: looked at, copied to another vault, let go.

A stretch needs nothing but itself: it is copied as it lies, and a damaged one is replaced by what another vault of the
family has under its name. (The bytes may differ: a receiver seals for each vault anew. What they hold does not.)

No lock of a stretch is ever made longer: it was written after the point that it goes on from, so it stays locked for
longer than that.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from backstay.errors import BackstayError, Damaged, ObjectLocked, ObjectMissing, WalConflict, WrongKey
from backstay.ports import Key, Listed
from backstay.reach import Stretch
from backstay.vault import names
from backstay.vault.family import refuse_strangers, spread_statements
from backstay.vault.repository import Repository
from backstay.vault.several import each, pool
from backstay.vault.wal import key_of_stretch

_TROUBLE = (Damaged, ObjectMissing, WrongKey)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Looked:
    """One object below `wal/`. `error`: what is wrong with it; `stranger`: nothing of ours has such a name."""

    key: Key
    read_bytes: int = 0
    error: BackstayError | None = None
    stranger: bool = False


def look_at_log(vault: Repository, threads: ThreadPoolExecutor, read: bool) -> Iterator[Looked]:
    """Every object of the log; `read` opens every frame, which needs the key of a reader. Raises StoreUnreachable,
    AccessDenied."""
    yield from each(threads, partial(_look, vault, read), vault.store.list(names.WAL), 4)


def _look(vault: Repository, read: bool, listed: Listed) -> Looked:
    key = listed.key
    try:
        if not names.is_stretch(key):
            names.read_history(key)
            vault.reopen(key)
            return Looked(key)
        names.read_stretch(key)
        if read:
            data = vault.store.get(key)
            vault.wal.verify(key, data)
            return Looked(key, len(data))
        if (size := vault.wal.front(key).size_bytes) != listed.size_bytes:
            return Looked(key, error=Damaged(f"{key} has {listed.size_bytes} bytes, and should have {size}"))
    except ValueError:
        return Looked(key, stranger=True)
    except _TROUBLE as error:
        return Looked(key, error=error)
    return Looked(key)


def sound_log(vault: Repository, key: Key) -> bytes | None:
    """The object, if it is what somebody enrolled kept under this name, as far as our key shows. Raises
    StoreUnreachable, AccessDenied."""
    try:
        data = vault.store.get(key)
        with suppress(WrongKey):  # of who cannot read: all but the log itself was seen
            vault.wal.verify(key, data)
    except (Damaged, ObjectMissing, ValueError):
        return None
    return data


# ── copying ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Brought:
    """What of the log was copied."""

    objects: int = 0
    moved_bytes: int = 0


def copy_log(source: Repository, target: Repository, wanted: Iterable[Stretch], systems: Iterable[int]) -> Brought:
    """Those stretches of `source` that `target` lacks, and the histories of these clusters, which come first. What is
    damaged in the source is left there; `vault check` names it. Done again, it does what is left.

    Raises NotSupported for vaults of two families, WalConflict where the target has other log for the same place, and
    what the two stores raise."""
    refuse_strangers(source, target)
    spread_statements(source.store, target.store, source.opened)
    found = Brought()
    for system in systems:
        for timeline, text in source.wal.histories(system).items():
            target.wal.keep_history(system, timeline, text)
        there = {key_of_stretch(one) for one in target.wal.stretches(system)}
        lacking = [one for one in wanted if one.system == system and key_of_stretch(one) not in there]
        with pool("backstay-log") as threads:
            for size in each(threads, partial(_carry, source, target), lacking):
                found = Brought(found.objects + (size > 0), found.moved_bytes + size)
    return found


def _carry(source: Repository, target: Repository, stretch: Stretch) -> int:
    """The bytes that were moved: none of what is damaged or gone in the source, or was brought by somebody else."""
    key = key_of_stretch(stretch)
    if (data := sound_log(source, key)) is None:
        return 0
    if target.store.put_if_absent(key, data):
        return len(data)
    ids = [frame.id for frame in source.wal.front(key).frames]
    if [frame.id for frame in target.wal.front(key).frames] != ids:
        raise WalConflict(
            f"{target.name} has other log than {source.name} for the same place",
            detail=str(key),
            hint="two servers wrote as one: find out which of them is the true one",
        )
    return 0


# ── letting go ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LetGo:
    """What of the log was deleted."""

    objects: int = 0
    freed_bytes: int = 0
    locked: int = 0
    """Objects that a lock in the store forbids to delete yet."""


def let_go(vault: Repository, stretches: Iterable[Stretch]) -> LetGo:
    """Delete these. Raises StoreUnreachable, AccessDenied."""
    objects, freed, locked = 0, 0, 0
    with pool("backstay-log") as threads:
        for size in each(threads, partial(_delete, vault), stretches):
            objects, freed, locked = objects + (size is not None), freed + (size or 0), locked + (size is None)
    return LetGo(objects, freed, locked)


def _delete(vault: Repository, stretch: Stretch) -> int | None:
    try:
        vault.store.delete(key_of_stretch(stretch))
    except ObjectLocked:
        return None
    return stretch.size_bytes
