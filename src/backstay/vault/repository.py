"""The vault of one plan, opened: its points, proofs, holds and notes.

Which points exist is what the store's listing says, at any time: there is no catalogue that could disagree. Everything
listed is immutable, so what was opened once is kept.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from backstay.errors import BackstayError, Damaged, Lapsed, NoSuchPoint, ObjectMissing, StoreUnreachable, WrongKey
from backstay.facts import Hold, Point, Proof, Verdict
from backstay.facts.shapes import Shape
from backstay.facts.stored import hold as hold_shape
from backstay.facts.stored import point as point_shape
from backstay.facts.stored import proof as proof_shape
from backstay.ports import Key, Store
from backstay.values import ComponentName, Digest, PointId, utc
from backstay.vault import firsts, names
from backstay.vault.base import Base
from backstay.vault.boxes import Box, open_box, seal_box, seal_json
from backstay.vault.codec import Cursor, hex_of, pack_json, unhex
from backstay.vault.keyring import Keyring
from backstay.vault.keys import Opened, fingerprint
from backstay.vault.nodes import Content, Nothing, Ref, Subtree, read_content, read_ref
from backstay.vault.opening import refuse_unless_may_sign, refuse_unless_writer, unlock
from backstay.vault.reader import Reading
from backstay.vault.roles import Role
from backstay.vault.shelf import Shelf
from backstay.vault.signers import learn_signers
from backstay.vault.stock import Lengths
from backstay.vault.uses import PackList, Uses, read_pack_lists
from backstay.vault.wal import WalLog
from backstay.vault.walking import walked
from backstay.vault.writer import Reservation, Writing

_ASKING = 8
"""So many points are read at once: a store that is far away answers each question in its own time."""
_BYTES_READ = "B01"
"""The check of `verify.CODES` that says whether every byte of a point could be read back."""


def open_vault(store: Store, name: str, keys: Keyring) -> "Repository":
    """Raises VaultMissing, VaultNewer, WrongKey, Damaged."""
    return Repository(store, name, keys, unlock(store, keys))


class Sealed(NamedTuple):
    """What lies under the key of a point."""

    point: Point
    root: Content
    packs: tuple[Ref, ...] | None
    """The nodes of its pack list. None: sealed before there were lists."""


class Repository:
    """A Vault on any Store. Safe for several threads; several processes and hosts may write at once."""

    def __init__(self, store: Store, name: str, keys: Keyring, opened: Opened) -> None:
        self.name, self.store, self.opened = name, store, opened
        self._keys = keys
        self._boxes: dict[Key, Box] = {}
        self._turn = threading.Lock()
        """Of whoever opens a box: it may teach us signers."""
        self._statements: frozenset[str] = frozenset()
        self.passed_over = {one.key: one.why for one in opened.passed_over}
        """What counts for nothing, by its key, and why: met while opening, or among proofs and holds."""

    @property
    def keys(self) -> Keyring:
        """What we hold, to seal what belongs beside the points."""
        return self._keys

    @property
    def id(self) -> str:
        return self.opened.vault.hex()

    @property
    def is_prover(self) -> bool:
        """Whether our key is enrolled to seal proofs, and nothing else."""
        return self._keys.writer is not None and self.opened.role(self._keys.writer) is Role.PROVER

    @property
    def root_known(self) -> bool:
        """Whether our key names the root of this vault. If not, it could be a forged one: say `not verified`."""
        return self.opened.root_known

    # ── points ──

    def begin(self, component: ComponentName, *, plan: Digest, now: datetime) -> Writing:
        refuse_unless_writer(self.opened, self._keys)
        id = self.reserve(component, utc(now), plan)
        # Listed after the reservation: what these points use is then safe from any pruner until we are done.
        before, trouble = self._newest(component)
        parent = before.point.id if before else None
        base = reading = None
        if before is not None and self._is_spoilt(before.point.id):
            trouble = f"bytes of {parent} are damaged, says its proof: everything was stored anew"
        elif before is not None:
            base = Base(self.shelf(component), before.root, Lengths(self.store, component), self._list_of(before))
            reading = Reading(self.shelf(component), before.point, before.root)
        reservation = Reservation(id, component, plan, parent, trouble, lambda: self.ancestors(before), reading)
        return Writing(self.store, self.opened, self._keys, reservation, base)

    def ancestors(self, point: Sealed | None) -> Iterator[PointId]:
        """A point, the one it was compared with, and so on, as far as they are still there to say so."""
        seen = set[PointId]()
        while point is not None and point.point.id not in seen:
            seen.add(point.point.id)
            yield point.point.id
            if (parent := point.point.parent) is None or parent in seen:
                return
            try:
                point = self.sealed_at(names.sealed(point.point.component, parent))
            except (Damaged, ObjectMissing, WrongKey):
                point = None
            if point is None:
                yield parent

    def _is_spoilt(self, point: PointId) -> bool:
        """Whether the newest proof that looked in this vault found bytes of the point damaged: one that was given in
        another says nothing about ours. A new point that shared them would be damaged too, and so would every one after
        it: it stores everything anew instead."""
        try:
            found = self.proofs(point)
        except (Damaged, ObjectMissing, WrongKey):
            return False  # nobody can tell; the next proof of the new point will
        here = [proof for proof in found if proof.vault == self.name]
        looked = [check for proof in here for check in proof.checks if check.code == _BYTES_READ]
        return bool(looked) and looked[-1].verdict is Verdict.FAILED

    def reserve(self, component: ComponentName, now: datetime, plan: Digest, work: str = "") -> PointId:
        """Whoever brings packs reserves first, or a pruner would take them for those of a dead writer. `work`: what it
        is for, when it never becomes a point."""
        for _ in range(8):
            id = PointId(f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
            key = names.reserved(component, id)
            body = {"component": component, "plan": plan, "point": id, **({"for": work} if work else {})}
            if self.store.put_if_absent(key, seal_json(self.opened, self._keys, key, body)):
                return id
        raise StoreUnreachable(
            f"cannot reserve a point of {component} in {self.store.describe()}",
            detail="every random name was taken: put-if-absent does not work there",
        )

    def _newest(self, component: ComponentName) -> tuple[Sealed | None, str]:
        """The newest point that can be opened, and what is wrong with newer ones: they must not stop a backup."""
        newest: Sealed | None = None
        trouble: list[str] = []
        for key in sorted(self._sealed_keys(component), reverse=True):
            if newest is not None and names.read_point(key)[1][:16] != newest.point.id[:16]:
                break  # ids sort by the second, and no further
            try:
                found = self.sealed_at(key)
            except (Damaged, ObjectMissing, WrongKey) as error:
                trouble += [] if self._has_gone(key, error) else [error.message]
                continue
            if found is not None and (newest is None or _age(found.point) > _age(newest.point)):
                newest = found
        return newest, "; ".join(trouble)

    def points(self, component: ComponentName | None = None) -> list[Point]:
        found, damaged = self.survey(component)
        if damaged:
            raise damaged[0]
        return found

    def survey(self, component: ComponentName | None = None) -> tuple[list[Point], list[BackstayError]]:
        """The points that can be read, oldest first, and what is wrong with the others: on the day of the disaster
        one damaged point must not hide those that are sound."""
        found, damaged = list[Point](), list[BackstayError]()
        keys = self._sealed_keys(component)
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="backstay-points") as pool:
            for key, met in zip(keys, pool.map(self._tried, keys)):
                if isinstance(met, Sealed):
                    found.append(met.point)
                elif met is not None and not self._has_gone(key, met):
                    damaged.append(met)
        return sorted(found, key=_age), damaged

    def _tried(self, key: Key) -> Sealed | BackstayError | None:
        try:
            return self.sealed_at(key)
        except (Damaged, ObjectMissing, WrongKey) as error:
            return error

    def _has_gone(self, key: Key, error: BackstayError) -> bool:
        """Whether what was listed a moment ago was ended since, and is nothing to complain of."""
        return isinstance(error, ObjectMissing) and all(listed.key != key for listed in self.store.list(key))

    def _sealed_keys(self, component: ComponentName | None) -> list[Key]:
        return [listed.key for listed in self.store.list(names.points(component)) if names.is_point(listed.key)]

    def sealed_at(self, key: Key) -> Sealed | None:
        """What lies under a reserved key, or None where it was expired. Raises Damaged, ObjectMissing, WrongKey."""
        box = self._box(key)
        body = box.json()
        if "expired" in body:
            return None
        try:
            component, id = names.read_point(key)
            point = point_shape.read(body.get("point"))
            cursor = Cursor(hex_of(body, "root"))
            root = read_content(cursor)
            cursor.finish()
            packs = _read_lists(body.get("packs"))
            if point.component != component or point.id != id or not isinstance(root, Nothing | Subtree):
                raise ValueError("it belongs elsewhere")
            if point.writer != fingerprint(box.signer):
                raise ValueError("it is signed by another writer than it says")
        except ValueError as error:
            raise Damaged(f"{key} does not say what it should: {error}") from None
        return Sealed(point, root, packs)

    def packs_of(self, point: PointId) -> Mapping[bytes, int]:
        """The packs that reading the point can touch, and at least how many bytes of each it uses: see `uses`.
        Raises NoSuchPoint, Damaged, ObjectMissing, WrongKey."""
        return self.uses_of(self.sealed(point)).all()

    def uses_of(self, sealed: Sealed) -> Uses:
        """By its list; a point of before there were lists is walked."""
        shelf = self.shelf(sealed.point.component)
        return walked(shelf, sealed.root) if sealed.packs is None else read_pack_lists(shelf, sealed.packs).uses

    def _list_of(self, sealed: Sealed) -> PackList | None:
        """None for a point without a list that can be read: a writer then reads maps that it would have taken over."""
        try:
            return None if sealed.packs is None else read_pack_lists(self.shelf(sealed.point.component), sealed.packs)
        except (Damaged, ObjectMissing, WrongKey):
            return None

    def shelf(self, component: ComponentName) -> Shelf:
        return Shelf(self.store, self.opened, component)

    def reserved(self, component: ComponentName) -> Iterator[tuple[PointId, bool]]:
        ended = {names.read_point(key)[1]: key for key in self._sealed_keys(component)}
        for listed in self.store.list(names.reserved(component)):
            if names.is_point(listed.key):
                id = names.read_point(listed.key)[1]
                with suppress(ObjectMissing):  # ended while we looked
                    yield id, id in ended and self.sealed_at(ended[id]) is not None

    def open(self, point: PointId) -> Reading:
        found = self.sealed(point)
        return Reading(self.shelf(found.point.component), found.point, found.root)

    def sealed(self, point: PointId) -> Sealed:
        """Raises NoSuchPoint, Damaged, WrongKey."""
        keys = [key for key in self._sealed_keys(None) if key.endswith("/" + point.lower())]
        if not names.is_point_id(point) or not keys or (found := self.sealed_at(keys[0])) is None:
            raise NoSuchPoint(
                f"the vault {self.name} has no point {point}", hint="`backstay points` lists those that it has"
            )
        return found

    def expire(self, component: ComponentName, point: PointId, *, now: datetime, why: str) -> None:
        """End a reservation that was never sealed: the writer that comes back finds it lapsed.
        Raises Lapsed when it was sealed after all."""
        key = names.sealed(component, point)
        body = {"at": utc(now).isoformat(), "expired": why, "point": point}
        if not self.store.put_if_absent(key, seal_json(self.opened, self._keys, key, body)) and self.sealed_at(key):
            raise Lapsed(f"{point} was sealed in the meantime, and is a point")

    def end(self, point: Point) -> None:
        """Delete a point; what only it needed goes with the next pruning. Its proofs go with it. Raises ObjectLocked.

        The reservation first: without its end it would look like that of a backup under way."""
        refuse_unless_writer(self.opened, self._keys)
        self.store.delete(names.reserved(point.component, point.id))
        self.store.delete(names.sealed(point.component, point.id))
        for listed in list(self.store.list(f"proofs/{point.component}/{point.id.lower()}/")):
            self.store.delete(listed.key)

    @property
    def wal(self) -> WalLog:
        """The write-ahead log that is kept here."""
        return WalLog(self.store, self.opened, self._keys, self)

    # ── beside the points ──

    def keep_proof(self, proof: Proof) -> None:
        body = pack_json(proof_shape.write(proof))
        self.keep(names.proof(proof.component, proof.point, self._digest(body)), body)

    def proofs(self, point: PointId | None = None) -> list[Proof]:
        part = f"/{point.lower()}/" if point else "/"
        found = self._all("proofs/", proof_shape, part)
        return sorted(found, key=lambda proof: (proof.began, proof.point))

    def keep_hold(self, hold: Hold) -> None:
        body = pack_json(hold_shape.write(hold))
        self.keep(names.hold(hold.component, self._digest(body)), body)

    def holds(self) -> list[Hold]:
        return sorted(self._all("holds/", hold_shape, "/"), key=lambda hold: (hold.at, hold.id))

    def keep_note(self, name: str, data: bytes) -> bool:
        return self.keep(names.note(name), data)

    def note(self, name: str) -> bytes | None:
        key = names.note(name)
        try:
            return self._box(key).body
        except ObjectMissing:
            return None

    def notes(self, prefix: str) -> list[str]:
        found: list[str] = []
        for listed in self.store.list(names.notes(prefix)):
            with suppress(ValueError):  # a stranger's file; `check` names it
                found.append(names.read_note(listed.key))
        return sorted(found)

    def keep(self, key: Key, body: bytes) -> bool:
        """Seal a box (or a letter, where one belongs) under `key`, if nothing is there. Raises WrongKey for what our
        role may not write."""
        refuse_unless_may_sign(self.opened, self._keys, key)
        sealed = seal_box(self.opened, self._keys, key, body, letter=names.is_letter(key))
        return self.store.put_if_absent(key, sealed)

    def _all(self, prefix: str, shape: Shape[Any], part: str) -> list[Any]:
        found: list[Any] = []
        for listed in self.store.list(prefix):
            if part in listed.key:
                try:
                    found.append(shape.read(self._box(listed.key).json()))
                    self.passed_over.pop(listed.key, None)
                except ValueError as error:
                    self.passed_over[listed.key] = f"it does not say what it should: {error}"
                except (Damaged, ObjectMissing, WrongKey) as error:
                    # One file that a stranger put there must not hide the proofs that are true.
                    if not self._has_gone(listed.key, error):
                        self.passed_over[listed.key] = error.message
        return found

    def _digest(self, body: bytes) -> bytes:
        """Names an object by what it says: keeping the same thing twice keeps it once."""
        from blake3 import blake3

        return blake3(body, key=self.opened.name_key).digest(16)

    def forget(self, key: Key) -> None:
        """What was opened once is kept; this one was replaced."""
        self._boxes.pop(key, None)

    def reopen(self, key: Key) -> Box:
        """A box as it is in the store now; it is not kept. Raises Damaged, ObjectMissing, WrongKey."""
        self._boxes.pop(key, None)
        box = self._box(key)
        self._boxes.pop(key, None)
        return box

    def _box(self, key: Key) -> Box:
        """An opened box. A signer we do not know may have been enrolled since we opened the vault."""
        if (found := self._boxes.get(key)) is None:
            found = firsts.read(self.store, key, lambda data: self._opened_box(key, data))
            if len(found.body) < 65_536 and not names.is_letter(key):
                self._boxes[key] = found
        return found

    def _opened_box(self, key: Key, data: bytes) -> Box:
        letter = names.is_letter(key)
        with self._turn:
            try:
                return open_box(self.opened, key, data, letter=letter)
            except BackstayError:
                if not self.learn_signers():
                    raise
                return open_box(self.opened, key, data, letter=letter)

    def learn_signers(self) -> bool:
        """Whether somebody was enrolled or retired since we last looked. One listing for each box that does not count:
        a stranger's thousand files must not make us read everything a thousand times."""
        prefixes = (names.WRITERS, names.RETIRED)
        now = frozenset(listed.key for prefix in prefixes for listed in self.store.list(prefix))
        if now == self._statements:
            return False
        self._statements = now
        learn_signers(self.store, self.opened)
        return True


def _read_lists(found: Any) -> tuple[Ref, ...] | None:
    """Raises ValueError."""
    if found is None:
        return None
    if not isinstance(found, list):
        raise ValueError("packs: a list expected")
    cursors = [Cursor(unhex(str(text), 64)) for text in found]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tuple(read_ref(cursor) for cursor in cursors)


def _age(point: Point) -> tuple[str, datetime, str]:
    """Sorts points by the second of their reservation; within one, by when they ended."""
    return point.id[:16], point.ended, point.id
