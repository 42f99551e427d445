"""Looking at whole vaults, and saying in the vaults what was found: a point that is damaged must not be chosen by
surprise."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from backstay import retain
from backstay.app.bootstrapping import has_spine
from backstay.app.bootstrapping import read_head as read_spine_head
from backstay.app.driving import new_run
from backstay.app.home import Home
from backstay.errors import (
    BackstayError,
    Cancelled,
    JournalConflict,
    PlanMissing,
    PointNotVerified,
    UnknownName,
    Usage,
    VaultUnsound,
)
from backstay.facts import Point, PointMissing, Proof, ProofGiven, Verdict
from backstay.ports import Progress
from backstay.values import ComponentName, PointId, StreamName, VaultName, count, is_name, listed, say_size, say_span
from backstay.vault import Repository
from backstay.vault.checks import Asked, Examination, Finding, PointSeen, Weight
from backstay.vault.ledger import Ledger, Readings
from backstay.vault.names import is_point_id
from backstay.vault.rebuilding import Rebuilt, rebuild
from backstay.verify import bytes_passed, candidates, of_bytes
from backstay.verify.freshness import AsNew, Freshness, Head, Older, Unremembered, freshness, heads, remembered

Screen = Callable[[str], AbstractContextManager[Progress]]
Tell = Callable[[VaultName, Finding], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What one look at one vault showed."""

    vault: VaultName
    points: tuple[PointSeen, ...]
    objects: int
    read_bytes: int
    readings: Readings
    freshness: Freshness
    heads: tuple[Head, ...]
    damaged: int
    """Findings by weight."""
    unknown: int
    noted: int
    said: tuple[str, ...] = ()
    """What became of what was found: proofs that were written, and why some could not be."""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A vault that could not even be opened."""

    vault: VaultName
    error: BackstayError

    @property
    def code(self) -> int:
        return self.error.code


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for."""

    vaults: Sequence[str] = ()
    percent: float = 0
    heads: Sequence[Head | str] = ()
    rebuild: bool = False
    """Write the index anew."""


