"""The plan file, and everything that has to be there before the first backup."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backstay import config, vault
from backstay.app import probing
from backstay.app.home import PLAN_FILE, Home, find_plan
from backstay.app.keys import add_readers
from backstay.errors import BackstayError, PlanMissing, VaultExists, VaultMissing
from backstay.values import Digest, VaultName, count, listed
from backstay.vault import Repository
from backstay.vault.probing import keep as keep_probe
from backstay.verify.freshness import remembered

STARTER = """\
# What is protected, what was promised, who may decide, and how each disaster is survived.
# `backstay plan check` finds every mistake; docs/reference/plan-file.md has every setting.
backstay: 1

system: {name: my-platform, title: My platform}

objectives: {rto: 1h, rpo: 24h}

sites:
  primary: {}

vaults:
  local: {url: ./vault, keep: 30d}

components:
  database:
    postgres: "${env:DATABASE_URL}"
    protect: {full: "02:00"}
    prove:
      ask:
        - {sql: "SELECT count(*) FROM pg_class", expect: ">= 1", as: catalogue}

# What “it works” means. A recovery ends with these; without any, nobody could say that it works again.
# This one asks the server at port 5432 (PGPORT says another), and not whether your application works: put that here.
smoke:
  answers: {run: [pg_isready, --quiet], env: {PGHOST: 127.0.0.1}}

people:
  me: {name: The person who reads this, email: me@example.com}
declaration:
  authority: {alone: [me]}
"""


@dataclass(frozen=True, slots=True)
class Checked:
    path: Path
    digest: Digest
    remarks: tuple[str, ...]
    sentence: str


def check(home: Home) -> Checked:
    """Raises PlanMissing, PlanInvalid with every problem."""
    plan = home.plan
    parts = [
        count(len(plan.components), "component"),
        count(len(plan.vaults), "vault"),
        count(len(plan.scenarios), "scenario"),
        count(len(plan.smoke), "smoke check"),
    ]
    sentence = f"{home.plan_path.name} is a good plan: {listed(parts)}; digest {plan.digest[:23]}"
    return Checked(home.plan_path, plan.digest, tuple(config.remarks(plan)), sentence)


def init(home: Home) -> Iterator[str]:
    """Make what is missing, and say of each part whether it was made or there. Nothing is ever overwritten."""
    try:
        path = find_plan(home.asked.plan, home.here)
    except PlanMissing:
        if home.asked.plan is not None:
            raise
        path = home.here / PLAN_FILE
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
        yield f"✔ wrote a first plan to {path.name}: edit it, then run `backstay init` again"
        return
    yield f"✔ the plan {path.name} is good: {count(len(home.plan.components), 'component')}"
    yield from _key(home)
    yield from _vaults(home)
    home.reopen()
    for name in home.plan.vaults:
        home.vault(name)  # raises why not
    yield from add_readers(home)
    home.adopt("backstay")
    yield from _emptied(home)
    home.seal()
    yield f"✔ the journal is in {home.state}, epoch {home.journal.epoch}"
    yield "next: backstay backup, then backstay verify"


def _emptied(home: Home) -> Iterator[str]:
    """Who makes a vault anew where a disk is not mounted should not believe that all is well."""
    history = home.history()
    for name in home.plan.vaults:
        known = remembered(history, name)
        if known and name in history.vaults and all(held.vault != name for held in history.points):
            points = count(len(known), "point")
            yield f"! the journal knows {points} in the vault {name}, and none is there: is its disk mounted?"


def _key(home: Home) -> Iterator[str]:
    if home.key_path.exists():
        yield f"✔ the key is there: {home.key_path}"
        return
    vault.new_key(home.key_path)
    yield f"✔ made the key {home.key_path}: without it the vault opens for nobody. Keep a copy in a safe, now."


def _vaults(home: Home) -> Iterator[str]:
    """Make those that are missing, all of one family: that of the first which is there already. Raises the reason why
    one does not answer, where none is there: it could be the one whose family the others have to join."""
    there, away = dict[VaultName, Repository](), list[BackstayError]()
    for name in home.plan.vaults:
        try:
            there[name] = home.open_vault(name)
        except VaultMissing:
            pass
        except BackstayError as error:
            away.append(error)
    member = next(iter(there.values()), None)
    if member is None and away:
        raise away[0]
    for name, place in home.plan.vaults.items():
        store = home.store(name)
        if (known := there.get(name)) is not None:
            yield f"✔ the vault {name} is there: {store.describe()}"
            if member is not None and known is not member:
                yield from _stranger(member, known)
            continue
        seen = probing.look(store, home.clock)
        try:
            readers, now = _readers(home, place.readers), home.clock.now()
            if member is None:
                vault.create(store, plan_name=home.plan.system.name, keys=home.keys, recipients=readers, now=now)
                member = home.open_vault(name)
                yield f"✔ made the vault {name} in {store.describe()}"
            else:
                vault.join(store, member, keys=home.keys, recipients=readers, now=now)
                yield f"✔ made the vault {name} in {store.describe()}, of the family of {member.name}"
            keep_probe(home.open_vault(name), seen)
            yield from (f"  {sentence}" for sentence in probing.sentences(seen, only_trouble=True))
        except VaultExists:
            yield f"✔ the vault {name} is there: {store.describe()}"


def _stranger(member: Repository, other: Repository) -> Iterator[str]:
    """What is said of two vaults that are no copies of each other, and cannot become any."""
    try:
        vault.refuse_strangers(member, other)
    except BackstayError as error:
        yield f"✘ {error.message}: {error.hint}"


def _readers(home: Home, readers: tuple[str, ...]) -> tuple[str, ...]:
    """Those whom the plan names, and our own key: who makes a vault must be able to prove what is in it."""
    own = home.keys.recipient
    return tuple(dict.fromkeys((*readers, *([own] if own else []))))
