"""Trying what a vault needs of its store, and remembering what was seen.

What a store promises and what it does are two things: a gateway may ignore the condition of a conditional write, and
answer that all is well. So it is tried, on objects of its own below `canary/`, when a vault is made and whenever
somebody asks. What was seen about put-if-absent is kept in the vault as a signed note, and believed by whoever opens
it: without it two hosts could both win one key, and a pruner must know.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backstay.errors import (
    AccessDenied,
    BackstayError,
    Damaged,
    ObjectMissing,
    StoreUnreachable,
    StoreUnsuitable,
    WrongKey,
)
from backstay.ports import Clock, Key, Store
from backstay.values import say_span, stamp
from backstay.vault.codec import pack_json, unpack_json
from backstay.vault.repository import Repository

NOTES = "probe/"
CLOCK_TOLERANCE = timedelta(hours=1)
"""Retention goes by the store's clock, and refuses when ours differs by more."""
_RACES, _RACERS = 2, 4


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried. `works` is None where it could not be."""

    what: str
    works: bool | None
    said: str
    needed: bool = False
    """Without it there can be no vault."""


@dataclass(frozen=True, slots=True)
class Probed:
    at: datetime
    """By our clock."""
    store: str
    tried: tuple[Tried, ...]

    @property
    def put_if_absent(self) -> bool:
        return all(one.works is True for one in self.tried if one.what == "put-if-absent")

    @property
    def unfit(self) -> tuple[Tried, ...]:
        """What makes this no place for a vault."""
        return tuple(one for one in self.tried if one.needed and one.works is False)


def probe(store: Store, clock: Clock) -> Probed:
    """A few dozen small requests. `store` believes the result from then on. Raises StoreUnreachable; BucketMissing,
    AccessDenied where nothing can be written."""
    folder = f"canary/{secrets.token_hex(8)}"
    began = clock.now()
    _tell(store, put_if_absent=True)  # else it would help itself by looking first, and nothing would be shown
    tried = (
        _two_puts(store, Key(f"{folder}/two")),
        _races(store, folder),
        _parts(store, Key(f"{folder}/two-parts")),
        _listing(store, folder),
        _deletion(store, folder),
        _clock(store, clock),
    )
    seen = Probed(began, store.describe(), tried)
    _tell(store, put_if_absent=seen.put_if_absent)
    return seen


def keep(vault: Repository, seen: Probed) -> bool:
    """In the vault, for whoever opens it. False where our key may not write there."""
    body = {
        "at": stamp(seen.at),
        "put_if_absent": seen.put_if_absent,
        "store": seen.store,
        "tried": [{"said": one.said, "what": one.what, "works": one.works} for one in seen.tried],
    }
    try:
        return vault.keep_note(f"{NOTES}{seen.at:%Y%m%dt%H%M%S%fz}", pack_json(body))
    except WrongKey:
        return False


def believe(vault: Repository) -> None:
    """Let the store's traits say what the newest probe saw. Without any, they stay as they are."""
    names = vault.notes(NOTES)
    with suppress(Damaged, ObjectMissing, WrongKey, ValueError):
        if names and (note := vault.note(names[-1])) is not None:
            body = unpack_json(note)
            if isinstance(seen := body.get("put_if_absent"), bool) and seen != vault.store.traits.put_if_absent:
                _tell(vault.store, put_if_absent=seen)


def _tell(store: Store, *, put_if_absent: bool) -> None:
    """Also what `store` is wrapped around."""
    store.traits = replace(store.traits, put_if_absent=put_if_absent)
    if (within := getattr(store, "within", None)) is not None:
        _tell(within, put_if_absent=put_if_absent)


# ── what is tried ──


def _two_puts(store: Store, key: Key) -> Tried:
    what = "put-if-absent"
    try:
        first, second = store.put_if_absent(key, b"first"), store.put_if_absent(key, b"second")
    except (AccessDenied, StoreUnreachable):
        raise
    except BackstayError as error:
        return Tried(what, False, f"a conditional write is refused: {error.message}")
    found = store.get(key)
    if (first, second, found) == (True, False, b"first"):
        return Tried(what, True, "the second of two writers is told that the key is taken")
    return Tried(what, False, "a second writer overwrites the first, and is not told")


def _races(store: Store, folder: str) -> Tried:
    """Several threads, one key, one winner."""
    what, single = "put-if-absent", 0
    with ThreadPoolExecutor(_RACERS) as pool:
        for race in range(_RACES):
            key = Key(f"{folder}/race-{race}")
            runs = [pool.submit(store.put_if_absent, key, b"%d" % racer) for racer in range(_RACERS)]
            try:
                won = [racer for racer, run in enumerate(runs) if run.result()]
            except (AccessDenied, StoreUnreachable):
                raise
            except BackstayError as error:
                return Tried(what, False, f"writers that meet are refused: {error.message}")
            single += len(won) == 1 and store.get(key) == b"%d" % won[0]
    if single == _RACES:
        return Tried(what, True, f"{_RACES} races of {_RACERS} writers had one winner each")
    return Tried(what, False, f"of {_RACES} races of {_RACERS} writers {_RACES - single} had no single winner")


def _parts(store: Store, key: Key) -> Tried:
    data = secrets.token_bytes(10_000)
    store.put(key, [data[:4000], data[4000:]])
    found = store.get(key, 3990, 20), store.get(key, 9990, 100), store.get(key, 10_000, 10), store.get(key)
    good = found == (data[3990:4010], data[9990:], b"", data)
    said = "a part of an object is what was written there" if good else "other bytes come back than were written"
    return Tried("ranged reads", good, said, needed=True)


def _listing(store: Store, folder: str) -> Tried:
    keys = [Key(f"{folder}/list/{name}") for name in ("a-b", "a/b", "ab")]
    for key in keys:
        store.put(key, [b"x"])
    try:
        found = [listed.key for listed in store.list(f"{folder}/list/")]
    except StoreUnsuitable as error:
        return Tried("listing", False, error.message, needed=True)
    if found == keys:
        return Tried("listing", True, "what was just written is listed at once, in order", needed=True)
    missing = len(set(keys) - set(found))
    said = f"{missing} of {len(keys)} objects that were just written are not listed" if missing else "not in order"
    return Tried("listing", False, said, needed=True)


def _deletion(store: Store, folder: str) -> Tried:
    """Also takes away what was tried."""
    what = "deletion"
    try:
        for listed in list(store.list(f"{folder}/")):
            store.delete(listed.key)
    except AccessDenied:
        return Tried(what, None, "these credentials may not delete: right for a host that writes, and no pruner")
    except BackstayError as error:
        return Tried(what, False, error.message)
    left = sum(1 for _ in store.list(f"{folder}/"))
    return Tried(what, left == 0, "what was deleted is gone" if not left else f"{left} objects are listed all the same")


def _clock(store: Store, clock: Clock) -> Tried:
    try:
        difference = abs(store.now() - clock.now())
    except StoreUnreachable:
        return Tried("clock", None, "the store does not say what time it is")
    if difference < timedelta(seconds=5):
        return Tried("clock", True, "the store's clock and ours agree")
    said = f"the store's clock and ours are {say_span(difference)} apart"
    return Tried("clock", difference <= CLOCK_TOLERANCE, said)
