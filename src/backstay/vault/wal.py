"""The write-ahead log in a vault: which stretches there are, keeping one more, and reading over many.

Nothing lists the log but the store: a stretch is there from the moment its object is, whole, and its name says what of
which cluster and timeline it holds. Stretches may overlap, because who sends them may die and begin again, and because
a receiver and an archive may both run. What of an overlap can be compared is compared before anything is written: two
servers that write as one cluster are found by the first MiB that both have.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from backstay.errors import Damaged, ObjectMissing, WalConflict, WrongKey
from backstay.lsn import Lsn, say_lsn, wrong_with_segment
from backstay.ports import Key, Label, Piece, Store
from backstay.reach import Stretch
from backstay.vault import firsts, names
from backstay.vault.boxes import Box
from backstay.vault.frames import Cipher, cipher
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened
from backstay.vault.opening import refuse_unless_may_sign
from backstay.vault.several import each
from backstay.vault.stretches import (
    LONGEST,
    Front,
    LogFrame,
    cuts,
    front_size,
    ids_of,
    key_of,
    open_frame,
    read_front,
    seal_stretch,
)

_FIRST = 4096
"""Bytes that are read of an object to see its front: enough for one of 32 MiB."""
_WHOLE = 1 << 20
"""An object of up to this is read in one go."""
_RUN = 8 << 20
"""So many bytes of frames that follow each other are read at once."""
_ASKING = 8
_HEADER = 40
"""Bytes of the header of a segment: XLogLongPageHeaderData."""


class Boxes(Protocol):
    """What the shelf needs of its vault: the histories are boxes."""

    def keep(self, key: Key, body: bytes) -> bool: ...
    def reopen(self, key: Key) -> Box: ...
    def learn_signers(self) -> bool: ...


class WalLog:
    """A WalShelf on any Store. Safe for several threads; several processes and hosts may keep at once."""

    def __init__(self, store: Store, opened: Opened, keys: Keyring, boxes: Boxes) -> None:
        self.store, self.opened, self._keys, self._boxes = store, opened, keys, boxes

    # ── keeping ──

    def keep(self, piece: Piece) -> Stretch:
        refuse_unless_may_sign(self.opened, self._keys, key_of(piece))
        for part in _parts(piece):
            _refuse_foreign(part)
        kept = [self._keep(part) for part in _parts(piece)]
        return replace(kept[-1], start=piece.start, size_bytes=sum(one.size_bytes for one in kept))

    def _keep(self, piece: Piece) -> Stretch:
        key, ids = key_of(piece), ids_of(self.opened, piece)
        for other in self._near(piece.system, piece.timeline, piece.start, piece.end):
            if self._has_it(piece, ids, other):
                return other
        sealed = seal_stretch(self.opened, self._keys, piece, ids)
        if not self.store.put_if_absent(key, sealed):
            # Somebody was faster; or our own attempt came through, and the answer to it did not.
            _compare(piece, ids, self.front(key))
        return Stretch(piece.system, piece.timeline, piece.start, piece.end, self.store.now(), len(sealed))

    def _has_it(self, piece: Piece, ids: list[bytes], other: Stretch) -> bool:
        """Whether `other` is the very piece. Raises WalConflict; Damaged where it has its name, and cannot be told to
        have its bytes: what a server may forget has to be sure."""
        key = key_of_stretch(other)
        try:
            front = self.front(key)
            if front.size_bytes != other.size_bytes:
                raise _damaged(key, f"it has {other.size_bytes} bytes, not {front.size_bytes}")
        except (Damaged, ObjectMissing, WrongKey):
            if key == key_of(piece):
                raise
            return False  # it only overlaps; the check names it
        _compare(piece, ids, front)
        return key == key_of(piece)

    def keep_history(self, system: int, timeline: int, text: bytes) -> None:
        key = names.history(system, timeline)
        if not self._boxes.keep(key, text) and self._boxes.reopen(key).body != text:
            raise WalConflict(
                f"another history of timeline {timeline} is kept already",
                detail=f"system {system}: two servers were promoted to the same timeline",
                hint="keep the log of each in a vault of its own, or give one of them a new timeline: promote it again",
            )

    # ── listing ──

    def systems(self) -> list[int]:
        found = set[int]()
        for listed in self.store.list(names.WAL):
            with suppress(ValueError):  # a stranger's; `check` names it
                found.add(names.read_stretch(listed.key)[0])
        return sorted(found)

    def stretches(self, system: int, timeline: int | None = None) -> list[Stretch]:
        below = f"{names.WAL}{system:016x}/" if timeline is None else names.timeline(system, timeline)
        return list(self._listed(below))

    def _near(self, system: int, timeline: int, start: int, end: int) -> list[Stretch]:
        """Stretches that share a byte with `start` to `end`. Only names that could are listed: their beginnings are
        those that the first and the last possible one have in common."""
        first, last = (names.stretch(system, timeline, at, at + 1)[:-17] for at in (max(0, start - LONGEST), end))
        found = self._listed(_common(first, last))
        return [one for one in found if one.start < end and start < one.end]

    def _listed(self, prefix: str) -> Iterator[Stretch]:
        for listed in self.store.list(prefix):
            try:
                system, timeline, start, end = names.read_stretch(listed.key)
            except ValueError:
                continue  # a history, or a stranger's
            yield Stretch(system, timeline, Lsn(start), Lsn(end), listed.modified, listed.size_bytes)

    def histories(self, system: int) -> Mapping[int, bytes]:
        found: dict[int, bytes] = {}
        for listed in self.store.list(f"{names.WAL}{system:016x}/"):
            try:
                _, timeline = names.read_history(listed.key)
            except ValueError:
                continue  # a stretch, or a stranger's
            found[timeline] = self._boxes.reopen(listed.key).body
        return found

    def label(self, stretch: Stretch) -> Label:
        return self.front(key_of_stretch(stretch)).label

    def spans(self, system: int, timeline: int) -> Iterator[tuple[Stretch, datetime | None, datetime | None]]:
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="backstay-log") as threads:
            stretches = self.stretches(system, timeline)
            for stretch, front in zip(
                stretches, each(threads, self.front, map(key_of_stretch, stretches), 2 * _ASKING)
            ):
                yield stretch, front.label.since, front.label.until

    # ── reading ──

    def read(self, system: int, timeline: int, start: Lsn, end: Lsn) -> Iterator[bytes]:
        near, at = self._near(system, timeline, start, end), start
        while at < end:
            there = sorted((one for one in near if one.start <= at < one.end), key=lambda one: one.end, reverse=True)
            if not there:
                raise _gap(system, timeline, at, end, near)
            for piece in self._read_one_of(there, at, end):
                at = Lsn(at + len(piece))
                yield piece

    def _read_one_of(self, stretches: list[Stretch], at: Lsn, end: Lsn) -> Iterator[bytes]:
        """From the longest one; where that is damaged, what another has of the same place."""
        first: Damaged | ObjectMissing | None = None
        waiting = list(stretches)
        while waiting:
            stretch, begun = waiting.pop(0), False
            try:
                for piece in self._pieces(stretch, at, end):
                    begun = True
                    yield piece
                return
            except (Damaged, ObjectMissing) as error:
                if begun:
                    return  # whoever called asks again, from where we got to
                first = first or error
                if firsts.pinned(self.store, key_of_stretch(stretch)):
                    waiting.insert(0, stretch)  # something was laid upon it
        assert first is not None, "somebody was asked"
        raise first

    def _pieces(self, stretch: Stretch, at: Lsn, end: Lsn) -> Iterator[bytes]:
        """What `stretch` has from `at` up to `end`, a frame at a time."""
        key = key_of_stretch(stretch)
        whole = self.store.get(key, 0, _WHOLE) if stretch.size_bytes <= _WHOLE else b""
        front = self.front(key, whole)
        opener = self._opener(front)
        for run in _runs([frame for frame in front.frames if frame.at < end and at < frame.at + frame.size]):
            first, size = run[0].offset, run[-1].offset + run[-1].length - run[0].offset
            data = whole[first : first + size] if whole else self.store.get(key, first, size)
            for frame in run:
                plain = self._opened_frame(front, frame, opener, data[frame.offset - first :][: frame.length])
                yield plain[max(0, at - frame.at) : end - frame.at]

    def _opener(self, front: Front) -> Cipher:
        try:
            return cipher(self.opened, front.head)
        except ValueError as error:
            raise _damaged(front.key, str(error)) from None

    def _opened_frame(self, front: Front, frame: LogFrame, opener: Cipher, data: bytes) -> bytes:
        """Raises Damaged, also where a segment does not begin as it should."""
        try:
            plain = open_frame(self.opened, front, frame, opener, data)
        except ValueError as error:
            raise _damaged(front.key, f"{error}, from {say_lsn(frame.at)} on") from None
        system, timeline, _, _ = names.read_stretch(front.key)
        if why := _wrong(system, timeline, frame.at, plain, front.label.segment_bytes):
            raise _damaged(front.key, f"where the segment of {say_lsn(frame.at)} begins, {why}")
        return plain

    def verify(self, key: Key, data: bytes) -> None:
        """That `data` is the whole object `key`, every frame of it. Raises Damaged; WrongKey for who may not read it,
        when nothing else is wrong that can be seen without."""
        front = self.front(key, data)
        if front.size_bytes != len(data):
            raise _damaged(key, f"it has {len(data)} bytes, not {front.size_bytes}")
        opener = self._opener(front)
        for frame in front.frames:
            self._opened_frame(front, frame, opener, data[frame.offset :][: frame.length])

    def front(self, key: Key, data: bytes = b"") -> Front:
        """`data`: the object, as far as it was read. Raises Damaged, ObjectMissing, WrongKey."""
        try:
            return self._front_now(key, data)
        except Damaged:
            # Its signer may have been enrolled since we opened the vault; or something was laid upon it.
            if not self._boxes.learn_signers() and not firsts.pinned(self.store, key):
                raise
            return self._front_now(key, b"")

    def _front_now(self, key: Key, data: bytes) -> Front:
        data = data or self.store.get(key, 0, _FIRST)
        try:
            if (size := front_size(key, data)) > len(data):
                data += self.store.get(key, len(data), size - len(data))
            return read_front(self.opened, key, data[:size])
        except ValueError as error:
            raise _damaged(key, str(error)) from None


def key_of_stretch(stretch: Stretch) -> Key:
    return names.stretch(stretch.system, stretch.timeline, stretch.start, stretch.end)


def _parts(piece: Piece) -> Iterator[Piece]:
    """A piece that is longer than an object may be, in several: cut where the position is a multiple, so that the same
    log again gives the same objects."""
    at = piece.start
    while at < piece.end:
        size = min(LONGEST - at % LONGEST, piece.end - at)
        data = piece.data[at - piece.start :][:size] if size < len(piece.data) else piece.data
        yield replace(piece, start=at, data=data)
        at = Lsn(at + size)


def _common(one: str, other: str) -> str:
    """The beginning that both have."""
    length = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return one[:length]


def _runs(frames: list[LogFrame]) -> Iterator[list[LogFrame]]:
    run: list[LogFrame] = []
    for frame in frames:
        if run and frame.offset + frame.length - run[0].offset > _RUN:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _compare(piece: Piece, ids: list[bytes], front: Front) -> None:
    """Frames of the same place have the same id, or hold other bytes. Raises WalConflict."""
    there = {(frame.at, frame.size): frame.id for frame in front.frames}
    for (at, size), id in zip(cuts(piece.start, piece.end), ids, strict=True):
        if there.get((Lsn(at), size), id) != id:
            raise _conflict(piece, at, f"other bytes are kept for it already ({front.key})")


def _refuse_foreign(piece: Piece) -> None:
    """Every segment that begins in `piece` must be the one that belongs there. Raises WalConflict."""
    first = -(-piece.start // piece.segment_bytes) * piece.segment_bytes
    for at in range(first, piece.end, piece.segment_bytes):
        head = piece.data[at - piece.start :][:_HEADER]
        if why := _wrong(piece.system, piece.timeline, at, head, piece.segment_bytes):
            raise _conflict(piece, at, why)


def _wrong(system: int, timeline: int, at: int, data: bytes, segment_bytes: int) -> str | None:
    """What is wrong where a segment begins. Where a piece ends within its header, the next one has the rest of it."""
    if at % segment_bytes or len(data) < _HEADER:
        return None
    return wrong_with_segment(data, system=system, position=at, segment_bytes=segment_bytes, timeline=timeline)


def _conflict(piece: Piece, at: int, why: str) -> WalConflict:
    return WalConflict(
        f"log of system {piece.system} does not belong where it was to be kept: timeline {piece.timeline}, "
        f"{say_lsn(at)}",
        detail=why,
        hint="another server writes as this one does, or it was set back to an earlier state: find out which is "
        "the true one; nothing was kept",
    )


def _gap(system: int, timeline: int, at: int, end: int, near: list[Stretch]) -> ObjectMissing:
    goes_on = min((one.start for one in near if one.start > at), default=None)
    more = "nothing after it is kept" if goes_on is None else f"it goes on at {say_lsn(goes_on)}"
    return ObjectMissing(
        f"the log of system {system}, timeline {timeline}, is not kept from {say_lsn(at)} on",
        detail=f"wanted up to {say_lsn(end)}; {more}",
        hint="`backstay wal status` names every gap, and what can be reached",
    )


def _damaged(key: Key, why: str) -> Damaged:
    return Damaged(
        f"{key} in the vault was changed: {why}",
        detail="a stretch of write-ahead log",
        hint="take it from another vault of the plan: `backstay vault repair`",
    )
