"""The secrets of the plan, sealed into its vaults: keeping them, looking at what is kept, getting them back."""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstay import vault
from backstay.errors import BackstayError, Damaged, ObjectMissing, SecretMissing
from backstay.values import VaultName, count, listed, say_moment
from backstay.vault import SealedSecrets
from backstay.vault.register import holders, read_register

_VARIABLE = re.compile(r"(?!PATH$|LD_|PYTHON|BASH_ENV$|ENV$|IFS$)[A-Za-z_][A-Za-z0-9_]*")

if TYPE_CHECKING:
    from backstay.app.home import Home


def sealed_values(home: "Home") -> Mapping[str, str]:
    """What the readers of the vaults can know of the plan's secrets, by reference: from letters of this very plan
    first, then from those of others, newest first. Nothing, where no vault opens or our key opens no letters: whoever
    asks has the error of the missing value to raise, which says more."""
    try:
        plan, vaults = home.plan, list(home.vaults.values())
    except BackstayError:
        return {}
    letters: list[tuple[bool, vault.SealedSecrets, vault.Repository]] = []
    for one in vaults:
        try:
            letters += [(sealed.plan == plan.digest, sealed, one) for sealed in vault.sealed_secrets(one)]
        except BackstayError:
            continue  # one that is away: another may have them
    found: dict[str, str] = {}
    wanted = {str(ref) for ref in plan.secrets()}
    for _, sealed, where in sorted(letters, key=lambda one: (one[0], one[1].at), reverse=True):
        if not wanted - found.keys():
            break
        try:
            found = vault.open_secrets(where, sealed) | found
        except BackstayError:
            continue
    return found


def seal(home: "Home", *, again: bool = False) -> Iterator[str]:
    """Keep the value of every secret of the plan in every vault, for its readers. Raises SecretMissing with all that
    have no value here; what is sealed already, and is the same, is not sealed again."""
    values, missing = dict[str, str](), list[str]()
    for ref in home.plan.secrets():
        try:
            values[str(ref)] = home.secrets_here.value(ref)
        except SecretMissing:
            missing.append(str(ref))
    if missing:
        raise SecretMissing(
            f"of the plan's secrets, {len(missing):,} {'has' if len(missing) == 1 else 'have'} no value here",
            detail=f"{listed(missing)}; nothing was sealed",
            hint="run this where every value is: half of the secrets would pass for all of them",
        )
    if not values:
        yield "the plan refers to no secrets"
        return
    for name in home.plan.vaults:
        one = home.vault(name)
        there = [sealed for sealed in vault.sealed_secrets(one) if sealed.plan == home.plan.digest]
        if there and not again and all(vault.is_sealed(one, there[-1], ref, value) for ref, value in values.items()):
            yield f"✔ {name} has them as they are, since {say_moment(there[-1].at)}"
            continue
        vault.seal_secrets(one, home.plan.digest, values, home.clock.now())
        yield f"✔ sealed {count(len(values), 'secret')} into {name}, for {_readers(one)}"


def _readers(one: vault.Repository) -> str:
    register = read_register(one.store, one.opened.family, one.opened.root)
    return listed(who.short for who in holders(register) if who.reads)


@dataclass(frozen=True, slots=True)
class Kept:
    """One letter, without its values."""

    vault: VaultName
    sealed: SealedSecrets
    of_this_plan: bool
    readers: str


def kept(home: "Home") -> list[Kept]:
    """Every letter in every vault that opens, oldest first."""
    plan = None
    with suppress(BackstayError):
        plan = home.plan.digest
    return [
        Kept(name, sealed, sealed.plan == plan, _readers(one))
        for name, one in home.vaults.items()
        for sealed in vault.sealed_secrets(one)
    ]


def opened(home: "Home") -> dict[str, str]:
    """The values, by reference, newest first, for people who recover. Raises SecretMissing when there are none, and
    what the vault raises for a key that opens no letters."""
    letters = [(sealed.at, sealed, one) for one in home.vaults.values() for sealed in vault.sealed_secrets(one)]
    found: dict[str, str] = {}
    lost: BackstayError | None = None
    for _, sealed, where in sorted(letters, key=lambda one: one[0], reverse=True):
        try:
            found = vault.open_secrets(where, sealed) | found
        except (Damaged, ObjectMissing) as error:
            where.passed_over[sealed.key] = error.message  # another vault has the same, or an older letter most of it
            lost = lost or error
    if lost is not None and not found:
        raise lost
    if not found:
        raise SecretMissing(
            "no secrets are sealed in the vaults",
            detail=f"looked in {listed(map(str, home.vaults))}"
            + (f"; {unread} could not be read with this key" if (unread := _unread(home)) else ""),
            hint="`backstay secrets seal` keeps them, where the values are",
        )
    return found


def _unread(home: "Home") -> str:
    lost = sum(key.startswith("secrets/") for one in home.vaults.values() for key in one.passed_over)
    return count(lost, "list") if lost else ""


def as_exports(values: Mapping[str, str], wanted: Collection[str] | None) -> str:
    """Lines for a shell. `wanted`: the references of the plan that is at hand; None: there is no plan. A letter may be
    from a thief of a writer's key: only what the plan names is set, and without a plan no file is written."""
    lines: list[str] = []
    for ref, value in sorted(values.items()):
        space, _, name = ref.removeprefix("${").removesuffix("}").partition(":")
        if wanted is not None and ref not in wanted:
            continue
        if space == "env" and _VARIABLE.fullmatch(name):
            lines.append(f"export {name}={shlex.quote(value)}")
        elif space == "file" and wanted is not None:
            lines.append(f"(umask 077; printf %s {shlex.quote(value)} > {shlex.quote(name)})")
    return "\n".join(lines) + "\n"


def exports(home: "Home") -> tuple[str, list[str]]:
    """What `opened` gives, as lines for a shell, and the references. Raises as `opened`."""
    values, wanted = opened(home), None
    with suppress(BackstayError):
        wanted = {str(ref) for ref in home.plan.secrets()}
    return as_exports(values, wanted), sorted(values)
