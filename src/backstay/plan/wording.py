"""Templates, schedules and expectations: the small languages of a plan, as values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal

from backstay.values import (
    Period,
)

# ── templates ───────────────────────────────────────────────────────────────────────────────────────


class Space(Enum):
    """The closed namespaces of `${…}`."""

    ENV = "env"
    """`${env:NAME}`: a secret from the environment."""
    FILE = "file"
    """`${file:PATH}`: a secret from a file; the last newline is dropped."""
    SITE = "site"
    """`${site.api}`: an endpoint of the site the run works on."""
    STEPS = "steps"
    """`${steps.restore.port}`: a value that an earlier step of the run gave."""
    SAVED = "saved"
    """`${saved.token}` (short: `${token}` inside a flow): taken from an earlier answer of the same flow."""
    RUN = "run"
    """`${run.id}`, `${run.mode}`."""


@dataclass(frozen=True, slots=True)
class Ref:
    space: Space
    path: str
    """What stands after the namespace: `DATABASE_URL`, `api`, `restore.port`."""

    def __str__(self) -> str:
        mark = ":" if self.space in (Space.ENV, Space.FILE) else "."
        return f"${{{self.space.value}{mark}{self.path}}}"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with references in it. Printing one never resolves it."""

    parts: tuple[str | Ref, ...]

    def refs(self) -> Iterator[Ref]:
        return (part for part in self.parts if isinstance(part, Ref))

    def is_secret(self) -> bool:
        return any(ref.space in (Space.ENV, Space.FILE) for ref in self.refs())

    def render(self, look_up: Callable[[Ref], str]) -> str:
        """The text with every reference replaced. `look_up` raises for what it does not know."""
        return "".join(part if isinstance(part, str) else look_up(part) for part in self.parts)

    def __str__(self) -> str:
        return "".join(str(part) for part in self.parts)


# ── when ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class DailyAt:
    at: time


@dataclass(frozen=True, slots=True)
class Every:
    period: Period


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields, in the plan's time zone; checked by config."""

    line: str


Schedule = DailyAt | Every | Cron


@dataclass(frozen=True, slots=True)
class Objectives:
    """What was promised. None: nothing was."""

    rto: timedelta | None = None
    rpo: timedelta | None = None
    availability: Decimal | None = None
    """Percent, 99.9."""

    def over(self, wider: "Objectives") -> "Objectives":
        """These promises, and where there is none that of `wider`. A promise of nothing (RPO 0) is a promise."""
        return Objectives(
            self.rto if self.rto is not None else wider.rto,
            self.rpo if self.rpo is not None else wider.rpo,
            self.availability if self.availability is not None else wider.availability,
        )


# ── expectations ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Compare:
    """`>= 1`, `= 0`, `= active`: against a number, or for `=` and `!=` a text."""

    op: Literal["=", "!=", ">=", ">", "<=", "<"]
    value: Decimal | str


@dataclass(frozen=True, slots=True)
class OneOf:
    """`in {a, b}`."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """`within 24h`: a moment no further than this before the point's own moment."""

    span: timedelta


Expectation = Compare | OneOf | Within


@dataclass(frozen=True, slots=True)
class Question:
    """Asked of a restored database. One row with one column comes back; only that value is ever shown."""

    sql: str
    expect: Expectation
    name: str


@dataclass(frozen=True, slots=True)
class Canary:
    """A question whose wrong answer makes a point suspicious: not refuted, and not chosen before a person looked."""

    sql: str
    name: str
    expect: Expectation | None = None
    """None: its number must never go down from one proof to the next."""
