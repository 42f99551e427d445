"""Could it be recovered now? Given what was seen, the lines that are printed, and what each exits with."""

from collections.abc import Iterable

import pytest

from backstay import readiness
from backstay.readiness import Line, SecretSeen, State, VaultSeen
from backstay.values import VaultName

LOCAL, OFF = VaultName("local"), VaultName("off-site")


def states(lines: Iterable[Line]) -> list[tuple[str, str, int]]:
    return [(line.code, line.state.value, line.exits) for line in lines]


def test_a_vault_that_opens_for_two_keys_passes() -> None:
    assert states(readiness.vaults([VaultSeen(LOCAL, None, True, 2)])) == [("Y01", "passed", 0), ("Y06", "passed", 0)]


def test_a_vault_that_does_not_open_fails_and_who_else_opens_it_is_not_verified() -> None:
    lines = list(readiness.vaults([VaultSeen(OFF, ("it does not answer", 27))]))
    assert states(lines) == [("Y01", "failed", 27), ("Y06", "not verified", 35)]
    assert "off-site" in lines[0].said
    assert "it does not answer" in lines[0].said


def test_an_unknown_root_is_not_verified_and_one_key_is_too_few() -> None:
    lines = list(readiness.vaults([VaultSeen(LOCAL, None, False, 1, ("age1x",))]))
    assert states(lines) == [("Y01", "not verified", 35), ("Y06", "failed", 23), ("Y07", "failed", 23)]
    assert all(line.fix for line in lines)


SECRETS: dict[str, tuple[SecretSeen, list[tuple[str, str, int]]]] = {
    "here and sealed": (SecretSeen("a", True, (LOCAL,)), [("Y02", "passed", 0), ("Y03", "passed", 0)]),
    "here, not sealed": (SecretSeen("a", True, ()), [("Y02", "passed", 0), ("Y03", "failed", 12)]),
    "changed": (SecretSeen("a", True, (LOCAL,), (LOCAL,)), [("Y02", "passed", 0), ("Y03", "failed", 12)]),
    "sealed only": (SecretSeen("a", False, (LOCAL,)), [("Y02", "passed", 0), ("Y03", "not verified", 35)]),
    "nowhere": (SecretSeen("a", False, ()), [("Y02", "failed", 12), ("Y03", "passed", 0)]),
    "for an older plan": (
        SecretSeen("a", True, (LOCAL,), older_plan=True), [("Y02", "passed", 0), ("Y03", "passed", 0)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SECRETS)
def test_secrets(case: str) -> None:
    seen, expected = SECRETS[case]
    assert states(readiness.secrets([seen])) == expected


def test_a_plan_without_secrets_has_nothing_to_say_of_them() -> None:
    assert list(readiness.secrets([])) == []


def test_a_program_that_is_missing_fails() -> None:
    assert states(readiness.programs({"PostgreSQL 17 for database": None})) == [("Y10", "failed", 43)]
    assert states(readiness.programs({"PostgreSQL 17 for database": "/bin"})) == [("Y10", "passed", 0)]
    assert list(readiness.programs({})) == []


def test_every_code_that_is_given_is_known() -> None:
    lines = [
        *readiness.vaults([VaultSeen(LOCAL, None, False, 1, ("age1x",))]),
        *readiness.secrets([SecretSeen("a", True, ())]), *readiness.programs({"x": None}),
    ]  # fmt: skip
    assert {line.code for line in lines} <= readiness.CODES.keys()
    assert {line.state for line in lines} <= set(State)
