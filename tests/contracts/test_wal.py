"""The contract of a WalShelf: on a folder, and in memory."""

from pathlib import Path

import pytest

from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.ports import Vault
from fix_vault import new_vault
from fix_wal import WalContract


class TestOnMemory(WalContract):
    @pytest.fixture
    def vault(self) -> Vault:
        return MemoryVault()


class TestOnFolder(WalContract):
    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        return new_vault(FolderStore(tmp_path / "vault"))
