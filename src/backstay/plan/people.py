"""Who: people, roles, authority, audiences."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from backstay.plan.wording import Template
from backstay.values import (
    Period,
    PersonName,
    RoleName,
)


@dataclass(frozen=True, slots=True)
class Person:
    id: PersonName
    name: str
    email: str | None = None
    phone: Template | None = None
    page: Template | None = None
    key: str | None = None
    """`ssh-ed25519 AAAA…`: approvals are checked with it."""


@dataclass(frozen=True, slots=True)
class Role:
    name: RoleName
    primary: PersonName
    backup: PersonName | None = None


@dataclass(frozen=True, slots=True)
class Vendor:
    name: str
    service: str
    contact: str
    sla: str


@dataclass(frozen=True, slots=True)
class Criterion:
    what: str
    when: str | None = None
    """`smoke all red for 10m`, `rows refuted > 50%`, `forecast > 2h`; None: a person judges."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who may declare a disaster alone, and who needs whom to agree."""

    alone: tuple[PersonName, ...] = ()
    with_approval: RoleName | None = None
    approvers: tuple[PersonName, ...] = ()
    needed: int = 1


@dataclass(frozen=True, slots=True)
class Audience:
    """`internal`, `status_page`, `customers`, `social`."""

    name: str
    to: tuple[Template, ...]
    within: timedelta | None = None
    every: timedelta | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class FollowUp:
    name: str
    within: Period
