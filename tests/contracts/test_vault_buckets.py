"""The contract of a Vault in buckets, opened as the command line opens them: with patience around."""

from datetime import timedelta
from pathlib import Path

import pytest

from backstay.adapters.around import Patient
from backstay.adapters.clock import SystemClock
from backstay.adapters.objectstore.bucket import BucketStore
from backstay.ports import Vault
from fix_buckets import SeaweedFS
from fix_clouds import Azure, Gcs
from fix_vault import new_vault
from fix_vault_contract import VaultContract


def vault_in(store: BucketStore) -> Vault:
    return new_vault(Patient(store, SystemClock(), total=timedelta(seconds=30)))


class TestInS3(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path, weed: SeaweedFS) -> Vault:
        return vault_in(weed.store())


class TestInGcs(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path, gcs: Gcs) -> Vault:
        return vault_in(gcs.store())


class TestInAzure(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path, azure: Azure) -> Vault:
        return vault_in(azure.store())
