"""Beginning on an empty machine, from one vault and a key: plan, journal, secrets and points come back.

What is there already is left as it is, so a bootstrap that was stopped is simply typed again. Nothing needs the
environment, or any file but the key. What could not be verified is said, and never stops anything: this is done on the
day of the disaster.
"""

import json
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backstay import config
from backstay.adapters import journal as journals
from backstay.app.home import KEY_FILE, PLACES_FILE, PLAN_FILE, PLAN_STREAM, STATE_FOLDER, Asked, Home
from backstay.durable import write_durably
from backstay.engine.routine import component_stream, open_routines
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Damaged,
    DiskFull,
    EpochTaken,
    JournalDamaged,
    ObjectMissing,
    PlanMissing,
    SecretMissing,
    StoreUnreachable,
    TailNotVerified,
    TargetNotEmpty,
    UnknownName,
    Usage,
    VaultBehind,
    WrongKey,
)
from backstay.facts import PlanAdopted, RoutineFailed, Spine, read_fact, read_spine, spine_digest
from backstay.facts.audit import Flaw
from backstay.plan import Plan
from backstay.values import Digest, VaultName, count, listed, say_moment
from backstay.vault import Repository, names
from backstay.vault.roles import Role, may_sign

_HEAD = re.compile(r"(\d{1,9}(?:-[0-9a-f]{16})?)/(\d{1,12}):([0-9a-f]{16,64})")


@dataclass(frozen=True, slots=True)
class Wanted:
    vault: str
    key: Path
    to: Path
    plan: str | None = None
    """The beginning of a digest. None: the revision that was adopted last."""
    head: str | None = None
    """What somebody remembers of the journal: `EPOCH/NUMBER:DIGEST`, or a file of the grab bag."""
    look: bool = False
    """Take no epoch: the machine that has the journal goes on."""


@dataclass(frozen=True, slots=True)
class Revision:
    digest: Digest
    adopted: str
    """When, for people; empty: nobody knows."""


@dataclass(slots=True)
class Arrived:
    """What came back, and what could not be verified."""

    home: Home
    revisions: list[Revision]
    facts: int
    codes: list[int] = field(default_factory=list[int])
    """Of everything that was not as it should be, the worst first."""
    unsealed: list[str] = field(default_factory=list[str])
    next_steps: list[str] = field(default_factory=list[str])


Say = Callable[[str], None]


def bootstrap(wanted: Wanted, here: Path, say: Say) -> Arrived:
    """Raises what opening a vault raises, PlanMissing, TargetNotEmpty, EpochTaken, VaultBehind, JournalConflict."""
    given = _open(wanted, here)
    say(f"✔ opened the vault in {given.store.describe()}, of the plan {given.opened.plan!r}")
    if not given.root_known:
        say(f"? its root {given.opened.root.hex()[:16]}… is not verified: this key does not name it")
    found = journals.find_history([given])
    _compare_head(wanted.head, given, say)
    revisions = _revisions(given, found)
    digest = _named(revisions, wanted.plan) if wanted.plan is not None else _newest(given, found, revisions, say)
    text = _plan_text(given, found, digest)
    folder = wanted.to.absolute()
    _write(folder, text, wanted.key.absolute(), say)
    home = Home(Asked(folder / PLAN_FILE, folder / KEY_FILE, folder / STATE_FOLDER), folder)
    say(f"✔ the plan {digest[:23]} is in {folder / PLAN_FILE}")
    vaults = _settle_vaults(home, given, wanted.vault, say)
    if len(vaults) > 1:
        found = journals.find_history(vaults)
    arrived = Arrived(home, revisions, len(found.rows) if found else 0)
    if found is None:
        say("? no vault holds a journal: history begins anew")
    else:
        _say_history(found, arrived, say)
        _go_on(home, found, vaults, wanted, arrived, say)
    if trouble := home.clock_trouble():
        say(f"? {trouble}")
    _secrets(home, arrived, say)
    arrived.next_steps = _next_steps(home.plan, wanted.look)
    return arrived


def _open(wanted: Wanted, here: Path) -> Repository:
    asked = Home(Asked(None, wanted.key.absolute(), None, _absolute(wanted.vault)), here)
    return next(iter(asked.vaults.values()))


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


def _revisions(given: Repository, found: journals.Found | None) -> list[Revision]:
    """Every revision in the vault, the one that was adopted last at the end."""
    adopted = {fact.digest: at for fact, at in _adoptions(found)}
    kept = [Digest(f"sha256:{name.removeprefix('plan/')}") for name in given.notes("plan/")]
    order = {digest: place for place, digest in enumerate(adopted)}
    kept.sort(key=lambda digest: order.get(digest, -1))
    return [Revision(digest, adopted.get(digest, "")) for digest in kept]


