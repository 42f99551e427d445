"""Locks that last: before a point is sealed, everything that it needs stays locked for as long as was promised.

What is written is locked for the promised span and 30 days more. So nothing has to be done for 30 days; then less than
the span is left, and the lock is made longer, by the same amount again. Who needs that is found without asking the
store about each object: by when it was written, and by a *ledger* of what was extended since. A point of 10 TB has 640
thousand packs: 640 requests to list them before every seal, and one for each pack once in 30 days.

A ledger is a hint. It is made of small boxes below `locks/`, one for each time that something was extended; a lost one
costs calls that were not needed. It also says since when everything is written with this lock: of what is older, nobody
knows how long it is locked, so it is extended once.

Beside the packs stand the indexes of those that were moved, the header, keys, enrolments, holds and notes: without them
no point opens. They are looked after in the same way. Spines are not: each is outlived by its follower.

What cannot be extended does not stop the point: data that is kept with a short lock is better than data that is not
kept. It is said in the point itself, which is signed, and `vault check --immutability` finds it.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice, repeat
from typing import Any

from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Key, Listed, Lock, Locking, LockMode, Store
from backstay.values import ComponentName, count, from_stamp, say_moment, stamp
from backstay.vault import firsts, names
from backstay.vault.boxes import open_box, seal_json
from backstay.vault.codec import text_of, whole_of
from backstay.vault.generations import newest_readable
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened
from backstay.vault.packs import parse_key

LOCKED = "locks"
"""`Point.about` says under this name until when everything is locked, or that it is not."""

_AT_ONCE = 16
_AHEAD = timedelta(hours=2)
"""A store's clock may be put right by so much."""
_BATCH = 4096
"""So many are extended before it is written down: dying costs no more than that."""
_NAMED = 3
"""So many of what could not be extended are named in the point."""


@dataclass(slots=True)
class Kept:
    """What came of it: everything that was looked at is locked until `until`, but for what is in `short`."""

    until: datetime
    looked_at: int = 0
    extended: int = 0
    short: dict[Key, str] = field(default_factory=dict[Key, str])
    """Key to why its lock is shorter than promised, or not known."""

    def __str__(self) -> str:
        if not self.short:
            return f"locked until {say_moment(self.until)} or longer"
        named = "; ".join(f"{key}: {why}" for key, why in islice(self.short.items(), _NAMED))
        rest = f" and {len(self.short) - _NAMED} more" if len(self.short) > _NAMED else ""
        return f"NOT locked as promised: {count(len(self.short), 'object')} of {self.looked_at} ({named}{rest})"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known about locks without asking."""

    since: datetime
    """What was written from then on is locked by the present lock."""
    until: dict[Key, datetime] = field(default_factory=dict[Key, datetime])
    """How long the locks of these keys were made."""

    stale: tuple[Key, ...] = ()
    """Boxes of it that say nothing any more."""
    fresh: bool = False
    """No box was there for this lock."""

    def known(self, listed: Listed, lock: Lock) -> datetime | None:
        """Until when it is locked, at least. None: nobody can say."""
        written = lock.until(listed.modified) if listed.modified >= self.since else None
        return max(filter(None, (written, self.until.get(listed.key))), default=None)


class Locker:
    """Keeps what a component needs, and the vault itself, locked for long enough."""

    def __init__(self, store: Locking, opened: Opened, keys: Keyring, *, began: datetime) -> None:
        """`began`: by the store's clock, before anything was written that is looked at here."""
        self._store, self._opened, self._keys = store, opened, keys
        self._began = began.replace(microsecond=0)  # stores tell the time of an object to the second

    def keep(self, component: ComponentName, packs: set[bytes]) -> Kept:
        """Before a point that needs `packs` is sealed. Raises what the store raises when it cannot be listed."""
        now = self._store.now()
        kept = Kept(now + self._store.lock.span)
        missing, moves = set(packs), moved(self._store, self._opened, component)
        missing |= {new for pack in packs for new in moves.get(pack, ())}
        self._extend(component, needed(self._store, component, missing), kept, now)
        # What was moved, and is gone from where it was, is where the index says.
        missing = {pack for pack in missing if pack not in moves or missing & set(moves[pack])}
        kept.looked_at += len(missing)
        kept.short |= {Key(f"pack {pack.hex()}"): "it is missing" for pack in missing}
        self._extend(None, standing(self._store), kept, now)
        return kept

    def _extend(self, component: ComponentName | None, found: Iterable[Listed], kept: Kept, now: datetime) -> None:
        ledger, until = self._read(component, now), self._store.lock.until(now)

        def due() -> Iterator[Key]:
            for listed in found:
                kept.looked_at += 1
                known = ledger.known(listed, self._store.lock)
                if known is None or known < kept.until:
                    yield listed.key

        waiting, wrote = due(), False
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="backstay-lock") as pool:
            while batch := list(islice(waiting, _BATCH)):
                # Right behind the listing, while the store remembers which version it saw.
                why = list(pool.map(self._extend_one, batch, repeat(until)))
                kept.short |= {key: said for key, said in zip(batch, why) if said}
                done = [key for key, said in zip(batch, why) if not said]
                kept.extended += len(done)
                wrote = self._write(component, ledger.since, until, done) or wrote
        if wrote or (ledger.fresh and self._write(component, ledger.since, until, [])):
            with suppress(BackstayError):  # a courtesy: nobody needs them gone
                for key in ledger.stale:
                    self._store.delete(key)

    def _extend_one(self, key: Key, until: datetime) -> str:
        """Nothing, or why it could not be."""
        try:
            self._store.extend_lock(key, until)
        except BackstayError as error:
            return error.message
        return ""

    # ── the ledger ──

    def _read(self, component: ComponentName | None, now: datetime) -> Ledger:
        """What its boxes say together."""
        since, until = self._began, dict[Key, datetime]()
        stale, fresh = list[Key](), True
        for listed in self._store.list(names.locks(component)):
            try:
                lock, began, extended, keys = firsts.read(
                    self._store, listed.key, partial(_parsed, self._opened, listed.key)
                )
            except (Damaged, ObjectMissing, WrongKey):
                continue  # a hint that cannot be read is none
            if extended > self._store.lock.until(now) + _AHEAD:
                continue  # nobody makes it so long today: a thief's, so that we never ask; or asking costs a call
            if lock == self._store.lock:
                since, fresh = min(since, began), False
            if extended < now + self._store.lock.span:
                stale.append(listed.key)
            until.update({key: max(extended, until.get(key, extended)) for key in keys})
        return Ledger(since, until, tuple(stale), fresh)

    def _write(self, component: ComponentName | None, since: datetime, until: datetime, done: list[Key]) -> bool:
        """Whether it was written. A hint that cannot be kept is no reason to fail."""
        key, lock = names.ledger(component, until, secrets.token_hex(4)), self._store.lock
        body = {
            "keys": done, "lock_s": int(lock.span.total_seconds()), "mode": lock.mode.value, "since": stamp(since),
            "until": stamp(until),
        }  # fmt: skip
        with suppress(BackstayError):
            return self._store.put_if_absent(key, seal_json(self._opened, self._keys, key, body))
        return False


