"""Where everything is: the plan, the key, the state folder, the vaults, the journal. Each opened when first asked for.

A command needs only some of it. `backstay points` with nothing but a vault folder and a key must work on an empty
machine, and `backstay plan check` must not look for a key: so each part is opened by whoever needs it.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from backstay import config, vault
from backstay.adapters import journal as journals
from backstay.adapters.clock import SystemClock
from backstay.adapters.secrets import EnvironmentAndFiles, OrSealed
from backstay.app import stores
from backstay.app.leading import leads
from backstay.app.sealing import sealed_values
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Damaged,
    JournalReadOnly,
    PlanMissing,
    PointNotVerified,
    SecretMissing,
    StoreUnreachable,
    WrongKey,
)
from backstay.facts import Hold, LogKept, PlanAdopted, Point, Proof
from backstay.facts.audit import CLOCK_TOLERANCE
from backstay.history import History, history
from backstay.plan import Plan, Template
from backstay.ports import Store, locking
from backstay.values import ComponentName, PointId, StreamName, VaultName, say_moment, say_span
from backstay.vault import Repository
from backstay.vault.probing import believe

PLAN_FILE = "backstay.yaml"
KEY_FILE = "backstay.key"
STATE_FOLDER = ".backstay"
PLACES_FILE = "places.json"
"""In the state folder: vaults of the plan that are elsewhere on this machine, by name."""
PLAN_STREAM = StreamName("plan")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line said about places. None: look in the usual one."""

    plan: Path | None = None
    key: Path | None = None
    state: Path | None = None
    vault: str | None = None
    """One vault by its address (a folder, `s3://…`, `gs://…`, `az://…`), without a plan."""


