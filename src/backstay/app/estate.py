"""The ports of one plan at one site, bundled for a run: the only place where a component meets its concrete keeper."""

from pathlib import Path
from typing import Literal, assert_never

from backstay.app.home import Home
from backstay.app.reading import readable
from backstay.errors import NotSupported
from backstay.plan import (
    PRIMARY,
    Component,
    FilesSource,
    Mode,
    PerSite,
    Plan,
    PostgresSource,
    Site,
    SqliteSource,
)
from backstay.ports import Keeper, Vault, Workloads
from backstay.values import Between, ComponentName, SiteName, VaultName
from backstay.verbs.estate import Estate, Placed

SANDBOX = SiteName("sandbox")


def estate(home: Home, plan: Plan, site: SiteName, mode: Mode, disaster: Between | None = None) -> Estate:
    """Everything a run of `plan` at `site` may need; nothing is opened before a step asks for it."""
    from backstay.adapters.http import HttpProber

    def keeper(name: ComponentName) -> Placed:
        return Placed(site, keeper_of(home, plan.component(name), site))

    def vault(name: VaultName) -> Vault:
        return readable(home, name)

    def workloads(kind: Literal["process", "deployment"]) -> Workloads:
        return workloads_of(home, plan.site(site), kind)

    def existing(name: ComponentName, kind: str) -> Vault:
        from backstay.app.existing import planned_shelf

        return planned_shelf(home, plan.component(name), kind, site=site)

    return Estate(
        plan=plan,
        site=site,
        mode=mode,
        clock=home.clock,
        secrets=home.secrets,
        keeper=keeper,
        vault=vault,
        history=home.history,
        workloads=workloads,
        prober=HttpProber(home.base, home.clock, home.clock.stop.is_set),
        notifier=Nobody(),
        base=home.base,
        existing=existing,
        disaster=disaster,
    )


class Nobody:
    """The Notifier of a version that cannot send: it says so, and the run goes on."""

    def tell(self, audience: str, message: str) -> None:
        raise NotSupported(f"this version cannot send messages: {audience} was not told")


def keeper_of(home: Home, component: Component, site: SiteName, *, full: bool = True) -> Keeper:
    """The keeper of one component at one site; `full`: it reads every byte again, and trusts no change marks. Raises
    NotSupported for a kind that this version does not take."""
    match component.source:
        case PostgresSource() as source:
            from backstay.adapters.postgres import PostgresKeeper, PostgresPlace

            place = PostgresPlace(
                dsn=address_of(home, component, site),
                data=home.path(data) if source.data and (data := source.data.on(site)) else None,
                bin=home.path(source.binaries) if source.binaries else None,
                way=source.way,
                newest=component.newest,
                site=site,
                scratch=scratch(home),
                limits=component.prove.limits,
            )
            return PostgresKeeper(place, home.clock, full=full)
        case SqliteSource() as source:
            from backstay.adapters.sqlite import SqliteKeeper

            path = _path_at(home, source.path, component, site)
            return SqliteKeeper(path, home.clock, newest=component.newest, scratch=scratch(home))
        case FilesSource() as source:
            from backstay.adapters.files import FilesKeeper

            return FilesKeeper(_path_at(home, source.path, component, site), home.clock, trust_marks=not full)
        case _:
            raise NotSupported(
                f"this version cannot take points of {component.name}: it is of the kind {component.kind}",
                detail="it takes postgres, sqlite and files; the plan may name the others already",
            )


KINDS = frozenset({"postgres", "sqlite", "files"})
"""What this version has a keeper for."""


def supported(component: Component) -> bool:
    return component.kind in KINDS


def address_of(home: Home, component: Component, site: SiteName) -> str:
    """The connection string of a PostgreSQL component. It may hold a password."""
    assert isinstance(component.source, PostgresSource), "only PostgreSQL has one"
    return _at(home, component.source.url, component, site)


def _at(home: Home, value: PerSite, component: Component, site: SiteName) -> str:
    template = value.on(site)
    if template is None:
        raise NotSupported(
            f"the plan does not say where {component.name} is on the site {site}",
            hint=f"give it an address for {site}, beside the one for {PRIMARY}",
        )
    return template.render(home.secrets.value)


def _path_at(home: Home, value: PerSite, component: Component, site: SiteName) -> Path:
    return home.base / _at(home, value, component, site)


def scratch(home: Home) -> Path:
    """A folder of ours for proofs and dumps, beside the journal: on a disk that the operator chose, not in memory."""
    folder = home.state / "scratch"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def workloads_of(home: Home, site: Site, kind: Literal["process", "deployment"]) -> Workloads:
    match kind:
        case "process":
            from backstay.adapters.process import ProcessWorkloads

            return ProcessWorkloads(site, home.secrets, home.base, home.clock)
        case "deployment":
            raise NotSupported(
                "this version stops and starts processes only, and no deployments of a cluster",
                hint="declare the application under `sites.<site>.processes`",
            )
        case _:
            assert_never(kind)
