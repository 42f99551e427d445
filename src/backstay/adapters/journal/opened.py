"""A journal with its epoch: which of several journals may write, decided at a witness.

A journal that was restored from somewhere, or began anew after a loss, must not go on beside the one that took over.
So each takes an epoch at the witness vault, by put-if-absent of the note `journal/<epoch>`: one winner for each number.
A journal that meets a higher epoch than its own may not write any more; reading it still works.

The epoch is taken, and looked at again, before the first append of each opening, and before every spine: not by
reading. Somebody who lists points on a laptop, with a fresh state folder, must not take the pen from the server. When
the witness cannot be reached the journal opens all the same, and says `epoch not verified`: on the day of the disaster
a recovery cannot wait for a vault.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

from backstay.adapters.journal.signing import SigningKey, signed
from backstay.adapters.journal.sqlite import SqliteJournal
from backstay.errors import (
    BackstayError,
    Damaged,
    JournalConflict,
    JournalDamaged,
    JournalReadOnly,
    StoreUnreachable,
    WrongKey,
)
from backstay.facts import NO_FACTS, Fact, Head, JournalOpened, Recorded, Spine, canonical, log_after, read_spine
from backstay.facts.audit import Finding
from backstay.facts.segments import Ancestor, ancestors
from backstay.ports import Clock, Vault
from backstay.values import StreamName, VaultName, from_stamp, say_moment, stamp

STREAM = StreamName("journal")
_NOBODYS = (Damaged, WrongKey)
"""What a note raises that nobody sealed who may. (It can name an epoch of keys that never was.)"""
_TRIES = 20
"""Each time that an epoch is taken between our look and our taking, we look again."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The witness knows this journal by this epoch, and none higher."""

    epoch: int
    witness: VaultName


