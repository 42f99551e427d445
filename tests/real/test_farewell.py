"""The last resort: nothing is left but the folder of the vault and the key. No plan, no journal, no environment.

Everything is taken to an empty directory, and everything that Backstay could have leaned on is taken away.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fix_estate import DATABASE, Done, Estate, Rows, program, rows_of
from fix_postgres import MakePostgres

CATALOGUE = "catalogue.txt"
CONFIGURATION = "data/postgresql.auto.conf"
EXTRACTOR = Path(__file__).resolve().parents[2] / "tools" / "backstay-extract.py"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An empty directory with the vault and the key, and an empty environment."""

    folder: Path

    def run(self, *argv: str | Path) -> Done:
        words = tuple(map(str, argv))
        ended = subprocess.run(
            ["env", "-i", f"PATH={os.defpath}", *words],
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return Done(words, ended.returncode, ended.stdout, ended.stderr)

    def backstay(self, *words: str) -> Done:
        return self.run(*program(), *words, "--vault", "vault", "--key", "key")


@pytest.fixture(scope="module")
def elsewhere(protected_original: Estate, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(protected_original.vault, folder / "vault")
    shutil.copy2(protected_original.key, folder / "key")
    return Elsewhere(folder)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_vault_and_key_alone_the_points_are_listed_and_a_server_comes_up_with_every_row(
    elsewhere: Elsewhere, make_postgres: MakePostgres, protected_original: Estate, point_rows: Rows
) -> None:
    listed = elsewhere.backstay("points", "--json").good().json["points"]
    assert [(one["component"], one["proof"]) for one in listed] == [("database", "proven"), ("settings", "proven")]
    said = elsewhere.backstay("restore", DATABASE, "--to", "laid").good().out
    assert "pg_ctl -D" in said, "the next step is said"
    server = make_postgres(data=elsewhere.folder / "laid" / "data")
    assert rows_of(server.dsn("catalytic"), password=protected_original.secrets["postgres-password"]) == point_rows


def test_the_extractor_reads_the_same_bytes_without_backstay(elsewhere: Elsewhere) -> None:
    for point in elsewhere.backstay("points", "--json").good().json["points"]:
        ours, theirs = f"ours-{point['component']}", f"theirs-{point['component']}"
        elsewhere.backstay("restore", point["component"], "--to", ours, "--point", point["id"]).good()
        # -I: not even its own folder is looked into for modules.
        elsewhere.run(sys.executable, "-I", EXTRACTOR, "extract", "vault", "key", point["id"], theirs).good()
        extracted, laid = files_below(elsewhere.folder / theirs), files_below(elsewhere.folder / ours)
        differing = sorted(name for name, data in extracted.items() if laid.get(name) != data)
        added = sorted(laid.keys() - extracted.keys())
        if point["component"] == DATABASE:
            # What a server needs to recover by itself; and its control file is poisoned until it has. What the source
            # said of its objects is for proofs.
            assert (differing, added) == (
                [CATALOGUE, "data/global/pg_control", CONFIGURATION],
                ["data/recovery.signal"],
            )
            assert laid[CONFIGURATION].startswith(extracted[CONFIGURATION])
        else:
            assert (differing, added) == ([], [])
        assert sum(map(len, extracted.values())) == point["size_bytes"]


def test_reading_changes_nothing_in_the_vault(elsewhere: Elsewhere, protected_original: Estate) -> None:
    """Somebody who looks at points on a laptop must not take the pen from the journal of the server."""
    elsewhere.backstay("points").good()
    elsewhere.backstay("restore", "settings", "--to", "another").good()
    assert files_below(elsewhere.folder / "vault") == files_below(protected_original.vault)
