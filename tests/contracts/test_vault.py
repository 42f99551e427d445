"""The contract of a Vault, its writers and readers: on a folder, and in memory."""

from pathlib import Path

import pytest

from backstay.adapters.memory.vault import MemoryVault
from backstay.adapters.objectstore import FolderStore
from backstay.errors import Damaged
from backstay.ports import Vault
from fix_vault import (
    DB,
    SMALL,
    Crash,
    File,
    back_up,
    expected,
    held,
    later,
    new_vault,
)
from fix_vault_contract import VaultContract


class TestOnMemory(VaultContract):
    """The twin that laws and scenarios run on: the whole contract, and what only a test asks of a vault."""

    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        return MemoryVault()

    @pytest.mark.parametrize(("path", "sound"), [("base/1/1259", "base/1/1249"), ("dump/tenants", "PG_VERSION")])
    def test_a_damaged_file_cannot_be_read_and_every_other_can(self, tmp_path: Path, path: str, sound: str) -> None:
        vault = MemoryVault()
        before, point = back_up(vault, SMALL), back_up(vault, SMALL, now=later(1))
        vault.damage(point.id, path)
        reader = vault.open(point.id)
        with pytest.raises(Damaged, match=path):
            list(reader.read(path))
        with pytest.raises(Damaged, match=path):
            reader.extract(tmp_path / "to")
        other = SMALL[sound]
        assert isinstance(other, File)
        assert b"".join(reader.read(sound)) == other.data
        assert held(vault.open(before.id)) == expected(SMALL)

    def test_a_point_is_announced_when_it_becomes_real(self) -> None:
        seen: list[tuple[str, int]] = []
        vault = MemoryVault(breathe=lambda what: seen.append((what, len(vault.points()))))
        back_up(vault, SMALL)
        assert seen == [("seal database", 0), ("seal database, done", 1)]

    @pytest.mark.parametrize(("dies_at", "sealed"), [("seal database", 0), ("seal database, done", 1)])
    def test_a_writer_may_die_before_its_point_is_real_and_after(self, dies_at: str, sealed: int) -> None:
        def breathe(what: str) -> None:
            if what == dies_at:
                raise Crash(what)

        vault = MemoryVault(breathe=breathe)
        with pytest.raises(Crash):
            back_up(vault, SMALL)
        assert len(vault.points()) == sealed
        assert [became for _, became in vault.reserved(DB)] == [bool(sealed)]
        for point in vault.points():
            assert held(vault.open(point.id)) == expected(SMALL)


class TestOnFolder(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path) -> Vault:
        return new_vault(FolderStore(tmp_path / "vault"))