@dataclass(frozen=True, slots=True)
class NotVerified:
    """`epoch` 0: none was taken yet."""

    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Another journal has a higher epoch, or ours: this one is read-only."""

    epoch: int
    by: str
    """Who and when, for people."""


Standing = Verified | NotVerified | Overtaken

Witness = Vault | Callable[[], Vault] | None
"""The witness vault, or how to open it when it is first needed."""


Others = Callable[[], Iterable[Vault]]
"""The other vaults of the plan: somebody may have taken over there while the witness was away."""


def open_journal(folder: Path, *, witness: Witness, clock: Clock, others: Others = tuple) -> "OpenJournal":
    """The journal in the state folder `folder`, made there if there is none. No vault is asked yet."""
    return OpenJournal(SqliteJournal(folder, clock), witness, SigningKey.of(folder), others)


class OpenJournal:
    """A Journal that minds its epoch. Safe to use from several threads."""

    def __init__(self, kept: SqliteJournal, witness: Witness, key: SigningKey, others: Others = tuple) -> None:
        self.kept = kept
        self.key = key
        self._witness = witness
        self._others = others
        self._settled = False
        self._lock = threading.RLock()
        self._standing: Standing | None = None

    # ── the port ─────────────────────────────────────────────────────────────────────────────────

    def append(self, stream: StreamName, facts: Sequence[Fact], *, expected: int) -> list[Recorded]:
        with self._lock:
            if not self._settled:
                self.look()
        if isinstance(standing := self._standing, Overtaken):
            raise JournalReadOnly(
                "this journal may not write any more: another one took over",
                detail=f"{standing.by}; the epoch of this one is {standing.epoch}",
                hint="work with that journal; what this one holds can still be read",
            )
        return self.kept.append(stream, facts, expected=expected)

    def read(self, stream: StreamName, after: int = 0) -> list[Recorded]:
        return self.kept.read(stream, after)

    def everything(self, after: datetime | None = None) -> Iterator[Recorded]:
        return self.kept.everything(after)

    def streams(self, prefix: str = "") -> list[StreamName]:
        return self.kept.streams(prefix)

    def heads(self) -> Mapping[StreamName, Head]:
        return self.kept.heads()

    def now(self) -> datetime:
        return self.kept.now()

    def verify(self, spines: Sequence[Spine]) -> list[Finding]:
        return self.kept.verify(spines)

    def close(self) -> None:
        self.kept.close()

    # ── the epoch ────────────────────────────────────────────────────────────────────────────────

    @property
    def id(self) -> str:
        """Random, made with the journal."""
        return self.kept.about("journal") or ""

    @property
    def epoch(self) -> int:
        """0: none was taken yet."""
        return int(self.kept.about("epoch") or 0)

    @property
    def after(self) -> tuple[Ancestor, ...]:
        """The journals that this one goes on from, oldest first."""
        stored = self.kept.about("after")
        return ancestors.read(json.loads(stored)) if stored else ()

    @property
    def standing(self) -> Standing:
        """As it was when the witness was last asked."""
        if self._standing is not None:
            return self._standing
        if overtaken := self.kept.about("overtaken"):
            return Overtaken(self.epoch, overtaken)
        return NotVerified(self.epoch, "the witness was not asked yet")

    def look(self) -> Standing:
        """Ask the witness, and take an epoch there if this journal has none. Raises nothing but what the journal's own
        file raises: a witness that is away leaves the epoch not verified."""
        with self._lock:
            standing = self._look()
            self._standing = standing if isinstance(standing, Overtaken) else self._look_around() or standing
            self._settled = True
            self._say_opened(self._standing)
            return self._standing

    def _look(self) -> Standing:
        if overtaken := self.kept.about("overtaken"):
            return Overtaken(self.epoch, overtaken)
        if self._witness is None:
            return NotVerified(self.epoch, "there is no witness vault")
        try:
            vault = self._witness() if callable(self._witness) else self._witness
            return self._ask(vault)
        except JournalDamaged:
            raise
        except BackstayError as error:
            return NotVerified(self.epoch, f"the witness cannot be asked: {error.message}")

    def _look_around(self) -> Overtaken | None:
        """Whether somebody took over in another vault than the witness: it may have been gone with us. A journal that
        has no epoch yet has nothing to lose."""
        try:
            vaults = list(self._others()) if self.epoch else []
        except BackstayError:
            return None
        for vault in vaults:
            try:
                highest, newest = newest_epoch(vault)
            except BackstayError:
                continue  # it is said where it is used
            if highest > self.epoch and newest.get("journal") != self.id:
                return self.overtaken_by(highest, newest)
        return None

    def _ask(self, vault: Vault) -> Standing:
        for _ in range(_TRIES):
            highest, newest = newest_epoch(vault)
            if newest.get("journal") == self.id:
                # Also after a crash between taking the epoch there and noting it here.
                return self._stand(highest, vault)
            if self.epoch and highest >= self.epoch:
                return self.overtaken_by(highest, newest)
            # None yet; or ours, at a witness that does not know it: the plan names another one now.
            wanted = self.epoch or next_epoch(vault, highest)
            if vault.keep_note(f"journal/{wanted}", self.words(wanted)):
                return self._stand(wanted, vault)
        raise StoreUnreachable("its list of epochs does not settle", detail=f"{_TRIES} times one was taken, unlisted")

    def overtaken_by(self, epoch: int, words: "Mapping[str, Any] | bytes | None") -> Overtaken:
        """Give up for who wrote `words` when taking `epoch`."""
        words = words if isinstance(words, Mapping) else _read_note(words)
        return self.give_up(f"epoch {epoch}, taken by {words.get('host', 'somebody')} on {_day(words.get('at'))}")

    def claim(self, epoch: int) -> tuple[int, bytes]:
        """The epoch that this journal means to take, and its words: written down before anybody is told, so that after
        a crash the same is claimed again."""
        self.kept.note({"claim": str(epoch)}, unless=lambda about: about("claim") is not None)
        claimed = int(self.kept.about("claim") or 0)
        return claimed, self.words(claimed)

    def settle(self, epoch: int, witness: VaultName) -> Verified:
        """This journal has the epoch, and nobody a higher one: `witness` knows."""
        with self._lock:
            self.kept.note({"epoch": str(epoch)}, unless=lambda about: about("epoch") == str(epoch))
            standing = Verified(epoch, witness)
            self._standing, self._settled = standing, True
            self._say_opened(standing)
            return standing

    def give_up(self, by: str) -> Overtaken:
        """Write no more, ever: `by` says who took over, and when."""
        self.kept.note({"overtaken": by}, unless=lambda about: about("overtaken") is not None)
        self._standing = Overtaken(self.epoch, self.kept.about("overtaken") or by)
        return self._standing

    def _stand(self, epoch: int, vault: Vault) -> Standing:
        self.kept.note({"epoch": str(epoch)}, unless=lambda about: about("epoch") == str(epoch))
        number = int(self.kept.about("spine number") or 0) + 1
        spine = _read_sealed(vault.note(spine_name(self.id, epoch, number)))
        if spine is not None and spine.journal == self.id and signed(spine, self.key.public):
            try:
                self.refuse_to_fork(spine)
            except JournalReadOnly:
                return Overtaken(epoch, self.kept.about("overtaken") or "")
        return Verified(epoch, VaultName(vault.name))

    def refuse_to_fork(self, spine: Spine) -> None:
        """A spine of this journal that it does not remember has to be about its own past (a crash came between sealing
        and remembering). Else this journal was rolled back (a machine restored from a snapshot), or a copy of it went
        on elsewhere; then it writes no more. Raises JournalReadOnly."""
        digests = self.kept.digests(0, spine.facts)
        if len(digests) == spine.facts and log_after(NO_FACTS, digests) == spine.log:
            return
        by = f"a later state of this very journal sealed spine {spine.number} on {say_moment(spine.at)}"
        self.give_up(by)
        known = f"{len(digests)} of its {spine.facts} facts are here" if len(digests) < spine.facts else "it has others"
        raise JournalReadOnly(
            "this journal was rolled back, or a copy of it was used elsewhere",
            detail=f"{by}; {known}",
            hint="go on with that one, or open a journal in a fresh state folder",
        )

    def words(self, epoch: int) -> bytes:
        """What this journal writes where it takes an epoch: the same in every vault."""
        words = self._compose(epoch).decode()
        self.kept.note({f"words {epoch}": words}, unless=lambda about: about(f"words {epoch}") is not None)
        return (self.kept.about(f"words {epoch}") or words).encode()

    def _compose(self, epoch: int) -> bytes:
        words = {
            "after": ancestors.write(self.after),
            "at": stamp(self.now()),
            "epoch": epoch,
            "host": socket.gethostname(),
            "journal": self.id,
            "key": self.key.public,
        }
        return canonical(words).encode()

    def _say_opened(self, standing: Standing) -> None:
        """JournalOpened, once for each epoch; without a witness, once."""
        match standing:
            case Verified(epoch, witness):
                fact = JournalOpened(epoch, self.id, socket.gethostname(), witness)
            case NotVerified(epoch, _):
                fact = JournalOpened(epoch, self.id, socket.gethostname(), None)
            case Overtaken():
                return
        while True:
            said = self.kept.read(STREAM)
            opened = [one.fact for one in said if isinstance(one.fact, JournalOpened)]
            if opened and (fact.witness is None or opened[-1].epoch == fact.epoch):
                return
            try:
                self.kept.append(STREAM, [fact], expected=said[-1].seq if said else 0)
            except JournalConflict:
                continue
            return


def spine_name(journal: str, epoch: int, number: int) -> str:
    """The note of a spine. Without an epoch, the journal's id keeps its spines apart from others'."""
    return f"spine/{epoch or f'0-{journal}'}/{number}"


def _read_sealed(data: bytes | None) -> Spine | None:
    """A spine that cannot be read says nothing about us; verifying tells of it."""
    try:
        return None if data is None else read_spine(data)
    except JournalDamaged:
        return None


def newest_epoch(vault: Vault) -> tuple[int, Mapping[str, Any]]:
    """The highest epoch that was taken there, 0 for none, and what the journal wrote that took it. What nobody of the
    vault sealed is passed over: with one small file a stranger could else keep everybody from knowing his epoch."""
    for epoch in sorted({_epoch_in(name) for name in vault.notes("journal/")} - {0}, reverse=True):
        try:
            return epoch, _read_note(vault.note(f"journal/{epoch}"))
        except _NOBODYS:
            continue
    return 0, {}


def next_epoch(vault: Vault, after: int) -> int:
    """The first after that whose name no stranger has taken there: nobody would get it."""
    return next(epoch for epoch in count(after + 1) if not _is_strangers(vault, f"journal/{epoch}"))


def _is_strangers(vault: Vault, name: str) -> bool:
    try:
        vault.note(name)
    except _NOBODYS:
        return True
    return False


def _epoch_in(name: str) -> int:
    number = name.removeprefix("journal/")
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def _read_note(data: bytes | None) -> dict[str, Any]:
    """What a journal wrote at the witness. Damaged words are no words: then somebody took it, we do not know who."""
    try:
        found: Any = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _day(at: object) -> str:
    """As people say it; whatever else stands there as it is."""
    try:
        return say_moment(from_stamp(str(at)))
    except ValueError:
        return str(at or "an unknown day")
