"""Marks: what a pruner is about to delete. Writers look at them before they seal.

A pruner marks packs, waits until every older reservation is sealed or expired, lists the points again, and deletes
what is still dead. A writer takes over chunks only from a point that it listed *after* it had reserved, so what it
uses was alive then; looking at the marks also covers a writer that knows chunks from elsewhere.
"""

from backstay.errors import Damaged
from backstay.ports import Store
from backstay.values import ComponentName
from backstay.vault import names
from backstay.vault.boxes import open_box
from backstay.vault.codec import unhex
from backstay.vault.keys import Opened


def condemned(store: Store, opened: Opened, component: ComponentName) -> set[bytes]:
    """The packs of a component that are marked now: `{"packs": ["<32 digits>", …]}` in each mark."""
    found: set[bytes] = set()
    for listed in store.list(names.marks(component)):
        box = open_box(opened, listed.key, store.get(listed.key))
        packs = box.json().get("packs")
        try:
            if not isinstance(packs, list):
                raise ValueError("a list of packs expected")
            found |= {unhex(str(pack), 16) for pack in packs}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        except ValueError as error:
            raise Damaged(f"{listed.key} does not say what it should: {error}") from None
    return found