def read_percent(text: str) -> float:
    """`5%` or `2.5%`. Raises Usage."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = 0
    if not 0 < value <= 100:
        raise Usage(f"{text!r} is no percentage between 0% and 100%", hint="--read-data 5%, or --read-data for all")
    return value


def read_head(text: str) -> Head | str:
    """`database/20261122T204437Z-7f3a9c1d`, as a check prints it; or a head of the journal, as the grab bag does, given
    as it is. Raises Usage."""
    component, _, point = text.strip().partition("/")
    if is_name(component) and is_point_id(point):
        return ComponentName(component), PointId(point)
    read_spine_head(text)
    return text


def chosen(home: Home, names: Sequence[str]) -> list[VaultName]:
    """The vaults that were named, or all. Raises UnknownName."""
    if home.asked.vault is not None:
        return list(home.vaults)
    return [home.plan.vault(name).name for name in dict.fromkeys(names)] or list(home.plan.vaults)


def check(home: Home, wanted: Wanted, screen: Screen, tell: Tell) -> list[Checked | Closed]:
    """Look at each vault; `tell` hears of everything that is wrong, as it is found. One that cannot be opened does not
    keep the others from being looked at."""
    found: list[Checked | Closed] = []
    for name in chosen(home, wanted.vaults):
        try:
            found.append(_check(home, home.vault(name), wanted, screen, partial(tell, name)))
        except (Cancelled, UnknownName):
            raise
        except BackstayError as error:  # it does not open, or went away while we looked
            found.append(Closed(name, error))
    if has_journal(home):
        home.seal()
    return found


def _check(home: Home, vault: Repository, wanted: Wanted, screen: Screen, tell: Callable[[Finding], None]) -> Checked:
    began, weights = home.clock.now(), dict.fromkeys(Weight, 0)
    with ledger_of(home, vault, bool(wanted.percent)) as ledger:
        with screen(f"checking {vault.name}") as progress:
            looked = Examination(vault, ledger, began, Asked(wanted.percent), progress)
            for finding in looked.findings():
                weights[finding.weight] += 1
                tell(finding)
        rebuilt = _rebuild(vault, looked, screen) if wanted.rebuild else ()
        all_read = wanted.percent >= 100 and not weights[Weight.UNKNOWN]
        written = write_down(home, vault, looked.points, (began, home.clock.now()), lambda _: all_read)
        return conclude(home, vault, looked, weights, (*rebuilt, *written), wanted.heads)


def _rebuild(vault: Repository, looked: Examination, screen: Screen) -> tuple[str, ...]:
    with screen(f"reading the ends of all packs of {vault.name}"):
        return tuple(say_rebuilt(one) for one in rebuild(vault, looked.stock))


def conclude(
    home: Home, vault: Repository, looked: Examination, weights: Mapping[Weight, int], said: tuple[str, ...],
    given: Sequence[Head | str] = (),
) -> Checked:  # fmt: skip
    """What a look showed, and the exit code that it stands for."""
    name = VaultName(vault.name)
    fresh = _freshness(home, vault, looked.points, given)
    if isinstance(fresh, Older) and has_journal(home):
        _alarm(home, name, fresh)
    damaged = (
        weights[Weight.DAMAGED]
        or weights[Weight.COVERED]
        or any(point.standing is Weight.DAMAGED for point in looked.points)
    )
    unsure = weights[Weight.UNKNOWN] or isinstance(fresh, Unremembered) or not vault.root_known
    code = VaultUnsound.code if damaged or isinstance(fresh, Older) else PointNotVerified.code if unsure else 0
    return Checked(
        name, tuple(looked.points), looked.objects, looked.read_bytes, looked.readings, fresh,
        heads(vault.survey()[0]), weights[Weight.DAMAGED], weights[Weight.UNKNOWN], weights[Weight.NOTE], said, code,
    )  # fmt: skip


def ledger_of(home: Home, vault: Repository, reading: bool) -> Ledger:
    """One for each vault and place: a copy of a vault in another place has to be read by itself."""
    if not reading and not _state_is_there(home):
        return Ledger(None)
    place = hashlib.sha256(vault.store.describe().encode()).hexdigest()[:8]
    return Ledger(home.state / "ledger" / f"{vault.opened.vault.hex()}-{place}.db")


def _state_is_there(home: Home) -> bool:
    """A look without a plan leaves nothing behind, unless it has something to remember."""
    if home.asked.state is not None:
        return True
    return _has_plan(home) or (home.here / ".backstay").is_dir()


def _has_plan(home: Home) -> bool:
    try:
        return home.plan_path.exists()
    except PlanMissing:
        return False


def has_journal(home: Home) -> bool:
    """With --vault, nobody says which vault of the plan it is: then the journal knows nothing about it."""
    return home.asked.vault is None


# ── freshness ────────────────────────────────────────────────────────────────────────────────────


def _freshness(home: Home, vault: Repository, seen: Sequence[PointSeen], given: Sequence[Head | str]) -> Freshness:
    there = {point.point: point.component for point in seen}
    taken = _remembered(home, VaultName(vault.name)) if has_journal(home) else ()
    points = [head for head in given if not isinstance(head, str)]
    spines = {head: has_spine(vault, head) for head in given if isinstance(head, str)}
    return freshness(there, taken, points, spines)


def _remembered(home: Home, name: VaultName) -> tuple[PointId, ...]:
    """What the journal says was put into the vault, without what retention may have let go since: deleting rightly is
    no alarm. Of a component that the plan has no longer, nothing is asked."""
    history, place, let_go = home.history(), home.plan.vaults[name], set[PointId]()
    taken = remembered(history, name)
    known = [point for id in taken if (point := history.point(id)) is not None]
    for component in {point.component for point in known}:
        points = tuple(point for point in known if point.component == component)
        if component not in home.plan.components:
            let_go |= {point.id for point in points}
            continue
        policy = retain.policy_of(home.plan.components[component], place, home.plan.timezone)
        among = replace(candidates(history, component), points=points)
        decided = retain.decide(among, policy, home.clock.now())
        let_go |= {one.point.id for one in decided if isinstance(one, retain.Expires)}
    return tuple(id for id in taken if id not in let_go)


def _alarm(home: Home, name: VaultName, older: Older) -> None:
    """For the status screen. Each missing point once."""
    history = home.history()
    known = {fact.point for fact in history.missing if fact.vault == name}
    for id in older.missing:
        point = history.point(id)
        if point is not None and id not in known:
            with suppress(BackstayError):  # a journal that may not be written: it is said all the same
                _append(home, point.component, PointMissing(name, id))


def _append(home: Home, component: ComponentName, fact: PointMissing | ProofGiven) -> None:
    stream = StreamName(f"component/{component}")
    for _ in range(8):
        seq = max((recorded.seq for recorded in home.journal.read(stream)), default=0)
        with suppress(JournalConflict):  # somebody wrote in between: look again
            home.journal.append(stream, [fact], expected=seq)
            return


# ── what was found, written down ─────────────────────────────────────────────────────────────────


def write_down(
    home: Home, vault: Repository, seen: Sequence[PointSeen], during: tuple[datetime, datetime],
    was_read: Callable[[PointSeen], bool],
) -> tuple[str, ...]:  # fmt: skip
    """Beside each point that is damaged, a proof that refutes it; beside one that was refuted so and is whole again, a
    proof that takes it back, if `was_read` says that all its bytes were read now. Gives sentences."""
    said, name = list[str](), VaultName(vault.name)
    points = {point.id: point for point in vault.survey()[0]}
    for one in seen:
        point = points.get(one.point)
        if point is None:
            continue  # its own record cannot be read, so nobody can choose it
        last = _last_of_bytes(vault, point, name)
        if one.standing is Weight.DAMAGED and last is not Verdict.FAILED:
            lost = count(one.damaged_files, "file") if one.damaged_files else count(one.lost_folders, "folder")
            proof = of_bytes(point, name, during, Verdict.FAILED, f"{lost} cannot be read: {one.why}")
            said.append(_keep(home, vault, proof, f"{point.id} is refuted from now on: no recovery reads it from here"))
        elif one.is_whole and last is Verdict.FAILED and was_read(one):
            proof = of_bytes(point, name, during, Verdict.PASSED, "every byte was read, and is what was written")
            said.append(_keep(home, vault, proof, f"{point.id} was damaged, and is whole again"))
        elif one.is_whole and last is Verdict.FAILED:
            said.append(f"? {point.id} was refuted here by a proof, and not all its bytes were read since: --read-data")
    return tuple(said)


def _last_of_bytes(vault: Repository, point: Point, name: VaultName) -> Verdict | None:
    """What the newest proof said that looked at the bytes of the point, in this vault."""
    try:
        proofs = [proof for proof in vault.proofs(point.id) if proof.vault == name]
    except BackstayError:
        return None
    looked = [check.verdict for proof in proofs for check in proof.checks if check.code == "B01"]
    return looked[-1] if looked else None


def _keep(home: Home, vault: Repository, proof: Proof, done: str) -> str:
    try:
        vault.keep_proof(proof)
        if has_journal(home):
            _append(home, proof.component, ProofGiven(new_run("check", home.clock.now()), proof))
    except BackstayError as error:
        state = "whole" if bytes_passed(proof) else "damaged"
        return f"that {proof.point} is {state} could not be written down: {error.message}"
    return done


# ── in words ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Told:
    title: str
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]


def standing(point: PointSeen) -> str:
    """`whole` is a point whose bytes were all read; what was not read is never called so."""
    match point.standing:
        case Weight.UNKNOWN:
            return "not verified"
        case Weight.DAMAGED:
            lost = [count(point.damaged_files, "file")] if point.damaged_files else []
            lost += [f"{count(point.lost_folders, 'folder')} unreadable"] if point.lost_folders else []
            return f"damaged: {', '.join(lost)}" if lost else "damaged"
        case _:
            return "whole" if point.unread_bytes == 0 else "structure whole"


def _share(point: PointSeen) -> str:
    if point.used_bytes is None or point.unread_bytes is None:
        return "not known"
    if not point.unread_bytes:
        return "all"
    return f"{100 * (point.used_bytes - point.unread_bytes) // point.used_bytes}%"


def say_checked(one: Checked, now: datetime, *, reading: bool) -> Told:
    rows = tuple((p.point, p.component, standing(p), _share(p)) for p in one.points)
    lines = [*one.said, _say_points(one.points), _say_readings(one.readings, now)]
    match one.freshness:
        case AsNew(by):
            lines.append(f"✔ nothing is missing that is known to {by}")
        case Older(_, why):
            lines.append(f"✘ the vault shows an older state than it should: {why}")
        case Unremembered(why):
            lines.append(f"? freshness not verified: {why}")
    if one.heads:
        shown = " ".join(f"--head {component}/{point}" for component, point in one.heads)
        lines.append(f"  to remember for the next look: {shown}")
    read = f", {say_size(one.read_bytes)} read" if reading else ""
    return Told(f"{one.vault}: {count(one.objects, 'object')} looked at{read}", rows, tuple(lines))


def _say_points(points: Sequence[PointSeen]) -> str:
    if not points:
        return "there is no point in it"
    sound = sum(1 for point in points if point.is_whole)
    unread = sum(1 for point in points if point.is_whole and point.unread_bytes != 0)
    told = f"{sound} of {count(len(points), 'point')} can still be restored"
    return f"{'✔' if sound == len(points) else '✘'} {told}" + (
        f", {unread} of them as far as was looked: not all their bytes were read" if unread else ""
    )


def _say_readings(readings: Readings, now: datetime) -> str:
    """How far the reading of bytes has come, over all checks."""
    if not readings.packs:
        return "  no bytes to read"
    bad = f"; {count(readings.bad, 'pack')} not as written" if readings.bad else ""
    if readings.never == readings.packs:
        return f"? bytes not verified: none of {count(readings.packs, 'pack')} was ever read here (--read-data){bad}"
    if readings.never:
        left = f"{count(readings.never, 'pack')} ({say_size(readings.never_bytes)}) of {readings.packs:,}"
        return f"? bytes not verified: {left} were never read here{bad}"
    age = readings.age(now)
    oldest = "" if age is None else f", the oldest {say_age(age)} ago"
    return f"{'✘' if readings.bad else '✔'} bytes: every pack was read{oldest}{bad}"


def say_rebuilt(one: Rebuilt) -> str:
    left = [f"{count(one.damaged, 'pack')} left out as damaged"] if one.damaged else []
    left += [f"{count(one.misnamed, 'pack')} under a wrong name (`backstay vault repair`)"] if one.misnamed else []
    found = f"{one.pieces:,} chunks and nodes in {count(one.packs, 'pack')}"
    beside = f"; {listed(left)}" if left else ""
    return f"{one.component}: a new index, generation {one.generation}: {found}{beside}"


def say_age(age: timedelta) -> str:
    return count(age.days, "day") if age.days else say_span(age)