def _adoptions(found: journals.Found | None) -> Iterable[tuple[PlanAdopted, str]]:
    for row in found.rows if found is not None else ():
        if row.stream == PLAN_STREAM and isinstance(fact := read_fact(row.body), PlanAdopted):
            yield fact, say_moment(row.at)


def _newest(given: Repository, found: journals.Found | None, revisions: Sequence[Revision], say: Say) -> Digest:
    """The revision that was adopted last; without a journal, the one of the newest point. One that a recoverer sealed
    has to be asked for: whoever takes a plan runs its commands, and shows secrets to the addresses in it. Raises
    PlanMissing."""
    adopted = [fact.digest for fact, _ in _adoptions(found)]
    if not adopted:
        points = given.survey()[0]
        if points:
            return points[-1].plan
        adopted = [one.digest for one in revisions] if len(revisions) == 1 else []
    for digest in dict.fromkeys(reversed(adopted)):
        if _sealed_by_a_maker(given, digest):
            return digest
        say(
            f"? a revision of the plan that was adopted later, {digest[7:23]}, was sealed by no owner or writer: to "
            f"take that one, look at it first and say --plan {digest[7:23]}"
        )
    raise PlanMissing(
        "the vault does not say which plan is the newest",
        detail=f"it has {count(len(revisions), 'revision')}, and no journal or point of whoever makes plans names one",
        hint="name one with --plan" if revisions else "`backstay restore` needs no plan",
    )


def _sealed_by_a_maker(given: Repository, digest: Digest) -> bool:
    """Whether somebody who makes points sealed this revision, or we ourselves. Where that cannot be seen any more, it
    is believed if the vault never had anybody else who could have."""
    opened = given.opened
    try:
        signer = given.reopen(names.note(f"plan/{digest.removeprefix('sha256:')}")).signer
    except (Damaged, ObjectMissing, WrongKey):
        known = {*opened.writers.values(), *(one.role.value for one in opened.retired.values())}
        return Role.RECOVERER.value not in known
    role = opened.role(signer)
    return signer == given.keys.writer or (role is not None and may_sign(role, "points/"))


def _plan_text(given: Repository, found: journals.Found | None, digest: Digest) -> bytes:
    """What its digest says, from its note, else from the journal. Raises PlanMissing, Damaged."""
    text: bytes | None = None
    with suppress(Damaged, WrongKey):
        text = given.note(f"plan/{digest.removeprefix('sha256:')}")
    if text is None:
        text = next((fact.text.encode() for fact, _ in _adoptions(found) if fact.digest == digest), None)
    if text is None:
        raise PlanMissing(f"the plan {digest[:23]} is not in the vault", hint="choose another with --plan DIGEST")
    if config.parse(text.decode(), f"plan {digest[:19]}").digest != digest:
        raise Damaged(f"the plan {digest[:23]} in the vault is not what its digest says")
    return text


def _named(revisions: Sequence[Revision], asked: str) -> Digest:
    wanted = asked.removeprefix("sha256:")
    fitting = [one.digest for one in revisions if one.digest.removeprefix("sha256:").startswith(wanted)]
    if len(fitting) == 1 and len(wanted) >= 4:
        return fitting[0]
    raise UnknownName(
        f"the vault has {'several revisions' if fitting else 'no revision'} of the plan {asked!r}",
        detail=listed(f"{one.digest[7:23]} {one.adopted}".strip() for one in revisions) or "it has none",
        hint="give the first digits of one of those",
    )


