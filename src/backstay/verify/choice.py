"""The last known good: which point a recovery may start from, and why not a newer one.

A point is good when its newest decisive proof says so. Nobody chooses one that is marked suspicious or kept for
forensics, one that was refuted, or one from a line of history that was given up. Every point that is passed over
comes back with its reason: on the worst day somebody will ask why the newest one was not taken.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from backstay.facts import Hold, NotVerified, Point, Proof, Proven, Refuted, Result
from backstay.history import History, Line, active_holds, taken_order
from backstay.plan import EXISTING, Prove
from backstay.values import Between, ComponentName, PointId, VaultName, say_moment
from backstay.verify.answers import exact
from backstay.verify.checks import CLOCK_TOLERANCE, bytes_passed, content, late, mending, only_bytes_failed


@dataclass(frozen=True, slots=True)
class PassedOver:
    point: PointId
    why: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The point to use. `because` is a sentence for the timeline; `vault` is the nearest that has it and is not known
    to have lost bytes of it; where it is not known who has it, the one in which it was proven, if it was."""

    point: Point
    because: str
    passed_over: tuple[PassedOver, ...] = ()
    """The newer ones, newest first."""
    vault: VaultName | None = None


@dataclass(frozen=True, slots=True)
class NoneGood:
    """No point may be used. `why` is one sentence; `reasons` has every point, newest first."""

    why: str
    reasons: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The points of one component, and everything that is known about them."""

    points: tuple[Point, ...]
    proofs: tuple[Proof, ...] = ()
    holds: tuple[Hold, ...] = ()
    line: Line = Line()
    held: Mapping[PointId, tuple[VaultName, ...]] = field(default_factory=dict[PointId, tuple[VaultName, ...]])
    """The vaults that have each point, the nearest first."""


def candidates(history: History, component: ComponentName) -> Candidates:
    held: dict[PointId, tuple[VaultName, ...]] = {}
    for one in history.points:
        if one.point.component == component:
            held[one.point.id] = (*held.get(one.point.id, ()), one.vault)
    return Candidates(
        history.points_of(component, evidence=True),
        history.proofs_of(component),
        history.holds,
        history.line(component),
        held,
    )


def held_kind(origin: str) -> str | None:
    """What holds the points that a `choose` step names: `pgbackrest`, also for the id of one of its points; None: the
    vaults do."""
    return next((kind for kind in EXISTING if origin == kind or origin.startswith(f"{kind}-")), None)


def choose_held(
    origin: str, points: Sequence[Point], history: History, now: datetime, holder: VaultName
) -> Chosen | NoneGood:
    """Among the points of one holder: its newest that was proven, or the one that was named. Lines of history are
    those of our own points, and say nothing about these."""
    held = {point.id: (holder,) for point in points}
    proofs = tuple(proof for proof in history.held if proof.vault == holder)
    among = Candidates(tuple(points), proofs, history.holds, Line(), held)
    return choose("proven" if origin in EXISTING else origin, among, now)


_CLOSENESS = {"bytes": 0, "sample": 1, "full": 2}

# ── one point ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fresh:
    pass


@dataclass(frozen=True, slots=True)
class Stale:
    why: str


def stale(proof: Proof | None, point: Point, rule: Prove, now: datetime) -> Stale | Fresh:
    """Does the proof still speak for the point, today? Not when there is none, when it was given to another point, or
    when the point is older than `max_age` by now."""
    if proof is None:
        return Stale("it was never proved")
    if proof.point != point.id:
        return Stale(f"the proof is of another point, {proof.point}")
    old = now - point.moment
    if rule.max_age is not None and int(old.total_seconds()) > int(rule.max_age.total_seconds()):
        return Stale(f"the point is {exact(old)} old; the plan's `max_age` allows {exact(rule.max_age)}")
    if old < -CLOCK_TOLERANCE:
        return Stale(f"its newest data lies {exact(-old)} in the future: clocks differ")
    return Fresh()


def decisive(
    point: PointId, proofs: Iterable[Proof], holders: Collection[VaultName] = ()
) -> tuple[Proof, Result] | None:
    """The newest proof that says yes or no about the data; else the newest that says why it could not tell. A yes
    counts only against a no that looked no closer: a sample does not see what a full proof saw.

    Damage in a vault can be healed. When all bytes were read since, and each was what was written, the no that stood
    on them alone is taken back, and what was said before holds again: it was said about the same bytes. Nor does it
    count while another one of the vaults that have the point, its `holders`, is not known to have lost any."""
    own = sorted((proof for proof in proofs if proof.point == point), key=lambda proof: proof.ended, reverse=True)
    own = [proof for number, proof in enumerate(own) if not _healed(proof, own[:number])]
    if set(holders) - spoilt_in(point, own):
        own = [proof for proof in own if not only_bytes_failed(proof)]
    judged = [(proof, content(proof)) for proof in own]
    clear = [pair for pair in judged if not isinstance(pair[1], NotVerified)]
    if clear and isinstance(clear[0][1], Proven):
        closer = (pair for pair in clear if _CLOSENESS[pair[0].tier] > _CLOSENESS[clear[0][0].tier])
        found = next(closer, None)
        if found is not None and isinstance(found[1], Refuted):
            return found
    return next(iter(clear or judged), None)


def spoilt_in(point: PointId, proofs: Iterable[Proof]) -> set[VaultName]:
    """Vaults that are known to have lost bytes of the point, and were not healed since."""
    own = sorted((proof for proof in proofs if proof.point == point), key=lambda proof: proof.ended, reverse=True)
    lost = (proof for number, proof in enumerate(own) if only_bytes_failed(proof) and not _healed(proof, own[:number]))
    return {proof.vault for proof in lost}


def _healed(proof: Proof, later: Sequence[Proof]) -> bool:
    return only_bytes_failed(proof) and any(one.vault == proof.vault and bytes_passed(one) for one in later)


def barred(point: Point, holds: Iterable[Hold], line: Line) -> str | None:
    """Why this point may not be chosen, whatever its proofs say. None: it may."""
    if point.is_evidence:
        return "it is evidence: a damaged state, captured as it was"
    for hold in active_holds(holds):
        if hold.point == point.id and hold.kind == "suspicious":
            return f"marked suspicious by {hold.by}: {hold.reason}"
        if hold.point == point.id and hold.kind == "forensic":
            return f"kept for forensics by {hold.by}: {hold.reason}"
    if not line.has(point):
        return f"it belongs to another line of history ({point.lineage}, the current one is {line.current})"
    return None


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────


def last_known_good(
    points: Sequence[Point], proofs: Sequence[Proof], holds: Sequence[Hold], line: Line, now: datetime
) -> Chosen | NoneGood:
    """The newest proven, clean point of the current line of history."""
    return choose("proven", Candidates(tuple(points), tuple(proofs), tuple(holds), line), now)


def choose(origin: str, among: Candidates, now: datetime, disaster: Between | None = None) -> Chosen | NoneGood:
    """What a `choose` step means. `proven`: the last known good. `newest`: the newest that nothing speaks against,
    proven or not. `clean`: proven, and finished before the disaster can have begun. Else the id of a point: a person
    has decided, and only damage that was proved stands against it."""
    if not among.points:
        return NoneGood("there is no recovery point")
    newest_first = sorted(among.points, key=taken_order, reverse=True)
    if origin not in ("proven", "newest", "clean"):
        return _named(origin, among, now)
    if origin == "clean" and disaster is None:
        return NoneGood("the moment of the disaster is not known, so no point can be called clean")
    ahead = [point for point in newest_first if point.began - now > CLOCK_TOLERANCE]
    # A clock that was ahead makes an old point look newest. They come last: our own clock may be the wrong one.
    passed = [PassedOver(point.id, _ahead(point)) for point in ahead if len(ahead) < len(newest_first)]
    for point in [*(point for point in newest_first if point not in ahead), *ahead]:
        # What a proof has shown says more than a mark: a refuted point may be marked as well.
        why = _refuted(point.id, among) or barred(point, among.holds, among.line)
        if why is None and origin == "clean" and disaster is not None and point.ended >= disaster.earliest:
            why = f"it was finished at {say_moment(point.ended)}, when the disaster may have begun"
        if why is None:
            found = _judged(point, origin, among, now)
            if isinstance(found, Chosen):
                because = f"{found.because}; {_ahead(point)}" if point in ahead else found.because
                left_out = tuple(one for one in passed if one.point != point.id)
                return Chosen(found.point, because, left_out, found.vault)
            why = found
        passed.append(PassedOver(point.id, why))
    wanted = {"proven": "proven", "newest": "usable", "clean": "clean and proven"}[origin]
    return NoneGood(f"no recovery point is {wanted}", tuple(passed))


def _ahead(point: Point) -> str:
    return f"it says that it was taken at {say_moment(point.began)}, which is still to come: a clock was wrong"


def _refuted(id: PointId, among: Candidates) -> str | None:
    told = decisive(id, among.proofs, among.held.get(id, ()))
    if told is None or not isinstance(told[1], Refuted):
        return None
    return f"refuted at {say_moment(told[0].ended)}: {told[1].why}"


def _judged(point: Point, origin: str, among: Candidates, now: datetime) -> Chosen | str:
    told = decisive(point.id, among.proofs, among.held.get(point.id, ()))
    age = f"{exact(max(now - point.moment, timedelta()))} old"
    vault = _nearest(point.id, among, told)
    if told is None:
        if origin == "newest":
            return Chosen(point, f"the newest point, {age}; it was never proved", vault=vault)
        return "it was never proved"
    proof, result = told
    match result:
        case Proven():
            kind = {"proven": "newest proven", "newest": "newest", "clean": "newest clean and proven"}[origin]
            because = f"the {kind} point, {age}, proven at {say_moment(proof.ended)}{_elsewhere(proof, vault)}"
            if complaints := late(proof):
                because += f"; sound, but not in time: {'; '.join(complaints)}"
            if to_mend := mending(proof):
                because += f"; all data is there, and look at this: {'; '.join(to_mend)}"
            return Chosen(point, because, vault=vault)
        case Refuted(why):
            return f"refuted at {say_moment(proof.ended)}: {why}"
        case NotVerified(why):
            if origin == "newest":
                return Chosen(point, f"the newest point, {age}; not verified: {why}", vault=vault)
            return f"not verified: {why}"
        case _:
            assert_never(result)


def _nearest(point: PointId, among: Candidates, told: tuple[Proof, Result] | None) -> VaultName | None:
    holders = among.held.get(point, ())
    spoilt = spoilt_in(point, among.proofs)
    sound = [vault for vault in holders if vault not in spoilt]
    return next(iter(sound or holders), told[0].vault if told else None)


def _elsewhere(proof: Proof, vault: VaultName | None) -> str:
    """A proof counts for the point, and is not a look at the bytes of every copy: it is said which one was read."""
    return "" if vault in (None, proof.vault) else f" from {proof.vault}"


def _named(id: str, among: Candidates, now: datetime) -> Chosen | NoneGood:
    point = next((point for point in among.points if point.id == id), None)
    if point is None:
        return NoneGood(f"there is no recovery point {id}")
    if point.is_evidence:
        return NoneGood(f"the point {id} is evidence: a damaged state, captured as it was; nobody recovers from it")
    told = decisive(point.id, among.proofs, among.held.get(point.id, ()))
    if told is not None and isinstance(told[1], Refuted):
        return NoneGood(f"the point {id} was refuted", (PassedOver(point.id, told[1].why),))
    said = [f"named by a person, {exact(max(now - point.moment, timedelta()))} old"]
    if told is None:
        said.append("it was never proved")
    else:
        sure = isinstance(told[1], Proven)
        said.append(f"proven at {say_moment(told[0].ended)}" if sure else "not verified")
    if (bar := barred(point, among.holds, among.line)) is not None:
        said.append(bar)
    return Chosen(point, "; ".join(said), vault=_nearest(point.id, among, told))
