"""Mending a vault of the plan, from itself and from others of its family; then the look that says what is left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstay import vault as vaults
from backstay.app import stores
from backstay.app.checking import Checked, Screen, conclude, ledger_of, say_rebuilt, write_down
from backstay.app.home import Home
from backstay.errors import BackstayError, Damaged, ObjectMissing, WrongKey
from backstay.ports import Key, Kind
from backstay.reach import base_of
from backstay.retain import log_let_go
from backstay.values import PointId, VaultName, count, listed
from backstay.vault import Repository
from backstay.vault.checks import Asked, Finding, PointSeen, Weight
from backstay.vault.foundation import mend_foundation
from backstay.vault.healing import Healed, Healing
from backstay.vault.logs import copy_log
from backstay.vault.replacing import Replaced, finish, replace


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done, and what the look afterwards shows."""

    lines: tuple[str, ...]
    findings: tuple[Finding, ...]
    checked: Checked


def repair(home: Home, name: str, sources: Sequence[str], screen: Screen, *, read_data: bool) -> Repaired:
    """Raises UnknownName, WrongKey for who may not write, NotSupported for vaults that are no family, and what the
    stores raise."""
    target = home.plan.vault(name).name
    others = _others(home, target, sources)
    lines: list[str] = []
    mended = _opened(home, target, others, lines)
    lines += [_say_replaced(one) for one in finish(mended)]
    began = home.clock.now()
    with ledger_of(home, mended, True) as ledger, screen(f"mending {target}") as progress:
        asked = Asked(100 if read_data else 0)
        while True:
            healing = Healing(mended, others, ledger, began, progress)
            looked = healing.run(asked)
            lines += _say_healed(healing.healed)
            replaced = list(replace(mended, others, _damaged_boxes(healing.findings)))
            lines += [_say_replaced(one) for one in replaced]
            if any(one.source for one in replaced):
                asked = Asked(0)  # a record that came back may name more that is lost
                continue
            unreadable = list[PointId]()

            def was_read(point: PointSeen, unreadable: list[PointId] = unreadable) -> bool:
                reads = _reads(mended, point)
                unreadable += [] if reads else [point.point]
                return reads

            said = write_down(home, mended, looked.points, (began, home.clock.now()), was_read)
            if not unreadable or asked.percent:
                break
            # A proof saw the damage, and no check: in which packs it is, only reading them can tell.
            lines.append(f"{listed(unreadable)} cannot be read, and no check has found why: every byte is read")
            asked = Asked(100)
        lines += _log_brought(mended, others)
        weights = {weight: sum(one.weight is weight for one in healing.findings) for weight in Weight}
        checked = conclude(home, mended, looked, weights, said)
    home.seal()
    if not lines:
        lines.append("nothing was to be mended" if not checked.damaged else "nothing could be mended")
    return Repaired(tuple(lines), tuple(healing.findings), checked)


def _others(home: Home, target: VaultName, sources: Sequence[str]) -> list[Repository]:
    """Where to take from. A vault that was not named and cannot be opened is left out."""
    if sources:
        return [_source(home, text) for text in sources]
    found: list[Repository] = []
    for name in home.plan.vaults:
        if name != target:
            try:
                found.append(home.vault(name))
            except BackstayError:
                continue
    return found


def _source(home: Home, text: str) -> Repository:
    if text in home.plan.vaults:
        return home.vault(VaultName(text))
    name = Path(text).name or "another vault"
    return vaults.open_vault(stores.at(text, home.here, home.clock), name, home.keys)


def _opened(home: Home, target: VaultName, others: Sequence[Repository], lines: list[str]) -> Repository:
    """The vault, with what it cannot be opened without mended first. Raises why it cannot be opened."""
    if mended := list(mend_foundation(home.store(target), others, home.keys)):
        lines += [f"✔ {target}: {said}" for said in mended]
        home.reopen()
    return home.vault(target)


def _log_brought(mended: Repository, others: Sequence[Repository]) -> Iterator[str]:
    """What the vault lacks of the log behind its oldest points, as `vault copy` brings it."""
    bases = [base for point in mended.survey()[0] if (base := base_of(point)) is not None]
    systems = sorted({base.system for base in bases})
    for other in others:
        try:
            there = [one for system in systems for one in other.wal.stretches(system)]
            wanted = set(there) - set(log_let_go(there, bases))
            brought = copy_log(other, mended, [one for one in there if one in wanted], systems)
        except BackstayError as error:
            yield f"✘ the log could not be compared with that of {other.name}: {error.message}"
            continue
        if brought.objects:
            yield f"✔ {count(brought.objects, 'missing object')} of log brought back, from {other.name}"


def _damaged_boxes(findings: Sequence[Finding]) -> Iterator[Key]:
    for finding in findings:
        if finding.weight is Weight.DAMAGED and finding.point is None and not finding.path:
            yield Key(finding.key)


def _reads(vault: Repository, point: PointSeen) -> bool:
    """Whether every byte of the point can be read now: what was said against it is taken back by nothing less."""
    reader = vault.open(point.point)
    try:
        for entry in reader.entries():
            if entry.kind is Kind.FILE:
                for _ in reader.read(entry.path):
                    pass
    except (Damaged, ObjectMissing, WrongKey):
        return False
    return True


# ── in words ─────────────────────────────────────────────────────────────────────────────────────


def _say_healed(healed: Healed) -> list[str]:
    said = [f"✔ {count(packs, 'missing pack')} brought back, from {where}" for where, packs in healed.packs.items()]
    said += [
        f"✔ {count(pieces, 'lost piece')} (chunks and nodes) stored anew, from {where}"
        for where, pieces in healed.pieces.items()
    ]
    said += [say_rebuilt(one) for one in healed.rebuilt]
    if healed.left:
        said.append(f"✘ {count(healed.left, 'piece')} that nobody has: what needs them is named below")
    return said


def _say_replaced(one: Replaced) -> str:
    return f"✔ {one.key} replaced by the copy of {one.source}" if one.source else f"✘ {one.key}: {one.why}"
