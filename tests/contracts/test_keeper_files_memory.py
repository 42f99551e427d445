"""The contract of Keeper, on the twin in memory and on a folder of files."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from backstay.adapters.clock import SystemClock
from backstay.adapters.files import FilesKeeper
from backstay.adapters.memory.clock import BEGINNING, MemoryClock
from backstay.adapters.memory.keeper import MemoryKeeper
from backstay.adapters.memory.tables import MemoryComponent, State, digest
from backstay.ports import Keeper
from backstay.values import LineageId
from fix_keeper import KeeperContract, KeptSite
from fix_story import DATABASE


class InMemory:
    def __init__(self) -> None:
        self.component = MemoryComponent(DATABASE, State({}, LineageId("inc-1")))
        for table in ("tenants", "users"):
            self.component.write(table, BEGINNING, text=table)

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        self.component.breathe = reached
        return MemoryKeeper(self.component, MemoryClock())

    def change(self) -> None:
        self.component.write("users", BEGINNING)

    def destroy(self) -> None:
        self.component.drop("users")

    def clear(self) -> None:
        self.component.state, self.component.running = None, False

    def content(self) -> Mapping[str, str]:
        return {table: digest(rows) for table, rows in self.component.up().tables.items()}


class InAFolder:
    def __init__(self, base: Path) -> None:
        self.path, self.number = base / "srv" / "data", 0
        (self.path / "deep" / "er").mkdir(parents=True)
        (self.path / "a.txt").write_text("a")
        (self.path / "deep" / "er" / "b.bin").write_bytes(os.urandom(300_000))
        (self.path / "empty").mkdir()
        (self.path / "link").symlink_to("deep/er/b.bin")
        (self.path / "dangling").symlink_to("/no/where")
        (self.path / "script").write_text("#!/bin/sh\n")
        (self.path / "script").chmod(0o750)

    def keeper(self, reached: Callable[[str], None]) -> Keeper:
        return FilesKeeper(self.path, SystemClock(), reached=reached)

    def change(self) -> None:
        self.number += 1
        (self.path / f"new-{self.number}").write_text("new")

    def destroy(self) -> None:
        (self.path / "a.txt").unlink()
        (self.path / "deep" / "er" / "b.bin").write_bytes(b"")

    def clear(self) -> None:
        self.path.rename(self.path.with_name("gone"))

    def content(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = f"{path.stat().st_mode:o} {'' if path.is_dir() else path.read_bytes().hex()}"
        return found


class TestMemory(KeeperContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> KeptSite:
        return InMemory()


class TestFiles(KeeperContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> KeptSite:
        return InAFolder(tmp_path)
