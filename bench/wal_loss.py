"""What a crash costs with the log followed: a writer with numbered rows, and the whole server killed (kill -9) at a
random moment, again and again. Each time only the vault is left: the point from before, and the log.

A row of it: rows that the writer saw committed, rows that the server had been told to be durable, rows that came back.
Every confirmed row has to be there; what is lost is said in rows and in seconds, as a distribution.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backstay.adapters.objectstore import FolderStore
from backstay.adapters.postgres.receiving import Closing
from fix_postgres import making, postgres_bin
from fix_receiving import Crashes, Loss
from fix_vault import new_vault

CONF = {"fsync": "on", "max_slot_wal_keep_size": "4GB"}
SEED = 20261128


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    """`size` is not looked at. `--crashes` times each: the server alone, and the receiver with it."""
    del size
    bad = 0
    for both, every in ((False, 5.0), (True, 5.0), (True, 1.0)):
        losses = crashed(words.crashes, every, both)
        bad += sum(loss.recovered < loss.confirmed for loss in losses)
        show(f"kill -9 of the server{' and the receiver' if both else ''}, --every {every:g}s", losses, as_json)
    if bad:
        sys.exit(f"{bad} times a row that was confirmed did not come back")


def crashed(times: int, every_s: float, both: bool) -> list[Loss]:
    with tempfile.TemporaryDirectory(prefix="wal-loss-") as folder, making(Path(folder)) as make:
        postgres_bin()
        server = make(conf=CONF)
        vault = new_vault(FolderStore(Path(folder) / "vault"))
        crashes = Crashes(server, vault, Path(folder), Closing(timedelta(seconds=every_s)))
        return list(crashes.run(crashes.take(), times, random.Random(SEED), (0.5, 0.5 + every_s), both=both))


def show(work: str, losses: Sequence[Loss], as_json: bool) -> None:
    rows, seconds = sorted(loss.lost for loss in losses), sorted(loss.lost_s for loss in losses)
    told = {
        "work": work, "crashes": len(losses),
        "committed": losses[-1].committed,
        "confirmed_and_missing": sum(one.recovered < one.confirmed for one in losses),
        "lost_rows": rows, "lost_s": [round(one, 3) for one in seconds],
    }  # fmt: skip
    if as_json:
        print(json.dumps(told), flush=True)
        return
    table = Table("", "least", "median", "p90", "most", box=None, title=f"{told['work']}, {len(losses)} times")
    table.add_row("rows lost", *(str(value) for value in _spread(rows)))
    table.add_row("seconds lost", *(f"{value:.3f}" for value in _spread(seconds)))
    Console().print(table)
    Console().print(f"{told['committed']} rows committed; confirmed and missing: {told['confirmed_and_missing']} times")


def _spread(values: Sequence[float]) -> tuple[float, float, float, float]:
    return values[0], values[len(values) // 2], values[int(len(values) * 0.9)], values[-1]
