"""Laws: the plan's secrets in a vault. Readers get them, hosts that write see only whether they changed, nobody else
sees anything."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from backstay.adapters.memory.store import MemoryStore
from backstay.app import sealing
from backstay.errors import WrongKey
from backstay.ports import Key
from backstay.values import Digest
from backstay.vault import (
    Repository,
    check,
    create,
    is_sealed,
    open_secrets,
    open_vault,
    seal_secrets,
    sealed_secrets,
)
from backstay.vault.roles import Role
from backstay.vault.signers import enrolment
from fix_vault import NOW, PLAN, keyring, later

OWNER, HOST, STRANGER = keyring(0), keyring(1), keyring(2)
CANARY = "canary-7f3a9c1d-never-to-be-seen"
VALUES = {"${env:DATABASE_URL}": f"postgres://u:{CANARY}@db/x", "${file:token}": f"{CANARY}-ü\udcff"}
OTHER = Digest("sha256:" + "1" * 64)


def a_vault() -> tuple[MemoryStore, Repository]:
    """Made on a host that only writes, for a reader elsewhere."""
    store = MemoryStore()
    create(store, plan_name="p", keys=HOST, recipients=[OWNER.recipient or ""], now=NOW)
    return store, open_vault(store, "local", HOST)


def reading(store: MemoryStore) -> Repository:
    return open_vault(store, "local", replace(OWNER, trusted=frozenset({HOST.writer or b""})))


def test_a_host_that_only_writes_seals_what_it_cannot_open_and_a_reader_gets_it() -> None:
    store, host = a_vault()
    sealed = seal_secrets(host, PLAN, VALUES, NOW)
    assert sealed_secrets(host) == [sealed]
    with pytest.raises(WrongKey, match="cannot read data back"):
        open_secrets(host, sealed)
    reader = reading(store)
    assert open_secrets(reader, sealed_secrets(reader)[0]) == VALUES
    assert list(check(reader)) == list(check(host)) == []


def test_whether_a_value_changed_can_be_told_without_opening_anything() -> None:
    _, host = a_vault()
    sealed = seal_secrets(host, PLAN, VALUES, NOW)
    for ref, value in VALUES.items():
        assert is_sealed(host, sealed, ref, value)
        assert not is_sealed(host, sealed, ref, value + "!")
    assert not is_sealed(host, sealed, "${file:token}", VALUES["${env:DATABASE_URL}"])
    assert not is_sealed(host, sealed, "${env:UNKNOWN}", CANARY)


def test_the_same_value_sealed_twice_has_two_digests() -> None:
    _, host = a_vault()
    one, two = (seal_secrets(host, PLAN, VALUES, later(minute)) for minute in (0, 1))
    assert sealed_secrets(host) == [one, two]
    assert not set(one.digests.values()) & set(two.digests.values())


def test_no_value_is_in_any_object_nor_in_what_is_shown() -> None:
    store, host = a_vault()
    sealed = seal_secrets(host, PLAN, VALUES, NOW)
    assert CANARY.encode() not in b"".join(store.objects.values())
    boxes = [host.reopen(listed.key).body for listed in store.list("secrets/") if listed.key.endswith("list")]
    assert CANARY not in repr(sealed) + repr(boxes)


def test_letters_of_two_plans_stand_side_by_side() -> None:
    store, host = a_vault()
    seal_secrets(host, PLAN, VALUES, NOW)
    seal_secrets(host, OTHER, {"${env:A}": "a"}, later(1))
    reader = reading(store)
    assert [(one.plan, sorted(one.digests)) for one in sealed_secrets(reader)] == [
        (PLAN, sorted(VALUES)), (OTHER, ["${env:A}"]),
    ]  # fmt: skip


def test_a_letter_without_its_list_and_a_stranger_s_are_passed_over() -> None:
    store, host = a_vault()
    sealed = seal_secrets(host, PLAN, VALUES, NOW)
    for listed in list(store.list("secrets/")):
        if listed.key.endswith("list"):
            store.put_if_absent(Key(listed.key.replace("/2026", "/2027")), store.objects[listed.key])
            store.objects[listed.key] = b"rubbish"
    reader = reading(store)
    assert sealed_secrets(reader) == []
    assert len(reader.passed_over) == 2
    assert sealed.key not in reader.passed_over


def test_a_letter_that_was_spoilt_does_not_keep_the_others() -> None:
    store, host = a_vault()
    seal_secrets(host, PLAN, VALUES, NOW)
    newer = seal_secrets(host, PLAN, VALUES, NOW + timedelta(hours=1))
    store.objects[newer.key] = b"rubbish"
    reader = reading(store)
    home: Any = SimpleNamespace(vaults={"local": reader})
    assert sealing.opened(home) == VALUES
    assert newer.key in reader.passed_over


@pytest.mark.parametrize("role", [Role.PROVER, Role.RECOVERER])
def test_who_makes_no_points_seals_no_secrets(role: Role) -> None:
    """Else a prover's thief could send the next recovery to a database of his own."""
    store, host = a_vault()
    family = host.opened.family
    store.put_if_absent(*enrolment(OWNER.writer or b"", role, HOST, family=family, now=NOW))
    with pytest.raises(WrongKey, match=f"enrolled as a {role.value}, and may not write secrets"):
        seal_secrets(reading(store), PLAN, VALUES, NOW)
