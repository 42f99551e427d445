"""The plan as one value."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, timedelta
from typing import TypeVar, cast

from backstay.errors import UnknownName
from backstay.plan.parts import Check, Component, Dns, Site, VaultPlace, Watch
from backstay.plan.people import Audience, Authority, Criterion, FollowUp, Person, Role, Vendor
from backstay.plan.procedure import DrillRule, Scenario
from backstay.plan.wording import Objectives, Ref, Space, Template
from backstay.values import (
    ComponentName,
    Digest,
    Period,
    PersonName,
    RoleName,
    ScenarioName,
    SiteName,
    VaultName,
)


@dataclass(frozen=True, slots=True)
class Excluded:
    """What is not protected, said aloud."""

    what: str
    because: str
    agreed_by: PersonName


@dataclass(frozen=True, slots=True)
class System:
    name: str
    title: str
    purpose: str = ""
    owner: str = ""
    approved_by: str = ""
    company: str = ""
    reviewed: date | None = None
    review_every: Period | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    digest: Digest
    version: int
    timezone: str
    system: System
    objectives: Objectives
    sites: Mapping[SiteName, Site]
    vaults: Mapping[VaultName, VaultPlace]
    components: Mapping[ComponentName, Component]
    scenarios: Mapping[ScenarioName, Scenario]
    targets: Mapping[str, timedelta] = field(default_factory=dict[str, timedelta])
    excluded: tuple[Excluded, ...] = ()
    dns: Dns | None = None
    smoke: Mapping[str, Check] = field(default_factory=dict[str, Check])
    watch: Watch | None = None
    alive: tuple[Template, timedelta] | None = None
    people: Mapping[PersonName, Person] = field(default_factory=dict[PersonName, Person])
    roles: Mapping[RoleName, Role] = field(default_factory=dict[RoleName, Role])
    vendors: tuple[Vendor, ...] = ()
    authority: Authority = Authority()
    criteria: tuple[Criterion, ...] = ()
    audiences: Mapping[str, Audience] = field(default_factory=dict[str, Audience])
    war_room: str | None = None
    templates: Template | None = None
    """A folder with the plan's own messages. None: the built-in ones."""
    after: tuple[FollowUp, ...] = ()
    postmortem: Mapping[str, Period] = field(default_factory=dict[str, Period])
    drills: tuple[DrillRule, ...] = ()
    witness: VaultName | None = None
    """The vault in which journal epochs are taken. None: the first vault."""

    def component(self, name: str) -> Component:
        return _named(self.components, ComponentName(name), "component")

    def scenario(self, name: str) -> Scenario:
        return _named(self.scenarios, ScenarioName(name), "scenario")

    def vault(self, name: str) -> VaultPlace:
        return _named(self.vaults, VaultName(name), "vault")

    def site(self, name: str) -> Site:
        return _named(self.sites, SiteName(name), "site")

    def vaults_of(self, component: Component) -> tuple[VaultName, ...]:
        return component.vaults or tuple(self.vaults)

    def witness_vault(self) -> VaultName:
        return self.witness or next(iter(self.vaults))

    def secrets(self) -> tuple[Ref, ...]:
        """Every secret that the plan refers to, once, in the order of their names."""
        refs = {ref for ref in _refs(self) if ref.space in (Space.ENV, Space.FILE)}
        return tuple(sorted(refs, key=str))

    def objectives_of(self, component: Component) -> Objectives:
        """The component's own promise, else the system's, field by field."""
        return component.objectives.over(self.objectives)


def _refs(value: object) -> Iterator[Ref]:
    """The references of every template in it, however deep: a part of the plan that is new has them too."""
    if isinstance(value, Template):
        yield from value.refs()
    elif is_dataclass(value):
        for one in fields(value):
            yield from _refs(getattr(value, one.name))
    elif isinstance(value, Mapping):
        for one in cast("Mapping[object, object]", value).values():
            yield from _refs(one)
    elif isinstance(value, tuple):
        for one in cast("tuple[object, ...]", value):
            yield from _refs(one)


_K = TypeVar("_K", bound=str)
_V = TypeVar("_V")


def _named(things: Mapping[_K, _V], name: _K, what: str) -> _V:
    try:
        return things[name]
    except KeyError:
        known = ", ".join(sorted(things)) or "none"
        near = difflib.get_close_matches(name.lower(), list(things), n=1)
        hint = f"did you mean {near[0]}?" if near else "`backstay plan show` has every name"
        raise UnknownName(
            f"the plan has no {what} {name!r}", detail=f"{what}s of the plan: {known}", hint=hint
        ) from None
