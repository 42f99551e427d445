"""Looking whether it could be recovered now: what the checks of `readiness` are asked about."""

import shutil
from collections.abc import Iterator

from backstay import readiness, vault
from backstay.app.home import Home
from backstay.errors import BackstayError
from backstay.history import History, taken_order
from backstay.plan import Component, PostgresSource, Restore
from backstay.readiness import Line, SecretSeen, State, VaultSeen
from backstay.values import VaultName
from backstay.vault.register import read_register


def look(home: Home, scenario: str | None) -> list[Line]:
    """Every check, for the components that `scenario` restores, or for all. Raises PlanMissing, UnknownName."""
    components = _components(home, scenario)
    lines = [*_vaults(home), *readiness.secrets(list(_secrets(home)))]
    try:
        history = home.history()
        lines += readiness.points(home.plan, history, components, home.clock.now())
        free = shutil.disk_usage(home.state).free
        lines += readiness.room(history, components, free, str(home.state))
        lines += readiness.programs(dict(_programs(history, components, home)))
    except BackstayError as error:
        lines.append(Line("Y04", State.NOT_VERIFIED, f"points could not be looked at: {error.message}", "see Y01", 35))
    return [*lines, *readiness.people(home.plan)]


def _components(home: Home, scenario: str | None) -> list[Component]:
    if scenario is None:
        return list(home.plan.components.values())
    procedure = home.plan.scenario(scenario).procedure
    named = {step.verb.component for phase in procedure for step in phase.steps if isinstance(step.verb, Restore)}
    return [component for name, component in home.plan.components.items() if name in named]


def _vaults(home: Home) -> Iterator[Line]:
    seen: list[VaultSeen] = []
    for name, place in home.plan.vaults.items():
        try:
            one = home.vault(name)
            register = read_register(one.store, one.opened.family, one.opened.root)
            readers = {wrap.recipient for wrap in register.recipients() if wrap.role == "reader"}
            lacks = tuple(reader for reader in place.readers if reader not in readers)
            seen.append(VaultSeen(name, None, one.root_known, len(readers), lacks))
        except BackstayError as error:
            seen.append(VaultSeen(name, (error.message, error.code)))
    return readiness.vaults(seen)


def _secrets(home: Home) -> Iterator[SecretSeen]:
    """Compared by digests: no letter is opened, and no value leaves this function."""
    newest: list[tuple[VaultName, vault.Repository, vault.SealedSecrets]] = []
    try:
        for name, one in home.vaults.items():
            newest += [(name, one, sealed) for sealed in _for_this_plan(home, one)]
    except BackstayError:
        pass  # Y01 says why no vault opens
    for ref in home.plan.secrets():
        having = [(name, one, sealed) for name, one, sealed in newest if str(ref) in sealed.digests]
        try:
            value = home.secrets_here.value(ref)
        except BackstayError:
            yield SecretSeen(str(ref), False, tuple(name for name, _, _ in having))
            continue
        changed = tuple(name for name, one, sealed in having if not vault.is_sealed(one, sealed, str(ref), value))
        older = all(sealed.plan != home.plan.digest for _, _, sealed in having)
        yield SecretSeen(str(ref), True, tuple(name for name, _, _ in having), changed, older)


def _for_this_plan(home: Home, one: vault.Repository) -> list[vault.SealedSecrets]:
    """The newest that were sealed: for this revision of the plan if there are any, else for another."""
    found = vault.sealed_secrets(one)
    return [sealed for sealed in found if sealed.plan == home.plan.digest][-1:] or found[-1:]


def _programs(history: History, components: list[Component], home: Home) -> Iterator[tuple[str, str | None]]:
    """Of the version that each newest point was taken from: another one does not read it."""
    for component in components:
        points = history.points_of(component.name)
        if not isinstance(component.source, PostgresSource) or not points:
            continue
        from backstay.adapters.postgres.programs import find

        about = max(points, key=taken_order).about
        major = int(about.get("server_version_num", "0")) // 10_000
        named = home.path(component.source.binaries) if component.source.binaries else None
        try:
            yield f"PostgreSQL {major} for {component.name}", str(find(major, named=named).folder)
        except BackstayError:
            yield f"PostgreSQL {major} for {component.name}", None
