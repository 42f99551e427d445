"""What somebody laid over a vault, and whether its locks hold: looked at, tried, and undone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backstay.app.checking import chosen
from backstay.app.home import Home
from backstay.errors import BackstayError, NotSupported, PointNotVerified, PromiseBroken
from backstay.facts import Verdict
from backstay.ports import versioned
from backstay.values import VaultName
from backstay.vault.covers import Uncovered, uncover
from backstay.vault.immutability import Tried, trials

Tell = Callable[[VaultName, Tried], None]


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of trying to break the locks of one vault."""

    vault: VaultName
    tried: tuple[Tried, ...]

    @property
    def code(self) -> int:
        verdicts = {one.verdict for one in self.tried}
        if Verdict.FAILED in verdicts:
            return PromiseBroken.code
        return PointNotVerified.code if verdicts != {Verdict.PASSED} else 0


def immutability(home: Home, names: Sequence[str], tell: Tell, *, everything: bool = False) -> list[Tested]:
    """Try to break the locks of each vault, with the credentials of this machine; `tell` hears of each attempt. A vault
    that cannot be opened is not verified, and does not keep the others from being tried."""
    found: list[Tested] = []
    for name in chosen(home, names):
        tried: list[Tried] = []
        for one in _tried(home, name, everything=everything):
            tried.append(one)
            tell(name, one)
        found.append(Tested(name, tuple(tried)))
    return found


def _tried(home: Home, name: VaultName, *, everything: bool) -> Iterator[Tried]:
    try:
        vault = home.vault(name)
        yield from _promised(home, name)
        yield from trials(vault, everything=everything)
    except BackstayError as error:
        yield Tried("vault", Verdict.NOT_VERIFIED, f"it could not be looked at: {error.message}")


def _promised(home: Home, name: VaultName) -> Iterator[Tried]:
    """What the plan says and the store does not do."""
    if home.asked.vault is not None:  # by its address: no plan says anything about it
        return
    if home.plan.vaults[name].lock is None:
        yield Tried("plan", Verdict.NOT_VERIFIED, "the plan promises no `lock` for this vault")
    for said in home.unlocked(name):
        yield Tried("plan", Verdict.NOT_VERIFIED, said)


def take_off(home: Home, name: str, tell: Callable[[Uncovered], None]) -> tuple[int, int]:
    """Take away everything that lies on the objects of a vault. How many are as they were written again, and how many
    are still covered. Raises NotSupported where the store keeps no versions."""
    vault = home.vault(chosen(home, [name])[0])
    if versioned(vault.store) is None:
        raise NotSupported(
            f"{vault.store.describe()} keeps no versions",
            detail="what was deleted or overwritten there is gone, so nothing can be uncovered",
            hint="`backstay vault check` says what is missing; another vault of the plan may have it",
        )
    done = left = 0
    for one in uncover(vault):
        done, left = (done + 1, left) if one.left is None else (done, left + 1)
        tell(one)
    return done, left
