"""How much each check weighs. One table; whoever has to decide what a failed check means asks it.

A proof is refuted by any check that failed, and says so with its exit code. But on the worst day the question is
another one: is there anything better? A point whose index has to be rebuilt has all its rows; an older one has not. So
only what is *critical* bars a point from being chosen. What could not be checked weighs as much as if it had failed.
"""

from collections.abc import Mapping
from enum import Enum

from backstay.facts import CheckResult


class Severity(Enum):
    CRITICAL = "critical"
    """Data is missing, wrong, or does not come up. No automatic choice takes the point."""
    SERIOUS = "serious"
    """All rows are there; something has to be mended after a restore, and the sentence names it."""
    PROMISE = "promise"
    """The data is sound; what was promised about it (its age, its time, its structure) was not kept."""


_CRITICAL, _SERIOUS, _PROMISE = Severity.CRITICAL, Severity.SERIOUS, Severity.PROMISE

SEVERITIES: Mapping[str, Severity] = {
    "B01": _CRITICAL, "B02": _CRITICAL, "B03": _CRITICAL, "B04": _CRITICAL,
    "R01": _CRITICAL, "R02": _CRITICAL, "R03": _CRITICAL, "R04": _CRITICAL, "R05": _CRITICAL,
    "S01": _CRITICAL, "S02": _PROMISE,
    "V01": _CRITICAL, "V05": _CRITICAL,
    "I01": _CRITICAL, "I02": _SERIOUS, "I03": _SERIOUS, "I04": _SERIOUS, "I05": _SERIOUS, "I06": _SERIOUS,
    "I07": _SERIOUS, "I08": _CRITICAL, "I09": _CRITICAL, "I10": _CRITICAL,
    "M01": _CRITICAL, "M02": _CRITICAL, "M03": _CRITICAL, "M05": _CRITICAL,
    "C01": _PROMISE, "C02": _PROMISE,
}  # fmt: skip
"""By the code of the check. A code that is not here, of another version, is critical."""


def severity(code: str) -> Severity:
    return SEVERITIES.get(code, Severity.CRITICAL)


def critical(check: CheckResult) -> bool:
    return severity(check.code) is Severity.CRITICAL