def _write(folder: Path, text: bytes, key: Path, say: Say) -> None:
    """Plan and key into the folder, unless the same are there. Raises TargetNotEmpty for others, AccessDenied for a
    folder in which anybody can change the plan."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & stat.S_IWOTH:
            raise AccessDenied(
                f"every user of this machine may write in {folder}",
                detail="the plan runs commands: who can change it there becomes us; nothing was written",
                hint=f"name a folder of yours with --to, or chmod o-w {folder}",
            )
        _put(folder / PLAN_FILE, text)
        if key != folder / KEY_FILE:
            _put(folder / KEY_FILE, key.read_bytes())
            say(f"✔ the key is in {folder / KEY_FILE}, readable by you alone")
    except OSError as error:
        if error.errno == 28:
            raise DiskFull(f"no room in {folder}") from error
        raise AccessDenied(f"cannot write in {folder}", detail=error.strerror or "") from error


def _put(path: Path, content: bytes) -> None:
    if not path.exists():
        write_durably(path, content)
    elif path.read_bytes() != content:
        raise TargetNotEmpty(
            f"there is another {path.name} in {path.parent}",
            detail="nothing is overwritten",
            hint="give an empty folder with --to",
        )


# ── the vaults ───────────────────────────────────────────────────────────────────────────────────


def _settle_vaults(home: Home, given: Repository, address: str, say: Say) -> list[Repository]:
    """Every vault of the plan that opens here, the witness first; the one that was given among them, wherever the plan
    says that it is."""
    place = given.store.describe()
    same = next((one for one in _opened(home) if one.id == given.id), None)
    if same is None or Path(same.store.describe()).resolve() != Path(place).resolve():
        name = _which(home, given, address) if same is None else VaultName(same.name)
        if name is None:
            say("? none of the plan's vaults is the one that was given: edit the plan, or nothing finds it later")
            return [*_opened(home), given]
        write_durably(home.state / PLACES_FILE, json.dumps({name: _absolute(address)}).encode() + b"\n")
        said = str(home.plan.vaults[name].url)
        home.reopen()
        say(f"✔ the vault {name} is taken from {place} on this machine")
        say(f"? the plan says that it is in {said}: edit that, if it stays where it is now")
    for name, why in home.closed.items():
        say(f"? the vault {name} ({home.plan.vaults[name].url}) cannot be opened here: {why.message}")
    witness = home.plan.witness_vault()
    return sorted(_opened(home), key=lambda one: (one.name != witness, one.id != given.id))


def _opened(home: Home) -> list[Repository]:
    try:
        return list(home.vaults.values())
    except BackstayError:
        return []  # none, and why is said of each


def _which(home: Home, given: Repository, address: str) -> VaultName | None:
    """The vault of the plan that was given: one that does not open here as the plan has it. Its address tells which,
    else that there is only one, else the name of its folder."""
    away = [name for name in home.plan.vaults if name in home.closed]
    if named := [name for name in away if str(home.plan.vaults[name].url).rstrip("/") == address.rstrip("/")]:
        return named[0]
    folders = [name for name in away if "://" not in str(home.plan.vaults[name].url)]
    if len(away) == 1:
        return away[0]
    alike = [name for name in folders if Path(str(home.plan.vaults[name].url)).name == Path(given.name).name]
    if len(alike) == 1:
        return alike[0]
    return folders[0] if len(folders) == 1 else None


def _absolute(address: str) -> str:
    return address if "://" in address else str(Path(address).resolve())


# ── the journal ──────────────────────────────────────────────────────────────────────────────────


def _compare_head(asked: str | None, given: Repository, say: Say) -> None:
    """Before anything is written. Raises VaultBehind, Usage."""
    if asked is None:
        say("? freshness not verified: nothing was given to compare the vault with (--head, from the grab bag)")
        return
    epoch, number, digest = read_head(asked)
    spine = _spine(given, epoch, number)
    if spine is None or not spine_digest(spine).removeprefix("sha256:").startswith(digest):
        raise VaultBehind(
            f"the vault has no spine {epoch}/{number} as it is remembered",
            detail=f"{given.store.describe()} shows an older state, or another one; nothing was written",
            hint="look into another vault; without --head, this one can be used, and its freshness is not verified",
        )
    say(f"✔ the vault is as new as the head that you gave, of {say_moment(spine.at)}, or newer")


def has_spine(one: Repository, head: str) -> bool:
    """Whether a vault has the spine that somebody remembers. Raises Usage."""
    epoch, number, digest = read_head(head)
    spine = _spine(one, epoch, number)
    return spine is not None and spine_digest(spine).removeprefix("sha256:").startswith(digest)


def read_head(asked: str) -> tuple[str, int, str]:
    """Epoch, number and the first digits of the digest, from `EPOCH/NUMBER:DIGEST` or from the bag's file. Raises
    Usage."""
    try:
        heads: Any = json.loads(Path(asked).read_bytes())["heads"] if Path(asked).is_file() else [{"head": asked}]
        found = [_HEAD.fullmatch(str(one["head"])) for one in heads]
    except (OSError, ValueError, KeyError, TypeError):
        found = [None]
    matches = [one for one in found if one is not None]
    if not matches:
        raise Usage(
            f"{asked!r} is no head of a journal",
            hint="write it as the grab bag prints it, like 2/214:9f86d081884c7d65, or name its heads.json",
        )
    newest = max(matches, key=lambda one: (int(one[1].partition("-")[0]), int(one[2])))
    return newest[1], int(newest[2]), newest[3]


def _spine(one: Repository, epoch: str, number: int) -> Spine | None:
    try:
        return read_spine(one.note(f"spine/{epoch}/{number}") or b"")
    except BackstayError:
        return None


def _say_history(found: journals.Found, arrived: Arrived, say: Say) -> None:
    newest = f", the newest of {say_moment(found.rows[-1].at)}" if found.rows else ""
    say(f"✔ {count(len(found.rows), 'fact')} of the journal came back{newest}")
    for trouble in found.troubles:
        say(f"? {trouble.splitlines()[0]}")
    damage = [one for one in found.findings if one.damage]
    tails = [one for one in found.findings if one.flaw is Flaw.TAIL]
    for one in damage:
        say(f"✘ {one}")
    if found.beyond:
        say(f"✘ {count(found.beyond, 'fact')} that were sealed later lie behind a gap, and were not taken over")
        arrived.codes.append(JournalDamaged.code)
    if damage:
        arrived.codes.append(JournalDamaged.code)
    if tails or not found.spines:
        said = listed(f"{one.stream} after fact {one.seq}" for one in tails[:5])
        say(f"? tail not verified: {said or 'no spine speaks of this journal'}")
        arrived.codes.append(TailNotVerified.code)
    elif not damage:
        say(f"✔ every link holds, up to the end that spine {found.spines[-1].number} sealed")


def _go_on(
    home: Home, found: journals.Found, vaults: Sequence[Repository], wanted: Wanted, arrived: Arrived, say: Say
) -> None:
    journal = home.journal
    if journal.epoch:
        journal.look()  # done before: somebody may have taken over since
    if found.journal != journal.id:
        journals.lay_history(journal, found)
    if wanted.look:
        journal.give_up("this is a copy to look at, made with --look: the journal is written elsewhere")
        say("✔ nothing was taken over: this copy of the journal can be read, and writes nothing")
        return
    try:
        standing = journals.take_over(journal, vaults, found.epoch)
    except StoreUnreachable as error:
        say(f"? the journal's epoch is not verified, {error.detail}: the machine before this one will not notice")
        arrived.codes.append(error.code)
        return
    before = f"the one of {found.host} is ended: it writes no more" if found.epoch else "nobody had one"
    say(f"✔ epoch {standing.epoch} of the journal was taken in {standing.witness}; {before}")
    _end_routines(home)
    home.seal()


def _end_routines(home: Home) -> None:
    """What the machine before had begun would keep this one waiting for a day. It cannot write how it ended."""
    for name in home.plan.components:
        stream = component_stream(name)
        facts = home.journal.read(stream)
        ended = [
            RoutineFailed(one.run, EpochTaken.code, "the machine that began it was left behind")
            for one in open_routines(facts)
        ]
        home.journal.append(stream, ended, expected=facts[-1].seq if facts else 0)


# ── what is left to do ───────────────────────────────────────────────────────────────────────────


def _secrets(home: Home, arrived: Arrived, say: Say) -> None:
    """Which references of the plan have no value here, sealed or not. No value is kept, or said."""
    wanted = home.plan.secrets()
    for ref in wanted:
        try:
            home.secrets.value(ref)
        except SecretMissing:
            arrived.unsealed.append(str(ref))
    if arrived.unsealed:
        say(f"? no value here, and none sealed in a vault: {listed(arrived.unsealed)}")
    elif wanted:
        say(f"✔ all {count(len(wanted), 'secret')} of the plan have a value here, or one sealed in a vault")


def _next_steps(plan: Plan, look: bool) -> list[str]:
    if look:
        return ["backstay points", "backstay status"]
    people = plan.authority.alone or tuple(plan.people)
    by = f" --by {people[0]}" if people else ""
    return [
        "backstay status",
        *(f"backstay recover {name}{by}" for name in plan.scenarios if plan.scenario(name).procedure),
    ]


def told(arrived: Arrived) -> dict[str, Any]:
    """For scripts."""
    home = arrived.home
    return {
        "plan": {"path": str(home.plan_path), "digest": home.plan.digest},
        "revisions": [{"digest": one.digest, "adopted": one.adopted} for one in arrived.revisions],
        "facts": arrived.facts,
        "epoch": home.journal.epoch,
        "vaults": {name: one.store.describe() for name, one in home.vaults.items()},
        "away": {name: why.message for name, why in home.closed.items()},
        "secrets_missing": arrived.unsealed,
        "next": arrived.next_steps,
    }