def _parsed(opened: Opened, key: Key, data: bytes) -> tuple[Lock, datetime, datetime, list[Key]]:
    """One box of a ledger: the lock, since when things are written with it, until when `keys` are locked. Raises
    Damaged, WrongKey."""
    body = open_box(opened, key, data).json()
    try:
        lock = Lock(timedelta(seconds=whole_of(body, "lock_s")), LockMode(text_of(body, "mode")))
        found: Any = body.get("keys")
        keys = [Key(str(one)) for one in found]
        return lock, from_stamp(text_of(body, "since")), from_stamp(text_of(body, "until")), keys
    except (ValueError, TypeError, OverflowError) as error:
        raise Damaged(f"{key} does not say what it should: {error}") from None


# ── what has to stay ─────────────────────────────────────────────────────────────────────────────


def needed(store: Store, component: ComponentName, packs: set[bytes]) -> Iterator[Listed]:
    """Those of `packs` that are there, each taken out of it, and the indexes of what was moved."""
    for prefix in names.packs(component):
        for listed in store.list(prefix):
            with suppress(ValueError):  # a stranger's file; `check` names it
                if (pack := parse_key(listed.key)[2]) in packs:
                    packs.discard(pack)
                    yield listed
    yield from store.list(names.indexes(component))


def moved(store: Store, opened: Opened, component: ComponentName) -> Mapping[bytes, tuple[bytes, ...]]:
    """Packs to those into which something of them was moved: a point that lists the one needs the others too. Nothing,
    where no index can be read; `vault check` says so."""
    with suppress(Damaged, ObjectMissing, WrongKey):
        if (generation := newest_readable(store, opened, component)) is not None:
            return generation.moves
    return {}


def standing(store: Store) -> Iterator[Listed]:
    """What a vault needs whichever point is opened."""
    yield from (listed for listed in store.list(names.HEADER) if listed.key == names.HEADER)
    for prefix in (names.WRITERS, names.RETIRED, names.KEYS, names.WORDS, names.SECRETS, names.HOLDS, names.notes("")):
        yield from (listed for listed in store.list(prefix) if not listed.key.startswith(names.SPINES))