def find_plan(asked: Path | None, here: Path) -> Path:
    """The file that was named, else the nearest backstay.yaml upwards. Raises PlanMissing."""
    if asked is not None:
        if not asked.is_file():
            what = "that is a folder" if asked.is_dir() else "no file of that name is there"
            raise PlanMissing(f"there is no plan at {asked}", detail=what, hint="name the plan file with --plan")
        return asked.resolve()
    for folder in (here, *here.parents):
        if (folder / PLAN_FILE).is_file():
            return folder / PLAN_FILE
    raise PlanMissing(
        f"there is no {PLAN_FILE} in this folder or one above it",
        detail=f"looked in {here} and upwards",
        hint="write one with `backstay init`, or name it with --plan; a vault alone is opened with --vault",
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong with a vault, and the exit code that it stands for."""

    said: str
    code: int


class Home:
    """Everything one plan has on this machine."""

    def __init__(self, asked: Asked, here: Path, clock: SystemClock | None = None) -> None:
        self.asked, self.here = asked, here
        self.clock = clock or SystemClock()
        self._frozen: Plan | None = None
        self.noticed: list[tuple[VaultName, PointId, BackstayError]] = []
        """What a vault could not give while a point was read, and another one had to."""

    # ── the plan ──

    @cached_property
    def plan_path(self) -> Path:
        return find_plan(self.asked.plan, self.here)

    @cached_property
    def base(self) -> Path:
        """Relative paths of the plan start here."""
        return self.plan_path.parent

    @cached_property
    def _read(self) -> tuple[Plan, bytes]:
        # Together: the file may be edited at any moment, and what is kept must be what was read.
        return config.load_kept(self.plan_path)

    @property
    def plan_text(self) -> bytes:
        """The plan as one file, whatever it extends."""
        return self._read[1]

    @property
    def plan(self) -> Plan:
        return self._frozen or self._read[0]

    def govern(self, plan: Plan) -> None:
        """From here on this plan holds: the one that a run froze, whatever the file says by now."""
        if self._frozen != plan:
            self._frozen = plan
            self.__dict__.pop("_opened", None)  # they were those of another plan, if they were open

    @cached_property
    def secrets_here(self) -> EnvironmentAndFiles:
        """What the environment and the files of this machine have."""
        return EnvironmentAndFiles(self.base)

    @cached_property
    def secrets(self) -> OrSealed:
        """That, and where nobody gave a value, what was sealed into the vaults."""
        return OrSealed(self.secrets_here, lambda: sealed_values(self))

    def path(self, template: Template) -> Path:
        """A path of the plan, with its references resolved."""
        return self.base / template.render(self.secrets.value)

    def _beside_plan(self, name: str) -> Path:
        """Beside the plan; where none is needed (`--vault`), here."""
        try:
            return self.base / name
        except PlanMissing:
            if self.asked.vault is None:
                raise
            return self.here / name

    # ── keys and vaults ──

    @cached_property
    def key_path(self) -> Path:
        return (self.asked.key or self._beside_plan(KEY_FILE)).absolute()

    @cached_property
    def keys(self) -> vault.Keyring:
        if not self.key_path.exists():
            raise WrongKey(
                f"there is no key at {self.key_path}",
                detail="the vault opens for nobody without its key",
                hint="name the key file that was made with the vault, with --key; for a new start: `backstay init`",
            )
        return vault.Keyring.load(self.key_path)

    def store(self, name: VaultName) -> Store:
        """The store of one vault of the plan. Raises ToolMissing, AccessDenied, Usage, SecretMissing, Damaged."""
        # Its secrets come from here alone: it has to be found before it can be asked for any.
        place = self.plan.vaults[name]
        if (moved := self._places.get(name)) is None:
            return stores.of_vault(place, self.base, self.secrets_here, self.clock)
        place = replace(place, url=Template((moved,)))
        try:
            return stores.of_vault(place, self.base, self.secrets_here, self.clock)
        except SecretMissing:
            # As it was opened when it was found: who we are, the environment said.
            reach = None if place.reach is None else replace(place.reach, credentials={})
            return stores.of_vault(replace(place, reach=reach), self.base, self.secrets_here, self.clock)

    @cached_property
    def _places(self) -> dict[str, str]:
        """Where vaults are on this machine, if not where the plan says: `bootstrap` wrote it down. Raises Damaged."""
        path = (self.asked.state or self._beside_plan(STATE_FOLDER)).absolute() / PLACES_FILE
        try:
            found: dict[str, str] = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Damaged(f"{path} cannot be read", detail=str(error), hint="it only says where vaults are") from None
        return {str(name): str(address) for name, address in found.items()}

    def unlocked(self, name: VaultName) -> tuple[str, ...]:
        """A sentence, where the plan promises a lock and the store of this vault sets none."""
        lock, store = self.plan.vaults[name].lock, self.vault(name).store
        if lock is None or locking(store) is not None:
            return ()
        return (f"the plan promises `lock: {say_span(lock)}`, and {store.describe()} cannot lock anything",)

    def stores(self) -> list[Store]:
        """Of every vault of the plan, or of the one that was named with --vault: no key is needed to look there."""
        if (address := self.asked.vault) is not None:
            return [stores.at(address, self.here, self.clock)]
        return [self.store(name) for name in self.plan.vaults]

    def open_vault(self, name: VaultName) -> Repository:
        """One vault of the plan, as it is now. Raises the reason why it cannot be opened."""
        return self._open(self.store(name), name)

    def _open(self, store: Store, name: VaultName) -> Repository:
        opened = vault.open_vault(store, name, self.keys)
        believe(opened)
        return opened

    @cached_property
    def _opened(self) -> tuple[dict[VaultName, Repository], dict[VaultName, BackstayError]]:
        """Every vault of the plan, or the one that was named with --vault: opened, or why it cannot be."""
        if (address := self.asked.vault) is not None:
            name = VaultName(Path(address).name or "vault")
            return {name: self._open(stores.at(address, self.here, self.clock), name)}, {}
        _, opened, closed = self.keys, dict[VaultName, Repository](), dict[VaultName, BackstayError]()
        for name in self.plan.vaults:
            try:
                opened[name] = self.open_vault(name)
            except BackstayError as error:
                closed[name] = error
        return opened, closed

    @property
    def vaults(self) -> Mapping[VaultName, Repository]:
        """The vaults that can be opened. One of two that cannot must not stop a recovery; raises the reason when none
        can."""
        opened, closed = self._opened
        if not opened and closed:
            raise next(iter(closed.values()))
        return opened

    @property
    def closed(self) -> Mapping[VaultName, BackstayError]:
        """The vaults that cannot be opened, and why."""
        return self._opened[1]

    def reopen(self) -> None:
        """Look at the vaults anew: one of them has just been made, or found."""
        for name in ("_opened", "_places"):
            self.__dict__.pop(name, None)

    def vault(self, name: VaultName) -> Repository:
        """Raises the reason why it cannot be opened."""
        opened, closed = self._opened
        if name in closed:
            raise closed[name]
        return opened[name]

    def clock_trouble(self) -> str | None:
        """A sentence, where the journal holds facts of what this machine's clock calls the future."""
        now = self.clock.now()
        newest = max((r.at for r in self.journal.everything(after=now + CLOCK_TOLERANCE)), default=None)
        if newest is None:
            return None
        return (
            f"the clock reads {say_moment(now)}, {say_span(newest - now)} earlier than the newest fact in the journal: "
            "ages and times are wrong until it is set right"
        )

    def troubles(self) -> list["Trouble"]:
        """What is wrong with the vaults: those that cannot be opened, points that cannot be read, an unknown root."""
        opened, closed = self._opened
        found = [Trouble(f"the vault {name} cannot be opened: {e.message}", e.code) for name, e in closed.items()]
        for name, one in opened.items():
            try:
                found += [Trouble(f"in the vault {name}: {error.message}", error.code) for error in one.survey()[1]]
            except (StoreUnreachable, AccessDenied) as error:
                found.append(Trouble(f"the vault {name} does not answer: {error.message}", error.code))
            found += [
                Trouble(f"in the vault {name}, {key} counts for nothing: {why}", Damaged.code)
                for key, why in one.passed_over.items()
            ]
            if not one.root_known:
                said = f"the vault {name} was made by a key that yours does not know: its points are not verified"
                found.append(Trouble(said, PointNotVerified.code))
        return found

    # ── state ──

    @cached_property
    def state(self) -> Path:
        folder = (self.asked.state or self._beside_plan(STATE_FOLDER)).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @cached_property
    def journal(self) -> journals.OpenJournal:
        """The journal, with its epoch taken at the witness."""
        return journals.open_journal(
            self.state,
            witness=lambda: self.vault(self.plan.witness_vault()),
            clock=self.clock,
            others=lambda: [one for name, one in self.vaults.items() if name != self.plan.witness_vault()],
        )

    def refuse_if_overtaken(self) -> None:
        """Before anything is written, anywhere: the machine that comes back from the dead reads, and no more. Raises
        JournalReadOnly, with who took over and when."""
        if isinstance(standing := self.journal.look(), journals.Overtaken):
            raise JournalReadOnly(
                "this machine may not write any more: another one took over its journal",
                detail=f"{standing.by}; the epoch of this one is {standing.epoch}, and nothing was written",
                hint="work there; here `status`, `points`, `restore` and `journal show` still read",
            )

    def adopt(self, by: str) -> None:
        """Write down the plan as it is now, in the journal and in every vault, unless it is the newest revision. Raises
        JournalReadOnly."""
        self.refuse_if_overtaken()
        recorded = self.journal.read(PLAN_STREAM)
        adopted = [r.fact.digest for r in recorded if isinstance(r.fact, PlanAdopted)]
        if adopted and adopted[-1] == self.plan.digest:
            return
        text = self._read[1]
        for opened in self.vaults.values():
            if not opened.is_prover:  # who only proves keeps no plans: the owner's hosts do
                opened.keep_note(f"plan/{self.plan.digest.removeprefix('sha256:')}", text)
        fact = PlanAdopted(self.plan.digest, text.decode(), by, str(self.base))
        self.journal.append(PLAN_STREAM, [fact], expected=recorded[-1].seq if recorded else 0)

    def history(self, component: ComponentName | None = None) -> History:
        """Journal and vaults, folded. A vault that does not answer, or refuses us, is left out. Raises StoreUnreachable
        or AccessDenied when none answers."""
        points: dict[VaultName, list[Point]] = {}
        proofs: list[Proof] = []
        holds: list[Hold] = []
        reached: dict[PointId, datetime] = {}
        away: BackstayError | None = None
        rested = [one.fact for one in self.journal.everything() if isinstance(one.fact, LogKept)]
        for name, opened in self.vaults.items():
            try:
                # One damaged point must not hide those that are sound: `troubles` names it.
                points[name] = opened.survey(component)[0]
                proofs += [p for p in opened.proofs() if component in (None, p.component)]
                holds += [h for h in opened.holds() if component in (None, h.component)]
                for point, moment in leads(opened.wal, points[name], rested).items():
                    reached[point] = max(moment, reached.get(point, moment))
            except (StoreUnreachable, AccessDenied) as error:
                away = error
        if away is not None and not points:
            raise away
        return history(self.journal.everything(), points, proofs, holds, reached)

    def seal(self) -> None:
        """At the end of a command: seal whatever is new in the journal, so that its end can be verified. A vault
        that is away is no reason to fail what was already done: the next command seals."""
        with suppress(StoreUnreachable):
            journals.seal_when_due(self.journal, self.vaults.values(), at_the_end=True)

    def seal_when_due(self) -> None:
        """While something runs: not more often than a spine is due."""
        with suppress(StoreUnreachable):
            journals.seal_when_due(self.journal, self.vaults.values())
