"""Reading the version that was written first, where something was laid upon it.

A key is written once, so of several versions the first is the true one. A store that keeps versions reads it by itself
where a marker hides it, and where a listing found it covered. This is for the rest: what is damaged may only have been
overwritten since we looked.
"""

from collections.abc import Callable
from typing import TypeVar

from backstay.errors import Damaged
from backstay.ports import Key, Store, versioned
from backstay.vault.frames import LARGEST_SEALED, FrameKind

T = TypeVar("T")
LARGEST_BOX = LARGEST_SEALED[FrameKind.BODY] + 4096


def pinned(store: Store, key: Key) -> bool:
    """Whether reading `key` gives something else from now on: its first version."""
    kept = versioned(store)
    return kept is not None and kept.pin(key)


def read(store: Store, key: Key, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of an object. Raises what `parse` raises, Damaged only when the first version is. No more is
    fetched than the longest box has: who cannot seal could still put terabytes under a name of ours."""
    try:
        return parse(store.get(key, 0, LARGEST_BOX))
    except Damaged:
        if not pinned(store, key):
            raise
        return parse(store.get(key, 0, LARGEST_BOX))
