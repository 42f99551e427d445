"""Reading `<timeline>.history`: where a cluster left the timelines before this one.

One line for each, oldest first: `1<TAB>0/3000000<TAB>no recovery target specified`; `#` begins a comment (timeline.c,
readTimeLineHistory). Who wrote the file is a server, which may be damaged, or be somebody else: it is read as strictly
as PostgreSQL does, and places that run backwards, which PostgreSQL lets pass, are refused.
"""

import re
from collections.abc import Mapping

from backstay.lsn import lsn, say_lsn
from backstay.reach.words import Left

MOST_BYTES = 1 << 20
"""A line has about fifty bytes: twenty thousand recoveries of one cluster."""

MOST_REASON = 200

_LINE = re.compile(r"([0-9]{1,10})[ \t]+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:[ \t]+(.*))?\Z", re.ASCII)


def read_history(timeline: int, text: bytes) -> tuple[Left, ...]:
    """What is before `timeline`, oldest first. Raises ValueError with the number of the line and the reason."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text)} bytes, more than any history")
    found = list[Left]()
    for number, raw in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        parts = _LINE.match(line)
        if parts is None:
            raise ValueError(f"line {number} is not a timeline and a place")
        left = Left(int(parts[1]), lsn(parts[2]), _shown(parts[3] or ""))
        if not 0 < left.timeline < timeline:
            raise ValueError(f"line {number} names timeline {left.timeline} as older than {timeline}")
        if found and left.timeline <= found[-1].timeline:
            raise ValueError(f"line {number} names timeline {left.timeline} after {found[-1].timeline}")
        if found and left.at < found[-1].at:
            raise ValueError(f"line {number} goes back from {say_lsn(found[-1].at)} to {say_lsn(left.at)}")
        found.append(left)
    if not found:
        raise ValueError("it names no timeline")
    return tuple(found)


def read_histories(kept: Mapping[int, bytes]) -> tuple[dict[int, tuple[Left, ...]], dict[int, str]]:
    """Those that make sense, and why the others do not."""
    good, bad = dict[int, tuple[Left, ...]](), dict[int, str]()
    for timeline, text in kept.items():
        try:
            good[timeline] = read_history(timeline, text)
        except ValueError as wrong:
            bad[timeline] = str(wrong)
    return good, bad


def _shown(reason: str) -> str:
    """Goes to a terminal: no control characters, and short."""
    return "".join(sign if sign.isprintable() else " " for sign in reason).strip()[:MOST_REASON]
