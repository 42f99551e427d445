"""The walls of the room that drills happen in: no place of the sandbox may be, hold or lie in one that production uses.

A drill stops, renames and erases whatever is at the sandbox's places, so two spellings of one place are one place: a
link, a way round (`./x/../pg`), another name of the same host. What is compared is therefore what the names lead to:
folders by their resolved paths, servers by the addresses that their names have. Every component is compared with every
other, and with the vaults, the keys and the journal.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from backstay.app.home import Home
from backstay.errors import NotAuthorised, NotSupported, SourceUnsuitable
from backstay.plan import (
    PRIMARY,
    Component,
    FilesSource,
    PerSite,
    Plan,
    PostgresSource,
    PostgresWay,
    SqliteSource,
    Template,
)
from backstay.values import SiteName

SANDBOX = SiteName("sandbox")
_HERE = "this machine"


@dataclass(frozen=True, slots=True)
class _Server:
    """A database server: where it may be reached, and the database that is meant."""

    addresses: frozenset[tuple[str, str]]
    database: str
    whole: bool
    """Whether the server itself is the component, and not one database of it."""

    def shares(self, other: "_Server") -> bool:
        if not self.addresses & other.addresses:
            return False
        return self.whole or other.whole or self.database == other.database


def refuse_shared_places(home: Home, plan: Plan | None = None) -> None:
    """A drill may not touch a place that production uses. Raises NotSupported without a sandbox, NotAuthorised for a
    component whose place in it is, holds or lies in one of production."""
    plan = plan or home.plan
    if SANDBOX not in plan.sites:
        raise NotSupported(
            "the plan has no site `sandbox`, so there is no room to drill in",
            hint="add one under `sites:`, with its own endpoints and processes, and an address for each component",
        )
    # An `anywhere` value that no site overrides is one place for both, and is found here like any other.
    components = plan.components.values()
    folders = [(f"{one.name} in production", path) for one in components for path in _folders(home, one, PRIMARY)]
    servers = [(one.name, server) for one in components for server in _servers(home, one, PRIMARY)]
    _refuse_shared_processes(home, plan)
    for component in components:
        if not _has_room(component):
            continue
        _refuse_unnamed_folder(component)
        for path in _folders(home, component, SANDBOX):
            for name, used in folders:
                if _touch(path, used):
                    raise _shared(component, f"{path} is, holds or lies in {used}, which is {name}")
            for name, used in _ours(home, plan):
                if used.is_relative_to(path):
                    raise _shared(component, f"{path} holds {used}, which is {name}")
        for server in _servers(home, component, SANDBOX):
            for name, used in servers:
                if server.shares(used):
                    raise _shared(component, f"its server there is the server of {name} in production")


def _refuse_unnamed_folder(component: Component) -> None:
    """An address shows nothing of what lies behind a tunnel or a pooler: a server that is asked for its data directory
    could be production's. The room of a whole server has to be named. Raises NotSupported."""
    source = component.source
    if not isinstance(source, PostgresSource) or source.way is PostgresWay.LOGICAL:
        return
    if source.data is None or source.data.on(SANDBOX) is None:
        raise NotSupported(
            f"the plan does not say in which data directory of the sandbox {component.name} is drilled",
            detail="its server's address alone could lead to production, through a tunnel or a pooler",
            hint=f"add `data: {{sandbox: …}}` to {component.name}, or take it with `way: logical`",
        )


def places(component: Component) -> tuple[PerSite, ...]:
    """What the plan says about where a component is. Empty for a kind that cannot be restored here."""
    match component.source:
        case PostgresSource(url=url, data=data):
            return (url,) if data is None else (url, data)
        case SqliteSource(path=path) | FilesSource(path=path):
            return (path,)
        case _:
            return ()


def _has_room(component: Component) -> bool:
    return bool(found := places(component)) and all(place.on(SANDBOX) is not None for place in found)


