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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from backstay.adapters.journal.signing import SigningKey, signed
from backstay.adapters.journal.sqlite import SqliteJournal
from backstay.errors import BackstayError, JournalConflict, JournalDamaged, JournalReadOnly, StoreUnreachable
from backstay.facts import Fact, Head, JournalOpened, Recorded, Spine, canonical, read_spine
from backstay.facts.audit import Finding
from backstay.ports import Clock, Vault
from backstay.values import StreamName, VaultName, say_moment, stamp

STREAM = StreamName("journal")
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


def open_journal(folder: Path, *, witness: Witness, clock: Clock) -> "OpenJournal":
    """The journal in the state folder `folder`, made there if there is none. The witness is not asked yet."""
    return OpenJournal(SqliteJournal(folder, clock), witness, SigningKey.of(folder))


class OpenJournal:
    """A Journal that minds its epoch. Safe to use from several threads."""

    def __init__(self, kept: SqliteJournal, witness: Witness, key: SigningKey) -> None:
        self.kept = kept
        self.key = key
        self._witness = witness
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
            self._standing = self._look()
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

    def _ask(self, vault: Vault) -> Standing:
        for _ in range(_TRIES):
            highest = max((_epoch_in(name) for name in vault.notes("journal/")), default=0)
            newest = _read_note(vault.note(f"journal/{highest}")) if highest else {}
            if newest.get("journal") == self.id:
                # Also after a crash between taking the epoch there and noting it here.
                return self._stand(highest, vault)
            if self.epoch and highest >= self.epoch:
                host, at = newest.get("host", "somebody"), newest.get("at", "an unknown day")
                return self.give_up(f"epoch {highest}, taken by {host} on {at}")
            # None yet; or ours, at a witness that does not know it: the plan names another one now.
            wanted = self.epoch or highest + 1
            if vault.keep_note(f"journal/{wanted}", self._words(wanted)):
                return self._stand(wanted, vault)
        raise StoreUnreachable("its list of epochs does not settle", detail=f"{_TRIES} times one was taken, unlisted")

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
        for stream, head in spine.heads.items():
            here = self.kept.read(stream, head.seq - 1)
            if not here or here[0].digest != head.digest:
                by = f"a later state of this very journal sealed spine {spine.number} on {say_moment(spine.at)}"
                self.give_up(by)
                raise JournalReadOnly(
                    "this journal was rolled back, or a copy of it was used elsewhere",
                    detail=f"{by}; {stream} differs at fact {head.seq}",
                    hint="go on with that one, or open a journal in a fresh state folder",
                )

    def _words(self, epoch: int) -> bytes:
        words = {"journal": self.id, "epoch": epoch, "host": socket.gethostname(), "at": stamp(self.now())}
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
