"""The contract of a Store on Google Cloud Storage and on Azure Blob, as their emulators keep it."""

from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore import Address, Reach
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.errors import AccessDenied, BackstayError, BucketMissing, StoreUnreachable, Usage
from backstay.ports import Key, Store
from backstay.vault.probing import probe
from fix_clouds import Azure, Gcs
from fix_store_contract import StoreContract
from fix_vault import SMALL, back_up, expected, held, new_vault, noise


class TestGcs(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, gcs: Gcs) -> Store:
        return gcs.store()


class TestAzure(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, azure: Azure) -> Store:
        return azure.store()


@pytest.fixture(params=["gcs", "azure"])
def cloud(request: pytest.FixtureRequest) -> Gcs | Azure:
    found: Gcs | Azure = request.getfixturevalue(request.param)
    return found


def test_a_long_object_goes_in_parts(cloud: Gcs | Azure) -> None:
    store, part = cloud.store(), noise(1 << 20)
    store.put(Key("packs/db/long"), (part for _ in range(40)))
    assert store.get(Key("packs/db/long"), 39 << 20) == part
    assert store.get(Key("packs/db/long"), 5 << 20, 17 << 20) == part * 17
    with pytest.raises(StoreUnreachable, match="already in"):
        store.put(Key("packs/db/long"), [b"x"])


def test_a_vault_lives_there(cloud: Gcs | Azure) -> None:
    vault = new_vault(cloud.store())
    point = back_up(vault, SMALL)
    assert held(vault.open(point.id)) == expected(SMALL)
    assert vault.points() == [point]


def test_a_probe_finds_nothing_wrong(cloud: Gcs | Azure) -> None:
    found = probe(cloud.store(), SystemClock())
    assert [one for one in found.tried if one.works is not True] == []


def test_a_bucket_that_is_not_there_is_named(cloud: Gcs | Azure) -> None:
    store = cloud.store(bucket="not-there")
    with pytest.raises(BucketMissing, match="'not-there'"):
        store.put(Key("a"), [b"x"])
    with pytest.raises(BackstayError):  # fake-gcs-server answers 500 to a listing
        list(store.list())


def test_a_wrong_key_of_azure_is_refused_and_never_shown(azure: Azure) -> None:
    key = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
    store = BucketStore(Address("az", "tests", "x"), azure.reach(key))
    with pytest.raises(AccessDenied, match="refuses us") as caught:
        store.put(Key("a"), [b"x"])
    assert key not in str(caught.value)


def test_settings_that_make_no_client_are_refused_without_repeating_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Usage, match="whose container"):
        BucketStore(Address("az", "tests"))
    for address, credentials in [
        (Address("gs", "tests"), {"service_account": "SECRET is no JSON"}),
        (Address("az", "tests"), {"account_key": "SECRET is no base64"}),
    ]:
        with pytest.raises(Usage, match="cannot be reached") as caught:
            BucketStore(address, Reach(account="mine", credentials=credentials))
        assert "SECRET" not in str(caught.value)
        assert caught.value.__suppress_context__