def _shared(component: Component, how: str) -> NotAuthorised:
    return NotAuthorised(
        f"a drill would touch production: {component.name} has a place in the sandbox that is not its own",
        detail=how,
        hint=f"give {component.name} a place of its own for the site sandbox",
    )


def _refuse_shared_processes(home: Home, plan: Plan) -> None:
    """A process is known by its pid file: with one file for two sites, ending the sandbox's ends production's."""
    here = {_real(home, spec.pid_file): name for name, spec in plan.site(PRIMARY).processes.items()}
    for name, spec in plan.sites[SANDBOX].processes.items():
        if (other := here.get(_real(home, spec.pid_file))) is not None:
            raise NotAuthorised(
                f"a drill would touch production: the process {name} of the sandbox has the pid file of {other}",
                detail=f"{_real(home, spec.pid_file)} is named by both sites",
                hint=f"give {name} a pid_file of its own for the site sandbox",
            )


def refuse_swallowed(home: Home, component: Component) -> None:
    """A vault that lies in what it protects is lost with it: each point would hold all before it, and a recovery begins
    by moving it away. So would the keys and the journal. Raises SourceUnsuitable."""
    for path in _folders(home, component, PRIMARY):
        for name, used in _ours(home, home.plan):
            if name != "the plan" and used.is_relative_to(path):
                raise SourceUnsuitable(
                    f"{name} lies in {component.name}, and would be lost with it",
                    detail=f"{used} is in {path}",
                    hint=f"move {name} out of {path}, best to another disk, and name its new place",
                )


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def _folders(home: Home, component: Component, site: SiteName) -> Iterator[Path]:
    match component.source:
        case PostgresSource(data=PerSite() as value) | SqliteSource(path=value) | FilesSource(path=value):
            if (template := value.on(site)) is not None:
                yield _real(home, template)
        case _:
            pass


def _real(home: Home, template: Template) -> Path:
    return Path(os.path.realpath(home.path(template)))


def _ours(home: Home, plan: Plan) -> Iterator[tuple[str, Path]]:
    """What a drill that is torn down must not take along."""
    found = [("the plan", home.plan_path), ("the key", home.key_path), ("the journal", home.state)]
    for name, vault in plan.vaults.items():
        if "://" not in str(vault.url):
            found.append((f"the vault {name}", home.path(vault.url)))
    for name, path in found:
        yield name, Path(os.path.realpath(path))


def _touch(one: Path, other: Path) -> bool:
    if one.is_relative_to(other) or other.is_relative_to(one):
        return True
    try:
        return one.samefile(other)  # mounted twice
    except OSError:
        return False


# ── servers ──────────────────────────────────────────────────────────────────────────────────────


def _servers(home: Home, component: Component, site: SiteName) -> Iterator[_Server]:
    match component.source:
        case PostgresSource(url=url, way=way) if (template := url.on(site)) is not None:
            from backstay.adapters.postgres.session import defaults, parse

            words = defaults() | parse(template.render(home.secrets.value))
            hosts = (words.get("hostaddr") or words.get("host") or "").split(",")
            ports = (words.get("port") or "5432").split(",")
            pairs = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
            found = {(address, port or "5432") for host, port in pairs for address in _addresses(host)}
            database = words.get("dbname") or words.get("user") or ""
            yield _Server(frozenset(found), database, way is not PostgresWay.LOGICAL)
        case _:
            pass


def _addresses(host: str) -> set[str]:
    """What a name leads to. Every name of this machine is one; one that leads nowhere stays a name."""
    if not host or host.startswith(("/", "@")):
        return {_HERE}
    try:
        found = {str(told[4][0]).partition("%")[0] for told in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return {host.lower()}
    return {_HERE if _is_here(address) else address for address in found}


def _is_here(address: str) -> bool:
    """Nobody may bind to an address that is another machine's."""
    ip = ip_address(address)
    if ip.is_loopback or ip.is_unspecified:
        return True
    try:
        with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
