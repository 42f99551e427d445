"""Does the lock hold? Found out by trying: what an intruder with our own credentials would do is done to a canary.

A setting says what somebody meant; an attempt says what is true. The canary is a small object below `canary/` with a
lock of a few minutes. Beside it, real objects are asked how long they are locked, against what was promised when each
point was sealed. Whatever could not be tried is `not verified`, and never passed.
"""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.errors import AccessDenied, BackstayError, Damaged, ObjectLocked, ObjectMissing, WrongKey
from backstay.facts import Verdict
from backstay.ports import Attack, Hidden, Key, Listed, Locking, LockMode, Store, locking, versioned
from backstay.values import ComponentName, count, say_moment, say_span
from backstay.vault import names
from backstay.vault.locks import moved, needed, standing
from backstay.vault.repository import Repository

CANARY_LOCK = timedelta(minutes=5)
"""Long enough to try everything; then the next check can sweep it away."""
SAMPLE = 50
"""So many objects of each component are asked, where not all are."""
_NAMED = 5
_CONTENT = b"a canary of backstay vault check --immutability; it is safe to leave it here\n"


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried, and what came of it."""

    what: str
    verdict: Verdict
    said: str


def trials(vault: Repository, *, everything: bool = False) -> Iterator[Tried]:
    """Each attempt as it is made. `everything`: ask each object for its lock, not a sample."""
    store = locking(vault.store)
    if store is None:
        yield Tried("lock", Verdict.NOT_VERIFIED, _why_none(vault.store))
        return
    yield from _on_a_canary(store)
    yield from _on_what_is_kept(vault, store, everything=everything)


def _why_none(store: Store) -> str:
    kept = "; it keeps versions, so what is deleted there can still be brought back" if versioned(store) else ""
    return f"nothing is locked in {store.describe()}: there is no lock to try{kept}"


# ── the canary ───────────────────────────────────────────────────────────────────────────────────


def _on_a_canary(store: Locking) -> Iterator[Tried]:
    _sweep(store)
    key, until = names.canary(secrets.token_hex(8)), store.now() + CANARY_LOCK
    try:
        store.put_if_absent(key, _CONTENT)
        store.extend_lock(key, until)
        held = store.locked_until(key)
    except BackstayError as error:
        yield Tried("lock", Verdict.NOT_VERIFIED, f"no canary could be locked: {error.message}")
        return
    if held is None:
        yield Tried("lock", Verdict.FAILED, "the store took a lock, and the canary is not locked")
    else:
        said = f"{store.lock.mode.value} mode, {say_span(store.lock.span)} promised; a canary is locked until"
        yield Tried("lock", Verdict.PASSED, f"{said} {say_moment(held)}")
    yield _hiding(store, key)
    yield _overwriting(store, key)
    # The last three would destroy it: from the one that is refused most often to the one that is refused least often.
    yield _refused(store, key, Attack.SHORTEN)
    yield _refused(store, key, Attack.DESTROY)
    yield _refused(store, key, Attack.BYPASS)


def _hiding(store: Locking, key: Key) -> Tried:
    what = "delete"
    try:
        if not store.attack(key, Attack.HIDE):
            return Tried(what, Verdict.PASSED, "a plain DELETE is refused")
        if _hidden(store, key) is None:
            return Tried(what, Verdict.FAILED, "a plain DELETE left no marker that can be seen")
        if store.get(key) != _CONTENT:
            return Tried(what, Verdict.FAILED, "behind the marker of a plain DELETE, other bytes are read")
        return _undone(store, key, what, "a plain DELETE leaves a marker; what it hides is read all the same")
    except BackstayError as error:
        return _unknown(what, error)


def _overwriting(store: Locking, key: Key) -> Tried:
    what = "overwrite"
    try:
        if not store.attack(key, Attack.OVERWRITE):
            return Tried(what, Verdict.PASSED, "overwriting is refused")
        if _hidden(store, key) is None:
            return Tried(what, Verdict.FAILED, "it was overwritten, and no later version can be seen")
        store.pin(key)
        if store.get(key) != _CONTENT:
            return Tried(what, Verdict.FAILED, "after it was overwritten, other bytes are read")
        return _undone(store, key, what, "overwriting lays a version on top; the first one is read all the same")
    except BackstayError as error:
        return _unknown(what, error)


def _undone(store: Locking, key: Key, what: str, said: str) -> Tried:
    try:
        store.uncover(key)
    except (AccessDenied, ObjectLocked):
        # As it should be where credentials are few: then others have to tidy up.
        return Tried(what, Verdict.PASSED, f"{said}; these credentials may not take it away again")
    if _hidden(store, key) is not None:
        return Tried(what, Verdict.FAILED, f"{said}; it cannot be undone")
    return Tried(what, Verdict.PASSED, f"{said}, and it can be undone")


def _refused(store: Locking, key: Key, attack: Attack) -> Tried:
    what = {Attack.SHORTEN: "shorten", Attack.DESTROY: "destroy", Attack.BYPASS: "bypass"}[attack]
    try:
        if not store.attack(key, attack):
            return Tried(what, Verdict.PASSED, f"to {attack.value} is refused")
    except BackstayError as error:
        return _unknown(what, error)
    hint = ""
    if attack is Attack.BYPASS and store.lock.mode is LockMode.GOVERNANCE:
        hint = ": these credentials have the right to bypass governance, and should not"
    return Tried(what, Verdict.FAILED, f"to {attack.value} worked{hint}")


def _hidden(store: Locking, key: Key) -> Hidden | None:
    return next((found for found in store.hidden(key) if found.key == key), None)


def _unknown(what: str, error: BackstayError) -> Tried:
    return Tried(what, Verdict.NOT_VERIFIED, f"it could not be tried: {error.message}")


def _sweep(store: Locking) -> None:
    """Canaries whose locks have run out. A courtesy."""
    with suppress(BackstayError):
        for listed in list(store.list(names.CANARIES)):
            with suppress(ObjectLocked):
                store.delete(listed.key)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Promise:
    """That an object is locked until then, because of a point."""

    listed: Listed
    until: datetime
    because: str


def _on_what_is_kept(vault: Repository, store: Locking, *, everything: bool) -> Iterator[Tried]:
    now = store.now()
    sealed = [listed for listed in store.list(names.points(None)) if names.is_point(listed.key)]
    if not sealed:
        yield Tried("objects", Verdict.NOT_VERIFIED, "there is no point whose lock could be looked at")
        return
    newest = max(sealed, key=lambda listed: listed.modified)
    asked = [_Promise(one, newest.modified + store.lock.span, "every point needs it") for one in standing(store)]
    yield _looked_at(store, "vault", [one for one in asked if one.until > now], len(asked))
    for component in sorted({names.read_point(listed.key)[0] for listed in sealed}):
        promised, trouble = _promises(vault, store, component, now)
        chosen = promised if everything else _sampled(promised)
        yield _looked_at(store, component, chosen, len(promised))
        if trouble:
            said = f"for {count(trouble, 'point')} nobody can say what it needs; `backstay vault check` says more"
            yield Tried(component, Verdict.NOT_VERIFIED, said)


def _promises(vault: Repository, store: Locking, component: ComponentName, now: datetime) -> tuple[list[_Promise], int]:
    """What is locked because of a point that is younger than the lock, each with the newest reason; and how many
    points could not be read."""
    wanted: dict[bytes, tuple[datetime, str]] = {}
    found, trouble, span = list[_Promise](), 0, store.lock.span
    moves = moved(store, vault.opened, component)
    for listed in sorted(store.list(names.points(component)), key=lambda listed: listed.modified):
        if not names.is_point(listed.key) or listed.modified + span <= now:
            continue
        try:
            if (sealed := vault.sealed_at(listed.key)) is None:
                continue
            why, packs = f"point {sealed.point.id} needs it", set(vault.uses_of(sealed).all())
            packs |= {new for pack in packs for new in moves.get(pack, ())}
            wanted |= dict.fromkeys(packs, (listed.modified + span, why))
        except (Damaged, ObjectMissing, WrongKey):
            trouble += 1
            continue
        found.append(_Promise(listed, listed.modified + span, "it is the point"))
    newest = max((one.until for one in found), default=now)
    for listed in needed(store, component, set(wanted)) if wanted else ():
        until, why = wanted.get(_last(listed.key), (newest, "points need it"))
        found.append(_Promise(listed, until, why))
    return found, trouble


def _last(key: Key) -> bytes:
    try:
        return bytes.fromhex(key.rpartition("/")[2])
    except ValueError:
        return b""


def _sampled(promised: list[_Promise]) -> list[_Promise]:
    return promised if len(promised) <= SAMPLE else secrets.SystemRandom().sample(promised, SAMPLE)


def _looked_at(store: Locking, what: str, asked: list[_Promise], of: int) -> Tried:
    short, unknown = list[str](), list[str]()
    for one in asked:
        try:
            held = store.locked_until(one.listed.key)
        except BackstayError as error:
            unknown.append(f"{one.listed.key}: {error.message}")
            continue
        if held is None or held + timedelta(seconds=1) < one.until:
            has = f"locked until {say_moment(held)}" if held else "not locked"
            short.append(f"{one.listed.key} is {has}, and {one.because} until {say_moment(one.until)}")
    looked = f"{len(asked)} of {of} objects asked" if len(asked) < of else count(of, "object")
    if short:
        return Tried(what, Verdict.FAILED, f"{looked}, {len(short)} locked for less than promised: {_some(short)}")
    if unknown:
        return Tried(what, Verdict.NOT_VERIFIED, f"{looked}, {len(unknown)} without an answer: {_some(unknown)}")
    if not asked:
        return Tried(what, Verdict.NOT_VERIFIED, "no point is young enough for its lock to be promised still")
    return Tried(what, Verdict.PASSED, f"{looked}, all locked for as long as promised")


def _some(said: list[str]) -> str:
    rest = f"; and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return "; ".join(said[:_NAMED]) + rest
