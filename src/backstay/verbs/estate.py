"""What a run acts on: every port it may need, for one plan at one site. Made by `app`, or from the in-memory twins.

What can fail to be opened (a vault out of reach, a secret that is missing) is given as a function and opened by the
verb that needs it: a broken chat service, or one vault of two, must not stop a recovery before it has begun.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from backstay.errors import Cancelled, NotSupported
from backstay.facts import Outcome, Sight, held_elsewhere
from backstay.history import History
from backstay.plan import Mode, Plan, Step
from backstay.ports import Acting, Clock, Keeper, Notifier, Prober, Secrets, Vault, Workloads
from backstay.values import Between, ComponentName, SiteName, VaultName, say_span
from backstay.verbs.words import Words


@dataclass(frozen=True, slots=True)
class Placed:
    """A keeper, and the site that its component really is at: a guard compares it with the run's."""

    site: SiteName
    keeper: Keeper


@dataclass(frozen=True, slots=True)
class Estate:
    """Ports, bundled. Nothing here is opened before a verb asks for it."""

    plan: Plan
    site: SiteName
    """Where this run works."""
    mode: Mode
    clock: Clock
    secrets: Secrets
    keeper: Callable[[ComponentName], Placed]
    vault: Callable[[VaultName], Vault]
    history: Callable[[ComponentName], History]
    """What vaults and journal know of one component. Leaves out a vault that does not answer; raises StoreUnreachable
    when none does."""
    workloads: Callable[[Literal["process", "deployment"]], Workloads]
    prober: Prober
    notifier: Notifier
    base: Path
    """The folder that commands start in, and relative paths of the plan start from."""
    existing: Callable[[ComponentName, str], Vault] | None = None
    """Points of a component that another program holds, by the key of `plan.EXISTING`."""
    disaster: Between | None = None
    """When it happened: `choose` with `from: clean` goes by it."""

    def holder(self, component: ComponentName, name: VaultName) -> Vault:
        """Where a chosen point is opened: a vault, or whoever holds it (`pgbackrest:main`)."""
        return self.held(component, name.partition(":")[0]) if held_elsewhere(name) else self.vault(name)

    def held(self, component: ComponentName, kind: str) -> Vault:
        """Raises Usage where the plan names none."""
        if self.existing is None:
            raise NotSupported(f"points of {kind} cannot be reached here")
        return self.existing(component, kind)

    def words(self, acting: Acting, given: Mapping[str, str]) -> Words:
        return Words(self.plan, self.site, self.mode, self.secrets, str(acting.run), given)


@dataclass(frozen=True, slots=True)
class Scene:
    """One act: who acts, which step, what earlier steps gave, and where to look words up."""

    estate: Estate
    acting: Acting
    step: Step
    given: Mapping[str, str]
    words: Words

    def rest(self, length: timedelta) -> None:
        """Wait, in pieces, so that it ends soon after the engine says stop. Raises Cancelled."""
        clock = self.estate.clock
        until = clock.elapsed() + length
        while (left := until - clock.elapsed()) > timedelta():
            if self.acting.stop():
                raise Cancelled(f"stopped with {say_span(left)} left to wait")
            clock.wait(min(left, _GLANCE))


_GLANCE = timedelta(seconds=1)

Do = Callable[[Scene], Outcome]
Look = Callable[[Scene], Sight]


@dataclass(frozen=True, slots=True)
class Pair:
    """Every verb comes as a pair."""

    do: Do
    look: Look
