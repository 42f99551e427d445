"""Taking in what a machine that was left behind had written on its own: a side branch, beside the history."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.adapters import journal as journals
from backstay.app.home import Home
from backstay.facts import SideImported
from backstay.values import count, stamp


def import_side(home: Home, source: Path | None, by: str) -> list[SideImported]:
    """From another journal's file or state folder; without one, from what it sealed into the vaults after we had taken
    over. Raises what reading it raises, JournalReadOnly, StoreUnreachable."""
    home.refuse_if_overtaken()
    vaults = list(home.vaults.values())
    tails = (
        journals.tails_in_vaults(home.journal, vaults)
        if source is None
        else [journals.tail_in(home.journal, source.absolute(), home.clock)]
    )
    kept = [journals.keep_side(home.journal, vaults, tail, by) for tail in tails]
    home.seal()
    return [one for one in kept if one is not None]


@dataclass(frozen=True, slots=True)
class SideTold:
    lines: tuple[str, ...]
    plain: tuple[Mapping[str, Any], ...]
    sound: bool
    """Whether every branch is what was imported."""


def side_facts(home: Home, last: int) -> SideTold:
    """The newest facts of all side branches, oldest first."""
    lines: list[str] = []
    plain: list[Mapping[str, Any]] = []
    sides = journals.side_branches(home.journal, list(home.vaults.values()))
    for side in sides:
        one = side.imported
        facts = count(one.last - one.first + 1, "fact")
        lines.append(f"journal {one.journal}, facts {one.first} to {one.last}: {facts} that are no part of the history")
        if side.trouble:
            lines.append(f"✘ they cannot be shown: {side.trouble}")
        for row in side.rows[-last:] if last > 0 else ():
            stored = json.loads(row.body)
            lines.append(f"  {row.at:%Y-%m-%d %H:%M:%S}  {row.stream} {row.seq}  {stored.get('fact', '?')}")
            plain.append(
                {"journal": one.journal, "stream": row.stream, "seq": row.seq, "at": stamp(row.at), "fact": stored}
            )
    if not sides:
        lines.append("there is no side branch: nobody wrote on his own")
    return SideTold(tuple(lines), tuple(plain), not any(side.trouble for side in sides))
