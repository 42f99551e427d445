"""Trying the stores of a plan's vaults, and taking away what was left in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from backstay.app import stores
from backstay.app.home import Home
from backstay.errors import BackstayError, StoreUnsuitable, UnknownName, VaultMissing
from backstay.ports import Clock, Store
from backstay.values import VaultName, count, listed
from backstay.vault.probing import Probed, keep
from backstay.vault.probing import probe as probed

ABANDONED = timedelta(days=1)
"""No upload of ours takes as long, and no probe."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of probing one vault."""

    vault: VaultName
    seen: Probed | None
    sentences: tuple[str, ...] = ()
    error: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Tidied:
    vault: VaultName
    removed: tuple[str, ...]
    said: str


def probe(home: Home, names: Sequence[str]) -> list[Came]:
    """Each vault that is named, or every one. One that is away does not stop the others."""
    came: list[Came] = []
    for name in _named(home, names):
        try:
            seen = probed(home.store(name), home.clock)
        except BackstayError as error:
            came.append(Came(name, None, error=error.message, code=error.code))
            continue
        kept = _kept(home, name, seen)
        code = StoreUnsuitable.code if seen.unfit else 0
        came.append(Came(name, seen, (*sentences(seen), *([kept] if kept else ())), code=code))
    return came


def look(store: Store, clock: Clock) -> Probed:
    """Before a vault is made. Raises StoreUnsuitable where there can be none."""
    seen = probed(store, clock)
    if seen.unfit:
        raise StoreUnsuitable(
            f"{seen.store} is no place for a vault",
            detail="\n".join(f"{one.what}: {one.said}" for one in seen.unfit),
            hint="use another store; a proxy or a cache in between can be the cause as well",
        )
    return seen


def sentences(seen: Probed, *, only_trouble: bool = False) -> list[str]:
    signs = {True: "✔", False: "✘", None: "?"}
    found = [f"{signs[one.works]} {one.what}: {one.said}" for one in seen.tried if not (only_trouble and one.works)]
    if not seen.put_if_absent:
        found.append("✘ so only one host at a time may write to this vault, and prune it: the store does not see to it")
    return found


def _kept(home: Home, name: VaultName, seen: Probed) -> str:
    """A sentence, where it is not kept."""
    try:
        return "" if keep(home.open_vault(name), seen) else "? not kept in the vault: this key may not write to it"
    except VaultMissing:
        return "? not kept: there is no vault yet; `backstay init` makes it"
    except BackstayError as error:
        return f"? not kept: {error.message}"


def tidy(home: Home, names: Sequence[str]) -> Iterator[Tidied]:
    """Raises StoreUnreachable, AccessDenied, BucketMissing."""
    for name in _named(home, names):
        store = home.store(name)
        before = store.now() - ABANDONED
        removed: list[str] = []
        for one in list(store.list("canary/")):
            if one.modified < before:
                store.delete(one.key)
                removed.append(one.key)
        uploads, rest = stores.abort_uploads(home.plan.vaults[name], home.base, home.secrets_here, before)
        removed += uploads
        said = (
            f"took away {count(len(removed), 'thing')}: {listed(removed[:5])}" if removed else "nothing was left behind"
        )
        yield Tidied(name, tuple(removed), said + (f"; {rest}" if rest else ""))


def _named(home: Home, names: Sequence[str]) -> list[VaultName]:
    """Raises UnknownName."""
    unknown = [name for name in names if name not in home.plan.vaults]
    if unknown:
        raise UnknownName(
            f"the plan has no vault {listed(unknown, 'or')}", detail=f"its vaults: {listed(home.plan.vaults)}"
        )
    return [VaultName(name) for name in names] or list(home.plan.vaults)
