"""Recovery to random moments, each compared row by row with a log of commits that was kept outside of the database.

A row of it: the version, how many moments, how many of them had exactly the rows that they should, and how long each
took from the first byte to the answer. Ends with 1 when one did not.
"""

import argparse
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median

from rich.console import Console

from backstay.adapters.objectstore import FolderStore
from fix_pitr import CONF, Moment, Written, random_moments
from fix_postgres import installed, making
from fix_vault import new_vault

COMMITS = 400
SEED = 20261128


def run(size: str, as_json: bool, words: argparse.Namespace) -> None:
    """`size` is not looked at. `--moments` on every version that is installed here."""
    del size
    wrong = 0
    for major in installed():
        moments = recovered(major, words.moments)
        wrong += sum(one.there != one.wanted for one in moments)
        show(major, moments, as_json)
    if wrong:
        sys.exit(f"{wrong} moments came back with other rows than were committed")


def recovered(major: int, number: int) -> list[Moment]:
    with tempfile.TemporaryDirectory(prefix="pitr-") as folder, making(Path(folder)) as make:
        written = Written(make(major, conf=CONF), Path(folder))
        written.create()
        vault = new_vault(FolderStore(Path(folder) / "vault"))
        written.write(5)
        point = written.take(vault)
        written.write(COMMITS)
        written.keep_log(vault)
        return list(random_moments(written, vault, point, Path(folder), number, SEED))


def show(major: int, moments: list[Moment], as_json: bool) -> None:
    took = sorted(one.took / timedelta(seconds=1) for one in moments)
    told = {
        "major": major, "moments": len(moments), "exact": sum(one.there == one.wanted for one in moments),
        "rows": sorted(len(one.wanted) for one in moments), "median_s": round(median(took), 2),
        "worst_s": round(took[-1], 2),
    }  # fmt: skip
    if as_json:
        print(json.dumps(told), flush=True)
        return
    Console().print(
        f"PostgreSQL {major}: {told['exact']} of {told['moments']} moments row by row as committed; "
        f"{told['median_s']} s each, {told['worst_s']} s at worst; rows at each: {told['rows']}"
    )
